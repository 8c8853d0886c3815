"""Models one link: how fast it delivers, how long its queue is, what it lost.

docs/bonding.md has the words and the formulas. Rates are bytes/s, times s, `now` monotonic s.

Proof. All measurements use what any SRTLA receiver sends back. A link delivers packets in order, so proof for
one packet is proof for all packets before it. There are three kinds:

- An SRTLA ACK names packets that arrived, ten at a time. A receiver without a flush timer leaves up to nine
  packets of a link without an SRTLA ACK for ever.
- The echo of a keepalive comes back after all data that was sent before it. A link whose proof is overdue
  gets a keepalive.
- SRT's own ACK is cumulative over all links. It comes back over the quickest link, so for a packet of a far
  link it comes sooner than that link's own proof can. Such a packet stays in flight until its own proof could
  have come (`arrived`). Otherwise each gap that is filled would make a far link look quicker than it is, and
  the sender would overfill its queue.

Rate. A sample is the bytes that passed between the last proof before a packet left and the proof for that
packet, over about a round trip, as in BBR (draft-cardwell-iccrg-bbr). Only the link's own proofs count,
because the bytes sent since the first of them are the other bound of the rate. While a link is new, SRT's ACK
may be the first of the two. A sample counts as the link's capacity only if the packet was queued in the link.
The estimate of a link that was not busy can only rise, so an idle link keeps it. Bytes confirmed by a
keepalive's echo are not counted again when an SRTLA ACK names them. A sample belongs to one transmission on
one link, so a packet that was sent twice causes no error. A link that is full before its first proof is
measured without the round trip that this proof took; otherwise a weak link would seem to carry a quarter of
what it carries.

If an SRTLA ACK skips ten or more packets, they are lost, or their ACK was lost. They count as delivered when
the link seems slower, and as lost when it seems faster. So a queue that overflows does not make a link look
quick.

Shortest round trip, of the last 10 s. If no round trip came near it for that time, the link's queue is
allowed to run empty once, to measure the path again. The value grows by half at most each time, because a
fading link is not a longer path.

In flight. The limit is rate x (shortest round trip + a short queue). The queue keeps the link busy, and it
probes for more: if the link can carry more, the queue disappears, more packets pass, and the measured rate
rises. Until its first proof, a new link is assumed to carry 3.2 Mbit/s; after that its limit doubles its rate
each round trip. If a link carried little while it was new, its measured rate is too low. The first time it is
full, its packets in flight may double each round trip until that brings no more.

Path jitter. If the delay varies, the shortest round trip says too little about what a path holds. Less in
flight would mean less delivered, and that would look like a slower link. So there are three provisions:

- `spread`, the mean excess of round trips while the link was idle, is added to what may be in flight.
- The rate is lowered only if round trips are longer than recent ones, or if packets are lost, and then by no
  more than the share that was lost.
- Every 2 s a link that is full while packets wait gets a quarter more in flight for two round trips
  (`_probe`). If it delivers more, it keeps the difference (`extra`). If the probe only cost packets, the next
  one waits twice as long, 30 s at most. `extra` is bounded by half of the shortest round trip and the target,
  because a link with a varying rate sometimes delivers more anyway.

Pace (`sent`). When a link is full, the sender looks at it every 5 ms. So the packets that the pace allows in
6 ms may be sent at once, or those that it allows since the last look, if a busy machine made that time longer
while packets waited. At start-up the rate may be much too high, and modems with short queues drop long
bursts. So a new link gets eight packets, or what the time since the last look allows if packets waited.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from netbond.srtla.adaptive.diagnosis import AIR, OVERFLOW, LongerPath, LossCause, Starvation
from netbond.srtla.adaptive.linkqueue import LinkQueue

ACK_BATCH: Final = 10  # packets per SRTLA ACK
REORDER: Final = 3  # packets by which a link may be out of order without a loss
DEVIATIONS: Final = 0.5  # mean deviations to add to the time in which a packet is expected
INITIAL: Final = 12  # packets in flight before anything is known: ten for an ACK, and a few more
INITIAL_RATE: Final = 400_000  # bytes/s that any link is assumed to carry: otherwise the packets until the
# first proof would be late by a round trip, and need another one to catch up
PACE_LEAST: Final = 125_000  # bytes/s
STARTUP_GAIN: Final = 1.9  # additional round trips in flight, to double the rate each round trip, as in BBR
JUDGED: Final = 100  # packets after which a link's loss is judged, unless much is lost
LEVEL_WINDOW: Final = 4.0  # s
STARTUP_PACE: Final = 3.0  # times the rate
PACE: Final = 1.5
HUNGRY: Final = 1.0  # s for which the limit of a link is known after it was full
BURST: Final = 8  # packets that may be sent at once, or ...
BURST_TIME: Final = 0.006  # ... what PACE times the rate carries in this time, s: when a link is full, looks
# are 5 ms apart, ...
BURST_TIME_MOST: Final = 0.05  # ... or further apart on a busy machine, s
LEAST: Final = 2  # packets that may always be in flight
RTT_DEFAULT: Final = 0.1
PROBE_GAIN: Final = 1.25
EXTRA_MOST: Final = 0.5  # of the shortest round trip and the queue: the most that probes add to them
PROBE_EVERY: Final = 2.0  # s between probes that brought nothing, ...
PROBE_SELDOM: Final = 30.0  # ... and s at most between probes that cost packets
TARGET_LEAST: Final = 0.01  # s of queue that a link always gets
LONGER_LEAST: Final = 0.01  # s by which a path must become longer at least
REGAIN: Final = 2  # round trips without growth after which a link with a longer path carries what it can
RUN: Final = 3  # losses in a row that a full queue can cause: it accepts a packet for each that leaves
RTT_WINDOW: Final = 10.0  # s for which the shortest round trip is valid, ...
RTT_WINDOW_LONGER: Final = 2.0  # ... at first, if the path became longer: it may become shorter again
RATE_TAU: Final = 0.08  # s over which the rate is smoothed
TYPICAL: Final = 1332  # bytes of a data packet, before any has been seen

# States of a transmission. PASSED: the link has finished with it; it arrived or was lost
FLYING: Final = 0
ARRIVED: Final = 1
PASSED: Final = 2
LOST: Final = 3
SEEN: Final = 4  # arrived, by SRT's ACK over a quicker link; its own link could not have reported it yet


class LinkModel:
    """The model of one link."""

    def __init__(self, target: float, now: float) -> None:
        """`target` is the queue that the link may have, in s."""
        self.target_limit = target
        self.owner: Any = None  # the link
        self.lost = 0  # packets lost in total, ...
        self.mistaken = 0  # ... and how many of them arrived in the end
        # For the packets of one wake-up (see `look`):
        self.backlog = 0.0  # bytes in flight
        self.room = 0.0  # bytes that may still be sent
        self.full = False
        self.eta = 0.0  # s until a packet that is sent now arrives
        self.sure = 0.0  # s within which it should arrive
        self.unseen = 0.0  # s of queue that may not exist
        self.margin = 0.0  # s by which a packet must be expected before its deadline
        self.share = 0.0  # backlog as a share of ...
        self.measure = 1.0  # ... this many bytes
        self.slack = 0.0  # s of its pace that it may catch up
        self.reset(now)

    def reset(self, now: float) -> None:
        """Start again as a new link."""
        self.fifo: deque[Transmission] = deque()  # sent and not yet proved to have passed, and some that have
        self.next_index = 0
        self.in_flight = 0  # bytes
        self.packets = 0  # in flight
        self.rate = 0.0
        self.peak = 0.0  # the highest recent rate
        self.startup = True
        self.target = self.target_limit
        self.min_rtt = RTT_DEFAULT
        self.least_rtt = 1e3  # the shortest ever; proof takes half of it to come back
        self.rtt_window = RTT_WINDOW
        self.min_rtt_at = -1.0  # when `min_rtt` was last seen; negative: never
        self.drain_until = 0.0
        self.drain_least = 0.0
        self.srtt = RTT_DEFAULT
        self.spread = 0.0  # s, mean excess of round trips over the shortest while the link was idle
        self.jitter = 0.0  # s, mean difference of a round trip from the smoothed one
        self.deviation = 0.0  # s, mean time by which packets are later than expected
        self.seen: deque[Transmission] = deque()  # in the order in which they were sent
        self.unsure: deque[Transmission] = deque()  # passed, but not named by an SRTLA ACK yet
        self.delivered = 0  # bytes that arrived
        self.doubtful = 0  # bytes that arrived, or were lost
        self.delivered_at = now
        # (delivered, doubtful, s) at the link's own last proof. `first_sent_at`, the rate's other bound, is
        # from that proof, too. SRT's ACKs in between do not begin a sample.
        self.base = (0, 0, now)
        self.first_sent_at = now
        self.queue = LinkQueue(now)
        self.began_at = now  # when it last had nothing in flight
        self.sampled_at = now
        self.proved_at = now  # the last proof that packets pass
        self.asked_at = 0.0
        self.answer_due = 0.0
        self.size = TYPICAL
        self.loss = 0.0  # share of packets, over about the last hundred
        self.extra = 0.0  # s in flight beyond the shortest round trip and the queue, because the path jitters
        self.queued_at = -1.0  # when a packet was last queued in the link
        self.hungry_at = -1.0  # when a packet last waited because this link was full
        self.lost_index, self.lost_run = -2, 0  # the latest loss, and how many losses in a row it ends
        self.round_sent = 0  # packets sent on this link when the round began
        self.round_lost = 0
        self.round_done = 0
        self.round_rate = 0.0  # rate at the beginning of the round
        self.round_rtts = 0.0  # sum
        self.round_samples = 0
        self.longer = LongerPath()
        self.untried = False  # its start-up ended while it was idle, so its capacity was never tested
        self.regaining = 0  # rounds for which it may carry more, because its path is longer or it was idle
        self.starvation = Starvation(now)
        self.starved_extra = 0.0  # before a rate was given back
        self.level = self.level_before = 1e9  # s, lowest average round trip in this window and the one before
        self.level_at = now
        self.stuck_rounds = 0
        self.losses = LossCause()
        self.judge_from = 0  # packets sent earlier, with a longer queue, say nothing about the present queue
        self.probing = False
        self.probe_rate = 0.0
        self.probe_at = now
        self.probe_wait = PROBE_EVERY
        self.probe_lost = 0  # packets lost when it began
        self.pace_at = now  # do not send a packet before this time
        # Packets sent earlier, or after a stall while little was in flight, do not measure the link.
        self.measured_from = now
        self.ask_at = 4  # during start-up: after this many packets, a keepalive measures the link

    # --- questions ------------------------------------------------------------------------------------------

    def look(self, now: float, slack: float = 0.0) -> bool:
        """Evaluate the link for the packets to send now; return whether it can take one.

        `slack` is the time in s for which packets have waited only because the sender did not look.
        """
        self.slack = slack
        if self.seen:
            self.settle(now)
        self.backlog = backlog = self.outstanding(now)
        limit = self.limit(now)
        size = self.size
        room = self.room = limit - backlog
        self.full = room < size
        if self.full:
            if self.untried:
                self.untried = False
                self.regaining = REGAIN
            self.hungry_at = now
            return False
        if self.pace_at > now:
            return False
        self.unseen = 0.0
        if now - self.queued_at >= HUNGRY:
            # The rate is what was sent, not what the link can carry: a far link would never be given more.
            self.unseen = min((PROBE_GAIN - 1.0) * self.min_rtt, self.target)
        self._expect(now)
        return True

    def compare(self, most: float, now: float) -> None:
        """Set `share`, by which packets are shared among equal links; `most` is their largest limit in bytes.

        A link that was not full lately may be able to carry as much as the best, so its share is of `most`.
        Its own limit only says what it has carried: with that, the link with the most traffic would get more
        and more.
        """
        self.measure = self.backlog + self.room if now - self.hungry_at < HUNGRY else most
        self.share = (self.backlog + self.size) / self.measure

    def keep_margin(self, budget: float, safety: float) -> None:
        """Set `margin` to `safety`, but at most to half of the time that a packet of this link can wait.

        That is a packet that is sent at once, `budget` s before its deadline. A larger margin would leave a
        far link idle for ever.
        """
        path = (self.srtt if self.startup else self.min_rtt + self.size / self.rate) - self.back()
        spare = (budget - path - DEVIATIONS * self.deviation) / 2
        self.margin = safety if spare > safety else max(0.0, spare)

    def took(self, size: int, now: float) -> bool:
        """Note that a packet was sent now; return whether the link can take another."""
        self.backlog += size
        self.room -= size
        self.share = (self.backlog + size) / self.measure
        if self.room < size:
            return False
        self._expect(now)
        return self.pace_at <= now

    def _expect(self, now: float) -> None:
        self.eta = self.arrival(self.backlog, self.size, self.unseen, now)
        self.sure = self.eta + DEVIATIONS * self.deviation

    def arrival(self, backlog: float, size: int, unseen: float, now: float) -> float:
        """Return the s until a packet of `size` bytes arrives that is sent now, after `backlog` bytes.

        `unseen` s of the queue that these bytes make may not exist.
        """
        if self.startup:
            # A link that was full once keeps a long smoothed round trip, so it would never get the packets
            # that would shorten it. A link that was given little has a low rate, but no queue.
            empty = backlog < max(self.rate, INITIAL_RATE) * self.min_rtt
            return (self.min_rtt if empty else self.srtt) - self.back()
        return self._proof(backlog, size, unseen, now) - self.back()

    def _proof(self, backlog: float, size: int, unseen: float, now: float) -> float:
        """Return the s until proof of such a packet is back; the rate must be known."""
        waits = max(0.0, self.queue.waits(now) - unseen)
        queue = backlog / self.rate - unseen
        return max(self.min_rtt + waits, queue) + size / self.rate

    def outstanding(self, now: float) -> float:
        """Return the bytes that are probably still in flight.

        These are the bytes without proof, less those that have probably arrived since the last proof, which
        comes for ten packets at a time.
        """
        flying = self.in_flight
        if not flying or not self.rate or not self.fifo:
            return flying
        since = self.delivered_at
        due = self.fifo[0].sent_at + self.min_rtt
        if due > since:
            since = due
        if now <= since:
            return flying
        credit = self.rate * (now - since)
        most = (ACK_BATCH - 1) * self.size
        return flying - (min(most, credit)) if flying > most else max(0.0, flying - credit)

    def limit(self, now: float) -> float:
        """Return the bytes that may be in flight."""
        size = self.size
        if not self.rate:
            return self._initial()
        if now < self.drain_until:
            share = 0.75 if self.rtt_window == RTT_WINDOW else 0.5  # the path may be much shorter again
            return max(share * self.rate * self.min_rtt, LEAST * size)
        span = self.min_rtt + self.spread + self.target + self.extra
        if self.startup:
            return max(self.rate * (span + STARTUP_GAIN * self.min_rtt), self._initial())
        if self.regaining:
            span += self.min_rtt
        elif self.probing:
            span *= PROBE_GAIN
        return max(self.rate * span, size) + LEAST * size

    def _initial(self) -> float:
        return max(INITIAL * self.size, INITIAL_RATE * self.min_rtt)

    def round_trip(self) -> float:
        """Return the s until proof of a packet sent now is expected."""
        queue = self.in_flight / self.rate if self.rate else 0.0
        return max(self.srtt, queue)

    def batch_time(self) -> float:
        """Return the s between two SRTLA ACKs of a busy link."""
        return ACK_BATCH * self.size / self.rate if self.rate else 0.0

    def proof_due(self, oldest: Transmission) -> float:
        """Return when proof of the oldest packet in flight is expected, in monotonic s.

        That is a round trip after the SRTLA ACK that names it is full. The less the link is given, the later
        that is.
        """
        fifo = self.fifo
        if len(fifo) < ACK_BATCH:
            return oldest.sent_at + max(self.srtt, oldest.expected) + self.batch_time()
        last = fifo[ACK_BATCH - 1]
        return last.sent_at + max(self.srtt, last.expected)

    # --- what happens ---------------------------------------------------------------------------------------

    def sent(self, packet: Any, size: int, index: int, now: float) -> Transmission:
        """Record a packet that is sent now, the `index`-th on this link."""
        if not self.in_flight:
            self.delivered_at = self.first_sent_at = self.began_at = now
            self._begin_sample(now)
        transmission = Transmission(self, packet, size, index, now)
        rate = self.rate
        if rate:
            transmission.expected = self._proof(self.outstanding(now), size, 0.0, now)
            waits = min(self.queue.waits(now), self.in_flight / rate)
            transmission.mark = self.queue.enter(waits, size / rate, now)
            if rate > self.peak:
                self.peak = rate
        slack = self.slack
        if self.startup:
            pace = max(self.rate, INITIAL_RATE) * STARTUP_PACE
            slack *= PACE / STARTUP_PACE
        else:
            pace = max(self.peak * PACE, PACE_LEAST)
            slack = max(slack, BURST_TIME)
        step = size / pace
        self.pace_at = max(self.pace_at, now - max(BURST * step, slack)) + step
        self.in_flight += size
        self.packets += 1
        self.size = size
        self.fifo.append(transmission)
        self.next_index = index + 1
        return transmission

    def done(self, transmission: Transmission, state: int, now: float) -> None:
        """Finish a transmission; `state` is not FLYING."""
        if transmission.state == FLYING or transmission.state == SEEN:
            self.in_flight -= transmission.size
            self.packets -= 1
            transmission.done_at = now
            if state == ARRIVED:
                self.delivered += transmission.size
            elif state == PASSED:
                self.doubtful += transmission.size
            if state != LOST:
                self.delivered_at = now
                self.loss -= self.loss / 64
            if transmission.index >= self.judge_from:
                self.round_done += 1
        if state == LOST:
            self.loss += (1.0 - self.loss) / 64
            self.lost += 1
            self.lost_run = self.lost_run + 1 if transmission.index == self.lost_index + 1 else 1
            self.lost_index = transmission.index
            if transmission.index >= self.judge_from and self.lost_run <= RUN:
                self.round_lost += 1
        transmission.state = state

    def acknowledged(self, named: list[Transmission], now: float) -> list[Transmission]:
        """Take an SRTLA ACK's transmissions, in the order of arrival; return those that it proves lost."""
        last = named[-1]
        judge_from = self.judge_from
        for transmission in named:
            if transmission.state == FLYING or transmission.state == SEEN:  # as in `done`, inlined for speed
                self.in_flight -= transmission.size
                self.packets -= 1
                transmission.done_at = now
                self.delivered += transmission.size
                self.loss -= self.loss / 64
                if transmission.index >= judge_from:
                    self.round_done += 1
            elif transmission.state == PASSED:
                self.doubtful -= transmission.size
                self.delivered += transmission.size
            elif transmission.state == LOST:
                self.mistaken += 1
            transmission.state = ARRIVED
        self.delivered_at = now
        self.proved_at = now
        self._sample(last, now - last.sent_at, now)
        # Packets sent well before the last one that are not named are lost, or their ACK was. A lost ACK
        # names ten packets, so if fewer are missing, they are lost.
        behind = last.index - REORDER
        missing: list[Transmission] = []
        for queue in (self.unsure, self.fifo):
            while queue:
                first = queue[0]
                if first.state == FLYING or first.state == PASSED:
                    if first.index >= behind:
                        break
                    missing.append(first)
                queue.popleft()
        state = LOST if len(missing) < ACK_BATCH else PASSED
        for transmission in missing:
            self.done(transmission, state, now)
        self._begin_sample(now)
        return missing if state == LOST else []

    def passed(self, before: int, sample: float, now: float) -> None:
        """Take the echo of a keepalive that was sent before the `before`-th packet, `sample` s ago."""
        self.proved_at = now
        self.settle(now, before)
        fifo = self.fifo
        last: Transmission | None = None
        while fifo and (fifo[0].index < before or fifo[0].state != FLYING):
            transmission = fifo.popleft()
            if transmission.state == FLYING:
                self.done(transmission, PASSED, now)
                self.unsure.append(transmission)
                last = transmission
        if last is not None:
            self._sample(last, sample, now)
        else:
            self.round_trip_seen(sample, now)
        self._begin_sample(now)

    def arrived(self, transmission: Transmission, lag: float, now: float) -> None:
        """Take SRT's ACK of a packet that only this link carried.

        The ACK came over a link whose proof arrives `lag` s before this link's own can. Bytes in flight and
        rate must be measured over one return path only: otherwise a gap that is filled would make a far link
        look quicker than it is, and its queue would be overfilled.
        """
        if transmission.state != FLYING:
            return
        self.proved_at = now
        if lag <= 0.0 or self.startup:  # for a new link it is more important to know its capacity soon
            self.done(transmission, ARRIVED, now)
            if self.startup:
                self._begin_sample(now)
                self.first_sent_at = transmission.sent_at
        else:
            transmission.state = SEEN
            transmission.done_at = now + lag
            self.seen.append(transmission)
        self.oldest()

    def oldest(self) -> Transmission | None:
        """Return the oldest transmission in flight, or None."""
        fifo = self.fifo
        while fifo and fifo[0].state != FLYING:
            fifo.popleft()
        return fifo[0] if fifo else None

    def back(self) -> float:
        """Return the s that proof takes to come back: half of the shortest round trip."""
        return min(self.least_rtt, self.min_rtt) / 2

    def settle(self, now: float, before: int = 0) -> None:
        """Finish packets that SRT has acknowledged, as soon as the link itself could have proved them.

        An echo also proves them: `before` is the first packet that was sent after its keepalive.
        """
        seen = self.seen
        while seen:
            first = seen[0]
            if first.state == SEEN:
                if now < first.done_at and first.index >= before:
                    break
                self.done(first, ARRIVED, now)
            seen.popleft()

    def in_order(self) -> bool:
        """Whether packets that seemed lost mostly were; a path that reorders packets delivers them later."""
        return 2 * self.mistaken <= self.lost + REORDER

    def round_trip_seen(self, sample: float, now: float) -> None:
        """Take a round trip of `sample` s."""
        if not self.packets:
            most = 0.5 * self.min_rtt + 0.03
            self.spread += (min(max(sample - self.min_rtt, 0.0), most) - self.spread) / 4
        self.jitter += (abs(sample - self.srtt) - self.jitter) / 16
        if sample < self.least_rtt:
            self.least_rtt = sample
        self.srtt += (sample - self.srtt) / 8 if self.min_rtt_at >= 0 else sample - self.srtt
        if sample <= self.min_rtt or self.min_rtt_at < 0:
            if sample < 0.9 * self.min_rtt and self.rtt_window < RTT_WINDOW:
                self.rtt_window = RTT_WINDOW_LONGER
            self.min_rtt = sample
            self.min_rtt_at = now
            self.extra = min(self.extra, EXTRA_MOST * (sample + self.target_limit))
        elif sample < self.min_rtt * 1.05 + 0.002:
            self.min_rtt_at = now
        elif now - self.min_rtt_at > self.rtt_window:
            if self.drain_until < self.min_rtt_at:  # empty the queue once, to measure the path
                self.drain_until = now + self.min_rtt + self.target
                self.drain_least = sample
            elif sample < self.drain_least:
                self.drain_least = sample
            if now >= self.drain_until + self.min_rtt:
                # A fading link is not a longer path, so limit the growth.
                self.min_rtt = min(self.drain_least, 1.5 * self.min_rtt + 0.01)
                self.min_rtt_at = now
                self.drain_until = 0.0
                self.rtt_window = min(2 * self.rtt_window, RTT_WINDOW)

    def _begin_sample(self, now: float) -> None:
        """Begin to measure the rate of packets that are sent from now on."""
        self.base = (self.delivered, self.doubtful, now)

    def _sample(self, last: Transmission, rtt: float, now: float) -> None:
        self.round_trip_seen(rtt, now)
        if last.expected:
            # Limit each: a packet that was seconds late after an outage would make the link unusable.
            late = min(max(0.0, rtt - last.expected), self.min_rtt + 2 * self.target_limit)
            self.deviation += (late - self.deviation) / 8
        self.queue.waited(last.mark, max(0.0, rtt - self.min_rtt - self.spread - self.jitter))
        interval = max(now - last.delivered_at, last.sent_at - last.first_sent_at)
        self.first_sent_at = last.sent_at
        arrived = self.delivered - last.delivered
        passed = arrived + self.doubtful - last.doubtful
        if interval <= 0.001 or passed <= 0:  # packets that counted as lost and are now named do not count
            return
        rate = arrived / interval  # lower bound
        most = passed / interval  # upper bound
        if rate > most:  # an echo had already proved that some of the packets named now had passed
            rate = most
        elapsed = now - self.sampled_at
        self.sampled_at = now
        queue = rtt - self.min_rtt
        queued = queue > max(0.01, 0.2 * self.target)
        if queued:
            self.queued_at = now
        if self.startup and queue > self._full_queue() + 2 * self.spread:
            self.startup = False
            if last.delivered_at == last.began_at:
                # It was full before its first proof, which takes a round trip at any rate.
                most *= interval / max(interval - self.min_rtt, last.sent_at - last.began_at, queue)
                rate = max(rate, most)
        if not self.rate:
            self.rate = most
        elif rate > self.rate:
            self.rate += (rate - self.rate) * (0.5 if queued else 1.0)
        elif most < self.rate and queued and last.sent_at >= self.measured_from:
            if not self._slower(rtt, last.expected):
                most = max(most, self.losses.least_rate(self.rate, self.loss))
            if most < self.rate:
                self.rate += (most - self.rate) * min(0.5, max(0.1, elapsed / RATE_TAU))
        if self.startup or rtt < self.min_rtt + self.spread + self.target + self.extra + LONGER_LEAST:
            self.longer.forget()
        elif self.longer.shows(rtt, last.flight, ACK_BATCH * self.size):
            self._path_is_longer(rtt, now)
        self.round_rtts += rtt
        self.round_samples += 1
        if last.index >= self.round_sent:
            # A packet with hardly anything in flight before it was not queued: its path jitters.
            self._round(queue, queued and last.flight >= LEAST * last.size, now)

    def _full_queue(self) -> float:
        """Return the s of queue that show that a new link is full."""
        return max(self.target, min(self.min_rtt / 4, 2 * self.target))

    def _slower(self, rtt: float, expected: float) -> bool:
        """Whether a round trip shows that the link delivers less than estimated.

        If the round trip is not longer than recent ones, less arrived because less was sent: the path is
        longer than its shortest round trip.
        """
        if rtt > 1.5 * expected:
            return True
        level = min(self.level, self.level_before)
        return rtt > expected + 0.003 and rtt > 1.1 * level + 0.002 + 0.3 * self.jitter

    def _round(self, queue: float, queued: bool, now: float) -> None:
        """End a round, which lasts a round trip: judge the packets that were sent at its beginning."""
        self.round_sent = self.next_index
        average = self.round_rtts / self.round_samples
        self._starved(self.round_rtts, self.round_samples, now)
        self.round_rtts, self.round_samples = 0.0, 0
        self.peak *= 0.98
        if now - self.level_at > LEVEL_WINDOW:
            self.level_before, self.level, self.level_at = self.level, average, now
        elif average < self.level:
            self.level = average
        done, lost = self.round_done, self.round_lost
        share = lost / done if done else 0.0
        grown = self.rate > 1.2 * self.round_rate
        if not grown and self.regaining:
            self.regaining -= 1
        self.round_rate = self.rate
        if self.startup:
            self.stuck_rounds = 0 if grown or not queued else self.stuck_rounds + 1
            if self.stuck_rounds >= 2 or (done >= 20 and share > 0.1):
                self.startup = False
                self.untried = now - self.hungry_at >= HUNGRY
        if done >= JUDGED or (lost >= 5 and share > 0.05):
            self.round_done = self.round_lost = 0
            self._judge_loss(share, done, max(0.0, queue))
        self._probe(now)

    def _starved(self, rtts: float, samples: int, now: float) -> None:
        starvation = self.starvation
        given_less = starvation.shows(rtts, samples, self.rate, self.loss, self.startup, now)
        if starvation.wrong:
            self.extra = self.starved_extra
        if given_less:
            self.starved_extra = self.extra
            self.rate = starvation.rate
            needed = starvation.average - self.min_rtt - self.spread
            self.extra = max(self.extra, min(needed, 0.5 * self.min_rtt + 0.03))

    def _path_is_longer(self, rtt: float, now: float) -> None:
        self.rate = max(self.rate, self.longer.flight / self.longer.rtt)
        self.min_rtt = self.least_rtt = rtt
        self.min_rtt_at = now
        self.rtt_window = RTT_WINDOW_LONGER
        self.drain_until = 0.0
        self.longer.flight = 0.0
        self.regaining = REGAIN

    def _judge_loss(self, share: float, done: int, queue: float) -> None:
        """React to the loss of `share` of `done` packets while the queue was `queue` s long."""
        cause = self.losses.judge(share, done, self.rate)
        if cause == OVERFLOW:
            least = max(TARGET_LEAST, 2 * self.jitter)
            self.target = min(self.target, max(least, 0.6 * min(self.target, max(queue, least))))
            self.judge_from = self.next_index
        elif cause == AIR:
            self.target = self.target_limit
        else:
            self.target = min(self.target_limit, self.target * 1.05 + 0.0005)

    def _probe(self, now: float) -> None:
        """Probe whether more in flight delivers more.

        On a path with jitter, the shortest round trip says too little about the bytes that the path holds.
        """
        if self.probing:
            if now >= self.probe_at:
                self.probing = False
                if self.rate > 1.08 * self.probe_rate:
                    # Without a bound, `extra` of a link with a varying rate would grow faster than it
                    # shrinks.
                    most = EXTRA_MOST * (self.min_rtt + self.target_limit)
                    self.extra = min(self.extra + 0.2 * (self.min_rtt + self.target + self.extra), most)
                    self.probe_at = now
                    self.probe_wait = PROBE_EVERY
                else:
                    self.extra *= 0.8
                    costly = self.lost - self.probe_lost > 2
                    self.probe_wait = min(2 * self.probe_wait, PROBE_SELDOM) if costly else PROBE_EVERY
                    self.probe_at = now + self.probe_wait
        elif now >= self.probe_at and not self.startup and now - self.hungry_at < self.srtt:
            self.probing = True
            self.probe_rate = self.rate
            self.probe_lost = self.lost
            self.probe_at = now + 2 * self.srtt


class Transmission:
    """One transmission of a data packet on a link. A repeated packet has several, linked by `before`."""

    __slots__ = (
        "before",
        "began_at",
        "delivered",
        "delivered_at",
        "done_at",
        "doubtful",
        "expected",
        "first_sent_at",
        "flight",
        "index",
        "link",
        "mark",
        "packet",
        "sent_at",
        "size",
        "state",
    )

    def __init__(self, link: LinkModel, packet: Any, size: int, index: int, now: float) -> None:
        self.link = link
        self.packet = packet
        self.size = size
        self.index = index
        self.sent_at = now
        self.flight = link.in_flight  # bytes before it
        # The base of its rate sample (`LinkModel.base`, ...), as it was when the packet was sent:
        self.delivered, self.doubtful, self.delivered_at = link.base
        self.first_sent_at = link.first_sent_at
        self.began_at = link.began_at
        self.expected = 0.0  # s until proof that it passed
        self.mark = 0.0  # for `LinkQueue.waited`
        self.state = FLYING
        self.done_at = 0.0
        self.before: Transmission | None = None
