"""Logging in to registries and out of them."""

from __future__ import annotations

from tiffin.errors import RegistryDenied, UsageError
from tiffin.model.record import Record
from tiffin.registry.credentials import Credential, Credentials, Fixed, server_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.registry.settings import Settings


class Login(Record):
    """A login that succeeded. `kept` is the file or helper that has the credentials now, "" when they were there."""

    host: str
    username: str
    kept: str = ""
    encrypted: bool = True


def log_in(
    server: str,
    username: str = "",
    password: str = "",
    *,
    settings: Settings | None = None,
    warn: Callable[[str], None] | None = None,
) -> Login:
    """Try credentials with a registry and keep them; without a user name, those that are kept already.

    An empty `server` is the first search registry. RegistryDenied when they are refused, or when there are none.
    """
    from tiffin.registry.client import Registries
    from tiffin.registry.settings import load_settings

    settings = settings or load_settings()
    host = _host(server, settings)
    credentials = Credentials(helpers=settings.credential_helpers, warn=warn)
    if username:
        credential = Credential(username=username, password=password, source="this login")
    else:
        known = credentials.get(host)
        if known is None:
            raise RegistryDenied(f"no credentials for {host} are kept", hint=f"`tiffin login -u USER {host}`")
        credential = known
    with Registries(settings, Fixed(credential), warn=warn) as registries:
        try:
            token = registries.log_in(host)
        except RegistryDenied as error:
            if not username:
                raise
            raise RegistryDenied(f"{host} refuses this login: {_reason(error.message, host)}") from None
    if not username:
        return Login(host=host, username=credential.username)
    kept = credentials.keep(host, credential.replace(identity_token=token))
    return Login(host=host, username=username, kept=kept.place, encrypted=kept.encrypted)


def log_out(
    server: str, *, settings: Settings | None = None, warn: Callable[[str], None] | None = None
) -> tuple[str, list[str]]:
    """Forget the credentials for a registry: its host, and where they were kept (nowhere, perhaps)."""
    from tiffin.registry.settings import load_settings

    settings = settings or load_settings()
    host = _host(server, settings)
    return host, Credentials(helpers=settings.credential_helpers, warn=warn).forget(host)


def kept_username(
    server: str, *, settings: Settings | None = None, warn: Callable[[str], None] | None = None
) -> str | None:
    """The user name of the credentials that are kept for a registry, None when there are none."""
    from tiffin.registry.settings import load_settings

    settings = settings or load_settings()
    found = Credentials(helpers=settings.credential_helpers, warn=warn).get(_host(server, settings))
    return found.username if found else None


def _reason(message: str, host: str) -> str:
    """What of a refusal is not said by "refuses this login"."""
    return message.replace(f" of {host} refuses the credentials from this login", "").removeprefix(
        f"{host}: GET /v2/: "
    )


def _host(server: str, settings: Settings) -> str:
    if server:
        host = server_name(server)
        if not host or host != host.strip():
            raise UsageError(f"{server!r} is no registry", hint="write it as HOST[:PORT]")
        return host
    if not settings.search:
        raise UsageError(
            "no registry is named, and none is configured",
            hint='name it, or set unqualified-search-registries = ["HOST"] in registries.toml',
        )
    return settings.search[0]
