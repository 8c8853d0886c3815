"""An uplink whose interface is in a VRF: only what is bound to the interface uses it."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.desired import desired
from netbond.doctor.routing import questions
from netbond.engines.address_list import render, twins
from netbond.explain import Query, intended, not_used
from netbond.flows import holders
from netbond.hook_events import UP, conditions
from netbond.lan import of_families
from netbond.model import Facts, Health, Interface, Nexthop, Rule, UplinkState
from netbond.policies.connections import Connection, Owners
from netbond.uplinks import remember
from netbond.usability import alive, stream_links
from tests.unit.boxes import address, box, commands, default6, link, main_default, six

CONFIG = parse('[[uplink]]\nmatch = "eth5"\n')
OFFICE = Interface("office", 50, kind="vrf", vrf_table=1000)
WAY = replace(main_default("eth5", "10.0.0.1"), table=1000)
# The address and the network of usb0, as in another company's network.
BOX = box("usb0", "usb1")
BOX = replace(
    BOX,
    interfaces=(*BOX.interfaces, OFFICE, replace(link("eth5"), master="office")),
    addresses=(*BOX.addresses, address("eth5", "10.0.0.10/24")),
    routes=(*BOX.routes, WAY),
    nexthops=(),
)
IN_VRF = "in VRF office: only what is bound to eth5 leaves by it (ip link set eth5 nomaster)"


def of_eth5(facts: Facts, text: str = "") -> tuple[str, str, str, str]:
    """Its gateway and who names it, its state and the reason."""
    (found,) = (
        each
        for each in desired(facts, parse(text) if text else CONFIG).uplinks
        if (each.device, each.family) == ("eth5", 4)
    )
    return str(found.gateway), found.gateway_source, str(found.state), found.reason


def test_it_is_one_only_if_it_is_named() -> None:
    assert [each.device for each in desired(BOX, parse("")).uplinks] == ["usb0", "usb1"]
    assert dict(desired(BOX, parse("")).excluded)["eth5"].startswith("in VRF office")
    assert of_eth5(BOX) == ("10.0.0.1", "main default", "up", IN_VRF)


def test_it_has_a_table_and_the_rule_for_its_device_and_nothing_else() -> None:
    without = commands(BOX)
    assert [each for each in commands(BOX, CONFIG) if each not in without] == [
        "ip route add unreachable default table 175 proto 78 metric 4294967295",
        "ip route add 10.0.0.0/24 dev eth5 table 175 proto 78 scope link",
        "ip route add default via 10.0.0.1 dev eth5 table 175 proto 78",
        "ip rule add priority 40 from all oif eth5 lookup 175 protocol 78",
    ]
    assert set(without) <= set(commands(BOX, CONFIG))


@pytest.mark.parametrize("layout", ["default", "classic"])
def test_it_is_no_leg_and_no_way_for_pins_policies_and_marks(layout: str) -> None:
    text = f"""
        [routing]
        layout = "{layout}"
        [router]
        lan = ["br0"]
        [[uplink]]
        match = "eth5"
        [[pin]]
        destination = ["203.0.113.0/24"]
        uplinks = ["eth5", "usb1"]
        [[policy]]
        name = "office"
        uplinks = [["eth5"], ["usb1"]]
    """
    facts = replace(BOX, interfaces=(*BOX.interfaces, Interface("br0", 60, kind="bridge")))
    goal = desired(facts, parse(text))
    elsewhere = [route for route in goal.routes if route.table != 175]
    assert not any(hop.device == "eth5" for route in elsewhere for hop in route.nexthops)
    assert not any(getattr(each, "device", "") == "eth5" for each in goal.nexthops)
    assert [rule.oif for rule in goal.rules if rule.table == 175] == ["eth5"]
    (policy,) = goal.policies
    assert [(way.uplinks, way.reason) for way in policy.ways] == [
        ((("usb1", 1),), "tier 1: eth5: in VRF office")
    ]
    assert [each.device for each in of_families(goal.uplinks, {4})] == ["usb0", "usb1"]


def test_alone_it_makes_no_default() -> None:
    facts = replace(BOX, interfaces=tuple(each for each in BOX.interfaces if each.name[:3] != "usb"))
    goal = desired(replace(facts, addresses=facts.addresses[-1:], leases=()), CONFIG)
    assert [(rule.priority, rule.oif) for rule in goal.rules] == [(40, "eth5")]
    assert {route.table for route in goal.routes} == {175}
    forwarding = replace(facts, forwarding=frozenset({("office", 4)}), nft=True)
    assert not holders(forwarding, goal.uplinks, groups=True).marks


def test_its_gateway_is_in_the_table_of_its_vrf_or_in_main() -> None:
    bare = replace(BOX, routes=())
    assert desired(bare, CONFIG).idle[0].reason == "no gateway known"
    assert of_eth5(replace(bare, routes=(main_default("eth5", "10.0.0.7"),)))[0] == "10.0.0.7"
    # Of another VRF's table, or of another interface in it, it is none.
    assert desired(replace(bare, routes=(replace(WAY, table=1001),)), CONFIG).idle
    other = replace(WAY, nexthops=(Nexthop("eth6", ipaddress.ip_address("10.0.0.1")),))
    assert desired(replace(bare, routes=(other,)), CONFIG).idle
    advertised = replace(default6("eth5", "fe80::9"), table=1000)
    ipv6 = replace(BOX, addresses=(*BOX.addresses, six("eth5", "2001:db8::5/64")), routes=(advertised,))
    found = [each for each in desired(ipv6, CONFIG).uplinks if each.family == 6]
    assert [(each.device, str(each.gateway), each.vrf) for each in found] == [("eth5", "fe80::9", "office")]
    # It is remembered while the link is down.
    (claim,) = (each for each in remember(BOX, 5.0) if each.device == "eth5")
    down = replace(
        bare,
        interfaces=tuple(replace(each, carrier=each.name != "eth5") for each in BOX.interfaces),
        remembered=(claim,),
    )
    assert of_eth5(down) == ("10.0.0.1", "main default (gone)", "no carrier", "no carrier")


def test_its_address_is_not_withheld() -> None:
    off = CONFIG.uplink[0]
    without = desired(BOX, replace(CONFIG, uplink=(replace(off, enabled=False),)))
    assert without.withheld == ()
    assert not any(rule.table == 175 for rule in without.rules)


def test_checks_judge_it_by_itself() -> None:
    down = Health("eth5", 4, "down", "10.0.0.1: no answer")
    assert of_eth5(replace(BOX, health=(down,)))[2:] == ("dead", "10.0.0.1: no answer")
    # All others dead are used all the same, and it is none that could stand in for them.
    dead = tuple(Health(name, 4, "down", "x") for name in ("usb0", "usb1"))
    found = {
        each.device: (each.state, each.usable) for each in desired(replace(BOX, health=dead), CONFIG).uplinks
    }
    assert found == {
        "usb0": (UplinkState.UP, True),
        "usb1": (UplinkState.UP, True),
        "eth5": (UplinkState.UP, False),
    }


def test_streams_use_it_and_lists_of_addresses_cannot() -> None:
    goal = desired(BOX, CONFIG)
    assert [each.device for each in stream_links(goal.uplinks)] == ["usb0", "usb1", "eth5"]
    assert render(goal.uplinks) == "10.0.0.10\n10.0.1.10\n"
    assert render(goal.uplinks, devices=True) == "10.0.0.10%usb0\n10.0.1.10%usb1\n10.0.0.10%eth5\n"
    assert twins(goal.uplinks) == {}
    assert ("eth5", ipaddress.ip_address("10.0.0.10")) in alive(goal.uplinks)
    assert conditions(BOX, goal).uplinks["eth5"].state == UP
    assert conditions(BOX, goal).in_use == ("usb0", "usb1")
    there = ipaddress.ip_address("203.0.113.1")
    own = Connection(4, 6, ipaddress.ip_address("10.0.0.10"), there, 443, own=True)
    assert Owners((), goal.uplinks, BOX.addresses, {}).uplink(own) == "usb0"


def test_explain_and_doctor() -> None:
    goal = desired(BOX, CONFIG)
    assert not_used(goal, 4) == [f"not in the shared default: eth5 is up ({IN_VRF})"]
    asked = [each for each in questions(goal.uplinks, 0) if "eth5" in (each.device, "")]
    assert [each.device for each in questions(goal.uplinks, 0) if each.device] == ["usb0", "usb1", "eth5"]
    assert len(asked) == 1
    # The VRF's table first; what it has no route for, by the uplink's.
    facts = replace(BOX, rules=(Rule(0, 4, table=255), Rule(1000, 4, other="l3mdev 1", protocol=2)))
    there = Query(ipaddress.ip_address("192.0.2.1"), device="eth5")
    assert str(intended(facts, desired(facts, CONFIG), 78, there)) == "via 10.0.0.1 dev eth5 (table 1000)"
    given = parse('[[uplink]]\nmatch = "eth5"\ngateway = "10.0.0.1"\n')
    bare = replace(facts, routes=())
    assert str(intended(bare, desired(bare, given), 78, there)) == "via 10.0.0.1 dev eth5 (table 175)"
