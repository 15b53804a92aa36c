"""AppArmor and SELinux: whether the host has them, and the labels that a container's process and files get."""

from __future__ import annotations

import os

from tiffin.errors import AS_ROOT, HostError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from tiffin.runtime.security.options import SecurityOptions

DEFAULT_PROFILE = "tiffin-default"

_CATEGORIES = 1024


class Labels(Record):
    """What the plan needs. `exec_attribute` is a file below /proc/self/attr, with `exec_label` to write into it.

    `mount_label` is for the `context=` option of the container's own mounts. All empty: no labels.
    """

    exec_attribute: str = ""
    exec_label: str = ""
    mount_label: str = ""


def labels(
    options: SecurityOptions,
    container_id: str,
    *,
    privileged: bool = False,
    levels_in_use: Container[str] = (),
    root: str = "/",
) -> Labels:
    """The labels for a container. HostError when it asks for one that this host cannot give.

    An SELinux level is derived from `container_id` (64 hex digits), so that exec finds the same one.
    `levels_in_use` are levels of other containers, which it shall not share; `root` is where /proc and /sys lie.
    """
    root = root.rstrip("/")
    parts = (options.label_user, options.label_role, options.label_type, options.label_level, options.label_file_type)
    if selinux_enabled(root):
        _refuse_apparmor(options)
        return _selinux(options, container_id, privileged, levels_in_use)
    if any(parts):
        raise HostError("SELinux does not run on this host, so a container cannot have a label")
    if apparmor_enabled(root):
        return _apparmor(options, privileged, root)
    _refuse_apparmor(options)
    return Labels()


def _refuse_apparmor(options: SecurityOptions) -> None:
    if options.apparmor not in (None, "unconfined"):
        raise HostError(f"AppArmor does not run on this host, so the profile {options.apparmor!r} cannot be used")


def apparmor_enabled(root: str = "") -> bool:
    """Whether the kernel enforces AppArmor profiles."""
    return _text(f"{root}/sys/module/apparmor/parameters/enabled")[:1] == "Y"


def selinux_enabled(root: str = "") -> bool:
    """Whether SELinux has a policy loaded; permissive mode counts, since labels matter there too."""
    return os.path.exists(f"{root}/sys/fs/selinux/enforce")


def apparmor_profiles(root: str = "") -> frozenset[str]:
    """Names of the profiles that the kernel has."""
    lines = _text(f"{root}/sys/kernel/security/apparmor/profiles").splitlines()
    return frozenset(line.rpartition(" (")[0] for line in lines)


def _apparmor(options: SecurityOptions, privileged: bool, root: str) -> Labels:
    profile = options.apparmor
    if profile is None:
        if privileged or (DEFAULT_PROFILE not in apparmor_profiles(root) and not load_default_profile(root)):
            return Labels()
        profile = DEFAULT_PROFILE
    elif profile == "unconfined":
        return Labels()
    elif profile == DEFAULT_PROFILE:
        if profile not in apparmor_profiles(root) and not load_default_profile(root):
            raise HostError(f"the AppArmor profile {profile!r} cannot be loaded: there is no apparmor_parser")
    elif profile not in apparmor_profiles(root):
        raise HostError(
            f"the AppArmor profile {profile!r} is not loaded", hint="load it with `apparmor_parser -r FILE`"
        )
    # Since Linux 5.8 each security module has a directory of its own, so that several can be stacked.
    own = os.path.isdir(f"{root}/proc/self/attr/apparmor")
    return Labels(exec_attribute="apparmor/exec" if own else "exec", exec_label=f"exec {profile}")


def load_default_profile(root: str = "") -> bool:
    """Load `tiffin-default` into the kernel; False where there is no apparmor_parser.

    HostError with the parser's own words when it refuses.
    """
    places = (f"{root}/{directory}/apparmor_parser" for directory in ("sbin", "usr/sbin", "usr/bin"))
    parser = next((place for place in places if os.access(place, os.X_OK)), None)
    if parser is None:
        return False
    import subprocess

    done = subprocess.run([parser, "-Kr"], input=default_profile_text(), capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said else f"exit code {done.returncode}"
        hint = AS_ROOT if "privileges" in reason else None
        raise HostError(f"apparmor_parser refuses the profile {DEFAULT_PROFILE!r}: {reason}", hint=hint)
    return True


def default_profile_text() -> str:
    """The AppArmor profile for containers: no mounting, nothing of the kernel's own files writable (apparmor.d(5))."""
    return f"""\
profile {DEFAULT_PROFILE} flags=(attach_disconnected,mediate_deleted) {{
  network,
  deny network alg,
  capability,
  file,
  umount,

  signal (receive) peer=unconfined,
  signal (send, receive) peer={DEFAULT_PROFILE},
  ptrace (trace, read, tracedby, readby) peer={DEFAULT_PROFILE},

  deny mount,

  deny /proc/kcore rwklx,
  deny /proc/mem rwklx,
  deny /proc/kmem rwklx,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/* w,
  deny /proc/[^0-9]*/** w,

  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}}
"""


def _selinux(options: SecurityOptions, container_id: str, privileged: bool, levels_in_use: Container[str]) -> Labels:
    if options.label_disabled or privileged:
        return Labels()
    user = options.label_user or "system_u"
    role = options.label_role or "system_r"
    domain = options.label_type or "container_t"
    level = options.label_level or _own_level(container_id, levels_in_use)
    file_type = options.label_file_type or "container_file_t"
    return Labels(
        exec_attribute="exec",
        exec_label=f"{user}:{role}:{domain}:{level}",
        mount_label=f"{user}:object_r:{file_type}:{level}",
    )


def _own_level(container_id: str, levels_in_use: Container[str]) -> str:
    """A pair of categories that no other container has: two containers cannot touch each other's files."""
    pairs = _CATEGORIES * (_CATEGORIES - 1) // 2
    index = int(container_id[:12], 16) % pairs
    low = 0
    while index >= _CATEGORIES - 1 - low:
        index -= _CATEGORIES - 1 - low
        low += 1
    high = low + 1 + index
    for _ in range(pairs):
        level = f"s0:c{low},c{high}"
        if level not in levels_in_use:
            return level
        high += 1
        if high == _CATEGORIES:
            low = (low + 1) % (_CATEGORIES - 1)
            high = low + 1
    raise HostError(f"all {pairs} pairs of SELinux categories are in use")


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
