/* What every file of the launcher uses: checked calls, cleanup attributes, a small formatter. */
#ifndef TIFFIN_BASE_H
#define TIFFIN_BASE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A failure that a user will read: which operation of the plan (-1: none), errno, and which call on what. */
struct failure {
    int op;
    int err;
    char text[240];
};

/* Record errno and "call detail" (detail may be NULL); always returns -1, so that it can be returned. */
int failed(struct failure *failure, const char *call, const char *detail);

/* Return -1 from the calling function, with the failure recorded, when a system call returned a negative number. */
#define CHECK(failure, expression, call, detail)                                                                       \
    do {                                                                                                               \
        if ((expression) < 0)                                                                                          \
            return failed((failure), (call), (detail));                                                                \
    } while (0)

/* The same for a condition that has no errno of its own. */
#define REQUIRE(failure, condition, error, call, detail)                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            errno = (error);                                                                                           \
            return failed((failure), (call), (detail));                                                                \
        }                                                                                                              \
    } while (0)

/* Repeat a call that a signal interrupted. */
#define RETRY(expression)                                                                                              \
    __extension__({                                                                                                    \
        long retry_result_;                                                                                            \
        do                                                                                                             \
            retry_result_ = (long)(expression);                                                                        \
        while (retry_result_ < 0 && errno == EINTR);                                                                   \
        retry_result_;                                                                                                 \
    })

/* A descriptor that closes itself at the end of its scope; errno survives. */
void close_fd(const int *fd);
#define AUTO_CLOSE __attribute__((cleanup(close_fd)))

/* Hand a self-closing descriptor on to the caller. */
static inline int keep_fd(int *fd)
{
    int kept = *fd;
    *fd = -1;
    return kept;
}

/* Text built in a fixed buffer: always terminated by NUL, cut at the end. */
struct text {
    char *at;
    char *end;
};

struct text text_in(char *buffer, size_t size);
void text_str(struct text *text, const char *string);
void text_char(struct text *text, char character);
void text_u64(struct text *text, uint64_t number);
void text_digits(struct text *text, uint64_t number, int digits);

/* "/proc/self/fd/N": the one way to name an O_PATH descriptor to old system calls. */
struct fd_path {
    char text[32];
};
struct fd_path fd_path(int fd);

int write_all(int fd, const void *bytes, size_t size);

/* Read at most size - 1 bytes of a file and terminate them; the number of bytes or -1. */
ssize_t read_text(int dir, const char *path, char *buffer, size_t size);

/* Write a short value to an existing file, in one write(2). */
int write_text(int dir, const char *path, const char *value);

uint64_t clock_ns(int clock);
void sleep_ms(long milliseconds);

#endif
