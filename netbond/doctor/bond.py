"""Checks streams: what the agent reports as problems, and what its engines say. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from netbond.doctor.model import ERROR, OK, UNKNOWN, WARNING, Finding, Seen
from netbond.problems import BROKEN, NOTICE
from netbond.srtla.statistics import ReceiverStatistics, SenderStatistics

_CHECKED_HERE = frozenset(("pure-flavour", "conflict"))  # by a check that knows the command
_SEVERITY = {BROKEN: ERROR, NOTICE: OK}


def problems(seen: Seen) -> Iterator[Finding]:
    """What the running agent says is wrong."""
    if seen.snapshot is None:
        return
    found = [each for each in seen.snapshot.agent.problem_details if each.code not in _CHECKED_HERE]
    for problem in found:
        yield Finding(
            problem.code,
            _SEVERITY.get(problem.severity, WARNING),
            problem.subject,
            problem.text,
            f"netbond status, for {problem.since_s:.0f} s",
            problem.hint or "netbond status --all",
        )
    if not found:
        yield Finding("problems", OK, "", "the agent reports no problem")


def engines(seen: Seen) -> Iterator[Finding]:
    """Whether each engine runs, and each sender is registered."""
    if seen.snapshot is None:
        if seen.config.sender or seen.config.receiver:
            yield Finding("engine", UNKNOWN, "", "engines: the agent runs them, and does not answer")
        return
    for engine in seen.snapshot.engines:
        stats = engine.stats
        if engine.state != "running":
            text = f"{engine.name} does not run"
            evidence = engine.reason or engine.last_exit or engine.state
            mend = "journalctl -u netbond has its last lines"
            yield Finding("engine", ERROR, engine.name, text, evidence, mend)
        elif isinstance(stats, SenderStatistics):
            yield _sender(engine.name, stats)
        elif isinstance(stats, ReceiverStatistics):
            text = f"{engine.name} listens"
            senders = sum(group.live for group in stats.groups)
            yield Finding("engine", OK, engine.name, text, f"{senders} of {len(stats.groups)} streams flow")
        else:
            yield Finding("engine", UNKNOWN, engine.name, f"{engine.name} has not said anything yet")


def _sender(name: str, stats: SenderStatistics) -> Finding:
    links = [link for link in stats.links if link.enabled]
    up = [link for link in links if link.state == "up"]
    evidence = f"{len(up)} of {len(links)} links up"
    if stats.state == "connected":
        return Finding("engine", OK, name, f"{name} is registered at {stats.receiver}", evidence)
    why = "; ".join(dict.fromkeys(f"{link.label}: {link.reason}" for link in links if link.reason))
    text = f"{name} is not registered at {stats.receiver}"
    mend = "the receiver must run, and its firewall let its UDP port in: netbond rehearse asks it"
    return Finding("engine", ERROR, name, text, f"{evidence}; {why}" if why else evidence, mend)
