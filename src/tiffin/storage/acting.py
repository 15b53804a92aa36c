"""Make files as somebody else, with all of root's rights: through a mount that maps ids, root of the host is nobody."""

from __future__ import annotations

from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiffin.model.idmap import IdMap

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_PR_GET_SECUREBITS, _PR_SET_SECUREBITS = 27, 28
_NO_SETUID_FIXUP = 1 << 2  # capabilities(7): a change of ids takes no capability away


@contextmanager
def acting_as_root_of(ids: IdMap) -> Iterator[None]:
    """What this thread makes belongs to the root of that user namespace.

    setfsuid(2) is the thread's alone. Raises `OSError`.
    """
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    bits = libc.prctl(_PR_GET_SECUREBITS, 0, 0, 0, 0)
    if libc.prctl(_PR_SET_SECUREBITS, bits | _NO_SETUID_FIXUP, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    dumpable = libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)  # a change of ids resets it, for the whole process
    uid, gid = ids.root
    before_gid, before_uid = libc.setfsgid(gid), libc.setfsuid(uid)
    try:
        yield
    finally:
        libc.setfsuid(before_uid)
        libc.setfsgid(before_gid)
        libc.prctl(_PR_SET_SECUREBITS, bits, 0, 0, 0)
        if dumpable in (0, 1):
            libc.prctl(_PR_SET_DUMPABLE, dumpable, 0, 0, 0)
