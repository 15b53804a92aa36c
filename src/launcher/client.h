/* Attached clients: frames out through a bounded buffer, frames in one header at a time. */
#ifndef TIFFIN_CLIENT_H
#define TIFFIN_CLIENT_H

#include "base.h"

enum frame_type {
    FRAME_STDIN = 0,
    FRAME_STDOUT = 1,
    FRAME_STDERR = 2,
    FRAME_EXIT = 3,
    FRAME_RESIZE = 4,
    FRAME_CLOSE_STDIN = 5,
    FRAME_CLAIM = 6,
};

enum {
    FRAME_HEADER = 8,
    CHUNK = 16 << 10,        /* most that is read from the container at once */
    CLIENT_PENDING = 64 << 10, /* above this the container waits */
    CLIENT_RESERVE = 192 << 10 /* for what is still in the pipes at the end; address space until then */
};

struct client {
    struct client *next;
    int in;
    int out;
    bool owner;
    bool claimed;       /* the owner said that it cleans up */
    unsigned have;      /* bytes of the header, or of a resize payload behind it, so far */
    uint32_t remaining; /* payload still to come */
    unsigned char header[FRAME_HEADER + 4];
    size_t start, end;
    char pending[CLIENT_PENDING + CLIENT_RESERVE];
};

/* A client on its own pages, or NULL. The descriptors become non-blocking and belong to it. */
struct client *client_new(int in, int out, bool owner);
void client_free(struct client *client);

/* Send a frame, or keep it for later. -1: the client is gone or hopelessly behind. */
int client_send(struct client *client, enum frame_type type, const char *bytes, size_t size);

/* Send what was kept. -1: the client is gone. */
int client_flush(struct client *client);

static inline size_t client_pending(const struct client *client)
{
    return client->end - client->start;
}

/* May another chunk be read from the container for this client? */
static inline bool client_has_room(const struct client *client)
{
    return client_pending(client) + FRAME_HEADER + CHUNK <= CLIENT_PENDING;
}

/* What came in. Bytes for the container's stdin go to `sink`, at most `room` of them. */
struct incoming {
    enum frame_type type;
    size_t size;             /* FRAME_STDIN: bytes now in sink */
    unsigned rows, columns;  /* FRAME_RESIZE */
};

/* One step of reading: 1 something is in *incoming, 0 nothing complete yet, -1 the client is gone or talks nonsense. */
int client_receive(struct client *client, char *sink, size_t room, struct incoming *incoming);

#endif
