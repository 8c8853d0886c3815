"""A rehearsal over real sockets on loopback, with a receiver of the test's."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from netbond.config.values import HostPort
from netbond.errors import UnavailableError
from netbond.srtla import rehearsal, wire
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.process import batch, rehearsing
from netbond.srtla.process.linksocket import Endpoint
from netbond.srtla.receiver.receiver import Receiver
from netbond.srtla.rehearsal import LinkResult, Rehearsal, RehearsalResult
from tests.srtla_util import free_ports

MOST = 1_000_000


@contextlib.contextmanager
def receiver() -> Iterator[int]:
    """An SRTLA receiver in a thread; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        stop = threading.Event()

        def serve() -> None:
            machine = Receiver(os.urandom, time.monotonic())
            while not stop.is_set():
                select.select([sock], [], [], 0.01)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        data, address = sock.recvfrom(2000)
                        machine.datagram_from_peer(address, data, time.monotonic())
                machine.handle_timer(time.monotonic())
                machine.datagrams_to_srt()
                for address, data in machine.datagrams_to_peers():
                    sock.sendto(data, address)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(sock.getsockname()[1])
        finally:
            stop.set()
            thread.join(5)


def here(port: int) -> dict[int, Endpoint]:
    return {4: (socket.AF_INET, "127.0.0.1", port)}


def measured(
    to: dict[int, Endpoint], *addresses: str
) -> tuple[RehearsalResult, list[LinkResult], list[list[str]]]:
    """The result, what was told meanwhile, and which links had sockets when privileges were given up."""
    specs = [LinkSpec(address, address) for address in addresses]
    machine = Rehearsal(os.urandom, specs, MOST, time.monotonic())
    told: list[LinkResult] = []
    confined: list[list[str]] = []

    def confine() -> None:
        links = machine.sender.stats(time.monotonic())["links"]
        confined.append([link["label"] for link in links if link["state"] != "error"])

    rehearsing.run(machine, to, confine, told.append)
    return machine.result("far"), told, confined


def test_links_are_measured_and_told() -> None:
    with receiver() as port:
        result, told, confined = measured(here(port), "127.0.0.2", "127.0.0.3")
    assert [each.label for each in told] == ["127.0.0.2", "127.0.0.3"]
    # A shorter round trip may have been measured since.
    assert [replace(each, rtt_ms=0) for each in result.links] == [replace(each, rtt_ms=0) for each in told]
    assert all(each.capacity_bits_per_second for each in told)
    assert result.capacity_bits_per_second
    assert 100_000 < result.used_bytes <= MOST
    assert confined == [["127.0.0.2", "127.0.0.3"]]


def test_links_without_a_socket_say_why() -> None:
    with receiver() as port:
        result, told, confined = measured(here(port), "192.0.2.7", "2001:db8::7", "127.0.0.2")
    assert [each.reason for each in result.links] == [
        "the address is not on this box",
        "the receiver has IPv4 only",
        "",
    ]
    assert [each.label for each in told] == ["127.0.0.2"]
    assert confined == [["127.0.0.2"]]


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "ANSWER_S", 0.5)
    result, told, _ = measured(here(free_ports(1)[0]), "127.0.0.2")
    assert (result.capacity_bits_per_second, told) == (None, [])
    assert result.links[0].reason == "nothing listens at the receiver's port"


def test_a_socket_that_fails_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall that forbids to send what is not a registration."""
    send = batch.send

    def guarded(sock: socket.socket, datagrams: list[bytes]) -> tuple[int, OSError | None]:
        for place, data in enumerate(datagrams):
            if wire.data_sequence(data) is not None and sock.getsockname()[0] == "127.0.0.2":
                return place, PermissionError(1, "Operation not permitted")
        return send(sock, datagrams)

    monkeypatch.setattr(batch, "send", guarded)
    with receiver() as port:
        result, told, _ = measured(here(port), "127.0.0.2", "127.0.0.3")
    assert [each.label for each in told] == ["127.0.0.3"]
    assert result.links[0].reason == "sending is not permitted (a firewall rule?)"


def test_a_full_buffer_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    send = batch.send
    calls = 0

    def crowded(sock: socket.socket, datagrams: list[bytes]) -> tuple[int, OSError | None]:
        nonlocal calls
        calls += 1
        if calls % 5 == 0:
            return 0, BlockingIOError(11, "Resource temporarily unavailable")
        return send(sock, datagrams)

    monkeypatch.setattr(batch, "send", crowded)
    with receiver() as port:
        result, told, _ = measured(here(port), "127.0.0.2")
    assert told[0].capacity_bits_per_second
    assert result.used_bytes <= MOST


def test_addresses_of_a_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert (host, port) == ("bond.example.org", 5000)
        return [
            (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("2001:db8::1", 5000, 0, 0)),
            (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.1", 5000)),
            (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.2", 5000)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    assert rehearsing.resolve(HostPort("bond.example.org", 5000)) == {
        4: (socket.AF_INET, "192.0.2.1", 5000),
        6: (socket.AF_INET6, "2001:db8::1", 5000),
    }


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            socket.gaierror(-2, "Name or service not known"),
            "bond.example.org:5000: Name or service not known",
        ),
        (UnicodeError("label too long"), "bond.example.org:5000: not a valid host name"),
    ],
)
def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch, error: Exception, says: str) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    with pytest.raises(UnavailableError, match=says):
        rehearsing.resolve(HostPort("bond.example.org", 5000))
