"""The sending engine: what it takes up of a predecessor."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from netbond.srtla.process import sending
from netbond.srtla.process.protocol import ResumeData
from tests.unit.srtla.process.json_values import json_values


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_nothing_a_predecessor_left_breaks_its_successor(value: Any) -> None:
    resume = value if isinstance(value, dict) else {"links": value, "group": value, "caller": value}
    sending._resumed_group(resume)
    sending._resumed_ports(resume)
    sending._resumed_caller(resume)
    sending._resumed_latency(resume)


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
    assert sending._resumed_group(resume) == b"\xab" * 256
    assert sending._resumed_ports(resume) == {("10.0.0.10", "usb0"): 40000}
    assert sending._resumed_caller(resume) == ("127.0.0.1", 5)
    assert sending._resumed_latency(resume) == 2.5


@pytest.mark.parametrize("latency", [None, True, "2", 0, -1, 66, float("nan"), [1.0]])
def test_a_latency_that_no_handshake_can_tell_is_not_resumed(latency: Any) -> None:
    assert sending._resumed_latency({"latency": latency}) is None
