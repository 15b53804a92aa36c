"""One direction of flow, as docs/ARCHITECTURE.md draws it: front doors, use cases, drivers and facts, model."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tiffin

SOURCE = Path(tiffin.__file__).parent

# A module may import those of its own layer and of the ones below. Names without a dot are packages or modules of
# `tiffin`; `parts` is below the use cases since it is handed to them.
LAYERS = (
    ("__main__", "cli", "oci", "aio"),
    (
        "engine",
        "engine_events",
        "engine_files",
        "engine_images",
        "engine_lifecycle",
        "engine_pods",
        "engine_registries",
        "engine_volumes",
    ),
    ("containers", "pods", "volumes", "system"),
    ("parts",),
    ("images", "runtime", "cgroups"),
    ("storage", "state", "registry"),
    ("model", "errors", "paths", "failpoints", "plain_json", "launcher_path", "_version"),
)
FACADE = "__init__"  # it only names what the others have
# Drivers that know others: the paths and rows of images are the store's, a plan begins with the root's mounts.
DRIVERS = {
    "images": {"storage", "state", "registry"},
    "runtime": {"storage"},
    "cgroups": set(),
    "storage": set(),
    "state": set(),
    "registry": set(),
}


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(SOURCE.rglob("*.py"))
    }


def imports(path: Path, known: set[str], *, late: bool) -> Iterator[str]:
    """The modules of `tiffin` that a file imports when it is loaded, and with `late` in its functions as well."""

    def walk(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in nodes:
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                continue
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not late:
                continue
            yield node
            for name in ("body", "orelse", "finalbody"):
                yield from walk(getattr(node, name, []))
            for handler in getattr(node, "handlers", []):
                yield from walk(handler.body)

    for node in walk(ast.parse(path.read_text()).body):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "tiffin":
            base = node.module.removeprefix("tiffin").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".removeprefix(".")
                yield full if full in known else base
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("tiffin."):
                    yield alias.name.removeprefix("tiffin.")


def rank(name: str) -> int:
    top = name.partition(".")[0]
    return next(place for place, layer in enumerate(LAYERS) if top in layer)


def test_every_module_has_a_layer() -> None:
    listed = {name for layer in LAYERS for name in layer}
    assert {name.partition(".")[0] for name in modules() if name != FACADE} == listed


def test_imports_go_down() -> None:
    found = modules()
    wrong = []
    for name, path in found.items():
        if name == FACADE:
            continue
        for imported in imports(path, set(found), late=True):
            if not imported or imported == FACADE:
                wrong.append(f"{name} imports the package's facade")
            elif rank(imported) < rank(name):
                wrong.append(f"{name} imports {imported}")
    assert wrong == []


def test_drivers_are_apart() -> None:
    found = modules()
    for name, path in found.items():
        own = name.partition(".")[0]
        if own in DRIVERS:
            used = {used.partition(".")[0] for used in imports(path, set(found), late=True)}
            assert used & set(DRIVERS) - {own} <= DRIVERS[own], name


def test_front_doors_are_apart() -> None:
    found = modules()
    for name, path in found.items():
        top = name.partition(".")[0]
        if top in ("oci", "aio", "cli"):
            others = {"cli", "oci", "aio"} - {top}
            crossed = {used for used in imports(path, set(found), late=True) if used.partition(".")[0] in others}
            assert crossed <= ({"cli.options"} if top == "oci" else set()), name


def test_nothing_is_loaded_in_a_circle() -> None:
    found = modules()
    edges = {name: set(imports(path, set(found), late=False)) - {name} for name, path in found.items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " imports ".join([*way[way.index(name) :], name])
        if name in done:
            return
        for imported in sorted(edges.get(name, ())):
            visit(imported, (*way, name))
        done.add(name)

    for name in edges:
        visit(name, ())


def test_no_module_is_too_long() -> None:
    long = {name: count for name, path in modules().items() if (count := len(path.read_text().splitlines())) > 500}
    assert long == {}
