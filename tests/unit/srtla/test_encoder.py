"""What the bitrate file says, and when it is written."""

from __future__ import annotations

from netbond.srtla.encoder import PAUSE_S, SILENCE_S, BitrateLines, text

LEAST, MOST = 500_000, 12_000_000


class File:
    """A file in which all that is due is written at once."""

    def __init__(self) -> None:
        self.lines = BitrateLines(LEAST, MOST)

    def at(self, now: float, advised: int | None = None) -> int | None:
        """What is written at this time, None if nothing is; both lines are the same."""
        if advised is not None:
            self.lines.advise(advised, now)
        due = self.lines.due(now)
        if due is None:
            return None
        self.lines.wrote(due, now)
        assert due[0] == due[1]
        return due[1]


def test_before_there_is_a_stream_it_says_the_least() -> None:
    file = File()
    assert file.at(0.0) == LEAST  # an encoder begins with the second line
    assert file.at(100.0) is None


def test_it_follows_the_advice_within_the_limits() -> None:
    file = File()
    assert file.at(0.0, 4_321_987) == 4_321_000
    assert file.at(0.2, 20_000_000) == MOST
    assert file.at(0.4, 100) == LEAST
    assert file.at(0.6, 0) is None
    assert file.lines.limits == (LEAST, MOST)


def test_small_changes_are_not_written_until_they_add_up() -> None:
    file = File()
    assert file.at(0.0, 1_000_000) == 1_000_000
    assert file.at(0.2, 1_029_000) is None
    assert file.at(0.4, 971_000) is None
    assert file.at(0.6, 1_030_000) == 1_030_000
    assert file.at(0.8, 999_000) == 999_000


def test_a_limit_is_written_however_near_it_was() -> None:
    file = File()
    assert file.at(0.0, 11_900_000) == 11_900_000
    assert file.at(0.2, 12_100_000) == MOST
    assert file.at(0.4, 11_950_000) is None
    assert file.at(0.6, 12_100_000) is None


def test_between_two_changes_there_is_a_pause_and_nothing_is_lost() -> None:
    file = File()
    assert file.at(0.0, 8_000_000) == 8_000_000
    assert file.at(PAUSE_S / 2, 6_000_000) is None
    assert file.at(PAUSE_S) == 6_000_000


def test_without_advice_it_says_the_least_again() -> None:
    file = File()
    assert file.at(0.0, 8_000_000) == 8_000_000
    assert file.at(SILENCE_S - 0.1) is None
    assert file.at(SILENCE_S) == LEAST
    assert file.at(100.0, 8_000_000) == 8_000_000


def test_what_could_not_be_written_is_due_again() -> None:
    lines = BitrateLines(LEAST, MOST)
    lines.advise(8_000_000, 0.0)
    assert lines.due(0.0) == lines.due(0.1) == (8_000_000, 8_000_000)


def test_one_rate_may_be_the_only_one() -> None:
    lines = BitrateLines(LEAST, LEAST)
    lines.advise(8_000_000, 0.0)
    assert lines.due(0.0) == (LEAST, LEAST)
    lines.wrote((LEAST, LEAST), 0.0)
    assert lines.due(9.0) is None


def test_the_file_has_two_lines() -> None:
    assert text((500_000, 12_000_000)) == "500000\n12000000\n"
