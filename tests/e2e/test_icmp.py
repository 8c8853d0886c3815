"""ICMP errors that somebody forges for the sockets of a stream, and fragments: they cost a stream nothing.

Whoever knows a link's port can send them in the name of any router: ICMP has no other proof.
"""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import pytest

from tests.e2e.test_srtla_forgery import cpu_s, link_ports
from tests.srtla_net import RECEIVER, net, sh, streaming

pytestmark = pytest.mark.root

SECONDS = 5.0
RATE = 25  # rounds a second
UNREACHABLE, REDIRECT, TIME_EXCEEDED = 3, 5, 11

# Type, code, and the 4 bytes behind the checksum.
ERRORS = [
    (UNREACHABLE, 3, bytes(4)),  # port
    (UNREACHABLE, 1, bytes(4)),  # host
    (UNREACHABLE, 0, bytes(4)),  # network
    (UNREACHABLE, 2, bytes(4)),  # protocol
    (UNREACHABLE, 13, bytes(4)),  # administratively prohibited
    (UNREACHABLE, 4, struct.pack("!HH", 0, 68)),  # fragmentation needed: MTU 68
    (UNREACHABLE, 4, struct.pack("!HH", 0, 0)),
    (UNREACHABLE, 4, struct.pack("!HH", 0, 576)),
    (TIME_EXCEEDED, 0, bytes(4)),
    (REDIRECT, 1, socket.inet_aton("10.7.0.77")),  # "use another router", which is not there
]


def checksum(data: bytes) -> int:
    """The internet checksum."""
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data)
    total: int = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def error(kind: int, code: int, rest: bytes, about: tuple[str, int, str, int]) -> bytes:
    """An ICMP error about a datagram: (source, port, destination, port)."""
    source, port, destination, to_port = about
    quoted = struct.pack("!BBHHHBBH", 0x45, 0, 1360, 1, 0x4000, 60, socket.IPPROTO_UDP, 0)
    quoted += socket.inet_aton(source) + socket.inet_aton(destination)
    quoted += struct.pack("!HHHH", port, to_port, 1340, 0)
    body = rest + quoted
    return struct.pack("!BBH", kind, code, checksum(struct.pack("!BBH", kind, code, 0) + body)) + body


def shower(source: str, sent_to: list[tuple[str, list[bytes]]]) -> int:
    """Send these ICMP messages again and again, and one UDP fragment that is never completed with each."""
    count = 0
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
    ):
        for sock in (icmp, raw):
            sock.bind((source, 0))
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for host, messages in sent_to:
                for message in messages:
                    icmp.sendto(message, (host, 0))
                    count += 1
                first = struct.pack(
                    "!BBHHHBBH", 0x45, 0, 0, count & 0xFFFF, 0x2000, 64, socket.IPPROTO_UDP, 0
                )
                first += socket.inet_aton("198.51.100.9") + socket.inet_aton(host)
                raw.sendto(first + struct.pack("!HHHH", 5000, 5000, 1400, 0) + bytes(24), (host, 0))
            time.sleep(1 / RATE)
    return count


@pytest.mark.parametrize("victim", ["sender", "receiver"])
def test_forged_errors_and_fragments_do_not_harm_a_stream(tmp_path: Path, victim: str) -> None:
    with net(tmp_path, 3) as lab:
        stream, receiver, sender = streaming(lab, 3, mbps=4)
        ports = link_ports(lab)
        groups = {group["id"] for group in receiver.stats["groups"]}
        if victim == "sender":
            place, source = lab.far, ""
            sent_to = [
                (host, [error(*each, (host, port, RECEIVER, 5000)) for each in ERRORS])
                for host, port in ports
            ]
        else:
            place, source = lab.box, ports[0][0]
            messages = [error(*each, (RECEIVER, 5000, host, port)) for each in ERRORS for host, port in ports]
            sent_to = [(RECEIVER, messages)]
        before, began = cpu_s(sender.process.pid), time.monotonic()
        count = lab.in_namespace(place, lambda: shower(source, sent_to))
        load = (cpu_s(sender.process.pid) - before) / (time.monotonic() - began)
        links = [link["state"] for link in sender.stats["links"]]
        way = sh("ip", "-n", lab.box, "route", "get", RECEIVER, "from", ports[0][0])
        lost = stream.finish()
        print(f"{count} errors to the {victim}: {len(lost)} lost, links {links}, {100 * load:.0f} % CPU")
        assert count > 500
        if victim == "sender":
            assert " 552" in way, "the kernel has believed it"
        assert lost == []
        assert links == ["up"] * 3
        assert {group["id"] for group in receiver.stats["groups"]} == groups
