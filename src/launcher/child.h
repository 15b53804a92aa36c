/* The child: the process that becomes the container's first, or an exec's. */
#ifndef TIFFIN_CHILD_H
#define TIFFIN_CHILD_H

#include "plan.h"

/* What the child and its parent say to each other over a SOCK_SEQPACKET pair. Its end means: exec succeeded. */
enum message_kind { MESSAGE_READY = 1, MESSAGE_ERROR, MESSAGE_CONSOLE, MESSAGE_MAPS, MESSAGE_HOOKS };

struct message {
    int kind;
    pid_t container; /* MESSAGE_READY: the process that is to be watched, where it is not the sender */
    struct failure failure;
};

struct child {
    const struct plan *plan;
    enum role role;
    int channel;
    int stdio[3];              /* pipe ends to become 0-2; -1 leaves the inherited one */
    int tasks[MAX_TASKS_FILES]; /* opened before any namespace was entered */
    int tasks_index;
    pid_t container;           /* made by another runtime, or 0 */
    int passed_from;           /* the first descriptor for the program beyond its stdio */
    int passed_left;           /* and how many of them the caller gave */
    int passed;                /* how many are in place */
    bool tell_pid;             /* the program looks for its own pid in LISTEN_PID */
    int cgroup_procs;          /* where clone3 could not put us, or -1 */
    uint64_t namespaces;       /* to enter before anything else (role exec) */
    uint64_t rows, columns;
    int root;
    int null;                  /* a masked path's cover for files, once needed */
    int empty;                 /* and for directories: the first of them, as it is masked */
    int trees[MAX_TREES];      /* detached mounts that wait to be attached, -1 for none */
    bool recursive[MAX_TREES]; /* with what is mounted below */
    int userns;                /* to map ids by, while the process in between prepares mounts, or -1 */
    bool mapped;               /* born in a user namespace, as somebody who is nobody there */
    bool prepared;             /* what stands before CLONE is done, and `root` is detached */
    uid_t uid;
    bool umask_set;
    bool console;
    bool released;             /* role create: the parent has gone home, `channel` is the FIFO for failures */
    int start;                 /* role create: the FIFO that says go */
    int result;                /* role create: the FIFO for failures after that */
    int states[2];             /* role create: the container's state as JSON, for hooks */
    const struct given_trees *given; /* role create: mounts that the parent took, or NULL */
    struct failure *failure;
};

_Noreturn void child_main(struct child *child);

/* Carry out operations, up to one of a code (-1: all of them). */
int child_carry_out(struct child *child, struct cursor *cursor, int until);

/* Wait until the parent has written the state and lets the program run. */
int child_handshake(struct child *child);

/* The operations, by file. Each returns 0, or -1 with child->failure filled in. */
int op_propagation(struct child *child, const struct op *op);
int op_mount(struct child *child, const struct op *op);
int op_root(struct child *child, const struct op *op);
int op_mount_in(struct child *child, const struct op *op);
int op_bind_in(struct child *child, const struct op *op);
int op_root_given(struct child *child, const struct op *op);
int op_bind_in_given(struct child *child, const struct op *op);
int op_tree_given(struct child *child, const struct op *op);
int op_copy_up_in(struct child *child, const struct op *op);
int op_root_readonly(struct child *child, const struct op *op);
int op_tree(struct child *child, const struct op *op);
int op_tree_inside(struct child *child, const struct op *op);
int op_idmap(struct child *child, const struct op *op);
int op_attach(struct child *child, const struct op *op);
int op_pivot(struct child *child, const struct op *op);
int op_mask_in(struct child *child, const struct op *op);
int op_readonly_in(struct child *child, const struct op *op);

int op_mkdir_in(struct child *child, const struct op *op);
int op_mknod_in(struct child *child, const struct op *op);
int op_symlink_in(struct child *child, const struct op *op);
int op_sysctl(struct child *child, const struct op *op);

int op_console(struct child *child, const struct op *op);
int own_null_device(struct child *child);

int op_cgroup_tasks(struct child *child, const struct op *op);
int op_unshare(struct child *child, const struct op *op);
int op_loopback(struct child *child, const struct op *op);
int op_hostname(struct child *child, const struct op *op);
int op_domainname(struct child *child, const struct op *op);
int op_chdir(struct child *child, const struct op *op);
int op_umask(struct child *child, const struct op *op);

int op_rlimit(struct child *child, const struct op *op);
int op_oom_score_adj(struct child *child, const struct op *op);
int op_memory_merge(struct child *child, const struct op *op);
int op_lsm_exec(struct child *child, const struct op *op);
int op_no_new_privs(struct child *child, const struct op *op);
int op_seccomp(struct child *child, const struct op *op);
int op_creds(struct child *child, const struct op *op);
int op_caps(struct child *child, const struct op *op);

int op_wait_start(struct child *child, const struct op *op);
int op_hooks(struct child *child, const struct op *op);
int op_hook(struct child *child, const struct op *op);
int op_find_exec(struct child *child, const struct op *op);
int op_id_maps(struct child *child, const struct op *op);
int op_personality(struct child *child, const struct op *op);
int op_scheduler(struct child *child, const struct op *op);
int op_io_priority(struct child *child, const struct op *op);
int op_cpu_affinity(struct child *child, const struct op *op);
int op_propagation_in(struct child *child, const struct op *op);
int op_root_as_is(struct child *child, const struct op *op);
int op_chroot(struct child *child, const struct op *op);

/* Say something to the parent and wait until it has done its part. */
int child_ask(struct child *child, enum message_kind kind);

/* Pointers to a list's items in memory of its own; NULL and the failure. */
char **string_array(struct child *child, const struct field *list);

int op_init(struct child *child, const struct op *op);
int op_pass_fds(struct child *child, const struct op *op);
void fill_listen_pid(char *const *environment);
int op_runtime(struct child *child, const struct op *op);
int op_exec(struct child *child, const struct op *op);

#endif
