"""Deals the packets that wait in front of the links to the links, once per wake-up.

A packet that waits is new (`_held`), to be sent again at once (`_urgent`), or perhaps stuck on a link
(`_spare`). Everything that comes in at one wake-up is noted first. Then each link is summed up once
(`LinkModel.look`), and the packets go where they will arrive first. docs/bonding.md has the words and the
formulas.

Why links that are about equal share a stream (`ALIKE`, `LinkModel.compare`). A stream that depends on one
link loses more when that link goes, and a link that carries nothing is unknown when it is needed. The limit
of a link is known only if it was full in the last second. Any other link may be able to carry as much as the
best, so it counts with the largest limit of all. With limits by what each has carried so far, the link that
happens to carry most would get ever more: of four equal links one carried 93 %.

Why a slow link takes a younger packet (`_send_younger`). A link that is too slow for the oldest packet takes
the oldest that it can deliver in time with a margin of 5 to 15 % of the latency (the more packets are given
up, the more), or else the youngest packet with half of that margin. If the quickest link is too unsure for
any packet, the next one is asked. The margin is at most half of the time that a packet has left if it takes
the link at once: if a larger margin kept a far link idle, more packets would be given up, and the margin
would never shrink again.

Of a link that has shown no queue for a second, as much queue as it may have is assumed not to exist
(`LinkModel.unseen`): the link may be quicker than what it was given. How unsure a link is comes from how late
its packets were; one outage counts for no more than a round trip and twice the queue.

A new link gets more than its model allows when packets cannot wait any longer (`_overfill`, 40 % of the
latency gone). It is expected to be as quick as its recent round trips; or, while less is in flight than its
path holds at 3.2 Mbit/s or more, as quick as its path alone. Otherwise a far link that was full once, or that
was given two packets per round trip, would be taken for too far or too weak for ever, because it carries
nothing that shows better. For the same reason only packets that had other packets before them end the
start-up.

A packet that no link can deliver in time leaves over an idle link (`_try_luck`), or is given up.

Links of unlike priority (`_preferred`). While the links of the highest priority have room, they carry
everything. When packets have waited as long as a link's queue may be, the next links help. Packets that are
sent again go by any link. A link that is not enabled is asked like the others, and carries nothing.

Two copies of a repeat (`_repeat`). A repeat leaves over two links if there would be no time for a third
sending, and now and then (once per hundred packets) if there would. This happens only if nothing waits and
the second link is not busy: a copy must not displace a packet. Repeats do not wait for each other: behind one
that no link can take now, up to 16 others are looked at.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from typing import Final

from netbond.srtla.adaptive.linkmodel import BURST_TIME_MOST, FLYING, LEAST, LinkModel, Transmission
from netbond.srtla.schedule import Carrier, LinkState

ALIKE: Final = (
    0.2  # of the latency: links on which a packet arrives so much later carry it as well as the first
)
LOSS_PENALTY: Final = 0.5  # of the latency: what a repeat would wait longer for a link that loses nothing
SAFETY = (0.05, 0.15)  # of the latency: how much earlier than its deadline a packet shall be expected, ...
SHORTAGE = (
    0.08  # ... the most when this share of packets is given up: then a late one costs another its place
)
HASTE: Final = (
    0.6  # of the latency: a packet with so little time left does not wait for what a new link can do
)
OVERFILL_LOSS: Final = 0.1  # share of packets lost from which a new link is not overfilled
ASIDE: Final = 16  # repeats that no link will take just now, behind which others are looked at
COPIES: Final = 0.01  # second copies of repeats, per packet, ...
COPIES_MOST: Final = 10.0  # ... and at most in a row, while there is a third chance
SPARE_SHARE: Final = 0.6  # of what a link may hold: below it a second copy is in nobody's way
# waits; left at least once; arrived; given up
HELD: Final = 0
SENT: Final = 1
HERE: Final = 2
GONE: Final = 3
# to be sent again: not, if links are idle, at once
NOT_QUEUED: Final = 0
SPARE: Final = 1
URGENT: Final = 2


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


class Dealer(Carrier):
    """The queues and what empties them. What fills them is `bonding.Bonding`."""

    def __init__(self) -> None:
        self.latency = 0.0  # s, SRT's
        # s that a packet may take: the server plays it the latency after it was sent, but counts from when
        # the handshake arrived, so that one's time on its way comes on top.
        self._budget = 0.0
        self._safety = 0.0  # s
        self._target = 0.0  # s of queue that a link may have
        self._links: Sequence[LinkState] = ()
        self._ranked = False  # there are links of unlike priority
        self._held: deque[Packet] = deque()
        self._urgent: list[tuple[float, int, Packet]] = []  # to be sent again, the oldest first
        self._spare: deque[Packet] = deque()  # may be stuck: sent again when links have nothing else to do
        self._count = 0
        self._now = 0.0
        self._pumping = False
        self._blocked = False
        self._looked_at = 0.0
        self._ready: list[LinkModel] = []
        self._copies = 0.0  # second copies that may be sent though a third chance is left
        self.resent = self.late = 0

    def _hasten(self, packet: Packet) -> None:
        packet.queued = URGENT
        self._count += 1
        heapq.heappush(self._urgent, (packet.born, self._count, packet))

    def _due(self, now: float) -> None:
        """Something has come in: `flush` is to send what can be sent."""
        self._now = now
        self._pumping = True

    def _give_up(self, packet: Packet) -> None:
        packet.state = GONE
        packet.data = b""  # nobody will want it: an outage does not fill the ring
        self.late += 1

    def flush(self) -> None:
        if not self._pumping:
            return
        self._pumping = False
        if not (self._held or self._urgent or self._spare):
            self._blocked = False
            return
        now = self._now
        slack = 0.0
        if self._blocked:  # what waits has had no chance since
            slack = min(now - self._looked_at, BURST_TIME_MOST)
        self._looked_at = now
        ready = self._ready
        ready.clear()
        nearest = 1e18  # s that a packet takes on the shortest link if nothing is in its way
        for link in self._links:
            if not link.usable or link.stalled or not link.enabled:
                continue
            model: LinkModel = link.model
            if model.min_rtt < nearest:
                nearest = model.min_rtt
            if model.look(now, slack):
                model.keep_margin(self._budget, self._safety)
                ready.append(model)
        if len(ready) > 1:
            most = 0.0
            for model in ready:
                if model.backlog + model.room > most:
                    most = model.backlog + model.room
            for model in ready:
                model.compare(most, now)
        nearest /= 2
        if self._urgent:
            self._send_urgent(ready, nearest, now)
        if self._held:
            self._send_held(ready, nearest, now)
        if self._spare and ready and not self._urgent and not self._held:
            self._send_spare(ready, now)
        self._blocked = bool(self._held or self._urgent or self._spare)

    def _send_held(self, ready: list[LinkModel], nearest: float, now: float) -> None:
        """New packets, each where it will arrive first."""
        held = self._held
        budget, alike = self._budget, ALIKE * self.latency
        while held:
            packet = held[0]
            if packet.state != HELD:
                held.popleft()
                continue
            left = packet.born + budget - now  # s until it must be there
            if left < 0 or (nearest < 1e17 and nearest > left):
                held.popleft()
                if not self._try_luck(packet, ready, now):
                    self._give_up(packet)
                continue
            if not ready:
                if left - nearest > HASTE * self.latency or not self._overfill(packet, now):
                    return
                continue
            pool = self._preferred(packet, ready, left, now) if self._ranked else ready
            best: LinkModel | None = None
            soonest = 1e18
            for model in pool:
                if model.eta < soonest and model.sure + model.margin <= left:
                    best, soonest = model, model.eta
            if best is None:
                pool = sorted(pool, key=_eta)
                if not any(self._send_younger(model, ready, now) for model in pool):
                    return
                continue
            if len(pool) > 1:
                # No stream should hang on one link while others would do as well: it may go at any time.
                latest = soonest + alike
                share = best.share
                for model in pool:
                    if model.share < share and model.eta <= latest and model.sure + model.margin <= left:
                        best, share = model, model.share
            held.popleft()
            self._send(packet, best, now)
            if not best.took(packet.size, now):
                ready.remove(best)

    def _preferred(self, packet: Packet, ready: list[LinkModel], left: float, now: float) -> list[LinkModel]:
        """Of links of unlike priority those that this packet may take: while the best links have room they
        carry all; when packets have waited as long as a link's queue may be, the others help."""
        least = 0
        if now - packet.born < self._target:
            least = max(
                (link.priority for link in self._links if link.carries and not link.stalled), default=0
            )
        allowed = [model for model in ready if model.owner.priority >= least]
        rank = max(
            (model.owner.priority for model in allowed if model.sure + model.margin <= left), default=None
        )
        return allowed if rank is None else [model for model in allowed if model.owner.priority == rank]

    def _send_younger(self, model: LinkModel, ready: list[LinkModel], now: float) -> bool:
        """A link that is too slow for the oldest packet takes the oldest that it can bring in time."""
        held = self._held
        low, high = 0, len(held)
        born = now + model.sure - self._budget + model.margin
        while low < high:
            middle = (low + high) // 2
            if held[middle].born < born:
                low = middle + 1
            else:
                high = middle
        if low == len(held):
            low -= 1  # the youngest, if it is just possible
            if held[low].born + self._budget - now < model.sure + model.margin / 2:
                return False
        packet = held[low]
        if packet.state != HELD:
            return False
        del held[low]
        self._send(packet, model, now)
        if not model.took(packet.size, now):
            ready.remove(model)
        return True

    def _overfill(self, packet: Packet, now: float) -> bool:
        """The oldest packet cannot wait until the links have room again. A link that is new may be able to do
        more than is known of it."""
        best: LinkModel | None = None
        for link in self._links:
            model: LinkModel = link.model
            if not link.carries or link.stalled or not model.startup or not model.full or model.pace_at > now:
                continue
            if best is None or model.backlog * best.rate < best.backlog * model.rate:
                best = model
        if best is None or best.loss > OVERFILL_LOSS:
            return False
        self._held.popleft()
        self._send(packet, best, now)
        best.backlog += packet.size
        return True

    def _try_luck(self, packet: Packet, ready: list[LinkModel], now: float) -> bool:
        """A packet for which it seems too late goes out over an idle link: what is believed of that one may
        be wrong, and without packets nothing would ever be learnt again."""
        if now > packet.born + self._budget:
            return False
        for model in ready:
            if model.packets < LEAST:
                self._send(packet, model, now)
                if not model.took(packet.size, now):
                    ready.remove(model)
                return True
        return False

    def _send_urgent(self, ready: list[LinkModel], nearest: float, now: float) -> None:
        """Repeats, the oldest first, each over the surest link; over two if there is no third chance."""
        urgent, budget = self._urgent, self._budget
        aside: list[tuple[float, int, Packet]] = []
        while urgent:
            packet = urgent[0][2]
            left = packet.born + budget - now
            if packet.state == HERE or packet.state == GONE:
                heapq.heappop(urgent)
                packet.queued = NOT_QUEUED
            elif left < 0 or (nearest < 1e17 and nearest > left):
                heapq.heappop(urgent)
                packet.queued = NOT_QUEUED
                self._give_up(packet)
            elif not ready or len(aside) >= ASIDE:
                break
            else:
                entry = heapq.heappop(urgent)
                if not self._repeat(packet, left, ready, nearest, now):
                    aside.append(entry)
        for entry in aside:
            heapq.heappush(urgent, entry)

    def _repeat(
        self, packet: Packet, left: float, ready: list[LinkModel], nearest: float, now: float
    ) -> bool:
        """Sends it again. False: no link will do now."""
        best: LinkModel | None = None
        second: LinkModel | None = None
        soonest = 1e18
        carried = False  # a link would do, but has this packet already
        penalty = LOSS_PENALTY * self.latency
        for model in ready:
            if model.sure > left:
                continue
            if _is_on(packet, model):
                carried = True
                continue
            arrival = model.eta + model.loss * penalty
            if arrival < soonest:
                second, best, soonest = best, model, arrival
            elif second is None or arrival < second.eta + second.loss * penalty:
                second = model
        if best is None:
            if carried:
                packet.queued = NOT_QUEUED  # nowhere else to send it now: if it is lost there, we shall hear
            return carried
        packet.queued = NOT_QUEUED
        last_chance = best.eta + best.round_trip() + best.batch_time() + nearest > left
        self._send(packet, best, now)
        if not best.took(packet.size, now):
            ready.remove(best)
        if second is None or self._held or second.share >= SPARE_SHARE:
            return True
        if last_chance or self._copies >= 1.0:
            if not last_chance:
                self._copies -= 1.0
            self._send(packet, second, now)
            if not second.took(packet.size, now):
                ready.remove(second)
        return True

    def _send_spare(self, ready: list[LinkModel], now: float) -> None:
        """What may be stuck goes out a second time where there is nothing else to do."""
        spare = self._spare
        while spare and ready:
            packet = spare[0]
            if packet.queued != SPARE:
                spare.popleft()
                continue
            left = packet.born + self._budget - now
            pool = [model for model in ready if model.sure <= left and not _is_on(packet, model)]
            if packet.state == SENT and not pool and any(not _is_on(packet, model) for model in ready):
                return
            spare.popleft()
            packet.queued = NOT_QUEUED
            if packet.state == SENT and pool:
                best = min(pool, key=_eta)
                self._send(packet, best, now)
                if not best.took(packet.size, now):
                    ready.remove(best)

    def _send(self, packet: Packet, model: LinkModel, now: float) -> None:
        link = model.owner
        transmission = model.sent(packet, packet.size, link.data_packets, now)
        transmission.before = packet.transmission
        packet.transmission = transmission
        packet.state = SENT
        packet.times += 1
        if packet.times > 1:
            self.resent += 1
        elif self._copies < COPIES_MOST:
            self._copies += COPIES
        self._outlet.emit_data(link, packet.data, now)
        if model.startup and model.packets >= model.ask_at:
            model.ask_at = 1 << 30
            self._outlet.ask(link, now)


def _eta(model: LinkModel) -> float:
    return model.eta


def _is_on(packet: Packet, model: LinkModel) -> bool:
    """Whether the link carries the packet already."""
    each = packet.transmission
    while each is not None:
        if each.link is model and each.state == FLYING:
            return True
        each = each.before
    return False
