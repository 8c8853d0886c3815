"""Lets a whole box live for a month in simulated time, with random faults from a seed, and checks it.

    .venv/bin/python -m tests.simulation.month --days 30 --seed 1

box.py says what is real and what is simulated. Some minutes after the one before, something happens to the
box (`Month.happenings`); each time everything in `Month.check` must hold. What does not is printed with the
last events, and the run ends. The same seed gives the same month.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from netbond.desired import desired
from netbond.errors import NetbondError
from netbond.model import MAIN_TABLE, Facts, Nexthop, NexthopGroup, Route, Rule
from netbond.plan import plan
from netbond.srtla.receiver.receiver import Receiver
from netbond.status.protocol import SetRequest, UnsetRequest
from tests.simulation.box import ANYWHERE, Box, Modem
from tests.simulation.kernel import RefusedError
from tests.simulation.virtual_time import Clock, running

BEGIN_S = 1_780_000_000.0  # a day in 2026
BETWEEN_S = 480.0  # two events, on average
HEALS = 0.6  # the chance that an event mends something, if anything is broken
PACKETS = 20
CLOCK_JUMPS_S = (-86400.0 * 400, -3600.0, 3600.0, 86400.0 * 40, 86400.0 * 4000)
LINK_S = (
    45.0  # of the engines, until a sender has all its links: it may have to find out that its group is gone
)
WINDOW_S = 12.0  # of the engines after each event
TICK_S, LOOK_S = 20.0, 60.0  # of the agent, in the place of 1 s and 10 s: a month has many of them
# Until the agent must have found an outage (rounds of checks, timeouts), and its end (hold-down).
OUT_S, BACK_S, STARTED_S = 300.0, 700.0, 120.0
TABLE = {f"usb{number}": 100 + number for number in range(5)}
SHARED = 222
OWN = 78

BASE = """
[health]
checks = ["gateway", "icmp"]
interval = 60
[[uplink]]
match = "usb0"
budget = "30GB"
budget_action = "off"
budget_day = 10
[[uplink]]
match = "usb1"
budget = "900GB"
{usb1}
[[uplink]]
match = "usb4"
budget = "900GB"
backup = {backup}
[[uplink]]
match = "usb[23]"
budget = "900GB"
[[sender]]
listen = "127.0.0.1:6000"
receiver = "203.0.113.10:5000"
[routing]
nexthop_base = {base}
"""
PLAIN = {"usb1": "", "backup": "true", "base": "7800000"}


class WrongError(AssertionError):
    """Something that must hold does not."""


class DisturbedError(Exception):
    """Something outside of the simulation has touched it: what follows says nothing about netbond."""


class Month:
    """One box, its time, and what happens to it."""

    def __init__(self, folder: Path, seed: int, clock: Clock, only: Collection[str] = ()) -> None:
        """`only`: names of what may happen; none: everything may."""
        self.random = random.Random(seed)
        self.clock = clock
        self.only = only
        self.began_s = clock.now_s
        self.box = Box(folder, clock, self.random, BASE.format(**PLAIN))
        self.box.modems = [
            self._modem(0, "192.168.10.1", "192.168.10.100/24"),
            self._modem(1, "192.168.11.1", "192.168.11.100/24", default=True),
            self._modem(2, "192.168.8.1", "192.168.8.100/24"),  # twins
            self._modem(3, "192.168.8.1", "192.168.8.100/24"),
            self._modem(4, "10.64.0.1", "10.64.0.77/24", default=True),
        ]
        self.happened: Counter[str] = Counter()
        self.said: list[str] = []
        self.days, self.tell = 0, False  # whole ones, so far; whether to print them
        self.checks = self.lookups = self.surely = 0
        self.counters: dict[str, tuple[Any, float]] = {}
        self.receiver_since_s = 0.0  # by the clock of the engines
        self.known: dict[str, tuple[float, float]] = {}  # when a modem changed, by both clocks
        self.set_modes: dict[str, tuple[str, float]] = {}  # by device; until when

    @staticmethod
    def _modem(number: int, gateway: str, address: str, *, default: bool = False) -> Modem:
        return Modem(
            f"usb{number}",
            number,
            ipaddress.IPv4Address(gateway),
            ipaddress.IPv4Interface(address),
            f"198.51.100.{number + 1}",
            default,
        )

    # --- time -----------------------------------------------------------------------------------------------

    async def live(self, days: float) -> None:
        """Let it live so long; WrongError if something that must hold does not."""
        for modem in self.box.modems:
            self.box.plug(modem)
        self.box.start()
        await self.stream(self.box.modems[0])
        self.check()
        until = self.clock.now_s + 86400 * days
        while self.clock.now_s < until:
            await asyncio.sleep(min(self.random.expovariate(1 / BETWEEN_S), until - self.clock.now_s))
            self.check()
            await self.something()
            await self.window()
            self.check()
            if self.clock.now_s - self.began_s > 86400 * (self.days + 1):
                self.days += 1
                if self.tell:
                    print(f"day {self.days}: {sum(self.happened.values())} events, all held", flush=True)

    async def window(self) -> None:
        """Some seconds in which the engines run, too."""
        await asyncio.sleep(0.5)
        if self.box.agent is not None:
            self.check()
        for _ in range(int(WINDOW_S / 0.1)):
            await asyncio.sleep(0.1)
            if self.box.agent is not None:
                self.box.engine.step()
            if self.box.faults:
                self.wrong(self.box.faults[0])

    def say(self, text: str) -> None:
        day, second = divmod(self.clock.now_s - self.began_s, 86400)
        minute, second = divmod(second, 60)
        self.said.append(f"day {day:.0f} {minute // 60:02.0f}:{minute % 60:02.0f}:{second:04.1f} {text}")
        del self.said[:-40]

    def state(self) -> list[str]:
        """What to look at first if something does not hold."""
        box = self.box
        found: Any = box.agent and box.agent._reconciler
        return [
            *(f"{each}" for each in box.modems),
            *(f"{each.device} has {each.interface}" for each in box.kernel.addresses),
            *(f"{each}" for each in box.kernel.rules if each.protocol == OWN),
            *(f"{each}" for each in (found.goal.uplinks if found else ())),
            *(f"{path}: {path.read_text()}" for path in sorted(box.folder.glob("state/leases/*"))),
        ]

    # --- what happens ---------------------------------------------------------------------------------------

    async def something(self) -> None:
        """One thing happens."""
        happenings: list[tuple[Callable[[Modem], Awaitable[None]], int]] = [
            (self.plugging, 8), (self.carrier, 5), (self.set_down, 4), (self.gateway, 6), (self.internet, 6),
            (self.quality, 3), (self.server, 4), (self.renumbered, 4), (self.nak, 3), (self.traffic, 5),
            (self.clock_jump, 1), (self.killed, 3), (self.restarted, 2), (self.foreign_route, 3),
            (self.foreign_rule, 3), (self.rival, 4), (self.reload, 3), (self.override, 3),
            (self.engine_killed, 2), (self.receiver, 2), (self.stream, 5),
        ]  # fmt: skip
        happenings = [each for each in happenings if not self.only or each[0].__name__ in self.only]
        functions, weights = zip(*happenings, strict=True)
        (function,) = self.random.choices(functions, weights)
        modem = self.random.choice(self.box.modems)
        broken = [] if self.only else self.broken()
        if broken and self.random.random() < HEALS:
            function, modem = self.random.choice(broken)
        self.happened[function.__name__] += 1
        self.say(f"{function.__name__} {modem.device}")
        await function(modem)

    def broken(self) -> list[tuple[Callable[[Modem], Awaitable[None]], Modem]]:
        """What does not work now, and what mends it: else after a day nothing would work."""
        found: list[tuple[Callable[[Modem], Awaitable[None]], Modem]] = []
        for modem in self.box.modems:
            link = self.box.kernel.links.get(modem.device)
            for wrong, mends in (
                (link is None, self.plugging),
                (link is not None and not link.up, self.set_down),
                (link is not None and link.up and not link.carrier, self.carrier),
                (not modem.answers, self.gateway),
                (not modem.leads_out, self.internet),
                (not modem.serves, self.server),
                (modem.slow, self.quality),
            ):
                if wrong:
                    found.append((mends, modem))
        if not self.clock.synchronised:
            found.append((self.clock_jump, self.box.modems[0]))
        if not self.box.receiver_runs:
            found += [(self.receiver, self.box.modems[0])] * 3
        return found

    async def plugging(self, modem: Modem) -> None:
        """Unplugged, or plugged in; sometimes both at once."""
        if not modem.plugged:
            self.box.plug(modem)
            return
        self.box.unplug(modem)
        if self.random.random() < 0.4:
            await asyncio.sleep(self.random.choice([0.0, 0.001, 2.0]))
            self.box.plug(modem)

    async def carrier(self, modem: Modem) -> None:
        """The cable."""
        if modem.plugged and self.box.kernel.links[modem.device].up:
            modem.changed_s = self.clock.now_s
            self.box.kernel.set_carrier(modem.device, not self.box.kernel.links[modem.device].carrier)

    async def set_down(self, modem: Modem) -> None:
        """`ip link set DEVICE down` or up."""
        if modem.plugged:
            modem.changed_s = self.clock.now_s
            up = not self.box.kernel.links[modem.device].up
            self.box.kernel.set_up(modem.device, up)
            if up and modem.default_in_main and modem.held is not None and self.random.random() < 0.5:
                self.box._default(modem)

    async def gateway(self, modem: Modem) -> None:
        """The modem hangs, or is back."""
        modem.answers, modem.changed_s = not modem.answers, self.clock.now_s

    async def internet(self, modem: Modem) -> None:
        """The modem has no network, or has one again."""
        modem.leads_out, modem.changed_s = not modem.leads_out, self.clock.now_s

    async def quality(self, modem: Modem) -> None:
        """Its answers take long, or no longer."""
        modem.slow, modem.changed_s = not modem.slow, self.clock.now_s

    async def server(self, modem: Modem) -> None:
        """Its DHCP server is silent, or answers."""
        modem.serves = not modem.serves

    async def renumbered(self, modem: Modem) -> None:
        """It hands out another address; the client asks at once, or only when it renews."""
        self._readdress(modem)
        at_once = self.random.random() < 0.7 and modem.held is not None and modem.serves
        if at_once and self.box.kernel.links[modem.device].up:
            self.box._bind(modem)

    def _readdress(self, modem: Modem) -> None:
        host = self.random.randrange(100, 110)
        modem.address = ipaddress.IPv4Interface(f"{modem.address.network.network_address + host}/24")

    async def nak(self, modem: Modem) -> None:
        """The server refuses the renewal."""
        if modem.plugged:
            self._readdress(modem)
            self.box.restart_client(modem)

    async def traffic(self, modem: Modem) -> None:
        """A day's bytes; counted exactly once."""
        size = self.random.randrange(1, 3 << 30)
        before = self._used(modem)
        await asyncio.sleep(2.5 * TICK_S)  # what was counted before is in the snapshot
        before = self._used(modem)
        self.box.transfer(modem, size)
        await asyncio.sleep(2.5 * TICK_S)
        after = self._used(modem)
        if (
            before is not None
            and after is not None
            and before[0] == after[0]
            and after[1] - before[1] != size
        ):
            self.wrong(f"{modem.device} carried {size} bytes, {after[1] - before[1]} were counted")

    def _used(self, modem: Modem) -> tuple[object, int] | None:
        if self.box.agent is None or not modem.plugged:
            return None
        metered = self.box.agent._reconciler.publish().metered
        return next(((each.since, each.used_bytes) for each in metered if each.device == modem.device), None)

    async def clock_jump(self, _modem: Modem) -> None:
        """The wall clock is set; the time server may be away for a while."""
        right_s = BEGIN_S - self.began_s
        if self.clock.offset_s == right_s:
            self.clock.synchronised = False
            self.clock.offset_s += self.random.choice(CLOCK_JUMPS_S)
        else:
            self.clock.synchronised, self.clock.offset_s = True, right_s
        # What was counted while the clock was wrong may belong to another month than it seemed.
        self.counters = {name: each for name, each in self.counters.items() if not name.startswith("used")}

    async def killed(self, _modem: Modem) -> None:
        """kill -9, and some time later a new start."""
        await self.box.kill()
        await self._pause_without_agent()
        self._start()

    async def restarted(self, _modem: Modem) -> None:
        """systemctl stop, and start."""
        await self.box.stop()
        await self._pause_without_agent()
        self._start()

    async def _pause_without_agent(self) -> None:
        await asyncio.sleep(self.random.choice([0.0, 0.2, 5.0, 300.0]))
        if self.random.random() < 0.4:
            modem = self.random.choice(self.box.modems)
            self.say(f"meanwhile {modem.device} is plugged or unplugged")
            await self.plugging(modem)

    def _start(self) -> None:
        self.counters = {name: value for name, value in self.counters.items() if name.startswith("used")}
        self.box.start()

    async def foreign_route(self, modem: Modem) -> None:
        """Another program's route comes or goes."""
        kernel = self.box.kernel
        theirs = [each for each in kernel.routes if each.protocol == 4]
        if theirs and self.random.random() < 0.5:
            kernel.delete_route(self.random.choice(theirs))
        else:
            to = ipaddress.ip_network(f"10.{self.random.randrange(200, 220)}.0.0/16")
            hop = Nexthop(modem.device, modem.gateway if self.random.random() < 0.7 else None)
            table = self.random.choice([MAIN_TABLE, MAIN_TABLE, 77])
            scope = "global" if hop.gateway else "link"
            route = Route(table, to, (hop,), scope=scope, protocol=4)
            if self.random.random() < 0.2:
                route = Route(table, to, kind="unreachable", protocol=4)
            try:
                kernel.add_route(route)
            except RefusedError:
                return
        kernel.changed(False)

    async def foreign_rule(self, _modem: Modem) -> None:
        """Another program's rule comes or goes."""
        kernel = self.box.kernel
        theirs = [each for each in kernel.rules if each.protocol == 4]
        if theirs and self.random.random() < 0.5:
            kernel.delete_rule(self.random.choice(theirs))
        else:
            priority = self.random.choice([30, 5210, 32000])
            source = ipaddress.ip_network(f"10.77.{self.random.randrange(9)}.0/24")
            rule = Rule(priority, 4, table=77, source=source, protocol=4)
            if rule not in kernel.rules:
                kernel.add_rule(rule)
        kernel.changed(False)

    async def rival(self, modem: Modem) -> None:
        """Another program removes what is netbond's, or adds in its name."""
        kernel = self.box.kernel
        table = self.random.choice([TABLE[modem.device], SHARED])
        kind = self.random.randrange(4)
        own = [each for each in kernel.rules if each.protocol == OWN]
        if kind == 0 and own:
            kernel.delete_rule(self.random.choice(own))
        elif kind == 1:
            kernel.routes = [each for each in kernel.routes if each.table != table]
        elif kind == 2:
            for number in [each.id for each in kernel.nexthops.values() if each.protocol == OWN]:
                if number in kernel.nexthops:
                    kernel.delete_nexthop(number)
        else:
            net = ipaddress.ip_network("192.0.2.9/32")
            rule = Rule(99, 4, table=table, source=net, protocol=OWN)
            if rule not in kernel.rules:
                kernel.add_rule(rule)
        kernel.changed(False)

    async def reload(self, _modem: Modem) -> None:
        """SIGHUP, with another configuration; sometimes with a broken one, which changes nothing."""
        agent = self.box.agent
        assert agent is not None
        if self.random.random() < 0.2:
            good = self.box.configured
            self.box.configure("[healht]\n" + good)
            agent._wake.reload()
            await asyncio.sleep(5)
            self.box.configure(good)
        else:
            words = {
                "usb1": self.random.choice(["", "weight = 3", "backup = true"]),
                "backup": self.random.choice(["true", "false"]),
                "base": self.random.choice(["7800000", "7800000", "0"]),
            }
            self.box.configure(BASE.format(**words))
            for modem in self.box.modems:
                modem.changed_s = self.clock.now_s
        agent._wake.reload()

    async def override(self, modem: Modem) -> None:
        """netbond set, netbond unset."""
        agent = self.box.agent
        assert agent is not None
        found: Any = agent._reconciler
        snapshot = found.publish()
        modem.changed_s = self.clock.now_s
        with contextlib.suppress(NetbondError):  # there may be no such uplink now
            if self.random.random() < 0.5:
                await found.overrides.unset(UnsetRequest(modem.device), snapshot)
                self.set_modes.pop(modem.device, None)
            else:
                value = self.random.choice(["off", "backup", "normal"])
                for_s = self.random.choice([None, 900.0])
                await found.overrides.set(SetRequest(modem.device, "mode", value, for_s, yes=True), snapshot)
                self.set_modes[modem.device] = (value, self.clock.now_s + (for_s or 1e9))

    async def engine_killed(self, _modem: Modem) -> None:
        """kill -9 of the sender."""
        self.box.engine.kill()

    async def receiver(self, _modem: Modem) -> None:
        """The receiver goes, or comes back and knows nobody."""
        self.box.receiver_runs = not self.box.receiver_runs
        self.receiver_since_s = self.box.engine.now_s
        if self.box.receiver_runs:
            self.box.receiver = Receiver(self.random.randbytes, self.box.engine.now_s)

    async def stream(self, _modem: Modem) -> None:
        """Packets: with a link that works and has registered, every one arrives."""
        box = self.box
        if box.agent is None:
            return
        await self.window()
        up = {link.spec.device for link in box.engine.sender._order if link.usable}
        before = box.delivered
        box.stream(PACKETS)
        await self.window()
        could = box.receiver_runs and any(self._works(each) for each in box.modems if each.device in up)
        if could and box.delivered < before + PACKETS:
            self.wrong(f"{box.delivered - before} of {PACKETS} packets have arrived, over {sorted(up)}")

    # --- what must hold -------------------------------------------------------------------------------------

    def wrong(self, text: str) -> None:
        """It does not hold."""
        raise WrongError(text)

    def check(self) -> None:
        """Check everything that can be checked now."""
        self.checks += 1
        box = self.box
        # Without its state the agent knows no lease: the first modem would have no rules.
        if not box.file.is_file():
            raise DisturbedError(f"another program has removed {box.folder}, where the box has its files")
        if box.faults:
            self.wrong(box.faults[0])
        if box.log.lines:
            self.wrong(f"the agent says: {box.log.lines[0]}")
        if box.agent is None:
            return
        found: Any = box.agent._reconciler
        for problem in found.problems.all():
            if "trying again" in problem.text:
                self.wrong(problem.text)
        if self.clock.now_s < box.agent_since_s + 0.4 or not found._passed:
            return
        self.addresses_leave_by_their_modems()
        self.uplinks_are_whole()
        self.legs_are_those_that_work()
        self.counters_rise()
        self.nothing_is_left_to_do()

    def addresses_leave_by_their_modems(self) -> None:
        """What is bound to an address leaves by a modem that has it, or not at all."""
        kernel = self.box.kernel
        for address in kernel.addresses:
            holders = {each.device for each in kernel.addresses if each.interface.ip == address.interface.ip}
            for to in ANYWHERE:
                self.lookups += 2
                for device in ("", address.device):
                    try:
                        way = kernel.lookup(to, address.interface.ip, device)
                    except RefusedError:
                        continue
                    allowed = {device} if device else holders
                    if not {out for out, _ in way.hops} <= allowed:
                        self.wrong(f"{address.interface.ip} of {address.device} to {to} leaves by {way}")

    def uplinks_are_whole(self) -> None:
        """Each address with its lease has its rules, its table and its gateway."""
        kernel = self.box.kernel
        for modem in self.box.modems:
            if modem.held is None:
                continue
            link, table = kernel.links[modem.device], TABLE[modem.device]
            if not any(
                r.oif == modem.device and r.table == table and r.protocol == OWN for r in kernel.rules
            ):
                self.wrong(f"{modem.device} has no rule for its device")
            source = ipaddress.ip_network(modem.held.ip)
            if not any(r.source == source and r.table == table and r.protocol == OWN for r in kernel.rules):
                self.wrong(f"{modem.device} has no rule for {modem.held.ip}")
            if not link.up:
                continue
            way = kernel.lookup(ANYWHERE[0], modem.held.ip, modem.device)
            if way.table != table or way.hops != {(modem.device, modem.gateway)}:
                self.wrong(f"{modem.device} is routed by {way}")

    def _works(self, modem: Modem) -> bool:
        link = self.box.kernel.links.get(modem.device)
        linked = modem.plugged and link is not None and link.up and link.carrier
        return bool(linked and modem.held is not None and modem.answers and modem.leads_out)

    def legs_are_those_that_work(self) -> None:
        """Whatever works for long is used, whatever does not is not; the kernel has what status says."""
        box, kernel = self.box, self.box.kernel
        found: Any = box.agent and box.agent._reconciler
        shared = [each for each in kernel.routes if each.table == SHARED and each.kind == "unicast"]
        legs = {hop.device for route in shared for hop in kernel._hops(route)}
        uplinks = {each.device: each for each in found.goal.uplinks}
        used = {name for name, each in uplinks.items() if each.state == "up"}
        if legs != used:
            self.wrong(f"the shared default has {sorted(legs)}, status says {sorted(used)}")
        for device, (mode, until_s) in self.set_modes.items():
            if mode == "off" and self.clock.now_s < until_s and device in legs:
                self.wrong(f"{device} is set off, and is used")
        for each in found.publish().metered:
            free = self.set_modes.get(each.device) is None and len(legs) > 1
            if each.verdict == "off" and each.device in legs and free:
                self.wrong(f"the data plan of {each.device} is spent, and it is used")
        running_s = self.clock.now_s - box.agent_since_s
        stable = {each.device: self.clock.now_s - each.changed_s for each in box.modems}
        working = {each.device for each in box.modems if self._works(each)}
        sure = {device for device in working if stable[device] >= BACK_S} if running_s > BACK_S else set()
        for device in sure:
            state = str(uplinks[device].state) if device in uplinks else "no uplink"
            if state in ("dead", "no uplink", "down", "no carrier"):
                self.wrong(f"{device} has worked for {stable[device]:.0f} s, and is {state}")
            if state in ("up", "degraded") and not self._has_link(device):
                self.wrong(f"{device} has worked for {stable[device]:.0f} s: the stream has no link over it")
            self.surely += 1
        for modem in box.modems:
            silent = (
                stable[modem.device] >= OUT_S and running_s > OUT_S + STARTED_S and modem.held is not None
            )
            if silent and modem.device not in working and modem.device in legs and sure & legs:
                self.wrong(f"{modem.device} has not worked for {stable[modem.device]:.0f} s, and is used")

    def _has_link(self, device: str) -> bool:
        """Whether the sender has a link over it; if the receiver has had its time, one that is up."""
        engine = self.box.engine
        links = [link for link in engine.sender._order if link.spec.device == device]
        changed_s = next(each.changed_s for each in self.box.modems if each.device == device)
        if self.known.get(device, (0.0, 0.0))[0] != changed_s:
            self.known[device] = (changed_s, engine.now_s)
        since_s = engine.now_s - max(self.receiver_since_s, engine.since_s, self.known[device][1])
        if self.box.receiver_runs and since_s > LINK_S:
            # Where the others' plans are spent, a link joins only when the last modem with data goes.
            links = [link for link in links if link.usable or engine.now_s - link.opened_at <= LINK_S]
        return bool(links)

    def counters_rise(self) -> None:
        """Within an agent and a month nothing that is counted falls."""
        found: Any = self.box.agent and self.box.agent._reconciler
        snapshot = found.publish()
        values = {"changes": (None, snapshot.agent.changes)}
        for each in snapshot.metered:
            values[f"used {each.device}"] = (each.since, each.used_bytes)
            modem = next(modem for modem in self.box.modems if modem.device == each.device)
            if each.used_bytes > modem.bytes_up:
                self.wrong(f"{each.device} has carried {modem.bytes_up} bytes, {each.used_bytes} are counted")
        for name, (of, value) in values.items():
            before = self.counters.get(name)
            if before is not None and before[0] == of and value < before[1]:
                self.wrong(f"{name} was {before[1]} and is {value}")
        self.counters |= values

    def nothing_is_left_to_do(self) -> None:
        """Another pass would change nothing, and a fresh start would make the same."""
        found: Any = self.box.agent and self.box.agent._reconciler
        facts = found.facts(self.box.kernel.facts())
        if left := plan(facts, desired(facts, found.config), OWN):
            self.wrong(f"left to do: {left[0].command()} ({left[0].why})")
        fresh = replace(
            facts,
            routes=tuple(each for each in facts.routes if each.protocol != OWN),
            rules=tuple(each for each in facts.rules if each.protocol != OWN),
            nexthops=tuple(each for each in facts.nexthops or () if each.protocol != OWN),
        )
        goal = desired(fresh, found.config)
        wanted, there = (
            _own(replace(fresh, routes=goal.routes, rules=goal.rules, nexthops=goal.nexthops)),
            _own(facts),
        )
        if wanted != there:
            self.wrong(f"a fresh start would differ: lacks {wanted - there}, has {there - wanted}")


def _own(facts: Facts) -> Counter[object]:
    found: list[object] = [
        replace(each, nexthops=() if each.nexthop_id else tuple(sorted(each.nexthops)))
        for each in facts.routes
    ]
    found += facts.rules
    found += [
        replace(each, family=0) if isinstance(each, NexthopGroup) else each for each in facts.nexthops or ()
    ]
    return Counter(each for each in found if getattr(each, "protocol", 0) == OWN)


def live(days: float, seed: int, folder: Path, only: Collection[str] = (), *, tell: bool = False) -> Month:
    """Let one box live; WrongError with what happened before."""
    clock = Clock(BEGIN_S)
    with (
        running(clock) as loop,
        mock.patch("netbond.agent.TICK_S", TICK_S),
        mock.patch("netbond.agent.RESYNC_S", LOOK_S),
        mock.patch("netbond.pacing.RESYNC_S", LOOK_S),
    ):
        month = Month(folder, seed, clock, only)
        month.tell = tell
        logging.getLogger("netbond").addHandler(month.box.log)
        try:
            loop.run_until_complete(month.live(days))
        except Exception as error:
            said = [f"seed {seed}, the last events:", *month.said, "the box:", *month.state()]
            error.add_note("\n".join(said))
            raise
        finally:
            logging.getLogger("netbond").removeHandler(month.box.log)
    return month


def main() -> int:
    """Run one month and say what happened; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    began, used = time.perf_counter(), time.process_time()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="netbond-month-", dir=memory) as folder:
        month = live(args.days, args.seed, Path(folder), tell=True)
    took = f"{time.perf_counter() - began:.0f} s ({time.process_time() - used:.0f} s of a processor)"
    print(f"{args.days:g} days in {took}, seed {args.seed}: everything held")
    print(
        f"{sum(month.happened.values())} events: "
        + ", ".join(f"{n} {k}" for k, n in sorted(month.happened.items()))
    )
    print(f"{month.surely} times an uplink had worked for long, and was used; ", end="")
    print(f"{month.checks} checks, {month.lookups} lookups, {month.box.probes} probes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
