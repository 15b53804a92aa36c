"""What a user asks of a container, what was decided, and how it stands now."""

from __future__ import annotations

from tiffin.model.record import Record
from tiffin.model.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Mount(Record):
    """One mount of `-v`, `--mount` or `--tmpfs`.

    `type` is "bind", "tmpfs", "volume" or "image"; `source` a host path (bind), an image, or the volume's name (empty
    until the container is created: an anonymous one); `target` an absolute path inside;
    `propagation` one of rprivate, private, rshared, shared, rslave, slave;
    `tmpfs_options` go to mount(8) as they are ("size=64m", "mode=1777"). Of volumes only: `nocopy` leaves a new one
    empty, `volume_labels` are those of one that is made, `anonymous` says that nobody named it. `inherited` came from
    another container by `volumes_from`; `volume_driver` and `volume_options` are those of one that is made.

    `subpath` names a directory or file within the source, of a volume or image, never outside it; `relabel` is
    "shared" or "private" (SELinux), empty for neither; `readonly_recursive` is "enabled" (what is mounted below is
    read-only too, where the kernel can), "disabled" (only this mount) or "forced" (or it fails); `idmap` maps the ids
    of files as the container's user namespace maps them.
    """

    type: str
    source: str = ""
    target: str
    readonly: bool = False
    propagation: str = "rprivate"
    recursive: bool = True
    create_source: bool = False
    tmpfs_options: tuple[str, ...] = ()
    nocopy: bool = False
    volume_labels: tuple[tuple[str, str], ...] = ()
    anonymous: bool = False
    inherited: bool = False
    volume_driver: str = ""
    volume_options: tuple[tuple[str, str], ...] = ()
    subpath: str = ""
    relabel: str = ""
    readonly_recursive: str = "enabled"
    idmap: bool = False


class Device(Record):
    """A device node of the host shown inside; `permissions` is a subset of "rwm"."""

    host_path: str
    container_path: str
    permissions: str = "rwm"


class Ulimit(Record):
    """A resource limit by its setrlimit(2) name without RLIMIT_, in lower case; -1 is unlimited."""

    name: str
    soft: int
    hard: int


UNLIMITED_LOG_BYTES = 1 << 62


class LogConfig(Record):
    """How output is kept: `driver` is one of `containers.log_drivers.DRIVERS`, `options` are Docker's but for sizes."""

    driver: str = "cri"
    max_size_bytes: int = 10_000_000
    max_files: int = 3
    options: tuple[tuple[str, str], ...] = ()


class RestartPolicy(Record):
    """When an ended container is started again: `name` is "no", "always", "unless-stopped" or "on-failure".

    `maximum_retries` bounds the restarts of "on-failure" in a row; 0 means no bound.
    """

    name: str = "no"
    maximum_retries: int = 0


class HealthCheck(Record):
    """How it is found out whether a container does its work (image-spec config.md; Docker's HEALTHCHECK).

    `test` is ("NONE",), ("CMD", program, argument…) or ("CMD-SHELL", line); empty means the image's. Times are
    nanoseconds, 0 means the default: interval 30 s, timeout 30 s, start period 0, start interval 5 s; 3 retries.
    """

    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


class ContainerConfig(Record):
    """What the user asked for, before anything was decided. Empty and None mean "as the image says".

    `systemd` is "true" (what systemd needs is there if the command is an init), "always" or "false"; a container that
    got it has "always". `pod` is a pod's name or ID, and in a container its ID.
    `userns` is "host", "private", "auto[:…]", "container:NAME" or "ns:PATH"; empty means the engine's default. The maps
    are (first id inside, first id of the host, how many).
    `device_requests` are devices that a vendor describes, "VENDOR/CLASS=NAME" (Container Device Interface); `gpus` are
    "all", a number, or "device=ID[,ID…]" of those that NVIDIA describes.
    """

    image: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    name: str | None = None
    env: tuple[str, ...] = ()
    workdir: str | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    hostname: str | None = None
    domainname: str | None = None
    tty: bool = False
    interactive: bool = False
    auto_remove: bool = False
    network: str = "none"
    pid: str = "private"
    ipc: str = "private"
    uts: str = "private"
    cgroupns: str = "private"
    mounts: tuple[Mount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    read_only: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    security_opts: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    shm_size_bytes: int = 64 << 20
    init: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    stop_signal: str | None = None
    stop_timeout_s: int | None = None
    resources: Resources = Resources()
    log: LogConfig = LogConfig()
    restart: RestartPolicy = RestartPolicy()
    health: HealthCheck | None = None
    userns: str = ""
    uid_maps: tuple[tuple[int, int, int], ...] = ()
    gid_maps: tuple[tuple[int, int, int], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    oom_score_adj: int | None = None
    device_cgroup_rules: tuple[str, ...] = ()
    runtime: str = ""
    systemd: str = "true"
    pod: str = ""
    device_requests: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    platform: str = ""  # that the image must have, "os/architecture[/variant]"


class Container(Record):
    """What was decided when the container was created; persisted, never changed by starting it.

    `id` is 64 hex digits. `argv`, `env`, `workdir`, `user` and `stop_signal` are config and image merged, and so are
    the config's `mounts`: with the image's volumes, those of other containers, and a name for every volume. The maps
    of its user namespace are (first id inside, first id of the host, how many); without one they are empty.
    """

    id: str
    name: str
    image_id: str
    image_name: str
    driver: str
    created_ns: int
    config: ContainerConfig
    argv: tuple[str, ...]
    env: tuple[str, ...]
    workdir: str
    user: str
    hostname: str
    stop_signal: int
    stop_timeout_s: int
    labels: tuple[tuple[str, str], ...] = ()
    uid_maps: tuple[tuple[int, int, int], ...] = ()
    gid_maps: tuple[tuple[int, int, int], ...] = ()


class ContainerState(Record):
    """How a container stands at the moment of reading.

    `status` is "created", "running", "restarting" (ended, and to be started again in a moment), "exited" or "removing";
    `paused` is a running one that stands still; `restart_count` is how often a "restarting" one was started again in a
    row, the one to come included; `health` is "starting", "healthy" or "unhealthy", empty without checks or not asked;
    times are nanoseconds since the epoch, 0 for never; `pid` is the host's number for the container's first process,
    0 when it does not run.
    """

    status: str
    paused: bool = False
    pid: int = 0
    pid_start_ticks: int = 0
    monitor_pid: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    started_ns: int = 0
    finished_ns: int = 0
    restart_count: int = 0
    health: str = ""


class ContainerInfo(Record):
    """A container together with its state at the moment of reading."""

    container: Container
    state: ContainerState


def container_from_dict(values: dict[str, Any]) -> Container:
    """The inverse of `Container.to_dict`, for what `json.loads` gives back."""
    fields = dict(values)
    config = dict(fields["config"])
    for name, kind in (("mounts", Mount), ("devices", Device), ("ulimits", Ulimit)):
        config[name] = tuple(kind(**_frozen(item)) for item in config.get(name, ()))
    config["resources"] = Resources(**_frozen(config.get("resources", {})))
    config["log"] = LogConfig(**_frozen(config.get("log", {})))
    config["restart"] = RestartPolicy(**config.get("restart", {}))
    if config.get("health"):
        config["health"] = HealthCheck(**_frozen(config["health"]))
    fields["config"] = ContainerConfig(**_frozen(config))
    return Container(**_frozen(fields))


def _frozen(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _tuples(value) for key, value in values.items()}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
