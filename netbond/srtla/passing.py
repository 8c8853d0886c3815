"""Finds the largest packet that passes a link: some links answer keepalives, but swallow full-size packets.

A tunnel or a mobile network with a small MTU may drop longer packets without an ICMP message. Registration
and keepalives pass, so such a link looks well, and each data packet on it is lost.

A link is asked as in RFC 8899, by packets of the size in doubt that are sure to be answered: keepalives
padded with zero bytes. Receivers echo a keepalive whole (tried: netbond, BELABOX, CERALIVE, irlserver,
OpenIRL). A plain keepalive leaves right behind it. If the plain one is echoed and the padded one is not, the
padded one was swallowed, or just lost. So a limit is believed after FAILURES of these in a row, during which
no data packet of that size is known to have arrived. On a link that loses 30 % of all packets each way, a
padded keepalive fails before another one is echoed with probability 0.34: six in a row are one in 650.

A link is in doubt when its data packets have had no proof of arrival for PATIENCE_S. With a receiver that
sends no SRTLA ACKs, all links are in doubt: each is asked once in AGAIN_S (10 kbit/s).

Once found, the limit is narrowed down to STEP bytes. The smallest size that does not pass is asked for again
each AGAIN_S. When it passes, the limit is searched again above it, up to the largest size that did not pass;
when that one passes, there is no limit any more.
"""

from __future__ import annotations

from typing import Final

from netbond.srtla import wire

BASE: Final = wire.REG_LENGTH  # bytes: has passed each link whose registration was answered
PATIENCE_S: Final = 0.2  # without proof of arrival: above the spacing of SRTLA ACKs from 0.6 Mbit/s on
FAILURES: Final = 6  # padded keepalives in a row that were swallowed: a size counts as not passing, ...
SEARCH_FAILURES: Final = 2  # ... and so it does beyond what has passed, while a limit is narrowed down
SPACING_S: Final = 0.05  # between padded keepalives after the first failure: longer than most bursts of loss
UNANSWERED_S: Final = 1.0  # after which an echo is not waited for
AGAIN_S: Final = 1.0  # between questions that are not urgent
STEP: Final = 64  # bytes to which a limit is narrowed down


class Passing:
    """What passes one link. Sizes are those of UDP payloads, in bytes; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self.limit: int | None = None  # larger packets do not arrive; None: no limit is known
        self.passes = BASE  # the largest size known to pass
        self._fails = 0  # the smallest size known not to pass; 0: none
        self._full = 0  # the largest size that did not pass
        self._doubted = 0  # the largest data packet sent since the last proof; 0: none
        self._doubted_since = 0.0
        self._failures = 0  # in a row, of what is in doubt
        self._asked: list[tuple[float, int]] = []  # padded keepalives without an echo: when they left, size
        self._ask_at = 0.0  # not to be asked before

    def sent(self, size: int, now: float) -> None:
        """A data packet of this size leaves."""
        if size > self._doubted:
            if not self._doubted:
                self._doubted_since = now
            self._doubted = size

    def acknowledged(self, size: int) -> None:
        """A data packet of this size has arrived over this link."""
        if size >= self._doubted:
            self._doubted = self._failures = 0
        if size > self.passes:
            self._proved(size)

    def probe(self, now: float) -> int:
        """The size to which to pad a keepalive that leaves now, with a plain one right behind it; 0: none."""
        while self._asked and now - self._asked[0][0] >= UNANSWERED_S:
            del self._asked[0]
        size = self._size_in_doubt(now)
        at_once = (
            FAILURES - self._failures if self._failures else 1
        )  # gentle to a slow link that just is slow
        if not size or now < self._ask_at or len(self._asked) >= at_once:
            return 0
        self._asked.append((now, size))
        self._ask_at = now + (AGAIN_S if size == self._fails else SPACING_S)
        return size

    def echo(self, size: int, sent_at: float, now: float) -> bool:
        """The keepalive that left at `sent_at` with this size came back. Whether that shows that a padded one
        did not arrive."""
        if size > BASE:
            if size >= self._doubted:
                self._doubted = 0
            self._asked.clear()
            self._failures = 0
            self._proved(size)
            self._ask_at = now if self._fails else now + AGAIN_S
            return False
        swallowed = 0
        while self._asked and self._asked[0][0] <= sent_at:
            left_at, asked = self._asked.pop(0)
            swallowed = asked if left_at == sent_at else 0  # else its own plain one did not come back, either
        if swallowed:
            self._failed(swallowed)
        return bool(swallowed)

    def _size_in_doubt(self, now: float) -> int:
        unproved = self._doubted > BASE and now - self._doubted_since >= PATIENCE_S
        if unproved and (not self._fails or self._doubted <= self.passes):
            return self._doubted
        if self._fails - self.passes > STEP:
            return (self.passes + self._fails) // 2
        return self._fails

    def _proved(self, size: int) -> None:
        self.passes = max(self.passes, size)
        if self._fails and self.passes >= self._fails:
            self._fails = self._full if self.passes < self._full else 0
            self._doubted = 0
        self.limit = self.passes if self._fails else None

    def _failed(self, size: int) -> None:
        if size == self._fails:
            return
        self._failures += 1
        if self._failures >= (SEARCH_FAILURES if self._fails and size > self.passes else FAILURES):
            self._full = max(self._full, size) if self._fails else size
            self._fails = size
            if self.passes >= size:
                self.passes = BASE
            self.limit = self.passes
            self._doubted = self._failures = 0
            self._asked.clear()
