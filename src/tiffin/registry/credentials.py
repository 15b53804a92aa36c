"""Credentials for registries, as Docker and the containers tools keep them."""

from __future__ import annotations

from tiffin.model.record import Record


class Credential(Record):
    """Who we are for one registry; `identity_token` replaces the password. `source` says where it is from."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    source: str = ""


class Credentials:
    """Those of this user."""

    def get(self, host: str, path: str = "") -> Credential | None:
        """What is known for a host."""
        return None
