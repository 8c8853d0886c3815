"""The compiled data path of both engines as Python uses it; without it all works, at more cost.

Python is quick enough for what is rare. Packets are not: after each sleep the interpreter's code and data
have left the processor's caches, and a wake-up costs three times what it does in a loop. For the receiver,
fastpath.c passes on the packets of links that are up and reports the rest to Python: receiver.py stays the
place that decides. For the sender it reads all sockets and reports all.

fastmodule.c makes it a class of Python, `FastPath`.
"""

from __future__ import annotations

import socket
import struct
from types import ModuleType
from typing import TYPE_CHECKING

from netbond import srtla
from netbond.srtla.process.batch import Local
from netbond.srtla.process.wakeup import ENOUGH_PACKETS, PAUSE_S, WORTH_PACKETS

if TYPE_CHECKING:
    from netbond.srtla.native._extension import FastPath

_CMSG = struct.Struct("@Nii")

# At import: later, as another user, the files may be out of reach.
extension: ModuleType | None = srtla.extension()


def open_path(listener: int, epoll: int, flush_after_s: float = 1.0) -> FastPath:
    """The data path of one listener. `epoll` has the listener and the groups' sockets, and others that are
    Python's."""
    if extension is None:
        raise RuntimeError("there is no compiled data path")
    path: FastPath = extension.FastPath(
        listener, epoll, PAUSE_S, WORTH_PACKETS, ENOUGH_PACKETS, flush_after_s
    )
    return path


def name_and_control(record: bytes, local: Local | None) -> tuple[bytes, bytes]:
    """What sendmsg(2) takes to answer one who writes under this record: address and ancillary message."""
    control = b""
    if local is not None:
        level, kind, value = local
        control = _CMSG.pack(_CMSG.size + len(value), level, kind) + value
        control = control.ljust(-(-len(control) // 8) * 8, b"\0")
    (family,) = struct.unpack_from("@H", record)
    return record[: 28 if family == socket.AF_INET6 else 16], control  # sockaddr_in6, sockaddr_in


def available() -> bool:
    """Whether there is a compiled data path."""
    return extension is not None
