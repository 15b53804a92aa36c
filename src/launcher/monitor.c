#include "monitor.h"

#include <link.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "log_format.h"

extern const ElfW(Ehdr) __ehdr_start; /* by the linker */

enum { MAX_CLIENTS = 250, IDLE_MS = 2000 };

void monitor_drop_client(struct monitor *monitor, struct client *client)
{
    struct client **link = &monitor->clients;
    while (*link != client)
        link = &(*link)->next;
    *link = client->next;
    monitor->client_count--;
    monitor->claimed = monitor->claimed || client->claimed;
    client_free(client);
}

static void broadcast(struct monitor *monitor, enum frame_type type, const char *bytes, size_t size)
{
    for (struct client *client = monitor->clients, *next; client; client = next) {
        next = client->next;
        if (client_send(client, type, bytes, size) < 0)
            monitor_drop_client(monitor, client);
    }
}

/* Log whole lines; keep what follows the last newline until it is complete or fills the buffer. */
static void log_stream(struct monitor *monitor, struct stream *stream)
{
    const char *newline = memrchr(stream->line, '\n', stream->used);
    size_t whole = newline ? (size_t)(newline - stream->line) + 1 : 0;
    if (whole) {
        log_lines(&monitor->log, stream->kind, stream->line, whole);
        stream->used -= whole;
        memmove(stream->line, stream->line + whole, stream->used);
    } else if (stream->used == sizeof stream->line) {
        log_partial(&monitor->log, stream->kind, stream->line, stream->used);
        stream->used = 0;
    }
}

bool monitor_copy_output(struct monitor *monitor, struct stream *stream)
{
    ssize_t n = RETRY(read(stream->fd, stream->line + stream->used, sizeof stream->line - stream->used));
    if (n < 0 && errno == EAGAIN)
        return true;
    if (n <= 0)
        return false;
    broadcast(monitor, (enum frame_type)stream->kind, stream->line + stream->used, (size_t)n);
    stream->used += (size_t)n;
    log_stream(monitor, stream);
    return true;
}

void monitor_close_stream(struct monitor *monitor, struct stream *stream)
{
    if (stream->used)
        log_partial(&monitor->log, stream->kind, stream->line, stream->used);
    stream->used = 0;
    if (stream->fd != monitor->stdin_fd)
        close(stream->fd);
    stream->fd = -1;
}

static void close_stdin(struct monitor *monitor)
{
    monitor->stdin_start = monitor->stdin_end = 0;
    /* A terminal has no end that could be sent: its descriptor is the output's too. */
    if (monitor->stdin_fd >= 0 && !monitor->options.tty) {
        close(monitor->stdin_fd);
        monitor->stdin_fd = -1;
    }
}

static void flush_stdin(struct monitor *monitor)
{
    while (monitor->stdin_start < monitor->stdin_end) {
        ssize_t n = RETRY(write(monitor->stdin_fd, monitor->stdin_pending + monitor->stdin_start,
                                monitor->stdin_end - monitor->stdin_start));
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            close_stdin(monitor);
            return;
        }
        monitor->stdin_start += (size_t)n;
    }
    monitor->stdin_start = monitor->stdin_end = 0;
    if (monitor->stdin_closing)
        close_stdin(monitor);
}

static bool stdin_is_open(const struct monitor *monitor)
{
    return monitor->options.open_stdin && monitor->stdin_fd >= 0 && !monitor->stdin_closing;
}

static size_t stdin_room(const struct monitor *monitor)
{
    return sizeof monitor->stdin_pending - monitor->stdin_end;
}

bool monitor_serve_client(struct monitor *monitor, struct client *client)
{
    char discarded[512];
    bool wanted = stdin_is_open(monitor);
    char *sink = wanted ? monitor->stdin_pending + monitor->stdin_end : discarded;
    size_t room = wanted ? stdin_room(monitor) : sizeof discarded;
    struct incoming incoming;
    int result = client_receive(client, sink, room, &incoming);
    if (result <= 0)
        return result == 0;
    switch (incoming.type) {
    case FRAME_STDIN:
        if (wanted) {
            monitor->stdin_end += incoming.size;
            flush_stdin(monitor);
        }
        break;
    case FRAME_RESIZE:
        if (monitor->options.tty && monitor->streams[0].fd >= 0) {
            struct winsize size = {.ws_row = (unsigned short)incoming.rows, .ws_col = (unsigned short)incoming.columns};
            ioctl(monitor->streams[0].fd, TIOCSWINSZ, &size);
            char more[64];
            struct text text = text_in(more, sizeof more);
            event_number(&text, "height", size.ws_row);
            event_number(&text, "width", size.ws_col);
            event_write(&monitor->events, monitor->run_dir, "resize", more);
        }
        break;
    case FRAME_CLOSE_STDIN:
        if (monitor->options.open_stdin && monitor->stdin_fd >= 0) {
            monitor->stdin_closing = !monitor->options.tty;
            flush_stdin(monitor);
        }
        break;
    default:
        break;
    }
    return true;
}

static bool accept_client(struct monitor *monitor)
{
    int fd = monitor->client_count < MAX_CLIENTS ? accept4(monitor->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    struct client *client = client_new(fd, fd, false);
    if (!client) {
        close(fd);
        return false;
    }
    client->next = monitor->clients;
    monitor->clients = client;
    monitor->client_count++;
    return true;
}

void monitor_accept_all(struct monitor *monitor)
{
    while (accept_client(monitor))
        continue;
}

/* What a poll entry is about, beside the fixed ones. */
enum slot { SLOT_SIGNALS, SLOT_LISTENER, SLOT_STDIN, SLOT_STREAM0, SLOT_STREAM1, SLOT_HEALTH, SLOT_CLIENTS = SLOT_HEALTH + HEALTH_POLLS };

/* A client has two entries, in and out; its input waits while stdin has no room. */
static nfds_t fill_poll(const struct monitor *monitor, struct pollfd *polls)
{
    bool room = true;
    for (const struct client *client = monitor->clients; client; client = client->next)
        room = room && client_has_room(client);
    short read_output = room ? POLLIN : 0;
    bool stdin_waits = monitor->stdin_start < monitor->stdin_end;
    polls[SLOT_SIGNALS] = (struct pollfd){monitor->signals, POLLIN, 0};
    polls[SLOT_LISTENER] = (struct pollfd){monitor->client_count < MAX_CLIENTS ? monitor->listener : -1, POLLIN, 0};
    polls[SLOT_STDIN] = (struct pollfd){stdin_waits ? monitor->stdin_fd : -1, POLLOUT, 0};
    for (int i = 0; i < 2; i++)
        polls[SLOT_STREAM0 + i] = (struct pollfd){read_output ? monitor->streams[i].fd : -1, read_output, 0};
    nfds_t count = SLOT_CLIENTS;
    bool take_input = !stdin_is_open(monitor) || stdin_room(monitor) > 0;
    for (const struct client *client = monitor->clients; client; client = client->next) {
        polls[count++] = (struct pollfd){take_input ? client->in : -1, POLLIN, 0};
        polls[count++] = (struct pollfd){client->out, client_pending(client) ? POLLOUT : 0, 0};
    }
    return count;
}

static void serve_clients(struct monitor *monitor, const struct pollfd *poll_entry)
{
    for (struct client *client = monitor->clients, *next; client; client = next, poll_entry += 2) {
        next = client->next;
        bool alive = true;
        if (poll_entry[1].revents & POLLOUT)
            alive = client_flush(client) == 0;
        else if (poll_entry[1].revents & (POLLERR | POLLHUP) && !(poll_entry[0].revents & POLLIN))
            alive = false;
        if (alive && poll_entry[0].revents)
            alive = monitor_serve_client(monitor, client);
        if (!alive)
            monitor_drop_client(monitor, client);
    }
}

/* Most containers are quiet most of the time: give back what a start or a burst of output used. */
static void release_memory(struct monitor *monitor)
{
    for (int i = 0; i < 2; i++) {
        const struct stream *stream = &monitor->streams[i];
        release_pages(stream->line + stream->used, stream->line + sizeof stream->line);
    }
    release_pages(monitor->stdin_pending + monitor->stdin_end, monitor->stdin_pending + sizeof monitor->stdin_pending);
    log_release();
    release_program();
}

void release_program(void)
{
    const char *base = (const char *)&__ehdr_start;
    const ElfW(Phdr) *header = (const void *)(base + __ehdr_start.e_phoff);
    for (int i = 0; i < __ehdr_start.e_phnum; i++, header++) {
        if (header->p_type != PT_LOAD || header->p_flags & PF_W)
            continue;
        const char *start = __ehdr_start.e_type == ET_DYN ? base + header->p_vaddr : (const char *)header->p_vaddr;
        release_pages(start, start + header->p_memsz);
    }
}

static bool child_ended(struct monitor *monitor, int *status)
{
    struct signalfd_siginfo info;
    while (RETRY(read(monitor->signals, &info, sizeof info)) > 0)
        continue;
    return RETRY(waitpid(monitor->child, status, WNOHANG)) == monitor->child;
}

_Noreturn void monitor_run(struct monitor *monitor)
{
    struct pollfd polls[SLOT_CLIENTS + 2 * MAX_CLIENTS];
    int timeout = IDLE_MS;
    release_memory(monitor);
    for (;;) {
        nfds_t count = fill_poll(monitor, polls);
        int due = health_wait(monitor->health, polls + SLOT_HEALTH);
        bool sooner = due >= 0 && (timeout < 0 || due < timeout);
        int ready = poll(polls, count, sooner ? due : timeout);
        const char *told =
            monitor->health && ready >= 0 ? health_turn(monitor->health, polls + SLOT_HEALTH) : NULL;
        if (told)
            event_write(&monitor->events, monitor->run_dir, told, "");
        if (ready == 0 && !sooner) {
            release_memory(monitor);
            timeout = -1;
            continue;
        }
        timeout = IDLE_MS;
        if (ready < 0)
            continue;
        int status;
        if (polls[SLOT_SIGNALS].revents && child_ended(monitor, &status))
            monitor_finish(monitor, status);
        serve_clients(monitor, polls + SLOT_CLIENTS);
        for (int i = 0; i < 2; i++)
            if (polls[SLOT_STREAM0 + i].revents && !monitor_copy_output(monitor, &monitor->streams[i]))
                monitor_close_stream(monitor, &monitor->streams[i]);
        if (polls[SLOT_STDIN].revents)
            flush_stdin(monitor);
        if (polls[SLOT_LISTENER].revents)
            accept_client(monitor);
    }
}
