"""One pass: what it makes of refusals, when stale things go, what it publishes, and what it leaves behind."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from netbond.config.load import parse
from netbond.config.schema import AgentConfig, Config, HealthConfig, SysctlConfig
from netbond.kernel.client import Kernel
from netbond.model import Facts, Interface, Route, Rule
from netbond.pacing import RESYNC_S
from netbond.plan import Operation
from netbond.problems import DEGRADED
from netbond.reconciler import Reconciler
from netbond.refusals import RETRY_FIRST_S, RETRY_S, Refusal
from tests.unit.boxes import address, box, link, main_default

NO_SETTINGS = SysctlConfig(rp_filter=False, linkdown=False, socket_buffers=0, forwarding=False)


class Kernellike:
    """A kernel that keeps what it is given, and refuses what `refuses` says: reading one needs no root, but
    writing does, and no real one refuses on demand."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.refuses: Any = lambda operation: False
        self.applied: list[Operation] = []

    async def read(self) -> Facts:
        return self.facts

    async def read_links(self) -> tuple[Interface, ...]:
        return self.facts.interfaces

    async def apply(self, operations: Iterable[Operation], _interfaces: object) -> list[Refusal]:
        refused = []
        for operation in operations:
            if self.refuses(operation):
                refused.append(Refusal(operation, errno.EINVAL, "no such thing"))
                continue
            self.applied.append(operation)
            if operation.verb in ("add", "replace") and isinstance(operation.what, Route):
                self.facts = replace(self.facts, routes=(*self.facts.routes, operation.what))
            if operation.verb == "add" and isinstance(operation.what, Rule):
                self.facts = replace(self.facts, rules=(*self.facts.rules, operation.what))
        return refused


def reconciler(folder: Path, looks: list[None], **agent: Any) -> Reconciler:
    own = AgentConfig(
        ip_list=None, state_dir=folder, data_dir=folder, iproute2_dir=None, metrics=None, **agent
    )
    config = Config(agent=own, sysctl=NO_SETTINGS, health=HealthConfig(checks=()))
    return Reconciler(config, None, lambda: looks.append(None))


@asynccontextmanager
async def stopped_afterwards(tested: Reconciler) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(tested.health.stop)
        yield


def two_modems() -> Kernellike:
    facts = box("usb0", "usb1")
    return Kernellike(
        replace(
            facts,
            leases=(),
            routes=(main_default("usb0", "10.0.0.1"), main_default("usb1", "10.0.1.1", metric=5)),
        )
    )


def of_usb1(operation: Operation) -> bool:
    """The default in usb1's own table, by its gateway."""
    what = operation.what
    hops = what.nexthops if isinstance(what, Route) else ()
    return (
        isinstance(what, Route)
        and what.table not in (222, 254)
        and what.destination.prefixlen == 0
        and any(hop.device == "usb1" for hop in hops)
    )


async def test_a_pass_makes_uplinks_and_publishes_them(tmp_path: Path) -> None:
    kernel, looks = two_modems(), list[None]()
    tested = reconciler(tmp_path, looks)
    async with stopped_afterwards(tested):
        assert await tested.reconcile(cast("Kernel", kernel), moved=False) == RESYNC_S
    assert tested.published is not None
    assert [(uplink.name, uplink.in_ecmp) for uplink in tested.published.uplinks] == [
        ("usb0", True),
        ("usb1", True),
    ]
    assert tested.published.agent.changes == len(kernel.applied) > 0
    assert tested.problems.lines() == ()


async def test_a_policy_that_does_nothing_is_a_problem_after_the_pass(tmp_path: Path) -> None:
    lacking = reconciler(tmp_path, [])
    policy = parse('[[policy]]\nname = "p"\ndscp = "ef"\nuid = 0\nuplinks = ["usb0"]').policy
    lacking.config = replace(lacking.config, policy=policy)
    async with stopped_afterwards(lacking):
        await lacking.reconcile(cast("Kernel", Kernellike(box("usb0"))), moved=True)
    # What the outputs report afterwards does not replace it.
    (found,) = [each for each in lacking.problems.all() if each.text.startswith("policy p: ")]
    assert (found.code, found.severity) == ("policy", DEGRADED)


async def test_an_uplink_whose_gateway_is_refused_again_leaves_the_default_to_the_others(
    tmp_path: Path,
) -> None:
    kernel, looks = two_modems(), list[None]()
    tested = reconciler(tmp_path, looks)
    async with stopped_afterwards(tested):
        await tested.reconcile(cast("Kernel", kernel), moved=False)  # all is well
        kernel.facts = replace(kernel.facts, routes=kernel.facts.routes[:2])  # somebody has flushed all
        kernel.refuses = of_usb1
        assert await tested.reconcile(cast("Kernel", kernel), moved=False) == RETRY_FIRST_S
        assert tested.problems.lines() == ()  # it may be a link that goes down
        looks.clear()
        assert await tested.reconcile(cast("Kernel", kernel), moved=False) == RETRY_S
        (problem,) = tested.problems.lines()
        assert "EINVAL (no such thing)" in problem
        assert looks  # another pass is to leave it out
        await tested.reconcile(cast("Kernel", kernel), moved=False)
    assert tested.published is not None
    states = {uplink.name: (uplink.state, uplink.reason) for uplink in tested.published.uplinks}
    assert states["usb0"] == ("up", "")
    assert states["usb1"] == ("dead", "the kernel refuses its gateway")


async def test_what_the_kernel_refuses_is_said_so_for_as_long_as_it_does(tmp_path: Path) -> None:
    """And it is not taken for another program that undoes it."""
    kernel = two_modems()
    tested = reconciler(tmp_path, [])
    kernel.refuses = lambda operation: isinstance(operation.what, Rule) and operation.what.priority == 101
    async with stopped_afterwards(tested):
        for _ in range(20):
            await tested.reconcile(cast("Kernel", kernel), moved=False)
            assert tested.problems.lines() == (
                "the kernel refuses: ip rule add priority 101 from 10.0.1.10 lookup 101 protocol 78:"
                " EINVAL (no such thing)",
            )


async def test_what_looks_stale_stays_until_all_sources_have_spoken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, looks = two_modems(), list[None]()
    tested = reconciler(tmp_path, looks)
    stale = Route(150, main_default("usb0", "10.0.0.9").destination, protocol=78)
    kernel.facts = replace(kernel.facts, routes=(*kernel.facts.routes, stale))
    async with stopped_afterwards(tested):
        silent = next(source for source in tested._sources.all if source.name == "NetworkManager")
        monkeypatch.setattr(silent, "complete", lambda: False)
        await tested.reconcile(cast("Kernel", kernel), moved=False)
        assert not [operation for operation in kernel.applied if operation.verb == "delete"]
        monkeypatch.undo()
        await tested.reconcile(cast("Kernel", kernel), moved=False)
    assert stale in [operation.what for operation in kernel.applied if operation.verb == "delete"]


async def test_facts_are_those_of_all_sources(tmp_path: Path) -> None:
    tested = reconciler(tmp_path, [])
    async with stopped_afterwards(tested):
        await tested.reconcile(cast("Kernel", two_modems()), moved=False)
        down = Facts(interfaces=(link("usb0", carrier=False),), addresses=(address("usb0", "10.0.0.10/24"),))
        found = tested.facts(down)
    # The default that main had is remembered, and who was in use before.
    assert [str(claim.gateway) for claim in found.remembered] == ["10.0.0.1"]
    assert {device for device, _ in found.alive} == {"usb0", "usb1"}


async def test_leaving_takes_away_what_is_netbonds_and_names_what_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = two_modems()
    tested = reconciler(tmp_path, [])

    async def stays() -> list[str]:
        return ["a file"]

    monkeypatch.setattr(tested.outputs[0], "leave", stays)
    async with stopped_afterwards(tested):
        await tested.reconcile(cast("Kernel", kernel), moved=False)
        kernel.applied.clear()
        kernel.refuses = of_usb1
        await tested.leave(cast("Kernel", kernel))
    assert kernel.applied
    assert {operation.verb for operation in kernel.applied} == {"delete"}
    assert all(cast("Route", operation.what).protocol == 78 for operation in kernel.applied)
    left = [line for line in caplog.messages if line.startswith("left behind: ")]
    assert left[0] == "left behind: a file"
    assert "table 101" in left[1]
