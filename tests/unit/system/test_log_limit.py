"""One line a minute for each cause."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from netbond.system.log_limit import EVENTS, INTERVAL_S, MOST_CAUSES, OncePerMinute


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.lines: list[str] = []
        self.limit = OncePerMinute(lambda: self.now)
        self.addFilter(self.limit)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("limited")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


logger = logging.getLogger("limited")


def test_what_repeats_is_counted_and_told_a_minute_later(lines: Lines) -> None:
    for second in range(61):
        lines.now = float(second)
        logger.warning("usb0: %s; again in %.1f s", "no descriptors", second / 7)
    assert lines.lines == [
        "usb0: no descriptors; again in 0.0 s",
        "usb0: no descriptors; again in 8.6 s (and 59 times more since the last line)",
    ]


def test_other_causes_are_not_held_back(lines: Lines) -> None:
    for what in ("usb0", "usb1"):
        logger.warning("%s: failed", what)
    for error in (ValueError("x"), KeyError("x")):
        logger.error("failed", exc_info=error)
    assert lines.lines == ["usb0: failed", "usb1: failed", "failed", "failed"]


def test_after_a_quiet_minute_there_is_no_number(lines: Lines) -> None:
    for at in (0.0, INTERVAL_S):
        lines.now = at
        logger.error("failed")
    assert lines.lines == ["failed"] * 2


def test_news_that_is_no_fault_and_events_are_told_each_time() -> None:
    limit = OncePerMinute(lambda: 0.0)
    for name, level in (("limited", logging.INFO), (EVENTS, logging.WARNING)):
        record = logging.LogRecord(name, level, "", 0, "usb0 is unplugged", (), None)
        assert [limit.filter(record) for _ in range(2)] == [True, True]


def test_causes_are_forgotten(lines: Lines) -> None:
    for number in range(2 * MOST_CAUSES):
        logger.warning("cause %s", f"{number}")
    assert len(lines.limit._said) == MOST_CAUSES
