"""What the agent remembers must not grow with what comes and goes: it runs for months."""

from __future__ import annotations

import gc
import ipaddress
import types
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from netbond import events
from netbond.agent import Agent
from netbond.config.schema import AgentConfig, Config, HealthConfig, SysctlConfig
from netbond.kernel.client import Kernel
from netbond.kernel.rtnetlink import Reader
from netbond.model import Facts, Interface
from netbond.plan import Operation
from netbond.repair_backoff import RepairBackoff
from netbond.sources import data_plans
from netbond.sources.data_plans import MOST_DEVICES
from netbond.status import event_log
from tests.unit.boxes import address, link, main_default

NO_SETTINGS = SysctlConfig(rp_filter=False, linkdown=False, socket_buffers=0, forwarding=False)
# Objects that belong to the interpreter or to all of it, not to what is measured.
ELSEWHERE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


def held(*roots: object) -> int:
    """How many objects can be reached."""
    seen = {id(root) for root in roots}
    todo = list(roots)
    while todo:
        for found in gc.get_referents(todo.pop()):
            if id(found) not in seen and not isinstance(found, ELSEWHERE):
                seen.add(id(found))
                todo.append(found)
    return len(seen)


class Flapping:
    """A kernel with two uplinks that stay, and one that has another index and name at each look."""

    def __init__(self) -> None:
        self.looks = 0

    def _links(self) -> tuple[Interface, ...]:
        stay = [replace(link(name), rx_bytes=self.looks) for name in ("usb0", "usb1")]
        new = replace(link(f"enx02000000{self.looks % 65536:04x}"), index=1000 + self.looks)
        return (*stay, new)

    async def read_links(self) -> tuple[Interface, ...]:
        return self._links()

    async def read(self) -> Facts:
        self.looks += 1
        links = self._links()
        return Facts(
            interfaces=links,
            addresses=tuple(address(each.name, f"10.0.{n}.10/24") for n, each in enumerate(links)),
            routes=tuple(main_default(each.name, f"10.0.{n}.1", metric=n) for n, each in enumerate(links)),
        )

    async def apply(self, _operations: object, _links: object) -> list[object]:
        return []


async def test_an_agent_with_an_uplink_that_is_a_new_one_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "MOST", 50)
    for interval in ("SAVE_INTERVAL_S", "SOONEST_S", "KEEP_INTERVAL_S"):
        # What was written last is a copy of its own: how much it shares with the present depends on the time.
        monkeypatch.setattr(data_plans, interval, 1e9)
    monkeypatch.setattr(events, "SETTLE_S", 0.0)  # else as many are leaving as fit into a second
    own = AgentConfig(ip_list=None, state_dir=tmp_path, data_dir=tmp_path, iproute2_dir=None)
    agent = Agent(Config(agent=own, sysctl=NO_SETTINGS, health=HealthConfig(checks=())), None)
    kernel = Flapping()

    async def looks(count: int) -> int:
        for _ in range(count):
            await agent._pass(cast("Kernel", kernel))
            await agent._reconciler.count(cast("Kernel", kernel))
        return held(vars(agent))

    try:
        # What uplinks have carried is remembered of so many.
        before, after = await looks(MOST_DEVICES + 20), await looks(100)
    finally:
        await agent._reconciler.health.stop()
    assert len(agent._reconciler.goal.uplinks) == 3
    assert after < before + 50  # one object for each would be 100
    assert len(list((tmp_path / "learned").iterdir())) == 3


def test_what_was_read_once_is_forgotten_with_the_interface() -> None:
    def parse(data: bytes, _names: object) -> bytes:
        return data

    reader = Reader()
    for number in range(50):
        reader.begin({1: "lo", number + 2: "usb0"})
        reader.read(parse, [b"one", b"two", number.to_bytes(4, "big")])
    assert held(vars(reader)) < 60


def test_what_was_repaired_is_forgotten_with_what_is_wanted() -> None:
    backoff = RepairBackoff()
    for number in range(50):
        route = main_default("usb0", str(ipaddress.IPv4Address("10.0.0.1") + number))
        backoff.admit([Operation("add", route, "missing")], {route}, float(number))
    assert len(backoff._repairs) == 1
