"""Router mode beside routing: a slow nft holds no pass up, and nothing that happens meanwhile is lost.

What it does to a kernel is in tests/netns/test_router.py and test_agent_router.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.schema import Config, RouterConfig
from netbond.desired import desired
from netbond.errors import NetbondError, NotPermittedError
from netbond.lan import Lan
from netbond.model import Facts, Interface, Uplink
from netbond.outputs import router_mode
from netbond.outputs.router_mode import RouterMode
from netbond.router import nft
from tests.unit.boxes import box
from tests.unit.places import config_in

ONE = box("usb1")
TWO = replace(box("usb0", "usb1"), interfaces=(*box("usb0", "usb1").interfaces, Interface("docker0", 9)))
ROUTER = RouterConfig(lan=("eth1", "usb0"))


class Slow:
    """Takes the place of nft.Router: each sync ends when it is let."""

    def __init__(self, _state_dir: Path) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.let = asyncio.Event()
        self.answer: list[str] | NetbondError = []
        self.removed = 0
        self.hangs = False

    async def sync(self, uplinks: Iterable[Uplink], inside: Lan, router: RouterConfig) -> list[str]:
        self.asked.append(inside.devices)
        await self.let.wait()
        if isinstance(self.answer, NetbondError):
            raise self.answer
        return [*inside.problems, *self.answer]

    async def remove(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if isinstance(self.answer, NetbondError):
            raise self.answer
        self.removed += 1


class Running:
    """The output on the stand-in, and how often it has asked for a look."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nft, "Router", Slow)
        monkeypatch.setattr(router_mode, "WAIT_S", 0.02)
        monkeypatch.setattr(router_mode, "LEAVE_S", 0.05)
        self.config: Config = config_in(folder, router=ROUTER)
        self.output = RouterMode(self.config)
        assert isinstance(self.output._router, Slow)
        self.nft = self.output._router
        self.looks = 0

    def look(self) -> None:
        self.looks += 1

    async def start(self) -> None:
        await self.output.start(self.look, ())

    async def apply(self, facts: Facts = ONE) -> list[str]:
        return list(await self.output.apply(facts, desired(facts, self.config), self.config))


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    return Running(tmp_path, monkeypatch)


async def test_a_quick_one_is_done_in_the_pass(running: Running) -> None:
    await running.start()
    running.nft.let.set()
    running.nft.answer = ["the record cannot be written"]
    facts = Facts(interfaces=(Interface("eth1", 5), Interface("eth2", 6)))
    assert await running.apply(facts) == ["the record cannot be written"]
    assert running.nft.asked == [("eth1",)]
    assert running.looks == 0
    await running.output.stop()


async def test_a_slow_one_holds_no_pass_up_and_asks_for_a_look_when_it_is_done(running: Running) -> None:
    await running.start()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await running.apply() == []
    assert loop.time() - began < 5.0  # it would wait for ever
    running.nft.answer = NetbondError("nft refused the rules of router mode", "look")
    running.nft.let.set()
    await asyncio.sleep(0.01)
    assert running.looks == 1
    assert await running.apply() == ["nft refused the rules of router mode; look"]
    await running.output.stop()


async def test_what_changes_meanwhile_is_not_lost(running: Running) -> None:
    """Not two at once: the second pass only notes that there is more to do."""
    await running.start()
    await running.apply()
    await running.apply(Facts(interfaces=(Interface("eth1", 5),)))
    assert running.nft.asked == [()]
    running.nft.let.set()
    await asyncio.sleep(0.01)
    assert running.looks == 1
    await running.apply(Facts(interfaces=(Interface("eth1", 5),)))
    assert running.nft.asked == [(), ("eth1",)]
    await running.output.stop()


async def test_changes_of_others_are_a_reason_to_look_in_router_mode_only(running: Running) -> None:
    await running.start()
    running.output._changed()
    assert running.looks == 1
    running.nft.let.set()
    running.config = Config(agent=running.config.agent)  # a reload
    await running.apply()
    running.output._changed()
    assert running.looks == 1
    await running.output.stop()


async def test_a_table_that_nobody_asked_for_and_that_is_refused_is_no_problem(running: Running) -> None:
    """Flows are then held in another way."""
    await running.start()
    running.nft.let.set()
    running.config = Config(agent=running.config.agent)
    forwarding = replace(TWO, forwarding=frozenset({("docker0", 4)}))
    assert running.output.usable() is (nft.installed() is not None)
    running.nft.answer = nft.NftError("nft refused netbond's table", "look")
    assert await running.apply(forwarding) == []
    assert (running.looks, running.output.usable()) == (1, False)
    running.nft.answer = NotPermittedError("no")
    assert await running.apply(forwarding) == ["no"]
    await running.output.stop()


async def test_the_first_table_is_made_before_the_routes_and_later_ones_after(running: Running) -> None:
    await running.start()
    running.nft.let.set()
    config = Config(agent=running.config.agent)
    idle, forwarding = TWO, replace(TWO, forwarding=frozenset({("docker0", 4)}))
    for facts, asked in ((idle, 0), (forwarding, 1), (forwarding, 1), (idle, 1), (forwarding, 2)):
        await running.output.prepare(facts, desired(facts, config), config)
        assert len(running.nft.asked) == asked
    await running.output.stop()


async def test_leaving_takes_the_table_away_also_in_the_middle_of_a_sync(running: Running) -> None:
    await running.start()
    await running.apply()
    assert await running.output.leave() == ()
    assert running.nft.removed == 1
    await running.output.stop()


@pytest.mark.parametrize(
    ("hangs", "left"),
    [(True, "netbond's nftables table, because nft does not finish"), (False, "nft refused; look")],
)
async def test_what_is_left_behind_is_named_in_time(running: Running, hangs: bool, left: str) -> None:
    await running.start()
    running.nft.hangs = hangs
    running.nft.answer = NetbondError("nft refused", "look")
    assert await running.output.leave() == [left]
    await running.output.stop()
