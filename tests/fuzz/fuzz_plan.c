/* The plan reader under a fuzzer, or fed by hand.

   clang -fsanitize=fuzzer,address,undefined … fuzz_plan.c plan.c rules.c base.c: a libFuzzer target.
   With -DFUZZ_MAIN: reads records (u32 little-endian length, bytes) from standard input and prints one line for each,
   "ok" or the reason of the refusal. argv[1] is the role, launch or exec. */
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

static void touch(const char *bytes, size_t size)
{
    unsigned sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += (unsigned char)bytes[i];
    sink += sum;
}

/* Everything that the launcher may look at in an accepted plan. */
static void walk(const struct plan *plan)
{
    struct cursor cursor = plan_begin(plan);
    struct op op;
    uint32_t count = 0;
    while (plan_next(&cursor, &op)) {
        count++;
        touch(op_name(op.code), strlen(op_name(op.code)));
        for (int i = 0; i < MAX_OP_FIELDS; i++)
            if (op.field[i].bytes && op.code != OP_ON_EXIT && op.code != OP_EXEC)
                touch(op.field[i].bytes, op.field[i].size);
        for (int i = 0; i < MAX_OP_FIELDS; i++) {
            bool list = (op.code == OP_ON_EXIT && i == 0) || (op.code == OP_RESTART && i == 1) || (op.code == OP_EXEC && (i == 1 || i == 2));
            if (!list)
                continue;
            char **strings = malloc(((size_t)op.field[i].size + 1) * sizeof *strings);
            if (!strings)
                abort();
            field_strings(&op.field[i], strings);
            for (char **string = strings; *string; string++)
                touch(*string, strlen(*string));
            free(strings);
        }
    }
    if (count != plan->count || cursor.at != cursor.end)
        abort();
}

/* On an allocation of the exact size, so that a read past its end is seen. */
static int check(const uint8_t *data, size_t size, enum role role, struct failure *failure)
{
    char *exact = malloc(size ? size : 1);
    if (!exact)
        abort();
    if (size)
        memcpy(exact, data, size);
    struct plan plan;
    int result = plan_validate(&plan, exact, size, role, failure);
    if (result == 0)
        walk(&plan);
    else if (failure->op != -1 || failure->err != EINVAL || strncmp(failure->text, "plan: ", 6) != 0)
        abort();
    free(exact);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct failure failure;
    check(data, size, ROLE_LAUNCH, &failure);
    check(data, size, ROLE_EXEC, &failure);
    check(data, size, ROLE_WAIT, &failure);
    return 0;
}

#ifdef FUZZ_MAIN
int main(int argc, char **argv)
{
    enum role role = argc < 2                           ? ROLE_LAUNCH
                     : strcmp(argv[1], "exec") == 0 ? ROLE_EXEC
                     : strcmp(argv[1], "wait") == 0 ? ROLE_WAIT
                                                    : ROLE_LAUNCH;
    uint8_t header[4];
    while (fread(header, 1, sizeof header, stdin) == sizeof header) {
        size_t size = header[0] | (size_t)header[1] << 8 | (size_t)header[2] << 16 | (size_t)header[3] << 24;
        uint8_t *data = malloc(size ? size : 1);
        if (!data || fread(data, 1, size, stdin) != size)
            return 2;
        struct failure failure;
        puts(check(data, size, role, &failure) == 0 ? "ok" : failure.text);
        free(data);
    }
    return 0;
}
#endif
