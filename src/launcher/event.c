#include "event.h"

#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

static const char end_before[] = "\"timeNano\":";
enum {
    LIMIT_BYTES = 4 << 20,
    DIGITS = 19,
    END_BYTES = sizeof end_before - 1 + DIGITS + 2,
    LOOK_BACK_BYTES = 4096,
    LOCK_TRIES = 500,
    MAX_ACTOR_BYTES = 1 << 20,
};

/* The time in the end of a line, or 0 when it is none. */
static uint64_t time_in(const char *end)
{
    if (memcmp(end, end_before, sizeof end_before - 1) != 0 || memcmp(end + END_BYTES - 2, "}\n", 2) != 0)
        return 0;
    uint64_t time = 0;
    for (const char *at = end + sizeof end_before - 1; at < end + END_BYTES - 2; at++) {
        if (*at < '0' || *at > '9')
            return 0;
        time = time * 10 + (uint64_t)(*at - '0');
    }
    return time;
}

/* The time of the last line of a file that is not empty; *torn: something without a line end stands after it. */
static uint64_t last_time(int fd, off_t size, bool *torn)
{
    char tail[LOOK_BACK_BYTES];
    off_t start = size > END_BYTES ? size - END_BYTES : 0;
    ssize_t used = pread(fd, tail, END_BYTES, start);
    uint64_t found = used == END_BYTES ? time_in(tail) : 0;
    *torn = false;
    if (found || used <= 0)
        return found;
    start = size > LOOK_BACK_BYTES ? size - LOOK_BACK_BYTES : 0;
    used = pread(fd, tail, LOOK_BACK_BYTES, start);
    if (used <= 0)
        return 0;
    *torn = tail[used - 1] != '\n';
    for (ssize_t at = used - END_BYTES; at >= 0 && !found; at--)
        found = time_in(tail + at);
    return found;
}

static bool rotated_name(const char *path, char rotated[PATH_MAX])
{
    struct text text = text_in(rotated, PATH_MAX);
    text_str(&text, path);
    text_str(&text, ".1");
    return text.at < text.end;
}

static uint64_t last_time_before(const char *path)
{
    char rotated[PATH_MAX];
    AUTO_CLOSE int fd = rotated_name(path, rotated) ? open(rotated, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    struct stat facts;
    bool torn;
    return fd < 0 || fstat(fd, &facts) < 0 || facts.st_size == 0 ? 0 : last_time(fd, facts.st_size, &torn);
}

/* Held for some microseconds, unless its holder was stopped: a container's end does not wait for that one for ever. */
static bool lock(int fd)
{
    for (int tries = 0; tries < LOCK_TRIES; tries++) {
        if (RETRY(flock(fd, LOCK_EX | LOCK_NB)) == 0)
            return true;
        if (errno != EWOULDBLOCK)
            return false;
        sleep_ms(tries < 20 ? 0 : 2);
    }
    return false;
}

/* The file, opened and locked, still under its name and with room in it; or -1. */
static int open_locked(const char *path, off_t *size)
{
    for (;;) {
        AUTO_CLOSE int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        struct stat mine, named;
        if (fd < 0 || !lock(fd) || fstat(fd, &mine) < 0)
            return -1;
        if (lstat(path, &named) < 0 || named.st_ino != mine.st_ino || named.st_dev != mine.st_dev)
            continue;
        *size = mine.st_size;
        if (mine.st_size < LIMIT_BYTES)
            return keep_fd(&fd);
        char rotated[PATH_MAX];
        if (!rotated_name(path, rotated) || rename(path, rotated) < 0)
            return -1;
    }
}

static struct iovec part(const char *string)
{
    return (struct iovec){(void *)(uintptr_t)string, strlen(string)};
}

/* Append the parts, then the end of a line. parts[0] is left free for the end of a torn line. */
static void append(const char *path, struct iovec *parts, int count)
{
    off_t size;
    bool torn = false;
    AUTO_CLOSE int fd = open_locked(path, &size);
    if (fd < 0)
        return;
    uint64_t before = size ? last_time(fd, size, &torn) : last_time_before(path);
    uint64_t now = clock_ns(CLOCK_REALTIME);
    char end[END_BYTES + 3];
    struct text text = text_in(end, sizeof end);
    text_str(&text, "},");
    text_str(&text, end_before);
    text_digits(&text, now > before ? now : before + 1, DIGITS);
    text_str(&text, "}\n");
    parts[0] = part(torn ? "\n" : "");
    parts[count] = part(end);
    ssize_t whole = 0;
    for (int i = 0; i <= count; i++)
        whole += (ssize_t)parts[i].iov_len;
    ssize_t written = RETRY(writev(fd, parts, count + 1));
    if (written >= 0 && written < whole && ftruncate(fd, size) < 0)
        return; /* the disk is full, and the next writer ends the line */
}

/* What a rename has left: the actor with the new name. The memory lives as long as the process. */
static const char *renamed_actor(int run_dir)
{
    AUTO_CLOSE int fd = run_dir < 0 ? -1 : openat(run_dir, "actor", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat facts;
    if (fd < 0 || fstat(fd, &facts) < 0 || facts.st_size == 0 || facts.st_size > MAX_ACTOR_BYTES)
        return NULL;
    size_t size = (size_t)facts.st_size;
    char *bytes = mmap(NULL, size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED)
        return NULL;
    if (RETRY(read(fd, bytes, size)) == (long)size)
        return bytes;
    munmap(bytes, size + 1);
    return NULL;
}

void event_write(const struct events *events, int run_dir, const char *action, const char *more)
{
    int saved = errno;
    if (events->path) {
        const char *renamed = renamed_actor(run_dir);
        struct iovec parts[7] = {{0},
                                 part("{\"Type\":\"container\",\"Action\":\""),
                                 part(action),
                                 part("\","),
                                 part(renamed ? renamed : events->actor),
                                 part(more)};
        append(events->path, parts, 6);
        if (renamed)
            munmap((void *)(uintptr_t)renamed, strlen(renamed) + 1);
    }
    errno = saved;
}

void event_write_last(const struct events *events)
{
    for (int i = 0; events->path && i < events->last_count; i++) {
        struct iovec parts[3] = {{0}, part(events->last[i])};
        append(events->path, parts, 2);
    }
}

void event_number(struct text *text, const char *key, uint64_t number)
{
    text_str(text, ",\"");
    text_str(text, key);
    text_str(text, "\":\"");
    text_u64(text, number);
    text_char(text, '"');
}

static const char **string_at(struct events *events, int index)
{
    return index == 0 ? &events->path : index == 1 ? &events->actor : &events->last[index - 2];
}

size_t event_room(const struct events *events)
{
    size_t size = 0;
    for (int i = 0; events->path && i < 2 + events->last_count; i++)
        size += strlen(*string_at((struct events *)(uintptr_t)events, i)) + 1;
    return size;
}

void event_copy(struct events *events, char **room)
{
    for (int i = 0; events->path && i < 2 + events->last_count; i++) {
        const char **string = string_at(events, i);
        size_t size = strlen(*string) + 1;
        *string = memcpy(*room, *string, size);
        *room += size;
    }
}
