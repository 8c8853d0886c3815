"""Reads and sends many datagrams per system call, over non-blocking UDP sockets.

What there is, for both engines:

- `Inbox`: recvmmsg into buffers that are made once. `read` for connected sockets; `read_from` for one that
  everybody may write to, with `local` to answer from the address that was written to. Where the network
  card or a local sender has joined datagrams of one flow into one (UDP_GRO, see `enable_gro`),
  they are taken apart here.
- `send`: over a connected socket, datagrams of equal length in one system call (UDP_SEGMENT), which takes the
  kernel a third of the time that it needs for each alone. What a device or kernel cannot do so goes singly.
- `send_to`: to many addresses over one socket.

An error on a socket is a fact for the caller to judge, never raised.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from netbond import srtla
from netbond.srtla.wire import MTU

PER_WAKE_UP = 64  # datagrams: enough for a burst, and other sockets get their turn
SLOT_BYTES = MTU + 1  # longer datagrams are cut, and ignored: no packet of SRT is so long
GRO_SIZE_BYTES = 65535  # of datagrams that the kernel has joined
GSO_MAX_BYTES = 65000  # of datagrams sent in one call, without headers
GSO_MAX_SEGMENTS = 64  # datagrams sent in one call: what every kernel takes
MAX_STRANGERS = 4096  # addresses of peers that an inbox remembers besides those in use

Local = tuple[int, int, bytes]  # the local address of a datagram, as an ancillary message to answer from it
Address = tuple[Any, ...]  # as recvfrom gives it

_extension = srtla.extension()

_IP_PKTINFO = 8  # include/uapi/linux/in.h; not in Python's socket module
_UDP_SEGMENT = 103  # include/uapi/linux/udp.h
_UDP_GRO = 104
_BYTE_ORDER: Literal["little", "big"] = "little" if sys.byteorder == "little" else "big"
_INDEX_0 = struct.pack("@i", 0)  # routing chooses the device of an answer, only its source is ours to say
_NO_GSO = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT})


# --- recvmmsg -----------------------------------------------------------------------------------------------


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iov_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MMsgHdr(ctypes.Structure):
    _fields_ = (("header", _MsgHdr), ("length", ctypes.c_uint32))


_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg

_STRIDE = ctypes.sizeof(_MMsgHdr)
_LENGTH = _MMsgHdr.length.offset // 4
_CONTROL_LENGTH = _MsgHdr.control_length.offset // ctypes.sizeof(ctypes.c_size_t)
_MSG_DONTWAIT = int(socket.MSG_DONTWAIT)

# Of each slot, one record: the peer's address in 32 bytes, then ancillary data.
_NAME = 32
_CONTROL = 96
_RECORD = _NAME + _CONTROL
_GRO_SPACE = socket.CMSG_SPACE(4)
_CMSG = struct.Struct("@Nii")  # length, level, type


class Inbox:
    """Buffers for recvmmsg; one inbox serves any number of sockets in turn."""

    def __init__(self, slots: int = PER_WAKE_UP, *, gro: bool = False) -> None:
        """`gro`: for sockets with `enable_gro`; takes 64 KiB per slot."""
        self._slots = slots
        self._size = GRO_SIZE_BYTES if gro else SLOT_BYTES
        self._data = bytearray(slots * self._size)
        self._records = bytearray(slots * _RECORD)
        self._iovecs = (_IoVec * slots)()
        self._headers = bytearray(slots * _STRIDE)
        headers = (_MMsgHdr * slots).from_buffer(self._headers)
        data = ctypes.addressof((ctypes.c_char * len(self._data)).from_buffer(self._data))
        records = ctypes.addressof((ctypes.c_char * len(self._records)).from_buffer(self._records))
        iovecs = ctypes.addressof(self._iovecs)
        for slot in range(slots):
            self._iovecs[slot] = _IoVec(data + slot * self._size, self._size)
            headers[slot].header = _MsgHdr(
                records + slot * _RECORD,
                _NAME,
                iovecs + slot * ctypes.sizeof(_IoVec),
                1,
                records + slot * _RECORD + _NAME,
                _CONTROL,
                0,
            )
        self._fresh_headers = bytes(self._headers)  # the kernel writes lengths into them
        self._view = memoryview(self._data)
        self._words = memoryview(self._headers).cast("I")
        self._longs = memoryview(self._headers).cast("L")
        self._address = ctypes.c_void_p(ctypes.addressof(headers))
        self._mixed_records = False  # ancillary data of two kinds have been in the records
        self._addresses: dict[bytes, Address] = {}  # by what the kernel writes: address, and ours behind it
        self._record_of: dict[Address, bytes] = {}
        self._local: dict[Address, Local | None] = {}
        self._crowd = MAX_STRANGERS

    def read(self, sock: socket.socket) -> tuple[list[bytes], OSError | None]:
        """The datagrams that wait on a connected socket, as many as there are slots, and the error that ended
        the reading, if one did. A pending ICMP error (ECONNREFUSED and its like) comes once and takes no
        datagram away."""
        count = self._receive(sock)
        if count < 0:
            number = ctypes.get_errno()
            blocked = number in (errno.EAGAIN, errno.EINTR)
            return [], None if blocked else OSError(number, os.strerror(number))
        view, size = self._view, self._size
        out = []
        start = 0
        for length in self._lengths(count):
            if length <= MTU:
                out.append(bytes(view[start : start + length]))
            start += size
        return out, None

    def read_from(self, sock: socket.socket) -> list[tuple[Address, bytes]]:
        """(address, datagram) of those that wait on an unconnected socket, as many as there are slots."""
        count = self._receive(sock)
        if count <= 0:
            return []  # nothing there, or the ICMP answer to something sent earlier, by whatever peer
        out: list[tuple[Address, bytes]] = []
        view, size, known = self._view, self._size, self._addresses
        records = bytes(self._records[: count * _RECORD])
        words = _STRIDE // ctypes.sizeof(ctypes.c_size_t)
        controls = self._longs[_CONTROL_LENGTH : count * words : words].tolist()
        start = position = 0
        for length, control in zip(self._lengths(count), controls, strict=True):
            record = records[position : position + _NAME + control]
            address, segment = known.get(record), 0
            if address is None:
                address, segment = self._look_at(record)
                if segment:
                    whole = bytes(view[start : start + length])
                    out += [(address, whole[at : at + segment]) for at in range(0, length, segment)]
            if length <= MTU and not segment:
                out.append((address, bytes(view[start : start + length])))
            start += size
            position += _RECORD
        return out

    def resolve(self, record: bytes) -> Address:
        """Whose a record is that fastpath.c has read: address, then ancillary data, clean between them."""
        return self._addresses.get(record) or self._look_at(record)[0]

    @property
    def local(self) -> Mapping[Address, Local | None]:
        """From where to answer a peer that wrote lately; None, or no entry: the kernel may choose."""
        return self._local

    def remember(self, address: Address, local: Local | None) -> None:
        """Remember from which address to answer a peer whose datagram another process received."""
        if address not in self._record_of:
            self._record_of[address] = b""  # of no record: so that it is forgotten with the others
            self._local[address] = local

    @property
    def crowded(self) -> bool:
        """Whether to call `forget_all_but` now: strangers may use any number of addresses."""
        return len(self._record_of) > self._crowd

    def forget_all_but(self, kept: Collection[Address]) -> None:
        """Forget all peers but these."""
        for address in [each for each in self._record_of if each not in kept]:
            self._addresses.pop(self._record_of.pop(address), None)
            del self._local[address]
        self._crowd = MAX_STRANGERS + len(self._record_of)

    def _receive(self, sock: socket.socket) -> int:
        self._headers[:] = self._fresh_headers
        if self._mixed_records:
            self._mixed_records = False
            self._records[:] = bytes(len(self._records))  # padding is compared, too
        return int(_recvmmsg(sock.fileno(), self._address, self._slots, _MSG_DONTWAIT, None))

    def _lengths(self, count: int) -> list[int]:
        words = _STRIDE // 4
        return self._words[_LENGTH : count * words : words].tolist()

    def _look_at(self, record: bytes) -> tuple[Address, int]:
        """An unknown record: the peer's address, and the length of each datagram if several were joined."""
        segment = 0
        local: Local | None = None
        own = b""
        position = _NAME
        while position + _CMSG.size <= len(record):
            length, level, kind = _CMSG.unpack_from(record, position)
            if length < _CMSG.size:
                break
            value = record[position + _CMSG.size : position + length]
            if level == socket.IPPROTO_UDP and kind == _UDP_GRO:
                if len(value) < 4:
                    break  # cut by the kernel, for want of room
                (segment,) = struct.unpack_from("@i", value)
                self._mixed_records = True
            else:
                own += record[position : position + socket.CMSG_SPACE(len(value))]
                local = local or _local(((level, kind, value),))
            position += socket.CMSG_SPACE(len(value))
        record = record[:_NAME] + own
        address = self._addresses.get(record)
        if address is None:
            address = _address(record)
            old = self._record_of.get(address)
            if old is not None:
                self._addresses.pop(old, None)  # it writes to another address of ours now
            self._addresses[record] = address
            self._record_of[address] = record
            self._local[address] = local
        return address, segment


def _address(name: bytes) -> Address:
    """A sockaddr as recvfrom gives it."""
    (family,) = struct.unpack_from("@H", name)
    (port,) = struct.unpack_from("!H", name, 2)
    if family == socket.AF_INET6:
        (flow,) = struct.unpack_from("!I", name, 4)
        (scope,) = struct.unpack_from("@I", name, 24)
        return (socket.inet_ntop(socket.AF_INET6, name[8:24]), port, flow, scope)
    return (socket.inet_ntop(socket.AF_INET, name[4:8]), port)


def enable_gro(sock: socket.socket) -> bool:
    """Let the kernel join datagrams of one flow (UDP_GRO); False if it cannot."""
    try:
        sock.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
    except OSError:
        return False
    return True


# --- sending ------------------------------------------------------------------------------------------------


def send(sock: socket.socket, datagrams: Sequence[bytes]) -> tuple[int, OSError | None]:
    """Send over a connected socket; how many went out before the error, if there was one."""
    if _extension is not None:
        sent, number = _extension.send(sock.fileno(), list(datagrams))
        return sent, OSError(number, os.strerror(number)) if number else None
    return send_by_python(sock, datagrams)


def send_by_python(sock: socket.socket, datagrams: Sequence[bytes]) -> tuple[int, OSError | None]:
    """`send` without the extension."""
    total = len(datagrams)
    start = 0
    while start < total:
        end, size = _run(datagrams, start, total)
        if end - start > 1:
            segment = ((socket.IPPROTO_UDP, _UDP_SEGMENT, size.to_bytes(2, _BYTE_ORDER)),)
            try:
                sock.sendmsg(datagrams[start:end], segment)
            except OSError as error:
                if error.errno not in _NO_GSO and not isinstance(error, ConnectionRefusedError):
                    return start, error
            else:
                start = end
                continue
        for position in range(start, end):
            refused = _send_one(sock, datagrams[position])
            if refused is not None:
                return position, refused
        start = end
    return total, None


def _run(datagrams: Sequence[bytes], start: int, total: int) -> tuple[int, int]:
    """The end of a run that one system call can send, and the length of its datagrams; its last one may be
    shorter."""
    size = len(datagrams[start])
    if size == 0:
        return start + 1, size
    end = start + 1
    limit = min(total, start + min(GSO_MAX_SEGMENTS, GSO_MAX_BYTES // size))
    while end < limit and len(datagrams[end]) == size:
        end += 1
    if end < limit and 0 < len(datagrams[end]) < size:
        end += 1
    return end, size


def _send_one(sock: socket.socket, data: bytes) -> OSError | None:
    try:
        sock.send(data)
    except ConnectionRefusedError:
        # The ICMP answer to an earlier datagram, reported once; this one was not sent yet.
        try:
            sock.send(data)
        except OSError as again:
            return again
    except OSError as error:
        return error
    return None


def send_to(
    sock: socket.socket,
    datagrams: Sequence[tuple[Any, bytes]],
    local: Mapping[Any, Local | None] | None = None,
) -> int:
    """Send (address, datagram) pairs; how many the kernel did not take. None holds up the others.
    `local`: which address of ours to send from, by the peer's address."""
    refused = 0
    sendto = sock.sendto
    for address, data in datagrams:
        source = local.get(address) if local else None
        try:
            if source is None:
                sendto(data, address)
            else:
                sock.sendmsg((data,), (source,), 0, address)
        except OSError:
            refused += 1
    return refused


# --- from which address -------------------------------------------------------------------------------------


def enable_pktinfo(sock: socket.socket) -> None:
    """Ask for the local address of each datagram (PKTINFO), for `Inbox.local`, on a socket bound to all."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _local(ancillary: Sequence[tuple[int, int, bytes]]) -> Local | None:
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(value) >= 20:
            return (level, kind, value[:16] + _INDEX_0)
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(value) >= 12:
            return (level, kind, _INDEX_0 + value[4:12])
    return None
