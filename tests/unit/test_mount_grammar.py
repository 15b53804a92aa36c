"""The grammar of --mount and -v: what Docker takes, and its words for what it does not (Docker CLI 28.2.2)."""

from __future__ import annotations

import pytest

from tiffin.cli import csv_record
from tiffin.cli.container_options import config_from
from tiffin.cli.options import parse
from tiffin.cli.run import RUN
from tiffin.errors import NotSupportedError, TiffinError, UsageError
from tiffin.model.container import Mount


def mounts(*words: str) -> tuple[Mount, ...]:
    return config_from(parse(RUN, [*words, "img"])).mounts


def bind(**fields: object) -> Mount:
    return Mount(type="bind", source="/a", target="/b").replace(**fields)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("type=bind,src=/a,dst=/b", bind()),
        ("TYPE=BIND,Source=/a,Destination=/b", bind()),
        ('type=bind,"src=/a",dst=/b', bind()),
        ('type=bind,"src=/a,""c""",dst=/b', bind(source='/a,"c"')),
        ("type=bind,src=/a,dst=/b\ntype=tmpfs", bind()),
        ("type=bind,src=/a,dst=/b,ro=1", bind(readonly=True)),
        ("type=bind,src=/a,dst=/b,readonly=F", bind()),
        ("type=bind,src=/a,dst=/b,consistency=foo", bind()),
        ("type=bind,src=/a,dst=/b,bind-propagation=RSHARED", bind(propagation="rshared")),
        ("type=bind,src=/a,dst=/b,bind-propagation=", bind()),
        ("type=bind,src=/a,dst=/b,bind-nonrecursive", bind(recursive=False)),
        ("type=bind,src=/a,dst=/b,bind-recursive=enabled,ro", bind(readonly=True)),
        ("type=bind,src=/a,dst=/b,bind-recursive=disabled", bind(recursive=False)),
        ("type=bind,src=/a,dst=/b,bind-recursive=writable,ro", bind(readonly=True, readonly_recursive="disabled")),
        ("type=bind,src=/a,dst=/b,bind-recursive=readonly,bind-propagation=rprivate,ro",
         bind(readonly=True, readonly_recursive="forced")),
        ("type=bind,src=/a,dst=/b,relabel=private", bind(relabel="private")),
        ("type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=0700",
         Mount(type="tmpfs", target="/b", tmpfs_options=("size=1048576", "mode=700"))),
        ("dst=/b,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-driver=local,volume-subpath=d/e",
         Mount(type="volume", target="/b", volume_driver="local", subpath="d/e",
               volume_options=(("device", "tmpfs"), ("type", "tmpfs")))),
        ("type=image,src=debian,dst=/b,image-subpath=usr",
         Mount(type="image", source="debian", target="/b", readonly=True, subpath="usr")),
    ],
)  # fmt: skip
def test_mount(text: str, mount: Mount) -> None:
    assert mounts("--mount", text) == (mount,)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "EOF"),
        (" ", "invalid field ' ' must be a key=value pair"),
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("type=bind,src=/a,dst=/b,bind-create-src", "invalid field 'bind-create-src' must be a key=value pair"),
        ("type=bind,src=/a,dst=/b,foo=1", "unexpected key 'foo' in 'foo=1'"),
        ("type=bind,src=/a,dst=/b,FOO=1", "unexpected key 'foo' in 'FOO=1'"),
        ("type=volume,source=v", "target is required"),
        ("readonly", "target is required"),
        ("type=,dst=/b", "type is required"),
        ("type=bind,src=/a,dst=/b,ro=maybe", "invalid value for ro: maybe"),
        ("type=bind,src=/a,dst=/b,bind-nonrecursive=foo", "invalid value for bind-nonrecursive: foo"),
        ("dst=/b,volume-nocopy=foo", "invalid value for volume-nocopy: foo"),
        ("type=bind,src=/a,dst=/b,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
        ("dst=/b,bind-propagation=shared", "cannot mix 'bind-*' options with mount type 'volume'"),
        ("type=bind,src=/a,dst=/b,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type 'bind'"),
        ("type=bind,src=/a,dst=/b,image-subpath=x", "cannot mix 'image-*' options with mount type 'bind'"),
        ("type=tmpfs,dst=/b,tmpfs-size=x", "invalid value for tmpfs-size: x"),
        ("type=tmpfs,dst=/b,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ("type=tmpfs,dst=/b,tmpfs-mode=-1", "invalid value for tmpfs-mode: -1"),
        ("type=tmpfs,dst=/b,tmpfs-mode=777777777777", "invalid value for tmpfs-mode: 777777777777"),
        ("type=bind,src=/a,dst=/b,bind-recursive=foo",
         'invalid value for bind-recursive: foo (must be "enabled", "disabled", "writable", or "readonly")'),
        ("type=bind,src=/a,dst=/b,bind-recursive=writable",
         "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction"),
        ("type=bind,src=/a,dst=/b,bind-recursive=readonly",
         "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction"),
        ("type=bind,src=/a,dst=/b,ro,bind-recursive=readonly",
         "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"),
        ("type=bind,src=/a,dst=/b,relabel=x", 'invalid value for relabel: x (must be "shared" or "private")'),
        ('type="bind', 'parse error on line 1, column 6: bare " in non-quoted-field'),
        ('type=bind,s"rc=/a', 'parse error on line 1, column 12: bare " in non-quoted-field'),
    ],
)  # fmt: skip
def test_mounts_that_are_none(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        mounts("--mount", text)
    assert caught.value.message == f'invalid argument "{text}" for "--mount": {reason}'


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--mount type=xx,dst=/b", 'invalid mount config for type "xx": mount type unknown'),
        ("--mount type=glob,src=/a*,dst=/b", 'invalid mount config for type "glob": mount type unknown'),
        ("--mount type=ramfs,dst=/b", 'invalid mount config for type "ramfs": mount type unknown'),
        ("--mount type=bind,dst=/b", 'invalid mount config for type "bind": field Source must not be empty'),
        ("--mount dst=b",
         "invalid mount config for type \"volume\": invalid mount path: 'b' mount path must be absolute"),
        ("--mount type=tmpfs,dst=..",
         "invalid mount config for type \"tmpfs\": invalid mount path: '..' mount path must be absolute"),
        ("--mount type=bind,src=tmp,dst=/b",
         "invalid mount config for type \"bind\": invalid mount path: 'tmp' mount path must be absolute"),
        ("--mount type=bind,src=/tmp,dst=/b,bind-propagation=foo",
         'invalid mount config for type "bind": invalid propagation mode: foo'),
        ("-v :/b", "invalid spec: :/b: empty section between colons"),
        ("-v /a:", "invalid spec: /a:: empty section between colons"),
        ("-v aa:b:c:d", "invalid volume specification: 'aa:b:c:d'"),
        ("-v /a:b", ("invalid volume specification: '/a:b': invalid mount config for type \"bind\": "
                     "invalid mount path: 'b' mount path must be absolute")),
        ("-v /a:/", ("invalid volume specification: '/a:/': invalid mount config for type \"bind\": "
                     "invalid specification: destination can't be '/'")),
        ("-v /a:/b:foo", "invalid mode: foo"),
        ("-v /a:/b:ro,rw", "invalid mode: ro,rw"),
        ("-v /a:/b:z,Z", "invalid mode: z,Z"),
        ("-v /a:/b:shared,slave", "invalid mode: shared,slave"),
        ("-v /a:/b:,", "invalid mode: ,"),
        ("-v vv:/b:nocopy,nocopy", "invalid mode: nocopy,nocopy"),
        ("-v /a:/b:nocopy", ("invalid volume specification: '/a:/b:nocopy': invalid mount config for type \"bind\": "
                             "field VolumeOptions must not be specified")),
        ("-v vv:/b:shared", ("invalid volume specification: 'vv:/b:shared': invalid mount config for type \"volume\": "
                             "field BindOptions must not be specified")),
        ("-v x:/b",
         "create x: volume name is too short, names should be at least two alphanumeric characters"),
        ("-v a/b:/b",
         ('create a/b: "a/b" includes invalid characters for a local volume name, '
          'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed')),
        ("-v x1:/x -v x2:/x", "Duplicate mount point: /x"),
        ("-v /a:/x --tmpfs /x/", "Duplicate mount point: /x"),
        ("--tmpfs t", "invalid mount path: 't' mount path must be absolute"),
        ("--tmpfs /", "invalid specification: destination can't be '/'"),
    ],
)  # fmt: skip
def test_dockers_daemon_says(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        mounts(*words.split())
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-v /a:/b:U", "the volume option 'U' is not supported yet: Tiffin changes no owners on the host; do it once, "
         "with `chown -R`"),
        ("-v /a:/b:noexec", "the volume option 'noexec' is not supported yet: Docker has no such option; mount the "
         "source with it on the host"),
        ("--mount type=bind,src=/a,dst=/b,U=true", "--mount U=true is not supported yet: Tiffin changes no owners on "
         "the host; do it once, with `chown -R`"),
    ],
)  # fmt: skip
def test_podmans_own_options(words: str, message: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        mounts(*words.split())
    assert caught.value.message == message


def test_volume_words() -> None:
    assert mounts("-v", "/a:/b:ro,Z,rslave,cached") == (
        bind(readonly=True, relabel="private", propagation="rslave", create_source=True),
    )
    assert mounts("-v", "vv:/b:z,nocopy") == (
        Mount(type="volume", source="vv", target="/b", relabel="shared", nocopy=True),
    )
    assert mounts("--volume-driver", "x", "-v", "/b")[0].volume_driver == "x"


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a", ["a"]),
        ("a,", ["a", ""]),
        (",", ["", ""]),
        ('"a","b""c"', ["a", 'b"c']),
        ('"a,b\nc",d\ne', ["a,b\nc", "d"]),
        ("\n\na,b\n", ["a", "b"]),
        ("é,ü", ["é", "ü"]),
    ],
)
def test_csv(text: str, fields: list[str]) -> None:
    assert csv_record.fields(text) == fields


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "EOF"),
        ("\n", "EOF"),
        ('a"', 'parse error on line 1, column 2: bare " in non-quoted-field'),
        ('é"', 'parse error on line 1, column 3: bare " in non-quoted-field'),
        ('"a"b', 'parse error on line 1, column 3: extraneous or missing " in quoted-field'),
        ('"a', 'parse error on line 1, column 3: extraneous or missing " in quoted-field'),
        ('"a\nb',
         'record on line 1; parse error on line 2, column 2: extraneous or missing " in quoted-field'),
    ],
)  # fmt: skip
def test_csv_errors(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        csv_record.fields(text)
    assert not isinstance(caught.value, TiffinError) and str(caught.value) == message
