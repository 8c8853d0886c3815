"""Finds whether the SRT caller holds packets back, and then lets advice rise no faster than they come. Pure.

An SRT caller with MAXBW 0 (belacoder) sends at most a fifth more than what its encoder made in the second
before. If its encoder is told to make much more, the rest waits in the caller, where nobody sees it, comes
when the links are already full, and uses up SRT's latency. The caller stamps each packet when its encoder
made it (draft-sharabayko-srt, 3): how much later it comes than the quickest shows what waits.

Simulated with such a caller at 2 s: without this, three clean links carry 7.9 Mbit/s, with it 11.5; two
recorded LTE links 7.0 with 1.5 bad seconds a minute, and 7.2 with none. A caller that holds nothing back
would lose by it (8.7 and 7.6 at 1 s), so it is done only where packets were seen to wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

HELD_S: Final = 0.25  # that a packet waits in a caller that paces; a frame is sent within a tenth of it
ANOTHER_S: Final = 5.0  # a change of the stamps by more is another connection's clock
LEARNT_S: Final = 30.0  # for which the quickest packet is remembered; clocks drift
RISE: Final = 1.2  # a second, as the callers known
JUMP: Final = 0.5  # of what was advised over ...
RECENT_S: Final = 5.0  # ... this time: so far the advice may come back at once
FALLEN: Final = 0.7  # of the highest advice: the start of the stream is over

_CLOCK: Final = 1 << 32  # microseconds, after which a stamp is 0 again


class CallerPacing:
    """What is known of one caller. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self.paces = False
        self._offset: int | None = None  # microseconds from the stamps to our clock, of the quickest packet
        self._learnt_at = 0.0
        self._recent: deque[tuple[float, float]] = deque()  # (when, advice)
        self._top = 0.0
        self._fallen = False
        self._last = (0.0, 0.0)  # when, and what was given out

    def look(self, samples: Iterable[tuple[bytes, float]]) -> None:
        """Look at data packets of the caller, each with the time at which it came."""
        for data, came in samples:
            stamp = int.from_bytes(data[8:12], "big")
            offset = (int(came * 1e6) - stamp) % _CLOCK
            later = 0 if self._offset is None else _signed(offset - self._offset)
            if self._offset is None or abs(later) > ANOTHER_S * 1e6:
                self.paces = False
            elif later > 0 and came - self._learnt_at < LEARNT_S:
                self.paces = self.paces or later > HELD_S * 1e6
                continue
            self._offset, self._learnt_at = offset, came

    def held(self, bits_per_second: float, now: float) -> float:
        """Of what is advised, what the encoder is to hear now."""
        recent = self._recent
        recent.append((now, bits_per_second))
        while recent[0][0] < now - RECENT_S:
            recent.popleft()
        self._top = max(self._top, bits_per_second)
        self._fallen = self._fallen or bits_per_second < FALLEN * self._top
        if self.paces and self._fallen:
            before, last = self._last
            mean = sum(rate for _, rate in recent) / len(recent)
            bits_per_second = min(bits_per_second, max(last * RISE ** (now - before), JUMP * mean))
        self._last = now, bits_per_second
        return bits_per_second


def _signed(microseconds: int) -> int:
    """A difference of two clocks of 32 bits, the short way round."""
    return (microseconds + _CLOCK // 2) % _CLOCK - _CLOCK // 2
