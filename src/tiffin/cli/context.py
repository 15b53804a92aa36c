"""What every verb is given: the global options and the engine, opened when first asked for."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiffin.engine import Engine


class Context:
    """One invocation of the command line."""

    def __init__(
        self,
        *,
        root: str | None = None,
        run_root: str | None = None,
        storage: str | None = None,
        debug: bool = False,
        userns: str | None = None,
        cdi_dirs: Sequence[str] = (),
    ) -> None:
        self.root = root
        self.run_root = run_root
        self.storage = storage
        self.userns = userns
        self.cdi_dirs = cdi_dirs
        self.debug: Callable[[str], None] | None = None
        if debug:
            self.debug = _debug_printer()
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            from tiffin.engine import Engine

            self._engine = Engine(
                self.root, run_root=self.run_root, storage=self.storage, debug=self.debug, warn=_warn,
                userns=self.userns, cdi_dirs=self.cdi_dirs or None,
            )  # fmt: skip
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def _warn(message: str) -> None:
    from tiffin.cli.colour import YELLOW, styled

    sys.stderr.write(f"{styled('tiffin: warning:', YELLOW, 2)} {message}\n")


def _debug_printer() -> Callable[[str], None]:
    from time import perf_counter

    started = perf_counter()

    def show(text: str) -> None:
        sys.stderr.write(f"[{(perf_counter() - started) * 1000:8.1f} ms] {text}\n")
        sys.stderr.flush()

    return show
