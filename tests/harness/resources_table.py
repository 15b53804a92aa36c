"""The table of docs/RESOURCES.md, made of the table that checks and writes every limit."""

from __future__ import annotations

from pathlib import Path

from tiffin.cgroups.knobs import KNOBS, Knob

DOCUMENT = Path(__file__).parents[2] / "docs" / "RESOURCES.md"
BEGIN, END = "<!-- made by scripts/resources -->\n", "<!-- end -->\n"


def table() -> str:
    rows = ["| option | field of `Resources` | cgroup v1 | cgroup v2 | live | proven by |", "| --- " * 6 + "|"]
    rows += [_row(knob) for knob in KNOBS]
    return "\n".join(rows) + "\n"


def document(text: str) -> str:
    """The document with its table as it should be."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


def _row(knob: Knob) -> str:
    cells = (
        f"`{knob.option}`",
        f"`{knob.field}`",
        _files(knob, knob.v1, knob.v2),
        _files(knob, knob.v2, knob.v1),
        "yes" if knob.live else "at the next start",
        f"`{knob.proof}`",
    )
    return f"| {' | '.join(cells)} |"


def _files(knob: Knob, own: str, other: str) -> str:
    if own:
        return " or ".join(f"`{name}`" for name in own.split())
    return f"refused: {knob.without}" if other else "no cgroup: prctl(2)"
