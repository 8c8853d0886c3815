"""Host names of receivers and SRT servers, resolved beside the packets."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest

from netbond.config.values import HostPort
from netbond.srtla.process import resolve
from netbond.srtla.process.linksocket import Endpoint
from netbond.srtla.process.resolve import Resolver


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_an_address_is_known_before_the_first_packet_is_read(host: str, family: int) -> None:
    """Packets that came before would be lost; a name has to be waited for."""

    found: list[list[Endpoint]] = []
    Resolver(HostPort(host, 5), found.append).start()
    await asyncio.sleep(0)
    assert found == [[(family, host, 5)]]


class Answers:
    """Stands in for getaddrinfo: errors, then addresses."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int, **_: object) -> list[Any]:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, list)
        return [(family, 2, 17, "", (address, port)) for family, address in answer]


async def test_a_name_is_tried_again_until_it_resolves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(resolve, "BACKOFF_S", (0.01, 0.02))
    both = [(socket.AF_INET6, "2001:db8::1"), (socket.AF_INET, "192.0.2.1"), (socket.AF_INET, "192.0.2.1")]
    answers = Answers(
        socket.gaierror(-3, "Temporary failure in name resolution"),
        UnicodeError("label too long"),
        [],
        [(socket.AF_UNIX, "x")],
        both,
        both,
    )
    monkeypatch.setattr(socket, "getaddrinfo", answers)
    found: asyncio.Queue[list[Endpoint]] = asyncio.Queue()
    resolver = Resolver(HostPort("bond.example.org", 5), found.put_nowait)
    assert not resolver.literal
    resolver.start()
    resolver.start()  # under way already
    addresses = await asyncio.wait_for(found.get(), 5)
    assert addresses == [(socket.AF_INET6, "2001:db8::1", 5), (socket.AF_INET, "192.0.2.1", 5)]
    assert answers.asked == 5
    assert caplog.text.count("cannot resolve bond.example.org: Temporary failure in name resolution") == 1
    assert "bond.example.org resolves again: 2001:db8::1, 192.0.2.1" in caplog.text
    resolver.start()
    assert await asyncio.wait_for(found.get(), 5) == addresses


async def test_whether_the_last_attempt_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "BACKOFF_S", (0.001, 0.001))
    told: list[bool] = []
    answers = Answers(socket.gaierror(-2, "Name or service not known"), [(socket.AF_INET, "192.0.2.1")])
    monkeypatch.setattr(socket, "getaddrinfo", answers)
    done = asyncio.Event()
    resolver = Resolver(HostPort("bond.example.org", 5), lambda _: done.set())
    told.append(resolver.failing)
    resolver.start()
    resolver._done([], "as a name server says")
    told.append(resolver.failing)
    assert resolver.why == "as a name server says"
    await asyncio.wait_for(done.wait(), 5)
    told.append(resolver.failing)
    assert told == [False, True, False]
    assert resolver.why == ""
