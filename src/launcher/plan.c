#include "plan.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "rules.h"

struct row {
    const char *name;
    const char *signature;
};

static const struct row rows[MAX_OP_CODE + 1] = {
#define ROW(name, code, signature) [code] = {#name, signature},
    TIFFIN_OPS(ROW)
#undef ROW
};

const char *op_name(enum op_code code)
{
    return rows[code].name;
}

static uint16_t get16(const char *at)
{
    const unsigned char *byte = (const unsigned char *)at;
    return (uint16_t)(byte[0] | byte[1] << 8);
}

static uint32_t get32(const char *at)
{
    return get16(at) | (uint32_t)get16(at + 2) << 16;
}

static uint64_t get64(const char *at)
{
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

/* Take `s` or `b` from *at: a length, that many bytes and, for `s`, one NUL and none before. */
static bool take_bytes(const char **at, const char *end, bool string, struct field *field)
{
    if (end - *at < 4)
        return false;
    uint32_t size = get32(*at);
    *at += 4;
    if ((size_t)(end - *at) < (size_t)size + string)
        return false;
    field->bytes = *at;
    field->size = size;
    if (string && (memchr(*at, 0, size) || (*at)[size] != 0))
        return false;
    *at += (size_t)size + string;
    return true;
}

static bool take_field(const char **at, const char *end, char letter, struct field *field)
{
    if (letter == 'u') {
        if (end - *at < 8)
            return false;
        field->number = get64(*at);
        *at += 8;
        return true;
    }
    if (letter != 'l')
        return take_bytes(at, end, letter == 's', field);
    if (end - *at < 4)
        return false;
    uint32_t count = get32(*at);
    *at += 4;
    field->bytes = *at;
    field->size = count;
    /* An item has at least five bytes, so that a lying count ends this loop early. */
    for (uint32_t i = 0; i < count; i++) {
        struct field item;
        if (!take_bytes(at, end, true, &item))
            return false;
    }
    return true;
}

/* Decode the operation at *at; NULL, or what is wrong with it. */
static const char *take_op(const char **at, const char *end, struct op *op)
{
    if (end - *at < 8)
        return "operation header cut short";
    uint16_t code = get16(*at);
    if (get16(*at + 2) != 0)
        return "nonzero padding";
    uint32_t size = get32(*at + 4);
    *at += 8;
    if ((size_t)(end - *at) < size)
        return "payload cut short";
    if (code > MAX_OP_CODE || !rows[code].name)
        return "unknown operation";
    op->code = code;
    memset(op->field, 0, sizeof op->field);
    const char *payload_end = *at + size;
    for (int i = 0; i < MAX_OP_FIELDS; i++) {
        if (!rows[code].signature[i])
            break;
        if (!take_field(at, payload_end, rows[code].signature[i], &op->field[i]))
            return "malformed field";
    }
    return *at == payload_end ? NULL : "trailing bytes in payload";
}

static int refuse(struct failure *failure, int index, const char *op, const char *why)
{
    failure->op = -1;
    failure->err = EINVAL;
    struct text text = text_in(failure->text, sizeof failure->text);
    text_str(&text, "plan: ");
    if (index >= 0) {
        text_str(&text, "operation ");
        text_u64(&text, (uint64_t)index);
        if (op) {
            text_char(&text, ' ');
            text_str(&text, op);
        }
        text_str(&text, ": ");
    }
    text_str(&text, why);
    return -1;
}

int plan_validate(struct plan *plan, const char *bytes, size_t size, enum role role, struct failure *failure)
{
    if (size < PLAN_MAGIC_BYTES + 8 || memcmp(bytes, PLAN_MAGIC, PLAN_MAGIC_BYTES) != 0)
        return refuse(failure, -1, NULL, "bad magic");
    if (get32(bytes + PLAN_MAGIC_BYTES) != size)
        return refuse(failure, -1, NULL, "bad length");
    *plan = (struct plan){.bytes = bytes, .size = size, .count = get32(bytes + PLAN_MAGIC_BYTES + 4)};
    struct cursor cursor = plan_begin(plan);
    struct rules rules = {.role = role};
    for (uint32_t i = 0; i < plan->count; i++) {
        struct op op = {.index = (int)i};
        const char *wrong = take_op(&cursor.at, cursor.end, &op);
        if (!wrong)
            wrong = rules_check(&rules, &op);
        if (wrong)
            return refuse(failure, (int)i, op.code ? op_name(op.code) : NULL, wrong);
    }
    if (cursor.at != cursor.end)
        return refuse(failure, -1, NULL, "trailing bytes");
    const char *missing = rules_finish(&rules);
    return missing ? refuse(failure, -1, NULL, missing) : 0;
}

int plan_read(struct plan *plan, int fd, enum role role, struct failure *failure)
{
    /* Address space only: pages come with the bytes. One byte more than allowed tells "too long" from "as long". */
    size_t room = MAX_PLAN_BYTES + 1;
    char *bytes = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED)
        return failed(failure, "mmap", "plan");
    size_t used = 0;
    while (used < room) {
        ssize_t n = RETRY(read(fd, bytes + used, room - used));
        if (n < 0) {
            failed(failure, "read", "plan");
            munmap(bytes, room);
            return -1;
        }
        if (n == 0)
            break;
        used += (size_t)n;
    }
    int result = used > MAX_PLAN_BYTES ? refuse(failure, -1, NULL, "too long")
                                       : plan_validate(plan, bytes, used, role, failure);
    if (result < 0) {
        munmap(bytes, room);
        return -1;
    }
    plan->mapped = room;
    return 0;
}

void plan_free(struct plan *plan)
{
    if (plan->mapped)
        munmap((void *)(uintptr_t)plan->bytes, plan->mapped);
    *plan = (struct plan){0};
}

struct cursor plan_begin(const struct plan *plan)
{
    return (struct cursor){plan->bytes + PLAN_MAGIC_BYTES + 8, plan->bytes + plan->size, 0};
}

bool plan_next(struct cursor *cursor, struct op *op)
{
    if (cursor->at == cursor->end)
        return false;
    op->index = cursor->index++;
    return take_op(&cursor->at, cursor->end, op) == NULL;
}

void field_strings(const struct field *list, char **out)
{
    const char *at = list->bytes;
    for (uint32_t i = 0; i < list->size; i++) {
        uint32_t size = get32(at);
        out[i] = (char *)(uintptr_t)(at + 4);
        at += 4 + (size_t)size + 1;
    }
    out[list->size] = NULL;
}
