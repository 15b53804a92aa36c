#include "path.h"

#include <sys/stat.h>
#include <sys/vfs.h>

#include "kernel.h"

enum { MAX_LINKS = 40, PROC_MAGIC = 0x9fa0, PROC_ROOT_INODE = 1 };

/* Open a path that has neither symlinks nor ".." in it. The kernel refuses any that appeared since we looked;
   without openat2 every component is opened by itself and looked at. */
static int open_plain(int root, const char *path, int flags)
{
    if (!*path)
        return openat(root, ".", (flags & ~O_NOFOLLOW) | O_CLOEXEC);
    int fd = sys_openat2(root, path, flags, RESOLVE_BENEATH_ | RESOLVE_NO_SYMLINKS_ | RESOLVE_NO_MAGICLINKS_);
    if (fd >= 0 || !call_is_missing())
        return fd;
    AUTO_CLOSE int dir = openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -1;
    for (;;) {
        char name[NAME_MAX + 1];
        const char *slash = strchrnul(path, '/');
        size_t size = (size_t)(slash - path);
        if (size > NAME_MAX) {
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(name, path, size);
        name[size] = 0;
        if (!*slash)
            return openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC);
        int next = openat(dir, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
        if (next < 0)
            return -1;
        close(dir);
        dir = next;
        path = slash + 1;
    }
}

/* The walk: `done` is the part that was resolved, without symlinks and ".."; `rest` is still to come. */
struct walk {
    int root;
    bool create;
    bool beneath; /* what would stop at the root is refused instead */
    enum made made;
    char done[PATH_MAX];
    char rest[PATH_MAX];
    char name[NAME_MAX + 1];
    int links;
};

static void strip_last(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = 0;
    else
        *path = 0;
}

/* Take the next component into walk->name. 1, 0 at the end, or -1. */
static int take_component(struct walk *walk, bool *last)
{
    char *at = walk->rest + strspn(walk->rest, "/");
    size_t size = strcspn(at, "/");
    if (size == 0)
        return 0;
    if (size > NAME_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(walk->name, at, size);
    walk->name[size] = 0;
    at += size;
    *last = at[strspn(at, "/")] == 0;
    memmove(walk->rest, at, strlen(at) + 1);
    return 1;
}

static int follow_link(struct walk *walk, int link)
{
    char target[PATH_MAX];
    ssize_t size = readlinkat(link, "", target, sizeof target - 1);
    if (size < 0)
        return -1;
    target[size] = 0;
    if (++walk->links > MAX_LINKS) {
        errno = ELOOP;
        return -1;
    }
    if ((size_t)size + strlen(walk->rest) + 2 > sizeof walk->rest) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (target[0] == '/' && walk->beneath) {
        errno = EXDEV;
        return -1;
    }
    memmove(walk->rest + size + 1, walk->rest, strlen(walk->rest) + 1);
    memcpy(walk->rest, target, (size_t)size);
    walk->rest[size] = '/';
    if (target[0] == '/')
        walk->done[0] = 0;
    else
        strip_last(walk->done);
    return 0;
}

/* Make the missing last component of walk->done. Its parent was reached without leaving the root, and mkdirat and
   mknodat follow no symlink in the name itself. */
static int create_here(struct walk *walk, bool last)
{
    char parent_path[PATH_MAX];
    strcpy(parent_path, walk->done);
    strip_last(parent_path);
    AUTO_CLOSE int parent = open_plain(walk->root, parent_path, O_PATH | O_DIRECTORY | O_NOFOLLOW);
    if (parent < 0)
        return -1;
    int result = last && walk->made == MADE_FILE ? mknodat(parent, walk->name, S_IFREG | 0644, 0)
                                                 : mkdirat(parent, walk->name, 0755);
    return result < 0 && errno != EEXIST ? -1 : 0;
}

static int append(struct walk *walk)
{
    size_t used = strlen(walk->done);
    if (used + strlen(walk->name) + 2 > sizeof walk->done) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (used)
        walk->done[used++] = '/';
    strcpy(walk->done + used, walk->name);
    return 0;
}

/* Resolve walk->rest. With `parent`, stop before the last component and leave it in walk->name. */
static int resolve(struct walk *walk, bool parent)
{
    bool last = false;
    int taken;
    while ((taken = take_component(walk, &last)) > 0) {
        bool up = strcmp(walk->name, "..") == 0;
        if (up || strcmp(walk->name, ".") == 0) {
            if (up && walk->beneath && !*walk->done) {
                errno = EXDEV;
                return -1;
            }
            if (up)
                strip_last(walk->done);
            if (parent && last)
                break;
            continue;
        }
        if (parent && last)
            return open_plain(walk->root, walk->done, O_PATH | O_DIRECTORY | O_NOFOLLOW);
        if (append(walk) < 0)
            return -1;
        AUTO_CLOSE int fd = open_plain(walk->root, walk->done, O_PATH | O_NOFOLLOW);
        if (fd < 0 && errno == ENOENT && walk->create) {
            if (create_here(walk, last) < 0)
                return -1;
            fd = open_plain(walk->root, walk->done, O_PATH | O_NOFOLLOW);
        }
        struct stat stat;
        if (fd < 0 || fstat(fd, &stat) < 0)
            return -1;
        if (S_ISLNK(stat.st_mode)) {
            if (follow_link(walk, fd) < 0)
                return -1;
        } else if (!last && !S_ISDIR(stat.st_mode)) {
            errno = ENOTDIR;
            return -1;
        }
    }
    if (taken < 0)
        return -1;
    if (parent) {
        /* "/" or "a/..": there is no name to make. */
        errno = EEXIST;
        return -1;
    }
    return open_plain(walk->root, walk->done, O_PATH | O_NOFOLLOW);
}

static int start_walk(struct walk *walk, int root, const char *path)
{
    *walk = (struct walk){.root = root};
    if (strlen(path) >= sizeof walk->rest) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(walk->rest, path);
    return 0;
}

int path_open_as(int root, const char *path, int flags)
{
    int fd = sys_openat2(root, path, flags, RESOLVE_IN_ROOT_ | RESOLVE_NO_MAGICLINKS_);
    if (fd >= 0 || !call_is_missing())
        return fd;
    struct walk walk;
    if (start_walk(&walk, root, path) < 0)
        return -1;
    AUTO_CLOSE int found = resolve(&walk, false);
    if (found < 0 || flags == O_PATH)
        return keep_fd(&found);
    return open_plain(root, walk.done, flags);
}

int path_open_beneath(int directory, const char *path)
{
    int fd = sys_openat2(directory, path, O_PATH, RESOLVE_BENEATH_ | RESOLVE_NO_MAGICLINKS_);
    if (fd >= 0 || !call_is_missing())
        return fd;
    struct walk walk;
    if (start_walk(&walk, directory, path) < 0)
        return -1;
    walk.beneath = true;
    return resolve(&walk, false);
}

int path_open(int root, const char *path)
{
    return path_open_as(root, path, O_PATH);
}

int path_open_plain(int root, const char *path)
{
    return open_plain(root, path + strspn(path, "/"), O_PATH | O_DIRECTORY | O_NOFOLLOW);
}

int path_make(int root, const char *path, enum made made)
{
    int fd = sys_openat2(root, path, O_PATH, RESOLVE_IN_ROOT_ | RESOLVE_NO_MAGICLINKS_);
    if (fd >= 0 || (!call_is_missing() && errno != ENOENT))
        return fd;
    struct walk walk;
    if (start_walk(&walk, root, path) < 0)
        return -1;
    walk.create = true;
    walk.made = made;
    return resolve(&walk, false);
}

int path_parent(int root, const char *path, char name[NAME_MAX + 1])
{
    struct walk walk;
    if (start_walk(&walk, root, path) < 0)
        return -1;
    walk.create = true;
    walk.made = MADE_DIRECTORY;
    int fd = resolve(&walk, true);
    if (fd >= 0)
        strcpy(name, walk.name);
    return fd;
}

int proc_self_open(const char *name, int flags)
{
    AUTO_CLOSE int proc = open("/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct statfs fs;
    struct stat stat;
    if (proc < 0 || fstatfs(proc, &fs) < 0 || fstat(proc, &stat) < 0)
        return -1;
    /* A container may mount what it likes over its /proc; labels must not be written into that. */
    if (fs.f_type != PROC_MAGIC || stat.st_ino != PROC_ROOT_INODE) {
        errno = EXDEV;
        return -1;
    }
    char path[128];
    struct text text = text_in(path, sizeof path);
    text_str(&text, "self/");
    text_str(&text, name);
    int fd = sys_openat2(proc, path, flags, RESOLVE_BENEATH_ | RESOLVE_NO_XDEV_ | RESOLVE_NO_MAGICLINKS_);
    if (fd >= 0 || !call_is_missing())
        return fd;
    AUTO_CLOSE int opened = openat(proc, path, flags | O_NOFOLLOW | O_CLOEXEC);
    if (opened < 0 || fstatfs(opened, &fs) < 0)
        return -1;
    if (fs.f_type != PROC_MAGIC) {
        errno = EXDEV;
        return -1;
    }
    return keep_fd(&opened);
}
