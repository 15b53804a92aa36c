/* The plan: read once, validated as a whole, then walked. Nothing is done before all of it is known to be good. */
#ifndef TIFFIN_PLAN_H
#define TIFFIN_PLAN_H

#include "base.h"
#include "ops.h"

enum {
    MAX_TASKS_FILES = 32,
    MAX_REMOVE = 64,
    MAX_JOINS = 8,
    MAX_BORROWED = 32,
    MAX_TREES = 256,
    MAX_ON_EXIT = 256,
    MAX_LAST_EVENTS = 64,
    MAX_RUNTIME_WORDS = 32
};

enum role { ROLE_LAUNCH, ROLE_EXEC, ROLE_WAIT, ROLE_CREATE };

/* A decoded field. u: number. s: bytes (NUL after them) and size. b: bytes and size. l: first item, size = items. */
struct field {
    uint64_t number;
    const char *bytes;
    uint32_t size;
};

struct op {
    int index;
    enum op_code code;
    struct field field[MAX_OP_FIELDS];
};

struct plan {
    const char *bytes;
    size_t size;
    size_t mapped;
    uint32_t count;
};

struct cursor {
    const char *at;
    const char *end;
    int index;
};

/* Read a plan from fd until its end and validate it for the role. */
int plan_read(struct plan *plan, int fd, enum role role, struct failure *failure);
void plan_free(struct plan *plan);

/* Validate bytes as a plan; the pure part of plan_read, which the fuzzer drives. */
int plan_validate(struct plan *plan, const char *bytes, size_t size, enum role role, struct failure *failure);

/* Walk a validated plan. */
struct cursor plan_begin(const struct plan *plan);
bool plan_next(struct cursor *cursor, struct op *op);

/* Write pointers to a list's items, and a final NULL, to `out`, which has room for size + 1. */
void field_strings(const struct field *list, char **out);

const char *op_name(enum op_code code);

#endif
