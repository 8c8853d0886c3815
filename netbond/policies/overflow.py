"""Decides whether a policy's best tier carries too much, so that the next takes new connections. Pure.

What a tier carries is the larger direction of its interfaces' traffic, summed over them, as the mean of 10 s:
short bursts do not count. It overflows above the limit, until it carries less than four fifths of it.
Connections stay where they are, so that the traffic of the tier falls slowly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from netbond.model import Uplink
from netbond.policies.model import PolicyInUse

WINDOW_S = 10.0
LEAVE_SHARE = 0.8  # of the limit

Counters = Mapping[str, tuple[int, int]]  # bytes received and sent by an interface, by its name


@dataclass(frozen=True, slots=True)
class Watched:
    """The interfaces of the tier that may overflow, and how much is too much, in bit/s."""

    devices: frozenset[str]
    limit_bps: int


def watched(policies: Iterable[PolicyInUse], uplinks: Iterable[Uplink]) -> dict[str, Watched]:
    """What to watch for each policy that has a limit."""
    found = {}
    working = [uplink for uplink in uplinks if uplink.leads_out]
    for policy in policies:
        best = min((way.best for way in policy.ways if way.best), default=0)
        if policy.overflow_bps and best:
            tier = [uplink for uplink in working if uplink.name in policy.tiers[best - 1]]
            used = [uplink for uplink in tier if uplink.usable] or tier
            found[policy.name] = Watched(frozenset(uplink.device for uplink in used), policy.overflow_bps)
    return found


@dataclass(slots=True)
class OverflowMeter:
    """Observes the interfaces' counters, and remembers which policies overflow."""

    overflowing: frozenset[str] = frozenset()  # names of policies
    _samples: deque[tuple[float, Counters]] = field(default_factory=deque)

    def observe(self, counters: Counters, wanted: Mapping[str, Watched], now_s: float) -> None:
        """Take the counters; `now_s` is in seconds of a monotonic clock."""
        self._samples.append((now_s, dict(counters)))
        # The oldest is as old as the window, or the next younger one.
        while len(self._samples) > 1 and self._samples[1][0] <= now_s - WINDOW_S:
            self._samples.popleft()
        self.overflowing = frozenset(
            name
            for name, each in wanted.items()
            if self.carried_bps(each.devices)
            > each.limit_bps * (LEAVE_SHARE if name in self.overflowing else 1.0)
        )

    def carried_bps(self, devices: Iterable[str]) -> float:
        """The larger direction of the traffic of these interfaces, in bit/s; 0 before the first sample."""
        if not self._samples:
            return 0.0
        (began_s, first), (now_s, last) = self._samples[0], self._samples[-1]
        received = sent = 0
        for device in devices:
            old, new = first.get(device), last.get(device)
            if old is not None and new is not None:  # else it has come or gone
                received += max(0, new[0] - old[0])  # fewer: it is another one of that name
                sent += max(0, new[1] - old[1])
        return 8 * max(received, sent) / max(WINDOW_S, now_s - began_s)
