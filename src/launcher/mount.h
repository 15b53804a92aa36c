/* Mount calls that work with and without the mount API of Linux 5.2-5.12. */
#ifndef TIFFIN_MOUNT_H
#define TIFFIN_MOUNT_H

#include "base.h"

/* mount(2) on what a descriptor names. */
int mount_at(int target, const char *source, const char *type, unsigned long flags, const char *data);

/* A detached copy of the mount at fd (a descriptor of any kind), or -1. */
int clone_mount(int fd, bool recursive);

/* Bind `source` (O_PATH) over `target` (O_PATH), with MOUNT_ATTR_* set and MS_* propagation (0: as it is); the same
   for all mounts below if recursive. */
int bind_over(int source, int target, bool recursive, uint64_t attributes, unsigned long propagation);

/* What a tree gets when it is attached: MOUNT_ATTR_* to set and to clear on its top mount, and on it and all below;
   MS_* propagation (with MS_REC: of all), 0 as it is. `recursive` counts only where it was not cloned before. */
struct tree_attributes {
    bool recursive;
    uint64_t set, clear, set_below, clear_below;
    unsigned long propagation;
};

/* Attach a detached tree (clone_mount), or bind what `tree` names where the kernel has no such thing, over `target`. */
int attach_tree(int tree, int target, const struct tree_attributes *wanted);

/* Set MOUNT_ATTR_* on the mount that fd is the root of. */
int change_mount(int fd, bool recursive, uint64_t attributes);

#endif
