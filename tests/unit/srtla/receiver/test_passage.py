"""Datagrams between the processes of a receiver."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.srtla.receiver import passage


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (("192.0.2.1", 5), None),
        (("fe80::1%eth0", 5, 0, 3), None),
        (("::ffff:192.0.2.1", 5, 0, 0), (41, 50, bytes(20))),
    ],
)
def test_a_datagram_passes_with_all_that_belongs_to_it(address: Any, local: Any) -> None:
    here, there = passage.pair()
    data = os.urandom(1500)
    assert passage.send(here, address, local, data)
    assert passage.send(here, address, local, b"")
    assert passage.receive(there) == [(address, local, data), (address, local, b"")]
    assert passage.receive(there) == []
    for _ in range(100_000):
        if not passage.send(here, address, local, data):
            break
    else:
        pytest.fail("it takes no end of datagrams")
    here.close()
    while passage.receive(there):
        pass
    there.close()


@given(st.binary(max_size=200))
def test_no_message_breaks_a_passage(data: bytes) -> None:
    passage.parse(data)


@pytest.mark.parametrize(
    "value",
    [None, [], ["x", 5], ["192.0.2.1", 70000], ["192.0.2.1", -1], ["192.0.2.1", True], [5, 5], ["::1", 1, 2]],
)
def test_what_is_no_address(value: Any) -> None:
    assert passage.peer(value) is None
    head = json.dumps([value, 0, 0, ""]).encode()
    assert passage.parse(len(head).to_bytes(2, "big") + head) is None
