"""Remembers data packets in flight: which link carries each, until it is acknowledged or known to be lost.

It uses a ring indexed by sequence number. So each operation costs O(1) per packet, and memory is bounded
whatever a peer sends. Packets are stored with their data: if a link dies, its packets are sent again over
another link.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from netbond.srtla import wire
from netbond.srtla.schedule import LinkState

RING: Final = 1 << 14  # packets: over 8 s at 20 Mbit/s, 22 MiB at most


class Sent:
    """A data packet and its latest transmission. (No dataclass: theirs are made by the interpreter.)"""

    __slots__ = ("data", "link", "lost", "sent_at", "sequence", "times")

    def __init__(
        self,
        sequence: int,
        link: LinkState,
        data: bytes,
        sent_at: float,
        times: int = 1,
        *,
        lost: bool = False,
    ) -> None:
        self.sequence = sequence
        self.link = link
        self.data = data
        self.sent_at = sent_at
        self.times = times  # transmissions, over any link
        self.lost = lost  # the latest transmission is known to be lost: no longer in flight


class Flight:
    """The packets of one SRT connection. It updates `LinkState.in_flight` and `in_flight_bytes`."""

    def __init__(self, size: int = RING) -> None:
        """`size` is the number of packets to remember, a power of two."""
        self._size = size
        self._mask = size - 1
        self._ring: list[Sent | None] = [None] * size
        self._highest: int | None = None  # the furthest sequence number sent
        self._acked = 0  # everything before it is acknowledged or was never sent by us

    def clear(self) -> None:
        """Forget all packets: a new SRT connection begins."""
        for sent in self._all():
            self._forget(sent)
        self._highest = None

    def is_far_behind(self, sequence: int) -> bool:
        """Whether `sequence` lies further back than packets are remembered. A packet there that is no repeat
        is from another SRT connection, such as that of an encoder that was restarted."""
        return self._highest is not None and wire.distance(self._highest, sequence) <= -self._size

    def record(self, sequence: int, link: LinkState, data: bytes, now: float) -> Sent:
        """Record a data packet that is sent on `link` now; it replaces an earlier transmission."""
        if self._highest is None:
            self._highest = self._acked = sequence
        else:
            ahead = wire.distance(self._highest, sequence)
            if ahead >= self._size:  # no encoder skips so many packets: this is another connection
                self.clear()
                self._highest = self._acked = sequence
            elif ahead > 0:
                self._highest = sequence
                while wire.distance(self._acked, sequence) >= self._size:
                    oldest = self._ring[self._acked & self._mask]  # its slot is needed
                    if oldest is not None:
                        self._forget(oldest)
                    self._acked = wire.advance(self._acked, 1)
            elif ahead <= -self._size:
                return Sent(sequence, link, data, now, lost=True)  # too old for the ring
            elif wire.distance(self._acked, sequence) < 0:
                self._acked = sequence  # a repeat that crossed its own ACK; the next ACK removes it
        slot = sequence & self._mask
        before = self._ring[slot]
        times = 1
        if before is not None:
            if before.sequence == sequence:
                times = before.times + 1
            self._forget(before)
        sent = Sent(sequence, link, data, now, times)
        self._ring[slot] = sent
        link.in_flight += 1
        link.in_flight_bytes += len(data)
        return sent

    def find(self, sequence: int) -> Sent | None:
        """Return the packet with this number, or None if it is acknowledged or unknown."""
        sent = self._ring[sequence & self._mask]
        return sent if sent is not None and sent.sequence == sequence else None

    def acknowledge(self, sequence: int) -> Sent | None:
        """Take an SRTLA ACK: remove and return this packet; None if it is not in the ring."""
        sent = self.find(sequence)
        if sent is not None:
            self._forget(sent)
        return sent

    def acknowledge_before(self, sequence: int) -> bool:
        """Take an SRT ACK: remove all packets before `sequence`. False if `sequence` was never sent."""
        if self._highest is None:
            return False
        left = wire.distance(sequence, wire.advance(self._highest, 1))
        if not 0 <= left <= self._size:
            return False
        for step in range(-min(wire.distance(self._acked, sequence), self._size), 0):
            number = wire.advance(sequence, step)
            sent = self._ring[number & self._mask]
            if sent is not None and sent.sequence == number:
                self._forget(sent)
        if wire.distance(self._acked, sequence) > 0:
            self._acked = sequence
        return True

    def within(self, ranges: Iterable[tuple[int, int]]) -> Iterator[Sent]:
        """Yield the packets in flight in these (first, last) ranges.

        The work is bounded by the size of the ring, however long and however many the ranges are.
        """
        if self._highest is None:
            return
        budget = self._size
        for first, last in ranges:
            start = first if wire.distance(self._acked, first) >= 0 else self._acked
            end = last if wire.distance(last, self._highest) >= 0 else self._highest
            steps = min(wire.distance(start, end) + 1, budget)
            budget -= max(steps, 0)
            for step in range(steps):
                number = wire.advance(start, step)
                sent = self._ring[number & self._mask]
                if sent is not None and sent.sequence == number and not sent.lost:
                    yield sent

    def mark_lost(self, sent: Sent) -> None:
        """Mark the latest transmission as lost: it is no longer in flight, but the packet is kept."""
        if not sent.lost:
            sent.lost = True
            sent.link.in_flight -= 1
            sent.link.in_flight_bytes -= len(sent.data)

    def carried_by(self, link: LinkState) -> list[Sent]:
        """Return the packets in flight on `link`, in the order of their sequence numbers."""
        return [sent for sent in self._all() if sent.link is link and not sent.lost]

    def stranded(self) -> list[Sent]:
        """Return the packets in flight on links that are no longer usable."""
        return [sent for sent in self._all() if not sent.link.usable and not sent.lost]

    def _all(self) -> Iterator[Sent]:
        if self._highest is None:
            return
        for step in range(wire.distance(self._acked, self._highest) + 1):
            number = wire.advance(self._acked, step)
            sent = self._ring[number & self._mask]
            if sent is not None and sent.sequence == number:
                yield sent

    def _forget(self, sent: Sent) -> None:
        self._ring[sent.sequence & self._mask] = None
        if not sent.lost:
            sent.link.in_flight -= 1
            sent.link.in_flight_bytes -= len(sent.data)
