"""The classic rule: the link with the most free window per packet."""

from __future__ import annotations

import pytest

from netbond.srtla.schedule import ClassicScheduler, LinkState


@pytest.mark.parametrize(
    ("windows", "in_flight", "usable", "stalled", "chosen"),
    [
        ([20000, 20000], [0, 0], [1, 1], [0, 0], 0),  # the first of equals
        ([20000, 20000], [1, 0], [1, 1], [0, 0], 1),
        ([1000, 20000], [0, 9], [1, 1], [0, 0], 1),
        ([60000, 1000], [0, 0], [0, 1], [0, 0], 1),  # never one that is not registered
        ([60000, 1000], [0, 50], [1, 1], [1, 0], 1),  # nor a stalled one, if there is another
        ([60000, 1000], [0, 50], [1, 0], [1, 0], 0),
        ([60000, 1000], [0, 0], [0, 0], [0, 0], None),
    ],
)
def test_classic_choice(
    windows: list[int], in_flight: list[int], usable: list[int], stalled: list[int], chosen: int | None
) -> None:
    links = [
        LinkState(
            n, window=windows[n], in_flight=in_flight[n], usable=bool(usable[n]), stalled=bool(stalled[n])
        )
        for n in range(2)
    ]
    choice = ClassicScheduler().choose(links, 1316, 0.0)
    assert choice is (None if chosen is None else links[chosen])


def test_classic_window() -> None:
    busy, idle, gone = LinkState(0, window=20000), LinkState(1, window=20000), LinkState(2, window=20000)
    busy.usable = idle.usable = True
    scheduler = ClassicScheduler()
    busy.in_flight = 21
    scheduler.acknowledged(busy, [busy, idle, gone])
    assert [link.window for link in (busy, idle, gone)] == [20030, 20001, 20000]
    busy.in_flight = 3
    scheduler.acknowledged(busy, [busy, idle, gone])
    assert [link.window for link in (busy, idle, gone)] == [20031, 20002, 20000]
    for _ in range(500):
        scheduler.lost(busy)
    assert busy.window == 1000
    idle.in_flight = 100
    for _ in range(5000):
        scheduler.acknowledged(idle, [busy, idle, gone])
    assert idle.window == 60000


def test_of_unlike_priority_the_highest_that_is_not_full() -> None:
    low, high, idle = (LinkState(n, window=2000, usable=True) for n in range(3))
    high.priority, idle.priority, idle.enabled = 5, 9, False
    scheduler = ClassicScheduler()
    assert scheduler.choose([low, high, idle], 1316, 0.0) is high
    high.in_flight = 2
    assert scheduler.choose([low, high, idle], 1316, 0.0) is low
    low.in_flight = 5
    assert scheduler.choose([low, high, idle], 1316, 0.0) is high, "both are full: the emptier one"


def test_a_link_that_swallows_packets_of_this_size_is_the_last_choice() -> None:
    small, full, other = (LinkState(n, window=2000, usable=True) for n in range(3))
    small.largest, small.priority, other.usable = 1000, 9, False
    full.in_flight = 50
    scheduler = ClassicScheduler()
    assert scheduler.choose([small, full, other], 1332, 0.0) is full
    assert scheduler.choose([small, full, other], 1000, 0.0) is small
    full.stalled = True
    assert scheduler.choose([small, full, other], 1332, 0.0) is full, "it may come back"
    full.usable = False
    assert scheduler.choose([small, full, other], 1332, 0.0) is small
    other.usable, other.largest, other.in_flight, small.in_flight = True, 1200, 3, 50
    small.priority = 0
    assert scheduler.choose([small, full, other], 1332, 0.0) is other, "of equals the emptiest"


def test_a_link_that_begins_anew_has_the_first_window() -> None:
    link = LinkState(0, window=1000)
    ClassicScheduler().reset(link, 0.0)
    assert link.window == 20000
