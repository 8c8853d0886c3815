"""The engines' loop on real sockets: packets, alarms and timers, and how long packets wait."""

from __future__ import annotations

import asyncio
import itertools
import math
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from netbond.srtla.native import fastpath
from netbond.srtla.process import batch
from netbond.srtla.process.batch import Inbox
from netbond.srtla.process.loop import PacketHandler, PacketLoop, PacketServer
from netbond.srtla.process.wakeup import CALM_S, ENOUGH_PACKETS, LISTENER, PAUSE_S, Report


def peer_of(sock: socket.socket, host: str = "127.0.0.1") -> socket.socket:
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.connect((host, sock.getsockname()[1]))
    peer.settimeout(2)
    return peer


def waits(interval: float, count: int) -> list[float]:
    """How long each of `count` packets, one each `interval` seconds, waits for the loop's callback."""
    seen: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PacketLoop)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            inbox = Inbox()

            def read(now: float) -> int:
                datagrams, _ = inbox.read(sock)
                seen.extend(time.monotonic() - float(data) for data in datagrams)
                if len(seen) == count:
                    complete.set()
                return len(datagrams)

            complete = asyncio.Event()
            loop.add_packets(sock.fileno(), read)
            with peer_of(sock) as peer:
                for _ in range(count):
                    await asyncio.to_thread(time.sleep, interval)
                    peer.send(repr(time.monotonic()).encode())
            await asyncio.wait_for(complete.wait(), 5)
            loop.remove_packets(sock.fileno())

    with asyncio.Runner(loop_factory=PacketLoop) as runner:
        runner.run(main())
    return sorted(seen)


def test_a_packet_that_comes_alone_does_not_wait() -> None:
    assert waits(0.03, 12)[6] < PAUSE_S / 2


@pytest.mark.parametrize(
    ("gap", "patience", "pause"),
    [
        (0.0005, PAUSE_S, PAUSE_S),
        (0.0005, 0.005, 0.005),
        (0.0005, 0.02, CALM_S),
        (0.0012, 0.02, 0.0012 * ENOUGH_PACKETS),
        (0.0012, 0.007, 0.007),
    ],
)
def test_how_long_packets_wait_for_others(
    gap: float, patience: float, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = PacketServer(ours.fileno())
        slept: list[float] = []
        monkeypatch.setattr(time, "sleep", slept.append)
        monkeypatch.setattr(time, "monotonic", lambda: 100.0)
        server.patience, server._gap, server._looked = patience, gap, 100.0
        server._look(100.0)
        server.packets.close()
    assert slept == [pytest.approx(pause)]


def test_alarms_timers_and_packets_go_together() -> None:
    said: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PacketLoop)
        done = asyncio.Event()
        now = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))

            def read(now: float) -> int:
                sock.recv(9)
                said.append("packet")
                loop.call_soon(said.append, "soon")
                loop.set_alarm(time.monotonic() + 0.1, again)
                return 1

            def again(now: float) -> None:
                said.append("alarm")
                loop.call_later(0.01, done.set)

            loop.add_packets(sock.fileno(), read)
            # Far enough apart for a machine that is late.
            loop.call_at(now + 0.2, said.append, "timer")
            loop.set_alarm(now + 0.1, lambda now: said.append("first alarm"))
            loop.call_at(now + 0.4, peer_send, sock)
            await asyncio.wait_for(done.wait(), 20)
            loop.remove_packets(sock.fileno())

    def peer_send(sock: socket.socket) -> None:
        with peer_of(sock) as peer:
            peer.send(b"!")

    with asyncio.Runner(loop_factory=PacketLoop) as runner:
        runner.run(main())
    assert said == ["first alarm", "timer", "packet", "soon", "alarm"]


# --- coalescing --------------------------------------------------------------------------------------------

PATIENCE = 0.02
SLOW = 0.4  # s
BURST = 10  # packets each 5 ms, after that

Look = Callable[[], int]  # how many packets it found


def by_the_data_path(stack: ExitStack, listener: socket.socket) -> Look:
    epoll = stack.enter_context(select.epoll())
    epoll.register(listener, select.EPOLLIN)
    fast = fastpath.open_path(listener.fileno(), epoll.fileno())
    return lambda: len(fast.run(time.monotonic() + 0.05, PATIENCE)[1])


def without_it(stack: ExitStack, listener: socket.socket) -> Look:
    nothing, _ = (stack.enter_context(end) for end in socket.socketpair())
    server = PacketServer(nothing.fileno())
    stack.callback(server.packets.close)
    server.handler = PacketHandler()
    server.handler.patience = PATIENCE
    inbox = batch.Inbox(64)
    found: list[int] = []

    def read(now: float) -> int:
        found.append(len(inbox.read_from(listener)))
        return found[-1]

    server.callbacks[listener.fileno()] = read
    server.packets.register(listener.fileno(), select.EPOLLIN)

    def look() -> int:
        found.clear()
        server._look(time.monotonic() + 0.05)
        return sum(found)

    return look


@pytest.fixture(params=[by_the_data_path, without_it])
def rig(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, Look]]:
    if request.param is by_the_data_path and not fastpath.available():
        pytest.skip("the data path is not compiled here")
    with ExitStack() as stack:
        listener, sender = (
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)
        )
        listener.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        sender.connect(listener.getsockname())
        yield sender, request.param(stack, listener)


def longest_waits(sender: socket.socket, look: Look) -> float:
    """s that the longest five waits between looks take, their median, just after a stream of a packet each 10
    ms became one of 2,000 a second."""
    start = time.monotonic()
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.01) and time.monotonic() < start + SLOW:
            sender.send(bytes(20))
        while not over.wait(0.005):
            for _ in range(BURST):
                sender.send(bytes(20))

    thread = threading.Thread(target=send)
    thread.start()
    times: list[float] = []
    while len(times) < 40:
        found = look()
        if found and time.monotonic() > start + SLOW + 0.02:
            times.append(time.monotonic())
    over.set()
    thread.join()
    return sorted(later - earlier for earlier, later in itertools.pairwise(times))[-3]


def test_a_stream_that_becomes_faster_does_not_wait_as_a_slow_one_does(
    rig: tuple[socket.socket, Look],
) -> None:
    # On a busy machine all looks are late; then it is tried again.
    assert any(longest_waits(*rig) < (CALM_S + PATIENCE) / 2 for _ in range(5))


def test_an_answer_that_comes_at_once_took_some_time() -> None:
    """Over loopback it may be there before the next socket is read; a round trip of 0 s has no sense."""
    nothing, other = socket.socketpair()
    with nothing, other, ExitStack() as stack:
        server = PacketServer(nothing.fileno())
        stack.callback(server.packets.close)
        times: list[float] = []

        def read(now: float) -> int:
            times.append(now)
            return 1

        for _ in range(2):
            reader, writer = (stack.enter_context(end) for end in socket.socketpair())
            writer.send(b"!")
            server.callbacks[reader.fileno()] = read
            server.packets.register(reader.fileno(), select.EPOLLIN)
        server._look(time.monotonic() + 0.05)
        assert times[0] < times[1]


# --- without a compiled data path, and with one -------------------------------------------------------------


Round = tuple[list[int], list[Report], list[bytes]]


class FakePath:
    """A compiled data path that reports what it is told to."""

    def __init__(self, *rounds: Round) -> None:
        self.rounds = list(rounds)

    def run(self, until: float, patience: float) -> Round:
        return self.rounds.pop(0)


def test_what_the_data_path_leaves_goes_to_its_callback() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = PacketServer(ours.fileno())
        report: Report = (LISTENER, b"peer", b"data", 0)
        rounds: list[Round] = [([7], [report], []), ([9], [], [])]
        server.fast = FakePath(*rounds)  # type: ignore[assignment]  # stands in for FastPath
        seen: list[object] = []
        server.on_reports = lambda reports, now: seen.append(reports)
        server.callbacks[7] = lambda now: len(seen)
        server.serve(time.monotonic(), math.inf)
        assert seen == [[report]]
        assert server.interrupted, "9 is asyncio's"
        server.packets.close()


def test_an_alarm_that_is_taken_back_does_not_ring() -> None:
    rung: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PacketLoop)
        loop.set_alarm(time.monotonic() + 0.01, rung.append)
        loop.set_alarm(None, rung.append)
        loop.remove_packets(999)
        await asyncio.sleep(0.03)

    with asyncio.Runner(loop_factory=PacketLoop) as runner:
        runner.run(main())
    assert rung == []
