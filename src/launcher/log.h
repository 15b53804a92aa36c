/* The container's log: a file in Kubernetes' CRI text format or as JSON, rotated by size, and perhaps a sink. */
#ifndef TIFFIN_LOG_H
#define TIFFIN_LOG_H

#include "base.h"
#include "log_sink.h"
#include "plan.h"

struct log {
    const char *path; /* NULL: no file */
    uint64_t limit;   /* bytes a file */
    uint64_t files;   /* how many, the current one included */
    int fd;
    uint64_t size;
    uint64_t lost; /* bytes of output since writing began to fail */
    int lost_errno;
    bool json;
    const char *attributes; /* JSON of what every line tells of the container, or "" */
    struct sink sink;
    int file_op, sink_op; /* where the plan asks for them */
};

enum { STREAM_STDOUT = 1, STREAM_STDERR = 2 };

/* Take in an operation that is about the log; false when it is not. */
bool log_note(struct log *log, const struct op *op);

/* Open the file and connect to the sink, whichever there are. */
int log_open(struct log *log, struct failure *failure);

/* Move what the plan holds for the log to `room`, which has log_kept_size bytes, so that the plan can go. */
size_t log_kept_size(const struct log *log);
void log_keep(struct log *log, char *room);

/* Give back the memory that a burst of output used. */
void log_release(void);

/* Write the lines in bytes, all of which end in a newline. Errors are counted, never returned: a full disk must
   not stop a container. */
void log_lines(struct log *log, int stream, const char *bytes, size_t size);

/* Write a piece of a line. */
void log_partial(struct log *log, int stream, const char *bytes, size_t size);

#endif
