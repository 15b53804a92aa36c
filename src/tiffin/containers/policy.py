"""Restart policies: reading, checking and changing them."""

from __future__ import annotations

from tiffin.errors import ConflictError, NotFoundError, UsageError
from tiffin.model.container import RestartPolicy
from tiffin.state import containers as records
from tiffin.state import restarts
from tiffin.state.locks import ContainerLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container
    from tiffin.parts import Parts

NAMES = ("no", "always", "on-failure", "unless-stopped")


def parse(text: str) -> RestartPolicy:
    """ "always", "on-failure:3". UsageError in Docker's words."""
    name, colon, retries = text.partition(":")
    if colon and not name:
        raise UsageError("invalid restart policy format: no policy provided before colon")
    if not colon:
        return RestartPolicy(name=name or "no")
    try:
        return RestartPolicy(name=name, maximum_retries=int(retries))
    except ValueError:
        raise UsageError("invalid restart policy format: maximum retry count must be an integer") from None


def check(policy: RestartPolicy, *, auto_remove: bool) -> None:
    """UsageError for what makes no sense, in Docker's words."""
    if policy.name not in NAMES:
        raise UsageError(
            f"invalid restart policy: unknown policy '{policy.name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.maximum_retries and policy.name != "on-failure":
        raise UsageError("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if policy.maximum_retries < 0:
        raise UsageError("invalid restart policy: maximum retry count cannot be negative")
    if auto_remove and policy.name != "no":
        raise UsageError("conflicting options: cannot specify both --restart and --rm")


def check_change(container: Container) -> None:
    """ConflictError for a container that is removed at its end."""
    if container.config.auto_remove:
        raise ConflictError("Restart policy cannot be updated because AutoRemove is enabled for the container")


def change(parts: Parts, container: Container, policy: RestartPolicy) -> None:
    """From the next end on. NotFoundError when it is gone."""
    with ContainerLock(parts.paths, container.id):
        if records.current(parts.database, container.id) is None:
            raise NotFoundError(f"no such container: {container.name}")
        records.change(parts.database, container.id, lambda now: now.replace(config=now.config.replace(restart=policy)))
        restarts.write_policy(parts.paths, container.id, policy)
