"""The walk through rules and tables, beside what the kernel is known to do."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.desired import desired
from netbond.explain import Query, Verdict, as_marked, confirms, describe, intended, not_used, walk
from netbond.model import MAIN_TABLE, Facts, Health, Interface, Nexthop, Override, Route, Rule
from netbond.policies.model import PolicyInUse, PolicyMatch, PolicyWay
from tests.unit.boxes import address, box, main_default

LOCAL = Rule(0, 4, table=255)
MAIN = Rule(32766, 4, table=MAIN_TABLE)


def running(facts: Facts, config: Config | None = None) -> Facts:
    """A box on which netbond has been at work."""
    goal = desired(facts, config or Config())
    return replace(facts, rules=(LOCAL, *facts.rules, *goal.rules, MAIN), routes=facts.routes + goal.routes)


def query(destination: str, source: str | None = None, device: str = "") -> Query:
    return Query(
        ipaddress.ip_address(destination), None if source is None else ipaddress.ip_address(source), device
    )


TWO = running(replace(box("usb0", "usb1"), routes=(main_default("usb1", "10.0.1.1"),)))


@pytest.mark.parametrize(
    ("asked", "way"),
    [
        (query("8.8.8.8"), "via 10.0.0.1 dev usb0 or via 10.0.1.1 dev usb1 (table 222)"),
        (query("8.8.8.8", "10.0.1.10"), "via 10.0.1.1 dev usb1 (table 101)"),
        (query("8.8.8.8", device="usb0"), "via 10.0.0.1 dev usb0 (table 100)"),
        (query("10.0.1.10"), "to this box itself"),
    ],
)
def test_ways(asked: Query, way: str) -> None:
    assert str(walk(TWO, asked)) == way
    assert intended(TWO, desired(TWO, Config()), 78, asked).same(walk(TWO, asked))


def test_the_steps_in_words() -> None:
    main = "   50:    from all lookup main suppress_prefixlength 0  "
    assert describe(walk(TWO, query("8.8.8.8", "10.0.1.10"))) == [
        "   0:     from all lookup local                         not an address of this box",
        "   40:    from all oif usb0 lookup 100                  not bound to a device",
        "   40:    from all oif usb1 lookup 101                  not bound to a device",
        f"{main}default via 10.0.1.1 dev usb1: passed over, as the rule says",
        "   100:   from 10.0.0.10 lookup 100                     another source",
        "-> 101:   from 10.0.1.10 lookup 101                     default via 10.0.1.1 dev usb1",
    ]


def test_a_missing_rule_makes_a_difference() -> None:
    broken = replace(TWO, rules=tuple(rule for rule in TWO.rules if rule.priority != 101))
    asked = query("8.8.8.8", "10.0.1.10")
    now, goal = walk(broken, asked), intended(broken, desired(broken, Config()), 78, asked)
    assert not now.same(goal)
    assert now.table == 222
    assert goal.table == 101


def test_the_last_route_of_a_table_refuses() -> None:
    gone = replace(TWO, routes=tuple(r for r in TWO.routes if r.table != 101 or r.kind == "unreachable"))
    assert str(walk(gone, query("8.8.8.8", "10.0.1.10"))) == "refused: unreachable"


def test_ipv4_takes_what_is_refused_for_on_link_on_a_bound_device() -> None:
    gone = replace(TWO, routes=tuple(r for r in TWO.routes if r.table != 101 or r.kind == "unreachable"))
    assert str(walk(gone, query("8.8.8.8", device="usb1"))) == "dev usb1"


def test_pins_come_before_the_share() -> None:
    config = parse('[[pin]]\ndestination = ["203.0.113.0/24"]\nuplinks = ["usb1"]')
    facts = running(box("usb0", "usb1"), config)
    assert str(walk(facts, query("203.0.113.9"))) == "via 10.0.1.1 dev usb1 (table 221)"


def test_longest_prefix_and_lowest_metric() -> None:
    def route(destination: str, device: str, metric: int = 0) -> Route:
        return Route(MAIN_TABLE, ipaddress.ip_network(destination), (Nexthop(device),), metric=metric)

    facts = Facts(
        rules=(MAIN,),
        routes=(route("0.0.0.0/0", "a"), route("192.0.2.0/24", "b", 9), route("192.0.2.0/24", "c", 5)),
    )
    assert walk(facts, query("192.0.2.1")).hops == (("c", ""),)
    assert walk(facts, query("192.0.2.1", device="b")).hops == (("b", ""),)
    assert walk(facts, query("192.0.3.1")).hops == (("a", ""),)
    assert walk(replace(facts, routes=()), query("192.0.2.1")).kind == "none"


def test_what_cannot_be_judged_is_said_and_passed_over() -> None:
    strange = Rule(11, 4, table=7, other="uidrange 0-1000, tun_id 0000000000000002")
    incoming = Rule(12, 4, table=7, iif="usb0")
    unclear = Rule(13, 4, table=7, iif="usb0", other="not, tun_id 0000000000000001")
    found = walk(Facts(rules=(strange, incoming, unclear, MAIN)), query("192.0.2.1"))
    assert [step.says for step in found.steps] == [
        "cannot be evaluated here (tun_id 0000000000000002)",
        "for packets that come in",
        "cannot be evaluated here (tun_id 0000000000000001)",
        "no route there",
    ]


OFFICE = Interface("office", 5, kind="vrf", vrf_table=1000)
OF_VRFS = Rule(9, 4, other="l3mdev 1", protocol=2)
REFUSES = Rule(10, 4, action="unreachable", other="l3mdev 1")


def in_office(facts: Facts) -> Facts:
    """With a VRF that has eth5, where the box has 10.0.5.10."""
    return replace(
        facts,
        interfaces=(*facts.interfaces, OFFICE, Interface("eth5", 6, master="office"), Interface("br0", 7)),
        addresses=(*facts.addresses, address("eth5", "10.0.5.10/24")),
        routes=(
            *facts.routes,
            Route(
                1000, ipaddress.ip_network("10.0.0.0/8"), (Nexthop("eth5", ipaddress.ip_address("10.0.5.1")),)
            ),
        ),
        rules=(OF_VRFS, *facts.rules),
    )


@pytest.mark.parametrize(("device", "comes_in"), [("office", ""), ("eth5", ""), ("", "eth5")])
def test_what_is_in_a_vrf_is_looked_up_in_its_table(device: str, comes_in: str) -> None:
    facts, there = in_office(TWO), replace(query("10.9.0.1"), device=device, comes_in=comes_in)
    assert describe(walk(facts, there)) == [
        "   0:     from all lookup local                     not an address of this box",
        "-> 9:     from all lookup a VRF's table (l3mdev 1)  10.0.0.0/8 via 10.0.5.1 dev eth5",
    ]
    assert str(walk(facts, there)) == "via 10.0.5.1 dev eth5 (table 1000)"
    own = replace(there, destination=ipaddress.ip_address("10.0.5.10"))
    assert str(walk(facts, own)) == "to this box itself"
    # Nothing there: the lookup goes on, unless a rule refuses it. No neighbour is made up.
    beyond = replace(there, destination=ipaddress.ip_address("192.0.2.1"))
    refusing = replace(facts, rules=(REFUSES, *facts.rules))
    assert str(walk(refusing, beyond)) == "refused: unreachable"
    alone = replace(facts, rules=(LOCAL, OF_VRFS))
    assert str(walk(alone, beyond)) == "no route"


@pytest.mark.parametrize(
    ("rule", "device", "comes_in", "matches"),
    [
        (Rule(8, 4, table=7, oif="office"), "eth5", "", True),
        (Rule(8, 4, table=7, oif="office"), "office", "", True),
        (Rule(8, 4, table=7, oif="eth5"), "eth5", "", True),
        (Rule(8, 4, table=7, oif="eth5"), "office", "", False),
        (Rule(8, 4, table=7, oif="office"), "", "eth5", False),
        (Rule(8, 4, table=7, iif="office"), "", "eth5", True),
        (Rule(8, 4, table=7, iif="office"), "eth5", "", False),
    ],
)
def test_a_rule_that_names_a_vrf(rule: Rule, device: str, comes_in: str, matches: bool) -> None:
    facts = in_office(replace(TWO, rules=(rule,)))
    found = walk(facts, replace(query("10.9.0.1"), device=device, comes_in=comes_in))
    assert (found.steps[0].says == "no route there") is matches


def test_what_is_in_no_vrf_passes_its_rules() -> None:
    facts = in_office(TWO)
    facts = replace(facts, rules=(REFUSES, *facts.rules))
    for packet in (query("10.9.0.1"), query("10.9.0.1", device="usb0"), query("10.9.0.1", device="br0")):
        found = walk(facts, packet)
        assert [step.says for step in found.steps if step.rule in (OF_VRFS, REFUSES)] == 2 * [
            "only for what is in a VRF"
        ]
    # An address that the box has in a VRF is reached there alone.
    assert str(walk(facts, query("10.0.5.10"))).startswith("via 10.0.0.1 dev usb0")


@pytest.mark.parametrize(
    ("rule", "packet", "says"),
    [
        (Rule(9, 4, mark=1, mask=0xFF), {}, "only for packets with the mark 0x1/0xff"),
        (Rule(9, 4, mark=1, mask=0xFF), {"mark": 0x301}, ""),
        (Rule(9, 4, mark=0, mask=0xFF), {"mark": 0x300}, ""),  # `fwmark 0/0xff`
        (Rule(9, 4, mark=0, mask=0xFF), {"mark": 1}, "only for packets with the mark 0x0/0xff"),
        (Rule(9, 4, other="uidrange 5-1000"), {}, "only for users 5-1000"),
        (Rule(9, 4, other="uidrange 1000-1000"), {"uid": 5}, "only for users 1000"),
        (Rule(9, 4, other="uidrange 5-1000"), {"uid": 1000}, ""),
        (Rule(9, 4, other="ipproto 6"), {}, "only for tcp"),
        (Rule(9, 4, other="ipproto 132"), {}, "only for protocol 132"),
        (Rule(9, 4, other="ipproto 6, dport 443-443"), {"ipproto": 6}, "only for ports 443"),
        (Rule(9, 4, other="ipproto 6, dport 443-443"), {"ipproto": 6, "dport": 443}, ""),
        (Rule(9, 4, other="sport 1-1023"), {"sport": 1024}, "only for source ports 1-1023"),
        (Rule(9, 4, other="tos 16"), {}, "only for packets with TOS 16"),
        (Rule(9, 4, other="dscp 46"), {}, "only for packets with DSCP 46"),
        (Rule(9, 4, other="dscp 46"), {"dscp": 46}, ""),
        (Rule(9, 4, iif="lo"), {}, ""),
        (Rule(9, 4, iif="lo"), {"comes_in": "br0"}, "for packets of this box"),
        (Rule(9, 4, iif="br0"), {"comes_in": "br0"}, ""),
        (Rule(9, 4, iif="br1"), {"comes_in": "br0"}, "for what comes in elsewhere"),
        (Rule(9, 4, other="realm 00000001"), {}, ""),
        (Rule(9, 4, source=ipaddress.ip_network("10.0.0.0/8"), other="not"), {}, ""),
        (Rule(9, 4, mark=1, mask=0xFF, other="not"), {"mark": 1}, "not for such packets"),
        (Rule(9, 4, iif="usb0", other="not"), {}, ""),
    ],
)
def test_rules_that_ask_for_more(rule: Rule, packet: dict[str, int], says: str) -> None:
    refuse = replace(rule, action="unreachable")
    found = walk(Facts(rules=(refuse, MAIN)), replace(query("192.0.2.1"), **packet))  # type: ignore[arg-type]  # by name
    assert found.steps[0].says == (says or "unreachable")
    assert found.steps[0].decides == (not says)


def test_jumps() -> None:
    jump = Rule(10, 4, action="goto", other="goto 20")
    skipped, there = Rule(15, 4, action="prohibit"), Rule(20, 4, action="blackhole")
    nothing = Rule(5, 4, action="nop")
    found = walk(Facts(rules=(nothing, jump, skipped, there, MAIN)), query("192.0.2.1"))
    assert [step.says for step in found.steps] == ["does nothing", "on to 20", "blackhole"]
    for target in ("99", "10", "7"):
        lost = replace(jump, other=f"goto {target}")
        found = walk(Facts(rules=(lost, skipped, there, MAIN)), query("192.0.2.1"))
        assert [step.says for step in found.steps] == ["leads nowhere", "prohibit"]
    assert describe(found)[0] == "   10:    from all goto 7    leads nowhere"


def test_the_kernels_answer_may_be_any_leg() -> None:
    verdict = walk(TWO, query("8.8.8.8"))
    default = ipaddress.ip_network("0.0.0.0/0")
    answer = Route(222, default, (Nexthop("usb1", ipaddress.ip_address("10.0.1.1")),))
    assert confirms(verdict, answer, "")
    assert not confirms(verdict, replace(answer, nexthops=(Nexthop("usb2"),)), "")
    assert not confirms(verdict, None, "unreachable")
    assert confirms(Verdict("unreachable"), None, "unreachable")


def test_a_default_that_refuses_is_not_passed_over() -> None:
    """As the kernel does: suppress_prefixlength is asked about routes that were found."""
    switch = Route(MAIN_TABLE, ipaddress.ip_network("0.0.0.0/0"), kind="blackhole", metric=9)
    alone = running(replace(box("usb0", "usb1"), routes=(switch,)))
    assert str(walk(alone, query("8.8.8.8"))) == "refused: blackhole"
    assert str(walk(alone, query("8.8.8.8", "10.0.1.10"))) == "refused: blackhole"
    assert str(walk(alone, query("8.8.8.8", device="usb0"))) == "via 10.0.0.1 dev usb0 (table 100)"
    behind = running(replace(box("usb0", "usb1"), routes=(switch, main_default("usb1", "10.0.1.1"))))
    assert str(walk(behind, query("8.8.8.8", "10.0.0.10"))) == "via 10.0.0.1 dev usb0 (table 100)"


def test_of_rules_with_one_priority_the_older_is_asked_first() -> None:
    theirs = Rule(0, 4, table=7)
    way = Route(7, ipaddress.ip_network("0.0.0.0/0"), (Nexthop("wg0"),))
    goal = desired(replace(box("usb0"), rules=(LOCAL, theirs, MAIN)), Config())
    for rules, table in (((*goal.rules, theirs), 100), ((theirs, *goal.rules), 7)):
        facts = replace(box("usb0"), rules=(LOCAL, *rules, MAIN), routes=(*goal.routes, way))
        asked = query("8.8.8.8", "10.0.0.10")
        assert walk(facts, asked).table == intended(facts, goal, 78, asked).table == table


def test_uplinks_that_are_not_in_the_shared_default() -> None:
    poor = Health("usb1", 4, "degraded", "icmp: 31% of the last answers missing", poor=True)
    dead = Health("usb2", 4, "down", "receiver: silence")
    off = (Override("usb4", "off", by="root"),)
    facts = replace(box("usb0", "usb1", "usb2", "usb3", "usb4"), health=(poor, dead), overrides=off)
    text = '[health]\ncheck_quality = true\n[[uplink]]\nmatch = "usb3"\nbackup = true'
    goal = desired(facts, parse(text))
    assert not_used(goal, 4) == [
        "not in the shared default: usb1 is degraded (icmp: 31% of the last answers missing)",
        "not in the shared default: usb2 is dead (receiver: silence)",
        "not in the shared default: usb3 is standby (backup)",
        "not in the shared default: usb4 is off (set off by root)",
    ]
    assert not_used(goal, 6) == []


def test_nftables_marks_a_client_s_packet_for_its_dscp() -> None:
    match = PolicyMatch(dscps=(46,), dscp_marks=((0xFD << 24, 0xFF << 24),))
    policies = [PolicyInUse("calls", 1, 7801, (("usb0",),), (PolicyWay(4, match, 1, 1, (("usb0", 1),)),))]
    client = replace(query("8.8.8.8"), comes_in="br0", dscp=46, mark=0x10)
    assert as_marked(client, policies).mark == 0xFD000010
    for other in (
        replace(client, dscp=10),
        replace(client, comes_in=""),
        replace(client, destination=ipaddress.ip_address("2001:db8::1")),
    ):
        assert as_marked(other, policies) == other
