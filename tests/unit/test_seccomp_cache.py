"""Seccomp filters on disk: built once, checked on every read, never in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from harness.seccomp_simulator import ALLOW, AUDIT, EPERM, decode, run
from tiffin.errors import UsageError
from tiffin.runtime.security import seccomp
from tiffin.runtime.security.capabilities import ALL, BITS, DEFAULT_MASK
from tiffin.runtime.security.default_profile import default_profile
from tiffin.runtime.security.seccomp import RELEVANT_CAPS, VERSION, load_filter
from tiffin.runtime.security.seccomp_compile import compile_profile
from tiffin.runtime.security.seccomp_profile import parse_profile

# The default policy's programs for x86_64 and aarch64, at the version that follows. When this fails, the policy, the
# tables or the compiler changed: raise VERSION in seccomp.py, then write both new numbers here.
CHECKSUM = 0x714F183D
CHECKSUM_VERSION = 1


def test_the_version_is_raised_when_filters_change() -> None:
    checksum = 0
    for machine in ("x86_64", "aarch64"):
        for caps in (0, DEFAULT_MASK, ALL):
            profile = parse_profile(default_profile(), caps, machine, "6.18.0")
            assert profile is not None
            checksum = zlib.crc32(compile_profile(profile).program, checksum)
    assert (hex(checksum), VERSION) == (hex(CHECKSUM), CHECKSUM_VERSION)


def test_relevant_capabilities_are_those_that_the_policy_asks_about() -> None:
    mentioned = 0
    for rule in default_profile()["syscalls"]:
        for condition in ("includes", "excludes"):
            for name in rule.get(condition, {}).get("caps", ()):
                mentioned |= 1 << BITS[name.removeprefix("CAP_")]
    assert mentioned == RELEVANT_CAPS


def test_the_second_time_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_filter(None, DEFAULT_MASK, str(tmp_path))
    assert first is not None
    files = list((tmp_path / "seccomp").iterdir())
    assert len(files) == 1
    assert files[0].stat().st_mode & 0o777 == 0o600

    def refuse(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(seccomp, "_build", refuse)
    assert load_filter(None, DEFAULT_MASK, str(tmp_path)) == first
    # Capabilities that the policy does not ask about make no other filter.
    assert load_filter("builtin", DEFAULT_MASK & ~1, str(tmp_path)) == first


def test_capabilities_that_matter_make_another_filter(tmp_path: Path) -> None:
    plain = load_filter(None, DEFAULT_MASK, str(tmp_path))
    assert load_filter(None, ALL, str(tmp_path)) != plain
    assert load_filter(None, DEFAULT_MASK, str(tmp_path)) == plain
    assert len(list((tmp_path / "seccomp").iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "longer", "flags", "directory"])
def test_damaged_files_are_rebuilt(tmp_path: Path, damage: str) -> None:
    good = load_filter(None, DEFAULT_MASK, str(tmp_path))
    (file,) = (tmp_path / "seccomp").iterdir()
    data = bytearray(file.read_bytes())
    if damage == "truncated":
        file.write_bytes(data[:-9])
    elif damage == "flipped":
        data[100] ^= 1
        file.write_bytes(data)
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "longer":
        file.write_bytes(data + b"x")
    elif damage == "flags":
        data[4] ^= 1
        file.write_bytes(data)
    else:
        file.unlink()
        file.mkdir()
    assert load_filter(None, DEFAULT_MASK, str(tmp_path)) == good
    if damage != "directory":
        assert load_filter(None, DEFAULT_MASK, str(tmp_path)) == good
        assert file.stat().st_size > 1000
    assert [entry.name for entry in (tmp_path / "seccomp").iterdir()] == [file.name]


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert load_filter(None, DEFAULT_MASK, str(tmp_path / "file")) == load_filter(None, DEFAULT_MASK, None)


def test_unconfined_is_no_filter(tmp_path: Path) -> None:
    assert load_filter("unconfined", DEFAULT_MASK, str(tmp_path)) is None
    assert load_filter("unconfined", DEFAULT_MASK, None) is None


def test_a_profile_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    raw = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount", "frob"], "action": "SCMP_ACT_ERRNO"}]}
    path.write_text(json.dumps(raw))
    loaded = load_filter(str(path), 0, str(tmp_path))
    assert loaded is not None
    assert loaded.unknown == ("frob",)
    machine = os.uname().machine
    mount = {"x86_64": 165, "aarch64": 40}[machine]
    assert run(decode(loaded.program), mount, AUDIT[machine]) == EPERM
    assert run(decode(loaded.program), mount + 1, AUDIT[machine]) == ALLOW
    assert load_filter(str(path), 0, str(tmp_path)) == loaded
    raw["syscalls"] = []
    path.write_text(json.dumps(raw))
    changed = load_filter(str(path), 0, str(tmp_path))
    assert changed is not None
    assert run(decode(changed.program), mount, AUDIT[machine]) == ALLOW
    path.write_text("{}")
    assert load_filter(str(path), 0, str(tmp_path)) is None


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_filter(f"{tmp_path}/none", 0, None)
    assert str(caught.value) == f"cannot read the seccomp profile '{tmp_path}/none': No such file or directory"
    (tmp_path / "bad").write_text("{nope")
    with pytest.raises(UsageError) as caught:
        load_filter(f"{tmp_path}/bad", 0, None)
    assert str(caught.value) == (
        "the seccomp profile is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )


def test_a_cache_hit_imports_nothing_heavy(tmp_path: Path) -> None:
    load_filter(None, DEFAULT_MASK, str(tmp_path))
    code = (
        "import sys; from tiffin.runtime.security import seccomp, capabilities;"
        f"seccomp.load_filter(None, capabilities.DEFAULT_MASK, {str(tmp_path)!r});"
        "print(sorted(name for name in sys.modules if name in ('json', 'hashlib', 're', 'struct', 'typing', 'enum')"
        " or 'seccomp_' in name or 'syscalls' in name or 'bpf' in name))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stdout == "[]\n"


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
