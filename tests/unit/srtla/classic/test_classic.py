"""The carrier of the classic mode."""

from __future__ import annotations

import random

from netbond.srtla.classic.classic import Classic
from netbond.srtla.link import Link
from netbond.srtla.schedule import WINDOW_DOWN, WINDOW_START, WINDOW_UP
from netbond.srtla.sender import Sender
from tests.srtla_util import data_packet, induction, srt_control


class Sent:
    """What the carrier sends, through a sender: (link, datagram)."""

    def __init__(self, carrier: Classic) -> None:
        self.sender = Sender(random.Random(1).randbytes, carrier, 0.0)

    def taken(self) -> list[tuple[int, bytes]]:
        return self.sender.datagrams_to_links()


def carrier(links: int = 2) -> tuple[Classic, Sent, list[Link]]:
    made = Classic()
    sent = Sent(made)
    states = [Link(number, usable=True) for number in range(1, links + 1)]
    made.set_links(states)
    return made, sent, states


def test_packets_go_out_at_once_over_the_emptiest_link() -> None:
    made, sent, links = carrier()
    for number in range(4):
        made.data(number, data_packet(number), 0.0, again=False)
    assert [link for link, _ in sent.taken()] == [1, 2, 1, 2]
    assert [link.in_flight for link in links] == [2, 2]
    assert (made.next_timer(), made.learnt_latency(), made.stats()) == (
        None,
        None,
        {"resent": 0, "dropped": 0},
    )


def test_without_any_link_packets_are_dropped_and_counted() -> None:
    made, sent, links = carrier(1)
    links[0].usable = False
    made.data(1, data_packet(1), 0.0, again=False)
    made.control(induction(), 0.0)
    assert sent.taken() == []
    assert made.stats()["dropped"] == 2


def test_acks_free_a_link_and_widen_its_window() -> None:
    made, _, links = carrier(1)
    links[0].window = 1000
    for number in range(3):
        made.data(number, data_packet(number), 0.0, again=False)
    made.srtla_ack(links[0], [0, 7], 0.1)
    assert links[0].in_flight == 2
    assert links[0].window == 1000 + WINDOW_UP + 2
    made.srt_ack(links[0], 3, 0.2)
    assert links[0].in_flight == 0


def test_a_loss_report_shrinks_the_window_and_reaches_the_caller() -> None:
    made, _, links = carrier(1)
    made.data(5, data_packet(5), 0.0, again=False)
    assert made.srt_nak([(5, 5)], 0.1)
    assert (links[0].lost, links[0].window, links[0].in_flight) == (1, WINDOW_START - WINDOW_DOWN, 0)
    links[0].rtt = 0.2
    made.data(5, data_packet(5, again=True), 0.2, again=True)
    made.srt_nak([(5, 5)], 0.25)  # written before the repeat could arrive
    assert links[0].lost == 1
    made.srt_nak([(5, 5)], 0.31)
    assert links[0].lost == 2


def test_the_packets_of_a_dead_link_go_out_again_over_another() -> None:
    made, sent, links = carrier()
    for number in range(4):
        made.data(number, data_packet(number), 0.0, again=False)
    sent.taken()
    links[0].usable = False
    made.link_down(links[0], 1.0)
    assert sent.taken() == [(2, data_packet(0)), (2, data_packet(2))]
    assert (links[0].in_flight, links[1].in_flight, made.resent) == (0, 4, 2)


def test_what_a_link_swallows_goes_out_again_over_another() -> None:
    made, sent, links = carrier()
    for number, size in enumerate([1316, 1316, 188, 1316]):
        made.data(number, data_packet(number, size=size), 0.0, again=False)
    sent.taken()
    links[0].largest = 1000
    made.link_limited(links[0], 1.0)
    assert sent.taken() == [(2, data_packet(0))], "the small one may have arrived"
    assert links[0].lost == 1
    links[1].largest = 1000
    made.link_limited(links[1], 2.0)
    assert sent.taken() == [], "no other link has room for these"


def test_the_receiver_names_what_has_passed_a_link() -> None:
    made, _, links = carrier()
    for link in links:
        link.passing.sent(1332, 0.0)
    for number in range(2):
        made.data(number, data_packet(number), 0.0, again=False)
    made.srtla_ack(links[0], [0, 1], 0.1)  # packet 1 went over the other link
    assert (links[0].passing.probe(1.0), links[1].passing.probe(1.0)) == (0, 1332)


def test_the_packets_of_a_stalled_link_wait_if_all_are_stalled() -> None:
    made, sent, links = carrier()
    made.data(0, data_packet(0), 0.0, again=False)
    sent.taken()
    links[0].stalled = links[1].stalled = True
    made.link_stalled(links[0], 1.0)
    assert sent.taken() == []
    links[1].stalled = False
    made.link_stalled(links[0], 1.0)
    assert sent.taken() == [(2, data_packet(0))]


def test_a_link_that_comes_up_takes_what_is_stranded() -> None:
    made, sent, links = carrier(1)
    made.data(0, data_packet(0), 0.0, again=False)
    links[0].usable = False
    made.link_down(links[0], 1.0)
    sent.taken()
    links[0].usable = True
    links[0].window = 5000
    made.link_up(links[0], 2.0)
    assert sent.taken() == [(1, data_packet(0))]
    assert links[0].window == WINDOW_START


def test_a_full_buffer_sends_the_packet_by_another_link() -> None:
    made, sent, links = carrier()
    made.data(0, data_packet(0), 0.0, again=False)
    sent.taken()
    made.not_sent(links[0], [data_packet(0), data_packet(9), srt_control(0x8000)], 0.1)
    assert sent.taken() == [(2, data_packet(0))]
    made.not_sent(links[0], [data_packet(0)], 0.1)  # it is the other link's now
    assert sent.taken() == []
    links[0].usable = False
    made.not_sent(links[1], [data_packet(0)], 0.2)
    assert sent.taken() == []
    assert links[1].in_flight == 0


def test_a_filter_packet_passes_and_leaves_the_data_packet_of_its_number_on_record() -> None:
    made, sent, links = carrier()
    fec = bytearray(data_packet(0, size=1456))
    fec[4:8] = bytes.fromhex("c0000000")
    made.data(0, data_packet(0), 0.0, again=False)
    made.data(0, bytes(fec), 0.0, again=False)
    assert sorted(sent.taken()) == [(1, data_packet(0)), (2, bytes(fec))]
    links[0].usable = False
    made.link_down(links[0], 1.0)
    assert sent.taken() == [(2, data_packet(0))]
    links[1].usable = False
    made.data(0, bytes(fec), 2.0, again=False)
    assert made.stats()["dropped"] == 1


def test_numbers_that_jump_far_back_begin_anew() -> None:
    made, sent, links = carrier(1)
    for number in (50_000, 50_001):
        made.data(number, data_packet(number), 0.0, again=False)
    made.data(7, data_packet(7, again=True), 0.1, again=True)  # an old packet, asked for again
    assert links[0].in_flight == 2
    made.data(7, data_packet(7), 0.2, again=False)
    assert links[0].in_flight == 1
    made.srt_ack(links[0], 8, 0.3)
    assert links[0].in_flight == 0
    assert len(sent.taken()) == 4


def test_a_new_connection_has_nothing_in_flight() -> None:
    made, sent, links = carrier(1)
    made.data(0, data_packet(0), 0.0, again=False)
    made.control(induction(), 1.0)
    assert links[0].in_flight == 0
    assert sent.taken()[-1] == (1, induction())
    made.handshake(b"")
    made.resume_latency(1.0)
    made.echo(links[0], 0.1, 0, 1.0)
    made.flush()
    made.handle_timer(2.0)
    assert sent.taken() == [], "it has no use for any of these"
