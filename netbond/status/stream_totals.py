"""Counts what a receiver's streams have carried, by their names, whatever groups they come in.

A sender that connects anew makes a new group, which is there beside the one before for some seconds, and
counts from 0. Metrics are to have one counter for each stream that goes on all the while. So what each group
has carried since the last look is added to the counter of its name. Streams of the same name are one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from netbond.srtla.statistics import GroupStatistics, ReceiverStatistics

MAX_STREAMS: Final = 200  # of one receiver: a bound for what metrics have to keep


@dataclass(slots=True)
class StreamTotal:
    """A stream now, and what it has carried."""

    packets: int = 0  # SRT packets received
    bytes: int = 0  # of these packets
    lost: int = 0  # packets that the SRT server asked for again
    dropped: int = 0  # packets that it gave up
    bitrate_bps: int = 0
    links: int = 0


Key = tuple[str, str]  # receiver, stream
Counts = tuple[int, int, int, int]  # packets, bytes, lost, dropped


class StreamTotals:
    """The counters. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[Key, StreamTotal] = {}  # those that were seen last come last
        self._before: dict[Key, Counts] = {}  # by receiver and group id

    def look(self, receivers: Iterable[tuple[str, ReceiverStatistics]]) -> dict[Key, StreamTotal]:
        """The streams that are there, by receiver and name; at most MAX_STREAMS of each receiver, those that
        carry most."""
        found: dict[Key, StreamTotal] = {}
        with self._lock:
            before, self._before = self._before, {}
            for receiver, stats in receivers:
                streams: dict[str, list[GroupStatistics]] = {}
                for group in stats.groups:
                    if group.stream and (group.stream in streams or len(streams) < MAX_STREAMS):
                        streams.setdefault(group.stream, []).append(group)
                for name, groups in streams.items():
                    found[receiver, name] = self._look(receiver, name, groups, before)
            for key in list(self._totals)[: -2 * MAX_STREAMS]:
                if key not in found:
                    del self._totals[key]
        return found

    def _look(
        self, receiver: str, name: str, groups: list[GroupStatistics], before: dict[Key, Counts]
    ) -> StreamTotal:
        total = self._totals.pop((receiver, name), None) or StreamTotal()
        self._totals[receiver, name] = total
        for group in groups:
            now = (group.packets, group.bytes, group.lost_packets, group.dropped_packets)
            then = before.get((receiver, group.id), (0, 0, 0, 0))
            self._before[receiver, group.id] = now
            total.packets += _more(now[0], then[0])
            total.bytes += _more(now[1], then[1])
            total.lost += _more(now[2], then[2])
            total.dropped += _more(now[3], then[3])
        total.bitrate_bps = sum(group.bitrate_bps for group in groups)
        total.links = sum(len(group.links) for group in groups)
        return replace(total)


def _more(now: int, then: int) -> int:
    """What a counter has grown by; it began anew if it is less: another SRT connection, or another engine."""
    return now - then if now >= then else now
