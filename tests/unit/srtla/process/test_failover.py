"""Which of several receivers is used, and when the first one is again."""

from __future__ import annotations

from netbond.srtla.process.failover import (
    CALLER_GONE_S,
    PROBE_INTERVAL_S,
    QUICK_PROBE_S,
    RETURN_ANSWERS,
    SETTLED_S,
    Failover,
)


def settled(count: int, now: float = 0.0) -> Failover:
    """The first has failed for good, and the second is up."""
    failover = Failover(count, now - SETTLED_S)
    failover.failed(now - SETTLED_S, silent=False)
    failover._probe_at = now + PROBE_INTERVAL_S
    return failover


def probed(failover: Failover, now: float, *, answered: bool) -> float:
    """Let the time of the next probe come; the time then."""
    now += PROBE_INTERVAL_S
    assert failover.probe_due(now)
    if answered:
        failover.answered()
    return now


def test_one_receiver_is_all_there_is() -> None:
    failover = Failover(1, 0.0)
    assert not failover.failed(10.0)
    assert failover.at == 0
    assert not failover.probe_due(1000.0)
    assert not failover.returns(0.0, 1000.0)


def test_the_next_is_tried_when_one_fails_and_the_first_after_the_last() -> None:
    failover = Failover(3, 0.0)
    places = []
    for step in range(4):
        assert failover.failed(10.0 * step)
        places.append(failover.at)
    assert places == [1, 2, 0, 1]


def test_the_first_is_asked_only_while_another_is_used() -> None:
    assert not Failover(2, 0.0).probe_due(100.0)
    failover = settled(2, 100.0)
    assert not failover.probe_due(100.0 + PROBE_INTERVAL_S - 0.1)
    assert failover.probe_due(100.0 + PROBE_INTERVAL_S)
    assert not failover.probe_due(100.0 + PROBE_INTERVAL_S)


def test_the_first_is_used_again_when_it_has_answered_for_a_while_and_no_caller_is_there() -> None:
    failover, now = settled(2), 0.0
    for _ in range(RETURN_ANSWERS):
        assert not failover.returns(0.0, now + 1000.0), "too few answers"
        now = probed(failover, now, answered=True)
    assert not failover.returns(now, now + CALLER_GONE_S - 0.1), "a stream that works is left alone"
    assert failover.at == 1
    assert failover.returns(now, now + CALLER_GONE_S)
    assert failover.at == 0


def test_a_probe_without_an_answer_begins_the_count_anew() -> None:
    failover, now = settled(2), 0.0
    for answered in (True, True, False, True, True):
        now = probed(failover, now, answered=answered)
    assert not failover.returns(0.0, now)
    probed(failover, now, answered=True)
    assert failover.returns(0.0, now)


def test_an_answer_counts_once() -> None:
    failover = settled(2)
    probed(failover, 0.0, answered=True)
    for _ in range(RETURN_ANSWERS):
        failover.answered()  # copies, or forged
    assert not failover.returns(0.0, 1000.0)


def test_when_the_one_in_use_fails_the_first_is_next_if_it_answers() -> None:
    failover = Failover(3, 0.0, at=1)
    probed(failover, 0.0, answered=True)
    assert failover.failed(20.0)
    assert failover.at == 0
    silent = Failover(3, 0.0, at=1)
    probed(silent, 0.0, answered=False)
    assert silent.failed(20.0)
    assert silent.at == 2


def test_after_silence_of_all_links_the_first_that_answers_is_used_again_soon() -> None:
    failover = Failover(2, 0.0)
    failover.failed(10.0)
    assert failover.probe_due(10.0 + QUICK_PROBE_S)
    failover.second(13.0, up=True)  # both answer now; a caller may be there already
    assert not failover.returns(13.0, 13.0)
    assert failover.probe_due(10.0 + 2 * QUICK_PROBE_S)
    failover.answered()
    assert failover.returns(14.0, 14.0)
    assert failover.at == 0


def test_a_first_that_is_silent_while_the_next_works_is_left_for_long() -> None:
    failover = Failover(2, 0.0)
    failover.failed(10.0)
    for second in range(11, 18):
        failover.second(float(second), up=second > 11)
        assert failover.probe_due(float(second)) == (second % 2 == 0)
    assert failover.probe_due(18.0)
    failover.answered()
    assert not failover.returns(0.0, 18.0)
    assert not failover.probe_due(27.0)


def test_a_link_that_comes_and_goes_does_not_settle_it() -> None:
    failover = Failover(2, 0.0)
    failover.failed(10.0)
    for second in range(11, 31):
        failover.second(float(second), up=second % 4 != 0)
    assert failover.probe_due(31.0)
    failover.answered()
    assert failover.returns(31.0, 31.0)


def test_a_first_that_answers_but_takes_no_link_is_not_used_again_soon() -> None:
    failover = Failover(2, 0.0)
    failover.failed(10.0, silent=False)
    assert not failover.probe_due(10.0 + QUICK_PROBE_S)


def test_all_receivers_are_tried_while_none_answers() -> None:
    failover = Failover(3, 0.0)
    for step, place in enumerate((1, 2, 0, 1)):
        assert failover.failed(10.0 * step)
        assert failover.at == place
    assert failover.probe_due(30.0 + QUICK_PROBE_S)
