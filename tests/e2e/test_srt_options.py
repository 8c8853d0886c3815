"""SRT's options with the real libsrt, through both engines, over links that lose, delay and reorder."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import random
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path as File
from typing import Any

import pytest

from tests import ready
from tests.relay import Path, Relay, relay
from tests.srtla_net import eventually
from tests.srtla_util import free_ports
from tests.srtserver import srt_server

pytestmark = pytest.mark.root  # which it does not need, but the programs that scripts/test installs then

MODES = ["classic", "adaptive"]
TAIL = 40  # datagrams behind a stream: without them nobody would miss its last ones
FEC = "packetfilter=fec,cols:5,rows:1,arq:"


class Bond:
    """Both engines, and a relay between them. `stop` ends all programs."""

    def __init__(self, directory: File, mode: str, paths: dict[str, Path], server: int | None) -> None:
        self.directory = directory
        self.listen, self.receiver, self.source, port = free_ports(4)
        self.server = port if server is None else server
        self._programs: list[subprocess.Popen[Any]] = []
        self.closing = contextlib.ExitStack()
        self.relay: Relay = self.closing.enter_context(relay(self.receiver, paths))
        self.netbond("recv", "--listen", f"127.0.0.1:{self.receiver}", "--srt", f"127.0.0.1:{self.server}")
        links = directory / "ips"
        links.write_text("".join(address + "\n" for address in paths))
        target = f"127.0.0.1:{self.relay.port}"
        self.netbond(
            "send", "--mode", mode, "--listen", f"127.0.0.1:{self.listen}", "--receiver", target,
            "--stats-file", str(directory / "stats.json"), str(links),
        )  # fmt: skip
        log = directory / "send.log"
        ready.wait(lambda: log.read_text().count(": up") == len(paths), "all links are up", log=log)

    def start(self, *command: str, name: str) -> subprocess.Popen[Any]:
        """Start a program; its output goes to NAME.log."""
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._programs.append(process)
        return process

    def netbond(self, *words: str) -> None:
        """Start an engine, and wait until it listens."""
        log = self.directory / f"{words[0]}.log"
        process = self.start(sys.executable, "-m", "netbond", *words, name=words[0])
        ready.wait(lambda: "listening" in log.read_text(), "the engine listens", process, log)

    def serve(self, *command: str) -> subprocess.Popen[Any]:
        """Start an SRT server, and wait until it listens."""
        process = self.start(*command, name="server")
        ready.udp_port(self.server, process, self.directory / "server.log")
        return process

    def link(self, address: str) -> dict[str, Any]:
        """The sender's statistics of a link."""
        links = json.loads((self.directory / "stats.json").read_text())["links"]
        found: dict[str, Any] = next(link for link in links if link["address"] == address)
        return found

    def stop(self) -> None:
        """End all programs and the relay."""
        for process in reversed(self._programs):
            process.kill()
            process.wait(40)
        self.closing.close()


@contextlib.contextmanager
def bond(directory: File, mode: str, *paths: Path, server: int | None = None) -> Iterator[Bond]:
    """Make a Bond of links 127.0.0.2, 127.0.0.3, ... that these paths impair, and always end it.

    `server` is the port of an SRT server that runs already.
    """
    made = Bond(directory, mode, {f"127.0.0.{number}": path for number, path in enumerate(paths, 2)}, server)
    try:
        yield made
    finally:
        made.stop()


class Live:
    """A live stream of numbered datagrams, from srt-live-transmit to another."""

    def __init__(self, through: Bond, options: str, *, serve: bool = True) -> None:
        """`options` are given to both ends. `serve`: start the server, too."""
        self.sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        through.closing.enter_context(self.sink)
        self.sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sink.bind(("127.0.0.1", 0))
        self.source = through.closing.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.source.connect(("127.0.0.1", through.source))
        self.got: list[int] = []  # numbers, as they came out
        self.sent = 0
        live = ("srt-live-transmit", "-q", "-a:no", "-chunk:1456")
        if serve:
            out = f"udp://127.0.0.1:{self.sink.getsockname()[1]}"
            through.serve(*live, f"srt://127.0.0.1:{through.server}?mode=listener&{options}", out)
        source, target = f"udp://127.0.0.1:{through.source}", f"srt://127.0.0.1:{through.listen}?{options}"
        caller = through.start(*live, source, target, name="caller")
        ready.udp_port(through.source, caller, through.directory / "caller.log")

    def run(self, seconds: float, sizes: Sequence[int] = (1316,), mbps: float = 2.0) -> None:
        """Send for so long, datagrams of these sizes in turn."""
        size = itertools.cycle(sizes)
        due = time.monotonic()
        end = due + seconds
        while due < end:
            length = next(size)
            self.source.send(struct.pack("!I", self.sent).ljust(length, b"x"))
            self.sent += 1
            due += length * 8 / (mbps * 1e6)
            self.receive(due)

    def receive(self, until: float) -> None:
        """Take what comes out until then."""
        while (left := until - time.monotonic()) > 0:
            if select.select([self.sink], [], [], left)[0]:
                self.got.append(struct.unpack_from("!I", self.sink.recv(2048))[0])

    def finish(self, within: float) -> list[int]:
        """Wait for the rest; return the numbers that are missing since the first that arrived."""
        count = self.sent
        self.run(TAIL * 1316 * 8 / 2e6)
        end = time.monotonic() + within
        while time.monotonic() < end and not (self.got and self.got[-1] >= count):
            self.receive(time.monotonic() + 0.05)
        assert self.got, "nothing arrived"
        assert self.got == sorted(set(self.got)), "SRT delivers in order, once"
        return sorted(set(range(self.got[0], count)) - set(self.got))

    def begin(self) -> None:
        """Send until it comes out at the other end."""
        end = time.monotonic() + 60
        while not self.got:
            assert time.monotonic() < end, "nothing arrives"
            self.run(0.1, mbps=0.5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("arq", "lost"), [("onreq", 0.005), ("never", 0.015)])
def test_fec_packets_pass(tmp_path: File, mode: str, arq: str, lost: float) -> None:
    """With arq:never they are the stream's only repair: of 3 % lost, 0.4 % are lost twice in a row of six."""
    with bond(tmp_path, mode, Path(loss=0.03), Path(loss=0.03, delay=0.03)) as made:
        live = Live(made, f"latency=500&{FEC}{arq}")
        live.begin()
        live.run(3.0)
        assert len(live.finish(3.0)) <= lost * live.sent
        assert made.relay.filter_packets > live.sent / 5 * 0.8


def stream_with_a_hole(live: Live, links: Relay) -> int:
    """Stream for some seconds, during one of which all links are dead; return the first number after it."""
    live.run(1.0)
    for dead in (True, False):
        for path in links.paths.values():
            path.dead = dead
        live.run(1.0)
    return live.sent


@pytest.mark.parametrize("mode", MODES)
def test_with_tlpktdrop_the_stream_goes_on_behind_what_is_too_late(tmp_path: File, mode: str) -> None:
    with bond(tmp_path, mode, Path(loss=0.05), Path(loss=0.05, delay=0.025)) as made:
        live = Live(made, "latency=120&tlpktdrop=1")
        live.begin()
        after = stream_with_a_hole(live, made.relay)
        live.run(1.0)
        assert sum(number >= after for number in live.finish(2.0)) <= 5


@pytest.mark.parametrize("mode", MODES)
def test_without_tlpktdrop_everything_arrives(tmp_path: File, mode: str) -> None:
    with (
        srt_server() as server,
        bond(tmp_path, mode, Path(loss=0.05), Path(loss=0.05, delay=0.025), server=server.port) as made,
    ):
        live = Live(made, "latency=120&tlpktdrop=0", serve=False)
        while not server.payloads:  # the caller takes nothing before it is connected
            live.run(0.1, mbps=0.5)
        stream_with_a_hole(live, made.relay)
        last = live.sent
        live.run(1.0)
        eventually(lambda: server.numbers()[-1] >= last, 10, "all that is sent arrives")
        numbers = server.numbers()
        assert numbers == list(range(numbers[0], numbers[-1] + 1))


@pytest.mark.parametrize("mode", MODES)
def test_a_file_arrives_whole(tmp_path: File, mode: str) -> None:
    """File mode has no time stamps and no latency, and waits for each packet for ever.

    It takes packets that overtake each other for congestion, and then sends 0.5 Mbit/s (also without netbond,
    over one link that reorders). The server's lossmaxttl prevents that.
    """
    content = random.Random(1).randbytes(1_000_000)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "got").mkdir()
    paths = [Path(loss=0.02, jitter=0.005), Path(loss=0.02, delay=0.03)]
    with bond(tmp_path, mode, *paths) as made:
        program = ("srt-file-transmit", "-q")
        source = f"srt://127.0.0.1:{made.server}?mode=listener&lossmaxttl=200"
        server = made.serve(*program, source, f"file://{tmp_path}/got/file")
        target = f"srt://127.0.0.1:{made.listen}"
        caller = made.start(*program, f"file://{tmp_path}/file", target, name="caller")
        ready.wait(lambda: made.relay.carried.total() > 150, "the file is on its way", caller)
        for dead in (True, False):
            for path in paths:
                path.dead = dead
            time.sleep(1.0)
        assert (caller.wait(60), server.wait(60)) == (0, 0)
        carried = made.relay.carried
    arrived = (tmp_path / "got" / "file").read_bytes()
    assert len(arrived) == len(content)
    assert hashlib.sha256(arrived).digest() == hashlib.sha256(content).digest()
    assert min(carried["127.0.0.2"], carried["127.0.0.3"]) > 20, "over both links"


@pytest.mark.parametrize("mode", MODES)
def test_encryption_and_the_longest_stream_id(tmp_path: File, mode: str) -> None:
    name = "publish/live/" + "x" * 499
    with bond(tmp_path, mode, Path(loss=0.03, jitter=0.01), Path(loss=0.03, delay=0.03)) as made:
        live = Live(made, f"latency=1000&passphrase=it-is-a-secret&pbkeylen=32&streamid={name}")
        live.begin()
        live.run(2.0)
        assert len(live.finish(3.0)) <= live.sent / 50, "a busy machine may be late"
        words = [name[start : start + 4][::-1] for start in range(0, len(name), 4)]
        assert any("".join(words).encode() in handshake for handshake in made.relay.handshakes)


@pytest.mark.parametrize("mode", MODES)
def test_payloads_of_all_sizes_and_a_long_latency(tmp_path: File, mode: str) -> None:
    with bond(tmp_path, mode, Path(loss=0.05, jitter=0.02), Path(loss=0.05, delay=0.05)) as made:
        live = Live(made, "latency=8000&payloadsize=1456")
        live.run(2.0, [188, 1456, 376, 1316, 752, 1128])
        assert live.finish(12.0) == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("acks", [True, False])
def test_a_link_that_swallows_full_size_packets(tmp_path: File, mode: str, acks: bool) -> None:
    """The receiver may send no SRTLA ACKs at all, as some do."""
    with bond(tmp_path, mode, Path(delay=0.02, acks=acks), Path(delay=0.015, acks=acks)) as made:
        made.relay.paths["127.0.0.3"].largest = 1200
        live = Live(made, "latency=120")
        live.begin()
        live.run(4.0, mbps=1.5)
        assert len(live.finish(1.0)) <= 30
        shown = made.link("127.0.0.3")
        assert shown["state"] == "up"
        assert shown["loss_pct"] >= 50, "before the limit was known, not all that was lost has been reported"
        limit = int(shown["reason"].split()[4])
        assert shown["reason"] == f"packets of more than {limit} bytes do not arrive"
        assert 1200 - 64 <= limit <= 1200
        assert made.relay.carried["127.0.0.3"] == 0
        assert "link 127.0.0.3: its full-size packets do not arrive" in (tmp_path / "send.log").read_text()
