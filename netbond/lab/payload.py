"""Makes numbered packets with a time stamp, and counts which of them arrive. Pure.

Times are in seconds of one monotonic clock, because the lab's sender and receiver are on one machine.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

SIZE = 1316  # bytes: seven MPEG-TS packets, as encoders put them into an SRT packet
PROBE = 2**64 - 1  # the number of packets that only test whether the stream gets through
_HEADER = struct.Struct("!8sQd")
_MAGIC = b"NETBOND1"
_FILLING = bytes(range(256)) * 5 + bytes(SIZE - 5 * 256 - _HEADER.size)


def pack(number: int, now: float) -> bytes:
    """Return packet `number`, sent at `now`."""
    return _HEADER.pack(_MAGIC, number, now) + _FILLING


def unpack(data: bytes) -> Iterator[tuple[int, float]]:
    """Yield number and sending time of each packet in `data`; programs on its way may have joined several."""
    for start in range(0, len(data) - SIZE + 1, SIZE):
        magic, number, sent = _HEADER.unpack_from(data, start)
        if magic == _MAGIC:
            yield number, sent


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of the sorted `values` do not exceed; 0 if there are none."""
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0


@dataclass(slots=True)
class Tally:
    """The packets that arrived. `delays` has the one-way delay in seconds of each packet, by number."""

    delays: dict[int, float] = field(default_factory=dict)
    duplicates: int = 0
    open: bool = False  # whether a probe has arrived
    out_of_order: int = 0
    _highest: int = -1

    def take(self, data: bytes, now: float) -> None:
        """Count a datagram that has arrived."""
        for number, sent in unpack(data):
            if number == PROBE:
                self.open = True
            elif number in self.delays:
                self.duplicates += 1
            else:
                self.delays[number] = now - sent
                if number < self._highest:
                    self.out_of_order += 1
                self._highest = max(self._highest, number)

    @property
    def arrived(self) -> int:
        """The number of different packets that arrived."""
        return len(self.delays)

    def missing(self, sent: int) -> list[int]:
        """Return the numbers below `sent` that did not arrive."""
        return [number for number in range(sent) if number not in self.delays]


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a stream. Delays are one-way through all programs, in ms, with SRT's latency."""

    seconds: float
    sent: int
    arrived: int
    lost: int
    duplicates: int
    out_of_order: int
    mbps: float  # payload that arrived, in Mbit/s over the time of sending
    delay_ms: dict[str, float]  # "p1", "p50", "p99", "max"
    lost_ranges: list[tuple[int, int]]  # first and last number of each gap, at most 20
    trouble: str = ""  # which program ended early, if any


def report(tally: Tally, sent: int, seconds: float, trouble: str = "") -> Report:
    """Summarise a stream of `sent` packets that lasted `seconds`."""
    delays = sorted(delay * 1000 for delay in tally.delays.values())
    missing = tally.missing(sent)
    ranges: list[tuple[int, int]] = []
    for number in missing:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return Report(
        seconds=round(seconds, 3),
        sent=sent,
        arrived=tally.arrived,
        lost=len(missing),
        duplicates=tally.duplicates,
        out_of_order=tally.out_of_order,
        mbps=round(tally.arrived * SIZE * 8 / seconds / 1e6, 3) if seconds else 0.0,
        delay_ms={
            "p1": round(percentile(delays, 0.01), 1),
            "p50": round(percentile(delays, 0.50), 1),
            "p99": round(percentile(delays, 0.99), 1),
            "max": round(delays[-1], 1) if delays else 0.0,
        },
        lost_ranges=ranges[:20],
        trouble=trouble,
    )


def text(result: Report) -> str:
    """Format a report for people: one line, and a second one if something went wrong."""
    delay = result.delay_ms
    line = (
        f"sent {result.sent} packets in {result.seconds:.0f} s, arrived {result.arrived}, lost {result.lost}"
        f" ({100 * result.lost / max(result.sent, 1):.2f} %); {result.mbps:.2f} Mbit/s;"
        f" delay {delay['p1']:.0f}/{delay['p50']:.0f}/{delay['p99']:.0f} ms (1/50/99 %),"
        f" at most {delay['max']:.0f}"
    )
    return f"{line}\n{result.trouble}" if result.trouble else line
