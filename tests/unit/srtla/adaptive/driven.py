"""A sender in adaptive mode, with links that are up, driven by hand."""

from __future__ import annotations

import random
import struct

from netbond.srtla import wire
from netbond.srtla.adaptive.bonding import Bonding
from netbond.srtla.adaptive.linkmodel import LOST
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.sender import Sender
from tests.srtla_util import data_packet, srt_control

NGP = wire.REG_NGP_PACKET
REG3 = wire.REG3_PACKET
TOP = wire.SEQUENCE_MASK


class Driven:
    """A sender in adaptive mode with registered links, driven by hand."""

    def __init__(self, links: int = 2) -> None:
        self.now = 100.0
        self.carrier = Bonding()
        self.sender = Sender(random.Random(1).randbytes, self.carrier, self.now)
        self.sender.set_links([LinkSpec(f"usb{n}", f"10.0.{n}.10") for n in range(1, links + 1)], self.now)
        for number in range(1, links + 1):
            self.sender.link_opened(number, self.now)
        self.hears(1, NGP)
        self.hears(1, b"\x92\x01" + self.sender._probe_id[:128] + bytes(128))
        for number in range(1, links + 1):
            self.hears(number, REG3)
        pings = [entry for entry in self.sender.datagrams_to_links() if entry[1][:2] == b"\x90\x00"]
        self.now += 0.04
        for number, data in pings:
            self.hears(number, data)  # a round trip of 40 ms
        self.sent()

    def hears(self, number: int, *datagrams: bytes) -> None:
        for data in datagrams:
            self.sender.datagram_from_receiver(number, data, self.now)

    def offers(self, *sequences: int, again: bool = False) -> None:
        for sequence in sequences:
            self.sender.datagram_from_caller(data_packet(sequence, again=again), self.now)

    def sent(self) -> list[tuple[int, int]]:
        """(link, sequence number) of the data packets that leave now."""
        out = self.sender.datagrams_to_links()
        return [(number, int.from_bytes(data[:4], "big")) for number, data in out if not data[0] & 0x80]

    def after(self, seconds: float) -> list[tuple[int, int]]:
        """The data packets that leave while time passes."""
        end = self.now + seconds
        while True:
            due = self.sender.next_timer()
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            self.sender.handle_timer(self.now)
        self.now = end
        self.sender.handle_timer(self.now)
        return self.sent()

    def acks(self, number: int, *sequences: int) -> None:
        self.hears(number, wire.build_srtla_ack(list(sequences)))


def handshake(receive: int, send: int) -> bytes:
    """A conclusion handshake with HSREQ: both delays in ms."""
    head = struct.pack("!IHHIIII", 5, 0, 1, 0, 1500, 8192, 0xFFFFFFFF) + bytes(24)
    return srt_control(wire.SRT_HANDSHAKE, head + struct.pack("!HHIIHH", 1, 3, 0x10501, 0xBF, receive, send))


def lose(driven: Driven, *sequences: int) -> None:
    """The links' models learn that these are lost."""
    for sequence in sequences:
        packet = driven.carrier._ring[sequence]
        assert packet is not None
        assert packet.transmission is not None
        packet.transmission.link.done(packet.transmission, LOST, driven.now)
        driven.carrier._again(packet, driven.now)
    driven.carrier._due(driven.now)
