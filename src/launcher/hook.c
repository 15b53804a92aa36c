/* Hooks that run in the container's namespaces: createContainer, before the root is entered, and startContainer. */
#include "base.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "child.h"
#include "kernel.h"

enum { TICK_MS = 20, SAID_MAX = 160 };

static _Noreturn void become_hook(const struct child *child, const struct op *op, char *const *arguments,
                                  char *const *environment, int output)
{
    int state = child->states[op->field[4].number];
    if (lseek(state, 0, SEEK_SET) < 0 || dup2(state, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        _exit(127);
    if (sys_close_range(3, ~0u, 0) < 0)
        for (int fd = 3; fd < 1024; fd++)
            close(fd);
    execve(op->field[0].bytes, arguments, environment);
    static const char reason[] = "cannot be executed";
    _exit(write(2, reason, sizeof reason - 1) < 0 ? 126 : 127);
}

/* Keep the beginning of what a hook says, for the error message; the rest is read and thrown away. */
static void listen_to(int output, char *said, size_t *size)
{
    char buffer[512];
    ssize_t n = read(output, buffer, sizeof buffer);
    for (ssize_t i = 0; i < n && *size < SAID_MAX; i++)
        said[(*size)++] = buffer[i];
    said[*size] = 0;
    if (n <= 0)
        sleep_ms(TICK_MS);
}

/* Wait for the hook's end or its time; its status, or -1 after the time. */
static int await_hook(pid_t pid, int output, uint64_t timeout_ms, char *said)
{
    uint64_t deadline = clock_ns(CLOCK_MONOTONIC) / 1000000 + timeout_ms;
    size_t size = 0;
    int status;
    for (;;) {
        pid_t ended = waitpid(pid, &status, WNOHANG);
        struct pollfd entry = {output, POLLIN, 0};
        if (ended == pid) {
            if (poll(&entry, 1, 0) > 0)
                listen_to(output, said, &size);
            return status;
        }
        if (timeout_ms && clock_ns(CLOCK_MONOTONIC) / 1000000 >= deadline) {
            kill(pid, SIGKILL);
            RETRY(waitpid(pid, &status, 0));
            return -1;
        }
        if (poll(&entry, 1, TICK_MS) > 0)
            listen_to(output, said, &size);
    }
}

static int refuse(struct child *child, const struct op *op, int status, const char *said)
{
    char what[200];
    struct text text = text_in(what, sizeof what);
    if (status < 0) {
        text_str(&text, "timed out");
        errno = ETIMEDOUT;
    } else {
        text_str(&text, WIFSIGNALED(status) ? "was killed by signal " : "exited with code ");
        text_u64(&text, (uint64_t)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)));
        errno = ECANCELED;
    }
    if (*said) {
        text_str(&text, ": ");
        text_str(&text, said);
    }
    (void)op;
    return failed(child->failure, "hook", what);
}

int op_hook(struct child *child, const struct op *op)
{
    char **arguments = string_array(child, &op->field[1]);
    char **environment = string_array(child, &op->field[2]);
    if (!arguments || !environment)
        return -1;
    int ends[2];
    CHECK(child->failure, pipe2(ends, O_CLOEXEC), "pipe2", NULL);
    AUTO_CLOSE int output = ends[0];
    pid_t pid = fork();
    if (pid == 0)
        become_hook(child, op, arguments, environment, ends[1]);
    close(ends[1]);
    CHECK(child->failure, pid, "fork", NULL);
    char said[SAID_MAX + 1] = "";
    int status = await_hook(pid, output, op->field[3].number, said);
    return status == 0 ? 0 : refuse(child, op, status, said);
}
