"""Tables, formats, filters, and the texts in them."""

from __future__ import annotations

import pytest

from tiffin.cli import inspect, listing
from tiffin.cli.go_format import Fields
from tiffin.cli.images import _fits, _split, names
from tiffin.cli.options import parse
from tiffin.cli.ps import PS, command_line, status_text
from tiffin.cli.table import aligned, ellipsis
from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.container import ContainerState
from tiffin.model.image import Image, ImageConfig

HEADINGS = {"ID": "ID NUMBER", "Name": "NAME"}


class Row(Fields):
    type_name = "row"


ROWS = [
    Row(ID="1", Label=lambda key: {"a.b-c": "v"}.get(key, ""), Name="one"),
    Row(ID="22222222", Label=lambda key: "", Name="two"),
]


def show(capsys: pytest.CaptureFixture[str], format: str | None, rows: list[Row] = ROWS) -> str:
    listing.show(format, rows, HEADINGS, ["ID", "Name"])
    return capsys.readouterr().out


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    expected = "ID NUMBER   NAME\n1           one\n22222222    two\n"
    assert show(capsys, None) == expected
    assert show(capsys, "table") == expected
    assert show(capsys, None, []) == "ID NUMBER   NAME\n"


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(capsys, "json") == '{"ID":"1","Name":"one"}\n{"ID":"22222222","Name":"two"}\n'


def test_templates(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(capsys, "{{.Name}}\\t{{.ID}}") == "one\t1\ntwo\t22222222\n"
    assert show(capsys, "table {{.Name}}\\t{{upper .ID}}") == "NAME      ID NUMBER\none       1\ntwo       22222222\n"
    assert (
        show(capsys, 'table {{.Label "a.b-c"}}\\t{{.ID}}') == "b c       ID NUMBER\nv         1\n          22222222\n"
    )
    assert show(capsys, "{{json .}}") == '{"ID":"1","Name":"one"}\n{"ID":"22222222","Name":"two"}\n'


def test_template_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as caught:
        show(capsys, "{{.Foo}}")
    assert caught.value.message == (
        'template parsing error: template: :1:2: executing "" at <.Foo>: can\'t evaluate field Foo in type row'
    )
    assert caught.value.hint == "The fields are ID, Label, Name."


def test_columns_are_three_spaces_apart_and_ten_wide() -> None:
    assert aligned([["A", "B"], ["long text here", "b"]]) == ["A                B", "long text here   b"]
    assert aligned([["A", "B"]]) == ["A         B"]
    assert aligned([["漢字", "x"], ["abcd", "y"]]) == ["漢字      x", "abcd      y"]


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 10, "short"),
        ("exactly 10", 10, "exactly 10"),
        ("more than 10", 10, "more than…"),
        ("漢字漢字", 5, "漢字…"),
    ],
)
def test_ellipsis(text: str, limit: int, expected: str) -> None:
    assert ellipsis(text, limit) == expected


S = 1_000_000_000


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (ContainerState(status="created"), "Created"),
        (ContainerState(status="running", started_ns=0), "Up 2 hours"),
        (ContainerState(status="exited", exit_code=137, finished_ns=7195 * S), "Exited (137) 5 seconds ago"),
        (ContainerState(status="removing"), "Removal In Progress"),
    ],
)
def test_status(state: ContainerState, text: str) -> None:
    assert status_text(state, 7200 * S) == text


def test_filters() -> None:
    parsed = parse(PS, ["-f", "name=a", "--filter", "name=b", "-f", "label=x=1"])
    assert listing.parse_filters(parsed, ["name", "label"]) == {"name": ["a", "b"], "label": ["x=1"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo=1", "invalid filter 'foo'"),
        ("foo", 'invalid argument "foo" for "-f, --filter": bad format of filter (expected name=value)'),
    ],
)
def test_bad_filters(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        listing.parse_filters(parse(PS, ["-f", text]), ["name", "label"])
    assert caught.value.message == message


def test_absent_filters() -> None:
    with pytest.raises(NotSupportedError) as caught:
        listing.parse_filters(parse(PS, ["-f", "health=x"]), ["name"], {"health": "no checks"})
    assert caught.value.message == "--filter health is not supported yet: no checks"


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [(["a"], True), (["a=1"], True), (["a=2"], False), (["a", "b"], False), (["a=1", "c"], True), ([], True)],
)
def test_labels(wanted: list[str], fits: bool) -> None:
    assert listing.labels_match(wanted, {"a": "1", "c": ""}) is fits


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("debian:bookworm", ("debian", "bookworm")),
        ("localhost:5000/team/app:1", ("localhost:5000/team/app", "1")),
        ("", ("<none>", "<none>")),
        ("debian@sha256:" + "0" * 64, ("debian", "<none>")),
    ],
)
def test_image_names(name: str, shown: tuple[str, str]) -> None:
    assert _split(name) == shown


def test_lines_of_an_image() -> None:
    image = Image(
        id="sha256:" + "1" * 64, created_ns=1, architecture="amd64", os="linux", size_bytes=1, layers=(),
        config=ImageConfig(), raw_config=b"{}",
    )  # fmt: skip
    assert names(image) == ("",)
    assert names(image.replace(names=("a:1", "b:2"), digests=("a@sha256:x", "c@sha256:y"))) == (
        "a:1",
        "b:2",
        "c@sha256:y",
    )


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("debian", "debian:12", True),
        ("debian:1*", "debian:12", True),
        ("debian:11", "debian:12", False),
        ("deb*", "debian:12", True),
        ("*", "team/app:1", False),
        ("*/app", "team/app:1", True),
        ("localhost:5000/app", "localhost:5000/app:1", True),
    ],
)
def test_reference_patterns(pattern: str, name: str, fits: bool) -> None:
    assert _fits(pattern, name) is fits


def test_inspected_objects_are_structs_except_maps() -> None:
    facts = inspect.structured(
        {"State": {"Status": "x"}, "Config": {"Labels": {"a": "1"}}, "Mounts": [{"Source": "/a"}]}
    )
    assert (
        listing.render_one("{{.State.Status}} {{.Config.Labels.a}} {{.Config.Labels.zz}}", facts) == "x 1 <no value>\n"
    )
    assert listing.render_one("{{range .Mounts}}{{.Source}}{{end}}", facts) == "/a\n"
    assert listing.render_one("json", facts["State"]) == '{"Status":"x"}\n'
    # How scripts ask whether there is a health check.
    assert listing.render_one("{{if .State.Health}}checked{{end}}{{json .State.Health}}", facts) == "null\n"
    with pytest.raises(UsageError) as caught:
        listing.render_one("{{.State.Foo}}", facts)
    assert caught.value.message == (
        'template parsing error: template: :1:8: executing "" at <.State.Foo>: map has no entry for key "Foo"'
    )


def test_a_command_is_shown_as_docker_shows_it() -> None:
    assert command_line(("sh", "-c", "echo a; echo b", "x")) == "sh -c 'echo a; echo b' x"
    assert command_line(("/a b",)) == "/a b"
