#include "userns.h"

#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kernel.h"
#include "mount.h"
#include "roles.h"
#include "wire.h"

static int write_map(pid_t pid, const char *name, const char *map, struct failure *failure)
{
    char path[64];
    struct text text = text_in(path, sizeof path);
    text_str(&text, "/proc/");
    text_u64(&text, (uint64_t)pid);
    text_str(&text, name);
    /* One write(2), or the kernel refuses the second. */
    CHECK(failure, write_text(AT_FDCWD, path, map), "write", path);
    return 0;
}

static int describe(pid_t pid, const char *uid_map, const char *gid_map, struct failure *failure)
{
    if (write_map(pid, "/uid_map", uid_map, failure) < 0 || write_map(pid, "/gid_map", gid_map, failure) < 0)
        return -1;
    char path[64];
    struct text text = text_in(path, sizeof path);
    text_str(&text, "/proc/");
    text_u64(&text, (uint64_t)pid);
    text_str(&text, "/ns/user");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(failure, fd, "open", path);
    return fd;
}

int userns_make(const char *uid_map, const char *gid_map, struct failure *failure)
{
    int pair[2];
    CHECK(failure, pipe2(pair, O_CLOEXEC), "pipe2", NULL);
    /* Somebody has to be in it until it has a descriptor. He waits for the end of the pipe, and never acts there. */
    pid_t holder = (pid_t)syscall(SYS_clone, (unsigned long)(CLONE_NEWUSER | SIGCHLD), NULL, NULL, NULL, 0);
    if (holder == 0) {
        char end;
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        close(pair[1]);
        _exit(RETRY(read(pair[0], &end, 1)) != 0);
    }
    close(pair[0]);
    AUTO_CLOSE int release = pair[1];
    CHECK(failure, holder, "clone", "a user namespace");
    int fd = describe(holder, uid_map, gid_map, failure);
    close_fd(&release);
    release = -1;
    RETRY(waitpid(holder, NULL, 0));
    return fd;
}

int role_userns(const char *uid_map, const char *gid_map)
{
    struct failure failure = {.op = -1};
    AUTO_CLOSE int fd = userns_make(uid_map, gid_map, &failure);
    if (fd >= 0 && send_with_fd(STATUS_FD, "U\n", 2, fd) >= 0)
        return 0;
    report_failure(STATUS_FD, &failure);
    return 125;
}

int userns_open(const struct spawn *spawn, struct child *child)
{
    const struct op *op = &spawn->userns;
    if (!op->code)
        return 0;
    child->failure->op = op->index;
    const char *path = op->field[0].bytes;
    if (*path) {
        child->userns = open(path, O_RDONLY | O_CLOEXEC);
        CHECK(child->failure, child->userns, "open", path);
        return 0;
    }
    child->userns = userns_make(op->field[1].bytes, op->field[2].bytes, child->failure);
    return child->userns < 0 ? -1 : 0;
}

/* The container's streams are its root's from the start, who could not even be given them later. */
static void give_pipes(const struct op *op, const struct child *child)
{
    for (int fd = 0; fd < 3; fd++)
        if (child->stdio[fd] >= 0 &&
            fchown(child->stdio[fd], (uid_t)op->field[3].number, (gid_t)op->field[4].number) < 0)
            continue; /* It is open already; only reopening by path is lost. */
}

int userns_prepare(const struct spawn *spawn, struct child *child)
{
    const struct op *op = &spawn->userns;
    if (!op->code)
        return 0;
    child->failure->op = op->index;
    CHECK(child->failure, unshare(CLONE_NEWNS), "unshare", "mnt");
    CHECK(child->failure, mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "mount", "/");
    umask(0);
    struct cursor cursor = plan_begin(child->plan);
    if (child_carry_out(child, &cursor, OP_CLONE) < 0)
        return -1;
    child->failure->op = op->index;
    /* Detached, it can be attached where we are not: in a mount namespace that the user namespace owns, and as a mount
       that is not locked there. */
    AUTO_CLOSE int root = clone_mount(child->root, false);
    CHECK(child->failure, root, "open_tree", "the root");
    close(child->root);
    child->root = keep_fd(&root);
    child->prepared = true;
    give_pipes(op, child);
    CHECK(child->failure, setns(child->userns, CLONE_NEWUSER), "setns", "user");
    close_fd(&child->userns);
    child->userns = -1;
    /* What the kernel makes with the child's namespaces is to be its root's, too. */
    CHECK(child->failure, userns_become_root(), "become", "root of the user namespace");
    /* With the rights, this went too. Until the child is made, nobody in the namespace may look at us. */
    CHECK(child->failure, prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl", "dumpable");
    return 0;
}

int userns_become_root(void)
{
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0)
        return -1;
    return setresuid(0, 0, 0);
}

int userns_attach_root(struct child *child)
{
    /* On top of everything, where the way to it needs no rights on the host's directories. The old root goes with
       pivot_root, as ever. */
    AUTO_CLOSE int top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(child->failure, top, "open", "/");
    CHECK(child->failure, sys_move_mount(child->root, top), "move_mount", "the root");
    return 0;
}
