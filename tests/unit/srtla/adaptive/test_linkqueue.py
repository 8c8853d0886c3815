"""The queue in a link: what goes in, what its rate has let out since, and what proved wrong about that."""

from __future__ import annotations

import pytest

from netbond.srtla.adaptive.linkqueue import LinkQueue


def test_what_enters_waits_for_what_is_there() -> None:
    queue = LinkQueue(100.0)
    assert queue.waits(100.0) == 0.0
    for _ in range(3):
        queue.enter(queue.waits(100.0), 0.01, 100.0)
    assert queue.waits(100.0) == pytest.approx(0.03)
    assert queue.waits(100.02) == pytest.approx(0.01)
    assert queue.waits(101.0) == 0.0
    queue.enter(queue.waits(101.0), 0.01, 101.0)  # it was empty for a while: that is not made up for
    assert queue.waits(101.0) == pytest.approx(0.01)


def test_a_link_quicker_than_believed_lets_its_queue_shrink_once_for_each_packet() -> None:
    queue = LinkQueue(100.0)
    marks = [queue.enter(queue.waits(100.0), 0.01, 100.0) for _ in range(10)]
    queue.waited(marks[9], 0.04)  # 0.09 were expected
    assert queue.waits(100.0) == pytest.approx(0.05)
    queue.waited(marks[9], 0.04)  # known by now
    queue.waited(marks[5], 0.03)
    assert queue.waits(100.0) == pytest.approx(0.05)


def test_a_packet_that_waited_longer_changes_nothing() -> None:
    queue = LinkQueue(100.0)
    mark = queue.enter(0.0, 0.01, 100.0)
    queue.waited(mark, 1.0)
    assert queue.waits(100.0) == pytest.approx(0.01)
