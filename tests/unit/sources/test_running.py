"""All sources as one: the order in which they contribute, what one that fails costs, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.schema import Config
from netbond.contracts import Look, Source, Traffic
from netbond.model import Facts, Interface
from netbond.sources.running import Sources, all_sources, assemble
from netbond.status.schema import HardwareStatus, Sections
from tests.unit.places import config_in, content


class Told(Source):
    """Notes what it is told, and adds its name to the facts."""

    def __init__(self, name: str, told: list[str], *, speaks: bool = True) -> None:
        self.name = name
        self.told = told
        self._speaks = speaks

    @property
    def problems(self) -> Sequence[str]:
        return (f"{self.name} is told so",)

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        await asyncio.sleep(0)  # so that all of them have begun before one is done
        self.told.append(f"start {self.name} {len(links)}")
        look()

    async def stop(self) -> None:
        self.told.append(f"stop {self.name}")

    def configure(self, config: Config) -> None:
        self.told.append(f"configure {self.name} {config.agent.on_stop}")

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        return replace(facts, roaming=frozenset({f"{self.name} after {len(facts.roaming)} at {now_s}"}))

    def complete(self) -> bool:
        return self._speaks

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        return replace(sections, hardware={**sections.hardware, self.name: HardwareStatus()})

    def tick(self, traffic: Traffic, now_s: float) -> None:
        self.told.append(f"tick {self.name} {now_s}")


async def test_they_are_started_told_and_stopped_as_one(tmp_path: Path) -> None:
    told: list[str] = []
    looks: list[None] = []
    sources = Sources([Told("a", told), Told("b", told)], lambda: looks.append(None))
    async with contextlib.AsyncExitStack() as stack:
        await sources.start(stack, (Interface("lo", 1),))
        assert (told, len(looks)) == (["start a 1", "start b 1"], 2)
        sources.configure(config_in(tmp_path))
        sources.tick(Traffic(), 7.0)
    assert told[2:] == [
        "configure a remove",
        "configure b remove",
        "tick a 7.0",
        "tick b 7.0",
        "stop b",
        "stop a",
    ]


async def test_one_that_cannot_start_leaves_none_running() -> None:
    told: list[str] = []

    class Broken(Told):
        async def start(self, look: Look, links: Sequence[Interface]) -> None:
            raise RuntimeError("a bug")

    sources = Sources([Told("a", told), Broken("b", told)], lambda: None)
    with pytest.raises(RuntimeError, match="a bug"):
        async with contextlib.AsyncExitStack() as stack:
            await sources.start(stack, ())
    assert [line for line in told if line.startswith("stop")] == ["stop b", "stop a"]


def test_a_later_one_sees_what_an_earlier_one_said() -> None:
    sources = Sources([Told("a", []), Told("b", [])], lambda: None)
    assert sources.facts(Facts(), 3.0).roaming == {"b after 1 at 3.0"}
    assert assemble([], Facts(interfaces=(Interface("lo", 1),)), 3.0) == Facts(
        interfaces=(Interface("lo", 1),)
    )


def test_one_that_has_not_spoken_keeps_the_whole_from_being_complete() -> None:
    assert Sources([Told("a", []), Told("b", [])], lambda: None).complete
    assert not Sources([Told("a", [], speaks=False), Told("b", [])], lambda: None).complete


def test_problems_come_by_their_source() -> None:
    sources = Sources([Told("a", []), Told("b", [])], lambda: None)
    assert dict(sources.problems()) == {"a": ("a is told so",), "b": ("b is told so",)}


def test_each_puts_its_part_into_the_snapshot() -> None:
    sources = Sources([Told("a", []), Told("b", [])], lambda: None)
    assert list(sources.sections((), 0.0).hardware) == ["a", "b"]


# --- those that there are ----------------------------------------------------------------------------------


def test_each_has_a_name_of_its_own(tmp_path: Path) -> None:
    names = [source.name for source in all_sources(config_in(tmp_path))]
    assert all(names)
    assert len(set(names)) == len(names)  # problems are kept by it


async def test_once_of_all_of_them_writes_nothing(tmp_path: Path) -> None:
    sources = all_sources(config_in(tmp_path))
    await asyncio.gather(*(source.once() for source in sources))
    assert assemble(sources, Facts(interfaces=(Interface("lo", 1, loopback=True),)), 5.0).interfaces
    assert content(tmp_path) == {}
    assert not (tmp_path / "state").exists()


def test_what_only_time_tells_is_not_known_to_one_that_was_never_started(tmp_path: Path) -> None:
    facts = assemble(all_sources(config_in(tmp_path)), Facts(), 5.0)
    assert (facts.health, facts.spent_plans, facts.measured, facts.roaming) == ((), (), (), frozenset())
