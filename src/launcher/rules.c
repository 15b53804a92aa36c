#include "rules.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kernel.h"
#include "log_format.h"

enum {
    IN_LAUNCH = 1, /* allowed in role launch, and in create */
    IN_EXEC = 2,   /* allowed in role exec */
    ONCE = 4,
    IN_ROOT = 8,   /* needs ROOT before it, and no PIVOT */
    ON_HOST = 16,  /* no PIVOT before it: the path it names is the host's */
    IN_WAIT = 32,  /* allowed in role wait */
    IN_CREATE = 64, /* allowed in role create */
    MONITORED = 128, /* not in role create, which leaves no monitor */
};
enum { KEPT = IN_LAUNCH | ON_HOST | MONITORED };
enum { IN_BOTH = IN_LAUNCH | IN_EXEC, SETUP = IN_LAUNCH | ON_HOST, INSIDE = IN_LAUNCH | IN_ROOT };

static const unsigned char allowed[MAX_OP_CODE + 1] = {
    [OP_RUN_DIR] = KEPT | IN_WAIT | ONCE,
    [OP_EXIT_FILE] = KEPT | ONCE,
    [OP_LOG] = KEPT | ONCE,
    [OP_LOG_JSON] = KEPT | ONCE,
    [OP_LOG_SINK] = KEPT | ONCE,
    [OP_LOG_SYSLOG] = KEPT | ONCE,
    [OP_STDIO] = KEPT | ONCE,
    [OP_TTY_SIZE] = IN_BOTH | ONCE,
    [OP_CLONE] = SETUP | ONCE,
    [OP_JOIN_NS] = SETUP,
    [OP_CGROUP_INTO] = IN_BOTH | ON_HOST | ONCE,
    [OP_CGROUP_TASKS] = IN_BOTH | ON_HOST,
    [OP_CGROUP_REMOVE] = KEPT,
    [OP_OOM_FILE] = KEPT | ONCE,
    [OP_ON_EXIT] = KEPT | ONCE,
    [OP_DEVICE_BPF] = SETUP | ONCE,
    [OP_HEALTH] = KEPT | ONCE,
    [OP_FREEZER] = KEPT | ONCE,
    [OP_RESTART] = KEPT | IN_WAIT | ONCE,
    [OP_FAILED] = IN_WAIT | ONCE,
    [OP_UNSHARE] = IN_LAUNCH,
    [OP_EVENTS] = IN_BOTH | ON_HOST | MONITORED | ONCE,
    [OP_EVENT_LAST] = KEPT,
    [OP_ENTER] = IN_EXEC | ONCE,
    [OP_PROPAGATION] = SETUP,
    [OP_MOUNT] = SETUP,
    [OP_ROOT] = SETUP | ONCE,
    [OP_MOUNT_IN] = INSIDE,
    [OP_BIND_IN] = INSIDE,
    [OP_COPY_UP_IN] = INSIDE,
    [OP_MKDIR_IN] = INSIDE,
    [OP_MKNOD_IN] = INSIDE,
    [OP_SYMLINK_IN] = INSIDE,
    [OP_MASK_IN] = INSIDE,
    [OP_READONLY_IN] = INSIDE,
    [OP_SYSCTL] = INSIDE,
    [OP_CONSOLE] = IN_BOTH | ONCE,
    [OP_ROOT_READONLY] = INSIDE | ONCE,
    [OP_PIVOT] = INSIDE | ONCE,
    [OP_LOOPBACK] = IN_LAUNCH | ONCE,
    [OP_HOSTNAME] = IN_LAUNCH | ONCE,
    [OP_DOMAINNAME] = IN_LAUNCH | ONCE,
    [OP_RLIMIT] = IN_BOTH,
    [OP_OOM_SCORE_ADJ] = IN_BOTH | ONCE,
    [OP_MEMORY_MERGE] = IN_BOTH | ONCE,
    [OP_UMASK] = IN_BOTH | ONCE,
    [OP_CHDIR] = IN_BOTH,
    [OP_LSM_EXEC] = IN_BOTH,
    [OP_NO_NEW_PRIVS] = IN_BOTH | ONCE,
    [OP_SECCOMP] = IN_BOTH,
    [OP_CREDS] = IN_BOTH | ONCE,
    [OP_CAPS] = IN_BOTH | ONCE,
    [OP_INIT] = IN_LAUNCH | ONCE,
    [OP_RUNTIME] = KEPT | ONCE,
    [OP_PASS_FDS] = IN_BOTH | ONCE,
    [OP_EXEC] = IN_BOTH | ONCE,
    [OP_WAIT_START] = IN_CREATE | ONCE,
    [OP_HOOKS] = IN_CREATE | ONCE,
    [OP_HOOK] = IN_CREATE,
    [OP_FIND_EXEC] = IN_CREATE | ONCE,
    [OP_TIME_OFFSETS] = IN_CREATE | ON_HOST | ONCE,
    [OP_ID_MAPS] = IN_CREATE | IN_EXEC | ONCE,
    [OP_PERSONALITY] = IN_CREATE | IN_EXEC | ONCE,
    [OP_SCHEDULER] = IN_CREATE | IN_EXEC | ONCE,
    [OP_IO_PRIORITY] = IN_CREATE | IN_EXEC | ONCE,
    [OP_CPU_AFFINITY] = IN_CREATE | IN_EXEC,
    [OP_PROPAGATION_IN] = IN_LAUNCH,
    [OP_ROOT_AS_IS] = IN_CREATE | ON_HOST | ONCE,
    [OP_CHROOT] = IN_CREATE | IN_ROOT | ONCE,
    [OP_DONOR] = SETUP,
    [OP_TREE_FROM] = SETUP,
    [OP_ATTACH] = INSIDE,
    [OP_TREE] = SETUP,
    [OP_TREE_INSIDE] = INSIDE,
    [OP_TREE_MAPPED] = IN_CREATE | ON_HOST,
    [OP_IDMAP] = SETUP,
    [OP_USERNS] = SETUP | ONCE,
};

static bool has_dotdot(const char *path)
{
    for (const char *at = path; *at;) {
        const char *next = strchrnul(at, '/');
        if (next - at == 2 && at[0] == '.' && at[1] == '.')
            return true;
        at = *next ? next + 1 : next;
    }
    return false;
}

static bool is_one_namespace(uint64_t kind)
{
    return (kind & ~(uint64_t)ALL_NAMESPACES) == 0 && kind != 0 && (kind & (kind - 1)) == 0;
}

/* Values that a later step would take on trust. */
static const char *check_values(const struct op *op)
{
    const struct field *f = op->field;
    switch (op->code) {
    case OP_LOG:
        return f[1].number < 4096 || f[2].number < 1 || f[2].number > 1000 ? "bad log limits" : NULL;
    case OP_LOG_JSON:
        return f[0].size > MAX_ATTRIBUTES ? "too long" : NULL;
    case OP_LOG_SINK:
        if (f[0].number < SINK_JOURNAL || f[0].number > SINK_SYSLOG_5424_MICRO)
            return "unknown kind";
        if (f[1].number != SOCK_DGRAM && f[1].number != SOCK_STREAM)
            return "unknown socket type";
        if (f[2].size < sizeof(sa_family_t) || f[2].size > sizeof(struct sockaddr_storage))
            return "bad address";
        return f[3].number > 1 || f[5].size > MAX_SINK_HEAD || f[6].size > MAX_SINK_HEAD ? "bad value" : NULL;
    case OP_LOG_SYSLOG:
        return f[0].number > 23 ? "bad facility" : NULL;
    case OP_STDIO:
        return f[0].number & ~(uint64_t)(STDIO_TTY | STDIO_OPEN_STDIN | STDIO_PASSED) ? "unknown flags" : NULL;
    case OP_RUNTIME:
        for (int i = 0; i < 3; i++)
            if (f[i].size == 0 || f[i].size > MAX_RUNTIME_WORDS)
                return "bad argument list";
        return f[5].size > MAX_TASKS_FILES ? "too many" : NULL;
    case OP_PASS_FDS:
        return f[0].number > MAX_PASSED || f[1].number > 1 ? "bad value" : NULL;
    case OP_TTY_SIZE:
        return f[0].number > 65535 || f[1].number > 65535 ? "too large" : NULL;
    case OP_CLONE:
        if (f[0].number & CLONE_NEWCGROUP)
            return "a cgroup namespace is made by UNSHARE, after its cgroups were joined";
        return f[0].number & ~(uint64_t)ALL_NAMESPACES ? "unknown flags" : NULL;
    case OP_UNSHARE:
        return f[0].number & ~(uint64_t)(ALL_NAMESPACES & ~(CLONE_NEWUSER | CLONE_NEWPID)) ? "unknown flags" : NULL;
    case OP_JOIN_NS:
        return is_one_namespace(f[0].number) ? NULL : "not one namespace";
    case OP_DONOR:
        return f[0].number == 0 || f[0].number > INT_MAX ? "bad pid" : NULL;
    case OP_TREE:
        if (f[3].number > 1 || f[4].number > 1)
            return "bad flag";
        return f[0].number >= MAX_TREES ? "no such tree" : NULL;
    case OP_TREE_MAPPED:
        if (f[2].number > 1 || f[3].number > 1)
            return "bad flag";
        if (!f[4].size || !f[5].size || f[4].size >= 4096 || f[5].size >= 4096)
            return "bad map";
        return f[0].number >= MAX_TREES ? "no such tree" : NULL;
    case OP_USERNS:
        if (!f[1].size || !f[2].size || f[1].size >= 4096 || f[2].size >= 4096)
            return "bad map";
        return f[3].number >= UINT32_MAX || f[4].number >= UINT32_MAX ? "bad ids" : NULL;
    case OP_ATTACH:
        if (f[6].number & ~(uint64_t)(MS_REC | MS_PROPAGATION))
            return "unknown propagation";
        return f[0].number >= MAX_TREES ? "no such tree" : NULL;
    case OP_TREE_FROM:
    case OP_TREE_INSIDE:
        return f[0].number >= MAX_TREES ? "no such tree" : NULL;
    case OP_ENTER:
        if (f[0].number == 0 || f[0].number > INT_MAX)
            return "bad pid";
        return f[2].number & ~(uint64_t)ALL_NAMESPACES ? "unknown flags" : NULL;
    case OP_ON_EXIT:
        return f[0].size == 0 || f[0].size > MAX_ON_EXIT ? "bad argument list" : NULL;
    case OP_RESTART:
        return f[1].size == 0 || f[1].size > MAX_ON_EXIT ? "bad argument list" : NULL;
    case OP_HEALTH:
        /* Nothing may be due all the time. */
        for (int i = 2; i < 6; i++)
            if (f[i].number > INT64_MAX || (i != 4 && f[i].number < 1000000))
                return "bad time";
        return f[6].number == 0 || f[1].number > MAX_PLAN_BYTES ? "bad number" : NULL;
    case OP_FAILED:
        return f[0].number > 255 ? "bad code" : NULL;
    case OP_DEVICE_BPF:
        return f[1].size == 0 || f[1].size % 8 || f[1].size / 8 > 4096 ? "bad program size" : NULL;
    case OP_SECCOMP:
        return f[0].size == 0 || f[0].size % 8 || f[0].size / 8 > 4096 ? "bad program size" : NULL;
    case OP_PROPAGATION:
        return f[0].number & ~(uint64_t)(MS_REC | MS_PROPAGATION) ? "unknown flags" : NULL;
    case OP_MOUNT_IN:
        if (!f[2].size || f[3].number & (MS_REC | MS_REMOUNT | MS_BIND | MS_MOVE | MS_PROPAGATION))
            return "not a new mount";
        /* fall through */
    case OP_MOUNT:
        /* mount(2) would cut longer data off in silence. */
        return f[4].size >= 4096 ? "mount data over 4095 bytes" : NULL;
    case OP_BIND_IN:
        if (f[2].number > 1)
            return "bad recursion flag";
        return f[4].number & ~(uint64_t)(MS_REC | MS_PROPAGATION) ? "unknown propagation" : NULL;
    case OP_COPY_UP_IN:
        return f[2].size >= 4096 ? "mount data over 4095 bytes" : NULL;
    case OP_MKDIR_IN:
        return f[1].number > 07777 ? "bad mode" : NULL;
    case OP_MKNOD_IN:
        if (!S_ISCHR(f[1].number) && !S_ISBLK(f[1].number) && !S_ISFIFO(f[1].number))
            return "not a device or FIFO";
        return f[1].number > 0177777 || f[3].number > UINT32_MAX || f[4].number > UINT32_MAX ? "bad mode or owner"
                                                                                              : NULL;
    case OP_RLIMIT:
        return f[0].number >= RLIM_NLIMITS || f[1].number > f[2].number || f[3].number > 2 ? "bad limit" : NULL;
    case OP_EVENTS:
        return f[0].size && f[1].size ? NULL : "no file or actor";
    case OP_OOM_SCORE_ADJ:
        return f[0].number > 2000 ? "out of range" : NULL;
    case OP_UMASK:
        return f[0].number > 0777 ? "out of range" : NULL;
    case OP_CHDIR:
        return f[1].number > 1 || f[0].bytes[0] != '/' ? "not an absolute path" : NULL;
    case OP_LSM_EXEC:
        return !f[0].size || f[0].bytes[0] == '/' || has_dotdot(f[0].bytes) ? "bad attribute name" : NULL;
    case OP_SYSCTL:
        return !f[0].size || f[0].bytes[0] == '/' || has_dotdot(f[0].bytes) ? "bad key" : NULL;
    case OP_CREDS:
        /* (uid_t)-1 would mean "leave as it is" to the kernel: root. */
        if (f[0].number >= UINT32_MAX || f[1].number >= UINT32_MAX)
            return "bad ids";
        return f[2].size % 4 || f[2].size / 4 > 1024 ? "bad group list" : NULL;
    case OP_EXEC:
        return f[1].size == 0 ? "no arguments" : NULL;
    case OP_HOOK:
        return f[0].bytes[0] != '/' || f[1].size == 0 || f[4].number > 1 || f[3].number > INT_MAX ? "bad hook" : NULL;
    case OP_CPU_AFFINITY:
        return f[0].size == 0 || f[0].size > 1024 || f[0].size % 8 ? "bad mask" : NULL;
    case OP_PROPAGATION_IN:
        return f[1].number & ~(uint64_t)(MS_REC | MS_PROPAGATION) ? "unknown flags" : NULL;
    default:
        return NULL;
    }
}

static bool in_role(enum role role, unsigned rule)
{
    switch (role) {
    case ROLE_LAUNCH:
        return rule & IN_LAUNCH;
    case ROLE_WAIT:
        return rule & IN_WAIT;
    case ROLE_CREATE:
        return (rule & IN_CREATE) || ((rule & IN_LAUNCH) && !(rule & MONITORED));
    default:
        return rule & IN_EXEC;
    }
}

/* A mount namespace of its own, or one that it was told to join and rearrange. */
static bool owns(const struct rules *rules, uint64_t kind)
{
    return rules->namespaces & kind;
}

/* What a plan with a user namespace has on which side of CLONE: before it, only what prepares mounts and raises limits,
   done with the host's rights; after it everything else, done without them. */
static const char *check_side(const struct rules *rules, const struct op *op)
{
    const uint32_t *seen = rules->seen;
    bool mapped = seen[OP_USERNS];
    bool before = mapped && !seen[OP_CLONE];
    if (op->code == OP_USERNS && seen[OP_CLONE])
        return "after CLONE";
    if (op->code == OP_IDMAP || op->code == OP_TREE_INSIDE || (op->code == OP_TREE && op->field[4].number))
        return before ? NULL : "not between USERNS and CLONE";
    if ((op->code == OP_ROOT || op->code == OP_TREE) && mapped && !before)
        return "after CLONE";
    if (op->code == OP_CLONE && mapped && (!(op->field[0].number & CLONE_NEWNS) || !seen[OP_ROOT]))
        return "a user namespace needs ROOT before it, and a new mount namespace";
    if (!before)
        return NULL;
    switch (op->code) {
    case OP_UNSHARE:
    case OP_CGROUP_TASKS:
    case OP_ATTACH:
    case OP_COPY_UP_IN:
    case OP_MASK_IN:
    case OP_READONLY_IN:
    case OP_SYSCTL:
    case OP_CONSOLE:
    case OP_ROOT_READONLY:
    case OP_PIVOT:
    case OP_LOOPBACK:
    case OP_HOSTNAME:
    case OP_DOMAINNAME:
    case OP_MEMORY_MERGE:
    case OP_UMASK:
    case OP_CHDIR:
    case OP_LSM_EXEC:
    case OP_NO_NEW_PRIVS:
    case OP_SECCOMP:
    case OP_CREDS:
    case OP_CAPS:
    case OP_INIT:
    case OP_EXEC:
        return "between USERNS and CLONE";
    default:
        return NULL;
    }
}

const char *rules_check(struct rules *rules, const struct op *op)
{
    unsigned rule = allowed[op->code];
    uint32_t *seen = rules->seen;
    if (!in_role(rules->role, rule))
        return "not in this role";
    if ((rule & ONCE) && seen[op->code])
        return "given twice";
    if (seen[OP_EXEC])
        return "after EXEC";
    if (seen[OP_RUNTIME])
        return "after RUNTIME";
    if (seen[OP_PASS_FDS] && op->code != OP_EXEC)
        return "after PASS_FDS";
    if ((rule & IN_ROOT) && !seen[OP_ROOT] && !seen[OP_ROOT_AS_IS])
        return "before ROOT";
    if (op->code == OP_PIVOT ? !seen[OP_ROOT] : op->code == OP_CHROOT && !seen[OP_ROOT_AS_IS])
        return "not for this kind of root";
    if (op->code == OP_PROPAGATION_IN && !seen[OP_ROOT])
        return "before ROOT";
    if ((rule & (IN_ROOT | ON_HOST)) && (seen[OP_PIVOT] || seen[OP_CHROOT]))
        return "after PIVOT";
    if (op->code == OP_CONSOLE && rules->role != ROLE_EXEC && (!seen[OP_ROOT] || seen[OP_PIVOT]))
        return "not between ROOT and PIVOT";
    if (op->code == OP_CLONE && rules->role != ROLE_CREATE && (op->field[0].number & CLONE_NEWUSER))
        return "unknown flags";
    if (op->code == OP_CAPS && !seen[OP_CREDS])
        return "before CREDS";
    /* Without a mount namespace of its own, the child would rearrange the host. */
    if ((op->code == OP_PROPAGATION || op->code == OP_MOUNT || op->code == OP_ROOT || op->code == OP_MOUNT_IN ||
         op->code == OP_COPY_UP_IN || op->code == OP_BIND_IN || op->code == OP_ATTACH || op->code == OP_MASK_IN ||
         op->code == OP_READONLY_IN || op->code == OP_ROOT_READONLY || op->code == OP_PROPAGATION_IN ||
         op->code == OP_TREE || op->code == OP_TREE_MAPPED || op->code == OP_RUNTIME) &&
        !owns(rules, CLONE_NEWNS) && !(seen[OP_USERNS] && !seen[OP_CLONE]))
        return "without a new mount namespace";
    if ((op->code == OP_HOSTNAME || op->code == OP_DOMAINNAME) && !owns(rules, CLONE_NEWUTS))
        return "without a new UTS namespace";
    const char *misplaced = check_side(rules, op);
    if (misplaced)
        return misplaced;
    if (op->code == OP_CLONE || op->code == OP_UNSHARE)
        rules->namespaces |= op->field[0].number;
    if (op->code == OP_JOIN_NS && rules->role == ROLE_CREATE)
        rules->namespaces |= op->field[0].number;
    if (op->code == OP_STDIO)
        rules->tty = op->field[0].number & STDIO_TTY;
    seen[op->code]++;
    if (seen[OP_CGROUP_TASKS] > MAX_TASKS_FILES || seen[OP_CGROUP_REMOVE] > MAX_REMOVE || seen[OP_JOIN_NS] > MAX_JOINS ||
        seen[OP_DONOR] > MAX_JOINS + MAX_BORROWED || seen[OP_TREE_FROM] > MAX_BORROWED)
        return "too many";
    return check_values(op);
}

const char *rules_finish(const struct rules *rules)
{
    const uint32_t *seen = rules->seen;
    if (rules->role == ROLE_WAIT)
        return !seen[OP_RUN_DIR] ? "no RUN_DIR" : !seen[OP_RESTART] ? "no RESTART" : NULL;
    if (!seen[OP_EXEC] && !seen[OP_RUNTIME])
        return "no EXEC";
    if (seen[OP_HEALTH] && !seen[OP_RESTART])
        return "HEALTH without RESTART";
    if (rules->role == ROLE_EXEC)
        return seen[OP_ENTER] ? NULL : "no ENTER";
    if ((seen[OP_ROOT] && !seen[OP_PIVOT]) || (seen[OP_ROOT_AS_IS] && !seen[OP_CHROOT]))
        return "ROOT without PIVOT";
    if (rules->role == ROLE_CREATE)
        return seen[OP_WAIT_START] ? NULL : "no WAIT_START";
    if (!seen[OP_RUN_DIR])
        return "no RUN_DIR";
    if (!seen[OP_EXIT_FILE])
        return "no EXIT_FILE";
    if (seen[OP_USERNS] && !seen[OP_CLONE])
        return "USERNS without CLONE";
    if (seen[OP_LOG_JSON] && !seen[OP_LOG])
        return "LOG_JSON without LOG";
    if (seen[OP_RUNTIME])
        return seen[OP_ROOT] || seen[OP_CONSOLE] ? "RUNTIME with ROOT or CONSOLE" : NULL;
    if (rules->tty != (seen[OP_CONSOLE] != 0))
        return "a terminal needs both STDIO_TTY and CONSOLE";
    return NULL;
}
