"""Says what a link carries, how sure that is, and what waits in it.

Rates are bytes/s of SRT packets, times s, `now` is monotonic s.
"""

from __future__ import annotations

from typing import Final

from netbond.srtla.adaptive.linkmodel import LinkModel
from netbond.srtla.adaptive.losses import ACK_BATCH
from netbond.srtla.advice import Certainty
from netbond.srtla.schedule import Capacity
from netbond.srtla.wire import SRT_HEADER

FRESH_S: Final = 2.0  # after a link was full, its rate counts as measured
LATE_S: Final = 0.01  # by which proof must be late to say something


def rate_of(model: LinkModel, now: float) -> float:
    """Return the bytes/s that the link delivers if it is full.

    The less a link delivers, the later comes the proof of it, so the model's rate falls late. That proof has
    not come yet says as much: what was in flight before the oldest packet, and an ACK's worth of packets
    more, have taken longer than since that packet could have arrived.
    """
    rate = model.rate.rate
    oldest = model.flight.oldest()
    if oldest is None:
        return rate
    shortest = model.path.shortest
    late = now - max(oldest.sent_at, model.delivered_at - shortest) - shortest
    if late <= LATE_S:
        return rate
    return min(rate, (oldest.flight + ACK_BATCH * model.size) / late)


def queue_of(model: LinkModel, rate: float, now: float) -> float:
    """Return the bytes that wait in the link, which delivers `rate`: more in flight than its path holds.

    In start-up the rate says little of what the path holds: it is what the link was given.
    """
    if model.control.startup:
        rate = max(rate, model.parameters.initial_rate)
    return max(0.0, model.outstanding(now) - rate * model.path.shortest)


def payload(rate: float, size: int) -> float:
    """Return the bit/s of SRT payload of a rate in bytes/s of SRT packets with `size` bytes."""
    return 8 * rate * (size - SRT_HEADER) / size


def capacity_of(model: LinkModel, rate: float, now: float) -> Capacity:
    """Return what the link carries, if it delivers `rate` when it is full."""
    queued = queue_of(model, rate, now) / rate if rate else 0.0
    full_at = model.control.queued_at
    age = now - full_at if full_at >= 0 else None
    if not rate:
        return Capacity(0.0, "unknown", None, 0.0)
    certainty: Certainty = "at_least"
    if age is not None:
        certainty = "measured" if age <= FRESH_S else "remembered"
    return Capacity(payload(rate, model.size), certainty, age, queued)
