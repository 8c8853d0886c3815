"""Which link carries the next packet.

A scheduler is told all that happens on the links (a packet left, was acknowledged, was lost, a round trip was
measured) and is asked for a link, packet by packet. It keeps its own state of a link in `LinkState.model` and
in `window`; everything else in there belongs to the sender. It has no clock: `now` is monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

WINDOW_UNIT = 1000  # a window of 1000 means one packet in flight
WINDOW_MIN = 1 * WINDOW_UNIT
WINDOW_START = 20 * WINDOW_UNIT
WINDOW_MAX = 60 * WINDOW_UNIT
WINDOW_UP = 29  # for an acknowledged packet on a link that is in use
WINDOW_DOWN = 100  # for a lost packet


@dataclass(slots=True, eq=False)
class LinkState:
    """What a scheduler sees of a link."""

    number: int
    window: int = WINDOW_START  # in thousandths of a packet; the scheduler's
    in_flight: int = 0  # data packets sent, not yet acknowledged, not known to be lost
    in_flight_bytes: int = 0
    usable: bool = False  # the receiver has accepted the link and it is not timed out
    stalled: bool = False  # nothing heard for far longer than a round trip, though packets were sent
    rtt: float | None = None  # s, smoothed, from keepalives
    model: Any = None  # whatever a scheduler wants to remember of this link


class Scheduler(Protocol):
    """The choice of links, and all it may learn from."""

    def choose(
        self, links: Sequence[LinkState], size: int, now: float, *, again: bool = False
    ) -> LinkState | None:
        """The link for a packet of `size` bytes; None: none can take it. `again`: it was sent before."""

    def sent(self, link: LinkState, size: int, now: float) -> None:
        """A data packet left on `link`."""

    def acknowledged(
        self, link: LinkState | None, links: Sequence[LinkState], size: int, sent_at: float | None, now: float
    ) -> None:
        """An SRTLA ACK named a packet that `link` carried; None: an SRT ACK had settled that packet before.
        `sent_at` is None when the packet went out more than once, so that its age says nothing about the
        link."""

    def lost(self, link: LinkState, size: int, now: float) -> None:
        """A packet that `link` carried is known to be lost. Called once per loss."""

    def rtt_measured(self, link: LinkState, sample: float, now: float) -> None:
        """A keepalive came back after `sample` seconds."""

    def reset(self, link: LinkState, now: float) -> None:
        """The link begins anew (registered, or registered again)."""


class ClassicScheduler:
    """What all SRTLA senders have done since the first: the link with the most free window per packet.

    The window grows by 29 with each acknowledgement on a link in use and by 1 with each acknowledgement on
    any link, and shrinks by 100 with each loss. A stalled link is chosen only when all are.
    """

    def choose(
        self, links: Sequence[LinkState], size: int, now: float, *, again: bool = False
    ) -> LinkState | None:
        best: LinkState | None = None
        best_score = -1
        stalled: LinkState | None = None
        for link in links:  # the first of equals wins, so the same history gives the same choice
            if not link.usable:
                continue
            if link.stalled:
                stalled = stalled or link
                continue
            score = link.window // (link.in_flight + 1)
            if score > best_score:
                best, best_score = link, score
        return best or stalled

    def sent(self, link: LinkState, size: int, now: float) -> None:
        pass

    def acknowledged(
        self, link: LinkState | None, links: Sequence[LinkState], size: int, sent_at: float | None, now: float
    ) -> None:
        if link is not None and link.in_flight * WINDOW_UNIT > link.window:
            link.window = min(link.window + WINDOW_UP, WINDOW_MAX)
        for each in links:
            if each.usable and each.window < WINDOW_MAX:
                each.window += 1

    def lost(self, link: LinkState, size: int, now: float) -> None:
        link.window = max(link.window - WINDOW_DOWN, WINDOW_MIN)

    def rtt_measured(self, link: LinkState, sample: float, now: float) -> None:
        pass

    def reset(self, link: LinkState, now: float) -> None:
        link.window = WINDOW_START


SCHEDULERS: dict[str, Callable[[], Scheduler]] = {"classic": ClassicScheduler}
