#include "base.h"



int failed(struct failure *failure, const char *call, const char *detail)
{
    failure->err = errno;
    struct text text = text_in(failure->text, sizeof failure->text);
    text_str(&text, call);
    if (detail && *detail) {
        text_char(&text, ' ');
        text_str(&text, detail);
    }
    /* One failure is one line of the status pipe. */
    for (char *at = failure->text; *at; at++)
        if (*at == '\n')
            *at = ' ';
    return -1;
}

void close_fd(const int *fd)
{
    int saved = errno;
    if (*fd >= 0)
        close(*fd);
    errno = saved;
}

struct text text_in(char *buffer, size_t size)
{
    buffer[0] = 0;
    return (struct text){buffer, buffer + size - 1};
}

void text_char(struct text *text, char character)
{
    if (text->at < text->end) {
        *text->at++ = character;
        *text->at = 0;
    }
}

void text_str(struct text *text, const char *string)
{
    while (*string && text->at < text->end)
        *text->at++ = *string++;
    *text->at = 0;
}

void text_digits(struct text *text, uint64_t number, int digits)
{
    char reversed[24];
    int count = 0;
    do {
        reversed[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (count < 20 && (number || count < digits));
    while (count > 0)
        text_char(text, reversed[--count]);
}

void text_u64(struct text *text, uint64_t number)
{
    text_digits(text, number, 1);
}

struct fd_path fd_path(int fd)
{
    struct fd_path path;
    struct text text = text_in(path.text, sizeof path.text);
    text_str(&text, "/proc/self/fd/");
    text_u64(&text, (uint64_t)fd);
    return path;
}

int write_all(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t n = RETRY(write(fd, at, size));
        if (n < 0)
            return -1;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

ssize_t read_text(int dir, const char *path, char *buffer, size_t size)
{
    AUTO_CLOSE int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t used = 0;
    while (used < size - 1) {
        ssize_t n = RETRY(read(fd, buffer + used, size - 1 - used));
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        used += (size_t)n;
    }
    buffer[used] = 0;
    return (ssize_t)used;
}

int write_text(int dir, const char *path, const char *value)
{
    AUTO_CLOSE int fd = openat(dir, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -1;
    return RETRY(write(fd, value, strlen(value))) < 0 ? -1 : 0;
}

uint64_t clock_ns(int clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void sleep_ms(long milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}
