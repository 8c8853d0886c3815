"""The nouns: what they say of themselves, and what makes two of them the same."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.model import Interface, Nexthop, Route, Uplink, UplinkState
from tests.unit.boxes import address, box, main_default, six, uplinks

UPLINK = uplinks(box("usb0"))[0]


def test_families() -> None:
    assert address("usb0", "10.0.0.10/24").family == 4
    assert six("usb0", "2001:db8::5/64").family == 6
    assert main_default("usb0", "10.0.0.1").family == 4
    assert Route(254, ipaddress.ip_network("::/0")).family == 6
    assert UPLINK.family == 4


def test_an_uplink_is_called_by_its_label_or_its_device() -> None:
    assert UPLINK.name == "usb0"
    assert replace(UPLINK, label="lte-a").name == "lte-a"


@pytest.mark.parametrize("state", UplinkState)
def test_only_what_is_up_is_used_and_listed_unless_told(state: UplinkState) -> None:
    found = replace(UPLINK, state=state)
    assert found.usable is (state == UplinkState.UP)
    assert found.in_list is (state in (UplinkState.UP, UplinkState.DEGRADED))  # a bond uses what is left
    assert replace(found, listed=True).in_list is True
    assert replace(found, listed=False).in_list is False


def test_counters_and_ages_make_no_other_thing() -> None:
    """They change all the time: comparing facts and goals must not see a change in them."""
    assert Interface("usb0", 3, rx_bytes=1) == Interface("usb0", 3, rx_bytes=2)
    assert Nexthop("usb0", dead=True) == Nexthop("usb0")
    assert replace(UPLINK, gateway_since=5.0) == UPLINK
    assert replace(UPLINK, disputed=(("x", ipaddress.ip_address("10.0.0.9")),)) == UPLINK
    assert replace(UPLINK, weight=2) != UPLINK


def test_uplinks_are_immutable() -> None:
    with pytest.raises(AttributeError):
        UPLINK.weight = 2  # type: ignore[misc]  # that is what is tried
    assert isinstance(UPLINK, Uplink)
