"""Makes the BPF programs that keep a control group's sockets on one interface. Pure.

Three kinds, each for a hook that the kernel has for control groups (Linux 5.8 has all that they use):

- At the creation of a socket, bind it to the interface, as SO_BINDTODEVICE does. Not TCP sockets yet: a bound
  socket reaches nothing on the box itself, and 127.0.0.1 must stay in reach.
- At connect(), bind a socket that is not bound, unless it goes to the loopback interface.
- When a packet leaves, drop it unless it leaves by that interface or by loopback. This is for whatever gets
  around the other two: a socket that root binds elsewhere, or one that the kernel reroutes.

Numbers are those of include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass

LOOPBACK_INDEX = 1  # of "lo", in every network namespace

_CGROUP_SKB, _CGROUP_SOCK, _CGROUP_SOCK_ADDR = 8, 9, 18  # types of programs
_EGRESS, _SOCK_CREATE, _INET4_CONNECT, _INET6_CONNECT = 1, 2, 10, 11  # where they are attached

# Offsets in what the kernel gives to each type: struct bpf_sock, __sk_buff, bpf_sock_addr.
_SOCK_DEVICE, _SOCK_FAMILY, _SOCK_PROTOCOL = 0, 4, 12
_PACKET_DEVICE = 40
_ADDR_IP4, _ADDR_IP6, _ADDR_SOCK = 4, 8, 64

_SET_SOCKET_OPTION = 49  # bpf_setsockopt
_SOL_SOCKET, _SO_BINDTODEVICE = 1, 25
_TCP = 6
_FAMILIES = {4: 2, 6: 10}  # AF_INET, AF_INET6
_NAME_BYTES = 16  # IFNAMSIZ

# Instructions: a 32-bit or 64-bit load and store, moves, jumps, a call.
_LOAD, _LOAD_POINTER, _STORE, _STORE_BYTE_OF_STACK = 0x61, 0x79, 0x63, 0x72
_SET, _COPY, _ADD = 0xB7, 0xBF, 0x07
_SET32, _AND32 = 0xB4, 0x54
_IF_SET, _IF_NOT_SET, _IF_EQUAL_REGISTER = 0x16, 0x56, 0x1E  # they compare 32 bits
_CALL, _EXIT = 0x85, 0x95

# How a step looks: code, target register, source register, offset (a mark's name for a jump), constant.
Step = tuple[int, int, int, int | str, int]


@dataclass(frozen=True, slots=True)
class Program:
    """A program for the kernel, and where it is attached."""

    kind: int
    place: int
    code: bytes


def programs(name: str, index: int, family: int = 0) -> tuple[Program, ...]:
    """The programs that keep sockets on the interface with this name and index.

    With `family` (4 or 6) sockets of the other family are refused.
    """
    return (
        Program(_CGROUP_SOCK, _SOCK_CREATE, _assemble(_at_creation(index, family))),
        Program(_CGROUP_SOCK_ADDR, _INET4_CONNECT, _assemble(_at_connect(name, index, _loopback4()))),
        Program(_CGROUP_SOCK_ADDR, _INET6_CONNECT, _assemble(_at_connect(name, index, _loopback6()))),
        Program(_CGROUP_SKB, _EGRESS, _assemble(_at_leaving(index))),
    )


_REFUSE: list[Step | str] = ["refuse", (_SET, 0, 0, 0, 0), (_EXIT, 0, 0, 0, 0)]
_ALLOW: list[Step | str] = ["allow", (_SET, 0, 0, 0, 1), (_EXIT, 0, 0, 0, 0)]


def _at_creation(index: int, family: int) -> list[Step | str]:
    other: list[Step | str] = []
    if family:
        other = [(_LOAD, 2, 1, _SOCK_FAMILY, 0), (_IF_NOT_SET, 2, 0, "refuse", _FAMILIES[family])]
    return [
        *other,
        (_LOAD, 2, 1, _SOCK_PROTOCOL, 0),
        (_IF_SET, 2, 0, "allow", _TCP),
        (_SET32, 2, 0, 0, index),
        (_STORE, 1, 2, _SOCK_DEVICE, 0),
        *_ALLOW,
        *(_REFUSE if other else ()),  # the kernel takes no step that none leads to
    ]


def _at_connect(name: str, index: int, loopback: list[Step | str]) -> list[Step | str]:
    octets = name.encode()[: _NAME_BYTES - 1].ljust(_NAME_BYTES, b"\0")
    return [
        (_LOAD_POINTER, 2, 1, _ADDR_SOCK, 0),
        (_LOAD, 3, 2, _SOCK_DEVICE, 0),
        (_SET32, 4, 0, 0, index),
        (_IF_EQUAL_REGISTER, 3, 4, "allow", 0),
        *loopback,
        *((_STORE_BYTE_OF_STACK, 10, 0, at - _NAME_BYTES, octet) for at, octet in enumerate(octets)),
        (_SET, 2, 0, 0, _SOL_SOCKET),
        (_SET, 3, 0, 0, _SO_BINDTODEVICE),
        (_COPY, 4, 10, 0, 0),
        (_ADD, 4, 0, 0, -_NAME_BYTES),
        (_SET, 5, 0, 0, _NAME_BYTES),
        (_CALL, 0, 0, 0, _SET_SOCKET_OPTION),
        (_IF_SET, 0, 0, "allow", 0),
        *_REFUSE,
        *_ALLOW,
    ]


def _loopback4() -> list[Step | str]:
    """Allow 127.0.0.0/8."""
    return [
        (_LOAD, 2, 1, _ADDR_IP4, 0),
        (_AND32, 2, 0, 0, _word(b"\xff\0\0\0")),
        (_IF_SET, 2, 0, "allow", _word(b"\x7f\0\0\0")),
    ]


def _loopback6() -> list[Step | str]:
    """Allow ::1 and ::ffff:127.0.0.0/104."""
    return [
        (_LOAD, 2, 1, _ADDR_IP6, 0),
        (_IF_NOT_SET, 2, 0, "elsewhere", 0),
        (_LOAD, 2, 1, _ADDR_IP6 + 4, 0),
        (_IF_NOT_SET, 2, 0, "elsewhere", 0),
        (_LOAD, 2, 1, _ADDR_IP6 + 8, 0),
        (_LOAD, 3, 1, _ADDR_IP6 + 12, 0),
        (_IF_NOT_SET, 2, 0, "mapped", 0),
        (_IF_SET, 3, 0, "allow", _word(b"\0\0\0\1")),
        "mapped",
        (_IF_NOT_SET, 2, 0, "elsewhere", _word(b"\0\0\xff\xff")),
        (_AND32, 3, 0, 0, _word(b"\xff\0\0\0")),
        (_IF_SET, 3, 0, "allow", _word(b"\x7f\0\0\0")),
        "elsewhere",
    ]


def _at_leaving(index: int) -> list[Step | str]:
    return [
        (_LOAD, 2, 1, _PACKET_DEVICE, 0),
        (_IF_SET, 2, 0, "allow", index),
        (_IF_SET, 2, 0, "allow", LOOPBACK_INDEX),
        *_REFUSE,
        *_ALLOW,
    ]


def _word(octets: bytes) -> int:
    """Four bytes of an address as the signed number that a program compares with what it loads."""
    number: int = struct.unpack("=i", octets)[0]
    return number


def _assemble(steps: list[Step | str]) -> bytes:
    """The bytes of a program; a step that is a text is a mark, to which jumps go."""
    marks: dict[str, int] = {}
    found: list[Step] = []
    for step in steps:
        if isinstance(step, str):
            marks[step] = len(found)
        else:
            found.append(step)
    code = b""
    for at, (operation, target, source, offset, constant) in enumerate(found):
        distance = marks[offset] - at - 1 if isinstance(offset, str) else offset
        registers = source << 4 | target if sys.byteorder == "little" else target << 4 | source
        code += struct.pack("=BBhi", operation, registers, distance, constant)
    return code
