"""`manifest …` against real registries, with Docker's own client as the witness: the same words in, the same out."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.archives import LAYER, MACHINE, UPPER, Layout, config_of, digest, platforms
from harness.registries import RegistryServer, registry
from tiffin.images.transfer.copy import copy
from tiffin.images.transfer.documents import DOCKER_INDEX, OCI_INDEX
from tiffin.registry.client import Registries
from tiffin.registry.names import Repository
from tiffin.registry.settings import Settings

if TYPE_CHECKING:
    from integration.conftest import Runner


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
def digests(first: RegistryServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Images in the first registry: for two platforms each with OCI's and Docker's kind of manifest, and an index."""
    directory = tmp_path_factory.mktemp("images")
    layout = Layout()
    ours = layout.image((LAYER, UPPER), pack="gzip")
    arm = layout.image((LAYER,), config=config_of((LAYER,), architecture="arm", variant="v7"), pack="gzip")
    multi = layout.index(*platforms(layout, f"linux/{MACHINE}", "linux/arm64/v8"))
    names = {"ours": ours, "arm": arm, "multi": multi}
    layout.top(
        *({**each, "annotations": {"org.opencontainers.image.ref.name": name}} for name, each in names.items())
    ).write(directory)
    found = {}
    with Registries(Settings()) as client:
        for name in names:
            target = f"docker://{first.host}/team/{name}:1"
            found[name] = copy(client, f"oci:{directory}:{name}", target, all=True).digest
            if name != "multi":
                target = f"docker://{first.host}/team/{name}-docker:1"
                found[f"{name}-docker"] = copy(client, f"oci:{directory}:{name}", target, format="v2s2").digest
    return found


def raw(server: RegistryServer, path: str, reference: str = "1") -> tuple[str, dict[str, Any]]:
    with Registries(Settings()) as client:
        reply = client.manifest(Repository(host=server.host, path=path), reference)
    return reply.digest, json.loads(reply.body)


def docker(*words: str) -> tuple[int, str, str]:
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    verb, *rest = words
    insecure = ["--insecure"] if verb in ("inspect", "create", "push") else []
    done = subprocess.run(
        ["docker", "manifest", verb, *insecure, *rest], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def both(tiffin: Runner, *words: str) -> tuple[int, str, str]:
    """What Docker says to it, and that we say the same: a failure with our name in front, and perhaps a hint."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(docker, *words)
        ours = tiffin("manifest", *words)
        theirs = asked.result()
    assert (ours.code, ours.out) == theirs[:2]
    assert ours.err.splitlines()[:1] == [f"tiffin: {theirs[2].strip()}"] if theirs[2] else not ours.err
    return theirs


@pytest.mark.parametrize("name", ["ours", "arm-docker", "multi"])
@pytest.mark.parametrize("options", [(), ("-v",)], ids=["plain", "verbose"])
def test_inspect_as_docker(
    tiffin: Runner, first: RegistryServer, digests: dict[str, str], name: str, options: tuple[str, ...]
) -> None:
    code, out, _ = both(tiffin, "inspect", *options, f"{first.host}/team/{name}:1")
    assert code == 0
    assert json.loads(out)
    both(tiffin, "inspect", *options, f"{first.host}/team/{name}@{digests[name]}")


def test_a_list_of_dockers_manifests(tiffin: Runner, first: RegistryServer, digests: dict[str, str]) -> None:
    """From beginning to end as Docker has it."""
    made, ours, arm = (f"{first.host}/team/{name}" for name in ("ours-docker:all", "ours-docker:1", "arm-docker:1"))
    both(tiffin, "create", made, arm, ours)  # Docker sorts them
    assert both(tiffin, "create", made, ours) == (
        1, "", "refusing to amend an existing manifest list with no --amend flag\n",
    )  # fmt: skip
    both(tiffin, "create", "--amend", made, arm)
    both(tiffin, "annotate", made, arm, "--variant", "v6", "--os-version", "1.2", "--os-features", "a,b")
    both(tiffin, "inspect", made)
    both(tiffin, "inspect", "-v", made)
    both(tiffin, "inspect", made, arm)
    for words in (
        ("annotate", made, f"{first.host}/team/other:1"),
        ("annotate", f"{made}-not", arm),
        ("create", f"{made}-new", f"{first.host}/team/multi:1"),
        ("create", f"{made}-new", f"{first.host}/team/none:1"),
        ("inspect", f"{first.host}/team/none:1"),
        ("push", f"{made}-not"),
        ("rm", f"{made}-not"),
    ):
        assert both(tiffin, *words)[0] == 1
    result = tiffin("manifest", "push", "--purge", made)
    pushed = [digests["arm-docker"], digests["ours-docker"]]
    found, document = raw(first, "team/ours-docker", "all")
    assert result.out.splitlines() == [
        f"Pushed ref {first.host}/team/ours-docker@{pushed[0]} with digest: {pushed[0]}",
        found,
    ]
    assert document["mediaType"] == DOCKER_INDEX
    assert [(each["digest"], each["platform"]) for each in document["manifests"]] == [
        (
            pushed[0],
            {"architecture": "arm", "os": "linux", "os.version": "1.2", "os.features": ["a", "b"], "variant": "v6"},
        ),
        (pushed[1], {"architecture": MACHINE, "os": "linux"}),
    ]
    code, out, _ = docker("push", "--purge", made)
    assert code == 0
    assert out.splitlines()[0] == result.out.splitlines()[0]
    assert raw(first, "team/ours-docker", "all")[1] == document, "Docker's list has other spaces, and the same in it"
    assert tiffin("manifest", "rm", made) == (1, "", f"tiffin: No such manifest: {made}\n")


def test_an_index_of_oci_manifests(tiffin: Runner, first: RegistryServer, digests: dict[str, str]) -> None:
    """Members of other repositories of the registry are mounted into the list's."""
    made = f"{first.host}/lists/app"
    members = f"{first.host}/team/ours:1", f"{first.host}/team/arm@{digests['arm']}"
    assert tiffin.ok("manifest", "create", made, *members) == f"Created manifest list {made}:latest"
    result = tiffin("manifest", "push", made)
    found, document = raw(first, "lists/app", "latest")
    assert (result.code, result.out.splitlines()[-1]) == (0, found)
    assert "Mounted from team/ours" in result.err
    assert document == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "size": document["manifests"][0]["size"],
                "digest": digests["ours"],
                "platform": {"architecture": MACHINE, "os": "linux"},
            },
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "size": document["manifests"][1]["size"],
                "digest": digests["arm"],
                "platform": {"architecture": "arm", "os": "linux", "variant": "v7"},
            },
        ],
    }
    assert tiffin.ok("manifest", "push", "-q", made) == found
    assert tiffin.ok("pull", "-q", "--platform", "linux/arm/v7", made)
    assert tiffin.ok("manifest", "rm", made) == ""
    assert tiffin.ok("manifest", "inspect", made).startswith('{\n   "schemaVersion": 2,')


def test_members_of_another_registry(
    tiffin: Runner, first: RegistryServer, second: RegistryServer, digests: dict[str, str]
) -> None:
    made = f"{second.host}/app:1"
    tiffin.ok("manifest", "create", made, f"{first.host}/team/ours:1", f"{first.host}/team/arm-docker:1")
    assert tiffin("manifest", "push", made) == (
        1,
        "",
        f"tiffin: {first.host}/team/ours:1 is in another registry than {second.host}\n--all copies it there\n",
    )
    found = tiffin.ok("manifest", "push", "-q", "--all", "-p", made)
    assert raw(second, "app")[0] == found
    for name in ("ours", "arm-docker"):
        assert raw(second, "app", digests[name])[0] == digests[name]
    assert raw(second, "app")[1]["mediaType"] == OCI_INDEX
    # Everything is there: a copy finds all blobs, and verifies them.
    assert tiffin.ok("image", "copy", "-q", "--all", f"docker://{made}", f"dir:{tiffin.root}/all") == found


def test_images_that_are_here(
    tiffin: Runner, first: RegistryServer, second: RegistryServer, digests: dict[str, str]
) -> None:
    tiffin.ok("pull", "-q", f"{first.host}/team/ours:1")
    tiffin.ok("tag", f"{first.host}/team/ours:1", "local:1")
    made = f"{second.host}/here:1"
    tiffin.ok("manifest", "create", made, "local:1")
    found = tiffin.ok("manifest", "push", "-q", "-p", made)
    assert [each["digest"] for each in raw(second, "here")[1]["manifests"]] == [digests["ours"]]
    assert tiffin.ok("image", "copy", "-q", "--all", f"docker://{made}", f"dir:{tiffin.root}/all") == found
    tiffin.ok("import", "-", "own:1", input=LAYER)
    assert tiffin("manifest", "create", made, "own:1") == (
        1,
        "",
        "tiffin: the image own:1 has no manifest: it was neither pulled nor pushed\n"
        "push it, then name what was pushed\n",
    )
    assert tiffin("manifest", "create", made, "nothing:1") == (1, "", "tiffin: no such manifest: nothing:1\n")


def test_a_member_that_is_gone(tiffin: Runner, second: RegistryServer, first: RegistryServer) -> None:
    source = f"{second.host}/gone:1"
    layout = Layout()
    image = layout.image((UPPER,), pack="gzip")
    layout.top(image).write(Path(tiffin.root) / "layout")
    tiffin.ok("image", "copy", f"oci:{tiffin.root}/layout", f"docker://{source}")
    tiffin.ok("manifest", "create", f"{second.host}/gone:list", source)
    with Registries(Settings()) as client:
        client.delete_manifest(Repository(host=second.host, path="gone"), str(image["digest"]))
    assert tiffin("manifest", "push", f"{second.host}/gone:list") == (
        1, "", f"tiffin: {source} is not in {second.host}/gone any more\n",
    )  # fmt: skip


def test_a_damaged_list(tiffin: Runner, first: RegistryServer, digests: dict[str, str]) -> None:
    made = f"{first.host}/damaged:1"
    tiffin.ok("manifest", "create", made, f"{first.host}/team/ours:1")
    (file,) = Path(tiffin.root, "manifests").iterdir()
    whole = file.read_text()
    for text in (whole.replace("diff", "fiff").replace(digest(LAYER), digest(UPPER)).replace('gzip\\"', 'zip\\"'), "{"):
        file.write_text(text)
        assert tiffin("manifest", "inspect", made) == (
            1,
            "",
            f"tiffin: the manifest list '{made}' is damaged\n`tiffin manifest rm {made}`, and make it again\n",
        )
    assert tiffin.ok("manifest", "rm", made) == ""


def test_names_that_say_no_registry(tiffin: Runner, first: RegistryServer, digests: dict[str, str]) -> None:
    tiffin.ok("manifest", "create", "short", f"{first.host}/team/ours:1")
    assert tiffin("manifest", "push", "short") == (
        1, "", "tiffin: cannot push 'short': the name says no registry\nmake the list as HOST/NAME[:TAG]\n",
    )  # fmt: skip
    assert tiffin("manifest", "create", f"short@{digests['ours']}", "x").err.startswith("tiffin: cannot tag with")
    assert tiffin("manifest", "inspect", "--insecure", "short") == (
        125,
        "",
        "tiffin: --insecure is not supported yet: registries.toml says which registries are insecure\n",
    )
