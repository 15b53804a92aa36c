#include "wire.h"

#include <sys/socket.h>

int send_with_fd(int socket, const void *bytes, size_t size, int fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return RETRY(sendmsg(socket, &message, MSG_NOSIGNAL)) == (ssize_t)size ? 0 : -1;
}

ssize_t receive_with_fd(int socket, void *bytes, size_t size, int *fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {bytes, size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    *fd = -1;
    ssize_t received = RETRY(recvmsg(socket, &message, MSG_CMSG_CLOEXEC));
    if (received < 0)
        return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof *fd))
        memcpy(fd, CMSG_DATA(header), sizeof *fd);
    return received;
}

int report_failure(int fd, const struct failure *failure)
{
    char line[320];
    struct text text = text_in(line, sizeof line);
    text_str(&text, "E ");
    if (failure->op < 0)
        text_str(&text, "-1");
    else
        text_u64(&text, (uint64_t)failure->op);
    text_char(&text, ' ');
    text_u64(&text, (uint64_t)failure->err);
    text_char(&text, ' ');
    text_str(&text, failure->text);
    text_char(&text, '\n');
    return write_all(fd, line, (size_t)(text.at - line));
}

int report_fork(int fd, pid_t pid)
{
    if (pid >= 0)
        return 0;
    struct failure failure = {.op = -1};
    failed(&failure, "fork", NULL);
    report_failure(fd, &failure);
    return 1;
}

int report_started(int fd, pid_t pid, uint64_t ticks)
{
    char line[64];
    struct text text = text_in(line, sizeof line);
    text_str(&text, "S ");
    text_u64(&text, (uint64_t)pid);
    text_char(&text, ' ');
    text_u64(&text, ticks);
    text_char(&text, '\n');
    return write_all(fd, line, (size_t)(text.at - line));
}

int report_exit(int fd, int code)
{
    char line[32];
    struct text text = text_in(line, sizeof line);
    text_str(&text, "X ");
    text_u64(&text, (uint64_t)code);
    text_char(&text, '\n');
    return write_all(fd, line, (size_t)(text.at - line));
}

uint64_t start_ticks(int proc, pid_t pid)
{
    char path[32], stat[1024];
    struct text text = text_in(path, sizeof path);
    text_u64(&text, (uint64_t)pid);
    text_str(&text, "/stat");
    if (read_text(proc, path, stat, sizeof stat) < 0)
        return 0;
    /* The name in parentheses may itself hold spaces and parentheses: count words from the last one. */
    const char *at = strrchr(stat, ')');
    for (int word = 2; at && word < 22; word++)
        at = strchr(at + 1, ' ');
    uint64_t ticks = 0;
    for (at = at ? at + 1 : ""; *at >= '0' && *at <= '9'; at++)
        ticks = ticks * 10 + (uint64_t)(*at - '0');
    return ticks;
}
