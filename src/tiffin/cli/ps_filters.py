"""The filters of `ps`: each name's values are alternatives, of labels all must fit."""

from __future__ import annotations

from tiffin.cli import listing
from tiffin.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiffin.cli.context import Context
    from tiffin.model.container import ContainerInfo, ContainerState

    Condition = Callable[[ContainerInfo], bool]

NAMES = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network",
    "pod", "publish", "since", "status", "volume",
)  # fmt: skip
STATUSES = ("created", "dead", "exited", "paused", "removing", "restarting", "running")
HEALTHS = ("healthy", "none", "starting", "unhealthy")
_MAX_PORT = 65535


def conditions(context: Context, filters: dict[str, list[str]]) -> list[Condition]:
    """One test per filter name. UsageError for values that cannot be, NotFoundError for before's and since's."""
    return [_condition(context, name, values) for name, values in filters.items()]


def _condition(context: Context, name: str, values: list[str]) -> Condition:
    if name in ("before", "since"):
        return _older_or_newer(context, name, values)
    if name == "ancestor":
        ids = _with_descendants(context, values)
        return lambda info: info.container.image_id in ids
    if name == "exited":
        codes = [_exit_code(value) for value in values]
        return lambda info: info.state.status == "exited" and info.state.exit_code in codes
    if name == "status":
        _check(name, values, STATUSES)
        return lambda info: state_text(info.state) in values
    if name == "pod":
        pods = {context.engine.pod(value).pod.id for value in values}
        return lambda info: info.container.config.pod in pods
    if name == "health":
        _check(name, values, HEALTHS)
        return lambda info: health_text(info.state) in values
    if name == "is-task":
        wanted = [listing.truth(name, value) for value in values]
        return lambda info: False in wanted  # of a swarm, which there is not
    if name == "isolation":
        return lambda info: "default" in values  # the others are for Windows containers
    if name in ("expose", "publish"):
        return _with_ports(context, name, values)
    return lambda info: _fits(info, name, values)


def _check(name: str, values: list[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise listing.bad_filter(f"{name}={value}", f"{name} is one of {', '.join(known)}")


def _older_or_newer(context: Context, name: str, references: list[str]) -> Condition:
    moments = [context.engine.container(reference).container.created_ns for reference in references]
    if name == "before":
        return lambda info: info.container.created_ns < min(moments)
    return lambda info: info.container.created_ns > max(moments)


def _with_descendants(context: Context, references: list[str]) -> set[str]:
    """IDs of those images and of all that were made on top of them; one that is not there has none, as with Docker."""
    found = set()
    for reference in references:
        try:
            ancestor = context.engine.image(reference)
        except NotFoundError:
            continue
        found.add(ancestor.id)
        below = ancestor.layers
        for image in context.engine.images():
            if below and len(image.layers) > len(below) and image.layers[: len(below)] == below:
                found.add(image.id)
    return found


def _exit_code(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise listing.bad_filter(f"exited={value}", "it is a whole number") from None


def _with_ports(context: Context, name: str, values: list[str]) -> Condition:
    wanted = {port for value in values for port in _ports(name, value)}
    if name == "publish":
        return lambda info: False  # no ports are published so far

    def exposes(info: ContainerInfo) -> bool:
        ports = context.engine.inspect_container(info.container.id)["Config"].get("ExposedPorts") or {}
        return not wanted.isdisjoint(ports)

    return exposes


def _ports(name: str, value: str) -> list[str]:
    """Of "80", "80/udp", "80-90/tcp"."""
    text, _, protocol = value.partition("/")
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first, first]
    if not all(number.isdecimal() and int(number) <= _MAX_PORT for number in numbers):
        raise listing.bad_filter(f"{name}={value}", "it is a port such as 80, 53/udp or 8000-8010")
    if int(numbers[0]) > int(numbers[1]):
        raise listing.bad_filter(f"{name}={value}", "the range is upside down")
    if protocol not in ("", "tcp", "udp", "sctp"):
        raise listing.bad_filter(f"{name}={value}", "the protocols are tcp, udp and sctp")
    return [f"{port}/{protocol or 'tcp'}" for port in range(int(numbers[0]), int(numbers[1]) + 1)]


def _fits(info: ContainerInfo, name: str, values: list[str]) -> bool:
    container = info.container
    if name == "id":
        return any(container.id.startswith(value) for value in values)
    if name == "name":
        return any(_search(value, container.name) for value in values)
    if name == "label":
        return listing.labels_match(values, dict(container.labels))
    if name == "network":
        return container.config.network in values
    return any(value in (mount.source, mount.target) for mount in container.config.mounts for value in values)


def _search(pattern: str, name: str) -> bool:
    """Docker takes names as regular expressions, and with a slash in front if one likes."""
    import re

    try:
        return re.search(pattern, name) is not None or re.search(pattern, f"/{name}") is not None
    except re.error:
        return pattern in name


def state_text(state: ContainerState) -> str:
    """One word, as Docker says it."""
    return "paused" if state.paused else state.status


def health_text(state: ContainerState) -> str:
    """One word, as Docker says it; "none" without a health check."""
    return state.health or "none"
