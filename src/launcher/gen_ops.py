"""Write `ops.h` from the OPS table of `runtime/ops.py`, so that the two sides of a plan cannot drift apart.

Usage: gen_ops.py OPS_PY OPS_H
"""

from __future__ import annotations

import importlib.util
import sys


def header(ops_py: str) -> str:
    """The text of `ops.h` for the table in the file `ops_py`, which is loaded by itself, without its package."""
    spec = importlib.util.spec_from_file_location("tiffin_ops", ops_py)
    assert spec is not None and spec.loader is not None
    sys.dont_write_bytecode = True
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table: dict[str, tuple[int, str]] = module.OPS
    magic: bytes = module.MAGIC
    rows = [f'    X({name}, {code}, "{signature}")' for name, (code, signature) in table.items()]
    lines = [
        "/* Generated from runtime/ops.py by gen_ops.py. Do not edit. */",
        "#ifndef TIFFIN_OPS_H",
        "#define TIFFIN_OPS_H",
        f'#define PLAN_MAGIC "{magic.rstrip(bytes(1)).decode("ascii")}"',
        f"#define PLAN_MAGIC_BYTES {len(magic)}",
        f"#define MAX_PLAN_BYTES {module.MAX_PLAN_BYTES}u",
        f"#define STDIO_TTY {module.STDIO_TTY}u",
        f"#define STDIO_OPEN_STDIN {module.STDIO_OPEN_STDIN}u",
        f"#define STDIO_PASSED {module.STDIO_PASSED}u",
        f"#define MAX_PASSED {module.MAX_PASSED}",
        f"#define MAX_OP_CODE {max(code for code, _ in table.values())}",
        f"#define MAX_OP_FIELDS {max(len(signature) for _, signature in table.values())}",
        "#define TIFFIN_OPS(X) \\",
        " \\\n".join(rows),
        "enum op_code {",
        *(f"    OP_{name} = {code}," for name, (code, _) in table.items()),
        "};",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with open(sys.argv[2], "w", encoding="ascii") as out:
        out.write(header(sys.argv[1]))
