/* The container's log in the format of Docker's json-file driver: an object a line. */
#include "log.h"

#include <sys/uio.h>

#include "log_format.h"

/* Room for a whole chunk of which every byte becomes six, the attributes, and the rest of a line. */
enum { ROOM = 6 * MAX_PIECE + MAX_ATTRIBUTES + 256, TAIL_BYTES = MAX_ATTRIBUTES + 128 };

/* Pages that only this format touches, and gives back. */
static char room[ROOM] __attribute__((aligned(4096)));

static char *put(char *at, const char *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

static char *put_unicode(char *at, unsigned code)
{
    static const char digits[] = "0123456789abcdef";
    *at++ = '\\';
    *at++ = 'u';
    for (int shift = 12; shift >= 0; shift -= 4)
        *at++ = digits[code >> shift & 15];
    return at;
}

/* Bytes of the UTF-8 sequence at `at`; 1 for what is none (RFC 3629: no surrogates, nothing longer than needed). */
static unsigned sequence(const unsigned char *at, size_t left)
{
    unsigned first = at[0];
    unsigned size = first >= 0xf0 && first <= 0xf4 ? 4 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xc2 && first < 0xe0 ? 2 : 1;
    if (size > left)
        return 1;
    for (unsigned i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 1;
    if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f) || (first == 0xf0 && at[1] < 0x90) ||
        (first == 0xf4 && at[1] > 0x8f))
        return 1;
    return size;
}

/* A JSON string's contents, as Docker writes them: what HTML and JavaScript would take for more is escaped too. */
static char *put_escaped(char *at, const char *bytes, size_t size)
{
    const unsigned char *from = (const unsigned char *)bytes;
    const unsigned char *end = from + size;
    while (from < end) {
        unsigned byte = *from;
        if (byte >= 0x80) {
            unsigned width = sequence(from, (size_t)(end - from));
            if (width == 1)
                at = put_unicode(at, 0xfffd);
            else if (width == 3 && byte == 0xe2 && from[1] == 0x80 && (from[2] & 0xfe) == 0xa8)
                at = put_unicode(at, 0x2000u + (from[2] & 0x3f));
            else
                at = put(at, (const char *)from, width);
            from += width;
            continue;
        }
        from++;
        if (byte == '"' || byte == '\\') {
            *at++ = '\\';
            *at++ = (char)byte;
        } else if (byte == '\n' || byte == '\r') {
            *at++ = '\\';
            *at++ = byte == '\n' ? 'n' : 'r';
        } else if (byte < 0x20 || byte == '<' || byte == '>' || byte == '&') {
            at = put_unicode(at, byte);
        } else {
            *at++ = (char)byte;
        }
    }
    return at;
}

/* What follows the output in every line written now. */
static size_t make_tail(const struct log *log, char tail[TAIL_BYTES], int stream)
{
    struct text text = text_in(tail, TAIL_BYTES);
    text_str(&text, stream == STREAM_STDOUT ? "\",\"stream\":\"stdout\"," : "\",\"stream\":\"stderr\",");
    if (log->attributes && *log->attributes) {
        text_str(&text, "\"attrs\":");
        text_str(&text, log->attributes);
        text_char(&text, ',');
    }
    text_str(&text, "\"time\":\"");
    put_moment(&text, clock_ns(CLOCK_REALTIME), true);
    text_str(&text, "\"}\n");
    return (size_t)(text.at - tail);
}

static void flush(struct log *log, size_t size, size_t payload)
{
    struct iovec part = {room, size};
    log_write(log, &part, size ? 1 : 0, size, payload);
}

void log_json(struct log *log, int stream, const char *bytes, size_t size)
{
    char tail[TAIL_BYTES];
    size_t tail_size = make_tail(log, tail, stream);
    size_t used = 0, payload = 0;
    while (size > 0) {
        const char *newline = memchr(bytes, '\n', size);
        size_t line = newline ? (size_t)(newline - bytes) + 1 : size;
        if (used + 8 + 6 * line + tail_size > ROOM) {
            flush(log, used, payload);
            used = payload = 0;
        }
        char *start = room + used;
        char *at = put_escaped(put(start, "{\"log\":\"", 8), bytes, line);
        at = put(at, tail, tail_size);
        size_t grown = (size_t)(at - start);
        if (used && log->size + used + grown > log->limit) {
            flush(log, used, payload);
            memmove(room, start, grown);
            used = payload = 0;
        }
        used += grown;
        payload += line;
        bytes += line;
        size -= line;
    }
    flush(log, used, payload);
}

void log_json_release(void)
{
    release_pages(room, room + sizeof room);
}
