"""Implements `--mode adaptive`: gives no link more than it carries, and no packet to a link that is too slow.

Packets wait in one queue before the links. Each is sent over the link on which it arrives first, and no link
gets more than keeps it busy (`dealing.py`, `linkmodel.py`). docs/bonding.md has the terms and the formulas.

The sender keeps its packets, so it can send them again itself. Most packets that an SRT server reports
missing are in flight on a slower link; the others are sent again over another link as soon as they are known
to be lost. So the SRT caller gets reports only of losses that the sender cannot repair.

Repeats
- Packets that a later packet's SRTLA ACK proves lost are sent again at once, before SRT has noticed, over the
  link that delivers them first; links with little loss are preferred. Ten or more in a row may also be a lost
  ACK: then SRT's loss report decides. A packet is also lost if the echo of a later keepalive has come back,
  and the next SRTLA ACK does not name the packet.
- SRT's loss report (NAK) applies to a packet that its link has passed and that is still missing. It also
  proves that the packet after the missing ones has arrived. If that packet was sent later over the same link,
  the missing ones are lost (`_again_if_overtaken`). On a link with few packets, this is known sooner than
  from its SRTLA ACKs. It is used if there may be no time for a second repeat after these ACKs, and not on
  links whose lost packets mostly arrived in the end.
- A packet that should have arrived before the report was made, even with its link's jitter and lateness, gets
  a copy over another link (`_is_overdue`). This has two conditions: its own link's proof would leave no time
  for a copy, and no packet waits. With 120 ms of latency, it halves the cost of a bad radio path.
- If all packets that a report names are queued or in flight, the report does not reach the SRT caller. This
  is the usual case, because a bond reorders packets. If a report names a packet that netbond never had
  (because it was restarted), it goes to the caller, and the caller's repeats are sent.
- A repeat of the SRT caller for a packet that is queued, in flight or acknowledged is dropped (`spared`).

A link that stops (`_check`)
- If proof is overdue, the link gets a keepalive. If the answer is overdue, too (by a round trip and 10 % of
  the latency), the link is stalled: it gets no new packets. Its packets in flight are sent again over other
  links when these are idle, or when time runs out. While packets wait longer than half of the latency and
  more than 4 % are given up, no copies are sent: a copy would take the place of another packet.
- If the answer could not arrive before half of the latency has passed, the copies are sent as soon as the
  link gets the keepalive. But this requires that proof is really due, or will be due when it is too late for
  a copy: a link that gets few packets fills its SRTLA ACK late, and is not suspect. (Without this condition a
  far bond at half load sent up to a fifth of its packets twice.)
- While packets wait that other links have no room for, a stalled link gets a copy of one each 10 ms, as a
  try.
- The first proof ends the stall. The packets in flight until then were too few to measure the link, so only
  packets that are sent a round trip later may lower its rate. The same applies to packets on a link that has
  become so slow that they would be late (`_predict`).
- If a link's socket fails, or the link is silent for 4 s, all its packets go to the other links at once, and
  it starts again as a new link.
- If netbond itself was delayed (its timer is more than 30 ms late on a busy machine), no link is judged until
  everything that has arrived meanwhile is read.

Waiting for more packets (`patience`). While every link has room, the sender waits until up to eight packets
have come before it reads them: for 2 % of the latency, 10 ms at most. It then also sees acknowledgements
later by the same time. So it stops this for a second as soon as a packet waits because a link is full: then
the link must be measured as exactly as possible.

Latency. It is read from SRT's handshake. The server counts from the handshake's arrival, so the time that the
handshake took, half a round trip, is added to a packet's budget (`control`). If that half is more than half
of the latency, it is reduced by 20 % of the latency, but not below half of the latency.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from netbond.srtla import wire
from netbond.srtla.adaptive.dealing import (
    GONE,
    HELD,
    HERE,
    NOT_QUEUED,
    SAFETY,
    SENT,
    SHORTAGE,
    SPARE,
    URGENT,
    Dealer,
    Packet,
)
from netbond.srtla.adaptive.linkmodel import FLYING, HUNGRY, LOST, PASSED, TYPICAL, LinkModel, Transmission
from netbond.srtla.schedule import WINDOW_UNIT, LinkState

RING: Final = 1 << 14  # packets that are remembered: over 8 s at 20 Mbit/s, 22 MiB at most
LATENCY: Final = 1.0  # s, until SRT's is known from the handshake
TICK_BUSY: Final = 0.004  # s between two timers while packets wait for a link, ...
TICK_IDLE: Final = 0.01  # ... and while packets are only in flight
TARGET: Final = 0.07  # of the latency: queue that a link may have
TARGET_BOUNDS = (0.04, 0.15)  # s
ASK_EVERY: Final = 0.1  # s at least between two keepalives that measure a link
ASK_GRACE: Final = 0.02  # s that proof may be overdue before a link gets a keepalive
PATIENCE: Final = 0.1  # of the latency: how long an answer may be overdue before the link counts as stalled
JUDGE_EVERY: Final = 1.0  # s between two evaluations of the share of packets given up
OVERDUE_MOST: Final = 8  # packets that one report may prove overdue; more than that are late, not lost
HELD_UP: Final = 0.03  # if our own timer is late by more s than this, the machine is busy
NAK_GRACE: Final = 0.01  # s by which a loss report may be older than proof that came over another link

ANSWER_LATE: Final = 0.5  # of the latency: if a link answers later, copies of its packets are sent before
HURRY: Final = 0.25  # of the latency: time for a copy, in addition to the shortest round trip
HANDSHAKE_DOUBT: Final = 0.2  # of the latency: by how much half a round trip may overestimate the handshake
RESCUED: Final = 100  # waiting packets that are searched for one to try a stalled link with
CROWDED: Final = 0.5  # of the latency: no copies while packets wait longer, and too many are given up
LATENCY_BOUNDS = (0.02, 8.0)  # s
LEISURE: Final = 0.02  # of the latency: how long packets may wait for others while no link is full, ...
LEISURE_MOST: Final = 0.01  # ... and s at most


class Bonding(Dealer):
    """A carrier (see `schedule.Carrier`)."""

    def __init__(self, latency: float | None = None) -> None:
        """`latency` is SRT's in s; None: it is read from the handshake, and 1 s until then."""
        super().__init__()
        self._fixed = latency is not None
        self._learnt: float | None = None  # s; None: unknown from a handshake and from an earlier process
        self._handshake_delay = 0.0
        self._ring: list[Packet | None] = [None] * RING
        self._highest = -1  # the furthest sequence number seen; -1: none
        self._acked = 0
        self._next = 0.0
        self._next_busy = 0.0
        self._leisure = 0.0  # s that packets may wait for others
        self._judge_at = 0.0
        self._judged = (0, 0)  # packets given up, and sent, at the last evaluation
        self._given_up = 0.0  # share of packets that were given up, over some seconds
        self.dropped = self.spared = 0
        self._set_latency(LATENCY if latency is None else latency)

    def _set_latency(self, latency: float) -> None:
        shortest, longest = LATENCY_BOUNDS
        self.latency = latency = min(max(latency, shortest), longest)
        least, most = TARGET_BOUNDS
        self._target = min(max(latency * TARGET, least), most)
        self._patience = latency * PATIENCE
        self._budget = latency + self._handshake_delay
        self._safety = SAFETY[0] * latency
        for link in self._links:
            if link.model is not None:
                link.model.target_limit = link.model.target = self._target

    # --- links ----------------------------------------------------------------------------------------------

    def set_links(self, links: Sequence[LinkState]) -> None:
        self._links = links
        self._ranked = len({link.priority for link in links}) > 1
        for link in links:
            if link.model is None:
                link.model = LinkModel(self._target, 0.0)
                link.model.owner = link

    def link_up(self, link: LinkState, now: float) -> None:
        self._abandon(link, now)
        link.model.reset(now)
        self._due(now)

    def link_down(self, link: LinkState, now: float) -> None:
        self._abandon(link, now)
        self._due(now)

    def link_stalled(self, link: LinkState, now: float) -> None:
        self._rescue(link, now)

    def _abandon(self, link: LinkState, now: float) -> None:
        """Treat all packets in flight on the link as lost."""
        model: LinkModel = link.model
        model.settle(now, model.next_index)
        fifo, model.fifo = model.fifo, deque()
        for transmission in fifo:
            if transmission.state == FLYING:
                model.done(transmission, PASSED, now)
                self._again(transmission.packet, now)
        link.in_flight = link.in_flight_bytes = 0

    # --- the SRT caller -------------------------------------------------------------------------------------

    def control(self, data: bytes, now: float) -> None:
        if data[0] == 0x80 and data[1] == 0 and wire.is_handshake(data):
            if wire.is_induction(data):
                self._forget()
            self.handshake(data)
        best: LinkState | None = None
        soonest = 0.0
        for link in self._links:
            if link.carries:
                model: LinkModel = link.model
                arrival = model.arrival(model.outstanding(now), len(data), 0.0, now)
                if link.stalled:
                    arrival += 1e6
                arrival -= link.priority * 1e3
                if best is None or arrival < soonest:
                    best, soonest = link, arrival
        if best is None:
            self.dropped += 1
            return
        if data[0] == 0x80 and data[1] == 0:
            delay, share = best.model.min_rtt / 2, HANDSHAKE_DOUBT * self.latency
            self._handshake_delay = min(delay, max(0.5 * self.latency, delay - share))
            self._budget = self.latency + self._handshake_delay
        self._outlet.emit(best, data)

    def data(self, sequence: int, data: bytes, now: float, *, again: bool) -> None:
        slot = sequence & (RING - 1)
        if sequence == (self._highest + 1) & wire.SEQUENCE_MASK and self._highest >= 0:  # nearly always
            self._highest = sequence
            if (sequence - self._acked) & wire.SEQUENCE_MASK >= RING:
                self._acked = wire.advance(sequence, 1 - RING)
        elif not self._places(sequence, slot, now):
            return
        evicted = self._ring[slot]
        if evicted is not None:
            evicted.transmission = None  # break the reference cycle, for the garbage collector
            if evicted.state != HERE:
                evicted.state = GONE
        self._ring[slot] = packet = Packet(sequence, data, now)
        self._held.append(packet)
        self._now = now
        self._pumping = True

    def _places(self, sequence: int, slot: int, now: float) -> bool:
        """Take a packet that is not the next one in sequence; return whether it is a new one."""
        if self._highest < 0:
            self._highest = wire.advance(sequence, -1)
            self._acked = wire.advance(sequence, 1 - RING)  # the caller may repeat earlier packets through us
        ahead = wire.distance(self._highest, sequence)
        if ahead >= RING:  # no encoder skips so many packets: this is another connection
            self._forget()
            self._highest = wire.advance(sequence, -1)
            self._acked = wire.advance(sequence, 1 - RING)
            ahead = 1
        if ahead > 0:
            self._highest = sequence
            if wire.distance(self._acked, sequence) >= RING:
                self._acked = wire.advance(sequence, 1 - RING)
            return True
        if wire.distance(self._acked, sequence) < 0:
            self.spared += 1  # it crossed its own acknowledgement
            return False
        known = self._ring[slot]
        if known is not None and known.sequence == sequence:
            self.spared += 1
            self._reported(known, now)
            self._due(now)
            return False
        return True

    def handshake(self, data: bytes) -> None:
        latency = wire.parse_latency(data)
        if latency and not self._fixed:
            self._learnt = latency
            self._set_latency(latency)

    def learnt_latency(self) -> float | None:
        return self._learnt

    def _latency_known(self) -> bool:
        """Whether SRT's latency is known, and not only assumed."""
        return self._fixed or self._learnt is not None

    def resume_latency(self, latency: float) -> None:
        if not self._fixed:
            self._learnt = latency
            self._set_latency(latency)

    def _forget(self) -> None:
        """Forget all packets, because a new SRT connection begins; old ones may still be in flight."""
        for packet in self._ring:
            if packet is not None:
                packet.state = GONE
        self._ring = [None] * RING
        self._highest = -1
        self._held.clear()
        self._urgent.clear()
        self._spare.clear()

    # --- the receiver ---------------------------------------------------------------------------------------

    def srtla_ack(self, link: LinkState, sequences: Sequence[int], now: float) -> None:
        model: LinkModel = link.model
        named: list[Transmission] = []
        for sequence in sequences:
            packet = self._ring[sequence & (RING - 1)]
            if packet is None or packet.sequence != sequence:
                continue
            transmission = packet.transmission
            if transmission is None:
                continue
            if transmission.before is not None:
                transmission = _meant(transmission, model, now)
                if transmission is None:
                    continue
            elif transmission.link is not model:
                continue
            if packet.state != GONE:
                packet.state = HERE
            named.append(transmission)
        if named:
            for lost in model.acknowledged(named, now):
                self._again(lost.packet, now)
            link.in_flight, link.in_flight_bytes = model.packets, model.in_flight
        self._due(now)

    def srt_ack(self, link: LinkState, sequence: int, now: float) -> None:
        if self._highest < 0:
            return
        left = wire.distance(sequence, wire.advance(self._highest, 1))
        if not 0 <= left <= RING:
            return
        ring, mask = self._ring, RING - 1
        trusted = now - 0.8 * self.latency  # SRT also acknowledges what it has given up, which is older
        number = self._acked
        steps = wire.distance(number, sequence)
        if steps <= 0:
            return
        self._acked = sequence
        back = link.model.back()
        while steps:
            packet = ring[number & mask]
            if packet is not None and packet.sequence == number:
                packet.data = b""  # keep the packet itself: its link's own ACK, a measurement, may come later
                if packet.state == SENT and packet.times == 1 and packet.born > trusted:
                    transmission = packet.transmission
                    if transmission is not None and transmission.state == FLYING:
                        model = transmission.link
                        model.arrived(transmission, max(0.0, model.back() - back), now)
                packet.state = HERE
            number = (number + 1) & wire.SEQUENCE_MASK
            steps -= 1

    def srt_nak(self, ranges: Sequence[tuple[int, int]], now: float) -> bool:
        if self._highest < 0:
            return True
        budget = RING
        unknown = False
        overdue: list[Packet] = []
        told_at = now - max((link.model.back() for link in self._links if link.carries), default=0.0)
        for first, last in ranges:
            behind = self._behind(last)
            start = first if wire.distance(self._acked, first) >= 0 else self._acked
            end = last if wire.distance(last, self._highest) >= 0 else self._highest
            steps = min(wire.distance(start, end) + 1, budget)
            budget -= max(steps, 0)
            for step in range(steps):
                number = wire.advance(start, step)
                slot = number & (RING - 1)
                packet = self._ring[slot]
                if packet is None or packet.sequence != number:
                    unknown = True
                elif packet.state == GONE and not self._latency_known():
                    # We gave it up after a latency that was only assumed, but the server still wants it: let
                    # the caller send it again as a new packet.
                    self._ring[slot] = None
                    unknown = True
                elif not self._again_if_overtaken(packet, behind, now):
                    if self._is_overdue(packet, told_at, now):
                        overdue.append(packet)
                    else:
                        self._reported(packet, now)
        if len(overdue) <= OVERDUE_MOST:
            for packet in overdue:
                self._hasten(packet)
        self._due(now)
        return unknown

    def _behind(self, last: int) -> Transmission | None:
        """Return the transmission of the packet after the missing ones, which must have arrived."""
        sequence = wire.advance(last, 1)
        packet = self._ring[sequence & (RING - 1)]
        if packet is None or packet.sequence != sequence or packet.times != 1:
            return None
        return packet.transmission

    def _again_if_overtaken(self, packet: Packet, behind: Transmission | None, now: float) -> bool:
        """Send the packet again if `behind`, which has arrived, was sent later on the same link.

        The link's SRTLA ACKs prove the loss more reliably, but on a link with few packets they come late. So
        this is only for a packet that may have no time for a second repeat after them. Returns whether it was
        sent again.
        """
        latest = packet.transmission
        if latest is None or behind is None or latest.link is not behind.link:
            return False
        model = behind.link
        if latest.state != FLYING or latest.index >= behind.index or not model.in_order():
            return False
        if packet.born + self._budget - now > model.batch_time() + 2 * model.round_trip():
            return False
        model.done(latest, LOST, now)
        self._again(packet, now)
        return True

    def _is_overdue(self, packet: Packet, told_at: float, now: float) -> bool:
        """Whether to send a copy of a packet that should have arrived by `told_at`, but had not.

        Its link's proof would come too late for a copy, and now a copy does not displace a packet.
        """
        latest = packet.transmission
        if self._held or latest is None or latest.state != FLYING or not latest.expected:
            return False
        if packet.state != SENT or packet.queued or packet.times > 1:
            return False
        model = latest.link
        due = latest.sent_at + latest.expected - model.back() + model.jitter + 2 * model.deviation
        left = packet.born + self._budget - now
        return due <= told_at and left <= model.batch_time() + 2 * model.round_trip()

    def echo(self, link: LinkState, sample: float, before: int, now: float) -> None:
        model: LinkModel = link.model
        model.passed(before, sample, now)
        link.in_flight, link.in_flight_bytes = model.packets, model.in_flight
        self._due(now)

    def not_sent(self, link: LinkState, datagrams: Sequence[bytes], now: float) -> None:
        for data in datagrams:
            sequence = wire.data_sequence(data)
            packet = self._ring[sequence & (RING - 1)] if sequence is not None else None
            if packet is None or packet.sequence != sequence:
                continue
            transmission = packet.transmission
            if transmission is not None and transmission.link is link.model and transmission.state == FLYING:
                transmission.link.done(transmission, LOST, now)
                transmission.link.pace_at = now + TICK_IDLE  # let its buffer drain
                self._again(packet, now)
        self._due(now)

    # --- repeats --------------------------------------------------------------------------------------------

    def _reported(self, packet: Packet, now: float) -> None:
        """Take a report that the SRT server lacks this packet, or lacked it a moment ago."""
        if packet.state == HELD or packet.state == GONE or packet.queued == URGENT:
            return
        transmission = packet.transmission
        if transmission is None:
            return
        grace = NAK_GRACE
        if packet.state == HERE:
            grace += (
                0.1 + transmission.link.srtt
            )  # it may be lost after the receiver, but only if the report repeats
        each: Transmission | None = transmission
        while each is not None:
            if each.state == FLYING or now - each.done_at < grace:
                return
            each = each.before
        if transmission.state == PASSED:
            transmission.link.done(transmission, LOST, now)
        packet.state = SENT
        self._again(packet, now)

    def _again(self, packet: Packet, now: float) -> None:
        """Send the packet again after its latest transmission was lost, unless another is in flight."""
        if packet.state != SENT or packet.queued == URGENT:
            return
        each = packet.transmission
        while each is not None:
            if each.state == FLYING:
                return
            each = each.before
        self._hasten(packet)

    def _rescue(self, link: LinkState, now: float) -> None:
        """Queue copies of a stalled link's packets, to send them over other links that are idle."""
        for transmission in link.model.fifo:
            packet: Packet = transmission.packet
            if (
                transmission.state == FLYING
                and packet.state == SENT
                and not packet.queued
                and packet.times < 3
            ):
                if packet.transmission is not transmission:
                    continue
                packet.queued = SPARE
                self._spare.append(packet)

    # --- time -----------------------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        if self._pumping:
            return self._now
        if self._blocked:
            return min(self._next_busy, self._next)
        if self._spare:
            return self._next
        for link in self._links:
            model: LinkModel = link.model
            if model.packets:
                return self._next
        return None

    def handle_timer(self, now: float) -> None:
        if self._blocked and now >= self._next_busy:
            self._next_busy = now + TICK_BUSY
            self._due(now)
        if now >= self._next:
            held_up = now - self._next  # a link is not to blame for proof that we could not read in time
            self._next = now + TICK_IDLE
            leisure = min(LEISURE * self.latency, LEISURE_MOST) if self._latency_known() else 0.0
            for link in self._links:
                model: LinkModel = link.model
                if now - model.hungry_at < HUNGRY:
                    leisure = 0.0  # a link at its limit must be measured as exactly as possible
                if held_up > HELD_UP:
                    model.answer_due += held_up
                elif link.usable:
                    self._check(link, now)
                model.settle(now)
                link.in_flight, link.in_flight_bytes = model.packets, model.in_flight
                link.window = int(model.limit(now) / TYPICAL * WINDOW_UNIT)
                link.lost = model.lost
                if link.stalled and link.carries and self._held:
                    self._try_stalled(model, now)
            self._leisure = leisure
            self._hurry(now)
            if now >= self._judge_at:
                self._judge(now)
            self._due(now)
        self.flush()

    def _judge(self, now: float) -> None:
        """Set the safety margin for deadlines: the more packets are given up, the larger it is."""
        self._judge_at = now + JUDGE_EVERY
        late, left = self.late, sum(link.data_packets for link in self._links)
        gone, sent = late - self._judged[0], left - self._judged[1]
        self._judged = (late, left)
        if gone + sent > 0:
            self._given_up += (gone / (gone + sent) - self._given_up) / 8
        least, most = SAFETY
        self._safety = self.latency * (least + (most - least) * min(1.0, self._given_up / SHORTAGE))

    def _try_stalled(self, model: LinkModel, now: float) -> None:
        """Send a copy of one waiting packet over a stalled link, because the other links have no room.

        A link with burst loss recovers after a number of packets, not after some time.
        """
        if model.in_flight > 2 * model.limit(now):
            return
        for packet in islice(self._held, RESCUED):
            if packet.transmission is None and packet.state == HELD:
                self._send(packet, model, now)
                packet.state = HELD
                return

    def _check(self, link: LinkState, now: float) -> None:
        """Send a keepalive to a link whose proof is overdue; mark it as stalled if it does not answer."""
        model: LinkModel = link.model
        oldest = model.oldest()
        if oldest is None:
            return
        since = max(model.proved_at, oldest.sent_at)
        overdue = now - oldest.sent_at - max(model.srtt, oldest.expected) - model.batch_time()
        if overdue > ASK_GRACE and now - model.asked_at >= ASK_EVERY:
            if model.asked_at < since:
                model.answer_due = now + model.round_trip() + self._patience
            model.asked_at = now
            self._outlet.ask(link, now)
            born = oldest.packet.born
            if not self._held and model.answer_due - born > ANSWER_LATE * self.latency:
                # The answer would come too late to act on it, but other proof may be due before.
                proof = model.proof_due(oldest) + ASK_GRACE
                if now > proof or proof - born > self._budget - self._hurry_time():
                    self._rescue(link, now)
        if model.asked_at >= since and now >= model.answer_due and not link.stalled:
            link.stalled = True
        if link.stalled:
            model.measured_from = now + model.min_rtt + TICK_IDLE
            self._rescue(link, now)
        elif not model.startup and model.in_flight / model.rate > model.min_rtt + 2 * model.target:
            self._predict(link, now)

    def _predict(self, link: LinkState, now: float) -> None:
        """Queue copies of packets that will arrive too late, because their link became slower."""
        model: LinkModel = link.model
        ahead = model.outstanding(now) - model.in_flight
        late = now - self._budget - model.min_rtt / 2
        for transmission in model.fifo:
            if transmission.state != FLYING:
                continue
            ahead += transmission.size
            packet: Packet = transmission.packet
            if (
                packet.state == SENT
                and not packet.queued
                and packet.times == 1
                and late + ahead / model.rate > packet.born
            ):
                packet.queued = SPARE
                self._spare.append(packet)

    def _hurry_time(self) -> float:
        """Return how many s before its deadline a copy must be sent; inf if no link can take it."""
        carrying = (link for link in self._links if link.carries and not link.stalled)
        return min((link.model.min_rtt for link in carrying), default=math.inf) + HURRY * self.latency

    def _hurry(self, now: float) -> None:
        """Send copies at once whose time runs out."""
        spare = self._spare
        if not spare:
            return
        hurry = self._hurry_time()
        if hurry == math.inf:
            return
        waits = now - self._held[0].born if self._held else 0.0
        crowded = waits > CROWDED * self.latency and self._given_up > SHORTAGE / 2
        keep: deque[Packet] = deque()
        for packet in spare:
            if packet.queued != SPARE:
                continue
            if packet.state == HERE or packet.state == GONE:
                packet.queued = NOT_QUEUED
            elif packet.born + self._budget - now < hurry:
                if crowded:
                    packet.queued = NOT_QUEUED  # a copy would take the place of another packet
                else:
                    self._hasten(packet)
            else:
                keep.append(packet)
        self._spare = keep

    def patience(self) -> float:
        return 0.0 if self._blocked else self._leisure

    def stats(self) -> dict[str, int]:
        return {
            "resent": self.resent,
            "dropped": self.dropped + self.late,
            "late": self.late,
            "spared": self.spared,
            "held": len(self._held),
        }


def _meant(latest: Transmission, model: LinkModel, now: float) -> Transmission | None:
    """Return the transmission that a link's SRTLA ACK means, of a packet that was sent more than once.

    A link delivers in order, so the ACK means the oldest transmission that it has not named yet, unless that
    one is known to be lost. (A round trip measured from a later one would be too short, and count as the
    shortest for ten seconds.)
    """
    meant: Transmission | None = None
    each: Transmission | None = latest
    while each is not None:
        if each.link is model and (
            meant is None
            or each.state == FLYING
            or each.state == PASSED
            or (each.state == LOST and now - meant.sent_at < 0.9 * model.least_rtt)
        ):
            meant = each
        each = each.before
    return meant
