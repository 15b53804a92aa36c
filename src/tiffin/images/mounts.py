"""Images mounted on the host, read-only, for people and programs to look into: one mount each, counted.

`RUN/mounts/table` has a line of JSON for each, written anew and renamed, under the lock on the directory. A mount is
known by its ID (proc_pid_mountinfo(5)) in its mount namespace since this boot: a record whose mount is gone counts for
nothing. The overlay is put together in a mount namespace of its own, so the host gets one mount, without what is
below it.
"""

from __future__ import annotations

import errno
import fcntl
import os

from tiffin.errors import ConflictError, HostError, NotFoundError, UsageError, as_root, os_error
from tiffin.images.host import is_host_id
from tiffin.model.record import Record
from tiffin.state import images as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.errors import TiffinError
    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.paths import Paths
    from tiffin.storage.probe import MountCalls

_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_PENDING = -1  # the ID of a mount that is not made yet


class ImageMount(Record):
    """An image at a directory. `count` is how often it was asked for; that many times it must be unmounted.

    `mount_id` is the kernel's, in the mount namespace `namespace` (its inode number) since the boot `boot_id`.
    """

    image_id: str
    directory: str
    count: int
    mount_id: int
    namespace: int
    boot_id: str


def mount(store: ImageStore, reference: str, directory: str | None = None) -> ImageMount:
    """Show an image at `directory`, by default one below the run directory; once more only counts.

    NotFoundError, AmbiguousError, UsageError, ConflictError when another image is there, HostError when the kernel
    refuses.
    """
    image = store.get(reference)
    if is_host_id(image.id):
        raise UsageError("the image 'host' cannot be mounted: it is the host's own file system, which is at /")
    place = _default(store.paths, image.id) if directory is None else _users(store.paths, directory)
    with _Table(store.paths) as table:
        for known in table.mounts:
            if (known.directory, known.namespace) == (place, _own_namespace()):
                if known.image_id != image.id:
                    raise ConflictError(
                        f"the image {_shown(store, known.image_id)} is mounted at {place}",
                        hint=f"`tiffin image unmount {place}` first, or choose another directory",
                    )
                return table.replace(known, known.replace(count=known.count + 1))
        made = _mount(store, table, image, place)
    store.tell("mount", image, reference)
    return made


def _mount(store: ImageStore, table: _Table, image: Image, place: str) -> ImageMount:
    from tiffin.storage.lock import store_lock

    wanted = ImageMount(
        image_id=image.id, directory=place, count=1, mount_id=_PENDING, namespace=_own_namespace(), boot_id=_boot_id()
    )
    with store_lock(store.paths, exclusive=False):
        # In one transaction: a removal either sees this line of the table, or we see that the image is gone.
        with store.database.transaction():
            if records.image_by_id(store.database, image.id) is None:
                raise NotFoundError(f"no such image: {image.id}", hint="it was removed meanwhile")
            table.add(wanted)
        try:
            return _attach(store, table, image, wanted)
        except BaseException as error:
            table.drop(table.mounts[-1])
            _remove_default(store.paths, place)
            if isinstance(error, OSError):
                raise _refused(error, f"cannot mount the image {_name(image)} at {place}") from error
            raise


def _attach(store: ImageStore, table: _Table, image: Image, wanted: ImageMount) -> ImageMount:
    from tiffin.storage.detached import mounted
    from tiffin.storage.probe import MountCalls
    from tiffin.storage.rootfs import MS_NODEV, MS_NOSUID
    from tiffin.storage.workspace import Workspace

    driver = store.driver
    if not driver.image_ready(image.id):
        driver.prepare_image(image.id, image.layers)
    if wanted.directory == _default(store.paths, image.id):
        os.makedirs(wanted.directory, mode=0o700, exist_ok=True)
    place = os.open(wanted.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with Workspace(store.paths.temporary, "mount") as work:
            for name in ("lower", "root"):
                os.mkdir(f"{work}/{name}")
            steps = driver.view(image.id, f"{work}/lower", f"{work}/root")
            # Users of the host may come by here: programs with setuid bits and devices are only for containers.
            tree = mounted(steps, f"{work}/root", read_only=True, attributes=MS_NOSUID | MS_NODEV)
        try:
            # Recorded before anybody sees it, so that a killed command leaves no mount that is unknown.
            made = table.replace(wanted, wanted.replace(mount_id=_mount_id(tree)))
            MountCalls().move_mount(tree, f"/proc/self/fd/{place}")
            return made
        finally:
            os.close(tree)
    finally:
        os.close(place)


def unmount(
    store: ImageStore, reference: str | None = None, *, force: bool = False, failed: Callable[[TiffinError], None]
) -> list[ImageMount]:
    """Undo one `mount` of an image, or of what is at a directory (a path with a slash); of all without `reference`.

    With `force` however often it was mounted, and though processes use it: it goes when the last of them does. Returns
    what was counted down or unmounted; `count` is what is left. Of several, `failed` gets the error of each that
    stays. NotFoundError when it is not mounted, ConflictError when it is in use.
    """
    done = []
    with _Table(store.paths) as table:
        chosen = _chosen(store, table, reference)
        for known in chosen:
            if known.count > 1 and not force:
                done.append(table.replace(known, known.replace(count=known.count - 1)))
                continue
            try:
                _detach(store, known, force)
            except (ConflictError, HostError) as error:
                if len(chosen) == 1:
                    raise
                failed(error)
                continue
            table.drop(known)
            _remove_default(store.paths, known.directory)
            done.append(known.replace(count=0))
    for gone in done:
        image = records.image_by_id(store.database, gone.image_id)
        if image is not None and not gone.count:
            store.tell("unmount", image, _name(image))
    return done


def _chosen(store: ImageStore, table: _Table, reference: str | None) -> list[ImageMount]:
    if reference is None:
        return table.mounts[:]
    if reference.startswith(("/", "./", "../")) or reference in (".", ".."):
        place = os.path.realpath(reference)
        found = [known for known in table.mounts if known.directory == place]
        if not found:
            raise NotFoundError(f"no image is mounted at {place}", hint=_LIST_HINT)
        return found
    image = store.get(reference)
    found = [known for known in table.mounts if known.image_id == image.id]
    if not found:
        raise NotFoundError(f"the image {reference} is not mounted", hint=_LIST_HINT)
    return found


_LIST_HINT = "`tiffin image mount` lists what is"


def _detach(store: ImageStore, known: ImageMount, force: bool) -> None:
    point = _mount_point(known)
    if point is None:
        return
    flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if force else 0)
    try:
        _in_namespace(known.namespace, lambda calls: calls.umount(point, flags))
    except OSError as error:
        what = f"cannot unmount the image {_shown(store, known.image_id)} from {point}"
        if error.errno == errno.EBUSY:
            raise ConflictError(
                f"{what}: it is in use", hint="--force takes it away now, and lets those who use it finish"
            ) from error
        raise _refused(error, what) from error


def mounted(paths: Paths) -> list[ImageMount]:
    """What is mounted, in the order in which it was."""
    if not os.path.exists(f"{paths.run}/mounts/table"):
        return []
    with _Table(paths) as table:
        return table.mounts[:]


def held(paths: Paths) -> dict[str, list[str]]:
    """Where images are mounted, or just about to be, by ID. Waits for nobody, so it may be asked in a transaction."""
    try:
        mounts = _read(paths)
    except FileNotFoundError:
        return {}
    fd = os.open(f"{paths.run}/mounts", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        busy = False
    except BlockingIOError:
        busy = True
    finally:
        os.close(fd)
    found: dict[str, list[str]] = {}
    for known in mounts:
        if busy or _mount_point(known) is not None:
            found.setdefault(known.image_id, []).append(known.directory)
    return found


def check(paths: Paths, known_images: set[str]) -> list[str]:
    """Mounts that no record tells of, and mounted images that are gone: a sentence each."""
    base = f"{paths.run}/mounts"
    mounts = mounted(paths)
    problems = [
        f"the image {known.image_id} is mounted at {known.directory}, and not in the store any more "
        f"(`tiffin image unmount {known.directory}`)"
        for known in mounts
        if known.image_id not in known_images
    ]
    places = {known.directory for known in mounts}
    for _, point, _ in _mountinfo("self"):
        if point.startswith(f"{base}/") and point not in places:
            problems.append(f"something is mounted at {point}, and no record tells of it (`umount {point}`)")
    return problems


class _Table:
    """The records of mounts, while nobody else changes them; those whose mount is gone are forgotten first."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._fd = -1
        self.mounts: list[ImageMount] = []

    def __enter__(self) -> _Table:
        directory = f"{self._paths.run}/mounts"
        try:
            os.makedirs(self._paths.run, mode=0o711, exist_ok=True)
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                found = _read(self._paths)
            except FileNotFoundError:
                found = []
            self.mounts = [known for known in found if _mount_point(known) is not None]
            if len(self.mounts) != len(found):
                self._write()
                for known in found:
                    if known not in self.mounts:
                        _remove_default(self._paths, known.directory)
        except OSError as error:
            self.__exit__()
            raise os_error(error, "cannot use the table of mounted images") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def add(self, new: ImageMount) -> None:
        self.mounts.append(new)
        self._write()

    def replace(self, old: ImageMount, new: ImageMount) -> ImageMount:
        self.mounts[self.mounts.index(old)] = new
        self._write()
        return new

    def drop(self, old: ImageMount) -> None:
        self.mounts.remove(old)
        self._write()

    def _write(self) -> None:
        from tiffin.plain_json import dumps

        path = f"{self._paths.run}/mounts/table"
        with open(f"{path}.new", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(dumps({name: getattr(known, name) for name in _FIELDS}) + "\n" for known in self.mounts)
        os.rename(f"{path}.new", path)


_FIELDS = ("image_id", "directory", "count", "mount_id", "namespace", "boot_id")


def _read(paths: Paths) -> list[ImageMount]:
    """FileNotFoundError when nothing was ever mounted."""
    from tiffin.plain_json import loads

    with open(f"{paths.run}/mounts/table", encoding="utf-8", errors="surrogateescape") as file:
        return [ImageMount(**loads(line)) for line in file]


def _default(paths: Paths, image_id: str) -> str:
    return f"{os.path.realpath(paths.run)}/mounts/{image_id.removeprefix('sha256:')}"


def _remove_default(paths: Paths, directory: str) -> None:
    """Take away the empty directory that was made for a mount; a user's stays."""
    if os.path.dirname(directory) == f"{os.path.realpath(paths.run)}/mounts":
        try:
            os.rmdir(directory)
        except OSError:
            pass  # it is gone, or still mounted elsewhere


def _users(paths: Paths, directory: str) -> str:
    """The directory that a user named, without links."""
    place = os.path.realpath(directory)
    if not os.path.exists(place):
        raise NotFoundError(
            f"there is no directory {directory!r} to mount the image at", hint=f"`mkdir -p {directory}`"
        )
    if not os.path.isdir(place):
        raise UsageError(f"cannot mount the image at {directory!r}: it is not a directory")
    if place == "/":
        raise UsageError("cannot mount the image at '/': it would hide everything")
    for own in (os.path.realpath(paths.root), os.path.realpath(paths.run)):
        if f"{place}/".startswith(f"{own}/") or f"{own}/".startswith(f"{place}/"):
            raise UsageError(
                f"cannot mount the image at {directory!r}: Tiffin's own files are there",
                hint="without a directory it is mounted below the run directory",
            )
    return place


def _name(image: Image) -> str:
    return image.names[0] if image.names else image.id.removeprefix("sha256:")[:12]


def _shown(store: ImageStore, image_id: str) -> str:
    image = records.image_by_id(store.database, image_id)
    return _name(image) if image is not None else image_id.removeprefix("sha256:")[:12]


def _refused(error: OSError, what: str) -> HostError:
    return HostError(f"{what}: {error.strerror or error}", hint=as_root(error))


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _own_namespace() -> int:
    return os.stat("/proc/self/ns/mnt").st_ino


def _mount_id(fd: int) -> int:
    with open(f"/proc/self/fdinfo/{fd}") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))


def _mount_point(known: ImageMount) -> str | None:
    """Where the mount is now, in its namespace; None when it is gone."""
    if known.mount_id == _PENDING or known.boot_id != _boot_id():
        return None
    pid = _somebody_in(known.namespace)
    digits = known.image_id.removeprefix("sha256:")
    for mount_id, point, about in _mountinfo(pid) if pid else ():
        # The kernel gives a mount's ID to later ones, too: it must look like ours.
        if mount_id == known.mount_id and (digits in about or " tiffin " in about):
            return point
    return None


def _mountinfo(pid: str) -> list[tuple[int, str, str]]:
    """(ID, mount point, the whole line) of the mounts that a process sees."""
    from tiffin.storage.host import unescaped

    found = []
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            for raw in file:
                line = os.fsdecode(raw)
                fields = line.split(" ", 5)
                found.append((int(fields[0]), unescaped(fields[4]), line))
    except OSError:
        return []
    return found


def _somebody_in(namespace: int) -> str:
    """A process in a mount namespace, preferably this one; "" when there is none, and so no such namespace."""
    if _own_namespace() == namespace:
        return "self"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}/ns/mnt").st_ino == namespace:
                return pid
        except OSError:
            continue
    return ""


def _in_namespace(namespace: int, work: Callable[[MountCalls], None]) -> None:
    """Do it in that mount namespace. Raises `OSError`."""
    from tiffin.storage.probe import MountCalls, in_private_mounts

    if _own_namespace() == namespace:
        work(MountCalls())
        return
    fd = os.open(f"/proc/{_somebody_in(namespace)}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def inside(calls: MountCalls) -> None:
        calls.enter(fd)
        work(calls)

    try:
        failure = in_private_mounts(inside)
    finally:
        os.close(fd)
    if failure is not None:
        raise failure
