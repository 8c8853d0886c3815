"""Models one link: what it delivers, when a packet would arrive, and how much it may be given now.

It joins the parts: `Path` (round trips), `DeliveryRate`, `Flight` (what is in flight, what was lost),
`Control` (how much may be in flight) and `Pacer`. docs/bonding.md has the words and the formulas. Rates are
bytes/s, times s, `now` is monotonic s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from netbond.srtla.adaptive.control import Control
from netbond.srtla.adaptive.losses import ACK_BATCH, Flight
from netbond.srtla.adaptive.pacer import BURST_MOST, Pacer
from netbond.srtla.adaptive.packets import ARRIVED, LOST, PASSED, Transmission
from netbond.srtla.adaptive.parameters import Parameters
from netbond.srtla.adaptive.path import Path
from netbond.srtla.adaptive.rate import DeliveryRate
from netbond.srtla.schedule import LinkState

REMEMBERED: Final = 10.0  # s for which what was known of a link is true after it was last heard
TYPICAL: Final = 1332  # bytes of a data packet, before any has been seen


class LinkModel:
    """The model of one link."""

    def __init__(self, owner: LinkState, parameters: Parameters, target: float, now: float) -> None:
        """`target` is the queue that the link may have, in s."""
        self.owner = owner
        self.parameters = parameters
        self.flight = Flight()
        self.size = TYPICAL
        self.told_lost = 0  # of `flight.lost`, how much the link's statistics know
        self.ask_at = 4
        self.called = 0  # packets with a lower index were copied because their time ran out
        # For the packets of one wake-up (see `look`):
        self.backlog = 0.0  # bytes in flight
        self.room = 0.0  # bytes that may still be sent
        self.full = False
        self.eta = 0.0  # s until a packet that is sent now arrives
        self.sure = 0.0  # s within which it should arrive
        self.margin = 0.0  # s by which a packet must be expected before its deadline
        self.needs = 0.0  # s that a packet must have left: `sure` and the margin
        self.share = 0.0  # backlog as a share of ...
        self._measure = 1.0  # ... this many bytes
        self._begin(target, now)

    def _begin(self, target: float, now: float) -> None:
        p = self.parameters
        self.path = Path(p)
        self.rate = DeliveryRate(now)
        self.control = Control(p, target, self.path, self.rate, self.flight)
        self.pacer = Pacer(p, now)
        self.delivered_at = now
        self.proved_at = now  # the last proof that packets pass
        self.asked_at = 0.0
        self.answer_due = 0.0

    def reset(self, now: float) -> None:
        """Start again: as the link that it was, if it was known a moment ago, else as a new one."""
        self.flight.reset()
        self.called = 0
        self.ask_at = 4  # during start-up: with this many packets in flight, a keepalive measures the link
        if self.rate.rate and now - self.proved_at < REMEMBERED:
            self.rate.began(now)
            self.control.rejoined()
            self.proved_at = now
            self.asked_at = self.answer_due = 0.0
        else:
            self._begin(self.control.target, now)

    # --- questions ------------------------------------------------------------------------------------------

    def look(self, now: float, slack: float) -> bool:
        """Evaluate the link for the packets to send now; return whether it can take one.

        `slack` is the time in s for which packets have waited only because the sender did not look.
        """
        # At start-up the rate may be much too high.
        self.pacer.slack = (
            min(slack, BURST_MOST)
            if self.control.startup
            else min(max(slack, self.parameters.burst_s), BURST_MOST)
        )
        self.backlog = backlog = self.outstanding(now)
        size = self.size
        room = self.room = self.control.limit(size, now) - backlog
        self.full = room < size
        if self.full:
            self.control.hungry_at = now
            return False
        if self.pacer.next_at > now:
            return False
        self._expect()
        return True

    def compare(self, most: float, now: float) -> None:
        """Set `share`, by which packets are shared among equal links; `most` is their largest limit in bytes.

        A link that was not full lately may be able to carry as much as the best, so its share is of `most`.
        """
        hungry = now - self.control.hungry_at < self.parameters.hungry_s
        self._measure = self.backlog + self.room if hungry else most
        self.share = (self.backlog + self.size) / self._measure

    def keep_margin(self, budget: float, most: float) -> None:
        """Set `margin` to `most` s, but to half of the time that a packet can wait if it is sent at once.

        A larger margin would leave a far link idle for ever. `budget`: s until such a packet's deadline.
        """
        sure = self.arrival(0.0, self.size) + self.parameters.late_deviations * self.path.late
        self.margin = max(0.0, min(most, (budget - sure) / 2))
        self.needs = self.sure + self.margin

    def took(self, size: int, now: float) -> bool:
        """Note that a packet was sent now; return whether the link can take another."""
        self.backlog += size
        self.room -= size
        self.share = (self.backlog + size) / self._measure
        if self.room < size:
            return False
        self._expect()
        return self.pacer.next_at <= now

    def _expect(self) -> None:
        self.eta = self.arrival(self.backlog, self.size)
        self.sure = self.eta + self.parameters.late_deviations * self.path.late
        self.needs = self.sure + self.margin

    def arrival(self, backlog: float, size: int) -> float:
        """Return the s until a packet of `size` bytes arrives that is sent now, after `backlog` bytes."""
        path, rate = self.path, self.rate.rate
        if self.control.startup:
            # A link that was full once keeps a long smoothed round trip, so it would never get the packets
            # that would shorten it. A link that was given little has a low rate, but no queue.
            empty = backlog < max(rate, self.parameters.initial_rate) * path.shortest
            return (path.shortest if empty else path.smoothed) - path.back()
        return max(path.shortest, backlog / rate) + size / rate - path.back()

    def outstanding(self, now: float) -> float:
        """Return the bytes that are probably still in flight.

        These are the bytes without proof, less those that have probably arrived since the last proof, which
        comes for ten packets at a time.
        """
        flying = float(self.flight.bytes)
        rate = self.rate.rate
        if not flying or not rate or not self.flight.fifo:
            return flying
        since = max(self.delivered_at, self.flight.fifo[0].sent_at + self.path.shortest)
        if now <= since:
            return flying
        credit = rate * (now - since)
        most = (ACK_BATCH - 1) * self.size
        return flying - min(most, credit) if flying > most else max(0.0, flying - credit)

    def round_trip(self) -> float:
        """Return the s until proof of a packet sent now is expected."""
        rate = self.rate.rate
        return max(self.path.smoothed, self.flight.bytes / rate if rate else 0.0)

    def batch_time(self) -> float:
        """Return the s between two SRTLA ACKs of a busy link."""
        rate = self.rate.rate
        return ACK_BATCH * self.size / rate if rate else 0.0

    # --- what happens ---------------------------------------------------------------------------------------

    def sent(self, transmission: Transmission, index: int, now: float) -> None:
        """Record a packet that is sent now, the `index`-th on this link."""
        rate = self.rate
        if not self.flight.bytes:
            self.delivered_at = now
            rate.began(now)
        transmission.link = self
        transmission.sent_at = now
        transmission.base = rate.base
        size = self.size = transmission.size
        speed = rate.rate
        if speed:
            transmission.expected = max(self.path.shortest, self.outstanding(now) / speed) + size / speed
            if speed > rate.peak:
                rate.peak = speed
        self.pace(size, now)
        self.flight.add(transmission, index)

    def pace(self, size: int, now: float) -> None:
        """Note that a packet leaves now."""
        speed = max(self.rate.rate, self.parameters.initial_rate) if self.control.startup else self.rate.peak
        self.pacer.sent(size, speed * self.control.pace(now), now)

    def acknowledged(self, named: Sequence[Transmission], now: float) -> list[Transmission]:
        """Take an SRTLA ACK's transmissions, in the order of arrival; return those that it proves lost."""
        flight, rate = self.flight, self.rate
        for transmission in named:
            if transmission.state == PASSED:
                rate.doubtful -= transmission.size
            if transmission.state != LOST and transmission.state != ARRIVED:
                rate.delivered += transmission.size
            flight.leave(transmission, ARRIVED, now)
        last = named[-1]
        self.owner.passing.acknowledged(last.size)
        self.delivered_at = now
        self._proved(last, now - last.sent_at, now)
        missing = flight.missing(last)
        # A lost ACK names ten packets, so if fewer are missing, they are lost. Ten or more count as delivered
        # when the link seems slower, and as lost when it seems faster (`DeliveryRate`).
        lost = len(missing) < ACK_BATCH
        for transmission in missing:
            if not lost and transmission.state != PASSED:
                rate.doubtful += transmission.size
            flight.leave(transmission, LOST if lost else PASSED, now)
        rate.proved(now)
        return missing if lost else []

    def echoed(self, before: int, sample: float, now: float, *, mute: bool) -> None:
        """Take the echo of a keepalive that was sent before the `before`-th packet, `sample` s ago.

        `mute`: the receiver sends no SRTLA ACKs, so there is no better proof that packets arrived.
        """
        gone = self.flight.passed(before, now)
        size = sum(transmission.size for transmission in gone)
        if mute:
            self.rate.delivered += size
        else:
            self.rate.doubtful += size
        if len(self.flight.unsure) >= ACK_BATCH:  # they have passed, and no SRTLA ACK names them
            self.owner.passing.sent(self.flight.unsure[-1].size, self.flight.unsure[0].sent_at)
        if gone:
            self.delivered_at = now
            self._proved(gone[-1], sample, now)
        else:
            self.proved_at = now
            self.path.seen(sample, self.control.target, now, idle=not self.flight.packets)
        self.rate.proved(now)

    def _proved(self, last: Transmission, rtt: float, now: float) -> None:
        control, path = self.control, self.path
        self.proved_at = now
        path.seen(rtt, control.target, now, idle=not self.flight.packets)
        if last.expected:
            path.was_late(rtt - last.expected, path.shortest + 2 * control.target)
        control.proved(last, rtt, now)

    def lost(self, transmission: Transmission, now: float) -> None:
        """Note that a packet is known to be lost."""
        self.flight.leave(transmission, LOST, now)

    def abandon(self, now: float) -> list[Transmission]:
        """Return all packets in flight, which count as lost with the link."""
        gone = self.flight.empty(now)
        self.rate.doubtful += sum(transmission.size for transmission in gone)
        return gone
