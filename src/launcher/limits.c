/* The operations that take things away from the process: limits, labels, system calls, ids, capabilities. */
#include "base.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "child.h"
#include "kernel.h"
#include "path.h"

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT 47
#define PR_CAP_AMBIENT_RAISE 2
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

int op_rlimit(struct child *child, const struct op *op)
{
    unsigned resource = (unsigned)op->field[0].number;
    struct rlimit wanted = {op->field[1].number, op->field[2].number};
    if (op->field[3].number == 2) {
        /* Only as the host's root can it be raised; what else is asked for comes later. */
        struct rlimit held;
        CHECK(child->failure, prlimit(0, resource, NULL, &held), "prlimit", NULL);
        if (held.rlim_max >= wanted.rlim_max)
            return 0;
        wanted.rlim_cur = held.rlim_cur;
    }
    int result = prlimit(0, resource, &wanted, NULL);
    if (result < 0 && errno == EPERM && op->field[3].number) {
        /* Raising a hard limit is not ours to do: give as much as there is. */
        struct rlimit held;
        CHECK(child->failure, prlimit(0, resource, NULL, &held), "prlimit", NULL);
        if (wanted.rlim_max > held.rlim_max)
            wanted.rlim_max = held.rlim_max;
        if (wanted.rlim_cur > wanted.rlim_max)
            wanted.rlim_cur = wanted.rlim_max;
        result = prlimit(0, resource, &wanted, NULL);
        if (result < 0 && errno == EPERM)
            return 0;
    }
    CHECK(child->failure, result, "prlimit", NULL);
    return 0;
}

static int write_proc_self(struct child *child, const char *name, const char *value)
{
    AUTO_CLOSE int fd = proc_self_open(name, O_WRONLY);
    CHECK(child->failure, fd, "open /proc/self", name);
    CHECK(child->failure, RETRY(write(fd, value, strlen(value))), "write /proc/self", name);
    return 0;
}

int op_oom_score_adj(struct child *child, const struct op *op)
{
    char value[16];
    struct text text = text_in(value, sizeof value);
    uint64_t shifted = op->field[0].number;
    if (shifted < 1000)
        text_char(&text, '-');
    text_u64(&text, shifted < 1000 ? 1000 - shifted : shifted - 1000);
    return write_proc_self(child, "oom_score_adj", value);
}

int op_memory_merge(struct child *child, const struct op *op)
{
    (void)op;
    /* The mark is the address space's: fork copies it, and since Linux 6.7 the one that exec makes inherits it. */
    CHECK(child->failure, sys_memory_merge(), "prctl", "memory merge");
    return 0;
}

int op_lsm_exec(struct child *child, const struct op *op)
{
    char name[96];
    struct text text = text_in(name, sizeof name);
    text_str(&text, "attr/");
    text_str(&text, op->field[0].bytes);
    return write_proc_self(child, name, op->field[1].bytes);
}

int op_no_new_privs(struct child *child, const struct op *op)
{
    (void)op;
    CHECK(child->failure, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl", "no_new_privs");
    return 0;
}

int op_seccomp(struct child *child, const struct op *op)
{
    const struct field *program = &op->field[0];
    struct sock_filter instructions[4096];
    memcpy(instructions, program->bytes, program->size);
    struct sock_fprog filter = {(unsigned short)(program->size / sizeof instructions[0]), instructions};
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, op->field[1].number, &filter);
    CHECK(child->failure, result, "seccomp", NULL);
    return 0;
}

/* Pipes and terminals made for this process belong to its user, or it could not reopen /dev/stdout. */
static void give_stdio(const struct child *child, uid_t uid)
{
    if (child->role == ROLE_EXEC && !child->console)
        return;
    for (int fd = 0; fd < 3; fd++) {
        struct stat stat;
        if (fstat(fd, &stat) == 0 && (S_ISFIFO(stat.st_mode) || isatty(fd)) && stat.st_uid != uid &&
            fchown(fd, uid, (gid_t)-1) < 0)
            continue; /* The program still has them open; only reopening by path is lost. */
    }
}

int op_creds(struct child *child, const struct op *op)
{
    uid_t uid = (uid_t)op->field[0].number;
    gid_t gid = (gid_t)op->field[1].number;
    const struct field *groups = &op->field[2];
    gid_t list[1024];
    size_t count = groups->size / sizeof list[0];
    REQUIRE(child->failure, count <= COUNT(list), E2BIG, "setgroups", NULL);
    memcpy(list, groups->bytes, groups->size);
    give_stdio(child, uid);
    CHECK(child->failure, setgroups(count, list), "setgroups", NULL);
    CHECK(child->failure, setresgid(gid, gid, gid), "setresgid", NULL);
    /* CAPS comes next and needs the capabilities that a change of user would drop; exec drops the rest. */
    CHECK(child->failure, prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl", "keepcaps");
    CHECK(child->failure, setresuid(uid, uid, uid), "setresuid", NULL);
    /* A change of ids resets both. */
    CHECK(child->failure, prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl", "dumpable");
    if (child->role == ROLE_LAUNCH)
        CHECK(child->failure, prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl", "pdeathsig");
    child->uid = uid;
    return 0;
}

struct capability_sets {
    uint64_t effective, permitted, inheritable;
};

static int get_capabilities(struct capability_sets *sets)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) < 0)
        return -1;
    sets->effective = data[0].effective | (uint64_t)data[1].effective << 32;
    sets->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    sets->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
    return 0;
}

static int set_capabilities(const struct capability_sets *sets)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)sets->effective, (uint32_t)sets->permitted, (uint32_t)sets->inheritable},
        {(uint32_t)(sets->effective >> 32), (uint32_t)(sets->permitted >> 32), (uint32_t)(sets->inheritable >> 32)},
    };
    return (int)syscall(SYS_capset, &header, data);
}

int op_caps(struct child *child, const struct op *op)
{
    uint64_t bounding = op->field[0].number;
    uint64_t ambient = op->field[4].number;
    struct capability_sets held;
    CHECK(child->failure, get_capabilities(&held), "capget", NULL);
    /* After a change of user the effective set is empty, yet dropping from the bounding set needs SETPCAP. */
    held.effective = held.permitted;
    CHECK(child->failure, set_capabilities(&held), "capset", NULL);
    for (int cap = 0; cap < 64; cap++) {
        int present = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (present < 0)
            break;
        if (present && !(bounding >> cap & 1))
            CHECK(child->failure, prctl(PR_CAPBSET_DROP, cap, 0, 0, 0), "drop", "a capability");
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && ambient)
        return failed(child->failure, "prctl", "ambient capabilities");
    struct capability_sets wanted = {op->field[1].number, op->field[2].number, op->field[3].number};
    CHECK(child->failure, set_capabilities(&wanted), "capset", NULL);
    for (int cap = 0; cap < 64; cap++)
        if (ambient >> cap & 1)
            CHECK(child->failure, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0), "prctl",
                  "ambient capabilities");
    return 0;
}
