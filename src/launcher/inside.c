/* The operations that set up the process and its namespaces, other than mounts. */
#include "base.h"

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "child.h"

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

/* mkdir -p. The path is the container's own, and so is the root: there is nothing to escape to. */
static int make_directories(const char *path)
{
    char part[PATH_MAX];
    size_t size = strlen(path);
    if (size >= sizeof part) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (size_t end = 1; end <= size; end++) {
        if (path[end] != '/' && path[end] != 0)
            continue;
        memcpy(part, path, end);
        part[end] = 0;
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return -1;
    }
    return 0;
}

int op_chdir(struct child *child, const struct op *op)
{
    const char *path = op->field[0].bytes;
    int result = chdir(path);
    if (result < 0 && errno == ENOENT && op->field[1].number) {
        CHECK(child->failure, make_directories(path), "mkdir", path);
        result = chdir(path);
    }
    CHECK(child->failure, result, "chdir", path);
    /* Through a leaked descriptor a path can lead out of the root; the kernel then says "(unreachable)". */
    char where[PATH_MAX];
    CHECK(child->failure, syscall(SYS_getcwd, where, sizeof where), "getcwd", path);
    REQUIRE(child->failure, where[0] == '/', EXDEV, "chdir", path);
    return 0;
}
