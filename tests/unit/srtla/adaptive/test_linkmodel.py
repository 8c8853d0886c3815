"""The model of one link, driven by hand: what each kind of proof teaches it, and what it answers."""

from __future__ import annotations

import pytest

from netbond.srtla.adaptive.bonding import MUTE_ASK_S
from netbond.srtla.adaptive.control import LEAST
from netbond.srtla.adaptive.linkmodel import REMEMBERED, LinkModel
from netbond.srtla.adaptive.losses import ACK_BATCH
from netbond.srtla.adaptive.packets import ARRIVED, FLYING, LOST, PASSED, Transmission
from netbond.srtla.adaptive.parameters import Parameters
from netbond.srtla.schedule import LinkState

P = Parameters()
SIZE = 1332
TARGET = 0.07


class Link:
    """A link of `rate` bytes/s and `delay` s each way, with an endless queue, behind a model.

    Its shortest round trip is known. `known`: so is its rate, and start-up is over. `silent`: its receiver
    sends no SRTLA ACKs, so a keepalive measures the link each 20 ms.
    """

    def __init__(
        self, rate: float = 125_000.0, delay: float = 0.025, *, known: bool = False, silent: bool = False
    ) -> None:
        self.now = 100.0
        self.rate, self.delay = rate, delay
        self.silent = silent
        self.model = LinkModel(LinkState(1), P, TARGET, self.now)
        self.model.path.seen(2 * delay, TARGET, self.now, idle=False)
        if known:
            self.model.control.startup = False
            self.model.rate.rate = self.model.rate.peak = rate
        self.free_at = 0.0
        self.index = 0
        self.on_the_way: list[tuple[float, Transmission]] = []
        self.unacknowledged: list[Transmission] = []
        self.losing: set[int] = set()
        self.lost: list[int] = []
        self.echoes: list[tuple[float, int, float]] = []  # (arrival, packets before it, departure)
        self._ask_at = self.now

    def send(self) -> Transmission:
        transmission = Transmission(SIZE)
        self.model.sent(transmission, self.index, self.now)
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
                transmission = self.on_the_way.pop(0)[1]
                if not self.silent:
                    self.unacknowledged.append(transmission)
                if len(self.unacknowledged) == ACK_BATCH:
                    self.acks()
            while self.echoes and self.echoes[0][0] <= self.now:
                _, before, left = self.echoes.pop(0)
                self.model.echoed(before, self.now - left, self.now, mute=True)
            if self.silent and self.now >= self._ask_at:
                self._ask_at = self.now + MUTE_ASK_S
                self.echoes.append((max(self.free_at, self.now) + 2 * self.delay, self.index, self.now))
            while demand and self.model.look(self.now, 0.0):
                self.send()

    def acks(self) -> None:
        lost = self.model.acknowledged(self.unacknowledged, self.now)
        for each in lost:
            assert each.state == LOST
        self.lost += [each.index for each in lost]
        self.unacknowledged = []

    def pauses(self) -> None:
        """Let everything arrive."""
        self.run(2.0, demand=False)
        if self.unacknowledged:
            self.acks()

    @property
    def queue(self) -> float:
        """s that a packet sent now would wait in the link."""
        return max(0.0, self.free_at - self.now)


# --- what the parts do together: a link whose rate and path are known to the test ---------------------------


@pytest.mark.parametrize("mbps", [0.2, 1.0, 8.0, 30.0])
@pytest.mark.parametrize("delay", [0.01, 0.05, 0.15])
def test_finds_the_rate_and_keeps_the_queue_short(mbps: float, delay: float) -> None:
    link = Link(mbps * 125_000, delay)
    link.run(8.0)
    assert link.model.rate.rate == pytest.approx(link.rate, rel=0.15)
    # The target, a probe's worth on top, and what may always be on its way.
    allowed = TARGET + 0.3 * (2 * delay + TARGET) + (LEAST + ACK_BATCH) * SIZE / link.rate
    assert link.queue < allowed


@pytest.mark.parametrize("mbps", [1.0, 8.0])
def test_finds_the_rate_by_echoes_if_the_receiver_sends_no_srtla_acks(mbps: float) -> None:
    link = Link(mbps * 125_000, 0.05, silent=True)
    link.run(8.0)
    assert link.model.rate.rate == pytest.approx(link.rate, rel=0.2)
    assert link.model.path.shortest == pytest.approx(0.1, abs=0.005)
    assert link.queue < TARGET + 0.3 * (0.1 + TARGET) + MUTE_ASK_S + LEAST * SIZE / link.rate


def test_half_the_rate_is_noticed_within_a_second() -> None:
    link = Link(1_000_000)
    link.run(3.0)
    link.rate = 500_000
    link.run(1.0)
    assert link.model.rate.rate == pytest.approx(500_000, rel=0.2)
    link.rate = 2_000_000
    link.run(3.0)
    assert link.model.rate.rate == pytest.approx(2_000_000, rel=0.2)


def test_an_idle_link_keeps_its_estimate() -> None:
    link = Link(1_000_000)
    link.run(3.0)
    before = link.model.rate.rate
    link.run(10.0, demand=False)
    for _ in range(100):  # a trickle, far below what the link can
        link.send()
        link.run(0.1, demand=False)
    assert link.model.rate.rate == pytest.approx(before, rel=0.05)


def test_random_loss_does_not_shorten_the_queue_for_good() -> None:
    link = Link(1_000_000)
    link.losing = {n for n in range(100_000) if n % 40 == 7}
    link.run(6.0)
    assert link.model.control.target == TARGET
    assert link.model.rate.rate == pytest.approx(1_000_000, rel=0.15)
    assert set(link.lost) <= link.losing


def test_a_loss_is_found_whatever_the_neighbours() -> None:
    link = Link(1_000_000)
    link.losing = {50, 51, 52, 200, 300, 301}
    link.run(2.0)
    assert link.lost == sorted(link.losing)


@pytest.mark.parametrize("longer", [0.05, 0.1, 0.2])
def test_a_path_that_became_longer_is_found_before_the_link_starves(longer: float) -> None:
    link = Link(1e6, 0.02)
    link.run(3.0)
    link.delay += longer
    link.run(2.0)
    assert link.model.path.shortest == pytest.approx(0.04 + 2 * longer, abs=0.03)
    before = link.index
    link.run(4.0)
    assert (link.index - before) * SIZE / 4.0 >= 0.85e6
    link.delay -= longer
    link.run(15.0)
    assert link.model.path.shortest <= 0.06
    assert link.queue <= 2 * TARGET


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_link_that_became_slower_is_not_taken_for_a_longer_path(share: float) -> None:
    link = Link(1e6, 0.02)
    link.run(3.0)
    link.rate *= share
    link.run(4.0)
    assert link.model.path.shortest <= 0.06
    assert link.queue <= 2 * TARGET


def test_an_outage_does_not_make_a_link_unsure_for_long() -> None:
    link = Link()
    link.run(3.0)
    sure = link.model.path.late
    link.now += 3.0  # nothing is heard of it; then all at once
    link.run(0.5)
    assert link.model.path.late <= 0.2
    link.run(4.0)
    assert link.model.path.late <= sure + 0.02


# --- proof --------------------------------------------------------------------------------------------------


def test_a_later_packet_proves_an_earlier_one_lost() -> None:
    link = Link()
    sent = [link.send() for _ in range(12)]
    lost = link.model.acknowledged([sent[n] for n in (0, 1, 2, 4, 5, 6, 7, 8, 9, 10)], link.now + 0.1)
    assert lost == [sent[3]]
    assert [each.state for each in sent] == [ARRIVED] * 3 + [LOST] + [ARRIVED] * 7 + [FLYING]
    flight = link.model.flight
    assert (flight.packets, flight.bytes, flight.lost) == (1, SIZE, 1)
    assert link.model.rate.delivered == 10 * SIZE


@pytest.mark.parametrize(("missing", "state"), [(ACK_BATCH - 1, LOST), (ACK_BATCH, PASSED)])
def test_as_many_as_an_ack_names_may_be_a_lost_ack(missing: int, state: int) -> None:
    link = Link()
    sent = [link.send() for _ in range(30)]
    lost = link.model.acknowledged(sent[missing:20], link.now + 0.1)
    assert {each.state for each in sent[:missing]} == {state}
    assert lost == (sent[:missing] if state == LOST else [])
    assert link.model.flight.lost == len(lost)
    assert link.model.rate.doubtful == (0 if lost else missing * SIZE)


def test_a_gap_that_may_be_loss_does_not_make_a_link_look_faster() -> None:
    """Ten and more that are not named: lost, or their ACK was. They count as delivered only where more than
    that would be needed to call the link slower."""
    link = Link()
    link.model.rate.rate = link.model.rate.peak = 100_000.0
    sent = [link.send() for _ in range(60)]
    link.now += 0.2
    link.model.acknowledged(sent[50:], link.now)  # 40 and more are in doubt: 60 in 0.2 s would be 400 kB/s
    assert {each.state for each in sent[:47]} == {PASSED}
    assert link.model.rate.rate == pytest.approx(100_000, rel=0.05)


def test_an_echo_proves_what_left_before_it() -> None:
    link = Link()
    sent = [link.send() for _ in range(5)]
    link.now += 0.06
    link.model.echoed(3, 0.06, link.now, mute=False)
    assert [each.state for each in sent] == [PASSED] * 3 + [FLYING] * 2
    assert (link.model.flight.packets, link.model.rate.doubtful) == (2, 3 * SIZE)
    assert link.model.proved_at == link.model.delivered_at == link.now


def test_an_echo_is_the_best_proof_of_arrival_from_a_receiver_without_srtla_acks() -> None:
    link = Link()
    for _ in range(5):
        link.send()
    link.now += 0.06
    link.model.echoed(3, 0.06, link.now, mute=True)
    rate = link.model.rate
    assert (rate.delivered, rate.doubtful, link.model.flight.packets) == (3 * SIZE, 0, 2)
    assert rate.rate == pytest.approx(3 * SIZE / 0.06)


def test_an_echo_of_an_idle_link_measures_its_path() -> None:
    link = Link()
    link.now += 1.0
    link.model.echoed(0, 0.04, link.now, mute=False)
    assert (link.model.path.shortest, link.model.proved_at) == (0.04, link.now)
    link.model.echoed(0, 0.06, link.now, mute=False)
    assert link.model.path.spread == pytest.approx(0.02 / 4), "jitter, as nothing is in flight"
    link.send()
    link.model.echoed(0, 0.08, link.now, mute=False)
    assert link.model.path.spread == pytest.approx(0.02 / 4)


def test_what_an_echo_passed_and_no_ack_names_is_lost() -> None:
    link = Link()
    sent = [link.send() for _ in range(12)]
    link.model.echoed(2, 0.06, link.now + 0.06, mute=False)
    lost = link.model.acknowledged([sent[n] for n in (0, 2, 3, 4, 5, 6, 7, 8, 9, 10)], link.now + 0.1)
    assert lost == [sent[1]]
    assert (sent[0].state, sent[1].state) == (ARRIVED, LOST)
    assert link.model.rate.delivered == 10 * SIZE


def test_what_an_echo_proved_and_an_ack_names_later_did_not_pass_twice() -> None:
    """28 packets a second, as few as a weak modem carries."""
    link = Link(28 * SIZE, 0.05, known=True)
    first = [link.send() for _ in range(5)]
    link.now += 0.05 + 5 / 28
    link.model.echoed(5, 0.05 + 5 / 28, link.now, mute=False)
    second = [link.send() for _ in range(5)]
    link.now += 0.1 + 5 / 28
    link.model.acknowledged(first + second, link.now)
    assert link.model.rate.rate == pytest.approx(link.rate, rel=0.1)
    assert (link.model.rate.delivered, link.model.rate.doubtful) == (10 * SIZE, 0)


def test_packets_that_pass_and_are_never_named_cast_doubt_on_their_size() -> None:
    """Is a link in doubt, `Passing` asks it by padded keepalives."""
    link = Link()
    for _ in range(ACK_BATCH):
        link.send()
    link.model.echoed(ACK_BATCH - 1, 0.06, 101.0, mute=False)
    assert link.model.owner.passing.probe(110.0) == 0
    link.model.echoed(ACK_BATCH, 0.06, 101.0, mute=False)
    assert link.model.owner.passing.probe(110.0) == SIZE


def test_an_ack_proves_that_a_size_passes() -> None:
    link = Link()
    sent = [link.send() for _ in range(2 * ACK_BATCH)]
    link.model.echoed(ACK_BATCH, 0.06, 101.0, mute=False)
    link.model.acknowledged(sent[:ACK_BATCH], 101.0)
    assert link.model.owner.passing.probe(110.0) == 0


def test_a_link_that_is_full_before_its_first_proof_is_measured_without_the_way_there() -> None:
    link = Link(28 * SIZE, 0.05)
    for _ in range(5):
        link.send()
    took = 0.1 + 5 / 28
    link.now += took
    link.model.echoed(5, took, link.now, mute=False)
    link.model.echoed(5, took, link.now, mute=False)
    assert link.model.rate.rate > 0.0
    for _ in range(12):
        link.send()
    link.now += took
    link.model.echoed(17, took, link.now, mute=False)
    assert not link.model.control.startup


def test_what_was_thought_lost_and_is_named_after_all_gives_no_rate() -> None:
    link = Link(28 * SIZE, 0.05)
    late = link.send()
    link.model.lost(late, link.now)
    link.now += 1.0  # a queue, it seems
    link.model.acknowledged([late], link.now)
    assert (late.state, link.model.rate.delivered) == (ARRIVED, 0)
    assert link.model.control.startup
    assert link.model.rate.rate == 0.0


@pytest.mark.parametrize("stalled", [False, True])
def test_what_was_sent_while_a_link_was_stalled_does_not_make_it_slower(stalled: bool) -> None:
    link = Link(1_000_000)
    link.run(2.0)
    link.on_the_way.clear()  # an outage
    link.now += 3.0
    link.delay += 0.02
    if stalled:
        link.model.rate.measured_from = link.now + 1.0
    for _ in range(30):  # one each 10 ms, as while nothing is known
        link.send()
        link.run(0.01, demand=False)
    assert (link.model.rate.rate > 900_000) is stalled


def test_packets_that_are_later_than_expected_make_a_link_unsure() -> None:
    link = Link(known=True)
    expected = link.send().expected
    assert expected == pytest.approx(0.05 + SIZE / link.rate)
    link.model.echoed(1, expected + 0.08, link.now + expected + 0.08, mute=False)
    assert link.model.path.late == pytest.approx(0.01)


# --- answers ------------------------------------------------------------------------------------------------


def test_what_is_in_flight_is_less_than_what_has_no_proof() -> None:
    link = Link(1_000_000, 0.05, known=True)
    model = link.model
    assert model.outstanding(link.now) == 0.0
    for _ in range(30):
        link.send()
    assert model.outstanding(link.now + 0.1) == 30 * SIZE
    assert model.outstanding(link.now + 0.104) == pytest.approx(30 * SIZE - 4_000)
    assert model.outstanding(link.now + 1.0) == (30 - ACK_BATCH + 1) * SIZE, "an ACK would have come"
    few = Link(1_000_000, 0.05, known=True)
    few.send()
    assert few.model.outstanding(few.now + 1.0) == 0.0


def test_the_way_to_the_first_of_a_burst_is_not_taken_for_its_arrival() -> None:
    link = Link(1_000_000, 0.05, known=True)
    link.now += 10.0
    for _ in range(30):
        link.send()
    assert link.model.outstanding(link.now + 0.09) == 30 * SIZE


def test_a_look_sums_up_and_each_packet_is_counted() -> None:
    link = Link(known=True)
    model = link.model
    model.pacer.next_at = 0.0
    assert model.look(link.now, 0.0)
    assert (model.backlog, model.full) == (0, False)
    assert model.eta == pytest.approx(0.025 + SIZE / 125_000)
    count = 0
    while True:
        link.send()
        count += 1
        assert model.backlog == (count - 1) * SIZE
        if not model.took(SIZE, link.now):
            break
    assert model.eta > 0.025 + SIZE / 125_000
    assert model.backlog == count * SIZE
    assert model.room == pytest.approx(model.control.limit(SIZE, link.now) - model.backlog)


def test_a_full_link_takes_nothing_and_is_hungry() -> None:
    link = Link(known=True)
    while link.model.flight.bytes + SIZE <= link.model.control.limit(SIZE, link.now):
        link.send()
        assert link.model.control.hungry_at < 0.0
    assert not link.model.look(link.now + 0.001, 0.0)
    assert link.model.full
    assert link.model.control.hungry_at == link.now + 0.001


def test_a_link_takes_no_packet_before_its_pace_allows_it() -> None:
    link = Link(known=True)
    link.model.pacer.next_at = link.now + 0.01
    assert not link.model.look(link.now + 0.009, 0.0)
    assert not link.model.full
    assert link.model.look(link.now + 0.01, 0.0)
    link.model.pacer.next_at = link.now + 0.02
    assert not link.model.took(SIZE, link.now + 0.01)


@pytest.mark.parametrize(
    ("startup", "slack", "caught_up"),
    [(False, 0.0, P.burst_s), (False, 0.02, 0.02), (False, 9.0, 0.05), (True, 0.0, 0.0), (True, 9.0, 0.05)],
)
def test_a_late_look_is_caught_up_with(startup: bool, slack: float, caught_up: float) -> None:
    link = Link(known=True)
    link.model.control.startup = startup
    link.model.look(link.now, slack)
    assert link.model.pacer.slack == caught_up


def test_packets_leave_at_the_pace_of_the_rate() -> None:
    link = Link(1_000_000, known=True)
    link.model.pacer.next_at = link.now + 1.0
    link.model.control.queued_at = link.now
    link.send()
    assert link.model.pacer.next_at == pytest.approx(101.0 + SIZE / 1_000_000 / P.pace)
    link.model.control.startup, link.model.rate.rate = True, 0.0
    link.send()
    step = SIZE / P.initial_rate / P.startup_pace
    assert link.model.pacer.next_at == pytest.approx(101.0 + SIZE / 1_000_000 / P.pace + step)


def test_a_new_link_is_expected_to_be_as_quick_as_its_path_while_its_queue_is_empty() -> None:
    link = Link(1_000_000, 0.3)
    model = link.model
    model.rate.rate = model.rate.peak = 1_000_000.0
    model.path.smoothed = 0.68  # it was full once, and has carried hardly anything since
    assert model.look(link.now, 0.0)
    assert model.eta == pytest.approx(0.3)
    while model.backlog < model.rate.rate * model.path.shortest:
        model.took(SIZE, link.now)
    assert model.eta == pytest.approx(0.38)


@pytest.mark.parametrize("rate", [0.0, 5_000.0])
def test_a_new_link_that_was_hardly_given_anything_is_not_taken_for_a_weak_one(rate: float) -> None:
    """Two packets a round trip show a rate of two packets a round trip, whatever the link can do."""
    model = Link(1_000_000, 0.13).model
    model.rate.rate = model.rate.peak = rate
    model.path.smoothed = 0.28  # the path jitters
    assert model.look(100.0, 0.0)
    assert model.eta == pytest.approx(0.13)
    assert model.arrival(P.initial_rate * model.path.shortest, SIZE) == pytest.approx(0.15)  # a queue


def test_a_packet_is_expected_later_by_a_share_of_the_usual_delay() -> None:
    model = Link(known=True).model
    model.path.late = 0.04
    assert model.look(100.0, 0.0)
    assert model.sure == pytest.approx(model.eta + 0.04 * P.late_deviations)


def test_what_leaves_close_together_waits_though_the_path_is_half_empty() -> None:
    link = Link(1_000_000, 0.3, known=True)
    for _ in range(100):
        sent = link.send()
    assert sent.expected == pytest.approx(max(0.6, 99 * SIZE / 1e6) + SIZE / 1e6)
    assert link.model.flight.bytes < link.model.rate.rate * link.model.path.shortest


def test_equal_links_share_by_what_they_could_carry() -> None:
    small, large = Link(100_000, known=True).model, Link(400_000, known=True).model
    for model in (small, large):
        assert model.look(100.0, 0.0)
    most = large.room
    small.compare(most, 100.0)
    assert small.share == pytest.approx(SIZE / most), "not full lately: it may carry as much as the best"
    small.control.hungry_at = 99.9
    small.compare(most, 100.0)
    assert small.share == pytest.approx(SIZE / small.room)
    room = small.room
    small.took(SIZE, 100.0)
    assert small.share == pytest.approx(2 * SIZE / room)
    small.control.hungry_at = 100.0 - P.hungry_s
    small.compare(most, 100.0)
    assert small.share == pytest.approx(2 * SIZE / most)


@pytest.mark.parametrize(
    ("budget", "margin"),
    [
        (1.0, 0.05),  # there is time enough
        (0.332, 0.015),  # half of what is left beside the path
        (0.25, 0.0),  # too far anyway
    ],
)
def test_care_does_not_leave_a_far_link_idle(budget: float, margin: float) -> None:
    model = Link(1_332_000, 0.301, known=True).model
    assert model.look(100.0, 0.0)
    assert model.eta == pytest.approx(0.302)
    model.keep_margin(budget, 0.05)
    assert model.margin == pytest.approx(margin)
    assert model.needs == pytest.approx(0.302 + margin)


def test_a_round_trip_is_as_long_as_what_is_in_flight_takes() -> None:
    link = Link(1_000_000, 0.05, known=True)
    assert link.model.round_trip() == pytest.approx(0.1)
    for _ in range(100):
        link.send()
    assert link.model.round_trip() == pytest.approx(100 * SIZE / 1e6)
    assert link.model.batch_time() == pytest.approx(ACK_BATCH * SIZE / 1e6)
    link.model.rate.rate = 0.0
    assert link.model.round_trip() == pytest.approx(0.1)
    assert link.model.batch_time() == 0.0


def test_the_queue_that_a_link_may_have_can_be_changed() -> None:
    link = Link(1_000_000, known=True)
    before = link.model.control.limit(SIZE, link.now)
    link.model.control.target = TARGET + 0.05
    assert link.model.control.limit(SIZE, link.now) == pytest.approx(before + 50_000)


# --- a link that begins anew --------------------------------------------------------------------------------


def test_a_link_that_fails_has_nothing_in_flight() -> None:
    link = Link()
    sent = [link.send() for _ in range(3)]
    assert link.model.abandon(link.now) == sent
    assert (link.model.flight.packets, link.model.outstanding(link.now)) == (0, 0.0)
    assert link.model.rate.doubtful == 3 * SIZE, "they may have arrived"


@pytest.mark.parametrize("away", [REMEMBERED - 0.1, REMEMBERED + 0.1])
def test_a_link_that_joins_again_soon_is_the_link_that_it_was(away: float) -> None:
    link = Link(1_000_000, 0.1)
    link.run(3.0)
    model = link.model
    rate, target = model.rate.rate, TARGET + 0.01
    model.control.target = target
    model.asked_at = model.answer_due = link.now
    model.abandon(link.now)
    link.now = model.proved_at + away
    model.reset(link.now)
    assert (model.flight.packets, model.flight.bytes, model.flight.next_index) == (0, 0, 0)
    assert (model.proved_at, model.asked_at, model.answer_due) == (link.now, 0.0, 0.0)
    assert model.control.target == target
    known = away < REMEMBERED
    assert model.rate.rate == (rate if known else 0.0)
    assert model.path.known is known
    assert model.control.startup is not known


def test_a_link_without_a_rate_begins_as_a_new_one() -> None:
    link = Link(1_000_000, 0.1)
    link.model.reset(link.now)
    assert not link.model.path.known


def test_a_link_that_joined_again_carries_at_once_what_it_carried() -> None:
    link = Link(1_000_000, 0.1)
    link.run(3.0)
    rate = link.model.rate.rate
    link.model.abandon(link.now)
    link.on_the_way.clear()
    link.unacknowledged.clear()
    link.run(5.0, demand=False)
    link.model.reset(link.now)
    link.index = 0
    before = link.model.rate.delivered
    link.run(1.0)
    assert link.model.rate.rate == pytest.approx(rate, rel=0.1), "the pause is in no sample"
    assert link.model.rate.delivered - before >= 0.75 * 1_000_000, "0.2 s for the way there and back"
