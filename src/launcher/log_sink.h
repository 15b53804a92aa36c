/* A log that is somebody else's: the system's journal, or a syslog server. */
#ifndef TIFFIN_LOG_SINK_H
#define TIFFIN_LOG_SINK_H

#include "base.h"

#include <sys/socket.h>

enum sink_kind { SINK_NONE, SINK_JOURNAL, SINK_SYSLOG_STAMP, SINK_SYSLOG_5424, SINK_SYSLOG_5424_MICRO };

enum { MAX_SINK_HEAD = 64 << 10 };

struct sink {
    enum sink_kind kind;
    int type; /* SOCK_DGRAM or SOCK_STREAM */
    struct sockaddr_storage address;
    uint32_t address_size;
    const char *head; /* journal: the fields that all lines have; syslog: what stands before the process number */
    uint32_t head_size;
    const char *tail; /* syslog: what stands behind it */
    uint32_t tail_size;
    unsigned facility;
    int64_t utc_offset_s;
    bool wait; /* for a reader that is slow; else what it does not take at once is dropped */
    uint64_t buffer_bytes; /* the socket's; 0 leaves the kernel's default */
    int fd;
    bool stalled; /* it did not take the last line in time: nothing waits for it until it takes one */
    uint64_t retry_ns;
    uint64_t lost; /* lines since sending began to fail */
};

/* Connect. -1 and errno when nobody is there. */
int sink_open(struct sink *sink, int timeout_ms);

/* Send one line, without its newline. Errors are counted, never returned. */
void sink_line(struct sink *sink, int stream, bool partial, const char *bytes, size_t size);

#endif
