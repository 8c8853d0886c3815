"""A receiver driven by hand."""

from __future__ import annotations

import random

from netbond.srtla import wire
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.receiver.receiver import Receiver
from netbond.srtla.receiver.room import Limits

A: PeerAddress = ("192.0.2.1", 1001)
B: PeerAddress = ("192.0.2.1", 1002)
VICTIM: PeerAddress = ("203.0.113.99", 7)
INDUCTION, CONCLUSION = 1, 0xFFFFFFFF  # kinds of handshakes


class Driven:
    """A receiver driven by hand."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.now = 50.0
        self.random = random.Random(3)
        self.receiver = Receiver(self.random.randbytes, self.now, limits=limits)

    def get(self, address: PeerAddress, data: bytes) -> list[tuple[PeerAddress, bytes]]:
        self.receiver.datagram_from_peer(address, data, self.now)
        return self.receiver.datagrams_to_peers()

    def reg1(self, address: PeerAddress, half: bytes | None = None) -> bytes | None:
        """The group's id, or None if refused."""
        half = half or self.random.randbytes(128)
        ((to, answer),) = self.get(address, wire.build_registration(wire.REG1, half + bytes(128)))
        assert to == address
        assert len(answer) <= wire.REG_LENGTH
        return wire.parse_registration(answer)

    def reg2(self, address: PeerAddress, group: bytes) -> int:
        ((to, answer),) = self.get(address, wire.build_registration(wire.REG2, group))
        assert to == address
        return wire.packet_type(answer)

    def group(self, *addresses: PeerAddress) -> bytes:
        group = self.reg1(addresses[0])
        assert group is not None
        for address in addresses:
            assert self.reg2(address, group) == wire.REG3
        return group

    def after(self, seconds: float) -> list[tuple[PeerAddress, bytes]]:
        self.now += seconds
        self.receiver.handle_timer(self.now)
        return self.receiver.datagrams_to_peers()
