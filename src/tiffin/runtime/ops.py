"""The plan: a list of primitive operations that `tiffin-launch` carries out in order.

A plan is bytes, a pure function of its operations: print it, diff it, test it without root. The C side reads the
same table: the build writes `ops.h` from `OPS`, so the two cannot drift apart.

Format, little-endian: "TFPLAN1\\0", u32 total bytes, u32 number of operations; then per operation u16 code,
u16 zero, u32 payload bytes, payload. Payload fields by signature letter:

    u  u64              s  u32 length, bytes without NUL, one NUL
    b  u32 length, bytes        l  u32 count, then that many `s`
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"TFPLAN1\0"
MAX_PLAN_BYTES = 4 << 20

OPS: dict[str, tuple[int, str]] = {
    # The monitor and what it keeps, before the container's first process exists.
    "RUN_DIR": (1, "s"),  # directory for `attach.sock` and `status`
    "EXIT_FILE": (2, "s"),  # written atomically when the container has ended
    "LOG": (3, "suu"),  # path, bytes per file, number of files
    "STDIO": (4, "u"),  # STDIO_* flags
    "TTY_SIZE": (5, "uu"),  # rows, columns
    "CLONE": (6, "u"),  # CLONE_NEW* flags
    "JOIN_NS": (7, "us"),  # CLONE_NEW* kind, path of the namespace; setns before clone
    "CGROUP_INTO": (8, "s"),  # v2 directory; CLONE_INTO_CGROUP, so no global lock is taken
    "CGROUP_TASKS": (9, "s"),  # v1 `tasks` file; the child writes "0" itself: lock-free for a lone thread
    "CGROUP_REMOVE": (10, "s"),  # directory to rmdir when the container has ended
    "OOM_FILE": (11, "s"),  # file with an "oom_kill N" line, read at the end
    "ON_EXIT": (12, "l"),  # argv to exec after the end, unless the owner said it would clean up
    "DEVICE_BPF": (13, "sb"),  # v2 directory, BPF_PROG_TYPE_CGROUP_DEVICE instructions
    "UNSHARE": (14, "u"),  # CLONE_NEW* flags, by the child, after it joined its cgroups
    # The monitor's checks and restarts.
    "HEALTH": (60, "suuuuuu"),  # file with an exec plan, offset of ENTER's pid there, interval, timeout, start period
    # and start interval in ns, failures in a row that make it unhealthy
    "FREEZER": (61, "ss"),  # file that says whether the container is paused, what it then begins with
    "RESTART": (62, "sl"),  # the container's directory, argv to exec when it is time to start it again
    "FAILED": (63, "u"),  # role wait: the exit code that the failed launch stands for
    "LOG_JSON": (100, "s"),  # the log is Docker's json-file; JSON object of attributes for every line, or ""
    "LOG_SINK": (101, "uubuubb"),  # SINK_* kind, SOCK_* type, sockaddr, 1 = wait for it, SO_SNDBUF or 0, head, tail
    "LOG_SYSLOG": (102, "uu"),  # facility, seconds east of UTC
    "PASS_FDS": (103, "uu"),  # how many passed descriptors become 3 and on, 1 = fill in LISTEN_PID of the environment
    # Instead of EXEC: have another OCI runtime make the container. Its argvs for create, start and delete, the file
    # that gets the container's pid, the socket that gets its terminal's master ("" without one), and cgroup files into
    # which `create` writes "0" before it runs.
    "RUNTIME": (105, "lllssl"),
    # Entering a running container (role exec).
    "ENTER": (16, "uuu"),  # pid, its start time in clock ticks, CLONE_NEW* flags for setns(pidfd)
    # The child, still on the host's mount tree.
    "PROPAGATION": (20, "u"),  # MS_* flags for "/"
    "MOUNT": (21, "sssus"),  # source, target on the host, fstype, MS_* flags, data
    "ROOT": (22, "s"),  # the new root; every later *_IN path is resolved beneath it (RESOLVE_IN_ROOT)
    "MOUNT_IN": (23, "sssus"),  # source, target inside (made if missing), fstype, MS_* flags, data
    "BIND_IN": (24, "ssuuu"),  # host source, target inside, recursive 0/1, MOUNT_ATTR_* to set, MS_* propagation
    "MKDIR_IN": (25, "su"),  # path, mode; existing is fine
    "MKNOD_IN": (26, "suuuu"),  # path, mode with type, rdev, uid, gid
    "SYMLINK_IN": (27, "ss"),  # contents, path; existing is fine
    "MASK_IN": (28, "s"),  # hide a path: /dev/null over a file, one empty read-only tmpfs over directories
    "READONLY_IN": (29, "s"),  # make a path read-only, recursively
    "SYSCTL": (30, "ss"),  # dotted or slashed key, value
    "CONSOLE": (31, ""),  # allocate a terminal from the new devpts, hand its master to the monitor
    "ROOT_READONLY": (32, ""),
    "PIVOT": (33, ""),  # pivot_root into ROOT and drop the old one
    "COPY_UP_IN": (77, "sus"),  # target inside: a tmpfs with a copy of what is there; MS_* flags, data
    # The child, inside.
    "LOOPBACK": (40, ""),  # bring `lo` up
    "HOSTNAME": (41, "s"),
    "DOMAINNAME": (42, "s"),
    "RLIMIT": (43, "uuuu"),  # resource number, soft, hard, 1 = a refusal is no failure, 2 = only raise the hard limit
    "OOM_SCORE_ADJ": (44, "u"),  # value + 1000
    "MEMORY_MERGE": (106, ""),  # have the kernel merge equal pages of the program and of what it starts
    "UMASK": (45, "u"),
    "CHDIR": (46, "su"),  # path, 1 = make it if missing
    "LSM_EXEC": (47, "ss"),  # attribute file below /proc/self/attr, label
    "NO_NEW_PRIVS": (48, ""),
    "SECCOMP": (49, "bu"),  # struct sock_filter array, SECCOMP_FILTER_FLAG_*
    "CREDS": (50, "uub"),  # uid, gid, supplementary groups as u32 array
    "CAPS": (51, "uuuuu"),  # bounding, effective, permitted, inheritable, ambient as bit masks
    "INIT": (52, ""),  # stay as PID 1, reap and forward signals; what follows happens in a child
    # Events (state/events.py), among the monitor's; written by it, and by the launcher of an exec.
    "EVENTS": (65, "ss"),  # the file they are appended to, the JSON members "ID" and "Attributes" up to the last one
    "EVENT_LAST": (66, "s"),  # a line that follows the container's end, as JSON up to its last attribute
    "EXEC": (53, "sll"),  # file name (looked up in PATH of env when it has no slash), argv, env
    # Namespaces of others, and trees: detached mounts, each kept under its number until it is attached.
    "DONOR": (70, "uu"),  # pid, its start time in clock ticks: must live once what JOIN_NS and TREE_FROM name is open
    "TREE_FROM": (71, "ussu"),  # tree, path of a mount namespace, path in it, f_type it must have there or 0
    "ATTACH": (72, "usuuuuu"),  # tree, target inside, MOUNT_ATTR_* set, cleared, the same two for all of it; MS_*
    "TREE": (73, "ussuu"),  # tree, host source, path beneath it ("": itself), recursive 0/1, 1 = map ids; what comes
    # before PROPAGATION is still shared with the host
    "TREE_INSIDE": (74, "us"),  # tree, path inside: what is mounted there
    # With USERNS the process in between carries out what stands before CLONE, with the host's rights; the child that
    # CLONE makes is born in the user namespace and has ROOT from it.
    "IDMAP": (75, "ss"),  # host source, host target: mount it there with the ids of its files mapped
    "USERNS": (76, "sssuu"),  # path ("": a new one), uid_map, gid_map, the host's ids of its root
    # What only an OCI runtime needs (role create, and its exec).
    "WAIT_START": (85, "ss"),  # FIFO that says go, FIFO that takes what fails after that; the parent goes home here
    "HOOKS": (87, ""),  # stand still until the engine has run its hooks
    "HOOK": (88, "slluu"),  # path, argv, env, timeout in ms (0: none), which state on stdin: 0 creating, 1 created
    "FIND_EXEC": (89, "sl"),  # fail as EXEC would for a program that is not there: name, env
    "TIME_OFFSETS": (90, "s"),  # lines for /proc/self/timens_offsets of a new time namespace
    "ID_MAPS": (91, "sss"),  # uid_map, gid_map and oom_score_adj, which the parent writes; then the child becomes 0:0
    "PERSONALITY": (92, "u"),
    "SCHEDULER": (93, "uuuuuuu"),  # struct sched_attr: policy, flags, nice, priority, runtime, deadline, period
    "IO_PRIORITY": (94, "u"),  # class << 13 | level
    "CPU_AFFINITY": (95, "b"),  # mask of processors
    "PROPAGATION_IN": (96, "su"),  # path inside (after PIVOT: "/"), MS_* flags
    "ROOT_AS_IS": (97, "s"),  # as ROOT, without a mount namespace: nothing can be mounted
    "TREE_MAPPED": (99, "usuuss"),  # as TREE, taken by the parent: tree, source, recursive, 1 = map all of it, maps
    "CHROOT": (98, ""),  # as PIVOT, for ROOT_AS_IS
}

STDIO_TTY = 1
STDIO_OPEN_STDIN = 2
STDIO_PASSED = 4  # the first three passed descriptors are its stdio
MAX_PASSED = 1000
LISTEN_PID = "LISTEN_PID=" + 20 * "0"  # room for the number that the launcher fills in
# Where output goes besides the log's file: the journal, or syslog by the time's format.
SINK_JOURNAL, SINK_SYSLOG_STAMP, SINK_SYSLOG_5424, SINK_SYSLOG_5424_MICRO = 1, 2, 3, 4


class Plan:
    """A growing list of operations, each with the words that an error message needs."""

    def __init__(self) -> None:
        self.ops: list[tuple[str, tuple[object, ...], str]] = []

    def add(self, name: str, *fields: object, doing: str = "") -> None:
        """Append an operation. `doing` completes "cannot …" in an error: "mount tmpfs on /run"."""
        signature = OPS[name][1]
        if len(fields) != len(signature):
            raise TypeError(f"{name} takes {len(signature)} fields, not {len(fields)}")
        self.ops.append((name, fields, doing))

    def __iter__(self) -> Iterator[tuple[str, tuple[object, ...], str]]:
        return iter(self.ops)

    def __bytes__(self) -> bytes:
        out = bytearray(16)
        for name, fields, _ in self.ops:
            code, signature = OPS[name]
            payload = b"".join(map(_field, signature, fields))
            out += struct.pack("<HHI", code, 0, len(payload)) + payload
        struct.pack_into("<8sII", out, 0, MAGIC, len(out), len(self.ops))
        return bytes(out)

    def describe(self) -> str:
        """The plan as text, one operation a line, for `--debug` and for tests."""
        lines = []
        for index, (name, fields, doing) in enumerate(self.ops):
            shown = " ".join(_shown(field) for field in fields)
            lines.append(f"{index:3} {name:14} {shown}" + (f"   # {doing}" if doing else ""))
        return "\n".join(lines)


def _string(value: object) -> bytes:
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ValueError(f"a NUL byte in {data!r}")
    return struct.pack("<I", len(data)) + data + b"\0"


def _field(letter: str, value: object) -> bytes:
    if letter == "u":
        assert isinstance(value, int)
        return struct.pack("<Q", value & 0xFFFF_FFFF_FFFF_FFFF)
    if letter == "s":
        return _string(value)
    if letter == "b":
        assert isinstance(value, bytes | bytearray)
        return struct.pack("<I", len(value)) + value
    assert isinstance(value, list | tuple)
    return struct.pack("<I", len(value)) + b"".join(_string(item) for item in value)


def _shown(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    if isinstance(value, int) and value > 0xFFFF:
        return hex(value)
    return repr(value) if isinstance(value, str) and (not value or " " in value) else str(value)
