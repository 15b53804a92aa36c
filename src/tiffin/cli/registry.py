"""`login`, `logout` and `search`."""

from __future__ import annotations

import sys

from tiffin.cli import listing
from tiffin.cli.go_format import Fields
from tiffin.cli.options import Option, Verb
from tiffin.errors import RegistryDenied, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.registry.login import Login
    from tiffin.registry.search import SearchResult

_SHORT_DESCRIPTION = 45
_DEFAULT_LIMIT = 25
_HEADINGS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
    "IsAutomated": "AUTOMATED",
}


class Found(Fields):
    type_name = "search result"


def _login(context: Context, parsed: Parsed) -> int:
    server = parsed.arguments[0] if parsed.arguments else ""
    username, password = parsed.text("username"), parsed.text("password")
    if parsed.flag("password-stdin"):
        if password is not None:
            raise UsageError("conflicting options: cannot specify both --password and --password-stdin")
        if not username:
            raise UsageError("the --password-stdin option requires --username to be set")
        password = sys.stdin.read().rstrip("\r\n")
        if not password:
            raise UsageError("the password on standard input is empty")
    elif password is not None:
        _say("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
    if username is None and password is None:
        done = _with_kept(context, server)
        if done is not None:
            return _succeeded(done)
    if username is not None and not username.strip():
        raise UsageError("username is empty")
    if username is None or not password:
        username, password = _ask(username, password)
    return _succeeded(context.engine.login(server, username, password))


def _with_kept(context: Context, server: str) -> Login | None:
    """A login with the credentials that are kept; None when there are none, or they are not good any more."""
    name = context.engine.login_name(server)
    if name is None:
        return None
    print(f"Authenticating with existing credentials...{f' [Username: {name}]' if name else ''}", flush=True)
    try:
        return context.engine.login(server)
    except RegistryDenied as error:
        if not sys.stdin.isatty():
            raise
        _say(f"Login did not succeed, error: {error.message}")
        return None


def _ask(username: str | None, password: str | None) -> tuple[str, str]:
    if not sys.stdin.isatty():
        raise UsageError(
            "Cannot perform an interactive login from a non TTY device",
            hint="give --username and --password-stdin",
        )
    from getpass import getpass

    if username is None:
        username = input("Username: ").strip()
        if not username:
            raise UsageError("username is empty")
    if not password:
        password = getpass("Password: ")
        if not password:
            raise UsageError("password is empty")
    return username, password


def _succeeded(done: Login) -> int:
    if done.kept and not done.encrypted:
        _say(
            f"\nWARNING! Your credentials are stored unencrypted in '{done.kept}'.\n"
            'Configure a credential helper to remove this warning: "credsStore" in that file names one.\n'
        )
    print("Login Succeeded")
    return 0


def _say(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _logout(context: Context, parsed: Parsed) -> int:
    host, places = context.engine.logout(parsed.arguments[0] if parsed.arguments else "")
    if places:
        print(f"Removing login credentials for {host}")
    else:
        print(f"Not logged in to {host}")
    return 0


def _search(context: Context, parsed: Parsed) -> int:
    filters = listing.parse_filters(parsed, ("is-automated", "is-official", "stars"))
    conditions = [_condition(name, value) for name, values in filters.items() for value in values]
    limit = parsed.number("limit") or _DEFAULT_LIMIT
    rows = [
        _row(result, full=parsed.flag("no-trunc"))
        for result in context.engine.search(parsed.arguments[0], limit=limit)
        if all(fits(result) for fits in conditions)
    ]
    listing.show(parsed.text("format"), rows, _HEADINGS, ["Name", "Description", "StarCount", "IsOfficial"])
    return 0


def _condition(name: str, value: str) -> Callable[[SearchResult], bool]:
    if name == "stars":
        if not (value.isascii() and value.isdigit()):
            raise listing.bad_filter(f"stars={value}", "it is a whole number")
        return lambda result: result.stars >= int(value)
    wanted = listing.truth(name, value)
    return lambda result: (result.official if name == "is-official" else result.automated) == wanted


def _row(result: SearchResult, *, full: bool) -> Found:
    from tiffin.cli.table import ellipsis

    return Found(
        Name=f"{result.host}/{result.name}",
        Description=result.description if full else ellipsis(result.description, _SHORT_DESCRIPTION),
        StarCount=str(result.stars),
        IsOfficial="[OK]" if result.official else "",
        IsAutomated="[OK]" if result.automated else "",
    )


LOGIN = Verb(
    name="login",
    summary="Authenticate to a registry",
    description=(
        "Tries a user name and a password with a registry and keeps them where Docker does: in the file that"
        " $REGISTRY_AUTH_FILE names, else in $DOCKER_CONFIG/config.json or ~/.docker/config.json, or in the credential"
        " helper that this file names. Without a user name the credentials that are kept are tried. SERVER is"
        " HOST[:PORT]; without it the first of unqualified-search-registries is meant."
    ),
    run=_login,
    arguments="[SERVER]",
    maximum=1,
    options=(
        Option(name="password", short="p", word="text", help="Password or token"),
        Option(name="password-stdin", kind="bool", help="Take the password or token from standard input"),
        Option(name="username", short="u", word="name", help="User name"),
    ),
    examples=(
        ("tiffin login registry.example", "Ask for user name and password"),
        (
            "tiffin login -u ann --password-stdin registry.example:5000 < password.txt",
            "Log in from a script, without the password in the list of processes",
        ),
    ),
)

LOGOUT = Verb(
    name="logout",
    summary="Log out from a registry",
    description=(
        "Removes what is kept for a registry from the files and helpers that `tiffin login` uses, and from those of"
        " the containers tools. Without SERVER the first of unqualified-search-registries is meant."
    ),
    run=_logout,
    arguments="[SERVER]",
    maximum=1,
    examples=(("tiffin logout registry.example", "Forget the credentials for a registry"),),
)

SEARCH = Verb(
    name="search",
    summary="Search registries for images",
    description=(
        "Searches the registry that TERM begins with, else each of unqualified-search-registries. Registries that have"
        " no search are asked for their catalogue, which holds names only: those that contain TERM are shown."
    ),
    run=_search,
    arguments="TERM",
    minimum=1,
    maximum=1,
    options=(
        Option(
            name="filter",
            short="f",
            kind="list",
            word="name=value",
            help="Only show what fits: is-official, is-automated, stars (at least)",
        ),
        listing.FORMAT,
        Option(name="limit", kind="int", word="number", help="At most so many results of a registry", default="25"),
        listing.NO_TRUNC,
    ),
    examples=(
        ("tiffin search registry.example/web", "Look for names with web in them"),
        ("tiffin search --format '{{.Name}}' registry.example/", "List the names of all that a registry shows"),
    ),
)
