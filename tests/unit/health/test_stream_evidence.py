"""What the statistics of a sender say of the uplinks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from netbond.health.stream_evidence import Evidence, EvidenceReader, evidence
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


def test_statistics_are_heard_once() -> None:
    """An engine that hangs says nothing new, and its last evidence must not hold up a dead uplink."""
    reader = EvidenceReader()
    first, second = stats(silent_ms=0), stats(silent_ms=0)
    assert reader.read([EngineState("a", "sender", "running", stats=first)]) == [GOOD]
    assert reader.read([EngineState("a", "sender", "running", stats=first)]) == []
    assert reader.read([EngineState("a", "sender", "running", stats=second)]) == [GOOD]
    assert reader.read([EngineState("a", "sender", "backing off", stats=None)]) == []
    assert reader.read([EngineState("b", "sender", "running", stats=second)]) == [GOOD]
