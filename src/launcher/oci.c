/* The operations that only foreign specs ask for. */
#include "base.h"

#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "child.h"
#include "mount.h"
#include "path.h"

enum { IOPRIO_WHO_PROCESS_ = 1 };

/* From here on the parent is gone: failures go to the FIFO, which the program's exec closes. */
int op_wait_start(struct child *child, const struct op *op)
{
    (void)op;
    if (child_handshake(child) < 0)
        return -1;
    close(child->channel);
    child->channel = child->result;
    child->released = true;
    char go;
    CHECK(child->failure, RETRY(read(child->start, &go, 1)), "read", "the start");
    close(child->start);
    child->start = -1;
    return 0;
}

int op_hooks(struct child *child, const struct op *op)
{
    (void)op;
    return child_ask(child, MESSAGE_HOOKS);
}

int op_id_maps(struct child *child, const struct op *op)
{
    (void)op;
    if (child->role == ROLE_CREATE && child_ask(child, MESSAGE_MAPS) < 0)
        return -1;
    /* Where setgroups is forbidden, the groups are the caller's, which the namespace does not map. */
    if (setgroups(0, NULL) < 0 && errno != EPERM)
        return failed(child->failure, "setgroups", NULL);
    CHECK(child->failure, setresgid(0, 0, 0), "setresgid", NULL);
    CHECK(child->failure, setresuid(0, 0, 0), "setresuid", NULL);
    CHECK(child->failure, prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl", "dumpable");
    return 0;
}

int op_personality(struct child *child, const struct op *op)
{
    CHECK(child->failure, personality((unsigned long)op->field[0].number), "personality", NULL);
    return 0;
}

int op_scheduler(struct child *child, const struct op *op)
{
    const struct field *field = op->field;
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {
        .size = 48,
        .policy = (uint32_t)field[0].number,
        .flags = field[1].number,
        .nice = (int32_t)field[2].number,
        .priority = (uint32_t)field[3].number,
        .runtime = field[4].number,
        .deadline = field[5].number,
        .period = field[6].number,
    };
    CHECK(child->failure, syscall(SYS_sched_setattr, 0, &attributes, 0), "sched_setattr", NULL);
    return 0;
}

int op_io_priority(struct child *child, const struct op *op)
{
    CHECK(child->failure, syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS_, 0, (int)op->field[0].number), "ioprio_set",
          NULL);
    return 0;
}

int op_cpu_affinity(struct child *child, const struct op *op)
{
    uint64_t mask[128];
    memcpy(mask, op->field[0].bytes, op->field[0].size);
    CHECK(child->failure, syscall(SYS_sched_setaffinity, 0, op->field[0].size, mask), "sched_setaffinity", NULL);
    return 0;
}

int op_propagation_in(struct child *child, const struct op *op)
{
    const char *path = op->field[0].bytes;
    AUTO_CLOSE int target = child->root >= 0 ? path_open(child->root, path) : open(path, O_PATH | O_CLOEXEC);
    CHECK(child->failure, target, "resolve", path);
    CHECK(child->failure, mount_at(target, NULL, NULL, (unsigned long)op->field[1].number, NULL), "mount", path);
    return 0;
}

int op_root_as_is(struct child *child, const struct op *op)
{
    const char *path = op->field[0].bytes;
    child->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(child->failure, child->root, "open", path);
    return 0;
}

int op_chroot(struct child *child, const struct op *op)
{
    (void)op;
    CHECK(child->failure, fchdir(child->root), "fchdir", NULL);
    CHECK(child->failure, chroot("."), "chroot", NULL);
    CHECK(child->failure, chdir("/"), "chdir", "/");
    close(child->root);
    child->root = -1;
    return own_null_device(child);
}
