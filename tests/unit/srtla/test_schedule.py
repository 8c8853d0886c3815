"""The classic rule: the link with the most free window per packet."""

from __future__ import annotations

import pytest

from netbond.srtla.schedule import Bond, Capacity, Carrier, ClassicScheduler, LinkState, Outlet


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


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [
        ((3000, 1), (3001, 1), 0),  # 1500 each: whole numbers are compared, and the first of equals wins
        ((3000, 1), (3002, 1), 1),
        ((6000, 2), (4000, 0), 1),  # 2000 and 4000
        ((4000, 1), (9000, 3), 1),  # 2000 and 2250; with one more in flight each, 1333 and 1800
        ((3000, 0), (8000, 2), 0),  # 3000 and 2666; with one more in flight each, 1500 and 2000
        ((0, 5), (0, 9), 0),  # nothing free at all: one of them nevertheless
    ],
)
def test_classic_scores(first: tuple[int, int], second: tuple[int, int], chosen: int) -> None:
    links = [
        LinkState(n, window=window, in_flight=in_flight, usable=True)
        for n, (window, in_flight) in enumerate((first, second))
    ]
    assert ClassicScheduler().choose(links, 1316, 0.0) is links[chosen]


def test_a_link_with_room_for_one_packet_is_not_full_and_priority_is_stronger_than_any_window() -> None:
    low, high = LinkState(0, window=60000, usable=True), LinkState(1, window=1000, usable=True, priority=1)
    assert ClassicScheduler().choose([low, high], 1316, 0.0) is high
    high.window = 999
    assert ClassicScheduler().choose([low, high], 1316, 0.0) is low
    low.window, high.window, high.priority, low.priority = 60000, 1000, 100, 99
    assert ClassicScheduler().choose([low, high], 1316, 0.0) is high


def test_a_window_grows_only_on_a_link_that_uses_it() -> None:
    link = LinkState(0, window=3000, usable=True, in_flight=3)
    ClassicScheduler().acknowledged(link, [])
    assert link.window == 3000, "just full"
    link.in_flight = 4
    ClassicScheduler().acknowledged(link, [])
    assert link.window == 3029


def test_no_link_is_none() -> None:
    assert ClassicScheduler().choose([], 1316, 0.0) is None


def test_what_a_mode_leaves_out() -> None:
    carrier, outlet = Carrier(), Outlet()
    carrier.connect(outlet)
    assert carrier._outlet is outlet
    assert (carrier.keeps_all(), carrier.patience()) == (False, 0.0)
    assert carrier.capacity(LinkState(0), 0.0) is None
    assert carrier.advised(0.0) is None


def test_figures_of_a_link_and_of_a_bond() -> None:
    link, bond = Capacity(1.0, "measured", 2.0, 3.0), Bond(4.0, 5.0, 6.0, 7.0)
    assert (link.bits_per_second, link.certainty, link.age_s, link.queued_s) == (1.0, "measured", 2.0, 3.0)
    assert (bond.advised, bond.capacity, bond.queued_s, bond.latency_s) == (4.0, 5.0, 6.0, 7.0)
