"""Sends a real SRT stream through a lab, and counts its packets.

    source ─UDP▶ SRT caller ─▶ SRTLA sender   ═ radio links ═▶   SRTLA receiver ─▶ SRT listener ─UDP▶ sink
                     (in the box)                                        (in the internet)

Sender and receiver are netbond's own: the agent's in the box, and the lab's in the internet. For comparison,
they can be another pair of programs, given as templates: {lport} is the port to which the SRT caller
connects, {rhost} {rport} are the receiver's, {ips} is a file with the box's addresses, {srtport} is the SRT
listener's.
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

FOREIGN_SENDER_PORT = 6010  # netbond's own use 6000 and 5000
FOREIGN_RECEIVER_PORT = 5010
SOURCE_PORT = 6500  # the SRT caller's input
SINK_PORT = 7000  # the SRT listener's output
PORT_TIMEOUT_S = 10.0  # for a program to open its port
OPEN_TIMEOUT_S = 20.0  # for the first packet to arrive, after the links' registration and SRT's handshake
TAIL_S = 2.0  # how long to wait for the last packets, in addition to SRT's latency
# SRT's reorder tolerance in packets: the listener waits for so many packets before it asks for a missing one
# again. Links with different delays reorder packets, and the default tolerance is 0. Without this, the caller
# would send many packets twice, and the copies would fill the links.
REORDER = 100
BUFFER = 8 << 20  # bytes of socket buffer, so that no packet is lost at source and sink
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33  # include/uapi/asm-generic/socket.h
KEYS = ("stream-listener", "stream-receiver", "stream-sender", "stream-caller")


def command_line(template: str, option: str, values: dict[str, object]) -> list[str]:
    """Fill in a user's template; UsageError if it is invalid. Split it first, so that no value adds words."""
    try:
        return [word.format_map(values) for word in shlex.split(template)]
    except (KeyError, IndexError, ValueError, AttributeError):
        known = " ".join(f"{{{key}}}" for key in values)
        raise UsageError(f"{option} {template!r} cannot be filled in", f"it may have {known}") from None


class Stream:
    """One stream through a running lab. `run` does everything; the counters may be read meanwhile."""

    def __init__(
        self,
        lab: Lab,
        mbps: float = 8.0,
        duration_s: float = 30.0,
        latency_ms: int = 1000,
        sender: str = "",
        receiver: str = "",
    ) -> None:
        """`mbps` of payload, SRT's `latency_ms`; `sender` and `receiver`: templates of other programs."""
        if not 0.01 <= mbps <= 1000 or not 0.1 <= duration_s <= 86400 or not 20 <= latency_ms <= 60_000:
            raise UsageError(
                f"a stream of {mbps:g} Mbit/s for {duration_s:g} s at {latency_ms} ms is not possible",
                "choose 0.01 to 1000 Mbit/s, 0.1 to 86400 s, a latency of 20 to 60000 ms",
            )
        if bool(sender) != bool(receiver):
            raise UsageError(
                "--sender and --receiver belong together", "give both, or neither for netbond's own"
            )
        self.lab = lab
        self.mbps, self.duration_s, self.latency_ms = mbps, duration_s, latency_ms
        self.tally = payload.Tally()
        self.sent = 0
        self.started = 0.0  # when the first counted packet was sent, in monotonic seconds; 0: not yet
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
        """Make `run` return early, with what was counted so far."""
        self._stopping.set()

    def run(self, tick: Callable[[], None] = lambda: None) -> payload.Report:
        """Start the programs, send, count, and stop the programs. Call `tick` about ten times a second."""
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
                        self._start_programs(source)
                        return self._stream(source, tick)
                    finally:
                        done.set()
                        counting.join()
            finally:
                with contextlib.suppress(NotRunningError):  # the lab was removed meanwhile
                    self.lab.stop(*KEYS, grace_s=0.5)

    # --- its programs

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Make sure that one stream at a time uses a lab's ports; stop what a killed one has left."""
        owner = self.lab.process("stream-owner")
        if owner is not None and owner.alive and owner.pid != os.getpid():
            raise NetbondError(
                f"a stream is already running in lab {self.lab.name!r} (process {owner.pid})",
                "wait until it ends",
            )
        self.lab.stop(*KEYS, grace_s=0.5)
        with self.lab.owned("stream-owner"):
            yield

    def _start_programs(self, source: socket.socket) -> None:
        """Start SRT listener, receiver, sender and caller; return when a probe has arrived."""
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
        deadline = time.monotonic() + OPEN_TIMEOUT_S
        while not self.tally.open:
            if self._stopping.is_set():
                return
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"no packet of the stream has arrived within {OPEN_TIMEOUT_S:g} s;"
                    f" SRT caller: {lab.last_words('stream-caller')};"
                    f" sender: {lab.last_words(self._sender_key)}",
                    f"read the logs in {lab.logs}",
                )
            if caller is None or not caller.alive:  # it exits after 3 s, while links may still register
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
            with contextlib.suppress(OSError):  # ECONNREFUSED: the caller does not listen yet
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
                f"the lab has no {key}", f"start the lab {option}, or give --sender and --receiver"
            )
        deadline = time.monotonic() + PORT_TIMEOUT_S
        while port not in netns.udp_ports(where):
            if not process.alive or time.monotonic() > deadline:
                raise UnavailableError(
                    f"{what} does not open port {port}: {self.lab.last_words(key)}",
                    f"read {self.lab.logs / key}.log",
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
            end = time.monotonic() + self.latency_ms / 1000 + TAIL_S
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
                trouble = f"{key} has ended too early: {self.lab.last_words(key)}"
        return payload.report(self.tally, self.sent, seconds, trouble)

    def _send(self, source: socket.socket) -> None:
        """Send packets evenly over time; send late ones at once."""
        pace = self.mbps * 1e6 / 8 / payload.SIZE  # packets a second
        total = int(self.duration_s * pace)
        while self.sent < total and not self._stopping.is_set():
            now = time.monotonic()
            wait_s = self.started + self.sent / pace - now
            if wait_s > 0:
                time.sleep(wait_s)
                continue
            try:
                source.send(payload.pack(self.sent, now))
            except OSError as error:  # it counts as sent, because the SRT caller should have received it
                self._source_error = f"the SRT caller does not take packets: {error.strerror}"
            self.sent += 1
