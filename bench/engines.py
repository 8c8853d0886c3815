"""Measures the cost of the engines over loopback, and of other programs in the same run for comparison.

    python bench/engines.py [recv|send] [--rates 8,20,120] [--links 4] [--secs 8] [--runs 3] [--highest]

recv: a simulated SRTLA sender carries a stream over several links to the program under test. A simulated SRT
server receives the stream and acknowledges it every 10 ms, as SRT does. send: a simulated SRT caller sends
the stream to the program under test. A simulated SRTLA receiver acknowledges it as receivers do: with one
SRTLA ACK for ten packets of a link, and SRT's ACK every 10 ms over all links. The stream comes in bursts of 5
ms, as from encoders. It measures the CPU time of the program per data packet (the scheduler's own
nanoseconds), the delay that it adds (kernel time stamps), context switches and memory; with --highest also
the highest rate without loss.

The programs are netbond; netbond without its compiled parts; and BELABOX's, if NETBOND_FOREIGN_SRTLA names
their folder. If there is a C compiler, two programs show the lower bound of the cost: relay.c only forwards
datagrams; least.c also reads and sends what the protocol requires, but decides nothing. least.c runs three
times: woken by packets, and by a timer each 5 and 10 ms.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netbond.srtla import wire
from netbond.srtla.process import batch

PAYLOAD = 1316
LATENCY_MS = 1000  # SRT's
PACKET = PAYLOAD + wire.SRT_HEADER
BURST_S = 0.005
ACK_INTERVAL_S = 0.010
_TIMESTAMPNS = 35  # SO_TIMESTAMPNS, include/uapi/asm-generic/socket.h


def udp(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 20)
    sock.bind((host, port))
    return sock


def free_port() -> int:
    with udp() as sock:
        return int(sock.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Wait until a program has opened the UDP port."""
    tables = [Path("/proc/net/udp"), Path("/proc/net/udp6")]
    while not any(f":{port:04X} " in table.read_text() for table in tables if table.exists()):
        time.sleep(0.05)


def cpu_ns(pid: int) -> int:
    """Return the CPU time of all threads of a process in nanoseconds, as the scheduler has counted it."""
    return sum(
        int(task.joinpath("schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()
    )


def switches(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


class Server:
    """Simulates the SRT server in a thread: counts packets, measures delays, sends ACKs."""

    def __init__(self, *, stamps: bool) -> None:
        self.sock = udp()
        self.port = int(self.sock.getsockname()[1])
        self.stamps = stamps
        if stamps:
            self.sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
        else:
            batch.enable_gro(self.sock)
        self.got = 0
        self.delays: list[int] = []
        self.peer: object = None
        self.acks = True
        self.stop = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.sock.settimeout(0.002)
        next_ack = 0.0
        serial = after = 0
        while not self.stop:
            try:
                while True:
                    if self.stamps:
                        data, ancillary, _, self.peer = self.sock.recvmsg(2048, 64)
                        if wire.is_handshake(data):
                            self.sock.sendto(handshake(), self.peer)
                        if len(data) < PACKET:
                            continue
                        self.got += 1
                        after = wire.sequence_of(data) + 1
                        seconds, nanoseconds = struct.unpack("@qq", ancillary[0][2])
                        (sent,) = struct.unpack_from("!Q", data, 16)
                        self.delays.append(seconds * 10**9 + nanoseconds - sent)
                    else:
                        data, self.peer = self.sock.recvfrom(65535)
                        if wire.is_handshake(data):
                            self.sock.sendto(handshake(), self.peer)
                        self.got += len(data) // PACKET
                        if len(data) >= PACKET:
                            after = wire.sequence_of(data[-PACKET:]) + 1
                    if time.monotonic() >= next_ack:
                        break
            except TimeoutError:
                pass
            now = time.monotonic()
            if now >= next_ack and self.peer and self.acks:
                next_ack = now + ACK_INTERVAL_S
                serial += 1
                ack = struct.pack("!HHIIIIIIIIII", wire.SRT_ACK, 0, serial, 0, 7, after, 0, 0, 0, 0, 0, 0)
                self.sock.sendto(ack, self.peer)

    def close(self) -> None:
        self.stop = True
        self.thread.join()
        self.sock.close()


class Peer:
    """Simulates the SRTLA receiver in a thread: accepts all links, sends ACKs, measures delays."""

    def __init__(self, *, stamps: bool) -> None:
        self.sock = udp()
        self.port = int(self.sock.getsockname()[1])
        self.stamps = stamps
        if stamps:
            self.sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
        self.inbox = batch.Inbox(gro=not stamps and batch.enable_gro(self.sock))
        self.got = 0
        self.delays: list[int] = []
        self.acks = True
        self.group = b""
        self.waiting: dict[Any, list[int]] = {}  # by link: sequence numbers to acknowledge
        self.highest = 0
        self.stop = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        next_ack = 0.0
        serial = 0
        while not self.stop:
            if poll.poll(2):
                if self.stamps:
                    data, ancillary, _, address = self.sock.recvmsg(2048, 64)
                    if len(data) == PACKET:
                        seconds, nanoseconds = struct.unpack("@qq", ancillary[0][2])
                        (sent,) = struct.unpack_from("!Q", data, 16)
                        self.delays.append(seconds * 10**9 + nanoseconds - sent)
                    self._take(address, data)
                else:
                    for address, data in self.inbox.read_from(self.sock):
                        self._take(address, data)
            now = time.monotonic()
            if now >= next_ack and self.highest and self.acks:
                next_ack = now + ACK_INTERVAL_S
                serial += 1
                after = self.highest + 1
                ack = struct.pack("!HHIIIIIIIIII", wire.SRT_ACK, 0, serial, 0, 7, after, 0, 0, 0, 0, 0, 0)
                for link in self.waiting:
                    self.sock.sendto(ack, link)

    def _take(self, address: Any, data: bytes) -> None:
        kind = wire.packet_type(data)
        if len(data) == PACKET and not data[0] & 0x80:
            self.got += 1
            sequence = wire.sequence_of(data)
            self.highest = max(self.highest, sequence)
            waiting = self.waiting.get(address)
            if waiting is not None:
                waiting.append(sequence)
                if len(waiting) == wire.ACK_EVERY:
                    self.sock.sendto(wire.build_srtla_ack(waiting), address)
                    waiting.clear()
        elif kind == wire.KEEPALIVE:
            self.sock.sendto(data, address)
        elif wire.is_handshake(data):
            self.sock.sendto(handshake(), address)  # a sender then knows who its caller is
        elif kind == wire.REG1:
            self.group = data[2:130] + os.urandom(128)
            self.sock.sendto(wire.build_registration(wire.REG2, self.group), address)
        elif kind == wire.REG2:
            known = data[2:] == self.group
            if known:
                self.waiting.setdefault(address, [])
            self.sock.sendto(wire.REG3_PACKET if known else wire.REG_NGP_PACKET, address)

    def close(self) -> None:
        self.stop = True
        self.thread.join()
        self.sock.close()


class Caller:
    """Simulates the SRT caller: sends a stream from one socket; a thread answers ACKs."""

    def __init__(self, port: int) -> None:
        self.sock = udp()
        self.sock.connect(("127.0.0.1", port))
        self.sock.settimeout(0.1)
        self.sequence = 0
        self.sock.send(handshake())
        self.stop = False
        self.thread = threading.Thread(target=self._answer, daemon=True)
        self.thread.start()

    def _answer(self) -> None:
        seen = b""
        while not self.stop:
            try:
                data = self.sock.recv(2048)
            except OSError:  # no packet, or the program does not listen yet
                continue
            if wire.packet_type(data) == wire.SRT_ACK and data[4:8] != seen:
                seen = data[4:8]
                self.sock.send(struct.pack("!HH", wire.SRT_ACKACK, 0) + seen + bytes(8))

    def stream(self, mbps: float, secs: float, *, packed: bool = False) -> int:
        """Send a stream; return the packets sent. `packed`: send each burst in one system call."""
        rate = mbps * 1e6 / (PAYLOAD * 8)
        start = time.monotonic()
        sent = 0
        while (now := time.monotonic()) < start + secs:
            due = int((now - start) * rate) - sent
            if packed:
                batch.send(self.sock, [self._packet() for _ in range(due)])
            else:
                for _ in range(due):  # make each packet just before it is sent, because it has the time in it
                    self.sock.send(self._packet())
            sent += due
            time.sleep(BURST_S)
        return sent

    def _packet(self) -> bytes:
        self.sequence += 1
        return stream_packet(self.sequence)

    def close(self) -> None:
        self.stop = True
        self.thread.join()
        self.sock.close()


def stream_packet(sequence: int) -> bytes:
    """Make a data packet that has the current time in it."""
    return struct.pack("!IIIIQ", sequence, 0xE0000001, 0, 7, time.time_ns()) + bytes(PAYLOAD - 8)


def handshake() -> bytes:
    """Make the second handshake packet of an SRT caller, or server, with the latency that it asks for."""
    fields = struct.pack("!IHHIIIiII16x", 5, 0, 0x0001, 1, 1500, 8192, -1, 1, 0)
    return (
        bytes([0x80])
        + bytes(15)
        + fields
        + struct.pack("!HHIIHH", 1, 3, 0x010500, 0xBF, LATENCY_MS, LATENCY_MS)
    )


class Sender:
    """Simulates an SRTLA sender with one group; the kernel drops what its links receive."""

    def __init__(self, port: int, links: int, *, srtla: bool) -> None:
        self.links = [udp(host=f"127.0.0.{number + 2}") for number in range(links)]
        self.sequence = 0
        for link in self.links:
            link.connect(("127.0.0.1", port))
            link.settimeout(0.3)
        if srtla:
            self._register()
            self.links[0].send(handshake())  # the answer tells the program the latency
        for link in self.links:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def _register(self) -> None:
        answer = b""
        for _ in range(200):  # on a busy machine, the program starts slowly
            answer = self._ask(self.links[0], wire.build_registration(wire.REG1, os.urandom(256)))
            if wire.packet_type(answer) == wire.REG2:
                break
        for link in self.links:
            while wire.packet_type(self._ask(link, answer)) != wire.REG3:
                pass

    @staticmethod
    def _ask(link: socket.socket, data: bytes) -> bytes:
        try:
            link.send(data)
            return link.recv(2048)
        except OSError:  # the program does not listen yet
            time.sleep(0.05)
            return b""

    def packet(self) -> bytes:
        self.sequence += 1
        return stream_packet(self.sequence)

    def stream(self, mbps: float, secs: float, *, packed: bool = False) -> int:
        """Send a stream; return the packets sent. `packed`: send a burst for one link in one system call."""
        rate = mbps * 1e6 / (PAYLOAD * 8)
        start = time.monotonic()
        sent = 0
        keepalive = start
        while (now := time.monotonic()) < start + secs:
            due = int((now - start) * rate) - sent
            if packed:
                for at in range(0, due, 32):
                    link = self.links[(sent + at) // 32 % len(self.links)]
                    batch.send(link, [self.packet() for _ in range(min(32, due - at))])
            else:
                for at in range(due):
                    self.links[(sent + at) % len(self.links)].send(self.packet())
            sent += due
            if now >= keepalive:
                keepalive = now + 1
                for link in self.links:
                    link.send(b"\x90\x00" + bytes(8))
            time.sleep(BURST_S)
        return sent

    def close(self) -> None:
        for link in self.links:
            link.close()


@dataclass
class Program:
    name: str
    command: list[str]  # with {port} to listen on, {server} to send to, and {ips}, the file of links
    srtla: bool = True
    pure: bool = False


def programs(engine: str, directory: Path) -> list[Program]:
    ours = [sys.executable, "-m", "netbond", engine]
    if engine == "recv":
        ours += ["--srtla-port", "{port}", "--srt-port", "{server}"]
        theirs = ["srtla_rec", "{port}", "127.0.0.1", "{server}"]
    else:
        ours += ["{port}", "127.0.0.1", "{server}", "{ips}"]
        theirs = ["srtla_send", "{port}", "127.0.0.1", "{server}", "{ips}"]
    found = [Program("netbond", ours), Program("netbond, pure", ours, pure=True)]
    if foreign := os.environ.get("NETBOND_FOREIGN_SRTLA"):
        found.append(Program(theirs[0], [f"{foreign}/{theirs[0]}", *theirs[1:]]))
    if compiler := shutil.which("cc"):
        relay = directory / "relay"
        subprocess.run([compiler, "-O2", "-o", relay, Path(__file__).parent / "relay.c"], check=True)
        found.append(Program("relay (floor)", [str(relay), "{port}", "{server}"], srtla=False))
        least = directory / "least"
        subprocess.run([compiler, "-O2", "-o", least, Path(__file__).parent / "least.c"], check=True)
        way = ["{port}", "{server}"] if engine == "recv" else ["{port}", "127.0.0.1", "{server}", "{ips}"]
        for name, pause in (("least", "0"), ("least, 5 ms", "5000"), ("least, 10 ms", "10000")):
            found.append(Program(name, [str(least), engine, *way, pause]))
    return found


class Running:
    """A program under test with its simulated peers."""

    def __init__(self, engine: str, program: Program, links: int, *, stamps: bool) -> None:
        self.server = Server(stamps=stamps) if engine == "recv" else Peer(stamps=stamps)
        port = free_port()
        with tempfile.NamedTemporaryFile("w", suffix=".ips") as ips:
            ips.write("".join(f"127.0.0.{number + 2}\n" for number in range(links)))
            ips.flush()
            self.process = subprocess.Popen(
                [part.format(port=port, server=self.server.port, ips=ips.name) for part in program.command],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "NETBOND_PURE": "1"} if program.pure else None,
            )
            wait_for_port(port)
            # Wait until srtla_rec has asked its SRT server, or a sender has registered its links.
            time.sleep((2.0 if engine == "recv" else 4.0) if program.srtla else 0.3)
        self.server.acks = program.srtla
        self.sender: Sender | Caller = (
            Sender(port, links, srtla=program.srtla) if engine == "recv" else Caller(port)
        )

    def close(self) -> None:
        self.sender.close()
        self.process.terminate()
        self.process.wait(5)
        self.server.close()


def cost(engine: str, program: Program, links: int, mbps: float, secs: float) -> str:
    running = Running(engine, program, links, stamps=mbps < 300)
    try:
        pid = running.process.pid
        running.sender.stream(mbps, 1.0)
        time.sleep(0.2)
        running.server.got = 0
        running.server.delays.clear()
        cpu, switched = cpu_ns(pid), switches(pid)
        sent = running.sender.stream(mbps, secs)
        cpu, switched = cpu_ns(pid) - cpu, switches(pid) - switched
        time.sleep(0.3)
        delays = sorted(running.server.delays) or [0]
        p50, p99 = (delays[int(len(delays) * q)] / 1e6 for q in (0.5, 0.99))
        return (
            f"{mbps:6.0f} Mbit/s  {program.name:14} {cpu / sent / 1000:6.2f} us/packet  "
            f"delay p50 {p50:5.2f} p99 {p99:5.2f} ms  {switched / secs:6.0f} switches/s  "
            f"{rss_mb(pid):5.1f} MB  lost {sent - running.server.got}"
        )
    finally:
        running.close()


def highest(engine: str, program: Program, links: int, *, packed: bool) -> str:
    """Bisect the highest rate at which no packet is lost in a second, twice in a row."""
    low, high = 50.0, 12800.0
    offered = 0.0
    while high / low > 1.1:
        rate = (low * high) ** 0.5
        running = Running(engine, program, links, stamps=False)
        try:
            if engine == "send":
                running.sender.stream(min(rate, 400), 1.0)  # let it learn what its links carry
                time.sleep(0.3)
            fine = True
            for _ in range(2):
                running.server.got = 0
                start = time.monotonic()
                sent = running.sender.stream(rate, 1.0, packed=packed)
                reached = sent * PAYLOAD * 8e-6 / (time.monotonic() - start)
                time.sleep(0.5)
                fine = fine and running.server.got == sent
                if not fine:
                    break
        finally:
            running.close()
        if fine:
            low, offered = rate, max(offered, reached)
            if reached < rate * 0.9:
                break  # the simulated sender cannot offer more
        else:
            high = rate
    how = "packed" if packed else "singly"
    packets = offered * 1e3 / PAYLOAD / 8
    return f"highest, {how}  {program.name:14} {offered:6.0f} Mbit/s  {packets:5.0f} kpackets/s"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("engine", nargs="?", choices=["recv", "send"], default="recv")
    parser.add_argument("--rates", default="8,20,120", help="Mbit/s, with commas (8,20,120)")
    parser.add_argument("--links", type=int, default=4)
    parser.add_argument("--secs", type=float, default=8.0)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", default="", help="programs by (part of) their names, with commas")
    parser.add_argument(
        "--highest", action="store_true", help="also search for the highest rate without loss"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        only = [name.strip() for name in args.only.split(",")]
        chosen = [
            each
            for each in programs(args.engine, Path(directory))
            if any(name in each.name if name != "netbond" else name == each.name for name in only)
        ]
        for rate in [float(rate) for rate in args.rates.split(",") if rate]:
            for program in chosen * args.runs:
                print(cost(args.engine, program, args.links, rate, args.secs), flush=True)
        if args.highest:
            for packed in (False, True):
                for program in chosen:
                    print(highest(args.engine, program, args.links, packed=packed), flush=True)


if __name__ == "__main__":
    main()
