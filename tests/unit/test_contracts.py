"""The two contracts: what a source or an output need not say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netbond.config.schema import Config
from netbond.contracts import Output, Source, Traffic
from netbond.desired import Desired
from netbond.model import Facts
from netbond.status.schema import Sections


class Quiet(Source):
    """A source with the one method that each has to have."""

    name = "quiet"

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        return replace(facts, roaming=frozenset({"usb0"}))


async def test_a_source_needs_no_more_than_its_facts() -> None:
    source = Quiet()
    await source.start(lambda: None, ())
    await source.once()
    source.configure(Config())
    source.tick(Traffic(), 1.0)
    assert source.contribute(Facts(), 1.0).roaming == {"usb0"}
    assert source.complete()
    assert source.status(Sections(), (), 1.0) == Sections()
    assert source.problems == ()
    await source.stop()


class Silent(Output):
    """An output with the one method that each has to have."""

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> tuple[str, ...]:
        return ("nothing works",)


async def test_an_output_needs_no_more_than_apply() -> None:
    output = Silent()
    await output.start(lambda: None, ())
    assert await output.apply(Facts(), Desired(), Config()) == ("nothing works",)
    assert await output.leave() == ()
    await output.stop()


async def test_what_has_to_be_said_is_missed() -> None:
    with pytest.raises(NotImplementedError):
        Source().contribute(Facts(), 0.0)
    with pytest.raises(NotImplementedError):
        await Output().apply(Facts(), Desired(), Config())


def test_traffic_starts_with_nothing() -> None:
    assert Traffic() == Traffic(interfaces=(), rates={}, engines=())
