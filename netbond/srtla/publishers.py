"""Writes a receiver's streams as NOALBS reads them, which switches OBS' scenes by a stream's state. Pure.

NOALBS looks a publisher up by its name. Its server types "Belabox" (bitrate, rtt, dropped_pkts) and
"SrtLiveServer" (bitrate, rtt and the others) read the same place, so one document serves both. A publisher
that is missing is offline. Each figure must be there, and whole where NOALBS has an integer of 32 or 64 bits.
"""

from __future__ import annotations

from typing import Any, Final

from netbond.srtla.statistics import GroupStatistics, ReceiverStatistics

UNNAMED: Final = "unnamed"  # the busiest stream whose caller gave no stream id
_INT32_MAX: Final = (1 << 31) - 1
_PREVIOUS: Final = 1  # kbit/s: NOALBS takes it as a sign that a scene was chosen by hand


def document(stats: ReceiverStatistics) -> dict[str, Any]:
    """The page: each stream that is live, by its name and by its SRT stream id (or UNNAMED).

    Of several with one name the busiest counts. Names go first: one may be a key's, which only its owner has,
    but anybody may ask for a stream id.
    """
    live = sorted((group for group in stats.groups if group.live), key=lambda each: -each.payload_bps)
    named = [(group.stream, group) for group in live]
    named += [(group.stream_id, group) for group in live]
    named += [(UNNAMED, group) for group in live if not group.stream_id]
    publishers: dict[str, dict[str, Any]] = {}
    for name, group in named:
        if name and name not in publishers:
            publishers[name] = _publisher(group)
    return {"status": "ok", "publishers": publishers}


def _publisher(group: GroupStatistics) -> dict[str, Any]:
    size = group.payload_bytes / group.payload_packets if group.payload_packets else 0.0
    bitrate = group.payload_bps // 1000
    # A server with a large reorder tolerance gives packets up without having asked for them again.
    lost = max(group.lost_packets, group.dropped_packets)
    return {
        "bitrate": 0 if bitrate == _PREVIOUS else bitrate,  # kbit/s
        "rtt": group.rtt_ms or 0.0,  # ms
        "dropped_pkts": min(group.dropped_packets, _INT32_MAX),
        "pktRcvDrop": min(group.dropped_packets, _INT32_MAX),
        "pktRcvLoss": min(lost, _INT32_MAX),
        "bytesRcvDrop": int(group.dropped_packets * size),
        "bytesRcvLoss": int(lost * size),
        "mbpsBandwidth": (group.srt_capacity_bps or 0) / 1e6,
        "mbpsRecvRate": group.bitrate_bps / 1e6,
        "msRcvBuf": min(group.receive_buffer_ms or 0, _INT32_MAX),
        "latency": group.latency_ms or 0,  # ms
        "uptime": group.uptime_s or 0,  # s
    }
