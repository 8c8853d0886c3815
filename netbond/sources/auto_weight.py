"""`weight = "auto"`: small whole weights from what interfaces have carried. Pure, and slow on purpose.

What an interface carries is a lower bound of what it can: so its peak counts, over the last minutes, and a
short burst into a modem's buffer does not. In quiet times all peaks fade alike and the ratio stays. An
interface of which nothing is known yet gets the mean of the others, and none less than a tenth of the best:
an interface without traffic could never prove itself.

A new weight moves flows that begin from then on, and is a change of the kernel's routes: so weights are
changed only if one is off by a good deal, and once a minute at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netbond.config.schema import Config
from netbond.contracts import Look, Output, Source, Traffic
from netbond.desired import Desired
from netbond.match import UNMATCHED
from netbond.model import Facts, Link

SMOOTHING = 5.0  # seconds: how long traffic must last to count
HALF_LIFE = 600.0  # seconds in which a peak fades to half, unless it is reached again
FLOOR = 100_000.0  # bits per second; with less, nothing is known
HIGHEST = 10
PATIENCE = 60.0  # seconds between two changes
NOTABLE = 1.3  # by which factor a weight must be off


@dataclass(slots=True)
class _Seen:
    smooth: float = 0.0  # bits per second
    peak: float = 0.0


@dataclass(slots=True)
class Weigher:
    """`now` is seconds of a monotonic clock."""

    _seen: dict[str, _Seen] = field(default_factory=dict)
    _last: float | None = None
    _weights: dict[str, int] = field(default_factory=dict)
    _changed: float | None = None

    def observe(self, carried: Mapping[str, float], now: float) -> None:
        """What each interface carries now, in bits per second, both directions together."""
        dt = 0.0 if self._last is None else max(0.0, now - self._last)
        self._last = now
        share = dt / (SMOOTHING + dt)
        for name, rate in carried.items():
            seen = self._seen.setdefault(name, _Seen())
            seen.smooth += (rate - seen.smooth) * share
        for seen in self._seen.values():
            seen.peak = max(seen.smooth, seen.peak * 0.5 ** (dt / HALF_LIFE))

    def weights(self, names: Iterable[str], now: float) -> dict[str, int]:
        """A weight from 1 to 10 for each of these interfaces; others are forgotten."""
        wanted = sorted(set(names))
        self._seen = {name: seen for name, seen in self._seen.items() if name in wanted}
        exact = self._exact(wanted)
        waited = self._changed is None or now - self._changed >= PATIENCE
        off = any(
            max(exact[name], old) / min(exact[name], old) >= NOTABLE
            for name, old in self._weights.items()
            if name in exact
        )
        if set(self._weights) != set(wanted):
            # Come or gone: the others keep theirs.
            self._weights = {name: self._weights.get(name, round(exact[name])) for name in wanted}
        elif off and waited:
            new = {name: round(exact[name]) for name in wanted}
            self._changed = now if new != self._weights else self._changed
            self._weights = new
        return dict(self._weights)

    def _exact(self, names: Iterable[str]) -> dict[str, float]:
        known = {name: self._seen[name].peak for name in names if name in self._seen}
        known = {name: peak for name, peak in known.items() if peak >= FLOOR}
        if not known:
            return dict.fromkeys(names, 1.0)
        best, mean = max(known.values()), sum(known.values()) / len(known)
        return {name: max(1.0, HIGHEST * known.get(name, mean) / best) for name in names}


class AutoWeights(Source, Output):
    """Weighs the uplinks whose settings say `weight = "auto"`, once a second."""

    name = "weights"

    def __init__(self) -> None:
        self._look: Look = lambda: None
        self._weigher = Weigher()
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
        self._weigher.observe(carried, now_s)
        measured = tuple(sorted(self._weigher.weights(self._automatic, now_s).items()))
        if measured != self._measured:
            self._measured = measured
            self._look()
