"""The page of streams: what NOALBS reads of it."""

from __future__ import annotations

import json
from typing import Any

from netbond.srtla.publishers import UNNAMED, document
from netbond.srtla.statistics import GroupStatistics, ReceiverStatistics
from tests import noalbs


def group(stream_id: str = "", stream: str = "", *, live: bool = True, **more: Any) -> GroupStatistics:
    common = {"id": "0a", "keyed": False, "age_s": 9, "packets": 9, "bytes": 9, "bitrate_bps": 9}
    return GroupStatistics(
        **{
            **common,
            "links": (),
            "srt_port": 5,
            "stream": stream,
            "stream_id": stream_id,
            "live": live,
            **more,
        }
    )


def page(*groups: GroupStatistics) -> str:
    return json.dumps(document(ReceiverStatistics("receiver", "", "", groups, 0)))


def test_both_types_read_one_document() -> None:
    text = page(
        group(
            "publish/live/feed1",
            "publish/live/~3f2a",
            bitrate_bps=5_400_000,
            payload_bps=5_000_999,
            payload_packets=1000,
            payload_bytes=1_316_000,
            rtt_ms=42.5,
            lost_packets=7,
            dropped_packets=2,
            receive_buffer_ms=960,
            srt_capacity_bps=12_000_000,
            latency_ms=1000,
            uptime_s=77,
        )
    )
    for name in ("publish/live/feed1", "publish/live/~3f2a"):
        assert noalbs.read(200, text, name, noalbs.BELABOX) == {
            "bitrate": 5000,
            "rtt": 42.5,
            "dropped_pkts": 2,
        }
        assert noalbs.read(200, text, name, noalbs.SRT_LIVE_SERVER) == {
            "bitrate": 5000,
            "bytesRcvDrop": 2632,
            "bytesRcvLoss": 9212,
            "mbpsBandwidth": 12.0,
            "mbpsRecvRate": 5.4,
            "msRcvBuf": 960,
            "pktRcvDrop": 2,
            "pktRcvLoss": 7,
            "rtt": 42.5,
            "uptime": 77,
        }


def test_what_was_given_up_unasked_is_lost_too() -> None:
    """With a reorder tolerance beyond its latency, an SRT server asks for nothing again."""
    text = page(group("feed1", lost_packets=145, dropped_packets=171))
    found = noalbs.read(200, text, "feed1", noalbs.SRT_LIVE_SERVER)
    assert found is not None
    assert (found["pktRcvLoss"], found["pktRcvDrop"]) == (171, 171)


def test_what_is_not_known_is_a_number_all_the_same() -> None:
    text = page(group("feed1"))
    assert noalbs.read(200, text, "feed1", noalbs.BELABOX) == {"bitrate": 0, "rtt": 0.0, "dropped_pkts": 0}
    assert noalbs.read(200, text, "feed1", noalbs.SRT_LIVE_SERVER) is not None


def test_a_stream_that_has_stopped_is_offline() -> None:
    text = page(group("feed1", live=False, payload_bps=5_000_000), group("feed2"))
    assert noalbs.read(200, text, "feed1", noalbs.BELABOX) is None
    assert noalbs.read(200, text, "feed2", noalbs.BELABOX) is not None
    assert json.loads(page()) == {"status": "ok", "publishers": {}}


def test_of_several_with_one_name_the_busiest_counts() -> None:
    text = page(group("feed1", payload_bps=2_000_000), group("feed1", payload_bps=3_000_000))
    assert json.loads(text)["publishers"]["feed1"]["bitrate"] == 3000


def test_a_stream_without_an_id_has_a_name_too() -> None:
    text = page(
        group("", "192.0.2.1", payload_bps=2_000_000), group("", "phone", payload_bps=3_000_000), group("a")
    )
    names = {name: found["bitrate"] for name, found in json.loads(text)["publishers"].items()}
    assert names == {UNNAMED: 3000, "phone": 3000, "192.0.2.1": 2000, "a": 0}


def test_nobody_takes_the_name_of_a_key_by_a_stream_id() -> None:
    theirs = group("alice", "~1234", payload_bps=9_000_000)
    text = page(theirs, group("feed1", "alice", payload_bps=3_000_000), group("unnamed", "~5678"), group())
    names = {name: found["bitrate"] for name, found in json.loads(text)["publishers"].items()}
    assert names == {"~1234": 9000, "alice": 3000, "feed1": 3000, "~5678": 0, "unnamed": 0}


def test_numbers_fit_and_none_means_something_else() -> None:
    text = page(group("feed1", payload_bps=1999, dropped_packets=1 << 40, receive_buffer_ms=1 << 40))
    found = noalbs.read(200, text, "feed1", noalbs.BELABOX)
    assert found is not None
    assert found["bitrate"] == 0, "NOALBS takes 1 for a scene that was chosen by hand"
    assert noalbs.read(200, text, "feed1", noalbs.SRT_LIVE_SERVER) is not None
