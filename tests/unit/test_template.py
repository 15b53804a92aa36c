"""Templates: every expectation here was what Docker 28's own `--format` printed for the same data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tiffin.cli.go_format import Fields
from tiffin.cli.template import TemplateError, compile_template


class Row(Fields):
    type_name = "row"


DATA = Row(
    Name="default",
    Endpoints={"docker": Row(Host="unix:///run/x.sock", Skip=False)},
    Labels={"a": "1", "b": "2"},
    None_=None,
    Empty={},
    Ports=["80", "443"],
    Count=3,
    Label=lambda key: {"a": "1"}.get(key, ""),
)


def render(source: str, data: Any = DATA) -> str:
    return compile_template(source).render(data)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{.Name}}", "default"),
        ("a{{.Name}}b", "adefaultb"),
        ("{{.Endpoints.docker.Host}}", "unix:///run/x.sock"),
        ("{{.Endpoints.foo}}", "<no value>"),
        ("{{.Endpoints.nope.x}}", "<no value>"),
        ("{{.Endpoints}}", "map[docker:{unix:///run/x.sock false}]"),
        ("{{.Labels}}", "map[a:1 b:2]"),
        ("{{.Ports}}", "[80 443]"),
        ("{{json .Labels}}", '{"a":"1","b":"2"}'),
        ("{{json .Endpoints}}", '{"docker":{"Host":"unix:///run/x.sock","Skip":false}}'),
        ("{{json .Endpoints.nope}}", "null"),
        ('{{json "a<b>&é"}}', '"a<b>&é"'),
        ('{{index .Labels "a"}}{{index .Labels "zz"}}', "1"),
        ('{{index .Endpoints "zz"}}', "<no value>"),
        ("{{index .Ports 1}}", "443"),
        ('{{(index .Endpoints "docker").Host}}', "unix:///run/x.sock"),
        ('{{.Label "a"}}|{{.Label "z"}}', "1|"),
        ("{{len .Name}}{{len .Ports}}{{len .Labels}}", "722"),
        ('{{slice .Name 1 3}}{{slice "abcdef" 2}}', "efcdef"),
        ("{{truncate .Name 3}}", "def"),
        ("{{pad .Name 2 3}}|", "  default   |"),
        ('{{pad "" 1 1}}|', "|"),
        ('{{split .Name "f"}}', "[de ault]"),
        ('{{join (split .Name "f") "-"}}', "de-ault"),
        ('{{join .Ports ","}}', "80,443"),
        ('{{title "hello world-foo it\'s"}}', "Hello World-Foo It'S"),
        ('{{upper .Name|lower|printf "%s-%s" "x"}}', "x-default"),
        ("{{with .Name}}{{.}}{{else}}no{{end}}", "default"),
        ('{{with false}}a{{else with "b"}}{{.}}{{end}}', "b"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .Ports}}{{$.Name}}{{.}} {{end}}", "default80 default443 "),
        ("{{range $i, $p := .Ports}}{{if $i}}, {{end}}{{$p}}{{end}}", "80, 443"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range .Ports}}{{.}}{{break}}{{end}}", "80"),
        ("{{range .Ports}}{{.}}{{continue}}x{{end}}", "80443"),
        ('{{if eq .Name "x"}}1{{else if eq .Name "default"}}2{{else}}3{{end}}', "2"),
        ("{{if .Empty}}y{{else}}n{{end}}", "n"),
        ("{{if .None_}}y{{else}}n{{end}}", "n"),
        ('{{if and .Name (eq .Name "default")}}ok{{end}}', "ok"),
        ("{{$x := 1}}{{if true}}{{$x = 5}}{{end}}{{$x}}", "5"),
        ("{{$x := 1}}{{with 2}}{{$x := 3}}{{end}}{{$x}}", "1"),
        ("{{with $x := .Name}}{{$x}}{{end}}", "default"),
        ('{{define "x"}}hi {{.}}{{end}}{{template "x" .Name}}', "hi default"),
        ('{{block "b" .}}in{{.Name}}{{end}}', "indefault"),
        ("{{- /* c */ -}} a {{- `x` }}", "ax"),
        ("x{{-  3 -}}  y", "x3y"),
        ("{{-3}}", "-3"),
        ("{{/* only */}}", ""),
        ('{{"a\\tb\\u00e9\\x41"}}', "a\tbéA"),
        ("{{`raw\\n`}}", "raw\\n"),
        ("{{'a'}}{{'\\n'}}", "9710"),
        ("{{1.5}} {{1e3}} {{0x10}} {{0777}} {{1_000}} {{true}}", "1.5 1000 16 511 1000 true"),
        ("{{1000000.0}} {{0.00001}} {{123456789.5}} {{1.0}}", "1e+06 1e-05 1.234567895e+08 1"),
        ('{{and 1 0}} {{or 0 "x"}} {{not 1}} {{or false 0 ""}}', "0 x false "),
        (
            '{{eq "a" "b" "a"}} {{ne 1 2}} {{lt 1 2}} {{le 3 2}} {{gt "b" "a"}} {{ge 2 2}}',
            "true true true false true true",
        ),
        ('{{print 1 2 "a" "b" 3}}', "1 2ab3"),
        ('{{println "a" 1}}', "a 1\n"),
        ('{{html "<a> \\"x\\" & \'y\'"}}', "&lt;a&gt; &#34;x&#34; &amp; &#39;y&#39;"),
        ('{{urlquery "a b&c"}}', "a+b%26c"),
        ("{{.Name}} }}", "default }}"),
        ("{{.Name | }}", "default"),
        ("", ""),
    ],
)
def test_render(source: str, expected: str) -> None:
    assert render(source) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('"%5d|%-5s|%q|%x|%t" 3 "a" "b" "c" true', '    3|a    |"b"|63|true'),
        ('"%08.3f|%+d|%#x|%c|%U|%e|%g|%b|%o|%X" 3.14159 5 255 65 65 12345.678 1e21 5 8 "hi"',
         "0003.142|+5|0xff|A|U+0041|1.234568e+04|1e+21|101|10|6869"),
        ('"%d" "a"', "%!d(string=a)"),
        ('"%s"', "%!s(MISSING)"),
        ('"%s" 1 2', "%!s(int=1)%!(EXTRA int=2)"),
        ('"%-10s|%10s|%.3s|%*d|%%" .Name .Name .Name 5 3', "default   |   default|def|    3|%"),
        ('"%q %v" .Ports .Labels', '["80" "443"] map[a:1 b:2]'),
        ('"%v %+v" (index .Endpoints "docker") (index .Endpoints "docker")',
         "{unix:///run/x.sock false} {Host:unix:///run/x.sock Skip:false}"),
        ('"%T %T %T" 1 "a" true', "int string bool"),
    ],
)  # fmt: skip
def test_printf(arguments: str, expected: str) -> None:
    assert render(f"{{{{printf {arguments}}}}}") == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{.Foo}}", "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type row"),
        ("{{.Name.Foo}}", "template: :1:7: executing \"\" at <.Name.Foo>: can't evaluate field Foo in type string"),
        ("line\n{{.Foo}}", "template: :2:2: executing \"\" at <.Foo>: can't evaluate field Foo in type row"),
        ("é{{.Foo}}", "template: :1:4: executing \"\" at <.Foo>: can't evaluate field Foo in type row"),
        ("{{foo}}", 'template: :1: function "foo" not defined'),
        ("line\n{{foo}}", 'template: :2: function "foo" not defined'),
        ("{{.Name", "template: :1: unclosed action"),
        ("{{if}}", "template: :1: missing value for if"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{else}}", "template: :1: unexpected {{else}}"),
        ("{{if .Name}}x", "template: :1: unexpected EOF"),
        ("{{if true}}{{else}}{{else}}{{end}}", "template: :1: expected end; found {{else}}"),
        ("{{range .Name}}{{end}}", "template: :1:8: executing \"\" at <.Name>: range can't iterate over default"),
        ("{{$x}}", 'template: :1: undefined variable "$x"'),
        ("{{if $x := 1}}{{end}}{{$x}}", 'template: :1: undefined variable "$x"'),
        ("{{nil}}", 'template: :1:2: executing "" at <nil>: nil is not a command'),
        ('{{eq 1 "a"}}',
         'template: :1:2: executing "" at <eq 1 "a">: error calling eq: incompatible types for comparison'),
        ("{{eq .Name}}",
         'template: :1:2: executing "" at <eq .Name>: error calling eq: missing argument for comparison'),
        ("{{len 3}}", 'template: :1:2: executing "" at <len 3>: error calling len: len of type int'),
        ("{{lower 3}}", 'template: :1:8: executing "" at <3>: expected string; found 3'),
        ("{{lower nil}}", 'template: :1:8: executing "" at <nil>: cannot assign nil to string'),
        ("{{not}}", 'template: :1:2: executing "" at <not>: wrong number of args for not: want 1 got 0'),
        ("{{join .Name}}", 'template: :1:2: executing "" at <join>: wrong number of args for join: want 2 got 1'),
        ("{{index .Ports 9}}",
         'template: :1:2: executing "" at <index .Ports 9>: error calling index: index out of range: 9'),
        ('{{.Name "a"}}',
         'template: :1:2: executing "" at <.Name>: Name has arguments but cannot be invoked as function'),
        ('{{"a" "b"}}', "template: :1:2: executing \"\" at <\"a\">: can't give argument to non-function \"a\""),
        ('{{template "x"}}', 'template: :1:11: executing "" at <{{template "x"}}>: template "x" not defined'),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
        ("{{.Name.}}", "template: :1: unexpected <.> in operand"),
        ("{{'ab'}}", "template: :1: malformed character constant: 'ab'"),
        ('{{"abc}}', "template: :1: unterminated quoted string"),
        ("{{!}}", 'template: :1: unexpected "!" in command'),
        ("{{1x}}", 'template: :1: bad number syntax: "1x"'),
        ("{{(1}}", "template: :1: unclosed left paren"),
        ("{{1)}}", "template: :1: unexpected right paren"),
        ('{{"a" | "b"}}', "template: :1: non executable command in pipeline stage 2"),
        ("{{/* open", "template: :1: unclosed comment"),
    ],
)  # fmt: skip
def test_errors_say_what_docker_says(source: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(source)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("source", "column"),
    [
        ("{{", 0), ("a {{.Name", 2), ("a {{- .Name ", 2), ("{{.Name}}ü{{nosuch}}", 13), ("{{.Name}}\n{{end}}", 2),
        ("{{.Name}}{{break}}", 11), ("{{(1}}", 4), ("{{range .Ports}}", 16), ('{{"abc}}', 2), ("{{/* open", 2),
        ("{{1x}}", 2), ("{{.Nope}}", None),
    ],
)  # fmt: skip
def test_the_column_of_what_is_no_template(source: str, column: int | None) -> None:
    with pytest.raises(TemplateError) as caught:
        render(source)
    assert caught.value.column == column


def test_a_template_that_calls_itself_ends() -> None:
    with pytest.raises(TemplateError) as caught:
        render('{{define "x"}}{{template "x"}}{{end}}{{template "x"}}')
    assert str(caught.value).endswith("exceeded maximum template depth")


def test_header_functions_leave_headings_alone() -> None:
    header = compile_template('{{upper .Name}} {{truncate .Name 2}} {{join .Name ","}}', header=True)
    assert header.render(Fields(Name="Names")) == "Names Names Names"


def test_json_is_json() -> None:
    value = {"b": [1, 2.5, True, None], "a": {"ü": 'x"y'}, "f": 2.0}
    assert json.loads(render("{{json .}}", value)) == value
    assert render("{{json .}}", value) == '{"a":{"ü":"x\\"y"},"b":[1,2.5,true,null],"f":2}'
