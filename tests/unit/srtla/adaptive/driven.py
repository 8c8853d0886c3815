"""A sender in adaptive mode, with links that are up, driven by hand."""

from __future__ import annotations

import random
import struct

from netbond.srtla import wire
from netbond.srtla.adaptive.bonding import Bonding
from netbond.srtla.adaptive.linkmodel import LinkModel
from netbond.srtla.adaptive.packets import Packet, latest
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

    def answers(self, number: int, longest: int = wire.MTU) -> list[int]:
        """A link's keepalives of up to `longest` bytes come back at once; the sizes of all that left."""
        asked = []
        for link, data in self.sender.datagrams_to_links():
            if link == number and data[:2] == b"\x90\x00":
                asked.append(len(data))
                if len(data) <= longest:
                    self.hears(number, data)
        return asked

    def comes_back(self, number: int) -> None:
        """A link that failed is registered again."""
        self.sender.link_opened(number, self.now)
        self.hears(number, REG3)

    def acks(self, number: int, *sequences: int) -> None:
        self.hears(number, wire.build_srtla_ack(list(sequences)))


LIVE = 0xBF  # flags of libsrt in live mode


def handshake(receive: int, send: int, *, flags: int = LIVE, response: bool = False) -> bytes:
    """A conclusion handshake with HSREQ, or the server's with HSRSP: both delays in ms."""
    head = struct.pack("!IHHIIII", 5, 0, 1, 0, 1500, 8192, 0xFFFFFFFF) + bytes(24)
    options = struct.pack("!HHIIHH", 1 + response, 3, 0x10501, flags, receive, send)
    return srt_control(wire.SRT_HANDSHAKE, head + options)


def known(driven: Driven, sequence: int) -> Packet:
    """What the sender remembers of a packet."""
    packet = driven.carrier._memory.get(sequence)
    assert packet is not None
    return packet


def model_of(driven: Driven, number: int) -> LinkModel:
    model = driven.sender._links[number].model
    assert isinstance(model, LinkModel)
    return model


def send(driven: Driven, sequence: int, number: int) -> None:
    """A packet leaves by this link, whatever the dealer would do."""
    model = model_of(driven, number)
    model.look(driven.now, 0.0)
    driven.carrier._dealer._send_by(model, known(driven, sequence), [model], driven.now)


def limit(driven: Driven, number: int, largest: int) -> None:
    """Larger packets do not arrive over this link."""
    link = driven.sender._links[number]
    link.passing.limit = None if largest == wire.MTU else largest
    link.largest = largest
    driven.carrier.link_limited(link, driven.now)


def lose(driven: Driven, *sequences: int) -> None:
    """The links' models learn that these are lost."""
    for sequence in sequences:
        packet = known(driven, sequence)
        transmission = latest(packet)
        assert transmission is not None
        assert transmission.link is not None
        transmission.link.lost(transmission, driven.now)
        driven.carrier._again(packet)
    driven.carrier._dealer.wake(driven.now)
