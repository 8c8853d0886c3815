"""What the log says of uplinks."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from netbond.announcements import changes, describe, summary
from netbond.model import Uplink, UplinkState

USB0 = Uplink(
    "usb0", ipaddress.ip_interface("10.0.0.10/24"), ipaddress.ip_address("10.0.0.1"), "dhclient", 100
)
PPP0 = Uplink("ppp0", ipaddress.ip_interface("192.0.2.7/32"), None, "configuration", 130)


def test_one_uplink_in_a_line() -> None:
    assert describe(USB0) == "usb0 is up: 10.0.0.10/24 via 10.0.0.1 (dhclient), table 100"
    assert describe(replace(PPP0, state=UplinkState.DOWN, reason="interface is down")) == (
        "ppp0 is down (interface is down): 192.0.2.7/32 point-to-point (configuration), table 130"
    )
    assert " no carrier: " in describe(replace(USB0, state=UplinkState.NO_CARRIER, reason="no carrier"))


def test_only_changes_are_told() -> None:
    assert changes([], []) == changes([USB0, PPP0], [PPP0, USB0]) == []
    assert changes([PPP0], [PPP0, USB0]) == [describe(USB0)]
    heavier = replace(USB0, weight=2)
    assert changes([USB0], [heavier]) == [describe(heavier)]
    assert changes([USB0, PPP0], []) == [
        "ppp0 is no longer an IPv4 uplink",
        "usb0 is no longer an IPv4 uplink",
    ]


def test_a_summary_names_what_can_be_used() -> None:
    assert summary([USB0, PPP0, replace(USB0, address=ipaddress.ip_interface("2001:db8::1/64"))]) == (
        "2 uplinks (usb0, ppp0)"
    )
    assert summary([replace(USB0, state=UplinkState.DEAD)]) == summary([]) == "no uplinks yet"
