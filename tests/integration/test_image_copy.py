"""`image copy` between real registries and files, with skopeo as the witness: each reads what the other writes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.archives import (
    LAYER,
    MACHINE,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    UPPER,
    Layout,
    config_of,
    digest,
    platforms,
    tar_of,
)
from harness.registries import RegistryServer, registry
from harness.terminal import Terminal

if TYPE_CHECKING:
    from integration.conftest import Runner

LARGE = tar_of({"noise": os.urandom(5 << 20)})
"""More than a chunk of an upload."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("first")) as running:
        yield running


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("second")) as running:
        yield running


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def images(first: RegistryServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What skopeo put into the first registry below team/, by name and digest."""
    directory = tmp_path_factory.mktemp("images")
    layout = Layout()
    multi = layout.index(*platforms(layout, f"linux/{MACHINE}", "linux/s390x"))
    one = layout.image((LAYER, LARGE, UPPER), pack="gzip")
    names = {"multi": multi, "one": one}
    layout.top(
        *({**each, "annotations": {"org.opencontainers.image.ref.name": name}} for name, each in names.items())
    ).write(directory)
    for name in names:
        skopeo("copy", "--all", f"oci:{directory}:{name}", f"docker://{first.host}/team/{name}:1")
    skopeo("copy", "--format", "v2s2", f"oci:{directory}:one", f"docker://{first.host}/team/docker:1")
    return {name: digest_by_skopeo(f"docker://{first.host}/team/{name}:1") for name in (*names, "docker")}


def skopeo(*words: str) -> str:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    verb, *rest = words
    flags = ["--src-tls-verify=false", "--dest-tls-verify=false"] if verb == "copy" else ["--tls-verify=false"]
    quiet = ["--quiet"] if verb == "copy" else []
    done = subprocess.run(
        ["skopeo", "--insecure-policy", verb, *quiet, *flags, *rest], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def digest_by_skopeo(name: str) -> str:
    return digest(skopeo("inspect", "--raw", name).encode())


@pytest.mark.parametrize("name", ["one", "multi", "docker"])
def test_between_registries(
    tiffin: Runner, first: RegistryServer, second: RegistryServer, images: dict[str, str], name: str
) -> None:
    source, target = f"docker://{first.host}/team/{name}:1", f"docker://{second.host}/copy/{name}:2"
    assert tiffin.ok("image", "copy", "--all", source, target).splitlines()[-1] == f"Digest: {images[name]}"
    assert digest_by_skopeo(target) == images[name]
    assert tiffin.ok("image", "copy", "-q", source.replace(":1", f"@{images[name]}"), f"{target}-one") != ""
    # Its layers are the second registry's now, as whoever pulls them sees.
    skopeo("copy", target, f"dir:{tiffin.root}/back")


def test_what_is_there_is_not_sent(
    tiffin: Runner, first: RegistryServer, second: RegistryServer, images: dict[str, str]
) -> None:
    source = f"docker://{first.host}/team/one:1"
    layers = [line["digest"][7:19] for line in json.loads(skopeo("inspect", "--raw", source))["layers"]]

    def said(target: str) -> dict[str, str]:
        lines = tiffin.ok("image", "copy", source, target).splitlines()[:-1]
        return dict(line.split(": ", 1) for line in lines)

    fresh = f"docker://{second.host}/fresh/one:1"
    assert said(fresh) == dict.fromkeys(layers, "Copied")
    assert said(fresh) == dict.fromkeys(layers, "Layer already exists")
    assert said(f"docker://{first.host}/mounted/one:1") == dict.fromkeys(layers, "Mounted from team/one")
    layout = f"oci:{tiffin.root}/layout:1"
    assert said(layout) == dict.fromkeys(layers, "Copied")
    assert said(layout) == dict.fromkeys(layers, "Already exists")
    log = first.log.read_text()
    assert log.count("POST /v2/mounted/one/blobs/uploads/?mount=") == log.count("POST /v2/mounted/one/blobs/uploads/")
    assert digest_by_skopeo(f"docker://{first.host}/mounted/one:1") == images["one"]


@pytest.mark.parametrize(
    ("name", "transport"),
    [("multi", "oci:layout:t"), ("multi", "oci-archive:file.tar:t"), ("multi", "dir:directory"), ("one", "oci:layout")],
)
def test_skopeo_reads_what_we_write(
    tiffin: Runner, first: RegistryServer, second: RegistryServer, images: dict[str, str], name: str, transport: str
) -> None:
    kind, _, rest = transport.partition(":")
    place = f"{kind}:{tiffin.root}/{rest}"
    digest_file = f"{tiffin.root}/digest"
    tiffin.ok("image", "copy", "-a", "--digestfile", digest_file, f"docker://{first.host}/team/{name}:1", place)
    assert Path(digest_file).read_text() == images[name]
    assert digest_by_skopeo(place) == images[name]
    target = f"docker://{second.host}/skopeo/{name}-{kind}:1"
    skopeo("copy", "--all", "--preserve-digests", place, target)
    assert digest_by_skopeo(target) == images[name]


@pytest.mark.parametrize(
    ("name", "transport"),
    [("multi", "oci:layout:t"), ("multi", "oci-archive:file.tar:t"), ("multi", "dir:directory"), ("one", "oci:layout")],
)
def test_we_read_what_skopeo_writes(
    tiffin: Runner, first: RegistryServer, second: RegistryServer, images: dict[str, str], name: str, transport: str
) -> None:
    kind, _, rest = transport.partition(":")
    place = f"{kind}:{tiffin.root}/{rest}"
    skopeo("copy", "--all", f"docker://{first.host}/team/{name}:1", place)
    target = f"docker://{second.host}/ours/{name}-{kind}:1"
    assert tiffin.ok("image", "copy", "-q", "--all", "--preserve-digests", place, target) == images[name]
    assert digest_by_skopeo(target) == images[name]


def test_dockers_kind_of_manifest(
    tiffin: Runner, first: RegistryServer, second: RegistryServer, images: dict[str, str]
) -> None:
    """It stays in every place, and skopeo's conversion and ours give the same."""
    source = f"docker://{first.host}/team/docker:1"
    for place in (f"dir:{tiffin.root}/d", f"oci:{tiffin.root}/o:1", f"oci-archive:{tiffin.root}/a.tar"):
        assert tiffin.ok("image", "copy", "-q", source, place) == images["docker"]
    back = f"docker://{second.host}/docker/back:1"
    assert tiffin.ok("image", "copy", "-q", f"oci:{tiffin.root}/o", back) == images["docker"]
    assert digest_by_skopeo(back) == images["docker"]
    tiffin.ok("image", "copy", "--format", "oci", source, f"oci:{tiffin.root}/o:oci")
    ours = json.loads(skopeo("inspect", "--raw", f"oci:{tiffin.root}/o:oci"))
    skopeo("copy", "--format", "oci", source, f"dir:{tiffin.root}/skopeo")
    theirs = json.loads(Path(f"{tiffin.root}/skopeo/manifest.json").read_bytes())
    assert ours["layers"] == theirs["layers"]
    assert ours["mediaType"] == theirs["mediaType"]
    # skopeo writes the config anew, without what it does not know: another image ID. Ours stays.
    config = json.loads(skopeo("inspect", "--raw", source))["config"]["digest"]
    assert ours["config"] == {**theirs["config"], "digest": config, "size": ours["config"]["size"]}
    skopeo("copy", f"oci:{tiffin.root}/o:oci", f"dir:{tiffin.root}/whole")
    tiffin.ok("image", "copy", "-f", "v2s2", f"oci:{tiffin.root}/o:oci", f"dir:{tiffin.root}/v2s2")
    made = json.loads(Path(f"{tiffin.root}/v2s2/manifest.json").read_bytes())
    assert made == json.loads(skopeo("inspect", "--raw", source))


def test_dockers_archives(
    tiffin: Runner, first: RegistryServer, second: RegistryServer, images: dict[str, str]
) -> None:
    ours, theirs = f"docker-archive:{tiffin.root}/ours.tar", f"docker-archive:{tiffin.root}/theirs.tar"
    name = "registry.example/demo:1"
    source = f"docker://{first.host}/team/one:1"
    assert tiffin.ok("image", "copy", "-q", source, f"{ours}:{name}") == images["one"]
    skopeo("copy", source, f"{theirs}:{name}")
    config = json.loads(skopeo("inspect", "--raw", source))["config"]["digest"]
    for archive in (f"{ours}:{name}", theirs):
        assert [each["digest"] for each in configs(archive)] == [config]
    results = []
    for number, archive in enumerate((ours, f"{theirs}:{name}")):
        target = f"docker://{second.host}/archive/app:{number}"
        results.append(tiffin.ok("image", "copy", "-q", archive, target))
        assert digest_by_skopeo(target) == results[-1]
        raw = json.loads(skopeo("inspect", "--raw", target))
        assert raw["config"]["digest"] == config
        assert {layer["mediaType"] for layer in raw["layers"]} == {"application/vnd.docker.image.rootfs.diff.tar.gzip"}
        skopeo("copy", target, f"dir:{tiffin.root}/again-{number}")
    assert results[0] == results[1], "the same layers are packed the same"
    tiffin.ok("load", "-i", f"{tiffin.root}/ours.tar")
    assert tiffin.ok("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}") == f"{name} {config}"


def configs(archive: str) -> list[dict[str, Any]]:
    return [json.loads(skopeo("inspect", "--raw", archive))["config"]]


def test_a_copied_image_runs(tiffin: Runner, second: RegistryServer, busybox_archive: Path) -> None:
    target = f"{second.host}/busybox:1"
    tiffin.ok("image", "copy", f"oci-archive:{busybox_archive}", f"docker://{target}")
    tiffin.ok("pull", "-q", target)
    assert tiffin.ok("run", "--rm", target, "echo", "here") == "here"


@pytest.fixture
def busybox_archive(tiffin: Runner, tmp_path: Path) -> Path:
    from harness.images import busybox_tar

    tiffin("import", "-", "busybox:1", input=busybox_tar())
    path = tmp_path / "busybox.tar"
    tiffin.ok("save", "--format", "oci-archive", "-o", str(path), "busybox:1")
    return path


def test_one_platform(tiffin: Runner, first: RegistryServer, images: dict[str, str]) -> None:
    source = f"docker://{first.host}/team/multi:1"
    listed = json.loads(skopeo("inspect", "--raw", source))["manifests"]
    by_platform = {each["platform"]["architecture"]: each["digest"] for each in listed}
    assert tiffin.ok("image", "copy", "-q", source, f"dir:{tiffin.root}/a") == by_platform[MACHINE]
    other = tiffin.ok("image", "copy", "-q", "--platform", "linux/s390x", source, f"dir:{tiffin.root}/b")
    assert other == by_platform["s390x"]


def test_errors(tiffin: Runner, first: RegistryServer, images: dict[str, str]) -> None:
    end = f"dir:{tiffin.root}/end"
    for words, message in (
        (
            (f"docker://{first.host}/team/one:none", end),
            f"manifest for {first.host}/team/one:none not found: manifest unknown: manifest unknown",
        ),
        (("app:1", end), "the transport 'app' of 'app:1' is unknown\nthere are docker://, oci:, oci-archive:,"
         " docker-archive: and dir:"),
        ((end, end), f"there is no directory '{tiffin.root}/end'"),
    ):  # fmt: skip
        result = tiffin("image", "copy", *words)
        assert (result.code, result.out, result.err) == (1, "", f"tiffin: {message}\n")
    result = tiffin("image", "copy", "--src-tls-verify=false", f"docker://{first.host}/team/one:1", end)
    assert (result.code, result.err) == (
        125,
        "tiffin: --src-tls-verify is not supported yet: registries.toml says which registries are insecure,"
        " and which authorities are trusted\n",
    )
    result = tiffin("image", "copy", "--format", "v1", f"docker://{first.host}/team/one:1", end)
    assert (result.code, result.err.splitlines()[0]) == (
        1,
        'tiffin: invalid argument "v1" for "-f, --format": it is oci or v2s2',
    )
    assert not os.path.exists(f"{tiffin.root}/end")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], check=True, timeout=10)
    yield place
    subprocess.run(["umount", str(place)], check=True, timeout=10)


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive", "dir"])
def test_a_full_disk(
    tiffin: Runner, first: RegistryServer, images: dict[str, str], small_disk: Path, transport: str
) -> None:
    end = f"{transport}:{small_disk}/end"
    result = tiffin("image", "copy", "-q", f"docker://{first.host}/team/one:1", end)
    assert (result.code, result.out, result.err.splitlines()[0]) == (
        1,
        "",
        f"tiffin: cannot copy to '{end}': the disk is full",
    )
    left = [path.name for path in small_disk.rglob("*") if path.is_file() and path.parent.name != "sha256"]
    assert left == (["oci-layout"] if transport == "oci" else [])


# What a process begins as, a copy of the one that made it, counts as its own: so a small one makes it.
PEAK_KB = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_memory_is_bounded(tiffin: Runner, second: RegistryServer, tmp_path: Path) -> None:
    """Whatever the size of a layer: this one is a tar of nothing, 120 MB of it."""
    size = 120 << 20
    empty, found = tmp_path / "layer", hashlib.sha256()
    with empty.open("wb") as file:
        file.truncate(size)
    for _ in range(size >> 20):
        found.update(bytes(1 << 20))
    layer = f"sha256:{found.hexdigest()}"
    layout = Layout()
    config = json.loads(config_of((LAYER,)))
    config["rootfs"]["diff_ids"] = [layer]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": layout.blob(json.dumps(config).encode(), OCI_CONFIG),
        "layers": [{"mediaType": OCI_LAYER, "digest": layer, "size": size}],
    }
    layout.top(layout.blob(json.dumps(manifest).encode(), OCI_MANIFEST)).write(tmp_path / "layout")
    empty.rename(tmp_path / "layout" / "blobs" / "sha256" / layer[7:])
    target = f"docker://{second.host}/large:1"
    for source, end in (
        (f"oci:{tmp_path}/layout", target),
        (target, f"docker-archive:{tmp_path}/end.tar"),
    ):
        command = [sys.executable, "-c", PEAK_KB, *tiffin.argv("image", "copy", "-q", source, end)]
        peak_kb = int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split()[-1])
        assert peak_kb < 100 << 10


def test_bars_on_a_terminal(
    tiffin: Runner, first: RegistryServer, second: RegistryServer, images: dict[str, str]
) -> None:
    source, target = f"docker://{first.host}/team/one:1", f"docker://{second.host}/terminal/one:1"
    with Terminal(tiffin.argv("image", "copy", source, target), size=(24, 60)) as terminal:
        assert terminal.wait() == 0
        lines = terminal.text.replace("\r", "").splitlines()
    assert f"Digest: {images['one']}" in lines[-1]
    assert max(len(re.sub(r"\x1b\[\d*[A-Z]", "", line)) for line in lines[:-1]) < 60
    assert sum(line.endswith(": Copied\x1b[K") for line in lines) >= 3
