"""Makes a sender's advice (advice.py) of what its mode knows of the links."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from netbond.srtla.advice import EVERY_S, FALL, Advice, LinkAdvice
from netbond.srtla.link import Link, loss_pct, rtt_ms
from netbond.srtla.schedule import Carrier

LOSS_WINDOW_S: Final = 10  # over which the advice counts loss


class Adviser:
    """The advice for one sender's stream. `now` is monotonic seconds."""

    def __init__(self, carrier: Carrier, now: float) -> None:
        self._carrier = carrier
        self._next = now
        # (packets of the caller, given up), EVERY_S apart, for the advice's loss.
        self._past: deque[tuple[int, int]] = deque(maxlen=LOSS_WINDOW_S * 5)
        self.advice: Advice | None = None  # the latest; None: no stream, or the mode has none

    def look(self, links: Sequence[Link], packets: int, now: float) -> Advice | None:
        """New advice, if it is due; `packets`: what has come from the caller so far, without repeats."""
        bond = self._carrier.advised(now)
        if bond is None:
            self.advice = None
            return None
        before = self.advice
        fell = before is not None and bond.advised < (1 - FALL) * before.advised_bits_per_second
        if now < self._next and not fell:
            return None
        self._next = now + EVERY_S
        self._past.append((packets, self._carrier.stats()["dropped"]))
        offered = max(self._past[-1][0] - self._past[0][0], 1)
        lost = self._past[-1][1] - self._past[0][1]
        rtts = [link.rtt for link in links if link.usable and link.rtt is not None]
        self.advice = Advice(
            round(bond.advised),
            round(bond.capacity),
            round(bond.queued_s * 1000),
            round(bond.latency_s * 1000),
            min(100.0, round(100 * lost / offered, 2)),
            round(min(rtts) * 1000) if rtts else None,
            tuple(self._of_link(link, now) for link in links),
        )
        return self.advice

    def _of_link(self, link: Link, now: float) -> LinkAdvice:
        return LinkAdvice(
            label=link.spec.label,
            state=link.state,
            rtt_ms=rtt_ms(link),
            loss_pct=loss_pct(link),
            bitrate_bps=link.bitrate,
            **capacity(self._carrier, link, now),
        )


def capacity(carrier: Carrier, link: Link, now: float) -> dict[str, Any]:
    """What the mode knows of the link's capacity, as keys of the statistics."""
    found = carrier.capacity(link, now)
    if found is None:
        return {
            "capacity_bits_per_second": None,
            "capacity_is": "unknown",
            "capacity_age_ms": None,
            "queued_ms": None,
        }
    return {
        "capacity_bits_per_second": round(found.bits_per_second) if found.certainty != "unknown" else None,
        "capacity_is": found.certainty,
        "capacity_age_ms": None if found.age_s is None else round(found.age_s * 1000),
        "queued_ms": round(found.queued_s * 1000),
    }
