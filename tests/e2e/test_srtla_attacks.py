"""What other programs fall to, tried against a running receiver: floods, and a neighbour at full rate."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from netbond.srtla import wire
from netbond.srtla.receiver.groups import UDP_OVERHEAD
from tests.srtla_net import RECEIVER, Net, Stream, eventually, net, receiving_agent, sending_agent, streaming
from tests.srtla_util import data_packet, srt_control

pytestmark = pytest.mark.root

SECONDS = 4.0


def flood(lab: Net, kind: str, rate: int) -> subprocess.Popen[Any]:
    command = [sys.executable, "-m", "tests.srtla_flood", kind, RECEIVER, "5000", str(rate), str(SECONDS)]
    return lab.popen(lab.far, command, "flood.log", cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)


def sent_by(process: subprocess.Popen[Any]) -> int:
    out, _ = process.communicate(timeout=SECONDS + 60)
    return int(out)


def drops(lab: Net) -> int:
    """Datagrams that the kernel threw away because the receiver's buffer was full."""
    command = ["ip", "netns", "exec", lab.far, "cat", "/proc/net/udp"]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sum(int(line.split()[-1]) for line in table.splitlines()[1:] if line.split()[1].endswith(":1388"))


def up(agent: Any) -> int:
    return sum(link["state"] == "up" for link in agent.stats.get("links", []))


@pytest.mark.alone
def test_a_stream_loses_nothing_to_20000_junk_datagrams_a_second(tmp_path: Path) -> None:
    with net(tmp_path, 3) as lab:
        stream, receiver, _ = streaming(lab, 3, mbps=8)
        sent = sent_by(flood(lab, "junk", 20000))
        assert sent > 15000 * SECONDS, "the machine is too busy for this test"
        assert stream.finish() == []
        eventually(lambda: receiver.stats["refused"]["unknown_peer"] > sent / 2)
        assert len(receiver.stats["groups"]) == 1
        print(f"{sent} junk datagrams in {SECONDS} s, {drops(lab)} dropped by the kernel")


@pytest.mark.alone
def test_a_group_at_full_rate_does_not_harm_another(tmp_path: Path) -> None:
    with net(tmp_path, 3) as lab:
        stream, receiver, _ = streaming(lab, 3, mbps=8)
        sent = sent_by(flood(lab, "group", 10000))
        assert sent > 7000 * SECONDS, "the machine is too busy for this test"
        assert stream.finish() == []
        assert len(receiver.stats["groups"]) == 2
        print(f"{sent} packets of the neighbour in {SECONDS} s, {drops(lab)} dropped by the kernel")


# What a forger sends, blind, in a victim's name after REG2 with the id of a running group.
FORGED = {
    "REG2": [],
    "REG2, keepalive of 2 bytes": [b"\x90\x00"],
    "REG2, an SRT packet of 16 bytes": [struct.pack("!HHIII", wire.SRT_ACKACK, 0, 0, 0, 0)],
    "REG2, ten data packets of 16 bytes": [struct.pack("!IIII", n, 0xC0000001, 0, 0) for n in range(10)],
}


def test_joins_in_anothers_name_reflect_no_more_than_three_times_what_they_cost(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        stream, receiver, _ = streaming(lab, 1, mbps=4)
        join = wire.build_registration(wire.REG2, bytes.fromhex(receiver.resume["groups"][0]["id"]))

        def attack() -> list[tuple[str, int, int]]:
            """Each kind, bytes to the receiver and back, headers included."""
            found = []
            for kind, more in FORGED.items():
                there = back = 0
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.connect((RECEIVER, 5000))
                    sock.settimeout(0.2)
                    for data in (join, *more):
                        sock.send(data)
                        there += len(data) + UDP_OVERHEAD
                    end = time.monotonic() + 3
                    while time.monotonic() < end:
                        with contextlib.suppress(TimeoutError):
                            back += len(sock.recv(2048)) + UDP_OVERHEAD
                found.append((kind, there, back))
            return found

        found = lab.in_namespace(lab.far, attack)
        assert stream.finish() == []
        for kind, there, back in found:
            print(f"{kind}: {there} bytes there, {back} back in 3 s of a stream of 4 Mbit/s")
            assert there / 10 < back <= 3 * there


def test_a_stream_from_the_srt_server_does_not_turn_to_a_forged_link(tmp_path: Path) -> None:
    """The forged link was heard last; yet what the SRT server sends goes to the link that registered."""
    with net(tmp_path, 1) as lab:
        receiver, sender = receiving_agent(lab), sending_agent(lab)
        eventually(lambda: up(sender) == 1, 10)
        join = wire.build_registration(wire.REG2, bytes.fromhex(receiver.resume["groups"][0]["id"]))
        forged = [join, srt_control(wire.SRT_ACKACK)]
        down = [data_packet(number) for number in range(500)]

        def attack() -> int:
            """Let the SRT server answer with 500 packets; bytes to the victim, headers included."""
            server = lab.closing.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            server.bind(("127.0.0.1", 5002))
            server.settimeout(10)
            listening.set()
            _, caller = server.recvfrom(2048)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
                victim.connect((RECEIVER, 5000))
                victim.settimeout(10)
                for data in forged:
                    victim.send(data)
                assert wire.packet_type(victim.recv(2048)) == wire.REG3
                victim.settimeout(0.5)
                back = wire.PADDED + UDP_OVERHEAD
                assert server.recv(2048) == forged[1]
                for data in down:
                    server.sendto(data, caller)
                    time.sleep(0.001)
                with contextlib.suppress(TimeoutError):
                    while True:
                        back += len(victim.recv(2048)) + UDP_OVERHEAD
            return back

        def call() -> list[bytes]:
            """Send a packet up as an SRT caller in mid-stream; what comes down within 2 s of silence."""
            found: list[bytes] = []
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect(("127.0.0.1", 6000))
                sock.send(srt_control(wire.SRT_KEEPALIVE))
                with contextlib.suppress(TimeoutError):
                    while True:
                        sock.settimeout(2 if found else 20)
                        found.append(sock.recv(2048))
            return found

        listening = threading.Event()
        with ThreadPoolExecutor() as pool:
            victim = pool.submit(lab.in_namespace, lab.far, attack)
            assert listening.wait(40)
            arrived = lab.in_namespace(lab.box, call)
        there = sum(len(data) + UDP_OVERHEAD for data in forged)
        print(f"a stream down: {there} bytes there, {victim.result()} back of {sum(map(len, down))}")
        assert victim.result() <= 3 * there
        assert len(arrived) > 480


def test_two_hundred_registrations_lock_nobody_out_and_reflect_nothing(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        receiving_agent(lab)
        eventually(lambda: "listening" in lab.log("recv.log"), 10)

        def attack() -> tuple[int, int]:
            """Bytes to the receiver and back, headers included."""
            there = back = 0
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect((RECEIVER, 5000))
                sock.settimeout(20)
                for _ in range(200):
                    data = wire.build_registration(wire.REG1, random.randbytes(256))
                    sock.send(data)
                    there += len(data) + UDP_OVERHEAD
                    back += len(sock.recv(2048)) + UDP_OVERHEAD
            return there, back

        there, back = lab.in_namespace(lab.far, attack)
        assert back <= there
        start = time.monotonic()
        sender = sending_agent(lab)
        eventually(lambda: up(sender) == 1, 10)
        print(
            f"REG1 x 200: {there} bytes there, {back} back; newcomer up in {time.monotonic() - start:.1f} s"
        )


def test_a_sender_with_the_key_gets_into_a_receiver_that_is_full(tmp_path: Path) -> None:
    """Of streams without the key, which all carry something."""
    key = tmp_path / "key"
    key.write_text("0123456789abcdef\n")
    key.chmod(0o600)
    with net(tmp_path, 1) as lab:
        stats = tmp_path / "recv.json"
        where = ("--srtla-port", "5000", "--srt-port", "5002", "--groups", "20", "--groups-per-source", "20")
        more = ("--key-file", str(key), "--stats-file", str(stats))
        lab.netbond(lab.far, "recv", *where, *more, log="recv.log")
        over = threading.Event()
        joined: list[int] = []

        def attack() -> tuple[int, int]:
            """Register 200 groups, and let those that are taken carry a packet each 50 ms."""
            sockets, refused = [], 0
            for _ in range(200):
                sock = lab.closing.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                sock.connect((RECEIVER, 5000))
                sock.settimeout(20)
                sock.send(wire.build_registration(wire.REG1, random.randbytes(256)))
                answer = sock.recv(2048)
                if wire.packet_type(answer) == wire.REG_ERR:
                    refused += 1
                    continue
                sock.send(answer)
                assert wire.packet_type(sock.recv(2048)) == wire.REG3
                sockets.append(sock)
                for each in sockets:  # all of them go on, however long this takes
                    each.send(data_packet(1))
            joined.append(len(sockets))
            while not over.wait(0.05):
                for sock in sockets:
                    sock.send(data_packet(1))
            return len(sockets), refused

        with ThreadPoolExecutor() as pool:
            attackers = pool.submit(lab.in_namespace, lab.far, attack)
            eventually(lambda: joined, 40)
            start = time.monotonic()
            sender = sending_agent(lab, more=("--key-file", str(key), "--require-key"))
            eventually(lambda: up(sender) == 1, 20)
            took = time.monotonic() - start
            over.set()
            groups, refused = attackers.result()
        print(f"REG1 x 200: {groups} groups, {refused} refused; a newcomer with the key up in {took:.1f} s")
        assert (groups, refused) == (20, 180)
        eventually(lambda: sum(each["keyed"] for each in json.loads(stats.read_text())["groups"]) == 1)
        assert len(json.loads(stats.read_text())["groups"]) == 20


def test_group_files(tmp_path: Path) -> None:
    (tmp_path / "groups").mkdir()
    with net(tmp_path, 2) as lab:
        recv = lab.netbond(
            lab.far, "recv", "--srtla-port", "5000", "--srt-port", "5002",
            "--group-dir", str(tmp_path / "groups"), log="recv.log",
        )  # fmt: skip
        lab.send()
        eventually(lambda: lab.log("send.log").count(": up") == 2, 10)
        stream = Stream(lab)
        stream.start(mbps=1)
        stream.arrives()
        (path,) = (tmp_path / "groups").iterdir()
        assert sorted(path.read_text().splitlines()) == ["10.7.0.2", "10.7.1.2"]
        assert path.name.startswith("srtla-group-")
        recv.terminate()
        assert recv.wait(20) == 0
        assert list((tmp_path / "groups").iterdir()) == []
