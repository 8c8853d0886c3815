"""netbond's rules beside those of VPNs, VRFs and people."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config, RoutingConfig
from netbond.desired import desired
from netbond.foreign_rules import ahead, comes_first, foreign, hidden, takes_all
from netbond.model import MAIN_TABLE, Facts, Nexthop, Route, Rule
from netbond.plan import rule_words
from tests.unit.boxes import SIX, address, box, lease

TWO = box("usb0", "usb1")
LOCAL, MAIN = Rule(0, 4, table=255, protocol=2), Rule(32766, 4, table=MAIN_TABLE, protocol=2)
OWN = [
    "40 from all oif usb0 lookup 100",
    "40 from all oif usb1 lookup 101",
    "50 from all lookup main suppress_prefixlength 0",
    "100 from 10.0.0.10 lookup 100",
    "101 from 10.0.1.10 lookup 101",
    "222 from all lookup 222",
]


def lines(*rules: Rule, facts: Facts = TWO, config: Config | None = None) -> list[str]:
    """netbond's rules beside these, by priority."""
    goal = desired(replace(facts, rules=(LOCAL, *rules, MAIN)), config or Config())
    return [
        rule_words(rule).removeprefix("priority ").removesuffix(" protocol 78")
        for rule in sorted(goal.rules, key=lambda rule: rule.priority)
    ]


def wg(priority: int, family: int = 4) -> Rule:
    """What wg-quick adds for a tunnel that takes everything."""
    return Rule(priority, family, table=51820, mark=0xCA6C, mask=0xFFFFFFFF, other="not", protocol=3)


def test_what_leads_nowhere_and_netbonds_own_are_not_foreign() -> None:
    rules = [Rule(5, 4, action="nop"), LOCAL, Rule(40, 4, table=100, protocol=78), wg(39)]
    assert foreign(rules, 78) == [wg(39)]


# --- rules that got ahead ----------------------------------------------------------------------------------


def test_bound_traffic_has_copies_of_its_rules_ahead_of_a_vpn() -> None:
    assert lines(wg(39), Rule(38, 4, table=MAIN_TABLE, suppress_prefixlength=0, protocol=3)) == [
        "35 from all oif usb0 lookup 100",
        "35 from all oif usb1 lookup 101",
        "36 from 10.0.0.10 goto 50",
        "36 from 10.0.1.10 goto 50",
        "37 from 10.0.0.10 lookup 100",
        "37 from 10.0.1.10 lookup 101",
        *OWN,
    ]


@pytest.mark.parametrize(
    ("rule", "first"),
    [
        (Rule(40, 4, table=7), 37),  # of one priority: the older is first
        (Rule(45, 4, table=7), 37),  # between device and address
        (Rule(100, 4, action="unreachable"), 37),
        (Rule(101, 4, table=7), 37),
        (Rule(102, 4, table=7), 40),  # behind them all
        (Rule(39, 4, table=7, iif="lo"), 36),
        (Rule(39, 4, table=7, iif="eth1"), 40),  # for what comes in
        (Rule(39, 4, table=7, oif="wg0"), 40),
        (Rule(39, 4, table=7, oif="usb1"), 36),
        (
            Rule(39, 4, table=7, source=ipaddress.ip_network("10.66.0.2/32")),
            36,
        ),  # bound to a device may have it
        (Rule(101, 4, table=7, source=ipaddress.ip_network("10.66.0.2/32")), 40),
        (Rule(101, 4, table=7, source=ipaddress.ip_network("10.0.0.0/8")), 37),
        (Rule(39, 4, table=7, destination=ipaddress.ip_network("192.0.2.0/24")), 36),
        (Rule(39, 4, table=7, mark=1, mask=1), 40),  # somebody's choice for certain packets
        (Rule(39, 4, table=7, other="uidrange 1000-1000"), 40),
        (Rule(39, 4, table=7, other="uidrange 1000-1000, not"), 36),
        (Rule(39, 4, action="goto", other="goto 32766"), 36),
        (Rule(39, 4, other="l3mdev 1"), 40),
        (Rule(39, 6, table=7), 40),  # of the other family
        (Rule(4, 4, table=7), 1),
        (Rule(3, 4, table=7), 0),  # no room for three priorities: all at the last one
        (Rule(1, 4, table=7), 0),
        (Rule(0, 4, table=7), 0),
    ],
)
def test_which_rules_need_copies(rule: Rule, first: int) -> None:
    assert min(int(line.split()[0]) for line in lines(rule)) == first


def test_where_only_the_device_is_in_question_nothing_else_has_a_copy() -> None:
    """A socket that is bound to a device alone has no address yet; and no priority is shared with others."""
    rules = (
        Rule(36, 4, table=7, mark=1, mask=1),
        Rule(37, 4, table=7, other="not", source=ipaddress.ip_network("10.0.0.0/8")),
    )
    assert lines(*rules)[:3] == [
        "33 from all oif usb0 lookup 100",
        "33 from all oif usb1 lookup 101",
        "40 from all oif usb0 lookup 100",
    ]


def test_at_the_last_priority_their_order_is_that_in_which_they_are_added() -> None:
    goal = desired(replace(TWO, rules=(LOCAL, Rule(2, 4, table=7), MAIN)), Config())
    assert [rule_words(rule).removesuffix(" protocol 78") for rule in goal.rules[:6]] == [
        "priority 0 from all oif usb0 lookup 100",
        "priority 0 from all oif usb1 lookup 101",
        "priority 0 from 10.0.0.10 goto 50",
        "priority 0 from 10.0.1.10 goto 50",
        "priority 0 from 10.0.0.10 lookup 100",
        "priority 0 from 10.0.1.10 lookup 101",
    ]


def test_each_family_by_itself() -> None:
    assert lines(wg(39, 6), facts=SIX)[:4] == [
        "36 from all oif usb0 lookup 100",
        "37 from 2001:db8::5 goto 50",
        "38 from 2001:db8::5 lookup 100",
        "40 from all oif usb0 lookup 100",
    ]


def test_twins_have_main_once_and_the_device_before_the_address() -> None:
    twins = replace(
        TWO,
        addresses=(address("usb0", "192.168.8.100/24"), address("usb1", "192.168.8.100/24")),
        leases=tuple(lease(d, "192.168.8.100/24", "192.168.8.1") for d in ("usb0", "usb1")),
    )
    assert lines(wg(39), facts=twins)[:5] == [
        "36 from all oif usb0 lookup 100",
        "36 from all oif usb1 lookup 101",
        "37 from 192.168.8.100 goto 50",
        "38 from 192.168.8.100 lookup 100",
        "38 from 192.168.8.100 lookup 101",
    ]


def test_the_classic_layout_copies_its_networks() -> None:
    classic = parse('[routing]\nlayout = "classic"')
    assert lines(Rule(210, 4, table=7), config=classic)[0] == "40 from all oif usb0 lookup 100"
    assert lines(Rule(202, 4, table=7), config=classic)[2:6] == [
        "38 from 10.0.0.0/24 lookup main suppress_prefixlength 0",
        "38 from 10.0.1.0/24 lookup main suppress_prefixlength 0",
        "39 from 10.0.0.0/24 lookup 100",
        "39 from 10.0.1.0/24 lookup 101",
    ]


def test_without_uplinks_nothing_is_ahead() -> None:
    assert lines(wg(39), facts=Facts()) == []
    assert ahead([wg(39)], [], 78) == []


def test_networks_that_several_uplinks_have_come_before_main_in_the_copies() -> None:
    facts = replace(
        TWO,
        addresses=(address("usb0", "10.0.0.10/24"), address("usb1", "10.0.0.11/24")),
        leases=(lease("usb0", "10.0.0.10/24", "10.0.0.1"), lease("usb1", "10.0.0.11/24", "10.0.0.1")),
    )
    assert lines(wg(39), facts=facts)[:8] == [
        "36 from all oif usb0 lookup 100",
        "36 from all oif usb1 lookup 101",
        "36 from 10.0.0.10 to 10.0.0.0/24 lookup 100",
        "36 from 10.0.0.11 to 10.0.0.0/24 lookup 101",
        "37 from 10.0.0.10 goto 50",
        "37 from 10.0.0.11 goto 50",
        "38 from 10.0.0.10 lookup 100",
        "38 from 10.0.0.11 lookup 101",
    ]


# --- what comes before everything ---------------------------------------------------------------------------


REFUSED = Rule(2000, 4, action="unreachable", other="l3mdev 1", protocol=3)
VRF = Rule(1000, 4, other="l3mdev 1", protocol=2)


@pytest.mark.parametrize(
    ("rules", "first"),
    [
        ((LOCAL, VRF), ["39 from all l3mdev"]),
        ((VRF, replace(LOCAL, priority=32765)), ["38 from all l3mdev", "39 from all lookup 255"]),
        (  # as VyOS has them
            (VRF, REFUSED, replace(LOCAL, priority=32765)),
            ["37 from all l3mdev", "38 from all l3mdev unreachable", "39 from all lookup 255"],
        ),
        ((LOCAL, replace(VRF, priority=9), REFUSED), ["39 from all l3mdev unreachable"]),
        ((replace(LOCAL, priority=100), VRF), ["38 from all lookup 255", "39 from all l3mdev"]),
        ((replace(LOCAL, priority=40),), ["39 from all lookup 255"]),
        ((LOCAL, replace(LOCAL, priority=32765)), []),  # one is ahead already
        ((LOCAL, replace(VRF, priority=9), VRF), []),
        ((LOCAL, replace(VRF, priority=39), VRF), []),
        ((LOCAL, replace(VRF, iif="eth1")), []),  # somebody's own: for certain packets
        ((LOCAL, replace(VRF, family=6)), []),
        ((LOCAL, Rule(39, 4, table=7, iif="eth1"), VRF), ["38 from all l3mdev"]),
        ((LOCAL, wg(39), VRF), ["35 from all l3mdev"]),  # ahead of the copies
        ((LOCAL, wg(1), VRF), []),  # the copies are at 0
    ],
)
def test_vrfs_and_own_addresses_come_first(rules: tuple[Rule, ...], first: list[str]) -> None:
    goal = desired(replace(TWO, rules=(*rules, MAIN)), Config())
    ours = [rule for rule in goal.rules if comes_first(rule)]
    words = [rule_words(rule).removeprefix("priority ").removesuffix(" protocol 78") for rule in ours]
    assert words == first
    assert list(goal.rules[: len(ours)]) == ours  # added before what they have to be ahead of


def test_no_uplink_no_copies() -> None:
    assert desired(Facts(rules=(VRF, replace(LOCAL, priority=32765), MAIN)), Config()).rules == ()


# --- rules behind netbond's --------------------------------------------------------------------------------

SUPPRESSED = Rule(32764, 4, table=MAIN_TABLE, suppress_prefixlength=0, protocol=3)
TAILSCALE = (
    Rule(5210, 4, table=MAIN_TABLE, mark=0x80000, mask=0xFF0000),
    Rule(5230, 4, table=253, mark=0x80000, mask=0xFF0000),
    Rule(5250, 4, action="unreachable", mark=0x80000, mask=0xFF0000),
    Rule(5270, 4, table=52),
)
MULLVAD = (
    Rule(5208, 4, table=MAIN_TABLE, suppress_prefixlength=0),
    Rule(5209, 4, table=0x6D6F6C65, mark=0x6D6F6C65, mask=0xFFFFFFFF, other="not"),
)


@pytest.mark.parametrize(
    ("rules", "shared"),
    [
        ((), ["222 from all lookup 222"]),
        (TAILSCALE, ["5209 from all fwmark 0x80000/0xff0000 lookup 222", "5271 from all lookup 222"]),
        ((*MULLVAD, *TAILSCALE), ["5271 from all lookup 222"]),  # no number of its own for the mark
        (MULLVAD, ["5210 from all lookup 222"]),
        ((SUPPRESSED, wg(32765)), ["32765 from all lookup 222"]),  # the older is asked first
        ((Rule(1000, 4, other="l3mdev 1"),), ["1001 from all lookup 222"]),
        ((Rule(30200, 4, table=30200, source=ipaddress.ip_network("10.0.0.10/32")),),
         ["30201 from all lookup 222"]),
        ((Rule(222, 4, table=7, iif="docker0"),), ["223 from all lookup 222"]),
        ((Rule(5270, 6, table=52),), ["222 from all lookup 222"]),  # of the other family
        ((Rule(30000, 4, table=MAIN_TABLE), Rule(31000, 4, table=7)), ["222 from all lookup 222"]),
        ((Rule(32767, 4, table=253),), ["222 from all lookup 222"]),
        ((wg(39),), ["222 from all lookup 222"]),
    ],
)  # fmt: skip
def test_the_shared_default_makes_way(rules: tuple[Rule, ...], shared: list[str]) -> None:
    assert [line for line in lines(*rules) if line.endswith("lookup 222")] == shared
    kept = lines(*rules, config=parse("[routing]\nothers_first = false"))
    assert [line for line in kept if line.endswith("lookup 222")] == ["222 from all lookup 222"]


def test_which_rules_are_never_asked() -> None:
    keeps = RoutingConfig(others_first=False)
    assert hidden((*TAILSCALE, MAIN), (), 4, keeps) == list(TAILSCALE)
    assert hidden((*TAILSCALE, MAIN), (), 6, keeps) == []
    makes_way = RoutingConfig()
    own = Rule(32765, 4, table=222, protocol=78)
    assert hidden((wg(32765), own, MAIN), (own,), 4, makes_way) == []
    assert hidden((own, wg(32765), MAIN), (own,), 4, makes_way) == [wg(32765)]


@pytest.mark.parametrize(
    ("rule", "all_of_it"),
    [
        (wg(32765), True),
        (Rule(9, 4, action="unreachable"), True),
        (Rule(9, 4, table=51820), True),
        (Rule(9, 4, table=51820, suppress_prefixlength=0), False),
        (Rule(9, 4, table=52), False),  # which has no default
        (Rule(9, 6, table=51820), False),
        (Rule(9, 4, table=51820, source=ipaddress.ip_network("10.66.0.2/32")), False),
        (Rule(9, 4, table=51820, iif="eth1"), False),
        (Rule(9, 4, action="unreachable", mark=1, mask=1), False),
        (Rule(9, 4, other="l3mdev 1"), False),
        (Rule(9, 4, action="goto", other="goto 32766"), False),
    ],
)
def test_which_rules_leave_nothing_to_the_shared_default(rule: Rule, all_of_it: bool) -> None:
    tunnel = Route(51820, ipaddress.ip_network("0.0.0.0/0"), (Nexthop("wg0"),))
    subnet = Route(52, ipaddress.ip_network("192.168.77.0/24"), (Nexthop("tailscale0"),))
    assert takes_all(rule, (tunnel, subnet)) is all_of_it


# --- policies ----------------------------------------------------------------------------------------------

POLICIES = parse(
    '[[policy]]\nname = "web"\nport = 443\nprotocol = "tcp"\nuplinks = ["usb0"]\n'
    '[[policy]]\nname = "vpn"\nmark = "0x80000/0xff0000"\nuplinks = ["usb1"]\n'
    '[[policy]]\nname = "lan"\nsource = "10.0.0.10"\nuplinks = ["usb1"]'
)


def unbound(*rules: Rule, config: Config = POLICIES) -> list[str]:
    """netbond's rules for unbound traffic, with policies, beside these."""
    return [line for line in lines(*rules, config=config) if line not in OWN or line.startswith("222 ")]


def test_policies_make_way_with_the_shared_default() -> None:
    assert unbound() == [
        "222 from all ipproto 6 dport 443 lookup 7801",
        "223 from all fwmark 0x80000/0xff0000 lookup 7802",
        "224 from 10.0.0.10 lookup 7803",
        "225 from all lookup 222",
    ]
    assert unbound(*TAILSCALE) == [
        # What tailscale itself sends, ahead of the rule that would lead it to main.
        "5206 from all fwmark 0x80000/0xff0000 ipproto 6 dport 443 lookup 7801",
        "5207 from all fwmark 0x80000/0xff0000 lookup 7802",
        "5208 from 10.0.0.10 fwmark 0x80000/0xff0000 lookup 7803",
        "5209 from all fwmark 0x80000/0xff0000 lookup 222",
        "5271 from all ipproto 6 dport 443 lookup 7801",
        "5272 from all fwmark 0x80000/0xff0000 lookup 7802",
        "5273 from 10.0.0.10 lookup 7803",
        "5274 from all lookup 222",
    ]


def test_without_room_before_main_a_rule_jumps_to_them() -> None:
    assert unbound(SUPPRESSED, wg(32765)) == [
        "32765 from all goto 33000",
        "33000 from all ipproto 6 dport 443 lookup 7801",
        "33001 from all fwmark 0x80000/0xff0000 lookup 7802",
        "33002 from 10.0.0.10 lookup 7803",
        "33003 from all lookup 222",
        "33004 from all lookup main",
        "33005 from all lookup 253",
    ]


def test_a_policy_for_a_source_is_not_for_bound_traffic() -> None:
    """Its rule gets no copies ahead of a VPN's."""
    assert [line for line in lines(wg(39), config=POLICIES) if "780" in line] == unbound()[:3]
