"""What other programs have where netbond works is named, and left alone."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.conflicts import conflicts
from netbond.desired import desired
from netbond.model import (
    MAIN_TABLE,
    Facts,
    Nexthop,
    NexthopObject,
    Route,
    Rule,
)
from tests.unit.boxes import SIX, box, main_default

FACTS = replace(box("usb0", "usb1"), nexthops=())


@pytest.mark.parametrize(
    ("destination", "named"),
    [
        ("0.0.0.0/1", True),  # connected by a wrong netmask, or a static route of a lease
        ("128.0.0.0/1", True),
        ("64.0.0.0/2", True),
        ("192.0.0.0/7", True),
        ("0.0.0.0/0", False),  # a default, which the rules pass over
        ("10.0.0.0/8", False),
        ("224.0.0.0/4", False),  # multicast
        ("240.0.0.0/4", False),
        ("2000::/3", True),
        ("::/1", True),
        ("2a00::/7", True),
        ("8000::/1", False),  # there is no internet there
        ("fc00::/7", False),
    ],
)
def test_what_captures_much_of_the_internet(destination: str, named: bool) -> None:
    network = ipaddress.ip_network(destination)
    route = Route(MAIN_TABLE, network, (Nexthop("usb1"),), protocol=2)
    base = SIX if network.version == 6 else FACTS
    facts = replace(base, routes=(*base.routes, route))
    found = conflicts(facts, desired(facts, Config()), Config())
    assert [problem.split(" does: ")[1] for problem in found] == (
        [f"{destination} dev usb1 table main proto 2"] if named else []
    )
    own = replace(facts, routes=(replace(route, protocol=78),))
    assert conflicts(own, desired(own, Config()), Config()) == []
    elsewhere = replace(facts, routes=(*base.routes, replace(route, table=77)))
    assert conflicts(elsewhere, desired(elsewhere, Config()), Config()) == []


def test_others_who_use_netbonds_nexthop_ids() -> None:
    facts = replace(FACTS, nexthops=(NexthopObject(7800101, 4, "usb0", protocol=3),))
    assert found(facts) == [
        "another program uses the nexthop id 7800101: the ECMP default is a multipath route instead"
        " (routing.nexthop_base moves netbond's ids)"
    ]
    assert found(facts, "[routing]\nnexthop_base = 0") == []


def found(facts: Facts, text: str = "") -> list[str]:
    config = parse(text)
    return conflicts(facts, desired(facts, config), config)


def test_a_box_of_ones_own_has_none() -> None:
    goal = desired(FACTS, Config())
    assert found(replace(FACTS, routes=goal.routes, rules=goal.rules)) == []


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (
            Rule(50, 4, table=5, protocol=3),
            ["has one of netbond's priorities: priority 50 from all lookup 5 protocol 3"],
        ),
        (
            Rule(7, 4, table=100, protocol=3),
            ["looks up one of netbond's tables: priority 7 from all lookup 100 protocol 3"],
        ),
        (Rule(50, 6, table=5, protocol=3), []),  # no rule of netbond's is in that family
        (Rule(7, 4, table=5, protocol=3, iif="eth1"), []),  # for packets that come in
        (Rule(300, 4, action="prohibit", protocol=3, iif="eth1"), []),
        (Rule(7, 4, action="nop", protocol=3), []),
    ],
)  # fmt: skip
def test_rules_of_others(rule: Rule, says: list[str]) -> None:
    assert found(replace(FACTS, rules=(rule,))) == [f"another program's rule {each}" for each in says]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (Rule(39, 4, table=51820, mark=0xCA6C, mask=0xFFFFFFFF, other="not", protocol=3),
         "priority 39 not from all fwmark 0xca6c/0xffffffff lookup 51820."
         " Unbound traffic follows it; what is bound to an uplink does not"),
        (Rule(7, 4, action="prohibit", protocol=3, other="uidrange 1000-1000"),
         "priority 7 from all prohibit (uidrange 1000-1000)."
         " Packets that it asks for follow it, bound to an uplink or not"),
        (Rule(0, 4, table=5),
         "priority 0 from all lookup 5. Unbound traffic follows it;"
         " so does what is bound to an uplink, for want of a lower priority: move it up"),
    ],
)  # fmt: skip
def test_rules_that_got_ahead(rule: Rule, says: str) -> None:
    assert found(replace(FACTS, rules=(rule,))) == [f"another program's rule is ahead of netbond's: {says}"]


def test_of_rules_at_priority_0_the_older_is_asked_first() -> None:
    rule = Rule(0, 4, table=5, protocol=3)
    goal = desired(replace(FACTS, rules=(rule,)), Config())
    (line,) = found(replace(FACTS, rules=(*goal.rules, rule)))
    assert line.endswith("what is bound to an uplink does not")
    (line,) = found(replace(FACTS, rules=(rule, *goal.rules)))
    assert "so does what is bound to an uplink" in line


def test_a_full_tunnel_behind_netbonds_rules_and_what_decides() -> None:
    tunnel = Route(51820, ipaddress.ip_network("0.0.0.0/0"), (Nexthop("wg0"),), protocol=3)
    quick = Rule(32765, 4, table=51820, mark=0xCA6C, mask=0xFFFFFFFF, other="not", protocol=3)
    main = Rule(32766, 4, table=MAIN_TABLE, protocol=2)
    says = "priority 32765 not from all fwmark 0xca6c/0xffffffff lookup 51820"
    facts = replace(FACTS, routes=(tunnel,), rules=(quick, main))
    assert found(facts) == [
        f"unbound traffic follows another program's rule, not the shared default: {says};"
        " routing.others_first = false keeps the shared default ahead"
    ]
    assert found(facts, "[routing]\nothers_first = false") == [
        f"the shared default is ahead of another program's rule: {says};"
        " routing.others_first = true lets it go first"
    ]
    own = Rule(32765, 4, table=222, protocol=78)
    assert found(replace(facts, rules=(own, quick, main))) == [
        f"the shared default is ahead of another program's rule: {says};"
        " give it another priority, or set routing.ecmp_priority above it"
    ]
    old = Rule(210, 4, table=51820, protocol=3)  # between netbond's rules
    assert found(replace(facts, rules=(old, main))) == [
        "unbound traffic follows another program's rule, not the shared default:"
        " priority 210 from all lookup 51820; delete it if that is not wanted"
    ]
    few = replace(facts, rules=(Rule(5270, 4, table=52), main))  # a tailnet's leaves the rest alone
    assert found(few) == []


def test_routes_of_others_in_netbonds_tables_are_one_line_for_each_table() -> None:
    foreign = [
        Route(table, ipaddress.ip_network(f"192.0.{number}.0/24"), (Nexthop("usb0"),), protocol=4)
        for number, table in enumerate((100, 100, 222, 77))
    ]
    assert found(replace(FACTS, routes=tuple(foreign))) == [
        "another program's route is in table 100, which is netbond's:"
        " 192.0.0.0/24 dev usb0 table 100 proto 4, and 1 more",
        "another program's route is in table 222, which is netbond's:"
        " 192.0.2.0/24 dev usb0 table 222 proto 4",
    ]  # fmt: skip


def test_a_default_in_main_hides_the_classic_layouts_ecmp_table() -> None:
    facts = replace(FACTS, routes=(main_default("usb0", "10.0.0.1"),))
    classic = '[routing]\nlayout = "classic"\n'
    assert found(facts, classic) == [
        "the default in main via 10.0.0.1 dev usb0 hides the ECMP table: delete it,"
        " or set routing.take_over_default = true"
    ]
    assert found(facts, classic + "take_over_default = true") == []
    assert found(facts) == []


@pytest.mark.parametrize("kind", ["blackhole", "unreachable", "prohibit"])
def test_a_refusing_default_in_main_is_named_and_whether_it_refuses_now(kind: str) -> None:
    switch = Route(MAIN_TABLE, ipaddress.ip_network("0.0.0.0/0"), kind=kind, metric=900, protocol=3)
    now = (
        f"a default in main refuses: {kind} default table main proto 3 metric 900: refuses all traffic that"
        " is not bound to a device, ahead of the shared default; delete it if not wanted"
    )
    later = now.replace("900: ", "900: once no other default is before it in main, it ")
    hidden = "the default in main via 10.0.0.1 dev usb0 hides the ECMP table: delete it, or set routing"
    dead = main_default("usb0", "10.0.0.1")
    dead = replace(dead, nexthops=(replace(dead.nexthops[0], dead=True),))
    classic = '[routing]\nlayout = "classic"\n'
    assert found(replace(FACTS, routes=(switch,))) == [now]
    assert found(replace(FACTS, routes=(switch, main_default("usb0", "10.0.0.1", 1000)))) == [now]
    assert found(replace(FACTS, routes=(switch, dead))) == [now]
    for text in ("", classic + "take_over_default = true"):
        assert found(replace(FACTS, routes=(switch, main_default("usb0", "10.0.0.1"))), text) == [later]
    first, second = found(replace(FACTS, routes=(switch, main_default("usb0", "10.0.0.1"))), classic)
    assert first == later
    assert second.startswith(hidden)
    assert found(replace(FACTS, routes=(replace(switch, table=7),))) == []


def test_more_routes_through_an_uplink_than_its_table_gets() -> None:
    gateway = ipaddress.ip_address("10.0.0.9")
    routes = tuple(
        Route(
            MAIN_TABLE,
            ipaddress.ip_network(f"10.{50 + n // 250}.{n % 250}.0/24"),
            (Nexthop("usb0", gateway),),
        )
        for n in range(1001)
    )
    few = replace(FACTS, routes=routes[:500])
    assert conflicts(few, desired(few, Config()), Config()) == []
    many = replace(FACTS, routes=routes)
    assert conflicts(many, desired(many, Config()), Config()) == [
        "main has 1,001 routes through usb0: a socket that is bound to it uses those without a gateway, else"
        " its default (at most 500 are copied)"
    ]
