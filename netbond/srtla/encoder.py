"""Decides what an encoder's bitrate file says, from the rate that is advised. Pure.

The file has two lines, the least and the most bit/s that the encoder may use (belacoder's `-b FILE`). While
there is advice both lines have it: an encoder that may choose between them goes down by itself at each dip,
and needs half a minute to come back. Without advice both have the least, as an encoder that starts begins
with the second line. When netbond ends they are the limits, so that the encoder follows its own law again.
"""

from __future__ import annotations

from typing import Final

Lines = tuple[int, int]  # least and most, bit/s

SHARE: Final = 0.03  # a smaller change is not worth a signal
PAUSE_S: Final = 0.05  # between two changes; the next news or `second` has what came meanwhile
SILENCE_S: Final = 3.0  # without news: there is no stream, or nobody knows what the links carry
STEP: Final = 1000  # bit/s; the lines are multiples of it, or a limit


class BitrateLines:
    """What the file of one encoder says."""

    def __init__(self, least: int, most: int) -> None:
        """The limits of its video rate, bit/s."""
        self.least = least
        self.most = most
        self._rate = least
        self._heard = float("-inf")
        self.written: Lines | None = None  # what the file says, if nobody else has written it
        self._written_at = float("-inf")

    def advise(self, bits_per_second: int, now: float) -> None:
        """The video rate that is advised now."""
        self._rate = min(max(bits_per_second // STEP * STEP, self.least), self.most)
        self._heard = now

    def due(self, now: float) -> Lines | None:
        """What to write now; None: what is written is still right. Say `wrote` when it is done."""
        rate = self._rate if now - self._heard < SILENCE_S else self.least
        if self.written is not None:
            before = self.written[1]
            at_limit = rate in (self.least, self.most) and self.written != (rate, rate)
            if not at_limit and abs(rate - before) < SHARE * before:
                return None
            if now - self._written_at < PAUSE_S:
                return None
        return rate, rate

    def wrote(self, lines: Lines, now: float) -> None:
        """The file says so since now."""
        self.written, self._written_at = lines, now

    @property
    def limits(self) -> Lines:
        """What the file says when netbond has ended."""
        return self.least, self.most


def text(lines: Lines) -> str:
    """The file's content."""
    return f"{lines[0]}\n{lines[1]}\n"
