"""Many datagrams per wake-up: reading and writing of non-blocking UDP sockets.

Plain calls in a loop. The interface is that of recvmmsg and sendmmsg (a list in, how many went out), so that
those can come in underneath. An error on a socket is a fact for the caller to judge, never raised.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from netbond.srtla.wire import MTU

PER_WAKE_UP = 64  # datagrams: enough for a burst, and other sockets get their turn
SIZE = MTU + 1  # longer ones are cut, and are then no packet of ours

Local = tuple[int, int, bytes]  # the local address of a datagram, as an ancillary message to answer from it

_IP_PKTINFO = 8  # include/uapi/linux/in.h; not in Python's socket module
_ANCILLARY = socket.CMSG_SPACE(20)
_INDEX_0 = struct.pack("@i", 0)  # routing chooses the device of an answer, only its source is ours to say


def receive(sock: socket.socket, limit: int = PER_WAKE_UP) -> tuple[list[bytes], OSError | None]:
    """The datagrams that wait on a connected socket, and the error that ended the reading, if one did.

    A pending ICMP error (ECONNREFUSED and its like) is reported by the kernel once and takes no datagram
    away: reading goes on behind it.
    """
    out: list[bytes] = []
    error: OSError | None = None
    recv = sock.recv
    for _ in range(limit):
        try:
            data = recv(SIZE)
        except BlockingIOError:
            break
        except OSError as caught:
            error = caught
            continue
        if len(data) < SIZE:
            out.append(data)
    return out, error


def receive_from(sock: socket.socket, limit: int = PER_WAKE_UP) -> list[tuple[bytes, Any]]:
    """(datagram, address) of those that wait on an unconnected socket."""
    out: list[tuple[bytes, Any]] = []
    recvfrom = sock.recvfrom
    for _ in range(limit):
        try:
            entry = recvfrom(SIZE)
        except BlockingIOError:
            break
        except OSError:
            continue  # the ICMP answer to something sent earlier, by whatever peer
        if len(entry[0]) < SIZE:
            out.append(entry)
    return out


def send(sock: socket.socket, datagrams: Sequence[bytes]) -> tuple[int, OSError | None]:
    """Send over a connected socket; how many went out before the error, if there was one."""
    write = sock.send
    for count, data in enumerate(datagrams):
        try:
            write(data)
        except ConnectionRefusedError:
            # The ICMP answer to an earlier datagram, reported once; this one was not sent yet.
            try:
                write(data)
            except OSError as again:
                return count, again
        except OSError as error:
            return count, error
    return len(datagrams), None


def tell_local(sock: socket.socket) -> None:
    """Make `receive_from_local` possible on a socket that is bound to every address."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def receive_from_local(
    sock: socket.socket, limit: int = PER_WAKE_UP
) -> list[tuple[bytes, Any, Local | None]]:
    """As `receive_from`, and which of our addresses each datagram was sent to. On a box with several
    addresses the kernel would answer from another, and connected peers would not take that."""
    out: list[tuple[bytes, Any, Local | None]] = []
    for _ in range(limit):
        try:
            data, ancillary, _, address = sock.recvmsg(SIZE, _ANCILLARY)
        except BlockingIOError:
            break
        except OSError:
            continue  # as above
        if len(data) < SIZE:
            out.append((data, address, _local(ancillary)))
    return out


def _local(ancillary: Sequence[tuple[int, int, bytes]]) -> Local | None:
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(value) >= 20:
            return (level, kind, value[:16] + _INDEX_0)
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(value) >= 12:
            return (level, kind, _INDEX_0 + value[4:12])
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
