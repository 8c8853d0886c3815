"""Which of an SRT server's addresses is used, on sockets that answer, refuse or are silent."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from netbond.config.values import HostPort
from netbond.srtla import wire
from netbond.srtla.process import srtserver
from netbond.srtla.process.linksocket import Endpoint
from netbond.srtla.process.srtserver import SrtServer
from tests.srtla_util import handshake
from tests.unit.srtla.process.engines import until

NAME = HostPort("srt.example.org", 5002)


class Server:
    """A port that may answer handshakes."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.endpoint: Endpoint = (socket.AF_INET, *self.sock.getsockname())
        self.asked = 0

    def answers(self, packet: bytes = b"") -> int:
        """Answer what has come: as an SRT server does, or with this packet; how much has come so far."""
        while True:
            try:
                data, peer = self.sock.recvfrom(2048)
            except BlockingIOError:
                return self.asked
            assert wire.is_induction(data)
            self.asked += 1
            answer = bytearray(packet or handshake(1, 77))
            if not packet:
                answer[12:16] = wire.handshake_socket(data).to_bytes(4, "big")
            self.sock.sendto(answer, peer)

    def count(self) -> int:
        """How often it was asked."""
        try:
            while True:
                self.sock.recv(2048)
                self.asked += 1
        except BlockingIOError:
            return self.asked


class Rig:
    def __init__(self, stack: ExitStack) -> None:
        self.changes = 0
        self.servers = [Server() for _ in range(3)]
        for server in self.servers:
            stack.callback(server.sock.close)
        self.endpoints = [server.endpoint for server in self.servers]
        self.stack = stack

    def start(self) -> SrtServer:
        self.srt = SrtServer(NAME, self._changed)
        self.stack.callback(self.srt.close)
        return self.srt

    def _changed(self) -> None:
        self.changes += 1

    def refuse(self, *positions: int) -> None:
        for position in positions:
            self.servers[position].sock.close()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(srtserver, "ANSWER_WITHIN_S", 0.1)
    monkeypatch.setattr(srtserver, "ASK_INTERVAL_S", 0.2)
    with ExitStack() as stack:
        yield Rig(stack)


async def test_the_only_address_is_used_and_not_asked(rig: Rig) -> None:
    srt = rig.start()
    srt.offer(rig.endpoints[:1])
    assert srt.endpoint == rig.endpoints[0]
    await asyncio.sleep(0.15)
    assert (rig.changes, rig.servers[0].count()) == (1, 0)


@pytest.mark.parametrize("kind", ["refuses", "is silent", "cannot be reached"])
async def test_the_first_that_answers_is_used(rig: Rig, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first, second = rig.endpoints[:2]
    if kind == "refuses":
        rig.refuse(0)
    elif kind == "cannot be reached":
        first = (socket.AF_INET6, "not an address", 1)
    srt = rig.start()
    srt.offer([first, second])
    rig.servers[1].answers()
    await until(lambda: srt.endpoint == second)
    assert caplog.messages == ["SRT server srt.example.org:5002: using the address 127.0.0.1"]
    await asyncio.sleep(0.35)
    assert (rig.changes, rig.servers[1].count()) == (1, 1), "it is not asked again"


async def test_a_busy_server_that_does_not_answer_is_used_if_all_others_refuse(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(srtserver, "ANSWER_WITHIN_S", 30.0)
    rig.refuse(0, 2)
    srt = rig.start()
    srt.offer(rig.endpoints)
    await until(lambda: srt.endpoint == rig.endpoints[1])


async def test_while_none_answers_they_are_asked_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(srtserver, "ANSWER_WITHIN_S", 1.0)
    rig.refuse(0)
    srt = rig.start()
    srt.offer(rig.endpoints)
    await asyncio.sleep(0.05)
    assert srt.endpoint is None
    await until(lambda: srt.endpoint == rig.endpoints[1])
    await until(lambda: rig.servers[2].answers() and srt.endpoint == rig.endpoints[2])
    assert (rig.changes, rig.servers[2].asked) == (2, 2)


async def test_if_all_refuse_one_is_used_until_another_answers(rig: Rig) -> None:
    rig.refuse(0, 1)
    srt = rig.start()
    srt.offer(rig.endpoints[:2])
    await until(lambda: srt.endpoint in rig.endpoints)
    again = Server()
    rig.stack.callback(again.sock.close)
    srt.offer([rig.endpoints[0], again.endpoint])
    await until(lambda: again.answers() and srt.endpoint == again.endpoint)


async def test_when_the_one_in_use_refuses_all_are_asked_again(rig: Rig) -> None:
    srt = rig.start()
    srt.offer(rig.endpoints[:2])
    rig.servers[0].answers()
    await until(lambda: srt.endpoint == rig.endpoints[0])
    srt.refuses()
    rig.servers[1].answers()  # of the first round
    assert srt.endpoint == rig.endpoints[0], "it was asked a moment ago"
    await asyncio.sleep(0.12)
    srt.refuses()
    rig.servers[1].answers()
    await until(lambda: srt.endpoint == rig.endpoints[1])


async def test_one_that_works_is_kept_and_not_asked(rig: Rig) -> None:
    rig.refuse(1)
    srt = rig.start()
    srt.offer(rig.endpoints[:2])
    await until(lambda: srt.endpoint == rig.endpoints[0])
    srt.works()  # it has answered a caller
    srt.offer([rig.endpoints[1], rig.endpoints[0]])
    srt.offer(rig.endpoints)
    await asyncio.sleep(0.35)
    assert (rig.servers[0].count(), rig.servers[2].count()) == (1, 0)
    srt.offer(rig.endpoints[1:])
    rig.servers[2].answers()
    await until(lambda: srt.endpoint == rig.endpoints[2])


@pytest.mark.parametrize("packet", [handshake(1, 77), wire.build_shutdown(7), b"", b"x"])
async def test_what_is_no_answer_is_none(rig: Rig, packet: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(srtserver, "ANSWER_WITHIN_S", 30.0)
    srt = rig.start()
    srt.offer(rig.endpoints[:2])
    rig.servers[1].answers(packet or b"\0")
    await asyncio.sleep(0.05)
    assert srt.endpoint is None
