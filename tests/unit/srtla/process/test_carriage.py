"""The sender's packet path, with a state machine behind it and no sockets."""

from __future__ import annotations

import random
import time
from typing import Any

from netbond.srtla import wire
from netbond.srtla.classic.classic import Classic
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.process.carriage import Carriage
from netbond.srtla.process.wakeup import LISTENER, Report
from netbond.srtla.sender import Sender
from netbond.srtla.senderevents import LinkAdded
from tests.srtla_util import data_packet


class Sockets:
    """What Carriage sends to, with errors to order."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.error = 0
        self.odd: list[Report] = []
        self.looked = 0
        self.answers: list[bytes] = []

    def send(
        self, descriptors: dict[int, int], datagrams: list[tuple[int, bytes]]
    ) -> list[tuple[int, int, list[bytes]]]:
        """With an error, the first of link 1 leaves."""
        taken = datagrams[:1] if self.error else datagrams
        self.sent += [(descriptors[link], data) for link, data in taken]
        return [(1, self.error, [data for _, data in datagrams[1:]])] if self.error else []

    def look_after(self, reports: list[Report], now: float) -> None:
        self.odd += reports
        self.looked += 1


def up(sockets: Sockets) -> tuple[Carriage, Sender]:
    """A sender with one link, number 1, that is up, on descriptor 7."""
    sender = Sender(random.Random(1).randbytes, Classic(), 0.0, group=bytes(256))
    carriage = Carriage(sender, sockets.send, sockets.look_after, sockets.answers.extend)
    sender.set_links([LinkSpec("usb0", "10.0.0.10")], 0.0)
    assert carriage.flush(0.0)
    assert [type(event) for event in carriage.events] == [LinkAdded]
    carriage.open(1, 7)
    sender.link_opened(1, 0.0)
    assert carriage.take([(7, b"", wire.REG3_PACKET, 0)], 0.1) == []
    while carriage.flush(0.1):
        carriage.events.clear()
    sockets.sent.clear()
    return carriage, sender


def test_datagrams_go_from_the_caller_to_a_link_and_back() -> None:
    sockets = Sockets()
    carriage, sender = up(sockets)
    carriage.caller = b"caller"
    packets = [data_packet(number) for number in range(3)]
    assert carriage.take([(LISTENER, b"caller", data, 0) for data in packets], 1.0) == []
    assert carriage.caller_heard == 1.0
    assert not carriage.flush(1.0)
    assert sockets.sent == [(7, data) for data in packets]
    answer = b"\x80\x01" + bytes(14)
    assert carriage.take([(7, b"", answer, 0), (99, b"", answer, 0)], 1.1) == []
    assert sender.datagrams_to_caller() == [answer]


def test_one_call_takes_in_sends_and_answers() -> None:
    sockets = Sockets()
    carriage, _ = up(sockets)
    carriage.caller = b"caller"
    packets = [data_packet(number) for number in range(3)]
    answer = b"\x80\x01" + bytes(14)
    reports = [(LISTENER, b"caller", data, 0) for data in packets] + [(7, b"", answer, 0)]
    carriage.take_reports(reports, [], 1.0)
    assert sockets.sent == [(7, data) for data in packets]
    assert (sockets.answers, sockets.odd, sockets.looked) == ([answer], [], 0)
    sockets.sent.clear()
    carriage.on_alarm(2.0)  # a keepalive, and whether the link has fallen silent
    assert {wire.packet_type(data) for _, data in sockets.sent} == {wire.KEEPALIVE}
    assert 2.0 < carriage.next_alarm() <= 2.1


def test_a_caller_that_the_kernel_knows_is_answered_directly() -> None:
    sockets = Sockets()
    carriage, _ = up(sockets)
    answered: list[tuple[int, bytes, bytes, list[bytes]]] = []

    def send_to(*what: Any) -> int:
        answered.append(what)
        return 0

    answer = b"\x80\x01" + bytes(14)
    carriage.send_to = send_to
    carriage.take_reports([(7, b"", answer, 0)], [], 1.0)
    assert sockets.answers == [answer]
    carriage.listener, carriage.caller = 5, b"caller"
    carriage.caller_name, carriage.caller_control = b"name", b"control"
    carriage.take_reports([(7, b"", answer, 0)], [], 1.1)
    assert sockets.answers == [answer] * 2, "it may be for another who would like to be the caller"
    del sockets.answers[1:]
    carriage.unsettled = False
    carriage.take_reports([(7, b"", answer, 0)], [], 1.1)
    assert answered == [(5, b"name", b"control", [answer])]
    assert sockets.answers == [answer]


def test_what_is_not_plain_is_looked_after_before_anything_leaves() -> None:
    sockets = Sockets()
    carriage, _ = up(sockets)
    odd: list[Report] = [(LISTENER, b"stranger", data_packet(1), 0), (7, b"", b"", 111)]
    carriage.take_reports(odd, [], 1.0)
    assert sockets.odd == odd
    sockets.error = 105
    carriage.caller = b"caller"
    sockets.looked = 0
    carriage.take_reports([(LISTENER, b"caller", data_packet(n), 0) for n in range(2)], [], 1.0)
    assert sockets.looked >= 1
    assert carriage.failures == [(1, 105, [data_packet(1)])]


def test_strangers_errors_and_long_datagrams_are_not_taken() -> None:
    carriage, sender = up(Sockets())
    carriage.caller = b"caller"
    odd = [(LISTENER, b"stranger", data_packet(1), 0), (7, b"", b"", 111)]
    assert carriage.take([*odd, (LISTENER, b"caller", bytes(wire.MTU + 1), 0)], time.monotonic()) == odd
    assert sender.packets == 0


def test_the_word_of_a_keyframe_is_looked_after_before_the_packets_that_follow_it() -> None:
    sockets = Sockets()
    carriage, sender = up(sockets)
    carriage.caller = b"caller"
    before: list[int] = []
    carriage.look_after = lambda reports, now: before.append(sender.packets)
    word = (LISTENER, b"encoder", b"\xc1\0\0\0\x32", 0)
    packets: list[Report] = [(LISTENER, b"caller", data_packet(number), 0) for number in range(2)]
    assert carriage.take([packets[0], word, packets[1]], 1.0) == []
    assert before == [1]
    assert sender.packets == 2


def test_the_stream_comes_after_what_is_reported() -> None:
    sockets = Sockets()
    carriage, sender = up(sockets)
    carriage.caller = b"caller"
    before: list[int] = []
    carriage.look_after = lambda reports, now: before.append(sender.packets)
    packets = [data_packet(number) for number in range(3)]
    carriage.take_reports([(LISTENER, b"encoder", b"\xc1\0\0\0\x32", 0)], packets, 1.0)
    carriage.take_reports([], [data_packet(3)], 1.5)
    assert before == [0], "a keyframe's announcement is about the packets that follow it"
    assert (carriage.caller_heard, sender.packets) == (1.5, 4)
    assert sockets.sent == [(7, data) for data in [*packets, data_packet(3)]]


def test_what_a_socket_does_not_take_is_handed_back() -> None:
    sockets = Sockets()
    carriage, _ = up(sockets)
    carriage.caller = b"caller"
    packets = [data_packet(number) for number in range(3)]
    sockets.error = 105
    carriage.take([(LISTENER, b"caller", data, 0) for data in packets], 1.0)
    assert carriage.flush(1.0)
    assert carriage.failures == [(1, 105, packets[1:])]
    carriage.close(1)
    assert carriage.take([(7, b"", b"\x80\x01" + bytes(14), 0)], 1.0) == []
