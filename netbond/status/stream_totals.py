"""Counts what a receiver's streams have carried, by their names, whatever groups they come in.

A sender that connects anew makes a new group, which is there beside the one before for some seconds, and
counts from 0. Metrics are to have one counter for each stream that goes on all the while. So what each group
has carried since the last look is added to the counter of its name. Streams of the same name are one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from netbond.srtla.statistics import GroupStatistics, ReceiverStatistics

MAX_STREAMS: Final = 200  # of one receiver: a bound for what metrics have to keep


@dataclass(slots=True)
class StreamTotal:
    """A stream now, and what it has carried."""

    packets: int = 0  # SRT packets received
    bytes: int = 0  # of these packets
    bitrate_bps: int = 0
    links: int = 0


Key = tuple[str, str]  # receiver, stream


class StreamTotals:
    """The counters. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[Key, StreamTotal] = {}  # those that were seen last come last
        self._before: dict[Key, tuple[int, int]] = {}  # receiver, group id -> its packets and bytes

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
        self, receiver: str, name: str, groups: list[GroupStatistics], before: dict[Key, tuple[int, int]]
    ) -> StreamTotal:
        total = self._totals.pop((receiver, name), None) or StreamTotal()
        self._totals[receiver, name] = total
        for group in groups:
            packets, size = before.get((receiver, group.id), (0, 0))
            if group.packets < packets or group.bytes < size:  # the engine was restarted
                packets = size = 0
            total.packets += group.packets - packets
            total.bytes += group.bytes - size
            self._before[receiver, group.id] = (group.packets, group.bytes)
        total.bitrate_bps = sum(group.bitrate_bps for group in groups)
        total.links = sum(len(group.links) for group in groups)
        return StreamTotal(total.packets, total.bytes, total.bitrate_bps, total.links)
