"""A recorded registration with a pre-shared key is replayed: from other ports, later, and after a restart."""

from __future__ import annotations

import contextlib
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netbond.srtla import wire
from tests.srtla_net import RECEIVER, Agent, Stream, eventually, net, sending_agent

pytestmark = pytest.mark.root

ETH_P_ALL = 3
UDP_HEADERS = 14 + 20 + 8  # Ethernet, IPv4 without options, UDP


def recorder() -> socket.socket:
    """What all interfaces of this namespace get from now on."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))


def recorded(tap: socket.socket) -> list[bytes]:
    """The datagrams to the receiver among it, in their order, each once."""
    tap.setblocking(False)
    found: dict[bytes, None] = {}
    with contextlib.suppress(BlockingIOError):
        while frame := tap.recv(2048):
            if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == b"\x13\x88":
                found[frame[UDP_HEADERS:]] = None
    return list(found)


def replay(datagrams: list[bytes], source: str) -> tuple[int, list[bytes]]:
    """Send them from another address, all kinds in their order, twice: bytes sent, and the answers."""
    answers = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.connect((RECEIVER, 5000))
        sock.settimeout(0.02)
        for datagram in (*datagrams, *datagrams):
            sock.send(datagram)
            with contextlib.suppress(TimeoutError):
                while True:
                    answers.append(sock.recv(2048))
    return 2 * sum(map(len, datagrams)), answers


def links(receiver: Agent) -> list[tuple[str, list[str]]]:
    """Each group with its links, as the receiver tells."""
    groups: list[dict[str, Any]] = receiver.stats.get("groups", [])
    return [(group["id"], sorted(link["peer"] for link in group["links"])) for group in groups]


@pytest.mark.parametrize("required", [True, False], ids=["key required", "key accepted"])
def test_what_was_recorded_opens_nothing(tmp_path: Path, required: bool) -> None:
    (tmp_path / "key").write_text("a secret of twenty-four bytes\n")
    (tmp_path / "key").chmod(0o600)
    key = (f"--key-file={tmp_path}/key", *(["--require-key"] if required else []))
    with net(tmp_path, 2) as lab:
        tap = lab.closing.enter_context(lab.in_namespace(lab.far, recorder))
        stream = Stream(lab)
        receiver = Agent(
            lab, lab.far, "recv", "--listen", "0.0.0.0:5000", "--srt", "127.0.0.1:5002", *key,
            log="recv.log", user="root",
        ).until_ready()  # fmt: skip
        sender = sending_agent(lab, more=key, user="root")
        eventually(lambda: [link["state"] for link in sender.stats.get("links", [])] == ["up"] * 2, 20)
        eventually(lambda: links(receiver) and len(links(receiver)[0][1]) == 2, 10)
        datagrams = recorded(tap)
        kinds = {wire.packet_type(each) for each in datagrams}
        assert {wire.REG1, wire.REG2} <= kinds
        before = links(receiver)
        stream.start(mbps=2)
        stream.arrives()

        for source in ("10.7.0.2", "10.7.1.2"):  # from other ports than the links have
            sent, answers = lab.in_namespace(lab.box, partial(replay, datagrams, source))
            assert sum(map(len, answers)) <= 3 * sent
        stamp = receiver.stats
        eventually(lambda: receiver.stats is not stamp, 10, "statistics of after it")
        # Who reads the id of a group that is there can join it (docs/srtla.md), but opens and ends nothing.
        assert [group for group, _ in links(receiver)] == [group for group, _ in before]
        assert set(links(receiver)[0][1]) >= set(before[0][1])
        assert [link["state"] for link in sender.stats["links"]] == ["up"] * 2
        assert stream.finish() == []

        sender.kill()
        receiver.kill()
        receiver = Agent(
            lab, lab.far, "recv", "--listen", "0.0.0.0:5000", "--srt", "127.0.0.1:5002", *key,
            log="recv.log", user="root",
        ).until_ready()  # fmt: skip
        _, answers = lab.in_namespace(lab.box, lambda: replay(datagrams, "10.7.0.2"))
        assert wire.REG3 not in {wire.packet_type(answer) for answer in answers}
        time.sleep(1.1)
        stamp = receiver.stats
        eventually(lambda: receiver.stats is not stamp, 10, "statistics of after it")
        assert links(receiver) == []
