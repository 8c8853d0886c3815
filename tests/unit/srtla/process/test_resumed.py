"""What a sending engine takes up of its predecessor."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from netbond.config.values import HostPort
from netbond.srtla.process import resumed
from netbond.srtla.process.protocol import (
    ResumeData,
)
from tests.unit.srtla.process.json_values import json_values


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_nothing_a_predecessor_left_breaks_its_successor(value: Any) -> None:
    resume = value if isinstance(value, dict) else {"links": value, "group": value, "caller": value}
    resumed.group(resume)
    resumed.ports(resume)
    resumed.caller(resume)
    resumed.addresses(resume)
    assert resumed.receiver(resume, [HostPort("a", 1)]) == 0
    resumed.latency(resume)


def test_what_a_sender_left() -> None:
    resume: ResumeData = {
        "group": "ab" * 256,
        "links": [
            {"address": "10.0.0.10", "device": "usb0", "port": 40000},
            {"address": "10.0.0.10", "device": "usb1", "port": 70000},
        ],
        "caller": "127.0.0.1:5",
        "latency": 2.5,
    }
    assert resumed.group(resume) == b"\xab" * 256
    assert resumed.ports(resume) == {("10.0.0.10", "usb0"): 40000}
    assert resumed.caller(resume) == ("127.0.0.1", 5)
    assert resumed.latency(resume) == 2.5
    assert resumed.addresses(resume) == []
    two = [HostPort("a.example", 1), HostPort("b.example", 1)]
    assert resumed.receiver({**resume, "receiver": "b.example:1"}, two) == 1
    assert resumed.receiver({**resume, "receiver": "c.example:1"}, two) == 0
    assert resumed.addresses({**resume, "receiver_address": "192.0.2.1"}) == ["192.0.2.1"]


@pytest.mark.parametrize("latency", [None, True, "2", 0, -1, 66, float("nan"), [1.0]])
def test_a_latency_that_no_handshake_can_tell_is_not_resumed(latency: Any) -> None:
    assert resumed.latency({"latency": latency}) is None
