"""Opens listening unix sockets by path, as root also in directories where others can write.

Nothing here follows a symbolic link in the last part of a path, or changes what somebody has put in the place
of a socket in the meantime.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from pathlib import Path

Node = tuple[int, int]  # device and inode of a socket


class NotASocketError(OSError):
    """Something that is no socket lies at the path."""


class InUseError(OSError):
    """Somebody listens at the path: the process `pid`, None if it accepts nobody at present."""

    def __init__(self, pid: int | None) -> None:
        who = f" (pid {pid})" if pid else ""
        super().__init__(errno.EADDRINUSE, f"another process listens there{who}")
        self.pid = pid


def listen(
    path: Path, mode: int, *, owner: tuple[int, int] | None = None, backlog: int = 64
) -> tuple[socket.socket, Node]:
    """A listening stream socket at `path`, which does not block, with exactly this mode; and its node.

    A socket that nobody listens at is replaced. `owner`: user and group ids that it is given to.
    NotASocketError, InUseError; other OSErrors as the kernel gives them.
    """
    _clear_place(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(str(path))  # fails on anything that is there, symbolic links too
        node = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(node)
            if not stat.S_ISSOCK(status.st_mode):
                raise OSError(errno.ENOTSOCK, "somebody replaced it while it was opened")
            # Through the descriptor: chmod(path) would follow a link put there in the meantime.
            if owner is not None:
                os.chown(f"/proc/self/fd/{node}", *owner)
            Path(f"/proc/self/fd/{node}").chmod(mode)
        finally:
            os.close(node)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener, (status.st_dev, status.st_ino)


def remove(path: Path, node: Node) -> None:
    """Remove the socket if it is still this one; OSError if it may not be removed."""
    if _node_at(path) == node:
        path.unlink(missing_ok=True)


def peer(connection: socket.socket) -> tuple[int, int]:
    """Process id and user id of who has connected, or of who listens, as the kernel says (SO_PEERCRED)."""
    # struct ucred: pid, uid, gid.
    ucred = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", ucred)
    return pid, uid


def _node_at(path: Path) -> Node | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


def _clear_place(path: Path) -> None:
    """Remove a socket that was left behind."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise NotASocketError(errno.ENOTSOCK, "it is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            raise InUseError(None) from None  # alive, though it accepts nobody
        raise InUseError(peer(probe)[0])
