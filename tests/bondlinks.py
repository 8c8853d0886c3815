"""Models the links of a simulated bond (tests/bondsim.py): when a datagram arrives, if it does."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

IP_UDP = 28  # bytes of headers that a link carries with each datagram
OPPORTUNITY = 1500  # bytes that one delivery opportunity of a trace carries


@dataclass
class LinkModel:
    """One direction of a modem link."""

    rate: float = 0.0  # bit/s; 0: no limit
    trace: list[float] | None = None  # s, delivery opportunities, repeated for ever
    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    burst_enter: float = 0.0
    burst_leave: float = 0.0
    queue: int = 256_000
    off: float = 1e18
    on: float = 1e18
    every: float = 0.0  # s after which off and on repeat; 0: never
    stall: float = 1e18
    unstall: float = 1e18
    worse: float = 1e18  # s; between worse and better the link is in a weaker cell, or re-routed
    better: float = 1e18
    again: float = 0.0  # s after which that repeats; 0: never
    worse_rate: float = 0.0  # bit/s; 0: unchanged
    worse_delay: float = 0.0
    unordered: bool = False  # jitter may change the order
    largest: int = 0  # bytes with headers; larger datagrams vanish; 0: none do
    shared: float = 0.0  # bit/s of the bottleneck behind this link and all others that have one; 0: none
    rebind: float = 0.0  # s after which a NAT gives the link another port, again and again; 0: never
    bad: bool = False
    waiting: deque[tuple[float, int]] = field(default_factory=deque)  # (leaves the queue at, bytes)
    queued: int = 0
    free_at: float = 0.0
    last: float = 0.0
    position: int = 0  # in the trace
    base: float = 0.0  # s at which the current repetition of the trace began
    opportunity: float = -1.0  # s, the last one that was used
    credit: int = 0
    taken: int = 0  # packets
    carried: int = 0
    tail_dropped: int = 0
    lost: int = 0

    def carry(self, size: int, now: float, rng: random.Random) -> float | None:
        """Return when a datagram of `size` bytes that is sent now arrives; None: never."""
        size += IP_UDP
        self.taken += 1
        if self.every and now >= self.on:
            self.off += self.every
            self.on += self.every
        if self.again and now >= self.better:
            self.worse += self.again
            self.better += self.again
        if self.off <= now < self.on or (self.largest and size > self.largest):
            self.lost += 1
            return None
        if self.burst_enter:
            if self.bad:
                self.bad = rng.random() >= self.burst_leave
            else:
                self.bad = rng.random() < self.burst_enter
            if self.bad:
                self.lost += 1
                return None
        if self.loss and rng.random() < self.loss:
            self.lost += 1
            return None
        waiting = self.waiting
        while waiting and waiting[0][0] <= now:
            self.queued -= waiting.popleft()[1]
        if self.trace is None and not self.rate:
            leaves = now
        elif self.queued + size > self.queue:
            self.tail_dropped += 1
            return None
        elif self.trace is None:
            starts = max(self.free_at, now)
            rate = self.worse_rate if self.worse_rate and self.worse <= starts < self.better else self.rate
            if self.stall <= starts < self.unstall:
                starts = self.unstall
            leaves = self.free_at = starts + size * 8 / rate
            waiting.append((leaves, size))
            self.queued += size
        else:
            leaves = self._opportunity(size, now)
            waiting.append((leaves, size))
            self.queued += size
        delay = self.worse_delay if self.worse_delay and self.worse <= leaves < self.better else self.delay
        arrives = leaves + delay + (rng.random() * self.jitter if self.jitter else 0.0)
        if not self.unordered:
            self.last = arrives = max(arrives, self.last)
        self.carried += 1
        return arrives

    def _opportunity(self, size: int, now: float) -> float:
        if self.opportunity >= now and size <= self.credit:
            self.credit -= size
            return self.opportunity
        assert self.trace is not None
        while True:
            at = self.base + self.trace[self.position]
            self.position += 1
            if self.position == len(self.trace):
                self.position = 0
                self.base += self.trace[-1]
            if at > now:
                break
        self.opportunity, self.credit = at, OPPORTUNITY - size
        return at


def read_trace(path: Path) -> list[float]:
    """Read a trace file: times in ms, one for each delivery opportunity."""
    return [int(word) / 1000 for word in path.read_text().split()]


def fading_trace(mbps: float, seed: int, seconds: float = 60.0) -> list[float]:
    """Make a trace of a link whose rate varies around `mbps`, and sometimes fades to zero."""
    rng = random.Random(seed)
    level, now, owed, stamps = 1.0, 0.0, 0.0, []
    while now < seconds:
        level = min(max(level * rng.uniform(0.7, 1.4) ** 0.7, 0.05), 2.0)
        span = rng.uniform(0.05, 0.25)
        rate = 0.0 if rng.random() < 0.03 else mbps * level
        for _ in range(int(span * 1000)):
            now += 0.001
            owed += rate * 1e6 / 8 / 1000
            while owed >= OPPORTUNITY:
                owed -= OPPORTUNITY
                stamps.append(round(now, 3))
    return stamps


def parse_link(spec: str, folder: Path = Path()) -> tuple[LinkModel, LinkModel]:
    """Parse a link `key=value,...` into (up, down): up, down (Mbit/s), uptrace (a file in `folder`), fading
    (Mbit/s, wandering), delay, jitter (ms), loss, gep, ger (%), queue (kB), off, on (s), every (s, repeats
    the outage), stall, unstall (s, between which the queue only grows), worse, better (s, between which
    `up2`, Mbit/s, and `delay2`, ms, are true), again (s, repeats that), downloss (%), unordered (1: jitter
    changes the order), largest (bytes with headers; larger datagrams vanish), shared (Mbit/s of one
    bottleneck behind all links that have this), rebind (s, each so often a NAT changes the port)."""
    up, down = LinkModel(), LinkModel()
    for entry in spec.split(","):
        key, _, text = entry.partition("=")
        if key == "uptrace":
            up.trace = read_trace(folder / text)
        elif key == "fading":
            up.trace = fading_trace(float(text), int(float(text) * 1000))
        elif key in _KEYS:
            name, unit, directions = _KEYS[key]
            for letter, link in (("u", up), ("d", down)):
                if letter in directions:
                    setattr(link, name, unit(float(text)))
        else:
            raise ValueError(f"unknown key {key!r} in {spec!r}")
    return up, down


def _same(value: float) -> float:
    return value


def _mega(value: float) -> float:
    return value * 1e6


def _milli(value: float) -> float:
    return value / 1000


def _percent(value: float) -> float:
    return value / 100


def _kilo(value: float) -> int:
    return int(value * 1000)


# For each key: the attribute that it sets, its unit, and its directions.
_KEYS: dict[str, tuple[str, Callable[[float], float], str]] = {
    "up": ("rate", _mega, "u"),
    "down": ("rate", _mega, "d"),
    "delay": ("delay", _milli, "ud"),
    "jitter": ("jitter", _milli, "u"),
    "loss": ("loss", _percent, "u"),
    "downloss": ("loss", _percent, "d"),
    "gep": ("burst_enter", _percent, "u"),
    "ger": ("burst_leave", _percent, "u"),
    "queue": ("queue", _kilo, "u"),
    "off": ("off", _same, "ud"),
    "on": ("on", _same, "ud"),
    "every": ("every", _same, "ud"),
    "stall": ("stall", _same, "u"),
    "unstall": ("unstall", _same, "u"),
    "worse": ("worse", _same, "ud"),
    "better": ("better", _same, "ud"),
    "again": ("again", _same, "ud"),
    "up2": ("worse_rate", _mega, "u"),
    "delay2": ("worse_delay", _milli, "ud"),
    "unordered": ("unordered", bool, "u"),
    "largest": ("largest", int, "u"),
    "shared": ("shared", _mega, "u"),
    "rebind": ("rebind", _same, "u"),
}
