"""Weighs the uplinks with `weight = "auto"` by the traffic that they have carried. Source and output.

The traffic of an interface is a lower bound of its capacity. So its peak rate over the last minutes counts,
but not a short burst into a modem's buffer. In quiet times all peaks decay at the same rate, and their ratio
stays. An interface without a known peak gets the mean of the others. No interface gets less than a tenth of
the best: without traffic, it could never show its capacity.

A new weight changes the kernel's routes, and affects new flows. So weights change only if one is wrong by
CHANGE_FACTOR, and at most once in CHANGE_INTERVAL_S.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netbond.config.schema import Config
from netbond.contracts import Look, Output, Source, Traffic
from netbond.desired import Desired
from netbond.match import UNMATCHED
from netbond.model import Facts, Interface

SMOOTHING_S = 5.0  # time constant: shorter bursts count little
HALF_LIFE_S = 600.0  # a peak decays to half in this time, unless it is reached again
LEAST_BPS = 100_000.0  # a smaller peak says nothing about an interface
HIGHEST_WEIGHT = 10
CHANGE_INTERVAL_S = 60.0
CHANGE_FACTOR = 1.3


@dataclass(slots=True)
class _Carried:
    smooth_bps: float = 0.0
    peak_bps: float = 0.0


@dataclass(slots=True)
class WeightMeter:
    """Weighs interfaces by their traffic. Pure: `now_s` is in seconds of a monotonic clock."""

    _seen: dict[str, _Carried] = field(default_factory=dict)
    _last_s: float | None = None
    _weights: dict[str, int] = field(default_factory=dict)
    _changed_s: float | None = None

    def observe(self, carried: Mapping[str, float], now_s: float) -> None:
        """Take the traffic of each interface in bit/s, both directions together."""
        dt_s = 0.0 if self._last_s is None else max(0.0, now_s - self._last_s)
        self._last_s = now_s
        share = dt_s / (SMOOTHING_S + dt_s)
        for name, rate_bps in carried.items():
            seen = self._seen.setdefault(name, _Carried())
            seen.smooth_bps += (rate_bps - seen.smooth_bps) * share
        for seen in self._seen.values():
            seen.peak_bps = max(seen.smooth_bps, seen.peak_bps * 0.5 ** (dt_s / HALF_LIFE_S))

    def weights(self, names: Iterable[str], now_s: float) -> dict[str, int]:
        """Return a weight from 1 to 10 for each of these interfaces; forget the others."""
        wanted = sorted(set(names))
        self._seen = {name: seen for name, seen in self._seen.items() if name in wanted}
        exact = self._exact(wanted)
        waited = self._changed_s is None or now_s - self._changed_s >= CHANGE_INTERVAL_S
        off = any(
            max(exact[name], old) / min(exact[name], old) >= CHANGE_FACTOR
            for name, old in self._weights.items()
            if name in exact
        )
        if set(self._weights) != set(wanted):
            # An interface has appeared or disappeared: the others keep their weights.
            self._weights = {name: self._weights.get(name, round(exact[name])) for name in wanted}
        elif off and waited:
            new = {name: round(exact[name]) for name in wanted}
            self._changed_s = now_s if new != self._weights else self._changed_s
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
    """Weighs the uplinks whose [[uplink]] has `weight = "auto"`, once a second."""

    name = "weights"

    def __init__(self) -> None:
        self._look: Look = lambda: None
        self._meter = WeightMeter()
        self._measured: tuple[tuple[str, int], ...] = ()
        self._automatic: frozenset[str] = frozenset()

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Call `look` whenever a weight has changed."""
        self._look = look

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the weights."""
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
        """Observe the uplinks' traffic."""
        carried = {d: r.rx_bps + r.tx_bps for d, r in traffic.rates.items() if d in self._automatic}
        self._meter.observe(carried, now_s)
        measured = tuple(sorted(self._meter.weights(self._automatic, now_s).items()))
        if measured != self._measured:
            self._measured = measured
            self._look()
