"""A real SRT stream through a lab, packet by packet counted.

    source ─UDP▶ SRT caller ─▶ SRTLA sender   ═ radio links ═▶   SRTLA receiver ─▶ SRT listener ─UDP▶ sink
                     (in the box)                                        (in the internet)

Sender and receiver are netbond's own (the agent's in the box, the lab's in the internet) or, for comparison,
any pair of programs given as templates: {lport} is where the SRT caller connects, {rhost} {rport} the
receiver, {ips} a file of the box's addresses, {srtport} the SRT listener.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator

from netbond.errors import NetbondError, NotRunningError, UnavailableError, UsageError
from netbond.lab import netns, payload, topology
from netbond.lab.lab import Lab
from netbond.lab.needs import need_programs

FOREIGN_SENDER_PORT = 6010  # beside netbond's own on 6000 and 5000
FOREIGN_RECEIVER_PORT = 5010
SOURCE_PORT = 6500  # the SRT caller's input
SINK_PORT = 7000  # the SRT listener's output
PORT_TIMEOUT = 10.0  # s for a program to open its port
OPEN_TIMEOUT = 20.0  # s for the first packet to come through: links register, SRT shakes hands
TAIL = 2.0  # s beyond SRT's latency to wait for the last packets
# Packets for which the SRT listener waits for a late one before it asks again. Links of unlike delay reorder
# by more than its default of none; without this the caller sends much twice, and the copies fill the links.
REORDER = 100
BUFFER = 8 << 20  # bytes of socket buffer: nothing is to be lost at the ends
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33  # include/uapi/asm-generic/socket.h
KEYS = ("stream-listener", "stream-receiver", "stream-sender", "stream-caller")


def command_line(template: str, option: str, values: dict[str, object]) -> list[str]:
    """A user's template as a command: split first, so that no value can add words. UsageError if wrong."""
    try:
        return [word.format_map(values) for word in shlex.split(template)]
    except (KeyError, IndexError, ValueError, AttributeError):
        known = " ".join(f"{{{key}}}" for key in values)
        raise UsageError(f"{option} {template!r} cannot be filled in", f"it may name {known}") from None


class Stream:
    """One stream through a lab that is up. `run` does it all; the counters may be read meanwhile."""

    def __init__(
        self,
        lab: Lab,
        mbps: float = 8.0,
        secs: float = 30.0,
        latency_ms: int = 1000,
        sender: str = "",
        receiver: str = "",
    ) -> None:
        """`mbps` of payload, SRT's `latency_ms`; `sender` and `receiver`: templates of other programs."""
        if not 0.01 <= mbps <= 1000 or not 0.1 <= secs <= 86400 or not 20 <= latency_ms <= 60_000:
            raise UsageError(
                f"a stream of {mbps:g} Mbit/s for {secs:g} s at {latency_ms} ms is not possible",
                "choose 0.01 to 1000 Mbit/s, 0.1 to 86400 s, a latency of 20 to 60000 ms",
            )
        if bool(sender) != bool(receiver):
            raise UsageError("--sender and --receiver go together", "give both, or neither for netbond's own")
        self.lab = lab
        self.mbps, self.secs, self.latency_ms = mbps, secs, latency_ms
        self.tally = payload.Tally()
        self.sent = 0
        self.started = 0.0  # monotonic seconds: when the first counted packet left; 0: not yet
        self._foreign = bool(sender)
        self._sender_port = FOREIGN_SENDER_PORT if sender else topology.SENDER_PORT
        self._receiver_port = FOREIGN_RECEIVER_PORT if receiver else topology.RECEIVER_PORT
        values: dict[str, object] = {
            "lport": self._sender_port,
            "rhost": topology.RECEIVER,
            "rport": self._receiver_port,
            "ips": lab.state_dir / "stream-ips",
            "srtport": topology.SRT_PORT,
        }
        self._sender = command_line(sender, "--sender", values)
        self._receiver = command_line(receiver, "--receiver", values)
        self._stopping = threading.Event()
        self._source_error = ""

    def stop(self) -> None:
        """Let `run` end early, with what was counted so far."""
        self._stopping.set()

    def run(self, tick: Callable[[], None] = lambda: None) -> payload.Report:
        """Start everything, send, count, stop everything. `tick` is called about ten times a second."""
        need_programs({"srt-live-transmit": "srt-tools"})
        with self._alone():
            source = netns.call_in(self.lab.topology.box, self._make_source)
            sink = netns.call_in(self.lab.topology.net, self._make_sink)
            done = threading.Event()
            counting = threading.Thread(target=self._count, args=(sink, done), name="sink")
            counting.start()
            try:
                with source, sink:
                    try:
                        self._open_the_way(source)
                        return self._stream(source, tick)
                    finally:
                        done.set()
                        counting.join()
            finally:
                with contextlib.suppress(NotRunningError):  # the lab was taken down meanwhile
                    self.lab.stop(*KEYS, patience=0.5)

    # --- its programs

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one stream at a time uses a lab's ports; what a killed one has left is stopped."""
        owner = self.lab.process("stream-owner")
        if owner is not None and owner.alive and owner.pid != os.getpid():
            raise NetbondError(
                f"a stream is running in lab {self.lab.name!r} already (process {owner.pid})",
                "wait for its end",
            )
        self.lab.stop(*KEYS, patience=0.5)
        with self.lab.owned("stream-owner"):
            yield

    def _open_the_way(self, source: socket.socket) -> None:
        lab, box, net = self.lab, self.lab.topology.box, self.lab.topology.net
        self.lab.start(
            "stream-listener",
            net,
            [
                "srt-live-transmit",
                "-q",
                "-a:no",
                "-buffering:10",
                f"srt://127.0.0.1:{topology.SRT_PORT}?mode=listener&latency={self.latency_ms}"
                f"&lossmaxttl={REORDER}&rcvbuf=48000000",
                f"udp://127.0.0.1:{SINK_PORT}",
            ],
        )
        self._wait_for_port(net, topology.SRT_PORT, "stream-listener", "the SRT listener")
        if self._foreign:
            addresses = dict.fromkeys(a.partition("/")[0] for each in lab.addresses().values() for a in each)
            (lab.state_dir / "stream-ips").write_text("".join(f"{address}\n" for address in addresses))
            self.lab.start("stream-receiver", net, self._receiver)
        self._wait_for_port(net, self._receiver_port, self._receiver_key, "the SRTLA receiver")
        if self._foreign:
            self.lab.start("stream-sender", box, self._sender)
        self._wait_for_port(box, self._sender_port, self._sender_key, "the SRTLA sender")
        caller = None
        deadline = time.monotonic() + OPEN_TIMEOUT
        while not self.tally.open:
            if self._stopping.is_set():
                return
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"the stream does not come through within {OPEN_TIMEOUT:g} s;"
                    f" SRT caller: {lab.last_words('stream-caller')};"
                    f" sender: {lab.last_words(self._sender_key)}",
                    f"look at the logs in {lab.logs}",
                )
            if caller is None or not caller.alive:  # it gives up after 3 s while links still register
                caller = self.lab.start(
                    "stream-caller",
                    box,
                    [
                        "srt-live-transmit",
                        "-q",
                        "-a:no",
                        "-buffering:10",
                        f"udp://127.0.0.1:{SOURCE_PORT}?rcvbuf={BUFFER}",
                        f"srt://127.0.0.1:{self._sender_port}?mode=caller&latency={self.latency_ms}"
                        f"&sndbuf=48000000&payloadsize={payload.SIZE}",
                    ],
                )
            with contextlib.suppress(OSError):  # refused: the caller does not listen yet
                source.send(payload.pack(payload.PROBE, 0.0))
            time.sleep(0.05)

    @property
    def _sender_key(self) -> str:
        return "stream-sender" if self._foreign else "agent"

    @property
    def _receiver_key(self) -> str:
        return "stream-receiver" if self._foreign else "receiver"

    def _wait_for_port(self, where: str, port: int, key: str, what: str) -> None:
        process = self.lab.process(key)
        if process is None:
            option = "with --agent" if key == "agent" else "without --no-receiver"
            raise UnavailableError(
                f"the lab runs no {key}", f"start the lab {option}, or give --sender and --receiver"
            )
        deadline = time.monotonic() + PORT_TIMEOUT
        while port not in netns.udp_ports(where):
            if not process.alive or time.monotonic() > deadline:
                raise UnavailableError(
                    f"{what} does not open port {port}: {self.lab.last_words(key)}",
                    f"look at {self.lab.logs / key}.log",
                )
            time.sleep(0.02)

    # --- its payload

    def _make_source(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
        made.connect(("127.0.0.1", SOURCE_PORT))
        return made

    def _make_sink(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        try:
            made.bind(("127.0.0.1", SINK_PORT))
        except OSError as error:
            made.close()
            raise UnavailableError(f"port {SINK_PORT} in the lab's internet: {error.strerror}") from None
        made.settimeout(0.1)
        return made

    def _count(self, sink: socket.socket, done: threading.Event) -> None:
        while not done.is_set():
            with contextlib.suppress(TimeoutError):
                data = sink.recv(65536)
                self.tally.take(data, time.monotonic())

    def _stream(self, source: socket.socket, tick: Callable[[], None]) -> payload.Report:
        self.started = time.monotonic()
        sending = threading.Thread(target=self._send, args=(source,), name="source")
        sending.start()
        try:
            while sending.is_alive():
                tick()
                sending.join(0.1)
            seconds = time.monotonic() - self.started
            end = time.monotonic() + self.latency_ms / 1000 + TAIL
            while self.tally.arrived < self.sent and time.monotonic() < end:
                tick()
                time.sleep(0.05)
        finally:
            self.stop()
            sending.join()
        trouble = self._source_error
        for key in (*KEYS, self._sender_key, self._receiver_key):
            process = self.lab.process(key)
            if process is not None and not process.alive:
                trouble = f"{key} ended before its time: {self.lab.last_words(key)}"
        return payload.report(self.tally, self.sent, seconds, trouble)

    def _send(self, source: socket.socket) -> None:
        """Packets spread evenly; late ones are made up for at once."""
        pace = self.mbps * 1e6 / 8 / payload.SIZE  # packets a second
        total = int(self.secs * pace)
        while self.sent < total and not self._stopping.is_set():
            now = time.monotonic()
            wait = self.started + self.sent / pace - now
            if wait > 0:
                time.sleep(wait)
                continue
            try:
                source.send(payload.pack(self.sent, now))
            except OSError as error:  # it counts as sent: the SRT caller should have been there to take it
                self._source_error = f"the SRT caller does not take packets: {error.strerror}"
            self.sent += 1
