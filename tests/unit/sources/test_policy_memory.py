"""Connections of policies, in the agent: counted now and then, and cut when a better tier is back."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.contracts import Traffic
from netbond.desired import desired
from netbond.kernel import sockets
from netbond.model import Facts, Interface
from netbond.policies.connections import Connection
from netbond.router import conntrack, nft
from netbond.sources import policy_memory
from netbond.sources.policy_memory import PolicyMemory
from netbond.status.schema import PolicyConnections, Sections
from tests.unit.boxes import box

CONFIG = parse('[[policy]]\nname = "p"\nuplinks = ["usb0", "usb1"]\nfailback = "cut"')
BOTH = replace(
    box("usb0", "usb1"),
    interfaces=(*box("usb0", "usb1").interfaces, Interface("docker0", 9)),
    forwarding=frozenset({("docker0", 4)}),
)
FIRST_DOWN = replace(
    BOTH,
    interfaces=tuple(replace(x, carrier=False) if x.name == "usb0" else x for x in BOTH.interfaces),
)


def ip(text: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(text)


class World:
    """Stands in for the kernel's connections and sockets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        far = ip("203.0.113.1")
        self.own = Connection(4, 6, ip("10.0.1.10"), far, 443, own=True)
        self.tcp = Connection(4, 6, ip("172.17.0.2"), far, 443, mark=0x65000000)
        self.udp = Connection(4, 17, ip("172.17.0.2"), far, 443, mark=0x65000000)
        self.done: list[object] = []
        self.error: OSError | None = None
        monkeypatch.setattr(policy_memory, "RESET_S", 0.0)
        monkeypatch.setattr(sockets, "connected", lambda: [self.own])
        monkeypatch.setattr(sockets, "destroy", lambda found: self.note("destroy", found))
        monkeypatch.setattr(conntrack, "connections", self.connections)
        monkeypatch.setattr(conntrack, "delete", lambda found: self.note("delete", found))
        monkeypatch.setattr(conntrack, "mark", lambda found, value, _: self.note(f"mark {value:#x}", found))
        monkeypatch.setattr(nft, "release", lambda marks, _: self.note("release", {m.value for m in marks}))

    def connections(self, _mask: int) -> list[Connection]:
        if self.error is not None:
            raise self.error
        return [self.tcp, self.udp]

    def note(self, what: str, found: object) -> None:
        self.done += [(what, each) for each in found]  # type: ignore[attr-defined]  # what can be gone through


async def settled(memory: PolicyMemory) -> None:
    for _ in range(200):
        if not memory._cutting and (memory._counting is None or memory._counting.done()):
            return
        await asyncio.sleep(0.01)


async def apply(memory: PolicyMemory, facts: Facts) -> list[str]:
    found = await memory.apply(facts, desired(facts, CONFIG), CONFIG)
    await settled(memory)
    return list(found)


async def test_connections_on_the_worse_tier_are_cut_when_the_better_one_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    memory = PolicyMemory()
    assert memory.contribute(BOTH, 0.0) == BOTH
    assert await apply(memory, BOTH) == []
    assert await apply(memory, FIRST_DOWN) == []
    assert world.done == []
    assert await apply(memory, BOTH) == []
    assert world.done[:6] == [
        ("delete", world.udp),
        ("mark 0xff000000", world.tcp),
        ("destroy", world.own),
        ("delete", world.udp),
        ("mark 0xfe000000", world.tcp),
        ("destroy", world.own),
    ]
    assert set(world.done[6:]) == {("release", 0xFF000000), ("release", 0xFE000000)}
    world.done.clear()
    await apply(memory, BOTH)
    assert world.done == []
    await memory.stop()


async def test_a_kernel_that_cannot_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    memory = PolicyMemory()
    await apply(memory, FIRST_DOWN)
    world.error = OSError(95, "Operation not supported")
    await apply(memory, BOTH)
    assert await apply(memory, BOTH) == ["policies: connections cannot be cut: Operation not supported"]


async def test_they_are_counted_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    memory = PolicyMemory()
    memory.tick(Traffic(), 0.0)
    assert memory.status(Sections(), (), 0.0).connections == ()
    await apply(memory, BOTH)
    memory.tick(Traffic(), 1.0)
    await settled(memory)
    expected = (PolicyConnections("p", "usb1", 3),)
    assert memory.status(Sections(), (), 0.0).connections == expected
    world.error = OSError(95, "Operation not supported")
    memory.tick(Traffic(), 10.0)  # not yet
    await settled(memory)
    assert memory.status(Sections(), (), 0.0).connections == expected
    memory.tick(Traffic(), 11.5)
    await settled(memory)
    assert memory.status(Sections(), (), 0.0).connections == ()
    await memory.stop()
