/* Mounts that are taken from one place, held as a descriptor, and attached at another. */
#include "trees.h"

#include <sched.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "kernel.h"
#include "mount.h"
#include "wire.h"

enum { PROC_MAGIC = 0x9fa0, PROC_ROOT_INODE = 1 };

static int keep_tree(struct child *child, int *tree, bool recursive)
{
    child->tree_recursive[child->tree_count] = recursive;
    child->trees[child->tree_count++] = keep_fd(tree);
    return 0;
}

/* A clone of what `fd` names; where the kernel cannot make one, `fd` itself, which TREE_IN binds by mount(2). */
static int clone_or_hold(int *fd, bool recursive)
{
    int tree = clone_mount(*fd, recursive);
    return tree < 0 && call_is_missing() ? keep_fd(fd) : tree;
}

int op_tree(struct child *child, const struct op *op)
{
    const char *path = op->field[0].bytes;
    const char *below = op->field[1].bytes;
    AUTO_CLOSE int source = open(path, O_PATH | O_CLOEXEC);
    CHECK(child->failure, source, "open", path);
    if (*below) {
        /* Others may be changing what is in there: nothing of it leads out of the source. */
        int found = path_open_beneath(source, below);
        CHECK(child->failure, found, "open beneath the source", below);
        close(source);
        source = found;
    }
    AUTO_CLOSE int tree = clone_or_hold(&source, op->field[2].number);
    CHECK(child->failure, tree, "open_tree", path);
    return keep_tree(child, &tree, op->field[2].number);
}

static int open_namespace(uint64_t pid)
{
    char path[64];
    struct text text = text_in(path, sizeof path);
    text_str(&text, "/proc/");
    text_u64(&text, pid);
    text_str(&text, "/ns/mnt");
    return open(path, O_RDONLY | O_CLOEXEC);
}

int op_tree_of(struct child *child, const struct op *op)
{
    uint64_t pid = op->field[0].number;
    const char *path = op->field[2].bytes;
    AUTO_CLOSE int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    CHECK(child->failure, own, "open", "/proc/self/ns/mnt");
    AUTO_CLOSE int other = open_namespace(pid);
    CHECK(child->failure, other, "open", "the other mount namespace");
    AUTO_CLOSE int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(child->failure, proc, "open", "/proc");
    /* Looked at after opening, so that it is not a later process of that number. */
    REQUIRE(child->failure, start_ticks(proc, (pid_t)pid) == op->field[1].number, ESRCH, "find", "the other container");
    CHECK(child->failure, setns(other, CLONE_NEWNS), "setns", "the other mount namespace");
    /* Its processes run meanwhile, so its names are looked up as they see them, but only a mount's root is taken. */
    AUTO_CLOSE int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int found = root < 0 ? -1 : path_open(root, path);
    AUTO_CLOSE int tree = found < 0 ? -1 : clone_mount(found, false);
    int error = errno;
    CHECK(child->failure, setns(own, CLONE_NEWNS), "setns", "the container's mount namespace");
    errno = error;
    CHECK(child->failure, tree, "open_tree", path);
    struct statfs fs;
    CHECK(child->failure, fstatfs(tree, &fs), "statfs", path);
    REQUIRE(child->failure, fs.f_type == (__typeof__(fs.f_type))op->field[3].number, ESTALE, "find the mount at", path);
    return keep_tree(child, &tree, false);
}

int op_tree_in(struct child *child, const struct op *op)
{
    uint64_t number = op->field[0].number;
    const char *path = op->field[1].bytes;
    bool there = number < (uint64_t)child->tree_count && child->trees[number] >= 0;
    REQUIRE(child->failure, there, EBADF, "find the tree for", path);
    AUTO_CLOSE int tree = child->trees[number];
    child->trees[number] = -1;
    struct stat stat;
    CHECK(child->failure, fstat(tree, &stat), "stat", path);
    AUTO_CLOSE int target = mount_point(child, path, S_ISDIR(stat.st_mode) ? MADE_DIRECTORY : MADE_FILE, tree, "");
    if (target < 0)
        return -1;
    const struct tree_attributes wanted = {.recursive = child->tree_recursive[number],
                                           .set = op->field[2].number,
                                           .clear = op->field[3].number,
                                           .set_below = op->field[4].number,
                                           .clear_below = op->field[5].number,
                                           .propagation = op->field[6].number};
    CHECK(child->failure, attach_tree(tree, target, &wanted), "bind", path);
    return 0;
}

/* The part of a descriptor's path beyond the root's, "" for the root itself; false when it cannot be told. */
static bool path_inside(struct child *child, int fd, char path[PATH_MAX])
{
    char root[PATH_MAX];
    ssize_t root_size = readlink(fd_path(child->root).text, root, sizeof root - 1);
    ssize_t size = readlink(fd_path(fd).text, path, PATH_MAX - 1);
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
