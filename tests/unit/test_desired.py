"""What a whole box should be: nexthop groups, both families, defaults of others."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from netbond.config.load import parse
from netbond.desired import desired, tables_in_use
from netbond.model import MAIN_TABLE, Nexthop, Route, Rule
from tests.unit.boxes import SIX, address, box, commands, default6, link, main_default, six, uplinks


def test_a_box_with_ipv6_alone() -> None:
    """The same layout as with IPv4, with metrics said outright."""
    assert commands(SIX) == [
        "ip -6 route add unreachable default table 100 proto 78 metric 4294967295",
        "ip -6 route add 2001:db8::/64 dev usb0 table 100 proto 78 src 2001:db8::5 metric 1024",
        "ip -6 route add default via fe80::1 dev usb0 table 100 proto 78 src 2001:db8::5 metric 1024",
        "ip -6 route add default via fe80::1 dev usb0 table 222 proto 78 metric 1024",
        "ip -6 rule add priority 40 from all oif usb0 lookup 100 protocol 78",
        "ip -6 rule add priority 50 from all lookup main suppress_prefixlength 0 protocol 78",
        "ip -6 rule add priority 100 from 2001:db8::5 lookup 100 protocol 78",
        "ip -6 rule add priority 222 from all lookup 222 protocol 78",
    ]


def test_the_table_of_an_uplink_has_what_main_has_for_its_device() -> None:
    to = ipaddress.ip_network("fe80::/64")
    neighbours = Route(MAIN_TABLE, to, (Nexthop("usb0"),), metric=256, protocol=2)
    facts = replace(SIX, routes=(*SIX.routes, neighbours, replace(neighbours, nexthops=(Nexthop("eth7"),))))
    assert [line for line in commands(facts) if "fe80::/64" in line] == [
        "ip -6 route add fe80::/64 dev usb0 table 100 proto 78 metric 1024"
    ]


def test_a_further_gateway_keeps_its_table() -> None:
    """The default in a table says whose it is, where no rule for a device does."""
    two = replace(
        box("eth0"), addresses=(address("eth0", "10.0.0.10/24"), address("eth0", "10.1.0.10/24")), leases=()
    )
    config = parse('[[uplink]]\nmatch = "eth0"\ngateway = ["10.0.0.1", "10.1.0.1"]')
    goal = desired(two, config)
    table = goal.uplinks[1].table
    facts = replace(
        two,
        routes=tuple(replace(r, table=200) if r.table == table else r for r in goal.routes),
        rules=tuple(replace(r, table=200, priority=200) if r.table == table else r for r in goal.rules),
    )
    assert tables_in_use(facts, 78)["eth0+10.1.0.1"] == 200
    assert commands(facts, config) == []


def test_of_a_device_its_own_rule_says_which_table_it_has() -> None:
    rules = (Rule(40, 4, table=107, oif="usb0", protocol=78), Rule(40, 4, table=9, oif="usb1", protocol=3))
    facts = replace(box("usb0", "usb1"), rules=rules)
    assert tables_in_use(facts, 78) == {"usb0": 107}


def test_of_withheld_addresses_their_rule_says_which_table_their_interface_has() -> None:
    """It has no rule for the device, and a table without a default."""
    rule = Rule(130, 4, table=130, source=ipaddress.ip_network("10.0.1.10/32"), protocol=78)
    gone = replace(rule, table=140, priority=140, source=ipaddress.ip_network("10.9.9.9/32"))
    facts = replace(box("usb0", "usb1"), rules=(rule, gone, replace(rule, table=150, protocol=3)))
    assert tables_in_use(facts, 78) == {"usb1": 130}


def test_the_tables_of_policies_are_no_uplinks() -> None:
    source = ipaddress.ip_network("10.0.0.10/32")
    rule = Rule(222, 4, table=7801, source=source, protocol=78)
    hop = Nexthop("usb0", ipaddress.ip_address("10.0.0.1"))
    route = Route(7801, ipaddress.ip_network("0.0.0.0/0"), (hop,), protocol=78)
    facts = replace(box("usb0"), rules=(rule,), routes=(route,))
    assert tables_in_use(facts, 78) == {}


def test_rules_for_pins_only_where_something_is_pinned() -> None:
    config = parse('[[pin]]\ndestination = ["203.0.113.0/24"]\nuplinks = ["usb0"]')
    assert any("lookup 221" in line for line in commands(box("usb0"), config))
    assert not any("lookup 221" in line for line in commands(box("usb0")))


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
        assert desired(replace(self.facts, interfaces=(link("usb0", up=False),)), self.config).take == ()
        assert desired(replace(self.facts, routes=(default6("usb0", "fe80::1"),)), self.config).take == ()

    def test_it_still_tells_the_gateway_once_it_is_taken(self) -> None:
        facts = replace(self.facts, leases=(), routes=(), taken=(self.ours,))
        assert [str(u.gateway) for u in uplinks(facts, self.config)] == ["10.0.0.1"]

    def test_not_where_main_would_then_refuse_everything(self) -> None:
        """The rule for main passes them over instead; that of the other family is as ever."""
        switch = Route(MAIN_TABLE, self.ours.destination, kind="blackhole", metric=9, protocol=3)
        both = replace(
            self.facts,
            addresses=(*self.facts.addresses, six("usb0", "2001:db8::5/64")),
            routes=(self.ours, switch, default6("usb0", "fe80::1")),
        )
        goal = desired(both, self.config)
        assert [route.family for route in goal.take] == [6]
        assert [(rule.family, rule.suppress_prefixlength) for rule in goal.rules if rule.priority == 50] == [
            (4, 0),
            (6, None),
        ]
        kernels = replace(both, routes=(self.ours, replace(switch, protocol=2), default6("usb0", "fe80::1")))
        assert len(desired(kernels, self.config).take) == 2
