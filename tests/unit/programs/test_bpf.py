"""The BPF programs, run by an interpreter of their few instructions; tests/netns has the kernel run them."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from dataclasses import dataclass, field

import pytest

from netbond.programs.bpf import Program, programs

CREATE, CONNECT4, CONNECT6, EGRESS = 2, 10, 11, 1
SOCK_AT = 1000  # "address" of the socket, to which the context of connect() points


@dataclass
class Run:
    """One run: memory by address, words that were stored, names that sockets were bound to."""

    memory: dict[int, int] = field(default_factory=dict)
    stored: dict[int, int] = field(default_factory=dict)
    bound: list[str] = field(default_factory=list)
    refuse_binding: bool = False

    def run(self, program: Program) -> bool:
        little = sys.byteorder == "little"
        r = [0] * 11
        stack: dict[int, int] = {}
        at = 0
        steps = [struct.unpack_from("=BBhi", program.code, i) for i in range(0, len(program.code), 8)]
        while True:
            code, registers, offset, constant = steps[at]
            target, source = (registers & 15, registers >> 4) if little else (registers >> 4, registers & 15)
            at += 1
            match code:
                case 0x61 | 0x79:
                    r[target] = self.memory[r[source] + offset]
                case 0x63:
                    self.stored[r[target] + offset] = r[source]
                case 0x72:
                    stack[offset] = constant
                case 0xB7 | 0xB4:
                    r[target] = constant & 0xFFFFFFFF
                case 0xBF:
                    r[target] = r[source]
                case 0x07:
                    r[target] += constant
                case 0x54:
                    r[target] &= constant & 0xFFFFFFFF
                case 0x16:
                    at += offset if r[target] == constant & 0xFFFFFFFF else 0
                case 0x56:
                    at += offset if r[target] != constant & 0xFFFFFFFF else 0
                case 0x1E:
                    at += offset if r[target] == r[source] else 0
                case 0x85:
                    assert (constant, r[2], r[3], r[4], r[5]) == (49, 1, socket.SO_BINDTODEVICE, -16, 16)
                    self.bound.append(bytes(stack[-16 + i] for i in range(16)).rstrip(b"\0").decode())
                    r[0] = 1 if self.refuse_binding else 0
                case 0x95:
                    assert r[0] in (0, 1)
                    return r[0] == 1
                case _:
                    raise AssertionError(f"unknown instruction {code:#x}")


def at(place: int, family: int = 0) -> Program:
    return next(program for program in programs("usb1", 7, family) if program.place == place)


def create(family: int, protocol: int, only: int = 0) -> tuple[bool, dict[int, int]]:
    run = Run({0: 0, 4: family, 12: protocol})
    return run.run(at(CREATE, only)), run.stored


@pytest.mark.parametrize("protocol", [socket.IPPROTO_UDP, socket.IPPROTO_ICMP, socket.IPPROTO_SCTP, 262, 255])
def test_sockets_are_bound_when_they_are_made(protocol: int) -> None:
    assert create(socket.AF_INET, protocol) == (True, {0: 7})
    assert create(socket.AF_INET6, protocol) == (True, {0: 7})


def test_tcp_sockets_are_not_yet() -> None:
    assert create(socket.AF_INET, socket.IPPROTO_TCP) == (True, {})


@pytest.mark.parametrize("protocol", [socket.IPPROTO_UDP, socket.IPPROTO_TCP])
def test_a_family_that_is_not_wanted_gets_no_sockets(protocol: int) -> None:
    assert [create(family, protocol, only=4)[0] for family in (socket.AF_INET, socket.AF_INET6)] == [
        True,
        False,
    ]
    assert [create(family, protocol, only=6)[0] for family in (socket.AF_INET, socket.AF_INET6)] == [
        False,
        True,
    ]


def connect(destination: str, bound_to: int = 0, *, refused: bool = False) -> tuple[bool, list[str]]:
    address = ipaddress.ip_address(destination)
    words = struct.unpack(f"={len(address.packed) // 4}I", address.packed)
    start, place = (4, CONNECT4) if address.version == 4 else (8, CONNECT6)
    memory = {start + 4 * i: word for i, word in enumerate(words)} | {64: SOCK_AT, SOCK_AT: bound_to}
    run = Run(memory, refuse_binding=refused)
    return run.run(at(place)), run.bound


@pytest.mark.parametrize(
    "to", ["192.0.2.1", "128.0.0.1", "126.1.1.1", "2001:db8::1", "::2", "::ffff:192.0.2.1"]
)
def test_connect_binds_a_socket_that_is_not_bound(to: str) -> None:
    assert connect(to) == (True, ["usb1"])
    assert connect(to, bound_to=7) == (True, [])  # since it was made, or by an earlier connect()


@pytest.mark.parametrize("to", ["127.0.0.1", "127.0.0.53", "127.255.1.2", "::1", "::ffff:127.0.0.1"])
def test_connect_to_the_box_itself_does_not(to: str) -> None:
    assert connect(to) == (True, [])


def test_connect_is_refused_where_binding_is() -> None:
    """Unprivileged, and bound elsewhere: the kernel does not bind it anew."""
    assert connect("192.0.2.1", bound_to=3, refused=True) == (False, ["usb1"])


@pytest.mark.parametrize(("device", "passes"), [(7, True), (1, True), (8, False), (0, False)])
def test_packets_leave_by_the_interface_or_by_loopback_only(device: int, passes: bool) -> None:
    assert Run({40: device}).run(at(EGRESS)) is passes


def test_a_name_of_full_length() -> None:
    program = next(p for p in programs("wwx0123456789ab", 7) if p.place == CONNECT4)
    run = Run({4: struct.unpack("=I", b"\xc0\0\2\1")[0], 64: SOCK_AT, SOCK_AT: 0})
    assert run.run(program)
    assert run.bound == ["wwx0123456789ab"]
