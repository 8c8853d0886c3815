"""Measures what each link, and then all of them together, carry to a receiver, before a stream goes live.

A state machine around the sender's: it registers a group of its own and gives the links packets that look
like SRT data, as many as they take in the adaptive mode. The receiver acknowledges them as any others
(SRTLA ACKs), which is the measurement: bytes named by the receiver, over the time between two of its answers.
So only the way up counts, with every receiver that acknowledges. The SRT server gets the packets, too; they
belong to no connection, so it drops them.

First each link is measured alone, then all at once. Each turn has a part without measurement, in which the
link gets full. What may be sent is shared between the turns that are left, and nothing is sent beyond it.

`now` is monotonic seconds, rates are bit/s of SRT payload.
"""

from __future__ import annotations

import math
import statistics
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from netbond.srtla import wire
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.modes import make_carrier
from netbond.srtla.sender import NO_ANSWER, Sender
from netbond.srtla.senderevents import LinkAdded, Refused, Unproven
from netbond.system.typed_json import doc

LATENCY_S: Final = 1.0  # of the stream that is suggested
PAYLOAD: Final = 1316  # bytes: seven packets of a transport stream, as nearly all encoders send
OVERHEAD: Final = {4: 28, 6: 48}  # bytes of IP and UDP headers, by family
ANSWER_S: Final = 5.0  # until the first link must be up
OTHERS_S: Final = 3.0  # until the others must
FULL_S: Final = 0.3  # in which a link alone gets full, or ...
FULL_RTTS: Final = 6  # ... this many round trips, whichever is longer
AGAIN_S: Final = 0.2  # the same for all of them, whose rates are known then, ...
AGAIN_RTTS: Final = 3
ALONE_S: Final = 1.0  # for which a link is measured
TOGETHER_S: Final = 1.5  # for which all of them are
BINS_S: Final = 0.5  # parts of that time of which the slowest counts for what is suggested
SHARE: Final = 0.9  # of it: adaptive mode loses nothing at so much
LAST_ANSWERS_S: Final = 0.1  # for answers once the data is used, or ...
LAST_ANSWERS_RTTS: Final = 2  # ... this many round trips, whichever is longer
TOGETHER_WEIGHT: Final = 2  # parts of what may be sent, where a link alone has one
SURE_S: Final = 0.3  # of measurement, at least: less than that, and a link may carry more
ANSWERS: Final = 0.02  # of what may be used, for answers to the last packets, and for packets sent again
BACKLOG: Final = 24  # packets that wait, so that a link that has room gets one
TICK_S: Final = 0.02  # between two looks at what is due

_HEADER = struct.Struct("!IIII")
_SOLO: Final = 0xC0000000  # a message of one packet
_MESSAGES: Final = 0x03FFFFFF  # message numbers

NOT_ACKNOWLEDGED: Final = "it is registered, but the receiver acknowledges no data"


@dataclass(frozen=True, slots=True)
class LinkResult:
    """What one link carries."""

    label: str = field(metadata=doc("the uplink's name, or as in the list"))
    address: str = field(metadata=doc("its own"))
    device: str = field(metadata=doc('`""`: any'))
    capacity_bits_per_second: int | None = field(
        metadata=doc("SRT payload that it carries to the receiver; null: not measured, `reason` says why")
    )
    at_least: bool = field(
        default=False,
        metadata=doc("it was not full before the data allowed for it was used: it may carry more"),
    )
    rtt_ms: int | None = field(default=None, metadata=doc("shortest round trip; null: not known"))
    full_rtt_ms: int | None = field(
        default=None, metadata=doc("the same while it was kept full by the adaptive mode: what queues")
    )
    loss_pct: float | None = field(
        default=None, metadata=doc("0 to 100, of the packets sent while it was full")
    )
    reason: str = field(default="", metadata=doc('why it was not measured; `""`'))


@dataclass(frozen=True, slots=True)
class RehearsalResult:
    """What `netbond rehearse --json` prints."""

    receiver: str = field(metadata=doc("as given"))
    capacity_bits_per_second: int | None = field(
        metadata=doc("SRT payload that all measured links carry together; null: none could be measured")
    )
    at_least: bool = field(metadata=doc("they were not full before the data allowed was used"))
    suggested_bits_per_second: int | None = field(
        metadata=doc("the most that an encoder should send now, at a latency of 1 s; SRT payload")
    )
    used_bytes: int = field(metadata=doc("sent and received, with the headers of IP and UDP"))
    max_bytes: int = field(metadata=doc("what was allowed"))
    links: tuple[LinkResult, ...] = field(metadata=doc("in the order of the list"))


@dataclass(slots=True)
class _Way:
    """What is known of one link."""

    spec: LinkSpec
    sent: dict[int, float] = field(default_factory=dict)  # by sequence number, until an ACK names it
    again: dict[int, float] = field(
        default_factory=dict
    )  # the same of packets that left again: when at first
    lost: list[float] = field(default_factory=list)  # when packets left that left again since
    packets: int = 0  # data packets sent
    acknowledged: int = 0  # bytes of payload
    shortest: float | None = None  # s
    state: str = ""  # of the link in the sender's statistics, ...
    why_not: str = ""  # ... and why it carries nothing
    measured: _Measured | None = None
    told: bool = False  # by `news`


@dataclass(slots=True)
class _Turn:
    """The measurement of one link, or of several at once."""

    ways: Sequence[_Way]
    full_at: float  # when measuring begins
    ends: float
    most: int  # bytes used when no more packets are made for it
    fed_until: float = math.inf  # when so many were used: from then on only answers are waited for
    points: list[tuple[float, int]] = field(default_factory=list)  # (when, bytes acknowledged) at each ACK
    round_trips: list[tuple[float, float]] = field(default_factory=list)  # (when, s)
    ticks: list[tuple[float, int, bool]] = field(default_factory=list)  # (when, packets sent so far, full)


@dataclass(frozen=True, slots=True)
class _Measured:
    """What a turn has shown."""

    bits_per_second: float
    slowest: float  # bit/s, of the parts of the turn
    at_least: bool
    full_rtt_s: float | None  # None: not known
    loss: float  # 0 to 1


class Rehearsal:
    """See the module. Like the sender's: told of sockets, datagrams and time, it gives out datagrams."""

    def __init__(
        self,
        random: Callable[[int], bytes],
        specs: Sequence[LinkSpec],
        most: int,
        now: float,
        *,
        key: bytes | None = None,
        require_key: bool = False,
    ) -> None:
        """`specs`: the links to measure, each another; open a socket for each of `links`, and say so. `most`:
        bytes that may be used. `key`, `require_key`: as for the sender."""
        self.sender = Sender(
            random, make_carrier("adaptive", LATENCY_S), now, key=key, require_key=require_key
        )
        self.sender.set_links(specs, now)
        self._ways: dict[int, _Way] = {}
        self.trouble = ""  # why no link came up, if that is not a link's own
        self._take_events()
        self._most = most
        self.used = 0
        self.done = False
        self._began = self._next_tick = now
        self._turn: _Turn | None = None
        self._left: list[list[_Way]] | None = None  # turns to come; None: links are registering
        self._together: _Measured | None = None
        self._sequence = int.from_bytes(random(4), "big") & wire.SEQUENCE_MASK
        self._socket = int.from_bytes(random(4), "big") >> 2 | 1  # of no SRT connection
        self._filling = b"\0" + random(PAYLOAD - 1)  # no transport stream, so no packet of it is a keyframe
        self._message = 0

    # --- links ----------------------------------------------------------------------------------------------

    @property
    def links(self) -> dict[int, LinkSpec]:
        """The links by their numbers."""
        return {number: way.spec for number, way in self._ways.items()}

    def opened(self, number: int, now: float) -> None:
        """The link has a socket."""
        self.sender.link_opened(number, now)

    def failed(self, number: int, reason: str, now: float) -> None:
        """The link has no socket, or none that works any more; `reason` in words."""
        self.sender.link_failed(number, reason, now)

    def port_closed(self, number: int, now: float) -> None:
        """ICMP says that nothing listens at the receiver's port."""
        self.sender.port_closed(number, now)

    # --- datagrams ------------------------------------------------------------------------------------------

    def received(self, number: int, data: bytes, now: float) -> None:
        """A datagram has arrived on a link."""
        way = self._ways[number]
        self.used += len(data) + OVERHEAD[way.spec.family]
        if wire.packet_type(data) == wire.SRTLA_ACK:
            self._acknowledged(way, wire.parse_srtla_ack(data) or (), now)
        self.sender.datagram_from_receiver(number, data, now)

    def not_sent(self, number: int, datagrams: Sequence[bytes], now: float) -> None:
        """The kernel did not take these for now."""
        way = self._ways[number]
        for data in datagrams:
            self.used -= len(data) + OVERHEAD[way.spec.family]
            sequence = wire.data_sequence(data)
            if sequence is not None:
                way.packets -= 1
                way.sent.pop(sequence, None)
        self.sender.not_sent(number, datagrams, now)

    def _acknowledged(self, way: _Way, sequences: Sequence[int], now: float) -> None:
        sample: float | None = None
        named = 0
        for sequence in sequences:
            left_at = way.sent.pop(sequence, None)
            if left_at is None:
                continue
            named += 1
            before = way.again.pop(sequence, None)
            sample = now - left_at if before is None else None  # else it is not known which one it was
            if before is not None and now - left_at < 0.9 * (way.shortest or 0.0):
                way.lost.remove(before)  # the first one was late, not lost
        if not named:
            return
        way.acknowledged += PAYLOAD * named
        if sample is not None:
            way.shortest = sample if way.shortest is None else min(way.shortest, sample)
        turn = self._turn
        if turn is not None and way in turn.ways:
            turn.points.append((now, sum(each.acknowledged for each in turn.ways)))
            if sample is not None:
                turn.round_trips.append((now, sample))

    def to_send(self, now: float) -> list[tuple[int, bytes]]:
        """(link number, datagram) in the order in which to send them; each is given out once."""
        out: list[tuple[int, bytes]] = []
        sender = self.sender
        while not self.done:
            feeds = self._turn is not None and self.used < self._turn.most
            if feeds:
                for _ in range(BACKLOG - sender.held):
                    sender.datagram_from_caller(self._packet(now), now)
            for number, data in sender.datagrams_to_links():
                if not self._count(number, data, now):
                    self._finish(now)
                    return out
                out.append((number, data))
            if not feeds or sender.held:
                break
        sender.datagrams_to_caller()
        self._take_events()
        return out

    def _count(self, number: int, data: bytes, now: float) -> bool:
        """Count a datagram that is to leave; False: it would be more than what may be used."""
        way = self._ways[number]
        size = len(data) + OVERHEAD[way.spec.family]
        if self.used + size > self._most * (1 - ANSWERS / 2):
            return False
        self.used += size
        sequence = wire.data_sequence(data)
        if sequence is not None:
            before = way.sent.get(sequence)
            if before is not None:
                first = way.again.setdefault(sequence, before)
                if first == before:
                    way.lost.append(first)
            way.sent[sequence] = now
            way.packets += 1
        return True

    def _packet(self, now: float) -> bytes:
        self._sequence = wire.advance(self._sequence, 1)
        self._message = self._message % _MESSAGES + 1  # 0 is for packets of a filter
        stamp = int(now * 1e6) & 0xFFFFFFFF
        return _HEADER.pack(self._sequence, _SOLO | self._message, stamp, self._socket) + self._filling

    # --- time -----------------------------------------------------------------------------------------------

    def next_timer(self) -> float:
        """When `handle_timer` wants to be called."""
        due = self.sender.next_timer()
        return self._next_tick if due is None else min(due, self._next_tick)

    def handle_timer(self, now: float) -> None:
        """Do what is due; call it when `next_timer` has come, early or late does no harm."""
        self.sender.handle_timer(now)
        if now < self._next_tick or self.done:
            return
        self._next_tick = now + TICK_S
        self._look(now)
        turn = self._turn
        if self._left is None:
            self._wait_for_links(now)
        elif turn is not None:
            packets = sum(way.packets for way in turn.ways)
            turn.ticks.append((now, packets, self.sender.held > 0))
            if self.used >= turn.most and turn.fed_until == math.inf:
                turn.fed_until = now
                rtt = max(way.shortest or 0.0 for way in turn.ways)
                turn.ends = min(turn.ends, now + max(LAST_ANSWERS_S, LAST_ANSWERS_RTTS * rtt))
            if now >= turn.ends or not any(way.state == "up" for way in turn.ways):
                self._end_turn(turn, now)

    def _look(self, now: float) -> None:
        """Take what the sender's statistics say of the links."""
        for way, link in zip(self._ways.values(), self.sender.stats(now)["links"], strict=True):
            way.state = link["state"]
            if link["reason"] and (self._turn is None or way in self._turn.ways):  # else it is idle
                way.why_not = link["reason"]
            if way.shortest is None and link["rtt_ms"] is not None:
                way.shortest = link["rtt_ms"] / 1000

    def _wait_for_links(self, now: float) -> None:
        up = [way for way in self._ways.values() if way.state == "up" and way.shortest is not None]
        waited = now - self._began
        dead = all(way.state == "error" for way in self._ways.values() if way not in up)
        if up and (dead or waited >= OTHERS_S):
            self._left = [*([way] for way in up), up if len(up) > 1 else []]
            self._next_turn(now)
        elif dead or waited >= ANSWER_S:
            self._finish(now)

    def _next_turn(self, now: float) -> None:
        """Begin the next turn, with the links that still carry anything."""
        while self._left:
            ways = [way for way in self._left.pop(0) if way.state == "up"]
            last = not self._left
            if last:  # all together, if there are several
                ways = [way for way in ways if way.measured is not None]
            if len(ways) > (1 if last else 0):
                break
        else:
            self._finish(now)
            return
        rtt = max(way.shortest or 0.0 for way in ways)
        full = max(AGAIN_S, AGAIN_RTTS * rtt) if last else max(FULL_S, FULL_RTTS * rtt)
        later = 0  # parts of what may still be used, where this turn has one
        if not last:
            later = len(self._left) - 1 + (TOGETHER_WEIGHT if len(self._left[-1]) > 1 else 0)
        left = max(0, int(self._most * (1 - ANSWERS)) - BACKLOG * wire.MTU - self.used)
        ends = now + full + (TOGETHER_S if last else ALONE_S)
        self._turn = _Turn(ways, now + full, ends, self.used + left // (1 + later))
        self.sender.set_links(
            [replace(way.spec, enabled=way in ways, priority=0) for way in self._ways.values()], now
        )

    def _end_turn(self, turn: _Turn, now: float) -> None:
        self._turn = None
        found = measure(turn)
        if len(turn.ways) > 1:
            self._together = found
        else:
            turn.ways[0].measured = found
            if found is None:
                turn.ways[0].why_not = turn.ways[0].why_not or NOT_ACKNOWLEDGED
        self._next_turn(now)

    def _finish(self, now: float) -> None:
        turn, self._turn, self._left = self._turn, None, []
        if turn is not None:
            self._end_turn(turn, now)
        self.done = True

    def _take_events(self) -> None:
        for event in self.sender.events():
            if isinstance(event, LinkAdded):
                self._ways[event.number] = _Way(event.spec)
            elif isinstance(event, Refused):
                self.trouble = event.why
            elif isinstance(event, Unproven) and not event.used:
                self.trouble = "the receiver does not know our key"

    # --- results --------------------------------------------------------------------------------------------

    def news(self) -> list[LinkResult]:
        """The links that were measured since the last call."""
        found = [way for way in self._ways.values() if way.measured is not None and not way.told]
        for way in found:
            way.told = True
        return list(map(_link_result, found))

    def result(self, receiver: str) -> RehearsalResult:
        """What was measured; `receiver` as the user named it."""
        measured = [way.measured for way in self._ways.values() if way.measured is not None]
        together = self._together or (measured[0] if len(measured) == 1 else None)
        return RehearsalResult(
            receiver=receiver,
            capacity_bits_per_second=None if together is None else round(together.bits_per_second),
            at_least=together is not None and together.at_least,
            suggested_bits_per_second=None if together is None else round(SHARE * together.slowest),
            used_bytes=self.used,
            max_bytes=self._most,
            links=tuple(map(_link_result, self._ways.values())),
        )


def not_measured(spec: LinkSpec, reason: str) -> LinkResult:
    """The result of a link that was left out."""
    return LinkResult(spec.label, spec.address, spec.device, None, reason=reason)


def _link_result(way: _Way) -> LinkResult:
    found, spec = way.measured, way.spec
    rtt_ms = None if way.shortest is None else round(way.shortest * 1000)
    if found is None:
        return replace(not_measured(spec, way.why_not or NO_ANSWER), rtt_ms=rtt_ms)
    return LinkResult(
        spec.label,
        spec.address,
        spec.device,
        round(found.bits_per_second),
        at_least=found.at_least,
        rtt_ms=rtt_ms,
        full_rtt_ms=None if found.full_rtt_s is None else round(found.full_rtt_s * 1000),
        loss_pct=round(100 * found.loss, 1),
    )


def measure(turn: _Turn) -> _Measured | None:
    """What the turn has shown; None: less than two answers."""
    busy_until = turn.fed_until + min((sample for _, sample in turn.round_trips), default=0.0)
    whole = [point for point in turn.points if point[0] <= busy_until]
    if len(whole) < 2:
        whole = turn.points
    points = [point for point in whole if point[0] >= turn.full_at]
    enough = len(points) >= 2 and points[-1][0] - points[0][0] >= SURE_S
    if not enough:
        points = whole[len(whole) // 2 :] if len(whole) >= 4 else whole
    if len(points) < 2 or points[-1][0] - points[0][0] <= 0.0:
        return None
    since = points[0][0]
    rate = _rate(points, since, points[-1][0])
    edges = [since + BINS_S * number for number in range(int((points[-1][0] - since) / BINS_S) + 1)]
    parts = [_rate(points, start, start + BINS_S) for start in edges[:-1]]
    samples = [sample for at, sample in turn.round_trips if at >= since]
    full_rtt = statistics.median(samples) if samples else None
    ticks = [tick for tick in turn.ticks if since <= tick[0] <= turn.fed_until]
    full = sum(tick[2] for tick in ticks) > len(ticks) / 2
    return _Measured(
        rate,
        min([rate, *parts]),
        at_least=not (enough and full),
        full_rtt_s=full_rtt,
        loss=_loss(turn, since, points[-1][0] - (full_rtt or 0.0)),
    )


def _loss(turn: _Turn, since: float, until: float) -> float:
    """The share of the packets that left in this time and were lost, 0 to 1. Later ones may be under way."""
    ticks = [tick for tick in turn.ticks if since <= tick[0] <= until]
    if len(ticks) < 2:
        return 0.0
    sent = ticks[-1][1] - ticks[0][1]
    lost = sum(ticks[0][0] <= left_at < ticks[-1][0] for way in turn.ways for left_at in way.lost)
    return min(1.0, lost / sent) if sent > 0 else 0.0


def _rate(points: Sequence[tuple[float, int]], since: float, until: float) -> float:
    """The bit/s from the last answer at `since` or before to the last at `until` or before."""
    first = [point for point in points if point[0] <= since][-1]
    last = [point for point in points if point[0] <= until][-1]
    return (last[1] - first[1]) * 8 / (last[0] - first[0]) if last[0] > first[0] else 0.0
