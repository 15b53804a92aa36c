"""Log drivers' options, addresses and formats, without a container."""

from __future__ import annotations

import io
import socket
from pathlib import Path

import pytest

from tiffin.containers import log_drivers, log_json, log_syslog, logs
from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.container import UNLIMITED_LOG_BYTES, Container, ContainerConfig, LogConfig
from tiffin.paths import paths_for

PATHS = paths_for("/store", None)


def container(driver: str = "json-file", tagged: tuple[tuple[str, str], ...] = (), **options: str) -> Container:
    given = tuple((name.replace("_", "-"), value) for name, value in options.items())
    return Container(
        id="0123456789abcdef" * 4, name="web", image_id="sha256:" + "fe" * 32, image_name="busybox:latest",
        driver="overlay", created_ns=0,
        config=ContainerConfig(image="busybox", log=LogConfig(driver=driver, options=given)),
        argv=("sh", "-c", "x"), env=("A=1", "B=2=3", "C"), workdir="/", user="", hostname="h", stop_signal=15,
        stop_timeout_s=10, labels=tagged,
    )  # fmt: skip


def test_json_lines() -> None:
    raw = b'{"log":"a\\u0009\\ufffd\\n","stream":"stderr","attrs":{"b":"2","a":"1"},"time":"2026-01-01T00:00:00.12Z"}\n'
    line = log_json.parse(raw)
    assert line == logs.LogLine(
        timestamp="2026-01-01T00:00:00.120000000Z",
        stream="stderr",
        data="a\t\ufffd\n".encode(),
        attributes=(("a", "1"), ("b", "2")),
    )
    whole = log_json.parse(b'{"log":"","stream":"stdout","time":"2026-01-01T00:00:00Z"}\n')
    assert whole is not None and whole.timestamp == "2026-01-01T00:00:00.000000000Z"


@pytest.mark.parametrize("bad", [b"", b"\n", b"{", b"[]", b'{"log":"x"}', b'{"log":1,"stream":"stdout","time":"x"}'])
def test_what_is_no_json_line_is_skipped(bad: bytes) -> None:
    assert log_json.parse(bad) is None


@pytest.mark.parametrize(
    ("text", "full"), [("a\n", True), ("a", False), ("a\\n", False), ("a\\\n", True), ('\n","stream":"', False)]
)
def test_whole_json_lines_are_told_from_pieces(text: str, full: bool) -> None:
    import json

    raw = json.dumps({"log": text, "stream": "stdout", "time": "T"}, separators=(",", ":")).encode() + b"\n"
    assert log_json.is_full(raw) is full


def test_tail_of_json() -> None:
    lines = [b'{"log":"%s","stream":"stdout","time":"T"}\n' % text for text in (b"1\\n", b"2", b"3", b"4\\n", b"5\\n")]
    file = io.BytesIO(b"".join(lines))
    logs._seek_tail([file], 2, None, log_json.is_full)  # type: ignore[list-item]
    assert file.read() == b"".join(lines[1:])


def test_attributes() -> None:
    labels = (("a", "1"), ("com.x", "<2>"), ("com.y", "3"))
    chosen = container(tagged=labels, labels_regex="^com", labels="a,none", env="B,C", tag="{{.Name}}-{{ .ImageID }}")
    found = log_drivers.attributes(chosen)
    assert found == {"a": "1", "com.x": "<2>", "com.y": "3", "B": "2=3", "tag": "web-fefefefefefe"}
    assert log_drivers.attributes_json(found) == (
        '{"B":"2=3","a":"1","com.x":"\\u003c2\\u003e","com.y":"3","tag":"web-fefefefefefe"}'
    )
    with pytest.raises(UsageError, match=r"^the regular expression '\(' of env-regex is none: "):
        log_drivers.attributes(container(env_regex="("))


def test_too_much_to_tell() -> None:
    with pytest.raises(UsageError, match=r"^labels and variables for the log are longer than 16384 bytes$"):
        log_drivers.check(container(tagged=(("a", "x" * 17000),), labels="a"))


@pytest.mark.parametrize(
    ("text", "number"), [("kern", 0), ("daemon", 3), ("ftp", 11), ("local0", 16), ("local7", 23), ("23", 23)]
)
def test_facilities(text: str, number: int) -> None:
    assert log_syslog.facility(text) == number


@pytest.mark.parametrize("text", ["local8", "local", "24", "x", "", "local77"])
def test_no_facilities(text: str) -> None:
    with pytest.raises(UsageError, match=r"^invalid syslog facility$"):
        log_syslog.facility(text)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("", ("", "", 0)),
        ("udp://a", ("udp", "a", 514)),
        ("tcp://a:1", ("tcp", "a", 1)),
        ("tcp://[::1]:5", ("tcp", "::1", 5)),
        ("udp://[::1]", ("udp", "::1", 514)),
        ("unixgram:///", ("unixgram", "/", 0)),
    ],
)
def test_addresses(text: str, parsed: tuple[str, str, int]) -> None:
    assert log_syslog.parse_address(text) == parsed


def test_refused_addresses() -> None:
    for text in ("a", "ftp://a", "tcp://a:b", "tcp://a:99999"):
        with pytest.raises(UsageError) as raised:
            log_syslog.parse_address(text)
        assert raised.value.message == f"syslog-address should be in form proto://address, got {text}"
    with pytest.raises(NotSupportedError, match=r"sends no encrypted syslog so far$"):
        log_syslog.parse_address("tcp+tls://a")


def test_what_files_do_not_do() -> None:
    with pytest.raises(NotSupportedError, match=r"^--log-opt mode=non-blocking is not supported yet with logs "):
        log_drivers.check(container(mode="non-blocking"))
    log_drivers.check(container(mode="blocking", compress="false"))


def test_journal_names_and_values() -> None:
    assert log_drivers._journal_key("_a-b.C9é") == "A_B_C9_"
    assert log_drivers._journal_field("A", "b") == b"A=b\n"
    assert log_drivers._journal_field("A", "b\nc") == b"A\n\x03\0\0\0\0\0\0\0b\nc\n"


def test_a_tag_is_one_word_of_one_message(tmp_path: Path) -> None:
    """The image's command may be part of it."""
    hostile = container("syslog", syslog_address=f"unixgram://{tmp_path}/log", tag="{{.Command}}")
    hostile = hostile.replace(argv=("x\n<0>Jan  1 00:00:00 kernel: fire", "\x1b[2J\r\u2028"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"{tmp_path}/log")
        (_, fields, _), _ = log_drivers.operations(PATHS, hostile)[1]
    assert fields[5] == b"x_<0>Jan  1 00:00:00 kernel: fire _[2J__["


def test_labels_do_not_speak_for_others_in_the_journal(tmp_path: Path) -> None:
    names = "message PRIORITY object_pid COREDUMP_UNIT unit container_id com.own _pid".split()
    labels = tuple((name, f"{name}\nUNIT=sshd.service") for name in names)
    chosen = container("journald", labels, labels_regex=".", journald_address=f"unix://{tmp_path}/journal")
    (tmp_path / "journal").touch()
    ((_, fields, _),) = log_drivers.operations(PATHS, chosen)[1]
    head = fields[5]
    assert isinstance(head, bytes)
    own = b"com.own\nUNIT=sshd.service"
    pid = b"_pid\nUNIT=sshd.service"
    assert head.startswith(b"CONTAINER_ID=0123456789ab\n") and head.count(b"CONTAINER_ID=") == 1
    tail = head.partition(b"SYSLOG_IDENTIFIER=0123456789ab\n")[2]
    assert tail == (
        b"COM_OWN\n" + len(own).to_bytes(8, "little") + own + b"\nPID\n" + len(pid).to_bytes(8, "little") + pid + b"\n"
    )


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(1 << 20, "1m"), (20 << 20, "20m"), (1536, "1536"), (1 << 30, "1g"), (8 << 10, "8k"), (UNLIMITED_LOG_BYTES, "-1"),
     (10_000_000, "10000000")],
)  # fmt: skip
def test_sizes_are_shown_as_they_are_asked_for(size_bytes: int, shown: str) -> None:
    log = LogConfig(driver="json-file", max_size_bytes=size_bytes, options=(("tag", "x"),))
    assert log_drivers.shown_options(log) == {"max-size": shown, "max-file": "3", "tag": "x"}
