"""Decides when the agent makes its next pass, and when it may remove objects that look stale. Pure."""

from __future__ import annotations

from collections.abc import Iterable

# One change causes several events (an address comes with its routes). Wait for the rest of them, but not
# until a storm of events has ended. No event is lost by that, because each pass reads everything again. The
# first event after a quiet time waits less than an event in a storm.
SETTLE_S = 0.0005
SETTLE_BUSY_S = 0.002  # if the last pass ended less than QUIET_S ago
QUIET_S = 0.005
QUIET_READINGS = 10  # the time without a pass that is quiet, too, as a multiple of what reading costs
CHEAP_READING_S = 0.01  # a pass too many, because the rest of the events comes late, is no matter then
RESYNC_S = 10.0  # between two passes without an event: the kernel does not report every change
PRUNE_AFTER_S = 10.0  # after the start; then stale objects are removed even if a source has not reported yet

# After a route has expired: within 1/100 s of the expiry the kernel says that the route never expires.
AFTER_EXPIRY_S = 0.05


def settle_s(since_last_pass_s: float, read_cost_s: float) -> float:
    """Return how long to wait, after an event, for the events that belong to it.

    `read_cost_s` is the processor time that the last reading of the kernel took. With very many routes,
    reading is expensive. Waiting as long as reading takes leaves half of the processor to others.
    """
    quiet_s = max(QUIET_S, QUIET_READINGS * read_cost_s)
    if since_last_pass_s > quiet_s and read_cost_s < CHEAP_READING_S:
        return SETTLE_S
    return max(SETTLE_BUSY_S, read_cost_s)


def may_prune(*, complete: bool, since_start_s: float) -> bool:
    """Whether stale objects may be removed: all sources have reported (`complete`), or had time to."""
    return complete or since_start_s > PRUNE_AFTER_S


def look_at_expiry_s(expiries_s: Iterable[float], before_s: float | None) -> float | None:
    """Return the seconds until the look after the next expiry of a route; None if none expires.

    `before_s` is what was returned in the last pass, less the time since then. It counts as long as it lies
    ahead: a pass in the very moment of the expiry does not see it.
    """
    ahead = [expiry_s + AFTER_EXPIRY_S for expiry_s in expiries_s]
    if before_s is not None and before_s > 0:
        ahead.append(before_s)
    return min(ahead, default=None)


def is_sooner(expiries_s: Iterable[float], look_s: float) -> bool:
    """Whether one of the expiries comes before the look that was to follow the next one, in `look_s`."""
    return any(expiry_s + 2 * AFTER_EXPIRY_S < look_s for expiry_s in expiries_s)


def next_look_s(*due_s: float | None) -> float:
    """Return the seconds until the next pass, if no event comes first.

    `due_s` are the times until something refused is to be tried again, until a delayed repair may be made,
    and until a route has expired; None if there is none.
    """
    return max(0.0, min([RESYNC_S, *(due for due in due_s if due is not None)]))
