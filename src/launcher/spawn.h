/* From the parent to the child: namespaces, cgroup, clone. */
#ifndef TIFFIN_SPAWN_H
#define TIFFIN_SPAWN_H

#include "child.h"

struct join {
    int kind;
    const char *path;
    int op;
};

struct donor {
    pid_t pid;
    uint64_t ticks;
    int op;
};

/* A mount of another mount namespace that the child gets. */
struct borrowed {
    uint64_t tree;
    const char *namespace;
    const char *path;
    uint64_t file_system; /* its f_type, 0 for any */
    int op;
};

struct spawn {
    uint64_t clone_flags;
    const char *cgroup_into;
    int cgroup_into_op;
    const char *tasks[MAX_TASKS_FILES];
    int tasks_op[MAX_TASKS_FILES];
    int tasks_count;
    struct join joins[MAX_JOINS];
    int join_count;
    struct donor donors[MAX_JOINS + MAX_BORROWED];
    int donor_count;
    struct borrowed borrowed[MAX_BORROWED];
    int borrowed_count;
    struct op userns; /* .code is 0 without one */
    int enter_pidfd; /* role exec: the process whose namespaces are entered, or -1 */
    pid_t enter_pid;
    uint64_t enter_flags;
    int enter_op;
    const char *time_offsets; /* of a new time namespace, or NULL */
    int time_op;
};

/* Start the child, which runs child_main; its pid, in our pid namespace, and in *channel our end of the channel.
   The child closes the descriptors in `not_for_child` (-1 are skipped). */
pid_t spawn_child(struct spawn *spawn, struct child *child, int *channel, const int *not_for_child, size_t count,
                  struct failure *failure);

/* Note a plan operation that is about the spawn; false when it is not. */
bool spawn_note(struct spawn *spawn, const struct op *op);

/* Enter the namespaces that the plan names, in join.c; by the process in between. */
int join_namespaces(const struct spawn *spawn, struct child *child, struct failure *failure);

#endif
