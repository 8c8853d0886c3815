"""What is wrong at present, by where it comes from. Logs each new problem once."""

from __future__ import annotations

import logging
from collections.abc import Iterable

logger = logging.getLogger(__name__)


class Problems:
    """Lines for people; one is shown until its origin no longer reports it."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, ...]] = {}

    def report(self, origin: str, problems: Iterable[str]) -> None:
        """These are the problems of `origin` now; a new one is logged."""
        found = tuple(problems)
        for problem in found:
            if problem not in self._found.get(origin, ()):
                logger.warning("%s", problem)
        self._found[origin] = found

    def has(self, origin: str, problem: str) -> bool:
        """Whether this is among the problems of `origin`."""
        return problem in self._found.get(origin, ())

    def lines(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(problem for found in self._found.values() for problem in found)
