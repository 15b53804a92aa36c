#include "kernel.h"

#include <sys/prctl.h>
#include <sys/syscall.h>

/* These numbers are the same on every architecture that Linux gained since 2011, and on x86 and arm. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

#ifdef TIFFIN_TEST_ENOSYS
#define NEW_CALL(...) (errno = ENOSYS, -1L)
#else
#define NEW_CALL(...) syscall(__VA_ARGS__)
#endif

#define CLONE_INTO_CGROUP_ 0x200000000ull

int sys_openat2(int dir, const char *path, int flags, uint64_t resolve)
{
    struct {
        uint64_t flags, mode, resolve;
    } how = {(uint64_t)(flags | O_CLOEXEC), 0, resolve};
    /* A rename elsewhere on the host can make the kernel unsure about ".."; it asks for another try. */
    for (int tries = 0;; tries++) {
        long fd = NEW_CALL(SYS_openat2, dir, path, &how, sizeof how);
        (void)how, (void)dir, (void)path;
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR) || tries == 128)
            return (int)fd;
    }
}

int sys_open_tree(int dir, const char *path, unsigned flags)
{
    (void)dir, (void)path, (void)flags;
    return (int)NEW_CALL(SYS_open_tree, dir, path, flags | O_CLOEXEC);
}

int sys_move_mount(int from, int to)
{
    (void)from, (void)to;
    return (int)NEW_CALL(SYS_move_mount, from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

int sys_mount_setattr(int fd, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation)
{
    struct {
        uint64_t set, clear, propagation, userns;
    } attributes = {set, clear, propagation, 0};
    (void)fd, (void)flags, (void)attributes;
    return (int)NEW_CALL(SYS_mount_setattr, fd, "", flags | AT_EMPTY_PATH, &attributes, sizeof attributes);
}

int sys_mount_idmap(int fd, unsigned flags, int userns)
{
    struct {
        uint64_t set, clear, propagation, userns;
    } attributes = {0x00100000 /* MOUNT_ATTR_IDMAP */, 0, 0, (uint64_t)userns};
    (void)fd, (void)flags, (void)attributes;
    return (int)NEW_CALL(SYS_mount_setattr, fd, "", flags | AT_EMPTY_PATH, &attributes, sizeof attributes);
}

int sys_pidfd_open(pid_t pid)
{
    (void)pid;
    return (int)NEW_CALL(SYS_pidfd_open, pid, 0);
}

int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
    (void)first, (void)last, (void)flags;
    return (int)NEW_CALL(SYS_close_range, first, last, flags);
}

int sys_pivot_root(const char *new_root, const char *put_old)
{
    return (int)syscall(SYS_pivot_root, new_root, put_old);
}

int sys_execveat(int fd, char *const argv[], char *const envp[])
{
    return (int)syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
}

int sys_memory_merge(void)
{
#ifdef TIFFIN_TEST_ENOSYS
    /* What prctl(2) says where it does not know the option, or was built without CONFIG_KSM. */
    errno = EINVAL;
    return -1;
#else
    return prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
#endif
}

pid_t sys_clone3(uint64_t flags, int exit_signal, int cgroup)
{
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
    } arguments = {.flags = flags, .exit_signal = (uint64_t)exit_signal};
    if (cgroup >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP_;
        arguments.cgroup = (uint64_t)cgroup;
    }
    (void)arguments;
    return (pid_t)NEW_CALL(SYS_clone3, &arguments, sizeof arguments);
}
