"""Which sizes of packets come back: over the loopback interface, whose MTU is changed in tests/netns."""

from __future__ import annotations

import asyncio
import ipaddress
import os

import pytest

from netbond.health.packets import echo_request
from netbond.health.path_mtu import _answered, largest_echo
from netbond.health.probes import ProbedUplink

LOOPBACK = ipaddress.ip_address("127.0.0.1")


@pytest.mark.skipif(os.geteuid() != 0, reason="a raw socket needs root")
def test_all_sizes_come_back() -> None:
    found = asyncio.run(largest_echo(LOOPBACK, (576, 1280, 1360), ProbedUplink("lo", LOOPBACK), 1.0))
    assert found == 1360


@pytest.mark.skipif(os.geteuid() != 0, reason="a raw socket needs root")
def test_nobody_answers() -> None:
    nobody = ipaddress.ip_address("192.0.2.99")
    try:
        found = asyncio.run(largest_echo(nobody, (576, 1360), ProbedUplink("lo", LOOPBACK), 0.1))
    except OSError:
        return  # no route there
    assert found is None


def reply(size: int, token: bytes, ident: int = 7) -> bytes:
    """As a raw socket of IPv6 gives it: without an IP header."""
    return bytes([129, 0]) + echo_request(6, ident, size, token)[2:]


def test_only_the_exact_answer_counts() -> None:
    tokens = {576: b"short", 1380: b"long"}
    assert _answered(reply(1380, b"long"), 6, 7, tokens) == 1380
    assert _answered(reply(1380, b"short"), 6, 7, tokens) == 0
    assert _answered(reply(576, b"short", ident=8), 6, 7, tokens) == 0
    assert _answered(b"", 6, 7, tokens) == 0
