"""Explores what an attacker can do to registration and key: all orders of events, up to a depth.

It steps the real state machines (netbond/srtla/sender.py, receiver/receiver.py), a client with two links and
a receiver, breadth first: from each state that was reached, each thing that can happen next. What can happen:
a datagram arrives, time passes until something is sent, half a second passes without an attack, the attacker
sends a datagram, and, if it stands on the way, drops one, or all for a while. States that differ only in what
`LEFT_OUT` names, mostly counters, count once. The attackers:

    forger   sends datagrams in anybody's name to both ends; it reads what comes to its own address
    reader   reads all datagrams besides, repeats them and uses the ids in them
    dropper  drops datagrams besides

What must hold after each step is in `World.check`, and what must hold from each state on in `comes_back`: the
client is served again, also while the attacker goes on.

usage: .venv/bin/python -m tests.registration_model [--scenario NAME] [--depth N] [--attacks N] [--steps N]
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from netbond.srtla import wire
from netbond.srtla.classic.classic import Classic
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.receiver.events import GroupRemoved, LinkLeft
from netbond.srtla.receiver.groups import UDP_OVERHEAD
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.receiver.receiver import Receiver
from netbond.srtla.receiver.room import Limits
from netbond.srtla.registration.keyring import Key
from netbond.srtla.sender import Sender
from netbond.srtla.senderevents import GroupChanged, LinkDown
from tests.srtla_util import data_packet, srt_ack

KEY = b"a key of 16 byte"
LINKS: dict[int, PeerAddress] = {1: ("198.51.100.1", 1001), 2: ("203.0.113.2", 1002)}
CLIENT = {address: number for number, address in LINKS.items()}
MALLORY: PeerAddress = ("192.0.2.66", 6001)
MALLORY2: PeerAddress = ("192.0.2.66", 6002)
VICTIM: PeerAddress = ("192.0.2.99", 9)
LIMITS = Limits(groups=2, links=3)
DELAY_S = 0.02  # of a datagram while nobody attacks
ROUND_S = 0.5
SILENCES_S = (5.0, 12.0, 25.0)  # links time out at the sender; at the receiver; the group is gone
BACK_WITHIN_S = 60.0
REMEMBERED = 12  # datagrams that a reader repeats
FORGED_HALF = bytes(range(128))
FORGED_ID = FORGED_HALF + bytes(128)


class Chance:
    """Random bytes that are the same each time, and can be copied with a state."""

    def __init__(self, seed: bytes) -> None:
        self.seed, self.count = seed, 0

    def __call__(self, size: int) -> bytes:
        self.count += 1
        return hashlib.shake_128(self.seed + self.count.to_bytes(4, "big")).digest(size)


@dataclass(frozen=True)
class Scenario:
    """Who attacks whom, and when."""

    name: str
    attacker: str  # forger, reader or dropper
    key: str  # none; offered: client and receiver have it; required: and the receiver serves nobody else
    begins: str  # new: client and receiver have just started; served; again: served in its second group
    depth: int
    attacks: int  # datagrams that the attacker sends at most

    @property
    def reads(self) -> bool:
        """Whether the attacker sees all datagrams."""
        return self.attacker != "forger"


SCENARIOS = (
    Scenario("forger", "forger", "none", "served", 7, 2),
    Scenario("forger-new", "forger", "none", "new", 9, 2),
    Scenario("forger-again", "forger", "required", "again", 7, 2),
    Scenario("reader", "reader", "required", "served", 6, 2),
    Scenario("reader-again", "reader", "required", "again", 6, 2),
    Scenario("reader-offered", "reader", "offered", "served", 6, 3),
    Scenario("dropper", "dropper", "required", "served", 6, 2),
    Scenario("dropper-new", "dropper", "required", "new", 8, 1),
)


@dataclass
class Traffic:
    """Bytes that came in the name of an address, and that were sent to it, with headers."""

    came: int = 0
    sent: int = 0


class World:
    """Both ends, what is between them, and what the attacker has."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.now = 1000.0
        key = None if scenario.key == "none" else KEY
        required = scenario.key == "required"
        self.sender = Sender(Chance(b"sender"), Classic(), self.now, key=key, require_key=required)
        self.receiver = Receiver(
            Chance(b"receiver"),
            self.now,
            limits=LIMITS,
            keys=[] if key is None else [Key(key)],
            require_key=required,
        )
        self.up: dict[int, list[bytes]] = {number: [] for number in LINKS}
        self.down: dict[int, list[bytes]] = {number: [] for number in LINKS}
        self.seen: list[bytes] = []  # by the reader
        self.own: bytes | None = None  # the group that the attacker has registered
        self.issued: bytes | None = None  # the last id that it was given
        self.made: set[bytes] = set()  # ids that the client joins with
        self.traffic: dict[PeerAddress, Traffic] = {}
        self.proven: set[PeerAddress] = set()
        self.attacks = 0
        self.dropped = False
        self.sequence = 0
        self.served: set[int] = set()  # groups whose packets reached the SRT server in this step
        self.faults: list[str] = []
        self.sender.set_links([LinkSpec(f"usb{n}", f"10.0.{n}.10") for n in LINKS], self.now)
        for number in LINKS:
            self.sender.link_opened(number, self.now)
        self.pump()

    # --- the network ----------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Take what both ends send, and look at what has happened to them."""
        for event in self.sender.events():
            if isinstance(event, GroupChanged) and event.group is not None:
                self.made.add(event.group)
            elif isinstance(event, GroupChanged | LinkDown) and not self.dropped:
                self.faults.append(f"a live link is down: {event}")
        for number, data in self.sender.datagrams_to_links():
            self.up[number].append(data)
            self.remember(data)
        for number, data in self.receiver.datagrams_to_srt():
            self.served.add(number)
            if not data[0] & 0x80:
                stamp = self.sequence
                self.receiver.datagram_from_srt(
                    number, srt_ack(wire.sequence_of(data) + 1, stamp=stamp), self.now
                )
        for told in self.receiver.events():
            if self.dropped or not isinstance(told, LinkLeft | GroupRemoved):
                continue
            ours = isinstance(told, GroupRemoved) or told.address in CLIENT
            if ours and told.id == self.sender.group:
                self.faults.append(f"a live link is put out: {told}")
        for peer in self.receiver._peers.values():
            if peer.proven:
                self.proven.add(peer.address)
        for address, data in self.receiver.datagrams_to_peers():
            self.traffic.setdefault(address, Traffic()).sent += len(data) + UDP_OVERHEAD
            if address in CLIENT:
                self.down[CLIENT[address]].append(data)
                self.remember(data)
            elif address != VICTIM and wire.packet_type(data) == wire.REG2:
                self.issued = data[2:]

    def remember(self, data: bytes) -> None:
        """The reader keeps what is about registration."""
        if not self.scenario.reads or data in self.seen:
            return
        if wire.packet_type(data) in (wire.REG1, wire.REG2):
            self.seen = [*self.seen, data][-REMEMBERED:]

    def to_receiver(self, address: PeerAddress, data: bytes) -> None:
        """A datagram arrives that says it is from this address."""
        self.traffic.setdefault(address, Traffic()).came += len(data) + UDP_OVERHEAD
        self.receiver.datagram_from_peer(address, data, self.now)
        self.pump()

    def to_sender(self, number: int, data: bytes) -> None:
        """A datagram arrives on a link that says it is from the receiver."""
        self.sender.datagram_from_receiver(number, data, self.now)
        self.pump()

    def deliver(self, queue: str, number: int) -> None:
        """The oldest datagram on its way arrives."""
        if queue == "up":
            self.to_receiver(LINKS[number], self.up[number].pop(0))
        else:
            self.to_sender(number, self.down[number].pop(0))

    def drop(self, queue: str, number: int) -> None:
        """The oldest datagram on its way is lost."""
        (self.up if queue == "up" else self.down)[number].pop(0)
        self.dropped = True

    def in_flight(self) -> list[tuple[str, int]]:
        """The queues with something in them."""
        return [
            (name, n) for name, queues in (("up", self.up), ("down", self.down)) for n in LINKS if queues[n]
        ]

    def lose(self) -> None:
        """All that is on its way is lost."""
        for number in LINKS:
            self.up[number].clear()
            self.down[number].clear()
        self.dropped = True

    # --- time -----------------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let so much time pass, with both ends' timers."""
        self.now = round(self.now + seconds, 3)
        self.sender.handle_timer(self.now)
        self.receiver.handle_timer(self.now)
        self.pump()

    def stream(self) -> None:
        """The SRT caller sends a packet, if it is connected."""
        if self.sender.usable_links:
            self.sender.datagram_from_caller(data_packet(self.sequence), self.now)
            self.sequence += 1
            self.pump()

    def tick(self) -> None:
        """Wait until something is sent, for 1 s at most."""
        for _ in range(20):
            self.advance(0.05)
            if self.in_flight():
                return

    def run(self, seconds: float, siege: Callable[[World], None] | None = None) -> None:
        """Let time pass; all that is sent arrives, and before each of it the attacker has its turn."""
        end = self.now + seconds
        while self.now < end:
            self.stream()
            for _ in range(40):
                waiting = self.in_flight()
                if not waiting:
                    break
                self.advance(DELAY_S)
                for queue, number in waiting:
                    if siege is not None:
                        siege(self)
                    self.deliver(queue, number)
            self.advance(0.1)

    def silence(self, seconds: float) -> None:
        """The attacker drops all for so long."""
        self.lose()
        for _ in range(int(seconds)):
            self.advance(1.0)
            self.lose()

    # --- what must hold -------------------------------------------------------------------------------------

    def check(self) -> list[str]:
        """What does not hold in this state."""
        faults, self.faults = self.faults, []
        for group in self.receiver._groups.values():
            foreign = [address for address in group.links if address in (MALLORY, MALLORY2)]
            keyed = group.keyed or self.scenario.key == "required"
            if keyed and group.id not in self.made:
                faults.append("a group that no owner of the key has made")
            if foreign and group.id in self.made and not self.scenario.reads:
                faults.append("the attacker has joined a group whose id it cannot know")
        for address, traffic in self.traffic.items():
            if traffic.sent > 3 * traffic.came and address not in self.proven:
                faults.append(f"amplification: {traffic.came} bytes from {address}, {traffic.sent} to it")
        return faults

    def links_served(self) -> int:
        """How many links of the client are up, at both ends, in one group that carries packets."""
        group = self.receiver._groups.get(self.sender.group or b"")
        if group is None or group.number not in self.served:
            return 0
        return min(self.sender.usable_links, len(CLIENT.keys() & group.links.keys()))


# --- what the attacker does ------------------------------------------------------------------------------

Move = tuple[str, Callable[[World], None]]


def to_sender(name: str, number: int, data: bytes) -> Move:
    return f"forge to link {number}: {name}", lambda world: world.to_sender(number, data)


def to_receiver(name: str, address: PeerAddress, data: bytes) -> Move:
    return f"forge from {who(address)}: {name}", lambda world: world.to_receiver(address, data)


def who(address: PeerAddress) -> str:
    if address in CLIENT:
        return f"link {CLIENT[address]}"
    return {MALLORY: "the attacker", MALLORY2: "the attacker's other port"}.get(address, "a victim")


def register(world: World) -> None:
    """The attacker registers a group of its own, as anybody can where no key is asked for."""
    world.to_receiver(MALLORY, wire.build_registration(wire.REG1, FORGED_ID))
    issued = world.issued
    if issued is not None:
        world.to_receiver(MALLORY, wire.build_registration(wire.REG2, issued))
        if MALLORY in world.receiver._peers:
            world.own = issued


def forgeries(world: World) -> list[Move]:
    """What anybody can send who knows or guesses addresses and ports."""
    moves: list[Move] = []
    for number in LINKS:
        moves += [
            to_sender("NGP", number, wire.REG_NGP_PACKET),
            to_sender("ERR", number, wire.REG_ERR_PACKET),
            to_sender("REG3", number, wire.REG3_PACKET),
            to_sender("REG2", number, wire.build_registration(wire.REG2, FORGED_ID)),
        ]
    for address in (*CLIENT, VICTIM):
        moves += [
            to_receiver("REG1", address, wire.build_registration(wire.REG1, FORGED_ID)),
            to_receiver("REG2", address, wire.build_registration(wire.REG2, FORGED_ID)),
            to_receiver("keepalive", address, b"\x90\x00"),
            to_receiver("data", address, data_packet(7, size=200)),
        ]
        if world.own is not None:
            joined = wire.build_registration(wire.REG2, world.own)
            moves.append(to_receiver("REG2 of its own group", address, joined))
    moves.append(("the attacker registers", register))
    return moves


def replays(world: World) -> list[Move]:
    """What somebody can send besides who has seen all datagrams."""
    moves: list[Move] = []
    for position, data in enumerate(world.seen):
        kind = "REG1" if wire.packet_type(data) == wire.REG1 else "REG2"
        name = f"{kind} number {position}"
        moves += [to_receiver(name, address, data) for address in (*CLIENT, MALLORY, MALLORY2, VICTIM)]
        moves += [to_sender(name, number, data) for number in LINKS]
    return moves


def drops(world: World) -> list[Move]:
    """What somebody can do besides who stands on the way."""
    moves: list[Move] = []
    for queue, number in world.in_flight():
        moves.append((f"drop {queue} {number}", partial(World.drop, queue=queue, number=number)))
    moves += [
        (f"drop all for {seconds:.0f} s", partial(World.silence, seconds=seconds)) for seconds in SILENCES_S
    ]
    return moves


def moves(world: World) -> list[Move]:
    """All that can happen next."""
    out: list[Move] = [("half a second", lambda world: world.run(ROUND_S))]
    flying = world.in_flight()
    if flying:
        for queue, number in flying:
            out.append((f"{queue} {number}", partial(World.deliver, queue=queue, number=number)))
    else:
        out.append(("wait", World.tick))
    if world.scenario.attacker == "dropper":
        out += drops(world)
    if world.attacks < world.scenario.attacks:
        attacks = forgeries(world) + (replays(world) if world.scenario.reads else [])
        out += [(name, attack(act)) for name, act in attacks]
    return out


def attack(act: Callable[[World], None]) -> Callable[[World], None]:
    """It counts as one."""

    def counted(world: World) -> None:
        world.attacks += 1
        act(world)

    return counted


# --- the client comes back -------------------------------------------------------------------------------


def besiege(world: World) -> None:
    """What the attacker goes on with: refusals and "no such group" in the receiver's name, and, if it knows
    the id of a group, as many links in that as there is room for."""
    for number in LINKS:
        world.to_sender(number, wire.REG_ERR_PACKET)
        world.to_sender(number, wire.REG_NGP_PACKET)
    for data in world.seen[-3:]:
        if wire.packet_type(data) == wire.REG2:
            for port in range(LIMITS.links):
                world.to_receiver((MALLORY[0], 6001 + port), data)


def comes_back(world: World) -> list[str]:
    """Whether the client is served again, whatever the attacker goes on with."""
    faults = []
    state = pickle.dumps(world)
    # Who reads the id of a group can fill it, but for the link that has registered it.
    both = (
        ("the attacker stops", None, 2),
        ("the attacker goes on", besiege, 1 if world.scenario.reads else 2),
    )
    for name, siege, wanted in both:
        copy = pickle.loads(state)  # noqa: S301  # our own
        copy.dropped = True  # links may be lost on the way, while the attacker goes on
        while copy.now < world.now + BACK_WITHIN_S:
            copy.served = set()
            copy.run(ROUND_S, siege)
            if copy.links_served() >= wanted:
                break
        else:
            faults.append(f"the client is locked out: {name}")
    return faults


# --- the search ------------------------------------------------------------------------------------------

# Counters, records of packets, and what is made of these: registration does not depend on them.
LEFT_OUT = {
    "_random", "_carrier", "_adviser", "stream_ids", "samples", "figures", "packets", "bytes", "counted",
    "recent", "carried", "activity", "refused", "_stats_at", "retransmitted", "ignored", "data_packets",
    "probes", "_copies", "_older_copies", "tickets", "_keys", "_limits", "_data_at", "model", "passing",
    "rtt", "keepalive", "flowed", "traffic", "scenario", "bitrate", "reason", "counted_packets",
    "in_flight", "in_flight_bytes", "window", "lost", "turn", "latency_s", "spec", "served",
    "pending_keepalives", "_served_at", "_link_lost_at", "answered_at", "opened_at", "refused_at",
    "probed_at", "_told_at", "number", "_next_number", "credit", "unacknowledged", "_flushes", "now",
    "sequence",
}  # fmt: skip
OLD_S = 26.0


def fingerprint(world: World) -> int:
    """What tells states apart. Times count by their age, ids by their place in the order of appearance."""
    names: dict[bytes, int] = {}
    now = world.now

    def walk(value: Any) -> Any:
        if isinstance(value, float):
            if value < now - 1000:
                return 0.0
            return round(max(min(now - value, OLD_S), -OLD_S), 1)
        if isinstance(value, bytes):
            if len(value) < 128:
                return value
            kind, name = (value[:2], value[2:]) if len(value) == wire.REG_LENGTH else (b"", value)
            return kind, names.setdefault(name, len(names))
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, dict):
            return tuple((walk(key), walk(each)) for key, each in value.items())
        if isinstance(value, list | tuple | deque):
            return tuple(walk(each) for each in value)
        if isinstance(value, set):
            return len(value)
        if id(value) in inside:
            return "again"
        inside.add(id(value))
        return tuple(walk(getattr(value, name)) for name in slots_of(type(value), value))

    inside: set[int] = set()
    return hash((walk(world), int(now * 2) % 10))  # the slots of tickets


_SLOTS: dict[type, tuple[str, ...]] = {}


def slots_of(kind: type, value: Any) -> tuple[str, ...]:
    """The attributes of an object that count."""
    found = _SLOTS.get(kind)
    if found is None:
        names: list[str] = list(getattr(value, "__dict__", ()))
        for base in kind.__mro__:
            names += getattr(base, "__slots__", ())
        found = _SLOTS[kind] = tuple(dict.fromkeys(name for name in names if name not in LEFT_OUT))
    return found


@dataclass
class Found:
    """What a search has found."""

    scenario: Scenario
    states: int = 0
    steps: int = 0
    depth: int = 0  # up to which every state was looked at
    faults: dict[str, list[str]] = field(default_factory=dict)  # the shortest way to each


def start(scenario: Scenario) -> World:
    """The first state."""
    world = World(scenario)
    if scenario.begins != "new":
        world.run(1.5)
    if scenario.begins == "again":  # as an encoder's box does that was started again
        world.dropped = True
        world.sender.use_another_receiver(world.now)
        for number in LINKS:
            world.sender.link_opened(number, world.now)
        world.run(1.5)
        world.dropped = False
    assert scenario.begins == "new" or world.sender.usable_links == len(LINKS)
    return world


def explore(scenario: Scenario, most: int) -> Found:
    """Look at all states up to the scenario's depth, in so many steps at most."""
    found = Found(scenario)
    first = start(scenario)
    known = {fingerprint(first)}
    frontier: deque[tuple[bytes, tuple[str, ...]]] = deque([(pickle.dumps(first), ())])
    while frontier:
        state, way = frontier.popleft()
        if len(way) >= scenario.depth:
            break
        found.depth = len(way)
        for name, act in moves(pickle.loads(state)):  # noqa: S301  # our own
            if found.steps >= most:
                return found
            world = pickle.loads(state)  # noqa: S301  # our own
            world.served = set()
            act(world)
            found.steps += 1
            faults = world.check()
            mark = fingerprint(world)
            if mark in known and not faults:
                continue
            if not faults:
                faults = comes_back(world)
            known.add(mark)
            for fault in faults:
                found.faults.setdefault(fault.partition("(")[0], [*way, name])
            if not faults:
                frontier.append((pickle.dumps(world), (*way, name)))
            found.states = len(known)
    found.depth = scenario.depth
    return found


def report(found: Found) -> str:
    """One line, and the way to each fault."""
    scenario = found.scenario
    head = (
        f"{scenario.name}: {found.states} states, {found.steps} steps, every one up to depth {found.depth}"
        f" ({scenario.attacks} attacks at most), {len(found.faults)} faults"
    )
    return "\n".join([head, *(f"  {fault}\n    by: {'; '.join(way)}" for fault, way in found.faults.items())])


def main(arguments: list[str]) -> int:
    """Search, and print what was found; the exit status is 1 if something was."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenario", choices=[each.name for each in SCENARIOS], help="only this one")
    parser.add_argument("--depth", type=int, help="steps")
    parser.add_argument("--attacks", type=int, help="datagrams that the attacker sends at most")
    parser.add_argument("--steps", type=int, default=50_000, help="in each scenario, at most")
    options = parser.parse_args(arguments)
    chosen: Iterable[Scenario] = (each for each in SCENARIOS if options.scenario in (None, each.name))
    status = 0
    for scenario in chosen:
        wanted = replace(
            scenario, depth=options.depth or scenario.depth, attacks=options.attacks or scenario.attacks
        )
        found = explore(wanted, options.steps)
        print(report(found), flush=True)
        status |= bool(found.faults)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
