"""The config of an image on another base: what the image says of itself stays, the rest is the new base's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_MAPS = ("ExposedPorts", "Volumes", "Labels")
_COMMAND = ("Entrypoint", "Cmd")


def joined_config(image: dict[str, Any], old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """The `config` objects of an image and of its old and new base, joined into the image's new one.

    A value that the image has as its old base had it follows the new base, also when that has none. Env goes by
    variable; exposed ports, volumes and labels go by key; Entrypoint and Cmd count as one value, since the second is
    the first's argument; everything else goes as a whole. When the old base's config is not known (None), nothing of
    the image's is taken for inherited.
    """
    if old is None:
        return dict(image)
    joined: dict[str, Any] = {}
    keys = [*new, *(key for key in image if key not in new)]
    command_is_own = any(_said(image, key) != _said(old, key) for key in _COMMAND)
    for key in keys:
        if key == "Env":
            joined[key] = _env(image.get(key), old.get(key), new.get(key))
        elif key in _MAPS:
            joined[key] = _map(image.get(key), old.get(key), new.get(key))
        elif key in _COMMAND:
            joined[key] = (image if command_is_own else new).get(key)
        else:
            own = _said(image, key) != _said(old, key)
            joined[key] = (image if own else new).get(key)
    return {key: value for key, value in joined.items() if value}


def joined_history(
    image: dict[str, Any], old_steps: int | None, old_layers: int, new: dict[str, Any], new_layers: int
) -> list[dict[str, Any]]:
    """The new base's history, then the image's own; `old_steps` of it were the old base's, None when not known."""
    own = list(image.get("history") or ())
    if old_steps is None:
        old_steps = _steps_of_layers(own, old_layers)
    return [*_whole(new, new_layers), *own[old_steps:]]


def steps_of(base: dict[str, Any], image: dict[str, Any]) -> int | None:
    """How many of the image's steps are its base's: all of the base's when the image begins with them, else None."""
    steps = list(base.get("history") or ())
    return len(steps) if list(image.get("history") or ())[: len(steps)] == steps and steps else None


def _steps_of_layers(history: list[dict[str, Any]], layers: int) -> int:
    """The steps up to the one that made the last of so many layers."""
    for number, step in enumerate(history):
        if not layers:
            return number
        if step.get("empty_layer") is not True:
            layers -= 1
    return len(history)


def _whole(document: dict[str, Any], layers: int) -> list[dict[str, Any]]:
    """A history in which as many steps made a layer as there are layers, so that those of others keep theirs."""
    history = list(document.get("history") or ())
    found = []
    for step in history:
        empty = step.get("empty_layer") is True
        if not empty and not layers:
            step, empty = {**step, "empty_layer": True}, True
        layers -= not empty
        found.append(step)
    created = document.get("created")
    return found + [{"created": created} if created else {} for _ in range(layers)]


def _said(config: dict[str, Any], key: str) -> Any:
    """Absent, null and empty are the same."""
    return config.get(key) or None


def _env(image: list[str] | None, old: list[str] | None, new: list[str] | None) -> list[str]:
    mine, was, base = _variables(image), _variables(old), _variables(new)
    return list(_merged(mine, was, base).values())


def _variables(env: Iterable[str] | None) -> dict[str, str]:
    return {item.partition("=")[0]: item for item in env or ()}


def _map(image: dict[str, Any] | None, old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    return _merged(image or {}, old or {}, new or {})


def _merged(mine: dict[str, Any], was: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    merged = {}
    for key in (*base, *(key for key in mine if key not in base)):
        inherited = mine.get(key) == was.get(key) and (key in mine) == (key in was)
        source = base if inherited else mine
        if key in source:
            merged[key] = source[key]
    return merged
