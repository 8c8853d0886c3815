"""Measures the rate at which a link delivers, from the link's own proof.

A sample is the bytes that passed between the last proof before a packet left and the proof for that packet,
over the longer of the times between the proofs and between the sendings, as in BBR
(draft-cardwell-iccrg-bbr). It counts as the link's capacity only if the packet was queued in the link; the
estimate of a link that was not busy can only rise, so an idle link keeps it. A sample belongs to one
transmission on one link, so a packet that was sent twice causes no error.
"""

from __future__ import annotations

from netbond.srtla.adaptive.packets import Base, Transmission


class DeliveryRate:
    """The rate of one link, in bytes/s."""

    def __init__(self, now: float) -> None:
        self.rate = 0.0  # 0.0: unknown
        self.peak = 0.0  # the highest one lately
        self.delivered = 0  # bytes that arrived
        self.doubtful = 0  # bytes that arrived, or were lost
        self.began_at = now  # when the link last had nothing in flight
        self.sent_at = now
        self.sampled_at = now
        self.measured_from = now  # packets that left earlier do not lower the rate
        self.base = Base(0, 0, now, now)

    def began(self, now: float) -> None:
        """Note that the first packet leaves on an idle link."""
        self.began_at = self.sent_at = now
        self.proved(now)

    def proved(self, now: float) -> None:
        """Begin a sample for the packets that leave from now on."""
        self.base = Base(self.delivered, self.doubtful, now, self.sent_at)

    def sample(self, last: Transmission, now: float) -> tuple[float, float, float]:
        """Return the lower and the upper bound of the rate that `last` shows, and the s it took.

        (0, 0, 0): it shows nothing. The bounds differ by what was lost, or whose ACK was.
        """
        base = last.base
        if base is None:
            return 0.0, 0.0, 0.0
        interval = max(now - base.at, last.sent_at - base.sent_at)
        self.sent_at = last.sent_at
        arrived = self.delivered - base.delivered
        passed = arrived + self.doubtful - base.doubtful
        if interval <= 0.001 or passed <= 0:  # packets that counted as lost and are now named do not count
            return 0.0, 0.0, 0.0
        most = passed / interval
        # An echo may already have proved that some of the packets named now had passed.
        return min(arrived / interval, most), most, interval

    def update(
        self, least: float, most: float, now: float, tau: float, *, queued: bool, may_fall: bool
    ) -> None:
        """Take a sample's bounds. `queued`: the link was busy; `tau`: s over which a fall is smoothed."""
        elapsed = now - self.sampled_at
        self.sampled_at = now
        if not self.rate:
            self.rate = most
        elif least > self.rate:
            self.rate += (least - self.rate) * (0.5 if queued else 1.0)
        elif most < self.rate and may_fall:
            self.rate += (most - self.rate) * min(0.5, max(0.1, elapsed / tau))
