"""A program for the kernel that gives each datagram to its process (SO_ATTACH_REUSEPORT_CBPF).

The sockets of all processes share one port (SO_REUSEPORT). Left to itself the kernel would spread the links
of one stream over all of them. The program says which socket a known link's datagrams go to, by a search tree
over hashes of address and port; all others go to the first. It is classic BPF, which needs no privilege, and
has room for some hundred links: what it does not know costs a detour (front.py), no more.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

_SO_ATTACH_REUSEPORT_CBPF = 51  # include/uapi/asm-generic/socket.h
_NETWORK = 0xFFF00000  # SKF_NET_OFF: offsets from the IP header
_MOST = 4096  # BPF_MAXINSNS
_LONGEST_JUMP = 255
_MASK = 0xFFFFFFFF

# linux/filter.h
_LOAD_WORD, _LOAD_BYTE, _LOAD_HALF, _LOAD_HALF_X = 0x20, 0x30, 0x28, 0x48
_HEADER_LENGTH_TO_X, _STORE, _X_FROM_STORE, _XOR_X = 0xB1, 0x02, 0x61, 0xAC
_MULTIPLY, _SHIFT_RIGHT, _RETURN = 0x24, 0x74, 0x06
_EQUAL, _AT_LEAST, _JUMP = 0x15, 0x35, 0x05

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


@dataclass(frozen=True, slots=True)
class Salt:
    """Two odd numbers that nobody else knows, so that nobody finds addresses whose hashes meet."""

    address: int
    port: int

    @classmethod
    def of(cls, random: bytes) -> Salt:
        """From 8 random bytes."""
        address, port = struct.unpack("=II", random)
        return cls(address | 1, port | 1)


def hashed(peer: tuple[Any, ...], salt: Salt) -> int:
    """The hash of a peer's address as the program computes it."""
    found = ip_address(str(peer[0]).partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    address: IPv4Address | IPv6Address = mapped or found
    packed = address.packed
    value = 0
    for (word,) in struct.iter_unpack("!I", packed):
        value = ((value ^ word) * salt.address) & _MASK
    return value ^ (int(peer[1]) * salt.port & _MASK)


def program(peers: Mapping[int, int], salt: Salt) -> list[Instruction]:
    """The program for these peers: hash -> number of the socket."""
    v6 = [*_hash([8, 12, 16, 20], salt), (_LOAD_HALF, 0, 0, _NETWORK + 40), (_MULTIPLY, 0, 0, salt.port)]
    v4 = [
        *_hash([12], salt),
        (_HEADER_LENGTH_TO_X, 0, 0, _NETWORK),
        (_LOAD_HALF_X, 0, 0, _NETWORK),
        (_MULTIPLY, 0, 0, salt.port),
    ]
    return [
        (_LOAD_BYTE, 0, 0, _NETWORK),
        (_SHIFT_RIGHT, 0, 0, 4),
        (_EQUAL, 0, len(v6) + 1, 6),
        *v6,
        (_JUMP, 0, 0, len(v4)),
        *v4,
        (_X_FROM_STORE, 0, 0, 0),
        (_XOR_X, 0, 0, 0),
        *_tree(sorted(peers.items())),
    ]


def _hash(offsets: Iterable[int], salt: Salt) -> list[Instruction]:
    """The words at these offsets of the IP header, hashed, in the store."""
    out: list[Instruction] = []
    for number, offset in enumerate(offsets):
        out.append((_LOAD_WORD, 0, 0, _NETWORK + offset))
        if number:
            out += [(_X_FROM_STORE, 0, 0, 0), (_XOR_X, 0, 0, 0)]
        out += [(_MULTIPLY, 0, 0, salt.address), (_STORE, 0, 0, 0)]
    return out


def _tree(peers: list[tuple[int, int]]) -> list[Instruction]:
    if len(peers) <= 1:
        known = [((_EQUAL, 0, 1, value), (_RETURN, 0, 0, number)) for value, number in peers]
        return [*(step for pair in known for step in pair), (_RETURN, 0, 0, 0)]
    middle = len(peers) // 2
    lower, upper = _tree(peers[:middle]), _tree(peers[middle:])
    if len(lower) <= _LONGEST_JUMP:
        return [(_AT_LEAST, len(lower), 0, peers[middle][0]), *lower, *upper]
    return [(_AT_LEAST, 0, 1, peers[middle][0]), (_JUMP, 0, 0, len(lower)), *lower, *upper]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def attach(listener: socket.socket, peers: Mapping[int, int], salt: Salt) -> int:
    """Steer these (hash -> number of the socket) from now on, or as many as there is room for: how many.

    OSError: the kernel cannot do this at all.
    """
    steered = dict(peers)
    while True:
        instructions = program(steered, salt)
        if len(instructions) <= _MOST:
            code = b"".join(struct.pack("=HBBI", *each) for each in instructions)
            value = bytes(_Program(len(instructions), code))  # `code` must outlive the call
            try:
                listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, value)
            except OSError:
                if not steered:
                    raise
            else:
                return len(steered)
        steered = dict(list(steered.items())[: len(steered) * 3 // 4])
