"""Decides whether an uplink loses or delays too much, by thresholds to enter and to leave that state. Pure.

Time is an argument (seconds of a clock that does not jump). What is measured comes from the uplink's checks
and from the SRTLA links over it. Each of them enters the state above `degraded_loss` or `degraded_rtt`, and
leaves it at `recovery_loss` or `recovery_rtt`. What is not known, as after an outage, does not count.

An uplink that was in this state before, within `flap_memory`, stays in it for `hold_down` when it is better
again, and for twice as long at each further time, at most `hold_down_max`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from netbond.config.schema import HealthConfig
from netbond.system.text import counted

STREAM = "stream"  # what reasons call the links of streams

SMOOTHING = 1 / 8  # the share of a link's new figures in the smoothed ones; they come once a second
FIRST_FIGURES = 5  # of a link, which do not count yet
FRESH_S = 5.0  # how long a link's figures count
MOST_EPISODES = 32  # more of them would not lengthen the hold-down


@dataclass(frozen=True, slots=True)
class Measured:
    """What `source` (a check, STREAM) measures: `loss` 0 to 1, `rtt_s` smoothed; None: not known."""

    source: str
    loss: float | None = None
    rtt_s: float | None = None


@dataclass(slots=True)
class LinkFigures:
    """Loss and round-trip time of an uplink as the SRTLA links over it have them, smoothed."""

    count: int = 0
    at: float = float("-inf")
    loss: float | None = None
    rtt_s: float | None = None

    def add(self, loss: float | None, rtt_s: float | None, now: float) -> None:
        """Take the figures of one second; None: not known."""
        if now - self.at > FRESH_S:
            self.count, self.loss, self.rtt_s = 0, None, None
        self.count, self.at = self.count + 1, now
        self.loss, self.rtt_s = _smoothed(self.loss, loss), _smoothed(self.rtt_s, rtt_s)

    def measured(self, now: float) -> Measured:
        """What counts now."""
        if self.count <= FIRST_FIGURES or now - self.at > FRESH_S:
            return Measured(STREAM)
        return Measured(STREAM, self.loss, self.rtt_s)


def _smoothed(before: float | None, new: float | None) -> float | None:
    if before is None or new is None:
        return new
    return before + SMOOTHING * (new - before)


@dataclass(slots=True)
class Quality:
    """The state of one uplink. `reason` is one line; "" if its quality is good."""

    reason: str = ""
    held_until: float | None = None  # while only the hold-down keeps it in this state
    _poor: frozenset[tuple[str, str]] = frozenset()  # which figures of which source are beyond a threshold
    _episodes: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_EPISODES))  # when each began

    def judge(self, measured: Iterable[Measured], policy: HealthConfig, now: float) -> str:
        """Take what is measured now; return the reason."""
        found = {}
        for each in measured:
            if each.loss is not None and self._beyond(each.source, "loss", each.loss * 100, policy):
                what = "packets" if each.source == STREAM else "answers"
                found[each.source, "loss"] = f"{each.source}: {each.loss:.0%} of the last {what} missing"
            if each.rtt_s is not None and self._beyond(each.source, "rtt", each.rtt_s, policy):
                found[each.source, "rtt"] = f"{each.source}: answers take {each.rtt_s:.2g} s"
        if found and not self._poor:
            self._episodes.append(now)
        elif not found and self._poor:
            hold_s = self._hold_s(policy, now)
            self.held_until = now + hold_s
            times = counted(len(self._episodes), "time")
            self.reason = f"better again, but was degraded {times}: held for {hold_s:g} s"
        self._poor = frozenset(found)
        if found:
            self.reason, self.held_until = next(iter(found.values())), None
        elif self.held_until is None or now >= self.held_until:
            self.reason, self.held_until = "", None
        return self.reason

    def _beyond(self, source: str, figure: str, value: float, policy: HealthConfig) -> bool:
        entered = (source, figure) in self._poor
        if figure == "loss":
            return value > (policy.leave_loss if entered else policy.degraded_loss)
        return policy.degraded_rtt > 0 and value > (policy.leave_rtt if entered else policy.degraded_rtt)

    def _hold_s(self, policy: HealthConfig, now: float) -> float:
        while self._episodes and now - self._episodes[0] > policy.flap_memory:
            self._episodes.popleft()
        further = len(self._episodes) - 1
        return min(policy.hold_down * 2 ** (further - 1), policy.hold_down_max) if further > 0 else 0.0
