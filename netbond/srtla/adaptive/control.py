"""Decides how much may be in flight on a link.

The limit is rate x (shortest round trip + a short queue). The queue keeps the link busy, and it probes for
more: if the link can carry more, the queue disappears, more packets pass, and the measured rate rises.

- A new link's limit at least doubles its rate each round trip, until packets queue.
- If the delay varies, the shortest round trip says too little about what a path holds, and less in flight
  would look like a slower link. So each second a link that is full gets a quarter more in flight for two
  round trips. If it delivers more, it keeps the difference (`extra`).
- A path that became longer is not taken for a link that became slower (`LongerPath`).
"""

from __future__ import annotations

from typing import Final

from netbond.srtla.adaptive.losses import ACK_BATCH, Flight
from netbond.srtla.adaptive.packets import Transmission
from netbond.srtla.adaptive.parameters import Parameters
from netbond.srtla.adaptive.path import Path
from netbond.srtla.adaptive.rate import DeliveryRate

LEAST: Final = 2  # packets that may always be in flight
REGAIN: Final = 2  # round trips without growth after which a link with a longer path carries what it can
ALIKE: Final = 0.08  # round trips that differ by less than this share count as equal
# A path is longer if so many round trips in a row take so many times what a queue of these bytes would:
LONGER: Final = 1.8
LONGER_STEADY: Final = 6
MUCH_LONGER: Final = 3.0
MUCH_LONGER_STEADY: Final = 2  # while a link fades, hardly two are equal


class LongerPath:
    """Distinguishes a path that became longer (another cell or satellite) from a link that became slower.

    Both look the same at first: round trips grow beyond any queue that the link was allowed, and less is
    delivered. They differ when less is in flight: then the queue of a slower link becomes shorter, but a
    longer path keeps its length. So the longest round trip is kept, with the bytes in flight at that time,
    and later ones, with at least ten packets less in flight, are compared with what a queue would take.
    """

    def __init__(self) -> None:
        self.flight = 0.0  # bytes in flight at ...
        self.rtt = 0.0  # ... the longest round trip; flight / rtt is the rate of that time
        self._last = 0.0
        self._steady = 0  # round trips in a row that were equal to the one before

    def forget(self) -> None:
        """Forget the longest round trip: the latest one was not too long."""
        self.flight, self._steady = 0.0, 0

    def shows(self, rtt: float, flight: float, less: float) -> bool:
        """Take a round trip that was too long, with `flight` bytes in flight before its packet.

        Returns whether the path has become longer. `less`: bytes from which on less is in flight.
        """
        steady = abs(rtt - self._last) <= ALIKE * rtt
        self._steady = self._steady + 1 if steady else 0
        self._last = rtt
        if not self.flight or flight > self.flight or rtt > (1.0 + ALIKE) * self.rtt:
            self.flight, self.rtt = flight, rtt
            return False
        if flight >= self.flight - less:
            return False
        queued = self.rtt * flight / self.flight  # s that it would take if all of it were queue
        return (rtt > LONGER * queued and self._steady >= LONGER_STEADY) or (
            rtt > MUCH_LONGER * queued and self._steady >= MUCH_LONGER_STEADY
        )


class Control:
    """How much may be in flight on one link."""

    def __init__(
        self, parameters: Parameters, target: float, path: Path, rate: DeliveryRate, flight: Flight
    ) -> None:
        """`target` is the queue in s that the link may have."""
        self._p = parameters
        self.target = target
        self.path, self.rate, self.flight = path, rate, flight
        self.startup = True
        self.longer = LongerPath()
        self.extra = 0.0  # s in flight beyond the shortest round trip and the queue, because the path jitters
        self.regaining = 0  # rounds for which it may carry more, because its path is longer
        self.queued_at = -1.0  # when a packet was last queued in the link
        self.hungry_at = -1.0  # when a packet last waited because this link was full
        self._round_sent = 0  # packets sent on this link when the round began
        self._round_rate = 0.0
        self._stuck_rounds = 0
        self._probing = False
        self._probe_at = 0.0
        self._probe_rate = 0.0
        self._probe_lost = 0
        self._probe_wait = parameters.probe_every_s

    def limit(self, size: int, now: float) -> float:
        """Return the bytes that may be in flight, of packets of `size` bytes."""
        path, rate = self.path, self.rate.rate
        initial = max(self._p.initial_packets * size, self._p.initial_rate * path.shortest)
        if not rate:
            return initial
        if now < path.drain_until:
            share = 0.75 if path.window == self._p.shortest_window_s else 0.5
            return max(share * rate * path.shortest, LEAST * size)
        span = path.shortest + path.spread + self.target + self.extra
        if self.startup:
            return max(rate * (span + self._p.startup_gain * path.shortest), initial)
        if self.regaining:
            span += path.shortest
        elif self._probing:
            span *= self._p.probe_gain
        return max(rate * span, size) + LEAST * size

    def rejoined(self) -> None:
        """Begin counting again: the link's packets are numbered anew."""
        self._round_sent = 0

    def pace(self, now: float) -> float:
        """Return the pace as a multiple of the rate."""
        p = self._p
        if self.startup:
            return p.startup_pace
        full = now - self.queued_at < p.full_rtts * self.path.smoothed
        return p.pace if full and not self._probing and not self.regaining else p.free_pace

    def proved(self, last: Transmission, rtt: float, now: float) -> None:
        """Take the proof for a packet, and its round trip in s."""
        path, rate = self.path, self.rate
        least, most, took = rate.sample(last, now)
        if not took:
            return
        expected, sent_at = last.expected, last.sent_at
        queue = path.standing - path.shortest
        queued = queue > max(0.01, 0.2 * self.target)
        # Jitter looks like a queue. At the pace of a full link, a lossy one never shows what it can carry.
        if queue > max(0.01 + path.spread, 0.2 * self.target):
            self.queued_at = now
        full = max(self.target, min(path.shortest / 4, 2 * self.target))
        if self.startup and queue > full + 2 * path.spread:
            self.startup = False
            if last.base is not None and last.base.at == rate.began_at:
                # It was full before its first proof, which takes a round trip at any rate.
                most *= took / max(took - path.shortest, sent_at - rate.began_at, queue)
                least = max(least, most)
        # A round trip that is not longer than usual: less arrived because less was sent.
        slower = rtt > 1.5 * expected or path.standing > max(expected, 1.1 * path.usual()) + 0.003
        may_fall = queued and slower and sent_at >= rate.measured_from
        rate.update(least, most, now, self._p.rate_tau_s, queued=queued, may_fall=may_fall)
        if self.startup or queue < path.spread + self.target + self.extra + 0.01:
            self.longer.forget()
        elif self.longer.shows(rtt, last.flight, ACK_BATCH * last.size):
            rate.rate = max(rate.rate, self.longer.flight / self.longer.rtt)
            path.became_longer(rtt, now)
            self.longer.flight = 0.0
            self.regaining = REGAIN
        if last.index >= self._round_sent:
            # A packet with hardly anything in flight before it was not queued: its path jitters.
            self._round(queued and last.flight >= LEAST * last.size, now)

    def _round(self, queued: bool, now: float) -> None:
        """End a round, which lasts a round trip."""
        flight, rate = self.flight, self.rate
        self._round_sent = flight.next_index
        rate.peak *= 0.98
        grown = rate.rate > 1.2 * self._round_rate
        if not grown and self.regaining:
            self.regaining -= 1
        self._round_rate = rate.rate
        if self.startup:
            self._stuck_rounds = 0 if grown or not queued else self._stuck_rounds + 1
            if self._stuck_rounds >= 2 or flight.loss > 0.1:
                self.startup = False
        self._probe(now)

    def _probe(self, now: float) -> None:
        """Probe whether more in flight delivers more."""
        p, path = self._p, self.path
        if self._probing:
            if now < self._probe_at:
                return
            self._probing = False
            self._probe_at = now
            if self.rate.rate > 1.08 * self._probe_rate:
                # Without a bound, `extra` of a link with a varying rate would grow faster than it shrinks.
                most = 0.5 * (path.shortest + self.target)
                self.extra = min(self.extra + 0.2 * (path.shortest + self.target + self.extra), most)
                self._probe_wait = p.probe_every_s
                return
            self.extra *= 0.8
            costly = self.flight.lost - self._probe_lost > 2
            self._probe_wait = min(2 * self._probe_wait, p.probe_seldom_s) if costly else p.probe_every_s
            self._probe_at += self._probe_wait
        elif now >= self._probe_at and not self.startup and now - self.hungry_at < path.smoothed:
            self._probing = True
            self._probe_rate = self.rate.rate
            self._probe_lost = self.flight.lost
            self._probe_at = now + 2 * path.smoothed
