"""The adaptive mode, packet by packet: what is held, sent, repeated and kept from the SRT caller."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla import wire
from netbond.srtla.adaptive.bonding import LATENCY, RING, Bonding
from netbond.srtla.adaptive.dealing import Packet
from netbond.srtla.adaptive.linkmodel import ARRIVED, FLYING, LOST
from tests.srtla_util import data_packet, induction, srt_ack, srt_nak
from tests.unit.srtla.adaptive.driven import Driven, handshake, lose

NGP = wire.REG_NGP_PACKET
REG3 = wire.REG3_PACKET
TOP = wire.SEQUENCE_MASK


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


@pytest.mark.parametrize(("latency", "reported"), [(100, [(1, 1)]), (1000, [])])
def test_a_loss_report_proves_what_was_overtaken_on_its_link(
    latency: int, reported: list[tuple[int, int]]
) -> None:
    """With more time the link's own ACK says so, and more surely."""
    driven = Driven(links=1)
    driven.sender.datagram_from_caller(handshake(latency, latency), driven.now)
    driven.offers(0, 1, 2)
    driven.sent()
    driven.now += 0.045
    driven.hears(1, srt_nak((1, 1)))  # 2 is there
    assert driven.sent() == reported
    driven.now += 0.02
    driven.hears(1, srt_nak((1, 1)))  # from before the repeat can have come
    assert driven.sent() == []


@pytest.mark.parametrize(
    ("waited", "latency", "waiting", "copied"),
    [
        (0.06, 120, False, True),
        (0.03, 120, False, False),  # when the report was made, it was still on its way
        (0.06, 1000, False, False),  # its link will say what has become of it
        (0.06, 120, True, False),  # a copy would take another one's place
    ],
)
def test_what_ought_to_be_there_and_is_not_is_copied_if_proof_would_come_too_late(
    waited: float, latency: int, waiting: bool, copied: bool
) -> None:
    driven = Driven()
    driven.sender.datagram_from_caller(handshake(latency, latency), driven.now)
    driven.offers(*range(14))
    out = driven.sent()
    driven.now += 0.04
    for number in (1, 2):
        driven.acks(number, *(sequence for link, sequence in out if link == number))
    driven.offers(20)
    ((link, _),) = driven.sent()
    driven.now += waited
    if waiting:
        driven.carrier._held.append(Packet(21, data_packet(21), driven.now))
    driven.hears(1, srt_nak((20, 20)))
    copies = [number for number, sequence in driven.sent() if sequence == 20]
    assert copies == ([3 - link] if copied else [])


def test_a_loss_report_proves_nothing_where_another_link_was_faster_or_packets_get_mixed_up() -> None:
    driven = Driven(links=2)
    driven.sender.datagram_from_caller(handshake(100, 100), driven.now)
    driven.offers(0, 1)
    assert sorted(driven.sent()) == [(1, 0), (2, 1)]
    driven.now += 0.045
    driven.hears(2, srt_nak((0, 0)))
    assert driven.sent() == []

    driven = Driven(links=1)
    driven.sender.datagram_from_caller(handshake(100, 100), driven.now)
    driven.offers(*range(10))
    driven.after(0.02)
    driven.acks(1, 5, 6, 7, 8, 9)
    assert [sequence for _, sequence in driven.sent()] == [0, 1, 2, 3, 4]
    driven.acks(1, 0, 1, 2, 3, 4)  # they were only late
    driven.now += 0.1
    driven.offers(20, 21)
    driven.sent()
    driven.now += 0.045
    driven.hears(1, srt_nak((20, 20)))
    assert driven.sent() == []


def test_a_round_trip_is_not_measured_from_a_copy_that_left_later() -> None:
    driven = Driven(links=1)
    carrier = driven.carrier
    driven.offers(*range(10))
    driven.after(0.02)
    model = carrier._links[0].model
    driven.now += 0.05
    packet = carrier._ring[9]
    assert packet is not None
    carrier._send(packet, model, driven.now)
    driven.now += 0.005
    driven.acks(1, *range(10))  # of the first transmission
    assert model.min_rtt >= 0.04
    first = packet.transmission.before if packet.transmission is not None else None
    assert first is not None
    assert first.state == ARRIVED
    assert packet.transmission is not None
    assert packet.transmission.state == FLYING
    driven.now += 0.05
    driven.acks(1, 9)  # of the second
    assert packet.transmission.state == ARRIVED


def test_a_copy_that_arrives_after_the_first_was_lost_is_the_copy() -> None:
    driven = Driven(links=1)
    carrier = driven.carrier
    driven.offers(*range(10))
    driven.after(0.02)
    lose(driven, 9)
    driven.sent()
    packet = carrier._ring[9]
    assert packet is not None
    assert packet.times == 2
    driven.now += 0.05
    driven.acks(1, 9)
    assert packet.transmission is not None
    assert packet.transmission.state == ARRIVED
    assert packet.transmission.before is not None
    assert packet.transmission.before.state == LOST


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
    driven.offers(RING + 5000)
    assert RING + 5000 in [sequence for _, sequence in driven.after(0.1)]


def test_srt_acks_clear_what_no_link_has_acknowledged() -> None:
    driven = Driven()
    driven.offers(*range(6))
    driven.now += 0.05
    driven.hears(1, srt_ack(6))
    driven.after(0.05)
    assert [link["in_flight"] for link in driven.sender.stats(driven.now)["links"]] == [0, 0]
    assert driven.sender.datagrams_to_caller() == [srt_ack(6)]


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
            assert model.packets == sum(each.state == 0 for each in model.fifo)
            assert model.in_flight == sum(each.size for each in model.fifo if each.state == 0)
            assert model.outstanding(driven.now) >= 0
        due = sender.next_timer()
        assert due is None or due > driven.now - 1e-6


def test_an_srt_ack_over_a_near_link_does_not_empty_a_far_one_before_its_time() -> None:
    driven = Driven()
    near, far = (link.model for link in driven.sender._order)
    for model, round_trip in ((near, 0.04), (far, 0.4)):
        model.startup, model.rate = False, 1_000_000.0
        model.min_rtt = model.least_rtt = model.srtt = round_trip
    driven.offers(*range(1, 7))
    for packet in list(driven.carrier._held):  # half of them over the far one
        driven.carrier._held.remove(packet)
        driven.carrier._send(packet, (near, far)[packet.sequence % 2], driven.now)
    driven.sent()
    driven.now += 0.23
    driven.hears(1, srt_ack(7))
    assert (near.packets, far.packets) == (0, 3)
    driven.after(0.16)
    assert far.packets == 3
    driven.after(0.04)
    assert (far.packets, far.in_flight, far.lost) == (0, 0, 0)
    assert driven.sender.next_timer() is None or not driven.sent()


def test_a_link_that_goes_while_srt_has_its_packets_leaves_nothing_in_flight() -> None:
    driven = Driven()
    far = driven.sender._order[1].model
    far.startup, far.rate, far.least_rtt, far.min_rtt = False, 1_000_000.0, 0.4, 0.4
    driven.offers(1, 2)
    for packet in list(driven.carrier._held):
        driven.carrier._held.remove(packet)
        driven.carrier._send(packet, far, driven.now)
    driven.sent()
    driven.now += 0.23
    driven.hears(1, srt_ack(2))
    driven.sender.link_failed(2, "unplugged", driven.now)
    assert (far.packets, far.in_flight) == (0, 0)
    assert driven.sent() == [(1, 2)]  # the one that SRT does not have


def test_a_stalled_link_is_measured_again_a_round_trip_after_its_return() -> None:
    driven = Driven()
    link = driven.sender._order[0]
    driven.offers(1)
    driven.sent()
    link.stalled = True
    driven.after(0.05)
    assert link.model.measured_from >= driven.now - 0.02 + link.model.min_rtt


def test_a_link_with_nothing_in_flight_is_not_asked_for_what_is_known_to_be_lost() -> None:
    driven = Driven(links=1)
    driven.offers(1)
    driven.sent()
    link = driven.sender._order[0]
    link.model.done(link.model.fifo[0], LOST, driven.now)  # a loss report said so
    asked = []
    for _ in range(9):  # within a second, so each link gets one keepalive in any case
        driven.now += 0.1
        driven.sender.handle_timer(driven.now)
        asked += [data for _, data in driven.sender.datagrams_to_links() if data[:2] == b"\x90\x00"]
        link.unanswered_since = None
    assert (len(asked) <= 1, link.stalled) == (True, False)
