"""Names and IDs of containers."""

from __future__ import annotations

import os

from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
MAX_NAME = 255

ADJECTIVES = (
    "amber", "brisk", "calm", "clever", "cosy", "crisp", "dapper", "eager", "fair", "fluffy", "gentle", "golden",
    "happy", "honest", "humble", "jolly", "keen", "kind", "lively", "lucky", "mellow", "merry", "mild", "neat",
    "noble", "plucky", "proud", "quick", "quiet", "rosy", "savoury", "sharp", "smooth", "spicy", "steady", "sunny",
    "swift", "tender", "tidy", "warm", "witty", "zesty",
)  # fmt: skip
DISHES = (
    "aloo", "appam", "bhaji", "biryani", "chaat", "chana", "chapati", "chutney", "dal", "dhokla", "dosa", "halwa",
    "idli", "jalebi", "kachori", "kheer", "khichdi", "kofta", "korma", "kulfi", "laddu", "lassi", "masala", "methi",
    "naan", "pakora", "palak", "paneer", "papad", "paratha", "poha", "pulao", "puri", "raita", "rasam", "roti",
    "sabzi", "sambar", "samosa", "tikka", "upma", "vada",
)  # fmt: skip


def new_id() -> str:
    """64 random hex digits, never only decimal ones in the first twelve, so that the short form reads as an ID."""
    while True:
        container_id = os.urandom(32).hex()
        if not container_id[:12].isdigit():
            return container_id


def random_name(taken: Callable[[str], bool]) -> str:
    """A readable name that `taken` says is free."""
    for attempt in range(100):
        adjective, dish, digits = os.urandom(3)
        name = f"{ADJECTIVES[adjective % len(ADJECTIVES)]}_{DISHES[dish % len(DISHES)]}"
        if attempt > 2:
            name += str(digits % 100)
        if not taken(name):
            return name
    return f"tiffin_{os.urandom(6).hex()}"


def check_name(name: str) -> str:
    """The name, if it is one. UsageError with Docker's words otherwise."""
    name = name.removeprefix("/")
    if len(name) < 2 or len(name) > MAX_NAME or not ALLOWED.issuperset(name) or name[0] in "_.-":
        raise UsageError(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            hint=f"2 to {MAX_NAME} characters",
        )
    return name
