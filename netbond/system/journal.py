"""Levels of log lines as systemd's journal and the agent read them: "<4>text", as in sd-daemon(3).

An engine writes its log like that for the agent, which passes each line on at its level.
"""

from __future__ import annotations

import logging

from netbond.system.text import shown

_PRIORITIES = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
_LEVELS = {str(priority): level for level, priority in _PRIORITIES.items()}


def prefixed(level: int, text: str) -> str:
    """A line of this level of `logging`."""
    return f"<{_PRIORITIES.get(level, 6)}>{text}"


def split(line: str) -> tuple[int, str]:
    """The level and the text of a line.

    A line without a level was not written by netbond's log: it is a traceback, or a library's last word, and
    so a warning.
    """
    if line[:1] == "<" and line[2:3] == ">" and (level := _LEVELS.get(line[1])) is not None:
        return level, line[3:]
    return logging.WARNING, line


class Formatter(logging.Formatter):
    """Formats a record as such a line; the reader adds the time."""

    def __init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return each line of it with its level: a traceback has several."""
        return "\n".join(prefixed(record.levelno, line) for line in shown(super().format(record)).split("\n"))
