"""Unbound traffic does not leave by an uplink that is set off, also if no other is left."""

from __future__ import annotations

from dataclasses import replace

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.desired import desired
from netbond.model import Facts, Override, Route
from netbond.plan import route_words, rule_words
from netbond.switched_off import refused_families
from tests.unit.boxes import SIX, box, default6, link, main_default, six, uplinks

V4 = replace(
    box("usb0", "usb1"), routes=(main_default("usb0", "10.0.0.1", 100), main_default("usb1", "10.0.1.1", 200))
)


def off(facts: Facts, *names: str) -> Facts:
    return replace(facts, overrides=tuple(Override(name, "off", by="root") for name in names))


def refused(facts: Facts, config: Config | None = None) -> set[int]:
    config = config or Config()
    return set(refused_families(uplinks(facts, config), facts, config.routing))


def shared(facts: Facts, text: str = "") -> list[str]:
    """The ECMP table."""
    return [route_words(route) for route in desired(facts, parse(text)).routes if route.table == 222]


def test_while_another_is_in_use_nothing_is_refused() -> None:
    assert refused(V4) == refused(off(V4, "usb0")) == set()
    dead = replace(off(V4, "usb0"), interfaces=(*V4.interfaces[:2], link("usb1", carrier=False)))
    assert refused(dead) == {4}
    assert refused(replace(dead, overrides=())) == set()


def test_the_last_one() -> None:
    assert shared(off(V4, "usb0", "usb1")) == ["unreachable default table 222 proto 78 metric 4294967295"]
    classic = '[routing]\nlayout = "classic"'
    assert shared(off(V4, "usb0", "usb1"), classic) == [
        "prohibit default table 222 proto 78 metric 4294967295"
    ]
    assert "unreachable" not in " ".join(shared(off(V4, "usb0")))


def test_a_default_of_main_that_is_no_uplink_stays_the_way() -> None:
    """A VPN's, or that of a disabled interface: its metric says whether the kernel takes it."""
    for metric, families in ((50, set[int]()), (300, {4})):
        vpn: Route = main_default("tun0", "10.8.0.1", metric)
        assert refused(replace(off(V4, "usb0", "usb1"), routes=(*V4.routes, vpn))) == families
    assert refused(replace(off(V4, "usb0", "usb1"), routes=())) == {4}


def test_a_default_that_netbond_took_counts_and_stays_taken() -> None:
    text = '[routing]\nlayout = "classic"\ntake_over_default = true'
    facts = off(V4, "usb0", "usb1")
    assert desired(facts, parse(text)).take == V4.routes
    assert refused(replace(facts, routes=(), taken=V4.routes)) == {4}


def test_ipv6_is_refused_by_its_address_too() -> None:
    """The kernel would choose that address, and find the uplink's own table."""
    facts = off(replace(SIX, addresses=(*SIX.addresses, six("usb0", "2001:db8::6/64"))), "usb0")
    goal = desired(facts, Config())
    assert [rule_words(rule) for rule in goal.rules if rule.priority == 51] == [
        "priority 51 from 2001:db8::5 unreachable protocol 78",
        "priority 51 from 2001:db8::6 unreachable protocol 78",
    ]
    before = desired(replace(facts, overrides=()), Config())
    assert set(before.rules) < set(goal.rules)
    assert [rule for rule in before.rules if rule.priority == 51] == []


def test_families_are_apart() -> None:
    """A line with both, and a modem with IPv4 only: the line is off, and IPv6 has no other way."""
    facts = replace(
        V4,
        addresses=(*V4.addresses, six("usb0", "2001:db8::5/64")),
        routes=(*V4.routes, default6("usb0", "fe80::1")),
    )
    assert refused(off(facts, "usb0")) == {6}
    assert refused(off(facts, "usb1")) == set()
    assert [route for route in shared(off(facts, "usb0")) if "unreachable" in route] == [
        "unreachable default table 222 proto 78 metric 4294967295"
    ]
