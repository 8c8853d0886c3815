"""A sender with links open, driven by hand."""

from __future__ import annotations

import random

from netbond.srtla import wire
from netbond.srtla.classic.classic import Classic
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.sender import Sender

NGP = wire.REG_NGP_PACKET
ERR = wire.REG_ERR_PACKET
REG3 = wire.REG3_PACKET


class Driven:
    """A sender with links open, driven by hand."""

    def __init__(self, links: int = 2) -> None:
        self.now = 100.0
        self.sender = Sender(random.Random(1).randbytes, Classic(), self.now)
        self.specs = [LinkSpec(f"usb{n}", f"10.0.{n}.10") for n in range(1, links + 1)]
        self.sender.set_links(self.specs, self.now)
        for number in range(1, links + 1):
            self.sender.link_opened(number, self.now)

    def sent(self) -> list[tuple[int, int]]:
        """(link, packet type) of what goes out now."""
        return [(number, wire.packet_type(data)) for number, data in self.sender.datagrams_to_links()]

    def after(self, seconds: float) -> list[tuple[int, int]]:
        self.now += seconds
        self.sender.handle_timer(self.now)
        return self.sent()

    def hears(self, number: int, *datagrams: bytes) -> list[tuple[int, int]]:
        for data in datagrams:
            self.sender.datagram_from_receiver(number, data, self.now)
        return self.sent()

    def register(self) -> None:
        self.sent()
        self.hears(1, NGP)
        group = self.sender._probe_id[:128] + bytes(128)
        self.hears(1, b"\x92\x01" + group)
        for number in range(1, len(self.specs) + 1):
            self.hears(number, REG3)
        assert self.sender.usable_links == len(self.specs)

    def stats(self, number: int) -> dict[str, object]:
        stats: dict[str, object] = self.sender.stats(self.now)["links"][number - 1]
        return stats
