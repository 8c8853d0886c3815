"""Simulates a bonded SRT stream in virtual time: caller, our sender, modem links, SRTLA receiver, SRT server.

It shows how much of the payload arrives in time. A benchmark over real sockets needs 20 s for that, and its
results vary; this needs a second, and its result is always the same. The sender is the real one, and gets
real datagrams; the rest is modelled:

- links: rate or trace of delivery opportunities, drop-tail queue, delay, jitter, random and burst loss,
  outages, a bottleneck that several share, and more (tests/bondlinks.py);
- the receiver (tests/bondreceivers.py): an SRTLA ACK for each ten data packets of a link, and nothing for the
  rest, SRT ACKs over all links, NAKs over the link heard last; or our own, which is not modelled but real;
- the SRT server: a cumulative ACK each 10 ms, loss reports periodically and after the reorder tolerance;
  packets that miss their deadline are given up and counted as lost;
- the SRT caller: repeats the packets that a NAK names, once per round trip; sends a fixed rate, or what its
  encoder makes of SRT's figures (tests/bondencoder.py); perhaps with a packet of SRT's FEC for each row.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from netbond.srtla import wire
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.sender import Sender
from netbond.srtla.senderevents import LinkAdded
from tests.bondencoder import LOOK, Encoder, Follower
from tests.bondlinks import IP_UDP, LinkModel, parse_link
from tests.bondreceivers import make_receiver
from tests.srtla_util import srt_control

PAYLOAD = 1316
RTT_START = 0.1
EPSILON = 1e-6  # s
MESSAGE_NUMBER = 0x03FFFFFF  # the bits of it in the second word; a packet of SRT's FEC has 0
FEC_WORD = (0xC0000000).to_bytes(4, "big")
REBOUND = 100  # what is added to a link's number for the receiver each time that its address changes

BONDS: dict[str, list[str]] = {
    "clean3": ["up=6,down=20,delay=25", "up=4,down=20,delay=35", "up=3,down=20,delay=45"],
    "skew4": [
        "up=8,down=20,delay=20,jitter=5",
        "up=4,down=10,delay=60,jitter=20",
        "up=2,down=10,delay=120,jitter=30",
        "up=1,down=5,delay=35,jitter=10",
    ],
    "die3": ["up=6,down=20,delay=30", "up=6,down=20,delay=40,off=10,on=16", "up=4,down=20,delay=50"],
    "fading2": [
        "fading=7,down=20,delay=25,queue=400",
        "fading=5,down=20,delay=30,queue=400",
    ],
    "lossy3": [
        "up=8,down=20,delay=25,loss=1",
        "up=6,down=20,delay=35,loss=3",
        "up=4,down=20,delay=45,loss=5",
    ],
    "tiny3": ["up=10,down=20,delay=30", "up=0.1,down=5,delay=30", "up=0.1,down=5,delay=60"],
}


SHAPES = ("steady", "steps", "keyframes")
STEPS = (0.6, 1.2, 0.8, 1.4)  # times the mean, STEP s each
STEP = 3.0
FRAMES = 30  # per second
KEY_EVERY = 60  # frames
KEY_SIZE = 10  # ordinary frames


def births(shape: str, pps: float, seconds: float) -> list[float]:
    """Return when the encoder sends each packet, in s since the stream began.

    `steps`: it changes its bitrate each 3 s; `keyframes`: it sends whole frames at once, and each 60th is ten
    times as large.
    """
    count = int(pps * seconds)
    if shape == "steady":
        return [index / pps for index in range(count)]
    now, owed = 0.0, 0.0
    born: list[float] = []
    if shape == "steps":
        while len(born) < count:
            now += 0.001
            owed += pps * STEPS[int(now / STEP) % len(STEPS)] / 1000
            born += [now] * int(owed)
            owed -= int(owed)
        return born[:count]
    ordinary = pps / FRAMES * KEY_EVERY / (KEY_EVERY - 1 + KEY_SIZE)
    for frame in range(int(seconds * FRAMES) + 1):
        owed += ordinary * (1 if frame % KEY_EVERY else KEY_SIZE)
        born += [frame / FRAMES] * int(owed)
        owed -= int(owed)
    return born[:count]


@dataclass
class Outcome:
    """The result of a simulated stream."""

    offered: int
    delivered: int
    sent: int  # datagrams that the sender gave to links
    carried: int  # those of them that arrived
    control: int  # those of them that were the SRT caller's control packets
    caller_again: int  # repeats of the SRT caller
    delays: tuple[float, float, float]  # s, arrival at the server: 1 %, 50 %, 99 %
    links: list[tuple[int, int, int]]  # (carried, tail_dropped, lost)
    stats: dict[str, Any]
    seconds: float  # of the stream
    bad_seconds: int  # of the stream, in which a packet was lost

    @property
    def mbps(self) -> float:
        """The payload that arrived in time, in Mbit/s."""
        return self.delivered * PAYLOAD * 8 / 1e6 / self.seconds

    @property
    def lost_pct(self) -> float:
        """The payload that did not arrive in time, in percent."""
        return 100 * (1 - self.delivered / self.offered)

    @property
    def overhead(self) -> float:
        """The datagrams sent per packet delivered, without SRT's own control packets."""
        return (self.sent - self.control) / max(self.delivered, 1)


class Simulation:
    """One simulation. The links' clock starts at 0, the sender at 2.4 s, the stream at 7.4 s."""

    START = 2.4
    STREAM = 7.4

    def __init__(
        self,
        links: list[str],
        make_sender: Callable[[Callable[[int], bytes], float], Sender],
        *,
        mbps: float,
        seconds: float = 20.0,
        latency: float = 1.0,
        folder: Path = Path(),
        seed: int = 1,
        receiver: str = "belabox",
        flush: bool = False,
        nak_everywhere: bool = False,
        hiccup: float = 0.0,
        look: float = 0.0,
        tell_latency: bool = True,
        shape: str = "steady",
        fec: int = 0,
        arq: bool = True,
        adapts: bool = False,
        follows: bool = False,
    ) -> None:
        """`receiver`, `flush`, `nak_everywhere`: see tests/bondreceivers.py. `hiccup`: s, up to which the
        sender's timers and wake-ups are late at random. `look`: s between the moments at which the sender
        hears and does anything, as in an engine. `shape`: one of SHAPES, the stream's. `fec`: data packets
        in a row of SRT's FEC, with which the server restores one; not `arq`: the server reports no loss.
        `adapts`: the encoder follows SRT's figures, `follows`: our advice, and `mbps` is the most that it
        sends."""
        self.rng = random.Random(seed)
        self.now = self.START
        self.mbps, self.seconds, self.latency = mbps, seconds, latency
        self.hiccup, self.look = hiccup, look
        self.links = dict(enumerate((parse_link(spec, folder) for spec in links), 1))
        self.bottleneck = LinkModel(rate=max(up.shared for up, _ in self.links.values()))
        self.heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.count = 0
        self.sender = make_sender(self.rng.randbytes, self.now)
        self.specs = [LinkSpec(f"usb{n}", f"10.0.{n}.10") for n in self.links]
        self.armed: float | None = None
        self.receiver = make_receiver(receiver, self, flush=flush, nak_everywhere=nak_everywhere)
        self.inbox: list[tuple[int, bytes]] = []
        self.inbox_at = -1.0
        # the SRT caller
        self.pps = mbps * 1e6 / (PAYLOAD * 8)
        self.encoder = Encoder(mbps, latency, RTT_START) if adapts else None
        self.looked_at = 0.0
        self.owed = 0.0
        self.follower = Follower(mbps, PAYLOAD) if follows else None
        self.born = births(shape, self.pps, seconds) if not (adapts or follows) else []
        self.offered = len(self.born)
        self.fec, self.arq = fec, arq
        self.rows: dict[int, set[int]] = {}  # row -> its packets that the server has
        self.fec_rows: set[int] = set()  # those whose FEC packet it has
        self.next_sequence = 0
        self.first_sequence = 1000
        self.repeated_at: dict[int, float] = {}
        self.caller_acked = 0
        self.caller_again = 0
        self.caller_control = 0
        self.caller_rtt = RTT_START
        self.tell_latency = tell_latency
        # the SRT server
        self.highest = -1
        self.missing: dict[int, int] = {}  # index -> `arrivals` at which its loss is reported
        self.fresh: deque[int] = deque()
        self.arrivals = 0
        self.given_up = 0  # the server does not wait for packets below it
        self.delivered = 0
        self.delays: list[float] = []
        self.acked = -1
        self.next_nak = 0.0
        self.rtt, self.rtt_var = RTT_START, RTT_START / 2
        self.ack_number = 0
        self.ack_sent: dict[int, float] = {}
        self.base = min(up.delay for up, _ in self.links.values())  # the handshake's delay
        self.received: set[int] = set()
        self.in_time: set[int] = set()
        # (s of the stream, the advice and the capacity that it is told, in Mbit/s)
        self.advised: list[tuple[float, float | None, float]] = []

    # --- the loop -------------------------------------------------------------------------------------------

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        """Call something later."""
        self.count += 1
        heapq.heappush(self.heap, (when, self.count, what, args))

    def run(self) -> Outcome:
        """Run the simulation."""
        self.sender.set_links(self.specs, self.now)
        self._drain()
        self._arm()
        if self.tell_latency:
            self.at(self.STREAM - 0.9, self._handshake)
        self.at(self.STREAM, self._frame)
        self.at(self.STREAM, self._server_tick)
        end = self.STREAM + self.seconds + self.latency + 2
        heap = self.heap
        while heap and heap[0][0] <= end:
            self.now, _, what, args = heapq.heappop(heap)
            what(*args)
        self._expire(end + 100)
        ups = [up for up, _ in self.links.values()]
        ordered = sorted(self.delays) or [0.0]
        return Outcome(
            offered=self.offered,
            delivered=self.delivered,
            sent=sum(up.taken for up in ups),
            carried=sum(up.carried for up in ups),
            control=self.caller_control,
            caller_again=self.caller_again,
            delays=tuple(ordered[int(len(ordered) * part)] for part in (0.01, 0.5, 0.99)),  # type: ignore[arg-type]  # three of three
            links=[(up.carried, up.tail_dropped, up.lost) for up in ups],
            stats=self.sender.stats(self.now),
            seconds=self.seconds,
            bad_seconds=len({int(born) for index, born in enumerate(self.born) if index not in self.in_time}),
        )

    def _arm(self) -> None:
        due = self.sender.next_timer()
        if due is not None and (self.armed is None or due < self.armed):
            self.armed = max(due, self.now)
            self.at(self._late(self.armed), self._timer, self.armed)

    def _late(self, due: float) -> float:
        """Return when the sender handles an event that is due at `due`."""
        if self.look:
            return self.STREAM + math.ceil((due - self.STREAM) / self.look - 1e-9) * self.look
        return due + self.rng.random() * self.hiccup if self.hiccup else due

    def _timer(self, due: float) -> None:
        if due != self.armed:
            return
        self.armed = None
        self.sender.handle_timer(self.now)
        self._drain()
        self._arm()

    def _drain(self) -> None:
        """Take the datagrams that the sender wants to send."""
        now, rng, sender = self.now, self.rng, self.sender
        for event in sender.events():
            if isinstance(event, LinkAdded):
                sender.link_opened(event.number, now)
        for number, data in sender.datagrams_to_links():
            up = self.links[number][0]
            arrives = up.carry(len(data), now, rng)
            if arrives is not None:
                self.at(arrives, self._behind_the_link, up, number, data)
        for data in sender.datagrams_to_caller():
            self._at_caller(data)

    def _behind_the_link(self, up: LinkModel, number: int, data: bytes) -> None:
        if not up.shared:
            self._at_receiver(up, number, data)
            return
        arrives = self.bottleneck.carry(len(data), self.now, self.rng)
        if arrives is not None:
            self.at(arrives, self._at_receiver, up, number, data)

    def _at_receiver(self, up: LinkModel, number: int, data: bytes) -> None:
        self.receiver.from_link(number + REBOUND * self._rebound(up), data)

    def _rebound(self, up: LinkModel) -> int:
        """Return how often a NAT has given the link another port by now."""
        return int(self.now / up.rebind) if up.rebind else 0

    def down(self, link: int, data: bytes) -> None:
        """A datagram for the sender leaves by a link, as the receiver sees it."""
        times, number = divmod(link, REBOUND)
        up, down = self.links[number]
        if times != self._rebound(up):
            return  # nobody is at that port any more
        arrives = down.carry(len(data), self.now, self.rng)
        if arrives is not None:
            self.at(arrives, self._at_sender, number, data)

    def _at_sender(self, number: int, data: bytes) -> None:
        if self.hiccup or self.look:
            self.inbox.append((number, data))
            if self.inbox_at < self.now:
                self.inbox_at = self._late(self.now)
                self.at(self.inbox_at, self._inbox)
            return
        self.sender.datagram_from_receiver(number, data, self.now)
        self._drain()
        self._arm()

    def _inbox(self) -> None:
        waiting, self.inbox = self.inbox, []
        for number, data in waiting:
            self.sender.datagram_from_receiver(number, data, self.now)
        self._drain()
        self._arm()

    # --- the SRT caller -------------------------------------------------------------------------------------

    def _packet(self, index: int, *, again: bool) -> bytes:
        sequence = wire.advance(self.first_sequence, index)
        stamp = int(self.born[index] * 1e6) & 0xFFFFFFFF
        word = 0xC4000001 if again else 0xC0000001
        return sequence.to_bytes(4, "big") + word.to_bytes(4, "big") + stamp.to_bytes(4, "big") + _BODY

    def _handshake(self) -> None:
        extension = (
            b"\x00\x01\x00\x03"
            + bytes.fromhex("00010501 000000bf")  # as libsrt in live mode: late packets are skipped
            + int(self.latency * 1000).to_bytes(2, "big")
            + int(self.latency * 1000).to_bytes(2, "big")
        )
        head = (5).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes(12) + (0xFFFFFFFF).to_bytes(4, "big")
        self.sender.datagram_from_caller(
            srt_control(wire.SRT_HANDSHAKE, head.ljust(48, b"\0") + extension), self.now
        )
        self.caller_control += 1
        self._drain()
        self._arm()

    def _frame(self) -> None:
        elapsed = self.now - self.STREAM + 1e-9
        pause = self.look or 0.005
        if self.encoder is not None:
            self._encode(self.encoder, elapsed, pause)
        if self.follower is not None and elapsed < self.seconds:
            self._follow(self.follower, elapsed)
        while self.next_sequence < self.offered and self.born[self.next_sequence] <= elapsed:
            index = self.next_sequence
            self.sender.datagram_from_caller(self._packet(index, again=False), self.now)
            if self.fec and index % self.fec == self.fec - 1:
                packet = self._packet(index, again=False)
                self.sender.datagram_from_caller(packet[:4] + FEC_WORD + packet[8:], self.now)
            self.next_sequence += 1
        self._drain()
        self._arm()
        adapts = self.encoder is not None or self.follower is not None
        if self.next_sequence < self.offered or (adapts and elapsed < self.seconds):
            self.at(self.now + pause, self._frame)

    def _encode(self, encoder: Encoder, elapsed: float, pause: float) -> None:
        """Let the encoder make the packets of a pause between two frames."""
        if elapsed >= self.looked_at + LOOK:
            self.looked_at = elapsed
            encoder.look(elapsed, self.caller_rtt, self.next_sequence - self.caller_acked)
        self.owed += encoder.mbps * 1e6 / (PAYLOAD * 8) * pause
        if elapsed < self.seconds:
            self.born += [elapsed] * int(self.owed)
            self.owed -= int(self.owed)
            self.offered = len(self.born)

    def _follow(self, follower: Follower, elapsed: float) -> None:
        """Let the encoder that follows our advice make the packets since the last call."""
        advice = self.sender.advice
        advised = advice.advised_bits_per_second / 1e6 if advice is not None else None
        self.born += [elapsed] * follower.packets(elapsed, advised)
        self.offered = len(self.born)
        capacity = advice.capacity_bits_per_second / 1e6 if advice is not None else 0.0
        self.advised.append((elapsed, advised, capacity))

    def _at_caller(self, data: bytes) -> None:
        kind = wire.packet_type(data)
        if kind == wire.SRT_ACK:
            sequence = wire.parse_srt_ack(data)
            assert sequence is not None
            self.caller_acked = max(self.caller_acked, wire.distance(self.first_sequence, sequence))
            self.caller_rtt = self.rtt  # an ACK tells it
            self.caller_control += 1
            # The answer is due before the next event, but not while the sender is working.
            self.at(self.now, self._ack_ack, data[4:8])
        elif kind == wire.SRT_NAK:
            self.at(self.now, self._repeat, data)

    def _ack_ack(self, number: bytes) -> None:
        self.sender.datagram_from_caller(
            srt_control(wire.SRT_ACKACK, bytes(28), stamp=0)[:4] + number + bytes(36), self.now
        )
        self._drain()
        self._arm()

    def _repeat(self, data: bytes) -> None:
        for first, last in wire.parse_srt_nak(data) or ():
            start = wire.distance(self.first_sequence, first)
            for index in range(start, wire.distance(self.first_sequence, last) + 1):
                if index < self.caller_acked or index >= self.next_sequence:
                    continue
                if self.now - self.STREAM - self.born[index] > max(self.latency, 1.0) + 0.02:
                    continue
                if self.now - self.repeated_at.get(index, -1.0) < self.rtt:
                    continue
                self.repeated_at[index] = self.now
                self.caller_again += 1
                self.sender.datagram_from_caller(self._packet(index, again=True), self.now)
        self._drain()
        self._arm()

    # --- the SRT server -------------------------------------------------------------------------------------

    def _deadline(self, index: int) -> float:
        return self.STREAM + self.born[index] + self.latency + self.base

    def at_server(self, data: bytes) -> None:
        """A datagram has reached the SRT server."""
        if not data[0] & 0x80:
            index = wire.distance(self.first_sequence, int.from_bytes(data[:4], "big"))
            if int.from_bytes(data[4:8], "big") & MESSAGE_NUMBER:
                self._arrived(index)
            else:
                self.fec_rows.add(index // self.fec)
                self._restore(index // self.fec)
        elif wire.packet_type(data) == wire.SRT_ACKACK:
            sent_at = self.ack_sent.pop(int.from_bytes(data[4:8], "big"), None)
            if sent_at is not None:
                sample = self.now - sent_at
                self.rtt_var += (abs(sample - self.rtt) - self.rtt_var) / 4
                self.rtt += (sample - self.rtt) / 8

    def _restore(self, row: int) -> None:
        """Restore a packet if it is the only one that its row lacks, and the FEC packet is there."""
        have = self.rows.get(row, set())
        if row in self.fec_rows and len(have) == self.fec - 1:
            first = row * self.fec
            self._arrived(next(index for index in range(first, first + self.fec) if index not in have))

    def _arrived(self, index: int) -> None:
        self._take(index)
        if self.fec:
            self.rows.setdefault(index // self.fec, set()).add(index)
            self._restore(index // self.fec)

    def _take(self, index: int) -> None:
        self.arrivals += 1
        if index in self.missing:
            del self.missing[index]
        elif index > self.highest:
            for lost in range(max(self.highest + 1, self.given_up), index):
                self.missing[lost] = self.arrivals + 200
                self.fresh.append(lost)
            self.highest = index
        else:
            return  # a copy, or given up
        if self.now <= self._deadline(index):
            self.delivered += 1
            self.in_time.add(index)
            self.delays.append(self.now - self.STREAM - self.born[index])
        overdue = []
        while self.fresh and self.missing.get(self.fresh[0], 0) <= self.arrivals:
            lost = self.fresh.popleft()
            if lost in self.missing:
                overdue.append(lost)
        if overdue:
            self._nak(overdue)

    def _expire(self, now: float) -> None:
        for index in list(self.missing):
            if self._deadline(index) > now:
                break
            del self.missing[index]
            self.given_up = index + 1

    def _nak(self, lost: list[int]) -> None:
        if not self.arq:
            return
        words: list[int] = []
        start = before = lost[0]
        for index in [*lost[1:], None]:
            if index is not None and index == before + 1:
                before = index
                continue
            if before == start:
                words.append(wire.advance(self.first_sequence, start))
            else:
                words += [
                    wire.advance(self.first_sequence, start) | 0x80000000,
                    wire.advance(self.first_sequence, before),
                ]
            if index is not None:
                start = before = index
        body = b"".join(word.to_bytes(4, "big") for word in words[:360])
        packet = srt_control(wire.SRT_NAK, body, stamp=int(self.now * 1e6) & 0xFFFFFFFF)
        self.receiver.from_server(packet)

    def _server_tick(self) -> None:
        self._expire(self.now)
        first = next(iter(self.missing), self.highest + 1)
        if first > self.acked:
            self.acked = first
            self.ack_number += 1
            self.ack_sent[self.ack_number] = self.now
            while len(self.ack_sent) > 500:
                del self.ack_sent[next(iter(self.ack_sent))]
            body = wire.advance(self.first_sequence, first).to_bytes(4, "big") + bytes(24)
            head = srt_control(wire.SRT_ACK, body, stamp=int(self.now * 1e6) & 0xFFFFFFFF)
            packet = head[:4] + self.ack_number.to_bytes(4, "big") + head[8:]
            self.receiver.from_server(packet)
        if self.missing and self.now >= self.next_nak:
            self.next_nak = self.now + max(0.02, (self.rtt + 4 * self.rtt_var) / 2)
            self._nak(list(self.missing))
        self.at(self.now + 0.01, self._server_tick)


def least_loss(
    links: list[str],
    mbps: float,
    *,
    latency: float = 1.0,
    seconds: float = 20.0,
    shape: str = "steady",
    folder: Path = Path(),
) -> float:
    """Return the payload in percent that no scheduler could deliver in time over these links.

    An ideal scheduler knows the future: each moment at which a link can send a packet goes to a packet that
    is there by then and arrives in time, and as many as possible are used so. Rates, traces, outages, stalls
    and changes count. Not counted, so that the true limit is higher: random loss and bursts (a packet that is
    lost takes none of a simulated link's time), jitter, that caller and sender act some ms late, that links
    deliver in order, and the way back.
    """
    ups = [parse_link(spec, folder)[0] for spec in links]
    born = [Simulation.STREAM + at for at in births(shape, mbps * 1e6 / (PAYLOAD * 8), seconds)]
    patience = latency + min(up.delay for up in ups)  # as the simulated server's
    if any(up.trace is None and not up.rate for up in ups):
        return 0.0  # no limit
    # A chance takes one of the packets first to last: those before are late, those after not born yet.
    chances: list[tuple[int, int]] = []
    until = born[-1] + patience
    free = [_chances(up, until) for up in ups if not up.shared]
    if len(free) < len(ups):
        behind = heapq.merge(*(_chances(up, until) for up in ups if up.shared), key=itemgetter(1))
        free.append(_behind(behind, 8 * (SIZE + IP_UDP) / max(up.shared for up in ups)))
    for source in free:
        for leaves, arrives in source:
            first, last = bisect_left(born, arrives - patience), bisect_right(born, leaves) - 1
            if first <= last:
                chances.append((first, last))
    chances.sort(reverse=True)
    # Each packet in turn takes, of the chances that it may have, the one that ends first.
    open_chances: list[int] = []
    delivered = 0
    for index in range(len(born)):
        while chances and chances[-1][0] <= index:
            heapq.heappush(open_chances, chances.pop()[1])
        while open_chances and open_chances[0] < index:
            heapq.heappop(open_chances)
        if open_chances:
            heapq.heappop(open_chances)
            delivered += 1
    return 100 * (1 - delivered / len(born))


def chances_of(links: list[str], until: float, *, folder: Path = Path()) -> list[tuple[float, float]]:
    """Return (leaves, arrives) of each packet that the links can carry up to `until` s of the stream.

    Links that share a bottleneck count as if they did not.
    """
    end = Simulation.STREAM + until
    return sorted(
        (leaves, arrives)
        for spec in links
        for leaves, arrives in _chances(parse_link(spec, folder)[0], end)
        if leaves >= Simulation.START
    )


def _chances(up: LinkModel, until: float) -> Iterator[tuple[float, float]]:
    """Yield for each packet that a link can carry: until when the packet may come, and when it arrives."""
    rng = random.Random(0)
    link = replace(up, loss=0.0, burst_enter=0.0, jitter=0.0, waiting=deque())
    now = Simulation.START
    while now < until:
        takes = 8 * (SIZE + IP_UDP) / link.worse_rate if link.worse_rate and link.trace is None else 0.0
        if link.worse <= now < link.better < now + takes:
            now = link.better  # a packet that began before would hold up faster ones
            continue
        # During an outage a link still sends what was in its queue before.
        out = link.off <= now < link.on
        latest = link.off - EPSILON if out else now
        link.last = 0.0
        # A trace may have several chances at one moment.
        arrives = link.carry(SIZE, latest if link.trace is None else latest - EPSILON, rng)
        if arrives is None:
            now = link.on + 2 * EPSILON
        elif link.trace is None:
            now = link.free_at
            yield latest, arrives
        else:
            now = link.opportunity
            yield latest if out else now, arrives


def _behind(chances: Iterator[tuple[float, float]], takes: float) -> Iterator[tuple[float, float]]:
    """Leave those chances that a bottleneck behind the links can serve, if each takes so many s there."""
    free = 0.0
    for leaves, arrives in chances:
        if free <= arrives + takes:
            free = max(free, arrives) + takes
            yield leaves, free


_BODY = bytes(4) + bytes(PAYLOAD)
SIZE = 12 + len(_BODY)  # bytes of an SRT data packet
