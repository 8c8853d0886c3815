"""Makes SRT data packets that carry a transport stream (MPEG-TS), for tests."""

from __future__ import annotations

import struct

VIDEO, AUDIO = 0xE0, 0xC0  # stream ids of PES packets
PACKETS = 7  # of the transport stream in an SRT packet


def ts_packet(pid: int, *, begins: int | None = None, random_access: bool = False) -> bytes:
    """Make a packet of the stream; `begins`: the stream id of the PES packet that begins in it."""
    head = bytes([0x47, (0x40 if begins is not None else 0) | pid >> 8, pid & 0xFF])
    field = bytes([0x30, 7, 0x40 if random_access else 0]) + bytes(6)
    start = b"\0\0\1" + bytes([begins]) if begins is not None else b""
    return (head + field + start).ljust(188, b"\xff")


def stream_packet(*begin: bytes, sequence: int = 0, pid: int = 256, encrypted: bool = False) -> bytes:
    """Make an SRT data packet with these packets of the stream, and more of the same PID behind them."""
    flags = 0xC0000001 | (0x08000000 if encrypted else 0)
    body = b"".join(begin) + ts_packet(pid) * (PACKETS - len(begin))
    return struct.pack("!IIII", sequence, flags, 0, 7) + body


KEYFRAME = ts_packet(256, begins=VIDEO, random_access=True)
FRAME = ts_packet(256, begins=VIDEO)
SOUND = ts_packet(257, begins=AUDIO, random_access=True)
