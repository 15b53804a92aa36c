"""What a real `tiffin run` loads, all the way to its exit."""

from __future__ import annotations

import os
import subprocess
import sys

# Each takes milliseconds to import, and is easily imported again by accident. For `run --rm IMAGE true`.
HEAVY = """
    argparse asyncio base64 concurrent ctypes dataclasses email gzip hashlib http inspect isal
    logging multiprocessing pathlib pickle platform random secrets selectors shutil
    socket ssl string subprocess tarfile tempfile textwrap tokenize traceback typing urllib uuid zipfile zstandard
""".split()


def test_run_loads_nothing_heavy(engine_root: str, busybox: str) -> None:
    # Without site, whose modules are not ours to choose; what site would have found is named instead.
    script = "import sys; from tiffin.cli.main import main; sys.exit(main())"
    argv = [sys.executable, "-S", "-X", "importtime", "-c", script, "--root", engine_root]
    argv += ["run", "--rm", "--network", "none", busybox, "true"]
    done = subprocess.run(
        argv,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = done.stderr.splitlines()
    said = [line for line in lines if not line.startswith("import time:")]
    assert (done.returncode, said) == (0, [])
    loaded = {line.rpartition("|")[2].strip() for line in lines}
    assert "tiffin.engine" in loaded, "the measurement itself works"
    assert {name for name in loaded if name.partition(".")[0] in HEAVY} == set()
    assert {name for name in loaded if name.startswith(("importlib.metadata", "importlib.resources"))} == set()
