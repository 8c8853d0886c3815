"""The words a user describes a radio link with."""

import pytest

from netbond.errors import UsageError
from netbond.lab.impair import PERFECT, Impairment, parse, to_json


def test_a_bare_key_means_both_directions() -> None:
    up, down = parse(["rate=4", "delay=60", "jitter=20", "loss=1", "queue=200", "off"]).apply(
        PERFECT, PERFECT
    )
    assert up == down == Impairment(rate=4, delay=60, jitter=20, loss=1, queue=200, off=True)


def test_one_direction() -> None:
    up, down = parse(["rate=20", "up.rate=4", "down.loss=0.5"]).apply(PERFECT, PERFECT)
    assert (up.rate, up.loss, down.rate, down.loss) == (4, 0, 20, 0.5)


def test_a_change_keeps_what_it_does_not_name() -> None:
    before = Impairment(rate=4, delay=60, off=True)
    up, down = parse(["on", "up.rate=0"]).apply(before, before)
    assert up == Impairment(rate=0, delay=60)
    assert down == Impairment(rate=4, delay=60)


def test_clear_makes_a_perfect_link_and_later_words_still_count() -> None:
    worst = Impairment(1, 2, 3, 4, 5, 6, 7, True)
    assert parse(["rate=9", "clear", "delay=5"]).apply(worst, worst) == (Impairment(delay=5),) * 2


def test_burst() -> None:
    up, _ = parse(["burst=0.5/25"]).apply(PERFECT, PERFECT)
    assert (up.burst_enter, up.burst_leave) == (0.5, 25)


def test_carrier_is_not_of_the_radio() -> None:
    change = parse(["carrier=off"])
    assert change.carrier is False
    assert not change.touches_radio
    assert parse(["carrier=on", "off"]).touches_radio
    assert parse(["rate=1"]).carrier is None


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("rate=fast", "'rate=fast' is not valid; rate is a number from 0 to 10000 (Mbit/s, 0 for no limit)"),
        ("rate=1e-300", "'rate=1e-300' is not valid"),  # a packet would take longer than a float can say
        ("rate=-1", "'rate=-1' is not valid"),
        ("rate=nan", "'rate=nan' is not valid"),
        ("delay=inf", "'delay=inf' is not valid"),
        ("up.loss=101", "'up.loss=101' is not valid; loss is a number from 0 to 100 (%)"),
        ("queue=1", "'queue=1' is not valid; queue is a number from 2"),
        ("burst=5", "'burst=5' is not valid; burst is ENTER/LEAVE in %"),
        ("burst=5/0", "'burst=5/0' is not valid"),  # a burst that never ends is `off`
        ("off=1", "'off=1' is not an impairment"),
        ("rate", "'rate' is not an impairment; known are rate="),
        ("left.rate=1", "'left.rate=1' is not an impairment"),
        ("carrier", "'carrier' is not valid; write carrier=off or carrier=on"),
    ],
)
def test_a_wrong_word_is_named(word: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(["rate=4", word])
    assert str(caught.value).startswith(says)


def test_words_say_it_back() -> None:
    words = ["rate=4", "delay=60", "jitter=20", "loss=1", "burst=0.5/25", "queue=200", "off"]
    up, _ = parse(words).apply(PERFECT, PERFECT)
    assert up.words() == words
    assert PERFECT.words() == []


def test_json_has_every_setting() -> None:
    impairment = Impairment(4, 60, 20, 1, 0.5, 25, 200, True)
    assert Impairment(**to_json(impairment)) == impairment
