"""When the agent looks again, how long events settle, and when stale objects may go. Pure."""

from __future__ import annotations

# One change is several events (an address comes with its routes): wait for the rest of them, but not for a
# storm to end. Everything is read anew in any case, so what comes later is not lost. The first news after a
# while of quiet is attended to sooner than in a storm.
SETTLE_S = 0.0005
SETTLE_BUSY_S = 0.002  # when the last pass is more recent than QUIET_S
QUIET_S = 0.005
RESYNC_S = 10.0  # between two passes that nothing asked for: the kernel does not tell everything
PRUNE_AFTER_S = 10.0  # after the start, what looks stale goes even if a source has not spoken yet


def settle_s(since_last_pass_s: float, read_cost_s: float) -> float:
    """How long to let the rest of an event come in.

    `read_cost_s` is the processor's time that the last reading of the kernel took: with very many routes
    reading takes its time, and waiting as long leaves half of ours to others.
    """
    if since_last_pass_s > QUIET_S and read_cost_s < SETTLE_BUSY_S:
        return SETTLE_S
    return max(SETTLE_BUSY_S, read_cost_s)


def may_prune(*, complete: bool, since_start_s: float) -> bool:
    """Whether what looks stale may go: all sources have spoken (`complete`), or had their time."""
    return complete or since_start_s > PRUNE_AFTER_S


def next_look_s(retry_s: float | None, repair_due_s: float | None) -> float:
    """Seconds until the next pass that no event asks for.

    `retry_s`: something was refused; `repair_due_s`: seconds until a repair that waits may be made.
    """
    if retry_s is not None:
        return retry_s
    return RESYNC_S if repair_due_s is None else max(0.0, min(RESYNC_S, repair_due_s))
