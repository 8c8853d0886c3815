"""What is bound to an address of an interface that is no uplink now leaves by no other one."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config, RoutingConfig, UplinkConfig
from netbond.desired import desired, tables_in_use
from netbond.model import Address, Facts, Rule, Withheld
from netbond.plan import route_words
from netbond.withheld import is_of_a_way_out, is_routed_by_others, routes
from tests.unit.boxes import address, box, commands, default6, lease, link, main_default, six

DISABLED = parse('[[uplink]]\nmatch = "usb0"\nenabled = false')
ROAMING = parse('[[uplink]]\nmatch = "usb0"\nexclude_roaming = true')


def withheld(facts: Facts, config: Config | None = None) -> list[tuple[str, list[str], str]]:
    """Device, addresses, and by which gateway they leave: "refused" if by none."""
    return [
        (
            each.device,
            [str(a.interface.ip) for a in each.addresses],
            str(each.gateway) if each.leaves_by_device else "refused",
        )
        for each in desired(facts, config or Config()).withheld
    ]


def advertised(*, gone: tuple[str, ...] = ()) -> Facts:
    """Two modems whose routers advertise themselves, but those of `gone` only their prefix."""
    modems = ("usb0", "usb1")
    return Facts(
        interfaces=tuple(map(link, modems)),
        addresses=tuple(six(name, f"2001:db8:{i}::5/64", dynamic=True) for i, name in enumerate(modems)),
        routes=tuple(default6(name, "fe80::1") for name in modems if name not in gone),
    )


def without_lease(facts: Facts, device: str) -> Facts:
    return replace(facts, leases=tuple(each for each in facts.leases if each.device != device))


# --- the kinds of interfaces that stop being uplinks -------------------------------------------------------


def test_a_router_that_withdraws_itself_and_keeps_its_prefix() -> None:
    assert withheld(advertised()) == []
    facts = advertised(gone=("usb1",))
    assert withheld(facts) == [("usb1", ["2001:db8:1::5"], "refused")]
    assert [c for c in commands(facts) if "101" in c] == [
        "ip -6 route add unreachable default table 101 proto 78 metric 4294967295",
        "ip -6 rule add priority 101 from 2001:db8:1::5 lookup 101 protocol 78",
    ]


def test_a_modem_that_roams_costs_money_whoever_binds_to_it() -> None:
    facts = replace(box("usb0", "usb1"), roaming=frozenset({"usb0"}))
    assert withheld(facts, ROAMING) == [("usb0", ["10.0.0.10"], "refused")]


def test_what_is_bound_to_a_disabled_interface_leaves_by_it() -> None:
    """It may be the way by which somebody reaches the box."""
    facts = box("usb0", "usb1")
    assert withheld(facts, DISABLED) == [("usb0", ["10.0.0.10"], "10.0.0.1")]
    found = [c for c in commands(facts, DISABLED) if "100" in c]
    assert found == [
        "ip route add unreachable default table 100 proto 78 metric 4294967295",
        "ip route add default via 10.0.0.1 dev usb0 table 100 proto 78",
        "ip rule add priority 100 from 10.0.0.10 lookup 100 protocol 78",
    ]


def test_a_disabled_interface_that_is_down_lets_nothing_out() -> None:
    facts = replace(box("usb0", "usb1"), interfaces=(link("usb0", up=False), link("usb1")))
    assert withheld(facts, DISABLED) == [("usb0", ["10.0.0.10"], "refused")]


def test_a_lease_that_has_ended_or_has_no_router_yet() -> None:
    two = box("usb0", "eth5")
    none = without_lease(two, "eth5")
    assert withheld(none) == []  # nothing says that eth5 is a way out
    yet = replace(none, leases=(*none.leases, lease("eth5", "10.0.1.10/24")))
    assert withheld(yet) == [("eth5", ["10.0.1.10"], "refused")]
    rule = Rule(130, 4, table=130, source=ipaddress.ip_network("10.0.1.10/32"), protocol=78)
    ended = replace(none, rules=(rule,))
    assert withheld(ended) == [("eth5", ["10.0.1.10"], "refused")]
    assert desired(ended, Config()).withheld[0].table == 130
    given = replace(none, addresses=(*none.addresses[:-1], replace(none.addresses[-1], dynamic=True)))
    assert withheld(given) == [("eth5", ["10.0.1.10"], "refused")]


def test_a_family_without_gateway_beside_one_that_has_one() -> None:
    facts = replace(
        box("usb0", "usb1"),
        addresses=(*box("usb0", "usb1").addresses, *advertised().addresses),
        routes=(default6("usb1", "fe80::1"),),
    )
    assert withheld(facts) == [("usb0", ["2001:db8::5"], "refused")]
    assert withheld(facts, parse("[routing]\nipv6 = false")) == []


# --- what is left alone ------------------------------------------------------------------------------------


def test_a_lan_and_a_delegated_prefix_leave_by_the_uplinks() -> None:
    facts = replace(
        advertised(),
        interfaces=(*advertised().interfaces, link("eth1"), link("wlan0")),
        addresses=(
            *advertised().addresses,
            address("eth1", "192.168.1.1/24"),
            six("eth1", "2001:db8:7::1/64"),
            six("wlan0", "fd00::1/64"),
        ),
    )
    assert withheld(facts) == []
    nothing_else = '[[uplink]]\nmatch = "usb*"\n[[uplink]]\nmatch = "*"\nenabled = false'
    assert withheld(facts, parse(nothing_else)) == []
    assert withheld(facts, parse('[[uplink]]\nmatch = "eth1"\nenabled = false')) == []


def test_where_nothing_else_leads_out_nothing_is_withheld() -> None:
    one = replace(without_lease(box("usb0"), "usb0"), interfaces=(link("usb0"),))
    assert withheld(one) == []
    assert commands(one) == []


def test_two_that_are_no_uplinks_do_not_leave_by_each_other() -> None:
    facts = replace(box("usb0", "usb1"), roaming=frozenset({"usb0", "usb1"}))
    config = parse('[[uplink]]\nmatch = "usb*"\nexclude_roaming = true')
    assert withheld(facts, config) == [
        ("usb0", ["10.0.0.10"], "refused"),
        ("usb1", ["10.0.1.10"], "refused"),
    ]
    # Neighbours are reached as main says.
    assert "ip rule add priority 50 from all lookup main suppress_prefixlength 0 protocol 78" in commands(
        facts, config
    )


def test_a_twins_address_is_left_to_the_twin_that_is_an_uplink() -> None:
    facts = replace(
        box("usb0", "usb1"),
        addresses=(address("usb0", "192.168.8.100/24"), address("usb1", "192.168.8.100/24")),
        leases=tuple(lease(name, "192.168.8.100/24", "192.168.8.1") for name in ("usb0", "usb1")),
        roaming=frozenset({"usb0"}),
    )
    assert withheld(facts, ROAMING) == []


def test_a_rule_of_another_program_for_the_address_does_its_work() -> None:
    theirs = Rule(1000, 4, table=500, source=ipaddress.ip_network("10.0.0.0/24"), protocol=4)
    facts = replace(box("usb0", "usb1"), rules=(theirs,))
    assert withheld(facts, DISABLED) == []
    anybody = replace(theirs, source=ipaddress.ip_network("0.0.0.0/0"))
    assert withheld(replace(facts, rules=(anybody,)), DISABLED) != []


def test_the_classic_layout_withholds_in_the_order_of_tables() -> None:
    config = parse('[routing]\nlayout = "classic"\n[[uplink]]\nmatch = "usb0"\nexclude_roaming = true')
    facts = replace(box("usb0", "usb1"), roaming=frozenset({"usb0"}))
    found = [c for c in commands(facts, config) if "rule" in c and "from 10" in c]
    assert found == [
        "ip rule add priority 201 from 10.0.0.10 lookup 100 protocol 78",
        "ip rule add priority 202 from 10.0.1.0/24 lookup 101 protocol 78",
    ]
    assert "ip route add prohibit default table 100 proto 78 metric 4294967295" in commands(facts, config)


# --- its parts ---------------------------------------------------------------------------------------------

STATIC = address("eth1", "10.0.1.10/24")


@pytest.mark.parametrize(
    ("found", "setting", "expected"),
    [
        (STATIC, None, False),
        (replace(STATIC, dynamic=True), None, True),
        (STATIC, UplinkConfig(match="eth1"), True),
        (STATIC, UplinkConfig(match="eth1", enabled=False), False),
        *((replace(STATIC, device=name), None, True) for name in ("usb0", "wwan0", "wwp0s20u4", "ppp0")),
        *((replace(STATIC, device=name), None, False) for name in ("wlan0", "enp3s0", "lan", "wwf")),
    ],
)
def test_evidence_of_a_way_out(found: Address, setting: UplinkConfig | None, expected: bool) -> None:
    assert is_of_a_way_out(found, setting, Facts(), 78) is expected


def test_the_rule_of_an_uplink_that_was_is_evidence_but_nobody_elses() -> None:
    rule = Rule(131, 4, table=131, source=ipaddress.ip_network("10.0.1.10/32"), protocol=78)
    facts = Facts(rules=(rule,), addresses=(STATIC,))
    assert is_of_a_way_out(STATIC, None, facts, 78)
    assert tables_in_use(facts, 78) == {"eth1": 131}
    assert not is_of_a_way_out(STATIC, None, facts, 99)
    assert is_routed_by_others(STATIC, facts, 99)
    assert not is_routed_by_others(STATIC, facts, 78)


def test_the_routes_of_a_point_to_point_link_need_no_gateway() -> None:
    one = Withheld("ppp0", "ppp0", 4, 140, (address("ppp0", "10.64.1.2/32", "10.64.0.1"),), True)
    assert [route_words(route) for route in routes(one, RoutingConfig())] == [
        "unreachable default table 140 proto 78 metric 4294967295",
        "default dev ppp0 table 140 proto 78 scope link",
    ]


def test_a_default_in_main_is_as_good_as_a_lease_and_keeps_its_attributes() -> None:
    default = replace(main_default("usb0", "10.0.0.1"), attributes=(("mtu", 1430),))
    leases = (lease("usb1", "10.0.1.10/24", "10.0.1.1"),)
    facts = replace(box("usb0", "usb1"), leases=leases, routes=(default,))
    assert withheld(facts, DISABLED) == [("usb0", ["10.0.0.10"], "10.0.0.1")]
    assert "ip route add default via 10.0.0.1 dev usb0 table 100 proto 78 mtu 1430" in commands(
        facts, DISABLED
    )
