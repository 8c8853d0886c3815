"""One direction of a radio link, in virtual time: which packet comes out when, and which never does.

No sockets, no clock, no global randomness: `now` (seconds, monotonic) and a `random.Random` are arguments.

A packet meets, in this order: the outage, burst loss, random loss, a drop-tail queue in front of a bottleneck
of fixed rate, then delay and jitter. As the queue is first in first out and the rate constant, the moment a
packet comes out is known when it goes in; only a change of settings works it out anew for those still queued.
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

    packets: int = 0  # that came out
    bytes: int = 0
    lost: int = 0  # by outage, burst or chance
    dropped: int = 0  # because the queue was full

    def as_dict(self) -> dict[str, int]:
        """For `status --json`."""
        return {"packets": self.packets, "bytes": self.bytes, "lost": self.lost, "dropped": self.dropped}


class Line:
    """Packets in by `arrive`, out by `due`; `next_due` says when to call again."""

    __slots__ = ("_bad", "_flying", "_free_at", "_impairment", "_last_due", "_rng", "counters", "next_due")

    def __init__(self, rng: random.Random, impairment: Impairment = PERFECT) -> None:
        self.counters = Counters()
        self.next_due = NEVER  # when the next packet comes out; NEVER: none is under way
        self._rng = rng
        self._impairment = impairment
        self._bad = False  # Gilbert-Elliott: in a burst
        self._free_at = 0.0  # when the bottleneck will have sent all that is queued
        self._last_due = 0.0  # order is kept: nothing comes out before this
        # (comes out at, leaves the bottleneck at, packet), in order of both times
        self._flying: deque[tuple[float, float, bytes]] = deque()

    @property
    def impairment(self) -> Impairment:
        """The settings in force."""
        return self._impairment

    def queued_bytes(self, now: float) -> float:
        """What waits for the bottleneck, counting the rest of the packet that it is sending."""
        return max(0.0, self._free_at - now) * self._impairment.rate * 1e6 / 8

    def arrive(self, packet: bytes, now: float) -> None:
        """A packet enters the link."""
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
        """The packets that come out at `now` or came out before, in order."""
        flying, out = self._flying, []
        while flying and flying[0][0] <= now:
            packet = flying.popleft()[2]
            self.counters.packets += 1
            self.counters.bytes += len(packet)
            out.append(packet)
        self.next_due = flying[0][0] if flying else NEVER
        return out

    def change(self, impairment: Impairment, now: float) -> None:
        """New settings. What is in the air keeps its time; what still waits in the queue meets them."""
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
        for packet in queued:  # no second toss for loss, and none is dropped: they are in already
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
