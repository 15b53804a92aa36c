"""The `host` image: the host's own root file system, copy-on-write. Nothing is stored but what containers change.

What is seen is the file system mounted at `/`, as it is at that moment; other file systems mounted below it (a /home
of its own, /proc, /run …) appear as the empty directories that they are mounted on. /tmp and /run start empty. The
store and the run directory are hidden, since other containers' files are in them: by opaque directories in the
container's own layer rather than mounts, which a privileged container could take off by accident.
"""

from __future__ import annotations

import errno
import os

from tiffin.errors import HostError, NotFoundError, NotSupportedError, os_error
from tiffin.storage.mountdata import overlay_data
from tiffin.storage.rootfs import IDMAP, MS_RDONLY, MountStep, recall, remember
from tiffin.storage.writable import create_writable, remove_writable, sync_options, writable_usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.model.idmap import IdMap
    from tiffin.paths import Paths
    from tiffin.storage.probe import MountCalls

FRESH = (("tmp", 0o1777), ("run", 0o755))
PLAIN, STACKED = "plain", "stacked"


class HostDriver:
    """See `RootfsDriver`; image IDs are ignored, and there is nothing to prepare.

    `mode` is "plain" (the upper directory lies below the lower one, which current kernels accept) or "stacked" (a
    read-only overlay of `/` stands between them); None finds out once per boot.
    """

    name = "host"

    def __init__(self, paths: Paths, mode: str | None = None) -> None:
        self._paths = paths
        self._mode = mode

    def prepare_image(self, image_id: str, layers: Sequence[str]) -> int:
        return 0

    def image_ready(self, image_id: str) -> bool:
        return True

    def remove_image(self, image_id: str) -> None:
        pass

    def image_file(self, image_id: str, path: str, max_bytes: int = 1 << 20) -> bytes | None:
        from tiffin.storage.inroot import read_in_root

        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return read_in_root(root, path, max_bytes)
        finally:
            os.close(root)

    def create(self, container_id: str, image_id: str, ids: IdMap | None = None) -> None:
        root = os.stat("/")
        create_writable(
            self._paths, container_id, mode=root.st_mode & 0o7777, uid=root.st_uid, gid=root.st_gid,
            mtime_ns=root.st_mtime_ns, directories=("lower", "empty"),
            fill=lambda upper: self._fill(upper, ids), ids=ids,
        )  # fmt: skip

    def _fill(self, upper: str, ids: IdMap | None) -> None:
        for name, mode in FRESH:
            if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}"):
                _hide(upper, f"/{name}", mode, ids)
        for path in self._covered():
            _hide(upper, path, 0, ids)

    def steps(
        self, container_id: str, image_id: str, target: str, *, volatile: bool = False, mapped: bool = False
    ) -> tuple[MountStep, ...]:
        if self._mode is None:
            known = recall(self._paths, self.name)
            if known is None:
                self._mode = self._find_mode()
            else:
                self._mode = known[1]
        base = self._paths.container(container_id)
        steps = []
        lower = "/"
        if mapped:
            if self._mode == STACKED:
                raise HostError(
                    "the image 'host' cannot be in a user namespace on this kernel, whose overlay has no way to map ids"
                )
            lower = f"{base}/lower"
            steps.append(MountStep(source="/", target=lower, fstype=IDMAP))
        elif self._mode == STACKED:
            lower = f"{base}/lower"
            empty = f"{base}/empty"  # overlay wants two lower directories, neither inside the other
            steps.append(MountStep(source="tmpfs", target=empty, fstype="tmpfs", data="size=4k"))
            stacked = overlay_data(("/", empty), None, None)
            steps.append(MountStep(source="tiffin", target=lower, fstype="overlay", flags=MS_RDONLY, data=stacked))
        data = overlay_data((lower,), f"{base}/upper", f"{base}/work", options=sync_options(base, volatile))
        steps.append(MountStep(source="tiffin", target=target, fstype="overlay", data=data))
        return tuple(steps)

    def view(self, image_id: str, lower: str, target: str, *, mapped: bool = False) -> tuple[MountStep, ...]:
        raise NotSupportedError(
            "the image 'host' cannot be mounted: it shows only as a container's root", hint="bind what you need with -v"
        )

    def _covered(self) -> list[str]:
        """Where the store and the run directory show in the file system at `/`; outermost ones only."""
        found: set[str] = set()
        mounts = _mounts()
        for path in (self._paths.root, self._paths.run):
            found.update(_places_on_root(os.path.realpath(path), mounts))
        fresh = tuple(f"/{name}/" for name, _ in FRESH)
        places = sorted(path for path in found if path != "/" and not f"{path}/".startswith(fresh))
        return [path for path in places if not any(path.startswith(f"{other}/") for other in places)]

    def empty_places(self) -> list[str]:
        """What containers see as empty directories whatever the host has there."""
        return [*(f"/{name}" for name, _ in FRESH), *self._covered()]

    def upper(self, container_id: str) -> str | None:
        upper = f"{self._paths.container(container_id)}/upper"
        return upper if os.path.isdir(upper) else None

    def remove(self, container_id: str) -> None:
        remove_writable(self._paths, container_id)

    def usage(self, container_id: str) -> tuple[int, int]:
        return writable_usage(self._paths, container_id)

    def check(self) -> list[str]:
        return []

    def probe(self) -> str | None:
        try:
            self._find_mode()
        except HostError as error:
            return error.message
        return None

    def _find_mode(self) -> str:
        """Try both ways; raises `HostError` when neither works."""
        from tiffin.storage.probe import try_mounts

        problem = "?"
        for mode in (PLAIN, STACKED):
            driver = HostDriver(self._paths, mode)
            try:
                failure = try_mounts(self._paths.temporary, driver._try)
            except OSError as error:
                raise os_error(error, "cannot try the host image") from error
            if failure is None:
                remember(self._paths, self.name, self.name, mode)
                return mode
            problem = f"{failure.filename}: {failure.strerror}"
            if failure.errno not in (errno.ELOOP, errno.EINVAL, errno.EBUSY):
                break
        raise HostError(f"the host's root file system cannot be shared with containers: {problem}")

    def _try(self, calls: MountCalls, directory: str) -> None:
        for name in ("upper", "work", "lower", "empty", "root"):
            os.mkdir(f"{directory}/{name}")
        lower = "/"
        empty = f"{directory}/empty"
        doing = "overlay on the host's root file system"
        if self._mode == STACKED:
            lower = f"{directory}/lower"
            calls.mount("tmpfs", empty, "tmpfs", 0, "size=4k", "tmpfs")
            calls.mount("tiffin", lower, "overlay", MS_RDONLY, overlay_data(("/", empty), None, None), doing)
        data = overlay_data((lower,), f"{directory}/upper", f"{directory}/work")
        calls.mount("tiffin", f"{directory}/root", "overlay", 0, data, doing)
        with open(f"{directory}/root/written", "w", encoding="ascii") as file:
            file.write("probe")
        if not os.path.exists(f"{directory}/upper/written"):
            raise NotFoundError("overlay did not write to its upper directory")
        calls.umount(f"{directory}/root")
        if self._mode == STACKED:
            calls.umount(lower)
            calls.umount(empty)


def _hide(upper: str, path: str, mode: int, ids: IdMap | None) -> None:
    """An empty directory of the container's own over the host's `path`; directories above it stay the host's."""
    made = upper
    names = path.strip("/").split("/")
    for depth, name in enumerate(names, 1):
        made = f"{made}/{name}"
        try:
            os.mkdir(made, 0o700)
        except FileExistsError:
            continue
        if depth < len(names):
            status = os.stat("/" + "/".join(names[:depth]))
            os.chown(made, *(ids.outside(status.st_uid, status.st_gid) if ids else (status.st_uid, status.st_gid)))
            os.chmod(made, status.st_mode & 0o7777)
        else:
            if ids:
                os.chown(made, *ids.root)
            os.chmod(made, mode)
            os.setxattr(made, "trusted.overlay.opaque", b"y")  # overlayfs.rst, "Opaque directories"


def _mounts() -> list[tuple[str, str, str]]:
    """(device, root within the file system, mount point) of every mount, proc_pid_mountinfo(5).

    Of this thread: each may be in a mount namespace of its own.
    """
    mounts = []
    with open("/proc/thread-self/mountinfo", "rb") as file:
        for line in file:
            fields = os.fsdecode(line).split(" ")
            mounts.append((fields[2], unescaped(fields[3]), unescaped(fields[4])))
    return mounts


def unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    for char in " \t\n\\":
        text = text.replace(f"\\{ord(char):03o}", char)
    return text


def _joined(base: str, rest: str) -> str:
    return "/" + "/".join(part for part in f"{base}/{rest}".split("/") if part)


def _places_on_root(path: str, mounts: list[tuple[str, str, str]]) -> list[str]:
    """Paths below `/`, as its own file system has them without submounts, that lead to the directory `path`.

    A store reached through a bind mount shows at its real place. Empty when it is on another file system.
    """
    device = within = ""
    longest = -1
    for mount_device, root, point in mounts:  # later mounts cover earlier ones
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= longest:
            longest = len(point)
            device = mount_device
            within = _joined(root, path[len(point) :])
    places = []
    for mount_device, root, point in mounts:
        if point == "/" and mount_device == device:
            base = root.rstrip("/")
            if within.startswith(f"{base}/"):
                places.append(within[len(base) :])
    return [place for place in places if os.path.isdir(place)]
