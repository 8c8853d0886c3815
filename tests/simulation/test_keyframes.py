"""What becomes of the packets of keyframes, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from netbond.srtla.modes import make_carrier
from netbond.srtla.sender import Sender
from tests.bondsim import BONDS, FRAMES, KEY_EVERY, Simulation
from tests.transport_stream import FRAME, KEYFRAME, stream_packet


class KeyframeSimulation(Simulation):
    """Counts the packets of keyframes that are late or lost. `marked`: the stream shows which they are."""

    def __init__(self, links: list[str], mbps: float, *, marked: bool, **options: Any) -> None:
        def sender(random: Any, now: float) -> Sender:
            return Sender(random, make_carrier("adaptive"), now)

        super().__init__(links, sender, mbps=mbps, shape="keyframes", **options)
        self.marked = marked
        self.frames = [round(born * FRAMES) for born in self.born]
        self.in_time: set[int] = set()

    def _packet(self, index: int, *, again: bool) -> bytes:
        head = super()._packet(index, again=again)[:12]
        if index and self.frames[index] == self.frames[index - 1]:
            return head + stream_packet()[12:]
        key = self.marked and self._is_key(index)
        return head + stream_packet(KEYFRAME if key else FRAME)[12:]

    def _is_key(self, index: int) -> bool:
        return self.frames[index] % KEY_EVERY == 0

    def _take(self, index: int) -> None:
        before = self.delivered
        super()._take(index)
        if self.delivered > before:
            self.in_time.add(index)

    def lost_pct(self) -> tuple[float, float]:
        """Run it; the loss in percent of the packets of keyframes, and of all."""
        outcome = self.run()
        key = [index for index in range(self.offered) if self._is_key(index)]
        return 100 * sum(index not in self.in_time for index in key) / len(key), outcome.lost_pct


@pytest.mark.parametrize(
    ("bond", "mbps", "most"),
    [("clean3", 13.9, 0.0), ("fading2", 10.0, 5.0)],  # 10 % more than there is; both links away for 2 s
)
def test_where_not_all_can_arrive_keyframes_do(bond: str, mbps: float, most: float) -> None:
    before, all_before = KeyframeSimulation(BONDS[bond], mbps, marked=False).lost_pct()
    now, all_now = KeyframeSimulation(BONDS[bond], mbps, marked=True).lost_pct()
    assert before > 12
    assert now <= most
    assert abs(all_now - all_before) < 0.5
