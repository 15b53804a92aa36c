#include "client.h"

#include <sys/mman.h>
#include <sys/uio.h>

struct client *client_new(int in, int out, bool owner)
{
    struct client *client =
        mmap(NULL, sizeof *client, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (client == MAP_FAILED)
        return NULL;
    client->in = in;
    client->out = out;
    client->owner = owner;
    fcntl(in, F_SETFL, fcntl(in, F_GETFL) | O_NONBLOCK);
    if (out != in)
        fcntl(out, F_SETFL, fcntl(out, F_GETFL) | O_NONBLOCK);
    return client;
}

void client_free(struct client *client)
{
    close(client->in);
    if (client->out != client->in)
        close(client->out);
    munmap(client, sizeof *client);
}

int client_flush(struct client *client)
{
    while (client->start < client->end) {
        ssize_t n = RETRY(write(client->out, client->pending + client->start, client->end - client->start));
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        client->start += (size_t)n;
    }
    client->start = client->end = 0;
    return 0;
}

static int keep(struct client *client, const void *bytes, size_t size)
{
    if (client->end + size > sizeof client->pending) {
        memmove(client->pending, client->pending + client->start, client_pending(client));
        client->end -= client->start;
        client->start = 0;
    }
    if (client->end + size > sizeof client->pending)
        return -1;
    memcpy(client->pending + client->end, bytes, size);
    client->end += size;
    return 0;
}

int client_send(struct client *client, enum frame_type type, const char *bytes, size_t size)
{
    unsigned char header[FRAME_HEADER] = {(unsigned char)type,         0, 0, 0, (unsigned char)(size >> 24),
                                          (unsigned char)(size >> 16), (unsigned char)(size >> 8), (unsigned char)size};
    size_t sent = 0;
    if (client_pending(client) == 0) {
        struct iovec parts[] = {{header, sizeof header}, {(void *)(uintptr_t)bytes, size}};
        ssize_t n = RETRY(writev(client->out, parts, 2));
        if (n < 0 && errno != EAGAIN)
            return -1;
        sent = n < 0 ? 0 : (size_t)n;
    }
    if (sent < sizeof header) {
        if (keep(client, header + sent, sizeof header - sent) < 0)
            return -1;
        sent = sizeof header;
    }
    sent -= sizeof header;
    return keep(client, bytes + sent, size - sent);
}

/* Read towards `size` bytes in client->header. 1 complete, 0 not yet, -1 gone. */
static int fill_header(struct client *client, unsigned size)
{
    while (client->have < size) {
        ssize_t n = RETRY(read(client->in, client->header + client->have, size - client->have));
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return -1;
        if (n < 0)
            return 0;
        client->have += (unsigned)n;
    }
    return 1;
}

static int receive_stdin(struct client *client, char *sink, size_t room, struct incoming *incoming)
{
    size_t size = client->remaining < room ? client->remaining : room;
    if (size > 0) {
        ssize_t n = RETRY(read(client->in, sink, size));
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return -1;
        if (n < 0)
            return 0;
        incoming->size = (size_t)n;
        client->remaining -= (uint32_t)n;
    }
    if (client->remaining == 0)
        client->have = 0;
    return 1;
}

int client_receive(struct client *client, char *sink, size_t room, struct incoming *incoming)
{
    const unsigned char *header = client->header;
    *incoming = (struct incoming){.type = FRAME_STDIN};
    int complete;
    if (client->have < FRAME_HEADER) {
        complete = fill_header(client, FRAME_HEADER);
        if (complete <= 0)
            return complete;
        client->remaining = (uint32_t)header[4] << 24 | (uint32_t)header[5] << 16 | (uint32_t)header[6] << 8 | header[7];
    }
    incoming->type = header[0];
    switch (header[0]) {
    case FRAME_STDIN:
        return receive_stdin(client, sink, room, incoming);
    case FRAME_RESIZE:
        if (client->remaining != 4)
            return -1;
        complete = fill_header(client, FRAME_HEADER + 4);
        if (complete <= 0)
            return complete;
        incoming->rows = (unsigned)header[8] << 8 | header[9];
        incoming->columns = (unsigned)header[10] << 8 | header[11];
        break;
    case FRAME_CLOSE_STDIN:
    case FRAME_CLAIM:
        if (client->remaining != 0)
            return -1;
        client->claimed = client->claimed || (client->owner && header[0] == FRAME_CLAIM);
        break;
    default:
        return -1;
    }
    client->have = 0;
    return 1;
}
