"""Netlink messages, byte by byte: what is packed reads back, and what is broken does no harm."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.kernel import rtnetlink as wire
from netbond.model import Address, Interface, Nexthop, NexthopGroup, NexthopObject, Route, Rule

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
    Route(
        254,
        ipaddress.ip_network("0.0.0.0/0"),
        (Nexthop("usb0", ip("10.0.0.1")),),
        attributes=(("lock", 4), ("mtu", 1430), ("initcwnd", 30), ("congctl", "bbr")),
    ),
    Route(222, ipaddress.ip_network("::/0"), metric=1024, nexthop_id=7801222, attributes=(("mtu", 1280),)),
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
    Rule(37, 4, source=ipaddress.ip_network("10.0.0.10/32"), protocol=78, action="goto", other="goto 50"),
]


@pytest.mark.parametrize("route", ROUTES)
def test_routes_read_back(route: Route) -> None:
    assert wire.route(wire.pack_route(route, INDEXES), NAMES) == route


@pytest.mark.parametrize(
    ("head", "attributes", "other"),
    [
        ((2, 16, 0, 0x10), b"", "tos 16"),
        ((10, 48, 32, 0), struct.pack("=HH16s", 20, 2, ip("2001:db8::").packed), "from 2001:db8::/32"),
        ((2, 16, 0, 0), struct.pack("=HHHxx", 6, 21, 1), "encap"),
        ((2, 16, 0, 0), b"", ""),
    ],
)
def test_what_a_route_has_besides(head: tuple[int, ...], attributes: bytes, other: str) -> None:
    payload = struct.pack("=BBBBBBBBI", *head, 254, 4, 0, 1, 0) + attributes
    found = wire.route(payload, NAMES)
    assert found is not None
    assert found.other == other


SELECTING = Rule(
    222,
    4,
    table=7801,
    iif="usb0",
    mark=0x10,
    mask=0xFF,
    protocol=78,
    other="uidrange 0-0, ipproto 17, dport 443-450, dscp 46",
)


@pytest.mark.parametrize("rule", [*RULES, SELECTING])
def test_rules_read_back(rule: Rule) -> None:
    assert wire.rule(wire.pack_rule(rule), NAMES) == rule


@pytest.mark.parametrize(
    "nexthop",
    [
        NexthopObject(7800100, 4, "usb0", ip("10.0.0.1"), onlink=True, protocol=78),
        NexthopObject(7801100, 6, "usb1", None, protocol=78),
        NexthopGroup(7800222, 0, ((7800100, 1), (7800101, 256)), 78),
        NexthopGroup(7800221, 0, ((7800100, 1),), 78, resilient=True),
    ],
)
def test_nexthops_read_back(nexthop: NexthopObject | NexthopGroup) -> None:
    assert wire.nexthop(wire.pack_nexthop(nexthop, INDEXES), NAMES) == nexthop


@pytest.mark.parametrize(
    ("af", "index", "on", "expected"),
    [
        (2, 7, 1, ("usb0", 4)),
        (2, 7, 0, None),
        (2, 99, 1, None),  # it has gone
        (2, -1, 1, None),  # of IPv4 each interface counts by itself
        (2, -2, 1, None),  # what later ones begin with
        (10, -1, 1, ("all", 6)),
        (10, 7, 1, None),
        (7, -1, 1, None),  # MPLS
    ],
)
def test_what_the_box_forwards(af: int, index: int, on: int, expected: tuple[str, int] | None) -> None:
    payload = (
        bytes([af, 0, 0, 0]) + attribute(1, struct.pack("=i", index)) + attribute(2, struct.pack("=I", on))
    )
    assert wire.forwarding(payload, NAMES) == expected


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
        (0x181, {"temporary": True}),  # more than the header's eight bits: IFA_FLAGS counts
    ],
)
def test_flags_of_an_ipv6_address(flags: int, says: dict[str, bool]) -> None:
    payload = struct.pack("=BBBBI", 10, 64, flags & 0xFF, 0, 7)
    payload += attribute(1, ip("2001:db8::5").packed) + attribute(8, struct.pack("=I", flags))
    expected = Address("usb0", ipaddress.ip_interface("2001:db8::5/64"))
    assert wire.address(payload, NAMES) == replace(expected, **says)  # type: ignore[arg-type] # bools


def test_secondary_of_ipv4_is_not_temporary() -> None:
    payload = struct.pack("=BBBBI", 2, 24, 0x81, 0, 7)
    payload += attribute(1, ip("10.0.0.5").packed) + attribute(2, ip("10.0.0.5").packed)
    assert wire.address(payload, NAMES) == Address("usb0", ipaddress.ip_interface("10.0.0.5/24"))


@pytest.mark.parametrize(
    ("ip_text", "length", "flags", "proto", "dynamic"),
    [
        ("10.0.0.5", 24, 0x80, 0, False),
        ("10.0.0.5", 24, 0, 0, True),  # a DHCP client gives a lifetime
        ("2001:db8::5", 64, 0x80, 0, False),
        ("2001:db8::5", 64, 0x100, 0, True),  # the kernel made it from an advertisement, before 5.18
        ("2001:db8::5", 64, 0, 2, True),  # and after
        ("2001:db8::5", 64, 0x01, 0, True),  # with privacy
        ("2001:db8::5", 128, 0, 0, True),  # DHCPv6
        ("2001:db8:7::1", 64, 0, 0, False),  # a delegated prefix on a LAN
    ],
)
def test_whether_the_network_gave_an_address(
    ip_text: str, length: int, flags: int, proto: int, dynamic: bool
) -> None:
    af = 2 if ":" not in ip_text else 10
    payload = struct.pack("=BBBBI", af, length, flags & 0xFF, 0, 7)
    payload += attribute(1, ip(ip_text).packed) + attribute(8, struct.pack("=I", flags))
    payload += attribute(11, bytes([proto])) if proto else b""
    found = wire.address(payload, NAMES)
    assert found is not None
    assert found.dynamic is dynamic


def test_a_point_to_point_address_has_a_peer() -> None:
    payload = struct.pack("=BBBBI", 2, 32, 0x80, 0, 7)
    payload += attribute(1, ip("10.64.0.1").packed) + attribute(2, ip("10.64.1.2").packed)
    expected = Address("usb0", ipaddress.ip_interface("10.64.1.2/32"), ip("10.64.0.1"))
    assert wire.address(payload, NAMES) == expected


def test_what_a_rule_matches_on_besides() -> None:
    payload = wire.pack_rule(RULES[0]) + attribute(22, b"\x06") + attribute(20, struct.pack("=II", 5, 1000))
    payload += attribute(28, b"\xff\xff") + attribute(29, b"\xff\xf0")  # kernel 6.15
    payload += attribute(25, b"\x2e") + attribute(30, b"\x3f")
    payload += attribute(23, struct.pack("=HH", 80, 80)) + attribute(24, b"\x01") + attribute(99, b"\x07")
    found = wire.rule(payload, NAMES)
    assert found is not None
    assert (
        found.other == "uidrange 5-1000, ipproto 6, sport 80-80, attribute 24 01, dscp 46, dport_mask fff0,"
        " attribute 99 07"
    )


@pytest.mark.parametrize("kind", [2, 3, 5])
def test_local_and_multicast_routes_are_passed_over(kind: int) -> None:
    payload = struct.pack("=BBBBBBBBI", 10, 8, 0, 0, 254, 2, 0, kind, 0)
    assert wire.route(payload, NAMES) is None


@pytest.mark.parametrize(("ticks", "expires_s"), [(180_000, 1800.0), (1, 0.01), (0, None)])
def test_how_long_a_route_still_holds(ticks: int, expires_s: float | None) -> None:
    found = wire.route(advertised_route(ticks), NAMES)
    assert found is not None
    assert found.expires_s == expires_s
    assert found == wire.route(advertised_route(0), NAMES)  # time alone makes it no other route


@pytest.mark.parametrize(("kernel", "preference"), [(0, 0), (1, 1), (3, -1), (2, 0)])
def test_the_preference_of_a_router(kernel: int, preference: int) -> None:
    found = wire.route(advertised_route(0) + attribute(20, bytes([kernel])), NAMES)
    assert found is not None
    assert found.preference == preference


def test_a_route_that_has_expired_is_none_although_it_is_still_listed() -> None:
    assert wire.route(advertised_route(-1), NAMES) is None


def advertised_route(ticks: int) -> bytes:
    """A default of a router's advertisement; what the kernel lists of it."""
    cached = struct.pack("=IIiIIII", 0, 0, ticks, 0, 0, 0, 0)
    payload = struct.pack("=BBBBBBBBI", 10, 0, 0, 0, 254, 9, 0, 1, 0) + attribute(4, struct.pack("=I", 7))
    return payload + attribute(5, ip("fe80::1").packed) + attribute(12, cached)


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
        assert reader.read(parse, [b"x"]) == (names[1],)
    assert parsed == [b"x", b"x"]


def test_what_is_unchanged_stays_the_same_object() -> None:
    def parse(payload: bytes, _names: wire.Names) -> list[bytes] | None:
        return None if payload == b"nothing" else [payload]

    reader = wire.Reader()
    four, six = [b"a", b"nothing", b"b"], [b"c", b"c"]
    first = reader.read(parse, four, six)
    assert first == ([b"a"], [b"b"], [b"c"], [b"c"])
    assert reader.read(parse, four, six) is first
    second = reader.read(parse, [b"b", b"d"], six)
    assert second == ([b"b"], [b"d"], [b"c"], [b"c"])
    assert second[0] is first[1]
    assert second[3] is first[3]
    assert reader.read(parse, [b"b", b"d"], [b"a"])[2] is not first[0]  # forgotten meanwhile


# --- interfaces --------------------------------------------------------------------------------------------

ETHERNET = attribute(3, b"usb0\0") + attribute(1, bytes.fromhex("0c5b8f279a64"))


def about_link(flags: int, *more: bytes, family: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 1, 7, flags, 0) + ETHERNET + b"".join(more)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (0x10001, {}),
        (0x00001, {"carrier": False}),
        (0x00000, {"carrier": False, "up": False}),
        (0x10011, {"point_to_point": True}),
        (0x11083, {"no_arp": True}),  # cdc_mbim: BROADCAST, MULTICAST, NOARP
        (0x10009, {"loopback": True}),
    ],
)
def test_an_interface(flags: int, says: dict[str, bool]) -> None:
    expected = Interface("usb0", 7, mac="0c:5b:8f:27:9a:64")
    assert wire.link(about_link(flags), NAMES) == replace(expected, **says)  # type: ignore[arg-type] # bools


def test_a_vrf_has_a_table() -> None:
    def info(kind: bytes) -> bytes:
        return attribute(18, attribute(1, kind + b"\0") + attribute(2, attribute(1, struct.pack("=I", 1000))))

    found = wire.link(about_link(0x10001, info(b"vrf")), NAMES)
    assert found is not None
    assert (found.kind, found.vrf_table) == ("vrf", 1000)
    found = wire.link(about_link(0x10001, info(b"macvlan")), NAMES)  # there it is the mode
    assert found is not None
    assert (found.kind, found.vrf_table) == ("macvlan", 0)


def test_the_mtu_of_an_interface_and_attributes_that_a_later_kernel_has() -> None:
    found = wire.link(about_link(0x10001, attribute(4, struct.pack("=I", 1500))), NAMES)
    assert found is not None
    assert found.mtu == 1500
    plain = Route(254, ipaddress.ip_network("0.0.0.0/0"), (Nexthop("usb0", ip("10.0.0.1")),))
    later = attribute(8, attribute(2, struct.pack("=I", 1430)) + attribute(99, b"what?"))
    read = wire.route(wire.pack_route(plain, INDEXES) + later, NAMES)
    assert read == replace(plain, attributes=(("mtu", 1430),))


def test_a_port_of_a_bridge_with_its_kind_and_counters() -> None:
    counters = struct.pack("=24Q", 1, 2, 3000, 4000, *range(20))
    payload = about_link(
        0x10001,
        attribute(10, struct.pack("=I", 8)),
        attribute(18 | 0x8000, attribute(1, b"veth\0")),  # NLA_F_NESTED
        attribute(23, counters),
    )
    found = wire.link(payload, NAMES)
    assert found is not None
    assert (found.master, found.kind, found.rx_bytes, found.tx_bytes) == ("usb1", "veth", 3000, 4000)
    cut = wire.link(about_link(0x10001, attribute(23, counters[:24])), NAMES)
    assert cut is not None
    assert (cut.rx_bytes, cut.tx_bytes) == (0, 0)


def test_news_of_a_bridge_about_its_port_is_no_interface() -> None:
    assert wire.link(about_link(0x10001, family=7), NAMES) is None  # AF_BRIDGE
    assert wire.link(struct.pack("=BxHiII", 0, 1, 7, 1, 0), NAMES) is None  # without a name


def test_an_address_of_an_interface_that_is_not_known_is_none() -> None:
    payload = attribute(1, ip("10.0.0.5").packed)
    assert wire.address(struct.pack("=BBBBI", 2, 24, 0, 0, 99) + payload, NAMES) is None
    assert wire.address(struct.pack("=BBBBI", 17, 24, 0, 0, 7) + payload, NAMES) is None
    assert wire.address(struct.pack("=BBBBI", 2, 24, 0, 0, 7), NAMES) is None


# --- routes that are not ours ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "more"),
    [
        ((2, 8, 0, 0, 255, 3, 0, 1, 0), b""),  # of the local table
        ((2, 8, 0, 0, 0, 3, 0, 1, 0), attribute(15, struct.pack("=I", 255))),  # likewise, said elsewhere
        ((2, 8, 0, 0, 254, 3, 0, 1, 0x200), b""),  # a cached exception
        ((17, 8, 0, 0, 254, 3, 0, 1, 0), b""),  # of another family
    ],
)
def test_routes_that_nobody_configured(head: tuple[int, ...], more: bytes) -> None:
    assert wire.route(struct.pack("=BBBBBBBBI", *head) + more, NAMES) is None


def test_a_leg_that_is_cut_off_ends_the_list() -> None:
    legs = struct.pack("=HBBi", 8, 1, 2, 7) + struct.pack("=HBBi", 2, 0, 0, 8)
    payload = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 100, 3, 0, 1, 0) + attribute(9, legs)
    found = wire.route(payload, NAMES)
    assert found is not None
    assert found.nexthops == (Nexthop("usb0", weight=3),)
    assert found.nexthops[0].dead


# --- neighbours --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["10.0.0.1", "fe80::1"])
def test_a_neighbour_reads_back(text: str) -> None:
    payload = wire.pack_neighbour(7, ip(text))
    assert wire.neighbour(payload) == (7, ip(text), 0)
    for end in range(len(payload)):
        assert wire.neighbour(payload[:end]) is None
    other = struct.pack("=BxxxiHBB", socket.AF_BRIDGE, 7, 2, 0, 0)
    assert wire.neighbour(other + attribute(1, ip(text).packed)) is None


# --- requests ----------------------------------------------------------------------------------------------


def asked(data: bytes) -> tuple[int, int, int, bytes]:
    (found,) = wire.messages(data)
    return found


@pytest.mark.parametrize(
    ("kind", "size"), [(wire.GETLINK, 16), (wire.GETADDR, 8), (wire.GETNEXTHOP, 8), (wire.GETRULE, 12)]
)
def test_a_dump_is_asked_for_with_the_head_of_its_kind(kind: int, size: int) -> None:
    got, flags, sequence, payload = asked(wire.dump_request(kind, 10, 5, statistics=True))
    assert (got, flags, sequence, len(payload), payload[0]) == (kind, 0x301, 5, size, 10)


def test_advertised_routes_of_main_are_asked_for_alone() -> None:
    got, flags, _, payload = asked(wire.advertised_request(5))
    assert (got, flags) == (wire.GETROUTE, 0x301)
    assert payload == struct.pack("=BBBBBBBBI", 10, 0, 0, 0, 254, 9, 0, 1, 0)


def test_counters_are_left_out_unless_they_are_wanted() -> None:
    *_, payload = asked(wire.dump_request(wire.GETLINK, 0, 5))
    assert wire.attributes(payload, 16) == {29: struct.pack("=I", 0x8)}


@pytest.mark.parametrize(
    ("selectors", "attributes"),
    [
        ({}, {}),
        ({"mark": 0x64, "uid": 1000}, {16: struct.pack("=I", 0x64), 25: struct.pack("=I", 1000)}),
        ({"ipproto": 6, "sport": 258, "dport": 443}, {27: b"\x06", 28: b"\1\2", 29: b"\1\xbb"}),
    ],
)
def test_a_look_up(selectors: dict[str, int], attributes: dict[int, bytes]) -> None:
    request = wire.lookup_request(ip("8.8.8.8"), ip("10.0.0.10"), 7, 5, selectors)
    kind, flags, sequence, payload = asked(request)
    assert (kind, flags, sequence) == (wire.GETROUTE, wire.REQUEST, 5)
    assert payload[:12] == struct.pack("=BBBBBBBBI", 2, 32, 32, 0, 0, 0, 0, 0, 0x1000)
    assert wire.attributes(payload, 12) == {
        1: ip("8.8.8.8").packed,
        2: ip("10.0.0.10").packed,
        4: struct.pack("=I", 7),
        **attributes,
    }
    *_, payload = asked(wire.lookup_request(ip("2001:db8::1"), None, 0, 5))
    assert (payload[:3], wire.attributes(payload, 12)) == (b"\x0a\x80\x00", {1: ip("2001:db8::1").packed})


def test_the_answer_may_be_of_the_local_table() -> None:
    payload = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 255, 0, 0, 2, 0x200)
    payload += attribute(1, ip("127.0.0.1").packed) + attribute(4, struct.pack("=I", 1))
    found = wire.answer(payload, NAMES)
    assert (found.table, found.kind, found.nexthops) == (255, "local", (Nexthop("lo"),))
