"""Filters of `ps`, `images` and `volume ls`: what fits, and what is refused in Docker's words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.docker_peer import DockerPeer
    from integration.conftest import Runner


def test_ps(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "--name", "base", "-v", "data:/d", busybox, "touch", "/new")
    tiffin.ok("commit", "--change", "EXPOSE 80 53/udp", "base", "child")
    tiffin.ok("create", "--name", "child", "-l", "a=b", "child", "true")
    tiffin("run", "--name", "failed", busybox, "sh", "-c", "exit 3")
    everything = "failed child base"
    for condition, names in (
        ("health=none", everything), ("health=healthy", ""), ("is-task=false", everything), ("is-task=true", ""),
        ("expose=80", "child"), ("expose=80/tcp", "child"), ("expose=50-60/udp", "child"), ("expose=53", ""),
        ("publish=80", ""), ("isolation=default", everything), ("network=none", everything), ("network=x", ""),
        ("volume=data", "base"), ("volume=/d", "base"), ("status=dead", ""), ("status=restarting", ""),
        ("ancestor=busybox", everything), ("ancestor=child", "child"), ("ancestor=nosuch", ""), ("exited=3", "failed"),
        ("exited=-1", ""), ("label=a", "child"), ("name=^ch", "child"), ("name=/base", "base"),
    ):  # fmt: skip
        shown = tiffin.ok("ps", "-a", "-f", condition, "--format", "{{.Names}}").split()
        assert " ".join(shown) == names, condition
    # Several of one name are alternatives, of several names all must fit.
    shown = tiffin.ok("ps", "-af", "name=base", "-f", "name=child", "-f", "label=a", "--format", "{{.Names}}")
    assert shown == "child"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("ps -f foo=bar", "invalid filter 'foo'"),
        ("ps -f status=foo", "invalid filter 'status=foo'"),
        ("ps -f health=foo", "invalid filter 'health=foo'"),
        ("ps -f exited=x", "invalid filter 'exited=x'"),
        ("ps -f is-task=x", "invalid filter 'is-task=x'"),
        ("ps -f expose=abc", "invalid filter 'expose=abc'"),
        ("ps -f expose=90-80", "invalid filter 'expose=90-80'"),
        ("ps -f publish=80/foo", "invalid filter 'publish=80/foo'"),
        ("ps -f publish=99999", "invalid filter 'publish=99999'"),
        ("ps -f before=nosuch", "no such container: nosuch"),
        ("images -f foo=bar", "invalid filter 'foo'"),
        ("images -f dangling=maybe", "invalid filter 'dangling=maybe'"),
        ("images -f until=xx", "invalid filter 'until=xx'"),
        ("images -f before=nosuch", "no such image: nosuch"),
        ("images --tree -q", "--quiet does not go with --tree"),
        ("volume ls -f foo=bar", "invalid filter 'foo'"),
        ("volume ls -f dangling=x", "invalid filter 'dangling=x'"),
        ("volume prune -f --filter all=x", "invalid filter 'all=x'"),
    ],
)
def test_refusals(tiffin: Runner, busybox: str, words: str, message: str) -> None:
    result = tiffin(*words.split())
    assert result.code in (1, 125) and result.out == ""
    assert result.err.splitlines()[0] == f"tiffin: {message}"


def test_how_many(tiffin: Runner, busybox: str) -> None:
    for name in ("aa", "bb"):
        tiffin.ok("create", "--name", name, busybox, "true")
    for words, names in (
        ("-n 1", "bb"), ("-n 5", "bb aa"), ("-n 0", ""), ("-n -1", ""), ("-l", "bb"), ("-a", "bb aa"),
    ):  # fmt: skip
        shown = tiffin.ok("ps", *words.split(), "--format", "{{.Names}}").split()
        assert " ".join(shown) == names, words


def test_quiet_wins_over_a_format(tiffin: Runner, busybox: str) -> None:
    container = tiffin.ok("create", busybox, "true")
    assert tiffin("ps", "-aq", "--format", "x") == (
        0,
        f"{container[:12]}\n",
        "WARNING: Ignoring custom format, because both --format and --quiet are set.\n",
    )


def test_sizes(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "--name", "cc", busybox, "dd", "if=/dev/zero", "of=/f", "bs=100000", "count=10")
    shown = tiffin.ok("ps", "-as", "--format", "{{.Size}}")
    assert re.fullmatch(r"1\.0\dMB \(virtual \d\.\d+MB\)", shown), shown


def test_like_docker(docker: DockerPeer, tiffin: Runner, busybox: str) -> None:
    for engine in (docker, tiffin):
        engine.ok("create", "--name", "web", "--network", "none", "-l", "a=b", "-v", "data:/d", busybox, "true")
        engine.ok("create", "--name", "db", "--network", "none", busybox, "true")
    for condition in (
        "name=web", "label=a", "label=a=b", "label=zz", "status=created", "status=exited", "health=none",
        "is-task=false", "is-task=true", "expose=80", "publish=80", "network=none", "volume=data", "volume=/d",
        "ancestor=busybox", "before=db", "since=web", "isolation=default", "id=zz", "exited=1",
    ):  # fmt: skip
        words = ("ps", "-a", "-f", condition, "--format", "{{.Names}} {{.LocalVolumes}} {{.Networks}} {{.State}}")
        assert tiffin.ok(*words) == docker.ok(*words), condition
    docker.ok("rm", "web", "db")


def test_what_prune_leaves(tiffin: Runner, busybox: str) -> None:
    for name, label in (("kept", "keep=1"), ("old", "team=a"), ("other", "team=b")):
        tiffin.ok("create", "--name", name, "--label", label, busybox, "true")

    def names() -> list[str]:
        return sorted(tiffin.ok("ps", "-a", "--format", "{{.Names}}").split())

    assert tiffin.ok("container", "prune", "-f", "--filter", "until=1h") == "Nothing to remove."
    tiffin.ok("container", "prune", "-f", "--filter", "label=team=a", "--filter", "label!=keep")
    assert names() == ["kept", "other"]
    tiffin.ok("system", "prune", "-f", "--filter", "label!=keep", "--filter", "until=0s")
    assert names() == ["kept"]
    tiffin.ok("rm", "kept")
    tiffin.ok("image", "prune", "-af", "--filter", "label=none")
    assert tiffin.ok("images", "-q")
    tiffin.ok("image", "prune", "-af", "--filter", "until=0s")
    assert not tiffin.ok("images", "-q")
    assert tiffin("container", "prune", "-f", "--filter", "until=soon").code == 1
    assert tiffin("system", "prune", "-f", "--volumes", "--filter", "until=1h") == (
        1, "", 'tiffin: The "until" filter is not supported with "--volumes"\n',
    )  # fmt: skip
