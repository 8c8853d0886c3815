"""The largest packet that passes a link, found in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from netbond.srtla.passing import AGAIN_S, BASE, STEP, Passing

FULL = 1332
PLAIN = 38


def limit(passing: Passing) -> int:
    """The limit now; 0: none. (A type checker believes that an attribute stays as it was.)"""
    return passing.limit or 0


@dataclass
class Path:
    """A link with a limit, loss and a delay each way, and a receiver that names each packet, or none."""

    limit: int = 1500
    loss: float = 0.0
    delay: float = 0.02
    acks: bool = True
    alive: bool = True
    down_limit: int = 1500
    random: random.Random = field(default_factory=lambda: random.Random(7))

    def passes(self, size: int, limit: int) -> bool:
        return self.alive and size <= limit and self.random.random() >= self.loss


class Drive:
    """Sends data packets each 14 ms (half of 1.5 Mbit/s), and asks as `Passing.probe` says, each 50 ms."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.passing = Passing()
        self.now = 100.0
        self.probes: list[int] = []
        self.swallowed = 0
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._next_data = self._next_probe = self.now

    def run(self, seconds: float, size: int | Callable[[], int] = FULL) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.001
            while self._due and self._due[0][0] <= self.now:
                self._due.pop(0)[1]()
            if self.now >= self._next_data:
                self._next_data += 0.014
                self._data(size if isinstance(size, int) else size())
            if self.now >= self._next_probe:
                self._next_probe += 0.05
                if asked := self.passing.probe(self.now):
                    self.probes.append(asked)
                    self._keepalive(asked)
                    self._keepalive(PLAIN)

    def until_limited(self, within: float) -> float:
        began = self.now
        while self.passing.limit is None:
            assert self.now - began < within
            self.run(0.01)
        return self.now - began

    def _data(self, size: int) -> None:
        if self.passing.limit is not None and size > self.passing.limit:
            return
        self.passing.sent(size, self.now)
        if self.path.passes(size, self.path.limit) and self.path.acks:
            self._later(lambda: self.passing.acknowledged(size))

    def _keepalive(self, size: int) -> None:
        left_at = self.now
        if self.path.passes(size, self.path.limit) and self.path.passes(size, self.path.down_limit):
            self._later(lambda: self._echo(size, left_at))

    def _echo(self, size: int, left_at: float) -> None:
        self.swallowed += self.passing.echo(size, left_at, self.now)

    def _later(self, work: Callable[[], None]) -> None:
        self._due.append((self.now + 2 * self.path.delay, work))


@pytest.mark.parametrize("acks", [True, False])
@pytest.mark.parametrize(("delay", "within"), [(0.01, 0.7), (0.06, 0.8), (0.3, 1.8)])
def test_a_link_that_swallows_full_size_packets_is_found(acks: bool, delay: float, within: float) -> None:
    drive = Drive(Path(limit=1200, acks=acks, delay=delay))
    drive.until_limited(within)
    assert limit(drive.passing) == BASE
    assert drive.swallowed == 6
    drive.run(4.0 + 20 * delay)
    assert 1200 - STEP <= limit(drive.passing) <= 1200


def test_a_link_that_begins_to_swallow_is_found_as_quickly() -> None:
    drive = Drive(Path())
    drive.run(10.0)
    assert drive.probes == [], "acknowledged packets need no question"
    drive.path.limit = 1000
    drive.until_limited(0.8)


def test_a_limit_is_lifted_when_the_size_passes_again() -> None:
    drive = Drive(Path(limit=1200))
    drive.run(5.0)
    drive.probes.clear()
    drive.run(10.0)
    assert set(drive.probes) == {min(drive.probes)}
    assert 9 <= len(drive.probes) <= 11, "one each second, as nothing else is left to be found"
    drive.path.limit = 1300
    drive.run(AGAIN_S + 0.5)
    assert 1300 - STEP <= limit(drive.passing) <= 1300
    drive.path.limit = 1500
    drive.run(2 * AGAIN_S + 0.5)
    assert not limit(drive.passing)
    drive.probes.clear()
    drive.run(5.0)
    assert drive.probes == []


def test_what_fits_is_used_and_moves_the_limit() -> None:
    sizes = random.Random(3)
    drive = Drive(Path(limit=1240))
    drive.run(5.0, lambda: sizes.choice([FULL, 204, 1236]))
    assert 1236 <= limit(drive.passing) <= 1240
    drive.path.limit = 700
    drive.run(5.0, lambda: sizes.choice([FULL, 204, 1236]))
    assert 700 - STEP <= limit(drive.passing) <= 700


@pytest.mark.parametrize("acks", [True, False])
@pytest.mark.parametrize("loss", [0.05, 0.1, 0.2])
def test_loss_is_no_limit(acks: bool, loss: float) -> None:
    drive = Drive(Path(loss=loss, acks=acks))
    for _ in range(60):
        drive.run(1.0)
        assert not limit(drive.passing)


def test_very_heavy_loss_is_no_limit_when_some_packets_are_acknowledged() -> None:
    drive = Drive(Path(loss=0.6))
    for _ in range(60):
        drive.run(1.0)
        assert not limit(drive.passing)


def test_without_acknowledgements_a_good_link_is_asked_once_a_second() -> None:
    drive = Drive(Path(acks=False))
    drive.run(20.0)
    assert not limit(drive.passing)
    assert set(drive.probes) == {FULL}
    assert 12 <= len(drive.probes) <= 20


def test_small_packets_need_no_question() -> None:
    drive = Drive(Path(acks=False))
    drive.run(5.0, 204)
    assert drive.probes == []


def test_a_link_that_answers_nothing_proves_nothing() -> None:
    drive = Drive(Path())
    drive.run(1.0)
    drive.path.alive = False
    drive.run(3.0)
    drive.path.alive = True
    drive.run(1.0)
    assert not limit(drive.passing)
    assert len(drive.probes) <= 4, "a link that may be slow is not filled with questions"


def test_short_outages_prove_nothing() -> None:
    drive = Drive(Path(acks=False))
    for _ in range(100):
        drive.path.alive = not drive.path.alive
        drive.run(0.13)
        assert not limit(drive.passing)


def test_a_way_back_that_swallows_is_told_by_acknowledgements() -> None:
    drive = Drive(Path(down_limit=1000))
    drive.run(10.0)
    assert not limit(drive.passing)


def test_an_echo_that_comes_late_takes_back_what_was_believed() -> None:
    passing = Passing()
    passing.sent(FULL, 0.0)
    now = 0.2
    while not limit(passing):
        assert passing.probe(now) == FULL
        passing.echo(PLAIN, now, now + 0.04)
        now += 0.05
    passing.echo(FULL, 0.2, now)
    assert not limit(passing)
    assert passing.probe(now) == 0


def test_the_echo_of_another_keepalive_tells_nothing() -> None:
    passing = Passing()
    passing.sent(FULL, 0.0)
    for step in range(100):
        now = 0.2 + 0.05 * step
        passing.probe(now)
        assert not passing.echo(PLAIN, now + 0.01, now + 0.04)
    assert not limit(passing)
