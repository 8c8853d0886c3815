"""Assigns the waiting packets to the links, once per wake-up.

A waiting packet is new (`held`, or `first` if it carries a keyframe), or must be sent again at once
(`urgent`), or may be stuck on a link (`spare`). At a wake-up, everything that has arrived is processed first.
Then each link is evaluated once (`LinkModel.look`), and each packet goes to the link on which it arrives
first. docs/bonding.md has the terms and the formulas.

Why links that are about equal share a stream (`alike`, `LinkModel.compare`). A stream that depends on one
link loses more when that link fails, and the model knows nothing about a link that carries nothing. If each
limit depended on what the link has carried so far, the link with the most traffic would get more and more: of
four equal links one carried 93 %.

Why packets of keyframes leave first (`first`). A keyframe is many packets at one moment. Where they cannot
all arrive in time, the newest wait longest, so much of what is lost would be keyframes. They also avoid links
that lose packets, and get a second copy (`copies`) where a lost one could not be sent again in time.

Why a slow link takes a younger packet (`_send_younger`). A link that is too slow for the oldest packet takes
the oldest that it can deliver in time with a margin of 5 to 15 % of the latency (the margin grows with the
share of packets given up).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from netbond.srtla.adaptive.control import LEAST
from netbond.srtla.adaptive.linkmodel import LinkModel
from netbond.srtla.adaptive.packets import (
    FLYING,
    GONE,
    HELD,
    HERE,
    NOT_QUEUED,
    SENT,
    SPARE,
    URGENT,
    Packet,
    Repeat,
    Transmission,
    latest,
)
from netbond.srtla.adaptive.parameters import Parameters
from netbond.srtla.adaptive.probing import Prober
from netbond.srtla.schedule import LinkState, Outlet

NEVER: Final = 1e18  # s
SEARCHED: Final = 32  # waiting packets that are searched for one that fits a link
RECENT: Final = 64  # packets
COPIES_MOST: Final = 64_000.0  # bytes of copies at one moment: a keyframe at 8 Mbit/s


class Dealer:
    """The queues of waiting packets, and how they are emptied. `bonding.Bonding` fills them."""

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        self.outlet: Outlet
        self.latency = 0.0  # s, SRT's
        # s that a packet may take. The server plays a packet the latency after it was sent, but counts from
        # the handshake's arrival, so the time that the handshake took is added.
        self.budget = 0.0
        self.margin = 0.0  # s by which a packet must be expected before its deadline
        self.target = 0.0  # s of queue that a link may have
        self.patient = False  # nothing may ever be given up
        self.links: Sequence[LinkState] = ()
        self.ranked = False  # links have different priorities
        self._largest = 0  # bytes: what the links can carry that carry the largest packets
        self._limited = False  # some link carries less
        self.held: deque[Packet] = deque()
        self.first: deque[Packet] = deque()  # new packets of keyframes
        self.urgent: list[tuple[float, int, Packet]] = []  # to send again, the oldest first
        self.spare: deque[Packet] = deque()  # may be stuck: to send again if links are idle
        self.copies: deque[Packet] = deque()  # of keyframes: to send twice if links are idle
        self._allowance = 0.0  # bytes of copies that may be queued now
        self._count = 0
        self.now = 0.0
        self.due = False  # something has arrived since the last look
        self.blocked = False  # packets wait
        self._looked_at = 0.0
        self._ready: list[LinkModel] = []
        self.prober = Prober()
        self.recent: deque[Packet] = deque(maxlen=RECENT)  # to be copied for a probe
        self.resent = self.late = self.probed = 0

    def hasten(self, packet: Packet) -> None:
        """Send the packet again at once."""
        packet.queued = URGENT
        self._count += 1
        heapq.heappush(self.urgent, (packet.born, self._count, packet))

    def wake(self, now: float) -> None:
        """Note that something has arrived, so that `deal` sends what it can."""
        self.now = now
        self.due = True

    def _left(self, packet: Packet, now: float) -> float:
        """Return the s until the packet's deadline."""
        return NEVER if self.patient else packet.born + self.budget - now

    def _give_up(self, packet: Packet) -> None:
        packet.fate = GONE
        packet.data = b""  # free it, so that an outage does not fill the memory with data
        self.late += 1

    def deal(self) -> None:
        """Send what can be sent now."""
        if not self.due:
            return
        self.due = False
        probes = self.prober.model is not None
        if not (self.held or self.first or self.urgent or self.spare or self.copies or probes):
            self.blocked = False
            return
        now = self.now
        slack = now - self._looked_at if self.blocked else 0.0  # packets only waited for this look
        self._looked_at = now
        ready = self._ready
        ready.clear()
        nearest = NEVER  # s that a packet takes on the shortest link without a queue
        most = 0.0
        self._largest, self._limited = 0, False
        for link in self.links:
            if not link.usable or link.stalled or not link.enabled:
                continue
            if link.largest != self._largest:
                self._limited = self._largest > 0
                self._largest = max(self._largest, link.largest)
            model: LinkModel = link.model
            if model.path.shortest < nearest:
                nearest = model.path.shortest
            if model.look(now, slack):
                model.keep_margin(self.budget, self.margin)
                ready.append(model)
                if model.backlog + model.room > most:
                    most = model.backlog + model.room
        for model in ready:
            model.compare(most, now)
        nearest = 0.0 if nearest == NEVER else nearest / 2
        if self.urgent:
            self._send_urgent(ready, nearest, now)
        if self.first:
            self._send_held(self.first, self._p.sure_penalty * self.latency, ready, nearest, now)
        if self.held:
            self._send_held(self.held, 0.0, ready, nearest, now)
        waits = bool(self.held or self.first or self.urgent)
        if self.spare and ready and not waits:
            self._send_spare(ready, now)
        if self.copies and ready and not waits:
            self._send_copies(ready, now)
        if self.prober.model is not None and not waits:
            self._send_probe(self.prober.model, ready, now)
        self.blocked = waits or bool(self.spare)

    def _send_held(
        self, held: deque[Packet], penalty: float, ready: list[LinkModel], nearest: float, now: float
    ) -> None:
        """Send new packets, each over the link on which it arrives first.

        A link that loses all of its packets counts as `penalty` s longer, one that loses a tenth as a tenth.
        """
        alike = self._p.alike * self.latency
        while held:
            packet = held[0]
            if packet.fate != HELD:
                held.popleft()
                continue
            left = self._left(packet, now)
            if left < nearest:
                held.popleft()
                if not self._try_idle(packet, left, ready, now):
                    self._give_up(packet)
                continue
            if not ready:
                return
            pool = ready
            if self._limited:
                pool = [model for model in ready if self._fits(packet, model)]
                if not pool:
                    if not self._send_small(held, ready, now):
                        return
                    continue
            if self.ranked:
                pool = self._preferred(packet, pool, left, now)
            best: LinkModel | None = None
            soonest = NEVER
            for model in pool:
                arrival = model.eta + model.flight.loss * penalty if penalty else model.eta
                if arrival < soonest and model.needs <= left:
                    best, soonest = model, arrival
            if best is None:
                if not any(self._send_younger(model, held, ready, now) for model in sorted(pool, key=_eta)):
                    return
                continue
            if len(pool) > 1:
                # Do not let a stream depend on one link if others are equal: that link may fail at any time.
                share = best.share
                for model in pool:
                    if (
                        model.share < share
                        and model.eta + model.flight.loss * penalty <= soonest + alike
                        and model.needs <= left
                    ):
                        best, share = model, model.share
            held.popleft()
            self._send_by(best, packet, ready, now)

    def _fits(self, packet: Packet, model: LinkModel) -> bool:
        """Whether the link does not swallow packets of this size, or no link carries larger ones."""
        return packet.size <= model.owner.largest or model.owner.largest == self._largest

    def _send_small(self, held: deque[Packet], ready: list[LinkModel], now: float) -> bool:
        """Send a packet that waits behind one that is too large for these links."""
        for position, packet in enumerate(islice(held, SEARCHED)):
            for model in ready:
                in_time = model.needs <= self._left(packet, now)
                if packet.fate == HELD and in_time and self._fits(packet, model):
                    del held[position]
                    self._send_by(model, packet, ready, now)
                    return True
        return False

    def _try_idle(self, packet: Packet, left: float, ready: list[LinkModel], now: float) -> bool:
        """Send a packet that seems too late over an idle link, whose model may be wrong.

        Without packets it would never be corrected.
        """
        if left >= 0.0:
            for model in ready:
                if model.flight.packets < LEAST and self._fits(packet, model):
                    self._send_by(model, packet, ready, now)
                    return True
        return False

    def _preferred(self, packet: Packet, ready: list[LinkModel], left: float, now: float) -> list[LinkModel]:
        """Return the links that this packet may take, by their priority.

        While the best links have room, they carry everything. When packets have waited as long as a link's
        queue may be, the other links carry packets, too.
        """
        least = 0
        if now - packet.born < self.target:
            least = max(
                (link.priority for link in self.links if link.carries and not link.stalled), default=0
            )
        allowed = [model for model in ready if model.owner.priority >= least]
        in_time = [model.owner.priority for model in allowed if model.needs <= left]
        rank = max(in_time, default=None)
        return allowed if rank is None else [model for model in allowed if model.owner.priority == rank]

    def _send_younger(
        self, model: LinkModel, held: deque[Packet], ready: list[LinkModel], now: float
    ) -> bool:
        """Send the oldest packet that this link can deliver in time; it is too slow for the oldest of all."""
        low, high = 0, len(held)
        born = now + model.needs - self.budget
        while low < high:
            middle = (low + high) // 2
            if held[middle].born < born:
                low = middle + 1
            else:
                high = middle
        if low == len(held):
            return False
        packet = held[low]
        if packet.fate != HELD or not self._fits(packet, model):
            return False
        del held[low]
        self._send_by(model, packet, ready, now)
        return True

    def _send_urgent(self, ready: list[LinkModel], nearest: float, now: float) -> None:
        """Send repeats, the oldest first, over the best link; over two if there is no time for a third."""
        urgent = self.urgent
        aside: list[tuple[float, int, Packet]] = []
        while urgent:
            packet = urgent[0][2]
            left = self._left(packet, now)
            if packet.fate == HERE or packet.fate == GONE:
                heapq.heappop(urgent)
                packet.queued = NOT_QUEUED
            elif left < nearest:
                heapq.heappop(urgent)
                packet.queued = NOT_QUEUED
                self._give_up(packet)
            elif not ready or len(aside) >= self._p.aside:
                break
            else:
                entry = heapq.heappop(urgent)
                if not self._repeat(packet, left, ready, now):
                    aside.append(entry)
        for entry in aside:
            heapq.heappush(urgent, entry)

    def _repeat(self, packet: Packet, left: float, ready: list[LinkModel], now: float) -> bool:
        """Send a packet again. False: no link can take it now."""
        best: LinkModel | None = None
        soonest = NEVER
        carried = False  # a link could take it, but carries it already
        penalty = self._p.loss_penalty * self.latency
        for model in ready:
            if model.sure > left or not self._fits(packet, model):
                continue
            if _was_on(packet, model, flying=True):
                carried = True
                continue
            loss = model.flight.loss
            if _was_on(packet, model):
                if packet.size > model.owner.passing.passes and self._has_another_way(packet, left):
                    continue  # the link may swallow all packets of this size
                loss = 1.0
            arrival = model.eta + loss * penalty
            if arrival < soonest:
                best, soonest = model, arrival
        if best is not None or carried:
            packet.queued = NOT_QUEUED  # if it is lost on the link that carries it, its loss will be detected
        if best is not None:
            self._send_by(best, packet, ready, now)
        return best is not None or carried

    def _has_another_way(self, packet: Packet, left: float) -> bool:
        """Whether a link that did not have the packet yet may deliver it in time."""
        for link in self.links:
            if link.usable and link.enabled and not link.stalled:
                model: LinkModel = link.model
                if model.path.shortest / 2 < left and not _was_on(packet, model):
                    return True
        return False

    def _send_spare(self, ready: list[LinkModel], now: float) -> None:
        """Send copies of packets that may be stuck over links that are idle."""
        spare = self.spare
        while spare and ready:
            packet = spare[0]
            if packet.queued != SPARE:
                spare.popleft()
                continue
            left = self._left(packet, now)
            others = [m for m in ready if not _was_on(packet, m, flying=True) and self._fits(packet, m)]
            pool = [model for model in others if model.sure <= left]
            if packet.fate == SENT and others and not pool:
                return
            spare.popleft()
            packet.queued = NOT_QUEUED
            if packet.fate == SENT and pool:
                self._send_by(min(pool, key=_eta), packet, ready, now)

    def _want_copy(self, model: LinkModel, packet: Packet, now: float) -> None:
        """Queue a second copy of a keyframe's packet, which leaves on a link that loses packets.

        Only where its loss would be noticed too late to send it again, and a few bytes in a hundred at most.
        """
        noticed = self._p.copy_haste * (model.round_trip() + model.batch_time())
        in_time = model.flight.loss < self._p.copy_loss or self._left(packet, now) > noticed + model.sure
        if not in_time and self._allowance >= packet.size:
            self._allowance -= packet.size
            self.copies.append(packet)

    def _send_copies(self, ready: list[LinkModel], now: float) -> None:
        """Send second copies of keyframes' packets over links that are nearly idle, and not metered."""
        copies = self.copies
        while copies:
            packet = copies[0]
            left = self._left(packet, now)
            best: LinkModel | None = None
            if packet.fate == SENT and packet.times == 1 and left > 0.0:
                soonest = left
                for model in ready:
                    if model.owner.metered or model.backlog + packet.size >= model.room:
                        continue
                    if (
                        model.sure < soonest
                        and not _was_on(packet, model, flying=True)
                        and self._fits(packet, model)
                    ):
                        best, soonest = model, model.sure
                if best is None:
                    return
            copies.popleft()
            if best is None:
                self._allowance += packet.size  # it is there, or was sent again, or is late
            else:
                self._send_by(best, packet, ready, now)

    def _send_probe(self, model: LinkModel, ready: list[LinkModel], now: float) -> None:
        """Fill a link with copies of the latest packets, to measure it."""
        for packet in reversed(self.recent):
            if model not in ready:
                return
            if packet.data and not _was_on(packet, model, flying=True) and self._fits(packet, model):
                fate = packet.fate
                self.prober.spend(packet.size)
                self.resent -= 1
                self.probed += 1
                self._send_by(model, packet, ready, now)
                if fate == HERE:
                    packet.fate = HERE  # the loss of the copy matters to nobody

    def _send_by(self, model: LinkModel, packet: Packet, ready: list[LinkModel], now: float) -> None:
        """Send a packet over a link that is ready."""
        link = model.owner
        if not packet.repeated:  # no SRTLA ACK tells it from the data packet that has the same number
            packet.fate = HERE
            model.pace(packet.size, now)
            self.outlet.emit_data(link, packet.data, now)
            if not model.took(packet.size, now):
                ready.remove(model)
            return
        transmission: Transmission = packet
        if packet.times:
            repeat = Repeat(packet)
            repeat.before = latest(packet)
            packet.latest = repeat
            transmission = repeat
            self.resent += 1
        else:
            self._allowance = min(self._allowance + self._p.copies * packet.size, COPIES_MOST)
            if packet.important:
                self._want_copy(model, packet, now)
            self.recent.append(packet)
        packet.times += 1
        packet.fate = SENT
        model.sent(transmission, link.data_packets, now)
        self.outlet.emit_data(link, packet.data, now)
        if model.control.startup and model.flight.packets >= model.ask_at:
            model.ask_at = 1 << 30
            self.outlet.ask(link, now)
        if not model.took(packet.size, now):
            ready.remove(model)


def _eta(model: LinkModel) -> float:
    return model.eta


def _was_on(packet: Packet, model: LinkModel, *, flying: bool = False) -> bool:
    """Whether the packet was sent over this link before; `flying`: whether it is still in flight there."""
    each = latest(packet)
    while each is not None:
        if each.link is model and (each.state == FLYING or not flying):
            return True
        each = each.before
    return False
