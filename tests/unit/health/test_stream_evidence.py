"""What the statistics of a sender say of the uplinks."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest

from netbond.health.stream_evidence import (
    Evidence,
    EvidenceReader,
    Hearing,
    LinkQuality,
    evidence,
    hearings,
    qualities,
)
from netbond.model import EngineState
from netbond.srtla.statistics import EngineStatistics, LinkStatistics, ReceiverStatistics, SenderStatistics

GOOD = Evidence("usb0", "10.0.0.10", True, "the SRTLA receiver answers")
BAD = Evidence("usb0", "10.0.0.10", False, "the SRTLA receiver is silent")


LINK = LinkStatistics(
    *("usb0", "10.0.0.10", "usb0", 0, True, "up", ""),
    window=1,
    in_flight=0,
    rtt_ms=9,
    silent_ms=None,
    packets=0,
    bytes=0,
    lost=0,
    loss_pct=0.0,
    bitrate_bps=0,
)


def stats(**link: Any) -> SenderStatistics:
    return SenderStatistics(
        *("sender", "", "", None, None, "connected", None),
        packets=0,
        bytes=0,
        retransmitted=0,
        resent=0,
        dropped=0,
        links=(replace(LINK, **link),),
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (stats(silent_ms=0), [GOOD]),
        (stats(silent_ms=1000), [GOOD]),
        (stats(silent_ms=1001), []),  # neither fresh nor silent
        (stats(silent_ms=3000), [BAD]),
        (stats(state="down", silent_ms=100), [BAD]),
        (stats(state="down"), [BAD]),
        (stats(), []),
        (stats(silent_ms=None), []),
        (stats(state="registering", silent_ms=0), []),
        (stats(state="error", silent_ms=9000), []),  # it could not even send
        (stats(silent_ms=0, device=""), []),  # any device: of which would it speak?
        (stats(silent_ms=-5), []),
        (stats(silent_ms=10**400), [BAD]),
        (ReceiverStatistics("receiver", "", "", (), 0), []),
        (None, []),
    ],
)
def test_words(given: EngineStatistics | None, expected: list[Evidence]) -> None:
    assert evidence(given) == expected


KEY = ("usb0", ipaddress.ip_address("10.0.0.10"))
AT = "198.51.100.1"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (stats(silent_ms=0, receiver_address=AT), [Hearing(KEY, AT, True)]),
        (stats(silent_ms=1000), [Hearing(KEY, "", True)]),
        (stats(silent_ms=1001), [Hearing(KEY, "", None)]),
        (stats(silent_ms=3000), [Hearing(KEY, "", False)]),
        (stats(silent_ms=-1), [Hearing(KEY, "", None)]),
        (stats(), [Hearing(KEY, "", None)]),
        (stats(state="down", silent_ms=0), [Hearing(KEY, "", False, joined=False)]),
        (stats(state="registering", silent_ms=9000), [Hearing(KEY, "", None, joined=False)]),
        (stats(state="error"), []),  # it could not even send
        (stats(state="?"), []),
        (stats(silent_ms=0, device=""), []),
        (stats(silent_ms=0, address="bond.example"), []),
        (ReceiverStatistics("receiver", "", "", (), 0), []),
        (None, []),
    ],
)
def test_what_links_hear(given: EngineStatistics | None, expected: list[Hearing]) -> None:
    assert hearings(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (stats(bitrate_bps=900_000, loss_pct=12.5, rtt_ms=80), [(0.125, 0.08)]),
        (stats(bitrate_bps=900, loss_pct=12.5, rtt_ms=80), [(None, 0.08)]),  # keepalives alone
        (stats(bitrate_bps=900_000, rtt_ms=None), [(0.0, None)]),
        (stats(bitrate_bps=900_000, loss_pct=-1.0, rtt_ms=-1), [(None, None)]),
        (stats(bitrate_bps=10**400, loss_pct=float("nan"), rtt_ms=10**400), [(None, None)]),
        (stats(state="down", bitrate_bps=900_000), []),
        (stats(device=""), []),
        (None, []),
    ],
)
def test_the_figures_of_links(
    given: EngineStatistics | None, expected: list[tuple[float | None, float | None]]
) -> None:
    assert qualities(given) == [LinkQuality("usb0", "10.0.0.10", *each) for each in expected]


def test_statistics_are_read_once() -> None:
    """An engine that hangs says nothing new, and its last evidence must not hold up a dead uplink."""
    reader = EvidenceReader()
    first, second = stats(silent_ms=0), stats(silent_ms=0)

    def fresh(*engines: EngineState) -> list[str]:
        return [engine.name for engine in reader.fresh(engines)]

    assert fresh(EngineState("a", "sender", "running", stats=first)) == ["a"]
    assert fresh(EngineState("a", "sender", "running", stats=first)) == []
    assert fresh(EngineState("a", "sender", "running", stats=second)) == ["a"]
    assert fresh(EngineState("a", "sender", "backing off", stats=None)) == ["a"]
    assert fresh(EngineState("b", "sender", "running", stats=second)) == ["b"]
