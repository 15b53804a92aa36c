/* The container's log: Kubernetes' CRI text format, rotated by size. */
#ifndef TIFFIN_LOG_H
#define TIFFIN_LOG_H

#include "base.h"

struct log {
    const char *path; /* NULL: no log */
    uint64_t limit;   /* bytes a file */
    uint64_t files;   /* how many, the current one included */
    int fd;
    uint64_t size;
    uint64_t lost; /* bytes of output since writing began to fail */
    int lost_errno;
};

enum { STREAM_STDOUT = 1, STREAM_STDERR = 2 };

int log_open(struct log *log);

/* Write the lines in bytes, all of which end in a newline. Errors are counted, never returned: a full disk must
   not stop a container. */
void log_lines(struct log *log, int stream, const char *bytes, size_t size);

/* Write a piece of a line. */
void log_partial(struct log *log, int stream, const char *bytes, size_t size);

#endif
