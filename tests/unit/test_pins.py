"""Pinned destinations: the first uplink of the list that works."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond import pins
from netbond.config.load import parse
from netbond.errors import ConfigError
from netbond.model import (
    Facts,
)
from tests.unit.boxes import SIX, box, commands, default6, link, six, uplinks


class TestPins:
    """The first of the list that works."""

    text = """
    [[pin]]
    destination = ["203.0.113.0/24", "bank.example", "2001:db8:9::/48"]
    uplinks = ["eth*", "usb1", "usb*"]
    otherwise = "unreachable"
    [[pin]]
    destination = ["203.0.113.0/24", "203.0.113.128/25"]
    uplinks = ["usb0"]
    """
    config = parse(text)
    facts = replace(
        box("usb0", "usb1"),
        resolved=(
            ("bank.example", (ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1"))),
        ),
    )

    def ways(self, facts: Facts) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for route in pins.routes(uplinks(facts, self.config), facts, self.config):
            says = route.nexthops[0].device if route.nexthops else route.kind
            found.setdefault(str(route.destination), []).append(says)
        return found

    def test_order_overlap_and_names(self) -> None:
        assert self.ways(self.facts) == {
            "192.0.2.1/32": ["unreachable", "usb1"],
            "203.0.113.0/24": ["unreachable", "usb1"],
            "203.0.113.128/25": ["usb0"],
        }

    def test_fallback_and_refusal(self) -> None:
        one = replace(self.facts, interfaces=(link("usb0"), link("usb1", carrier=False)))
        assert self.ways(one)["203.0.113.0/24"] == ["unreachable", "usb0"]
        none = replace(self.facts, interfaces=(link("usb0", up=False), link("usb1", up=False)))
        assert self.ways(none) == {"192.0.2.1/32": ["unreachable"], "203.0.113.0/24": ["unreachable"]}

    def test_a_backup_that_waits_carries_what_is_pinned_to_it(self) -> None:
        config = parse(
            '[[uplink]]\nmatch = "usb1"\nbackup = true\n'
            '[[pin]]\ndestination = ["192.0.2.0/24"]\nuplinks = ["usb1"]'
        )
        (route,) = pins.routes(uplinks(self.facts, config), self.facts, config)
        assert route.nexthops[0].device == "usb1"

    @pytest.mark.parametrize(
        ("destination", "says"),
        [
            ('["203.0.113.1/24"]', "'203.0.113.1/24' is none of them"),
            ('["0.0.0.0/0"]', "prefixes that are not everything"),
            ('["a b"]', "'a b' is none of them"),
            ('["-x.example"]', "is none of them"),
            ("[]", "a list of prefixes"),
            ('"192.0.2.1"', "a list of prefixes"),
            ('["300.1.1.1"]', "'300.1.1.1' is none of them"),
        ],
    )
    def test_mistakes(self, destination: str, says: str) -> None:
        with pytest.raises(ConfigError, match=r"pin\[1\]\.destination") as caught:
            parse(f'[[pin]]\ndestination = {destination}\nuplinks = ["usb0"]')
        assert says in str(caught.value)


def test_refusing_with_ipv6_is_from_each_address_that_the_kernel_may_choose() -> None:
    """It tries what is refused again, bound to that. The longest prefix wins there, too."""
    facts = replace(
        SIX,
        interfaces=(*SIX.interfaces, link("usb1")),
        addresses=(*SIX.addresses, six("usb1", "2001:db8:1::5/64")),
        routes=(*SIX.routes, default6("usb1", "fe80::2")),
    )
    text = (
        '[[pin]]\ndestination = ["2001:db8:b:1::/64"]\nuplinks = ["usb1"]\n'
        '[[pin]]\ndestination = ["2001:db8:b::/48", "203.0.113.0/24"]\nuplinks = ["usb0"]\n'
    )
    assert not [line for line in commands(facts, parse(text)) if "table 8" in line or " lookup 8" in line]
    refuse = parse(text + 'otherwise = "unreachable"')
    assert [line for line in commands(facts, refuse) if "table 8" in line or " lookup 8" in line] == [
        "ip -6 route add unreachable 2001:db8:b::/48 table 8101 proto 78 metric 4294967295",
        "ip -6 route add throw 2001:db8:b:1::/64 table 8101 proto 78 metric 4294967295",
        "ip -6 rule add priority 51 from 2001:db8:1::5 lookup 8101 protocol 78",
    ]
