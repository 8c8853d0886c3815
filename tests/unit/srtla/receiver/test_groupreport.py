"""A receiver's statistics of its groups."""

from __future__ import annotations

from typing import Any

from netbond.srtla import wire
from tests.srtla_util import data_packet, handshake, srt_ack, srt_control, srt_nak
from tests.unit.srtla.receiver.driven_receiver import CONCLUSION, INDUCTION, A, B, Driven


def test_srts_figures_of_a_stream() -> None:
    driven = Driven()
    driven.group(A)

    def server(data: bytes) -> None:
        driven.receiver.datagram_from_srt(1, data, driven.now)

    def said() -> dict[str, Any]:
        driven.now += 1
        return driven.receiver.stats(driven.now)[0]

    assert (said()["live"], said()["uptime_s"], said()["latency_ms"]) == (False, None, None)
    for kind in (INDUCTION, CONCLUSION):
        driven.get(A, handshake(kind, 5))
        server(handshake(kind, 9, to=5))
    for number in (0, 1, 3, 4):
        driven.get(A, data_packet(number))
    server(srt_nak((2, 2)))
    server(srt_ack(5))
    server(handshake(CONCLUSION, 9, to=5))  # repeated
    found = said()
    assert [found[key] for key in ("live", "uptime_s", "payload_packets")] == [True, 1, 4]
    assert [found[key] for key in ("lost_packets", "dropped_packets")] == [1, 1]
    server(srt_control(wire.SRT_SHUTDOWN))
    assert (said()["live"], said()["uptime_s"]) == (False, None)


def test_statistics_tell_what_the_sender_tells() -> None:
    driven = Driven()
    driven.group(A, B)
    told = wire.build_keepalive(wire.Keepalive(1, 3, 20000, 12, 45, 6, 125000))
    driven.get(A, told)
    driven.get(A, b"\x90\x00")
    (group,) = driven.receiver.stats(driven.now)
    first, second = group["links"]
    assert first["sender"] == {
        "link": 3,
        "rtt_ms": 45,
        "window": 20000,
        "in_flight": 12,
        "naks": 6,
        "bitrate_bps": 1000000,
    }
    assert "sender" not in second
