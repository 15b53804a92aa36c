/* System calls that libc may not wrap yet, each named as the kernel names it.
   A build with -DTIFFIN_TEST_ENOSYS answers ENOSYS to all of them, so that the ways around are tested. */
#ifndef TIFFIN_KERNEL_H
#define TIFFIN_KERNEL_H

#include "base.h"

#include <sched.h>
#include <sys/mount.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#define ALL_NAMESPACES                                                                                                 \
    (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWUSER |       \
     CLONE_NEWTIME)

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x00000004
#define MOVE_MOUNT_T_EMPTY_PATH 0x00000040
#endif
#ifndef MOUNT_ATTR_RDONLY
#define MOUNT_ATTR_RDONLY 0x00000001
#define MOUNT_ATTR_NOSUID 0x00000002
#define MOUNT_ATTR_NODEV 0x00000004
#define MOUNT_ATTR_NOEXEC 0x00000008
#define MOUNT_ATTR__ATIME 0x00000070
#define MOUNT_ATTR_RELATIME 0x00000000
#define MOUNT_ATTR_NOATIME 0x00000010
#define MOUNT_ATTR_STRICTATIME 0x00000020
#define MOUNT_ATTR_NODIRATIME 0x00000080
#endif
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

enum {
    RESOLVE_NO_XDEV_ = 0x01,
    RESOLVE_NO_MAGICLINKS_ = 0x02,
    RESOLVE_NO_SYMLINKS_ = 0x04,
    RESOLVE_BENEATH_ = 0x08,
    RESOLVE_IN_ROOT_ = 0x10,
};

#define MS_PROPAGATION (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)

int sys_openat2(int dir, const char *path, int flags, uint64_t resolve);
int sys_open_tree(int dir, const char *path, unsigned flags);
int sys_move_mount(int from, int to);
int sys_mount_setattr(int fd, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation);
int sys_mount_idmap(int fd, unsigned flags, int userns);
int sys_pidfd_open(pid_t pid);
int sys_close_range(unsigned first, unsigned last, unsigned flags);
int sys_pivot_root(const char *new_root, const char *put_old);
int sys_execveat(int fd, char *const argv[], char *const envp[]);

/* prctl(2) PR_SET_MEMORY_MERGE of this process: have the kernel merge its pages with equal ones of others. */
int sys_memory_merge(void);

/* clone3 without a new stack: returns twice, like fork. cgroup is a v2 directory or -1. */
pid_t sys_clone3(uint64_t flags, int exit_signal, int cgroup);

/* The kernel lacks the call, or a filter around us denies it as if it did. */
static inline bool call_is_missing(void)
{
    return errno == ENOSYS;
}

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

#endif
