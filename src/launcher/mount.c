/* The operations that mount. All run in the child, in a mount namespace of its own. */
#include "mount.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "child.h"
#include "kernel.h"
#include "path.h"
#include "trees.h"

/* mount(2) takes NULL where a plan has an empty string. */
static const char *or_null(const struct field *field)
{
    return field->size ? field->bytes : NULL;
}

/* A mount and its propagation are two calls for the kernel. */
static int mount_and_propagate(const char *path, const struct op *op)
{
    unsigned long flags = op->field[3].number;
    unsigned long propagation = flags & MS_PROPAGATION;
    const char *source = op->field[0].size ? op->field[0].bytes : "none";
    flags &= ~(unsigned long)MS_PROPAGATION;
    if (op->field[2].size || (flags & ~(unsigned long)MS_REC)) {
        if (mount(source, path, or_null(&op->field[2]), flags, or_null(&op->field[4])) < 0)
            return -1;
    }
    return propagation ? mount(NULL, path, NULL, propagation | (flags & MS_REC), NULL) : 0;
}

int op_propagation(struct child *child, const struct op *op)
{
    CHECK(child->failure, mount(NULL, "/", NULL, op->field[0].number, NULL), "mount", "/");
    return 0;
}

int op_mount(struct child *child, const struct op *op)
{
    /* The rules made sure of a new mount namespace, so the host's mount table is out of reach. */
    const char *target = op->field[1].bytes;
    CHECK(child->failure, mount_and_propagate(target, op), "mount", target);
    return 0;
}

static bool is_mount_root(int fd)
{
    struct statx statx_;
    if (statx(fd, "", AT_EMPTY_PATH, 0, &statx_) == 0 && (statx_.stx_attributes_mask & 0x2000 /* MOUNT_ROOT */))
        return statx_.stx_attributes & 0x2000;
    struct stat here, above;
    return fstat(fd, &here) == 0 && fstatat(fd, "..", &above, 0) == 0 && here.st_dev != above.st_dev;
}

int op_root(struct child *child, const struct op *op)
{
    const char *path = op->field[0].bytes;
    AUTO_CLOSE int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(child->failure, root, "open", path);
    if (!is_mount_root(root)) {
        /* pivot_root wants a mount, so a plain directory becomes one. */
        CHECK(child->failure, bind_over(root, root, true, 0, 0), "bind", path);
        close(root);
        root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        CHECK(child->failure, root, "open", path);
    }
    child->root = keep_fd(&root);
    return 0;
}

/* Masks and read-only paths find the kernel's own file systems by name, so no symlink of the image may move them
   (CVE-2019-19921, CVE-2023-28642). */
static int require_plain(struct child *child, int target, const char *type, const char *path)
{
    if (strcmp(type, "proc") != 0 && strcmp(type, "sysfs") != 0)
        return 0;
    AUTO_CLOSE int plain = path_open_plain(child->root, path);
    CHECK(child->failure, plain, "open without symlinks", path);
    REQUIRE(child->failure, same_file(plain, target), ELOOP, "open without symlinks", path);
    return 0;
}

/* As runc: a tmpfs over a directory that is there has its mode, unless the data say otherwise. */
static int mount_tmpfs(struct child *child, int target, mode_t mode, const struct op *op)
{
    char data[4096 + 16];
    struct text text = text_in(data, sizeof data);
    text_str(&text, "mode=");
    for (int shift = 9; shift >= 0; shift -= 3)
        text_char(&text, (char)('0' + (mode >> shift & 7)));
    if (op->field[4].size) {
        text_char(&text, ',');
        text_str(&text, op->field[4].bytes);
    }
    CHECK(child->failure, mount_at(target, op->field[0].bytes, "tmpfs", op->field[3].number, data), "mount",
          op->field[1].bytes);
    return 0;
}

int op_mount_in(struct child *child, const struct op *op)
{
    const char *path = op->field[1].bytes;
    bool takes_mode = strcmp(op->field[2].bytes, "tmpfs") == 0 && !strstr(op->field[4].bytes, "mode=");
    AUTO_CLOSE int before = takes_mode ? path_open(child->root, path) : -1;
    AUTO_CLOSE int target = mount_point(child, path, MADE_DIRECTORY, -1, op->field[2].bytes);
    if (target < 0 || require_plain(child, target, op->field[2].bytes, path) < 0)
        return -1;
    struct stat stat;
    if (before >= 0 && fstat(before, &stat) == 0)
        return mount_tmpfs(child, target, stat.st_mode & 07777, op);
    /* The descriptor was reached without leaving the root, so neither can the mount. */
    const char *source = op->field[0].size ? op->field[0].bytes : "none";
    CHECK(child->failure,
          mount_at(target, source, op->field[2].bytes, op->field[3].number, or_null(&op->field[4])), "mount", path);
    return 0;
}

int op_bind_in(struct child *child, const struct op *op)
{
    const char *source_path = op->field[0].bytes;
    const char *path = op->field[1].bytes;
    bool recursive = op->field[2].number;
    AUTO_CLOSE int source = open(source_path, O_PATH | O_CLOEXEC);
    CHECK(child->failure, source, "open", source_path);
    struct stat stat;
    CHECK(child->failure, fstat(source, &stat), "stat", source_path);
    AUTO_CLOSE int target = mount_point(child, path, S_ISDIR(stat.st_mode) ? MADE_DIRECTORY : MADE_FILE, source, "");
    if (target < 0)
        return -1;
    CHECK(child->failure, bind_over(source, target, recursive, op->field[3].number, op->field[4].number), "bind", path);
    return 0;
}

int op_root_readonly(struct child *child, const struct op *op)
{
    (void)op;
    CHECK(child->failure, change_mount(child->root, false, MOUNT_ATTR_RDONLY), "remount", "/");
    return 0;
}

int op_pivot(struct child *child, const struct op *op)
{
    (void)op;
    AUTO_CLOSE int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(child->failure, old, "open", "/");
    CHECK(child->failure, fchdir(child->root), "fchdir", NULL);
    /* Both arguments name the new root: the old one is stacked on top of it and needs no directory in it. */
    CHECK(child->failure, sys_pivot_root(".", "."), "pivot_root", NULL);
    CHECK(child->failure, fchdir(old), "fchdir", NULL);
    /* The detachment must not travel to the host where the tree is shared with it. */
    CHECK(child->failure, mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL), "mount", "the old root");
    CHECK(child->failure, umount2(".", MNT_DETACH), "umount", "the old root");
    CHECK(child->failure, chdir("/"), "chdir", "/");
    close(child->root);
    child->root = -1;
    if (child->null >= 0)
        close(child->null);
    child->null = -1;
    return own_null_device(child);
}

static bool is_null_device(int fd)
{
    struct stat stat;
    return fstat(fd, &stat) == 0 && S_ISCHR(stat.st_mode) && stat.st_rdev == makedev(1, 3);
}

/* The cover for masked files: the container's own null device, so that nothing done to it reaches the host's. */
static int null_cover(struct child *child)
{
    if (child->null >= 0)
        return child->null;
    child->null = path_open(child->root, "dev/null");
    if (child->null >= 0 && is_null_device(child->null))
        return child->null;
    close_fd(&child->null);
    return child->null = open("/dev/null", O_PATH | O_CLOEXEC);
}

/* One empty file system for all of them: the kernel keeps something for every pair of file system and memory cgroup, so
   each costs more the more containers there are. */
static int mask_directory(struct child *child, int target, const char *path)
{
    if (child->empty >= 0)
        return bind_over(child->empty, target, false,
                         MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0);
    unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (mount_at(target, "tmpfs", "tmpfs", flags, "size=0k,nr_inodes=1") < 0)
        return -1;
    child->empty = path_open(child->root, path);
    return child->empty < 0 ? -1 : 0;
}

int op_mask_in(struct child *child, const struct op *op)
{
    const char *path = op->field[0].bytes;
    AUTO_CLOSE int target = path_open(child->root, path);
    if (target < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    CHECK(child->failure, target, "resolve", path);
    struct stat stat;
    CHECK(child->failure, fstat(target, &stat), "stat", path);
    if (S_ISDIR(stat.st_mode)) {
        CHECK(child->failure, mask_directory(child, target, path), "mask", path);
        return 0;
    }
    int cover = null_cover(child);
    CHECK(child->failure, cover, "open", "/dev/null");
    /* Read-only, so that the mode and owner of what may be the host's device cannot be changed through it. */
    CHECK(child->failure, bind_over(cover, target, false, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0),
          "mask", path);
    return 0;
}

int op_readonly_in(struct child *child, const struct op *op)
{
    const char *path = op->field[0].bytes;
    AUTO_CLOSE int target = path_open(child->root, path);
    if (target < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    CHECK(child->failure, target, "resolve", path);
    if (is_mount_root(target))
        CHECK(child->failure, change_mount(target, true, MOUNT_ATTR_RDONLY), "remount", path);
    else
        CHECK(child->failure, bind_over(target, target, true, MOUNT_ATTR_RDONLY, 0), "read-only", path);
    return 0;
}
