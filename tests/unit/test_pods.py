"""Pods as records: how they stand, how they are found, and what is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiffin.cli.options import parse
from tiffin.cli.pods import CREATE, share
from tiffin.errors import AmbiguousError, ConflictError, NotFoundError, StoreError
from tiffin.model.container import Container, ContainerConfig, ContainerInfo, ContainerState
from tiffin.model.pod import Pod, PodInfo, pod_from_dict
from tiffin.paths import Paths
from tiffin.pods.membership import member_config
from tiffin.state import pods


def pod(identity: str = "ab", name: str = "web", **options: object) -> Pod:
    values = {"hostname": name, "share": ("ipc", "net", "uts"), "network": "none", "created_ns": 1, **options}
    return Pod(id=(identity * 64)[:64], name=name, **values)


def member(state: ContainerState) -> ContainerInfo:
    container = Container(
        id="cd" * 32, name="one", image_id="", image_name="", driver="", created_ns=1, argv=("x",), env=(), workdir="/",
        config=ContainerConfig(image="x"), user="", hostname="", stop_signal=15, stop_timeout_s=10,
    )  # fmt: skip
    return ContainerInfo(container=container, state=state)


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ("", "Created"),
        ("created created", "Created"),
        ("running running", "Running"),
        ("running created", "Degraded"),
        ("running exited", "Degraded"),
        ("running paused", "Degraded"),
        ("paused paused", "Paused"),
        ("paused exited", "Stopped"),
        ("exited exited", "Exited"),
        ("exited created", "Stopped"),
    ],
)
def test_how_it_stands(states: str, status: str) -> None:
    found = [
        ContainerState(status="running", paused=True) if word == "paused" else ContainerState(status=word)
        for word in states.split()
    ]
    assert PodInfo(pod=pod(), containers=tuple(map(member, found))).status == status


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "pods").mkdir()
    return Paths(root=str(tmp_path), run=str(tmp_path / "run"))


def test_written_and_found(paths: Paths) -> None:
    made = pod(labels=(("a", "b"),))
    assert pod_from_dict(made.to_dict()) == made
    pods.add(paths, made)
    for reference in ("web", made.id, "aba"):
        assert pods.get(paths, reference) == made
    assert pods.all_pods(paths) == [(made, False)]
    for reference in ("we", "abb", "", "g"):
        with pytest.raises(NotFoundError) as missing:
            pods.get(paths, reference)
        assert str(missing.value) == (
            f"no pod with name or ID {reference} found: no such pod (`tiffin pod ps` lists what is here)"
        )
    with pytest.raises(ConflictError):
        pods.check_name_free(paths, "web")
    pods.check_name_free(paths, "other")
    pods.mark_removing(paths, made)
    with pytest.raises(NotFoundError):
        pods.get(paths, "web")
    assert pods.all_pods(paths) == [(made, True)]
    pods.delete(paths, made)
    pods.delete(paths, made)
    assert os.listdir(paths.pods) == []


def test_ambiguous_ids_and_a_name_that_looks_like_one(paths: Paths) -> None:
    pods.add(paths, pod("ab", "one"))
    pods.add(paths, pod("abc", "two"))
    with pytest.raises(AmbiguousError) as caught:
        pods.get(paths, "ab")
    assert str(caught.value) == "'ab' is the beginning of several pod IDs (abababababab, abcabcabcabc)"
    for more in ("abd", "abe"):
        pods.add(paths, pod(more, more * 2))
    with pytest.raises(AmbiguousError) as caught:
        pods.get(paths, "ab")
    assert str(caught.value) == "'ab' is the beginning of several pod IDs (abababababab, abcabcabcabc, abdabdabdabd, …)"
    pods.add(paths, pod("d", "ab"))
    assert pods.get(paths, "ab").name == "ab"


def test_a_damaged_record(paths: Paths) -> None:
    place = f"{paths.pods}/{'ab' * 32}:web"
    os.mkdir(place)
    Path(place, "pod.json").write_text('{"id": ')
    with pytest.raises(StoreError) as caught:
        pods.get(paths, "web")
    assert caught.value.message.startswith("the record of the pod 'web' is damaged: ")
    assert caught.value.hint == f"remove {place}"


def test_what_a_member_gets() -> None:
    config = ContainerConfig(image="x", pod="web")
    found = member_config(pod(network="host"), config)
    assert (found.pod, found.network, found.ipc, found.hostname, found.pid) == (
        pod().id, "host", "shareable", "web", "private",
    )  # fmt: skip
    assert member_config(pod(share=()), config) == config.replace(pod=pod().id)
    assert member_config(pod(share=("pid",)), config).systemd == "false"


@pytest.mark.parametrize(
    ("words", "shared"),
    [
        ((), ("ipc", "net", "uts")),
        (("--share", "none"), ()),
        (("--share", ""), ()),
        (("--share", "net"), ("net",)),
        (("--share", "+pid"), ("ipc", "net", "uts", "pid")),
    ],
)
def test_what_is_shared(words: tuple[str, ...], shared: tuple[str, ...]) -> None:
    assert share(parse(CREATE, words)) == shared
