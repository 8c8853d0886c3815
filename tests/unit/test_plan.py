"""From facts to commands: the routing tables of whole boxes, written out, and the way to them."""

from __future__ import annotations

import copy
import ipaddress
import shlex
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.desired import Desired, desired
from netbond.kernel.sysctls import Change
from netbond.model import Facts, Nexthop, NexthopGroup, NexthopObject, Route, Rule
from netbond.plan import Operation, object_words, plan, rule_words
from tests.unit.boxes import address, box, commands, lease, link, main_default

PROTOCOL = 78
network = ipaddress.ip_network
ROUTING = Config().routing


def settled(facts: Facts, config: Config | None = None) -> Facts:
    """The box after netbond has been at work."""
    goal = desired(facts, config or Config())
    return replace(facts, routes=facts.routes + goal.routes, rules=facts.rules + goal.rules)


def test_two_modems() -> None:
    assert (
        "\n".join(commands(box("usb0", "usb1")))
        == """\
ip route add unreachable default table 100 proto 78 metric 4294967295
ip route add 10.0.0.0/24 dev usb0 table 100 proto 78 scope link src 10.0.0.10
ip route add default via 10.0.0.1 dev usb0 table 100 proto 78 src 10.0.0.10
ip route add unreachable default table 101 proto 78 metric 4294967295
ip route add 10.0.1.0/24 dev usb1 table 101 proto 78 scope link src 10.0.1.10
ip route add default via 10.0.1.1 dev usb1 table 101 proto 78 src 10.0.1.10
ip route add default table 222 proto 78 \
nexthop via 10.0.0.1 dev usb0 weight 1 nexthop via 10.0.1.1 dev usb1 weight 1
ip rule add priority 40 from all oif usb0 lookup 100 protocol 78
ip rule add priority 40 from all oif usb1 lookup 101 protocol 78
ip rule add priority 50 from all lookup main suppress_prefixlength 0 protocol 78
ip rule add priority 100 from 10.0.0.10 lookup 100 protocol 78
ip rule add priority 101 from 10.0.1.10 lookup 101 protocol 78
ip rule add priority 222 from all lookup 222 protocol 78"""
    )


def test_twins_each_have_their_table_and_their_device_rule() -> None:
    facts = replace(
        box("usb0", "usb1"),
        addresses=(address("usb0", "192.168.8.100/24"), address("usb1", "192.168.8.100/24")),
        leases=(
            lease("usb0", "192.168.8.100/24", "192.168.8.1"),
            lease("usb1", "192.168.8.100/24", "192.168.8.1"),
        ),
    )
    assert [c for c in commands(facts) if "rule" in c] == [
        "ip rule add priority 40 from all oif usb0 lookup 100 protocol 78",
        "ip rule add priority 40 from all oif usb1 lookup 101 protocol 78",
        "ip rule add priority 50 from all lookup main suppress_prefixlength 0 protocol 78",
        "ip rule add priority 100 from 192.168.8.100 lookup 100 protocol 78",
        "ip rule add priority 101 from 192.168.8.100 lookup 101 protocol 78",
        "ip rule add priority 222 from all lookup 222 protocol 78",
    ]


def test_point_to_point_and_a_gateway_outside_the_network() -> None:
    facts = Facts(
        interfaces=(link("ppp0"), link("wwan0")),
        addresses=(address("ppp0", "10.64.1.2/32", peer="10.64.0.1"), address("wwan0", "10.7.7.7/32")),
        leases=(lease("wwan0", "10.7.7.7/32", "10.7.0.1"),),
    )
    config = parse(
        '[[uplink]]\nmatch = "ppp0"\ngateway = "none"\ntable = 150\n[[uplink]]\nmatch = "wwan0"\ntable = 151'
    )
    assert [c for c in commands(facts, config) if "route" in c] == [
        "ip route add unreachable default table 150 proto 78 metric 4294967295",
        "ip route add 10.64.0.1/32 dev ppp0 table 150 proto 78 scope link src 10.64.1.2",
        "ip route add default dev ppp0 table 150 proto 78 scope link src 10.64.1.2",
        "ip route add unreachable default table 151 proto 78 metric 4294967295",
        "ip route add default via 10.7.0.1 dev wwan0 table 151 proto 78 src 10.7.7.7 onlink",
        (
            "ip route add default table 222 proto 78 nexthop dev ppp0 weight 1"
            " nexthop via 10.7.0.1 dev wwan0 weight 1 onlink"
        ),
    ]


def test_a_settled_box_needs_nothing() -> None:
    assert commands(settled(box("usb0", "usb1", "wlan0"))) == []


def test_the_order_of_ecmp_legs_says_nothing() -> None:
    facts = settled(box("usb0", "usb1"))
    turned = tuple(replace(route, nexthops=route.nexthops[::-1]) for route in facts.routes)
    assert commands(replace(facts, routes=turned)) == []


def test_a_modem_that_is_gone() -> None:
    before = settled(box("usb0", "usb1"))
    facts = replace(
        box("usb0"),
        rules=before.rules,
        # The kernel has dropped usb1's routes, and the whole ECMP default with its leg.
        routes=tuple(r for r in before.routes if all(h.device != "usb1" for h in r.nexthops)),
    )
    assert commands(facts) == [
        "ip route add default via 10.0.0.1 dev usb0 table 222 proto 78",
        "ip rule delete priority 40 from all oif usb1 lookup 101 protocol 78",
        "ip rule delete priority 101 from 10.0.1.10 lookup 101 protocol 78",
        "ip route delete unreachable default table 101 proto 78 metric 4294967295",
    ]


def test_a_modem_without_carrier_leaves_ecmp_and_keeps_its_table() -> None:
    before = settled(box("usb0", "usb1"))
    facts = replace(before, interfaces=(link("usb0"), link("usb1", carrier=False)))
    assert commands(facts) == ["ip route replace default via 10.0.0.1 dev usb0 table 222 proto 78"]


def test_an_interface_that_is_down_keeps_what_stops_its_traffic_from_leaving_elsewhere() -> None:
    facts = replace(box("usb0", "usb1"), interfaces=(link("usb0"), link("usb1", up=False, carrier=False)))
    assert [c for c in commands(facts) if "101" in c] == [
        "ip route add unreachable default table 101 proto 78 metric 4294967295",
        "ip rule add priority 40 from all oif usb1 lookup 101 protocol 78",
        "ip rule add priority 101 from 10.0.1.10 lookup 101 protocol 78",
    ]


def test_a_new_address_replaces_routes_in_place_and_the_rule_after() -> None:
    before = settled(box("usb0"))
    facts = replace(
        before,
        addresses=(address("usb0", "10.0.0.99/24"),),
        leases=(lease("usb0", "10.0.0.99/24", "10.0.0.1"),),
    )
    assert commands(facts) == [
        "ip route replace 10.0.0.0/24 dev usb0 table 100 proto 78 scope link src 10.0.0.99",
        "ip route replace default via 10.0.0.1 dev usb0 table 100 proto 78 src 10.0.0.99",
        "ip rule add priority 100 from 10.0.0.99 lookup 100 protocol 78",
        "ip rule delete priority 100 from 10.0.0.10 lookup 100 protocol 78",
    ]


def test_weights() -> None:
    config = parse('[[uplink]]\nmatch = "usb0"\nweight = 4\n[[uplink]]\nmatch = "*"\nweight = 2')
    (route,) = [r for r in desired(box("usb0", "usb1"), config).routes if r.table == 222]
    assert [(hop.device, hop.weight) for hop in route.nexthops] == [("usb0", 2), ("usb1", 1)]


def test_foreign_routes_and_rules_are_never_touched() -> None:
    foreign_route = replace(main_default("usb0", "10.0.0.1"), table=100, protocol=4)
    foreign_rule = Rule(100, 4, table=100, source=ipaddress.ip_network("10.0.0.10/32"), protocol=3)
    facts = replace(
        box("usb0"), routes=(foreign_route, main_default("usb0", "10.0.0.1")), rules=(foreign_rule,)
    )
    goal = desired(facts, Config())
    for operation in plan(facts, goal, PROTOCOL):
        assert operation.verb == "add"
        assert operation.what.protocol == PROTOCOL
    gone = replace(settled(facts), interfaces=(), addresses=(), leases=())
    removed = {o.what for o in plan(gone, desired(gone, Config()), PROTOCOL)}
    assert removed == {*goal.routes, *goal.rules}


def test_a_place_that_a_foreign_route_shares_is_not_replaced() -> None:
    """`ip route replace` would overwrite the foreign one: same table, destination and metric."""
    before = settled(box("usb0"))
    foreign = Route(100, ipaddress.ip_network("0.0.0.0/0"), protocol=4)
    facts = replace(
        before, leases=(lease("usb0", "10.0.0.10/24", "10.0.0.2"),), routes=(*before.routes, foreign)
    )
    verbs = {o.command(): o.verb for o in plan(facts, desired(facts, Config()), PROTOCOL)}
    assert verbs["ip route add default via 10.0.0.2 dev usb0 table 100 proto 78 src 10.0.0.10"] == "add"


def test_a_rule_that_stands_twice_loses_one() -> None:
    facts = settled(box("usb0"))
    twice = replace(facts, rules=(*facts.rules, facts.rules[0]))
    assert commands(twice) == [
        f"ip rule delete {c}" for c in ["priority 40 from all oif usb0 lookup 100 protocol 78"]
    ]


@given(st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_what_was_compared_before_makes_no_difference(random: Random) -> None:
    """The same with copies of all objects, of which nothing is known from the time before."""
    facts = settled(box("usb0", "usb1", "usb2"))
    goals = [desired(facts, Config()), desired(box("usb0", "usb2"), Config())]
    goals = [Desired(routes=goal.routes, rules=goal.rules) for goal in goals]
    routes: list[Any] = list(facts.routes)
    rules: list[Any] = list(facts.rules)
    for _ in range(8):
        for things in (routes, rules):
            place = random.randrange(len(things))
            match random.randrange(5):
                case 0:
                    del things[place]
                case 1:
                    things.append(things[place])  # the very same object: the kernel has it twice
                case 2:
                    things[place] = replace(things[place], protocol=4)
                case 3:
                    things[place] = replace(things[place], table=things[place].table + 1)
                case _:
                    things.insert(place, copy.deepcopy(things[place]))
        goal = random.choice(goals)
        now = replace(facts, routes=tuple(routes), rules=tuple(rules))
        prune = random.random() < 0.8
        known, wanted = copy.deepcopy((now.routes, now.rules)), copy.deepcopy((goal.routes, goal.rules))
        afresh = plan(
            Facts(routes=known[0], rules=known[1]),
            Desired(routes=wanted[0], rules=wanted[1]),
            PROTOCOL,
            prune=prune,
        )
        assert plan(now, goal, PROTOCOL, prune=prune) == afresh


def test_a_rule_that_was_as_wanted_and_then_stands_twice() -> None:
    """The kernel's messages about both are the same, and so is the object that is made of them."""
    facts = settled(box("usb0"))
    goal = desired(facts, Config())
    assert plan(facts, goal, PROTOCOL) == []
    twice = replace(facts, rules=(*facts.rules, facts.rules[0]))
    assert [o.why for o in plan(twice, goal, PROTOCOL)] == ["twice"]


def test_the_rules_for_vrfs_and_own_addresses_go_last() -> None:
    first = [
        Rule(37, 4, other="l3mdev 1", protocol=78),
        Rule(38, 4, action="unreachable", other="l3mdev 1", protocol=78),
        Rule(39, 4, table=255, protocol=78),
    ]
    rest = [Rule(40, 4, table=100, oif="usb0", protocol=78), Rule(50, 4, table=254, protocol=78)]
    gone = [operation.what for operation in plan(Facts(rules=(*first, *rest)), Desired(), 78)]
    assert gone == [*rest, *reversed(first)]  # what refuses goes before what leads there


def test_leaving_takes_everything_of_ours_rules_first() -> None:
    facts = settled(replace(box("usb0"), routes=(main_default("usb0", "10.0.0.1"),)))
    operations = plan(facts, desired(Facts(), Config()), PROTOCOL)
    assert [isinstance(o.what, Rule) for o in operations] == [True] * 4 + [False] * 4
    assert {o.verb for o in operations} == {"delete"}


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
        facts = replace(self.settled(), interfaces=(link("usb0"), link("usb1", carrier=False)))
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

    def test_leaving_takes_routes_then_group_then_members(self) -> None:
        facts = self.settled()
        words = [o.command().split()[1] for o in plan(facts, desired(Facts(), Config()), 78)]
        assert words == ["rule"] * 6 + ["route"] * 7 + ["nexthop"] * 3
        assert plan(facts, desired(Facts(), Config()), 78)[-3].command() == "ip nexthop delete id 7800222"

    def test_without_pruning_nothing_goes(self) -> None:
        facts = replace(self.settled(), interfaces=(link("usb0"),), addresses=self.facts.addresses[:2])
        assert plan(facts, desired(facts, Config()), 78, prune=False) == []
        assert plan(facts, desired(facts, Config()), 78) != []


class TestWords:
    """Everything that a route, a rule or a nexthop may have, as iproute2 writes it."""

    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            (Rule(40, 4, table=100, oif="usb0", protocol=78), "from all oif usb0 lookup 100"),
            (Rule(40, 4, table=254, iif="eth1", protocol=78), "from all iif eth1 lookup main"),
            (Rule(40, 4, table=7, mark=16, mask=240, protocol=78), "from all fwmark 0x10/0xf0 lookup 7"),
            (
                Rule(40, 4, table=254, suppress_prefixlength=0, protocol=78),
                "from all lookup main suppress_prefixlength 0",
            ),
            (
                Rule(40, 4, source=network("10.0.0.0/24"), action="prohibit", protocol=78),
                "from 10.0.0.0/24 prohibit",
            ),
            (
                Rule(40, 4, table=7, destination=network("192.0.2.1/32"), protocol=78),
                "from all to 192.0.2.1 lookup 7",
            ),
        ],
    )
    def test_rules(self, rule: Rule, words: str) -> None:
        assert object_words(rule) == f"rule priority 40 {words} protocol 78"
        assert Operation("add", rule, "").command() == f"ip rule add priority 40 {words} protocol 78"

    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            (Rule(40, 4, table=0, other="l3mdev"), "from all l3mdev"),
            (Rule(40, 4, action="goto", other="dport 80-90, goto 99"), "from all dport 80-90 goto 99"),
            (
                Rule(40, 4, table=7, other="uidrange 5-5, sport 7-7, x 4"),
                "from all uidrange 5-5 sport 7 lookup 7",
            ),
        ],
    )
    def test_selectors(self, rule: Rule, words: str) -> None:
        assert rule_words(rule) == f"priority 40 {words} protocol 0"

    def test_a_rule_for_vrfs_without_its_selectors(self) -> None:
        rule = Rule(1000, 6, table=0, other="l3mdev", protocol=78)
        assert rule_words(rule, selectors=False) == (
            "priority 1000 from all lookup a VRF's table protocol 78"
        )
        assert (
            Operation("add", rule, "").command() == "ip -6 rule add priority 1000 from all l3mdev protocol 78"
        )

    def test_a_gateway_of_the_other_family(self) -> None:
        six, four = (
            Nexthop("usb0", ipaddress.ip_address("fe80::1")),
            Nexthop("usb0", ipaddress.ip_address("10.0.0.1")),
        )
        any4, any6 = network("0.0.0.0/0"), network("::/0")
        made = [Operation("add", Route(7, where, hops, protocol=78), "").command() for where, hops in (
            (any4, (six,)), (any6, (six,)), (any6, (four,)), (any4, (four, six))
        )]  # fmt: skip
        assert made == [
            "ip -4 route add default via inet6 fe80::1 dev usb0 table 7 proto 78",
            "ip -6 route add default via fe80::1 dev usb0 table 7 proto 78",
            "ip -6 route add default via inet 10.0.0.1 dev usb0 table 7 proto 78",
            "ip -4 route add default table 7 proto 78 nexthop via 10.0.0.1 dev usb0 weight 1"
            " nexthop via inet6 fe80::1 dev usb0 weight 1",
        ]
        by_number = Route(7, any4, (six,), nexthop_id=5, protocol=78)
        assert Operation("add", by_number, "").command() == "ip route add default nhid 5 table 7 proto 78"

    def test_routes(self) -> None:
        hop = Nexthop("usb0", ipaddress.ip_address("10.0.0.1"), onlink=True)
        route = Route(254, network("192.0.2.0/24"), (hop,), metric=5, protocol=16, scope="link")
        assert object_words(route) == (
            "route 192.0.2.0/24 via 10.0.0.1 dev usb0 table main proto 16 scope link metric 5 onlink"
        )

    def test_attributes_of_a_path(self) -> None:
        hop = Nexthop("usb0", ipaddress.ip_address("10.0.0.1"))
        locked = ("lock", 1 << 2 | 1 << 13)  # mtu, and rto_min, which `ip` locks by itself
        path = (locked, ("mtu", 1430), ("rtt", 2400), ("features", 17), ("rto_min", 200), ("congctl", "b b"))
        plain = Route(100, network("0.0.0.0/0"), (hop,), attributes=(("mtu", 1430), ("features", 1)))
        assert Operation("add", plain, "").command() == (
            "ip route add default via 10.0.0.1 dev usb0 table 100 proto 0 mtu 1430 features ecn"
        )
        assert Operation("add", Route(100, network("0.0.0.0/0"), (hop,), attributes=path), "").command() == (
            "ip route add default via 10.0.0.1 dev usb0 table 100 proto 0 mtu lock 1430 rtt 2400"
            " features ecn features tcp_usec_ts rto_min 200 congctl 'b b'"
        )

    def test_nexthops(self) -> None:
        one = NexthopObject(5, 4, "usb0", ipaddress.ip_address("10.0.0.1"), onlink=True, protocol=78)
        assert object_words(one) == "nexthop id 5 via 10.0.0.1 dev usb0 onlink proto 78"
        assert object_words(NexthopGroup(6, 4, ((5, 2), (7, 1)), 78)) == "nexthop id 6 group 5,2/7,1 proto 78"
        assert object_words(NexthopGroup(6, 4, ((5, 2),), 78, resilient=True)) == (
            "nexthop id 6 group 5,2 type resilient buckets 1024 idle_timer 120 unbalanced_timer 0 proto 78"
        )
        assert Operation("delete", one, "").command() == "ip nexthop delete id 5"
        through = NexthopObject(5, 6, "wwan0", ipaddress.ip_address("fe80::1"), protocol=78)
        assert Operation("add", through, "").command() == "ip nexthop add id 5 via fe80::1 dev wwan0 proto 78"
        alone = NexthopObject(5, 6, "wwan0", protocol=78)
        assert Operation("delete", alone, "").command() == "ip nexthop delete id 5"
        assert Operation("add", alone, "").command() == "ip -6 nexthop add id 5 dev wwan0 proto 78"


def test_a_name_that_a_shell_would_run_is_quoted() -> None:
    """`netbond plan` prints lines to be copied into a root's shell; no name may start a command there."""
    rule = Operation("add", Rule(40, 4, oif="$(reboot)", table=100, protocol=78), "missing")
    hop = Nexthop("$(reboot)", ipaddress.IPv4Address("10.0.0.1"))
    route = Operation("add", Route(100, ipaddress.ip_network("0.0.0.0/0"), nexthops=(hop,)), "missing")
    change = Change("net/ipv4/conf/$(reboot)/rp_filter", "2", "1", "strict")
    for line in (rule.command(), route.command(), change.command()):
        assert not any("$" in outside for outside in line.split("'")[::2])
        assert any("$(reboot)" in word for word in shlex.split(line))
    assert "'" not in Operation("add", Rule(40, 4, oif="eth0.5", table=100), "missing").command()


def test_the_reasons() -> None:
    facts = settled(box("usb0"))
    stale = Rule(150, 4, table=150, protocol=PROTOCOL)
    changed = tuple(replace(r, source=None) if r.source else r for r in facts.routes)
    facts = replace(facts, routes=changed[:-1], rules=(*facts.rules, facts.rules[0], stale))
    main = main_default("usb0", "10.0.0.1")
    goal = replace(desired(facts, Config()), take=(main,))
    assert [(o.verb, object_words(o.what).split()[0], o.why) for o in plan(facts, goal, PROTOCOL)] == [
        ("replace", "route", "differs from what is there"),
        ("replace", "route", "differs from what is there"),
        ("add", "route", "missing"),
        ("delete", "route", "take_over_default"),
        ("delete", "rule", "twice"),
        ("delete", "rule", "no longer wanted"),
    ]
    assert plan(facts, goal, PROTOCOL)[3].what == main


def test_the_reasons_name_the_policy() -> None:
    config = parse('[[policy]]\nname = "bank"\nport = 443\nprotocol = "tcp"\nuplinks = ["usb0"]')
    facts = box("usb0")
    reasons = {o.command(): o.why for o in plan(facts, desired(facts, config), 78) if "policy" in o.why}
    assert list(reasons) == [
        "ip route add default via 10.0.0.1 dev usb0 table 7801 proto 78 src 10.0.0.10",
        "ip rule add priority 222 from all ipproto 6 dport 443 lookup 7801 protocol 78",
    ]
    assert set(reasons.values()) == {"policy bank: missing"}
