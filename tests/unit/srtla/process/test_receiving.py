"""The receiving engine: what it takes up of a predecessor, and what it leaves a successor."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from netbond.srtla.process import receiving
from netbond.srtla.process.protocol import Resume, encode
from tests.unit.srtla.process.json_values import json_values


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_nothing_a_predecessor_left_breaks_its_successor(value: Any) -> None:
    resume = value if isinstance(value, dict) else {"groups": value}
    for dual in (True, False):
        receiving._resumed_groups(resume, dual=dual)


@pytest.mark.parametrize(
    ("dual", "link", "address"),
    [
        (True, ["::ffff:192.0.2.1", 5, 0, 0], ("::ffff:192.0.2.1", 5, 0, 0)),
        (True, ["192.0.2.1", 5], ("::ffff:192.0.2.1", 5, 0, 0)),
        (True, ["2001:db8::1", 5, 0, 0], ("2001:db8::1", 5, 0, 0)),
        (False, ["192.0.2.1", 5], ("192.0.2.1", 5)),
        (False, ["::ffff:192.0.2.1", 5, 0, 0], ("192.0.2.1", 5)),
        (False, ["2001:db8::1", 5, 0, 0], None),
        (True, ["192.0.2.1", 0], None),
        (True, ["192.0.2.1"], None),
        (True, ["localhost", 5], None),
    ],
)
def test_peers_that_a_receiver_left(dual: bool, link: list[Any], address: Any) -> None:
    assert receiving._resumed_peer(link, dual=dual) == address


def test_a_message_of_very_many_groups_keeps_to_its_line() -> None:
    groups = [{"id": "00" * 256, "links": [["::ffff:192.0.2.1", 40000, 0, 0]] * 32} for _ in range(2000)]
    fit = receiving.fit_in_message(groups)
    assert 200 < len(fit) < 2000
    assert encode(Resume({"groups": fit})), "within the limit for a line"
