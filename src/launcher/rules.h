/* What makes a well-formed list of operations a sensible one: which may appear where, how often, with which values. */
#ifndef TIFFIN_RULES_H
#define TIFFIN_RULES_H

#include "plan.h"

struct rules {
    enum role role;
    uint32_t seen[MAX_OP_CODE + 1];
    uint64_t namespaces; /* new ones so far */
    bool tty;
};

/* NULL, or what is wrong with the next operation. */
const char *rules_check(struct rules *rules, const struct op *op);

/* NULL, or what is missing after the last one. */
const char *rules_finish(const struct rules *rules);

#endif
