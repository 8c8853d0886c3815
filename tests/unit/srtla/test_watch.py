"""What those who follow a sender are told: its keys are a promise."""

from __future__ import annotations

from netbond.srtla.advice import Advice, LinkAdvice
from netbond.srtla.watch import VERSION, WatchLine, name_of
from netbond.system.typed_json import from_json, to_json


def test_the_keys_are_those_that_scripts_know() -> None:
    """One that is missing here was removed or renamed, which needs another VERSION; new ones may come."""
    link = LinkAdvice("usb0", "up", 4_000_000, "measured", 150, 35, 48, 0.1, 3_500_000)
    line = WatchLine(
        VERSION,
        "127.0.0.1:6000",
        "connected",
        Advice(3_600_000, 4_000_000, 35, 1000, 0.0, 48, (link,)),
    )
    written = to_json(line)
    assert written == {
        "version": 1,
        "sender": "127.0.0.1:6000",
        "state": "connected",
        "advice": {
            "advised_bits_per_second": 3_600_000,
            "capacity_bits_per_second": 4_000_000,
            "queued_ms": 35,
            "latency_ms": 1000,
            "loss_pct": 0.0,
            "rtt_ms": 48,
            "links": [
                {
                    "label": "usb0",
                    "state": "up",
                    "capacity_bits_per_second": 4_000_000,
                    "capacity_is": "measured",
                    "capacity_age_ms": 150,
                    "queued_ms": 35,
                    "rtt_ms": 48,
                    "loss_pct": 0.1,
                    "bitrate_bps": 3_500_000,
                }
            ],
        },
    }
    assert from_json(WatchLine, written) == line


def test_a_sender_is_named_by_where_its_caller_connects() -> None:
    assert name_of("sender 127.0.0.1:6000") == "127.0.0.1:6000"
    assert name_of("[::1]:6000") == "[::1]:6000"
