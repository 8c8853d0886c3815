"""The front of a receiver with several processes: who gets which stream."""

from __future__ import annotations

import socket
from typing import Any

from netbond.config.schema import ReceiverConfig
from netbond.config.values import HostPort
from netbond.srtla.process.channel import Channel
from netbond.srtla.process.linksocket import open_listener
from netbond.srtla.process.receiving import RecvOptions
from netbond.srtla.receiver.front import CONFIRM_WITHIN_S, Directory, FrontEngine, Worker
from netbond.srtla.statistics import GroupStatistics, ReceiverStatistics

A, B, C = ("192.0.2.1", 1), ("192.0.2.1", 2), ("192.0.2.1", 3)


def workers(count: int) -> list[Worker]:
    made = []
    for number in range(1, count + 1):
        ours, theirs = socket.socketpair()
        theirs.close()
        made.append(Worker(number, Channel(ours.detach()), ours))
    return made


def group(name: bytes, *links: Any) -> dict[str, Any]:
    return {"id": name.hex(), "srt_port": 5, "links": [list(link) for link in links]}


def test_a_group_goes_to_the_worker_with_fewest_and_its_links_follow() -> None:
    one, two = workers(2)
    directory = Directory([one, two])
    assert directory.idlest() is one
    directory.give(one, b"a", A, 5.0)
    assert directory.idlest() is two, "what was just given away counts"
    assert directory.of_group(b"a", 5.0) is one
    assert directory.of_link(A, 5.0) is one
    assert directory.links() == {A: one}
    one.took([group(b"a", A, B)])
    directory.confirmed(5.1)
    assert directory.of_link(B, 500.0) is one
    assert directory.of_group(b"a", 500.0) is one
    one.took([])
    assert directory.of_link(A, 500.0) is None
    for each in (one, two):
        each.channel.close()


def test_what_a_worker_did_not_take_is_forgotten() -> None:
    one, two = workers(2)
    directory = Directory([one, two])
    directory.give(two, b"a", A, 5.0)
    assert directory.of_group(b"a", 5.0 + CONFIRM_WITHIN_S) is None
    assert directory.of_link(A, 5.0 + CONFIRM_WITHIN_S) is None
    directory.confirmed(5.0 + CONFIRM_WITHIN_S)
    assert directory.links() == {}
    assert directory.idlest() is one
    for each in (one, two):
        each.channel.close()


def carrying(bitrate_bps: int) -> ReceiverStatistics:
    group = GroupStatistics("0a", False, 1, 1, 1, bitrate_bps, (), 5)
    return ReceiverStatistics("receiver", "", "", (group,), 0)


def test_of_equals_the_one_with_less_to_do() -> None:
    one, two = workers(2)
    one.took([group(b"a", A)])
    two.took([group(b"b", B)])
    one.stats, two.stats = carrying(8_000_000), carrying(2_000_000)
    assert Directory([one, two]).idlest() is two
    for each in (one, two):
        each.channel.close()


def test_groups_of_a_predecessor_are_known_before_their_workers_say_so() -> None:
    made = workers(2)
    resume = {
        "groups": [group(b"a" * 256, A), group(b"b" * 256, B, C), 5, {"id": "x"}, {"id": "00", "links": 5}]
    }
    with open_listener(HostPort("127.0.0.1", 0), "tests") as listener:
        options = RecvOptions(ReceiverConfig(HostPort("127.0.0.1", 1), HostPort("127.0.0.1", 2), workers=2))
        front = FrontEngine(options, None, resume, listener=listener, secret=bytes(32), workers=made)
    assert front._directory.of_group(b"a" * 256, 5.0) is made[0]
    assert front._directory.of_group(b"b" * 256, 5.0) is made[1]
    assert front._directory.links() == {A: made[0], B: made[1], C: made[1]}
    assert front.resume_data() == {"groups": resume["groups"][:2]}
    for each in made:
        each.channel.close()
