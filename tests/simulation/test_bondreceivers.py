"""The receivers of simulated bonds: what each sends back, and that streams arrive with each of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from netbond.srtla import wire
from netbond.srtla.modes import make_carrier
from netbond.srtla.sender import Sender
from tests.bondreceivers import RECEIVERS, ReceiverModel, make_receiver
from tests.bondsim import BONDS, Simulation
from tests.srtla_util import data_packet, srt_ack, srt_nak

KEEPALIVE = wire.KEEPALIVE.to_bytes(2, "big") + bytes(8)


class Around:
    """Collects what a receiver sends."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rng = random.Random(1)
        self.sent: list[tuple[int, int]] = []  # (link, packet type)
        self.server: list[bytes] = []
        self.group = b""
        self.later: list[tuple[float, Callable[[], None]]] = []

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        self.later.append((when, lambda: what(*args)))

    def down(self, link: int, data: bytes) -> None:
        self.group = wire.parse_registration(data) or self.group
        self.sent.append((link, wire.packet_type(data) or 0))

    def at_server(self, data: bytes) -> None:
        self.server.append(data)

    def wait(self, until: float) -> None:
        while due := [entry for entry in self.later if entry[0] <= until]:
            first = min(due, key=lambda entry: entry[0])
            self.later.remove(first)
            self.now = first[0]
            first[1]()
        self.now = until


def joined(name: str, *, flush: bool = False) -> tuple[Around, ReceiverModel]:
    around = Around()
    receiver = make_receiver(name, around, flush=flush, nak_everywhere=False)
    receiver.from_link(1, wire.build_registration(wire.REG1, bytes(range(256))))
    for link in (1, 2, 3):
        receiver.from_link(link, wire.build_registration(wire.REG2, around.group))
        receiver.from_link(link, KEEPALIVE)
    assert [kind for _, kind in around.sent] == [wire.REG2, *[wire.REG3, wire.KEEPALIVE] * 3]
    around.sent.clear()
    return around, receiver


@pytest.mark.parametrize(
    ("name", "flush", "acks"),
    [("belabox", False, 1), ("belabox", True, 2), ("netbond", False, 2), ("irlserver", False, 1)],
)
def test_ten_packets_are_acknowledged_and_the_rest_after_20_ms_by_some(
    name: str, flush: bool, acks: int
) -> None:
    around, receiver = joined(name, flush=flush)
    for sequence in range(15):
        receiver.from_link(2, data_packet(sequence))
    around.wait(0.03)
    assert around.sent == [(2, wire.SRTLA_ACK)] * acks
    assert len(around.server) == 15


def test_go_srtla_acknowledges_nothing() -> None:
    around, receiver = joined("go-srtla")
    for sequence in range(15):
        receiver.from_link(2, data_packet(sequence))
    around.wait(0.03)
    assert around.sent == []
    assert len(around.server) == 15


@pytest.mark.parametrize(
    ("name", "links"), [("belabox", 1), ("netbond", 1), ("go-srtla", 1), ("irlserver", 3)]
)
def test_over_how_many_links_the_server_reports_a_loss(name: str, links: int) -> None:
    around, receiver = joined(name)
    receiver.from_link(2, data_packet(7))
    receiver.from_server(srt_nak((3, 6)))
    assert Counter(kind for _, kind in around.sent) == {wire.SRT_NAK: links}
    assert (2, wire.SRT_NAK) in around.sent


@pytest.mark.parametrize("name", ["belabox", "go-srtla", "irlserver"])
def test_foreign_receivers_send_srt_acks_over_all_links(name: str) -> None:
    around, receiver = joined(name)
    receiver.from_link(2, data_packet(7))
    receiver.from_server(srt_ack(8))
    assert sorted(around.sent) == [(link, wire.SRT_ACK) for link in (1, 2, 3)]


def test_an_unknown_receiver_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown receiver 'srtla'; there are belabox, netbond"):
        make_receiver("srtla", Around(), flush=False, nak_everywhere=False)


@pytest.mark.parametrize("receiver", RECEIVERS)
@pytest.mark.parametrize("mode", ["adaptive", "classic"])
def test_a_stream_arrives_with_any_receiver(receiver: str, mode: str) -> None:
    simulation = Simulation(
        BONDS["clean3"],
        lambda rnd, now: Sender(rnd, make_carrier(mode), now),
        mbps=6.0,
        seconds=6.0,
        receiver=receiver,
    )
    assert simulation.run().lost_pct <= 0.1
