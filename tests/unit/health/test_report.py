"""What status makes of the verdicts."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from netbond.health.judge import DEGRADED, CheckHealth, UplinkHealth
from netbond.health.report import section
from netbond.system.typed_json import to_json


def test_section() -> None:
    check = CheckHealth("icmp", "ok", 0.0213456, 0.1, "fine")
    waiting = CheckHealth("http", "waiting")
    (found,) = section(
        [
            UplinkHealth(
                "usb0", ipaddress.ip_address("10.0.0.10"), DEGRADED, "icmp: late", 10.0, (check, waiting)
            )
        ],
        12.5,
    )
    assert to_json(found) == {
        "device": "usb0",
        "address": "10.0.0.10",
        "family": 4,
        "state": "degraded",
        "reason": "icmp: late",
        "since_s": 2.5,
        "checks": [
            {"name": "icmp", "state": "ok", "rtt_ms": 21.3, "loss": 0.1, "detail": "fine"},
            {"name": "http", "state": "waiting", "rtt_ms": None, "loss": None, "detail": ""},
        ],
    }


def test_an_address_counts_once_and_gateways_that_wait_do_not() -> None:
    """Device and address are the labels of the metrics."""
    used = UplinkHealth("usb0", ipaddress.ip_address("10.0.0.10"), DEGRADED)
    spare = replace(used, state="up", spare=True)
    assert [each.state for each in section([spare, used, replace(used, state="down")], 0.0)] == [DEGRADED]
