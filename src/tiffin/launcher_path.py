"""Where the C program is."""

from __future__ import annotations

import os


def launcher_path() -> str:
    """The absolute path of `tiffin-launch`: what TIFFIN_LAUNCHER names, or the one that was installed with the package.

    It is not checked here; starting it says when it is missing.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    return os.environ.get("TIFFIN_LAUNCHER") or f"{here}/tiffin-launch"
