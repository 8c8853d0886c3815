"""Source and output: weights of uplinks with `weight = "auto"`, from what they have carried.

What an interface carries is a lower bound of its capacity. So its peak over the last minutes counts. A short
burst into a modem's buffer does not. In quiet times all peaks fade alike, and their ratio stays. An interface
of which nothing is known yet gets the mean of the others. None gets less than a tenth of the best: an
interface without traffic could never show its capacity.

A new weight changes the kernel's routes, and moves flows that begin after it. So weights change only if one
is wrong by CHANGE_FACTOR, and at most once in CHANGE_INTERVAL_S.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netbond.config.schema import Config
from netbond.contracts import Look, Output, Source, Traffic
from netbond.desired import Desired
from netbond.match import UNMATCHED
from netbond.model import Facts, Link

SMOOTHING_S = 5.0  # how long traffic must last to count
HALF_LIFE_S = 600.0  # in which a peak fades to half, unless it is reached again
LEAST_BPS = 100_000.0  # with a smaller peak, nothing is known of an interface
HIGHEST_WEIGHT = 10
CHANGE_INTERVAL_S = 60.0
CHANGE_FACTOR = 1.3


@dataclass(slots=True)
class _Carried:
    smooth_bps: float = 0.0
    peak_bps: float = 0.0


@dataclass(slots=True)
class WeightMeter:
    """Weighs interfaces by what they carry. Pure: `now` is seconds of a monotonic clock."""

    _seen: dict[str, _Carried] = field(default_factory=dict)
    _last: float | None = None
    _weights: dict[str, int] = field(default_factory=dict)
    _changed: float | None = None

    def observe(self, carried: Mapping[str, float], now: float) -> None:
        """Take what each interface carries now, in bit/s, both directions together."""
        dt = 0.0 if self._last is None else max(0.0, now - self._last)
        self._last = now
        share = dt / (SMOOTHING_S + dt)
        for name, rate_bps in carried.items():
            seen = self._seen.setdefault(name, _Carried())
            seen.smooth_bps += (rate_bps - seen.smooth_bps) * share
        for seen in self._seen.values():
            seen.peak_bps = max(seen.smooth_bps, seen.peak_bps * 0.5 ** (dt / HALF_LIFE_S))

    def weights(self, names: Iterable[str], now: float) -> dict[str, int]:
        """A weight from 1 to 10 for each of these interfaces; others are forgotten."""
        wanted = sorted(set(names))
        self._seen = {name: seen for name, seen in self._seen.items() if name in wanted}
        exact = self._exact(wanted)
        waited = self._changed is None or now - self._changed >= CHANGE_INTERVAL_S
        off = any(
            max(exact[name], old) / min(exact[name], old) >= CHANGE_FACTOR
            for name, old in self._weights.items()
            if name in exact
        )
        if set(self._weights) != set(wanted):
            # An interface came or went: the others keep their weights.
            self._weights = {name: self._weights.get(name, round(exact[name])) for name in wanted}
        elif off and waited:
            new = {name: round(exact[name]) for name in wanted}
            self._changed = now if new != self._weights else self._changed
            self._weights = new
        return dict(self._weights)

    def _exact(self, names: Iterable[str]) -> dict[str, float]:
        known = {name: self._seen[name].peak_bps for name in names if name in self._seen}
        known = {name: peak for name, peak in known.items() if peak >= LEAST_BPS}
        if not known:
            return dict.fromkeys(names, 1.0)
        best, mean = max(known.values()), sum(known.values()) / len(known)
        return {name: max(1.0, HIGHEST_WEIGHT * known.get(name, mean) / best) for name in names}


class AutoWeights(Source, Output):
    """Weighs the uplinks whose settings say `weight = "auto"`, once a second."""

    name = "weights"

    def __init__(self) -> None:
        self._look: Look = lambda: None
        self._meter = WeightMeter()
        self._measured: tuple[tuple[str, int], ...] = ()
        self._automatic: frozenset[str] = frozenset()

    async def start(self, look: Look, links: Sequence[Link]) -> None:
        """`look` is called when a weight has changed."""
        self._look = look

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """The weights."""
        return replace(facts, measured=self._measured)

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Weigh these uplinks from now on."""
        self._automatic = frozenset(
            uplink.device
            for uplink in goal.uplinks
            if goal.settings.get(uplink.device, UNMATCHED).weight == "auto"
        )
        return ()

    def tick(self, traffic: Traffic, now_s: float) -> None:
        """Observe what they carry."""
        carried = {d: r.rx_bps + r.tx_bps for d, r in traffic.rates.items() if d in self._automatic}
        self._meter.observe(carried, now_s)
        measured = tuple(sorted(self._meter.weights(self._automatic, now_s).items()))
        if measured != self._measured:
            self._measured = measured
            self._look()
