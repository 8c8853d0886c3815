"""Which interfaces are LAN, and which marks keep their connections on an uplink."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.config.schema import RouterConfig
from netbond.desired import desired
from netbond.lan import (
    Mark,
    dscp_marks,
    is_lan,
    lan_families,
    lan_interfaces,
    live_marks,
    mark_rules,
    marks_to_release,
)
from netbond.match import choose
from netbond.model import Address, Device, Facts, Interface, Rule, UplinkState
from tests.unit.router_uplinks import CONFIG, DEAD, USB0, WWAN0, uplink

# --- interfaces --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "device", "expected"),
    [
        ("", "eth1", False),
        ('[router]\nlan = ["eth1"]', "eth1", True),
        ('[router]\nlan = ["eth1"]', "eth2", False),
        ('[router]\nlan = ["br*"]', "br-lan", True),
        # an exact name beats a pattern, on either side
        ('[router]\nlan = ["eth1"]\n[[uplink]]\nmatch = "*"', "eth1", True),
        ('[router]\nlan = ["eth*"]\n[[uplink]]\nmatch = "eth0"', "eth0", False),
        ('[router]\nlan = ["eth*"]\n[[uplink]]\nmatch = "eth0"', "eth1", True),
        # between patterns the uplink wins
        ('[router]\nlan = ["eth*"]\n[[uplink]]\nmatch = "e*"', "eth1", False),
        # what is switched off as an uplink may be LAN
        ('[router]\nlan = ["eth1"]\n[[uplink]]\nmatch = "eth1"\nenabled = false', "eth1", True),
    ],
)
def test_which_side_an_interface_is_on(text: str, device: str, expected: bool) -> None:
    config = parse(text)
    claim = choose([Device(device)], config).settings.get(device)
    assert is_lan(device, config.router, claim) is expected


def test_a_name_in_lan_is_lan_although_a_pattern_of_an_uplink_fits_it() -> None:
    """As the whole decision sees it: the settings of an interface say which pattern gave them."""
    config = parse('[router]\nlan = ["eth1"]\n[[uplink]]\nmatch = "*"\nweight = 3')
    links = (Interface("eth1", 1), Interface("usb0", 2))
    addresses = (
        Address("eth1", ipaddress.ip_interface("192.168.5.1/24")),
        Address("usb0", ipaddress.ip_interface("10.0.0.10/24")),
    )
    goal = desired(Facts(interfaces=links, addresses=addresses), config)
    assert goal.excluded == (("eth1", "the LAN side"),)
    assert lan_interfaces(links, goal.uplinks, config.router, goal.settings).devices == ("eth1",)
    assert goal.settings["usb0"].weight == 3


def test_lan_interfaces_and_what_is_wrong_with_the_others() -> None:
    config = parse('[router]\nlan = ["eth*", "br0", "lo"]')
    links = [
        Interface("lo", 1, loopback=True),
        Interface("usb0", 2),
        Interface("eth2", 3),
        Interface("eth1", 4, master="br0"),
        Interface("eth0", 5),
        Interface("br0", 6, up=False),
    ]
    found = lan_interfaces(links, [USB0, uplink("eth0", 110, "10.9.0.1/24")], config.router, {})
    assert found.devices == ("br0", "eth2")
    assert found.problems == (
        "router: eth0 leads out, so it is not LAN; take it out of router.lan",
        "router: eth1 is a port of br0, which its packets seem to come from; put br0 into router.lan",
    )


def test_a_name_that_nft_would_misread_is_named_and_left_out() -> None:
    bad = uplink('x"; }', 130, "10.0.3.10/24")
    assert live_marks([bad], CONFIG, (4, 6)) == set()
    problems = lan_interfaces([Interface("br*", 5)], [bad], RouterConfig(lan=("br*",)), {}).problems
    assert problems == (
        "router: 'x\"; }' cannot carry LAN traffic: nftables needs a plainer name",
        "router: 'br*' cannot be LAN: nftables needs a plainer name",
    )


# --- marks -------------------------------------------------------------------------------------------------


def test_a_backup_that_waits_keeps_its_connections() -> None:
    standby = replace(DEAD, state=UplinkState.STANDBY)
    assert live_marks([USB0, DEAD, WWAN0], CONFIG, (4,)) == {Mark(0x64000000, 4), Mark(0xC9000000, 4)}
    assert live_marks([standby], CONFIG, (4,)) == {Mark(0x65000000, 4)}


def test_each_family_has_marks_of_its_own() -> None:
    v6 = uplink("usb0", 100, "2001:db8::1/64")
    assert live_marks([v6], CONFIG, (4,)) == set()
    assert live_marks([v6], CONFIG, (4, 6)) == {Mark(0x64000000, 6)}


@pytest.mark.parametrize(
    ("router", "families"),
    [
        (RouterConfig(), set()),
        (RouterConfig(ipv6="forward"), set()),
        (CONFIG, {4}),
        (replace(CONFIG, ipv6="forward"), {4, 6}),
        (replace(CONFIG, ipv6="masquerade"), {4, 6}),
    ],
)
def test_families_of_router_mode(router: RouterConfig, families: set[int]) -> None:
    assert lan_families(router) == families


def test_a_mark_of_dscp_is_not_that_of_an_uplink() -> None:
    used = {253, 251}
    found = dscp_marks((46, 10, 34), used, RouterConfig(mark_mask=0xFF00))
    assert found == {10: (252 << 8, 0xFF00), 34: (250 << 8, 0xFF00), 46: (249 << 8, 0xFF00)}


def test_mark_rules() -> None:
    v6 = uplink("usb0", 100, "2001:db8::1/64")

    def rule(mark: int, table: int) -> Rule:
        return Rule(60, 4, table=table, mark=mark, mask=0xFF000000, protocol=78)

    assert mark_rules([WWAN0, DEAD, USB0, v6], CONFIG, 78) == [
        rule(0x64000000, 100),
        rule(0x65000000, 101),
        rule(0xC9000000, 201),
    ]
    assert [r.family for r in mark_rules([USB0, v6], replace(CONFIG, ipv6="masquerade"), 78)] == [4, 6]
    assert mark_rules([USB0], RouterConfig(), 78) == []


def test_another_mask_and_priority() -> None:
    config = replace(CONFIG, mark_mask=0x000FF000, mark_priority=70)
    assert mark_rules([USB0], config, 79) == [Rule(70, 4, table=100, mark=0x64000, mask=0xFF000, protocol=79)]


def test_families_that_are_held_without_a_lan_have_rules() -> None:
    v6 = uplink("usb0", 100, "2001:db8::1/64")
    found = mark_rules([USB0, v6], RouterConfig(), 78, {6})
    assert found == [Rule(60, 6, table=100, mark=0x64000000, mask=0xFF000000, protocol=78)]


def test_which_connections_are_released() -> None:
    a, b = Mark(0x64000000, 4), Mark(0xC9000000, 4)
    dead = replace(WWAN0, state=UplinkState.DEAD)
    assert marks_to_release({a, b}, [USB0, DEAD, dead], CONFIG, (4,)) == [b]
    assert marks_to_release({a, b}, [USB0], CONFIG, (4,)) == [b]  # unplugged
    assert marks_to_release({a}, [USB0, DEAD, WWAN0], CONFIG, (4,)) == []
    assert marks_to_release({a, b}, [USB0, DEAD, WWAN0], CONFIG, (4,)) == []
    # Nothing is held any more, but what has worked goes on.
    assert marks_to_release({a, b}, [USB0], CONFIG, ()) == [b]
    # After a start nothing is known of who kept connections before: all who keep none.
    assert marks_to_release((), [USB0, DEAD, dead], CONFIG, (4,)) == [Mark(0x65000000, 4), b]
    # One family alone
    assert marks_to_release({a, Mark(a.value, 6)}, [USB0], CONFIG, (4, 6)) == [Mark(a.value, 6)]
