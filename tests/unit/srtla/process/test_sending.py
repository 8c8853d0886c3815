"""The sending engine with sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from netbond import srtla
from netbond.config.schema import EncoderConfig, SenderConfig
from netbond.config.values import HostPort
from netbond.srtla import wire
from netbond.srtla.adaptive.bonding import Bonding
from netbond.srtla.advice import Advice
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.process.channel import Channel
from netbond.srtla.process.encoder import open_bitrate_file
from netbond.srtla.process.protocol import (
    FROM_ENGINE,
    AdviceMessage,
    EncoderThere,
    Links,
    Resume,
    ResumeData,
    VideoRate,
    parse,
)
from netbond.srtla.process.sending import SendEngine, SendOptions
from netbond.srtla.process.watchsocket import WatchSocket
from netbond.srtla.receiver.receiver import Receiver
from netbond.srtla.sender import RECEIVER_SILENCE_S
from netbond.srtla.senderevents import Advised, LinkDown, ReceiverSilent, Unproven
from netbond.srtla.watch import VERSION, WatchLine
from netbond.system.typed_json import from_json, to_json
from tests.srtla_util import (
    CONCLUSION,
    INDUCTION,
    data_packet,
    free_ports,
    handshake,
    srt_ack,
    srt_control,
)
from tests.unit.srtla.process.engines import close, on_packet_loop, opened, received, udp, until


class Far:
    """An SRTLA receiver, on a plain socket of the test's."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.sock = udp(host)
        self.others: list[socket.socket] = []  # where it also receives
        self.machine = Receiver(random.Random(1).randbytes, time.monotonic())
        self.arrived: list[bytes] = []
        self.group = 0

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])

    def serve(self) -> None:
        """Take what has come, and answer."""
        sockets: dict[Any, socket.socket] = {}
        for sock in (self.sock, *self.others):
            for data, address in received(sock):
                sockets[address] = sock
                self.machine.datagram_from_peer(address, data, time.monotonic())
        self.machine.handle_timer(time.monotonic())
        for group, data in self.machine.datagrams_to_srt():
            self.group = group
            self.arrived.append(data)
        for address, data in self.machine.datagrams_to_peers():
            sockets.get(address, self.sock).sendto(data, address)


LO = LinkSpec("lo", "127.0.0.1", "lo")


def engine_to(
    far: Far,
    list_file: Path | None = None,
    resume: ResumeData | None = None,
    host: str = "127.0.0.1",
    more: tuple[HostPort, ...] = (),
    **keys: Any,
) -> SendEngine:
    here, there = HostPort("127.0.0.1", free_ports(1)[0]), HostPort(host, far.port)
    config = SenderConfig(here, (there, *more) if more else there, **keys)
    return SendEngine(SendOptions(config, list_file), None, resume or {})


def links_of(engine: SendEngine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = to_json(engine.stats(time.monotonic()))["links"]
    return found


async def connected(engine: SendEngine, far: Far) -> None:
    def up() -> bool:
        far.serve()
        return bool(to_json(engine.stats(time.monotonic()))["state"] == "connected")

    await until(up)


def test_a_stream_goes_out_over_the_links_that_the_agent_names() -> None:
    async def main() -> None:
        far, caller = Far(), udp()
        engine = opened(engine_to(far))
        assert to_json(engine.stats(0.0))["state"] == "resolving"
        assert to_json(engine.stats(0.0))["flavour"] == srtla.flavour()
        engine.message(Links((LO,)))
        engine.message(Resume({}))  # not for now: passed over
        await connected(engine, far)
        listen = engine._listener.getsockname()
        packets = [data_packet(number) for number in range(30)]
        for data in packets:
            caller.sendto(data, listen)

        def arrived() -> bool:
            far.serve()
            return len(far.arrived) == 30

        await until(arrived)
        assert sorted(far.arrived) == sorted(packets)
        far.machine.datagram_from_srt(far.group, srt_ack(30), time.monotonic())
        far.serve()
        await until(lambda: srt_ack(30) in [data for data, _ in received(caller)])
        (link,) = links_of(engine)
        assert (link["label"], link["state"], link["reason"]) == ("lo", "up", "")
        left = engine.resume_data()
        ((_, group, peers),) = far.machine.groups()
        assert left["group"] == group.hex()
        kept = {"address": "127.0.0.1", "device": "lo", "port": peers[0][1], "receiver_address": "127.0.0.1"}
        assert left["links"] == [kept]
        assert left["receiver_address"] == "127.0.0.1"
        assert left["caller"] == "127.0.0.1:" + str(caller.getsockname()[1])
        await engine.drain()
        close(engine)

        # The engine after it goes on with the same group, from the same port.
        after = opened(engine_to(far, resume=left))
        after.message(Links((LO,)))
        await connected(after, far)
        assert far.machine.groups() == [(1, group, peers)]
        assert after.resume_data()["links"] == left["links"]

    on_packet_loop(main)


def test_the_list_file_is_read_again_on_sighup(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "ips"
    path.write_text("127.0.0.1\nnonsense\n")

    async def main() -> None:
        far = Far()
        engine = opened(engine_to(far, path))
        assert f"{path}:2: 'nonsense' is not ADDRESS" in caplog.text
        await connected(engine, far)
        path.write_text("127.0.0.1\n127.0.0.2\n")
        engine.on_sighup()
        assert [link["label"] for link in links_of(engine)] == ["127.0.0.1", "127.0.0.2"]
        assert links_of(engine)[0]["state"] == "up", "it was not touched"
        path.unlink()
        engine.on_sighup()
        assert len(links_of(engine)) == 2
        assert "the links stay as they are" in caplog.text
        path.write_text("# none\n")
        engine.on_sighup()
        assert links_of(engine) == []
        assert "names no links" in caplog.text
        assert "link 127.0.0.1: removed from the list" in caplog.text

    on_packet_loop(main)


@pytest.mark.parametrize("allowed", [False, True])
def test_metered_links_may_be_probed_if_that_is_allowed(tmp_path: Path, allowed: bool) -> None:
    path = tmp_path / "ips"
    path.write_text("127.0.0.1 metered\n127.0.0.2\n")

    async def main() -> None:
        engine = opened(engine_to(Far(), path, probe_metered=allowed))
        assert [link["metered"] for link in links_of(engine)] == [not allowed, False]
        engine.message(Links((replace(LO, metered=True),)))
        assert [link["metered"] for link in links_of(engine)] == [not allowed]

    on_packet_loop(main)


def test_the_list_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "ips"

    async def main() -> None:
        engine = opened(engine_to(Far(), path))
        assert links_of(engine) == []
        path.write_text("127.0.0.1\n127.0.0.2\n")
        for _ in range(2):  # of these, one comes each second
            engine.maintain(time.monotonic())
        assert [link["label"] for link in links_of(engine)] == ["127.0.0.1", "127.0.0.2"]
        path.write_text("127.0.0.2\n")
        for _ in range(2):
            engine.maintain(time.monotonic())
        assert [link["label"] for link in links_of(engine)] == ["127.0.0.2"]

    on_packet_loop(main)


def test_a_link_that_cannot_be_opened_says_why_once_and_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        far = Far()
        engine = opened(engine_to(far))
        engine.message(
            Links(
                (
                    LinkSpec("away", "192.0.2.77"),
                    LinkSpec("gone", "127.0.0.1", "usb77"),
                    LinkSpec("six", "::1"),
                )
            )
        )
        await until(lambda: engine._receiver.addresses)
        for _ in range(3):
            engine.maintain(time.monotonic())
        assert [(link["state"], link["reason"]) for link in links_of(engine)] == [
            ("error", "the address is not on this box"),
            ("error", "the device is not there"),
            ("error", "the receiver 127.0.0.1 has IPv4 only"),
        ]
        assert caplog.text.count("link away: the address is not on this box; trying again each second") == 1

    on_packet_loop(main)


def test_each_link_uses_an_address_of_its_own_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name has both; the first IPv4 address is dead, so the next is tried."""

    async def main() -> None:
        far = Far(host="127.0.0.1")
        six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with six:
            six.bind(("::1", far.port))
            six.setblocking(False)
            far.others.append(six)
            found: list[Any] = [(10, 2, 17, "", ("::1", far.port, 0, 0))]
            found += [(2, 2, 17, "", (host, far.port)) for host in ("127.0.0.99", "127.0.0.1")]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
            engine = opened(engine_to(far, host="bond.example.org"))
            engine.message(Links((LO, LinkSpec("two", "127.0.0.2"), LinkSpec("six", "::1"))))

            def states() -> list[tuple[str, str | None]]:
                far.serve()
                links = engine.stats(time.monotonic()).links
                return [(link.state, link.receiver_address) for link in links]

            await until(lambda: states()[2] == ("up", "::1"))
            assert states()[:2] == [("registering", "127.0.0.99")] * 2
            assert engine.stats(0.0).receiver_address == "127.0.0.99", "of the first link"
            await until(lambda: states() == [("up", "127.0.0.1"), ("up", "127.0.0.1"), ("up", "::1")], 8)
            assert engine.stats(0.0).state == "connected"
            left = engine.resume_data()
            assert [link["receiver_address"] for link in left["links"]] == ["127.0.0.1", "127.0.0.1", "::1"]
            assert len(far.machine.groups()) == 1
            close(engine)

            after = opened(engine_to(far, resume=left, host="bond.example.org"))
            after.message(Links((LO,)))
            await connected(after, far)
            assert after.stats(0.0).links[0].receiver_address == "127.0.0.1", "it is not looked for again"

    on_packet_loop(main)


def test_another_receiver_is_used_until_the_first_answers_again_and_no_caller_is_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        first, second = Far(), Far()
        names = [HostPort("127.0.0.1", far.port) for far in (first, second)]
        engine = opened(engine_to(first, more=(names[1],)))
        engine.message(Links((LO,)))
        await connected(engine, first)
        group = engine.resume_data()["group"]

        # The first falls silent; a stream comes to the second.
        engine._event(LinkDown(1, LO, "silent for 4 s"), time.monotonic())
        engine._sender._down(engine._sender._order[0], "down", "silent for 4 s", time.monotonic())
        engine._event(ReceiverSilent(4, answered=False), time.monotonic())
        await connected(engine, second)
        stats = engine.stats(time.monotonic())
        assert stats.receiver == str(names[1])
        assert stats.problems[0].startswith(f"{names[0]} did not answer")
        assert f"no answer from {names[0]} on any link" in caplog.text
        left = engine.resume_data()
        assert left["receiver"] == str(names[1])
        assert left["group"] != group, "what belongs to one receiver is not shown to another"
        assert left["group"] == second.machine.groups()[0][1].hex()

        engine._failover._settled = True
        # It answers again: the way back is open when no caller has been heard for a while.
        engine._carriage.caller_heard = time.monotonic()
        for _ in range(3):
            engine._failover._probe_at = 0.0
            engine.maintain(time.monotonic())
            first.serve()
            await asyncio.sleep(0.02)
            second.serve()
            engine.maintain(time.monotonic())
        assert engine.stats(0.0).receiver == str(names[1]), "a stream that works is left alone"
        engine._carriage.caller_heard -= 20.0
        engine.maintain(time.monotonic())
        await connected(engine, first)
        assert engine.stats(0.0).receiver == str(names[0])
        assert f"{names[0]} answers again" in caplog.text
        assert engine.stats(0.0).problems == ()
        engine._close_probe()
        close(engine)

        # An engine after one that used the second goes on with that one.
        after = opened(engine_to(first, resume=left, more=(names[1],)))
        after.message(Links((LO,)))
        await connected(after, second)
        assert after.resume_data()["group"] == left["group"]

    on_packet_loop(main)


def test_a_receiver_that_no_link_can_reach_is_left() -> None:
    """Its name does not resolve, or has addresses of the other family only."""

    async def main() -> None:
        far = Far()
        engine = opened(engine_to(far, host="::1", more=(HostPort("127.0.0.1", far.port),)))
        engine.message(Links((LO,)))
        await until(lambda: engine._receiver.addresses)
        engine.maintain(time.monotonic())
        assert links_of(engine)[0]["reason"] == "the receiver ::1 has IPv6 only"
        engine.maintain(time.monotonic() + RECEIVER_SILENCE_S)
        await connected(engine, far)

    on_packet_loop(main)


class Server:
    """An SRT server behind the far end, that answers handshakes."""

    def __init__(self, far: Far) -> None:
        self.far = far
        self.socket_ids: set[int] = set()

    def serve(self) -> None:
        far = self.far
        far.serve()
        for data in far.arrived:
            if wire.is_handshake(data):
                self.socket_ids.add(wire.handshake_socket(data))
                kind = CONCLUSION if wire.is_conclusion(data) else INDUCTION
                answer = handshake(kind, 900, to=wire.handshake_socket(data))
                far.machine.datagram_from_srt(far.group, answer, time.monotonic())
        far.arrived.clear()
        far.serve()


def test_a_caller_is_one_whose_handshake_is_complete(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        far, first, second = Far(), udp(), udp()
        server = Server(far)
        engine = opened(engine_to(far))
        engine.message(Links((LO,)))
        await connected(engine, far)
        listen = engine._listener.getsockname()

        def caller() -> str | None:
            return engine.stats(time.monotonic()).caller

        def name(sock: socket.socket) -> str:
            return "127.0.0.1:" + str(sock.getsockname()[1])

        async def answered(sock: socket.socket, data: bytes) -> bytes:
            sock.sendto(data, listen)
            got: list[bytes] = []

            def heard() -> bool:
                server.serve()
                got.extend(data for data, _ in received(sock))
                return bool(got)

            await until(heard)
            return got[0]

        assert await answered(first, handshake(INDUCTION, 1)) == handshake(INDUCTION, 900, to=1)
        assert caller() is None
        asks = handshake(CONCLUSION, 1, stream_id="live/feed1")
        assert await answered(first, asks) == handshake(CONCLUSION, 900, to=1)
        assert caller() == name(first)
        stats = engine.stats(time.monotonic())
        assert (stats.stream[:6], stats.stream_id) == ("live/~", "live/feed1")
        assert f"the SRT server has accepted the stream {stats.stream}" in caplog.text
        assert engine.resume_data()["stream_id"] == "live/feed1"
        successor = SendEngine(SendOptions(engine._config), None, engine.resume_data())
        assert (successor._stream(), successor._sender.stream_ids.accepted) == (stats.stream, "live/feed1")

        # It is heard: another is refused, once in words.
        for _ in range(4):
            second.sendto(handshake(INDUCTION, 2), listen)
        await until(lambda: engine.stats(time.monotonic()).callers_refused == 4)
        server.serve()
        assert server.socket_ids == {1}
        words = f"a second SRT caller, {name(second)}, is refused while {name(first)} is connected"
        assert caplog.text.count(words) == 1
        assert engine.stats(time.monotonic()).problems == (words,)

        # It has been silent: the other may try, and the first keeps the place and its answers meanwhile.
        engine._carriage.caller_heard -= 2.0
        assert await answered(second, handshake(INDUCTION, 2)) == handshake(INDUCTION, 900, to=2)
        assert caller() == name(first)
        far.machine.datagram_from_srt(far.group, srt_ack(5), time.monotonic())
        far.serve()
        await until(lambda: [data for data, _ in received(first)] == [srt_ack(5)])
        assert await answered(second, handshake(CONCLUSION, 2)) == handshake(CONCLUSION, 900, to=2)
        assert caller() == name(second)
        assert engine.resume_data()["caller"] == name(second)
        far.machine.datagram_from_srt(far.group, srt_ack(6), time.monotonic())
        far.serve()
        await until(lambda: [data for data, _ in received(second)] == [srt_ack(6)])
        assert received(first) == []

        # It says goodbye: nobody has to wait.
        stats = engine.stats(time.monotonic() + 4.0)
        assert stats.caller_silent_ms is not None
        assert 4000 <= stats.caller_silent_ms < 10_000
        assert not stats.caller_closed
        second.sendto(srt_control(wire.SRT_SHUTDOWN, bytes(4)), listen)
        await until(lambda: engine.stats(time.monotonic()).caller_closed)
        assert await answered(first, handshake(INDUCTION, 3)) == handshake(INDUCTION, 900, to=3)

    on_packet_loop(main)


def test_an_srt_server_that_is_absent_is_named_in_status_and_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("netbond.srtla.answers.SILENCE_S", 0.1)
    words = "the receiver answers, its SRT server does not: is it running, and set at the receiver?"

    async def main() -> None:
        far, caller = Far(), udp()
        engine = opened(engine_to(far))
        engine.message(Links((LO,)))
        caller.sendto(handshake(INDUCTION, 1), engine._listener.getsockname())
        await until(lambda: engine.stats(time.monotonic()).packets == 1)  # before a link is up: lost
        await connected(engine, far)
        await asyncio.sleep(0.15)
        assert engine.stats(time.monotonic()).problems == ()
        caller.sendto(handshake(INDUCTION, 1), engine._listener.getsockname())
        await until(lambda: engine.stats(time.monotonic()).problems == (words,))
        engine.maintain(time.monotonic())
        engine.maintain(time.monotonic())
        assert caplog.text.count(words) == 1
        engine._answer([handshake(INDUCTION, 900, to=1)])
        assert engine.stats(time.monotonic()).problems == ()

    on_packet_loop(main)


def test_who_may_say_that_a_keyframe_follows() -> None:
    """A socket of this machine, or of the caller's address; the caller stays who it is."""
    keyframe = b"\xc1\0\0\0\x32"

    async def main() -> None:
        engine = opened(engine_to(Far()))
        carrier = engine._sender._carrier
        assert isinstance(carrier, Bonding)
        heeded: list[float] = []
        for now, host in enumerate(("127.0.0.1", "192.0.2.1", "fe80::1%3", "192.0.2.1", "192.0.2.2"), 1):
            if now == 4:
                engine._callers.address = ("192.0.2.1", 5)
            engine._take((host, 7), keyframe, float(now))
            heeded.append(carrier._keyframes._until)
        assert heeded == [1.05, 1.05, 1.05, 4.05, 4.05]
        assert engine._callers.address == ("192.0.2.1", 5)

    on_packet_loop(main)


def test_a_receiver_that_is_not_there_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        far = Far()
        engine = opened(engine_to(far))
        far.sock.close()
        engine.message(Links((LO,)))
        await until(lambda: "link lo: nothing listens at the receiver's port" in caplog.text)
        await asyncio.sleep(0.5)
        assert caplog.text.count("nothing listens at the receiver's port") == 1
        engine._event(ReceiverSilent(4, answered=True), 0.0)
        assert "no answer from" not in caplog.text, "it has answered, though not as we would like"
        engine._event(ReceiverSilent(4, answered=False), 0.0)
        engine._event(ReceiverSilent(4, answered=False), 0.0)
        assert caplog.text.count("no answer from 127.0.0.1") == 1
        (problem,) = engine.stats(0.0).problems
        assert problem.startswith("no answer from 127.0.0.1")
        await until(lambda: not engine._receiver.addresses._failed)  # it has one address only
        engine._event(Unproven(used=True), 0.0)
        engine._event(Unproven(used=True), 0.0)
        assert caplog.text.count("does not know our key: going on without") == 1

    on_packet_loop(main)


def test_the_advice_goes_to_the_agent_at_once() -> None:
    advice = Advice(3_600_000, 4_000_000, 35, 1000, 0.0, 48)
    agent, own = socket.socketpair()
    engine = engine_to(Far())
    engine._event(Advised(advice), time.monotonic())  # without an agent: to nobody
    engine.channel = Channel(own.detach())
    engine._event(Advised(advice), time.monotonic())
    with agent:
        assert parse(agent.recv(65536), FROM_ENGINE) == [AdviceMessage(to_json(advice))]
    engine.channel.close()


# --- advice ------------------------------------------------------------------------------------------------


def test_advice_reaches_the_file_of_the_encoder(tmp_path: Path) -> None:
    path = tmp_path / "bitrate"
    encoder = EncoderConfig(path, bitrate_overhead=0.25)

    async def main() -> None:
        here, there = (HostPort("127.0.0.1", port) for port in free_ports(2))
        config = SenderConfig(here, there, encoder=encoder)
        engine = opened(SendEngine(SendOptions(config, bitrate_file=open_bitrate_file(encoder)), None, {}))
        assert path.read_text() == "500000\n500000\n"
        now = time.monotonic() + 1
        advice = Advice(4_000_000, 5_000_000, 0, 1000, 0.0, None)
        engine._event(Advised(advice), now)
        assert path.read_text() == "3000000\n3000000\n"
        engine.maintain(now + 10)
        assert path.read_text() == "500000\n500000\n"
        engine.close()
        assert path.read_text() == "500000\n12000000\n"

    on_packet_loop(main)


def test_an_agent_that_asks_for_advice_gets_it() -> None:
    async def main() -> None:
        shown: list[object] = []
        channel = cast("Channel", SimpleNamespace(show=shown.append))
        here, there = (HostPort("127.0.0.1", port) for port in free_ports(2))
        engine = SendEngine(SendOptions(SenderConfig(here, there)), channel, {})
        advice = Advised(Advice(4_000_000, 5_000_000, 0, 1000, 0.0, None))
        engine._event(advice, 0.0)
        engine.message(EncoderThere(0.25))
        engine._event(advice, 0.2)
        assert [each for each in shown if not isinstance(each, AdviceMessage)] == [VideoRate(3_000_000)]

    on_packet_loop(main)


def test_those_who_follow_an_engine_without_agent_hear_advice_at_once_and_its_state_each_second(
    tmp_path: Path,
) -> None:
    advice = Advice(3_600_000, 4_000_000, 35, 1000, 0.0, 48)

    async def main() -> None:
        far = Far()
        here, there = HostPort("127.0.0.1", free_ports(1)[0]), HostPort("127.0.0.1", far.port)
        engine = opened(SendEngine(SendOptions(SenderConfig(here, there), watch_socket=own), None, {}))
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")

        async def next_line() -> WatchLine:
            line = json.loads(await asyncio.wait_for(reader.readline(), 5))
            assert line.pop("ok")
            return from_json(WatchLine, line)

        assert await next_line() == WatchLine(VERSION, str(here), "resolving", None)
        engine.message(Links((LO,)))
        await connected(engine, far)
        engine._event(Advised(advice), time.monotonic())
        while (line := await next_line()).advice is None:
            assert line.state in ("resolving", "registering", "connected")
        assert line == WatchLine(VERSION, str(here), "connected", advice)
        engine.maintain(time.monotonic())  # right after: there is no need
        engine.maintain(time.monotonic() + 1.0)  # the state machine has no advice
        assert await next_line() == WatchLine(VERSION, str(here), "connected", None)
        writer.close()

    with WatchSocket(tmp_path / "s") as own:
        on_packet_loop(main)
