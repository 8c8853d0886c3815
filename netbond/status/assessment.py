"""Adds to a snapshot what it means: the problems that it shows, all problems in detail, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from netbond.problems import Problem, Problems, of_line, status_of, worst_first
from netbond.status.schema import ProblemStatus, Snapshot
from netbond.status.troubles import troubles
from netbond.status.verdict import verdict

HOLDS_S = 1.5  # for which a trouble must last: what a start or a restart brings with it is none


class Assessment:
    """What is wrong by the snapshots so far; reports it to `problems` as of the origin "status"."""

    def __init__(self, problems: Problems, clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self._problems = problems
        self._clock = clock
        self._first: dict[Problem, float] = {}  # when each was seen first

    def complete(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with problems and verdict."""
        now = self._clock()
        found = troubles(snapshot)
        self._first = {problem: self._first.get(problem, now) for problem in found}
        lasting = []
        for problem in found:
            seen = now - self._first[problem]
            if seen >= HOLDS_S:
                lasting.append(replace(problem, since_s=max(seen, problem.since_s or 0.0)))
        self._problems.report("status", lasting)
        return _with(self._problems.details(), snapshot)


def belated(snapshot: Snapshot) -> Snapshot:
    """The snapshot with its verdict, also if it is one of an agent before 0.2, which gives none."""
    if snapshot.verdict is not None:
        return snapshot
    reported = [
        of_line("idle" if line in map(str, snapshot.idle) else "agent", line)
        for line in snapshot.agent.problems
    ]
    return _with(tuple(map(status_of, worst_first([*reported, *troubles(snapshot)]))), snapshot)


def _with(details: tuple[ProblemStatus, ...], snapshot: Snapshot) -> Snapshot:
    lines = tuple(detail.text for detail in details)
    agent = replace(snapshot.agent, problems=lines, problem_details=details)
    whole = replace(snapshot, agent=agent)
    return replace(whole, verdict=verdict(whole))
