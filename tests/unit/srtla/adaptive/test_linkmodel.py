"""The model of one link, driven by hand: what each kind of proof teaches it."""

from __future__ import annotations

import pytest

from netbond.srtla.adaptive.diagnosis import OVERFLOW, LossCause
from netbond.srtla.adaptive.linkmodel import (
    ACK_BATCH,
    ARRIVED,
    FLYING,
    INITIAL,
    INITIAL_RATE,
    LEAST,
    LOST,
    PASSED,
    SEEN,
    LinkModel,
    Transmission,
)

SIZE = 1332
TARGET = 0.07


class Link:
    """A link of `rate` bytes/s and `delay` s each way, with an endless queue, behind a model."""

    def __init__(self, rate: float = 125_000.0, delay: float = 0.025) -> None:
        self.now = 100.0
        self.rate, self.delay = rate, delay
        self.model = LinkModel(TARGET, self.now)
        self.model.round_trip_seen(2 * delay, self.now)
        self.free_at = 0.0
        self.index = 0
        self.on_the_way: list[tuple[float, Transmission]] = []
        self.unacknowledged: list[Transmission] = []
        self.losing: set[int] = set()
        self.lost: list[int] = []

    def send(self) -> Transmission:
        transmission = self.model.sent(None, SIZE, self.index, self.now)
        if self.index not in self.losing:
            self.free_at = max(self.free_at, self.now) + SIZE / self.rate
            before = self.on_the_way[-1][0] if self.on_the_way else 0.0
            self.on_the_way.append((max(self.free_at + 2 * self.delay, before), transmission))
        self.index += 1
        return transmission

    def run(self, seconds: float, *, demand: bool = True) -> None:
        """Time passes; with `demand`, packets leave as the model allows."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.002
            while self.on_the_way and self.on_the_way[0][0] <= self.now:
                self.unacknowledged.append(self.on_the_way.pop(0)[1])
                if len(self.unacknowledged) == ACK_BATCH:
                    lost = self.model.acknowledged(self.unacknowledged, self.now)
                    self.lost += [each.index for each in lost]
                    self.unacknowledged = []
            while demand:
                outstanding = self.model.outstanding(self.now)
                if outstanding + SIZE > self.model.limit(self.now) or self.model.pace_at > self.now:
                    break
                self.model.hungry_at = self.now
                self.send()

    @property
    def queue(self) -> float:
        """s that a packet sent now would wait in the link."""
        return max(0.0, self.free_at - self.now)


@pytest.mark.parametrize("mbps", [0.2, 1.0, 8.0, 30.0])
@pytest.mark.parametrize("delay", [0.01, 0.05, 0.15])
def test_finds_the_rate_and_keeps_the_queue_short(mbps: float, delay: float) -> None:
    link = Link(mbps * 125_000, delay)
    link.run(12.0)
    assert link.model.rate == pytest.approx(link.rate, rel=0.15)
    # The target, a probe's worth on top, and what may always be on its way.
    allowed = TARGET + 0.3 * (2 * delay + TARGET) + (LEAST + ACK_BATCH) * SIZE / link.rate
    assert link.queue < allowed


def test_half_the_rate_is_noticed_within_a_second() -> None:
    link = Link(1_000_000)
    link.run(3.0)
    link.rate = 500_000
    link.run(1.0)
    assert link.model.rate == pytest.approx(500_000, rel=0.2)
    link.rate = 2_000_000
    link.run(3.0)
    assert link.model.rate == pytest.approx(2_000_000, rel=0.2)


def test_an_idle_link_keeps_its_estimate() -> None:
    link = Link(1_000_000)
    link.run(3.0)
    before = link.model.rate
    link.run(20.0, demand=False)
    for _ in range(200):  # a trickle, far below what the link can
        link.send()
        link.run(0.1, demand=False)
    assert link.model.rate == pytest.approx(before, rel=0.05)


def test_a_later_packet_proves_an_earlier_one_lost() -> None:
    link = Link()
    sent = [link.send() for _ in range(12)]
    lost = link.model.acknowledged([sent[n] for n in (0, 1, 2, 4, 5, 6, 7, 8, 9, 10)], link.now + 0.1)
    assert lost == [sent[3]]
    assert [each.state for each in sent] == [ARRIVED] * 3 + [LOST] + [ARRIVED] * 7 + [FLYING]
    assert (link.model.packets, link.model.in_flight, link.model.lost) == (1, SIZE, 1)


def test_a_little_disorder_is_not_loss() -> None:
    link = Link()
    sent = [link.send() for _ in range(12)]
    assert link.model.acknowledged([*sent[:8], sent[10], sent[11]], link.now + 0.1) == []
    assert sent[9].state == FLYING


def test_an_ack_that_went_missing_is_not_loss() -> None:
    link = Link()
    sent = [link.send() for _ in range(30)]
    assert link.model.acknowledged(sent[20:], link.now + 0.1) == []
    assert {each.state for each in sent[:17]} == {PASSED}
    assert link.model.lost == 0


def test_an_echo_proves_what_left_before_it() -> None:
    link = Link()
    sent = [link.send() for _ in range(5)]
    link.model.passed(3, 0.06, link.now + 0.06)
    assert [each.state for each in sent] == [PASSED] * 3 + [FLYING] * 2
    assert link.model.packets == 2


def starve(model: LinkModel, *round_trips: float) -> None:
    """A link of 1 MB/s, whose rate falls by 7 % each time that round trips are averaged."""
    for number, round_trip in enumerate(round_trips):
        model._starved(6 * round_trip, 6, 102.0 + number)
        model.rate *= 0.93


def link_of_one_megabyte() -> LinkModel:
    model = LinkModel(0.01, 100.0)
    model.round_trip_seen(0.04, 100.0)
    model.startup = False
    model.rate = 1_000_000.0
    return model


def test_a_link_that_was_only_given_less_did_not_become_slower() -> None:
    model = link_of_one_megabyte()
    starve(model, 0.06, 0.061, 0.059)
    assert model.rate == pytest.approx(930_000.0)  # given back, and lowered once more by the test
    assert model.limit(105.0) >= 0.06 * model.rate  # enough for round trips as they are
    extra = model.extra
    model._starved(6 * 0.061, 6, 105.0)
    assert model.extra == extra > 0.0


@pytest.mark.parametrize("round_trips", [(0.06, 0.05, 0.05), (0.06, 0.08, 0.07), (0.06, 0.061, 0.07)])
def test_a_link_whose_round_trips_change_did_become_slower(round_trips: tuple[float, ...]) -> None:
    model = link_of_one_megabyte()
    starve(model, *round_trips)
    assert model.rate == pytest.approx(1_000_000.0 * 0.93**3)
    assert model.extra == 0.0


def test_what_only_filled_a_queue_is_taken_back_and_next_tried_later() -> None:
    model = link_of_one_megabyte()
    starve(model, 0.06, 0.061, 0.059)
    wait = model.starvation.wait
    starve(model, 0.075)
    assert model.extra == 0.0
    assert model.starvation.wait == 2 * wait


def test_loss_makes_a_link_slower_by_no_more_than_was_lost() -> None:
    losses = LossCause()
    assert losses.least_rate(1_000_000.0, 0.1) == 1_000_000.0
    assert losses.judge(0.1, 100, 1_000_000.0) == OVERFLOW
    assert losses.least_rate(950_000.0, 0.1) == 900_000.0
    assert losses.least_rate(950_000.0, 0.0) == 950_000.0


def test_what_may_be_in_flight_never_ends() -> None:
    link = Link()
    assert link.model.limit(link.now) >= INITIAL * SIZE
    link.model.startup = False
    link.model.rate = 1.0
    assert link.model.limit(link.now) >= LEAST * SIZE


def test_random_loss_does_not_shorten_the_queue_for_good() -> None:
    link = Link(1_000_000)
    link.losing = {n for n in range(100_000) if n % 40 == 7}
    link.run(10.0)
    assert link.model.target == TARGET
    assert link.model.rate == pytest.approx(1_000_000, rel=0.15)
    assert set(link.lost) <= link.losing


def test_a_loss_is_found_whatever_the_neighbours() -> None:
    link = Link(1_000_000)
    link.losing = {50, 51, 52, 200, 300, 301}
    link.run(2.0)
    assert link.lost == sorted(link.losing)


def test_beginning_anew_forgets_what_was_on_its_way() -> None:
    link = Link()
    link.run(1.0)
    link.model.reset(link.now)
    assert (link.model.packets, link.model.in_flight, link.model.rate) == (0, 0, 0.0)


def test_a_gap_that_may_be_loss_does_not_make_a_link_look_faster() -> None:
    """Ten and more that are not named: lost, or their ACK was. They count as delivered only where more than
    that would be needed to call the link slower."""
    link = Link()
    link.model.rate = link.model.peak = 100_000.0
    sent = [link.send() for _ in range(60)]
    link.now += 0.2
    link.model.acknowledged(sent[50:], link.now)  # 40 and more are in doubt: 60 in 0.2 s would be 400 kB/s
    assert {each.state for each in sent[:47]} == {PASSED}
    assert link.model.rate == pytest.approx(100_000, rel=0.05)


def test_what_an_echo_passed_and_no_ack_names_is_lost() -> None:
    link = Link()
    sent = [link.send() for _ in range(12)]
    link.model.passed(2, 0.06, link.now + 0.06)
    lost = link.model.acknowledged([sent[n] for n in (0, 2, 3, 4, 5, 6, 7, 8, 9, 10)], link.now + 0.1)
    assert lost == [sent[1]]
    assert (sent[0].state, sent[1].state) == (ARRIVED, LOST)


def test_a_queue_that_overflowed_once_is_not_taken_for_bad_air() -> None:
    """What was on its way when the queue was cut says nothing about the shorter one."""
    link = Link()
    model = link.model
    model.startup = False
    model.rate = model.peak = 125_000.0
    sent = [link.send() for _ in range(100)]
    for first in range(0, 400, 10):
        link.now += 0.05
        if first < 300:
            sent += [link.send() for _ in range(10)]
        # A fifth of the packets is lost, all of them sent before the first loss was known.
        model.jitter = 0.0
        arrived = [sent[first + n] for n in range(10) if first >= 200 or n not in (3, 7)]
        model.acknowledged(arrived, link.now)
        if first == 200:
            assert (model.losses.cuts, model.losses.usual) == (1, 0.0)
            assert model.target < TARGET
    assert model.losses.cuts == 0
    assert model.losses.usual < 0.01


def test_the_paths_own_jitter_is_learnt_while_the_link_is_idle() -> None:
    link = Link()
    limit = 125_000 * (0.05 + TARGET)
    for n in range(20):
        link.model.round_trip_seen(0.05 + 0.04 * (n % 2), link.now + n)
    link.model.startup = False
    link.model.rate = 125_000.0
    assert link.model.limit(link.now) > limit + 125_000 * 0.01


def test_a_look_sums_up_and_each_packet_is_counted() -> None:
    link = Link()
    model = link.model
    model.startup = False
    model.rate = model.peak = 125_000.0
    assert model.look(link.now)
    assert (model.backlog, model.full) == (0, False)
    alone, count = model.eta, 0
    while True:
        link.send()
        count += 1
        if not model.took(SIZE, link.now):
            break
    assert model.backlog == count * SIZE
    assert count <= model.limit(link.now) / SIZE
    link.now += 0.001
    assert not model.look(link.now) or model.eta > alone


def test_tries_for_more_add_up_to_no_more_than_half_a_round_trip() -> None:
    model = link_of_one_megabyte()
    for _ in range(50):
        model.probing, model.probe_rate, model.rate = True, 1_000_000.0, 1_500_000.0  # it did deliver more
        model._probe(model.probe_at)
    assert model.extra == pytest.approx(0.5 * (model.min_rtt + model.target_limit))


@pytest.mark.parametrize("longer", [0.05, 0.1, 0.2])
def test_a_path_that_became_longer_is_found_before_the_link_starves(longer: float) -> None:
    link = Link(rate=1e6, delay=0.02)
    link.run(3.0)
    link.delay += longer
    link.run(2.0)
    assert link.model.min_rtt == pytest.approx(0.04 + 2 * longer, abs=0.03)
    before = link.index
    link.run(6.0)
    assert (link.index - before) * SIZE / 6.0 >= 0.85e6
    link.delay -= longer
    link.run(20.0)
    assert link.model.min_rtt <= 0.06
    assert link.queue <= 2 * TARGET


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_link_that_became_slower_is_not_taken_for_a_longer_path(share: float) -> None:
    link = Link(rate=1e6, delay=0.02)
    link.run(3.0)
    link.rate *= share
    link.run(4.0)
    assert link.model.min_rtt <= 0.06
    assert link.queue <= 2 * TARGET


def test_an_outage_does_not_make_a_link_unsure_for_long() -> None:
    link = Link()
    link.run(3.0)
    sure = link.model.deviation
    link.now += 3.0  # nothing is heard of it; then all at once
    link.run(0.5)
    assert link.model.deviation <= 0.2
    link.run(4.0)
    assert link.model.deviation <= sure + 0.02


def lossy(losing: set[int], count: int = 450) -> Link:
    """A busy link after `count` packets of which it lost these."""
    link = Link(1_000_000)
    link.model.startup = False
    link.model.rate = link.model.peak = 1_000_000.0
    link.losing = losing
    while link.index < count:
        link.run(0.01)
    link.run(0.3, demand=False)
    return link


def test_packets_lost_in_a_row_are_bad_air_and_scattered_ones_a_full_queue() -> None:
    burst = lossy({n for n in range(400) if n % 100 >= 92})
    assert sorted(burst.lost) == sorted(burst.losing)
    assert (burst.model.losses.cuts, burst.model.target) == (0, TARGET)
    scattered = lossy({n for n in range(400) if n % 12 == 5}, 380)
    assert scattered.model.losses.cuts > 0
    assert scattered.model.target < TARGET


@pytest.mark.parametrize(("lost", "cut"), [(3, False), (4, False), (6, True), (12, True)])
def test_a_queue_is_not_cut_for_what_may_be_chance(lost: int, cut: bool) -> None:
    model = link_of_one_megabyte()
    model._judge_loss(lost / 100, 100, 0.05)
    assert (model.losses.cuts > 0) is cut


def test_loss_that_stays_about_the_same_is_soon_taken_for_the_links_own() -> None:
    model = link_of_one_megabyte()
    for n in range(80):
        model._judge_loss((0.05, 0.14)[n % 2], 100, 0.05)
    assert model.losses.usual == pytest.approx(0.09, abs=0.03)
    for n in range(60):
        model._judge_loss((0.05, 0.14)[n % 2], 100, 0.05)
        assert model.losses.cuts == 0


def test_what_was_sent_while_a_link_was_stalled_does_not_make_it_slower() -> None:
    for stalled in (False, True):
        link = Link(1_000_000)
        link.run(2.0)
        link.on_the_way.clear()  # an outage
        link.now += 3.0
        link.delay += 0.02
        if stalled:
            link.model.measured_from = link.now + 1.0
        for _ in range(30):  # one each 10 ms, as while nothing is known
            link.send()
            link.run(0.01, demand=False)
        assert (link.model.rate > 900_000) is stalled


def test_what_a_quicker_link_says_first_stays_in_flight_until_the_link_could_have_said_so() -> None:
    link = Link(1_000_000, delay=0.2)
    link.model.startup = False
    first, second = link.send(), link.send()
    link.now += 0.22
    link.model.arrived(first, 0.18, link.now)
    assert (first.state, link.model.packets, link.model.in_flight) == (SEEN, 2, 2 * SIZE)
    link.model.settle(link.now + 0.17)
    assert link.model.packets == 2
    link.model.settle(link.now + 0.19)
    assert (first.state, link.model.packets, link.model.in_flight) == (ARRIVED, 1, SIZE)
    link.model.arrived(second, 0.0, link.now)
    assert (second.state, link.model.packets, link.model.delivered) == (ARRIVED, 0, 2 * SIZE)


@pytest.mark.parametrize("proof", ["ack", "echo", "lost"])
def test_what_srt_has_is_counted_once_whatever_proves_it(proof: str) -> None:
    link = Link(1_000_000, delay=0.2)
    link.model.startup = False
    sent = [link.send() for _ in range(12)]
    link.model.arrived(sent[0], 0.18, link.now)
    link.model.arrived(sent[3], 0.18, link.now)
    if proof == "ack":
        link.model.acknowledged(sent[:10], link.now + 0.1)
    elif proof == "echo":
        link.model.passed(10, 0.4, link.now + 0.1)
    else:  # the link's own ACK names it not, SRT has it all the same
        assert link.model.acknowledged([sent[1], *sent[4:12]], link.now + 0.1) == [sent[2]]
    link.model.settle(link.now + 0.2)
    assert [sent[0].state, sent[3].state] == [ARRIVED] * 2
    assert link.model.packets == sum(each.state == FLYING for each in sent)
    assert link.model.in_flight == link.model.packets * SIZE
    assert link.model.delivered + link.model.doubtful == SIZE * sum(
        each.state in (ARRIVED, PASSED) for each in sent
    )


def test_a_new_link_is_measured_by_whatever_comes_first() -> None:
    link = Link(1_000_000, delay=0.2)
    first = link.send()
    link.model.arrived(first, 0.18, link.now + 0.22)
    assert (first.state, link.model.packets) == (ARRIVED, 0)


def test_a_link_that_began_idle_grows_by_doubling_once_it_is_asked_for_more() -> None:
    grown = {}
    for idle in (True, False):
        link = Link(1_000_000, delay=0.1)
        link.model.rate = link.model.peak = 15_000.0  # a trickle
        link.model.startup, link.model.untried = False, idle
        for _ in range(150):  # 3 s: 15 round trips
            link.model.look(link.now)
            link.run(0.02)
        grown[idle] = link.model.rate
    assert grown[True] > 900_000
    assert grown[False] < 500_000


def test_a_start_without_anything_to_do_is_remembered() -> None:
    for hungry in (True, False):
        model = Link().model
        model.rate = model.round_rate = 15_000.0
        model.hungry_at = 100.0 if hungry else -1.0
        model.stuck_rounds = 1
        model.round_rtts, model.round_samples = 0.3, 3
        model._round(0.05, True, 100.5)
        assert (model.startup, model.untried) == (False, not hungry)


def test_a_new_link_is_expected_to_be_as_quick_as_its_path_while_its_queue_is_empty() -> None:
    link = Link(1_000_000, delay=0.3)
    model = link.model
    model.rate = model.peak = 1_000_000.0
    model.srtt = 0.68  # it was full once, and has carried hardly anything since
    assert model.look(link.now)
    assert model.eta == pytest.approx(0.3)
    while model.backlog < model.rate * model.min_rtt:
        model.took(SIZE, link.now)
    assert model.eta == pytest.approx(0.38)


@pytest.mark.parametrize("rate", [0.0, 5_000.0])
def test_a_new_link_that_was_hardly_given_anything_is_not_taken_for_a_weak_one(rate: float) -> None:
    """Two packets a round trip show a rate of two packets a round trip, whatever the link can do."""
    model = Link(1_000_000, delay=0.13).model
    model.rate = model.peak = rate
    model.srtt = 0.28  # the path jitters
    assert model.look(100.0)
    assert model.eta == pytest.approx(0.13)
    assert model.arrival(INITIAL_RATE * model.min_rtt, SIZE, 0.0, 100.0) == pytest.approx(0.15)  # a queue


@pytest.mark.parametrize(("before", "startup"), [(0, True), (LEAST, False)])
def test_a_start_ends_with_packets_that_may_have_queued(before: int, startup: bool) -> None:
    link = Link(1_000_000, delay=0.1)
    model = link.model
    for _ in range(8):
        flight = [link.send() for _ in range(before + 1)]
        link.now += 0.23  # 30 ms more than the shortest: the path's jitter, or a queue
        model.acknowledged(flight, link.now)
        link.now += 0.1
    assert model.startup is startup


def test_proof_is_due_a_round_trip_after_the_ack_is_full() -> None:
    link = Link(1_000_000, delay=0.05)
    model = link.model
    model.startup, model.rate, model.peak = False, link.rate, link.rate
    first = link.send()
    for _ in range(ACK_BATCH - 2):
        link.now += 0.02
        link.send()
    # Nine: the tenth is expected as soon as the link could carry it.
    assert model.proof_due(first) == pytest.approx(100.0 + first.expected + 10 * SIZE / link.rate)
    link.now += 0.02
    tenth = link.send()
    link.now += 0.02
    link.send()
    assert tenth.sent_at == pytest.approx(100.18)
    assert model.proof_due(first) == pytest.approx(100.18 + tenth.expected)


def slow_link(startup: bool = False) -> Link:
    """28 packets a second, as few as a weak modem carries."""
    link = Link(28 * SIZE, delay=0.05)
    if not startup:
        link.model.startup = False
        link.model.rate = link.model.peak = link.rate
    return link


def test_what_an_echo_proved_and_an_ack_names_later_did_not_pass_twice() -> None:
    link = slow_link()
    model = link.model
    first = [link.send() for _ in range(5)]
    link.now += 0.05 + 5 / 28
    model.passed(5, 0.05 + 5 / 28, link.now)
    second = [link.send() for _ in range(5)]
    link.now += 0.1 + 5 / 28
    model.acknowledged(first + second, link.now)
    assert model.rate == pytest.approx(link.rate, rel=0.1)


def test_a_rate_is_measured_between_proofs_of_the_links_own() -> None:
    """SRT acknowledges packet after packet; that is no beginning for what ten of them took to leave."""
    link = slow_link()
    model = link.model
    model.rate = model.peak = 5 * SIZE  # less than it is given
    sent = []
    for number in range(60):
        sent.append(link.send())
        link.now += 1 / 14
        if number >= 2:
            model.arrived(sent[number - 2], 0.0, link.now)
        if number >= 12 and number % 10 == 2:
            model.acknowledged(sent[number - 11 : number - 1], link.now)
    assert model.rate == pytest.approx(14 * SIZE, rel=0.1)


def test_a_link_that_is_full_before_its_first_proof_is_measured_without_the_way_there() -> None:
    link = slow_link(startup=True)
    model = link.model
    for _ in range(5):
        link.send()
    took = 0.1 + 5 / 28
    link.now += took
    model.passed(5, took, link.now)
    assert not model.startup
    assert model.rate == pytest.approx(link.rate, rel=0.01)


@pytest.mark.parametrize(
    ("budget", "margin"),
    [
        (1.0, 0.05),  # there is time enough
        (0.332, 0.015),  # half of what is left beside the path
        (0.25, 0.0),  # too far anyway
    ],
)
def test_care_does_not_leave_a_far_link_idle(budget: float, margin: float) -> None:
    model = Link(1_332_000, delay=0.301 / 2).model
    model.startup = False
    model.rate = model.peak = 1_332_000.0
    model.min_rtt = model.least_rtt = 0.602
    assert model.look(100.0)
    assert model.eta == pytest.approx(0.302)
    model.keep_margin(budget, 0.05)
    assert model.margin == pytest.approx(margin)


def test_a_link_without_a_queue_may_be_quicker_than_what_it_was_given() -> None:
    model = Link(1_000_000, delay=0.1).model
    model.startup = False
    model.rate = model.peak = 1_000_000.0
    expected = []
    for queued_at in (99.9, 90.0):
        model.queued_at = queued_at
        assert model.look(100.0)
        while model.backlog < 1.2 * model.rate * model.min_rtt:
            assert model.took(SIZE, 100.0) or model.room > 0
        expected.append(model.eta)
    assert expected == [pytest.approx(0.14, abs=0.005), pytest.approx(0.1, abs=0.005)]


def test_what_leaves_close_together_waits_though_the_path_is_half_empty() -> None:
    link = Link(1_000_000, delay=0.3)
    model = link.model
    model.startup = False
    model.rate = model.peak = 1_000_000.0
    model.queued_at = link.now
    assert model.look(link.now)
    alone = model.eta
    for _ in range(100):
        sent = link.send()
    assert sent.expected == pytest.approx(0.6 + 100 * SIZE / 1e6)
    assert model.in_flight < model.rate * model.min_rtt
    model.pace_at = link.now
    assert model.look(link.now)
    assert model.eta == pytest.approx(alone + 100 * SIZE / 1e6)


def test_what_was_thought_lost_and_is_named_after_all_gives_no_rate() -> None:
    link = slow_link(startup=True)
    model = link.model
    late = link.send()
    model.done(late, LOST, link.now)
    link.now += 1.0  # a queue, it seems
    model.acknowledged([late], link.now)
    assert model.startup
    assert model.look(link.now)
    link.send()
    assert model.took(SIZE, link.now)
