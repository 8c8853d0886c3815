"""Keeps the current problems by their origin, and logs each new one once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from netbond.status.schema import ProblemStatus
from netbond.system.text import printable

logger = logging.getLogger(__name__)

# The severities, the worst first.
BROKEN = "broken"  # nothing gets through, or a stream does not
DEGRADED = "degraded"
NOTICE = "notice"  # worth a line, but all is well
_LEVELS = {BROKEN: logging.ERROR, DEGRADED: logging.WARNING, NOTICE: logging.INFO}
SEVERITIES = tuple(_LEVELS)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong. Its text has no ages in it: it is the same problem for as long as it says so.

    `since_s`: seconds that it has been so, where that is known better than by when it was reported first.
    """

    code: str
    text: str
    subject: str = ""
    hint: str = ""
    severity: str = DEGRADED
    since_s: float | None = field(default=None, compare=False)
    logged: bool = field(default=True, compare=False)  # False: another line of the log tells of it


# What a line without a code of its own is, by its origin: code and hint.
_BY_ORIGIN: Mapping[str, tuple[str, str]] = {
    "routes": ("route-refused", "netbond plan shows what is missing, netbond explain why"),
    "contested": ("contested", "find the other program: ip monitor route rule"),
    "idle": ("uplink-missing", "plug it in, or correct its [[uplink]] in the configuration"),
    "conflicts": ("conflict", ""),
    "configuration": ("configuration", ""),
    "ip_list": ("address-list", ""),
    "engines": ("encoder-file", ""),
    "policies": ("policy", ""),
    "connections": ("policy", ""),
    "source health": ("streams-blocked", "the bond lacks a link: ask its operator whether UDP is filtered"),
}


_ON_PURPOSE = ("enabled = false", "it roams")  # why an interface is no uplink, if a person has said so


def is_on_purpose(why: str) -> bool:
    """Whether a person said that the interface is to be no uplink; `why`: the reason in status."""
    return why.startswith(_ON_PURPOSE)


def of_line(origin: str, line: str) -> Problem:
    """The problem that a plain line of this origin is; "usb7: no such interface now" is about usb7."""
    own = origin.removeprefix("source ").replace("_", "-").replace(" ", "-")
    code, hint = _BY_ORIGIN.get(origin, (own, ""))
    if origin != "idle":
        return Problem(code, line, hint=hint)
    subject, colon, why = line.partition(": ")
    meant = is_on_purpose(why)
    # An interface that was unplugged is an event, which is logged.
    return Problem(code, line, subject if colon else "", hint, NOTICE if meant else DEGRADED, logged=False)


def worst_first(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems by severity, else in their order."""
    return tuple(sorted(problems, key=lambda problem: SEVERITIES.index(problem.severity)))


def status_of(problem: Problem, since_s: float = 0.0) -> ProblemStatus:
    """The problem as a snapshot has it; `since_s` if it does not know better itself."""
    return ProblemStatus(
        code=problem.code,
        subject=printable(problem.subject),
        severity=problem.severity,
        since_s=round(since_s if problem.since_s is None else problem.since_s, 1),
        text=printable(problem.text),
        hint=printable(problem.hint),
    )


class Problems:
    """The current problems, one line each; a problem stays until its origin no longer reports it."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        """`clock` gives the seconds since any moment."""
        self._clock = clock
        self._found: dict[str, dict[Problem, float]] = {}  # by origin: since when

    def report(self, origin: str, problems: Iterable[str | Problem]) -> None:
        """Replace the problems of `origin` by these, and log the new ones."""
        before, now = self._found.get(origin, {}), self._clock()
        found: dict[Problem, float] = {}
        for each in problems:
            problem = each if isinstance(each, Problem) else of_line(origin, each)
            since = before.get(problem)
            if since is None and problem.logged and problem not in found:
                logger.log(_LEVELS[problem.severity], "%s", problem.text)
            found[problem] = now if since is None else since
        self._found[origin] = found

    def has(self, origin: str, text: str) -> bool:
        """Whether `origin` has the problem of this text."""
        return any(problem.text == text for problem in self._found.get(origin, ()))

    def all(self) -> tuple[Problem, ...]:
        """All problems, the worst first, else by origin in the order of their first report."""
        return worst_first(problem for problems in self._found.values() for problem in problems)

    def lines(self) -> tuple[str, ...]:
        """The texts of all problems, in this order."""
        return tuple(problem.text for problem in self.all())

    def details(self) -> tuple[ProblemStatus, ...]:
        """The same, as a snapshot has them."""
        now = self._clock()
        since = {problem: at for problems in self._found.values() for problem, at in problems.items()}
        return tuple(status_of(problem, now - since[problem]) for problem in self.all())
