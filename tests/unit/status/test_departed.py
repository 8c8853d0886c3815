"""Uplinks that have gone are remembered for a while, and no longer."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from netbond.model import Uplink
from netbond.status.departed import MOST, SHOWN_S, Departed
from netbond.status.schema import DepartedUplink

USB0 = Uplink(
    "usb0", ipaddress.ip_interface("10.0.0.10/24"), ipaddress.ip_address("10.0.0.1"), "dhclient", 100
)
USB1 = replace(
    USB0, device="usb1", label="roof", gateway=None, address=ipaddress.ip_interface("2001:db8::2/64")
)
BOTH = {"usb0", "usb1"}


def told(gone: Departed, now: float) -> list[tuple[str, float, str]]:
    return [(one.name, one.gone_s, one.reason) for one in gone.section(now)]


def test_one_that_is_unplugged_is_told_for_ten_minutes() -> None:
    gone = Departed()
    gone.observe([USB0, USB1], BOTH, {}, 0.0)
    assert gone.section(1.0) == ()
    gone.observe([USB0], {"usb0"}, {}, 10.0)
    assert gone.section(70.0) == (
        DepartedUplink(
            name="roof",
            device="usb1",
            family=6,
            address="2001:db8::2",
            gateway=None,
            gone_s=60.0,
            reason="unplugged",
        ),
    )
    assert gone.section(10.0 + SHOWN_S) == ()
    gone.observe([USB0], {"usb0"}, {}, 10.0 + SHOWN_S)
    assert gone.section(11.0) == ()  # it is forgotten, not only not shown


def test_one_that_is_back_is_not_gone() -> None:
    gone = Departed()
    gone.observe([USB0], BOTH, {}, 0.0)
    gone.observe([], set(), {}, 1.0)
    assert told(gone, 2.0) == [("usb0", 1.0, "unplugged")]
    gone.observe([USB0], BOTH, {}, 3.0)
    assert told(gone, 4.0) == []
    gone.observe([], set(), {}, 5.0)
    assert told(gone, 6.0) == [("usb0", 1.0, "unplugged")]


def test_an_interface_that_stays_says_why() -> None:
    gone = Departed()
    gone.observe([USB0, USB1], BOTH, {}, 0.0)
    gone.observe([], BOTH, {"usb1": "it roams (exclude_roaming = true)"}, 1.0)
    assert told(gone, 1.0) == [
        ("usb0", 0.0, "no address, or no known gateway"),
        ("roof", 0.0, "it roams (exclude_roaming = true)"),
    ]
    gone.observe([], set(), {}, 2.0)
    assert {reason for _, _, reason in told(gone, 2.0)} == {"unplugged"}


def test_memory_is_bounded() -> None:
    """A modem that gets another name at each plug."""
    gone = Departed()
    for number in range(100):
        gone.observe([replace(USB0, device=f"usb{number}")], {f"usb{number}"}, {}, float(number))
    found = told(gone, 100.0)
    assert len(found) == MOST
    assert found[-1][0] == "usb98"
