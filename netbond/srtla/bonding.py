"""`--mode adaptive`: every link as fast as it is, and no packet on a link where it would come too late.

Packets wait in one queue in front of the links, each goes where it will arrive first, and no link is given
more than keeps it busy (`linkmodel.py`). docs/bonding.md says why. What the sender keeps, it can repeat
itself: most of what an SRT server reports missing is on its way over a slower link, and the rest goes out
again over another link as soon as it is known to be lost. So the SRT caller hears only of losses that are
not ours to mend.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from typing import Final

from netbond.srtla import wire
from netbond.srtla.linkmodel import FLYING, LEAST, LOST, PASSED, TYPICAL, LinkModel, Transmission
from netbond.srtla.schedule import WINDOW_UNIT, Ask, Emit, EmitData, LinkState

RING: Final = 1 << 14  # packets that are remembered: over 8 s at 20 Mbit/s, 22 MiB at most
LATENCY: Final = 1.0  # s, until the handshake tells SRT's
TICK_BUSY: Final = 0.004  # s between looks when packets wait for a link
TICK_IDLE: Final = 0.01  # ... when packets are only in flight
TARGET: Final = 0.07  # of the latency: queue that a link may have
TARGET_BOUNDS = (0.04, 0.15)  # s
ASK_EVERY: Final = 0.1  # s at least between keepalives that ask how far a link is
ASK_GRACE: Final = 0.02  # s that proof may be overdue before a link is asked
PATIENCE: Final = 0.1  # of the latency: how long an answer may be overdue before the link counts as stalled
NAK_GRACE: Final = 0.01  # s by which a loss report may be older than proof that came over another link

# of the latency: links on which a packet arrives so much later carry it as well as the first
ALIKE: Final = 0.05
LOSS_PENALTY: Final = 0.5  # of the latency: what a repeat would wait longer for a link that loses nothing
SAFETY: Final = 0.1  # of the latency: how much earlier than its deadline a packet shall be expected
DEVIATIONS: Final = 0.5  # and how many mean deviations
# waits; left at least once; arrived; given up
HELD: Final = 0
SENT: Final = 1
HERE: Final = 2
GONE: Final = 3
# to be sent again: not, if links are idle, at once
NOT_QUEUED: Final = 0
SPARE: Final = 1
URGENT: Final = 2
LATENCY_BOUNDS = (0.02, 8.0)  # s


class Packet:
    """A data packet of the SRT caller."""

    __slots__ = ("born", "data", "queued", "sequence", "size", "state", "times", "transmission")

    def __init__(self, sequence: int, data: bytes, born: float) -> None:
        self.sequence = sequence
        self.data = data
        self.size = len(data)
        self.born = born
        self.state = HELD
        self.queued = NOT_QUEUED
        self.times = 0
        self.transmission: Transmission | None = None  # the latest


class Bonding:
    """A carrier (see `schedule.Carrier`)."""

    def __init__(self, latency: float | None = None) -> None:
        """`latency`: SRT's, in s; None: learnt from the handshake, 1 s until then."""
        self._fixed = latency is not None
        # s that a packet may take: the server plays it the latency after it was sent, but counts from when
        # the handshake arrived, so that one's time on its way comes on top.
        self._budget = 0.0
        self._handshake_delay = 0.0
        self._links: Sequence[LinkState] = ()
        self._ranked = False  # there are links of unlike priority
        self._ring: list[Packet | None] = [None] * RING
        self._highest = -1  # the furthest sequence number seen; -1: none
        self._acked = 0
        self._held: deque[Packet] = deque()
        self._urgent: list[tuple[float, int, Packet]] = []  # to be sent again, the oldest first
        self._spare: deque[Packet] = deque()  # may be stuck: sent again when links have nothing else to do
        self._count = 0
        self._blocked = False
        self._next = 0.0
        self._next_busy = 0.0
        self.resent = self.dropped = self.late = self.spared = 0
        self._set_latency(LATENCY if latency is None else latency)

    def _set_latency(self, latency: float) -> None:
        shortest, longest = LATENCY_BOUNDS
        self.latency = latency = min(max(latency, shortest), longest)
        least, most = TARGET_BOUNDS
        self._target = min(max(latency * TARGET, least), most)
        self._patience = latency * PATIENCE
        self._budget = latency + self._handshake_delay
        for link in self._links:
            if link.model is not None:
                link.model.target_limit = link.model.target = self._target

    # --- links ----------------------------------------------------------------------------------------------

    def connect(self, emit_data: EmitData, emit: Emit, ask: Ask) -> None:
        self._emit_data = emit_data
        self._emit = emit
        self._ask = ask

    def set_links(self, links: Sequence[LinkState]) -> None:
        self._links = links
        self._ranked = len({link.priority for link in links}) > 1
        for link in links:
            if link.model is None:
                link.model = LinkModel(self._target, 0.0)

    def link_up(self, link: LinkState, now: float) -> None:
        self._abandon(link, now)
        link.model.reset(now)
        self._pump(now)

    def link_down(self, link: LinkState, now: float) -> None:
        self._abandon(link, now)
        self._pump(now)

    def link_stalled(self, link: LinkState, now: float) -> None:
        self._rescue(link, now)

    def _abandon(self, link: LinkState, now: float) -> None:
        """What the link carried will not arrive."""
        model: LinkModel = link.model
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
                arrival = model.transit(0, model.outstanding(now)) + (1e6 if link.stalled else 0.0)
                arrival -= link.priority * 1e3
                if best is None or arrival < soonest:
                    best, soonest = link, arrival
        if best is None:
            self.dropped += 1
            return
        if data[0] == 0x80 and data[1] == 0:
            self._handshake_delay = min(best.model.min_rtt / 2, 0.5 * self.latency)
            self._budget = self.latency + self._handshake_delay
        self._emit(best, data)

    def data(self, sequence: int, data: bytes, now: float, *, again: bool) -> None:
        if self._highest < 0:
            self._highest = wire.advance(sequence, -1)
            self._acked = wire.advance(sequence, 1 - RING)  # what came before may be repeated through us
        ahead = wire.distance(self._highest, sequence)
        if ahead >= RING:  # no encoder skips so far: another connection, with its own numbers
            self._forget()
            self._highest = wire.advance(sequence, -1)
            self._acked = wire.advance(sequence, 1 - RING)
            ahead = 1
        slot = sequence & (RING - 1)
        if ahead > 0:
            self._highest = sequence
            if wire.distance(self._acked, sequence) >= RING:
                self._acked = wire.advance(sequence, 1 - RING)
        else:
            if wire.distance(self._acked, sequence) < 0:
                self.spared += 1  # it has crossed its own acknowledgement
                return
            known = self._ring[slot]
            if known is not None and known.sequence == sequence:
                self.spared += 1
                self._reported(known, now)
                self._pump(now)
                return
        evicted = self._ring[slot]
        if evicted is not None:
            evicted.transmission = None  # they refer to each other: leave nothing to the garbage collector
            if evicted.state != HERE:
                evicted.state = GONE
        packet = Packet(sequence, data, now)
        self._ring[slot] = packet
        self._held.append(packet)
        self._pump(now)

    def handshake(self, data: bytes) -> None:
        latency = wire.parse_latency(data)
        if latency and not self._fixed:
            self._set_latency(latency)

    def _forget(self) -> None:
        """A new SRT connection: nothing of the old one matters, though it may still be on its way."""
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
            while transmission is not None and transmission.link is not model:
                transmission = transmission.before
            if transmission is None:
                continue
            if packet.state != GONE:
                packet.state = HERE
            named.append(transmission)
        if named:
            for lost in model.acknowledged(named, now):
                self._again(lost.packet, now)
            link.in_flight, link.in_flight_bytes = model.packets, model.in_flight
        self._pump(now)

    def srt_ack(self, sequence: int, now: float) -> None:
        if self._highest < 0:
            return
        left = wire.distance(sequence, wire.advance(self._highest, 1))
        if not 0 <= left <= RING:
            return
        ring, mask = self._ring, RING - 1
        trusted = now - 0.8 * self.latency  # SRT acknowledges what it has given up, too: that is older
        for step in range(max(wire.distance(self._acked, sequence), 0)):
            number = wire.advance(self._acked, step)
            packet = ring[number & mask]
            if packet is None or packet.sequence != number:
                continue
            packet.data = b""  # the record stays: the link's own ACK, which measures it, may come later
            transmission = packet.transmission
            if (
                packet.state == SENT
                and packet.times == 1
                and transmission is not None
                and packet.born > trusted
            ):
                transmission.link.arrived(transmission, now)
            packet.state = HERE
        if wire.distance(self._acked, sequence) > 0:
            self._acked = sequence

    def srt_nak(self, ranges: Sequence[tuple[int, int]], now: float) -> bool:
        if self._highest < 0:
            return True
        budget = RING
        unknown = False
        for first, last in ranges:
            start = first if wire.distance(self._acked, first) >= 0 else self._acked
            end = last if wire.distance(last, self._highest) >= 0 else self._highest
            steps = min(wire.distance(start, end) + 1, budget)
            budget -= max(steps, 0)
            for step in range(steps):
                number = wire.advance(start, step)
                packet = self._ring[number & (RING - 1)]
                if packet is not None and packet.sequence == number:
                    self._reported(packet, now)
                else:
                    unknown = True
        self._pump(now)
        return unknown

    def echo(self, link: LinkState, sample: float, before: int, now: float) -> None:
        model: LinkModel = link.model
        model.passed(before, sample, now)
        link.in_flight, link.in_flight_bytes = model.packets, model.in_flight
        self._pump(now)

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
        self._pump(now)

    # --- repeats --------------------------------------------------------------------------------------------

    def _reported(self, packet: Packet, now: float) -> None:
        """The SRT server lacks this packet, or did a moment ago."""
        if packet.state == HELD or packet.state == GONE or packet.queued == URGENT:
            return
        transmission = packet.transmission
        if transmission is None:
            return
        grace = NAK_GRACE
        if packet.state == HERE:
            grace += (
                0.1 + transmission.link.srtt
            )  # lost behind the receiver? Only if it is said again and again
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
        """The latest transmission is lost: send the packet once more, unless another is under way."""
        if packet.state != SENT or packet.queued == URGENT:
            return
        each = packet.transmission
        while each is not None:
            if each.state == FLYING:
                return
            each = each.before
        self._hasten(packet)

    def _hasten(self, packet: Packet) -> None:
        packet.queued = URGENT
        self._count += 1
        heapq.heappush(self._urgent, (packet.born, self._count, packet))

    def _rescue(self, link: LinkState, now: float) -> None:
        """What a stalled link carries goes out over others when they have nothing else to do."""
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

    # --- sending --------------------------------------------------------------------------------------------

    def _pump(self, now: float) -> None:
        """Send what can be sent."""
        urgent, held = self._urgent, self._held
        latency = self.latency
        while True:
            if urgent:
                packet = urgent[0][2]
            elif held:
                packet = held[0]
            elif self._spare:
                packet = self._spare[0]
                if packet.queued != SPARE:
                    self._spare.popleft()
                    continue
            else:
                self._blocked = False
                return
            if packet.state == HERE or packet.state == GONE:
                self._take(packet)
                continue
            deadline = packet.born + self._budget
            in_time = deadline - SAFETY * latency
            best: LinkState | None = None
            slow: LinkState | None = None  # has room, but this packet would come too late
            stuck = False  # a link would do, but has this packet already
            soonest = slow_soonest = at_best = 1e18
            alike: list[tuple[float, float, LinkState]] = []  # arrival, share of what it may hold, link
            least = self._least_priority(packet, now) if self._ranked else 0
            rank = 0  # the priority of what was found so far
            for link in self._links:
                if not link.usable or link.stalled or not link.enabled or link.priority < least:
                    continue
                model: LinkModel = link.model
                outstanding = model.outstanding(now)
                arrival = now + model.transit(packet.size, outstanding)
                if now + model.min_rtt / 2 < at_best:
                    at_best = now + model.min_rtt / 2
                if outstanding + packet.size > model.limit(now):
                    model.hungry_at = now
                    continue
                if model.pace_at > now:
                    continue
                if packet.queued:
                    arrival += model.loss * LOSS_PENALTY * latency  # a repeat wants the surest link
                # A packet or two may try in any case: without them nothing would ever be learnt again.
                if model.packets >= LEAST and arrival + DEVIATIONS * model.deviation > in_time:
                    if arrival < slow_soonest:
                        slow, slow_soonest = link, arrival
                elif packet.queued and _is_on(packet, model):
                    stuck = True
                else:
                    if link.priority != rank:
                        if best is not None and link.priority < rank:
                            continue
                        rank, soonest = link.priority, 1e18
                        alike.clear()
                    if arrival < soonest:
                        best, soonest = link, arrival
                    if not packet.queued:
                        alike.append((arrival, (outstanding + packet.size) / model.limit(now), link))
            if best is not None:
                if len(alike) > 1:
                    # No stream should hang on one link while others would do as well: it may go at any time.
                    latest = soonest + ALIKE * latency
                    load = 1e18
                    for arrival, share, link in alike:
                        if arrival <= latest and share < load:
                            best, load = link, share
                self._take(packet)
                self._send(packet, best, now)
            elif stuck:
                self._take(packet)  # nowhere else to send it now: if it is lost there, we shall hear
            elif now > deadline or (at_best < 1e17 and at_best > deadline):
                self._take(packet)
                packet.state = GONE
                packet.data = b""  # nobody will want it: an outage does not fill the ring
                self.late += 1
            elif slow is None or not self._send_younger(
                slow, slow_soonest + DEVIATIONS * slow.model.deviation, now
            ):
                self._blocked = True
                return

    def _least_priority(self, packet: Packet, now: float) -> int:
        """The lowest priority that a link must have to carry this packet now. While the best links have room
        they carry all; when packets have waited as long as a link's queue may be, the others help."""
        if packet.queued or now - packet.born >= self._target:
            return 0
        return max((link.priority for link in self._links if link.carries and not link.stalled), default=0)

    def _send_younger(self, link: LinkState, arrival: float, now: float) -> bool:
        """A link that is too slow for the oldest packet takes the oldest that it can bring in time."""
        held = self._held
        low, high = 0, len(held)
        born = arrival - self._budget + self.latency * SAFETY
        while low < high:
            middle = (low + high) // 2
            if held[middle].born < born:
                low = middle + 1
            else:
                high = middle
        if low == len(held) or held[low].state != HELD:
            return False
        packet = held[low]
        del held[low]
        self._send(packet, link, now)
        return True

    def _take(self, packet: Packet) -> None:
        """Out of the queue whose head it is."""
        if self._urgent:
            heapq.heappop(self._urgent)
        elif self._held:
            self._held.popleft()
        else:
            self._spare.popleft()
        packet.queued = NOT_QUEUED

    def _send(self, packet: Packet, link: LinkState, now: float) -> None:
        model: LinkModel = link.model
        transmission = model.sent(packet, packet.size, link.data_packets, now)
        transmission.before = packet.transmission
        packet.transmission = transmission
        packet.times += 1
        packet.state = SENT
        if packet.times > 1:
            self.resent += 1
        link.in_flight, link.in_flight_bytes = model.packets, model.in_flight
        self._emit_data(link, packet.data, now)
        if model.startup and model.packets >= model.ask_at:
            model.ask_at = 1 << 30
            self._ask(link, now)

    # --- time -----------------------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        if self._blocked:
            return min(self._next_busy, self._next)
        if self._spare or any(link.model.packets for link in self._links):
            return self._next
        return None

    def handle_timer(self, now: float) -> None:
        if self._blocked and now >= self._next_busy:
            self._next_busy = now + TICK_BUSY
            self._pump(now)
        if now < self._next:
            return
        self._next = now + TICK_IDLE
        for link in self._links:
            model: LinkModel = link.model
            if link.usable and model.packets:
                self._check(link, now)
            link.in_flight, link.in_flight_bytes = model.packets, model.in_flight
            link.window = int(model.limit(now) / TYPICAL * WINDOW_UNIT)
            link.lost = model.lost
        self._hurry(now)
        self._pump(now)

    def _check(self, link: LinkState, now: float) -> None:
        """Ask a link that ought to have answered; do without one that does not."""
        model: LinkModel = link.model
        oldest = model.fifo[0]
        since = max(model.proved_at, oldest.sent_at)
        overdue = now - oldest.sent_at - max(model.srtt, oldest.expected) - model.batch_time()
        if overdue > ASK_GRACE and now - model.asked_at >= ASK_EVERY:
            if model.asked_at < since:
                model.answer_due = now + model.round_trip() + self._patience
            model.asked_at = now
            self._ask(link, now)
            if not self._held and model.answer_due - oldest.packet.born > 0.7 * self.latency:
                self._rescue(link, now)  # the answer would come too late to do anything
        if model.asked_at >= since and now >= model.answer_due and not link.stalled:
            link.stalled = True
        if link.stalled:
            self._rescue(link, now)
        elif not model.startup and model.in_flight / model.rate > model.min_rtt + 2 * model.target:
            self._predict(link, now)

    def _predict(self, link: LinkState, now: float) -> None:
        """The link became slower: what will come too late goes out over others, if they can."""
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

    def _hurry(self, now: float) -> None:
        """Spare copies whose time runs out must not wait any longer."""
        spare = self._spare
        if not spare:
            return
        soonest = min(
            (link.model.min_rtt for link in self._links if link.carries and not link.stalled), default=None
        )
        if soonest is None:
            return
        keep: deque[Packet] = deque()
        for packet in spare:
            if packet.queued != SPARE:
                continue
            if packet.state == HERE or packet.state == GONE:
                packet.queued = NOT_QUEUED
            elif packet.born + self._budget - now < soonest + 0.25 * self.latency:
                self._hasten(packet)
            else:
                keep.append(packet)
        self._spare = keep

    def stats(self) -> dict[str, int]:
        return {
            "resent": self.resent,
            "dropped": self.dropped + self.late,
            "late": self.late,
            "spared": self.spared,
            "held": len(self._held),
        }


def _is_on(packet: Packet, model: LinkModel) -> bool:
    """Whether the link carries the packet already."""
    transmission = packet.transmission
    return transmission is not None and transmission.link is model and transmission.state == FLYING
