"""What of Docker's command line works: computed from Tiffin's own tables of options, beside Docker's own help."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from tiffin.cli import commands
from tiffin.cli.main import GLOBAL
from tiffin.cli.options import Option, Verb

ROOT = Path(__file__).parents[2]
FACTS = ROOT / "tests" / "data" / "docker_cli.json"
DOCUMENT = ROOT / "docs" / "PARITY.md"
BY_HAND = "<!-- Everything below is written by hand; what is above is written by `make parity`. -->\n"

# Other parts of the project that will bring what is missing. What works already is shown as working all the same.
NOT_YET = {
    "networks": "add-host dns dns-option dns-search expose ip ip6 link link-local-ip mac-address network-alias publish "
    "publish-all",
    "resources": "blkio-weight blkio-weight-device cgroup-parent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime "
    "device-read-bps device-read-iops device-write-bps device-write-iops kernel-memory memory-swappiness "
    "oom-kill-disable storage-opt",
    "registries": "disable-content-trust",
    "server": "host context tls tlsverify tlscacert tlscert tlskey use-api-socket",
}
VERBS_NOT_YET = {
    "networks": "network",
    "registries": "pull push login logout search manifest trust",
    "builds": "build builder",
    "server": "context",
    "checkpoints": "checkpoint",
}
WORKS, REFUSED, UNKNOWN = "works", "refused", "unknown"


class Status(NamedTuple):
    """How Tiffin takes something that Docker has. `reason` is what it says when it refuses."""

    kind: str
    reason: str = ""


def facts() -> dict[str, object]:
    """Docker's verbs and options, as its help listed them."""
    found: dict[str, object] = json.loads(FACTS.read_text())
    return found


# Reading an installed docker


def read_docker(docker: str) -> dict[str, object]:
    """The same from an installed command line."""
    verbs: dict[str, list[str]] = {}
    top = _help(docker)
    pending = [[name] for name in _commands(top)]
    while pending:
        words = pending.pop(0)
        text = _help(docker, *words)
        inside = _commands(text)
        if inside:
            pending += [[*words, name] for name in inside]
        else:
            verbs[" ".join(words)] = _options(text)
    return {"version": docker_version(docker), "global": _options(top), "verbs": dict(sorted(verbs.items()))}


def docker_version(docker: str) -> str:
    text = subprocess.run([docker, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+(?:\.\d+)*)", text)
    assert found, text
    return found.group(1)


def _help(docker: str, *words: str) -> str:
    done = subprocess.run([docker, *words, "--help"], capture_output=True, text=True, check=False)
    return done.stdout or done.stderr


def _commands(text: str) -> list[str]:
    """The verbs that a page lists; plugins, which bear an asterisk, belong to others."""
    names, inside = [], False
    for line in text.splitlines():
        if line.endswith("Commands:"):
            inside = True
        elif not line.startswith("  "):
            inside = inside and not line.strip()
        elif inside and not line.split()[0].endswith("*"):
            names.append(line.split()[0])
    return names


def _options(text: str) -> list[str]:
    """Options as "name" or "name/n"."""
    found = []
    for line in text.splitlines():
        match = re.match(r"(?:  -(\w), |      )--([a-z0-9-]+)", line)
        if match and match.group(2) != "help":
            found.append(match.group(2) + (f"/{match.group(1)}" if match.group(1) else ""))
    return sorted(found)


def dump(found: dict[str, object]) -> str:
    """As it is committed: one verb a line, so that differences are legible."""
    verbs = found["verbs"]
    assert isinstance(verbs, dict)
    lines = [f"    {json.dumps(name)}: {json.dumps(options)}" for name, options in verbs.items()]
    head = f'{{\n  "version": {json.dumps(found["version"])},\n  "global": {json.dumps(found["global"])},\n'
    return head + '  "verbs": {\n' + ",\n".join(lines) + "\n  }\n}\n"


# Comparing


def find(words: str) -> Verb | Status:
    """Tiffin's verb for one of Docker's, or how it is refused."""
    first, _, second = words.partition(" ")
    if second and first in commands.GROUPS:
        places = commands.GROUPS[first][1]
        name = commands.ALIASES.get(first, {}).get(second, second)
        if name in places:
            return commands.load(places[name])
        reason = commands.ABSENT.get(words) or commands.ABSENT.get(second)
        return Status(REFUSED, reason) if reason else Status(UNKNOWN)
    if first in commands.VERBS:
        return commands.load(commands.VERBS[first])
    return Status(REFUSED, commands.ABSENT[first]) if first in commands.ABSENT else Status(UNKNOWN)


def status(verb: Verb, option: str) -> Status:
    """How `verb` takes Docker's "name" or "name/n"."""
    name, _, short = option.partition("/")
    for own in verb.options:
        if name in (own.name, own.alias):
            return Status(
                WORKS if short in ("", own.short) else UNKNOWN, f"-{short} is another option" if short else ""
            )
    if name in verb.absent:
        return Status(REFUSED, verb.absent[name][1])
    return Status(UNKNOWN)


def own_options(verb: Verb, dockers: list[str]) -> list[Option]:
    """What only Tiffin has."""
    names = {option.partition("/")[0] for option in dockers}
    return [option for option in verb.options if option.name not in names and option.alias not in names]


def _when(name: str, table: dict[str, str]) -> str:
    for area, names in table.items():
        if name in names.split():
            return f"not yet: {area}"
    return "refused"


# The document


def render() -> str:
    """The part of docs/PARITY.md that is computed."""
    known = facts()
    verbs = known["verbs"]
    dockers_global = known["global"]
    assert isinstance(verbs, dict) and isinstance(dockers_global, list)
    counts = {WORKS: 0, REFUSED: 0, UNKNOWN: 0}
    table: list[str] = []
    sections: list[str] = []
    for words, options in verbs.items():
        found = find(words)
        if isinstance(found, Status):
            first, _, last = words.partition(" ")
            when = _when(first, VERBS_NOT_YET) if first not in commands.GROUPS else _when(last, VERBS_NOT_YET)
            shown = words if first in commands.GROUPS or not last else f"{first} …"
            line = f"| `{shown}` | {when if found.kind == REFUSED else found.kind} | {found.reason} |"
            if line not in table:
                table.append(line)
            continue
        states = {option: status(found, option) for option in options}
        working = [option for option, state in states.items() if state.kind == WORKS]
        share = f"{len(working)} of {len(options)} options" if options else "no options"
        if words == found.name or found.name not in verbs:
            for state in states.values():
                counts[state.kind] += 1
            sections += _section(words, found, states)
            link = f"[{share}](#{_anchor(words)})" if options else share
        else:
            link = f"as `{found.name}`"
        table.append(f"| `{words}` | works | {link} |")
    total = sum(counts.values())
    return "\n".join(
        [
            "# Parity with Docker",
            "",
            f"Docker's command line {known['version']}, verb by verb and option by option, as Tiffin's own tables",
            "take it (`make parity` writes this, and a test compares).",
            "",
            f"Of {total} options of the verbs that exist, {counts[WORKS]} work and {counts[REFUSED]} are refused with",
            f"the reason shown; {counts[UNKNOWN]} are unknown. *Not yet* names the part of the project that brings it.",
            "",
            "## Verbs",
            "",
            "| verb | | |",
            "| --- | --- | --- |",
            *table,
            "",
            *_tiffins_own(list(verbs)),
            *_section("the command itself", GLOBAL, {option: status(GLOBAL, option) for option in dockers_global}),
            *sections,
        ]
    )


def _section(words: str, verb: Verb, states: dict[str, Status]) -> list[str]:
    lines = [f"## {words}", "", "| option | |", "| --- | --- |"]
    for option, state in states.items():
        name, _, short = option.partition("/")
        shown = f"`--{name}`, `-{short}`" if short else f"`--{name}`"
        said = "works"
        if state.kind == REFUSED:
            said = f"{_when(name, NOT_YET)}: {state.reason}"
        elif state.kind == UNKNOWN:
            said = f"**unknown** {state.reason}".rstrip()
        lines.append(f"| {shown} | {said.replace('|', chr(92) + '|')} |")
    own = own_options(verb, list(states))
    if own:
        lines.append(f"| only here | {', '.join(f'`--{option.name}`' for option in own)} |")
    return [*lines, ""] if states or own else []


def _tiffins_own(dockers: list[str]) -> list[str]:
    found = [name for name, place in commands.VERBS.items() if not commands.load(place).hidden and name not in dockers]
    for group, (_, places) in commands.GROUPS.items():
        found += [f"{group} {name}" for name in places if f"{group} {name}" not in dockers]
    return [f"Only here: {', '.join(f'`{name}`' for name in sorted(found))}.", ""]


def _anchor(words: str) -> str:
    return words.replace(" ", "-")


def document() -> str:
    """The whole file: what is computed, and what was written by hand below it."""
    before, mark, by_hand = DOCUMENT.read_text().partition(BY_HAND) if DOCUMENT.exists() else ("", "", "")
    assert mark or not before, f"{DOCUMENT} has lost the line that separates its parts"
    return f"{render()}\n{BY_HAND}{by_hand}"


def ledger() -> dict[str, str]:
    """The deliberate differences: their names, and what each is and why."""
    by_hand = DOCUMENT.read_text().partition(BY_HAND)[2]
    found: dict[str, str] = {}
    for line in by_hand.splitlines():
        match = re.fullmatch(r"\| `([a-z0-9-]+)` \| (.+) \| (.+) \|", line)
        if match:
            assert match.group(1) not in found, f"{match.group(1)} is in the ledger twice"
            found[match.group(1)] = f"{match.group(2)}: {match.group(3)}"
    return found
