"""Engines that are told to stop let what they have taken on leave first."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netbond.srtla import wire
from tests.srtla_util import data_packet, free_ports, induction

PACKETS = 60


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def open_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(40)
    return sock


@contextmanager
def netbond(*words: str, until: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-m", "netbond", *words], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        while until not in process.stderr.readline():
            assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def test_a_sender_sends_what_waits_for_a_link(tmp_path: Path) -> None:
    """The link has room for a few packets at a time, as its receiver acknowledges them."""
    (tmp_path / "ips").write_text("127.0.0.1\n")
    arrived: list[int] = []
    with open_socket() as receiver, open_socket() as caller:
        group = b""

        def serve() -> None:
            nonlocal group
            waiting: list[int] = []
            while True:
                data, sender = receiver.recvfrom(2048)
                kind = wire.packet_type(data)
                if not data:
                    return
                if kind == wire.REG1:
                    group = data[2:]
                    receiver.sendto(wire.build_registration(wire.REG2, group), sender)
                elif kind == wire.REG2:
                    answer = wire.REG3_PACKET if data[2:] == group else wire.REG_NGP_PACKET
                    receiver.sendto(answer, sender)
                elif kind == wire.KEEPALIVE:
                    receiver.sendto(data, sender)
                elif (sequence := wire.data_sequence(data)) is not None:
                    arrived.append(sequence)
                    waiting.append(sequence)
                    if len(waiting) == 10:
                        receiver.sendto(wire.build_srtla_ack(waiting), sender)
                        waiting.clear()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        (listen,) = free_ports(1)
        words = (str(listen), "127.0.0.1", str(port_of(receiver)), str(tmp_path / "ips"))
        with netbond("send", *words, until=": up") as process:
            caller.sendto(induction(), ("127.0.0.1", listen))
            for number in range(PACKETS):
                caller.sendto(data_packet(number), ("127.0.0.1", listen))
            process.terminate()
            assert process.wait(40) == 0
        receiver.sendto(b"", receiver.getsockname())  # the end
        thread.join(10)
    assert sorted(set(arrived)) == list(range(PACKETS))


def test_a_receiver_acknowledges_what_came_last() -> None:
    with open_socket() as server, open_socket() as link:
        (port,) = free_ports(1)
        words = ("--listen", f"127.0.0.1:{port}", "--srt", f"127.0.0.1:{port_of(server)}")
        with netbond("recv", *words, until="listening") as process:
            link.connect(("127.0.0.1", port))
            link.send(wire.build_registration(wire.REG1, bytes(256)))
            link.send(link.recv(2048))
            assert wire.packet_type(link.recv(2048)) == wire.REG3
            for number in range(5):
                link.send(data_packet(number))
            assert server.recv(2048) == data_packet(
                0
            )  # it has them, and waits for more to acknowledge together
            process.terminate()
            acknowledged: list[int] = []
            link.settimeout(40)
            while len(acknowledged) < 5:  # in one, unless it read them one by one
                acknowledged += wire.parse_srtla_ack(link.recv(2048)) or ()
            assert sorted(acknowledged) == [0, 1, 2, 3, 4]
            assert process.wait(40) == 0
            assert [wire.data_sequence(server.recv(2048)) for _ in range(4)] == [1, 2, 3, 4]
