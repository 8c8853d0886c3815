"""Which interfaces lead out, and how."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.dhcp.lease import Lease
from netbond.model import Address, Facts, GatewayClaim, IdleInterface, Route, Uplink
from netbond.uplinks import find, remember
from tests.unit.boxes import SIX, address, box, default6, lease, link, main_default, six


def brief(facts: Facts, config: Config | None = None) -> list[tuple[str, str, str, str]]:
    """Device, gateway, its source and state of each uplink."""
    uplinks = find(facts, config or Config(), {}).uplinks
    return [(u.device, str(u.gateway), u.gateway_source, u.state) for u in uplinks]


def test_without_a_configuration_what_has_address_and_gateway_is_an_uplink() -> None:
    facts = replace(
        box("usb0"),
        interfaces=(*box("usb0").interfaces, link("eth0"), link("eth1"), link("wlan0")),
        addresses=(
            *box("usb0").addresses,
            address("eth0", "192.168.1.2/24"),
            address("wlan0", "10.9.0.2/24"),
        ),
        routes=(main_default("eth0", "192.168.1.1"), main_default("eth1", "192.168.2.1")),
    )
    assert brief(facts) == [
        ("usb0", "10.0.0.1", "dhclient", "up"),
        ("eth0", "192.168.1.1", "main default", "up"),
    ]


def claim(gateway: str, source: str, said_s: float = 0.0, *, standing: bool = False) -> GatewayClaim:
    interface = ipaddress.ip_interface("10.0.0.10/24")
    return GatewayClaim("usb0", source, interface, ipaddress.ip_address(gateway), said_s, standing=standing)


def test_gateway_order_configuration_lease_main_memory() -> None:
    facts = replace(
        box("usb0"),
        routes=(main_default("usb0", "10.0.0.3"),),
        remembered=(claim("10.0.0.4", "main"),),
    )
    configured = parse('[[uplink]]\nmatch = "usb*"\ngateway = "10.0.0.2"')
    assert brief(facts, configured) == [("usb0", "10.0.0.2", "configuration", "up")]
    assert brief(facts) == [("usb0", "10.0.0.1", "dhclient", "up")]
    assert brief(replace(facts, leases=())) == [("usb0", "10.0.0.3", "main default", "up")]
    assert brief(replace(facts, leases=(), routes=())) == [("usb0", "10.0.0.4", "main default (gone)", "up")]
    assert brief(replace(facts, leases=(), routes=(), remembered=())) == []


def test_a_weight_that_is_auto_is_what_was_measured_and_1_before() -> None:
    config = parse('[[uplink]]\nmatch = "usb*"\nweight = "auto"\n[[uplink]]\nmatch = "wwan*"\nweight = 4')
    facts = replace(box("usb0", "usb1", "wwan0"), measured=(("usb1", 7), ("wwan0", 9)))
    assert {u.device: u.weight for u in find(facts, config, {}).uplinks} == {"usb0": 1, "usb1": 7, "wwan0": 4}


def test_a_lease_counts_only_while_its_address_is_held() -> None:
    facts = replace(box("usb0"), leases=(lease("usb0", "10.0.0.11/24", "10.0.0.1"),))
    assert brief(facts) == []


def test_a_lease_without_router_does_not_hide_the_default_in_main() -> None:
    facts = replace(
        box("usb0"), leases=(lease("usb0", "10.0.0.10/24"),), routes=(main_default("usb0", "10.0.0.3"),)
    )
    assert brief(facts) == [("usb0", "10.0.0.3", "main default", "up")]


def test_the_newest_lease_wins() -> None:
    leases = (
        lease("usb0", "10.0.0.10/24", "10.0.0.7", received=2.0, source="networkmanager"),
        lease("usb0", "10.0.0.10/24", "10.0.0.1", received=1.0),
    )
    assert brief(replace(box("usb0"), leases=leases)) == [("usb0", "10.0.0.7", "networkmanager", "up")]


def test_a_gateway_is_as_old_as_the_lease_that_names_it_and_a_renewal_is_no_news() -> None:
    def found(facts: Facts) -> Uplink:
        [uplink] = find(facts, Config(), {}).uplinks
        return uplink

    told = replace(box("usb0"), leases=(lease("usb0", "10.0.0.10/24", "10.0.0.1", received=1000.0),))
    renewed = replace(told, leases=(told.leases[0]._replace(received=2000.0),))
    asked = replace(told, leases=(), claims=(claim("10.0.0.1", "NetworkManager", 1000.0, standing=True),))
    seen = replace(told, leases=(), routes=(main_default("usb0", "10.0.0.1"),))
    assert [found(facts).gateway_since for facts in (told, renewed)] == [1000.0, 2000.0]
    assert [found(facts).gateway_since for facts in (asked, seen)] == [None, None]
    assert found(told) == found(renewed)
    before_the_boot = replace(told, leases=(told.leases[0]._replace(received=-1.0),))
    assert found(before_the_boot).gateway_since is None
    assert found(replace(told, leases=(*before_the_boot.leases, *told.leases))).gateway_since == 1000.0


def test_gateways_that_others_name_are_told() -> None:
    def disputed(facts: Facts, config: str = "") -> list[tuple[str, str]]:
        [uplink] = find(facts, parse(config), {}).uplinks
        return [(source, str(way)) for source, way in uplink.disputed]

    facts = replace(
        box("usb0"),
        leases=(
            lease("usb0", "10.0.0.10/24", "10.0.0.9", received=2.0),
            lease("usb0", "10.0.0.10/24", "10.0.0.8", "10.0.0.7", received=1.0, source="networkd"),
            lease("usb0", "10.0.0.10/24", "10.0.0.9", received=1.0, source="udhcpc"),  # of one mind
            lease("usb0", "10.0.0.11/24", "10.0.0.5", received=1.0, source="dhcpcd"),  # history
            lease("usb1", "10.0.0.10/24", "10.0.0.4", received=1.0, source="dhcpcd"),
        ),
        claims=(claim("10.0.0.6", "NetworkManager", standing=True),),
        routes=(main_default("usb0", "10.0.0.1"), main_default("usb1", "10.0.0.2")),
    )
    assert disputed(facts) == [("networkd", "10.0.0.8"), ("main default", "10.0.0.1")]
    configured = '[[uplink]]\nmatch = "usb0"\ngateway = "10.0.0.1"\n'
    assert disputed(facts, configured) == [
        ("dhclient", "10.0.0.9"),
        ("networkd", "10.0.0.8"),
        ("udhcpc", "10.0.0.9"),
    ]
    assert disputed(box("usb0")) == []
    several = replace(facts, leases=facts.leases[:2])
    both = '[[uplink]]\nmatch = "usb0"\ngateway = ["10.0.0.1", "10.0.0.9"]\n'
    first, second = find(several, parse(both), {}).uplinks
    assert [source for source, _ in first.disputed] == ["networkd"]
    assert second.disputed == ()


def test_an_address_with_the_mask_of_its_lease_replaces_the_one_before() -> None:
    """The kernel holds both until the old lease is over."""
    wide, narrow = address("usb0", "10.0.0.10/24"), address("usb0", "10.0.0.10/25")
    facts = replace(box("usb0"), addresses=(wide, narrow, address("usb0", "10.9.0.9/24")))

    def networks(*leases: Lease) -> list[str]:
        [*uplinks] = find(replace(facts, leases=leases), Config(), {}).uplinks
        return sorted(str(a.interface) for uplink in uplinks for a in uplink.addresses)

    before = lease("usb0", "10.0.0.10/24", "10.0.0.1", received=1.0)
    after = lease("usb0", "10.0.0.10/25", "10.0.0.1", received=2.0)
    assert networks(after) == ["10.0.0.10/25", "10.9.0.9/24"]
    assert networks(before, after) == ["10.0.0.10/25", "10.9.0.9/24"]
    assert networks(before) == ["10.0.0.10/24", "10.9.0.9/24"]
    other = lease("usb0", "10.0.0.10/26", "10.0.0.1", received=3.0)  # a mask that the client did not set
    assert networks(other) == ["10.0.0.10/24", "10.0.0.10/25", "10.9.0.9/24"]
    assert networks(before._replace(received=2.0), after) == ["10.0.0.10/24", "10.0.0.10/25", "10.9.0.9/24"]


def test_of_several_defaults_in_main_the_one_of_the_lowest_metric_names_the_gateway() -> None:
    facts = Facts(
        interfaces=(link("usb0"), link("usb1")),
        addresses=(address("usb0", "10.0.0.10/24"), address("usb1", "10.0.1.10/24")),
        routes=(main_default("usb0", "10.0.0.9", metric=600), main_default("usb0", "10.0.0.1", metric=100)),
    )
    assert brief(facts) == [("usb0", "10.0.0.1", "main default", "up")]


def test_first_match_wins_and_enabled_false_excludes() -> None:
    config = parse(
        """
        [[uplink]]
        match = "usb1"
        enabled = false
        [[uplink]]
        match = "usb*"
        weight = 3
        priority = 7
        streams = false
        [[uplink]]
        match = "usb2"
        weight = 9
        """
    )
    found = find(box("usb0", "usb1", "usb2"), config, {})
    assert [(u.device, u.weight) for u in found.uplinks] == [("usb0", 3), ("usb2", 3)]
    assert [(u.priority, u.streams) for u in found.uplinks] == [(7, False), (7, False)]
    assert found.idle == (IdleInterface("usb1", "enabled = false"),)


def test_an_uplink_that_is_missing_keeps_its_label() -> None:
    config = parse('[[uplink]]\nmatch = "usb7"\nlabel = "left"\n[[uplink]]\nmatch = "usb1"\nlabel = "right"')
    found = find(Facts(interfaces=(link("usb1"),)), config, {})
    assert [(each.name, each.label, each.reason) for each in found.idle] == [
        ("usb1", "right", "no address"),
        ("usb7", "left", "no such interface now"),
    ]


@pytest.mark.parametrize(
    ("setting", "facts", "metered"),
    [
        ("", {}, False),
        ("", {"metered": frozenset({"usb0"})}, True),
        ("", {"roaming": frozenset({"usb0"})}, True),
        ("", {"metered": frozenset({"usb1"}), "roaming": frozenset({"usb2"})}, False),
        ('budget = "5GB"', {}, True),
        ('metered = "auto"\nbudget = "5GB"', {}, True),
        ("metered = true", {}, True),
        ('metered = false\nbudget = "5GB"', {"metered": frozenset({"usb0"})}, False),
        ("metered = false", {"roaming": frozenset({"usb0"})}, False),
    ],
)
def test_an_uplink_is_metered_as_configured_or_as_is_known(
    setting: str, facts: dict[str, frozenset[str]], metered: bool
) -> None:
    config = parse(f'[[uplink]]\nmatch = "usb0"\n{setting}')
    (uplink,) = find(replace(box("usb0"), **facts), config, {}).uplinks  # type: ignore[arg-type]
    assert uplink.metered == metered


def test_what_was_asked_for_and_is_not_there_is_named() -> None:
    config = parse('[[uplink]]\nmatch = "usb9"\n[[uplink]]\nmatch = "eth*"\n[[uplink]]\nmatch = "wlan0"')
    facts = replace(
        box(), interfaces=(link("eth0"), link("wlan0")), addresses=(address("wlan0", "192.168.1.2/24"),)
    )
    assert tuple(map(str, find(facts, config, {}).idle)) == (
        "eth0: no address",
        "wlan0: no gateway known",
        "usb9: no such interface now",
    )


def test_point_to_point_needs_no_gateway() -> None:
    facts = Facts(interfaces=(link("ppp0"),), addresses=(address("ppp0", "10.64.1.2/32", peer="10.64.0.1"),))
    assert brief(facts) == []
    assert brief(facts, parse('[[uplink]]\nmatch = "ppp*"\ngateway = "none"')) == [
        ("ppp0", "None", "configuration", "up")
    ]
    for like in (replace(link("ppp0"), point_to_point=True), replace(link("ppp0"), no_arp=True)):
        (found,) = find(
            replace(facts, interfaces=(like,)), parse('[[uplink]]\nmatch = "ppp*"\ngateway = "none"'), {}
        ).uplinks
        assert not found.needs_gateway


@pytest.mark.parametrize(
    ("up", "carrier", "state", "reason"),
    [
        (True, True, "up", ""),
        (True, False, "no carrier", "no carrier"),
        (False, False, "down", "interface is down"),
    ],
)
def test_states(up: bool, carrier: bool, state: str, reason: str) -> None:
    facts = replace(box("usb0"), interfaces=(link("usb0", up=up, carrier=carrier),))
    (uplink,) = find(facts, Config(), {}).uplinks
    assert (uplink.state, uplink.reason, uplink.usable) == (state, reason, state == "up")


def test_the_address_to_bind_to_is_the_one_in_the_gateways_network() -> None:
    facts = replace(box("usb0"), addresses=(address("usb0", "172.16.0.1/24"), *box("usb0").addresses))
    (uplink,) = find(facts, Config(), {}).uplinks
    assert str(uplink.address) == "10.0.0.10/24"
    assert [str(a.interface) for a in uplink.addresses] == ["172.16.0.1/24", "10.0.0.10/24"]


def test_loopback_is_never_an_uplink() -> None:
    facts = replace(box(), routes=(main_default("lo", "127.0.0.1"),))
    assert brief(facts, parse('[[uplink]]\nmatch = "*"')) == []


class TestRemembered:
    """A default in main vanishes with a link that goes down, and does not come back with it."""

    seen = replace(box("usb0"), leases=(), routes=(main_default("usb0", "10.0.0.1"),))

    def test_what_is_seen_is_remembered_with_its_address(self) -> None:
        assert remember(self.seen, now_s=5.0) == (
            GatewayClaim(
                "usb0",
                "main",
                ipaddress.ip_interface("10.0.0.10/24"),
                ipaddress.ip_address("10.0.0.1"),
                5.0,
                next(link.index for link in self.seen.interfaces if link.name == "usb0"),
            ),
        )

    def test_nothing_new_is_no_change(self) -> None:
        before = remember(self.seen, now_s=5.0)
        assert remember(replace(self.seen, remembered=before), now_s=6.0) == before

    def test_it_outlives_the_route(self) -> None:
        before = remember(self.seen, now_s=5.0)
        assert remember(replace(self.seen, routes=(), remembered=before), now_s=6.0) == before

    def test_another_gateway_replaces_it(self) -> None:
        facts = replace(
            self.seen, routes=(main_default("usb0", "10.0.0.2"),), remembered=remember(self.seen, now_s=5.0)
        )
        assert [str(known.gateway) for known in remember(facts, now_s=6.0)] == ["10.0.0.2"]

    def test_it_goes_with_the_address_and_with_the_interface(self) -> None:
        before = remember(self.seen, now_s=5.0)
        assert remember(replace(self.seen, routes=(), addresses=(), remembered=before), now_s=6.0) == ()
        assert remember(replace(self.seen, routes=(), interfaces=(), remembered=before), now_s=6.0) == ()


@pytest.mark.parametrize(
    ("held", "toml", "reason"),
    [
        (address("wwan1", "10.0.0.10/24"), "", "no gateway known"),
        (six("wwan1", "2001:db8::5/64"), "", "no gateway known"),
        (replace(address("wwan1", "169.254.7.7/16"), scope="link"), "", "only a link-local address"),
        (replace(six("wwan1", "fe80::5/64"), scope="link"), "", "only a link-local address"),
        (
            six("wwan1", "fd00::5/64"),
            "",
            "only unique local addresses (fc00::/7); an [[uplink]] for it makes it one",
        ),
        (
            six("wwan1", "2001:db8::5/64", tentative=True),
            "",
            "its address is not proved to be unique yet, or another host has it",
        ),
        (
            six("wwan1", "2001:db8::5/64"),
            "[routing]\nipv6 = false",
            "only IPv6 addresses, and routing.ipv6 = false",
        ),
        (None, "", None),
    ],
)
def test_an_interface_with_an_address_that_is_not_used_has_a_reason(
    held: Address | None, toml: str, reason: str | None
) -> None:
    facts = Facts(interfaces=(link("wwan1"),), addresses=() if held is None else (held,))
    found = find(facts, parse(toml), {})
    assert found.excluded == (() if reason is None else (("wwan1", reason),))
    assert found.idle == ()


def test_of_several_routers_the_lowest_metric_counts_and_then_their_preference() -> None:
    low, high = (
        replace(default6("usb0", f"fe80::{i}"), preference=preference) for i, preference in ((1, -1), (2, 1))
    )
    medium, nearer = default6("usb0", "fe80::3"), replace(default6("usb0", "fe80::4"), metric=512)

    def gateway(*routes: Route) -> str:
        (uplink,) = find(replace(SIX, routes=routes), Config(), {}).uplinks
        return str(uplink.gateway)

    assert gateway(low, medium, high) == "fe80::2"
    assert gateway(low, medium) == "fe80::3"
    assert gateway(low) == "fe80::1"
    assert gateway(low, high, nearer) == "fe80::4"


def test_an_uplink_has_what_its_interface_and_its_setting_say() -> None:
    facts = replace(box("usb0", "usb1"), interfaces=(replace(link("usb0"), mtu=1430), link("usb1")))
    config = parse('[[uplink]]\nmatch = "usb0"\nlabel = "LTE"\nbackup = true\npriority = 7\nweight = 3')
    second, first = find(facts, config, {}).uplinks
    assert (first.name, first.mode, first.priority, first.weight, first.mtu) == ("LTE", "backup", 7, 3, 1430)
    assert (second.name, second.mode, second.priority, second.weight) == ("usb1", "normal", 0, 1)
    assert [first.needs_gateway, second.needs_gateway] == [True, True]
    assert (first.set_by, first.vrf, first.gateways, first.attributes) == ("", "", (), ())
    alone = replace(facts, interfaces=(replace(link("usb0"), no_arp=True),))
    assert [each.needs_gateway for each in find(alone, config, {}).uplinks] == [False]


def test_what_is_excluded_has_the_reason_that_counts_for_it_alone() -> None:
    facts = replace(box("usb0"), interfaces=(*box("usb0").interfaces, link("docker0"), link("lo")))
    found = find(facts, Config(), {})
    assert [name for name, _ in found.excluded] == ["docker0", "lo"]
    assert len({reason for _, reason in found.excluded}) == 2
    taken = parse('[[uplink]]\nmatch = "docker0"\ngateway = "none"')
    assert [name for name, _ in find(facts, taken, {}).excluded] == ["lo"]
    assert [name for name, _ in find(facts, parse('[[uplink]]\nmatch = "*"'), {}).excluded] == [
        "docker0",
        "lo",
    ]


def test_a_lease_may_name_several_routers() -> None:
    facts = replace(box("usb0"), leases=(lease("usb0", "10.0.0.10/24", "10.0.0.1", "10.0.0.2"),))
    (uplink,) = find(facts, Config(), {}).uplinks
    assert [str(choice.gateway) for choice in uplink.gateways] == ["10.0.0.1", "10.0.0.2"]


def test_what_roams_is_no_uplink_if_that_is_asked_for() -> None:
    facts = replace(box("usb0", "usb1"), roaming=frozenset({"usb0"}))
    found = find(facts, parse('[[uplink]]\nmatch = "usb0"\nexclude_roaming = true'), {})
    assert [each.device for each in found.uplinks] == ["usb1"]
    assert found.idle == (IdleInterface("usb0", "it roams (exclude_roaming = true)"),)
