/* Bind mounts and their attributes, by the new mount API or, on old kernels, by mount(2) and a look at mountinfo. */
#include "mount.h"

#include <sys/mman.h>
#include <sys/statvfs.h>

#include "kernel.h"

int mount_at(int target, const char *source, const char *type, unsigned long flags, const char *data)
{
    return mount(source, fd_path(target).text, type, flags, data);
}

int clone_mount(int fd, bool recursive)
{
    return sys_open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | (recursive ? AT_RECURSIVE : 0u));
}

static const struct {
    uint64_t attribute;
    unsigned long flag;
    unsigned long held; /* how statvfs shows it */
} attribute_flags[] = {
    {MOUNT_ATTR_RDONLY, MS_RDONLY, ST_RDONLY},
    {MOUNT_ATTR_NOSUID, MS_NOSUID, ST_NOSUID},
    {MOUNT_ATTR_NODEV, MS_NODEV, ST_NODEV},
    {MOUNT_ATTR_NOEXEC, MS_NOEXEC, ST_NOEXEC},
    {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME, ST_NODIRATIME},
    {MOUNT_ATTR_NOATIME, MS_NOATIME, ST_NOATIME},
    {0, MS_RELATIME, ST_RELATIME},
    {MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW, 0x2000},
};

static int remount(const char *path, uint64_t attributes)
{
    struct statvfs held;
    if (statvfs(path, &held) < 0)
        return -1;
    /* A remount replaces all flags, so those that the mount has must be said again. */
    unsigned long flags = MS_REMOUNT | MS_BIND;
    for (size_t i = 0; i < COUNT(attribute_flags); i++) {
        bool wanted = attribute_flags[i].attribute & attributes;
        if (wanted || (held.f_flag & attribute_flags[i].held))
            flags |= attribute_flags[i].flag;
    }
    return mount(NULL, path, NULL, flags, NULL);
}

/* Undo mountinfo's \ooo escapes in place. */
static void unescape(char *at)
{
    char *out = at;
    while (*at) {
        if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] && at[3]) {
            *out++ = (char)((at[1] - '0') << 6 | (at[2] - '0') << 3 | (at[3] - '0'));
            at += 4;
        } else {
            *out++ = *at++;
        }
    }
    *out = 0;
}

/* Remount everything mounted below `path`, as /proc/self/mountinfo tells it. */
static int remount_below(const char *path, uint64_t attributes)
{
    size_t room = 4 << 20;
    char *info = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (info == MAP_FAILED)
        return -1;
    int result = read_text(AT_FDCWD, "/proc/self/mountinfo", info, room) < 0 ? -1 : 0;
    size_t size = strlen(path);
    char *line_end;
    for (char *line = info; result == 0 && (line_end = strchr(line, '\n')); line = line_end + 1) {
        *line_end = 0;
        /* "36 35 98:0 /mnt1 /mnt2 rw,noatime …": the fifth word is the mount point. */
        char *word = line;
        for (int i = 0; i < 4 && word; i++)
            word = (word = strchr(word, ' ')) ? word + 1 : NULL;
        if (!word)
            continue;
        word[strcspn(word, " ")] = 0;
        unescape(word);
        if (strncmp(word, path, size) == 0 && word[size] == '/')
            result = remount(word, attributes);
    }
    munmap(info, room);
    return result;
}

/* Nothing to change is no call. */
static int set_mount(int fd, unsigned flags, uint64_t set, uint64_t clear, unsigned long propagation)
{
    if (!set && !clear && !propagation)
        return 0;
    /* The kind of atime is one field: it is cleared whole before it is set, and may not be cleared in part. */
    if ((set | clear) & MOUNT_ATTR__ATIME)
        clear |= MOUNT_ATTR__ATIME;
    return sys_mount_setattr(fd, flags, set, clear, propagation & MS_PROPAGATION);
}

int change_mount(int fd, bool recursive, uint64_t attributes)
{
    int result = set_mount(fd, recursive ? AT_RECURSIVE : 0u, attributes, 0, 0);
    if (result == 0 || !call_is_missing())
        return result;
    char path[PATH_MAX];
    ssize_t size = readlink(fd_path(fd).text, path, sizeof path - 1);
    if (size < 0)
        return -1;
    path[size] = 0;
    if (remount(fd_path(fd).text, attributes) < 0)
        return -1;
    return recursive ? remount_below(path, attributes) : 0;
}

/* What was just mounted over `target`, which that covers: found again through its path. Nobody else can change it, since
   the mount namespace is ours alone, and the path is absolute and free of symlinks. */
static int open_cover(int target)
{
    char path[PATH_MAX];
    ssize_t size = readlink(fd_path(target).text, path, sizeof path - 1);
    if (size < 0)
        return -1;
    path[size] = 0;
    return open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

int bind_over(int source, int target, bool recursive, uint64_t attributes, unsigned long propagation)
{
    AUTO_CLOSE int tree = clone_mount(source, recursive);
    if (tree >= 0 && set_mount(tree, recursive ? AT_RECURSIVE : 0u, attributes, 0, propagation) == 0)
        return sys_move_mount(tree, target);
    if (!call_is_missing())
        return -1;
    if (mount_at(target, fd_path(source).text, NULL, MS_BIND | (recursive ? MS_REC : 0u), NULL) < 0)
        return -1;
    AUTO_CLOSE int mounted = open_cover(target);
    if (mounted < 0 || (attributes && change_mount(mounted, recursive, attributes) < 0))
        return -1;
    if (!propagation)
        return 0;
    return mount_at(mounted, NULL, NULL, (propagation & MS_PROPAGATION) | (recursive ? MS_REC : 0u), NULL);
}

int attach_tree(int tree, int target, const struct tree_attributes *wanted)
{
    bool deep = wanted->propagation & MS_REC;
    if (set_mount(tree, AT_RECURSIVE, wanted->set_below, wanted->clear_below, deep ? wanted->propagation : 0) == 0 &&
        set_mount(tree, 0, wanted->set, wanted->clear, deep ? 0 : wanted->propagation) == 0 &&
        sys_move_mount(tree, target) == 0)
        return 0;
    if (!call_is_missing())
        return -1;
    /* mount(2) tells no more apart than "this one" and "all": flags are only set, and what was asked for below goes
       for the top one too. What needs more than that is refused. */
    if (wanted->clear | wanted->clear_below) {
        errno = ENOSYS;
        return -1;
    }
    if (bind_over(tree, target, wanted->recursive, wanted->set_below, wanted->propagation) < 0)
        return -1;
    if (!wanted->set)
        return 0;
    AUTO_CLOSE int mounted = open_cover(target);
    return mounted < 0 ? -1 : change_mount(mounted, false, wanted->set);
}
