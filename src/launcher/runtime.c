/* The last step where another OCI runtime makes the container: `create`, a word from the monitor, `start`. */
#include "base.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "child.h"
#include "kernel.h"
#include "wire.h"

enum { TERMINAL_MS = 2000 };

static char *const environment[] = {
    (char[]){"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, NULL};

/* Run the runtime to the end of a command of its own. What it says on its standard error is the container's pipe;
   what went wrong is in the log file that its arguments name, which the engine reads. */
static int run(struct child *child, const struct field *words, const struct field *groups, const char *what)
{
    char *arguments[MAX_RUNTIME_WORDS + 1], *files[MAX_TASKS_FILES + 1];
    field_strings(words, arguments);
    field_strings(groups, files);
    pid_t pid = fork();
    CHECK(child->failure, pid, "fork", NULL);
    if (pid == 0) {
        if (sys_close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
            for (int fd = 3; fd < 1024; fd++)
                fcntl(fd, F_SETFD, FD_CLOEXEC);
        for (char **file = files; *file; file++)
            if (write_text(AT_FDCWD, *file, "0") < 0)
                _exit(125);
        execve(arguments[0], arguments, environment);
        _exit(errno == ENOENT ? 127 : 126);
    }
    int status;
    CHECK(child->failure, RETRY(waitpid(pid, &status, 0)), "wait", what);
    REQUIRE(child->failure, WIFEXITED(status) && WEXITSTATUS(status) == 0, EIO, what, "failed");
    return 0;
}

static int listen_for_terminal(struct child *child, const char *path)
{
    AUTO_CLOSE int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(child->failure, sock, "socket", NULL);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    REQUIRE(child->failure, strlen(path) < sizeof address.sun_path, ENAMETOOLONG, "listen", path);
    memcpy(address.sun_path, path, strlen(path));
    unlink(path);
    mode_t mask = umask(0177);
    int result = bind(sock, (const struct sockaddr *)&address, sizeof address);
    umask(mask);
    CHECK(child->failure, result, "bind", path);
    CHECK(child->failure, listen(sock, 1), "listen", path);
    return keep_fd(&sock);
}

/* The runtime has sent the terminal's master by now: hand it on to the monitor. */
static int take_terminal(struct child *child, int listener)
{
    struct pollfd entry = {listener, POLLIN, 0};
    REQUIRE(child->failure, RETRY(poll(&entry, 1, TERMINAL_MS)) > 0, ETIMEDOUT, "receive", "the terminal");
    AUTO_CLOSE int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(child->failure, connection, "accept", "the terminal");
    char name[256];
    int received = -1;
    CHECK(child->failure, receive_with_fd(connection, name, sizeof name, &received), "receive", "the terminal");
    AUTO_CLOSE int master = received;
    REQUIRE(child->failure, master >= 0 && isatty(master), ENOTTY, "receive", "the terminal");
    struct winsize size = {.ws_row = (unsigned short)child->rows, .ws_col = (unsigned short)child->columns};
    if (size.ws_row && size.ws_col)
        CHECK(child->failure, ioctl(master, TIOCSWINSZ, &size), "resize", "the terminal");
    struct message message = {.kind = MESSAGE_CONSOLE};
    CHECK(child->failure, send_with_fd(child->channel, &message, sizeof message, master), "send", "the terminal");
    return 0;
}

static int read_pid(struct child *child, const char *path)
{
    char text[32];
    CHECK(child->failure, read_text(AT_FDCWD, path, text, sizeof text), "read", path);
    child->container = (pid_t)strtol(text, NULL, 10);
    REQUIRE(child->failure, child->container > 1, EINVAL, "read", path);
    return 0;
}

int op_runtime(struct child *child, const struct op *op)
{
    const struct field *field = op->field;
    const struct field none = {0};
    const char *terminal = field[4].bytes;
    AUTO_CLOSE int listener = -1;
    umask(022);
    if (*terminal) {
        listener = listen_for_terminal(child, terminal);
        if (listener < 0)
            return -1;
    }
    int result = run(child, &field[0], &field[5], "create");
    if (result == 0 && *terminal)
        result = take_terminal(child, listener);
    if (*terminal)
        unlink(terminal);
    if (result < 0 || read_pid(child, field[3].bytes) < 0 || child_handshake(child) < 0 ||
        run(child, &field[1], &none, "start") < 0)
        return -1;
    _exit(0);
}
