"""systemd units (systemd.service(5), systemd.exec(5)): for all containers at boot, and for a single one.

A container's unit is Type=notify: `tiffin start` tells systemd the process ID of the container's monitor as the main
one and is done. So nothing of Python stays, no file of process IDs can be stale, and the end of the container is the
end of the unit's main process, with the container's exit code.
"""

from __future__ import annotations

import sys

from tiffin.errors import ConflictError, NotSupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container
    from tiffin.paths import Paths

RESTARTS = ("no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always")
EXTRA_S = 60
START_S = 900
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:@,")


def quoted(word: str) -> str:
    """A word of an Exec line: specifiers and variables are not expanded, blanks and quotes kept."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    escaped = escaped.replace("\n", "\\n").replace("\t", "\\t")
    return escaped if escaped and _PLAIN.issuperset(escaped) else f'"{escaped}"'


def _command(paths: Paths, *words: str) -> str:
    import os

    from tiffin.containers.start import module_argv

    script = os.path.join(os.path.dirname(sys.executable), "tiffin")
    program = (script,) if os.access(script, os.X_OK) else module_argv(sys.executable)
    return " ".join(map(quoted, (*program, "--root", paths.root, "--run-root", paths.run, *words)))


def boot_unit(paths: Paths) -> tuple[str, str]:
    """Starts containers by their restart policies; at shutdown stops all, which does not count as the user's doing."""
    return (
        "tiffin-boot.service",
        f"""\
[Unit]
Description=Tiffin containers that start at boot
Wants=network-online.target
After=network-online.target local-fs.target
RequiresMountsFor={quoted(paths.root)} {quoted(paths.run)}

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=infinity
TimeoutStopSec={START_S}
ExecStart={_command(paths, "start", "--boot")}
ExecStop={_command(paths, "stop", "--all", "--boot")}

[Install]
WantedBy=multi-user.target
""",
    )


def container_unit(
    paths: Paths, container: Container, restart: str, stop_timeout_s: int | None, new: bool
) -> tuple[str, str]:
    """A unit for a container that exists."""
    if new:
        raise NotSupportedError(
            "--new is not supported yet: Tiffin does not keep the command line that a container was made with",
            hint="write `tiffin run` into a unit of your own, with -d, --rm and --name",
        )
    if restart not in RESTARTS:
        raise UsageError(f"invalid restart policy {restart!r}", hint=f"systemd knows {', '.join(RESTARTS)}")
    if container.config.restart.name != "no":
        raise ConflictError(
            f"container {container.name!r} has the restart policy {container.config.restart.name!r} of its own",
            hint=f"leave restarts to systemd: `tiffin update --restart no {container.name}`",
        )
    if container.config.auto_remove:
        raise ConflictError(f"container {container.name!r} is removed when it ends, so a unit could start it only once")
    timeout_s = container.stop_timeout_s if stop_timeout_s is None else stop_timeout_s
    if timeout_s < -1:
        raise UsageError(f"invalid time {timeout_s}: seconds are not negative, except -1 for no limit")
    return (
        f"container-{container.name}.service",
        f"""\
[Unit]
Description=Tiffin container {container.name.replace("%", "%%")}
Wants=network-online.target
After=network-online.target
RequiresMountsFor={quoted(paths.root)} {quoted(paths.run)}

[Service]
Type=notify
NotifyAccess=all
Restart={restart}
TimeoutStartSec={START_S}
TimeoutStopSec={"infinity" if timeout_s < 0 else timeout_s + EXTRA_S}
ExecStart={_command(paths, "start", container.id)}
ExecStop={_command(paths, "stop", "--timeout", str(timeout_s), container.id)}

[Install]
WantedBy=default.target
""",
    )
