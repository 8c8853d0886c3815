"""What a whole box should be: nexthop groups, both families, defaults of others."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.conflicts import conflicts
from netbond.desired import desired
from netbond.model import (
    Facts,
    NexthopGroup,
    NexthopObject,
)
from netbond.plan import plan
from tests.unit.boxes import SIX, box, commands, default6, link, main_default, uplinks


def test_a_box_with_ipv6_alone() -> None:
    """The same layout as with IPv4, with metrics said outright."""
    assert commands(SIX) == [
        "ip nexthop add id 7801100 via fe80::1 dev usb0 proto 78",
        "ip nexthop add id 7801222 group 7801100,1 proto 78",
        "ip -6 route add unreachable default table 100 proto 78 metric 4294967295",
        "ip -6 route add 2001:db8::/64 dev usb0 table 100 proto 78 src 2001:db8::5 metric 1024",
        "ip -6 route add default via fe80::1 dev usb0 table 100 proto 78 src 2001:db8::5 metric 1024",
        "ip -6 route add default nhid 7801222 table 222 proto 78 metric 1024",
        "ip -6 rule add priority 40 from all oif usb0 lookup 100 protocol 78",
        "ip -6 rule add priority 50 from all lookup main suppress_prefixlength 0 protocol 78",
        "ip -6 rule add priority 100 from 2001:db8::5 lookup 100 protocol 78",
        "ip -6 rule add priority 222 from all lookup 222 protocol 78",
    ]


class TestNexthops:
    """A group, where the kernel has them and nobody else uses the numbers."""

    facts = replace(box("usb0", "usb1"), nexthops=())

    def settled(self) -> Facts:
        goal = desired(self.facts, Config())
        as_read = tuple(replace(n, family=0) if isinstance(n, NexthopGroup) else n for n in goal.nexthops)
        return replace(self.facts, routes=goal.routes, rules=goal.rules, nexthops=as_read)

    def test_settled_needs_nothing(self) -> None:
        assert commands(self.settled()) == []

    def test_a_leg_that_goes_leaves_the_group_before_it_is_deleted(self) -> None:
        facts = replace(self.settled(), links=(link("usb0"), link("usb1", carrier=False)))
        assert commands(facts) == [
            "ip nexthop replace id 7800222 group 7800100,1 proto 78",
            "ip nexthop delete id 7800101",
        ]

    def test_what_the_kernel_took_is_put_back_members_first(self) -> None:
        before = self.settled()
        group = NexthopGroup(7800222, 0, ((7800100, 1),), 78)
        facts = replace(before, nexthops=(NexthopObject(7800100, 4, "usb0", ipaddress.ip_address("10.0.0.1"),
                                                        protocol=78), group))  # fmt: skip
        assert commands(facts) == [
            "ip nexthop add id 7800101 via 10.0.1.1 dev usb1 proto 78",
            "ip nexthop replace id 7800222 group 7800100,1/7800101,1 proto 78",
        ]

    def test_others_numbers_and_old_kernels(self) -> None:
        foreign = NexthopObject(7800101, 4, "usb0", protocol=3)
        for nexthops in (None, (foreign,)):
            found = commands(replace(self.facts, nexthops=nexthops))
            assert not any("nexthop add" in c or "nhid" in c for c in found)
            assert any("weight 1 nexthop via" in c for c in found)
        facts = replace(self.facts, nexthops=(foreign,))
        assert "nexthop id 7800101" in conflicts(facts, desired(facts, Config()), Config())[0]

    def test_leaving_takes_routes_then_group_then_members(self) -> None:
        facts = self.settled()
        words = [o.command().split()[1] for o in plan(facts, desired(Facts(), Config()), 78)]
        assert words == ["rule"] * 6 + ["route"] * 7 + ["nexthop"] * 3
        assert plan(facts, desired(Facts(), Config()), 78)[-3].command() == "ip nexthop delete id 7800222"

    def test_without_pruning_nothing_goes(self) -> None:
        facts = replace(self.settled(), links=(link("usb0"),), addresses=self.facts.addresses[:2])
        assert plan(facts, desired(facts, Config()), 78, prune=False) == []
        assert plan(facts, desired(facts, Config()), 78) != []


class TestDefaultsOfOthers:
    """Taken only where the classic layout is told to, and only what something replaces."""

    config = parse('[routing]\nlayout = "classic"\ntake_over_default = true')
    ours = main_default("usb0", "10.0.0.1", metric=5)
    facts = replace(box("usb0"), routes=(ours,))

    def test_taken_last_of_all_adds(self) -> None:
        found = commands(self.facts, self.config)
        assert found[-1] == "ip route delete default via 10.0.0.1 dev usb0 table main proto 16 metric 5"

    def test_not_by_default_and_not_without_a_usable_uplink(self) -> None:
        assert desired(self.facts, parse('[routing]\nlayout = "classic"')).take == ()
        assert desired(replace(self.facts, links=(link("usb0", up=False),)), self.config).take == ()
        assert desired(replace(self.facts, routes=(default6("usb0", "fe80::1"),)), self.config).take == ()

    def test_it_still_tells_the_gateway_once_it_is_taken(self) -> None:
        facts = replace(self.facts, leases=(), routes=(), taken=(self.ours,))
        assert [str(u.gateway) for u in uplinks(facts, self.config)] == ["10.0.0.1"]
