"""What keeps forwarded flows on their uplink, and which of other programs' marks are in the way."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config, RouterConfig
from netbond.conflicts import conflicts
from netbond.desired import desired
from netbond.flows import Holders, holders, others_marks, same_bits, takers
from netbond.lan import Lan
from netbond.model import Address, Facts, Interface, Nexthop, NexthopGroup, Route, Rule
from tests.unit.boxes import box

DOCKER = Interface("docker0", 9, kind="bridge")
ON = frozenset({("docker0", 4), ("usb0", 4), ("usb1", 4)})
TWO = replace(box("usb0", "usb1"), interfaces=(*box("usb0", "usb1").interfaces, DOCKER), forwarding=ON)


def held(facts: Facts, *, groups: bool = True) -> Holders:
    return holders(facts, desired(facts, Config()).uplinks, groups=groups)


def test_a_box_that_forwards_over_two_uplinks_holds_by_marks() -> None:
    assert held(TWO) == Holders(marks=frozenset({4}))


@pytest.mark.parametrize(
    "facts",
    [
        replace(TWO, forwarding=frozenset()),
        # only uplinks are there, or only loopback besides: nothing to forward from
        replace(TWO, interfaces=box("usb0", "usb1").interfaces),
        replace(TWO, forwarding=frozenset({("usb0", 4), ("usb1", 4), ("lo", 4)})),
        replace(TWO, forwarding=frozenset({("all", 6)})),  # there is no uplink of IPv6
        replace(box("usb0"), interfaces=(*box("usb0").interfaces, DOCKER), forwarding=ON),
    ],
    ids=["off", "uplinks alone", "not the bridge", "the other family", "one uplink"],
)
def test_else_there_is_nothing_to_hold(facts: Facts) -> None:
    assert held(facts) == Holders()
    goal = desired(facts, Config())
    assert goal.inside == Lan()
    assert [rule for rule in goal.rules if rule.mark] == []


def test_marks_for_policies_need_no_second_uplink() -> None:
    one = replace(box("usb0"), interfaces=(*box("usb0").interfaces, DOCKER), forwarding=ON)
    text = '[[policy]]\nname = "p"\ndscp = "ef"\nuplinks = ["usb1"]\notherwise = "unreachable"'
    assert desired(one, parse(text)).flows == Holders(marks=frozenset({4}))
    assert desired(replace(one, dscp_rules=True), parse(text)).flows == Holders()
    assert desired(replace(one, forwarding=frozenset()), parse(text)).flows == Holders()


def test_an_uplink_that_is_down_counts_because_it_may_come_back() -> None:
    down = [replace(link, carrier=False) if link.name == "usb1" else link for link in TWO.interfaces]
    assert held(replace(TWO, interfaces=tuple(down))).marks == {4}


def test_ipv6_has_one_switch() -> None:
    six = [Address(f"usb{n}", ipaddress.ip_interface(f"2001:db8:{n}::1/64")) for n in (0, 1)]
    routes = [
        Route(
            254,
            ipaddress.ip_network("::/0"),
            (Nexthop(f"usb{n}", ipaddress.ip_address("fe80::1")),),
            metric=1024 + n,
        )
        for n in (0, 1)
    ]
    facts = replace(TWO, addresses=(*TWO.addresses, *six), routes=tuple(routes))
    assert held(facts).marks == {4}
    facts = replace(facts, forwarding=ON | {("all", 6)})
    assert held(facts).marks == {4, 6}
    without = replace(facts, nft=False, resilient_groups=True)
    assert held(without) == Holders(groups=frozenset({4}), nothing=frozenset({6}))


def test_without_nft_a_resilient_group_holds_where_the_kernel_has_them() -> None:
    facts = replace(TWO, nft=False, nexthops=(), resilient_groups=True)
    assert held(facts) == Holders(groups=frozenset({4}))
    assert held(facts, groups=False) == Holders(nothing=frozenset({4}))
    assert held(replace(facts, resilient_groups=False)) == Holders(nothing=frozenset({4}))
    goal = desired(facts, Config())
    (group,) = [found for found in goal.nexthops if isinstance(found, NexthopGroup)]
    assert (group.id, group.resilient) == (7_800_221, True)
    assert [rule for rule in goal.rules if rule.mark] == []
    (plain,) = [
        found
        for found in desired(replace(facts, nft=True), Config()).nexthops
        if isinstance(found, NexthopGroup)
    ]
    assert (plain.id, plain.resilient) == (7_800_222, False)  # the kernel does not turn one into the other


def test_a_sticky_policy_that_nothing_remembers_is_named() -> None:
    config = parse('[[policy]]\nname = "bank"\nuplinks = ["usb0"]\nsticky = "10min"')
    line = "policy bank is not sticky for what the box forwards: install nftables"
    without = replace(TWO, nft=False)
    assert line in conflicts(without, desired(without, config), config)
    assert line not in conflicts(TWO, desired(TWO, config), config)


def test_what_is_decided_of_it() -> None:
    goal = desired(TWO, Config())
    assert [(rule.priority, rule.mark, rule.table) for rule in goal.rules if rule.mark] == [
        (60, 0x64000000, 100),
        (60, 0x65000000, 101),
    ]
    assert goal.inside == Lan(held=frozenset({4}))
    other = desired(TWO, parse("[router]\nmark_mask = 0x0000ff00"))
    assert [rule.mask for rule in other.rules if rule.mark] == [0xFF00] * 2


# --- other programs' marks ---------------------------------------------------------------------------------


def theirs(mark: int, mask: int = 0xFFFFFFFF, **more: object) -> Rule:
    return replace(Rule(300, 4, table=77, mark=mark, mask=mask), **more)  # type: ignore[arg-type]  # any field


def test_rules_whose_marks_netbonds_bits_would_hide() -> None:
    tailscale = theirs(0x80000, 0xFF0000)
    wg_quick = theirs(0xCA6C, other="not")
    own = theirs(2, iif="lo")  # of the box's own packets, which get no marks
    rules = [theirs(1), tailscale, wg_quick, own, theirs(0, 0)]
    assert others_marks(rules, RouterConfig(), 78) == ((1, 0xFFFFFFFF),)
    assert desired(replace(TWO, rules=tuple(rules)), Config()).inside.others_marks == ((1, 0xFFFFFFFF),)


def test_rules_that_take_all_unbound_traffic() -> None:
    wg_quick = theirs(0xCA6C, priority=39, table=51820, other="not")
    behind = theirs(0, 0, priority=5000, table=51820)
    some = theirs(1, table=51820)
    tunnel = Route(51820, ipaddress.ip_network("0.0.0.0/0"), (Nexthop("wg0"),))
    facts = replace(TWO, rules=(wg_quick, behind, some), routes=(tunnel,))
    config = Config()
    assert desired(facts, config).inside.takers == {wg_quick, behind}
    assert takers(facts, parse("[routing]\nothers_first = false").routing) == {wg_quick}
    assert takers(replace(facts, routes=()), config.routing) == set()


def test_another_programs_use_of_the_same_bits_is_named() -> None:
    config = Config()
    mullvad = theirs(0x6D6F6C65, priority=5208, other="not")  # no uplink has table 0x6d
    taken = theirs(0x64000000, 0xFF000000)
    facts = replace(TWO, rules=(mullvad, taken))
    goal = desired(facts, config)
    assert same_bits(facts.rules, goal.rules, config) == [taken]
    assert [line for line in conflicts(facts, goal, config) if "mark_mask" in line] == [
        "another program's rule is for a mark of netbond's: priority 300 from all"
        " fwmark 0x64000000/0xff000000 lookup 77; choose other bits by router.mark_mask"
    ]
    assert same_bits(facts.rules, desired(box("usb0"), config).rules, config) == []
