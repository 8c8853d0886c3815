"""Simulates one direction of a radio link: which packets are lost, and when the others arrive. Pure.

Time and randomness are arguments: `now` (in monotonic seconds) and a `random.Random`.

A packet passes, in this order: an outage, burst loss, random loss, a drop-tail queue before a bottleneck of
fixed rate, delay and jitter. The queue is first in, first out, and the rate is constant. So the arrival time
of a packet is known when it enters. If the settings change, it is computed again for packets in the queue.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from netbond.lab.impair import PERFECT, Impairment

NEVER = float("inf")


@dataclass(slots=True)
class Counters:
    """Packets and bytes of one direction since the start."""

    packets: int = 0  # that arrived
    bytes: int = 0
    lost: int = 0  # by an outage, a burst, or random loss
    dropped: int = 0  # because the queue was full

    def as_dict(self) -> dict[str, int]:
        """Return the counters for `status --json`."""
        return {"packets": self.packets, "bytes": self.bytes, "lost": self.lost, "dropped": self.dropped}


class Line:
    """One direction of a link: `arrive` takes packets, `due` returns them; call it at `next_due`."""

    __slots__ = ("_bad", "_flying", "_free_at", "_impairment", "_last_due", "_rng", "counters", "next_due")

    def __init__(self, rng: random.Random, impairment: Impairment = PERFECT) -> None:
        self.counters = Counters()
        self.next_due = NEVER  # when the next packet arrives; NEVER: none is in flight
        self._rng = rng
        self._impairment = impairment
        self._bad = False  # Gilbert-Elliott: in a burst
        self._free_at = 0.0  # when the bottleneck will have sent the whole queue
        self._last_due = 0.0  # no packet arrives before this time, so that packets keep their order
        # (arrives at, leaves the bottleneck at, packet), in the order of both times
        self._flying: deque[tuple[float, float, bytes]] = deque()

    @property
    def impairment(self) -> Impairment:
        """The current settings."""
        return self._impairment

    def queued_bytes(self, now: float) -> float:
        """Return the bytes in the queue, with the rest of the packet that the bottleneck is sending."""
        return max(0.0, self._free_at - now) * self._impairment.rate * 1e6 / 8

    def arrive(self, packet: bytes, now: float) -> None:
        """Take a packet that enters the link."""
        at = self._impairment
        if self._is_lost(at):
            self.counters.lost += 1
            return
        leaves = now
        if at.rate:
            if self.queued_bytes(now) + len(packet) > at.queue * 1000:
                self.counters.dropped += 1
                return
            leaves = max(now, self._free_at) + len(packet) * 8 / (at.rate * 1e6)
            self._free_at = leaves
        self._fly(packet, leaves)

    def due(self, now: float) -> list[bytes]:
        """Return the packets that have arrived by `now`, in order."""
        flying, out = self._flying, []
        while flying and flying[0][0] <= now:
            packet = flying.popleft()[2]
            self.counters.packets += 1
            self.counters.bytes += len(packet)
            out.append(packet)
        self.next_due = flying[0][0] if flying else NEVER
        return out

    def change(self, impairment: Impairment, now: float) -> None:
        """Change the settings. Packets in the queue get a new arrival time, packets past it keep theirs."""
        self._impairment = impairment
        self._bad = self._bad and impairment.burst_enter > 0
        queued = [packet for _, leaves, packet in self._flying if leaves > now]
        for _ in queued:
            self._flying.pop()
        self._free_at = now
        if self._flying:
            self._last_due = self._flying[-1][0]
        else:
            self._last_due, self.next_due = 0.0, NEVER
        for packet in queued:  # these have passed loss and the queue's limit already
            if impairment.rate:
                self._free_at += len(packet) * 8 / (impairment.rate * 1e6)
            self._fly(packet, self._free_at)

    def _is_lost(self, at: Impairment) -> bool:
        if at.off:
            return True
        if at.burst_enter:
            chance = at.burst_leave if self._bad else at.burst_enter
            if self._rng.random() * 100 < chance:
                self._bad = not self._bad
            if self._bad:
                return True
        return bool(at.loss) and self._rng.random() * 100 < at.loss

    def _fly(self, packet: bytes, leaves: float) -> None:
        at = self._impairment
        out = leaves + at.delay / 1000
        if at.jitter:
            out += self._rng.random() * at.jitter / 1000
        self._last_due = max(out, self._last_due)
        if not self._flying:
            self.next_due = self._last_due
        self._flying.append((self._last_due, leaves, packet))
