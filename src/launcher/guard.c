#include "guard.h"

#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "kernel.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

extern char **environ;

static char guarded_name[] = "tiffin-launch (guarded)";

enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

/* A detached read-only mount of our own file. It belongs to no mount namespace, so it cannot be remounted, and it
   lasts as long as something runs from it. Its pages are those of the installed file, shared by all monitors. */
static int readonly_mount(void)
{
    AUTO_CLOSE int tree = sys_open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE);
    if (tree < 0 || sys_mount_setattr(tree, 0, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0) < 0)
        return -1;
    return keep_fd(&tree);
}

/* The way without the new mount API, or without the right to mount: a sealed copy in memory. */
static int sealed_copy(int source)
{
    AUTO_CLOSE int copy = memfd_create("tiffin-launch", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (copy < 0 && errno == EINVAL) {
        close_fd(&copy);
        copy = memfd_create("tiffin-launch", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    struct stat stat;
    if (copy < 0 || fstat(source, &stat) < 0)
        return -1;
    off_t offset = 0;
    while (offset < stat.st_size) {
        ssize_t n = RETRY(sendfile(copy, source, &offset, (size_t)(stat.st_size - offset)));
        if (n <= 0)
            return -1;
    }
    if (fchmod(copy, 0555) < 0 || fcntl(copy, F_ADD_SEALS, SEALS) < 0)
        return -1;
    return keep_fd(&copy);
}

char *guard_name(void)
{
    return guarded_name;
}

int guard_self(char **argv, struct failure *failure)
{
    AUTO_CLOSE int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK(failure, self, "open", "/proc/self/exe");
    int seals = fcntl(self, F_GET_SEALS);
    if (seals >= 0 && (seals & SEALS) == SEALS)
        return 0;
    /* The name alone proves nothing, nor does a read-only file system, which may become writable again: together
       they mean that the mount is ours. Whoever forges the name on a read-only mount only cheats himself. */
    if (strcmp(argv[0], guarded_name) == 0) {
        struct statvfs fs;
        CHECK(failure, fstatvfs(self, &fs), "statvfs", "/proc/self/exe");
        REQUIRE(failure, fs.f_flag & ST_RDONLY, EPERM, "guard", "/proc/self/exe");
        return 0;
    }
    argv[0] = guarded_name;
    AUTO_CLOSE int mounted = readonly_mount();
    if (mounted >= 0)
        sys_execveat(mounted, argv, environ);
    AUTO_CLOSE int copy = sealed_copy(self);
    CHECK(failure, copy, "copy", "/proc/self/exe");
    CHECK(failure, sys_execveat(copy, argv, environ), "exec", "/proc/self/exe");
    return 0;
}
