/* The operations that set up the process and its namespaces, other than mounts. */
#include "base.h"

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "child.h"
#include "path.h"

int op_cgroup_tasks(struct child *child, const struct op *op)
{
    int *fd = &child->tasks[child->tasks_index++];
    CHECK(child->failure, RETRY(write(*fd, "0", 1)), "join", op->field[0].bytes);
    close(*fd);
    *fd = -1;
    return 0;
}

int op_unshare(struct child *child, const struct op *op)
{
    CHECK(child->failure, unshare((int)op->field[0].number), "unshare", NULL);
    return 0;
}

int op_loopback(struct child *child, const struct op *op)
{
    (void)op;
    AUTO_CLOSE int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(child->failure, sock, "socket", "lo");
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    CHECK(child->failure, ioctl(sock, SIOCSIFFLAGS, &request), "bring up", "lo");
    return 0;
}

int op_hostname(struct child *child, const struct op *op)
{
    CHECK(child->failure, sethostname(op->field[0].bytes, op->field[0].size), "sethostname", op->field[0].bytes);
    return 0;
}

int op_domainname(struct child *child, const struct op *op)
{
    CHECK(child->failure, setdomainname(op->field[0].bytes, op->field[0].size), "setdomainname", op->field[0].bytes);
    return 0;
}

int op_umask(struct child *child, const struct op *op)
{
    umask((mode_t)op->field[0].number);
    child->umask_set = true;
    return 0;
}

int op_chdir(struct child *child, const struct op *op)
{
    const char *path = op->field[0].bytes;
    AUTO_CLOSE int here = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(child->failure, here, "open", "/");
    /* No magic link of procfs is followed: with our rights it could lead to another process's files. */
    AUTO_CLOSE int directory = op->field[1].number ? path_make(here, path, MADE_DIRECTORY) : path_open(here, path);
    CHECK(child->failure, directory, "chdir", path);
    CHECK(child->failure, fchdir(directory), "chdir", path);
    /* Through a leaked descriptor a path can lead out of the root; the kernel then says "(unreachable)". */
    char where[PATH_MAX];
    CHECK(child->failure, syscall(SYS_getcwd, where, sizeof where), "getcwd", path);
    REQUIRE(child->failure, where[0] == '/', EXDEV, "chdir", path);
    return 0;
}
