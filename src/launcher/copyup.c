/* A tmpfs that begins with what lies beneath it ("tmpcopyup"): filled before it is mounted, so nobody sees it empty. */
#include "base.h"

#include <dirent.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "child.h"
#include "kernel.h"
#include "mount.h"
#include "path.h"

enum { MAX_DEPTH = 64 };

static int copy_tree(int from, int to, int depth);

static int copy_contents(int from, int to)
{
    for (;;) {
        ssize_t n = RETRY(sendfile(to, from, NULL, 1 << 20));
        if (n <= 0)
            return (int)n;
    }
}

static int copy_attributes(const char *from, const char *to, const struct stat *stat)
{
    char names[4096], value[4096];
    ssize_t size = llistxattr(from, names, sizeof names);
    for (const char *name = names; size > 0 && name < names + size; name += strlen(name) + 1) {
        ssize_t length = lgetxattr(from, name, value, sizeof value);
        /* A tmpfs has no room for some kinds; they were no promise of the image's. */
        if (length >= 0 && lsetxattr(to, name, value, (size_t)length, 0) < 0 && errno != ENOTSUP && errno != EPERM)
            return -1;
    }
    struct timespec times[2] = {stat->st_atim, stat->st_mtim};
    return utimensat(AT_FDCWD, to, times, AT_SYMLINK_NOFOLLOW);
}

/* "/proc/self/fd/N/name": a name right in a directory that is open, for calls that take no descriptor. */
static void name_in(int dir, const char *name, char *path, size_t size)
{
    struct text text = text_in(path, size);
    text_str(&text, fd_path(dir).text);
    text_char(&text, '/');
    text_str(&text, name);
}

static int copy_entry(int from, int to, const char *name, int depth)
{
    struct stat stat;
    char target[PATH_MAX], old[PATH_MAX], new[PATH_MAX];
    if (fstatat(from, name, &stat, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (S_ISLNK(stat.st_mode)) {
        ssize_t size = readlinkat(from, name, target, sizeof target - 1);
        if (size < 0)
            return -1;
        target[size] = 0;
        if (symlinkat(target, to, name) < 0)
            return -1;
    } else if (S_ISDIR(stat.st_mode)) {
        if (mkdirat(to, name, 0700) < 0)
            return -1;
        AUTO_CLOSE int source = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        AUTO_CLOSE int copy = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (source < 0 || copy < 0 || copy_tree(source, copy, depth + 1) < 0)
            return -1;
    } else if (S_ISREG(stat.st_mode)) {
        AUTO_CLOSE int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        AUTO_CLOSE int copy = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (source < 0 || copy < 0 || copy_contents(source, copy) < 0)
            return -1;
    } else if (mknodat(to, name, stat.st_mode, stat.st_rdev) < 0) {
        return -1;
    }
    if (fchownat(to, name, stat.st_uid, stat.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (!S_ISLNK(stat.st_mode) && fchmodat(to, name, stat.st_mode & 07777, 0) < 0)
        return -1;
    name_in(from, name, old, sizeof old);
    name_in(to, name, new, sizeof new);
    return copy_attributes(old, new, &stat);
}

static int copy_tree(int from, int to, int depth)
{
    if (depth > MAX_DEPTH) {
        errno = ELOOP;
        return -1;
    }
    int again = fcntl(from, F_DUPFD_CLOEXEC, 3);
    DIR *entries = again < 0 ? NULL : fdopendir(again);
    if (!entries)
        return -1;
    int result = 0;
    const struct dirent *entry;
    while (result == 0 && (entry = readdir(entries)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = copy_entry(from, to, entry->d_name, depth);
    int reason = errno;
    closedir(entries);
    errno = reason;
    return result;
}

int op_tmpfs_copy_in(struct child *child, const struct op *op)
{
    const char *path = op->field[1].bytes;
    AUTO_CLOSE int below = path_make(child->root, path, MADE_DIRECTORY);
    CHECK(child->failure, below, "resolve", path);
    AUTO_CLOSE int from = openat(below, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(child->failure, from, "open", path);
    struct stat stat;
    CHECK(child->failure, fstat(from, &stat), "stat", path);
    unsigned long read_only = op->field[3].number & MS_RDONLY;
    struct op writable = *op;
    writable.field[3].number &= ~(uint64_t)MS_RDONLY;
    if (op_mount_in(child, &writable) < 0)
        return -1;
    AUTO_CLOSE int top = path_open(child->root, path);
    CHECK(child->failure, top, "resolve", path);
    AUTO_CLOSE int to = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(child->failure, to, "open", path);
    CHECK(child->failure, copy_tree(from, to, 0), "copy", path);
    /* Without a mode of its own in the data, the directory keeps the one that it covers. */
    if (!strstr(op->field[4].bytes, "mode=")) {
        CHECK(child->failure, fchown(to, stat.st_uid, stat.st_gid), "chown", path);
        CHECK(child->failure, fchmod(to, stat.st_mode & 07777), "chmod", path);
    }
    if (read_only)
        CHECK(child->failure, change_mount(top, false, MOUNT_ATTR_RDONLY), "remount", path);
    return 0;
}
