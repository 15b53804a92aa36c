#include "state.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "wire.h"

static const char running_name[] = "status";
static const char running_temporary[] = "status.tmp";
static const char socket_name[] = "attach.sock";

static void put_number(struct text *text, uint64_t number)
{
    text_char(text, ' ');
    text_u64(text, number);
}

static int write_file(int dir, const char *path, const struct text *text, const char *start)
{
    AUTO_CLOSE int fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return -1;
    size_t size = (size_t)(text->at - start);
    return write_all(fd, start, size) < 0 || ftruncate(fd, (off_t)size) < 0 ? -1 : 0;
}

int state_write_running(int run_dir, pid_t pid, uint64_t pid_ticks, uint64_t started_ns)
{
    char boot[64];
    AUTO_CLOSE int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0 || read_text(proc, "sys/kernel/random/boot_id", boot, sizeof boot) < 0)
        return -1;
    boot[strcspn(boot, "\n")] = 0;
    char line[256];
    struct text text = text_in(line, sizeof line);
    text_str(&text, "running");
    put_number(&text, (uint64_t)getpid());
    put_number(&text, start_ticks(proc, getpid()));
    put_number(&text, (uint64_t)pid);
    put_number(&text, pid_ticks);
    put_number(&text, started_ns);
    text_char(&text, ' ');
    text_str(&text, boot);
    text_char(&text, '\n');
    if (write_file(run_dir, running_temporary, &text, line) < 0)
        return -1;
    return renameat(run_dir, running_temporary, run_dir, running_name);
}

void state_remove_running(int run_dir)
{
    unlinkat(run_dir, running_name, 0);
    unlinkat(run_dir, running_temporary, 0);
}

static void temporary_name(const char *name, char temporary[NAME_MAX])
{
    struct text text = text_in(temporary, NAME_MAX);
    text_str(&text, name);
    text_str(&text, ".tmp");
}

int state_open_new(int dir, const char *name)
{
    char temporary[NAME_MAX];
    temporary_name(name, temporary);
    return openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
}

int state_publish(int dir, const char *name)
{
    char temporary[NAME_MAX];
    temporary_name(name, temporary);
    return renameat(dir, temporary, dir, name);
}

static int exit_temporary(const char *path, char temporary[PATH_MAX])
{
    struct text text = text_in(temporary, PATH_MAX);
    text_str(&text, path);
    text_str(&text, ".tmp");
    if (text.at == text.end) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return 0;
}

void state_reserve_exit(const char *path)
{
    char temporary[PATH_MAX];
    if (exit_temporary(path, temporary) < 0)
        return;
    AUTO_CLOSE int fd = open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    /* Where it cannot be reserved, writing at the end may still succeed. */
    if (fd >= 0 && fallocate(fd, 0, 0, 256) < 0)
        return;
}

int state_write_exit(const char *path, const struct exit_state *state)
{
    char line[128], temporary[PATH_MAX];
    struct text text = text_in(line, sizeof line);
    text_str(&text, "exited");
    put_number(&text, (uint64_t)state->code);
    put_number(&text, (uint64_t)state->signal);
    put_number(&text, state->oom);
    put_number(&text, state->started_ns);
    put_number(&text, state->finished_ns);
    text_char(&text, '\n');
    if (exit_temporary(path, temporary) < 0 || write_file(AT_FDCWD, temporary, &text, line) < 0)
        return -1;
    return rename(temporary, path);
}

int state_listen(int run_dir)
{
    AUTO_CLOSE int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0)
        return -1;
    /* A socket's address holds 108 bytes; the directory's descriptor makes any path short. */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct text text = text_in(address.sun_path, sizeof address.sun_path);
    text_str(&text, fd_path(run_dir).text);
    text_char(&text, '/');
    text_str(&text, socket_name);
    unlinkat(run_dir, socket_name, 0);
    mode_t mask = umask(0177);
    int result = bind(sock, (const struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (result < 0 || listen(sock, 16) < 0)
        return -1;
    return keep_fd(&sock);
}

void state_remove_socket(int run_dir)
{
    unlinkat(run_dir, socket_name, 0);
}
