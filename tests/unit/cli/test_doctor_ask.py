"""What `netbond doctor` asks the network, against sockets of this machine."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from pathlib import Path

import pytest

from netbond.cli import doctor_ask
from netbond.config.load import parse
from netbond.config.values import HostPort
from netbond.doctor.model import Asked
from netbond.health.judge import Outcome
from netbond.srtla import wire


def test_name_servers_of_the_box(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\noptions edns0\n")
    real.write_text("# two\nnameserver 10.0.0.1\nnameserver 2001:db8::1\nnameserver 10.0.0.1\nnameserver x\n")
    found = doctor_ask.system_resolvers([tmp_path / "none", stub, real])
    assert found == [ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("2001:db8::1")]
    assert doctor_ask.system_resolvers([stub]) == []


@pytest.mark.parametrize(
    ("outcome", "judged"),
    [
        (Outcome.ANSWERED, (True, "answers in 20 ms")),
        (Outcome.FAILED, (False, "refused")),
        (Outcome.LOCAL, (None, "refused")),
        (Outcome.SKIPPED, (None, "refused")),
    ],
)
def test_what_an_answer_says(outcome: Outcome, judged: tuple[bool | None, str]) -> None:
    assert doctor_ask._judged(outcome, 0.02, "1.1.1.1: refused", "1.1.1.1") == judged


def test_an_srt_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_ask, "TIMEOUT_S", 0.3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

        async def ask_and_answer() -> Asked:
            loop = asyncio.get_running_loop()
            server.setblocking(False)

            async def answer() -> None:
                data, caller = await loop.sock_recvfrom(server, wire.MTU)
                mirrored = bytearray(data)
                struct.pack_into(">I", mirrored, 12, wire.handshake_socket(data))
                server.sendto(mirrored, caller)

            found, _ = await asyncio.gather(doctor_ask._srt(HostPort("127.0.0.1", port)), answer())
            return found

        assert asyncio.run(ask_and_answer()).answered is True
        assert asyncio.run(doctor_ask._srt(HostPort("127.0.0.1", port))).detail == "no answer within 0.3 s"
    found = asyncio.run(doctor_ask._srt(HostPort("127.0.0.1", port)))
    assert (found.answered, found.detail) == (False, "Connection refused")


def test_without_uplinks_only_servers_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_ask, "TIMEOUT_S", 0.1)
    config = parse('[[receiver]]\nlisten = "0.0.0.0:5000"\nsrt = "127.0.0.1:9"')
    asked, paths = asyncio.run(doctor_ask.ask([], config))
    assert [(each.kind, each.target, each.answered) for each in asked] == [("srt", "127.0.0.1:9", False)]
    assert paths == ()


def test_the_firewall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert doctor_ask.firewall() == (None, "only root may see it")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    assert doctor_ask.firewall() == (None, "nft is not installed")
