"""What can be forged in a receiver's name, tried against a running sender: it must not harm the stream.

Whoever knows or guesses the port of a link (carriers' NATs use few) can send it datagrams that seem to come
from the receiver. With NETBOND_FOREIGN_SRTLA other senders are tried in the same way, for their figures.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from netbond.srtla import wire
from tests import foreign, ready
from tests.srtla_net import (
    RECEIVER,
    Net,
    Stream,
    eventually,
    net,
    receiving_agent,
    sending_agent,
    sh,
    streaming,
)
from tests.srtla_util import srt_ack, srt_nak

pytestmark = pytest.mark.root

SECONDS = 4.0
RATE = 50  # forged packets a second, to each link


def acknowledged(stamp: int) -> bytes:
    """That everything up to a number has arrived, by SRT, or ten packets by SRTLA; over all numbers in turn.

    Who does not read the stream does not know which numbers it has.
    """
    sequence = stamp * (0x7FFFFFFF // 97) & 0x7FFFFFFF
    if stamp % 2:
        return srt_ack(sequence, stamp=stamp)
    return wire.build_srtla_ack([sequence + step & 0x7FFFFFFF for step in range(10)])


FORGED: dict[str, Callable[[int], bytes]] = {
    "no such group, 2 bytes": lambda _: struct.pack("!H", wire.REG_NGP),
    "no such group, padded": lambda _: wire.REG_NGP_PACKET,
    "registration refused": lambda _: struct.pack("!H", wire.REG_ERR),
    "packets acknowledged": acknowledged,
    "all packets lost": lambda stamp: srt_nak((0, 0x7FFFFFFF), stamp=stamp),
    "all packets lost, without an end": lambda stamp: srt_nak((0, 0xFFFFFFFF), stamp=stamp),
}

SENDERS = [None, *(folder for folder in foreign.folders() if "srtla_send" in foreign.programs(folder))]


def link_ports(lab: Net) -> list[tuple[str, int]]:
    """The local address and port of each link's socket."""
    command = ["ip", "netns", "exec", lab.box, "cat", "/proc/net/udp"]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = []
    for line in table.splitlines()[1:]:
        address, port = line.split()[1].split(":")
        host = socket.inet_ntoa(struct.pack("=I", int(address, 16)))
        if host.startswith("10.7."):
            found.append((host, int(port, 16)))
    return sorted(found)


def forge(
    lab: Net, targets: list[tuple[str, int]], make: Callable[[int], bytes], source: str = RECEIVER
) -> tuple[int, int]:
    """Send packets in the receiver's name for SECONDS: how many, and how many REG2 came meanwhile."""

    def work() -> tuple[int, int]:
        sent = joins = 0
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        tap = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        tap.setblocking(False)
        with raw, tap:
            start = time.monotonic()
            while time.monotonic() - start < SECONDS:
                for host, port in targets:
                    data = make(sent)
                    udp = struct.pack("!HHHH", 5000, port, 8 + len(data), 0) + data
                    # The kernel fills in length, identification and checksum.
                    ip = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0)
                    ip += socket.inet_aton(source) + socket.inet_aton(host)
                    raw.sendto(ip + udp, (host, 0))
                    sent += 1
                with contextlib.suppress(BlockingIOError):
                    while packet := tap.recv(2048)[20 + 8 :]:
                        joins += wire.packet_type(packet) == wire.REG2
                time.sleep(1 / RATE)
        return sent, joins

    found: tuple[int, int] = lab.in_namespace(lab.far, work)
    return found


def cpu_s(pid: int) -> float:
    """CPU time that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("kind", FORGED)
@pytest.mark.parametrize("folder", SENDERS, ids=lambda folder: folder.name if folder else "netbond")
def test_packets_in_the_receivers_name_do_not_harm_a_stream(
    folder: Path | None, kind: str, tmp_path: Path
) -> None:
    with net(tmp_path, 3) as lab:
        stream = Stream(lab)
        receiver = receiving_agent(lab)
        ips = lab.ips(*(f"10.7.{number}.2" for number in range(3)))
        if folder is None:
            sender = lab.send(ips=ips)
        else:
            sender = lab.popen(lab.box, foreign.sender(folder, 6000, RECEIVER, 5000, ips), "send.log")
            ready.udp_port(6000, sender, tmp_path / "send.log")
        eventually(lambda: sum(len(group["links"]) for group in receiver.stats.get("groups", [])) == 3, 20)
        stream.start(mbps=4)
        stream.arrives()
        if kind == "packets acknowledged":
            lossy(lab)  # what is lost must be sent again all the same
        targets = link_ports(lab)
        assert len(targets) == 3
        groups = {group["id"] for group in receiver.stats["groups"]}
        before, began = cpu_s(sender.pid), time.monotonic()
        sent, joins = forge(lab, targets, FORGED[kind])
        load = (cpu_s(sender.pid) - before) / (time.monotonic() - began)
        outcome = finished(stream)
        kept = {group["id"] for group in receiver.stats["groups"]} == groups
        name = folder.name if folder else "netbond"
        print(
            f"{name}: {kind}, {sent} times: {outcome}, group kept: {kept}, {joins} REG2,"
            f" {100 * load:.0f} % of a processor"
        )
        if folder is None:
            assert outcome == "0 lost"
            assert kept
            assert joins <= sent / 10  # it asks now and then
            assert load < 0.6


def test_packets_in_another_name_are_not_even_read(tmp_path: Path) -> None:
    """The sockets of links are connected, so the kernel drops what does not come from the receiver.

    The links lose packets meanwhile: a report of a loss that is believed, or one that is not, would show.
    """
    with net(tmp_path, 3) as lab:
        stream, receiver, sender = streaming(lab, 3, mbps=4)
        lossy(lab)
        kinds = list(FORGED.values())
        before = lab.log("send.log")
        sent, joins = forge(
            lab, link_ports(lab), lambda stamp: kinds[stamp % len(kinds)](stamp), source="203.0.113.99"
        )
        assert (stream.finish(), joins) == ([], 0)
        assert sent > 100
        assert lab.log("send.log") == before
        assert len(receiver.stats["groups"]) == 1
        assert sender.stats["state"] == "connected"


def lossy(lab: Net) -> None:
    """Lose one of 50 packets on their way to the receiver."""
    rule = "add rule inet t prerouting udp dport 5000 numgen random mod 50 < 1 drop"
    for text in (
        "add table inet t",
        "add chain inet t prerouting { type filter hook prerouting priority 0; }",
        rule,
    ):
        sh("ip", "netns", "exec", lab.far, "nft", text)


def squat(place: tuple[str, int]) -> socket.socket:
    """Take a port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(place)
    return sock


def finished(stream: Stream) -> str:
    """How the stream ended."""
    try:
        return f"{len(stream.finish())} lost"
    except AssertionError:
        return "the stream broke"


def test_a_stream_goes_on_when_its_old_ports_are_taken(tmp_path: Path) -> None:
    """After a crash another program sits on the ports by which the receiver knows the links."""
    with net(tmp_path, 2) as lab:
        stream, receiver, sender = streaming(lab, 2, mbps=2, latency=3000)
        old, resume = link_ports(lab), sender.resume
        sender.kill()
        for place in old:
            lab.closing.enter_context(lab.in_namespace(lab.box, partial(squat, place)))
        sending_agent(lab, resume=resume)
        stream.arrives(15)
        assert len(receiver.stats["groups"]) == 1
        assert stream.finish() == []
