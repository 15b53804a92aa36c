"""Build hook: compiles tiffin-launch with Meson, and writes man pages and completion scripts from the declarations."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LAUNCHER = "src/tiffin/tiffin-launch"


class LauncherHook(BuildHookInterface):  # type: ignore[type-arg]
    """Leaves the launcher at `LAUNCHER`: editable installs find it there, and wheels carry it from there.

    The help goes below share/ of wherever the wheel is installed.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        target = os.path.join(self.root, LAUNCHER)
        with tempfile.TemporaryDirectory(prefix="tiffin-build-") as build:
            self._meson("setup", build, self.root)
            self._meson("compile", "-C", build, "tiffin-launch")
            # A running container's monitor may be executing the old one: replace the name, never the bytes.
            shutil.copy2(os.path.join(build, "src/launcher/tiffin-launch"), target + ".new")
            os.replace(target + ".new", target)
        build_data["artifacts"].append("/" + LAUNCHER)
        build_data["shared_data"] = {**build_data.get("shared_data", {}), **self._help()}
        # The launcher is static and links to no Python: any CPython on this kind of machine may use the wheel.
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")

    def _help(self) -> dict[str, str]:
        """Man pages and completion scripts, made below build/, and where a wheel installs them."""
        directory = os.path.join(self.root, "build", "help")
        shutil.rmtree(directory, ignore_errors=True)
        done = subprocess.run(
            [sys.executable, "-m", "tiffin.cli.manual", directory],
            env={**os.environ, "PYTHONPATH": os.path.join(self.root, "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"cannot write the man pages\n{done.stderr}")
        return {directory: "share"}

    def _meson(self, *arguments: str) -> None:
        # Without build isolation the environment's own scripts, ninja among them, need not be on PATH.
        path = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", os.defpath)
        done = subprocess.run(
            [sys.executable, "-m", "mesonbuild.mesonmain", *arguments],
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"cannot build tiffin-launch: `meson {' '.join(arguments)}` failed\n{done.stdout}")
