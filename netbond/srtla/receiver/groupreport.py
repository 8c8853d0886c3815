"""A group and its links as the receiver's statistics have them (docs/recv.md)."""

from __future__ import annotations

from typing import Any

from netbond.srtla.receiver.groups import Group
from netbond.srtla.receiver.peeraddress import format_address


def report(group: Group, elapsed: float, now: float) -> dict[str, Any]:
    """Number, id (8 hex digits), counters and links; rates are over the `elapsed` s since the last call."""
    links = []
    lost = 0
    for peer in group.links.values():
        link: dict[str, Any] = {
            "peer": format_address(peer.address),
            "packets": peer.packets,
            "bytes": peer.bytes,
            "bitrate_bps": int((peer.bytes - peer.counted) * 8 / elapsed),
            "idle_s": round(now - peer.last_heard, 1),
            "age_s": int(now - peer.joined),
        }
        told = peer.keepalive
        if told is not None:
            lost += max(told.naks - peer.lost, 0) if peer.lost >= 0 else 0
            peer.lost = told.naks
            link["sender"] = {
                "link": told.link,
                "rtt_ms": told.rtt,
                "window": told.window,
                "in_flight": told.in_flight,
                "naks": told.naks,
                "bitrate_bps": told.bitrate * 8,
            }
        links.append(link)
        peer.counted = peer.bytes
    out = {
        "number": group.number,
        "id": group.id[:4].hex(),
        "keyed": group.keyed,
        "age_s": int(now - group.created),
        "packets": group.packets,
        "bytes": group.bytes,
        "bitrate_bps": int((group.bytes - group.counted) * 8 / elapsed),
        "links": links,
        "loss_pct": _loss(group, lost),
        "stream": group.stream,
        "stream_id": group.stream_ids.accepted,
        "latency_ms": round(group.latency_s * 1000) or None,
        **group.figures.tell(group.flowed, elapsed, now),
    }
    group.counted, group.counted_packets = group.bytes, group.packets
    return out


def _loss(group: Group, lost: int) -> float | None:
    """The share of packets that its links lost lately, 0 to 100; `lost` of them since the last look."""
    group.recent.append((group.packets - group.counted_packets, lost))
    if all(peer.keepalive is None for peer in group.links.values()):
        return None
    received = sum(packets for packets, _ in group.recent)
    missed = sum(packets for _, packets in group.recent)
    return round(100 * missed / (received + missed), 1) if missed else 0.0
