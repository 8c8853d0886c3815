"""Spreads a link's packets over time, so that short queues in modems do not overflow."""

from __future__ import annotations

from typing import Final

from netbond.srtla.adaptive.parameters import Parameters

PACE_LEAST: Final = 125_000.0  # bytes/s
BURST_MOST: Final = 0.05  # s of the pace that a busy machine may catch up


class Pacer:
    """The pace of one link."""

    def __init__(self, parameters: Parameters, now: float) -> None:
        self._p = parameters
        self.next_at = now  # do not send a packet before this time
        self.slack = 0.0  # s for which packets have waited only because the sender did not look

    def sent(self, size: int, pace: float, now: float) -> None:
        """Note a packet of `size` bytes; `pace` in bytes/s."""
        p = self._p
        step = size / max(pace, PACE_LEAST)
        self.next_at = max(self.next_at, now - max(p.burst_packets * step, self.slack)) + step
