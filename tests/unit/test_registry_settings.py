"""What registries.toml means, and what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.errors import InvalidImageError, NotSupportedError, TiffinError, UsageError
from tiffin.registry import settings_files
from tiffin.registry.names import Repository, check_host, check_reference, is_loopback, split_name, split_port
from tiffin.registry.settings import Place, Settings, load_settings


def read(tmp_path: Path, text: str, *, ours: bool = True, base: Settings | None = None) -> Settings:
    path = tmp_path / "registries.toml"
    path.write_text(text)
    return settings_files.read_file(str(path), base or Settings(), ours=ours)


def repository(text: str) -> Repository:
    found = split_name(text)
    assert found is not None
    return found


def where(settings: Settings, name: str, reference: str = "") -> list[str]:
    return [str(place.repository) for place in settings.places(repository(name), reference)]


@pytest.mark.parametrize(
    ("name", "host", "path"),
    [
        ("localhost/app", "localhost", "app"),
        ("localhost:5000/team/app", "localhost:5000", "team/app"),
        ("registry.example/app", "registry.example", "app"),
        ("[::1]:5000/app", "[::1]:5000", "app"),
        ("Host/app", "Host", "app"),
    ],
)
def test_names_with_a_host(name: str, host: str, path: str) -> None:
    assert split_name(name) == Repository(host=host, path=path)
    assert str(split_name(name)) == name


@pytest.mark.parametrize("name", ["debian", "team/app", "debian.local", "localhost", "registry.example/"])
def test_names_without_a_host(name: str) -> None:
    assert split_name(name) is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("LOCALHOST:1", True), ("127.0.0.1:5000", True), ("127.9.9.9", True), ("[::1]:5000", True),
     ("[::1]", True), ("::1", True), ("localhost.example", False), ("10.0.0.1", False), ("[fe80::1]:5000", False)],
)  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_ports() -> None:
    found = [split_port(host) for host in ("a", "a:1", "[::1]", "[::1]:1", "::1")]
    assert found == [("a", None), ("a", 1), ("::1", None), ("::1", 1), ("::1", None)]


@pytest.mark.parametrize("host", ["a", "a.example:5000", "127.0.0.1", "[::1]", "[::1]:5000", "a_b", "localhost:0"])
def test_hosts(host: str) -> None:
    assert check_host(host) == host


@pytest.mark.parametrize(
    "host",
    ["", "a b", "ann@host", "a/b", "a:", "a:x", "a:05", ":5000", "a?b", "a#b", "[::1", "[::1]5000", "[x]y", "::1", "é"],
)
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_host(host)
    assert str(caught.value) == f"{host!r} is no host with an optional port"


@pytest.mark.parametrize(
    "text", ["", "..", "../x", "a/b", "a?b", "sha256:", "sha256:xyz", ":00", "a b", "a" * 300, "é"]
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidImageError) as caught:
        check_reference(text)
    assert str(caught.value) == f"{text[:256]!r} is neither a tag nor a digest"


# Short names


def test_short_names_need_a_registry() -> None:
    with pytest.raises(UsageError) as caught:
        Settings().candidates("debian")
    assert str(caught.value) == (
        "'debian' names no registry, and no registry is configured for such names"
        ' (write HOST/debian, or set unqualified-search-registries = ["HOST"] in registries.toml)'
    )
    assert Settings().candidates("localhost:5000/debian") == [repository("localhost:5000/debian")]


def test_short_names_are_searched_in_order(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
        unqualified-search-registries = ["one.example", "localhost:5000"]
        [aliases]
        web = "two.example/team/web"
        """,
    )
    assert list(map(str, settings.candidates("app"))) == ["one.example/app", "localhost:5000/app"]
    assert list(map(str, settings.candidates("web"))) == ["two.example/team/web"]


def test_short_names_are_enforced_to_be_clear(tmp_path: Path) -> None:
    text = 'unqualified-search-registries = ["one.example", "two.example"]\nshort-name-mode = "enforcing"\n'
    settings = read(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        settings.candidates("app")
    assert str(caught.value) == (
        "'app' names no registry, and may mean one in any of one.example, two.example"
        " (write the host, add an alias to registries.toml, or set short-name-mode there)"
    )
    assert settings.replace(search=("one.example",)).candidates("app") == [repository("one.example/app")]


def test_an_empty_alias_takes_one_away(tmp_path: Path) -> None:
    base = Settings(aliases=(("web", "a.example/web"), ("app", "a.example/app")))
    assert read(tmp_path, '[aliases]\nweb = ""\n', base=base).aliases == (("app", "a.example/app"),)


# Where to read


MIRRORED = """
[[registry]]
prefix = "registry.example/team"
location = "internal.example:5000/kept"
[[registry.mirror]]
location = "mirror-0.example/team"
pull-from-mirror = "tag-only"
[[registry.mirror]]
location = "mirror-1.example/all/team"
insecure = true
[[registry.mirror]]
location = "mirror-2.example/team"
pull-from-mirror = "digest-only"
[[registry]]
location = "registry.example"
ca = "/etc/ca.crt"
[[registry]]
prefix = "*.wild.example"
insecure = true
[[registry]]
prefix = "*.moved.example"
location = "target.example/moved"
[[registry]]
prefix = "bad.example/team"
blocked = true
"""


def test_mirrors_and_locations(tmp_path: Path) -> None:
    settings = read(tmp_path, MIRRORED)
    assert where(settings, "registry.example/team/app", "v1") == [
        "mirror-0.example/team/app",
        "mirror-1.example/all/team/app",
        "internal.example:5000/kept/app",
    ]
    assert where(settings, "registry.example/team/app", f"sha256:{'0' * 64}") == [
        "mirror-1.example/all/team/app",
        "mirror-2.example/team/app",
        "internal.example:5000/kept/app",
    ]
    assert len(where(settings, "registry.example/team/app")) == 4
    assert [place.insecure for place in settings.places(repository("registry.example/team/app"), "v1")] == [
        None,
        True,
        None,
    ]
    assert where(settings, "registry.example/teamwork/app", "v1") == ["registry.example/teamwork/app"]
    assert settings.places(repository("registry.example/other")) == [
        Place(repository=repository("registry.example/other"), ca="/etc/ca.crt")
    ]


def test_a_prefix_ends_where_names_do(tmp_path: Path) -> None:
    settings = read(tmp_path, MIRRORED)
    for name in ("registry.example.org/app", "registry.example:5000/app", "wild.example/app"):
        assert settings.places(repository(name)) == [Place(repository=repository(name))]
    for name in ("a.wild.example/app", "b.a.wild.example/app", "a.wild.example:5000/app"):
        assert settings.places(repository(name)) == [Place(repository=repository(name), insecure=True)]
    assert where(settings, "a.moved.example/team/app") == ["target.example/moved/team/app"]


def test_digest_only_mirrors(tmp_path: Path) -> None:
    text = """
    [[registry]]
    location = "registry.example"
    mirror-by-digest-only = true
    mirror = [{location = "mirror.example"}]
    """
    settings = read(tmp_path, text)
    assert where(settings, "registry.example/app", "v1") == ["registry.example/app"]
    assert where(settings, "registry.example/app", "sha256:0") == ["mirror.example/app", "registry.example/app"]


def test_what_is_written_goes_where_its_name_says(tmp_path: Path) -> None:
    settings = read(tmp_path, MIRRORED)
    name = repository("registry.example/team/app")
    assert settings.place_to_write(name) == Place(repository=name)


def test_blocked(tmp_path: Path) -> None:
    settings = read(tmp_path, MIRRORED)
    for ask in (settings.places, settings.place_to_write):
        with pytest.raises(UsageError) as caught:
            ask(repository("bad.example/team/app"))
        assert str(caught.value) == (
            f"bad.example/team/app is blocked: the settings of bad.example/team say so (see {tmp_path}/registries.toml)"
        )
    assert where(settings, "bad.example/other") == ["bad.example/other"]


# Files


def test_later_files_go_over_earlier_ones(tmp_path: Path) -> None:
    base = read(tmp_path, MIRRORED + '[tiffin]\nkeep-blobs = true\n[aliases]\na = "x.example/a"\n')
    settings = read(
        tmp_path,
        'unqualified-search-registries = ["u.example"]\n[[registry]]\nlocation = "registry.example"\n'
        '[aliases]\nb = "x.example/b"\n',
        base=base,
    )
    assert settings.search == ("u.example",)
    assert settings.keep_blobs is True
    assert dict(settings.aliases) == {"a": "x.example/a", "b": "x.example/b"}
    assert settings.places(repository("registry.example/x"))[0].ca == ""
    assert len(settings.rules) == len(base.rules)


def test_which_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIFFIN_REGISTRIES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    for name, place in (("SYSTEM", "etc-tiffin"), ("SYSTEM_CONTAINERS", "etc-containers")):
        monkeypatch.setattr(settings_files, name, str(tmp_path / place))
    files = [
        tmp_path / "etc-containers" / "registries.conf",
        tmp_path / "etc-containers" / "registries.conf.d" / "50-more.conf",
        tmp_path / "home" / "containers" / "registries.conf",
        tmp_path / "etc-tiffin" / "registries.toml",
        tmp_path / "home" / "tiffin" / "registries.toml",
        tmp_path / "elsewhere.toml",
    ]
    assert load_settings().files == ()
    found = []
    for number, path in enumerate(files):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'unqualified-search-registries = ["r{number}.example"]\n')
        settings = load_settings()
        found.append((settings.search[0], len(settings.files)))
    assert found == [
        ("r0.example", 1),
        ("r1.example", 2),
        ("r1.example", 2),  # the user's in place of the system's, and what the directory adds
        ("r3.example", 1),
        ("r4.example", 2),
        ("r4.example", 2),
    ]
    monkeypatch.setenv("TIFFIN_REGISTRIES", str(files[5]))
    assert load_settings().files == (str(files[5]),)
    assert load_settings().certificate_dirs[:2] == (
        f"{tmp_path}/home/tiffin/certs.d",
        f"{tmp_path}/etc-tiffin/certs.d",
    )


def test_foreign_files_may_say_more(tmp_path: Path) -> None:
    text = 'additional-layer-store-auth-helper = "x"\n[[registry]]\nlocation = "a.example"\nnew = 1\n'
    assert len(read(tmp_path, text, ours=False).rules) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "Expected '=' after a key in a key/value pair (at end of document)"),
        ("serach = []", ("unknown key 'serach' (the keys are aliases, credential-helpers, registry, short-name-mode,"
         " tiffin, unqualified-search-registries)")),
        ("unqualified-search-registries = 'a'", "unqualified-search-registries must be a list of texts"),
        ("unqualified-search-registries = ['https://a']",
         "unqualified-search-registries: 'https://a' is not a host with an optional port"),
        ("short-name-mode = 'guess'", "short-name-mode is one of enforcing, permissive, disabled, and not 'guess'"),
        ("aliases = 1", "aliases must be a table: [aliases]"),
        ("[aliases]\na = 1", "[aliases] a must be text"),
        ("[aliases]\n'a.example/b' = 'c.example/d'",
         "[aliases] 'a.example/b' must be a name without host, tag and digest"),
        ("[aliases]\na = 'b'", "[aliases] a must mean HOST/NAME without tag and digest, and not 'b'"),
        ("[aliases]\na = 'b.example/c:1'",
         "[aliases] a must mean HOST/NAME without tag and digest, and not 'b.example/c:1'"),
        ("[registry]", "registry must be tables: [[registry]]"),
        ("[[registry]]", "[[registry]] 1: it needs a prefix or a location"),
        ("[[registry]]\nlocation = 1", "[[registry]] 1: location must be text"),
        ("[[registry]]\nlocation = 'a.example'\ninsecure = 'yes'", "[[registry]] 1: insecure must be true or false"),
        ("[[registry]]\nlocation = 'https://a.example'",
         "[[registry]] 1: the prefix 'https://a.example' must be like host[:port][/path]"),
        ("[[registry]]\nprefix = 'a.example'\nlocation = 'b.example/'",
         "[[registry]] 1: the location 'b.example/' must be like host[:port][/path]"),
        ("[[registry]]\nprefix = 'a.*.example'",
         "[[registry]] 1: the prefix 'a.*.example' may have '*' only as in '*.host'"),
        ("[[registry]]\nlocation = 'a.example'\nmirorr = []",
         "[[registry]] 1: unknown key 'mirorr' (the keys are blocked, ca, insecure, location, mirror,"
         " mirror-by-digest-only, prefix)"),
        ("[[registry]]\nlocation = 'a.example'\nmirror = [{}]", "[[registry]] 1: mirror 1: it needs a location"),
        ("[[registry]]\nlocation = 'a.example'\nmirror = [{location = 'b.example', pull-from-mirror = 'never'}]",
         "[[registry]] 1: mirror 1: pull-from-mirror is all, digest-only or tag-only, and not 'never'"),
        ("[[registry]]\nlocation = 'a.example'\nmirror-by-digest-only = true\n"
         "mirror = [{location = 'b.example', pull-from-mirror = 'all'}]",
         "[[registry]] 1: mirror 1: pull-from-mirror cannot be set beside mirror-by-digest-only"),
        ("[tiffin]\nkeep-blob = true", "[tiffin] unknown key 'keep-blob' (the keys are keep-blobs)"),
        ("[[registry]]\nprefix = 'a.example/b:1'",
         "[[registry]] 1: a prefix with a tag or digest is not supported: 'a.example/b:1'"),
        ("[registries.search]\nregistries = []", ("version 1 of this format is not supported"
         " (write [[registry]] tables and unqualified-search-registries)")),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TiffinError) as caught:
        read(tmp_path, text)
    assert str(caught.value) == f"{tmp_path}/registries.toml: {message}"
    assert type(caught.value) is (NotSupportedError if "not supported" in message else UsageError)


def test_unreadable_files(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none", f"cannot read the settings of registries: No such file or directory: '{tmp_path}/none'"),
        (tmp_path, f"cannot read the settings of registries: Is a directory: '{tmp_path}'"),
    ):
        with pytest.raises(UsageError) as caught:
            settings_files.read_file(str(path), Settings(), ours=True)
        assert str(caught.value) == message
    (tmp_path / "latin").write_bytes(b'short-name-mode = "\xe9"')
    with pytest.raises(UsageError) as caught:
        settings_files.read_file(str(tmp_path / "latin"), Settings(), ours=True)
    assert str(caught.value).startswith(f"{tmp_path}/latin: not UTF-8: ")
