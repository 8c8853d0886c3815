"""The compiled data path of both engines as Python uses it; without it all works, at more cost.

Python is quick enough for what is rare. Packets are not: after each sleep the interpreter's code and data
have left the processor's caches, and a wake-up costs three times what it does in a loop. For the receiver,
fastpath.c passes on the packets of links that are up and reports the rest to Python: receiver.py stays the
place that decides. For the sender it reads all sockets and reports all.

The library is built when netbond is installed and a C compiler is there (hatch_build.py). NETBOND_PURE=1 in
the environment leaves it aside.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Callable
from functools import partial

from netbond.srtla.native import native
from netbond.srtla.process.batch import Local
from netbond.srtla.process.wakeup import ENOUGH_PACKETS, LISTENER, PAUSE_S, WORTH_PACKETS, Report

_HEAD = struct.Struct("@iii")
_CMSG = struct.Struct("@Nii")
_OTHERS = 64
_HEARD = 256


class _Heard(ctypes.Structure):
    _fields_ = (
        ("link", ctypes.c_int32),
        ("packets", ctypes.c_uint32),
        ("bytes", ctypes.c_uint64),
        ("last_heard", ctypes.c_double),
    )


def _declare() -> ctypes.CDLL | None:
    if native.library is None:
        return None
    library = native.library
    pointer, number, seconds = ctypes.c_void_p, ctypes.c_int, ctypes.c_double
    text, size = ctypes.c_char_p, ctypes.POINTER(ctypes.c_size_t)
    for name, result, arguments in (
        ("nb_new", pointer, (number, number, seconds, seconds, seconds, seconds)),
        ("nb_free", None, (pointer,)),
        ("nb_drop_copies", None, (pointer,)),
        ("nb_add_group", number, (pointer, number)),
        ("nb_drop_group", None, (pointer, number)),
        ("nb_add_link", number, (pointer, number, text, number, number, text, number, number, seconds)),
        ("nb_drop_link", None, (pointer, number)),
        ("nb_heard", number, (pointer, pointer, number)),
        ("nb_failed", ctypes.c_uint64, (pointer, number)),
        ("nb_run", number, (pointer, seconds, seconds, pointer, number)),
        ("nb_report", pointer, (pointer, size)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_library = _declare()


class FastPath:
    """The data path of one listener."""

    def __init__(self, listener: int, epoll: int, flush_after_s: float = 1.0) -> None:
        """`epoll` has the listener and the groups' sockets, and others that are Python's."""
        if _library is None:
            raise RuntimeError("there is no compiled data path")
        self._lib = _library
        self._path = ctypes.c_void_p(
            self._lib.nb_new(listener, epoll, PAUSE_S, WORTH_PACKETS, ENOUGH_PACKETS, flush_after_s)
        )
        if not self._path:
            raise MemoryError
        self._others = (ctypes.c_int * _OTHERS)()
        self._heard = (_Heard * _HEARD)()
        self._size = ctypes.c_size_t()
        # Carries packets until a time (monotonic s) at most, and tells the descriptors that Python must look
        # after, and what else is left to Python. The second argument: s that packets may wait for others.
        self.run: Callable[[float, float], tuple[list[int], list[Report]]] = (
            self._run if native.extension is None else partial(native.extension.serve, self._path.value)
        )

    def close(self) -> None:
        """Free it."""
        self._lib.nb_free(self._path)
        self._path = ctypes.c_void_p()
        self.run = _closed

    def drop_copies(self) -> None:
        """Of SRT's ACKs, which a receiver sends over every link, report one."""
        self._lib.nb_drop_copies(self._path)

    def _run(self, until: float, patience: float) -> tuple[list[int], list[Report]]:
        count = self._lib.nb_run(self._path, until, patience, self._others, _OTHERS)
        return self._others[:count], self._reports()

    def _reports(self) -> list[Report]:
        start = self._lib.nb_report(self._path, ctypes.byref(self._size))
        if not self._size.value:
            return []
        data = ctypes.string_at(start, self._size.value)
        out: list[Report] = []
        position = 0
        while position < len(data):
            descriptor, length, record_length = _HEAD.unpack_from(data, position)
            position += _HEAD.size
            record = data[position : position + record_length]
            position += record_length
            error = 0
            if descriptor != LISTENER and record:
                (error,) = struct.unpack("@i", record)
            out.append((descriptor, record, data[position : position + length], error))
            position += length
        return out

    def heard(self) -> list[tuple[int, int, int, float]]:
        """(link, packets, bytes, last heard) of the links that carried something since the last call."""
        out = []
        while True:
            count = self._lib.nb_heard(self._path, self._heard, _HEARD)
            out += [(h.link, h.packets, h.bytes, h.last_heard) for h in self._heard[:count]]
            if count < _HEARD:
                return out

    def failed(self) -> tuple[int, int]:
        """Datagrams that the kernel did not take, and that the SRT server refused, since the last call."""
        return self._lib.nb_failed(self._path, 0), self._lib.nb_failed(self._path, 1)

    def add_group(self, descriptor: int) -> int:
        """A group and its socket to the SRT server; its number here, or -1: no room."""
        return int(self._lib.nb_add_group(self._path, descriptor))

    def drop_group(self, number: int) -> None:
        """With all its links."""
        self._lib.nb_drop_group(self._path, number)

    def add_link(self, group: int, record: bytes, local: Local | None, credit: int, now: float) -> int:
        """A link that is up, by the record of its packets; its number here, or -1: no room."""
        name, control = name_and_control(record, local)
        return int(
            self._lib.nb_add_link(
                self._path, group, record, len(record), len(name), control, len(control), credit, now
            )
        )

    def drop_link(self, number: int) -> None:
        """Its packets are Python's again."""
        self._lib.nb_drop_link(self._path, number)


def _closed(until: float, patience: float) -> tuple[list[int], list[Report]]:
    raise ValueError("the data path is closed")


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
    return _library is not None
