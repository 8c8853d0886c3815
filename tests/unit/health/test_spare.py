"""The filter of what comes in; by real gateways it is tests/netns/test_health_probes.py that asks."""

from __future__ import annotations

import ipaddress

import pytest

from netbond.health import packets
from netbond.health.spare import LARGEST_PACKET_BYTES, from_host
from netbond.model import IPAddress

FOUR, OTHER = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("192.0.2.2")
SIX, SIXTH = ipaddress.ip_address("2001:db8::1"), ipaddress.ip_address("2001:db8::2")


def kept(program: list[tuple[int, int, int, int]], packet: bytes) -> int:
    """What the kernel would keep: the four instructions of classic BPF that are used."""
    at, accumulator = 0, 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x15:
            at += yes if accumulator == value else no
        else:
            size = {0x20: 4, 0x30: 1}[code]
            if value + size > len(packet):
                return 0
            accumulator = int.from_bytes(packet[value : value + size], "big")


@pytest.mark.parametrize(
    ("source", "protocol", "passes"),
    [
        (FOUR, packets.TCP, True),
        (FOUR, packets.UDP, False),
        (OTHER, packets.TCP, False),
        (SIX, packets.TCP, True),
        (SIX, packets.UDP, False),
        (SIXTH, packets.TCP, False),
    ],
)
def test_only_the_host_and_the_protocol_pass(source: IPAddress, protocol: int, passes: bool) -> None:
    program = from_host(FOUR if source.version == 4 else SIX, packets.TCP)
    here = OTHER if source.version == 4 else SIXTH
    packet = packets.ip_packet(source, here, protocol, b"x")
    assert kept(program, packet) == (LARGEST_PACKET_BYTES if passes else 0)
    assert kept(program, packet[:9]) == 0
