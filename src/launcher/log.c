#include "log.h"

#include <sys/stat.h>
#include <stdio.h>
#include <sys/uio.h>


enum { MAX_PARTS = 64, HEADER_BYTES = 48 };

int log_open(struct log *log)
{
    /* Never through a symlink. The file may be there from an earlier run, which it goes on from. */
    log->fd = open(log->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0640);
    if (log->fd < 0)
        return -1;
    struct stat stat;
    if (fstat(log->fd, &stat) < 0)
        return -1;
    log->size = (uint64_t)stat.st_size;
    return 0;
}

/* Days since 1970 to a date, by the proleptic Gregorian calendar; years start in March so that leap days come last. */
static void put_date(struct text *text, uint64_t days)
{
    uint64_t shifted = days + 719468;
    uint64_t era = shifted / 146097;
    uint64_t day_of_era = shifted % 146097;
    uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month = (5 * day_of_year + 2) / 153;
    uint64_t day = day_of_year - (153 * month + 2) / 5 + 1;
    month = month < 10 ? month + 3 : month - 9;
    text_digits(text, year_of_era + era * 400 + (month <= 2), 4);
    text_char(text, '-');
    text_digits(text, month, 2);
    text_char(text, '-');
    text_digits(text, day, 2);
}

/* "2024-05-06T07:08:09.123456789Z stdout F " */
static size_t make_header(char header[HEADER_BYTES], int stream, char kind)
{
    uint64_t now = clock_ns(CLOCK_REALTIME);
    uint64_t seconds = now / 1000000000u;
    struct text text = text_in(header, HEADER_BYTES);
    put_date(&text, seconds / 86400);
    text_char(&text, 'T');
    text_digits(&text, seconds / 3600 % 24, 2);
    text_char(&text, ':');
    text_digits(&text, seconds / 60 % 60, 2);
    text_char(&text, ':');
    text_digits(&text, seconds % 60, 2);
    text_char(&text, '.');
    text_digits(&text, now % 1000000000u, 9);
    text_str(&text, stream == STREAM_STDOUT ? "Z stdout " : "Z stderr ");
    text_char(&text, kind);
    text_char(&text, ' ');
    return (size_t)(text.at - header);
}

static void numbered(const struct log *log, char path[PATH_MAX], uint64_t number)
{
    struct text text = text_in(path, PATH_MAX);
    text_str(&text, log->path);
    if (number) {
        text_char(&text, '.');
        text_u64(&text, number);
    }
}

/* Begin a new file and shift the older ones by one. The new one is made first: where that fails, nothing has moved,
   and output is lost rather than a file grown without limit. */
static bool rotate(struct log *log)
{
    if (log->files == 1) {
        if (ftruncate(log->fd, 0) < 0)
            return false;
        log->size = 0;
        return true;
    }
    char from[PATH_MAX], to[PATH_MAX], fresh[PATH_MAX];
    struct text text = text_in(fresh, sizeof fresh);
    text_str(&text, log->path);
    text_str(&text, ".new");
    AUTO_CLOSE int next = open(fresh, O_WRONLY | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (next < 0)
        return false;
    for (uint64_t number = log->files - 1; number > 0; number--) {
        numbered(log, from, number - 1);
        numbered(log, to, number);
        rename(from, to);
    }
    rename(fresh, log->path);
    int old = log->fd;
    log->fd = keep_fd(&next);
    close(old);
    log->size = 0;
    return true;
}

static const char *reason(int error)
{
    switch (error) {
    case ENOSPC:
        return "No space left on device";
    case EDQUOT:
        return "Disk quota exceeded";
    case EFBIG:
        return "File too large";
    case EROFS:
        return "Read-only file system";
    default:
        return "Input/output error";
    }
}

/* One write of whole records. A torn record is cut off again, so that every line in the file is one. */
static bool write_records(struct log *log, struct iovec *parts, int count, size_t size)
{
    ssize_t n = RETRY(writev(log->fd, parts, count));
    if (n == (ssize_t)size) {
        log->size += size;
        return true;
    }
    /* A short write does not say why; the next one does. */
    bool explained = n < 0 || write(log->fd, "\n", 1) < 0;
    log->lost_errno = explained ? errno : ENOSPC;
    if (n > 0 && ftruncate(log->fd, (off_t)log->size) < 0)
        log->size += (uint64_t)n;
    return false;
}

/* The note about what could not be written goes in as soon as something can. */
static bool write_note(struct log *log)
{
    char line[HEADER_BYTES + 160];
    size_t used = make_header(line, STREAM_STDERR, 'F');
    struct text text = {line + used, line + sizeof line - 1};
    text_str(&text, "tiffin: ");
    text_u64(&text, log->lost);
    text_str(&text, " bytes of output were lost: ");
    text_str(&text, reason(log->lost_errno));
    text_char(&text, '\n');
    struct iovec part = {line, (size_t)(text.at - line)};
    return write_records(log, &part, 1, part.iov_len);
}

static void write_batch(struct log *log, struct iovec *parts, int count, size_t size, size_t payload)
{
    if (count == 0)
        return;
    if (log->size > 0 && log->size + size > log->limit && !rotate(log)) {
        log->lost_errno = errno;
        log->lost += payload;
        return;
    }
    if (log->lost) {
        if (!write_note(log)) {
            log->lost += payload;
            return;
        }
        log->lost = 0;
    }
    if (!write_records(log, parts, count, size))
        log->lost += payload;
}

void log_lines(struct log *log, int stream, const char *bytes, size_t size)
{
    if (!log->path)
        return;
    char header[HEADER_BYTES];
    size_t header_size = make_header(header, stream, 'F');
    struct iovec parts[MAX_PARTS];
    int count = 0;
    size_t batch = 0, payload = 0;
    while (size > 0) {
        const char *newline = memchr(bytes, '\n', size);
        size_t line = newline ? (size_t)(newline - bytes) + 1 : size;
        bool full = count + 2 > MAX_PARTS || log->size + batch + header_size + line > log->limit;
        if (full) {
            write_batch(log, parts, count, batch, payload);
            count = 0;
            batch = payload = 0;
        }
        parts[count++] = (struct iovec){header, header_size};
        parts[count++] = (struct iovec){(void *)(uintptr_t)bytes, line};
        batch += header_size + line;
        payload += line;
        bytes += line;
        size -= line;
    }
    write_batch(log, parts, count, batch, payload);
}

void log_partial(struct log *log, int stream, const char *bytes, size_t size)
{
    if (!log->path)
        return;
    char header[HEADER_BYTES];
    char newline[] = "\n";
    size_t header_size = make_header(header, stream, 'P');
    struct iovec parts[] = {{header, header_size}, {(void *)(uintptr_t)bytes, size}, {newline, 1}};
    write_batch(log, parts, 3, header_size + size + 1, size);
}
