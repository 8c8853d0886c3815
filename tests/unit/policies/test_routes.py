"""The tables of policies."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from netbond.config.load import parse
from netbond.ecmp import leg
from netbond.model import Facts
from tests.unit.boxes import SIX, box, commands, default6, link, six, uplinks

TWO = box("usb0", "usb1")


def lines(text: str, facts: Facts) -> list[str]:
    """What is added for policies besides rules, and for the shared default's nexthops."""
    return [
        line.removeprefix("ip ").replace(" proto 78", "")
        for line in commands(facts, parse(text))
        if " table 780" in line or "nexthop add" in line
    ]


def policy(*more: str, uplinks: str = '["usb0", "usb1"]') -> str:
    return "\n".join(['[[policy]]\nname = "p"', f"uplinks = {uplinks}", *more])


def test_one_uplink_is_a_plain_route_with_its_address() -> None:
    assert lines(policy(), TWO) == ["route add default via 10.0.0.1 dev usb0 table 7801 src 10.0.0.10"]


def test_destinations_are_routes_and_refusals_stand_beside_them() -> None:
    text = policy('destination = ["203.0.113.0/24", "198.51.100.7"]', 'otherwise = "unreachable"')
    assert lines(text, TWO) == [
        "route add unreachable 198.51.100.7/32 table 7801 metric 4294967295",
        "route add 198.51.100.7/32 via 10.0.0.1 dev usb0 table 7801 src 10.0.0.10",
        "route add unreachable 203.0.113.0/24 table 7801 metric 4294967295",
        "route add 203.0.113.0/24 via 10.0.0.1 dev usb0 table 7801 src 10.0.0.10",
    ]
    none = replace(TWO, interfaces=(link("usb0", up=False), link("usb1", up=False)))
    assert lines(text, none) == [
        "route add unreachable 198.51.100.7/32 table 7801 metric 4294967295",
        "route add unreachable 203.0.113.0/24 table 7801 metric 4294967295",
    ]
    assert lines(policy(), none) == []


def test_a_tier_of_several_is_a_group_of_its_own() -> None:
    facts = replace(box("usb0", "usb1", "usb2"), nexthops=())
    config = '[[uplink]]\nmatch = "usb2"\nbackup = true\n'
    text = (
        config
        + policy(uplinks='[{usb0 = 4, usb1 = 2}, "usb2"]')
        + "\n"
        + policy(uplinks='["usb2"]').replace('"p"', '"q"')
    )
    assert lines(text, facts) == [
        "nexthop add id 7800100 via 10.0.0.1 dev usb0",
        "nexthop add id 7800101 via 10.0.1.1 dev usb1",
        "nexthop add id 7800222 group 7800100,1/7800101,1",
        "nexthop add id 7800301 group 7800100,2/7800101,1",
        "route add default nhid 7800301 table 7801",
        "route add default via 10.0.2.1 dev usb2 table 7802 src 10.0.2.10",
    ]


def test_without_groups_it_is_a_multipath_route() -> None:
    assert lines(policy(uplinks="[{usb0 = 4, usb1 = 2}]"), TWO) == [
        "route add default table 7801 nexthop via 10.0.0.1 dev usb0 weight 2"
        " nexthop via 10.0.1.1 dev usb1 weight 1"
    ]


def test_a_leg_that_the_kernel_refuses_is_left_out() -> None:
    refused = leg(uplinks(TWO)[0])
    facts = replace(TWO, left_out=frozenset({replace(refused, weight=7)}))
    assert lines(policy(uplinks='[["usb0", "usb1"]]'), facts) == [
        "route add default via 10.0.1.1 dev usb1 table 7801 src 10.0.1.10"
    ]


def test_ipv6_has_no_groups_and_no_leg_without_gateway_beside_others() -> None:
    two = replace(
        SIX,
        interfaces=(*SIX.interfaces, link("usb1")),
        addresses=(*SIX.addresses, six("usb1", "2001:db8:1::5/64")),
        routes=(*SIX.routes, default6("usb1", "fe80::2")),
        nexthops=(),
    )
    text = policy(uplinks='[["usb0", "usb1"]]')
    assert lines(text, two) == [
        "-6 route add default table 7801 metric 1024 nexthop via fe80::1 dev usb0 weight 1"
        " nexthop via fe80::2 dev usb1 weight 1"
    ]
    bare = '[[uplink]]\nmatch = "usb1"\ngateway = "none"\n'
    assert lines(bare + text, two) == [
        "-6 route add default via fe80::1 dev usb0 table 7801 src 2001:db8::5 metric 1024"
    ]


def test_ipv6_legs_that_need_no_gateway_stand_beside_others() -> None:
    both = tuple(replace(link(name), point_to_point=True) for name in ("ppp0", "ppp1"))
    bare = '[[uplink]]\nmatch = "ppp*"\ngateway = "none"\n'
    facts = replace(
        SIX,
        interfaces=(*SIX.interfaces, *both),
        addresses=(*SIX.addresses, six("ppp0", "2001:db8:1::5/64"), six("ppp1", "2001:db8:2::5/64")),
    )
    assert lines(bare + policy(uplinks='[["usb0", "ppp0"]]'), facts) == [
        "-6 route add default table 7801 metric 1024 nexthop via fe80::1 dev usb0 weight 1"
        " nexthop via fe80:: dev ppp0 weight 1"
    ]
    assert lines(bare + policy(uplinks='[["ppp0", "ppp1"]]'), facts) == [
        "-6 route add default table 7801 metric 1024 nexthop via fe80:: dev ppp1 weight 1"
        " nexthop via fe80:: dev ppp0 weight 1"
    ]
    # Of several on cables the kernel takes one.
    cables = replace(facts, interfaces=(*SIX.interfaces, link("ppp0"), link("ppp1")))
    assert lines(bare + policy(uplinks='[["ppp0", "ppp1"]]'), cables) == [
        "-6 route add default dev ppp1 table 7801 src 2001:db8:2::5 metric 1024"
    ]


def test_names_are_routes_to_their_addresses() -> None:
    found = tuple(ipaddress.ip_address(f"192.0.2.{number}") for number in (2, 1))
    facts = replace(TWO, resolved=(("bank.example", found),))
    assert [line.split()[2] for line in lines(policy('destination = "bank.example"'), facts)] == [
        "192.0.2.1/32",
        "192.0.2.2/32",
    ]
