"""A whole box in simulated time: the agent's real loop over a simulated kernel, modems and DHCP servers.

Real: the agent's loop and passes (netbond/agent.py, reconciler.py), all that decides, the sources for
leases, defaults, health, data plans and overrides with their state files, the parser of what DHCP clients
say, the lease store, reloading, and the state machines of an SRTLA sender and receiver. Simulated: the kernel
(kernel.py), modems and what is behind them, DHCP clients, the answers to probes, the processes and sockets of
engines, clocks. Left out: D-Bus, udev, nft, sysctls, metrics, control socket, address list, hooks.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from netbond.agent import Agent
from netbond.config.load import load
from netbond.config.schema import CheckConfig, Config
from netbond.config.targets import Target
from netbond.contracts import Output
from netbond.dhcp.clients import parse_dhclient
from netbond.dhcp.lease import Lease, Released
from netbond.dhcp.store import LeaseStore
from netbond.engines.child import read_statistics
from netbond.events import News
from netbond.health.judge import Answer, Outcome
from netbond.health.probes import ProbedUplink
from netbond.kernel.client import Kernel
from netbond.model import MAIN_TABLE, EngineState, Nexthop, Route
from netbond.outputs.engines import link_specs
from netbond.plan import Operation
from netbond.refusals import Refusal
from netbond.sources.auto_weight import AutoWeights
from netbond.sources.data_plans import DataPlans
from netbond.sources.health import HealthChecks
from netbond.sources.kept_leases import HookLeases, SeenInMain
from netbond.sources.last_pass import LastPass
from netbond.sources.overrides import Overrides
from netbond.sources.running import Sources
from netbond.sources.taken_defaults import TakenDefaults
from netbond.srtla.modes import make_carrier
from netbond.srtla.receiver.receiver import Receiver
from netbond.srtla.sender import Sender
from netbond.srtla.senderevents import LinkAdded, LinkRemoved
from netbond.status.protocol import HookRequest
from tests.simulation.kernel import RefusedError, SimulatedKernel
from tests.simulation.virtual_time import Clock
from tests.srtla_util import data_packet

KEPT = (*(HookLeases, TakenDefaults, SeenInMain, AutoWeights, HealthChecks, DataPlans, Overrides, LastPass),)
INTERNET = ipaddress.ip_address("203.0.113.10")
ANYWHERE = [ipaddress.ip_address(each) for each in ("8.8.8.8", "203.0.113.10", "198.51.100.7")]
LEASE_S = 7200.0
DHCP_S = (0.5, 3.0)  # until a DHCP server has answered
LAZY_S = 60.0  # until a client asks again that got no answer
ENGINE_STEP_S = 0.1
STREAM = range(1, 1 << 30)


class SilentLog(logging.Handler):
    """Keeps what the agent says that it should never have to say."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, with the traceback: an error of the agent's own, not a problem that it reports."""
        if record.exc_info:
            self.lines.append(logging.Formatter().format(record))


@dataclass
class Modem:
    """A modem, and the DHCP client of its interface."""

    device: str
    number: int
    gateway: ipaddress.IPv4Address
    address: ipaddress.IPv4Interface  # that it hands out
    public: str
    default_in_main: bool  # its client sets one
    plugged: bool = False
    answers: bool = True  # the gateway
    leads_out: bool = True  # to the internet
    serves: bool = True  # DHCP
    slow: bool = False
    held: ipaddress.IPv4Interface | None = None  # by the box
    expires_s: float = 0.0
    changed_s: float = 0.0  # when anything of this was last another
    client: asyncio.Task[None] | None = None
    bytes_up: int = 0


class SimulatedEngine(Output):
    """The sender, and the receiver at the other end. It stands still unless `active`."""

    name = "engines"

    def __init__(self, box: Box, kept: dict[str, Any]) -> None:
        self.box = box
        self.now_s = self.since_s = 0.0
        self.kept = kept  # what survives the engine: its group
        self.sender = self._new()
        self.open: dict[int, tuple[str, str]] = {}  # links with a socket: device and address
        self.restarts = 0
        self.stats: Any = None
        self.stats_at = -1.0
        self.specs: tuple[Any, ...] = ()

    def _new(self) -> Sender:
        return Sender(
            self.box.random.randbytes, make_carrier("adaptive", 1.0), self.now_s, group=self.kept.get("group")
        )

    async def apply(self, facts: Any, goal: Any, config: Config) -> Sequence[str]:
        """Take the links."""
        if (specs := link_specs(goal.uplinks)) != self.specs:
            self.specs = specs
            self.sender.set_links(specs, self.now_s)
            self._sockets()
        return ()

    def kill(self) -> None:
        """kill -9, and a successor with what was kept."""
        self.restarts += 1
        self.since_s = self.now_s
        self.open.clear()
        self.sender = self._new()
        self.sender.set_links(self.specs, self.now_s)
        self._sockets()

    def states(self) -> tuple[EngineState, ...]:
        """As the supervisor has it."""
        return (EngineState("127.0.0.1:6000", "sender", "running", 1, self.restarts, stats=self.stats),)

    def listen(self, _listener: object) -> None:
        """Nobody follows advice."""

    def _sockets(self) -> None:
        """Open and close what the sender asks for; an address that is not there cannot be bound to."""
        for event in self.sender.events():
            if isinstance(event, LinkAdded):
                self._open(event.number, event.spec.device, event.spec.address)
            elif isinstance(event, LinkRemoved):
                self.open.pop(event.number, None)
        for link in self.sender._order:
            if link.number not in self.open:
                self._open(link.number, link.spec.device, link.spec.address)

    def _open(self, number: int, device: str, address: str) -> None:
        if self.box.has(device, address):
            self.open[number] = (device, address)
            self.sender.link_opened(number, self.now_s)
        else:
            self.sender.link_failed(number, "no such address", self.now_s)

    def step(self) -> None:
        """A tenth of a second of both state machines; packets of a link leave as the kernel says."""
        self.now_s += ENGINE_STEP_S
        box, receiver = self.box, self.box.receiver
        self._sockets()
        self.sender.handle_timer(self.now_s)
        receiver.handle_timer(self.now_s)
        for number, data in self.sender.datagrams_to_links():
            if number not in self.open:
                continue
            device, address = self.open[number]
            if not box.has(device, address):
                self.open.pop(number)
                self.sender.link_failed(number, "Network is down", self.now_s)
                continue
            modem = box.carries(device, address)
            if modem is not None and box.receiver_runs:
                receiver.datagram_from_peer((modem.public, 10000 + number), data, self.now_s)
        back = {(modem.public, modem.device) for modem in box.modems if modem.plugged and modem.leads_out}
        for peer, data in receiver.datagrams_to_peers():
            number = int(peer[1]) - 10000
            here = self.open.get(number)
            if here is not None and (peer[0], here[0]) in back and box.has(*here):
                self.sender.datagram_from_receiver(number, data, self.now_s)
        box.delivered += sum(1 for _ in receiver.datagrams_to_srt())
        receiver.events()
        if self.sender.group is not None:
            self.kept["group"] = self.sender.group
        if self.now_s >= self.stats_at + 1.0:
            self.stats_at = self.now_s
            found = self.sender.stats(self.now_s)
            engine = {"role": "sender", "listen": "127.0.0.1:6000", "receiver": "203.0.113.10:5000"}
            self.stats = read_statistics(
                "sender", {**engine, "receiver_address": "203.0.113.10", "caller": None, **found}
            )


class NoRouter:
    """In the place of nft."""

    async def prepare(self, *_: object) -> None:
        """Nothing is forwarded."""

    def usable(self) -> None:
        """Nobody has looked."""


class SimulatedAgent(Agent):
    """The agent without what needs the real box."""

    def __init__(self, config: Config, file: Path, box: Box) -> None:
        super().__init__(config, file)
        made: Any = self._reconciler
        made._sources = Sources([each for each in made._sources.all if isinstance(each, KEPT)], made._look)
        made._table = NoRouter()
        made.engines = SimulatedEngine(box, box.kept)
        made.outputs = (
            made.engines,
            *(source for source in made._sources.all if isinstance(source, Output)),
        )
        made.health._monitor._ask = box.ask
        made.health._monitor._random = box.random.random
        made.health._receivers._ask = box.ask
        made.health._receivers._random = box.random.random
        self.stack = contextlib.AsyncExitStack()

    async def simulate(self, kernel: SimulatedKernel) -> None:
        """As run() does."""
        await self._reconciler.start(self.stack, cast("Kernel", kernel))
        await self._pass(cast("Kernel", kernel))
        self._reconciler.tell(News("started", "", "simulated"))
        await self._loop(cast("Kernel", kernel))


class WatchedKernel(SimulatedKernel):
    """The kernel of a box, which compares what is not netbond's before and after each work of the agent."""

    def __init__(self, box: Box) -> None:
        super().__init__()
        self.box = box

    def changed(self, moved: bool) -> None:
        """As netlink tells it."""
        agent = self.box.agent
        if agent is not None:
            agent._news_of_kernel(moved)

    async def apply(self, operations: Iterable[Operation], links: Any) -> list[Refusal]:
        """The same, watched."""
        before = self.foreign()
        failures = await super().apply(operations, links)
        if self.foreign() != before:
            changed = [*(before - self.foreign()), *(self.foreign() - before)]
            self.box.faults.append(f"the agent has changed what is not its own: {changed}")
        return failures

    def foreign(self) -> Counter[object]:
        """What others have."""
        things = [*self.routes, *self.rules, *self.nexthops.values()]
        return Counter(each for each in things if each.protocol != self.protocol)


@dataclass
class Box:
    """The box, its modems, and what happens to them. `faults` are what must not be."""

    folder: Path
    clock: Clock
    random: random.Random
    config: str
    modems: list[Modem] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    agent: SimulatedAgent | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    receiver_runs: bool = True
    delivered: int = 0
    probes: int = 0
    agent_since_s: float = 0.0
    configured: str = ""

    def __post_init__(self) -> None:
        """Make the kernel, the receiver and the log."""
        self.kernel = WatchedKernel(self)
        self.receiver = Receiver(self.random.randbytes, 0.0)
        self.log = SilentLog()
        self.file = self.folder / "netbond.toml"
        self.configure(self.config)
        self._task: asyncio.Task[None] | None = None

    # --- the agent ------------------------------------------------------------------------------------------

    def configure(self, text: str) -> None:
        """Write the configuration."""
        self.configured = text
        self.file.write_text(
            f"""
[agent]
state_dir = "{self.folder}/state"
data_dir = "{self.folder}/data"
control_socket = "{self.folder}/control.sock"
ip_list = ""
metrics = ""
iproute2_dir = ""
user = "nobody"
{text}
"""
        )

    def start(self) -> None:
        """Start the agent."""
        engine = self.engine
        self.agent = SimulatedAgent(load(self.file), self.file, self)
        if engine is not None:
            self.engine.now_s = self.engine.since_s = engine.now_s  # the receiver's time goes on
        self.agent_since_s = self.clock.now_s
        self._task = asyncio.create_task(self.agent.simulate(self.kernel), name="agent")

    async def kill(self) -> None:
        """kill -9: nothing of it runs any more, and nothing is written."""
        mine = {asyncio.current_task(), *(modem.client for modem in self.modems)}
        for task in asyncio.all_tasks():
            if task not in mine:
                task.cancel()
        self.agent_gone = self.agent
        self.agent = None
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """SIGTERM."""
        assert self.agent is not None
        assert self._task is not None
        self.agent._wake.stop()
        await self._task
        await self.agent.stack.aclose()
        await self.kill()

    @property
    def engine(self) -> Any:
        """The sender that runs, or ran."""
        agent = self.agent or getattr(self, "agent_gone", None)
        return None if agent is None else agent._reconciler.engines

    async def ask(self, check: CheckConfig, target: Target, uplink: ProbedUplink) -> Answer:
        """What a probe hears."""
        self.probes += 1
        if not self.has(uplink.device, str(uplink.address)):
            return Answer(target.text, Outcome.LOCAL, None, "no such address")
        to = ipaddress.ip_address(target.host)
        modem = next(each for each in self.modems if each.device == uplink.device)
        if check.kind == "gateway":
            works = modem.answers and to == modem.gateway and self.kernel.links[modem.device].carrier
        else:
            works = self.carries(uplink.device, str(uplink.address), to) is not None
            works = works and (check.kind != "srtla" or self.receiver_runs)
        if not works:
            await asyncio.sleep(check.timeout)
            return Answer(target.text, Outcome.FAILED, None, "no answer")
        rtt = 0.9 if modem.slow else 0.05
        await asyncio.sleep(rtt)
        return Answer(target.text, Outcome.ANSWERED, rtt)

    # --- packets --------------------------------------------------------------------------------------------

    def has(self, device: str, address: str) -> bool:
        """Whether a socket can be bound to both."""
        wanted = ipaddress.ip_address(address)
        return any(each.device == device and each.interface.ip == wanted for each in self.kernel.addresses)

    def carries(self, device: str, address: str, to: Any = INTERNET) -> Modem | None:
        """The modem that takes a packet of a socket bound to device and address; None: it gets lost."""
        source = ipaddress.ip_address(address)
        try:
            way = self.kernel.lookup(to, source, device)
        except RefusedError:
            return None
        for out, gateway in way.hops:
            if out != device:
                self.faults.append(f"a packet of {device} ({address}) leaves by {out}")
                return None
            modem = next(each for each in self.modems if each.device == out)
            link = self.kernel.links[out]
            fine = modem.plugged and link.up and link.carrier and modem.answers and modem.leads_out
            # A packet to the internet that names no gateway asks for a neighbour who is not there.
            fine = fine and gateway == modem.gateway
            if not fine or modem.held is None or source != modem.held.ip:
                return None
            return modem
        return None

    # --- modems and their DHCP clients ----------------------------------------------------------------------

    def plug(self, modem: Modem) -> None:
        """It appears, with another index; its client starts."""
        modem.plugged = True
        modem.changed_s = self.clock.now_s
        self.kernel.add_link(modem.device, mac=f"02:00:00:00:00:{modem.number:02x}")
        modem.client = asyncio.create_task(self._dhcp(modem), name=f"dhclient {modem.device}")

    def unplug(self, modem: Modem) -> None:
        """It vanishes; the client is stopped."""
        self._stop_client(modem)
        modem.plugged = False
        modem.held = None
        modem.changed_s = self.clock.now_s
        self.kernel.delete_link(modem.device)

    def _stop_client(self, modem: Modem) -> None:
        if modem.client is not None:
            modem.client.cancel()
        modem.client = None

    def restart_client(self, modem: Modem) -> None:
        """The server says NAK: the address is given up, and asked for anew."""
        self._stop_client(modem)
        self._let_go(modem, "EXPIRE")
        modem.client = asyncio.create_task(self._dhcp(modem), name=f"dhclient {modem.device}")

    async def _dhcp(self, modem: Modem) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(*DHCP_S))
            link = self.kernel.links[modem.device]
            now_s = self.clock.now_s
            if modem.serves and modem.answers and link.up and link.carrier:
                self._bind(modem)
                modem.expires_s = now_s + LEASE_S
                await asyncio.sleep(LEASE_S / 2)
                continue
            if modem.held is not None and now_s >= modem.expires_s:
                self._let_go(modem, "EXPIRE")
            await asyncio.sleep(LAZY_S)

    def _bind(self, modem: Modem) -> None:
        """What dhclient-script does, and the hook after it."""
        new, old = modem.address, modem.held
        reason = "RENEW" if old is not None else "BOUND"
        if old is not None and old != new:
            self._forget_address(modem)
        if old != new:
            self.kernel.add_address(modem.device, new)
            modem.held = new
            modem.changed_s = self.clock.now_s
            if modem.default_in_main:
                self._default(modem)
        self._hook(
            {
                "reason": reason,
                "interface": modem.device,
                "new_ip_address": str(new.ip),
                "new_subnet_mask": str(new.netmask),
                "new_routers": str(modem.gateway),
            }
        )

    def _default(self, modem: Modem) -> None:
        """The client's own default in main."""
        hop = Nexthop(modem.device, modem.gateway)
        with contextlib.suppress(RefusedError):
            self.kernel.add_route(
                Route(
                    MAIN_TABLE,
                    ipaddress.ip_network("0.0.0.0/0"),
                    (hop,),
                    metric=1000 + modem.number,
                    protocol=16,
                )
            )

    def _forget_address(self, modem: Modem) -> None:
        assert modem.held is not None
        self.kernel.delete_address(modem.device, modem.held)
        modem.held = None
        modem.changed_s = self.clock.now_s

    def _let_go(self, modem: Modem, reason: str) -> None:
        if modem.held is None:
            return
        old = modem.held
        self._forget_address(modem)
        self._hook({"reason": reason, "interface": modem.device, "old_ip_address": str(old.ip)})

    def _hook(self, environ: dict[str, str]) -> None:
        """What netbond hook does with what a client says."""
        now_s = self.clock.now_s
        news = parse_dhclient(environ, now_s)
        store = LeaseStore(self.folder / "state" / "leases")
        request = HookRequest("dhclient", environ["interface"])
        if isinstance(news, Lease):
            index = self.kernel.links[news.device].index
            store.save(Lease(news.device, news.source, news.address, news.routers, now_s, index))
        elif isinstance(news, Released):
            store.forget(news.device, news.address, news.source, now_s)
        if self.agent is not None:
            self.agent._reconciler.hook_leases.hear(request)
            self.agent._wake.look()

    # --- traffic --------------------------------------------------------------------------------------------

    def transfer(self, modem: Modem, size: int) -> None:
        """Count bytes on the interface, as the kernel does."""
        link = self.kernel.links.get(modem.device)
        if link is not None:
            modem.bytes_up += size
            self.kernel.links[modem.device] = replace(link, tx_bytes=link.tx_bytes + size)

    def stream(self, count: int) -> None:
        """Packets of the SRT caller."""
        for _ in range(count):
            self.kept["sequence"] = self.kept.get("sequence", 0) + 1
            self.engine.sender.datagram_from_caller(data_packet(self.kept["sequence"]), self.engine.now_s)
