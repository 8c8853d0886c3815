"""Records sessions of netbond's state machines with other projects' programs, for the tests that replay them.

usage: NETBOND_FOREIGN_SRTLA=FOLDER python -m tests.record_session

It records a session of our sender for each foreign receiver, and of our receiver for each foreign sender: a
short real SRT stream (srt-live-transmit at both ends) over three links on loopback. A recording has the state
machine's inputs with their times, and the random bytes that it got: tests/recordings/*.json.xz. One data
packet in DROP is lost, a REG1 is sent twice, and the stream pauses and ends with a shutdown, so that every
kind of packet occurs. It needs no root.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from netbond.srtla import wire
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.modes import make_carrier
from netbond.srtla.receiver.receiver import Receiver
from netbond.srtla.sender import Sender
from netbond.srtla.senderevents import LinkAdded
from tests import foreign, ready
from tests.srtla_util import free_ports

RECORDINGS = Path(__file__).parent / "recordings"
START = 1000.0  # the time of the clock when a recording begins
CHUNK = 188  # bytes: small packets make small recordings
INTERVAL = 0.005  # s between them
STREAM = 3.0  # s
PAUSE = 1.5  # s, in the middle of the stream: SRT sends keepalives
LINKS = 3
LATENCY = 200  # ms
DROP = 61


class Tape:
    """The recorded inputs, in their order."""

    def __init__(self, role: str, peer: str) -> None:
        self._zero = time.monotonic() - START
        self.random: list[str] = []
        self.events: list[list[Any]] = []
        self._about = {"role": role, "peer": peer}

    def now(self) -> float:
        return round(time.monotonic() - self._zero, 6)

    def randomly(self, size: int) -> bytes:
        data = os.urandom(size)
        self.random.append(data.hex())
        return data

    def note(self, kind: str, now: float, *rest: Any) -> None:
        self.events.append([kind, now, *(each.hex() if isinstance(each, bytes) else each for each in rest)])

    def save(self, name: str) -> None:
        RECORDINGS.mkdir(exist_ok=True)
        text = json.dumps(
            {**self._about, "random": self.random, "events": self.events}, separators=(",", ":")
        )
        (RECORDINGS / f"{name}.json.xz").write_bytes(lzma.compress(text.encode(), preset=9))
        print(f"{name}: {len(self.events)} events, {len(text)} bytes before packing")


class Losing:
    """Decides for each data packet whether it is lost."""

    def __init__(self, every: int = DROP) -> None:
        self._every = every
        self._count = 0

    def __call__(self, data: bytes) -> bool:
        if wire.data_sequence(data) is None or not self._every:
            return False
        self._count += 1
        return self._count % self._every == 0


@contextmanager
def running(*commands: list[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def srt(where: str) -> str:
    return f"srt://127.0.0.1:{where}&latency={LATENCY}&transtype=live"


def transmit(source: str, target: str) -> list[str]:
    chunk = CHUNK if source.startswith("file") else 1456  # a receiver's is the size of its buffer
    return ["srt-live-transmit", "-q", "-a:no", f"-chunk:{chunk}", source, target]


def feed(pipe: Any, since: float, fed: int) -> int:
    """Write the chunks that are due by now."""
    while fed * INTERVAL <= time.monotonic() - since:
        pipe.write(fed.to_bytes(4, "big") * (CHUNK // 4))
        pipe.flush()
        fed += 1
    return fed


def serve(
    sockets: Callable[[], list[socket.socket]],
    step: Callable[[list[socket.socket]], None],
    until: Callable[[], bool],
) -> None:
    while not until():
        ready, _, _ = select.select(sockets(), [], [], 0.005)
        step(ready)


def stream(
    transmitter: subprocess.Popen[bytes],
    sockets: Callable[[], list[socket.socket]],
    step: Callable[[list[socket.socket]], None],
) -> None:
    """Send a stream with a pause, and then one that ends because the encoder is interrupted."""
    for last in (False, True):
        since, fed = time.monotonic(), 0
        interrupted = False

        def busy(ready: list[socket.socket]) -> None:
            nonlocal fed, interrupted
            with contextlib.suppress(BrokenPipeError):
                fed = feed(transmitter.stdin, since, fed)  # noqa: B023 - used up before the next turn
            if last and not interrupted and time.monotonic() > since + STREAM / 2:  # noqa: B023
                interrupted = True
                transmitter.send_signal(signal.SIGINT)
            step(ready)

        serve(sockets, busy, lambda: time.monotonic() > since + STREAM / 2 + last * 0.3)  # noqa: B023
        serve(sockets, step, lambda: time.monotonic() > since + STREAM / 2 + PAUSE)  # noqa: B023


def record_sender(folder: Path) -> None:
    """Record our sender with a foreign receiver."""
    tape = Tape("sender", folder.name)
    listen, port, server = free_ports(3)
    with running(
        transmit(srt(f"{server}?mode=listener"), "file://con"), foreign.receiver(folder, port, server)
    ) as (_, receiver):
        ready.udp_port(port, receiver)  # some receivers ask the SRT server first
        caller_socket = socket.socket(type=socket.SOCK_DGRAM)
        caller_socket.bind(("127.0.0.1", listen))
        caller: Any = None
        now = tape.now()
        sender = Sender(tape.randomly, make_carrier("adaptive"), now)
        specs = [LinkSpec(f"link{n}", f"127.0.0.{n + 2}") for n in range(LINKS)]
        tape.note("links", now, [spec.address for spec in specs])
        sender.set_links(specs, now)
        links: dict[int, socket.socket] = {}

        def flush(now: float) -> None:
            for event in sender.events():
                if isinstance(event, LinkAdded):
                    links[event.number] = socket.socket(type=socket.SOCK_DGRAM)
                    links[event.number].bind((event.spec.address, 0))
                    links[event.number].connect(("127.0.0.1", port))
                    tape.note("opened", now, event.number)
                    sender.link_opened(event.number, now)
            for number, data in sender.datagrams_to_links():
                if not lose(data):
                    links[number].send(data)
            for data in sender.datagrams_to_caller():
                caller_socket.sendto(data, caller)

        def step(ready: list[socket.socket]) -> None:
            nonlocal caller
            now = tape.now()
            for sock in ready:
                if sock is caller_socket:
                    data, caller = sock.recvfrom(2048)
                    tape.note("caller", now, data)
                    sender.datagram_from_caller(data, now)
                else:
                    (number,) = [each for each, link in links.items() if link is sock]
                    data = sock.recv(2048)
                    tape.note("receiver", now, number, data)
                    sender.datagram_from_receiver(number, data, now)
            due = sender.next_timer()
            if due is not None and due <= now:
                tape.note("timer", now)
                sender.handle_timer(now)
            flush(now)

        lose = Losing(0)
        flush(now)
        begin = time.monotonic()

        def every() -> list[socket.socket]:
            return [caller_socket, *links.values()]

        serve(every, step, lambda: sender.usable_links == LINKS or time.monotonic() > begin + 10)
        assert sender.usable_links == LINKS, "the links did not come up"
        lose = Losing()
        links[1].send(wire.build_registration(wire.REG1, bytes(256)))  # refused, because it is already a link
        with running(transmit("file://con", srt(f"{listen}?mode=caller"))) as (transmitter,):
            stream(transmitter, every, step)
        for sock in every():
            sock.close()
    tape.save(f"sender-with-{folder.name}-srtla_rec")


def record_receiver(folder: Path) -> None:
    """Record our receiver with a foreign sender."""
    tape = Tape("receiver", folder.name)
    listen, port, server = free_ports(3)
    with tempfile.TemporaryDirectory() as directory:
        ips = Path(directory, "ips")
        ips.write_text("".join(f"127.0.0.{n + 2}\n" for n in range(LINKS)))
        listener = socket.socket(type=socket.SOCK_DGRAM)
        listener.bind(("127.0.0.1", port))
        now = tape.now()
        receiver = Receiver(tape.randomly, now)
        towards: dict[int, socket.socket] = {}
        lose = Losing()

        def step(ready: list[socket.socket]) -> None:
            now = tape.now()
            for sock in ready:
                try:
                    data, address = sock.recvfrom(2048)
                except ConnectionRefusedError:
                    continue
                if sock is listener:
                    tape.note("peer", now, list(address), data)
                    receiver.datagram_from_peer(address, data, now)
                else:
                    (number,) = [each for each, one in towards.items() if one is sock]
                    tape.note("srt", now, number, data)
                    receiver.datagram_from_srt(number, data, now)
            due = receiver.next_timer()
            if due is not None and due <= now:
                tape.note("timer", now)
                receiver.handle_timer(now)
            receiver.events()
            for number, data in receiver.datagrams_to_srt():
                if number not in towards:
                    towards[number] = socket.socket(type=socket.SOCK_DGRAM)
                    towards[number].connect(("127.0.0.1", server))
                if not lose(data):
                    towards[number].send(data)
            for address, data in receiver.datagrams_to_peers():
                listener.sendto(data, address)

        def every() -> list[socket.socket]:
            return [listener, *towards.values()]

        commands = (
            transmit(srt(f"{server}?mode=listener"), "file://con"),
            foreign.sender(folder, listen, "127.0.0.1", port, ips),
        )
        with running(*commands):
            begin = time.monotonic()
            serve(every, step, lambda: len(receiver.links()) == LINKS or time.monotonic() > begin + 15)
            assert len(receiver.links()) == LINKS, "the links did not join"
            with running(transmit("file://con", srt(f"{listen}?mode=caller"))) as (transmitter,):
                stream(transmitter, every, step)
        for sock in every():
            sock.close()
    tape.save(f"receiver-with-{folder.name}-srtla_send")


def main() -> None:
    """Record sessions with all foreign programs."""
    for folder in foreign.folders():
        if "srtla_rec" in foreign.programs(folder):
            record_sender(folder)
        if "srtla_send" in foreign.programs(folder):
            record_receiver(folder)
    if not foreign.folders():
        sys.exit("NETBOND_FOREIGN_SRTLA names no folder with programs")


if __name__ == "__main__":
    main()
