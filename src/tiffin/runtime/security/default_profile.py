"""The default seccomp policy: what a container may ask of the kernel, equivalent to Docker's of 2026.

Not listed is denied with EPERM; newer than everything listed, with ENOSYS. Change it and raise `VERSION` in
`seccomp.py`, or cached filters of the old policy stay in use (a test reminds you).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Calls that every container may make, by subject.
_FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync flock fstat
fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 ioctl lchown
lchown32 link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat
openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename
renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statx symlink symlinkat sync
sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice
write writev
"""
_ATTRIBUTES = """
fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr lremovexattr
lsetxattr removexattr removexattrat setxattr setxattrat
"""
_WAITING = """
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select
signalfd signalfd4
"""
_PROCESSES = """
capget capset execve execveat exit exit_group fork getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups
getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage
getsid get_thread_area gettid getuid getuid32 ioprio_get ioprio_set kill pidfd_open pidfd_send_signal prctl prlimit64
process_mrelease restart_syscall rseq sched_getaffinity sched_getattr sched_getparam sched_get_priority_max
sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
sched_setattr sched_setparam sched_setscheduler sched_yield setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
setreuid32 setrlimit setsid set_thread_area set_tid_address setuid setuid32 sysinfo tgkill times tkill ugetrlimit uname
uretprobe vfork wait4 waitid waitpid
"""
_SIGNALS = """
pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn
"""
_MEMORY = """
brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
"""
_LOCKS = """
futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list set_robust_list
"""
_CLOCKS = """
adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
timerfd_gettime64 timerfd_settime timerfd_settime64
"""
_SOCKETS = """
accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
"""
_MESSAGES = """
ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
"""
_CONFINEMENT = "getrandom landlock_add_rule landlock_create_ruleset landlock_restrict_self listmount seccomp statmount"

_ALWAYS = " ".join(
    (
        _FILES,
        _ATTRIBUTES,
        _WAITING,
        _PROCESSES,
        _SIGNALS,
        _MEMORY,
        _LOCKS,
        _CLOCKS,
        _SOCKETS,
        _MESSAGES,
        _CONFINEMENT,
    )
)

# Tracing another process was a way around seccomp before Linux 4.8.
_TRACE_SINCE_4_8 = "process_vm_readv process_vm_writev ptrace"

_BY_ARCHITECTURE = (
    (("arm", "arm64"), "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"),
    (("amd64", "x32"), "arch_prctl"),
    (("amd64", "x32", "x86"), "modify_ldt"),
)

_BY_CAPABILITY = (
    ("BPF", "bpf"),
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    ("PERFMON", "perf_event_open"),
    (
        "SYS_ADMIN",
        """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
        lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
        sethostname setns syslog umount umount2 unshare
        """,
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module finit_module init_module"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("SYS_RAWIO", "ioperm iopl"),
    ("SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYSLOG", "syslog"),
)

# CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET: a new namespace is a new attack surface.
_NAMESPACE_FLAGS = 0x7E020000

# personality(2): query; PER_LINUX, PER_LINUX32, each with or without UNAME26.
_PERSONALITIES = (0xFFFFFFFF, 0x0, 0x8, 0x20000, 0x20008)

# Neither AF_ALG (38), whose kernel crypto has been the way to root, nor AF_VSOCK (40), which no namespace holds back.
_SOCKET_FAMILIES = (("LT", 38), ("EQ", 39), ("GT", 40))


def default_profile() -> dict[str, Any]:
    """The policy in Docker's JSON format, as `seccomp_profile.parse_profile` reads it."""
    rules: list[dict[str, Any]] = [_allow(_ALWAYS), _allow(_TRACE_SINCE_4_8, includes={"minKernel": "4.8"})]
    rules += [_allow("socket", args=[_when(0, operator, family)]) for operator, family in _SOCKET_FAMILIES]
    rules += [_allow("personality", args=[_when(0, "EQ", persona)]) for persona in _PERSONALITIES]
    rules += [_allow(names, includes={"arches": list(arches)}) for arches, names in _BY_ARCHITECTURE]
    rules += [_allow(names, includes={"caps": ["CAP_" + cap]}) for cap, names in _BY_CAPABILITY]
    without_admin = {"caps": ["CAP_SYS_ADMIN"]}
    rules.append(_allow("clone", args=[_when(0, "MASKED_EQ", _NAMESPACE_FLAGS)], excludes=without_admin))
    # Its flags lie in memory, where no filter can look: glibc falls back to clone on ENOSYS.
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": without_admin})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        ],
        "syscalls": rules,
    }


def _allow(names: str, **conditions: Any) -> dict[str, Any]:
    return {"names": names.split(), "action": "SCMP_ACT_ALLOW", **conditions}


def _when(index: int, operator: str, value: int) -> dict[str, Any]:
    return {"index": index, "op": "SCMP_CMP_" + operator, "value": value, "valueTwo": 0}
