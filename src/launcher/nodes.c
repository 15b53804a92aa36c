/* The operations that make directory entries and write sysctls beneath the root. */
#include "base.h"

#include <sys/stat.h>
#include <sys/vfs.h>

#include "child.h"
#include "kernel.h"
#include "path.h"

int op_mkdir_in(struct child *child, const struct op *op)
{
    const char *path = op->field[0].bytes;
    AUTO_CLOSE int existing = path_open(child->root, path);
    if (existing >= 0) {
        struct stat stat;
        CHECK(child->failure, fstat(existing, &stat), "stat", path);
        REQUIRE(child->failure, S_ISDIR(stat.st_mode), ENOTDIR, "mkdir", path);
        return 0;
    }
    AUTO_CLOSE int made = path_make(child->root, path, MADE_DIRECTORY);
    CHECK(child->failure, made, "mkdir", path);
    CHECK(child->failure, chmod(fd_path(made).text, (mode_t)op->field[1].number), "chmod", path);
    return 0;
}

int op_mknod_in(struct child *child, const struct op *op)
{
    const char *path = op->field[0].bytes;
    mode_t mode = (mode_t)op->field[1].number;
    dev_t device = (dev_t)op->field[2].number;
    char name[NAME_MAX + 1];
    AUTO_CLOSE int parent = path_parent(child->root, path, name);
    CHECK(child->failure, parent, "resolve", path);
    if (mknodat(parent, name, mode, device) < 0) {
        int refused = errno;
        struct stat stat;
        bool same = refused == EEXIST && fstatat(parent, name, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
                    (stat.st_mode & S_IFMT) == (mode & S_IFMT) && stat.st_rdev == device;
        errno = refused;
        if (!same)
            return failed(child->failure, "mknod", path);
    }
    /* chmod after chown, which would clear setuid bits; neither follows a symlink, for the node is no symlink. */
    CHECK(child->failure,
          fchownat(parent, name, (uid_t)op->field[3].number, (gid_t)op->field[4].number, AT_SYMLINK_NOFOLLOW), "chown",
          path);
    CHECK(child->failure, fchmodat(parent, name, mode & 07777, 0), "chmod", path);
    return 0;
}

int op_symlink_in(struct child *child, const struct op *op)
{
    const char *path = op->field[1].bytes;
    char name[NAME_MAX + 1];
    AUTO_CLOSE int parent = path_parent(child->root, path, name);
    CHECK(child->failure, parent, "resolve", path);
    int result = symlinkat(op->field[0].bytes, parent, name);
    if (result < 0 && errno == EEXIST)
        return 0;
    CHECK(child->failure, result, "symlink", path);
    return 0;
}

/* "net.ipv4.conf.eth0/1.forwarding" or "net/ipv4/conf/eth0.1/forwarding": the first separator says which is meant. */
static void sysctl_path(const char *key, char *path, size_t size)
{
    const char *first = key + strcspn(key, "./");
    bool dotted = *first == '.';
    struct text text = text_in(path, size);
    for (; *key; key++) {
        char c = *key;
        if (dotted && (c == '.' || c == '/'))
            c = c == '.' ? '/' : '.';
        text_char(&text, c);
    }
}

int op_sysctl(struct child *child, const struct op *op)
{
    enum { PROC_MAGIC = 0x9fa0 };
    const char *key = op->field[0].bytes;
    char path[256];
    REQUIRE(child->failure, op->field[0].size < sizeof path, ENAMETOOLONG, "sysctl", key);
    sysctl_path(key, path, sizeof path);
    AUTO_CLOSE int proc = path_open(child->root, "proc/sys");
    CHECK(child->failure, proc, "open", "/proc/sys");
    struct statfs fs;
    CHECK(child->failure, fstatfs(proc, &fs), "statfs", "/proc/sys");
    REQUIRE(child->failure, fs.f_type == PROC_MAGIC, ENOTSUP, "sysctl: /proc/sys is no procfs for", key);
    /* procfs has symlinks that lead elsewhere only outside sys/, and path_open stays beneath this directory. */
    AUTO_CLOSE int fd = path_open_as(proc, path, O_WRONLY | O_NOFOLLOW);
    CHECK(child->failure, fd, "open", key);
    CHECK(child->failure, RETRY(write(fd, op->field[1].bytes, op->field[1].size)), "write", key);
    return 0;
}
