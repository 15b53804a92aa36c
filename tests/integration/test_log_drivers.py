"""Where output goes: json-file as Docker writes it, the journal, syslog, nowhere; full disks and floods."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin as library

if TYPE_CHECKING:
    from integration.conftest import Runner

# What Docker 20.10 wrote for the same program, without the times.
ODD = r"""printf 'a\tb<>&"\\ \377\342\200\250 \001 \303\251\r\nhalf'; echo err >&2"""
ODD_LINES = [
    r"""{"log":"a\u0009b\u003c\u003e\u0026\"\\ \ufffd\u2028 \u0001 é\r\n","stream":"stdout","attrs":"""
    r"""{"C":"3","a":"1","b":"x y","tag":"j1/%s"},"time":"T"}""",
    r"""{"log":"err\n","stream":"stderr","attrs":{"C":"3","a":"1","b":"x y","tag":"j1/%s"},"time":"T"}""",
    r"""{"log":"half","stream":"stdout","attrs":{"C":"3","a":"1","b":"x y","tag":"j1/%s"},"time":"T"}""",
]
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A datagram socket at tmp_path/socket, as the journal and a local syslog have one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        server.settimeout(20)
        yield server


def test_json_file_is_dockers(tiffin: Runner, engine: library.Engine, busybox: str) -> None:
    options = ["-l", "a=1", "-l", "b=x y", "-l", "c=not chosen", "-e", "C=3"]
    for option in ("labels=a,b,missing", "env=C", "tag={{.Name}}/{{.ID}}"):
        options += ["--log-opt", option]
    run = tiffin("run", "--name", "j1", "--log-driver", "json-file", *options, busybox, "sh", "-c", ODD)
    assert run.code == 0 and run.err == "err\n"
    container = engine.container("j1").container
    path = f"{engine.root}/containers/{container.id}/{container.id}-json.log"
    assert tiffin.ok("inspect", "-f", "{{.LogPath}} {{.HostConfig.LogConfig.Type}}", "j1") == f"{path} json-file"
    with open(path, encoding="utf-8") as file:
        lines = [re.sub(f'"time":"{MOMENT}"', '"time":"T"', line.rstrip("\n")) for line in file]
    assert sorted(lines) == sorted(line % container.id[:12] for line in ODD_LINES)
    shown = tiffin.binary("logs", "j1")
    assert shown.stdout == 'a\tb<>&"\\ \ufffd\u2028 \x01 é\r\nhalf'.encode() and shown.stderr == b"err\n"
    details = tiffin("logs", "--details", "-t", "j1")
    told = rf"C=3,a=1,b=x\+y,tag=j1%2F{container.id[:12]}"
    assert re.fullmatch(rf"{MOMENT} {told} a\tb.*\n{MOMENT} {told} half", details.out.replace("\r", ""))
    assert tiffin.ok("logs", "-n", "1", "j1") == "half"


def test_json_file_rotates_under_dockers_names(tiffin: Runner, engine: library.Engine, busybox: str) -> None:
    options = ("--log-driver", "json-file", "--log-opt", "max-size=8k", "--log-opt", "max-file=3")
    tiffin.ok(
        "run",
        "--name",
        "r1",
        *options,
        busybox,
        "sh",
        "-c",
        "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); done",
    )
    container_id = engine.container("r1").container.id
    directory = Path(engine.root, "containers", container_id)
    names = sorted(path.name for path in directory.glob("*-json.log*"))
    assert names == [f"{container_id}-json.log{suffix}" for suffix in ("", ".1", ".2")]
    for path in directory.glob("*-json.log*"):
        assert path.stat().st_size <= 8192
        for line in path.read_text().splitlines():
            assert set(json.loads(line)) == {"log", "stream", "time"}
    kept = tiffin.ok("logs", "r1").splitlines()
    assert kept == [f"line {number}" for number in range(400 - len(kept), 400)] and len(kept) > 200
    assert tiffin.ok("logs", "-n", "150", "r1").splitlines() == kept[-150:]


def test_follow_over_rotations_since_and_until(tiffin: Runner, busybox: str) -> None:
    script = "i=0; while [ $i -lt 600 ]; do echo $i; [ $((i % 60)) = 0 ] && sleep 0.1; i=$((i+1)); done"
    options = ("--log-driver", "json-file", "--log-opt", "max-size=16k", "--log-opt", "max-file=5")
    tiffin.ok("run", "-d", "--name", "f1", *options, busybox, "sh", "-c", script)
    assert tiffin.ok("logs", "-f", "f1").splitlines() == [str(number) for number in range(600)]
    stamps = [line.split()[0] for line in tiffin.ok("logs", "-t", "f1").splitlines()]
    since = tiffin.ok("logs", "--since", stamps[300], "f1").splitlines()
    assert since[-1] == "599" and int(since[0]) <= 300
    until = tiffin.ok("logs", "--until", stamps[300], "f1").splitlines()
    assert until[0] == "0" and int(until[-1]) >= 300


def test_long_lines_come_back_whole(tiffin: Runner, busybox: str) -> None:
    script = "head -c 50000 /dev/zero | tr '\\0' x; echo; head -c 20000 /dev/zero | tr '\\0' '\\1'; echo end"
    tiffin.ok("run", "--name", "l1", "--log-driver", "json-file", busybox, "sh", "-c", script)
    assert tiffin.ok("logs", "l1") == "x" * 50000 + "\n" + "\1" * 20000 + "end"
    assert tiffin.ok("logs", "-n", "1", "l1") == "\1" * 20000 + "end"


def test_local_is_a_name_for_our_own_format(tiffin: Runner, busybox: str) -> None:
    tiffin.ok(
        "run", "--name", "c1", "--log-driver", "local", "-l", "a=b", "--log-opt", "labels=a", busybox, "echo", "hi"
    )
    assert tiffin.ok("logs", "--details", "c1") == "a=b hi"
    path = tiffin.ok("inspect", "-f", "{{.LogPath}}", "c1")
    assert re.fullmatch(rf"{MOMENT} stdout F hi\n", Path(path).read_text())


def parse_journal(datagram: bytes) -> dict[str, bytes]:
    """The native protocol: NAME=value, or NAME, eight bytes of length and the value."""
    fields = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[9 + size :]
        fields[name.decode()] = value
        datagram = rest
    return fields


def test_journald(tiffin: Runner, engine: library.Engine, busybox: str, listener: socket.socket) -> None:
    address = f"unix://{listener.getsockname()}"
    options = ["--log-driver", "journald", "-e", "A-b=two\nlines"]
    for option in (f"journald-address={address}", "env=A-b", "tag=mine"):
        options += ["--log-opt", option]
    script = "echo out; echo; sleep 0.1; echo err >&2; sleep 0.1; head -c 20000 /dev/zero | tr '\\0' x; echo"
    tiffin.ok("run", "--name", "j1", *options, busybox, "sh", "-c", script)
    container_id = engine.container("j1").container.id
    found = [parse_journal(listener.recv(1 << 17)) for _ in range(5)]
    common = {
        "CONTAINER_ID": container_id[:12].encode(),
        "CONTAINER_ID_FULL": container_id.encode(),
        "CONTAINER_NAME": b"j1",
        "CONTAINER_TAG": b"mine",
        "IMAGE_NAME": b"busybox",
        "SYSLOG_IDENTIFIER": b"mine",
        "A_B": b"two\nlines",
    }
    out, err = {**common, "PRIORITY": b"6"}, {**common, "PRIORITY": b"3"}
    assert found == [
        {**out, "MESSAGE": b"out"},
        {**out, "MESSAGE": b""},
        {**err, "MESSAGE": b"err"},
        {**out, "MESSAGE": b"x" * 16384, "CONTAINER_PARTIAL_MESSAGE": b"true"},
        {**out, "MESSAGE": b"x" * (20000 - 16384)},
    ]
    # As Docker's dual logging: a copy is kept for `logs`, which `inspect` does not speak of.
    assert tiffin.ok("logs", "j1").splitlines() == ["out", "", "x" * 20000]
    assert tiffin.ok("inspect", "-f", "{{.LogPath}}", "j1") == ""


def test_a_log_without_a_copy_cannot_be_read(tiffin: Runner, busybox: str, listener: socket.socket) -> None:
    options = ("--log-opt", f"journald-address=unix://{listener.getsockname()}", "--log-opt", "cache-disabled=true")
    tiffin.ok("run", "--name", "j1", "--log-driver", "journald", *options, busybox, "echo", "hi")
    assert parse_journal(listener.recv(1 << 17))["MESSAGE"] == b"hi"
    tiffin.ok("run", "--name", "n1", "--log-driver", "none", busybox, "echo", "hi")
    for name in ("j1", "n1"):
        result = tiffin("logs", name)
        assert result.code == 1 and "configured logging driver does not support reading" in result.err


SYSLOG = [
    ("", r"<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d NAME\[\d+\]: hi\n"),
    ("rfc3164", r"<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d HOST NAME\[\d+\]: hi\n"),
    ("rfc5424", r"<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d) HOST NAME \d+ NAME - hi\n"),
    ("rfc5424micro", r"<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d) HOST NAME \d+ NAME - hi\n"),
]


@pytest.mark.parametrize(("form", "expected"), SYSLOG)
def test_syslog_formats(tiffin: Runner, busybox: str, listener: socket.socket, form: str, expected: str) -> None:
    options = ["--log-opt", f"syslog-address=unixgram://{listener.getsockname()}", "--log-opt", "tag=NAME"]
    if form:
        options += ["--log-opt", f"syslog-format={form}"]
    tiffin.ok("run", "--rm", "--log-driver", "syslog", *options, busybox, "sh", "-c", "echo; echo hi")
    message = listener.recv(1 << 16).decode()
    assert re.fullmatch(expected.replace("HOST", re.escape(os.uname().nodename)), message), message


def test_syslog_over_udp_and_tcp(tiffin: Runner, busybox: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.create_server(("127.0.0.1", 0)) as tcp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(20)
        tcp.settimeout(20)
        script = "echo one; sleep 0.2; echo two >&2"
        for server, scheme in ((udp, "udp"), (tcp, "tcp")):
            address = f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
            options = ("--log-opt", f"syslog-address={address}", "--log-opt", "syslog-facility=local3")
            tiffin.ok("run", "--rm", "--log-driver", "syslog", *options, busybox, "sh", "-c", script)
        assert [udp.recv(1 << 16).split(b">")[0] for _ in range(2)] == [b"<158", b"<155"]
        connection, _ = tcp.accept()
        with connection, connection.makefile("rb") as lines:
            received = lines.read().splitlines()
        assert [line.rpartition(b": ")[2] for line in received] == [b"one", b"two"]


def test_a_reader_that_comes_back_is_told_what_it_missed(
    tiffin: Runner, busybox: str, tmp_path: Path, listener: socket.socket
) -> None:
    path = listener.getsockname()
    options = ("--log-driver", "syslog", "--log-opt", f"syslog-address=unixgram://{path}", "--log-opt", "tag=t")
    script = (
        "echo first; while [ ! -e /tmp/a ]; do sleep 0.05; done; echo lost; echo lost; touch /tmp/b; "
        "while [ ! -e /tmp/c ]; do sleep 0.05; done; sleep 1.2; echo back; sleep 100"
    )
    tiffin.ok("run", "-d", "--name", "s1", *options, busybox, "sh", "-c", script)
    assert listener.recv(1000).endswith(b": first\n")
    os.rename(path, f"{path}.gone")
    listener.close()
    tiffin.ok("exec", "s1", "touch", "/tmp/a")
    tiffin.ok("exec", "s1", "sh", "-c", "while [ ! -e /tmp/b ]; do sleep 0.05; done")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(path)
        again.settimeout(20)
        tiffin.ok("exec", "s1", "touch", "/tmp/c")
        assert again.recv(1000).endswith(b"tiffin: 2 lines of output were lost: nobody took them\n")
        assert again.recv(1000).endswith(b": back\n")
    assert tiffin.ok("logs", "s1").splitlines() == ["first", "lost", "lost", "back"]
    tiffin.ok("rm", "-f", "s1")


def test_a_reader_that_sleeps_holds_nobody_up_for_long(tiffin: Runner, busybox: str, listener: socket.socket) -> None:
    options = ("--log-opt", f"syslog-address=unixgram://{listener.getsockname()}", "--log-opt", "mode=non-blocking")
    began = time.monotonic()
    tiffin.ok("run", "--rm", "--log-driver", "syslog", *options, busybox, "seq", "20000")
    assert time.monotonic() - began < 15


REFUSALS = [
    (["--log-driver", "nope"], 'error looking up logging plugin nope: plugin "nope" not found'),
    (["--log-driver", "json-file", "--log-opt", "foo=1"], "unknown log opt 'foo' for json-file log driver"),
    (["--log-driver", "syslog", "--log-opt", "foo=1"], "unknown log opt 'foo' for syslog log driver"),
    (["--log-driver", "journald", "--log-opt", "max-size=1m"], "unknown log opt 'max-size' for journald log driver"),
    (["--log-driver", "syslog", "--log-opt", "syslog-facility=x"], "invalid syslog facility"),
    (
        ["--log-driver", "syslog", "--log-opt", "syslog-address=foo"],
        "syslog-address should be in form proto://address, got foo",
    ),
    (
        ["--log-driver", "syslog", "--log-opt", "syslog-address=unix:///nope"],
        "stat /nope: no such file or directory",
    ),
    (["--log-driver", "syslog", "--log-opt", "syslog-format=x"], "Invalid syslog format"),
    (["--log-opt", "mode=x"], "logger: logging mode not supported: x"),
    (
        ["--log-opt", "max-buffer-size=1m"],
        "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
    ),
    (["--log-driver", "none", "--log-opt", "max-size=1m"], "invalid logging opts for driver none"),
    (
        ["--log-driver", "json-file", "--log-opt", "compress=true"],
        "--log-opt compress is not supported yet: rotated logs are kept as they are",
    ),
    (
        ["--log-opt", "tag={{.Nope}}"],
        'template: log-tag:1:2: executing "log-tag" at <.Nope>: can\'t evaluate field Nope in type *logger.Info',
    ),
    (["--log-opt", "tag={{.Nope"], "template: log-tag:1: unclosed action"),
    (
        ["--log-driver", "journald", "--log-opt", "journald-address=unix:///nope"],
        "failed to initialize logging driver: journald is not enabled on this host",
    ),
    (
        ["--log-driver", "syslog", "--log-opt", "syslog-address=tcp://127.0.0.1:9"],
        "failed to initialize logging driver: dial tcp 127.0.0.1:9: connect: connection refused",
    ),
]


@pytest.mark.parametrize(("options", "message"), REFUSALS)
def test_refusals(tiffin: Runner, busybox: str, options: list[str], message: str) -> None:
    result = tiffin("run", "--rm", *options, busybox, "true")
    assert result.code == 125 and result.err.splitlines()[0] == f"tiffin: {message}"
    assert tiffin.ok("ps", "-aq") == ""


FULL = """
mount -t tmpfs -o size=24m,mode=755 tmpfs {root}
{tiffin} import {tar} busybox >/dev/null || exit 90
{tiffin} run -d --name c1 --log-driver {driver} --log-opt max-size=20m busybox sh -c '
  echo before; while [ ! -e /go1 ]; do sleep 0.05; done
  i=0; while [ $i -lt 5000 ]; do echo lost in the full disk $i; i=$((i+1)); done
  while [ ! -e /go2 ]; do sleep 0.05; done
  echo after; exec sleep 100' >/dev/null || exit 91
pid=$({tiffin} inspect -f '{{{{.State.Pid}}}}' c1)
: > /proc/$pid/root/go1.wait
: > /proc/$pid/root/go2.wait
dd if=/dev/zero of={root}/filler bs=64k >/dev/null 2>&1
dd if=/dev/zero of={root}/filler2 bs=512 >/dev/null 2>&1
mv /proc/$pid/root/go1.wait /proc/$pid/root/go1
sleep 1.5
kill -0 $pid || exit 92
rm {root}/filler {root}/filler2
mv /proc/$pid/root/go2.wait /proc/$pid/root/go2
sleep 0.7
{tiffin} logs c1 2>&1
{tiffin} rm -f c1 >/dev/null
umount {root}
"""


@pytest.mark.parametrize("driver", ["cri", "json-file"])
def test_a_full_log_disk_costs_lines_only(tmp_path: Path, busybox_archive: bytes, driver: str) -> None:
    root, tar = tmp_path / "root", tmp_path / "busybox.tar"
    root.mkdir()
    tar.write_bytes(busybox_archive)
    command = f"{sys.executable} -m tiffin --root {root}"
    script = FULL.format(root=root, tiffin=command, tar=tar, driver=driver)
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr + done.stdout
    first, *lost, last = done.stdout.splitlines()
    assert first == "before" and last == "after"
    notes = [re.fullmatch(r"tiffin: (\d+) bytes of output were lost: No space left on device", line) for line in lost]
    kept = [line for line, note in zip(lost, notes, strict=True) if not note]
    said = [f"lost in the full disk {number}" for number in range(5000)]
    # What still fitted is there, whole lines of it and in order; the rest is counted to the byte.
    assert notes[-1] and [line for line in said if line in set(kept)] == kept and len(kept) < 5000
    counted = sum(int(note[1]) for note in notes if note)
    assert counted + sum(len(line) + 1 for line in kept) == sum(len(line) + 1 for line in said)


@pytest.mark.parametrize("driver", ["cri", "json-file"])
def test_a_flood_is_held_by_rotation_and_needs_no_memory(
    tiffin: Runner, engine: library.Engine, busybox: str, driver: str
) -> None:
    tiffin.ok("run", "-d", "--name", "bystander", busybox, "sleep", "100")
    began = time.monotonic()
    script = "yes 'a line of output that is as long as lines are' | head -c 60000000; touch /done; exec sleep 100"
    tiffin.ok("run", "-d", "--name", "flood", "--log-driver", driver, busybox, "sh", "-c", script)
    info = engine.container("flood")
    peak = 0
    while time.monotonic() - began < 60 and not os.path.exists(f"/proc/{info.state.pid}/root/done"):
        status = Path(f"/proc/{info.state.monitor_pid}/status").read_text()
        peak = max(peak, int(status.split("VmRSS:")[1].split()[0]))
        assert tiffin.ok("exec", "bystander", "echo", "here") == "here"
    assert os.path.exists(f"/proc/{info.state.pid}/root/done")
    assert peak < 2048  # KiB
    directory = Path(engine.root, "containers", info.container.id)
    sizes = [path.stat().st_size for path in directory.iterdir() if ".log" in path.name]
    assert len(sizes) == 3 and max(sizes) <= 10_000_000
    for name in ("flood", "bystander"):
        tiffin.ok("rm", "-f", name)
