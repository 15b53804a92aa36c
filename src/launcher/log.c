#include "log.h"

#include <sys/stat.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "log_format.h"

enum { MAX_PARTS = 64, HEADER_BYTES = 48, CONNECT_MS = 5000 };

void release_pages(const void *from, const void *to)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = ((uintptr_t)from + page - 1) & ~(page - 1);
    uintptr_t end = (uintptr_t)to & ~(page - 1);
    if (start < end)
        madvise((void *)start, end - start, MADV_DONTNEED);
}

void log_release(void)
{
    log_json_release();
}

static int open_file(struct log *log)
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

/* By the proleptic Gregorian calendar; years start in March so that leap days come last. */
struct date date_of(uint64_t days)
{
    uint64_t shifted = days + 719468;
    uint64_t era = shifted / 146097;
    uint64_t day_of_era = shifted % 146097;
    uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month = (5 * day_of_year + 2) / 153;
    uint64_t day = day_of_year - (153 * month + 2) / 5 + 1;
    month = month < 10 ? month + 3 : month - 9;
    return (struct date){year_of_era + era * 400 + (month <= 2), month, day};
}

void put_clock(struct text *text, uint64_t seconds)
{
    text_digits(text, seconds / 3600 % 24, 2);
    text_char(text, ':');
    text_digits(text, seconds / 60 % 60, 2);
    text_char(text, ':');
    text_digits(text, seconds % 60, 2);
}

void put_date_time(struct text *text, uint64_t seconds)
{
    struct date date = date_of(seconds / 86400);
    text_digits(text, date.year, 4);
    text_char(text, '-');
    text_digits(text, date.month, 2);
    text_char(text, '-');
    text_digits(text, date.day, 2);
    text_char(text, 'T');
    put_clock(text, seconds);
}

void put_moment(struct text *text, uint64_t ns, bool trimmed)
{
    put_date_time(text, ns / 1000000000u);
    uint64_t fraction = ns % 1000000000u;
    int digits = 9;
    for (; trimmed && digits > 0 && fraction % 10 == 0; digits--)
        fraction /= 10;
    if (digits > 0) {
        text_char(text, '.');
        text_digits(text, fraction, digits);
    }
    text_char(text, 'Z');
}

/* "2024-05-06T07:08:09.123456789Z stdout F " */
static size_t make_header(char header[HEADER_BYTES], int stream, char kind)
{
    struct text text = text_in(header, HEADER_BYTES);
    put_moment(&text, clock_ns(CLOCK_REALTIME), false);
    text_str(&text, stream == STREAM_STDOUT ? " stdout " : " stderr ");
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
    size_t used = log->json ? 0 : make_header(line, STREAM_STDERR, 'F');
    struct text text = {line + used, line + sizeof line - 1};
    if (log->json)
        text_str(&text, "{\"log\":\"");
    text_str(&text, "tiffin: ");
    text_u64(&text, log->lost);
    text_str(&text, " bytes of output were lost: ");
    text_str(&text, reason(log->lost_errno));
    if (log->json) {
        text_str(&text, "\\n\",\"stream\":\"stderr\",\"time\":\"");
        put_moment(&text, clock_ns(CLOCK_REALTIME), true);
        text_str(&text, "\"}");
    }
    text_char(&text, '\n');
    struct iovec part = {line, (size_t)(text.at - line)};
    return write_records(log, &part, 1, part.iov_len);
}

void log_write(struct log *log, struct iovec *parts, int count, size_t size, size_t payload)
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

static void sink_lines(struct sink *sink, int stream, const char *bytes, size_t size)
{
    while (size > 0) {
        const char *newline = memchr(bytes, '\n', size);
        size_t line = newline ? (size_t)(newline - bytes) : size;
        sink_line(sink, stream, false, bytes, line);
        line += newline != NULL;
        bytes += line;
        size -= line;
    }
}

void log_lines(struct log *log, int stream, const char *bytes, size_t size)
{
    if (log->sink.kind)
        sink_lines(&log->sink, stream, bytes, size);
    if (log->json)
        log_json(log, stream, bytes, size);
    if (!log->path || log->json)
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
            log_write(log, parts, count, batch, payload);
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
    log_write(log, parts, count, batch, payload);
}

void log_partial(struct log *log, int stream, const char *bytes, size_t size)
{
    if (log->sink.kind)
        sink_line(&log->sink, stream, true, bytes, size);
    if (log->json)
        log_json(log, stream, bytes, size);
    if (!log->path || log->json)
        return;
    char header[HEADER_BYTES];
    char newline[] = "\n";
    size_t header_size = make_header(header, stream, 'P');
    struct iovec parts[] = {{header, header_size}, {(void *)(uintptr_t)bytes, size}, {newline, 1}};
    log_write(log, parts, 3, header_size + size + 1, size);
}

bool log_note(struct log *log, const struct op *op)
{
    const struct field *field = op->field;
    struct sink *sink = &log->sink;
    switch (op->code) {
    case OP_LOG:
        log->path = field[0].bytes;
        log->limit = field[1].number;
        log->files = field[2].number;
        log->file_op = op->index;
        return true;
    case OP_LOG_JSON:
        log->json = true;
        log->attributes = field[0].bytes;
        return true;
    case OP_LOG_SINK:
        sink->kind = (enum sink_kind)field[0].number;
        sink->type = (int)field[1].number;
        memcpy(&sink->address, field[2].bytes, field[2].size);
        sink->address_size = field[2].size;
        sink->wait = field[3].number;
        sink->buffer_bytes = field[4].number;
        sink->head = field[5].bytes;
        sink->head_size = field[5].size;
        sink->tail = field[6].bytes;
        sink->tail_size = field[6].size;
        log->sink_op = op->index;
        return true;
    case OP_LOG_SYSLOG:
        sink->facility = (unsigned)field[0].number;
        sink->utc_offset_s = (int64_t)field[1].number;
        return true;
    default:
        return false;
    }
}

int log_open(struct log *log, struct failure *failure)
{
    failure->op = log->file_op;
    if (log->path)
        CHECK(failure, open_file(log), "open", log->path);
    failure->op = log->sink_op;
    log->sink.fd = -1;
    if (log->sink.kind)
        CHECK(failure, sink_open(&log->sink, CONNECT_MS), "connect", "the log");
    failure->op = -1;
    return 0;
}

size_t log_kept_size(const struct log *log)
{
    size_t size = (size_t)log->sink.head_size + log->sink.tail_size;
    return size + (log->path ? strlen(log->path) + 1 : 0) + (log->attributes ? strlen(log->attributes) + 1 : 0);
}

static void keep(const char **bytes, size_t size, char **room)
{
    if (!*bytes)
        return;
    *bytes = memcpy(*room, *bytes, size);
    *room += size;
}

void log_keep(struct log *log, char *room)
{
    keep(&log->sink.head, log->sink.head_size, &room);
    keep(&log->sink.tail, log->sink.tail_size, &room);
    keep(&log->path, log->path ? strlen(log->path) + 1 : 0, &room);
    keep(&log->attributes, log->attributes ? strlen(log->attributes) + 1 : 0, &room);
}
