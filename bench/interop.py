"""Plays SRTLA senders against receivers, each pair in each case, with real SRT streams. Needs root.

    sudo .venv/bin/python -m bench.interop FOLDER                   all pairs with netbond in them, all cases
    sudo .venv/bin/python -m bench.interop FOLDER --all             also the others with each other
    sudo .venv/bin/python -m bench.interop FOLDER --only rebinding --pairs netbond:belabox
    .venv/bin/python -m bench.interop --write FILE.json...          docs/interop.md, of what runs have kept

FOLDER has a folder for each project, with its srtla_send, its srtla_rec, or both. Each result goes to
`--json FILE` at once (interop.json); what is in it is not run again, so a run can be ended and gone on with.
A pair that fails a case is tried once more, and said to be flaky if it holds then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from netbond.srtla import wire
from tests import foreign, ready
from tests.srtla_net import RECEIVER, Net, Stream, eventually, net, sh
from tests.srtla_util import data_packet, srt_nak

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "interop.md"
SENDERS = ("netbond", "netbond classic")
RECEIVERS = ("netbond", "netbond, 2 workers")
SETTLE_S = 3.0  # in which links register; other programs do not say when they are up
PLAY_S = 3.0
SIX = "2001:db8:7::1"
HOLE = """add table inet hole
add chain inet hole in { type filter hook input priority 0; }
add rule inet hole in iifname net1 drop"""
REBOUND = """add table inet nat
add chain inet nat in {{ type filter hook prerouting priority -300; }}
add chain inet nat out {{ type filter hook output priority -300; }}
add rule inet nat in iifname net0 udp sport {port} udp sport set 44444
add rule inet nat out oifname net0 udp dport 44444 udp dport set {port}"""


class Pair:
    """A sender and a receiver in a network of their own."""

    def __init__(self, lab: Net, folders: dict[str, Path], sender: str, receiver: str) -> None:
        self.lab, self.folders = lab, folders
        self.sender, self.receiver = sender, receiver
        self.sending: subprocess.Popen[Any] | None = None
        self.receiving: subprocess.Popen[Any] | None = None

    def receive(self) -> None:
        """Start the receiver."""
        if self.receiver in RECEIVERS:
            workers = "2" if "workers" in self.receiver else "1"
            command = [sys.executable, "-m", "netbond", "recv", "--srtla-port", "5000", "--srt-port", "5002"]
            command += ["--workers", workers]
        else:
            command = foreign.receiver(self.folders[self.receiver], 5000, 5002)
        self.receiving = self.lab.popen(self.lab.far, command, "recv.log")
        ready.udp_port(5000, self.receiving, self.lab.directory / "recv.log")

    def send(self, ips: Path, host: str = RECEIVER) -> None:
        """Start the sender."""
        if self.sender in SENDERS:
            mode = "classic" if "classic" in self.sender else "adaptive"
            command = [
                sys.executable,
                "-m",
                "netbond",
                "send",
                "--mode",
                mode,
                "6000",
                host,
                "5000",
                str(ips),
            ]
        else:
            command = foreign.sender(self.folders[self.sender], 6000, host, 5000, ips)
        self.sending = self.lab.popen(self.lab.box, command, "send.log")
        ready.udp_port(6000, self.sending, self.lab.directory / "send.log")

    def both(self, *addresses: str, host: str = RECEIVER) -> None:
        """Start both, and let them register."""
        self.receive()
        self.send(self.ips(*addresses), host)
        time.sleep(SETTLE_S)

    def ips(self, *addresses: str) -> Path:
        """The sender's list of addresses."""
        return self.lab.ips(*(addresses or [f"10.7.{number}.2" for number in range(self.lab.links)]))

    def ports(self) -> list[tuple[str, int]]:
        """Address and port of each of the sender's links."""
        command = ["ip", "netns", "exec", self.lab.box, "cat", "/proc/net/udp"]
        found = []
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[
            1:
        ]:
            address, port = line.split()[1].split(":")
            host = socket.inet_ntoa(struct.pack("=I", int(address, 16)))
            if host.startswith("10.7."):
                found.append((host, int(port, 16)))
        return sorted(found)

    def carried(self, number: int) -> int:
        """Packets that have left by a link."""
        lines = sh("ip", "-n", self.lab.box, "-s", "link", "show", f"usb{number}").splitlines()
        return int(lines[-1].split()[1])


def play(stream: Stream, seconds: float = PLAY_S, during: Callable[[], object] | None = None) -> str:
    """Stream, do something meanwhile, and say what was lost."""
    stream.start(3.0)
    stream.arrives(10)
    if during is not None:
        during()
    time.sleep(seconds)
    lost = len(stream.finish())
    return "ok" if not lost else f"{100 * lost / stream.sent:.1f} % lost"


def until_back(pair: Pair, stream: Stream, fault: Callable[[], object]) -> str:
    """Stream, do harm, and say how long it takes until a stream arrives again."""
    stream.start(3.0)
    stream.arrives(10)
    mark = stream.sent + 20  # what was sent before may wait in the SRT listener for its latency
    fault()
    began = called = time.monotonic()
    while not stream.got or stream.got[-1] < mark:
        now = time.monotonic()
        if now - began > 40:
            return "not back within 40 s"
        if stream.caller.poll() is not None or now - called > 6:  # as encoders do
            stream.caller.kill()
            stream.caller.wait(5)
            called = now
            stream.start(3.0)
        time.sleep(0.05)
    return f"{time.monotonic() - began:.0f} s"


def handshake(pair: Pair) -> str:
    pair.both()
    return play(Stream(pair.lab))


def receiver_restart(pair: Pair) -> str:
    pair.both()

    def fault() -> None:
        assert pair.receiving is not None
        pair.receiving.kill()
        pair.receiving.wait(5)
        pair.receive()

    return until_back(pair, Stream(pair.lab, again=True), fault)


def sender_restart(pair: Pair) -> str:
    pair.both()

    def fault() -> None:
        assert pair.sending is not None
        pair.sending.kill()
        pair.sending.wait(5)
        pair.send(pair.ips())

    return until_back(pair, Stream(pair.lab, again=True), fault)


def encoder_restart(pair: Pair) -> str:
    pair.both()
    stream = Stream(pair.lab, again=True)
    return until_back(pair, stream, lambda: stream.caller.kill())  # noqa: PLW0108  # it has none yet


def rebinding(pair: Pair) -> str:
    pair.both()
    _, port = pair.ports()[0]
    return play(
        Stream(pair.lab),
        4.0,
        lambda: sh("ip", "netns", "exec", pair.lab.far, "nft", REBOUND.format(port=port)),
    )


def wrap(pair: Pair) -> str:
    """Sequence numbers pass 2**31. No SRT program can be told where to begin, so these are bare packets."""
    pair.both()
    first, count = 0x7FFFFFFF - 300, 600

    def collect() -> set[int]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 5002))
            server.settimeout(3)
            got: set[int] = set()
            listening.append(True)
            with contextlib.suppress(TimeoutError):
                while len(got) < count:
                    sequence = wire.data_sequence(server.recv(2048))
                    if sequence is not None:
                        got.add(sequence)
            return got

    def emit() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
            for step in range(count):
                caller.sendto(data_packet(wire.advance(first, step)), ("127.0.0.1", 6000))
                time.sleep(0.003)
        return True

    listening: list[bool] = []
    found: list[set[int]] = []
    collecting = threading.Thread(target=lambda: found.append(pair.lab.in_namespace(pair.lab.far, collect)))
    collecting.start()
    eventually(lambda: listening)
    pair.lab.in_namespace(pair.lab.box, emit)
    collecting.join()
    lost = count - len(found[0])
    return "ok" if not lost else f"{100 * lost / count:.1f} % lost"


def link_death(pair: Pair) -> str:
    pair.both()
    return play(Stream(pair.lab), 5.0, lambda: sh("ip", "netns", "exec", pair.lab.far, "nft", HOLE))


def late_link(pair: Pair) -> str:
    pair.both("10.7.0.2", "10.7.1.2")

    def late() -> None:
        assert pair.sending is not None
        pair.ips()
        pair.sending.send_signal(signal.SIGHUP)
        time.sleep(SETTLE_S)

    outcome = play(Stream(pair.lab), 3.0, late)
    return outcome if pair.carried(2) > 50 else "it carries nothing"


def forged_nak(pair: Pair) -> str:
    pair.both()

    def forge() -> None:
        def work() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
                for stamp in range(100):
                    for host, port in targets:
                        data = srt_nak((0, 0xFFFFFFFF), stamp=stamp)
                        udp = struct.pack("!HHHH", 5000, port, 8 + len(data), 0) + data
                        ip = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0)
                        packet = ip + socket.inet_aton(RECEIVER) + socket.inet_aton(host) + udp
                        raw.sendto(packet, (host, 0))
                    time.sleep(0.02)
            return True

        targets = pair.ports()
        pair.lab.in_namespace(pair.lab.far, work)

    return play(Stream(pair.lab), 2.0, forge)


def fec(pair: Pair) -> str:
    pair.both()
    return play(Stream(pair.lab, options="&packetfilter=fec,cols:10,rows:1,arq:onreq"))


def ipv6(pair: Pair) -> str:
    for namespace, device, host in ((pair.lab.box, "usb0", 2), (pair.lab.far, "net0", 1)):
        sh("ip", "-n", namespace, "addr", "add", f"2001:db8:7::{host}/64", "dev", device, "nodad")
    pair.both("2001:db8:7::2", host=SIX)
    return play(Stream(pair.lab))


def short_latency(pair: Pair) -> str:
    pair.both()
    return play(Stream(pair.lab, latency=120))


def twenty_links(pair: Pair) -> str:
    pair.both()
    outcome = play(Stream(pair.lab), 5.0)
    carrying = sum(pair.carried(number) > 50 for number in range(20))
    return f"{outcome}, {carrying} carry"


@dataclass(frozen=True)
class Case:
    """What is tried."""

    title: str
    run: Callable[[Pair], str]
    links: int = 3


CASES = {
    "handshake": Case("stream", handshake),
    "receiver-restart": Case("receiver restarted", receiver_restart),
    "sender-restart": Case("sender restarted", sender_restart),
    "encoder-restart": Case("encoder killed", encoder_restart),
    "rebinding": Case("NAT rebinds", rebinding),
    "wrap": Case("wrap", wrap),
    "link-death": Case("link dies", link_death),
    "late-link": Case("late link", late_link),
    "forged-nak": Case("forged NAKs", forged_nak),
    "fec": Case("FEC", fec),
    "ipv6": Case("IPv6", ipv6),
    "120ms": Case("120 ms", short_latency),
    "20-links": Case("20 links", twenty_links, 20),
}


def one(folders: dict[str, Path], sender: str, receiver: str, case: Case) -> str:
    """The outcome of a case."""
    with tempfile.TemporaryDirectory() as directory, net(Path(directory), case.links) as lab:
        Path(directory).chmod(0o755)
        try:
            return case.run(Pair(lab, folders, sender, receiver))
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            return f"no: {str(error).splitlines()[0][:60]}" if str(error) else "no"


def revision(folder: Path) -> str:
    """Of a checkout; "" if it is none."""
    folder = folder.resolve()
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), "log", "-1", "--format=%h"]
    top = ["git", "-c", "safe.directory=*", "-C", str(folder), "rev-parse", "--show-toplevel"]
    found = subprocess.run(top, capture_output=True, text=True, check=False).stdout.strip()
    if not found or Path(found) not in (folder, folder.parent):
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def is_good(outcome: str) -> bool:
    """Whether a case holds."""
    return outcome.startswith("ok") or outcome.endswith(" s")


def run(options: argparse.Namespace) -> int:
    """Play what is missing."""
    kept = Path(options.json)
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"outcomes": {}}
    folders = {path.name: path for path in sorted(Path(options.folder).iterdir()) if foreign.programs(path)}
    folders = {name: path for name, path in folders.items() if name != "bin"}
    senders = [*SENDERS, *(name for name, path in folders.items() if "srtla_send" in foreign.programs(path))]
    receivers = [
        *RECEIVERS,
        *(name for name, path in folders.items() if "srtla_rec" in foreign.programs(path)),
    ]
    results["date"] = datetime.now(UTC).date().isoformat()
    results["revisions"] = {name: revision(path) for name, path in folders.items()}
    results["revisions"]["netbond"] = revision(ROOT)
    pairs = [
        (sender, receiver)
        for sender in senders
        for receiver in receivers
        if options.all or sender in SENDERS or receiver in RECEIVERS
    ]
    if options.pairs:
        pairs = [tuple(each.split(":")) for each in options.pairs]
    for name in options.only or CASES:
        for sender, receiver in pairs:
            key = f"{sender} -> {receiver}: {name}"
            if key in results["outcomes"]:
                continue
            outcome = one(folders, sender, receiver, CASES[name])
            if not is_good(outcome):
                second = one(folders, sender, receiver, CASES[name])
                outcome = f"{second} (flaky)" if is_good(second) else second
            results["outcomes"][key] = outcome
            print(f"{key}: {outcome}", flush=True)
            kept.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def table(results: dict[str, Any]) -> str:
    """Rows are pairs, columns are cases."""
    outcomes: dict[str, str] = results["outcomes"]
    pairs = list(dict.fromkeys(key.rpartition(": ")[0] for key in outcomes))
    names = [name for name in CASES if any(key.endswith(f": {name}") for key in outcomes)]
    lines = ["| sender, receiver | " + " | ".join(CASES[name].title for name in names) + " |"]
    lines.append("|---" * (1 + len(names)) + "|")
    for pair in sorted(pairs):
        cells = [outcomes.get(f"{pair}: {name}", "").partition(":")[0] for name in names]
        lines.append(f"| {pair.replace(' -> ', ' to ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(results: dict[str, Any]) -> None:
    """docs/interop.md."""
    revisions = "; ".join(
        f"{name} {revision}" if revision else name for name, revision in sorted(results["revisions"].items())
    )
    PAGE.write_text(f"""\
# With other programs: who works with whom
`sudo .venv/bin/python -m bench.interop FOLDER` played each pair in each case with a real SRT stream of 3 Mbit/s over three
links in network namespaces, with 1 s of latency, and wrote this page. {results["date"]}; {revisions}.

- *ok*: nothing was lost. Else the share of the payload that did not arrive; *no*: the stream broke, or none came about.
- *N s*: until a stream arrived again after `kill -9`; the encoder calls again when its connection has ended, and after 6 s.
  Nobody's engine has an agent here: netbond's agent starts an engine again on the same SRT connection.
- *flaky*: it failed once, and held when it was tried again. An empty cell was not run.
- *NAT rebinds*: one link has another port from one packet to the next. *wrap*: sequence numbers pass 2**31. *late link*: one
  is added to the list while a stream runs. *forged NAKs*: of all numbers, 50 a second to each link. *20 links*: how many carry.
- BELABOX and OpenIRL have no IPv6, nor have the senders in C. Receivers of other projects take 8 or 16 links.

{table(results)}
""")  # noqa: E501  # a page has lines of 120


def main(arguments: list[str]) -> int:
    """Run or write; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="of folders with programs")
    parser.add_argument("--all", action="store_true", help="pairs without netbond, too")
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--pairs", action="append", metavar="SENDER:RECEIVER")
    parser.add_argument("--json", default="interop.json", metavar="FILE", help="what was found")
    parser.add_argument("--write", nargs="+", metavar="FILE", help="make docs/interop.md of such files")
    options = parser.parse_args(arguments)
    if options.write:
        found = [json.loads(Path(each).read_text()) for each in options.write]
        write(found[-1] | {"outcomes": {key: each for one in found for key, each in one["outcomes"].items()}})
        return 0
    if not options.folder or os.geteuid():
        parser.error("name a folder of programs, as root")
    return run(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
