/* What the log's formats share. */
#ifndef TIFFIN_LOG_FORMAT_H
#define TIFFIN_LOG_FORMAT_H

#include "log.h"

#include <sys/uio.h>

enum {
    MAX_PIECE = 16 << 10,      /* a chunk of output, see client.h */
    MAX_ATTRIBUTES = 16 << 10, /* the JSON object in every line */
};

struct date {
    uint64_t year, month, day;
};

/* The date of a number of days since 1970. */
struct date date_of(uint64_t days);

/* "07:08:09" of seconds since 1970, and "2024-05-06T07:08:09". */
void put_clock(struct text *text, uint64_t seconds);
void put_date_time(struct text *text, uint64_t seconds);

/* "2024-05-06T07:08:09.123456789Z"; `trimmed` without the zeros at the end of the fraction, as Go writes it. */
void put_moment(struct text *text, uint64_t ns, bool trimmed);

/* Write whole records of `size` bytes, which hold `payload` bytes of output, and rotate before if they do not fit. */
void log_write(struct log *log, struct iovec *parts, int count, size_t size, size_t payload);

/* Write lines, or the piece of one that has no newline at its end, as JSON. */
void log_json(struct log *log, int stream, const char *bytes, size_t size);
void log_json_release(void);

/* Give back the whole pages in a range of memory. */
void release_pages(const void *from, const void *to);

#endif
