"""Packets of the SRT caller, their transmissions, and the memory of both."""

from __future__ import annotations

from typing import Any, Final, cast

from netbond.srtla import wire

# States of a transmission. PASSED: the link has finished with it; it arrived or was lost
FLYING: Final = 0
ARRIVED: Final = 1
PASSED: Final = 2
LOST: Final = 3
# What became of a packet: it waits; was sent at least once; arrived; was given up
HELD: Final = 0
SENT: Final = 1
HERE: Final = 2
GONE: Final = 3
# When to send a packet again: not at all, if links are idle, at once
NOT_QUEUED: Final = 0
SPARE: Final = 1
URGENT: Final = 2


class Base:
    """Where a sample begins: at a proof."""

    __slots__ = ("at", "delivered", "doubtful", "sent_at")

    def __init__(self, delivered: int, doubtful: int, at: float, sent_at: float) -> None:
        self.delivered = delivered
        self.doubtful = doubtful
        self.at = at  # s, monotonic
        self.sent_at = sent_at  # when the packet left that the proof was for


class Transmission:
    """One sending of a packet on one link."""

    __slots__ = (
        "base",
        "before",
        "done_at",
        "expected",
        "flight",
        "index",
        "link",
        "sent_at",
        "size",
        "state",
    )

    def __init__(self, size: int) -> None:
        self.link: Any = None  # the LinkModel
        self.size = size
        self.index = 0  # its number among the data packets of its link
        self.sent_at = 0.0
        self.flight = 0  # bytes in flight before it
        self.base: Base | None = None  # where its sample of the rate begins
        self.expected = 0.0  # s until proof that it passed; 0.0: unknown
        self.state = FLYING
        self.done_at = 0.0
        self.before: Transmission | None = None  # the sending of the same packet before this one


class Packet(Transmission):
    """A data packet of the SRT caller; it is also the record of its first transmission."""

    __slots__ = ("born", "data", "fate", "important", "latest", "queued", "repeated", "sequence", "times")

    def __init__(self, sequence: int, data: bytes, born: float, *, repeated: bool = True) -> None:
        super().__init__(len(data))
        self.sequence = sequence
        self.data = data
        self.born = born
        self.fate = HELD
        self.queued = NOT_QUEUED
        self.times = 0
        self.latest: Repeat | None = None  # the latest transmission, if that is not the first
        self.repeated = repeated  # False: a packet of SRT's FEC, which nobody asks for again
        self.important = False  # it carries some of a keyframe


class Repeat(Transmission):
    """A later transmission of a packet."""

    __slots__ = ("packet",)

    def __init__(self, packet: Packet) -> None:
        super().__init__(packet.size)
        self.packet = packet


def latest(packet: Packet) -> Transmission | None:
    """Return the packet's latest transmission; None: it was not sent yet."""
    if packet.latest is not None:
        return packet.latest
    return packet if packet.times else None


def packet_of(transmission: Transmission) -> Packet:
    """Return the packet that was sent."""
    return transmission.packet if isinstance(transmission, Repeat) else cast("Packet", transmission)


class Memory:
    """The packets of an SRT connection by their sequence numbers.

    It holds `LEAST` packets at first, and twice as many whenever it would have to forget one that may still
    be needed, up to `MOST`.
    """

    LEAST: Final = 1 << 12
    MOST: Final = 1 << 17  # 8 s at 160 Mbit/s

    def __init__(self) -> None:
        self.size = Memory.LEAST
        self.slots: list[Packet | None] = [None] * self.size
        self.highest = -1  # the furthest sequence number; -1: no packet yet
        self.acked = 0  # what SRT lacks first
        self.evicted = 0  # packets that were forgotten though the server may lack them

    def get(self, sequence: int) -> Packet | None:
        """Return the packet with this number, if it is known."""
        packet = self.slots[sequence & (self.size - 1)]
        return packet if packet is not None and packet.sequence == sequence else None

    def put(self, packet: Packet, needed_since: float) -> None:
        """Add a packet. Packets that came after `needed_since` (monotonic s) may still be needed."""
        slot = packet.sequence & (self.size - 1)
        old = self.slots[slot]
        if old is not None:
            if old.fate != HERE and old.born > needed_since and old.sequence != packet.sequence:
                if self.size < Memory.MOST:
                    self._grow()
                    self.put(packet, needed_since)
                    return
                self.evicted += old.fate <= SENT
            _drop(old)
        self.slots[slot] = packet
        if (self.highest - self.acked) & wire.SEQUENCE_MASK >= self.size:
            self.acked = wire.advance(self.highest, 1 - self.size)

    def _grow(self) -> None:
        self.size *= 2
        slots: list[Packet | None] = [None] * self.size
        for packet in self.slots:
            if packet is not None:
                slots[packet.sequence & (self.size - 1)] = packet
        self.slots = slots

    def begin(self, sequence: int) -> None:
        """Forget everything; the next packet is `sequence`."""
        for packet in self.slots:
            if packet is not None:
                _drop(packet)
        self.size = Memory.LEAST
        self.slots = [None] * self.size
        self.highest = wire.advance(sequence, -1)
        self.acked = wire.advance(sequence, 1 - Memory.LEAST)  # the caller may repeat what it sent earlier

    def forget(self) -> None:
        """Forget everything, until the next packet comes."""
        self.begin(0)
        self.highest = -1


def _drop(packet: Packet) -> None:
    packet.latest = None  # break the reference cycle, for the garbage collector
    if packet.fate != HERE:
        packet.fate = GONE
