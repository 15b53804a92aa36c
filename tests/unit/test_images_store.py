"""Looking up, listing, tagging and removing images."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from harness.archives import LAYER, UPPER, Layout, config_of, docker_files, hexdigest, open_store, tar_of
from tiffin.errors import AmbiguousError, ConflictError, NotFoundError, UsageError
from tiffin.images.host import host_image, is_host_id
from tiffin.images.load import load
from tiffin.images.store import ImageStore
from tiffin.model.image import Image
from tiffin.state import images as records
from tiffin.state.status import boot_id, start_ticks

HINT = "(`tiffin images` lists what is here)"


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "store")


def _load(store: ImageStore, *names: str, layers: tuple[bytes, ...] = (LAYER,), **more: str) -> Image:
    files = docker_files(layers, names, config=config_of(layers, **more))
    return load(store, io.BytesIO(tar_of(files)))[0]


def _in_store(store: ImageStore) -> list[str]:
    """Everything that images take in the store."""
    root = Path(store.paths.root)
    return sorted(
        str(path.relative_to(root))
        for directory in ("objects", "layers", "images")
        for path in (root / directory).rglob("*")
        if path.is_file()
    )


def _container(store: ImageStore, image: Image, name: str, *, running: bool = False) -> str:
    container_id = hexdigest(name.encode())
    store.database.execute(
        "INSERT INTO containers (id, name, image_id, created_ns, record) VALUES (?, ?, ?, 1, '{}')",
        (container_id, name, image.id),
    )
    if running:  # this process plays the monitor
        run = store.paths.container_run(container_id)
        os.makedirs(run)
        me = f"{os.getpid()} {start_ticks(os.getpid())}"
        Path(run, "status").write_text(f"running {me} {me} 1 {boot_id()}\n")
    return container_id


def test_get(store: ImageStore) -> None:
    image = _load(store, "demo:1", "demo:latest", "registry.example:5000/demo:1")
    digits = image.id.removeprefix("sha256:")
    for reference in (
        "demo:1", "demo", "demo:latest", "registry.example:5000/demo:1", image.id, digits, digits[:12], digits[:1],
        f"sha256:{digits[:5]}",
    ):  # fmt: skip
        assert store.get(reference) == image
    assert image.names == ("demo:1", "demo:latest", "registry.example:5000/demo:1")


@pytest.mark.parametrize(
    "reference", ["nothing", "demo:2", "library/demo:1", "ff" * 32, "sha256:" + "ff" * 32, "fffffff"]
)
def test_get_unknown(store: ImageStore, reference: str) -> None:
    _load(store, "demo:1")
    with pytest.raises(NotFoundError) as caught:
        store.get(reference)
    assert str(caught.value) == f"no such image: {reference} {HINT}"


def test_get_invalid(store: ImageStore) -> None:
    with pytest.raises(UsageError) as caught:
        store.get("Demo")
    assert str(caught.value) == "invalid reference format: repository name 'Demo' must be lowercase: 'Demo'"


def _add(store: ImageStore, image_id: str, *names: str) -> None:
    records.add_image(
        store.database, image_id=image_id, config=b"{}", created_ns=1, architecture="amd64", os="linux", variant="",
        size_bytes=0, layers=[], names=names,
    )  # fmt: skip


def test_prefix_ambiguous(store: ImageStore) -> None:
    _add(store, "sha256:" + "abcd" * 16)
    _add(store, "sha256:" + "abce" * 16)
    assert store.get("abcd").id == "sha256:" + "abcd" * 16
    with pytest.raises(AmbiguousError) as caught:
        store.get("abc")
    assert str(caught.value) == (
        "the image ID prefix 'abc' is ambiguous: abcdabcdabcd, abceabceabce (give more digits)"
    )
    assert caught.value.http_status == 400


def test_name_wins_over_prefix(store: ImageStore) -> None:
    _add(store, "sha256:" + "abcd" * 16)
    _add(store, "sha256:" + "1234" * 16, "abcd:latest")
    assert store.get("abcd").id == "sha256:" + "1234" * 16
    assert store.get("sha256:abcd").id == "sha256:" + "abcd" * 16


def test_digest_reference(store: ImageStore) -> None:
    layout = Layout()
    manifest = layout.image(annotations={"org.opencontainers.image.ref.name": "demo:1"})
    image = load(store, io.BytesIO(layout.top(manifest).tar()))[0]
    assert image.digests == (f"demo@{manifest['digest']}",)
    assert store.get(f"demo@{manifest['digest']}").id == image.id
    assert store.get(f"demo:other@{manifest['digest']}").id == image.id
    with pytest.raises(NotFoundError):
        store.get(f"other@{manifest['digest']}")


def test_list_newest_first(store: ImageStore) -> None:
    old = _load(store, "old:1", created="2020-01-01T00:00:00Z")
    new = _load(store, "new:1", created="2024-01-01T00:00:00Z")
    assert store.list() == [new, old]
    assert store.list(all=True) == [new, old, host_image()]


def test_tag_moves(store: ImageStore) -> None:
    first = _load(store, "a:1", created="2020-01-01T00:00:00Z")
    second = _load(store, "b:1", created="2021-01-01T00:00:00Z")
    assert store.tag("a:1", "c").names == ("a:1", "c:latest")
    assert store.tag("b:1", "c").names == ("b:1", "c:latest")
    assert store.get("a:1").names == ("a:1",)
    store.tag("b:1", "c")  # again: no move, no history
    moves = store.database.rows("SELECT image_id FROM tag_history WHERE name = 'c:latest' ORDER BY moved_ns")
    assert moves == [(first.id,), (second.id,)]


@pytest.mark.parametrize(
    ("reference", "name", "message"),
    [
        ("a:1", "host", "the image name 'host' is reserved for the host's own system (choose another name)"),
        ("a:1", "A", "invalid reference format: repository name 'A' must be lowercase: 'A'"),
        ("host", "x", ("the image 'host' cannot be tagged: it is the host itself (make an image of a directory with "
                      "`tar -C DIR -c . | tiffin import - NAME`)")),
        ("b", "x", f"no such image: b {HINT}"),
    ],
)  # fmt: skip
def test_tag_refused(store: ImageStore, reference: str, name: str, message: str) -> None:
    _load(store, "a:1")
    with pytest.raises((UsageError, NotFoundError)) as caught:
        store.tag(reference, name)
    assert str(caught.value) == message


def test_remove_last_name_removes_everything(store: ImageStore) -> None:
    image = _load(store, "a:1", layers=(LAYER, UPPER))
    assert _in_store(store)
    assert store.remove("a:1") == [
        "Untagged: a:1",
        f"Deleted: {image.id}",
        f"Deleted: {image.layers[1]}",
        f"Deleted: {image.layers[0]}",
    ]
    assert store.list() == []
    assert _in_store(store) == []
    assert store.database.rows("SELECT * FROM layers") == []


def test_remove_one_of_several_names(store: ImageStore) -> None:
    image = _load(store, "a:1", "b:1")
    before = _in_store(store)
    assert store.remove("a:1") == ["Untagged: a:1"]
    assert store.get("b:1").id == image.id
    assert _in_store(store) == before


def test_remove_keeps_what_others_need(store: ImageStore) -> None:
    base = _load(store, "base:1")
    upper = _load(store, "upper:1", layers=(LAYER, UPPER))
    assert store.remove("upper:1") == ["Untagged: upper:1", f"Deleted: {upper.id}", f"Deleted: {upper.layers[1]}"]
    out = io.BytesIO()
    store.layers.write_tar(base.layers[0], out)
    assert out.getvalue() == LAYER


def test_remove_by_id(store: ImageStore) -> None:
    image = _load(store, "a:1", "b:1")
    digits = image.id.removeprefix("sha256:")
    with pytest.raises(ConflictError) as caught:
        store.remove(digits[:6])
    assert str(caught.value) == (
        f"the image {digits[:12]} has several names: a:1, b:1 "
        "(remove it by its names, or use --force to remove them all)"
    )
    lines = store.remove(digits[:6], force=True)
    assert lines == ["Untagged: a:1", "Untagged: b:1", f"Deleted: {image.id}", f"Deleted: {image.layers[0]}"]


def test_remove_image_of_container(store: ImageStore) -> None:
    image = _load(store, "a:1")
    container_id = _container(store, image, "web")
    with pytest.raises(ConflictError) as caught:
        store.remove("a:1")
    assert str(caught.value) == (
        f"cannot remove the image a:1: the container web ({container_id[:12]}) was made from it "
        "(`tiffin rm web` first, or --force to remove only the image's names)"
    )
    assert caught.value.http_status == 409
    assert store.remove("a:1", force=True) == ["Untagged: a:1"]
    assert store.get(image.id).names == ()
    with pytest.raises(ConflictError) as caught:
        store.remove(image.id, force=True)
    assert str(caught.value) == (
        f"cannot remove the image {image.id[7:19]}: the container web ({container_id[:12]}) was made from it "
        "(`tiffin rm web` first)"
    )


def test_remove_image_of_running_container(store: ImageStore) -> None:
    image = _load(store, "a:1")
    _container(store, image, "first")
    container_id = _container(store, image, "web", running=True)
    for force in (False, True):
        with pytest.raises(ConflictError) as caught:
            store.remove("a:1", force=force)
        assert str(caught.value) == (
            f"cannot remove the image a:1: the running container web ({container_id[:12]}) uses it "
            "(`tiffin rm --force web` first; --force does not help here)"
        )
    assert store.get("a:1") == image


def test_other_name_goes_though_a_container_runs(store: ImageStore) -> None:
    image = _load(store, "a:1", "b:1")
    _container(store, image, "web", running=True)
    assert store.remove("a:1") == ["Untagged: a:1"]


def test_remove_while_somebody_adds(store: ImageStore) -> None:
    """The files stay until that is over; who comes next takes them away."""
    _load(store, "a:1")
    before = _in_store(store)
    with store.adding():
        assert store.remove("a:1")[0] == "Untagged: a:1"
        assert store.list() == []
        assert _in_store(store) == before
    assert store.list() == []
    assert _in_store(store) == []
    assert os.listdir(store.paths.temporary) == []


def test_host(store: ImageStore) -> None:
    host = store.get("host")
    assert host == store.get("host:latest") == store.get(host.id) == store.get(host.id[7:19])
    assert host.names == ("host",)
    assert host.layers == ()
    assert is_host_id(host.id)
    assert not is_host_id("sha256:" + "0" * 64)
    assert host.id == "sha256:" + hexdigest(host.raw_config)
    config = json.loads(host.raw_config)
    assert config["config"]["Cmd"] == list(host.config.cmd)
    assert config["config"]["Env"] == list(host.config.env)
    assert store.inspect("host")["GraphDriver"] == {"Name": "host", "Data": {"Directory": "/"}}
    assert [step.comment for step in store.history("host")] == ["the host itself"]
    with pytest.raises(UsageError) as caught:
        store.remove("host", force=True)
    assert str(caught.value) == "the image 'host' cannot be removed: it is the host itself"


def test_history(store: ImageStore) -> None:
    layers = (LAYER, UPPER)
    _load(
        store,
        "a:1",
        layers=layers,
        history=[  # type: ignore[arg-type]
            {"created": "2024-01-01T00:00:00Z", "created_by": "base"},
            {"created": "2024-01-02T00:00:00Z", "created_by": "ENV A=1", "empty_layer": True, "comment": "c"},
            {"created": "2024-01-03T00:00:00Z", "created_by": "top"},
        ],
    )
    steps = store.history("a:1")
    assert [(step.created_by, step.comment, step.size_bytes) for step in steps] == [
        ("top", "", len(b"hello\n")),
        ("ENV A=1", "c", 0),
        ("base", "", len(b"tiffin\n") + 500),
    ]
    assert [bool(step.diff_id) for step in steps] == [True, False, True]
    assert steps[1].created_ns == 1704153600_000000000


def test_history_shorter_than_layers(store: ImageStore) -> None:
    image = _load(store, "a:1", layers=(LAYER, UPPER), history=[{"created_by": "base"}])  # type: ignore[arg-type]
    assert [(step.created_by, step.diff_id) for step in store.history("a:1")] == [
        ("", image.layers[1]),
        ("base", image.layers[0]),
    ]


def test_inspect(store: ImageStore) -> None:
    image = _load(store, "a:1", author="somebody")
    shown = store.inspect("a:1")
    last_tag = shown["Metadata"].pop("LastTagTime")
    assert last_tag.endswith("Z")
    assert last_tag > "2024"
    unused = shown.pop("ContainerConfig")
    assert list(unused) == list(shown["Config"]) and not any(unused.values())
    assert shown == {
        "Id": image.id,
        "RepoTags": ["a:1"],
        "RepoDigests": [],
        "Parent": "",
        "Comment": "",
        "Created": "2024-05-06T07:08:09.5Z",
        "DockerVersion": "",
        "Author": "somebody",
        "Container": "",
        "Config": {
            "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False,
            "AttachStderr": False, "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": ["PATH=/bin"],
            "Cmd": ["/bin/tool"], "Image": "", "Volumes": None, "WorkingDir": "", "Entrypoint": None,
            "OnBuild": None, "Labels": {"a": "b"},
        },
        "Architecture": image.architecture,
        "Os": "linux",
        "Size": 507,
        "VirtualSize": 507,
        "GraphDriver": {
            "Name": "composefs",
            "Data": {"Directory": f"{store.paths.images}/{image.id.removeprefix('sha256:')}"},
        },
        "RootFS": {"Type": "layers", "Layers": list(image.layers)},
        "Metadata": {},
    }  # fmt: skip
