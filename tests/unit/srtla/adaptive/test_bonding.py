"""The adaptive mode, packet by packet: what is held, sent, repeated and kept from the SRT caller."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla import wire
from netbond.srtla.adaptive.bonding import MUTE, Bonding
from netbond.srtla.adaptive.losses import ACK_BATCH, UNSURE_MOST
from netbond.srtla.adaptive.packets import ARRIVED, FLYING, GONE, LOST, Memory
from netbond.srtla.adaptive.parameters import Parameters
from tests.srtla_util import data_packet, induction, srt_ack, srt_nak
from tests.unit.srtla.adaptive.driven import LIVE, Driven, handshake, known, limit, lose, model_of, send

NGP = wire.REG_NGP_PACKET
REG3 = wire.REG3_PACKET
TOP = wire.SEQUENCE_MASK
LATENCY = Parameters().latency_s
TLPKTDROP = 0x08


def fec_packet(sequence: int) -> bytes:
    """A packet of SRT's FEC: message number 0, and the number of the data packet before it."""
    packet = data_packet(sequence)
    return packet[:4] + b"\xc0\0\0\0" + packet[8:]


@pytest.mark.parametrize("first", [0, 1000, TOP - 2])
def test_a_repeat_of_what_is_on_its_way_is_not_sent(first: int) -> None:
    driven = Driven()
    numbers = [wire.advance(first, step) for step in range(6)]
    driven.offers(*numbers)
    assert [sequence for _, sequence in driven.sent()] == numbers
    driven.offers(*numbers, again=True)
    assert driven.sent() == []
    assert driven.sender.stats(driven.now)["spared"] == 6


def test_a_loss_report_about_what_is_on_its_way_does_not_reach_the_caller() -> None:
    driven = Driven()
    driven.offers(0, 1, 2)
    driven.sent()
    driven.now += 0.05
    driven.hears(1, srt_nak((0, 1)))
    assert driven.sender.datagrams_to_caller() == []
    assert driven.sent() == []


def test_a_loss_report_about_what_we_never_had_reaches_the_caller() -> None:
    driven = Driven()
    driven.offers(1000, 1001)
    driven.hears(1, srt_nak((900, 901)))
    assert driven.sender.datagrams_to_caller() == [srt_nak((900, 901))]
    driven.sent()
    driven.offers(900, again=True)  # from before we were there
    assert [sequence for _, sequence in driven.sent()] == [900]


def test_what_a_later_ack_proves_lost_goes_out_again_at_once() -> None:
    driven = Driven(links=1)
    driven.offers(*range(8))
    driven.after(0.02)
    driven.acks(1, 0, 1, 3, 4, 5, 6, 7)
    assert driven.sent() == [(1, 2)]
    assert driven.sender.stats(driven.now)["resent"] == 1


def test_what_passed_and_is_still_missing_goes_out_again() -> None:
    driven = Driven(links=1)
    driven.offers(0, 1, 2, 3)
    out = driven.sender.datagrams_to_links()
    ask = next(data for _, data in out if data[:2] == b"\x90\x00")  # a young link is asked
    driven.now += 0.05
    driven.hears(1, ask)
    driven.sent()
    driven.now += 0.05
    driven.hears(1, srt_nak((1, 1)))
    assert driven.sent() == [(1, 1)]
    assert driven.sender.datagrams_to_caller() == []


def test_a_round_trip_is_not_measured_from_a_copy_that_left_later() -> None:
    driven = Driven(links=1)
    driven.offers(*range(10))
    driven.after(0.02)
    driven.now += 0.05
    packet = known(driven, 9)
    send(driven, 9, 1)
    driven.now += 0.005
    driven.acks(1, *range(10))  # of the first transmission
    assert model_of(driven, 1).path.shortest >= 0.04
    assert packet.latest is not None
    assert (packet.state, packet.latest.state) == (ARRIVED, FLYING)
    driven.now += 0.05
    driven.acks(1, 9)  # of the second
    assert packet.latest.state == ARRIVED


def test_a_copy_that_arrives_after_the_first_was_lost_is_the_copy() -> None:
    driven = Driven(links=1)
    driven.offers(*range(10))
    driven.after(0.02)
    lose(driven, 9)
    driven.sent()
    packet = known(driven, 9)
    assert packet.times == 2
    driven.now += 0.05
    driven.acks(1, 9)
    assert packet.latest is not None
    assert (packet.state, packet.latest.state) == (LOST, ARRIVED)


def test_a_pulled_links_packets_go_out_again_at_once() -> None:
    driven = Driven()
    driven.offers(*range(8))
    on_first = {sequence for number, sequence in driven.sent() if number == 1}
    assert on_first
    driven.sender.link_failed(1, "the device is not there", driven.now)
    assert {sequence for number, sequence in driven.after(0.1) if number == 2} >= on_first


def test_memory_is_bounded_when_no_link_is_there() -> None:
    driven = Driven(links=1)
    driven.sender.link_failed(1, "gone", driven.now)
    for number in range(3000):
        driven.offers(number)
        driven.after(0.002)
    assert driven.sender.stats(driven.now)["held"] <= LATENCY / 0.002 + 1
    driven.after(2.0)
    stats = driven.sender.stats(driven.now)
    assert (stats["held"], stats["late"]) == (0, 3000)
    assert driven.sender.next_timer() is None


def test_a_silent_link_is_asked_and_its_packets_saved_by_another() -> None:
    driven = Driven()
    driven.offers(*range(6))
    lost = {sequence for number, sequence in driven.sent() if number == 1}
    assert lost
    saved: set[int] = set()
    for _ in range(30):  # link 2 answers what it is asked, link 1 does not
        driven.now += 0.02
        driven.sender.handle_timer(driven.now)
        for number, data in driven.sender.datagrams_to_links():
            if number == 2 and data[0] & 0x80:
                driven.hears(2, data)
            elif number == 2:
                saved.add(int.from_bytes(data[:4], "big"))
    assert lost <= saved
    assert str(driven.sender.stats(driven.now)["links"][0]["reason"]).startswith("stalled")


def test_what_is_overdue_is_copied_over_an_idle_link_before_its_own_is_stalled() -> None:
    driven = Driven()
    driven.offers(*range(6))
    late = {sequence for number, sequence in driven.sent() if number == 1}
    driven.acks(2, *(set(range(6)) - late))
    saved = driven.after(0.12)
    assert late
    assert {sequence for number, sequence in saved if number == 2} == late
    assert not any(link.stalled for link in driven.carrier._links)
    assert driven.after(0.05) == []  # once


def test_what_is_overdue_waits_while_packets_wait() -> None:
    """Copies take nothing from packets that were not sent yet."""
    driven = Driven(links=2)
    driven.offers(*range(200))  # more than the links may have in flight
    driven.sent()
    driven.after(0.12)
    assert driven.carrier._dealer.blocked
    assert driven.sender.stats(driven.now)["resent"] == 0


def test_no_link_is_blamed_for_what_we_had_no_time_to_read() -> None:
    driven = Driven(links=2)
    driven.offers(*range(8))
    driven.sent()
    driven.after(0.09)  # the links have been asked
    driven.now += 0.3  # the machine was busy; the answers are in the socket
    driven.sender.handle_timer(driven.now)
    assert driven.sent() == []
    assert not any(link.stalled for link in driven.carrier._links)


def test_a_full_buffer_sends_the_packet_by_another_link() -> None:
    driven = Driven()
    driven.offers(0)
    ((number, _),) = driven.sent()
    driven.sender.not_sent(number, [data_packet(0)], driven.now)
    assert driven.sent() == [(3 - number, 0)]


def test_packets_may_wait_for_each_other_while_no_link_is_full() -> None:
    driven = Driven()
    sender = driven.sender
    driven.offers(0)
    driven.after(0.02)
    assert sender.patience() == 0.0  # nothing is known of the latency
    sender.datagram_from_caller(handshake(300, 300), driven.now)
    driven.after(0.02)
    assert sender.patience() == pytest.approx(0.006)
    driven.hears(1, handshake(4000, 0))
    driven.after(0.02)
    assert sender.patience() == pytest.approx(0.01)
    driven.offers(*range(1, 100))  # more than new links are given
    driven.sent()
    assert sender.patience() == 0.0
    driven.after(0.02)
    driven.hears(1, srt_ack(100))
    driven.after(0.5)
    assert sender.stats(driven.now)["held"] == 0
    assert sender.patience() == 0.0  # a link was full a moment ago
    driven.after(1.0)
    for number in (1, 2):
        driven.hears(number, REG3)  # both links are alive
    driven.after(0.02)
    assert sender.patience() == pytest.approx(0.01)


def test_the_latency_is_learnt_from_the_handshake() -> None:
    driven = Driven()
    driven.sender.datagram_from_caller(handshake(120, 300), driven.now)
    assert driven.carrier.latency == pytest.approx(0.3)
    driven.hears(1, handshake(2000, 0))
    assert driven.carrier.latency == pytest.approx(2.0)
    assert driven.sender.datagrams_to_caller() == [handshake(2000, 0)]
    driven.hears(1, handshake(65535, 0)[:-6])  # cut
    assert driven.carrier.latency == pytest.approx(2.0)


@pytest.mark.parametrize(("learnt", "late"), [(None, True), (2.0, False)])
def test_a_predecessors_latency_decides_what_is_too_late(learnt: float | None, late: bool) -> None:
    driven = Driven(links=1)
    driven.sender.link_failed(1, "the receiver is starting", driven.now)
    if learnt is not None:
        driven.carrier.resume_latency(learnt)
    driven.offers(1, 2)
    driven.after(1.2 * LATENCY)
    assert driven.sender.stats(driven.now)["late"] == (2 if late else 0)
    assert driven.carrier.learnt_latency() == learnt


@pytest.mark.parametrize("supposed", [True, False])
def test_what_was_given_up_after_a_supposed_latency_is_asked_of_the_caller(supposed: bool) -> None:
    driven = Driven(links=1)
    if not supposed:
        driven.carrier.resume_latency(LATENCY)
    driven.sender.link_failed(1, "the receiver is starting", driven.now)
    driven.offers(1, 2, 3)
    driven.after(1.2 * LATENCY)
    driven.sender.link_opened(1, driven.now)
    driven.hears(1, REG3)
    driven.sent()
    driven.offers(4)
    assert driven.sent() == [(1, 4)]
    nak = srt_nak((1, 3))
    driven.hears(1, nak)
    assert driven.sender.datagrams_to_caller() == ([nak] if supposed else [])
    driven.offers(1, 2, 3, again=True)
    assert {sequence for _, sequence in driven.after(0.2)} == ({1, 2, 3} if supposed else set())


def test_a_latency_that_the_user_gave_stays() -> None:
    carrier = Bonding(0.5)
    carrier.resume_latency(2.0)
    assert (carrier.latency, carrier.learnt_latency()) == (0.5, None)


def test_a_new_connection_forgets_the_old_one() -> None:
    driven = Driven()
    driven.offers(*range(50))
    driven.sender.datagram_from_caller(induction(), driven.now)
    driven.sent()
    driven.offers(7)
    driven.after(0.1)
    assert driven.sender.stats(driven.now)["spared"] == 0


def test_a_jump_of_the_sequence_begins_anew() -> None:
    driven = Driven(links=1)
    driven.offers(0, 1)
    driven.offers(Memory.LEAST + 5000)
    assert Memory.LEAST + 5000 in [sequence for _, sequence in driven.after(0.1)]


junk = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda kind, rest: kind.to_bytes(2, "big") + rest,
        st.sampled_from([0x8000, 0x8002, 0x8003, 0x9000, 0x9100, 0x9201, 0x9202, 0x9210, 0x9211]),
        st.binary(max_size=120),
    ),
    st.builds(lambda a, b: srt_nak((a, b)), st.integers(0, 200), st.integers(0, 2**31 - 1)),
    st.builds(
        lambda n, k: wire.build_srtla_ack([n + i for i in range(k)]), st.integers(0, 60), st.integers(1, 10)
    ),
    st.builds(srt_ack, st.integers(0, 60)),
    st.sampled_from([NGP, REG3]),
    st.builds(fec_packet, st.integers(0, 60)),
    st.builds(
        lambda flags, response: handshake(120, 120, flags=flags, response=response),
        st.sampled_from([LIVE, LIVE & ~TLPKTDROP, 0]),
        st.booleans(),
    ),
    st.builds(data_packet, st.one_of(st.integers(0, 60), st.integers(0, 2**31 - 1)), size=st.just(20)),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), junk, st.sampled_from([0.0, 0.001, 0.05, 0.6, 3.0])), max_size=80)
)
def test_no_datagram_breaks_it(steps: list[tuple[int, bytes, float]]) -> None:
    driven = Driven(links=3)
    sender = driven.sender
    for number, data, wait in steps:
        if number == 0:
            sender.datagram_from_caller(data, driven.now)
        else:
            driven.hears(number, data)
        driven.after(wait)
        for link in sender._order:
            model = link.model
            flying = [each.size for each in model.flight.fifo if each.state == FLYING]
            assert model.flight.packets == len(flying)
            assert model.flight.bytes == sum(flying)
            assert len(model.flight.unsure) <= UNSURE_MOST
            assert model.outstanding(driven.now) >= 0
        due = sender.next_timer()
        assert due is None or due > driven.now - 1e-6


def test_a_link_with_nothing_in_flight_is_not_asked_for_what_is_known_to_be_lost() -> None:
    driven = Driven(links=1)
    driven.offers(1)
    driven.sent()
    link = driven.sender._order[0]
    link.model.lost(link.model.flight.fifo[0], driven.now)  # a loss report said so
    asked = []
    for _ in range(9):  # within a second, so each link gets one keepalive in any case
        driven.now += 0.1
        driven.sender.handle_timer(driven.now)
        asked += [data for _, data in driven.sender.datagrams_to_links() if data[:2] == b"\x90\x00"]
        link.unanswered_since = None
    assert (len(asked) <= 1, link.stalled) == (True, False)


# --- what SRT's options ask for ----------------------------------------------------------------------------


def test_fec_packets_pass_and_are_never_repeated_or_spared() -> None:
    driven = Driven(links=1)
    driven.offers(0, 1)
    driven.sender.datagram_from_caller(fec_packet(1), driven.now)
    driven.offers(2)
    assert driven.sent() == [(1, 0), (1, 1), (1, 1), (1, 2)]
    driven.sender.link_failed(1, "unplugged", driven.now)
    driven.comes_back(1)
    assert sorted(driven.after(0.1)) == [(1, 0), (1, 1), (1, 2)]
    driven.sender.datagram_from_caller(fec_packet(1), driven.now)  # one in another dimension
    assert driven.after(0.05) == [(1, 1)]
    assert driven.sender.stats(driven.now)["spared"] == 0


def test_an_ack_that_names_a_fec_packet_is_no_proof_of_a_data_packet_on_another_link() -> None:
    driven = Driven(links=2)
    driven.offers(0)
    ((number, _),) = driven.sent()
    driven.now += 0.04
    driven.acks(3 - number, 0)
    assert known(driven, 0).state == FLYING
    driven.acks(number, 0, 0)  # both went over this one
    assert known(driven, 0).state == ARRIVED
    assert model_of(driven, number).flight.bytes == 0


def test_a_fec_packet_that_the_kernel_refused_is_not_the_loss_of_a_data_packet() -> None:
    driven = Driven(links=1)
    driven.offers(0)
    driven.sender.datagram_from_caller(fec_packet(0), driven.now)
    assert driven.sent() == [(1, 0), (1, 0)]
    driven.sender.not_sent(1, [fec_packet(0)], driven.now)
    driven.after(0.02)
    assert (known(driven, 0).state, known(driven, 0).times) == (FLYING, 1)


WAITS_FOR_EVER = [handshake(1000, 1000, flags=LIVE & ~TLPKTDROP, response=True)]
WAITS_FOR_EVER.append(handshake(0, 0, flags=0, response=True))  # transtype=file


@pytest.mark.parametrize("answer", WAITS_FOR_EVER, ids=["tlpktdrop=0", "file"])
def test_nothing_is_given_up_if_the_server_waits_for_ever(answer: bytes) -> None:
    driven = Driven(links=1)
    driven.hears(1, answer)
    driven.offers(1)
    driven.sent()
    driven.answers(1)
    driven.sender.link_failed(1, "in a tunnel", driven.now)
    driven.offers(*range(2, 100))
    driven.after(9.0)
    assert driven.sender.stats(driven.now)["late"] == 0
    driven.comes_back(1)
    came: set[int] = set()
    for _ in range(100):
        sent = [sequence for _, sequence in driven.after(0.02)]
        came.update(sent)
        if sent:
            driven.acks(1, *sent)
    assert came == set(range(1, 100))
    driven.now += 60.0
    driven.hears(1, srt_nak((50, 50)))  # lost behind the receiver
    assert driven.sent() == [(1, 50)]


def test_the_callers_wish_does_not_count_but_the_servers_answer() -> None:
    driven = Driven(links=1)
    driven.sender.datagram_from_caller(handshake(1000, 1000, flags=LIVE & ~TLPKTDROP), driven.now)
    assert not driven.carrier.keeps_all()
    driven.hears(1, WAITS_FOR_EVER[0])
    assert driven.carrier.keeps_all()
    driven.hears(1, handshake(1000, 1000, response=True))  # another connection's
    driven.sender.link_failed(1, "in a tunnel", driven.now)
    driven.offers(1, 2, 3)
    driven.after(2.0)
    assert driven.sender.stats(driven.now)["late"] == 3


def test_what_was_given_up_is_sent_after_all_if_the_caller_repeats_it_in_time() -> None:
    driven = Driven(links=2)
    driven.carrier.resume_latency(1.0)
    near, far = driven.sender._order
    far.model.path.shortest = 1.2
    far.model.pacer.next_at = driven.now + 9.0
    near.stalled = True
    driven.offers(1)
    driven.after(0.5)
    assert known(driven, 1).fate == GONE  # too late for the far one
    near.stalled = False
    nak = srt_nak((1, 1))
    driven.hears(1, nak)
    assert driven.sender.datagrams_to_caller() == [nak]
    driven.offers(1, again=True)
    assert driven.sent() == [(1, 1)]
    lose(driven, 1)
    assert driven.sent() == [(1, 1)], "its data are there again"


def test_what_was_given_up_is_not_asked_for_again_when_it_is_too_late() -> None:
    driven = Driven(links=1)
    driven.carrier.resume_latency(0.3)
    driven.sender.link_failed(1, "in a tunnel", driven.now)
    driven.offers(1, 2)
    driven.after(0.5)
    driven.comes_back(1)
    driven.hears(1, srt_nak((1, 2)))
    assert driven.sender.datagrams_to_caller() == []
    driven.offers(1, again=True)
    assert driven.sent() == []


# --- sequence numbers, and what is remembered ---------------------------------------------------------------


@pytest.mark.parametrize("back", [Memory.LEAST, 100_000])
def test_a_jump_backwards_beyond_memory_begins_anew(back: int) -> None:
    driven = Driven(links=1)
    driven.offers(200_000, 200_001)
    driven.sent()
    first = 200_001 - back
    driven.offers(first, first + 1)
    assert [sequence for _, sequence in driven.sent()] == [first, first + 1]
    driven.offers(first + 2)
    assert [sequence for _, sequence in driven.after(0.05)] == [first + 2]
    assert driven.sender.stats(driven.now)["spared"] == 0


def test_a_short_jump_backwards_is_a_repeat() -> None:
    driven = Driven(links=1)
    driven.offers(200_000, 200_001)
    driven.offers(200_000, again=True)
    assert [sequence for _, sequence in driven.sent()] == [200_000, 200_001]
    assert driven.sender.stats(driven.now)["spared"] == 1


def test_a_report_about_a_packet_that_many_came_after_is_heeded() -> None:
    """There may be more packets in the latency than are remembered at first."""
    driven = Driven(links=1)
    driven.hears(1, WAITS_FOR_EVER[0])
    driven.offers(0)
    driven.sender.handle_timer(driven.now)
    driven.sent()
    model = model_of(driven, 1)
    model.echoed(
        model.flight.next_index, 0.04, driven.now, mute=False
    )  # it has passed, and is lost behind the link
    driven.sender.link_failed(1, "in a tunnel", driven.now)
    driven.offers(*range(1, Memory.LEAST + 100))
    driven.comes_back(1)
    driven.now += 0.2
    driven.hears(1, srt_nak((0, 0)))
    assert (1, 0) in driven.sent()


def stream_without_srtla_acks(driven: Driven, seconds: float) -> None:
    """A packet each ms over links of 40 ms, a packet of ten is lost; SRT's ACKs are all that comes back."""
    waiting: list[tuple[float, int, bytes]] = []
    for step in range(int(seconds * 1000)):
        if step % 10 != 3:  # the encoder itself leaves them out: nobody ever has them
            driven.offers(step)
        driven.now += 0.001
        driven.sender.handle_timer(driven.now)
        for number, data in driven.sender.datagrams_to_links():
            if data[:2] == b"\x90\x00":
                waiting.append((driven.now + 0.04, number, data))
        while waiting and waiting[0][0] <= driven.now:
            driven.hears(waiting[0][1], waiting.pop(0)[2])
        if step > 50 and step % 10 == 0:
            driven.hears(1, srt_ack(step - 45, stamp=step))


def test_memory_is_bounded_without_srtla_acks() -> None:
    driven = Driven(links=2)
    stream_without_srtla_acks(driven, 6.0)
    stats = driven.sender.stats(driven.now)
    assert (stats["late"], stats["held"], stats["evicted"]) == (0, 0, 0)
    assert driven.carrier._memory.size == Memory.LEAST
    for number in (1, 2):
        flight = model_of(driven, number).flight
        assert len(flight.fifo) < 200
        assert flight.packets < 100
        assert len(flight.unsure) <= UNSURE_MOST


@pytest.mark.parametrize("mute", [True, False])
def test_echoes_prove_arrival_if_no_srtla_acks_come(mute: bool) -> None:
    driven = Driven(links=1)
    for step in range(MUTE + 1):
        driven.offers(step)
        driven.sender.handle_timer(driven.now)
        driven.answers(1)
        driven.now += 0.04
        if not mute and step == 9:
            driven.acks(1, *range(10))
        driven.hears(1, srt_ack(step + 1, stamp=step))
    rate = model_of(driven, 1).rate
    delivered, asked = rate.delivered, 0
    for step in range(MUTE + 1, MUTE + 6):
        driven.offers(step)
        driven.sent()
        driven.now += 0.03
        driven.sender.handle_timer(driven.now)
        asked += len(driven.answers(1))
    assert (rate.delivered - delivered >= 5 * len(data_packet(0))) is mute
    assert (asked >= 4) is mute


# --- links --------------------------------------------------------------------------------------------------


def test_what_a_link_swallows_goes_another_way_and_what_is_smaller_stays() -> None:
    driven = Driven(links=2)
    driven.offers(*range(6))
    on_first = {sequence for number, sequence in driven.sent() if number == 1}
    driven.sender.datagram_from_caller(data_packet(6, size=400), driven.now)
    send(driven, 6, 1)
    driven.sent()
    limit(driven, 1, 1000)
    assert {(2, sequence) for sequence in on_first} == set(driven.sent())
    assert known(driven, 6).state == FLYING
    assert model_of(driven, 1).flight.packets == 1


@pytest.mark.parametrize("passes", [False, True])
def test_what_is_missing_is_lost_on_a_link_over_which_nothing_so_large_has_passed(passes: bool) -> None:
    """Such a link may swallow it again, so the packet waits for another. On a proven link it may be late."""
    driven = Driven(links=2)
    driven.offers(*range(6))
    of_first = [sequence for number, sequence in driven.sent() if number == 1]
    if passes:
        driven.sender._links[1].passing.acknowledged(wire.MTU)
    missing = of_first[1]
    driven.now += 0.03
    driven.hears(2, srt_nak((missing, missing)))
    assert missing not in {sequence for _, sequence in driven.sent()}
    driven.now += 0.025  # more than a round trip of 40 ms after it left
    model_of(driven, 2).pacer.next_at = driven.now + 0.004
    driven.hears(2, srt_nak((missing, missing), stamp=1))
    assert missing not in {sequence for _, sequence in driven.sent()}
    assert known(driven, missing).state == (FLYING if passes else LOST)
    assert (2, missing) in driven.after(0.01)
    driven.now += 0.2
    driven.sender.handle_timer(driven.now)
    assert (max(driven.answers(1)) > 1000) is not passes  # whether it is asked what passes


def test_a_limited_link_is_given_what_fits() -> None:
    driven = Driven(links=2)
    limit(driven, 1, 1000)
    driven.offers(*range(20))
    assert {number for number, _ in driven.after(0.03)} == {2}
    for sequence in range(20, 40):
        driven.sender.datagram_from_caller(data_packet(sequence, size=400), driven.now)
    assert 1 in {number for number, _ in driven.after(0.03)}
    limit(driven, 1, wire.MTU)
    driven.offers(*range(40, 60))
    assert 1 in {number for number, _ in driven.after(0.03)}


@pytest.mark.parametrize(("count", "asked"), [(ACK_BATCH - 1, False), (ACK_BATCH, True)])
def test_a_link_is_asked_what_passes_only_if_an_ack_should_have_come(count: int, asked: bool) -> None:
    driven = Driven(links=1)
    driven.offers(*range(count))
    driven.after(0.02)
    sizes = []
    for _ in range(8):
        driven.now += 0.1
        driven.sender.handle_timer(driven.now)
        sizes += driven.answers(1, longest=100)
    assert sizes
    assert (max(sizes) == len(data_packet(0))) is asked


def test_the_model_survives_a_re_join() -> None:
    driven = Driven(links=1)
    model = model_of(driven, 1)
    for first in range(0, 200, 10):
        driven.offers(*range(first, first + 10))
        sent = [sequence for _, sequence in driven.after(0.05)]
        driven.acks(1, *sent)
    rate, shortest = model.rate.rate, model.path.shortest
    assert rate > 0
    driven.sender.link_failed(1, "another cell", driven.now)
    assert model.flight.packets == 0
    driven.after(5.0)
    driven.comes_back(1)
    assert (model.rate.rate, model.path.shortest) == (rate, shortest)
    driven.offers(*range(200, 220))
    assert driven.after(0.05)
    driven.sender.link_failed(1, "gone", driven.now)
    driven.after(11.0)
    driven.comes_back(1)
    assert (model.rate.rate, model.control.startup) == (0.0, True)


def test_an_encoder_may_say_which_packets_are_of_a_keyframe() -> None:
    """As it must where the stream is encrypted."""
    driven = Driven()
    driven.offers(0)
    driven.sender.datagram_from_caller(b"\xc1\0\0\0\x32", driven.now)
    driven.offers(1)
    driven.now += 0.051
    driven.offers(2)
    assert [known(driven, sequence).important for sequence in range(3)] == [False, True, False]
    assert driven.sender.ignored == 0
    assert driven.sender.stats(driven.now)["keyframes"] == 1
    assert sorted(sequence for _, sequence in driven.sent()) == [0, 1, 2]
