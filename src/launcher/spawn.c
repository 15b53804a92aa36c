#include "spawn.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kernel.h"
#include "userns.h"

bool spawn_note(struct spawn *spawn, const struct op *op)
{
    switch (op->code) {
    case OP_CLONE:
        spawn->clone_flags = op->field[0].number;
        return true;
    case OP_JOIN_NS:
        spawn->joins[spawn->join_count++] = (struct join){(int)op->field[0].number, op->field[1].bytes, op->index};
        return true;
    case OP_DONOR:
        spawn->donors[spawn->donor_count++] = (struct donor){(pid_t)op->field[0].number, op->field[1].number, op->index};
        return true;
    case OP_TREE_FROM:
        spawn->borrowed[spawn->borrowed_count++] =
            (struct borrowed){op->field[0].number, op->field[1].bytes, op->field[2].bytes, op->field[3].number, op->index};
        return true;
    case OP_USERNS:
        spawn->userns = *op;
        return true;
    case OP_CGROUP_INTO:
        spawn->cgroup_into = op->field[0].bytes;
        spawn->cgroup_into_op = op->index;
        return true;
    case OP_CGROUP_TASKS:
        spawn->tasks[spawn->tasks_count] = op->field[0].bytes;
        spawn->tasks_op[spawn->tasks_count++] = op->index;
        return true;
    case OP_TIME_OFFSETS:
        spawn->time_offsets = op->field[0].bytes;
        spawn->time_op = op->index;
        return true;
    default:
        return false;
    }
}

/* clone3, or clone on kernels without it, where the child then writes itself into the cgroup. Linux 5.3 to 5.6 have
   clone3, but find the request longer than they know when it names a cgroup. */
static pid_t clone_child(uint64_t flags, int cgroup, struct child *child)
{
    pid_t pid = sys_clone3(flags, flags & CLONE_PARENT ? 0 : SIGCHLD, cgroup);
    if (pid >= 0 || !(call_is_missing() || (cgroup >= 0 && errno == E2BIG)))
        return pid;
    if (cgroup >= 0) {
        child->cgroup_procs = openat(cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        if (child->cgroup_procs < 0)
            return -1;
    }
    unsigned long signal = flags & CLONE_PARENT ? 0 : SIGCHLD;
    return (pid_t)syscall(SYS_clone, (unsigned long)flags | signal, NULL, NULL, NULL, 0);
}

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* The process in between: it enters namespaces so that its parent need not, and clones a sibling into them. The
   child is thus born inside, never seen there with a foot still outside. */
static _Noreturn void go_between(struct spawn *spawn, struct child *child, int cgroup, int reply)
{
    struct message message = {.failure = {.op = -1}};
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    child->failure = &message.failure;
    child->mapped = spawn->userns.code || spawn->enter_flags & CLONE_NEWUSER;
    if (userns_open(spawn, child) == 0 && join_namespaces(spawn, child, &message.failure) == 0 &&
        userns_prepare(spawn, child) == 0) {
        close_fd(&spawn->enter_pidfd);
        pid_t pid = clone_child(spawn->clone_flags | CLONE_PARENT, cgroup, child);
        if (pid == 0) {
            close(reply);
            close_fd(&cgroup);
            child_main(child);
        }
        message.kind = (int)pid;
        if (pid < 0)
            failed(&message.failure, "clone", NULL);
    } else {
        message.kind = -1;
    }
    _exit(write(reply, &message, sizeof message) < 0);
}

static pid_t spawn_between(struct spawn *spawn, struct child *child, int cgroup, const int *not_for_child, size_t count,
                           struct failure *failure)
{
    int pair[2];
    CHECK(failure, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair", NULL);
    pid_t between = fork();
    if (between == 0) {
        close(pair[0]);
        close_all(not_for_child, count);
        go_between(spawn, child, cgroup, pair[1]);
    }
    close(pair[1]);
    AUTO_CLOSE int replies = pair[0];
    CHECK(failure, between, "fork", NULL);
    struct message message = {.kind = -1, .failure = {.op = -1, .err = EIO, .text = "setns"}};
    long size = RETRY(read(replies, &message, sizeof message));
    RETRY(waitpid(between, NULL, 0));
    if (size == (long)sizeof message && message.kind > 0)
        return message.kind;
    *failure = message.failure;
    return -1;
}

/* Open what the child will write itself into, while the host's paths are still ours. */
static int open_cgroups(const struct spawn *spawn, struct child *child, int *cgroup, struct failure *failure)
{
    for (int i = 0; i < spawn->tasks_count; i++) {
        failure->op = spawn->tasks_op[i];
        child->tasks[i] = open(spawn->tasks[i], O_WRONLY | O_CLOEXEC);
        CHECK(failure, child->tasks[i], "open", spawn->tasks[i]);
    }
    if (spawn->cgroup_into) {
        failure->op = spawn->cgroup_into_op;
        *cgroup = open(spawn->cgroup_into, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(failure, *cgroup, "open", spawn->cgroup_into);
        if (spawn->userns.code || spawn->enter_flags & CLONE_NEWUSER) {
            /* Whoever clones has no rights there any more; what counts for a write is who opened the file. */
            child->cgroup_procs = openat(*cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);
            CHECK(failure, child->cgroup_procs, "open", spawn->cgroup_into);
            close(*cgroup);
            *cgroup = -1;
        }
    }
    failure->op = -1;
    return 0;
}

pid_t spawn_child(struct spawn *spawn, struct child *child, int *channel, const int *not_for_child, size_t count,
                  struct failure *failure)
{
    AUTO_CLOSE int cgroup = -1;
    child->cgroup_procs = -1;
    child->root = child->null = child->empty = child->userns = -1;
    for (size_t i = 0; i < COUNT(child->trees); i++)
        child->trees[i] = -1;
    if (open_cgroups(spawn, child, &cgroup, failure) < 0)
        return -1;
    int pair[2];
    CHECK(failure, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair", NULL);
    AUTO_CLOSE int ours = pair[0];
    AUTO_CLOSE int theirs = pair[1];
    child->channel = theirs;
    int closed[16] = {ours};
    size_t closed_count = 1;
    for (size_t i = 0; i < count; i++)
        closed[closed_count++] = not_for_child[i];
    pid_t pid;
    if (spawn->join_count || spawn->borrowed_count || spawn->enter_flags || spawn->userns.code ||
        spawn->time_offsets) {
        pid = spawn_between(spawn, child, cgroup, closed, closed_count, failure);
    } else {
        pid = clone_child(spawn->clone_flags, cgroup, child);
        if (pid == 0) {
            close_all(closed, closed_count);
            close_fd(&cgroup);
            child_main(child);
        }
        if (pid < 0)
            failed(failure, "clone", NULL);
    }
    close_all(child->tasks, (size_t)spawn->tasks_count);
    if (pid > 0)
        *channel = keep_fd(&ours);
    return pid;
}
