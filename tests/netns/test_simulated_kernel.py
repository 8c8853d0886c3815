"""The kernel that the simulation of a box uses (tests/simulation/kernel.py) against the real one.

Both get the same commands at random; then what they hold is compared, and where packets go.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from netbond.kernel.client import Kernel
from netbond.model import (
    MAIN_TABLE,
    Facts,
    Interface,
    IPAddress,
    Nexthop,
    NexthopGroup,
    NexthopObject,
    Route,
    Rule,
)
from netbond.plan import Operation
from tests.netns.box import sh
from tests.netns.spaces import inside
from tests.simulation.kernel import RefusedError, SimulatedKernel, Way

pytestmark = pytest.mark.root

SEEDS = int(os.environ.get("NETBOND_SEEDS", "3"))
STEPS = 40
DEVICES = ["u0", "u1", "u2"]
TABLES = [100, 101, 222, MAIN_TABLE]
ANY = ipaddress.ip_network("0.0.0.0/0")
DESTINATIONS = ["8.8.8.8", "10.0.0.7", "10.0.1.1", "10.9.0.1", "192.0.2.1", "203.0.113.5"]


@dataclass
class Both:
    """A namespace of the real kernel, and a simulated one."""

    name: str
    real: Kernel
    loop: asyncio.AbstractEventLoop
    simulated: SimulatedKernel
    random: random.Random
    done: list[str]

    def ip(self, *words: str) -> None:
        self.done.append("ip " + " ".join(words))
        sh("ip", "-n", self.name, *words)

    def wait(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def facts(self) -> Facts:
        found = self.wait(self.real.read())
        assert isinstance(found, Facts)
        return found

    # --- the same to both

    def link(self, device: str) -> None:
        here = self.simulated.links.get(device)
        if here is None:
            self.ip(
                "link", "add", device, "type", "veth", "peer", "name", f"p{device}", "netns", f"{self.name}m"
            )
            sh("ip", "-n", f"{self.name}m", "link", "set", f"p{device}", "up")
            self.ip("link", "set", device, "up")
            self.simulated.add_link(device)
        elif self.random.random() < 0.3:
            self.ip("link", "del", device)
            self.simulated.delete_link(device)
        elif self.random.random() < 0.5 or not here.up:
            self.ip("link", "set", device, "down" if here.up else "up")
            # The other end may have lost its carrier; then the cable is plugged in again.
            sh("ip", "-n", f"{self.name}m", "link", "set", f"p{device}", "up")
            self.simulated.set_up(device, not here.up)
        else:
            sh("ip", "-n", f"{self.name}m", "link", "set", f"p{device}", "down" if here.carrier else "up")
            self.done.append(f"carrier of {device} {not here.carrier}")
            self.simulated.set_carrier(device, not here.carrier)

    def address(self, device: str) -> None:
        if device not in self.simulated.links:
            return
        number = self.random.choice([DEVICES.index(device), 9])
        host = self.random.choice([10, 11])
        interface = ipaddress.IPv4Interface(f"10.{number}.0.{host}/24")
        here = [each for each in self.simulated.addresses if each.device == device]
        if same := [each for each in here if each.interface.network == interface.network]:
            self.ip("address", "del", str(same[0].interface), "dev", device)
            self.simulated.delete_address(device, same[0].interface)
        else:
            self.ip("address", "add", str(interface), "dev", device)
            self.simulated.add_address(device, interface)

    def operation(self, device: str) -> None:
        """What the agent does: it may be refused, and both must say the same."""
        verb = self.random.choice(["add", "add", "replace", "delete"])
        operation = Operation(verb, self.thing(device, verb), "at random")
        links = tuple(self.facts().interfaces)
        self.done.append(operation.command())
        real = self.wait(self.real.apply([operation], links))
        mine = self.wait(self.simulated.apply([replace(operation)], self.simulated.links.values()))
        assert [each.error for each in real] == [each.error for each in mine], self.text(real, mine)

    def thing(self, device: str, verb: str) -> Rule | Route | NexthopObject | NexthopGroup:
        chance = self.random
        number, table = DEVICES.index(device), chance.choice(TABLES)
        gateway = ipaddress.ip_address(f"10.{chance.choice([number, number, 9])}.0.1")
        sources = [each.interface.ip for each in self.simulated.addresses if each.device == device]
        kind = chance.choice(
            ["rule", "route", "route", "route", "nexthop", "group", "multipath", "last", "by"]
        )
        if verb == "delete" and chance.random() < 0.7:
            own = [*self.simulated.routes, *self.simulated.rules, *self.simulated.nexthops.values()]
            if own := [each for each in own if each.protocol == 78]:
                return chance.choice(own)
        if kind == "rule" and verb == "replace":
            kind = "route"
        if kind == "rule":
            network = ipaddress.ip_network(chance.choice(sources)) if sources else None
            return chance.choice(
                [
                    Rule(40, 4, table=100 + number % 2, oif=device, protocol=78),
                    Rule(50, 4, table=MAIN_TABLE, suppress_prefixlength=0, protocol=78),
                    Rule(100 + number, 4, table=100 + number % 2, source=network, protocol=78),
                    Rule(222, 4, table=222, protocol=78),
                    Rule(
                        60,
                        4,
                        action="unreachable",
                        destination=ipaddress.ip_network("192.0.2.0/24"),
                        protocol=78,
                    ),
                ]
            )
        if kind == "nexthop":
            return NexthopObject(7000 + number, 4, device, gateway, chance.random() < 0.3, 78)
        if kind == "group":
            members = tuple(
                (7000 + each, 1) for each in sorted(chance.sample(range(3), chance.choice([1, 2])))
            )
            return NexthopGroup(7100, 4, members, 78)
        if kind == "last":
            return Route(
                table, ANY, kind=chance.choice(["unreachable", "prohibit"]), metric=9999, protocol=78
            )
        if kind == "by":
            return Route(table, ANY, nexthop_id=chance.choice([7100, 7000]), protocol=78)
        if kind == "multipath":
            hops = tuple(
                Nexthop(f"u{each}", ipaddress.ip_address(f"10.{each}.0.1"))
                for each in chance.sample(range(3), 2)
            )
            return Route(table, ANY, hops, metric=chance.choice([0, 5]), protocol=78)
        to = ipaddress.ip_network(chance.choice(["0.0.0.0/0", "0.0.0.0/0", "203.0.113.0/24"]))
        hop = Nexthop(device, gateway, onlink=chance.random() < 0.2)
        source = chance.choice([*sources, None]) if sources else None
        return Route(table, to, (hop,), metric=chance.choice([0, 5]), source=source, protocol=78)

    # --- comparing

    def text(self, real: object, mine: object) -> str:
        return "\n".join(["", f"real {real}", f"simulated {mine}", "after", *self.done])

    def compare(self) -> None:
        mine = held(self.simulated.facts())
        # What follows from a carrier comes up to a second later (linkwatch).
        deadline = time.monotonic() + 20
        while (real := held(self.facts())) != mine and time.monotonic() < deadline:
            time.sleep(0.01)
        assert real == mine, self.text(sorted(map(str, real - mine)), sorted(map(str, mine - real)))
        sources: list[IPAddress | None] = [each.interface.ip for each in self.simulated.addresses]
        devices = [name for name in self.simulated.links if name != "lo"]
        for to in map(ipaddress.ip_address, DESTINATIONS):
            for source, device in [
                *((source, "") for source in [None, *sources]),
                *((None, device) for device in devices),
                *((each.interface.ip, each.device) for each in self.simulated.addresses),
            ]:
                self.compare_way(to, source, device)

    def compare_way(self, to: IPAddress, source: IPAddress | None, device: str) -> None:
        asked = f"to {to} from {source} by {device}"
        simulated: Way | int
        real: Route | int
        try:
            simulated = self.simulated.lookup(to, source, device)
        except RefusedError as error:
            simulated = error.errno
        try:
            real = self.wait(self.real.lookup(to, source, device))
        except OSError as error:
            real = error.errno or 0
        if isinstance(simulated, Way) and isinstance(real, Route):
            (hop,) = real.nexthops
            assert (hop.device, hop.gateway) in simulated.hops, self.text(f"{asked}: {real}", simulated)
        else:
            assert real == simulated, self.text(f"{asked}: {real}", simulated)


def held(facts: Facts) -> Counter[object]:
    """What a kernel has, in a form that compares."""
    found: list[object] = []
    for route in facts.routes:
        if route.family == 4:
            hops = () if route.nexthop_id else tuple(sorted(route.nexthops))
            what = (route.table, str(route.destination), route.kind, route.metric, route.protocol)
            legs = tuple((hop, hop.dead) for hop in hops)
            found.append((*what, route.scope, route.source, route.nexthop_id, legs))
    found += [each for each in facts.rules if each.family == 4]
    found += [
        each if isinstance(each, NexthopObject) else replace(each, family=0) for each in facts.nexthops or ()
    ]
    found += [each for each in facts.addresses if each.family == 4 and each.device != "lo"]
    found += [_link(each) for each in facts.interfaces if each.name != "lo"]
    return Counter(found)


def _link(link: Interface) -> object:
    return (link.name, link.up, link.carrier)


@pytest.fixture
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    seed = request.param
    name = f"nbk{os.getpid()}-{seed}"
    for each in (name, f"{name}m"):
        sh("ip", "netns", "add", each)
    loop = asyncio.new_event_loop()
    try:
        sh("ip", "-n", name, "link", "set", "lo", "up")
        with inside(name):
            kernel = Kernel()
            loop.run_until_complete(kernel.__aenter__())
        yield Both(name, kernel, loop, SimulatedKernel(), random.Random(seed), [])
    finally:
        with contextlib.suppress(Exception):
            loop.run_until_complete(kernel.__aexit__(None, None, None))
        loop.close()
        for each in (name, f"{name}m"):
            sh("ip", "netns", "del", each, check=False)


@pytest.mark.parametrize("both", range(SEEDS), indirect=True)
def test_both_hold_and_answer_the_same(both: Both) -> None:
    for device in DEVICES:
        both.link(device)
        both.address(device)
    for _ in range(STEPS):
        work = both.random.choices([both.link, both.address, both.operation], [1, 1.5, 6])[0]
        work(both.random.choice(DEVICES))
        both.compare()
