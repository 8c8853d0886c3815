"""Defaults that were taken out of main: as facts, recorded before they go, and given back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from netbond.config.schema import Config, RoutingConfig
from netbond.desired import Desired
from netbond.kernel.client import Kernel
from netbond.kernel.taken_defaults import DefaultStore
from netbond.model import Facts, Interface
from netbond.plan import Operation
from netbond.refusals import Refusal
from netbond.sources.taken_defaults import TakenDefaults
from tests.unit.boxes import address, box, main_default
from tests.unit.places import config_in, content

TAKING = RoutingConfig(take_over_default=True)
FACTS = box("usb0", "usb1")
USB0, USB1 = main_default("usb0", "10.0.0.1"), main_default("usb1", "10.0.1.1", metric=100)


class Kernels:
    """Takes what is written to the kernel, and may refuse it."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.written: list[str] = []
        self.refuses = refuses

    async def apply(self, operations: list[Operation], links: tuple[Interface, ...]) -> list[Refusal]:
        self.written += [operation.command() for operation in operations]
        return [Refusal(operation, 22, "Invalid argument") for operation in operations if self.refuses]


def kernel(found: Kernels) -> Kernel:
    return cast("Kernel", found)


@pytest.fixture
def taking(tmp_path: Path) -> Config:
    return config_in(tmp_path, routing=TAKING)


@pytest.fixture
def leaving(tmp_path: Path) -> Config:
    return config_in(tmp_path)


def recorded(config: Config) -> tuple[object, ...]:
    """As another process reads it."""
    return DefaultStore(config.agent.state_dir).load()


async def test_what_is_taken_is_recorded_first_and_is_a_fact_afterwards(taking: Config) -> None:
    source, kernels = TakenDefaults(taking), Kernels()
    goal = await source.settle(kernel(kernels), FACTS, Desired(take=(USB0, USB1)))
    assert goal.take == (USB0, USB1)
    assert recorded(taking) == (USB0, USB1)
    assert kernels.written == []  # taking them out is the plan's work
    facts = source.contribute(FACTS, 5.0)
    assert facts.taken == (USB0, USB1)
    assert replace(facts, taken=()) == FACTS


async def test_one_that_leads_nowhere_any_more_is_no_fact(taking: Config) -> None:
    source = TakenDefaults(taking)
    await source.settle(kernel(Kernels()), FACTS, Desired(take=(USB0, USB1)))
    moved = replace(FACTS, addresses=(address("usb0", "172.16.0.9/24"), *FACTS.addresses[2:]))
    assert source.contribute(moved, 5.0).taken == (USB1,)


async def test_what_cannot_be_recorded_stays_in_main(taking: Config) -> None:
    taking.agent.state_dir.write_text("in the way\n")
    source = TakenDefaults(taking)
    goal = await source.settle(kernel(Kernels()), FACTS, Desired(take=(USB0,)))
    assert goal.take == ()
    (problem,) = source.problems
    assert problem.startswith(f"defaults in main stay: {taking.agent.state_dir}/defaults.json: ")
    taking.agent.state_dir.unlink()
    goal = await source.settle(kernel(Kernels()), FACTS, Desired(take=(USB0,)))
    assert (goal.take, list(source.problems)) == ((USB0,), [])


async def test_after_a_reload_they_go_back(taking: Config, leaving: Config) -> None:
    source, kernels = TakenDefaults(taking), Kernels()
    await source.settle(kernel(kernels), FACTS, Desired(take=(USB0,)))
    source.configure(leaving)
    assert source.contribute(FACTS, 5.0).taken == ()
    goal = Desired()
    assert await source.settle(kernel(kernels), FACTS, goal) is goal
    assert kernels.written == ["ip route add default via 10.0.0.1 dev usb0 table main proto 16"]
    assert recorded(leaving) == ()
    await source.settle(kernel(kernels), FACTS, goal)
    assert len(kernels.written) == 1  # and only once


async def test_one_that_the_kernel_refuses_is_told_in_the_log(
    taking: Config, caplog: pytest.LogCaptureFixture
) -> None:
    source = TakenDefaults(taking)
    await source.settle(kernel(Kernels()), FACTS, Desired(take=(USB0,)))
    with caplog.at_level("INFO"):
        await source.give_back(kernel(Kernels(refuses=True)), FACTS)
    (line,) = caplog.messages
    assert line.startswith("not put back: ")
    assert "10.0.0.1" in line


async def test_a_record_that_is_none_is_a_problem_and_changes_nothing(
    taking: Config, leaving: Config
) -> None:
    path = taking.agent.state_dir / "defaults.json"
    path.parent.mkdir()
    path.write_text("{")
    source = TakenDefaults(taking)
    assert source.contribute(FACTS, 5.0) == FACTS
    assert list(source.problems) == [f"{path}: it is not JSON"]
    source.configure(leaving)
    await source.settle(kernel(Kernels()), FACTS, Desired())
    assert list(source.problems) == [f"{path}: it is not JSON"]
    assert path.read_text() == "{"


async def test_a_record_that_is_none_is_told_and_replaced(
    taking: Config, caplog: pytest.LogCaptureFixture
) -> None:
    path = taking.agent.state_dir / "defaults.json"
    path.parent.mkdir()
    path.write_text("{")
    source, goal = TakenDefaults(taking), Desired(take=(USB0,))
    for _ in range(2):
        facts = source.contribute(FACTS, 5.0)
        assert (await source.settle(kernel(Kernels()), facts, goal)).take == (USB0,)
        assert list(source.problems) == []
    assert caplog.text.count(f"{path}: it is not JSON; the defaults in it are not put back") == 1
    assert recorded(taking) == (USB0,)


async def test_once_writes_nothing(taking: Config, tmp_path: Path) -> None:
    DefaultStore(taking.agent.state_dir).save([USB0])
    before = content(tmp_path)
    source = TakenDefaults(taking)
    await source.once()
    assert source.contribute(FACTS, 5.0).taken == (USB0,)
    assert source.contribute(Facts(), 5.0).taken == ()
    assert content(tmp_path) == before
