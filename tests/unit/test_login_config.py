"""What /etc/tiffin/login.toml may say, and what is wrong in it."""

from __future__ import annotations

import pytest

from tiffin.cli.login import container_name
from tiffin.cli.login_config import LoginConfig, parse, read
from tiffin.errors import UsageError

SETTINGS = "image, command, shell, mounts, network, stop, root, storage"


def test_without_a_file() -> None:
    assert read("ann", "/no/such/file") == LoginConfig()
    assert parse(b"", "ann") == LoginConfig()


def test_what_is_said_of_a_user_wins() -> None:
    text = b'image = "debian"\nstop = "last"\nmounts = ["/srv:/srv"]\n'
    text += b'[users.ann]\nimage = "host"\n[users.bob]\nstop = "never"\n'
    assert parse(text, "ann") == LoginConfig(stop="last", mounts=("/srv:/srv",))
    assert parse(text, "bob") == LoginConfig(image="debian", mounts=("/srv:/srv",))
    assert parse(text, "eve").image == "debian"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imgae = 'x'", f"imgae is not a setting ({SETTINGS})"),
        ("image = 5", "image is not a text"),
        ("image = ''", "image is not a text"),
        ("shell = 'bash'", "shell is not an absolute path"),
        ("network = 'bridge'", "network is 'bridge' (host or none)"),
        ("stop = 'soon'", "stop is 'soon' (never or last)"),
        ("mounts = '/a:/b'", "mounts is not a list of texts"),
        ("mounts = [1]", "mounts is not a list of texts"),
        ("command = []", "command is empty"),
        ("users = 1", "'users' is not a table of tables (write [users.NAME])"),
        ("[users.eve]\nroot = 'x'", "users.eve.root is not an absolute path"),
        ("image", "Expected '=' after a key in a key/value pair (at end of document)"),
    ],
)
def test_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text.encode(), "ann", "F")
    said = str(caught.value).replace("(the settings are ", "(").replace("(it is ", "(")
    assert said == f"F: {message}"


def test_container_names() -> None:
    assert container_name("ann", 1000) == "login-ann"
    assert container_name("HOST\\ann", 1000) == "login-1000"
    assert container_name("ann$", 1000) == "login-1000"
