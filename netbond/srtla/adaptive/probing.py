"""Fills links for a moment, so that it is known what they carry while a stream asks for little.

What fills them are copies of packets that were sent anyway: SHARE of the stream's bytes at most, one link at
a time, never on a metered one. A link shows what it carries only when packets queue in it, which takes ROUNDS
round trips at GAIN times the rate that is known.

Times are s, `now` is monotonic s, rates bytes/s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from netbond.srtla.adaptive.linkmodel import LinkModel
from netbond.srtla.schedule import LinkState

SHARE: Final = 0.02  # of the stream's bytes
CREDIT_MOST: Final = 128_000.0  # bytes that may be saved for one probe
STALE_S: Final = 5.0  # a link that was full or probed more recently is not probed
ROUNDS: Final = 2.0
GAIN: Final = 2.5  # as much as the pace allows while nothing queues
LASTS_MOST_S: Final = 0.3
LATENCY_LEAST_S: Final = 0.5  # for a shorter latency the queue that a probe leaves is too long, ...
FOLLOWED_LEAST_S: Final = 0.25  # ... or for this, if the encoder follows the advice


class Prober:
    """Which link is probed now."""

    def __init__(self) -> None:
        self.model: LinkModel | None = None
        self._until = 0.0
        self._credit = 0.0
        self._probed: dict[int, float] = {}  # link's number -> when it was probed

    def earn(self, size: int) -> None:
        """Note a packet of the stream, of `size` bytes."""
        self._credit = min(self._credit + SHARE * size, CREDIT_MOST)

    def spend(self, size: int) -> None:
        """Note a copy of `size` bytes."""
        self._credit -= size

    def choose(
        self, links: Sequence[LinkState], latency: float, now: float, *, waits: bool, follows: bool
    ) -> None:
        """End the present probe or begin another. `waits`: packets wait for a link, so none is probed.

        `follows`: the encoder offers what it is advised. With a short latency another one may go by SRT's
        round trip, and take the queue of a probe for the links' own: belacoder does.
        """
        model = self.model
        if model is not None:
            usable = model.owner.carries and not model.owner.stalled
            if waits or not usable or now >= self._until or self._credit < model.size or model.full:
                self.model = None
        elif not waits and latency >= (FOLLOWED_LEAST_S if follows else LATENCY_LEAST_S):
            self._begin(links, now)

    def _begin(self, links: Sequence[LinkState], now: float) -> None:
        oldest = now - STALE_S
        for link in links:
            model: LinkModel = link.model
            if not link.carries or link.stalled or link.metered:
                continue
            last = max(model.control.queued_at, self._probed.get(link.number, -STALE_S))
            need = GAIN * ROUNDS * model.rate.rate * model.path.shortest
            if last < oldest and self._credit >= min(need, CREDIT_MOST):
                self.model, oldest = model, last
        if self.model is not None:
            self._until = now + min(ROUNDS * self.model.path.shortest, LASTS_MOST_S)
            self._probed = {
                link.number: self._probed[link.number] for link in links if link.number in self._probed
            }
            self._probed[self.model.owner.number] = now
