#include "log_sink.h"

#include <poll.h>
#include <sys/uio.h>

#include "log_format.h"

enum { PATIENCE_MS = 1000, MAX_HEADER = 128 };
#define RETRY_NS 1000000000u

int sink_open(struct sink *sink, int timeout_ms)
{
    const struct sockaddr *address = (const struct sockaddr *)&sink->address;
    AUTO_CLOSE int fd = socket(sink->address.ss_family, sink->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int buffer = sink->buffer_bytes > INT_MAX / 2 ? INT_MAX / 2 : (int)sink->buffer_bytes;
    if (buffer && setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) < 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    if (connect(fd, address, sink->address_size) < 0) {
        if (errno != EINPROGRESS)
            return -1;
        struct pollfd entry = {fd, POLLOUT, 0};
        int reason = ETIMEDOUT;
        socklen_t size = sizeof reason;
        if (RETRY(poll(&entry, 1, timeout_ms)) > 0)
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &reason, &size);
        if (reason) {
            errno = reason;
            return -1;
        }
    }
    sink->fd = keep_fd(&fd);
    return 0;
}

/* "Jan  2 15:04:05", RFC 3164. */
static void put_stamp(struct text *text, uint64_t seconds)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct date date = date_of(seconds / 86400);
    for (unsigned i = 0; i < 3; i++)
        text_char(text, months[(date.month - 1) * 3 + i]);
    text_str(text, date.day < 10 ? "  " : " ");
    text_u64(text, date.day);
    text_char(text, ' ');
    put_clock(text, seconds);
}

/* "2006-01-02T15:04:05+01:00", RFC 3339. */
static void put_local(struct text *text, uint64_t seconds, uint64_t ns, int64_t offset, bool micro)
{
    put_date_time(text, seconds);
    if (micro) {
        text_char(text, '.');
        text_digits(text, ns % 1000000000u / 1000, 6);
    }
    if (offset == 0) {
        text_char(text, 'Z');
        return;
    }
    uint64_t minutes = (uint64_t)(offset < 0 ? -offset : offset) / 60;
    text_char(text, offset < 0 ? '-' : '+');
    text_digits(text, minutes / 60, 2);
    text_char(text, ':');
    text_digits(text, minutes % 60, 2);
}

/* Priority and time of a syslog message. */
static size_t make_header(const struct sink *sink, char header[MAX_HEADER], int stream)
{
    struct text text = text_in(header, MAX_HEADER);
    uint64_t ns = clock_ns(CLOCK_REALTIME);
    uint64_t seconds = (uint64_t)((int64_t)(ns / 1000000000u) + sink->utc_offset_s);
    text_char(&text, '<');
    text_u64(&text, sink->facility * 8 + (stream == STREAM_STDOUT ? 6 : 3));
    text_char(&text, '>');
    if (sink->kind == SINK_SYSLOG_STAMP) {
        put_stamp(&text, seconds);
    } else {
        text_str(&text, "1 ");
        put_local(&text, seconds, ns, sink->utc_offset_s, sink->kind == SINK_SYSLOG_5424_MICRO);
    }
    text_char(&text, ' ');
    return (size_t)(text.at - header);
}

/* Send all of a message. Of a stream's, which could be torn, the rest is waited for: 1 sent, 0 no room, -1 gone. */
static int send_all(struct sink *sink, struct iovec *parts, size_t count)
{
    bool begun = false;
    for (;;) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t n = RETRY(sendmsg(sink->fd, &message, MSG_NOSIGNAL));
        if (n >= 0) {
            if (sink->type != SOCK_STREAM)
                return 1;
            begun = true;
            for (; count && (size_t)n >= parts->iov_len; parts++, count--)
                n -= (ssize_t)parts->iov_len;
            if (count == 0)
                return 1;
            parts->iov_base = (char *)parts->iov_base + n;
            parts->iov_len -= (size_t)n;
            continue;
        }
        if (errno == EMSGSIZE)
            return 0;
        if (errno != EAGAIN && errno != ENOBUFS)
            return -1;
        struct pollfd entry = {sink->fd, POLLOUT, 0};
        bool patient = begun || (sink->wait && !sink->stalled);
        if (!patient || RETRY(poll(&entry, 1, PATIENCE_MS)) <= 0) {
            sink->stalled = true;
            return begun ? -1 : 0;
        }
    }
}

static void close_sink(struct sink *sink)
{
    close_fd(&sink->fd);
    sink->fd = -1;
}

/* The same over a new connection where the old one has ended; once a second is tried. */
static bool deliver(struct sink *sink, const struct iovec *parts, size_t count)
{
    struct iovec copy[6];
    for (int tries = 0; tries < 2; tries++) {
        if (sink->fd < 0) {
            uint64_t now = clock_ns(CLOCK_MONOTONIC);
            if (now < sink->retry_ns)
                return false;
            sink->retry_ns = now + RETRY_NS;
            if (sink_open(sink, 0) < 0)
                return false;
        }
        memcpy(copy, parts, count * sizeof *parts);
        int result = send_all(sink, copy, count);
        if (result >= 0) {
            sink->stalled = sink->stalled && result == 0;
            return result == 1;
        }
        close_sink(sink);
    }
    return false;
}

static struct iovec part(const void *bytes, size_t size)
{
    return (struct iovec){(void *)(uintptr_t)bytes, size};
}

static bool send_line(struct sink *sink, int stream, bool partial, const char *bytes, size_t size)
{
    char header[MAX_HEADER];
    char number[24];
    struct iovec parts[6];
    size_t count = 0;
    if (sink->kind == SINK_JOURNAL) {
        struct text text = text_in(header, sizeof header);
        text_str(&text, stream == STREAM_STDOUT ? "PRIORITY=6\n" : "PRIORITY=3\n");
        if (partial)
            text_str(&text, "CONTAINER_PARTIAL_MESSAGE=true\n");
        text_str(&text, "MESSAGE=");
        parts[count++] = part(sink->head, sink->head_size);
        parts[count++] = part(header, (size_t)(text.at - header));
    } else {
        struct text text = text_in(number, sizeof number);
        text_u64(&text, (uint64_t)getpid());
        parts[count++] = part(header, make_header(sink, header, stream));
        parts[count++] = part(sink->head, sink->head_size);
        parts[count++] = part(number, (size_t)(text.at - number));
        parts[count++] = part(sink->tail, sink->tail_size);
    }
    parts[count++] = part(bytes, size);
    parts[count++] = part("\n", 1);
    return deliver(sink, parts, count);
}

void sink_line(struct sink *sink, int stream, bool partial, const char *bytes, size_t size)
{
    /* As Docker: an empty line is no message to a syslog server. */
    if (size == 0 && sink->kind != SINK_JOURNAL)
        return;
    if (sink->lost) {
        char note[96];
        struct text text = text_in(note, sizeof note);
        text_str(&text, "tiffin: ");
        text_u64(&text, sink->lost);
        text_str(&text, " lines of output were lost: nobody took them");
        if (!send_line(sink, STREAM_STDERR, false, note, (size_t)(text.at - note))) {
            sink->lost++;
            return;
        }
        sink->lost = 0;
    }
    if (!send_line(sink, stream, partial, bytes, size))
        sink->lost++;
}
