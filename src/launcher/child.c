#include "child.h"

#include <linux/keyctl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "kernel.h"
#include "userns.h"
#include "wire.h"

typedef int operation(struct child *child, const struct op *op);

/* Operations without an entry are the parent's. */
static operation *const operations[MAX_OP_CODE + 1] = {
    [OP_CGROUP_TASKS] = op_cgroup_tasks,
    [OP_UNSHARE] = op_unshare,
    [OP_PROPAGATION] = op_propagation,
    [OP_MOUNT] = op_mount,
    [OP_ROOT] = op_root_given,
    [OP_MOUNT_IN] = op_mount_in,
    [OP_BIND_IN] = op_bind_in_given,
    [OP_COPY_UP_IN] = op_copy_up_in,
    [OP_MKDIR_IN] = op_mkdir_in,
    [OP_MKNOD_IN] = op_mknod_in,
    [OP_SYMLINK_IN] = op_symlink_in,
    [OP_MASK_IN] = op_mask_in,
    [OP_READONLY_IN] = op_readonly_in,
    [OP_SYSCTL] = op_sysctl,
    [OP_CONSOLE] = op_console,
    [OP_ROOT_READONLY] = op_root_readonly,
    [OP_TREE] = op_tree_given,
    [OP_TREE_MAPPED] = op_tree_given,
    [OP_TREE_INSIDE] = op_tree_inside,
    [OP_IDMAP] = op_idmap,
    [OP_ATTACH] = op_attach,
    [OP_PIVOT] = op_pivot,
    [OP_LOOPBACK] = op_loopback,
    [OP_HOSTNAME] = op_hostname,
    [OP_DOMAINNAME] = op_domainname,
    [OP_RLIMIT] = op_rlimit,
    [OP_OOM_SCORE_ADJ] = op_oom_score_adj,
    [OP_MEMORY_MERGE] = op_memory_merge,
    [OP_UMASK] = op_umask,
    [OP_CHDIR] = op_chdir,
    [OP_LSM_EXEC] = op_lsm_exec,
    [OP_NO_NEW_PRIVS] = op_no_new_privs,
    [OP_SECCOMP] = op_seccomp,
    [OP_CREDS] = op_creds,
    [OP_CAPS] = op_caps,
    [OP_INIT] = op_init,
    [OP_PASS_FDS] = op_pass_fds,
    [OP_EXEC] = op_exec,
    [OP_RUNTIME] = op_runtime,
    [OP_WAIT_START] = op_wait_start,
    [OP_HOOKS] = op_hooks,
    [OP_HOOK] = op_hook,
    [OP_FIND_EXEC] = op_find_exec,
    [OP_ID_MAPS] = op_id_maps,
    [OP_PERSONALITY] = op_personality,
    [OP_SCHEDULER] = op_scheduler,
    [OP_IO_PRIORITY] = op_io_priority,
    [OP_CPU_AFFINITY] = op_cpu_affinity,
    [OP_PROPAGATION_IN] = op_propagation_in,
    [OP_ROOT_AS_IS] = op_root_as_is,
    [OP_CHROOT] = op_chroot,
};

/* What the parent ignores or blocks, and what the engine did, is not the container's. */
static void reset_signals(void)
{
    /* The system call itself: libc's wrapper will not touch the signals that it uses for threads. All zeros is
       SIG_DFL whatever the architecture's layout. SIGKILL and SIGSTOP refuse, and need no reset. */
    const unsigned long default_action[8] = {0};
    for (int number = 1; number <= 64; number++)
        syscall(SYS_rt_sigaction, number, default_action, NULL, 8);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int stay_ours(struct child *child)
{
    /* While we hold the launcher's privileges nobody inside may trace us or look through our descriptors. */
    CHECK(child->failure, prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl", "dumpable");
    /* The container must not outlive its monitor, which owns its output and tells its end. */
    if (child->role == ROLE_LAUNCH)
        CHECK(child->failure, prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "prctl", "pdeathsig");
    return 0;
}

static int set_up(struct child *child)
{
    if (stay_ours(child) < 0)
        return -1;
    if (child->mapped) {
        CHECK(child->failure, userns_become_root(), "become", "root of the user namespace");
        /* A change of ids resets both. */
        if (stay_ours(child) < 0)
            return -1;
    }
    reset_signals();
    CHECK(child->failure, setsid(), "setsid", NULL);
    /* The caller's session keyring may hold keys, and no namespace hides it. A kernel without keyrings has none, and
       a filter that is on us already will be on the program. */
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS && errno != EPERM)
        return failed(child->failure, "keyctl", "a session keyring");
    for (int fd = 0; fd < 3; fd++)
        if (child->stdio[fd] >= 0)
            CHECK(child->failure, dup2(child->stdio[fd], fd), "dup2", "stdio");
    umask(0);
    if (child->cgroup_procs >= 0)
        CHECK(child->failure, RETRY(write(child->cgroup_procs, "0", 1)), "join", "the cgroup");
    return child->prepared ? userns_attach_root(child) : 0;
}

int child_carry_out(struct child *child, struct cursor *cursor, int until)
{
    struct op op;
    while (plan_next(cursor, &op)) {
        child->failure->op = op.index;
        if ((int)op.code == until)
            return 0;
        if (operations[op.code] && operations[op.code](child, &op) < 0)
            return -1;
    }
    return 0;
}

static void skip_to_clone(struct cursor *cursor)
{
    struct op op;
    while (plan_next(cursor, &op) && op.code != OP_CLONE)
        continue;
}

_Noreturn void child_main(struct child *child)
{
    child->failure->op = -1;
    struct cursor cursor = plan_begin(child->plan);
    if (child->prepared)
        skip_to_clone(&cursor);
    if (set_up(child) == 0)
        child_carry_out(child, &cursor, -1);
    if (child->released) {
        report_failure(child->channel, child->failure);
        _exit(125);
    }
    struct message message = {.kind = MESSAGE_ERROR, .failure = *child->failure};
    if (write(child->channel, &message, sizeof message) < 0)
        _exit(126);
    _exit(125);
}

int child_handshake(struct child *child)
{
    return child_ask(child, MESSAGE_READY);
}

int child_ask(struct child *child, enum message_kind kind)
{
    struct message message = {.kind = kind, .container = child->container};
    char go;
    CHECK(child->failure, RETRY(write(child->channel, &message, sizeof message)), "write", "the parent");
    /* An end here means that the parent is gone, in the moment before it could take us along. */
    if (RETRY(read(child->channel, &go, 1)) != 1)
        _exit(125);
    return 0;
}
