"""Keeps the current problems by their origin, and logs each new one once."""

from __future__ import annotations

import logging
from collections.abc import Iterable

logger = logging.getLogger(__name__)


class Problems:
    """The current problems, one line each; a problem stays until its origin no longer reports it."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, ...]] = {}

    def report(self, origin: str, problems: Iterable[str]) -> None:
        """Replace the problems of `origin` by these, and log the new ones."""
        found = tuple(problems)
        for problem in found:
            if problem not in self._found.get(origin, ()):
                logger.warning("%s", problem)
        self._found[origin] = found

    def has(self, origin: str, problem: str) -> bool:
        """Whether `origin` has this problem."""
        return problem in self._found.get(origin, ())

    def lines(self) -> tuple[str, ...]:
        """All problems, by origin in the order of their first report."""
        return tuple(problem for found in self._found.values() for problem in found)
