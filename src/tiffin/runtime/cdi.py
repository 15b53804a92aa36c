"""What vendors say of their devices: the Container Device Interface (CNCF, SPEC.md, versions 0.3.0 to 1.1.0).

`cdi_files` reads and judges one file at a time: a bad one, or one that clashes with another, matters only to whoever
asks for a device that it may have had, and is named then. A description belongs to the host's root and is as powerful:
it names what is mounted. What can go wrong with it is a mistake of its author.
"""

from __future__ import annotations

from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_DIRS = ("/etc/cdi", "/var/run/cdi")
GPUS = "nvidia.com/gpu"


class NodeEdit(Record):
    """A device node to make. With `type` or `major` missing they are those of the node at `host_path`."""

    path: str
    host_path: str
    type: str = ""
    major: int = 0
    minor: int = 0
    mode: int | None = None
    access: str = "rwm"
    uid: int | None = None
    gid: int | None = None


class MountEdit(Record):
    """A mount as the OCI spec has it."""

    source: str
    target: str
    type: str
    options: tuple[str, ...]


class HookEdit(Record):
    """A program that runs at a point of the container's life (runtime-spec config.md, "POSIX-platform Hooks")."""

    point: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout_s: int | None = None


class Edits(Record):
    """Changes to the OCI spec of a container. `net_devices` and `intel_rdt` say that there are such."""

    env: tuple[str, ...] = ()
    nodes: tuple[NodeEdit, ...] = ()
    mounts: tuple[MountEdit, ...] = ()
    hooks: tuple[HookEdit, ...] = ()
    groups: tuple[int, ...] = ()
    net_devices: bool = False
    intel_rdt: bool = False


class Description(Record):
    """One file: the devices of a kind, and what goes with any of them."""

    path: str
    kind: str
    devices: tuple[tuple[str, Edits], ...]
    edits: Edits = Edits()


class Library(Record):
    """All descriptions: by qualified name what describes it, which have no name for their own, and what is wrong."""

    devices: dict[str, tuple[Description, Edits]]
    clashes: dict[str, tuple[str, str]]
    problems: tuple[str, ...]


def resolve(names: Sequence[str], gpus: Sequence[str], dirs: Sequence[str]) -> Edits:
    """The edits for devices by qualified name, and for GPUs as `gpu_names` reads them.

    UsageError in Docker's words for what is not described or described twice, NotSupportedError for what Tiffin does
    not do.
    """
    for name in names:
        check_name(name)
    from tiffin.runtime.cdi_files import read_all

    library = read_all(dirs)
    if gpus and not any(name.startswith(f"{GPUS}=") for name in (*library.devices, *library.clashes)):
        raise UsageError(
            'could not select device driver "" with capabilities: [[gpu]]', hint=_why(library, [f"{GPUS}=all"], dirs)
        )
    asked = list(dict.fromkeys((*names, *(name for text in gpus for name in gpu_names(text)))))
    missing = [name for name in asked if name not in library.devices]
    if missing:
        raise UsageError(
            f"CDI device injection failed: unresolvable CDI devices {', '.join(missing)}",
            hint=_why(library, missing, dirs),
        )
    found: list[Edits] = []
    seen = set()
    for name in asked:
        description, edits = library.devices[name]
        if description.path not in seen:
            seen.add(description.path)
            found.append(description.edits)
        found.append(edits)
        for there, what in (
            (description.edits.net_devices or edits.net_devices, "moves a network interface inside"),
            (description.edits.intel_rdt or edits.intel_rdt, "sets shares of caches and memory bandwidth (intelRdt)"),
        ):
            if there:
                raise NotSupportedError(
                    f"the device {name} is not supported yet: its description {description.path} {what}"
                )
    return Edits(
        env=tuple(item for edits in found for item in edits.env),
        nodes=tuple(item for edits in found for item in edits.nodes),
        mounts=tuple(item for edits in found for item in edits.mounts),
        hooks=tuple(item for edits in found for item in edits.hooks),
        groups=tuple(item for edits in found for item in edits.groups),
    )


def _why(library: Library, missing: list[str], dirs: Sequence[str]) -> str:
    twice = [name for name in missing if name in library.clashes]
    if twice:
        first, second = library.clashes[twice[0]]
        return f"{first} and {second} both describe {twice[0]}"
    if library.problems:
        return "; ".join(library.problems)
    kinds = {name.partition("=")[0] for name in missing}
    near = sorted(name for name in library.devices if name.partition("=")[0] in kinds)
    return f"described are {', '.join(near)}" if near else f"nothing in {' or '.join(dirs)} describes such devices"


def gpu_names(text: str) -> tuple[str, ...]:
    """The devices of "all", of a number of GPUs, or of "device=ID[,ID…]"."""
    if text.startswith("device="):
        return tuple(f"{GPUS}={name}" for name in text.removeprefix("device=").split(","))
    return (f"{GPUS}=all",) if text == "all" else tuple(f"{GPUS}={index}" for index in range(int(text)))


def check_name(name: str) -> None:
    """Raises UsageError for what is no VENDOR/CLASS=NAME."""
    kind, _, device = name.partition("=")
    if not is_kind(kind) or not is_device_name(device):
        raise UsageError(f"invalid CDI device name {name!r}", hint="it is VENDOR/CLASS=NAME")


def is_kind(text: str) -> bool:
    """Whether this is VENDOR/CLASS."""
    vendor, _, name = text.partition("/")
    words = (vendor, name)
    return all(word[:1].isalpha() and _is_word(word, "_-.") for word in words) and len(vendor) <= 253 >= len(name)


def is_device_name(text: str) -> bool:
    """Whether a device may be called so."""
    return _is_word(text, "_-.:")


def _is_word(text: str, inside: str) -> bool:
    letters = text.isascii() and "".join(char for char in text if char not in inside).isalnum()
    return letters and text[0].isalnum() and text[-1].isalnum()
