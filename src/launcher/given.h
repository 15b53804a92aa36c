/* Mounts that the parent of a child in a user namespace took for it. */
#ifndef TIFFIN_GIVEN_H
#define TIFFIN_GIVEN_H

#include "child.h"

enum { MAX_GIVEN = 64 };

struct given {
    int op;
    int fd;
};

struct given_trees {
    struct given tree[MAX_GIVEN];
    int count;
};

/* Take what ROOT and BIND_IN name, as detached mounts. */
void given_take(struct given_trees *trees, const struct plan *plan);

#endif
