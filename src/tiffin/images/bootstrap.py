"""`tiffin bootstrap`: a Debian (or derivative) image straight from its package archive, by mmdebstrap(1)."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import threading
from collections import deque

from tiffin.errors import HostError, InvalidImageError, UsageError
from tiffin.images.config import DEFAULT_PATH
from tiffin.images.importer import import_image
from tiffin.images.reference import parse_tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, Any

    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image

VARIANTS = (
    "extract", "custom", "essential", "apt", "required", "minbase", "buildd", "important", "debootstrap", "standard",
)  # fmt: skip
_SHOWN_LINES = 8
_KILL_WAIT_S = 10.0

# How the host reaches package archives; nothing else of its apt configuration says something about the image.
_HOST_SETTINGS = (
    "Acquire::http::", "Acquire::https::", "Acquire::ftp::", "Acquire::Check-Valid-Until ", "Acquire::Check-Date ",
    "Acquire::Retries ", "Acquire::ForceIPv4 ", "Acquire::ForceIPv6 ",
)  # fmt: skip


def bootstrap(
    store: ImageStore,
    name: str,
    *,
    mirror: str | None = None,
    variant: str = "minbase",
    include: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> Image:
    """Make the image `name`, whose tag is the suite: "debian:bookworm"; without a tag "stable".

    Without `mirror` (an archive's URI) mmdebstrap chooses one for the suite; the host's own proxy and certificate
    settings for apt are used in any case, and stay out of the image. `include` are packages to add. `progress` gets
    mmdebstrap's messages, line by line, from another thread. The same archive state and SOURCE_DATE_EPOCH give the
    same image. Nothing is left running or mounted however this ends.
    Raises UsageError, HostError (mmdebstrap is missing or failed, not root), StoreError.
    """
    suite, key = _suite_of(name)
    if variant not in VARIANTS:
        raise UsageError(f"there is no bootstrap variant {variant!r}", hint=f"use one of {', '.join(VARIANTS)}")
    for package in include:
        if not package or package.startswith("-") or not package.isprintable():
            raise UsageError(f"invalid package name {package!r}")
    if mirror is not None and (not mirror or mirror.startswith("-") or not mirror.isprintable()):
        raise UsageError(f"invalid mirror {mirror!r}", hint="give the URI of a package archive")
    _check_host()
    shown = ["mmdebstrap", f"--variant={variant}", *(f"--include={package}" for package in include), suite]
    # Held from here on, since a prune would take the directory that mmdebstrap works in for litter.
    with store.adding(), _Mmdebstrap(store, shown[1:-1], suite, mirror, progress) as run:
        try:
            return import_image(
                store,
                run.output,
                key,
                config={"Env": [DEFAULT_PATH], "Cmd": ["bash"]},
                created_by=shlex.join(shown),
                before_add=run.check,
            )
        except InvalidImageError:
            run.check()  # a tar that is cut off is what is seen of a failure
            raise


def _suite_of(name: str) -> tuple[str, str]:
    """The suite to ask for and the name of the image, tag included."""
    reference = parse_tag(name)
    suite = "stable" if reference.tag == "latest" else reference.tag
    return suite, reference.key


def _check_host() -> None:
    if os.geteuid() != 0:
        raise HostError("bootstrap needs root: it installs packages in a root file system", hint="run it with sudo")
    if not shutil.which("mmdebstrap"):
        raise HostError("bootstrap needs mmdebstrap, which is not installed", hint="apt-get install mmdebstrap")
    for tool in ("setpriv", "unshare"):
        if not shutil.which(tool):
            raise HostError(f"bootstrap needs {tool}, which is not installed", hint="apt-get install util-linux")


class _Mmdebstrap:
    """mmdebstrap at work; `output` is the tar. Leaving the `with` block ends all of it."""

    def __init__(
        self,
        store: ImageStore,
        options: Sequence[str],
        suite: str,
        mirror: str | None,
        progress: Callable[[str], None] | None,
    ) -> None:
        from tiffin.storage.workspace import Workspace

        self._suite = suite
        self._progress = progress
        self._last: deque[str] = deque(maxlen=_SHOWN_LINES)
        self._workspace = Workspace(store.paths.temporary, "bootstrap")
        self._directory = self._workspace.__enter__()
        command = [
            # The process namespace ends with its first process, and that one with us, whatever way we end; the mounts
            # made in the chroot are in a mount namespace of their own and end with it.
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("mmdebstrap", "--mode=root", "--format=tar"),
            *self._host_settings(),
            # mmdebstrap copies these from the host for its own use and leaves them there.
            '--customize-hook=for file in resolv.conf hostname; do : > "$1/etc/$file"; chmod 644 "$1/etc/$file"; done',
            *(*options, suite, "-"),
            *([mirror] if mirror else []),
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": self._directory, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
            start_new_session=True,  # ^C is for us to handle
        )
        assert self._process.stdout and self._process.stderr
        self.output: IO[bytes] = self._process.stdout
        self._messages = threading.Thread(target=self._read_messages, args=(self._process.stderr,), daemon=True)
        self._messages.start()

    def __enter__(self) -> _Mmdebstrap:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._messages.join(_KILL_WAIT_S)  # its end is the end of the last process that could still write
        self.output.close()
        self._workspace.__exit__()

    def check(self) -> None:
        """Wait for the end; HostError with the last messages when it was a failure."""
        code = self._process.wait()
        if code:
            self._messages.join(_KILL_WAIT_S)
            last = "\n".join(self._last)
            raise HostError(
                f"mmdebstrap could not make {self._suite} (exit code {code}); its last words:\n{last}\n",
                hint="see whether the suite exists and the package archive can be reached",
            )

    def _host_settings(self) -> list[str]:
        """Hooks that lend the image's apt the host's settings while it is being made."""
        if not shutil.which("apt-config"):
            return []
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
        lines = [line for line in dump.splitlines() if line.startswith(_HOST_SETTINGS) and not line.endswith(' "";')]
        if not lines:
            return []
        path = f"{self._directory}/host-apt.conf"
        with open(path, "w") as file:
            file.write("\n".join(lines) + "\n")
        os.chmod(path, 0o644)
        inside = '"$1/etc/apt/apt.conf.d/00host-settings"'
        return [f"--setup-hook=cp {shlex.quote(path)} {inside}", f"--customize-hook=rm -f {inside}"]

    def _read_messages(self, stream: Any) -> None:
        with stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip()
                if line:
                    self._last.append(line)
                    if self._progress:
                        self._progress(line)
