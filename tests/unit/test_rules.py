"""The policy rules of all uplinks, in both layouts."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config, RoutingConfig
from netbond.desired import desired
from netbond.model import MAIN_TABLE, Address, Facts, Interface, Nexthop, Route, Uplink, Withheld
from netbond.plan import rule_words
from netbond.policies.model import PolicyInUse, PolicyMatch, PolicyWay
from netbond.rules import overlap, rules
from tests.unit.boxes import SIX, address, box, default6, lease, link, main_default, six, uplinks

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


def test_the_classic_layout_with_addresses_where_networks_of_two_uplinks_overlap() -> None:
    """And one uplink's own networks do not, be they ever so many."""
    first = replace(
        TWO[0],
        addresses=tuple(address("usb0", each) for each in ("10.0.0.10/24", "10.0.0.11/25", "10.9.0.1/24")),
    )
    second = replace(TWO[1], addresses=(address("usb1", "10.9.0.9/16"),))
    assert [
        line for line in lines([first, second], CLASSIC) if "lookup 10" in line and "oif" not in line
    ] == [
        "priority 201 from 10.0.0.0/24 lookup 100",
        "priority 201 from 10.0.0.0/25 lookup 100",
        "priority 201 from 10.9.0.1 lookup 100",
        "priority 202 from 10.9.0.9 lookup 101",
    ]


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


@pytest.mark.parametrize(
    ("routing", "passed_over", "four", "six_"),
    [
        (DEFAULT, (), " suppress_prefixlength 0", " suppress_prefixlength 0"),
        (CLASSIC, (), "", ""),
        (CLASSIC, (6,), "", " suppress_prefixlength 0"),
    ],
)
def test_withheld_addresses_have_their_rules_and_main_before_them(
    routing: RoutingConfig, passed_over: tuple[int, ...], four: str, six_: str
) -> None:
    withheld = [
        Withheld("usb0", "usb0", 4, 100, (address("usb0", "10.0.0.10/24"), address("usb0", "10.0.0.11/24"))),
        Withheld("usb1", "usb1", 6, 101, (six("usb1", "2001:db8::5/64"),)),
    ]
    first = 100 if routing is DEFAULT else 201
    found = rules([], routing, withheld=withheld, passed_over=passed_over)
    assert [f"{rule.family}: {rule_words(rule)}" for rule in found] == [
        f"4: priority 50 from all lookup main{four} protocol 78",
        f"4: priority {first} from 10.0.0.10 lookup 100 protocol 78",
        f"4: priority {first} from 10.0.0.11 lookup 100 protocol 78",
        f"6: priority 50 from all lookup main{six_} protocol 78",
        f"6: priority {first + 1} from 2001:db8::5 lookup 101 protocol 78",
    ]


def test_a_policy_without_uplinks_comes_behind_main() -> None:
    match = PolicyMatch(protocols=(6,), ports=((443, 443),))
    ways = tuple(PolicyWay(family, match, 0, 0, ()) for family in (4, 6))
    policy = PolicyInUse("bank", 1, 7801, (), ways, otherwise="unreachable")
    for routing, passed_over, words in (
        (DEFAULT, (), [" suppress_prefixlength 0"] * 2),
        (CLASSIC, (6,), ["", " suppress_prefixlength 0"]),
    ):
        found = rules([], routing, policies=[policy], passed_over=passed_over)
        assert [f"{rule.family}: {rule_words(rule)}" for rule in found] == [
            f"4: priority 50 from all lookup main{words[0]} protocol 78",
            "4: priority 222 from all ipproto 6 dport 443 lookup 7801 protocol 78",
            f"6: priority 50 from all lookup main{words[1]} protocol 78",
            "6: priority 222 from all ipproto 6 dport 443 lookup 7801 protocol 78",
        ]


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
        ("2001:db8::/48", "2001:db8:1::/48", False),
    ],
)
def test_overlap(one: str, other: str, common: bool) -> None:
    assert overlap(ipaddress.ip_network(one), ipaddress.ip_network(other)) is common


class TestSharedNetworks:
    """Two uplinks in one network: main can name one device only, so each address has a rule of its own."""

    def shared(self, facts: Facts, config: Config | None = None) -> list[str]:
        found = desired(facts, config or Config()).rules
        return [rule_words(rule).removesuffix(" protocol 78") for rule in found if rule.destination]

    def box(self, *addresses: Address) -> Facts:
        found = box(*dict.fromkeys(each.device for each in addresses))
        leases = tuple(
            lease(each.device, str(each.interface), str(each.interface.network[1])) for each in addresses
        )
        return replace(found, addresses=addresses, leases=leases)

    def test_one_subnet(self) -> None:
        facts = self.box(address("usb0", "10.0.0.10/24"), address("usb1", "10.0.0.11/24"))
        assert self.shared(facts) == [
            "priority 41 from 10.0.0.10 to 10.0.0.0/24 lookup 100",
            "priority 41 from 10.0.0.11 to 10.0.0.0/24 lookup 101",
        ]
        assert self.shared(facts, parse('[routing]\nlayout = "classic"')) == self.shared(facts)
        (first, _) = self.shared(facts, parse("[routing]\noif_priority = 49"))
        assert first == "priority 49 from 10.0.0.10 to 10.0.0.0/24 lookup 100"  # still ahead of main

    def test_subnets_of_their_own(self) -> None:
        assert self.shared(box("usb0", "usb1")) == []

    def test_one_within_the_other(self) -> None:
        facts = self.box(address("usb0", "10.0.0.10/16"), address("usb1", "10.0.7.11/24"))
        assert self.shared(facts) == [
            "priority 41 from 10.0.0.10 to 10.0.7.0/24 lookup 100",
            "priority 41 from 10.0.7.11 to 10.0.7.0/24 lookup 101",
        ]

    def test_one_peer(self) -> None:
        facts = Facts(
            interfaces=tuple(Interface(f"ppp{n}", 9 + n, point_to_point=True) for n in range(2)),
            addresses=tuple(address(f"ppp{n}", f"10.64.1.{n}/32", peer="10.64.64.64") for n in range(2)),
            routes=tuple(
                replace(main_default("ppp0", "10.64.64.64", n), nexthops=(Nexthop(f"ppp{n}"),))
                for n in range(2)
            ),
        )
        assert [words.split(" lookup")[0] for words in self.shared(facts)] == [
            "priority 41 from 10.64.1.1 to 10.64.64.64",
            "priority 41 from 10.64.1.0 to 10.64.64.64",
        ]

    def test_ipv6_but_not_link_local_neighbours(self) -> None:
        near = tuple(
            Route(MAIN_TABLE, ipaddress.ip_network(network), (Nexthop(f"usb{n}"),), metric=256, protocol=2)
            for n in range(2)
            for network in ("2001:db8::/64", "fe80::/64")
        )
        facts = Facts(
            interfaces=(link("usb0"), link("usb1")),
            addresses=(six("usb0", "2001:db8::a/64"), six("usb1", "2001:db8::b/128")),
            routes=(default6("usb0", "fe80::1"), default6("usb1", "fe80::1"), *near),
        )
        assert self.shared(facts) == [
            "priority 41 from 2001:db8::a to 2001:db8::/64 lookup 100",
            "priority 41 from 2001:db8::b to 2001:db8::/64 lookup 101",
        ]

    def test_one_destination_by_two_gateways(self) -> None:
        """Both operators announce the same private network (option 121)."""
        facts = box("usb0", "usb1")
        to = ipaddress.ip_network("10.99.0.0/16")
        hops = [Nexthop(f"usb{n}", ipaddress.ip_address(f"10.0.{n}.1")) for n in range(2)]
        facts = replace(facts, routes=tuple(Route(MAIN_TABLE, to, (hop,), protocol=16) for hop in hops))
        assert self.shared(facts) == [
            "priority 41 from 10.0.0.10 to 10.99.0.0/16 lookup 100",
            "priority 41 from 10.0.1.10 to 10.99.0.0/16 lookup 101",
        ]

    def test_what_lies_behind_a_gateway_does_not_have_the_others_networks(self) -> None:
        facts = box("usb0", "usb1")
        hop = Nexthop("usb0", ipaddress.ip_address("10.0.0.1"))
        wide = Route(MAIN_TABLE, ipaddress.ip_network("10.0.0.0/8"), (hop,), protocol=16)
        assert self.shared(replace(facts, routes=(wide,))) == []

    def test_twins_cannot_be_told_apart_but_a_third_can(self) -> None:
        twins = [address(f"usb{n}", "192.168.8.100/24") for n in range(2)]
        assert self.shared(self.box(*twins)) == []
        assert self.shared(self.box(*twins, address("usb2", "192.168.8.7/24"))) == [
            "priority 41 from 192.168.8.7 to 192.168.8.0/24 lookup 102"
        ]

    @pytest.mark.parametrize("state", [{"carrier": False}, {"up": False}])
    def test_not_for_one_without_a_link(self, state: dict[str, bool]) -> None:
        facts = self.box(address("usb0", "10.0.0.10/24"), address("usb1", "10.0.0.11/24"))
        facts = replace(facts, interfaces=(link("usb0"), link("usb1", **state)))
        assert self.shared(facts) == []
