"""A user namespace as a descriptor, to map the ids of mounts by, from outside of any container."""

from __future__ import annotations

import os

from tiffin.errors import LaunchError
from tiffin.model.idmap import IdMap, text
from tiffin.runtime import native


def open_namespace(ids: IdMap) -> int:
    """A new user namespace with these maps and nobody in it; the caller closes it. LaunchError."""
    import array
    import socket

    with native.Descriptors() as descriptors:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            status = descriptors.own(theirs.detach())
            null = descriptors.own(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            actions = [(null, number) for number in (0, 1, 2, native.PLAN_FD)]
            pid = native.spawn(["userns", text(ids.uids), text(ids.gids)], [*actions, (status, native.STATUS_FD)])
            descriptors.close(status)
            try:
                data, ancillary, _, _ = ours.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
            finally:
                os.waitpid(pid, 0)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    if fds:
        return fds[0]
    words = data.decode("utf-8", "replace").split()
    reason = os.strerror(int(words[2])) if len(words) > 2 else "the launcher ended without a word"
    raise LaunchError(f"cannot make a user namespace: {reason}", hint="look at /proc/sys/user/max_user_namespaces")
