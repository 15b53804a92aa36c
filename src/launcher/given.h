/* Mounts that the parent takes for its child. */
#ifndef TIFFIN_GIVEN_H
#define TIFFIN_GIVEN_H

#include "child.h"

enum { MAX_GIVEN = MAX_TREES };

struct given {
    int op;
    int fd;
};

struct given_trees {
    struct given tree[MAX_GIVEN];
    int count;
};

/* Take what TREE_MAPPED names as detached mounts, and what ROOT, TREE and BIND_IN do for a `user` namespace. */
int given_take(struct given_trees *trees, const struct plan *plan, bool user, struct failure *failure);

#endif
