"""Whatever happens, in whatever order: the kernel ends up as a fresh start would make it.

Each case is a seed, so that a failure can be run again. NETBOND_SEEDS=100 runs more of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.load import load
from netbond.desired import desired
from netbond.dhcp.lease import Lease
from netbond.dhcp.store import LeaseStore
from netbond.errors import NetbondError
from netbond.kernel.client import Kernel
from netbond.kernel.taken_defaults import DefaultStore, still_valid
from netbond.model import Facts
from netbond.plan import Object, object_words
from netbond.sources.kept_leases import as_claim
from netbond.status.control import request
from netbond.system import clock
from tests.netns.box import Box, sh
from tests.netns.spaces import inside

pytestmark = pytest.mark.root

SEEDS = int(os.environ.get("NETBOND_SEEDS", "8"))
STEPS = 40
DEVICES = ["usb0", "usb1", "usb2", "wwan0", "enx5"]
PROTOCOL = 78

# Nothing is asked: none of these gateways answers, and a fresh start knows no verdicts.
CONFIG = """
[health]
checks = []
[routing]
layout = "{layout}"
nexthop_base = {base}
take_over_default = {take}
[[uplink]]
match = "usb2"
backup = true
weight = 3
[[pin]]
destination = ["203.0.113.0/24"]
uplinks = ["usb1", "usb*"]
otherwise = "unreachable"
"""


def own(facts: Facts) -> Counter[Object]:
    """netbond's part of the kernel, in a form that compares: a group is known by its id and members."""
    routes = [
        replace(
            route,
            nexthops=()
            if route.nexthop_id
            else tuple(sorted(route.nexthops, key=lambda hop: (hop.device, str(hop.gateway)))),
        )
        for route in facts.routes
    ]
    found: list[Object] = [*routes, *facts.rules]
    found += [n if hasattr(n, "device") else replace(n, family=0) for n in facts.nexthops or ()]
    return Counter(thing for thing in found if thing.protocol == PROTOCOL)


class World:
    """A box, and all that can happen to it."""

    def __init__(self, box: Box, seed: int) -> None:
        self.box = box
        self.random = random.Random(seed)
        self.said: list[str] = []
        self.leases = LeaseStore(box.folder / "state" / "leases")
        self.config = load(box.config_file)
        with inside(box.name):
            self.kernel = Kernel()
            self.loop = asyncio.new_event_loop()
            self.loop.run_until_complete(self.kernel.__aenter__())

    def close(self) -> None:
        self.loop.run_until_complete(self.kernel.__aexit__(None, None, None))
        self.loop.close()

    def facts(self) -> Facts:
        """What there is, by an eye of its own."""
        kept = LeaseStore(self.box.folder / "state" / "learned").load()
        facts = self.loop.run_until_complete(self.kernel.read())
        taken = DefaultStore(self.box.folder / "state").load()
        return replace(
            facts,
            leases=self.leases.load(),
            remembered=tuple(map(as_claim, kept)),
            taken=tuple(route for route in taken if still_valid(route, facts)),
        )

    def difference(self) -> list[str]:
        """Between what netbond holds in the kernel and what a fresh start would put there."""
        facts = self.facts()
        fresh = replace(
            facts,
            routes=tuple(route for route in facts.routes if route.protocol != PROTOCOL),
            rules=tuple(rule for rule in facts.rules if rule.protocol != PROTOCOL),
            nexthops=()
            if facts.nexthops is None
            else tuple(n for n in facts.nexthops if n.protocol != PROTOCOL),
        )
        goal = desired(fresh, self.config)
        wanted = own(replace(fresh, routes=goal.routes, rules=goal.rules, nexthops=goal.nexthops))
        there = own(facts)
        return [f"lacks {object_words(x)}" for x in wanted - there] + [
            f"has {object_words(x)}" for x in [*(there - wanted), *goal.take]
        ]

    # --- what can happen -----------------------------------------------------------------------------------

    def ip(self, *words: str) -> None:
        self.said.append("ip " + " ".join(words))
        self.box.ip(*words, check=False)

    def number(self, device: str) -> int:
        return DEVICES.index(device)

    def plug(self, device: str) -> None:
        number = self.number(device)
        self.ip("link", "add", device, "type", "veth", "peer", "name", f"p{number}", "netns", self.box.far)
        sh("ip", "-n", self.box.far, "link", "set", f"p{number}", "up", check=False)
        if self.random.random() < 0.8:
            self.ip("link", "set", device, "up")
            self.ip("addr", "add", f"10.0.{number}.10/24", "dev", device)
            self.ip(
                "route",
                "add",
                "default",
                "via",
                f"10.0.{number}.1",
                "dev",
                device,
                "metric",
                str(number + 10),
            )

    def unplug(self, device: str) -> None:
        self.ip("link", "del", device)

    def up(self, device: str) -> None:
        self.ip("link", "set", device, "up")

    def down(self, device: str) -> None:
        self.ip("link", "set", device, "down")

    def bounce(self, device: str) -> None:
        self.down(device)
        self.up(device)

    def carrier(self, device: str) -> None:
        word = self.random.choice(["up", "down"])
        self.said.append(f"carrier of {device} {word}")
        sh("ip", "-n", self.box.far, "link", "set", f"p{self.number(device)}", word, check=False)

    def address(self, device: str) -> None:
        number = self.number(device)
        choices = [f"10.0.{number}.10/24", f"10.0.{number}.11/24", f"10.1.{number}.10/24", "10.9.9.9/24"]
        choices += [f"2001:db8:{number}::10/64", f"2001:db8:{number}::11/64", f"10.7.7.{number + 1}/32"]
        verb = self.random.choice(["add", "add", "del"])
        address = self.random.choice(choices)
        self.ip(
            "addr", verb, address, "dev", device, *(["nodad"] if ":" in address and verb == "add" else [])
        )

    def default(self, device: str) -> None:
        number = self.number(device)
        gateways = [f"10.0.{number}.1", f"10.0.{number}.2", f"10.1.{number}.1", f"2001:db8:{number}::1"]
        verb = self.random.choice(["add", "add", "del"])
        gateway = self.random.choice(gateways)
        metric = str(number + self.random.choice([10, 2000]))
        family = "-6" if ":" in gateway else "-4"
        self.ip(family, "route", verb, "default", "via", gateway, "dev", device, "metric", metric)

    def lease(self, device: str) -> None:
        number = self.number(device)
        host = self.random.choice([10, 11])
        router = ipaddress.IPv4Address(f"10.0.{number}.{self.random.choice([1, 3])}")
        interface = ipaddress.IPv4Interface(f"10.0.{number}.{host}/24")
        self.said.append(f"lease {device} {interface} from {router}")
        self.leases.save(Lease(device, "dhclient", interface, (router,), clock.now()))
        with contextlib.suppress(NetbondError):  # it is being killed and started again
            request(self.box.folder / "control.sock", {"command": "hook"})

    def rival(self, _device: str) -> None:
        rules = [line.split(":")[0] for line in self.box.rules().splitlines() if "proto 78" in line]
        table = str(self.random.choice([100, 101, 102, 221, 222]))
        choices = [
            ["rule", "del", "priority", self.random.choice(rules or ["9"])],
            ["-4", "route", "flush", "table", table],
            ["-6", "route", "flush", "table", table],
            ["nexthop", "flush", "proto", "78"],
            ["rule", "add", "from", "192.0.2.9", "lookup", table, "priority", "99", "protocol", "78"],
            ["route", "add", "192.0.2.0/24", "dev", "lo", "table", table, "proto", "78"],
            ["nexthop", "add", "id", "7800999", "dev", "lo", "proto", "78"],
        ]
        self.ip(*self.random.choice(choices))

    def restart(self, _device: str) -> None:
        self.said.append("kill -9, and a new start")
        self.box.stop(signal.SIGKILL)
        if self.random.random() < 0.5:
            self.step(restart=False)
        self.box.start()

    def step(self, *, restart: bool = True) -> None:
        """Something happens to some device."""
        happenings: list[tuple[Callable[[str], None], int]] = [
            (self.plug, 6), (self.unplug, 3), (self.up, 3), (self.down, 2), (self.bounce, 2),
            (self.carrier, 3),
            (self.address, 6), (self.default, 5), (self.lease, 3), (self.rival, 3), (self.restart, restart),
        ]  # fmt: skip
        functions, weights = zip(*happenings, strict=True)
        (happening,) = self.random.choices(functions, weights)
        happening(self.random.choice(DEVICES))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_sequence_ends_as_a_fresh_start_would(seed: int, tmp_path: Path) -> None:
    with Box(tmp_path) as box:
        layout = "classic" if seed % 4 == 3 else "default"
        base = 0 if seed % 4 == 2 else 7_800_000
        take = "true" if seed % 8 == 7 else "false"
        box.configure(CONFIG.format(layout=layout, base=base, take=take))
        box.start()
        world = World(box, seed)
        try:
            for _ in range(STEPS):
                world.step()
                time.sleep(world.random.choice([0.0, 0.0, 0.005, 0.05]))
            # Longer than the pauses after what a rival did, shorter than until a look that nothing asks for.
            deadline = time.monotonic() + 8
            while (found := world.difference()) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert found == [], "\n".join(["", *found, "after", *world.said])
        finally:
            world.close()
