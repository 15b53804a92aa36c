"""Images mounted on the host: read-only, counted, kept from removal, and gone when they should be."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin as package
from harness.tars import TarMaker
from tiffin.errors import ConflictError, HostError, NotFoundError, TiffinError, UsageError
from tiffin.images import mounts

if TYPE_CHECKING:
    from integration.conftest import Runner

CONTENT = b"what is in the image\n"


def small_tar(text: bytes = CONTENT) -> bytes:
    return TarMaker().directory("etc").file("etc/text", text).file("su", b"#!/bin/sh\nid -u\n", mode=0o4755).done()


@pytest.fixture(params=["composefs", "overlay"])
def engine(request: pytest.FixtureRequest, engine_root: str) -> Iterator[package.Engine]:
    """With an image `small`; whatever a test mounts is unmounted."""
    import io

    with package.Engine(engine_root, storage=request.param) as engine:
        try:
            engine.import_image(io.BytesIO(small_tar()), "small")
        except HostError:
            pytest.skip(f"this kernel has no {request.param}")
        try:
            yield engine
        finally:
            engine.unmount_image(force=True)


@pytest.fixture
def place(tmp_path: Path) -> str:
    path = tmp_path / "a place"
    path.mkdir()
    return str(path)


def mounted_at(path: str) -> list[str]:
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    return [fields[5] for fields in lines if fields[4] == path.replace(" ", "\\040")]


def places(engine: package.Engine) -> list[tuple[str, int]]:
    return [(known.directory, known.count) for known in engine.mounted_images()]


def test_an_image_is_mounted_read_only(engine: package.Engine) -> None:
    made = engine.mount_image("small")
    image = engine.image("small")
    assert made.directory == f"{engine.run_root}/mounts/{image.id.removeprefix('sha256:')}"
    assert Path(made.directory, "etc/text").read_bytes() == CONTENT
    with pytest.raises(OSError, match="Read-only file system"):
        Path(made.directory, "new").touch()
    (options,) = mounted_at(made.directory)
    assert {"ro", "nosuid", "nodev"} <= set(options.split(","))
    assert os.stat(f"{made.directory}/su").st_mode & stat.S_ISUID
    assert stat.S_IMODE(os.stat(f"{engine.run_root}/mounts").st_mode) == 0o700
    assert os.listdir(f"{engine.root}/tmp") == []
    below = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if engine.root in line.split()[4]]
    assert len(below) == 1  # nothing that the driver needed on the way
    assert engine.check() == []
    (gone,) = engine.unmount_image("small")
    assert (gone.image_id, gone.count) == (image.id, 0)
    assert not os.path.exists(made.directory)
    assert places(engine) == []


def test_mounts_are_counted(engine: package.Engine) -> None:
    directory = engine.mount_image("small").directory
    assert engine.mount_image(engine.image("small").id[:19]) == engine.mounted_images()[0]
    assert places(engine) == [(directory, 2)]
    assert [one.count for one in engine.unmount_image("small")] == [1]
    assert mounted_at(directory)
    assert [one.count for one in engine.unmount_image("small")] == [0]
    assert not mounted_at(directory)
    for _ in range(3):
        engine.mount_image("small")
    assert [one.count for one in engine.unmount_image("small", force=True)] == [0]
    with pytest.raises(NotFoundError) as caught:
        engine.unmount_image("small")
    assert str(caught.value) == "the image small is not mounted (`tiffin image mount` lists what is)"


def test_a_directory_of_ones_own(engine: package.Engine, place: str) -> None:
    engine.mount_image("small", place)
    default = engine.mount_image("small").directory
    assert Path(place, "etc/text").read_bytes() == CONTENT
    assert places(engine) == [(place, 1), (default, 1)]
    assert [one.directory for one in engine.unmount_image(place)] == [place]
    assert os.listdir(place) == []
    engine.mount_image("small", place)
    assert len(engine.unmount_image("small")) == 2
    assert not mounted_at(place)
    assert os.path.isdir(place)


def test_a_link_leads_to_the_directory(engine: package.Engine, place: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(place)
    assert engine.mount_image("small", str(link)).directory == place
    assert engine.mount_image("small", place).count == 2
    engine.unmount_image(str(link), force=True)
    assert places(engine) == []


def test_a_moved_directory_is_still_known(engine: package.Engine, tmp_path: Path) -> None:
    """A mount point itself cannot be renamed, but what it is in."""
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "inside").mkdir(parents=True)
    engine.mount_image("small", str(before / "inside"))
    before.rename(after)
    with pytest.raises(ConflictError, match="it is mounted at"):
        engine.remove_image("small")
    assert mounted_at(str(after / "inside"))
    engine.unmount_image("small")
    assert not mounted_at(str(after / "inside"))


def test_a_mounted_image_is_not_removed(engine: package.Engine) -> None:
    directory = engine.mount_image("small").directory
    image = engine.tag("small", "other")
    for reference, force in (("small", False), (image.id, True)):
        if reference == "small":
            assert engine.remove_image("other") == ["Untagged: other:latest"]  # only a name
        shown = "small:latest" if reference == "small" else image.id.removeprefix("sha256:")[:12]
        with pytest.raises(ConflictError) as caught:
            engine.remove_image(reference, force=force)
        assert str(caught.value) == (
            f"cannot remove the image {shown}: it is mounted at {directory} "
            f"(`tiffin image unmount {shown}` first; --force does not help here)"
        )
    assert engine.prune_plan(all_images=True).images == ()
    assert Path(directory, "etc/text").read_bytes() == CONTENT
    engine.unmount_image("small")
    assert engine.remove_image("small")[0] == "Untagged: small:latest"


def test_who_is_in_it_keeps_it(engine: package.Engine) -> None:
    directory = engine.mount_image("small").directory
    with open(f"{directory}/etc/text", "rb") as file:
        with pytest.raises(ConflictError) as caught:
            engine.unmount_image("small")
        assert str(caught.value) == (
            f"cannot unmount the image small:latest from {directory}: it is in use "
            "(--force takes it away now, and lets those who use it finish)"
        )
        assert places(engine) == [(directory, 1)]
        engine.unmount_image("small", force=True)
        assert file.read() == CONTENT
    assert places(engine) == []


def test_all_of_them(engine: package.Engine, place: str) -> None:
    import io

    engine.import_image(io.BytesIO(small_tar(b"other\n")), "other")
    directory = engine.mount_image("small").directory
    engine.mount_image("other", place)
    errors: list[TiffinError] = []
    with open(f"{place}/etc/text", "rb"):
        assert [one.directory for one in engine.unmount_image(failed=errors.append)] == [directory]
    (error,) = errors
    assert error.message == f"cannot unmount the image other:latest from {place}: it is in use"
    assert [one.directory for one in engine.unmount_image()] == [place]
    assert engine.unmount_image() == []


def refused(engine: package.Engine, kind: type[TiffinError], *arguments: str) -> str:
    with pytest.raises(kind) as caught:
        engine.mount_image(*arguments)
    assert places(engine) == []
    return str(caught.value)


def test_what_cannot_be_mounted(engine: package.Engine, place: str, tmp_path: Path) -> None:
    assert refused(engine, NotFoundError, "nosuch") == "no such image: nosuch (`tiffin images` lists what is here)"
    assert refused(engine, UsageError, "host") == (
        "the image 'host' cannot be mounted: it is the host's own file system, which is at /"
    )
    missing, file = f"{place}/missing", str(tmp_path / "file")
    Path(file).touch()
    assert refused(engine, NotFoundError, "small", missing) == (
        f"there is no directory {missing!r} to mount the image at (`mkdir -p {missing}`)"
    )
    assert refused(engine, UsageError, "small", file) == f"cannot mount the image at {file!r}: it is not a directory"
    assert refused(engine, UsageError, "small", "/") == "cannot mount the image at '/': it would hide everything"
    for own in (engine.root, f"{engine.root}/objects", os.path.dirname(engine.root), engine.run_root):
        os.makedirs(own, exist_ok=True)
        assert refused(engine, UsageError, "small", own) == (
            f"cannot mount the image at {own!r}: Tiffin's own files are there "
            "(without a directory it is mounted below the run directory)"
        )


def test_another_image_is_there(engine: package.Engine, place: str) -> None:
    import io

    engine.import_image(io.BytesIO(small_tar(b"other\n")), "other")
    engine.mount_image("small", place)
    with pytest.raises(ConflictError) as caught:
        engine.mount_image("other", place)
    assert str(caught.value) == (
        f"the image small:latest is mounted at {place} "
        f"(`tiffin image unmount {place}` first, or choose another directory)"
    )
    with pytest.raises(NotFoundError) as nothing:
        engine.unmount_image("/usr")
    assert str(nothing.value) == "no image is mounted at /usr (`tiffin image mount` lists what is)"


def test_what_the_kernel_refuses(engine: package.Engine, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    from tiffin.storage.probe import MountCalls

    def denied(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(MountCalls, "move_mount", denied)
    for arguments in (("small",), ("small", place)):
        directory = place if len(arguments) > 1 else f"{engine.run_root}/mounts/{engine.image('small').id[7:]}"
        assert refused(engine, HostError, *arguments) == (
            f"cannot mount the image small:latest at {directory}: Operation not permitted"
        )
    assert os.listdir(f"{engine.run_root}/mounts") == ["table"]
    assert os.listdir(f"{engine.root}/tmp") == []


def test_an_unmount_by_hand_is_noticed(engine: package.Engine) -> None:
    directory = engine.mount_image("small").directory
    subprocess.run(["umount", directory], check=True)
    engine.remove_image("small")  # nothing keeps it
    assert places(engine) == []
    assert not os.path.exists(directory)


def test_a_mount_of_an_earlier_boot_is_forgotten(engine: package.Engine) -> None:
    directory = engine.mount_image("small").directory
    table = Path(engine.run_root, "mounts/table")
    text = table.read_text()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    subprocess.run(["umount", directory], check=True)
    table.write_text(text.replace(boot, "0" * 36))
    assert engine.check() == []
    assert places(engine) == []


def test_a_mount_that_nobody_recorded_is_found(engine: package.Engine) -> None:
    directory = engine.mount_image("small").directory
    table = Path(engine.run_root, "mounts/table")
    text = table.read_text()
    table.write_text("")
    assert engine.check() == [f"something is mounted at {directory}, and no record tells of it (`umount {directory}`)"]
    table.write_text(text)
    assert engine.check() == []


def killed_at(root: str, name: str, owner: object, place: str) -> None:
    """Mount in a child that ends, as by SIGKILL, where `owner.name` is called."""
    child = os.fork()
    if not child:
        setattr(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        try:
            package.Engine(root).mount_image("small", place)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


@pytest.mark.parametrize("step", ["_attach", "_mount_id", "move_mount", "tell"])
def test_killed_in_the_middle(engine: package.Engine, place: str, step: str) -> None:
    from tiffin.images.store import ImageStore
    from tiffin.storage.probe import MountCalls

    owner = {"move_mount": MountCalls, "tell": ImageStore}.get(step, mounts)
    killed_at(engine.root, step, owner, place)
    done = step == "tell"
    assert bool(mounted_at(place)) == done
    assert places(engine) == ([(place, 1)] if done else [])
    assert engine.mount_image("small", place).count == (2 if done else 1)
    engine.unmount_image("small", force=True)
    assert not mounted_at(place)
    engine.images()  # sweeps the dead one's workspace
    assert engine.check() == []
    engine.remove_image("small")


def test_from_another_mount_namespace(engine: package.Engine, tiffin: Runner) -> None:
    """What a service with mounts of its own has mounted is seen, kept from removal and unmounted from outside."""
    image = engine.image("small").id
    script = f"mount --make-rprivate / && {' '.join(tiffin.argv('image', 'mount', 'small'))} && read line"
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        directory = process.stdout.readline().strip()
        assert not mounted_at(directory)
        assert mounted_at_in(process.pid, directory)
        assert places(engine) == [(directory, 1)]
        with pytest.raises(ConflictError, match="it is mounted at"):
            engine.remove_image("small")
        assert [one.image_id for one in engine.unmount_image("small")] == [image]
        assert not mounted_at_in(process.pid, directory)
        # The same once more, and now the namespace goes, and its mounts with it.
        subprocess.run(["nsenter", "-m", "-t", str(process.pid), *tiffin.argv("image", "mount", "small")], check=True)
        assert len(places(engine)) == 1
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
    assert places(engine) == []


def mounted_at_in(pid: int, path: str) -> bool:
    return any(line.split()[4] == path for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines())


def race(first: Callable[[], object], second: Callable[[], object]) -> list[str]:
    """What the two raise when they are done at once, "" for nothing."""
    found = ["", ""]

    def run(number: int, action: Callable[[], object]) -> None:
        try:
            action()
        except TiffinError as error:
            found[number] = str(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate((first, second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_mounted_while_it_is_removed(engine: package.Engine) -> None:
    """One of the two wins; never is an image mounted that is gone."""
    import io

    for delay_s in (0, 0.001, 0.003, 0.01, 0.02, 0.03):
        if not engine.images():
            engine.import_image(io.BytesIO(small_tar()), "small")

        def remove(delay_s: float = delay_s) -> None:
            time.sleep(delay_s)
            with package.Engine(engine.root) as other:
                other.remove_image("small")

        mounting, removing = race(lambda: engine.mount_image("small"), remove)
        if removing:
            assert "it is mounted at" in removing
            (found,) = engine.mounted_images()
            assert Path(found.directory, "etc/text").read_bytes() == CONTENT
            engine.unmount_image("small")
        else:
            assert mounting.startswith("no such image: ")
            assert engine.mounted_images() == []
    assert engine.check() == []


def test_many_at_once_count_right(engine: package.Engine) -> None:
    def mount_some() -> None:
        with package.Engine(engine.root) as other:
            for _ in range(5):
                other.mount_image("small")

    assert race(mount_some, mount_some) == ["", ""]
    assert [count for _, count in places(engine)] == [10]
    assert len(mounted_at(engine.mounted_images()[0].directory)) == 1


# The command line


def test_the_commands(tiffin: Runner, engine: package.Engine, place: str) -> None:
    where = tiffin.ok("image", "mount", "small")
    assert Path(where, "etc/text").read_bytes() == CONTENT
    assert tiffin.ok("image", "mount", "small", place) == place
    identity = engine.image("small").id
    lines = tiffin.ok("image", "mount").splitlines()
    assert lines[0].split() == ["IMAGE", "IMAGE", "ID", "COUNT", "MOUNT", "POINT"]
    assert lines[1].split() == ["small:latest", identity[7:19], "1", where]
    assert tiffin.ok("image", "mount", "--format", "{{.MountPoint}}").splitlines() == [where, place]
    counts = tiffin.ok("image", "mount", "--all", "--format", "{{.Count}} {{.Image}}").splitlines()
    assert counts == ["2 small:latest", "1 small:latest"]
    assert tiffin.ok("image", "umount", place) == identity
    assert tiffin.ok("image", "unmount", "-a") == identity
    assert tiffin.ok("image", "unmount", "small") == identity
    assert tiffin.ok("image", "unmount", "--all", "--force") == ""
    told = [event.action for event in engine.events(filters={"type": ["image"]}, since_ns=0, follow=False)]
    assert told[-5:] == ["import", "mount", "mount", "unmount", "unmount"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["mount", "a", "b", "c"], 1, "'tiffin image mount' requires at most 2 arguments"),
        (["mount", "--all", "a"], 1, "--all takes no images"),
        (["unmount"], 1, "'tiffin image unmount' requires at least 1 argument"),
        (["unmount", "-a", "a"], 1, "--all takes no images"),
        (["unmount", "nosuch"], 1, "no such image: nosuch"),
        (["mount", "--nosuch"], 125, "unknown flag: --nosuch"),
    ],
)
def test_commands_that_make_no_sense(tiffin: Runner, words: list[str], code: int, message: str) -> None:
    found = tiffin("image", *words)
    assert (found.code, found.err.splitlines()[0]) == (code, f"tiffin: {message}")
