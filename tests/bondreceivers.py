"""Models the SRTLA receivers of simulated bonds (tests/bondsim.py): a stand-in for foreign ones, and our own.

A link's address is a number here; a link that a NAT has given another port has another number.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from netbond.srtla import wire
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.receiver.receiver import Receiver

RECEIVERS = ("belabox", "netbond", "go-srtla", "irlserver")
FLUSH = 0.02  # s
PORTS = 40_000  # a link's port is this and its number


class World(Protocol):
    """What a receiver has around it."""

    now: float
    rng: random.Random

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        """Call something later."""

    def down(self, link: int, data: bytes) -> None:
        """A datagram for the sender leaves by a link."""

    def at_server(self, data: bytes) -> None:
        """A datagram has reached the SRT server."""


class ReceiverModel(Protocol):
    """A receiver of one group."""

    def from_link(self, link: int, data: bytes) -> None:
        """A datagram has come over a link."""

    def from_server(self, data: bytes) -> None:
        """The SRT server sends a datagram."""


def make_receiver(name: str, world: World, *, flush: bool, nak_everywhere: bool) -> ReceiverModel:
    """Make one of RECEIVERS.

    `belabox` follows the original; go-srtla has no SRTLA ACKs, and irlserver sends NAKs over all links, as
    `nak_everywhere` says. `flush`: fewer than ten packets are acknowledged after 20 ms.
    """
    if name == "netbond":
        return Own(world)
    if name not in RECEIVERS:
        raise ValueError(f"unknown receiver {name!r}; there are {', '.join(RECEIVERS)}")
    return StandIn(
        world,
        flush=flush,
        nak_everywhere=nak_everywhere or name == "irlserver",
        srtla_acks=name != "go-srtla",
    )


class StandIn:
    """Does what the foreign receivers do."""

    def __init__(self, world: World, *, flush: bool, nak_everywhere: bool, srtla_acks: bool) -> None:
        self.world = world
        self.flush, self.nak_everywhere, self.srtla_acks = flush, nak_everywhere, srtla_acks
        self.group: bytes | None = None
        self.joined: set[int] = set()
        self.pending: dict[int, list[int]] = {}
        self.flush_at: dict[int, float] = {}
        self.heard_last = 1

    def from_link(self, link: int, data: bytes) -> None:
        world = self.world
        if not data[0] & 0x80:
            if link not in self.joined:
                return
            self.heard_last = link
            if self.srtla_acks:
                self._received(link, int.from_bytes(data[:4], "big"))
            world.at_server(data)
            return
        kind = wire.packet_type(data)
        if kind == wire.KEEPALIVE:
            if link in self.joined:
                world.down(link, data)
        elif kind == wire.REG1:
            self.group = data[2 : 2 + wire.HALF_ID] + bytes(wire.HALF_ID)
            world.down(link, wire.build_registration(wire.REG2, self.group))
        elif kind == wire.REG2:
            if data[2:] == self.group:
                self.joined.add(link)
                world.down(link, wire.REG3_PACKET)
            else:
                world.down(link, wire.REG_NGP_PACKET)
        elif kind == wire.SRT_ACKACK and link in self.joined:
            self.heard_last = link
            world.at_server(data)

    def from_server(self, data: bytes) -> None:
        everywhere = self.nak_everywhere or wire.packet_type(data) == wire.SRT_ACK
        for link in self.joined if everywhere else (self.heard_last,):
            self.world.down(link, data)

    def _received(self, link: int, sequence: int) -> None:
        pending = self.pending.setdefault(link, [])
        pending.append(sequence)
        if len(pending) == wire.ACK_EVERY:
            self._acknowledge(link)
        elif self.flush and len(pending) == 1:
            due = self.world.now + FLUSH
            self.flush_at[link] = due
            self.world.at(due, self._flush, link, due)

    def _acknowledge(self, link: int) -> None:
        self.world.down(link, wire.build_srtla_ack(self.pending[link]))
        self.pending[link] = []
        self.flush_at.pop(link, None)

    def _flush(self, link: int, due: float) -> None:
        if self.flush_at.get(link) == due and self.pending[link]:
            self._acknowledge(link)


class Own:
    """netbond's receiver: the real state machine."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.receiver = Receiver(world.rng.randbytes, world.now)
        self.group = 0
        self.armed: float | None = None

    def from_link(self, link: int, data: bytes) -> None:
        address: PeerAddress = ("192.0.2.1", PORTS + link)
        self.receiver.datagram_from_peer(address, data, self.world.now)
        self._pump()

    def from_server(self, data: bytes) -> None:
        self.receiver.datagram_from_srt(self.group, data, self.world.now)
        self._pump()

    def _pump(self) -> None:
        receiver, world = self.receiver, self.world
        for address, data in receiver.datagrams_to_peers():
            world.down(address[1] - PORTS, data)
        receiver.events()
        for group, data in receiver.datagrams_to_srt():
            self.group = group
            world.at_server(data)
        due = receiver.next_timer()
        if due is not None and (self.armed is None or due < self.armed):
            self.armed = due
            world.at(max(due, world.now), self._timer, due)

    def _timer(self, due: float) -> None:
        if due == self.armed:
            self.armed = None
            self.receiver.handle_timer(self.world.now)
            self._pump()
