"""Probes over the loopback interface; through real uplinks they are tests/netns/test_health_probes.py's."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from netbond.config.schema import CheckConfig
from netbond.config.targets import Target
from netbond.health import probes
from netbond.health.judge import Answer, Outcome
from netbond.health.packets import DnsAnswer
from netbond.health.probes import ProbedUplink, probe, questions, resolvers
from netbond.srtla import wire

LO = ipaddress.ip_address("127.0.0.1")


def uplink(**more: object) -> ProbedUplink:
    return replace(ProbedUplink("lo", LO), **more)  # type: ignore[arg-type]  # fields of it


def check(kind: str, *targets: str, timeout: float = 5.0) -> CheckConfig:
    return CheckConfig(kind, kind, targets, timeout=timeout)


async def asked(of: CheckConfig, at: ProbedUplink) -> Answer:
    (target,) = questions(of, at)
    return await probe(of, target, at)


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server for one connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def saying(text: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(2000)
        connection.sendall(text)

    return answer


class TestQuestions:
    """Which targets an uplink is asked."""

    def test_a_gateway_if_there_is_one(self) -> None:
        assert questions(check("gateway"), uplink()) == []
        (target,) = questions(check("gateway"), uplink(gateway=LO))
        assert target.text == "127.0.0.1"

    def test_none_of_the_other_family(self) -> None:
        of = check("icmp", "192.0.2.1", "2001:db8::1", "name.example")
        assert [target.text for target in questions(of, uplink())] == ["192.0.2.1", "name.example"]

    def test_the_word_gateway(self) -> None:
        of = check("tcp", "gateway:80")
        assert questions(of, uplink()) == []
        assert [target.host for target in questions(of, uplink(gateway=LO))] == ["127.0.0.1"]

    def test_resolvers_are_addresses(self) -> None:
        assert resolvers(["192.0.2.1", "2001:db8::1"]) == (
            ipaddress.ip_address("192.0.2.1"),
            ipaddress.ip_address("2001:db8::1"),
        )


async def test_tcp_that_is_accepted_or_refused_is_an_answer() -> None:
    with listening(lambda _: None) as port:
        found = await asked(check("tcp", f"127.0.0.1:{port}"), uplink())
    assert found.outcome is Outcome.ANSWERED
    assert found.rtt is not None
    assert found.rtt < 5
    refused = await asked(check("tcp", f"127.0.0.1:{port}"), uplink())
    assert refused.outcome is Outcome.ANSWERED


@pytest.mark.parametrize(
    ("said", "outcome", "detail"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", Outcome.ANSWERED, "204"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n", Outcome.FAILED, "a captive portal"),
        (b"HTTP/1.1 500 Oops\r\n\r\n", Outcome.FAILED, "500"),
        (b"HTTP/1.1 2", Outcome.FAILED, "closed the connection before it had answered"),
        (b"SSH-2.0-x\r\n\r\n", Outcome.FAILED, ""),
    ],
)
async def test_http(said: bytes, outcome: Outcome, detail: str) -> None:
    with listening(saying(said)) as port:
        of = replace(check("http", f"http://127.0.0.1:{port}/generate_204"), expect=204)
        found = await asked(of, uplink())
    assert found.outcome is outcome
    assert detail in found.detail
    assert found.detail.isprintable()


async def test_who_does_not_answer_in_time_has_failed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        of = check("dns", f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.05)
        found = await asked(of, uplink())
    assert found.outcome is Outcome.FAILED
    assert found.detail.endswith("no answer within 0.05 s")


@pytest.mark.parametrize(
    ("flags", "outcome"),
    [(0x8180, Outcome.ANSWERED), (0x8183, Outcome.ANSWERED), (0x8182, Outcome.FAILED)],
    ids=["no error", "no such name", "SERVFAIL"],
)
async def test_dns_is_dead_only_if_it_cannot_answer(flags: int, outcome: Outcome) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)

        async def serve() -> None:
            loop = asyncio.get_running_loop()
            query, whence = await loop.sock_recvfrom(server, 2000)
            server.sendto(b"not an answer", whence)
            server.sendto(query[:2] + struct.pack("!H", flags) + query[4:], whence)

        serving = asyncio.ensure_future(serve())
        found = await asked(check("dns", f"127.0.0.1:{server.getsockname()[1]}"), uplink())
        await serving
    assert found.outcome is outcome


async def asked_receiver(answers: Sequence[Sequence[bytes]], timeout_s: float) -> tuple[Answer, list[bytes]]:
    """Ask an SRTLA receiver that answers its first question with these datagrams, and so on."""
    questions: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        port = server.getsockname()[1]

        async def serve() -> None:
            loop = asyncio.get_running_loop()
            for answer in answers:
                question, whence = await loop.sock_recvfrom(server, 2000)
                questions.append(question)
                for each in answer:
                    server.sendto(each, whence)

        serving = asyncio.ensure_future(serve())
        target = Target(f"bond.example:{port}", "127.0.0.1", port)
        found = await probe(CheckConfig("receiver", "srtla", timeout=timeout_s), target, uplink())
        serving.cancel()
    return found, questions


@pytest.mark.parametrize(
    "said", [wire.REG_NGP_PACKET, wire.REG_ERR_PACKET, b"\x92\x11", wire.build_refusal(wire.REFUSED_KEY)]
)
async def test_a_receiver_answers_whatever_it_answers(said: bytes) -> None:
    found, (question,) = await asked_receiver([[said]], 5.0)
    assert found.outcome is Outcome.ANSWERED
    assert found.rtt is not None
    assert wire.parse_registration(question) is not None


async def test_a_receiver_is_asked_twice_and_other_packets_are_no_answer() -> None:
    junk = [b"", b"\x92", wire.REG3_PACKET, b"\x90\x00", b"x" * 1400]
    found, asked = await asked_receiver([junk, [wire.REG_NGP_PACKET]], 0.4)
    assert found.outcome is Outcome.ANSWERED
    assert asked[0] == asked[1]
    found, asked = await asked_receiver([junk, junk, []], 0.2)
    assert (found.outcome, len(asked)) == (Outcome.FAILED, 2)
    assert found.detail.endswith(": no answer within 0.2 s")


async def test_a_refusal_is_no_receivers_answer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    target = Target("bond.example", "127.0.0.1", port)
    found = await probe(CheckConfig("receiver", "srtla", timeout=5.0), target, uplink())
    assert (found.outcome, found.detail) == (Outcome.FAILED, "bond.example: connection refused")


@pytest.mark.skipif(os.geteuid() != 0, reason="a raw socket is root's")
async def test_icmp() -> None:
    assert (await asked(check("icmp", "127.0.0.1"), uplink())).outcome is Outcome.ANSWERED


async def test_a_device_without_neighbours_is_skipped() -> None:
    found = await asked(check("gateway"), uplink(gateway=LO))
    assert (found.outcome, found.detail) == (Outcome.SKIPPED, "127.0.0.1: lo has no neighbours to ask")


async def test_what_fails_on_this_box_says_nothing_of_the_uplink() -> None:
    elsewhere = uplink(address=ipaddress.ip_address("192.0.2.77"))  # not an address of this box
    found = await asked(check("tcp", "127.0.0.1:9"), elsewhere)
    assert found.outcome is Outcome.LOCAL
    gone = await asked(check("tcp", "127.0.0.1:9"), uplink(device="no-such-if"))
    assert gone.outcome is Outcome.FAILED


class TestNames:
    """Names are looked up through the uplink itself."""

    def answers(self, monkeypatch: pytest.MonkeyPatch, *found: DnsAnswer | Exception) -> list[str]:
        """Have the resolvers say this, one after the other; which were asked."""
        rest, servers = list(found), list[str]()

        async def ask(server: object, _port: int, _name: str, _uplink: object) -> DnsAnswer:
            servers.append(str(server))
            answer = rest.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(probes, "_dns", ask)
        return servers

    async def test_a_name_in_etc_hosts_is_looked_up_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As a sender does it: such a receiver is reached, whatever name servers say."""
        monkeypatch.setattr("netbond.system.hosts.address_of", lambda name, family: LO)
        of = uplink(resolvers=())
        assert await probes._resolve("bond.example.org", of) == LO
        assert of.names["bond.example.org"][0] == LO

    async def test_without_a_resolver_it_does_not_apply(self) -> None:
        found = await asked(check("tcp", "name.example:80"), uplink())
        assert found.outcome is Outcome.SKIPPED
        assert "no resolver for IPv4 is configured" in found.detail

    async def test_the_next_resolver_is_asked_and_the_address_is_kept(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        of = uplink(resolvers=resolvers(["192.0.2.1", "192.0.2.2"]))
        servers = self.answers(monkeypatch, TimeoutError(), DnsAnswer(0, (LO,), 5))
        assert await probes._resolve("name.example", of) == LO
        assert await probes._resolve("name.example", of) == LO
        assert servers == ["192.0.2.1", "192.0.2.2"]

    async def test_why_there_is_no_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        of = uplink(resolvers=resolvers(["192.0.2.1"]))
        for answer, outcome, says in (
            (DnsAnswer(0, (), 0), Outcome.SKIPPED, "has no IPv4 address"),
            (DnsAnswer(2, (), 0), Outcome.FAILED, "resolver 192.0.2.1 says"),
            (OSError(111, "refused"), Outcome.FAILED, "resolver 192.0.2.1: connection refused"),
            (TimeoutError(), Outcome.FAILED, "resolver 192.0.2.1 does not answer"),
        ):
            self.answers(monkeypatch, answer)
            found = await asked(check("tcp", "name.example:80"), of)
            assert found.outcome is outcome
            assert says in found.detail

    async def test_names_do_not_pile_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        of = uplink(resolvers=resolvers(["192.0.2.1"]))
        self.answers(monkeypatch, *[DnsAnswer(0, (LO,), 5)] * 200)
        for number in range(200):
            await probes._resolve(f"{number}.example", of)
        assert len(of.names) <= probes.MAX_NAMES
