"""Builds the packet in which a receiver tells the SRT server what each link of a stream carries. Pure.

OpenIRL's receivers send it once a second to OpenIRL's SRT server (type 0x9300), which shows it. It is an SRT
control packet, so it bears the server's socket id. Other servers ignore it. Big-endian words:

    0x9300 << 16, 0, 0, socket id of the SRT server
    version (1) and number of links, a byte each, and 0 (16 bits); kbit/s of payload; ms (64 bits), any clock
    per link: id, kbit/s of payload, jitter (us), bytes (64 bits), s since it joined, kbit/s of all
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

LINK_REPORT: Final = 0x9300
MAX_LINKS: Final = 16
_VERSION: Final = 1
_HEAD = struct.Struct("!HHIIIBBHIQ")
_LINK = struct.Struct("!IIIQII")
_U32: Final = 0xFFFFFFFF


class ReportedLink(NamedTuple):
    """What the packet tells of one link."""

    address: bytes  # IP address and port, big-endian, as packed: its hash is the link's id
    bytes: int
    bitrate_bps: int
    age_s: int


def build_report(server: int, payload_bps: int, links: Sequence[ReportedLink], now: float) -> bytes:
    """The packet for the SRT server's socket `server`; of more than MAX_LINKS the first.

    A receiver sees how much came over a link, and not which of it came first: the payload is divided among
    the links by their bytes. Nor does it measure jitter: 0.
    """
    links = links[:MAX_LINKS]
    total = sum(link.bitrate_bps for link in links)
    packet = _HEAD.pack(
        *(LINK_REPORT, 0, 0, 0, server & _U32),
        *(_VERSION, len(links), 0, _kbps(payload_bps), int(now * 1000)),
    )
    for link in links:
        payload = payload_bps * link.bitrate_bps // total if total else 0
        packet += _LINK.pack(
            *(_fnv1a(link.address), _kbps(payload), 0),
            *(link.bytes, min(link.age_s, _U32), _kbps(link.bitrate_bps)),
        )
    return packet


def _kbps(bps: int) -> int:
    return min(bps // 1000, _U32)


def _fnv1a(data: bytes) -> int:
    """The 32-bit FNV-1a hash (Fowler, Noll, Vo)."""
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & _U32
    return value
