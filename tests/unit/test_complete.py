"""What a word may become, without a shell: the scripts are tested with real ones."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from tiffin.cli import commands
from tiffin.cli.complete import DIRECTORIES, NO_FILES, NO_SPACE, choices_of, complete
from tiffin.cli.main import main
from tiffin.state.schema import SCHEMA, VERSION


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Containers web and web-old, of which none runs; an image with two names; a volume; a list of manifests."""
    database = sqlite3.connect(tmp_path / "state.db")
    database.executescript(SCHEMA)
    for number, name in enumerate(("web-old", "web", "db")):
        database.execute(
            "INSERT INTO containers VALUES (?, ?, 'i', 1, ?, ?)",
            (f"{number}" * 64, name, int(name == "db"), '{"image_name": "debian:bookworm"}'),
        )
    database.execute("INSERT INTO images VALUES ('i', '', 1, '', '', '', 1, 1)")
    database.executemany("INSERT INTO tags VALUES (?, 'i', 1)", [("debian:bookworm",), ("debian:latest",)])
    database.execute("INSERT INTO volumes VALUES ('data', 1, 0, 1, '{}')")
    database.execute(f"PRAGMA user_version={VERSION}")
    database.commit()
    database.close()
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "a.json").write_text('{"name": "registry.example/app:1"}')
    (tmp_path / "manifests" / "b.json").write_text("damaged")
    os.chmod(tmp_path, 0o755)
    monkeypatch.setenv("TIFFIN_ROOT", str(tmp_path))
    return tmp_path


def words(line: str) -> tuple[list[str], int]:
    """The candidates for the last word of `line`; a blank at its end begins a new one."""
    found, flags = complete(line.split(" "))
    return [word for word, _ in found], flags


@pytest.mark.parametrize(
    ("line", "found", "flags"),
    [
        ("ru", ["run"], NO_FILES),
        ("help imp", ["import"], NO_FILES),
        ("volume in", ["inspect"], NO_FILES),
        ("nosuch ", [], NO_FILES),
        ("container nosuch ", [], NO_FILES),
        ("--roo", ["--root"], NO_FILES),
        ("--root ", [], DIRECTORIES),
        ("rm ", ["web", "web-old"], NO_FILES),
        ("rm web ", ["web-old"], NO_FILES),
        ("rm -f web-", ["web-old"], NO_FILES),
        ("container rm web-", ["web-old"], NO_FILES),
        ("stop ", [], NO_FILES),
        ("container stop ", [], NO_FILES),
        ("unpause ", [], NO_FILES),
        ("start web-", ["web-old"], NO_FILES),
        ("rename web ", [], NO_FILES),
        ("rmi debian:b", ["debian:bookworm"], NO_FILES),
        ("image rm debian:b", ["debian:bookworm"], NO_FILES),
        ("run -it --rm debian:l", ["debian:latest"], NO_FILES),
        ("run -v data:/x debian:l", ["debian:latest"], NO_FILES),
        ("run debian:latest ", [], 0),
        ("run debian:latest ls -", [], 0),
        ("run -v da", ["data:"], NO_SPACE),
        ("run -v /et", [], 0),
        ("run --network ", ["none", "host", "container:", "ns:"], NO_FILES),
        ("run --network=h", ["--network=host"], NO_FILES),
        ("run --net=h", ["--net=host"], NO_FILES),
        ("run --cap-drop=net_r", ["--cap-drop=NET_RAW"], NO_FILES),
        ("run --ulimit nof", ["nofile="], NO_FILES | NO_SPACE),
        ("run --volumes-from web-", ["web-old"], NO_FILES),
        ("run --env-file ", [], 0),
        ("run --rm=f", ["--rm=false"], NO_FILES),
        ("run --nosuch=f", [], NO_FILES),
        ("run -u ", [], NO_FILES),
        ("kill -s US", ["USR1", "USR2"], NO_FILES),
        ("kill --signal=US", ["--signal=USR1", "--signal=USR2"], NO_FILES),
        ("volume rm ", ["data"], NO_FILES),
        ("volume create ", [], NO_FILES),
        ("inspect ", ["web", "web-old", "debian:bookworm", "debian:latest", "data"], NO_FILES),
        ("inspect -- we", ["web", "web-old"], NO_FILES),
        ("cp we", ["web:", "web-old:"], NO_SPACE),
        ("cp web:/etc", [], 0),
        ("cp web:/etc ", [], 0),
        ("cp ./a we", ["web:", "web-old:"], NO_SPACE),
        ("image copy oc", ["oci:", "oci-archive:"], NO_FILES | NO_SPACE),
        ("image copy oci:", [], 0),
        ("image copy oci:a do", ["docker://", "docker-archive:"], NO_FILES | NO_SPACE),
        ("manifest rm ", ["registry.example/app:1"], NO_FILES),
        ("manifest inspect regi", ["registry.example/app:1"], NO_FILES),
        ("manifest create new debian:l", ["debian:latest"], NO_FILES),
        ("import ", [], 0),
        ("load -i ", [], 0),
        ("completion z", ["zsh"], NO_FILES),
        ("info ", [], NO_FILES),
        ("pause", ["pause"], NO_FILES),
    ],
)
def test_candidates(line: str, found: list[str], flags: int, store: Path) -> None:
    assert words(line) == (found, flags)


def test_dash_lists_every_option_with_its_help(store: Path) -> None:
    found = dict(complete(["stop", "-"])[0])
    options = commands.load(commands.VERBS["stop"]).options
    assert found == {
        **{f"--{option.name}": option.help for option in options},
        **{f"-{option.short}": option.help for option in options if option.short},
        "--help": "Show what it does and how",
    }


def test_hidden_verbs_stay_hidden(store: Path) -> None:
    found, _ = words("")
    assert "run" in found and "container" in found
    assert not {"cleanup", "__complete"} & set(found)


@pytest.mark.parametrize(
    ("word", "choices"),
    [
        ("none|host", ["none", "host"]),
        ("no|always|on-failure[:max]|unless-stopped", ["no", "always", "on-failure", "unless-stopped"]),
        ("host|private|container:NAME", ["host", "private", "container:NAME"]),
        ("name|uid[:group|gid]", []),
        ("dir[:options]", []),
        ("local", ["local"]),
        ("name", []),
        ("", []),
    ],
)
def test_choices(word: str, choices: list[str]) -> None:
    assert choices_of(word) == choices


def _says(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["__complete", "--", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_nothing_is_made_and_nothing_complains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TIFFIN_ROOT", str(tmp_path / "none"))
    assert _says(capsys, "rm", "") == ":4\n"
    assert not (tmp_path / "none").exists()
    (tmp_path / "broken").mkdir(mode=0o755)
    (tmp_path / "broken" / "state.db").write_bytes(b"no database" * 1000)
    assert _says(capsys, "--root", str(tmp_path / "broken"), "rm", "") == ":4\n"
    assert _says(capsys).endswith(":4\n")
    assert os.listdir(tmp_path / "broken") == ["state.db"]


def test_the_output(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _says(capsys, "rm", "web-") == "web-old\tdebian:bookworm\n:4\n"
    assert _says(capsys, "run", "--network", "h") == "host\n:4\n"
