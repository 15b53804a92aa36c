"""The options of `run` and `create`, and those of Docker's that are refused, with the reason."""

from __future__ import annotations

from tiffin.cli.options import Option, absent
from tiffin.cli.policies import HEALTH, RESTART
from tiffin.cli.resource_flags import LIMITS, LIMITS_ABSENT

DETACH_KEYS = Option(
    name="detach-keys", word="keys", help="Key sequence that detaches from the container", default="ctrl-p,ctrl-q"
)
SIG_PROXY = Option(
    name="sig-proxy", kind="bool", help="Pass signals on to the process inside, without a terminal", default="true"
)
PROCESS = (
    Option(name="env", short="e", kind="list", word="NAME[=VALUE]", help="Set a variable; NAME alone takes the host's"),
    Option(name="env-file", kind="list", word="file", help="Read variables from a file, one NAME=VALUE a line"),
    Option(name="interactive", short="i", kind="bool", help="Keep standard input open"),
    Option(name="tty", short="t", kind="bool", help="Allocate a terminal"),
    Option(name="user", short="u", word="name|uid[:group|gid]", help="User, and group, by name or number"),
    Option(name="workdir", short="w", word="dir", help="Working directory inside the container"),
)

CREATE_OPTIONS = (
    *PROCESS,
    Option(name="annotation", kind="list", word="KEY=VALUE", help="Tell the OCI runtime, and `inspect`"),
    Option(name="attach", short="a", kind="list", word="stream", help="Attach to stdin, stdout or stderr"),
    Option(name="cap-add", kind="list", word="capability", help="Add a Linux capability, or ALL"),
    Option(name="cap-drop", kind="list", word="capability", help="Drop a Linux capability, or ALL"),
    Option(name="cgroupns", word="host|private|container:NAME|ns:PATH", help="Cgroup namespace", default="private"),
    Option(name="cidfile", word="file", help="Write the container's ID to a new file"),
    Option(
        name="device",
        kind="list",
        word="host[:inside[:rwm]]|vendor/class=name",
        help="Show a device of the host inside, or one that its vendor describes, such as nvidia.com/gpu=0",
    ),
    Option(name="device-cgroup-rule", kind="list", word="rule", help="Allow devices, such as 'c 42:* rmw'"),
    Option(name="domainname", word="name", help="NIS domain name inside"),
    Option(name="entrypoint", word="command", help='Replace the image\'s entrypoint; "" removes it'),
    Option(name="group-add", kind="list", word="group", help="Additional group, by name or number"),
    Option(name="gpus", kind="list", word="all|number|device=id", help="NVIDIA's GPUs, as its description has them"),
    *HEALTH,
    *LIMITS,
    Option(name="hostname", short="h", word="name", help="Host name inside"),
    Option(name="init", kind="bool", help="Run an init inside that forwards signals and reaps processes"),
    Option(
        name="ipc", word="none|private|shareable|host|container:NAME|ns:PATH", help="IPC namespace", default="private"
    ),
    Option(name="isolation", word="default", help="The only one there is on Linux"),
    Option(name="label", short="l", kind="list", word="KEY[=VALUE]", help="Set a label"),
    Option(name="label-file", kind="list", word="file", help="Read labels from a file, one KEY=VALUE a line"),
    Option(
        name="log-driver",
        word="driver",
        help="cri, json-file, local, journald, syslog, passthrough or none",
        default="cri",
    ),
    Option(
        name="log-opt",
        kind="list",
        word="key=value",
        help="max-size=10m, max-file=3, tag=…, labels=…, env=…, mode=…, syslog-address=…, …",
    ),
    Option(name="mount", kind="list", word="type=…,…", help="type=volume|bind|tmpfs|image,source=…,target=…"),
    Option(name="name", word="name", help="Name of the container"),
    Option(name="network", alias="net", kind="list", word="none|host|container:NAME|ns:PATH", help="Network"),
    Option(name="oom-score-adj", kind="int", help="Have the kernel spare it, or not: -1000 to 1000"),
    Option(name="pid", word="host|private|container:NAME|ns:PATH", help="PID namespace", default="private"),
    Option(name="platform", word="os/arch", help="The platform that the image must have"),
    Option(name="pod", word="pod|new:name", help="Put it into a pod, or into a new one"),
    Option(name="privileged", kind="bool", help="All capabilities and devices, no confinement"),
    Option(name="pull", word="always|missing|never", help="Whether to pull the image first", default="missing"),
    Option(name="quiet", short="q", kind="bool", help="Do not show how a pull goes"),
    Option(name="read-only", kind="bool", help="Mount the root file system read-only"),
    RESTART,
    Option(name="rm", kind="bool", help="Remove the container when it exits"),
    Option(
        name="runtime",
        word="name|path",
        help="Another OCI runtime for it: crun, runc, or one by its path",
        default="native",
    ),
    Option(name="security-opt", kind="list", word="option", help="seccomp=FILE|unconfined, no-new-privileges, …"),
    Option(name="shm-size", word="bytes", help="Size of /dev/shm", default="64m"),
    Option(name="stop-signal", word="signal", help="Signal that stops the container", default="the image's, or TERM"),
    Option(name="stop-timeout", kind="int", word="seconds", help="Seconds to wait before killing it", default="10"),
    Option(name="sysctl", kind="list", word="key=value", help="Kernel setting of the container's namespaces"),
    Option(
        name="systemd",
        word="true|false|always",
        help="Give systemd what it needs as PID 1; true: if the command is systemd or /sbin/init",
        default="true",
    ),
    Option(name="tmpfs", kind="list", word="dir[:options]", help="Mount an empty tmpfs"),
    Option(name="gidmap", kind="list", word="inside:host[:size]", help="Map group ids into a user namespace"),
    Option(name="subgidname", word="name", help="Map the group ids that /etc/subgid gives this name"),
    Option(name="subuidname", word="name", help="Map the user ids that /etc/subuid gives this name"),
    Option(name="uidmap", kind="list", word="inside:host[:size]", help="Map user ids into a user namespace"),
    Option(
        name="userns",
        word="host|private|auto|container:NAME|ns:PATH",
        help="User namespace; auto takes :size=N and more",
    ),
    Option(name="ulimit", kind="list", word="name=soft[:hard]", help="Resource limit, such as nofile=1024:4096"),
    Option(name="uts", word="host|private|container:NAME|ns:PATH", help="UTS namespace", default="private"),
    Option(
        name="volume",
        short="v",
        kind="list",
        word="[source:]inside[:options]",
        help="Mount a volume, or bind a host directory or file",
    ),
    Option(name="volume-driver", word="local", help="Driver of new volumes", default="local"),
    Option(name="volumes-from", kind="list", word="container[:ro]", help="Mount what another container has mounted"),
)

RUN_OPTIONS = (
    *CREATE_OPTIONS,
    DETACH_KEYS,
    SIG_PROXY,
    Option(name="detach", short="d", kind="bool", help="Run in the background and print the container's ID"),
)

ABSENT = {
    **absent("Tiffin has no bridge networks so far; use --network host", "publish/p", "publish-all/P"),
    **absent(
        "Tiffin has no bridge networks so far, only --network none and --network host",
        "expose", "ip", "ip6", "link", "link-local-ip", "mac-address", "network-alias", "net-alias",
    ),
    **absent(
        "Tiffin does not write /etc/hosts and /etc/resolv.conf from options so far; bind your own with -v",
        "add-host", "dns", "dns-option", "dns-opt", "dns-search",
    ),
    **LIMITS_ABSENT,
    **absent("the parent of its containers' cgroups is one for the whole engine so far", "cgroup-parent"),
    **absent("a container's writable layer has no size of its own: Tiffin sets no project quotas", "storage-opt"),
    **absent("Tiffin has no API server so far", "use-api-socket"),
    **absent("content trust needs a server of its own; policy.json says which signatures images must have",
             "disable-content-trust"),
    **absent("it is for Windows containers only", "cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"),
}  # fmt: skip
