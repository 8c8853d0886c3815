"""What the statistics of a sender say of the uplinks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.health.stream_evidence import Evidence, EvidenceReader, evidence
from netbond.model import EngineState

GOOD = Evidence("usb0", "10.0.0.10", True, "the SRTLA receiver answers")
BAD = Evidence("usb0", "10.0.0.10", False, "the SRTLA receiver is silent")


def stats(**link: Any) -> dict[str, Any]:
    return {"role": "sender", "links": [{"device": "usb0", "address": "10.0.0.10", "state": "up"} | link]}


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
        (stats(silent_ms=True), []),
        (stats(silent_ms=-5), []),
        (stats(silent_ms="0"), []),
        (stats(silent_ms=10**400), [BAD]),
        (stats(silent_ms=0) | {"role": "receiver"}, []),
        ({"role": "sender", "links": [7]}, []),
        ({"role": "sender", "links": 7}, []),
        ({}, []),
        (None, []),
    ],
)
def test_words(given: dict[str, Any] | None, expected: list[Evidence]) -> None:
    assert evidence(given) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["device", "state"]), inner),
)


@settings(deadline=None)  # the machine may be busy
@given(st.dictionaries(st.sampled_from(["device", "address", "state", "silent_ms"]), JSON))
def test_whatever_an_engine_says(link: dict[str, Any]) -> None:
    evidence({"role": "sender", "links": [link]})


def test_statistics_are_heard_once() -> None:
    """An engine that hangs says nothing new, and its last evidence must not hold up a dead uplink."""
    reader = EvidenceReader()
    first, second = stats(silent_ms=0), stats(silent_ms=0)
    assert reader.read([EngineState("a", "sender", "running", stats=first)]) == [GOOD]
    assert reader.read([EngineState("a", "sender", "running", stats=first)]) == []
    assert reader.read([EngineState("a", "sender", "running", stats=second)]) == [GOOD]
    assert reader.read([EngineState("a", "sender", "backing off", stats=None)]) == []
    assert reader.read([EngineState("b", "sender", "running", stats=second)]) == [GOOD]
