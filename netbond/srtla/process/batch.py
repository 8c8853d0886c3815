"""Reads and sends the datagrams of a wake-up, over non-blocking UDP sockets.

What there is, for both engines:

- `Inbox`: `read` for connected sockets; `read_from` for one that everybody may write to, with `local` to
  answer from the address that was written to. Where the network card or a local sender has joined datagrams
  of one flow into one (UDP_GRO, see `enable_gro`), they are taken apart here. The compiled data path reads by
  itself, and tells who wrote as a record that `resolve` knows.
- `send`: over a connected socket; compiled, datagrams of equal length in one system call.
- `send_to`: to many addresses over one socket.

An error on a socket is a fact for the caller to judge, never raised.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from netbond import srtla
from netbond.srtla.wire import MTU

PER_WAKE_UP = 64  # datagrams: enough for a burst, and other sockets get their turn
SLOT_BYTES = MTU + 1  # longer datagrams are cut, and ignored: no packet of SRT is so long
GRO_SIZE_BYTES = 65535  # of datagrams that the kernel has joined
MAX_STRANGERS = 4096  # addresses of peers that an inbox remembers besides those in use

Local = tuple[int, int, bytes]  # the local address of a datagram, as an ancillary message to answer from it
Address = tuple[Any, ...]  # as recvfrom gives it

_extension = srtla.extension()

_IP_PKTINFO = 8  # include/uapi/linux/in.h; not in Python's socket module
_UDP_GRO = 104  # include/uapi/linux/udp.h
_INDEX_0 = struct.pack("@i", 0)  # routing chooses the device of an answer, only its source is ours to say
_DONTWAIT = int(socket.MSG_DONTWAIT)
_NAME = 32  # bytes of a record that are the peer's address; ancillary messages follow
_CONTROL = 96  # bytes of ancillary messages with a datagram
_CMSG = struct.Struct("@Nii")  # length, level, type


# --- receiving ----------------------------------------------------------------------------------------------


class Inbox:
    """Reads sockets, and remembers who wrote and to which of our addresses."""

    def __init__(self, slots: int = PER_WAKE_UP, *, gro: bool = False) -> None:
        """`slots`: datagrams read at once; `gro`: for sockets with `enable_gro`."""
        self._slots = slots
        self._size = GRO_SIZE_BYTES if gro else SLOT_BYTES
        self._addresses: dict[bytes, Address] = {}  # by record
        self._record_of: dict[Address, bytes] = {}
        self._local: dict[Address, Local | None] = {}
        self._crowd = MAX_STRANGERS

    def read(self, sock: socket.socket) -> tuple[list[bytes], OSError | None]:
        """The datagrams that wait on a connected socket, as many as there are slots, and the error that ended
        the reading, if one did. A pending ICMP error (ECONNREFUSED and its like) comes once and takes no
        datagram away."""
        out: list[bytes] = []
        for _ in range(self._slots):
            try:
                data = sock.recv(self._size, _DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                return out, error
            if len(data) <= MTU:
                out.append(data)
        return out, None

    def read_from(self, sock: socket.socket) -> list[tuple[Address, bytes]]:
        """(address, datagram) of those that wait on an unconnected socket, as many as there are slots."""
        out: list[tuple[Address, bytes]] = []
        for _ in range(self._slots):
            try:
                data, ancillary, _, address = sock.recvmsg(self._size, _CONTROL, _DONTWAIT)
            except OSError:
                break  # nothing there, or the ICMP answer to something sent earlier, by whatever peer
            self.remember(address, _local(ancillary))
            segment = _segment(ancillary) or len(data)
            if segment <= MTU:
                out += [(address, data[at : at + segment]) for at in range(0, len(data) or 1, segment or 1)]
        return out

    def resolve(self, record: bytes) -> Address:
        """Whose a record is that fastpath.c has read: address, then ancillary messages."""
        address = self._addresses.get(record)
        if address is None:
            address = _address(record)
            self._addresses.pop(self._record_of.get(address, b""), None)  # it writes to another address now
            self._addresses[record] = address
            self._record_of[address] = record
            self._local[address] = _local(_messages(record[_NAME:]))
        return address

    @property
    def local(self) -> Mapping[Address, Local | None]:
        """From where to answer a peer that wrote lately; None, or no entry: the kernel may choose."""
        return self._local

    def remember(self, address: Address, local: Local | None) -> None:
        """Remember from which address of ours to answer a peer."""
        self._local[address] = local

    @property
    def crowded(self) -> bool:
        """Whether to call `forget_all_but` now: strangers may use any number of addresses."""
        return len(self._local) > self._crowd

    def forget_all_but(self, kept: Collection[Address]) -> None:
        """Forget all peers but these."""
        for address in [each for each in self._local if each not in kept]:
            del self._local[address]
            self._addresses.pop(self._record_of.pop(address, b""), None)
        self._crowd = MAX_STRANGERS + len(self._local)


def _messages(control: bytes) -> list[tuple[int, int, bytes]]:
    """Ancillary messages as recvmsg(2) writes them."""
    out = []
    position = 0
    while position + _CMSG.size <= len(control):
        length, level, kind = _CMSG.unpack_from(control, position)
        if length < _CMSG.size:
            break
        value = control[position + _CMSG.size : position + length]
        out.append((level, kind, value))
        position += socket.CMSG_SPACE(len(value))
    return out


def _segment(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """The length of each datagram if the kernel has joined several; 0: it has not."""
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_UDP and kind == _UDP_GRO and len(value) >= 4:
            return max(int.from_bytes(value[:4], sys.byteorder, signed=True), 0)
    return 0


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
    for position, data in enumerate(datagrams):
        try:
            try:
                sock.send(data)
            except ConnectionRefusedError:
                sock.send(
                    data
                )  # the ICMP answer to an earlier datagram, reported once; this one was not sent
        except OSError as error:
            return position, error
    return len(datagrams), None


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
