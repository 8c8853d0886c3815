"""Keeps what is in flight on a link, and finds out what was lost there.

A link delivers packets in order, so proof for one packet is proof for all before it:

- An SRTLA ACK names packets that arrived, ten at a time with most receivers. Those before them that it does
  not name are lost; ten or more may also be a lost ACK.
- The echo of a keepalive comes back after all data that was sent before it. These packets have passed: they
  arrived, or were lost.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from netbond.srtla.adaptive.packets import FLYING, LOST, PASSED, Transmission

ACK_BATCH: Final = 10  # packets per SRTLA ACK
REORDER: Final = 3  # packets by which a link may be out of order without a loss
UNSURE_MOST: Final = 256  # packets that passed whose ACK is waited for


class Flight:
    """The packets in flight on one link."""

    def __init__(self) -> None:
        self.lost = 0  # packets in total
        self.reset()

    def reset(self) -> None:
        """Start again as a new link."""
        self.fifo: deque[Transmission] = deque()  # in flight, and some that have arrived
        self.unsure: deque[Transmission] = deque(maxlen=UNSURE_MOST)  # passed, not named by an SRTLA ACK yet
        self.next_index = 0
        self.bytes = 0
        self.packets = 0
        self.loss = 0.0  # share of packets, over about the last hundred

    def add(self, transmission: Transmission, index: int) -> None:
        """Note a packet that leaves now, the link's `index`-th."""
        transmission.index = index
        transmission.flight = self.bytes
        self.next_index = index + 1
        self.bytes += transmission.size
        self.packets += 1
        self.fifo.append(transmission)

    def oldest(self) -> Transmission | None:
        """Return the oldest packet in flight, or None."""
        fifo = self.fifo
        while fifo and fifo[0].state != FLYING:
            fifo.popleft()
        return fifo[0] if fifo else None

    def leave(self, transmission: Transmission, state: int, now: float) -> None:
        """Note that a packet is not in flight any more; `state` is not FLYING."""
        if transmission.state == FLYING:
            self.bytes -= transmission.size
            self.packets -= 1
            transmission.done_at = now
            if state != LOST:
                self.loss -= self.loss / 64
        if state == LOST:
            self.loss += (1.0 - self.loss) / 64
            self.lost += 1
        transmission.state = state

    def missing(self, last: Transmission) -> list[Transmission]:
        """Return the packets that an SRTLA ACK with this last packet should have named; remove them."""
        behind = last.index - REORDER
        missing: list[Transmission] = []
        for queue in (self.unsure, self.fifo):
            while queue:
                first = queue[0]
                if first.state == FLYING or first.state == PASSED:
                    if first.index >= behind:
                        break
                    missing.append(first)
                queue.popleft()
        return missing

    def passed(self, before: int, now: float) -> list[Transmission]:
        """Note that all before the link's `before`-th have passed; return those that were in flight."""
        fifo = self.fifo
        gone: list[Transmission] = []
        while fifo and (fifo[0].index < before or fifo[0].state != FLYING):
            transmission = fifo.popleft()
            if transmission.state == FLYING:
                self.leave(transmission, PASSED, now)
                self.unsure.append(transmission)
                gone.append(transmission)
        return gone

    def empty(self, now: float) -> list[Transmission]:
        """Return all packets in flight, and note that they are not any more."""
        fifo, self.fifo = self.fifo, deque()
        gone = [transmission for transmission in fifo if transmission.state == FLYING]
        for transmission in gone:
            self.leave(transmission, PASSED, now)
        return gone
