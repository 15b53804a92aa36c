"""What systemd needs as the first process of a container (systemd.io/CONTAINER_INTERFACE), and when it gets it."""

from __future__ import annotations

from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container, ContainerConfig

ALWAYS = "always"
_INITS = ("/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init")
# Halt, in systemd's words; SIGTERM would only have it execute itself again (systemd(1), "Signals").
_HALT = "RTMIN+3"

# /run/lock is of its own because everybody may write there, and must not fill /run.
MOUNTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("/run", ("nosuid", "nodev", "mode=755")),
    ("/run/lock", ("nosuid", "nodev", "noexec", "mode=1777", "size=5m")),
    ("/tmp", ("nosuid", "nodev", "mode=1777")),
    ("/var/log/journal", ("nosuid", "nodev", "noexec", "mode=755")),
)


def decided(config: ContainerConfig, argv: tuple[str, ...]) -> str:
    """`config.systemd`, or "always" when it is "true" and the command is an init. UsageError.

    It is the choice of Podman: systemd by its name wherever it is, /sbin/init by its path. With --init, in the host's
    PID namespace or with its cgroups, the command is not the first process, or cannot manage what is not its own.
    """
    if config.systemd not in ("true", "false", ALWAYS):
        raise UsageError(f"invalid systemd mode {config.systemd!r}", hint="it is true, false or always")
    problem = ""
    if config.init:
        problem = "with --init the command is not the first process"
    elif config.pid != "private":
        problem = f"with --pid {config.pid} the command is not the first process"
    elif config.cgroupns != "private":
        problem = f"with --cgroupns {config.cgroupns} the cgroups are not the container's own"
    if config.systemd == ALWAYS and problem:
        raise UsageError(f"conflicting options: --systemd always, but {problem}")
    is_init = argv[0] in _INITS or argv[0].rpartition("/")[2] == "systemd"
    return ALWAYS if config.systemd == "true" and is_init and not problem else config.systemd


def owner(container: Container) -> tuple[int, int] | None:
    """Whose cgroups they are, as the host numbers them: the root's of the container; None when it gets none."""
    if container.config.systemd != ALWAYS:
        return None
    from tiffin.model import idmap

    maps = idmap.of(container)
    return maps.root if maps else (0, 0)


def stop_signal(config: ContainerConfig) -> str:
    """What stops a container whose user and image do not say."""
    return _HALT if config.systemd == ALWAYS else "TERM"


def environment(env: list[str], container_id: str) -> list[str]:
    """With the variables by which systemd knows where it is; the machine ID it takes is the container's, for good."""
    given = {item.partition("=")[0] for item in env}
    machine = container_id
    uuid = "-".join((machine[:8], machine[8:12], machine[12:16], machine[16:20], machine[20:32]))
    wanted = (("container", "tiffin"), ("container_uuid", uuid))
    return [*env, *(f"{name}={value}" for name, value in wanted if name not in given)]
