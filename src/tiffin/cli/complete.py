"""`__complete WORD...`: what the last word may become, for the scripts of `completion`.

Prints a line per candidate, "word" or "word<tab>description", then ":FLAGS". The flags are those of cobra(1)'s
protocol, which shells' frameworks know: 2 no blank after it, 4 no file names, 16 directories only.
Nothing that goes wrong is shown, and a store that is not there stays so: somebody is typing.
"""

from __future__ import annotations

import sys

from tiffin.cli import commands
from tiffin.cli.options import Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed

NO_SPACE, NO_FILES, DIRECTORIES = 2, 4, 16

Candidates = tuple[list[tuple[str, str]], int]
_NOTHING: Candidates = ([], NO_FILES)

_STREAMS = ("stdin", "stdout", "stderr")
_SIGNALS = ("TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT", "WINCH")
_ULIMITS = "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
_FIXED = {
    "attach": _STREAMS,
    "signal": _SIGNALS,
    "stop-signal": _SIGNALS,
    "security-opt": ("seccomp=", "apparmor=", "no-new-privileges", "label=", "systempaths=unconfined"),
    "mount": ("type=bind,", "type=volume,", "type=tmpfs,"),
    "log-opt": ("max-size=", "max-file="),
}
# Which containers a verb can do something with; all others take every one.
_RUNNING = frozenset("attach exec kill pause port stop top stats".split())
_STARTABLE = frozenset(("start",))
_FILES = ("file", "path")
_PLACEHOLDERS = frozenset("dir file id name number path seconds uid".split())
_SINGLE = ("host", "local")


class Typed:
    """What the words before the one that is being typed turned out to be."""

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self.values: dict[str, str] = {}
        self.pending: Option | None = None  # waits for its value
        self.only_arguments = False  # options have ended
        self.rest = 0  # where the first argument of a verb that is not interspersed was


def read(verb: Verb, words: Sequence[str]) -> Typed:
    """As `options.parse`, but nothing is wrong: what is unknown is passed over."""
    longs = {option.name: option for option in verb.options} | {o.alias: o for o in verb.options if o.alias}
    shorts = {option.short: option for option in verb.options if option.short}
    typed = Typed()
    for position, word in enumerate(words):
        if typed.pending is not None:
            typed.values[typed.pending.name] = word
            typed.pending = None
        elif typed.only_arguments or not word.startswith("-") or word == "-":
            typed.arguments.append(word)
            if not verb.interspersed and not typed.only_arguments:
                typed.only_arguments, typed.rest = True, position
        elif word == "--":
            typed.only_arguments, typed.rest = True, position + 1
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            option = longs.get(name)
            if option is not None and equals:
                typed.values[option.name] = value
            elif option is not None and option.kind != "bool":
                typed.pending = option
        else:
            _read_cluster(shorts, word, typed)
    return typed


def _read_cluster(shorts: dict[str, Option], word: str, typed: Typed) -> None:
    for index, letter in enumerate(word[1:], 2):
        option = shorts.get(letter)
        if option is not None and option.kind != "bool":
            if index < len(word):
                typed.values[option.name] = word[index:].removeprefix("=")
            else:
                typed.pending = option
            return


def complete(words: list[str], root: str | None = None, run_root: str | None = None) -> Candidates:
    """What the last of `words` (those after "tiffin") may become: (word, description) and the flags.

    `root` and `run_root` are the store's unless the words themselves name another.
    """
    from tiffin.cli.main import GLOBAL

    *before, current = words or [""]
    typed = read(GLOBAL, before)
    names = Names(typed.values.get("root", root), typed.values.get("run-root", run_root))
    if not typed.arguments:
        if typed.pending is not None or current.startswith("-"):
            return _option_or_value(GLOBAL, typed, current, names)
        return _verbs(commands.VERBS, current, groups=True)
    name, rest = typed.arguments[0], typed.arguments[1:]
    if name == "help":
        name, rest = (rest[0], rest[1:]) if rest else ("", [])
        if not name:
            return _verbs(commands.VERBS, current, groups=True)
    if name in commands.GROUPS:
        places = commands.GROUPS[name][1]
        if not rest:
            return _verbs(places, current)
        found = commands.ALIASES.get(name, {}).get(rest[0], rest[0])
        place, rest = places.get(found), rest[1:]
        name = found
    else:
        place = commands.VERBS.get(name)
    if place is None:
        return _NOTHING
    verb = commands.load(place)
    return _verb(verb, name, read(verb, rest), current, names)


def _verb(verb: Verb, name: str, typed: Typed, current: str, names: Names) -> Candidates:
    if typed.pending is not None or (current.startswith("-") and not typed.only_arguments):
        return _option_or_value(verb, typed, current, names)
    count = len(typed.arguments)
    if verb.maximum is not None and count >= verb.maximum:
        return _NOTHING
    if name == "cp":
        return _cp(typed, current, names)
    if name == "completion":
        return _fitting(("bash", "zsh", "fish"), current), NO_FILES
    kind = _kind(verb, count)
    if kind in ("command", "file"):
        return [], 0
    if kind == "place":
        return _place(current)
    if kind not in ("container", "image", "volume", "pod", "list", "any"):
        return _NOTHING
    found = names.of(kind, _states(name))
    taken = set(typed.arguments)
    return [(word, what) for word, what in found if word.startswith(current) and word not in taken], NO_FILES


def _states(name: str) -> str:
    if name in _RUNNING:
        return "running"
    if name == "unpause":
        return "paused"
    return "stopped" if name in _STARTABLE else ""


def _kind(verb: Verb, count: int) -> str:
    """What argument number `count` is, as the verb's own usage line names it."""
    words = [word.strip("[].") for word in verb.arguments.replace("[:TAG]", "").split()]
    if not words:
        return ""
    word = words[min(count, len(words) - 1)]
    if word == "ARG" or ("COMMAND" in words and count >= words.index("COMMAND")):
        return "command"
    for beginning, kind in (
        ("NAME|ID", "any"), ("CONTAINER", "container"), ("SOURCE_IMAGE", "image"), ("IMAGE", "image"),
        ("TARGET_IMAGE", "image"), ("REPOSITORY", "image"), ("VOLUME", "volume"), ("POD", "pod"), ("FILE", "file"),
        ("PATH", "file"), ("LIST", "list"), ("MANIFEST", "image"), ("SOURCE", "place"), ("DESTINATION", "place"),
    ):  # fmt: skip
        if word.startswith(beginning):
            # The name that `volume create` gives is new.
            return "" if beginning == "VOLUME" and verb.name.endswith("create") else kind
    return ""


def _cp(typed: Typed, current: str, names: Names) -> Candidates:
    """CONTAINER:PATH on one side, a file of the host on the other."""
    if ":" in current or current.startswith(("/", ".", "~")):
        return [], 0
    if typed.arguments and ":" in typed.arguments[0]:
        return [], 0
    found = [(f"{word}:", what) for word, what in names.of("container", "") if word.startswith(current)]
    return found, NO_SPACE


def _place(current: str) -> Candidates:
    """A transport; what follows it may be a file."""
    if ":" in current:
        return [], 0
    transports = ("docker://", "oci:", "oci-archive:", "docker-archive:", "dir:")
    return _fitting(transports, current), NO_FILES | NO_SPACE


def _option_or_value(verb: Verb, typed: Typed, current: str, names: Names) -> Candidates:
    if typed.pending is not None:
        return _value(typed.pending, current, "", names)
    name, equals, value = current.partition("=")
    if equals:
        for option in verb.options:
            if name == f"--{option.name}" or name == f"--{option.alias}":
                return _value(option, value, f"{name}=", names)
        return _NOTHING
    found = [(f"--{option.name}", option.help) for option in verb.options]
    found += [(f"-{option.short}", option.help) for option in verb.options if option.short and current == "-"]
    found.append(("--help", "Show what it does and how"))
    return [(word, what) for word, what in sorted(found) if word.startswith(current)], NO_FILES


def _value(option: Option, current: str, glue: str, names: Names) -> Candidates:
    if option.kind == "bool":
        return _fitting(("true", "false"), current, glue), NO_FILES
    word = option.word
    if word.partition(":")[0].partition("[")[0] == "container" or option.name in ("volumes-from", "link"):
        return _fitting_pairs(names.of("container", ""), current, glue), NO_FILES
    if word.startswith("image"):
        return _fitting_pairs(names.of("image", ""), current, glue), NO_FILES
    if option.name == "pod":
        return _fitting_pairs(names.of("pod", ""), current, glue), NO_FILES
    if option.name == "volume":
        return _volume(current, glue, names)
    if option.name in ("cap-add", "cap-drop"):
        from tiffin.runtime.security.capabilities import NAMES

        return _fitting(("ALL", *(name.removeprefix("CAP_") for name in NAMES)), current.upper(), glue), NO_FILES
    if option.name == "ulimit":
        return _fitting([f"{name}=" for name in _ULIMITS], current, glue), NO_FILES | NO_SPACE
    if option.name in _FIXED:
        found = _fitting(_FIXED[option.name], current, glue)
        return found, NO_FILES | (NO_SPACE if any(each.endswith(("=", ",")) for each, _ in found) else 0)
    choices = choices_of(word)
    if choices:
        return _choices(choices, current, glue, names)
    if word == "dir" or word.startswith("dir["):
        return [], DIRECTORIES
    return ([], 0) if word in _FILES or word.startswith(("path", "file", "host[")) else _NOTHING


def choices_of(word: str) -> list[str]:
    """The values that an option's `word` spells out, such as "none|host"; [] for one that stands for any value."""
    bare, depth = "", 0
    for letter in word:
        depth += letter == "["
        bare += "" if depth else letter
        depth -= letter == "]"
    choices = bare.split("|")
    if len(choices) < 2 and bare not in _SINGLE:
        return []
    return [] if any(not choice or choice in _PLACEHOLDERS or choice.isupper() for choice in choices) else choices


def _choices(choices: list[str], current: str, glue: str, names: Names) -> Candidates:
    if current.startswith("container:"):
        found = [(f"container:{name}", what) for name, what in names.of("container", "running")]
        return _fitting_pairs(found, current, glue), NO_FILES
    # Of "container:NAME" the name is still to come.
    fitting = _fitting([choice.partition(":")[0] + ":" * (":" in choice) for choice in choices], current, glue)
    return fitting, NO_FILES | (NO_SPACE if len(fitting) == 1 and fitting[0][0].endswith(":") else 0)


def _volume(current: str, glue: str, names: Names) -> Candidates:
    if ":" in current or current.startswith(("/", ".", "~")):
        return [], 0
    found = [(f"{word}:", what) for word, what in names.of("volume", "")]
    return _fitting_pairs(found, current, glue), NO_SPACE


def _fitting(words: Iterable[str], current: str, glue: str = "") -> list[tuple[str, str]]:
    return [(glue + word, "") for word in words if word.startswith(current)]


def _fitting_pairs(found: Iterable[tuple[str, str]], current: str, glue: str) -> list[tuple[str, str]]:
    return [(glue + word, what) for word, what in found if word.startswith(current)]


def _verbs(places: dict[str, str], current: str, *, groups: bool = False) -> Candidates:
    # Every verb is a module to import: only those that fit are asked for their summary.
    found = []
    for name in places:
        if name.startswith(current) and not name.startswith("_"):
            verb = commands.load(places[name])
            if not verb.hidden:
                found.append((name, verb.summary))
    if groups:
        found += [(name, summary) for name, (summary, _) in commands.GROUPS.items() if name.startswith(current)]
        if "help".startswith(current):
            found.append(("help", "Show what a verb does and how"))
    return sorted(found), NO_FILES


class Names:
    """What there is in the store, read and never written."""

    def __init__(self, root: str | None, run_root: str | None) -> None:
        self._root, self._run_root = root, run_root

    def of(self, kind: str, states: str) -> list[tuple[str, str]]:
        """(name, description) of all things of a kind; of containers those in a state ("": all). [] when in doubt."""
        import os
        import sqlite3

        from tiffin.paths import paths_for
        from tiffin.state.db import check_owner

        paths = paths_for(self._root, self._run_root)
        if not os.access(paths.database, os.R_OK):
            return []
        check_owner(paths.root)
        if kind == "list":
            from tiffin.images.transfer import lists

            return [(name, "list of manifests") for name in lists.names(paths)]
        # What has a meaning in SQLite's URIs (sqlite.org/uri.html).
        path = paths.database.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.2)
        try:
            found: list[tuple[str, str]] = []
            if kind in ("container", "any"):
                found += self._containers(database, states)
            if kind in ("image", "any"):
                found += [(name, "image") for (name,) in database.execute("SELECT name FROM tags ORDER BY name")]
            if kind in ("volume", "any"):
                found += [(name, "volume") for (name,) in database.execute("SELECT name FROM volumes WHERE state = 1")]
            if kind == "pod":
                found += [(name, "pod") for (name,) in database.execute("SELECT name FROM pods ORDER BY name")]
            return found
        finally:
            database.close()

    def _containers(self, database: object, states: str) -> list[tuple[str, str]]:
        from tiffin.paths import paths_for
        from tiffin.state.status import read_state

        paths = paths_for(self._root, self._run_root)
        rows = database.execute(  # type: ignore[attr-defined]
            "SELECT id, name, json_extract(record, '$.image_name') FROM containers WHERE removing = 0 ORDER BY name"
        )
        found = []
        for container_id, name, image in rows:
            if states:
                running = read_state(paths, container_id).status == "running"
                if running != (states in ("running", "paused")):
                    continue
            found.append((name, image or ""))
        return found


def _complete(context: Context, parsed: Parsed) -> int:
    try:
        found, flags = complete(parsed.arguments, context.root, context.run_root)
    except Exception:
        # Whatever it was, an error message in the middle of a typed line helps nobody; the command itself will tell.
        found, flags = _NOTHING
    lines = [f"{word}\t{what}\n" if what else f"{word}\n" for word, what in found]
    sys.stdout.write("".join(lines) + f":{flags}\n")
    return 0


COMPLETE = Verb(
    name="__complete",
    summary="Print what a word may become; completion scripts call this",
    run=_complete,
    arguments="WORD...",
    maximum=None,
    interspersed=False,
    hidden=True,
)
