"""An engine in the test's own process, on a loop of its kind."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TypeVar

from netbond.srtla.process.engine import Engine
from netbond.srtla.process.loop import PacketLoop
from netbond.srtla.process.receiving import RecvEngine
from netbond.srtla.process.sending import SendEngine

E = TypeVar("E", bound=Engine)

_cleanup = ExitStack()  # what the present test has opened


def on_packet_loop(main: Callable[[], Awaitable[None]]) -> None:
    """Run on the loop that engines run on."""

    async def within() -> None:
        with _cleanup:
            await asyncio.wait_for(main(), 60)

    with asyncio.Runner(loop_factory=PacketLoop) as runner:
        runner.run(within())


def opened(engine: E) -> E:
    """The engine with its sockets open, as `Engine.run` does it, without signals."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, PacketLoop)
    engine.loop = loop
    _cleanup.callback(close, engine)
    engine.open()
    engine._second()
    return engine


def close(engine: Engine) -> None:
    """Close its sockets, as the end of its process does."""
    if isinstance(engine, SendEngine):
        links = [link.sock for link in engine._sockets.values() if link.sock is not None]
        sockets = [engine._listener, *links]
    else:
        assert isinstance(engine, RecvEngine)
        sockets = [engine._listener, *engine._towards.values()]
    for sock in sockets:
        if sock.fileno() >= 0:
            engine.loop.remove_packets(sock.fileno())
            sock.close()
    engine.loop.use(None)
    engine.loop.set_alarm(None, lambda now: None)


async def until(what: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.005)


def udp(host: str = "127.0.0.1") -> socket.socket:
    """A non-blocking UDP socket on a free port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.setblocking(False)
    return _cleanup.enter_context(sock)


def received(sock: socket.socket) -> list[tuple[bytes, tuple[str, int]]]:
    """(datagram, address) of those that wait."""
    out = []
    while True:
        try:
            out.append(sock.recvfrom(2048))
        except (BlockingIOError, ConnectionRefusedError):
            return out
