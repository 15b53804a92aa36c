"""What the library hands back for a finished run."""

from __future__ import annotations

from tiffin.model.record import Record


class Result(Record):
    """A finished run: the exit code (128 + n for signal n) and everything it wrote, as bytes and as text."""

    exit_code: int
    stdout_bytes: bytes
    stderr_bytes: bytes

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode("utf-8", "replace")
