"""Makes SRT and SRTLA packets for tests, and simulates a network of lossy links in virtual time."""

from __future__ import annotations

import contextlib
import heapq
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from netbond.srtla import wire
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.modes import make_carrier
from netbond.srtla.receiver.events import Event as ReceiverEvent
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.receiver.receiver import Receiver
from netbond.srtla.receiver.room import Limits
from netbond.srtla.registration.keyring import Key
from netbond.srtla.sender import Sender
from netbond.srtla.senderevents import Event, LinkAdded

PAYLOAD = 1316
_random = random.SystemRandom()  # Hypothesis seeds the other one


def free_ports(count: int) -> list[int]:
    """Return UDP ports that are free now, below those that the kernel gives to sockets without one.

    Else a socket of another test, which runs beside this one, could get such a port before it is used.
    """
    found: list[int] = []
    while len(found) < count:
        port = _random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("", port))
            if port not in found:
                found.append(port)
    return found


def data_packet(sequence: int, *, again: bool = False, size: int = PAYLOAD) -> bytes:
    """Make an SRT data packet."""
    flags = 0xC0000000 | (0x04000000 if again else 0) | 1
    return struct.pack("!IIII", sequence, flags, 0, 7) + bytes(size)


def srt_control(kind: int, body: bytes = b"", *, stamp: int = 0) -> bytes:
    """Make an SRT control packet; `stamp` makes packets different, as the time does in reality."""
    return struct.pack("!HHIII", kind, 0, 0, stamp, 7) + body


def srt_ack(sequence: int, *, stamp: int = 0) -> bytes:
    """Make a full SRT ACK: everything before `sequence` has arrived."""
    return srt_control(wire.SRT_ACK, struct.pack("!I", sequence) + bytes(24), stamp=stamp)


def srt_nak(*ranges: tuple[int, int], stamp: int = 0) -> bytes:
    """Make an SRT NAK with a loss list of (first, last) ranges."""
    body = b""
    for first, last in ranges:
        body += struct.pack("!I", first) if first == last else struct.pack("!II", first | 0x80000000, last)
    return srt_control(wire.SRT_NAK, body, stamp=stamp)


def induction(author: int = 0) -> bytes:
    """Make the first handshake packet of an SRT caller."""
    return handshake(1, author)


INDUCTION, CONCLUSION, REJECTION = 1, 0xFFFFFFFF, 1002  # types of handshakes


def stream_id_extension(text: str) -> bytes:
    """Make the extension of an SRT handshake that says which stream the caller brings."""
    data = text.encode()
    words = [data[at : at + 4].ljust(4, b"\0")[::-1] for at in range(0, len(data), 4)]
    return struct.pack("!HH", 5, len(words)) + b"".join(words)


def handshake(kind: int, socket_id: int, *, to: int = 0, stream_id: str | None = None) -> bytes:
    """Make an SRT handshake packet from a socket, for the socket `to`."""
    if stream_id is not None:
        return handshake(kind, socket_id, to=to) + stream_id_extension(stream_id)
    body = struct.pack("!IHHIIIII", 4, 0, 2, 0, 1500, 8192, kind, socket_id) + bytes(20)
    return struct.pack("!HHIII", wire.SRT_HANDSHAKE, 0, 0, 0, to) + body


@dataclass
class FakeLink:
    """The radio path of one link: its delay in s each way, and its effect on datagrams."""

    delay: float = 0.02
    alive: bool = True
    loss: float = 0.0
    port: int = 0  # the sender's port that the receiver sees
    carried: int = 0  # data packets that arrived


@dataclass(order=True)
class _Arrival:
    at: float
    number: int
    deliver: Callable[[], None] = field(compare=False)


class Network:
    """A sender and a receiver back to back, in virtual time, and an SRT server that sends ACKs."""

    def __init__(
        self,
        links: list[FakeLink],
        *,
        seed: int = 1,
        limits: Limits | None = None,
        mode: str = "classic",
        keys: tuple[bytes | None, bytes | None] = (None, None),
        require: tuple[bool, bool] = (False, False),
    ) -> None:
        """`keys`, `require`: the pre-shared key of sender and receiver, and whether each insists on it."""
        self.now = 1000.0
        self.random = random.Random(seed)
        self.links = dict(enumerate(links, 1))
        self.limits = limits
        self.sender = Sender(
            self.random.randbytes, make_carrier(mode), self.now, key=keys[0], require_key=require[0]
        )
        made = [] if keys[1] is None else [Key(keys[1])]
        self.receiver = Receiver(
            self.random.randbytes, self.now, limits=limits, keys=made, require_key=require[1]
        )
        self.receiver_events: list[ReceiverEvent] = []
        self.receiver_alive = True
        self.sender_events: list[Event] = []
        self.to_caller: list[bytes] = []
        self.arrived: list[int] = []  # data sequence numbers at the SRT server, in order of arrival
        self.at_server: list[bytes] = []
        self.group_number = 0
        self._queue: list[_Arrival] = []
        self._count = 0
        self._complete = 0  # the first sequence number that the server lacks
        self._next_sequence = -1
        for number, link in self.links.items():
            link.port = 40000 + number
        self.sender.set_links([LinkSpec(f"usb{n}", f"10.0.{n}.10") for n in self.links], self.now)
        self._pump()

    def new_receiver(self) -> None:
        """Restart the receiver, without its state."""
        self.receiver = Receiver(self.random.randbytes, self.now, limits=self.limits)

    def caller_sends(self, data: bytes) -> None:
        """Send a datagram from the SRT caller."""
        self.sender.datagram_from_caller(data, self.now)
        self._pump()

    def server_sends(self, data: bytes) -> None:
        """Send a datagram from the SRT server."""
        self.receiver.datagram_from_srt(self.group_number, data, self.now)
        self._pump()

    def stream(self, first: int, count: int, *, interval: float = 0.002, ack_every: int = 10) -> None:
        """Send data packets at a steady rate; the server acknowledges the complete part, as SRT does."""
        if first != self._next_sequence:
            self._complete = first
        self._next_sequence = wire.advance(first, count)
        for step in range(count):
            self.caller_sends(data_packet(wire.advance(first, step)))
            self.run(interval)
            if step % ack_every == 0:
                have = set(self.arrived)
                while self._complete in have:
                    self._complete = wire.advance(self._complete, 1)
                self.server_sends(srt_ack(self._complete, stamp=self._count))

    def run(self, seconds: float) -> None:
        """Let time pass, with deliveries and timers in their order."""
        end = self.now + seconds
        while True:
            timers = [t for t in (self.sender.next_timer(), self._receiver_timer()) if t is not None]
            at = min([*timers, *(arrival.at for arrival in self._queue[:1])], default=end + 1)
            if at > end:
                break
            self.now = max(self.now, at)
            while self._queue and self._queue[0].at <= self.now:
                heapq.heappop(self._queue).deliver()
            self.sender.handle_timer(self.now)
            if self.receiver_alive:
                self.receiver.handle_timer(self.now)
            self._pump()
        self.now = end

    def _receiver_timer(self) -> float | None:
        return self.receiver.next_timer() if self.receiver_alive else None

    def _later(self, link: FakeLink, deliver: Callable[[], None]) -> None:
        if link.alive and self.random.random() >= link.loss:
            self._count += 1
            heapq.heappush(self._queue, _Arrival(self.now + link.delay, self._count, deliver))

    def _pump(self) -> None:
        for event in self.sender.events():
            self.sender_events.append(event)
            if isinstance(event, LinkAdded):
                self.sender.link_opened(event.number, self.now)
        for number, data in self.sender.datagrams_to_links():
            link = self.links[number]
            self._later(link, lambda link=link, data=data: self._at_receiver(link, data))  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
        for address, data in self.receiver.datagrams_to_peers() if self.receiver_alive else []:
            for number, link in self.links.items():
                if address == self.address(link):
                    self._later(
                        link,
                        lambda number=number, data=data: self.sender.datagram_from_receiver(  # type: ignore[misc]  # as above
                            number, data, self.now
                        ),
                    )
        self.receiver_events += self.receiver.events()
        for number, data in self.receiver.datagrams_to_srt() if self.receiver_alive else []:
            self.group_number = number
            self.at_server.append(data)
            sequence = wire.data_sequence(data)
            if sequence is not None:
                self.arrived.append(sequence)
        self.to_caller += self.sender.datagrams_to_caller()

    def address(self, link: FakeLink) -> PeerAddress:
        """Return the address at which the receiver sees this link."""
        return ("192.0.2.1", link.port)

    def _at_receiver(self, link: FakeLink, data: bytes) -> None:
        if self.receiver_alive and link.alive:
            if wire.data_sequence(data) is not None:
                link.carried += 1
            self.receiver.datagram_from_peer(self.address(link), data, self.now)
