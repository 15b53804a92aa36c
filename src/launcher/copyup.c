/* A tmpfs that starts with what it covers (runtime-spec, "tmpcopyup"). Allocates nothing, like all of the child. */
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "kernel.h"
#include "mount.h"
#include "trees.h"

enum { MAX_DEPTH = 64 };

struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

static int copy_below(int from, int to, int depth);

static int copy_attributes(int directory, const char *name, const struct stat *found)
{
    if (fchownat(directory, name, found->st_uid, found->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    /* After the owner, which would clear setuid bits. */
    if (!S_ISLNK(found->st_mode) && fchmodat(directory, name, found->st_mode & 07777, 0) < 0)
        return -1;
    const struct timespec times[2] = {found->st_atim, found->st_mtim};
    return utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW);
}

static int copy_file(int from, int to, const char *name)
{
    AUTO_CLOSE int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    AUTO_CLOSE int copy = source < 0 ? -1 : openat(to, name, flags, 0600);
    if (copy < 0)
        return -1;
    ssize_t sent;
    while ((sent = sendfile(copy, source, NULL, 1 << 20)) > 0)
        ;
    return (int)sent;
}

static int copy_directory(int from, int to, const char *name, int depth)
{
    AUTO_CLOSE int source = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (source < 0 || mkdirat(to, name, 0700) < 0)
        return -1;
    AUTO_CLOSE int copy = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return copy < 0 ? -1 : copy_below(source, copy, depth + 1);
}

static int copy_link(int from, int to, const char *name)
{
    char contents[PATH_MAX];
    ssize_t size = readlinkat(from, name, contents, sizeof contents - 1);
    if (size < 0)
        return -1;
    contents[size] = 0;
    return symlinkat(contents, to, name);
}

static int copy_entry(int from, int to, const char *name, int depth)
{
    struct stat found;
    if (fstatat(from, name, &found, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    int result;
    if (S_ISDIR(found.st_mode))
        result = copy_directory(from, to, name, depth);
    else if (S_ISREG(found.st_mode))
        result = copy_file(from, to, name);
    else if (S_ISLNK(found.st_mode))
        result = copy_link(from, to, name);
    else
        result = mknodat(to, name, found.st_mode, found.st_rdev);
    return result < 0 ? -1 : copy_attributes(to, name, &found);
}

static int copy_below(int from, int to, int depth)
{
    if (depth > MAX_DEPTH) {
        errno = ELOOP;
        return -1;
    }
    _Alignas(struct entry) char entries[2048];
    long size;
    while ((size = syscall(SYS_getdents64, from, entries, sizeof entries)) > 0) {
        for (long at = 0; at < size;) {
            const struct entry *entry = (const struct entry *)(const void *)(entries + at);
            at += entry->size;
            if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0 &&
                copy_entry(from, to, entry->name, depth) < 0)
                return -1;
        }
    }
    return (int)size;
}

int op_copy_up_in(struct child *child, const struct op *op)
{
    const char *path = op->field[0].bytes;
    unsigned long flags = op->field[1].number;
    AUTO_CLOSE int target = mount_point(child, path, MADE_DIRECTORY, -1, "tmpfs");
    if (target < 0)
        return -1;
    AUTO_CLOSE int source = open(fd_path(target).text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat found;
    CHECK(child->failure, source, "open", path);
    CHECK(child->failure, fstat(source, &found), "stat", path);
    const char *data = op->field[2].bytes;
    CHECK(child->failure, mount_at(target, "tmpfs", "tmpfs", flags & ~(unsigned long)MS_RDONLY, data), "mount", path);
    AUTO_CLOSE int mounted = path_open(child->root, path);
    CHECK(child->failure, mounted, "open", path);
    AUTO_CLOSE int copy = open(fd_path(mounted).text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(child->failure, copy, "open", path);
    CHECK(child->failure, copy_below(source, copy, 0), "copy", path);
    /* Without a mode of its own in the data, the directory keeps what it covers. */
    if (!strstr(data, "mode=")) {
        CHECK(child->failure, fchown(copy, found.st_uid, found.st_gid), "chown", path);
        CHECK(child->failure, fchmod(copy, found.st_mode & 07777), "chmod", path);
    }
    if (flags & MS_RDONLY)
        CHECK(child->failure, change_mount(mounted, false, MOUNT_ATTR_RDONLY), "remount", path);
    return 0;
}
