"""What a container is like from inside, under many options."""

from __future__ import annotations

# One program that looks at everything; each part is compared on its own.
PARTS = {
    "identity": "grep -E '^(Uid|Gid|Groups|Umask):' /proc/self/status; id; pwd; echo $HOME",
    "capabilities": "grep -E '^Cap' /proc/self/status",
    "confinement": "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status",
    "signals": "grep -E '^Sig(Blk|Ign|Cgt)' /proc/1/status",
    "environment": "env | grep -vE '^(HOSTNAME|_|SHLVL|PWD|OLDPWD)=' | sort",
    "limits": "cat /proc/self/limits",
    "mounts": "awk '{ for (i = 7; $i != \"-\"; i++); print $5, $6, $(i + 1) }' /proc/self/mountinfo"
    " | grep -vE '^/(proc|sys)/|^/etc/(hosts|hostname|resolv.conf) ' | sort",
    # Which flags a mask has says nothing of what it hides. Newer versions hide more.
    "hidden": "awk '{ print $5 }' /proc/self/mountinfo | grep -E '^/(proc|sys/firm)' | grep -v interrupts | sort -u",
    "readonly": "awk '{ print $5, $6 }' /proc/self/mountinfo | grep -E '^/(proc|sys)/' | grep -vE 'cgroup|firmware'"
    " | awk '{ print $1, ($2 ~ /^ro/) }' | grep -vE 'acpi|keys|timer|sched|interr|latency|kcore|scsi' | sort",
    # /dev/core is made where the host has /proc/kcore.
    "devices": "ls -ln /dev | grep -v kcore"
    ' | awk \'NR > 1 { print $1, $3, $4, ($1 ~ /^[bc]/ ? $5 $6 " " $10 : $9 " " $10 " " $11) }\'',
    "masks": "for f in acpi asound kcore keys latency_stats timer_list sched_debug scsi sysrq-trigger sys bus irq fs;"
    " do test -e /proc/$f && { ls -ld /proc/$f | awk '{print $1, $5, $6}'; echo $f; (: > /proc/$f) 2>&1; }; done;"
    " ls /sys/firmware; head -c 1 /proc/kcore | wc -c; (echo 0 > /proc/sys/kernel/domainname) 2>&1",
    "score": "cat /proc/self/oom_score_adj",
    "descriptors": "ls /proc/self/fd | wc -l; readlink /proc/1/fd/0 | sed 's/[0-9]*//g'",
    "names": "hostname | sed 's/^[0-9a-f]\\{12\\}$/<SHORT>/'; cat /proc/sys/kernel/domainname",
    "processes": "cut -d' ' -f4-8 /proc/1/stat; ls -d /proc/[0-9]* | wc -l",
    "sysctls": "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range"
    " /proc/sys/kernel/shmmax /proc/sys/kernel/msgmax",
    "files": "ls -ld / /etc /tmp /proc /sys /dev /dev/shm /dev/mqueue /run /root | awk '{print $1, $3, $4, $9}';"
    " cat /etc/hostname /etc/resolv.conf | sed 's/^[0-9a-f]\\{12\\}$/<SHORT>/' | grep -v '^#'",
    "network": "ls /sys/class/net; cat /proc/net/route | wc -l; cat /sys/class/net/lo/operstate",
    "memory": "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory/memory.soft_limit_in_bytes;"
    " cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes /sys/fs/cgroup/memory/memory.swappiness",
    "cpu": "cat /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us"
    " /sys/fs/cgroup/cpuset/cpuset.cpus /sys/fs/cgroup/cpuset/cpuset.mems",
    "pids": "cat /sys/fs/cgroup/pids/pids.max",
    "cgroup devices": "cat /sys/fs/cgroup/devices/devices.list | sort",
    "namespaces": "ls /proc/self/ns | sort",
}
SCRIPT = "; ".join(f"echo '== {name}'; {{ {what}; }} 2>&1" for name, what in PARTS.items())


def probe(options: str, *parts: str, image: str = "busybox") -> list[str]:
    """Run with `options` and look; then one line per part."""
    quoted = SCRIPT.replace("'", "'\\''")
    return [
        f"E run --rm {options} {image} sh -c '{quoted}' > $T/probe",
        *(f"sed -n '/^== {part}$/,/^== /p' $T/probe | sed '1d;/^== /d'" for part in parts or PARTS),
    ]


SCENARIOS = {
    "plain": probe(""),
    "user": probe("-u alice", "identity", "capabilities", "environment"),
    "user and group": probe("-u 1000:29", "identity", "capabilities"),
    "unknown number": probe("-u 4242", "identity", "environment"),
    "user with groups": probe("-u alice --group-add users --group-add 4000", "identity"),
    "drop all": probe("--cap-drop ALL", "capabilities"),
    "drop all, add some": probe("--cap-drop all --cap-add NET_ADMIN --cap-add cap_sys_time", "capabilities"),
    "add": probe("--cap-add SYS_ADMIN --cap-drop CHOWN", "capabilities", "mounts"),
    "add as a user": probe("-u alice --cap-add NET_ADMIN", "capabilities"),
    "no new privileges": probe("--security-opt no-new-privileges", "confinement"),
    "unconfined": probe("--security-opt seccomp=unconfined", "confinement"),
    "system paths": probe("--security-opt systempaths=unconfined", "masks", "hidden", "readonly"),
    "read-only": probe("--read-only", "mounts"),
    "tmpfs": probe("--tmpfs /scratch:size=1m,mode=700 --tmpfs /other", "mounts"),
    "shm": probe("--shm-size 8m", "mounts"),
    "bind": probe("-v $T:/here:ro -v /tmp:/there", "mounts"),
    "hostname": probe("-h box --domainname example", "names", "files"),
    "host uts": probe("--uts host", "namespaces"),
    "host pid": probe("--pid host", "mounts"),
    "host ipc": probe("--ipc host", "mounts", "sysctls"),
    "private ipc": probe("--ipc private", "mounts", "sysctls"),
    "host cgroupns": probe("--cgroupns host", "mounts"),
    "private cgroupns": probe("--cgroupns private", "mounts"),
    "host network": probe("--network host", "mounts", "sysctls"),
    "no network": probe("--network none", "network", "files"),
    "memory": probe("-m 64m --memory-reservation 32m", "memory"),
    "memory and swap": probe("-m 64m --memory-swap 128m", "memory"),
    "unlimited swap": probe("-m 64m --memory-swap -1", "memory"),
    "cpu": probe("--cpus 0.5 -c 512 --cpuset-cpus 0 --cpuset-mems 0", "cpu"),
    "pids": probe("--pids-limit 77", "pids"),
    "limits": probe("--ulimit nofile=512:1024 --ulimit core=0 --ulimit nproc=100", "limits"),
    "one limit": probe("--ulimit nofile=600", "limits"),
    "device": probe("--device /dev/kmsg --device /dev/full:/dev/brim:r", "devices", "cgroup devices"),
    "init": probe("--init", "processes", "confinement"),
    "sysctl": probe("--sysctl net.ipv4.ip_unprivileged_port_start=1024 --sysctl kernel.msgmax=4096", "sysctls"),
    "environment": probe("-e A=1 -e EMPTY= -e FROM_HOST -e NOT_SET -e PATH=/bin", "environment"),
    "working directory": probe("-w /made/for/it", "identity", "files"),
    "app": probe("--entrypoint ''", "identity", "environment", "mounts", image="app"),
    "app as root": probe("--entrypoint '' -u root -w / -e PLACE=here", "identity", "environment", image="app"),
    "interactive": [f"echo hi | E run --rm -i busybox sh -c {word}" for word in ("cat", "'read a; echo $a'", "true")],
}
