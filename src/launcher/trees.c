/* Mounts that are taken from one place, held as a descriptor, and attached at another. */
#include "trees.h"

#include <sys/stat.h>
#include <sys/vfs.h>

#include "kernel.h"
#include "mount.h"

enum { PROC_MAGIC = 0x9fa0, PROC_ROOT_INODE = 1 };

/* A clone of what `fd` names; where the kernel cannot make one, `fd` itself, which ATTACH binds by mount(2). */
static int clone_or_hold(int *fd, bool recursive)
{
    int tree = clone_mount(*fd, recursive);
    return tree < 0 && call_is_missing() ? keep_fd(fd) : tree;
}

int op_tree(struct child *child, const struct op *op)
{
    uint64_t number = op->field[0].number;
    const char *path = op->field[1].bytes;
    const char *below = op->field[2].bytes;
    bool recursive = op->field[3].number;
    AUTO_CLOSE int source = open(path, O_PATH | O_CLOEXEC);
    CHECK(child->failure, source, "open", path);
    if (*below) {
        /* Others may be changing what is in there: nothing of it leads out of the source. */
        int found = path_open_beneath(source, below);
        CHECK(child->failure, found, "open beneath the source", below);
        close(source);
        source = found;
    }
    AUTO_CLOSE int tree = clone_or_hold(&source, recursive);
    CHECK(child->failure, tree, "open_tree", path);
    if (op->field[4].number)
        CHECK(child->failure, sys_mount_idmap(tree, recursive ? AT_RECURSIVE : 0u, child->userns), "map ids of", path);
    child->trees[number] = keep_fd(&tree);
    child->recursive[number] = recursive;
    return 0;
}

int op_tree_inside(struct child *child, const struct op *op)
{
    const char *path = op->field[1].bytes;
    AUTO_CLOSE int place = path_open(child->root, path);
    CHECK(child->failure, place, "open", path);
    int tree = clone_mount(place, false);
    CHECK(child->failure, tree, "open_tree", path);
    child->trees[op->field[0].number] = tree;
    return 0;
}

int op_attach(struct child *child, const struct op *op)
{
    uint64_t number = op->field[0].number;
    const char *path = op->field[1].bytes;
    REQUIRE(child->failure, child->trees[number] >= 0, EBADF, "attach", path);
    AUTO_CLOSE int tree = child->trees[number];
    child->trees[number] = -1;
    struct stat stat;
    CHECK(child->failure, fstat(tree, &stat), "stat", path);
    AUTO_CLOSE int target = mount_point(child, path, S_ISDIR(stat.st_mode) ? MADE_DIRECTORY : MADE_FILE, tree, "");
    if (target < 0)
        return -1;
    const struct tree_attributes wanted = {.recursive = child->recursive[number],
                                           .set = op->field[2].number,
                                           .clear = op->field[3].number,
                                           .set_below = op->field[4].number,
                                           .clear_below = op->field[5].number,
                                           .propagation = op->field[6].number};
    CHECK(child->failure, attach_tree(tree, target, &wanted), "bind", path);
    return 0;
}

int op_idmap(struct child *child, const struct op *op)
{
    /* Both are the host's paths, in the mount namespace of the process in between. */
    const char *path = op->field[0].bytes;
    AUTO_CLOSE int source = open(path, O_PATH | O_CLOEXEC);
    CHECK(child->failure, source, "open", path);
    AUTO_CLOSE int tree = clone_mount(source, false);
    CHECK(child->failure, tree, "open_tree", path);
    CHECK(child->failure, sys_mount_idmap(tree, 0, child->userns), "map ids of", path);
    AUTO_CLOSE int target = open(op->field[1].bytes, O_PATH | O_CLOEXEC);
    CHECK(child->failure, target, "open", op->field[1].bytes);
    CHECK(child->failure, sys_move_mount(tree, target), "move_mount", op->field[1].bytes);
    return 0;
}

/* The part of a descriptor's path beyond the root's, "" for the root itself; false when it cannot be told. */
static bool path_inside(struct child *child, int fd, char path[PATH_MAX])
{
    char root[PATH_MAX];
    ssize_t root_size = readlink(fd_path(child->root).text, root, sizeof root - 1);
    ssize_t size = readlink(fd_path(fd).text, path, PATH_MAX - 1);
    if (root_size == 1)
        root_size = 0; /* "/", as in a user namespace, where the root is on top of everything */
    if (root_size < 0 || size < root_size || memcmp(path, root, (size_t)root_size) != 0)
        return false;
    path[size] = 0;
    memmove(path, path + root_size, (size_t)(size - root_size) + 1);
    return true;
}

/* What somebody may replace in /proc, as runc has it: numbers that only programs read. Everything else there is what
   the launcher, and whoever enters later, take the kernel's word from (CVE-2019-16884). */
static bool may_be_covered(const char *path)
{
    static const char *const files[] = {"/cpuinfo", "/diskstats", "/meminfo",  "/stat",
                                        "/swaps",   "/uptime",    "/loadavg",  "/slabinfo",
                                        "/sys/kernel/ns_last_pid", "/sys/crypto/fips_enabled"};
    for (size_t i = 0; i < COUNT(files); i++)
        if (strcmp(path, files[i]) == 0)
            return true;
    return false;
}

static bool is_proc_root(int fd)
{
    struct statfs fs;
    struct stat stat;
    return fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == PROC_MAGIC && fstat(fd, &stat) == 0 &&
           stat.st_ino == PROC_ROOT_INODE;
}

static int check_proc(struct child *child, int target, int source, const char *type, const char *path)
{
    struct statfs fs;
    char inside[PATH_MAX];
    CHECK(child->failure, fstatfs(target, &fs), "statfs", path);
    /* The kernel's own is mounted first, so a place in it shows by its type, however the image leads there. */
    if (fs.f_type != PROC_MAGIC || !path_inside(child, target, inside) || strncmp(inside, "/proc", 5) != 0)
        return 0;
    if (!inside[5])
        REQUIRE(child->failure, strcmp(type, "proc") == 0 || is_proc_root(source), EPERM,
                "mount what is not of type proc on", path);
    else if (inside[5] == '/')
        REQUIRE(child->failure, may_be_covered(inside + 5), EPERM, "mount inside /proc:", path);
    return 0;
}

bool same_file(int one, int other)
{
    struct stat first, second;
    return fstat(one, &first) == 0 && fstat(other, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

/* The root itself would be covered only for those who come in by "..": neither masks nor anything else that is named
   by its path would be laid over what is mounted there. */
int mount_point(struct child *child, const char *path, enum made made, int source, const char *type)
{
    AUTO_CLOSE int target = path_make(child->root, path, made);
    CHECK(child->failure, target, "resolve", path);
    struct stat stat;
    CHECK(child->failure, fstat(target, &stat), "stat", path);
    REQUIRE(child->failure, !S_ISDIR(stat.st_mode) == (made == MADE_FILE), ENOTDIR, "mount on", path);
    REQUIRE(child->failure, !same_file(target, child->root), ELOOP, "mount over the root:", path);
    if (check_proc(child, target, source, type, path) < 0)
        return -1;
    return keep_fd(&target);
}
