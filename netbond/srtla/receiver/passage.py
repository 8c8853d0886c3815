"""Passes datagrams between the processes of a receiver, each with its peer and the address to answer from."""

from __future__ import annotations

import ipaddress
import json
import socket
from typing import Any

from netbond.srtla.process.batch import Local

PeerAddress = tuple[Any, ...]

_AT_ONCE = 64
_HEAD_MAX = 512  # bytes
_SIZE = 2048 + _HEAD_MAX


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a passage, which keeps what it takes in order and as it was."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024 * 1024)
    return ends


def send(end: socket.socket, address: PeerAddress, local: Local | None, data: bytes) -> bool:
    """Pass a datagram on; False: there is no room, and it is lost, as datagrams are."""
    level, kind, value = local or (0, 0, b"")
    head = json.dumps([list(address), level, kind, value.hex()]).encode()
    try:
        end.send(len(head).to_bytes(2, "big") + head + data)
    except OSError:
        return False
    return True


def receive(end: socket.socket) -> list[tuple[PeerAddress, Local | None, bytes]]:
    """(address, local, datagram) of those that wait, as many as are read at once."""
    out = []
    for _ in range(_AT_ONCE):
        try:
            message = end.recv(_SIZE)
        except OSError:
            break
        found = parse(message)
        if found is not None:
            out.append(found)
        elif not message:
            break
    return out


def parse(message: bytes) -> tuple[PeerAddress, Local | None, bytes] | None:
    """What `send` wrote; None for anything else."""
    length = 2 + int.from_bytes(message[:2], "big")
    try:
        listed, level, kind, value = json.loads(message[2:length])
        address, own = peer(listed), bytes.fromhex(value)
    except (ValueError, TypeError, RecursionError):
        return None
    if address is None or type(level) is not int or type(kind) is not int:
        return None
    return address, (level, kind, own) if own else None, message[length:]


def peer(value: object) -> PeerAddress | None:
    """An address as recvfrom gives it, from a list; None for anything else."""
    if not isinstance(value, list) or len(value) not in (2, 4):
        return None
    host, *numbers = value
    if not isinstance(host, str) or not all(type(each) is int and 0 <= each < 1 << 32 for each in numbers):
        return None
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (host, *numbers) if numbers[0] < 65536 else None
