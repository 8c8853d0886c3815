"""Policies of the configuration, applied to a box."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.desired import desired
from netbond.model import Facts, Override, SpentDataPlan
from netbond.policies.model import PolicyInUse, PolicyMatch
from tests.unit.boxes import box, link

FORWARDING = replace(
    box("usb0", "usb1"),
    interfaces=(*box("usb0", "usb1").interfaces, link("eth1")),
    forwarding=frozenset({("eth1", 4)}),
)


def policies(text: str, facts: Facts) -> tuple[PolicyInUse, ...]:
    return desired(facts, parse(text)).policies


BANK = """
[[policy]]
name = "bank"
destination = ["203.0.113.0/24", "bank.example", "2001:db8::/32"]
source = ["192.168.1.0/24", "fd00::/8"]
protocol = ["tcp", "icmp"]
mark = "0x10/0xff"
uplinks = ["usb0", "usb*"]
sticky = "10min"
failback = "cut"
otherwise = "unreachable"
[[policy]]
name = "rest"
uplinks = ["usb1"]
overflow = ""
"""


def test_a_policy_as_it_is_applied() -> None:
    facts = replace(box("usb0", "usb1"), resolved=(("bank.example", (ipaddress.ip_address("192.0.2.1"),)),))
    bank, rest = policies(BANK, facts)
    assert (bank.name, bank.number, bank.table) == ("bank", 1, 7801)
    assert (bank.tiers, bank.sticky_s, bank.failback) == ((("usb0",), ("usb1",)), 600, "cut")
    four = bank.way(4)
    assert four is not None
    assert four.match == PolicyMatch(
        destinations=(ipaddress.ip_network("203.0.113.0/24"), ipaddress.ip_network("192.0.2.1")),
        sources=(ipaddress.ip_network("192.168.1.0/24"),),
        protocols=(6, 1),
        marks=((0x10, 0xFF),),
    )
    assert (four.best, four.tier, four.names) == (1, 1, ("usb0",))
    # Without an uplink of that family it refuses all the same.
    six = bank.way(6)
    assert six is not None
    assert (six.match.protocols, six.tier, six.reason) == ((6, 58), 0, "no uplink")
    assert (rest.number, rest.table, rest.families) == (2, 7802, (4,))
    assert rest.ways[0].match == PolicyMatch()


def one(lines: str, facts: Facts) -> PolicyInUse:
    (found,) = policies(f'[[policy]]\nname = "p"\nuplinks = ["usb0", "usb1"]\n{lines}', facts)
    return found


def test_what_is_not_there_matches_nothing() -> None:
    facts = replace(box("usb0", "usb1"), users=(("backup", 34),))
    assert one('interface = "br*"', facts).ways == ()
    assert one('uid = "nobody-here"', facts).ways == ()
    assert one('destination = "bank.example"', facts).ways == ()
    assert one('source = "fd00::1"', facts).ways == ()
    there = replace(facts, interfaces=(*facts.interfaces, link("br1"), link("br0")))
    assert one('interface = "br*"', there).ways[0].match.interfaces == ("br0", "br1")
    users = one('uid = ["backup", "nobody-here", "1000-1999"]', facts).ways[0].match
    assert (users.uids, users.interfaces) == (((34, 34), (1000, 1999)), ("lo",))


def test_ports_are_those_of_tcp_and_udp() -> None:
    match = one("port = [443, '5000-5010']", box("usb0")).ways[0].match
    assert (match.protocols, match.ports) == ((6, 17), ((443, 443), (5000, 5010)))


def test_dscp_is_for_rules_or_for_marks() -> None:
    able = one('dscp = "ef"', replace(box("usb0"), dscp_rules=True))
    assert (able.problem, able.ways[0].match.dscps, able.ways[0].match.dscp_marks) == ("", (46,), ())
    marked = one('dscp = ["ef", 10]\nmark = "0x10/0xff"\ninterface = ["eth1", "lo"]', FORWARDING)
    match = marked.ways[0].match
    assert (match.dscps, match.interfaces, match.marks) == ((46, 10), ("eth1",), ((0x10, 0xFF),))
    # Tables that uplinks do not have; the lower code point has the first.
    assert match.dscp_marks == ((252 << 24, 0xFF << 24), (253 << 24, 0xFF << 24))


@pytest.mark.parametrize(
    ("keys", "nft", "says", "does"),
    [
        ('interface = "eth1"', True, "", True),
        ('source = "192.168.50.0/24"', None, "", True),
        ("", True, "it leaves out this box's own", True),
        ('interface = ["lo", "eth1"]', True, "it leaves out this box's own", True),
        ('interface = "lo"', True, "forwarded traffic only: it does nothing", False),
        ("uid = 0", True, "forwarded traffic only: it does nothing", False),
        ("", False, "there is no nftables, which could for forwarded traffic: it does nothing", False),
        ('interface = "eth7"', True, "", False),
    ],
)
def test_what_is_left_out_without_rules_for_dscp(keys: str, nft: bool | None, says: str, does: bool) -> None:
    found = one(f'dscp = "ef"\notherwise = "unreachable"\n{keys}', replace(FORWARDING, nft=nft))
    assert bool(found.ways) is does
    assert found.problem.endswith(says)
    assert bool(found.problem) is bool(says)


def test_overflow_and_spent_plans() -> None:
    facts = replace(box("usb0", "usb1"), overflowing=frozenset({"p"}))
    way = one('overflow = "8Mbit/s"', facts).ways[0]
    assert (way.best, way.tier, way.names, way.reason) == (1, 2, ("usb1",), "tier 1 overflows")
    spent = replace(box("usb0", "usb1"), spent_plans=(SpentDataPlan("usb0", "backup", "50 GB"),))
    assert one("", spent).ways[0].names == ("usb1",)
    wanted = replace(spent, overrides=(Override("usb0", "normal", by="root"),))
    assert one("", wanted).ways[0].names == ("usb0",)


def test_what_is_set_off_is_not_used_and_said() -> None:
    way = one("", replace(box("usb0", "usb1"), overrides=(Override("usb0", "off", by="root"),))).ways[0]
    assert (way.tier, way.names) == (2, ("usb1",))
    assert way.reason == "tier 1: usb0: set off by root"


def test_ipv6_that_is_left_alone() -> None:
    text = '[routing]\nipv6 = false\n[[policy]]\nname = "p"\nuplinks = ["usb0"]\notherwise = "unreachable"'
    assert policies(text, box("usb0"))[0].families == (4,)
