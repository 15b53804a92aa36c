"""Putting a layer into the store in a process of its own, so that layers do not wait for each other's interpreter.

The parent downloads, verifies the blob's digest and writes it to the child's standard input; the child decompresses,
verifies the diff_id and keeps contents and layer. The child knows no registry and no credentials. It holds the store's
lock itself, ends when its input does, and with its parent.

    python -m tiffin.images.transfer.unpacker OBJECTS LAYERS LOCK DIFF_ID SIZE WHAT < blob
"""

from __future__ import annotations

import json
import os
import sys

from tiffin import errors
from tiffin.errors import InvalidImageError, StoreError, TiffinError, os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.paths import Paths

PIPE_BYTES = 1 << 20
F_SETPIPE_SZ = 1031
_PR_SET_PDEATHSIG = 1


class Unpacker:
    """`write` a blob to it, then `finish` for (diff_id, bytes of the tar). A context manager, which kills.

    Raises what ingest raises: InvalidImageError beginning with `what`, StoreError. OSError when no process can be made.
    """

    def __init__(self, paths: Paths, diff_id: str, size: int, what: str) -> None:
        import fcntl
        import subprocess

        package = os.path.dirname(os.path.dirname(os.path.abspath(errors.__file__)))
        self._what = what
        arguments = (paths.objects, paths.layers, f"{paths.root}/store.lock", diff_id, str(size), what)
        self._process = subprocess.Popen(
            # Nothing from the working directory, and no search for site-packages: our own path is handed on.
            [sys.executable, "-P", "-S", "-m", "tiffin.images.transfer.unpacker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (package, *sys.path)))},
            start_new_session=True,  # the terminal's Ctrl-C is the parent's affair
        )
        assert self._process.stdin is not None
        self._in = self._process.stdin.fileno()
        try:
            fcntl.fcntl(self._in, F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            pass  # beyond the limit of pipe(7): slower, nothing else

    def __enter__(self) -> Unpacker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def write(self, data: bytes) -> None:
        """Raises BrokenPipeError when it has ended: `finish` tells why."""
        done = os.write(self._in, data)
        while done < len(data):
            done += os.write(self._in, memoryview(data)[done:])

    def finish(self) -> tuple[str, int]:
        """End the input and wait for the outcome."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        said = self._process.stdout.read()
        code = self._process.wait()
        try:
            answer = json.loads(said)
        except ValueError:
            raise StoreError(f"{self._what}: the process that unpacks it ended with {code}") from None
        if "error" in answer:
            kind = getattr(errors, answer["error"])
            raise kind(answer["message"], hint=answer["hint"])
        return answer["diff_id"], answer["size"]

    def stop(self) -> None:
        """End it from another thread: it is dead when this returns, and `write` fails."""
        self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """End it now; what it kept of an unfinished layer is litter."""
        process = self._process
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def main(arguments: list[str]) -> int:
    """What the child does."""
    import ctypes
    import fcntl

    objects, layers, lock, diff_id, size, what = arguments
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 9)
    if os.getppid() != parent:
        return 1
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_SH)
        found = _ingest(objects, layers, diff_id, int(size), what)
    except TiffinError as error:
        answer = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    except OSError as error:
        told = os_error(error, f"{what}: cannot store the layer")
        answer = {"error": type(told).__name__, "message": told.message, "hint": told.hint}
    else:
        answer = {"diff_id": found[0], "size": found[1]}  # type: ignore[dict-item]
    os.write(1, json.dumps(answer).encode())
    return 0


def _ingest(objects: str, layers: str, diff_id: str, size: int, what: str) -> tuple[str, int]:
    from tiffin.images.codecs import Decompressed
    from tiffin.storage.layers import LayerStore
    from tiffin.storage.objects import ObjectStore

    store = LayerStore(layers, ObjectStore(objects))
    with open(0, "rb", buffering=0, closefd=False) as raw, Decompressed(raw, what, threaded=True) as stream:
        try:
            layer = store.ingest(stream.binary, expected_diff_id=diff_id, compressed_size=size)
        except InvalidImageError as error:
            if error.message.startswith(what):
                raise
            raise InvalidImageError(f"{what}: {error.message}", hint=error.hint) from error
        stream.drain()
    return layer.diff_id, layer.size_bytes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
