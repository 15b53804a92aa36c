/* Trees that the parent took hold of: for a child in a user namespace, because the host's directories on the way to them
   may be closed to whoever root is in there; with ids mapped, because maps are written by process ID, and the child is
   in another PID namespace than the procfs that it sees. */
#include "given.h"

#include <sys/stat.h>

#include "kernel.h"
#include "mount.h"
#include "path.h"
#include "userns.h"
#include "trees.h"

static int take(const char *path, bool recursive, uint64_t attributes, unsigned long propagation)
{
    AUTO_CLOSE int source = open(path, O_PATH | O_CLOEXEC);
    if (source < 0)
        return -1;
    AUTO_CLOSE int tree = clone_mount(source, recursive);
    uint64_t clear = attributes & MOUNT_ATTR__ATIME ? MOUNT_ATTR__ATIME : 0;
    if (tree < 0 || sys_mount_setattr(tree, recursive ? AT_RECURSIVE : 0u, attributes, clear, propagation) < 0)
        return -1;
    return keep_fd(&tree);
}

static int take_mapped(const struct op *op, struct failure *failure)
{
    const struct field *field = op->field;
    failure->op = op->index;
    AUTO_CLOSE int tree = take(field[1].bytes, field[2].number, 0, MS_SLAVE);
    CHECK(failure, tree, "open_tree", field[1].bytes);
    AUTO_CLOSE int userns = userns_make(field[4].bytes, field[5].bytes, failure);
    if (userns < 0)
        return -1;
    CHECK(failure, sys_mount_idmap(tree, field[3].number ? AT_RECURSIVE : 0u, userns), "map ids of", field[1].bytes);
    failure->op = -1;
    return keep_fd(&tree);
}

int given_take(struct given_trees *trees, const struct plan *plan, bool user, struct failure *failure)
{
    struct cursor cursor = plan_begin(plan);
    struct op op;
    while (plan_next(&cursor, &op)) {
        const struct field *field = op.field;
        int tree = -1;
        if (op.code == OP_TREE_MAPPED) {
            tree = take_mapped(&op, failure);
            if (tree < 0)
                return -1;
        } else if (user && op.code == OP_ROOT) {
            tree = take(field[0].bytes, true, 0, MS_SLAVE);
        } else if (user && op.code == OP_TREE) {
            tree = take(field[1].bytes, field[3].number, 0, MS_SLAVE);
        } else if (user && op.code == OP_BIND_IN) {
            tree = take(field[0].bytes, field[2].number, field[3].number, field[4].number & MS_PROPAGATION);
        }
        /* What could not be taken is left to the child, which says what is wrong with it. */
        if (tree < 0)
            continue;
        if (trees->count == MAX_GIVEN) {
            close(tree);
            failure->op = op.index;
            REQUIRE(failure, false, E2BIG, "prepare", "so many mounts");
        }
        trees->tree[trees->count++] = (struct given){op.index, tree};
    }
    return 0;
}

static int given_tree(struct child *child, const struct op *op)
{
    for (int i = 0; child->given && i < child->given->count; i++)
        if (child->given->tree[i].op == op->index)
            return child->given->tree[i].fd;
    return -1;
}

/* The directory itself, or the nearest above it that can be reached: a place to mount the root on, for a moment. */
static int open_nearest(const char *path)
{
    char shorter[PATH_MAX];
    struct text text = text_in(shorter, sizeof shorter);
    text_str(&text, path);
    for (;;) {
        int fd = open(shorter, O_PATH | O_DIRECTORY | O_CLOEXEC);
        char *slash = strrchr(shorter, '/');
        if (fd >= 0 || errno != EACCES || !slash || slash == shorter)
            return fd;
        *slash = 0;
    }
}

int op_root_given(struct child *child, const struct op *op)
{
    int tree = given_tree(child, op);
    if (tree < 0)
        return op_root(child, op);
    const char *path = op->field[0].bytes;
    AUTO_CLOSE int target = open_nearest(path);
    CHECK(child->failure, target, "open", path);
    CHECK(child->failure, sys_move_mount(tree, target), "move_mount", path);
    child->root = fcntl(tree, F_DUPFD_CLOEXEC, 3);
    CHECK(child->failure, child->root, "fcntl", path);
    return 0;
}

int op_tree_given(struct child *child, const struct op *op)
{
    int tree = given_tree(child, op);
    if (tree < 0)
        return op_tree(child, op);
    uint64_t number = op->field[0].number;
    child->trees[number] = fcntl(tree, F_DUPFD_CLOEXEC, 3);
    CHECK(child->failure, child->trees[number], "fcntl", op->field[1].bytes);
    return 0;
}

int op_bind_in_given(struct child *child, const struct op *op)
{
    int tree = given_tree(child, op);
    if (tree < 0)
        return op_bind_in(child, op);
    const char *path = op->field[1].bytes;
    struct stat stat;
    CHECK(child->failure, fstat(tree, &stat), "stat", op->field[0].bytes);
    AUTO_CLOSE int target = mount_point(child, path, S_ISDIR(stat.st_mode) ? MADE_DIRECTORY : MADE_FILE, tree, "");
    if (target < 0)
        return -1;
    CHECK(child->failure, sys_move_mount(tree, target), "bind", path);
    return 0;
}
