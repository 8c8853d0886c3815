"""What is read of the kernel's connections. Marking and deleting is tested in tests/netns."""

from __future__ import annotations

import ipaddress
import struct

from netbond.policies.connections import Connection
from netbond.router.conntrack import parse


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def entry(af: int, source: str, destination: str, mark: int, *more: bytes) -> bytes:
    kinds = (1, 2) if af == 2 else (3, 4)
    addresses = [ipaddress.ip_address(each).packed for each in (source, destination)]
    ip = attribute(0x8001, b"".join(map(attribute, kinds, addresses)))
    ports = [
        attribute(1, b"\x06"),
        attribute(2, struct.pack("!H", 40000)),
        attribute(3, struct.pack("!H", 443)),
    ]
    whole = attribute(0x8001, ip + attribute(0x8002, b"".join(ports)))
    return bytes([af, 0, 0, 0]) + whole + attribute(8, struct.pack("!I", mark)) + b"".join(more)


def test_a_connection() -> None:
    found = parse(entry(2, "192.168.5.7", "203.0.113.1", 0x64000011), 0xFF000000)
    assert found is not None
    assert found == Connection(
        4,
        6,
        ipaddress.ip_address("192.168.5.7"),
        ipaddress.ip_address("203.0.113.1"),
        443,
        mark=0x64000000,
        handle=found.handle,
    )
    six = parse(entry(10, "fd50::2", "2001:db8::1", 0x64000000), 0xFF000000)
    assert six is not None
    assert (six.family, six.source) == (6, ipaddress.ip_address("fd50::2"))


def test_the_zone_is_a_part_of_its_name() -> None:
    zone = attribute(18, b"\0\5\0\0"[:2])
    with_zone = parse(entry(2, "192.168.5.7", "203.0.113.1", 0x64000000, zone), 0xFF000000)
    without = parse(entry(2, "192.168.5.7", "203.0.113.1", 0x64000000), 0xFF000000)
    assert with_zone is not None
    assert without is not None
    assert with_zone.handle == without.handle + zone


def test_others_are_passed_over() -> None:
    assert parse(entry(2, "192.168.5.7", "203.0.113.1", 0x11), 0xFF000000) is None
    assert parse(bytes([7, 0, 0, 0]), 0xFF000000) is None
    assert parse(bytes([2, 0, 0, 0]) + attribute(8, b"\x64\0\0\0"), 0xFF000000) is None
