"""Implements `--mode adaptive`: gives no link more than it carries, and no packet to a link that is too slow.

Packets wait in one queue before the links. Each is sent over the link on which it arrives first, and no link
gets more than keeps it busy (`dealing.py`, `linkmodel.py`). The sender keeps its packets (`packets.py`), and
sends again what is known to be lost, before SRT has noticed. docs/bonding.md has the terms, the formulas, and
what happens on an acknowledgement, on a loss report and when a link stops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from netbond.srtla import wire
from netbond.srtla.adaptive.advising import EVERY_S as ADVISE_EVERY_S
from netbond.srtla.adaptive.advising import Advisor, BondLook
from netbond.srtla.adaptive.capacity import capacity_of, payload, queue_of, rate_of
from netbond.srtla.adaptive.dealing import NEVER, Dealer
from netbond.srtla.adaptive.linkmodel import TYPICAL, LinkModel
from netbond.srtla.adaptive.packets import (
    ARRIVED,
    FLYING,
    GONE,
    HELD,
    HERE,
    LOST,
    NOT_QUEUED,
    PASSED,
    SENT,
    SPARE,
    URGENT,
    Memory,
    Packet,
    Transmission,
    latest,
    packet_of,
)
from netbond.srtla.adaptive.parameters import Parameters
from netbond.srtla.keyframes import Keyframes
from netbond.srtla.schedule import WINDOW_UNIT, Bond, Capacity, Carrier, LinkState, Outlet

MUTE: Final = 20  # SRT's ACKs, one in 10 ms, after which a receiver counts as one that sends no SRTLA ACKs
MUTE_ASK_S: Final = 0.02  # between keepalives that measure a link then
HANDSHAKE_DOUBT: Final = 0.2  # of the latency: by how much half a round trip may overestimate the handshake
STREAM_S: Final = 2.0  # after the caller's last packet, there is no stream to advise


class Bonding(Carrier):
    """A carrier (see `schedule.Carrier`)."""

    def __init__(self, latency: float | None = None, parameters: Parameters | None = None) -> None:
        """`latency` is SRT's in s; None: it is read from the handshake, and 1 s until then."""
        p = self._p = parameters or Parameters()
        self._dealer = Dealer(p)
        self._memory = Memory()
        self._keyframes = Keyframes()
        self._fixed = latency is not None
        self._learnt: float | None = None  # s; None: unknown from a handshake and from an earlier process
        self._handshake_delay = 0.0
        self._links: Sequence[LinkState] = ()
        self._mute = 0  # SRT's ACKs before the first SRTLA ACK; -1: the receiver sends SRTLA ACKs
        self._next = 0.0
        self._next_busy = 0.0
        self._leisure = 0.0  # s that packets may wait for others
        self._judge_at = 0.0
        self._judged = (0, 0)  # packets given up, and sent, at the last evaluation
        self._given_up = 0.0  # share of packets that were given up, over some seconds
        self.dropped = self.spared = self.keyframes = 0
        self._advisor = Advisor()
        self._advise_at = 0.0
        self._offered = 0  # bytes from the caller, each packet once
        self._size = TYPICAL
        self._offered_at = float("-inf")  # when the last one came
        self._set_latency(p.latency_s if latency is None else latency)

    def connect(self, outlet: Outlet) -> None:
        self._outlet = self._dealer.outlet = outlet

    def _set_latency(self, latency: float) -> None:
        p, dealer = self._p, self._dealer
        self.latency = dealer.latency = latency = min(max(latency, p.shortest_latency_s), p.longest_latency_s)
        self._answer_grace = latency * p.answer_grace
        dealer.target = min(max(latency * p.target, p.target_least_s), p.target_most_s)
        dealer.budget = latency + self._handshake_delay
        dealer.margin = p.margin * latency
        for link in self._links:
            if link.model is not None:
                link.model.control.target = dealer.target

    # --- links ----------------------------------------------------------------------------------------------

    def set_links(self, links: Sequence[LinkState]) -> None:
        self._links = self._dealer.links = links
        self._dealer.ranked = len({link.priority for link in links}) > 1
        for link in links:
            if link.model is None:
                link.model = LinkModel(link, self._p, self._dealer.target, 0.0)

    def link_up(self, link: LinkState, now: float) -> None:
        self._abandon(link, now)
        link.model.reset(now)
        self._dealer.wake(now)

    def link_down(self, link: LinkState, now: float) -> None:
        self._abandon(link, now)
        self._dealer.wake(now)

    def link_stalled(self, link: LinkState, now: float) -> None:
        self._rescue(link)

    def link_limited(self, link: LinkState, now: float) -> None:
        model: LinkModel = link.model
        for transmission in model.flight.fifo:
            if transmission.state == FLYING and transmission.size > link.largest:
                model.lost(transmission, now)
                self._again(packet_of(transmission))
        self._dealer.wake(now)

    def _abandon(self, link: LinkState, now: float) -> None:
        """Treat all packets in flight on the link as lost."""
        model: LinkModel = link.model
        for transmission in model.abandon(now):
            self._again(packet_of(transmission))
        link.in_flight = link.in_flight_bytes = 0

    # --- the SRT caller -------------------------------------------------------------------------------------

    def control(self, data: bytes, now: float) -> None:
        handshake = wire.is_handshake(data)
        if handshake:
            if wire.is_induction(data):
                self._forget()
            self.handshake(data)
        best: LinkState | None = None
        soonest = NEVER
        for link in self._links:
            if link.carries and len(data) <= link.largest:
                model: LinkModel = link.model
                arrival = model.arrival(model.outstanding(now), len(data)) - link.priority * 1e3
                if link.stalled:
                    arrival += 1e6
                if arrival < soonest:
                    best, soonest = link, arrival
        if best is None:
            self.dropped += 1
            return
        if handshake:
            delay, share = best.model.path.shortest / 2, HANDSHAKE_DOUBT * self.latency
            self._handshake_delay = min(delay, max(0.5 * self.latency, delay - share))
            self._dealer.budget = self.latency + self._handshake_delay
        self._outlet.emit(best, data)

    def data(self, sequence: int, data: bytes, now: float, *, again: bool) -> None:
        memory = self._memory
        if not data[7] and wire.is_filter_packet(data):
            self._dealer.held.append(Packet(sequence, data, now, repeated=False))
            self._dealer.wake(now)
            return
        if sequence == (memory.highest + 1) & wire.SEQUENCE_MASK and memory.highest >= 0:  # nearly always
            memory.highest = sequence
        elif not self._places(sequence, data, now):
            return
        self._offered += len(data)
        self._dealer.prober.earn(len(data))
        self._offered_at = now
        self._size = len(data)
        packet = Packet(sequence, data, now)
        memory.put(packet, -NEVER if self._dealer.patient else now - 2 * self.latency)
        if self._keyframes.look(data, now):
            packet.important = True
            self.keyframes += 1
            self._dealer.first.append(packet)
        else:
            self._dealer.held.append(packet)
        self._dealer.now = now
        self._dealer.due = True

    def keyframe(self, seconds: float, now: float) -> None:
        self._keyframes.announce(seconds, now)

    def _places(self, sequence: int, data: bytes, now: float) -> bool:
        """Take a packet that is not the next one in sequence; return whether it is a new one."""
        memory = self._memory
        if memory.highest < 0 or abs(wire.distance(memory.highest, sequence)) >= memory.size:
            # No encoder skips so many packets: this is another connection.
            self._forget()
            memory.begin(sequence)
        if wire.distance(memory.highest, sequence) > 0:
            memory.highest = sequence
            return True
        if wire.distance(memory.acked, sequence) < 0:
            self.spared += 1  # it crossed its own acknowledgement
            return False
        known = memory.get(sequence)
        if known is not None and known.fate == GONE and self._may_be_wanted(known, now):
            known.data = data
            known.fate = SENT
            if not self._latency_known():
                known.born = now
            self._dealer.hasten(known)
            self._dealer.wake(now)
            return False
        if known is not None:
            self.spared += 1
            self._reported(known, now)
            self._dealer.wake(now)
            return False
        return True

    def _may_be_wanted(self, packet: Packet, now: float) -> bool:
        """Whether the server may still wait for a packet that was given up."""
        return self._dealer.patient or not self._latency_known() or packet.born + self._dealer.budget > now

    def handshake(self, data: bytes) -> None:
        options = wire.parse_options(data)
        if options is None:
            return
        if options.response:
            self._dealer.patient = not options.drops_late
        if options.latency_s and not self._fixed:
            self.resume_latency(options.latency_s)

    def learnt_latency(self) -> float | None:
        return self._learnt

    def keeps_all(self) -> bool:
        return self._dealer.patient

    def resume_keeping_all(self) -> None:
        self._dealer.patient = True

    def _latency_known(self) -> bool:
        """Whether SRT's latency is known, and not only assumed."""
        return self._fixed or self._learnt is not None

    def resume_latency(self, latency: float) -> None:
        if not self._fixed:
            self._learnt = latency
            self._set_latency(latency)

    def _forget(self) -> None:
        """Forget all packets, because a new SRT connection begins; old ones may still be in flight."""
        self._memory.forget()
        self._keyframes = Keyframes()
        self._dealer.held.clear()
        self._dealer.first.clear()
        self._dealer.recent.clear()
        self._dealer.copies.clear()
        self._dealer.urgent.clear()
        self._dealer.spare.clear()

    # --- the receiver ---------------------------------------------------------------------------------------

    def srtla_ack(self, link: LinkState, sequences: Sequence[int], now: float) -> None:
        model: LinkModel = link.model
        memory = self._memory
        named: list[Transmission] = []
        for sequence in sequences:
            packet = memory.get(sequence)
            if packet is None or not packet.times:
                continue
            if packet.latest is None:
                meant: Transmission | None = packet if packet.link is model else None
            else:
                meant = _meant(packet.latest, model, now)
            if meant is not None and meant.state != ARRIVED:  # else it names a FEC packet, or a copy
                if packet.fate != GONE:
                    packet.fate = HERE
                named.append(meant)
        if named:
            self._mute = -1
            for lost in model.acknowledged(named, now):
                self._again(packet_of(lost))
            link.in_flight, link.in_flight_bytes = model.flight.packets, model.flight.bytes
        self._dealer.wake(now)

    def srt_ack(self, link: LinkState, sequence: int, now: float) -> None:
        memory = self._memory
        if (
            memory.highest < 0
            or not 0 <= wire.distance(sequence, wire.advance(memory.highest, 1)) <= memory.size
        ):
            return
        number, steps = memory.acked, wire.distance(memory.acked, sequence)
        if steps <= 0:
            return
        memory.acked = sequence
        if 0 <= self._mute <= MUTE:
            self._mute += 1
        slots, mask = memory.slots, memory.size - 1
        while steps:
            packet = slots[number & mask]
            if packet is not None and packet.sequence == number:
                packet.data = b""  # keep the packet itself: its link's own ACK, a measurement, may come later
                packet.fate = HERE
            number = (number + 1) & wire.SEQUENCE_MASK
            steps -= 1

    def srt_nak(self, ranges: Sequence[tuple[int, int]], now: float) -> bool:
        memory = self._memory
        if memory.highest < 0:
            return True
        budget = memory.size
        unknown = False
        for first, last in ranges:
            start = first if wire.distance(memory.acked, first) >= 0 else memory.acked
            end = last if wire.distance(last, memory.highest) >= 0 else memory.highest
            steps = min(wire.distance(start, end) + 1, budget)
            budget -= max(steps, 0)
            for step in range(steps):
                packet = memory.get(wire.advance(start, step))
                if packet is None:
                    unknown = True
                elif packet.fate == GONE and self._may_be_wanted(packet, now):
                    unknown = True  # the caller shall send it again
                else:
                    self._reported(packet, now)
        self._dealer.wake(now)
        return unknown

    def echo(self, link: LinkState, sample: float, before: int, now: float) -> None:
        model: LinkModel = link.model
        model.echoed(before, sample, now, mute=self._mute > MUTE)
        link.in_flight, link.in_flight_bytes = model.flight.packets, model.flight.bytes
        self._dealer.wake(now)

    def not_sent(self, link: LinkState, datagrams: Sequence[bytes], now: float) -> None:
        for data in datagrams:
            if wire.is_filter_packet(data):
                self._dealer.held.append(Packet(wire.sequence_of(data), data, now, repeated=False))
                continue
            sequence = wire.data_sequence(data)
            packet = self._memory.get(sequence) if sequence is not None else None
            transmission = latest(packet) if packet is not None else None
            if packet is None or transmission is None:
                continue
            model = transmission.link
            if model is not None and model is link.model and transmission.state == FLYING:
                model.lost(transmission, now)
                model.pacer.next_at = now + self._p.tick_idle_s  # let its buffer drain
                self._again(packet)
        self._dealer.wake(now)

    # --- repeats --------------------------------------------------------------------------------------------

    def _reported(self, packet: Packet, now: float) -> None:
        """Take a report that the SRT server lacks this packet, or lacked it a moment ago."""
        if packet.fate == HELD or packet.fate == GONE or packet.queued == URGENT:
            return
        transmission = latest(packet)
        if transmission is None or transmission.link is None:
            return
        grace = self._p.report_grace_s
        if packet.fate == HERE:
            # It may be lost after the receiver, but only if the report repeats.
            grace += 0.1 + transmission.link.path.smoothed
        each: Transmission | None = transmission
        while each is not None:
            if each.state == FLYING:
                if not self._swallowed(each, grace, now):
                    return
            elif now - each.done_at < grace:
                return
            each = each.before
        each = transmission
        while each is not None:
            if each.state == FLYING:
                each.link.owner.passing.sent(each.size, each.sent_at)  # what passes shall be asked
                each.link.lost(each, now)
            elif each is transmission and each.state == PASSED:
                each.link.lost(each, now)
            each = each.before
        packet.fate = SENT
        self._again(packet)

    def _swallowed(self, transmission: Transmission, grace: float, now: float) -> bool:
        """Whether a packet in flight that the server lacks may be taken for lost, without proof of its link.

        So it is on a link over which no packet of that size is known to have passed: it may swallow them all.
        Elsewhere the packet may just be late, and a copy would add to the load that delays it.
        """
        link: LinkModel = transmission.link
        unproved = transmission.size > link.owner.passing.passes
        return unproved and now - transmission.sent_at >= link.path.smoothed + grace

    def _again(self, packet: Packet) -> None:
        """Send the packet again after its latest transmission was lost, unless another is in flight."""
        if packet.fate != SENT or packet.queued == URGENT:
            return
        each = latest(packet)
        while each is not None:
            if each.state == FLYING:
                return
            each = each.before
        self._dealer.hasten(packet)

    def _rescue(self, link: LinkState) -> None:
        """Queue copies of a stalled link's packets, to send them over other links that are idle."""
        for transmission in link.model.flight.fifo:
            if transmission.state == FLYING and packet_of(transmission).times < 3:
                self._spare(transmission)

    def _spare(self, transmission: Transmission) -> None:
        """Queue a packet that may be stuck, unless it was sent over another link since, or is queued."""
        packet = packet_of(transmission)
        if packet.fate == SENT and not packet.queued and latest(packet) is transmission:
            packet.queued = SPARE
            self._dealer.spare.append(packet)

    # --- time -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        self._dealer.deal()

    def next_timer(self) -> float | None:
        dealer = self._dealer
        if dealer.due:
            return dealer.now
        if dealer.blocked:
            return min(self._next_busy, self._next)
        if dealer.spare:
            return self._next
        for link in self._links:
            model: LinkModel = link.model
            if model.flight.packets:
                return self._next
        return None

    def handle_timer(self, now: float) -> None:
        dealer = self._dealer
        if dealer.blocked and now >= self._next_busy:
            self._next_busy = now + self._p.tick_busy_s
            dealer.wake(now)
        if now >= self._next:
            held_up = now - self._next  # a link is not to blame for proof that we could not read in time
            self._next = now + self._p.tick_idle_s
            self._tick(held_up if held_up > self._p.held_up_s else 0.0, now)
            dealer.wake(now)
        dealer.deal()

    def _tick(self, held_up: float, now: float) -> None:
        p = self._p
        leisure = min(p.wait * self.latency, p.wait_most_s) if self._latency_known() else 0.0
        for link in self._links:
            model: LinkModel = link.model
            if now - model.control.hungry_at < p.hungry_s:
                leisure = 0.0  # a link at its limit must be measured as exactly as possible
            if held_up:
                model.answer_due += held_up
            elif link.usable:
                self._check(link, now)
                self._overdue(model, now)
            link.in_flight, link.in_flight_bytes = model.flight.packets, model.flight.bytes
            link.window = int(model.control.limit(model.size, now) / TYPICAL * WINDOW_UNIT)
            link.lost += model.flight.lost - model.told_lost
            model.told_lost = model.flight.lost
        self._leisure = leisure
        self._hurry(now)
        dealer = self._dealer
        follows = self._advisor.followed(now)
        dealer.prober.choose(self._links, self.latency, now, waits=dealer.blocked, follows=follows)
        if now >= self._advise_at:
            self._advise(now)
        if now >= self._judge_at:
            self._judge(now)

    def _judge(self, now: float) -> None:
        """Set the margin for deadlines, each second: the more packets are given up, the larger it is."""
        p, late, left = self._p, self._dealer.late, sum(link.data_packets for link in self._links)
        self._judge_at = now + 1.0
        gone, sent = late - self._judged[0], left - self._judged[1]
        self._judged = (late, left)
        if gone + sent > 0:
            self._given_up += (gone / (gone + sent) - self._given_up) / 8
        share = min(1.0, self._given_up / p.shortage)
        self._dealer.margin = self.latency * (p.margin + (p.margin_most - p.margin) * share)

    def _check(self, link: LinkState, now: float) -> None:
        """Send a keepalive to a link whose proof is overdue; mark it as stalled if it does not answer."""
        p = self._p
        model: LinkModel = link.model
        oldest = model.flight.oldest()
        if oldest is None:
            return
        since = max(model.proved_at, oldest.sent_at)
        overdue = now - oldest.sent_at - max(model.path.smoothed, oldest.expected) - model.batch_time()
        mute = self._mute > MUTE
        if (mute or overdue > p.ask_grace_s) and now - model.asked_at >= (
            MUTE_ASK_S if mute else p.ask_every_s
        ):
            if model.asked_at < since:
                model.answer_due = now + model.round_trip() + self._answer_grace
            model.asked_at = now
            self._outlet.ask(link, now)
        if model.asked_at >= since and now >= model.answer_due and not link.stalled:
            link.stalled = True
        if link.stalled:
            # What is in flight is too little to measure the link.
            model.rate.measured_from = now + model.path.shortest + p.tick_idle_s
            self._rescue(link)

    def _hurry(self, now: float) -> None:
        """Send copies at once whose time runs out."""
        dealer = self._dealer
        spare = dealer.spare
        if not spare:
            return
        ways = [link.model.path.shortest for link in self._links if link.carries and not link.stalled]
        if not ways:
            return
        hurry = min(ways) + self._p.hurry * self.latency
        keep: deque[Packet] = deque()
        for packet in spare:
            if packet.queued != SPARE:
                continue
            if packet.fate == HERE or packet.fate == GONE:
                packet.queued = NOT_QUEUED
            elif packet.born + dealer.budget - now >= hurry:
                keep.append(packet)
            else:
                dealer.hasten(packet)
        dealer.spare = keep

    def _overdue(self, model: LinkModel, now: float) -> None:
        """Queue copies of the packets that are overdue on a link, for other links that are idle.

        A link that becomes much slower still sends proof now and then, so it is not stalled.
        """
        if self._dealer.blocked:
            return
        p = self._p
        grace = p.overdue_s + min(model.batch_time(), p.batch_most_s)
        for transmission in model.flight.fifo:
            if now < transmission.sent_at + max(transmission.expected, model.path.smoothed) + grace:
                break
            if transmission.state == FLYING and transmission.index >= model.called:
                model.called = transmission.index + 1
                self._spare(transmission)

    # --- what the links carry -------------------------------------------------------------------------------

    def _advise(self, now: float) -> None:
        self._advise_at = now + ADVISE_EVERY_S
        dealer = self._dealer
        rates: dict[int, float] = {}
        waiting = float(sum(packet.size for queue in (dealer.first, dealer.held) for packet in queue))
        waiting += sum(entry[2].size for entry in dealer.urgent)
        for link in self._links:
            model: LinkModel = link.model
            rate = rate_of(model, now)
            waiting += queue_of(model, rate, now)
            if link.carries and not link.stalled:
                rates[link.number] = rate
        self._advisor.look(BondLook(self.latency, rates, waiting, self._offered, dealer.late), now)

    def advised(self, now: float) -> Bond | None:
        advisor = self._advisor
        if not advisor.rate or now - self._offered_at > STREAM_S:
            return None
        return Bond(
            payload(advisor.rate, self._size),
            payload(advisor.capacity, self._size),
            advisor.queued,
            self.latency,
        )

    def capacity(self, link: LinkState, now: float) -> Capacity | None:
        model: LinkModel = link.model
        return capacity_of(model, self._advisor.of_link.get(link.number, model.rate.rate), now)

    def patience(self) -> float:
        return 0.0 if self._dealer.blocked else self._leisure

    def stats(self) -> dict[str, int]:
        dealer = self._dealer
        return {
            "resent": dealer.resent,
            "dropped": self.dropped + dealer.late,
            "late": dealer.late,
            "spared": self.spared,
            "probed": dealer.probed,
            "keyframes": self.keyframes,
            "held": len(dealer.held) + len(dealer.first),
            "evicted": self._memory.evicted,
        }


def _meant(last: Transmission, model: LinkModel, now: float) -> Transmission | None:
    """Return the transmission that a link's SRTLA ACK means, of a packet that was sent more than once.

    A link delivers in order, so the ACK means the oldest transmission that it has not named yet, unless that
    one is known to be lost. (A round trip measured from a later one would be too short, and count as the
    shortest for ten seconds.)
    """
    meant: Transmission | None = None
    each: Transmission | None = last
    while each is not None:
        if each.link is model and (
            meant is None
            or each.state == FLYING
            or each.state == PASSED
            or (each.state == LOST and now - meant.sent_at < 0.9 * model.path.shortest_ever)
        ):
            meant = each
        each = each.before
    return meant
