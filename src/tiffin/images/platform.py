"""Platforms in OCI terms (image-spec, image-index.md): os, architecture, variant; and choosing among several."""

from __future__ import annotations

import os

from tiffin.errors import UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MACHINES = {
    "x86_64": ("amd64", ""),
    "amd64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "x86": ("386", ""),
    "aarch64": ("arm64", "v8"),
    "arm64": ("arm64", "v8"),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armhf": ("arm", "v7"),
    "arm": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armel": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "ppc64le": ("ppc64le", ""),
    "ppc64el": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
    "mips64el": ("mips64le", ""),
    "mips64": ("mips64le", ""),
}
"""uname(2) machine names, and other spellings in use, to GOARCH and variant."""

_DEFAULT_VARIANT = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


class Platform(Record):
    """One platform; `variant` is empty where the architecture has none or its ordinary one is meant."""

    os: str = "linux"
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def host_platform() -> Platform:
    """The platform that this machine runs natively."""
    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform(architecture=architecture, variant=variant)


def is_known(word: str) -> bool:
    """Whether a word alone names an operating system or an architecture."""
    known = {"linux", "windows", *_MACHINES, *(architecture for architecture, _ in _MACHINES.values())}
    return word.lower() in known


def parse_platform(text: str) -> Platform:
    """Parse "os/arch[/variant]" or a bare architecture ("arm64", "aarch64"). Raises `UsageError`."""
    parts = text.lower().split("/")
    if not 1 <= len(parts) <= 3 or not all(part and part.replace("_", "").isalnum() for part in parts):
        raise UsageError(f"invalid platform {text!r}", hint="write it as os/architecture[/variant]: linux/arm64")
    if len(parts) == 1:
        parts = ["linux", *parts]
    architecture, variant = _MACHINES.get(parts[1], (parts[1], ""))
    if len(parts) == 3:
        variant = parts[2]
    return Platform(os=parts[0], architecture=architecture, variant=variant)


def rank(offered: Platform, wanted: Platform) -> int | None:
    """How well `offered` serves `wanted`: 0 is exact, larger is worse, None means that it does not run.

    A newer variant of an architecture runs what was built for an older one, as containerd has it.
    """
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    have, want = _level(offered), _level(wanted)
    if have == want:
        return 0
    if have is None or want is None or have > want:
        return None
    return want - have


def choose(offered: Sequence[Platform], wanted: Platform) -> int | None:
    """The index of the best platform for `wanted`; of equals the first. None when none will do."""
    best: tuple[int, int] | None = None
    for index, platform in enumerate(offered):
        distance = rank(platform, wanted)
        if distance is not None and (best is None or distance < best[0]):
            best = (distance, index)
    return best[1] if best else None


def _level(platform: Platform) -> int | None:
    variant = platform.variant or _DEFAULT_VARIANT.get(platform.architecture, "")
    if not variant:
        return 0
    number = variant.removeprefix("v").split(".")[0]
    return int(number) if number.isdigit() and len(number) < 4 else None
