"""The counters of streams by name."""

from __future__ import annotations

from dataclasses import replace

from netbond.srtla.statistics import GroupStatistics, PeerStatistics, ReceiverStatistics
from netbond.status.stream_totals import MAX_STREAMS, StreamTotal, StreamTotals

HERE = "receiver 0.0.0.0:5000"
PEER = PeerStatistics("192.0.2.1:5", 1, 1, 1, 0.0)


def group(number: str, stream: str, packets: int, rate: int = 8) -> GroupStatistics:
    return GroupStatistics(number, False, 1, packets, 10 * packets, rate, (PEER, PEER), 5, stream=stream)


def total(packets: int, rate: int, links: int) -> StreamTotal:
    return StreamTotal(packets, 10 * packets, 0, 0, rate, links)


def look(totals: StreamTotals, *groups: GroupStatistics) -> dict[str, StreamTotal]:
    stats = ReceiverStatistics("receiver", "0.0.0.0:5000", "127.0.0.1:5002", groups, 0)
    return {name: total for (_, name), total in totals.look([(HERE, stats)]).items()}


def test_a_stream_that_comes_back_in_another_group_goes_on_counting() -> None:
    totals = StreamTotals()
    assert look(totals, group("a", "live/~1", 100)) == {"live/~1": total(100, 8, 2)}
    both = look(totals, group("b", "live/~1", 5), group("a", "live/~1", 110, 0))
    assert both == {"live/~1": total(115, 8, 4)}
    assert look(totals, group("b", "live/~1", 7)) == {"live/~1": total(117, 8, 2)}
    assert look(totals) == {}
    assert look(totals, group("c", "live/~1", 3)) == {"live/~1": total(120, 8, 2)}


def test_a_group_that_gets_its_name_later_counts_for_it_from_then_on() -> None:
    totals = StreamTotals()
    look(totals, group("a", "192.0.2.1", 10))
    assert look(totals, group("a", "live/~1", 12))["live/~1"].packets == 2


def test_an_engine_that_is_restarted_counts_from_0() -> None:
    totals = StreamTotals()
    look(totals, group("a", "live/~1", 100))
    assert look(totals, group("a", "live/~1", 4))["live/~1"].packets == 104


def test_another_srt_connection_in_the_same_group_loses_anew() -> None:
    totals = StreamTotals()
    look(totals, replace(group("a", "live/~1", 100), lost_packets=10, dropped_packets=2))
    look(totals, replace(group("a", "live/~1", 150), lost_packets=1, dropped_packets=0))
    found = look(totals, replace(group("a", "live/~1", 160), lost_packets=4, dropped_packets=1))["live/~1"]
    assert (found.packets, found.lost, found.dropped) == (160, 14, 3)


def test_what_is_kept_is_bounded() -> None:
    totals = StreamTotals()
    many = [group(str(number), f"live/{number}", 1) for number in range(MAX_STREAMS + 50)]
    assert list(look(totals, *many)) == [f"live/{number}" for number in range(MAX_STREAMS)]
    for number in range(10 * MAX_STREAMS):
        look(totals, group("x", f"more/{number}", number + 1))
    assert len(totals._totals) <= 2 * MAX_STREAMS + 1
    assert len(totals._before) == 1
    assert look(totals, group("y", "", 1)) == {}, "an engine of another version"


def test_receivers_have_streams_of_their_own() -> None:
    totals = StreamTotals()
    stats = ReceiverStatistics("receiver", "", "", (group("a", "live/~1", 1),), 0)
    found = totals.look([("one", stats), ("two", stats)])
    assert {key: total.packets for key, total in found.items()} == {
        ("one", "live/~1"): 1,
        ("two", "live/~1"): 1,
    }
