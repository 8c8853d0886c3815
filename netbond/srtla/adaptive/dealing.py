"""Assigns the waiting packets to the links, once per wake-up.

A waiting packet is new (`_held`), or must be sent again at once (`_urgent`), or may be stuck on a link
(`_spare`). At a wake-up, everything that has arrived is processed first. Then each link is evaluated once
(`LinkModel.look`), and each packet goes to the link on which it arrives first. docs/bonding.md has the terms
and the formulas.

Why links that are about equal share a stream (`ALIKE`, `LinkModel.compare`). A stream that depends on one
link loses more when that link fails, and the model knows nothing about a link that carries nothing. The limit
of a link is known only if it was full in the last second. Any other link may be able to carry as much as the
best, so it counts with the largest limit of all. If each limit depended on what the link has carried so far,
the link with the most traffic would get more and more: of four equal links one carried 93 %.

Why a slow link takes a younger packet (`_send_younger`). A link that is too slow for the oldest packet takes
the oldest that it can deliver in time with a margin of 5 to 15 % of the latency (the margin grows with the
share of packets given up), or else the youngest packet with half of that margin. If the quickest link is too
uncertain for any packet, the next one is tried. The margin is at most half of the time that a packet has left
if it takes the link at once. If a larger margin kept a far link idle, more packets would be given up, and the
margin would never shrink again.

If a link has shown no queue for a second, the model assumes that as much queue as it may have does not exist
(`LinkModel.unseen`): the link may be faster than what it was given. The uncertainty of a link is how late its
packets were; one outage counts for no more than a round trip and twice the queue.

A new link gets more than its model allows if packets cannot wait any longer (`_overfill`, when 40 % of the
latency have passed). It is expected to be as quick as its recent round trips; or, while less is in flight
than its path holds at 3.2 Mbit/s or more, as quick as its path alone. Otherwise a far link that was full
once, or that was given two packets per round trip, would seem too far or too weak for ever, because it would
carry nothing that shows the contrary. For the same reason only packets that had other packets before them end
the start-up.

A packet that no link can deliver in time is sent over an idle link (`_try_luck`), or is given up.

Links of different priority (`_preferred`). While the links of the highest priority have room, they carry
everything. When packets have waited as long as a link's queue may be, the next links carry packets, too.
Repeats may use any link. A link that is not enabled gets keepalives like the others, but carries no data.

Two copies of a repeat (`_repeat`). A repeat is sent over two links if there would be no time for a third
transmission, and occasionally (once per hundred packets) if there would. This happens only if no packet waits
and the second link is not busy: a copy must not displace a packet. Repeats do not wait for each other: if no
link can take one now, up to 16 others behind it are tried.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from typing import Final

from netbond.srtla.adaptive.linkmodel import BURST_TIME_MOST, FLYING, LEAST, LinkModel, Transmission
from netbond.srtla.schedule import Carrier, LinkState

ALIKE: Final = (
    0.2  # of the latency: a link on which a packet arrives up to this much later counts as equal to the best
)
LOSS_PENALTY: Final = 0.5  # of the latency: how much longer a repeat may take on a link without any loss
SAFETY = (0.05, 0.15)  # of the latency: a packet must be expected this much before its deadline, ...
SHORTAGE = (
    0.08  # ... most if this share of packets is given up: then a late packet takes the place of another
)
HASTE: Final = (
    0.6  # of the latency: a packet with less time left does not wait until a new link has shown its rate
)
OVERFILL_LOSS: Final = 0.1  # a new link with at least this share of loss is not overfilled
ASIDE: Final = 16  # repeats that no link can take now, behind which others are tried
COPIES: Final = 0.01  # second copies of repeats per packet, ...
COPIES_MOST: Final = 10.0  # ... and most in a row, if a third transmission is possible
SPARE_SHARE: Final = 0.6  # of a link's limit: below it, a second copy does not displace a packet
# State of a packet: waits; sent at least once; arrived; given up
HELD: Final = 0
SENT: Final = 1
HERE: Final = 2
GONE: Final = 3
# When to send a packet again: not at all, if links are idle, at once
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
    """The queues of waiting packets, and how they are emptied. `bonding.Bonding` fills them."""

    def __init__(self) -> None:
        self.latency = 0.0  # s, SRT's
        # s that a packet may take. The server plays a packet the latency after it was sent, but counts from
        # the handshake's arrival, so the time that the handshake took is added.
        self._budget = 0.0
        self._safety = 0.0  # s
        self._target = 0.0  # s of queue that a link may have
        self._links: Sequence[LinkState] = ()
        self._ranked = False  # links have different priorities
        self._held: deque[Packet] = deque()
        self._urgent: list[tuple[float, int, Packet]] = []  # to send again, the oldest first
        self._spare: deque[Packet] = deque()  # may be stuck: to send again if links are idle
        self._count = 0
        self._now = 0.0
        self._pumping = False
        self._blocked = False
        self._looked_at = 0.0
        self._ready: list[LinkModel] = []
        self._copies = 0.0  # second copies that may be sent although a third transmission is possible
        self.resent = self.late = 0

    def _hasten(self, packet: Packet) -> None:
        packet.queued = URGENT
        self._count += 1
        heapq.heappush(self._urgent, (packet.born, self._count, packet))

    def _due(self, now: float) -> None:
        """Note that something has arrived, so that `flush` sends what it can."""
        self._now = now
        self._pumping = True

    def _give_up(self, packet: Packet) -> None:
        packet.state = GONE
        packet.data = b""  # free it, so that an outage does not fill the ring with data
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
        if self._blocked:  # waiting packets could not be sent since the last look
            slack = min(now - self._looked_at, BURST_TIME_MOST)
        self._looked_at = now
        ready = self._ready
        ready.clear()
        nearest = 1e18  # s that a packet takes on the shortest link without a queue
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
        """Send new packets, each over the link on which it arrives first."""
        held = self._held
        budget, alike = self._budget, ALIKE * self.latency
        while held:
            packet = held[0]
            if packet.state != HELD:
                held.popleft()
                continue
            left = packet.born + budget - now  # s until its deadline
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
                # Do not let a stream depend on one link if others are equal: that link may fail at any time.
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
        """Return the links that this packet may take, by their priority.

        While the best links have room, they carry everything. When packets have waited as long as a link's
        queue may be, the other links carry packets, too.
        """
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
        """Send the oldest packet that this link can deliver in time; it is too slow for the oldest of all."""
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
            low -= 1  # try the youngest, with half of the margin
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
        """Send the oldest packet over a new link that is full, because it cannot wait until a link has room.

        The new link may be able to carry more than its model knows.
        """
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
        """Send a packet that seems too late over an idle link.

        The model of that link may be wrong, and without packets it would never be corrected.
        """
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
        """Send repeats, the oldest first, over the best link; over two if there is no time for a third."""
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
        """Send a packet again. False: no link can take it now."""
        best: LinkModel | None = None
        second: LinkModel | None = None
        soonest = 1e18
        carried = False  # a link could take it, but carries it already
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
                packet.queued = NOT_QUEUED  # if it is lost on that link, its loss will be detected
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
        """Send copies of packets that may be stuck over links that are idle."""
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
    """Whether the packet is already in flight on this link."""
    each = packet.transmission
    while each is not None:
        if each.link is model and each.state == FLYING:
            return True
        each = each.before
    return False
