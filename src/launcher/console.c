/* The container's terminal, and its standard streams. */
#include "base.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "child.h"
#include "kernel.h"
#include "mount.h"
#include "path.h"
#include "wire.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

enum { DEVPTS_MAGIC = 0x1cd1 };

static bool is_multiplexer(int fd)
{
    struct stat stat;
    struct statfs fs;
    if (fstat(fd, &stat) < 0 || fstatfs(fd, &fs) < 0)
        return false;
    errno = ENOTTY;
    return fs.f_type == DEVPTS_MAGIC && S_ISCHR(stat.st_mode) && stat.st_rdev == makedev(5, 2);
}

/* Open the multiplexer and prove that it is one: in a running container anything may lie at that path. O_NONBLOCK
   keeps a FIFO from holding us up. */
static int open_multiplexer(int root)
{
    /* Looked at first, since opening alone makes some devices act; then again, since it may have been exchanged. */
    AUTO_CLOSE int seen = path_open(root, "dev/pts/ptmx");
    if (seen < 0 || !is_multiplexer(seen))
        return -1;
    AUTO_CLOSE int master = path_open_as(root, "dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (master < 0 || !is_multiplexer(master))
        return -1;
    return fcntl(master, F_SETFL, O_RDWR) < 0 ? -1 : keep_fd(&master);
}

static int open_slave(int root, int master)
{
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave >= 0 || (errno != ENOTTY && errno != EINVAL))
        return slave;
    unsigned number;
    if (ioctl(master, TIOCGPTN, &number) < 0)
        return -1;
    char path[32];
    struct text text = text_in(path, sizeof path);
    text_str(&text, "dev/pts/");
    text_u64(&text, number);
    return path_open_as(root, path, O_RDWR | O_NOCTTY);
}

/* /dev/console is the terminal too, as some init programs expect. */
static int bind_console(struct child *child, int slave)
{
    AUTO_CLOSE int target = path_make(child->root, "dev/console", MADE_FILE);
    CHECK(child->failure, target, "resolve", "/dev/console");
    CHECK(child->failure, bind_over(slave, target, false, 0, 0), "bind", "/dev/console");
    return 0;
}

int op_console(struct child *child, const struct op *op)
{
    (void)op;
    AUTO_CLOSE int here = child->root >= 0 ? -1 : open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int root = child->root >= 0 ? child->root : here;
    AUTO_CLOSE int master = open_multiplexer(root);
    CHECK(child->failure, master, "open", "/dev/pts/ptmx");
    int unlock = 0;
    CHECK(child->failure, ioctl(master, TIOCSPTLCK, &unlock), "unlock", "/dev/pts/ptmx");
    AUTO_CLOSE int slave = open_slave(root, master);
    CHECK(child->failure, slave, "open", "the terminal");
    struct winsize size = {.ws_row = (unsigned short)child->rows, .ws_col = (unsigned short)child->columns};
    if (size.ws_row && size.ws_col)
        CHECK(child->failure, ioctl(slave, TIOCSWINSZ, &size), "resize", "the terminal");
    if (child->root >= 0 && bind_console(child, slave) < 0)
        return -1;
    CHECK(child->failure, ioctl(slave, TIOCSCTTY, 0), "control", "the terminal");
    struct message message = {.kind = MESSAGE_CONSOLE};
    CHECK(child->failure, send_with_fd(child->channel, &message, sizeof message, master), "send", "the terminal");
    for (int fd = 0; fd < 3; fd++)
        CHECK(child->failure, dup2(slave, fd), "dup2", "the terminal");
    child->console = true;
    return 0;
}

/* Standard streams that are the host's null device become the container's own: through an inherited descriptor
   it could change the mode of the host's. Without one, standard input is a pipe at its end. */
int own_null_device(struct child *child)
{
    for (int fd = 0; fd < 3; fd++) {
        struct stat stat;
        if (fstat(fd, &stat) == 0 && !(S_ISCHR(stat.st_mode) && stat.st_rdev == makedev(1, 3)))
            continue;
        AUTO_CLOSE int null = open("/dev/null", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (null >= 0 && fstat(null, &stat) == 0 && S_ISCHR(stat.st_mode) && stat.st_rdev == makedev(1, 3)) {
            CHECK(child->failure, fcntl(null, F_SETFL, O_RDWR), "fcntl", "/dev/null");
            CHECK(child->failure, dup2(null, fd), "dup2", "/dev/null");
            continue;
        }
        int ends[2];
        CHECK(child->failure, pipe2(ends, O_CLOEXEC), "pipe2", NULL);
        int duplicate = dup2(ends[fd == 0 ? 0 : 1], fd);
        close(ends[0]);
        close(ends[1]);
        CHECK(child->failure, duplicate, "dup2", NULL);
    }
    return 0;
}
