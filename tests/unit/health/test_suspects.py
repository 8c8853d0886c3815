"""Whose fault is a silent link? Stories in simulated time: a sender, a receiver, and the agent's probes."""

from __future__ import annotations

import ipaddress
import random as standard_random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from netbond.config.schema import HealthConfig
from netbond.config.values import HostPort
from netbond.health.judge import DOWN, UP, Answer, CheckHealth, Outcome, UplinkHealth
from netbond.health.report import Key
from netbond.health.stream_evidence import Hearing
from netbond.health.suspects import SUSPECT, Round, Suspects, Suspicion, with_suspicion
from netbond.model import IPAddress

POLICY = HealthConfig(hold_down=0)
RECEIVER = HostPort("bond.example", 5000)
AT = ipaddress.ip_address("198.51.100.1")
AT6 = ipaddress.ip_address("2001:db8:ffff::1")


def usb(number: int, gateway: str = "") -> Key:
    """usb1 has 10.0.1.10, from 10.0.1.1."""
    address = ipaddress.ip_address(f"10.0.{number}.10")
    return (f"usb{number}", address, ipaddress.ip_address(gateway or f"10.0.{number}.1"))


USB0, USB1, USB2 = (usb(n) for n in range(3))
SIX0, SIX1 = ((f"usb{n}", ipaddress.ip_address(f"2001:db8:{n}::10"), None) for n in range(2))
STEP_S = 0.5


@dataclass
class World:
    """Links and uplinks as they are; `run` lets time pass and returns when which uplinks went down and up."""

    keys: tuple[Key, ...] = (USB0, USB1)
    policy: HealthConfig = POLICY
    dead: set[Key] = field(default_factory=set)  # nothing passes
    filtered: set[Key] = field(default_factory=set)  # SRTLA does not pass
    receiver: bool = True  # is there
    says: Callable[[World, Key], bool] | None = None  # what the engine says of a link, if it lies
    engine: bool = True  # gives statistics
    works: set[Key] = field(default_factory=set)  # a check beyond the gateway passes
    broken: set[Key] = field(default_factory=set)  # by the other checks
    local: bool = False  # this box cannot ask
    spares: tuple[Key, ...] = ()  # gateways that are not in use
    addresses: tuple[IPAddress, ...] = (AT, AT6)
    now: float = 100.0
    asked: list[tuple[float, Round]] = field(default_factory=list)
    since: dict[Key, float] = field(default_factory=dict)  # when it fell silent
    under_way: list[tuple[float, Round]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = standard_random.Random(1).random
        self.suspects = Suspects(self.policy)

    def passes(self, key: Key) -> bool:
        return self.receiver and key not in self.dead and key not in self.filtered

    def run(self, seconds: float) -> list[tuple[float, str, str]]:
        began, changes = self.now, []
        while self.now < began + seconds:
            before = self.down()
            self._step()
            after = self.down()
            changes += [
                (self.now - began, key[0], "down" if key in after else "up") for key in sorted(after ^ before)
            ]
            self.now += STEP_S
        return changes

    def down(self) -> set[Key]:
        return {key for key, found in self.suspects.suspicions().items() if found.down}

    def _step(self) -> None:
        suspects = self.suspects
        for key in self.keys:
            if self.passes(key):
                self.since.pop(key, None)
            else:
                self.since.setdefault(key, self.now)
        if self.now % 1 == 0:
            uplinks = {key: key not in self.broken for key in (*self.keys, *self.spares)}
            suspects.set_uplinks(uplinks, self.keys, [RECEIVER], self.now)
            if self.engine:
                suspects.hear(
                    map(self._hearing, self.keys), RECEIVER, self.addresses, self.now, self.random()
                )
            suspects.advance(self.now)
        done = [each for end, each in self.under_way if end <= self.now]
        self.under_way = [(end, each) for end, each in self.under_way if end > self.now]
        for each in done:
            silence = Answer(str(RECEIVER), Outcome.FAILED, None, f"{RECEIVER}: no answer within 2 s")
            if self.local:
                silence = Answer(str(RECEIVER), Outcome.LOCAL)
            yes = Answer(str(RECEIVER), Outcome.ANSWERED, 0.05)
            suspects.answered(
                each,
                yes if self.passes(each.suspect) else silence,
                yes if self.passes(each.control) else silence,
                yes if each.suspect not in self.dead else silence,
                self.now,
                self.random(),
                proven=each.suspect in self.works,
            )
        for each in suspects.rounds(self.now, self.random):
            self.asked.append((self.now, each))
            quick = self.passes(each.suspect) and self.passes(each.control) and each.suspect not in self.dead
            self.under_way.append((self.now + (STEP_S if quick else 2.0), each))
        due = suspects.next_due(self.now)
        assert due is None or due >= self.now

    def _hearing(self, key: Key) -> Hearing:
        at = str(AT if key[1].version == 4 else AT6)
        if self.says is not None:
            return Hearing(key[:2], at, self.says(self, key))
        silent_s = self.now - self.since.get(key, self.now)
        return Hearing(key[:2], at, True if silent_s < 1 else None if silent_s < 3 else False)


def test_a_radio_that_is_gone_is_known_in_time_and_its_return_as_well() -> None:
    world = World()
    assert world.run(30) == []
    assert world.asked == []  # nothing is asked while all is well
    world.dead = {USB1}
    world.run(7.5)
    assert world.suspects.suspicions()[USB1].reason.endswith(", but through usb0 (1 of 3)")
    ((took, device, what),) = world.run(60)
    assert (device, what) == ("usb1", "down")
    assert 0 < took < 6.5  # 3 s of silence, three rounds of 2 s
    found = world.suspects.suspicions()[USB1]
    assert found.reason == "receiver: bond.example:5000: no answer within 2 s, but through usb0"
    assert (found.check.name, found.check.state, found.blocked) == ("receiver", "failing", False)
    world.dead = set()
    ((took, device, what),) = world.run(30)
    assert (device, what) == ("usb1", "up")
    assert took < 8
    assert world.suspects.suspicions() == {}


@pytest.mark.parametrize(
    "world", [World(keys=(USB0, USB1, USB2), dead={USB1}), World(keys=(USB0, USB1, USB2), filtered={USB1})]
)
def test_the_reason_stays_although_other_uplinks_are_compared(world: World) -> None:
    """It is a problem's text: another one would end that problem, and begin a new one."""
    world.run(40)
    world.asked.clear()
    reasons = set()
    for _ in range(300):
        world.run(1)
        reasons.add(world.suspects.suspicions()[USB1].reason)
    assert len({each.control for _, each in world.asked}) == 2
    assert len(reasons) == 1


def test_each_family_is_asked_at_its_own_address() -> None:
    world = World(keys=(USB0, USB1, SIX0, SIX1), dead={SIX1})
    ((_, device, _),) = world.run(30)
    assert (device, world.down()) == ("usb1", {SIX1})
    assert {(each.suspect, each.control, each.address) for _, each in world.asked} == {(SIX1, SIX0, AT6)}


def test_of_several_dead_at_once_each_is_found() -> None:
    many = tuple(usb(n) for n in range(9))
    world = World(keys=many, dead=set(many[1:]))
    world.run(40)
    assert world.down() == set(many[1:])
    assert {each.control for _, each in world.asked} == {many[0]}
    assert most_at_once(world) <= 4


def most_at_once(world: World) -> int:
    """Rounds that began in one second."""
    return max((sum(at <= then < at + 1 for then, _ in world.asked) for at, _ in world.asked), default=0)


@pytest.mark.parametrize(
    "world",
    [
        pytest.param(World(receiver=False), id="the receiver is gone: nobody hears it"),
        pytest.param(World(keys=(USB0,), dead={USB0}), id="there is nothing to compare with"),
        pytest.param(World(keys=(USB0, SIX1), dead={SIX1}), id="another family is no comparison"),
        pytest.param(World(says=lambda _, key: key == USB0), id="a lie about a good link"),
        pytest.param(
            World(receiver=False, says=lambda _, key: key == USB0), id="a lie while the receiver is gone"
        ),
        pytest.param(World(dead={USB1}, engine=False), id="an engine that says nothing"),
        pytest.param(World(dead={USB1}, local=True), id="this box cannot ask"),
        pytest.param(World(dead={USB1}, broken={USB1}), id="it is down already"),
        pytest.param(World(dead={USB1}, addresses=()), id="the receiver's name is not known yet"),
        pytest.param(World(dead={USB1}, works={USB1}), id="a check beyond the gateway passes"),
        pytest.param(World(filtered={USB1}), id="only SRTLA is filtered"),
    ],
)
def test_no_uplink_is_blamed(world: World) -> None:
    assert world.run(600) == []


@pytest.mark.parametrize(
    ("world", "way"),
    [
        (World(filtered={USB1}), "the receiver's host answers ICMP"),
        (World(dead={USB1}, works={USB1}), "a check on the internet passes"),
    ],
)
def test_only_the_bond_is_blocked(world: World, way: str) -> None:
    world.run(20)
    found = world.suspects.suspicions()[USB1]
    assert (found.blocked, found.down) == (True, False)
    assert found.reason == (
        f"only streams are blocked: no answer from bond.example:5000 to SRTLA, but through usb0; {way}"
    )
    world.filtered = world.dead = set()
    world.run(3)
    assert world.suspects.suspicions() == {}


def test_a_blocked_one_whose_radio_goes_is_dead_soon() -> None:
    world = World(filtered={USB1})
    assert world.run(120) == []
    world.dead = {USB1}
    ((took, _, what),) = world.run(330)
    assert what == "down"
    # ... and when it is only blocked again, it is in use again.
    world.dead = set()
    ((took, _, what),) = world.run(60)
    assert (what, took < 45) == ("up", True)
    assert world.suspects.suspicions()[USB1].blocked


def test_what_it_costs_the_receiver() -> None:
    """Five packets a round at most: two REG2 through each of two uplinks, and an echo."""

    def rounds(world: World, seconds: float) -> int:
        world.run(seconds)
        assert most_at_once(world) <= 4
        return len(world.asked)

    hour = 3600
    assert rounds(World(dead={USB1}), 20) <= 5  # until it is decided
    assert rounds(World(dead={USB1}), hour) <= 3 + hour / 24  # then twice a minute
    assert (
        rounds(World(says=lambda _, key: key == USB0), hour) <= 5 + hour / 90
    )  # a lie, that is not believed
    assert rounds(World(filtered={USB1}), hour) <= 8 + hour / 240
    assert rounds(World(receiver=False, says=lambda _, key: key == USB0), hour) <= 6 + hour / 24
    restless = World(says=lambda world, key: key == USB0 or world.now % 8 < 2)
    assert rounds(restless, hour) <= hour / 5
    assert restless.down() == set()


def test_a_verdict_that_nobody_can_confirm_ends() -> None:
    world = World(dead={USB1})
    world.run(30)
    world.receiver = False
    assert world.run(280) == []  # it is as it was
    ((_, device, what),) = world.run(60)
    assert (device, what) == ("usb1", "up")


def test_it_goes_on_without_the_engine() -> None:
    world = World(dead={USB1})
    world.run(30)
    world.engine = False
    assert world.run(600) == []  # the agent's own probes confirm it
    world.dead = set()
    ((took, _, what),) = world.run(60)
    assert what == "up"
    assert took < 45


def test_another_senders_link_over_the_uplink_clears_it() -> None:
    suspects = Suspects(POLICY)
    other = HostPort("192.0.2.9", 5000)
    suspects.set_uplinks({USB0: True, USB1: True}, [USB0, USB1], [RECEIVER, other], 0.0)
    for second in range(60):
        links = [Hearing(USB0[:2], str(AT), True), Hearing(USB1[:2], str(AT), False)]
        suspects.hear([Hearing(USB1[:2], "192.0.2.9", True)], other, [], second, 0.5)
        suspects.hear(links, RECEIVER, [AT], second, 0.5)
        assert suspects.rounds(second + 0.9, lambda: 0.5) == []


def test_a_link_that_never_registered_is_suspect_too() -> None:
    suspects = Suspects(POLICY)
    suspects.set_uplinks({USB0: True, USB1: True}, [USB0, USB1], [RECEIVER], 0.0)
    began = []
    for second in range(8):
        joining = Hearing(USB1[:2], str(AT), None, joined=False)
        suspects.hear([Hearing(USB0[:2], str(AT), True), joining], RECEIVER, [AT], second, 0.0)
        began += [(second, each.suspect) for each in suspects.rounds(second, lambda: 0.0)]
    assert began == [(3, USB1)]


def test_the_engine_cannot_have_any_address_asked() -> None:
    suspects = Suspects(POLICY)
    suspects.set_uplinks({USB0: True, USB1: True}, [USB0, USB1], [RECEIVER], 0.0)
    victim = "192.0.2.66"
    links = [Hearing(USB0[:2], victim, True), Hearing(USB1[:2], victim, False)]
    second = ipaddress.ip_address("198.51.100.2")
    suspects.hear(links, RECEIVER, [AT, second], 10.0, 0.0)
    (asked,) = suspects.rounds(10.0, lambda: 0.0)
    assert asked == Round(USB1, USB0, RECEIVER, AT)
    # Of the receiver's own addresses it may choose.
    suspects = Suspects(POLICY)
    suspects.set_uplinks({USB0: True, USB1: True}, [USB0, USB1], [RECEIVER], 0.0)
    links = [Hearing(USB0[:2], str(second), True), Hearing(USB1[:2], str(second), False)]
    suspects.hear(links, RECEIVER, [AT, second], 10.0, 0.0)
    assert suspects.rounds(10.0, lambda: 0.0) == [Round(USB1, USB0, RECEIVER, second)]


def test_the_verdict_is_about_the_gateway_in_use() -> None:
    """Another gateway of the uplink is used then; the first one is not asked, and tried again in a while."""
    other = usb(1, "10.0.1.2")
    world = World(dead={USB1}, spares=(other,))
    world.run(20)
    assert world.down() == {USB1}
    world.keys, world.spares = (USB0, other), (USB1,)
    asked = len(world.asked)
    assert world.run(250) == []
    assert len(world.asked) == asked  # through the other gateway, this would say nothing of the first
    ((_, _, what),) = world.run(100)
    assert (what, world.down()) == ("up", set())


def test_what_is_forgotten() -> None:
    world = World(dead={USB1})
    world.run(30)
    assert world.down() == {USB1}
    world.suspects.set_uplinks(
        {USB0: True, USB1: True}, [USB0, USB1], [HostPort("other.example", 5000)], world.now
    )
    assert world.suspects.suspicions() == {}  # its sender is gone
    world.run(30)
    assert world.down() == {USB1}
    late = world.under_way[:1] or [(0.0, world.asked[-1][1])]
    world.suspects.set_uplinks({USB0: True}, [USB0], [RECEIVER], world.now)
    assert world.suspects.suspicions() == {}  # it was unplugged
    no = Answer("", Outcome.FAILED)
    world.suspects.answered(late[0][1], no, no, no, world.now, 0.5, proven=False)


@pytest.mark.parametrize("seed", range(12))
def test_what_holds_in_every_story(seed: int) -> None:
    chance = standard_random.Random(seed)
    keys = (USB0, USB1, USB2)
    world = World(keys=keys)
    for _ in range(6):
        world.dead = {key for key in keys if chance.random() < 0.4}
        world.filtered = {key for key in keys if chance.random() < 0.3}
        world.receiver, world.engine = chance.random() < 0.7, chance.random() < 0.7
        went = {device for _, device, what in world.run(chance.randrange(1, 40)) if what == "down"}
        assert went <= {key[0] for key in world.dead}, "only a dead one goes"
        assert world.receiver or not went
        assert len(world.down()) < 3, "one at least has answered"
    world.dead, world.filtered, world.receiver, world.engine = set(), set(), True, True
    world.run(60)
    assert world.down() == set()


CHECK = CheckHealth("receiver", "failing")


@pytest.mark.parametrize(
    ("state", "reason", "found", "expected"),
    [
        (UP, "", None, (UP, "", 1.0, 0)),
        (UP, "", Suspicion(True, "silence", 7.0, CHECK), (DOWN, "silence", 7.0, 1)),
        (UP, "late", Suspicion(False, "silence (1 of 3)", 7.0, CHECK), (SUSPECT, "silence (1 of 3)", 7.0, 1)),
        (UP, "", Suspicion(False, "only streams", 7.0, CHECK, blocked=True), (UP, "only streams", 1.0, 1)),
        (UP, "late", Suspicion(False, "only streams", 7.0, CHECK, blocked=True), (UP, "late", 1.0, 1)),
        (DOWN, "no ARP", Suspicion(True, "silence", 7.0, CHECK), (DOWN, "no ARP", 1.0, 1)),
    ],
)
def test_both_verdicts_in_one(
    state: str, reason: str, found: Suspicion | None, expected: tuple[str, str, float, int]
) -> None:
    health = with_suspicion(UplinkHealth("usb1", USB1[1], state, reason, 1.0), found)
    assert (health.state, health.reason, health.since, len(health.checks)) == expected
