/* The plan reader under a fuzzer, or fed by hand.

   clang -fsanitize=fuzzer,address,undefined … fuzz_plan.c plan.c rules.c base.c: a libFuzzer target.
   With -DFUZZ_MAIN: reads records (u32 little-endian length, bytes) from standard input and prints one line for each,
   "ok" or the reason of the refusal. argv[1] is the role: launch, exec, wait or create. */
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

static const char *const signatures[MAX_OP_CODE + 1] = {
#define SIGNATURE(name, code, signature) [code] = signature,
    TIFFIN_OPS(SIGNATURE)
#undef SIGNATURE
};

static void touch_list(const struct field *list)
{
    char **strings = malloc(((size_t)list->size + 1) * sizeof *strings);
    if (!strings)
        abort();
    field_strings(list, strings);
    for (char **string = strings; *string; string++)
        touch(*string, strlen(*string));
    free(strings);
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
        for (int i = 0; signatures[op.code][i]; i++) {
            const struct field *field = &op.field[i];
            if (signatures[op.code][i] == 'l')
                touch_list(field);
            else if (field->bytes)
                touch(field->bytes, field->size + (signatures[op.code][i] == 's'));
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
    check(data, size, ROLE_CREATE, &failure);
    return 0;
}

#ifdef FUZZ_MAIN
int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    enum role role = strcmp(name, "exec") == 0     ? ROLE_EXEC
                     : strcmp(name, "wait") == 0   ? ROLE_WAIT
                     : strcmp(name, "create") == 0 ? ROLE_CREATE
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
