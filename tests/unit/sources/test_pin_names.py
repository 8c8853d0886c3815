"""Names are looked up beside everything else; a bad answer never undoes a good one."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable

import pytest

from netbond.config.schema import Config, PinConfig
from netbond.model import Facts, IPAddress
from netbond.sources import pin_names
from netbond.sources.pin_names import Lookups, PinNames


class Names:
    """A resolver that is told what to answer; None: it fails."""

    def __init__(self) -> None:
        self.answers: dict[str, list[str] | None] = {}
        self.asked: list[str] = []

    async def resolve(self, name: str) -> Iterable[IPAddress]:
        self.asked.append(name)
        answer = self.answers[name]
        if answer is None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [ipaddress.ip_address(text) for text in answer]


async def rounds(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pin_names, "REFRESH_S", 0)
    monkeypatch.setattr(pin_names, "RETRY_S", 0)


async def test_the_last_good_answer_holds() -> None:
    names, changes = Names(), []
    names.answers = {"a": ["192.0.2.2", "2001:db8::1", "192.0.2.1", "192.0.2.1"]}
    found = Lookups(lambda: changes.append(1), names.resolve)
    found.want({"a"})
    assert [found.complete] == [False]
    await rounds()
    expected = (("a", tuple(map(ipaddress.ip_address, ("192.0.2.1", "192.0.2.2", "2001:db8::1")))),)
    assert [found.complete] == [True]
    assert found.answers == expected
    assert len(changes) == 1
    names.answers["a"] = None
    await rounds()
    assert found.answers == expected
    assert found.failures == {"a": "Temporary failure in name resolution"}
    names.answers["a"] = []
    await rounds()
    assert found.answers == expected
    names.answers["a"] = ["192.0.2.9"]
    await rounds()
    assert found.answers == (("a", (ipaddress.ip_address("192.0.2.9"),)),)
    assert found.failures == {}
    assert len(changes) == 2
    await found.stop()


async def test_a_failure_is_a_first_word_too_and_nothing_wanted_is_complete() -> None:
    names, changes = Names(), []
    names.answers = {"a": None}
    found = Lookups(lambda: changes.append(1), names.resolve)
    assert found.complete
    found.want({"a"})
    await rounds()
    assert found.complete
    assert changes == [1]
    await found.stop()


async def test_what_is_wanted_no_more_is_forgotten_and_asked_no_more() -> None:
    names = Names()
    names.answers = {"a": ["192.0.2.1"], "b": ["192.0.2.2"]}
    found = Lookups(lambda: None, names.resolve)
    found.want({"a", "b"})
    await rounds()
    found.want({"b"})
    await rounds()
    assert [name for name, _ in found.answers] == ["b"]
    names.asked.clear()
    await rounds()
    assert set(names.asked) == {"b"}
    await found.stop()


async def test_the_resolver_itself() -> None:
    found = await pin_names.resolve("127.0.0.1")
    assert found == [ipaddress.ip_address("127.0.0.1")]


# --- the source --------------------------------------------------------------------------------------------


def pinning(*names: str) -> Config:
    return Config(pin=tuple(PinConfig((name,), ("usb0",)) for name in names))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Names:
    """In the place of the system's resolver."""
    names = Names()
    monkeypatch.setattr(pin_names.Lookups.__init__, "__defaults__", (names.resolve,))
    return names


async def test_names_of_pins_are_facts_and_news(answers: Names) -> None:
    answers.answers = {"a.example": ["10.9.9.9"], "b.example": None}
    source, looks = PinNames(pinning("a.example", "b.example", "192.0.2.0/24")), list[None]()
    assert source.contribute(Facts(), 0.0).resolved == ()
    await source.start(lambda: looks.append(None), ())
    assert not source.complete()
    await rounds()
    assert source.complete()
    assert len(looks) >= 2
    assert source.contribute(Facts(), 0.0).resolved == (("a.example", (ipaddress.ip_address("10.9.9.9"),)),)
    assert source.problems == ["pin: b.example: Temporary failure in name resolution; trying again"]
    source.configure(pinning("a.example"))
    assert source.problems == []
    source.configure(pinning())
    assert source.contribute(Facts(), 0.0).resolved == ()
    await source.stop()


async def test_once_asks_once(answers: Names) -> None:
    answers.answers = {"a.example": ["10.9.9.9"], "b.example": None}
    source = PinNames(pinning("a.example", "b.example"))
    await source.once()
    await rounds()
    assert sorted(answers.asked) == ["a.example", "b.example"]
    assert [name for name, _ in source.contribute(Facts(), 0.0).resolved] == ["a.example"]
    assert len(source.problems) == 1
