"""The receiving engine: what it takes up of a predecessor, and what it leaves a successor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from netbond.config.schema import ReceiverConfig, ServerConfig
from netbond.config.values import HostPort
from netbond.srtla import linkreport, wire
from netbond.srtla.classic.classic import Classic
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.process import receiving, srtserver
from netbond.srtla.process.protocol import Forget, Resume, ResumeData, encode
from netbond.srtla.process.receiving import RecvEngine, RecvOptions
from netbond.srtla.process.wakeup import PAUSE_S
from netbond.srtla.receiver.events import KeyRefused, PlainCaller
from netbond.srtla.receiver.room import Limits
from netbond.srtla.sender import Sender
from netbond.system.typed_json import to_json
from tests.srtla_util import (
    CONCLUSION,
    INDUCTION,
    data_packet,
    free_ports,
    handshake,
    srt_ack,
    srt_control,
    srt_nak,
)
from tests.unit.srtla.process.engines import close, on_packet_loop, opened, received, udp, until
from tests.unit.srtla.process.json_values import json_values
from tests.unit.srtla.test_linkreport import found_id, parse


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_nothing_a_predecessor_left_breaks_its_successor(value: Any) -> None:
    resume = value if isinstance(value, dict) else {"groups": value}
    for dual in (True, False):
        receiving._resumed_groups(resume, Limits(), dual=dual)


@pytest.mark.parametrize(
    ("dual", "link", "address"),
    [
        (True, ["::ffff:192.0.2.1", 5, 0, 0], ("::ffff:192.0.2.1", 5, 0, 0)),
        (True, ["192.0.2.1", 5], ("::ffff:192.0.2.1", 5, 0, 0)),
        (True, ["2001:db8::1", 5, 0, 0], ("2001:db8::1", 5, 0, 0)),
        (False, ["192.0.2.1", 5], ("192.0.2.1", 5)),
        (False, ["::ffff:192.0.2.1", 5, 0, 0], ("192.0.2.1", 5)),
        (False, ["2001:db8::1", 5, 0, 0], None),
        (True, ["192.0.2.1", 0], None),
        (True, ["192.0.2.1"], None),
        (True, ["localhost", 5], None),
    ],
)
def test_peers_that_a_receiver_left(dual: bool, link: list[Any], address: Any) -> None:
    assert receiving._resumed_peer(link, dual=dual) == address


def test_the_limits_are_those_of_the_configuration() -> None:
    async def main() -> None:
        for groups, per_source, per_prefix in ((300, 20, 150), (10, 9, 9)):
            engine = receiving_engine(1, groups=groups, groups_per_source=per_source)
            limits = engine._limits
            assert (limits.groups, limits.groups_per_source) == (groups, per_source)
            assert limits.groups_per_prefix == per_prefix
        entry = {"srt_port": 1, "links": [["192.0.2.1", 5]]}
        resume: ResumeData = {"groups": [{"id": bytes([n] * 256).hex(), **entry} for n in range(9)]}
        assert len(receiving._resumed_groups(resume, Limits(groups=7), dual=False)) == 7

    on_packet_loop(main)


def test_a_message_of_very_many_groups_keeps_to_its_line() -> None:
    groups = [{"id": "00" * 256, "links": [["::ffff:192.0.2.1", 40000, 0, 0]] * 32} for _ in range(2000)]
    fit = receiving.fit_in_message(groups)
    assert 200 < len(fit) < 2000
    assert encode(Resume({"groups": fit})), "within the limit for a line"


# --- an engine with sockets ---------------------------------------------------------------------------------


class Near:
    """An SRTLA sender with one link, on a plain socket of the test's."""

    def __init__(self, port: int) -> None:
        self.sock = udp()
        self.sock.connect(("127.0.0.1", port))
        self.machine = Sender(random.Random(1).randbytes, Classic(), time.monotonic())
        self.machine.set_links([LinkSpec("lo", "127.0.0.1")], 0.0)
        self.machine.link_opened(1, time.monotonic())
        self.answers: list[bytes] = []

    def serve(self) -> None:
        """Take what has come, and send."""
        for data, _ in received(self.sock):
            self.machine.datagram_from_receiver(1, data, time.monotonic())
        self.machine.handle_timer(time.monotonic())
        for _, data in self.machine.datagrams_to_links():
            with contextlib.suppress(ConnectionRefusedError):
                self.sock.send(data)
        self.answers += self.machine.datagrams_to_caller()

    async def connected(self) -> None:
        def up() -> bool:
            self.serve()
            return self.machine.state() == "connected"

        await until(up)


def receiving_engine(srt: int, resume: ResumeData | None = None, **more: Any) -> RecvEngine:
    config = ReceiverConfig(HostPort("127.0.0.1", free_ports(1)[0]), HostPort("127.0.0.1", srt), **more)
    return RecvEngine(RecvOptions(config), None, resume or {})


def test_a_stream_reaches_the_srt_server_and_its_answers_come_back(tmp_path: Path) -> None:
    async def main() -> None:
        server = udp()
        engine = opened(receiving_engine(server.getsockname()[1], group_dir=tmp_path))
        near = Near(engine._listener.getsockname()[1])
        await near.connected()
        for number in range(25):
            near.machine.datagram_from_caller(data_packet(number), time.monotonic())
        arrived: list[tuple[bytes, tuple[str, int]]] = []

        def complete() -> bool:
            near.serve()
            arrived.extend(received(server))
            return len(arrived) == 25

        await until(complete)
        assert [data for data, _ in arrived] == [data_packet(number) for number in range(25)]
        port = arrived[0][1][1]
        assert (tmp_path / f"srtla-group-{port}").read_text() == "127.0.0.1\n"
        server.sendto(srt_ack(25), arrived[0][1])

        def answered() -> bool:
            near.serve()
            return srt_ack(25) in near.answers

        await until(answered)
        assert engine.loop._packets.patience == PAUSE_S
        handshake = srt_control(wire.SRT_HANDSHAKE, bytes(48) + struct.pack("!HHIIHH", 2, 3, 0, 0, 400, 0))
        server.sendto(handshake, arrived[0][1])

        def slower() -> bool:
            engine.maintain(time.monotonic())
            return engine.loop._packets.patience == 0.008

        await until(slower)
        stats = to_json(engine.stats(time.monotonic()))
        (group,) = stats["groups"]
        assert (group["packets"], group["srt_port"], len(group["links"])) == (25, port, 1)
        assert stats["refused"]["srt_unreachable"] == 0
        left = engine.resume_data()
        assert [entry["srt_port"] for entry in left["groups"]] == [port]
        assert left["groups"][0]["registered"] == left["groups"][0]["links"][0]
        await engine.drain()
        engine.close()
        close(engine)
        assert list(tmp_path.iterdir()) == []

        # The engine after it goes on: the SRT server sees the same port.
        after = opened(receiving_engine(server.getsockname()[1], resume=left))
        await until(lambda: after.resume_data() == left)

    on_packet_loop(main)


def test_an_encoder_that_starts_again_comes_to_the_srt_server_from_another_port(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        server = udp()
        engine = opened(receiving_engine(server.getsockname()[1], group_dir=tmp_path))
        near = Near(engine._listener.getsockname()[1])
        await near.connected()
        arrived: list[tuple[bytes, int]] = []

        def more() -> int:
            near.serve()
            arrived.extend((data, port) for data, (_, port) in received(server))
            return len(arrived)

        async def comes(*wanted: bytes) -> int:
            """Wait until these have come to the SRT server, from one port; that port."""
            arrived.clear()

            await until(lambda: more() >= len(wanted))
            assert [data for data, _ in arrived] == list(wanted)
            (port,) = {port for _, port in arrived}
            return port

        def send(*packets: bytes) -> None:
            for data in packets:
                near.machine.datagram_from_caller(data, time.monotonic())

        send(handshake(1, 501))
        port = await comes(handshake(1, 501))
        server.sendto(handshake(0xFFFFFFFF, 9001), ("127.0.0.1", port))
        await until(lambda: more() == 1 and near.answers)
        send(*(data_packet(number) for number in range(20)))
        assert await comes(*(data_packet(number) for number in range(20))) == port
        await asyncio.sleep(0.35)
        near.sock.send(handshake(1, 502))  # over the link, whatever a sender says to it
        arrived.clear()
        await until(lambda: more() == 2)
        (shutdown, first), (again, second) = arrived
        assert (wire.packet_type(shutdown), wire.destination_of(shutdown), first) == (
            wire.SRT_SHUTDOWN,
            9001,
            port,
        )
        assert (again, second != port) == (handshake(1, 502), True)
        assert "another SRT caller: the SRT connection before is ended" in caplog.text
        send(data_packet(20))
        assert await comes(data_packet(20)) == second
        server.sendto(srt_ack(21), ("127.0.0.1", second))
        await until(lambda: more() == 1 and srt_ack(21) in near.answers)
        assert [file.name for file in tmp_path.iterdir()] == [f"srtla-group-{second}"]

    on_packet_loop(main)


def test_an_srt_server_that_is_not_there_is_said_once_and_again_when_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        server = udp()
        port = server.getsockname()[1]
        server.close()
        engine = opened(receiving_engine(port))
        near = Near(engine._listener.getsockname()[1])
        await near.connected()

        def offered() -> bool:
            near.machine.datagram_from_caller(data_packet(1, again=True), time.monotonic())
            near.serve()
            return True

        await until(lambda: offered() and "nothing listens there" in caplog.text)
        for _ in range(5):
            assert offered()
            await asyncio.sleep(0.01)
        assert caplog.text.count("nothing listens there") == 1
        now = time.monotonic()
        assert [one.endswith(": nothing listens there") for one in engine.stats(now).problems] == [True]
        assert engine.stats(now + receiving.TROUBLE_SHOWN_S).problems == ()
        await until(lambda: offered() and engine.stats(0.0).refused["srt_unreachable"] > 5)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(("127.0.0.1", port))
            again.setblocking(False)
            found: list[tuple[bytes, tuple[str, int]]] = []
            while not found:
                assert offered()
                await asyncio.sleep(0.01)
                found = received(again)
            again.sendto(srt_nak((0, 0)), found[0][1])
            await until(lambda: "answers again" in caplog.text)

    on_packet_loop(main)


def test_of_a_servers_addresses_a_group_keeps_its_own_while_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(srtserver, "ANSWER_WITHIN_S", 0.1)

    async def main() -> None:
        first, second = udp(), udp()
        engine = opened(receiving_engine(first.getsockname()[1]))
        near = Near(engine._listener.getsockname()[1])
        await near.connected()

        def caller_sends(*, to: socket.socket) -> list[tuple[bytes, tuple[str, int]]]:
            near.machine.datagram_from_caller(data_packet(1, again=True), time.monotonic())
            near.serve()
            return received(to)

        found: list[tuple[bytes, tuple[str, int]]] = []
        await until(lambda: found.extend(caller_sends(to=first)) or found)  # type: ignore[func-returns-value]  # None
        first.sendto(srt_nak((0, 0)), found[0][1])
        await until(lambda: caller_sends(to=first) and srt_nak((0, 0)) in near.answers)
        engine._servers[0].found.offer([(socket.AF_INET, *each.getsockname()) for each in (second, first)])
        engine._servers[0].found._works = False
        engine._servers[0].found._ask()

        def answers() -> bool:
            for data, peer in received(second):
                if wire.is_induction(data):
                    answer = bytearray(handshake(1, 77))
                    answer[12:16] = wire.handshake_socket(data).to_bytes(4, "big")
                    second.sendto(answer, peer)
            return engine._servers[0].found.endpoint == (socket.AF_INET, *second.getsockname())

        await until(answers)
        engine.maintain(time.monotonic())
        await until(lambda: caller_sends(to=first))
        first.close()
        await asyncio.sleep(0.15)
        await until(lambda: caller_sends(to=second), 8)
        assert len(engine._towards) == 1
        engine.close()

    on_packet_loop(main)


def test_a_stream_has_its_name_also_with_the_engine_after(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        server = udp()
        engine = opened(receiving_engine(server.getsockname()[1]))
        near = Near(engine._listener.getsockname()[1])
        await near.connected()
        asks = handshake(CONCLUSION, 501, stream_id="live/feed1")
        near.machine.datagram_from_caller(asks, time.monotonic())
        found: list[tuple[bytes, tuple[str, int]]] = []

        def asked() -> bool:
            near.serve()
            found.extend(received(server))
            return bool(found)

        await until(asked)
        assert found[0][0] == asks
        server.sendto(handshake(CONCLUSION, 9001, to=501), found[0][1])

        def names(of: RecvEngine) -> list[tuple[str, str]]:
            return [(group.stream, group.stream_id) for group in of.stats(time.monotonic()).groups]

        await until(lambda: names(engine) != [("127.0.0.1", "")])
        ((name, stream_id),) = names(engine)
        assert (name[:6], stream_id) == ("live/~", "live/feed1")
        assert f"stream {name} (group " in caplog.text
        assert "127.0.0.1 (group " in caplog.text, "before"
        assert "feed1" not in caplog.text
        left = engine.resume_data()
        close(engine)
        after = opened(receiving_engine(server.getsockname()[1], resume=left))
        assert names(after) == [(name, "live/feed1")]

    on_packet_loop(main)


def test_the_stream_id_chooses_the_srt_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        servers = [udp(), udp()]
        first, second = (HostPort("127.0.0.1", sock.getsockname()[1]) for sock in servers)
        more = (ServerConfig("b/?", second), ServerConfig("*", first))
        engine = opened(receiving_engine(first.port, server=more))
        assert len(engine._servers) == 2, "each once"
        near = Near(engine._listener.getsockname()[1])
        await near.connected()
        near.machine.datagram_from_caller(data_packet(1), time.monotonic())  # of no connection that is known
        near.serve()
        await until(lambda: engine.stats(time.monotonic()).groups[0].packets)
        heard: list[tuple[int, bytes, tuple[str, int]]] = []

        def serve() -> bool:
            near.serve()
            for number, sock in enumerate(servers):
                for data, peer in received(sock):
                    heard.append((number, data, peer))
                    asks = wire.handshake_socket(data)
                    if wire.is_induction(data):
                        answer = wire.with_cookie(handshake(INDUCTION, 0, to=asks), 77)
                        sock.sendto(answer, peer)
                    elif wire.is_conclusion(data) and wire.cookie_of(data) == 77:
                        sock.sendto(handshake(CONCLUSION, 9000, to=asks), peer)
            return bool(near.answers)

        async def call(caller: int, stream_id: str) -> tuple[int, tuple[str, int]]:
            """The server that hears of this caller, and from where."""
            heard.clear()
            near.answers.clear()
            for group in engine._receiver._by_number.values():
                group.flowed -= 1.0  # the one before is silent
            near.machine.datagram_from_caller(handshake(INDUCTION, caller), time.monotonic())
            await until(serve)
            cookie = wire.cookie_of(near.answers.pop())
            asks = wire.with_cookie(handshake(CONCLUSION, caller, stream_id=stream_id), cookie)
            near.machine.datagram_from_caller(asks, time.monotonic())
            await until(serve)
            asked = [each for each in heard if wire.is_handshake(each[1])]
            assert [wire.is_induction(data) for _, data, _ in asked] == [True, False], "nothing else"
            ((number, peer),) = {(number, peer) for number, _, peer in asked}
            return number, peer

        def shown(of: RecvEngine) -> tuple[str, str, int]:
            ((group,)) = of.stats(time.monotonic()).groups
            return group.stream_id, group.server, group.srt_port

        assert shown(engine) == ("", "", 0)
        number, (_, port) = await call(501, "b/1")
        assert (number, shown(engine)) == (1, ("b/1", str(second), port))
        assert f"the SRT server {second} has accepted it" in caplog.text
        left = engine.resume_data()
        number, (_, other) = await call(502, "c/1")
        assert (number, shown(engine)) == (0, ("c/1", str(first), other))
        assert port != other
        assert [number for number, data, _ in heard if wire.packet_type(data) == wire.SRT_SHUTDOWN] == [1]
        close(engine)
        after = opened(receiving_engine(first.port, resume=left, server=more))
        await until(lambda: shown(after) == ("b/1", str(second), port))

    on_packet_loop(main)


def test_an_srt_server_that_is_away_is_no_other_ones_trouble(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        gone, server = HostPort("127.0.0.1", free_ports(1)[0]), udp()
        there = HostPort("127.0.0.1", server.getsockname()[1])
        engine = opened(receiving_engine(gone.port, server=(ServerConfig("b", there),)))
        near = Near(engine._listener.getsockname()[1])
        await near.connected()

        async def asks(caller: int, stream_id: str) -> None:
            near.answers.clear()
            near.machine.datagram_from_caller(handshake(INDUCTION, caller), time.monotonic())
            await until(lambda: near.serve() or near.answers)  # type: ignore[func-returns-value]  # None
            conclusion = handshake(CONCLUSION, caller, stream_id=stream_id)
            conclusion = wire.with_cookie(conclusion, wire.cookie_of(near.answers.pop()))
            near.machine.datagram_from_caller(conclusion, time.monotonic())
            near.serve()

        await asks(501, "a")
        await until(lambda: f"SRT server {gone}: nothing listens there" in caplog.text)
        await asks(502, "b")
        await until(lambda: wire.is_induction(b"".join(data for data, _ in received(server))))
        assert str(there) not in caplog.text

    on_packet_loop(main)


def test_a_worker_forgets_a_link_that_another_has() -> None:
    async def main() -> None:
        server = udp()
        engine = opened(receiving_engine(server.getsockname()[1]))
        near = Near(engine._listener.getsockname()[1])
        await near.connected()
        ((address, port),) = engine._receiver.links()
        engine.message(Resume({}))
        engine.message(Forget([address, "no port"]))
        assert len(engine._receiver.links()) == 1
        engine.message(Forget([address, port]))
        assert len(engine._receiver.links()) == 0

    on_packet_loop(main)


def test_who_is_refused_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        engine = opened(receiving_engine(free_ports(1)[0]))
        engine._event(KeyRefused(("192.0.2.1", 5), claimed=True))
        engine._event(KeyRefused(("192.0.2.1", 5), claimed=False))
        engine._event(PlainCaller(("192.0.2.1", 6)))

    on_packet_loop(main)
    assert "192.0.2.1:5: refused: it has another key than ours" in caplog.text
    assert "192.0.2.1:5: refused: it has no key" in caplog.text
    assert (
        "192.0.2.1:6: refused: it speaks SRT without SRTLA;"
        " point it at its SRTLA sender, or at the SRT server (127.0.0.1:"
    ) in caplog.text


@pytest.mark.parametrize("wanted", [True, False])
def test_the_srt_server_is_told_of_the_links_while_the_stream_lives(wanted: bool) -> None:
    async def main() -> None:
        server = udp()
        engine = opened(receiving_engine(server.getsockname()[1], srtla_stats=wanted))
        near = Near(engine._listener.getsockname()[1])
        await near.connected()
        near.machine.datagram_from_caller(handshake(CONCLUSION, 5), time.monotonic())
        arrived: list[tuple[bytes, tuple[str, int]]] = []

        def has(count: int) -> bool:
            near.serve()
            arrived.extend(received(server))
            return len(arrived) >= count

        await until(lambda: has(1))
        server.sendto(handshake(CONCLUSION, 0x99, to=5), arrived[0][1])
        for number in range(10):
            near.machine.datagram_from_caller(data_packet(number), time.monotonic())
        await until(lambda: has(11))
        server.sendto(srt_ack(10), arrived[0][1])
        await until(lambda: engine._receiver.stats(time.monotonic())[0]["live"])
        engine.stats(time.monotonic() + 1)
        await until(lambda: has(11 + wanted))
        reports = [data for data, _ in arrived if wire.packet_type(data) == linkreport.LINK_REPORT]
        assert len(reports) == wanted
        for report in reports:
            found = parse(report)
            assert found["socket"] == 0x99
            ((link, _, _, size, _, _),) = found["links"]
            _, port = near.sock.getsockname()
            assert link == found_id(socket.inet_aton("127.0.0.1") + port.to_bytes(2, "big"))
            assert size == sum(len(data) for data, _ in arrived if data is not report)
        engine.stats(time.monotonic() + 60)
        await asyncio.sleep(0.05)
        assert not received(server), "it has stopped"

    on_packet_loop(main)
