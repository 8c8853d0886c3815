"""Netlink messages, byte by byte: what is packed reads back, and what is broken does no harm."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.kernel import rtnetlink as wire
from netbond.model import Address, Nexthop, NexthopGroup, NexthopObject, Route, Rule

NAMES = {1: "lo", 7: "usb0", 8: "usb1"}
INDEXES = {name: index for index, name in NAMES.items()}


def ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)


ROUTES = [
    Route(100, ipaddress.ip_network("0.0.0.0/0"), (Nexthop("usb0", ip("10.0.0.1")),), source=ip("10.0.0.10")),
    Route(100, ipaddress.ip_network("10.0.0.0/24"), (Nexthop("usb0"),), scope="link", protocol=78),
    Route(1000, ipaddress.ip_network("0.0.0.0/0"), kind="unreachable", metric=2**32 - 1),
    Route(
        222,
        ipaddress.ip_network("0.0.0.0/0"),
        (Nexthop("usb0", ip("10.0.0.1"), 3), Nexthop("usb1", ip("10.1.0.1"), 256, onlink=True)),
    ),
    Route(5, ipaddress.ip_network("2001:db8::/32"), (Nexthop("usb1", ip("fe80::1")),), metric=1024),
    Route(5, ipaddress.ip_network("192.0.2.0/24"), (Nexthop("usb1", ip("fe80::1")),)),
    Route(222, ipaddress.ip_network("::/0"), metric=1024, nexthop_id=7801222),
    # Numbers for which there are no words: `ip route add ... scope 123`.
    Route(254, ipaddress.ip_network("0.0.0.0/0"), (Nexthop("usb0", ip("10.0.0.1")),), scope="123"),
    Route(254, ipaddress.ip_network("192.0.2.0/24"), kind="11", scope="nowhere"),
]
RULES = [
    Rule(100, 4, table=100, source=ipaddress.ip_network("10.0.0.10/32"), protocol=78),
    Rule(40, 6, table=1000, oif="usb0", protocol=78),
    Rule(50, 4, table=254, suppress_prefixlength=0, protocol=78),
    Rule(60, 4, table=100, mark=0x64000000, mask=0xFF000000, protocol=78),
    Rule(70, 6, destination=ipaddress.ip_network("2001:db8::/32"), iif="usb1", action="unreachable"),
]


@pytest.mark.parametrize("route", ROUTES)
def test_routes_read_back(route: Route) -> None:
    assert wire.route(wire.pack_route(route, INDEXES), NAMES) == route


@pytest.mark.parametrize("rule", RULES)
def test_rules_read_back(rule: Rule) -> None:
    assert wire.rule(wire.pack_rule(rule), NAMES) == rule


@pytest.mark.parametrize(
    "nexthop",
    [
        NexthopObject(7800100, 4, "usb0", ip("10.0.0.1"), onlink=True, protocol=78),
        NexthopObject(7801100, 6, "usb1", None, protocol=78),
        NexthopGroup(7800222, 0, ((7800100, 1), (7800101, 256)), 78),
    ],
)
def test_nexthops_read_back(nexthop: NexthopObject | NexthopGroup) -> None:
    assert wire.nexthop(wire.pack_nexthop(nexthop, INDEXES), NAMES) == nexthop


def test_a_device_that_is_gone_is_no_request() -> None:
    with pytest.raises(wire.DeviceGoneError):
        wire.pack_route(ROUTES[0], {})


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (0x80, {}),
        (0xC0, {"tentative": True}),
        (0xC4, {}),  # optimistic: may be used while it is being proven
        (0x88, {"tentative": True}),  # proven to be somebody else's
        (0xA0, {"deprecated": True}),
        (0x101, {"temporary": True}),  # more than the header's eight bits: IFA_FLAGS counts
    ],
)
def test_flags_of_an_ipv6_address(flags: int, says: dict[str, bool]) -> None:
    payload = struct.pack("=BBBBI", 10, 64, flags & 0xFF, 0, 7)
    payload += attribute(1, ip("2001:db8::5").packed) + attribute(8, struct.pack("=I", flags))
    expected = Address("usb0", ipaddress.ip_interface("2001:db8::5/64"))
    assert wire.address(payload, NAMES) == replace(expected, **says)  # type: ignore[arg-type] # bools


def test_secondary_of_ipv4_is_not_temporary() -> None:
    payload = struct.pack("=BBBBI", 2, 24, 0x01, 0, 7)
    payload += attribute(1, ip("10.0.0.5").packed) + attribute(2, ip("10.0.0.5").packed)
    assert wire.address(payload, NAMES) == Address("usb0", ipaddress.ip_interface("10.0.0.5/24"))


def test_a_point_to_point_address_has_a_peer() -> None:
    payload = struct.pack("=BBBBI", 2, 32, 0x80, 0, 7)
    payload += attribute(1, ip("10.64.0.1").packed) + attribute(2, ip("10.64.1.2").packed)
    expected = Address("usb0", ipaddress.ip_interface("10.64.1.2/32"), ip("10.64.0.1"))
    assert wire.address(payload, NAMES) == expected


def test_what_a_rule_matches_on_besides_makes_it_somebody_elses() -> None:
    payload = wire.pack_rule(RULES[0]) + attribute(22, b"\x06") + attribute(20, struct.pack("=II", 5, 1000))
    payload += attribute(28, b"\xff\xff") + attribute(29, b"\xff\xf0")  # kernel 6.15
    payload += attribute(23, struct.pack("=HH", 80, 80)) + attribute(24, b"\x01") + attribute(99, b"\x07")
    found = wire.rule(payload, NAMES)
    assert found is not None
    assert (
        found.other
        == "uidrange 5-1000, ipproto 6, sport 80-80, attribute 24 01, dport_mask fff0, attribute 99 07"
    )


@pytest.mark.parametrize("kind", [2, 3, 5])
def test_local_and_multicast_routes_are_passed_over(kind: int) -> None:
    payload = struct.pack("=BBBBBBBBI", 10, 8, 0, 0, 254, 2, 0, kind, 0)
    assert wire.route(payload, NAMES) is None


@given(st.binary(max_size=200))
def test_broken_messages_end_without_harm(data: bytes) -> None:
    assert all(len(payload) <= len(data) for _, _, _, payload in wire.messages(data))
    assert all(len(value) <= len(data) for value in wire.attributes(data, 0).values())


def test_a_payload_is_parsed_once_while_the_interfaces_stay() -> None:
    parsed = []

    def parse(payload: bytes, names: wire.Names) -> str:
        parsed.append(payload)
        return names[1]

    reader = wire.Reader()
    for names in ({1: "a"}, {1: "a"}, {1: "b"}):
        reader.begin(names)
        assert reader.read(parse, b"x") == names[1]
    assert parsed == [b"x", b"x"]
