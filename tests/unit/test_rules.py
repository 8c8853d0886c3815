"""The policy rules of all uplinks, in both layouts."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.schema import RoutingConfig
from netbond.model import Uplink
from netbond.plan import rule_words
from netbond.rules import overlap, rules
from tests.unit.boxes import SIX, address, box, lease, uplinks

DEFAULT, CLASSIC = RoutingConfig(), RoutingConfig(layout="classic")
TWO = uplinks(box("usb0", "usb1"))


def lines(found: list[Uplink], routing: RoutingConfig = DEFAULT, pins: tuple[int, ...] = ()) -> list[str]:
    return [rule_words(rule).removesuffix(" protocol 78") for rule in rules(found, routing, pins=pins)]


def test_the_default_layout() -> None:
    assert lines(TWO) == [
        "priority 40 from all oif usb0 lookup 100",
        "priority 40 from all oif usb1 lookup 101",
        "priority 50 from all lookup main suppress_prefixlength 0",
        "priority 100 from 10.0.0.10 lookup 100",
        "priority 101 from 10.0.1.10 lookup 101",
        "priority 222 from all lookup 222",
    ]


def test_the_classic_layout() -> None:
    assert lines(TWO, CLASSIC) == [
        "priority 40 from all oif usb0 lookup 100",
        "priority 40 from all oif usb1 lookup 101",
        "priority 50 from all lookup main",
        "priority 201 from 10.0.0.0/24 lookup 100",
        "priority 202 from 10.0.1.0/24 lookup 101",
        "priority 222 from all lookup 222",
    ]


def test_without_uplinks_there_are_none() -> None:
    assert lines([]) == []


def test_each_family_has_its_own() -> None:
    assert lines(uplinks(SIX)) == [
        "priority 40 from all oif usb0 lookup 100",
        "priority 50 from all lookup main suppress_prefixlength 0",
        "priority 100 from 2001:db8::5 lookup 100",
        "priority 222 from all lookup 222",
    ]
    assert {rule.family for rule in rules([*TWO, *uplinks(SIX)], DEFAULT)} == {4, 6}


def test_pins_have_a_rule_in_their_families() -> None:
    assert "priority 220 from all lookup 221" in lines(TWO, pins=(4,))
    assert [rule.family for rule in rules(TWO, DEFAULT, pins=(4, 6)) if rule.table == 221] == [4, 6]


def test_a_further_gateway_has_no_device_rule() -> None:
    further = [TWO[0], replace(TWO[1], device="usb0", further=True)]
    assert [line for line in lines(further) if "oif" in line] == ["priority 40 from all oif usb0 lookup 100"]


def test_twins_share_an_address_and_no_table() -> None:
    twin = replace(
        box("usb0", "usb1"),
        addresses=(address("usb0", "192.168.8.100/24"), address("usb1", "192.168.8.100/24")),
        leases=tuple(lease(d, "192.168.8.100/24", "192.168.8.1") for d in ("usb0", "usb1")),
    )
    assert [line for line in lines(uplinks(twin)) if "192" in line] == [
        "priority 100 from 192.168.8.100 lookup 100",
        "priority 101 from 192.168.8.100 lookup 101",
    ]
    # The classic layout's rule for the network would send both by the first.
    assert [line for line in lines(uplinks(twin), CLASSIC) if "192" in line] == [
        "priority 201 from 192.168.8.100 lookup 100",
        "priority 202 from 192.168.8.100 lookup 101",
    ]


def test_a_point_to_point_address_stands_for_itself() -> None:
    ppp = replace(TWO[0], addresses=(address("usb0", "10.64.1.2/24", peer="10.64.0.1"),))
    assert "priority 201 from 10.64.1.2 lookup 100" in lines([ppp], CLASSIC)


def test_however_many_uplinks_there_are_pins_come_after_them() -> None:
    many = uplinks(box(*(f"wwan{number}" for number in range(30))))
    found = rules(many, CLASSIC, pins=(4,))
    assert max(rule.priority for rule in found if rule.source) == 219
    assert sum(rule.source is not None for rule in found) == 30


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ("10.0.0.0/8", "10.1.0.0/16", True),
        ("10.0.0.0/24", "10.0.1.0/24", False),
        ("2001:db8::/32", "2001:db8:1::/48", True),
        ("0.0.0.0/0", "::/0", False),
        ("::/0", "0.0.0.0/0", False),
    ],
)
def test_overlap(one: str, other: str, common: bool) -> None:
    assert overlap(ipaddress.ip_network(one), ipaddress.ip_network(other)) is common
