"""How much may be in flight on a link: what its limit is, and what changes it. Packets are of 1,000 bytes.

Each proof of `Proven.proof` also ends a round, because nothing else is in flight.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from netbond.srtla.adaptive.control import LEAST, REGAIN, Control, LongerPath
from netbond.srtla.adaptive.losses import ACK_BATCH, Flight
from netbond.srtla.adaptive.packets import Base, Transmission
from netbond.srtla.adaptive.parameters import Parameters
from netbond.srtla.adaptive.path import Path
from netbond.srtla.adaptive.rate import DeliveryRate

P = Parameters()
SIZE = 1000
TARGET = 0.1
MANY = 100 * SIZE  # in flight before a packet


# --- LongerPath ---------------------------------------------------------------------------------------------


def test_round_trips_that_stay_long_with_less_in_flight_show_a_longer_path() -> None:
    path = LongerPath()
    assert not path.shows(0.5, 100_000.0, 10_000.0)
    found = [path.shows(0.5, 40_000.0, 10_000.0) for _ in range(7)]
    # 0.5 s is 2.5 times what a queue of 40 kB would take: six equal ones are asked for.
    assert found == [False, False, False, False, False, True, True]
    assert path.flight / path.rtt == 200_000.0, "the rate of that time"


def test_much_longer_round_trips_show_it_sooner() -> None:
    path = LongerPath()
    path.shows(0.5, 100_000.0, 10_000.0)
    assert [path.shows(0.5, 20_000.0, 10_000.0) for _ in range(2)] == [False, True]


def test_round_trips_that_become_shorter_with_less_in_flight_show_a_slower_link() -> None:
    path = LongerPath()
    path.shows(0.5, 100_000.0, 10_000.0)
    for flight in (80_000.0, 60_000.0, 40_000.0, 20_000.0):
        for _ in range(8):
            assert not path.shows(0.5 * flight / 100_000.0, flight, 10_000.0)


def test_round_trips_that_vary_show_nothing() -> None:
    path = LongerPath()
    path.shows(0.5, 100_000.0, 10_000.0)
    assert not any(path.shows((0.4, 0.5)[number % 2], 20_000.0, 10_000.0) for number in range(20))


def test_a_longer_round_trip_or_more_in_flight_is_the_new_measure() -> None:
    path = LongerPath()
    path.shows(0.5, 100_000.0, 10_000.0)
    assert not path.shows(0.6, 50_000.0, 10_000.0)
    assert (path.rtt, path.flight) == (0.6, 50_000.0)
    assert not path.shows(0.4, 60_000.0, 10_000.0)
    assert (path.rtt, path.flight) == (0.4, 60_000.0)


def test_hardly_less_in_flight_shows_nothing() -> None:
    path = LongerPath()
    path.shows(0.5, 20_000.0, 15_000.0)
    assert not any(path.shows(0.5, 6_000.0, 15_000.0) for _ in range(20))
    assert path.shows(0.5, 4_000.0, 15_000.0)


def test_a_round_trip_that_is_not_too_long_begins_anew() -> None:
    path = LongerPath()
    path.shows(0.5, 100_000.0, 10_000.0)
    path.shows(0.5, 20_000.0, 10_000.0)
    path.forget()
    assert not path.shows(0.5, 20_000.0, 10_000.0)
    assert (path.flight, path.rtt) == (20_000.0, 0.5)


# --- Control ------------------------------------------------------------------------------------------------


class Proven:
    """A link with a shortest round trip of 40 ms, whose proofs are made by hand."""

    def __init__(self, rate: float = 1e6, *, startup: bool = False, shortest: float = 0.04) -> None:
        self.now = 100.0
        self.path = Path(P)
        self.path.seen(shortest, TARGET, self.now, idle=False)
        self.rate = DeliveryRate(0.0)
        self.rate.rate = self.rate.peak = rate
        self.flight = Flight()
        self.control = Control(P, TARGET, self.path, self.rate, self.flight)
        self.control.startup = startup

    def limit(self) -> float:
        return self.control.limit(SIZE, self.now)

    def proof(
        self, rtt: float, rate: float = 1e6, *, expected: float = 0.0, before: int = MANY, index: int = 0
    ) -> None:
        """50 ms later, a packet is proved that took `rtt`, with `before` bytes in flight before it.

        `rate`: of the sample. The packet left when the one before it was proved, or earlier.
        """
        self.now += 0.05
        last = Transmission(SIZE)
        last.index, last.flight, last.expected = index, before, expected
        last.sent_at = self.now - rtt
        last.base = Base(self.rate.delivered, self.rate.doubtful, self.now - 0.05, last.sent_at - 0.05)
        self.rate.delivered += round(rate * 0.05)
        self.path.seen(rtt, self.control.target, self.now, idle=False)
        self.control.proved(last, rtt, self.now)


def queues(link: Proven, queue: float, count: int = 3) -> None:
    """So many proofs with this queue (three: a standing one)."""
    for _ in range(count):
        link.proof(link.path.shortest + queue)


@pytest.mark.parametrize(("shortest", "limit"), [(0.02, 24 * SIZE), (0.1, 40_000.0)])
def test_a_new_link_gets_a_few_packets_or_a_rate_that_any_link_has(shortest: float, limit: float) -> None:
    assert (P.initial_packets, P.initial_rate) == (24, 400_000.0)
    assert Proven(0.0, startup=True, shortest=shortest).limit() == pytest.approx(limit)


def test_the_limit_is_the_rate_times_the_path_and_a_short_queue() -> None:
    link = Proven()
    assert link.limit() == pytest.approx(1e6 * (0.04 + TARGET) + LEAST * SIZE)
    link.path.spread, link.control.extra, link.control.target = 0.01, 0.02, 0.05
    assert link.limit() == pytest.approx(1e6 * (0.04 + 0.01 + 0.05 + 0.02) + LEAST * SIZE)


def test_what_may_be_in_flight_never_ends() -> None:
    assert Proven(1.0).limit() == (1 + LEAST) * SIZE


def test_at_start_up_the_rate_can_double_each_round_trip() -> None:
    link = Proven(startup=True)
    assert link.limit() == pytest.approx(1e6 * (0.04 + TARGET + P.startup_gain * 0.04))
    assert Proven(1.0, startup=True).limit() == 24 * SIZE, "not less than before the first proof"


def test_while_a_path_is_measured_anew_its_queue_runs_empty() -> None:
    link = Proven()
    link.path.drain_until = link.now + 0.1
    assert link.limit() == pytest.approx(0.75 * 1e6 * 0.04)
    link.path.window = 4.0
    assert link.limit() == pytest.approx(0.5 * 1e6 * 0.04), "deeper, as long as the path is in doubt"
    link.rate.rate = 1.0
    assert link.limit() == LEAST * SIZE
    link.rate.rate, link.now = 1e6, link.now + 0.1
    assert link.limit() == pytest.approx(1e6 * (0.04 + TARGET) + LEAST * SIZE)


def test_the_pace_is_the_rate_while_packets_queue_and_more_while_they_do_not() -> None:
    link = Proven(startup=True)
    assert link.control.pace(link.now) == P.startup_pace
    link.control.startup = False
    link.path.smoothed = 0.06
    assert link.control.pace(link.now) == P.free_pace
    link.control.queued_at = link.now
    assert link.control.pace(link.now + 0.059 * P.full_rtts) == P.pace
    assert link.control.pace(link.now + 0.061 * P.full_rtts) == P.free_pace
    link.control.regaining = 1
    assert link.control.pace(link.now) == P.free_pace


def test_jitter_is_no_queue_that_the_pace_waits_for() -> None:
    link = Proven()
    queues(link, 0.03)
    assert link.control.pace(link.now) == P.pace
    link = Proven()
    link.path.spread = 0.04
    queues(link, 0.03)
    assert link.control.pace(link.now) == P.free_pace
    queues(link, 0.06)
    assert link.control.pace(link.now) == P.pace


def test_a_standing_queue_ends_the_start() -> None:
    link = Proven(startup=True)
    queues(link, 0.11, 2)
    assert link.control.startup, "may be jitter"
    queues(link, 0.11, 1)
    assert not link.control.startup


def test_the_paths_own_jitter_is_no_queue() -> None:
    link = Proven(startup=True)
    link.path.spread = 0.01
    link.control.proved(_with_standing(link, 0.119), 0.16, link.now)
    assert link.control.startup
    link.control.proved(_with_standing(link, 0.121), 0.16, link.now)
    assert not link.control.startup


def _with_standing(link: Proven, queue: float) -> Transmission:
    """A packet with nothing else in flight, on a link with this standing queue."""
    link.path.standing = link.path.shortest + queue
    link.rate.delivered += 50_000
    link.now += 0.05
    last = Transmission(SIZE)
    last.sent_at = link.now - 0.16
    last.base = Base(link.rate.delivered - 50_000, 0, link.now - 0.05, last.sent_at - 0.05)
    return last


@pytest.mark.parametrize(
    ("queue", "before", "growth", "startup"),
    [
        (0.05, MANY, 1.0, False),
        (0.05, MANY, 1.5, True),  # it doubles, and packets queue as they should
        (0.015, MANY, 1.0, True),  # nothing queues: it was given too little to grow
        (0.05, SIZE, 1.0, True),  # so early in flight no packet can have queued: the path jitters
    ],
)
def test_two_rounds_without_growth_end_the_start(
    queue: float, before: int, growth: float, startup: bool
) -> None:
    link, rate = Proven(startup=True), 1e6
    for _ in range(5):
        rate *= growth
        link.rate.rate = rate
        link.proof(0.04 + queue, rate, before=before)
    assert link.control.startup is startup


@pytest.mark.parametrize(("loss", "startup"), [(0.11, False), (0.1, True)])
def test_much_loss_ends_the_start(loss: float, startup: bool) -> None:
    link = Proven(startup=True)
    link.flight.loss = loss
    link.proof(0.04)
    assert link.control.startup is startup


def test_a_link_that_was_full_before_its_first_proof_is_measured_without_the_way_there() -> None:
    link = Proven(0.0, startup=True, shortest=0.1)
    link.rate.began(link.now)
    last = Transmission(SIZE)
    last.sent_at, last.base = link.now, link.rate.base
    link.path.standing = 0.3
    link.rate.delivered = 20_000
    link.control.proved(last, 0.3, link.now + 0.3)
    assert not link.control.startup
    assert link.rate.rate == pytest.approx(20_000 / 0.2)


def test_a_busy_link_that_delivers_less_became_slower_and_an_idle_one_did_not() -> None:
    link = Proven()
    queues(link, 0.0, 10)
    for _ in range(10):
        link.proof(0.04, 0.5e6)
    assert link.rate.rate == pytest.approx(1e6)
    for _ in range(10):
        link.proof(0.12, 0.5e6)
    assert link.rate.rate == pytest.approx(0.5e6, rel=0.02)


def test_a_queue_is_what_makes_round_trips_longer_than_a_share_of_the_target() -> None:
    link = Proven()
    queues(link, 0.019)
    assert link.control.queued_at < 0.0
    queues(link, 0.021)
    assert link.control.queued_at == link.now


def test_packets_of_an_outage_do_not_make_a_link_slower() -> None:
    link = Proven()
    link.rate.measured_from = link.now + 1.0
    for _ in range(10):
        link.proof(0.14, 0.2e6)
    assert link.rate.rate == 1e6


def longer_path(link: Proven, rtt: float = 0.44) -> None:
    """Round trips become long and stay so, while ever less is in flight, until that is noticed."""
    for _ in range(3):
        link.proof(rtt, 0.3e6, before=140 * SIZE)
    for number in range(10):
        if link.path.shortest == 0.04:
            link.proof(rtt, 0.3e6, before=(60 - 3 * number) * SIZE)


def test_a_path_that_became_longer_is_not_taken_for_a_slower_link() -> None:
    link = Proven()
    longer_path(link)
    assert link.path.shortest == 0.44
    assert link.rate.rate == pytest.approx(140 * SIZE / 0.44)
    assert link.control.regaining > 0


def test_a_link_with_a_longer_path_may_carry_more_until_it_does_not_grow() -> None:
    link = Proven(0.3e6)
    link.control.regaining = REGAIN
    assert link.limit() == pytest.approx(0.3e6 * (0.04 + TARGET + 0.04) + LEAST * SIZE)
    link.proof(0.04, 0.3e6)  # the first round after the rate was unknown counts as growth
    for rate in (0.4e6, 0.5e6, 0.62e6):
        link.proof(0.04, rate)
        assert link.control.regaining == REGAIN
    for left in (1, 0, 0):
        link.proof(0.04, 0.62e6)
        assert link.control.regaining == left
    assert link.limit() == pytest.approx(0.62e6 * (0.04 + TARGET) + LEAST * SIZE)


@pytest.mark.parametrize(("rtt", "found"), [(0.149, False), (0.151, True)])
def test_round_trips_as_long_as_the_queue_allows_show_no_longer_path(rtt: float, found: bool) -> None:
    link = Proven()
    longer_path(link, rtt)
    assert link.path.shortest == (rtt if found else 0.04)


def test_a_link_that_became_slower_is_not_taken_for_a_longer_path() -> None:
    link = Proven()
    for flight in range(140, 14, -3):  # 300 kB/s: the queue shrinks with what is in flight
        link.proof(0.04 + flight * SIZE / 0.3e6, 0.3e6, before=flight * SIZE)
    assert link.path.shortest == 0.04
    assert link.rate.rate == pytest.approx(0.3e6, rel=0.05)


@pytest.mark.parametrize(("less", "found"), [(ACK_BATCH, False), (ACK_BATCH + 1, True)])
def test_an_ack_less_in_flight_shows_no_longer_path(less: int, found: bool) -> None:
    link = Proven()
    for before in (*[15] * 3, *[15 - less] * 8):
        link.proof(0.44, 0.3e6, before=before * SIZE)
    assert link.path.shortest == (0.44 if found else 0.04)


def test_a_round_lasts_a_round_trip() -> None:
    link = Proven()
    link.flight.next_index = 50
    ends = []
    for index in (0, 49, 50, 51):
        before = link.rate.peak
        link.proof(0.04, index=index)
        ends.append(link.rate.peak < before)
        link.flight.next_index = 60
    assert ends == [True, False, True, False]


def test_a_link_that_joins_again_begins_a_round_whatever_its_packets_numbers() -> None:
    link = Proven()
    link.flight.next_index = 1000
    link.proof(0.04)
    peak = link.rate.peak
    link.proof(0.04, index=3)
    assert link.rate.peak == peak
    link.control.rejoined()
    link.proof(0.04, index=3)
    assert link.rate.peak < peak


PROBED = 1e6 * P.probe_gain * (0.04 + TARGET) + LEAST * SIZE
USUAL = 1e6 * (0.04 + TARGET) + LEAST * SIZE


def probing(link: Proven) -> bool:
    """Whether more may be in flight than path, queue and `extra` take."""
    span = link.path.shortest + link.path.spread + link.control.target + link.control.extra
    return link.limit() > 1.1 * link.rate.rate * span + LEAST * SIZE


def hungry(link: Proven, seconds: float, rate: float = 1e6) -> float:
    """Time passes on a link that is full; return how many s of it more was in flight."""
    end, more = link.now + seconds, 0.0
    while link.now < end:
        link.control.hungry_at = link.now + 0.05
        link.proof(0.04, rate)
        more += 0.05 if probing(link) else 0.0
    return more


def test_a_full_link_is_probed_for_two_round_trips_each_second() -> None:
    link = Proven()
    link.control.hungry_at = link.now + 0.05
    link.proof(0.04)
    assert link.limit() == pytest.approx(PROBED)
    link.control.queued_at = link.now
    assert link.control.pace(link.now) == P.free_pace
    link.now += 0.08 - 0.05
    link.proof(0.04)
    assert link.limit() == pytest.approx(USUAL)
    assert hungry(link, P.probe_every_s - 0.1) == 0.0
    assert hungry(link, 0.15) > 0.0


@pytest.mark.parametrize("why", ["idle", "startup"])
def test_a_link_is_not_probed_while_it_is_idle_or_starts(why: str) -> None:
    link = Proven(startup=why == "startup")
    before = link.limit()
    if why == "startup":
        link.control.hungry_at = link.now + 0.05
    link.proof(0.04)
    assert link.limit() == pytest.approx(before)


def test_more_that_delivers_more_is_kept() -> None:
    link = Proven()
    link.control.hungry_at = link.now + 0.05
    link.proof(0.04)
    link.rate.rate = 1.09e6
    link.now += 0.05
    link.proof(0.04, 1.09e6)
    assert link.control.extra == pytest.approx(0.2 * (0.04 + TARGET))


def test_more_that_delivers_no_more_is_taken_back_in_part() -> None:
    link = Proven()
    link.control.extra = 0.01
    hungry(link, 0.2)
    assert link.control.extra == pytest.approx(0.008)


def test_what_probes_add_is_at_most_half_of_a_round_trip_with_its_queue() -> None:
    link, rate = Proven(1e3), 1e3
    for _ in range(400):  # the rate grows all the time
        rate *= 1.1
        link.control.hungry_at = link.now + 0.05
        link.proof(0.04, rate)
    assert link.control.extra == pytest.approx(0.5 * (0.04 + TARGET))


@pytest.mark.parametrize(("lost", "seldom"), [(3, True), (2, False)])
def test_probes_that_cost_packets_are_tried_less_and_less_often(lost: int, seldom: bool) -> None:
    link, times, was = Proven(), [], False
    while link.now < 250.0:
        link.control.hungry_at = link.now + 0.05
        link.proof(0.04)
        now = probing(link)
        if now and not was:
            times.append(link.now)
            link.flight.lost += lost
        was = now
    gaps = [round(later - earlier) for earlier, later in pairwise(times)]
    if seldom:
        assert gaps == [2, 4, 8, 16, *[30] * (len(gaps) - 4)]
    else:
        assert set(gaps) == {1}
