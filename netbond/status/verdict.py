"""Says in one line what a snapshot means: what works, what does not, and how bad that is. Pure.

The line heads `netbond status`, and is the status text of the systemd unit. Its code is that of monitoring
plugins, and the exit status of `netbond status --check`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netbond.model import UplinkState
from netbond.overrides import left_words
from netbond.problems import BROKEN, DEGRADED, NOTICE
from netbond.srtla.statistics import LinkStatistics, ReceiverStatistics, SenderStatistics
from netbond.status.schema import EngineStatus, ProblemStatus, Snapshot, Verdict
from netbond.system.text import counted, duration, printable

FINE, IS_DEGRADED, IS_BROKEN, UNKNOWN = range(4)
CODES = {BROKEN: IS_BROKEN, DEGRADED: IS_DEGRADED, NOTICE: FINE}

STREAM_BPS = 20_000  # from here on it is a stream, and not keepalives of SRT and SRTLA
STARTING_S = 10.0  # after the agent's start, in which it is not known yet what is missing
SHOWN = 2  # problems in the line; of the others only the number
LONGEST = 300  # characters of the line
AGED_FROM_S = 2.0  # a shorter age says nothing
_LASTING = ("no answer", "no carrier", "silent")  # "for 20 s" reads well behind these
# Problems that keep a sender from its receiver, and an engine from running: they say more than a head could.
_NOT_RUNNING = frozenset(("engine-failed", "engine-restarting", "engine-hung"))
_NOT_CONNECTED = frozenset(("not-registered", "receiver-unresolved", "no-links"))


def verdict(snapshot: Snapshot) -> Verdict:
    """The verdict on a whole snapshot, whose problems it has already."""
    problems = [one for one in snapshot.agent.problem_details if one.severity != NOTICE]
    head = _engines(snapshot, problems) or _uplinks(snapshot, problems)
    code = max((CODES.get(one.severity, IS_DEGRADED) for one in problems), default=FINE)
    gone = {name for one in snapshot.gone for name in (one.name, one.device)}
    twice = [one for one in problems if one.code == "uplink-missing" and one.subject in gone]
    left = [one for one in problems if one not in head.told and one not in twice]
    words = [head.text, *(aged(one, brackets=False) for one in left[:SHOWN])]
    if len(left) > SHOWN:
        words.append(f"and {counted(len(left) - SHOWN, 'more problem')}")
    words += _set_by_hand(snapshot)
    if head.unknown and code < IS_BROKEN:
        code = UNKNOWN
    return Verdict(printable("; ".join(words), LONGEST), code)


def _set_by_hand(snapshot: Snapshot) -> list[str]:
    """The modes that people have set of uplinks that are there: it may have been another, or be forgotten."""
    there = {one.name for one in snapshot.uplinks}
    found = [one for one in snapshot.overrides if one.what == "mode" and one.uplink in there]
    told = [f"{one.uplink} set {one.value} {left_words(one.left_s)}".rstrip() for one in found[:SHOWN]]
    if len(found) > SHOWN:
        told.append(f"and {len(found) - SHOWN} more set by hand")
    return told


def no_agent(error: str) -> Verdict:
    """The verdict if no agent answers; `error` says why."""
    return Verdict(printable(f"NO AGENT: {error}", LONGEST), IS_BROKEN)


def unknown(error: str) -> Verdict:
    """The verdict if something answers that is not understood, or this user may not ask."""
    return Verdict(printable(f"UNKNOWN: {error}", LONGEST), UNKNOWN)


def aged(problem: ProblemStatus, *, brackets: bool = True) -> str:
    """A problem with its age: "usb3: no answer for 20 s"; where that does not read well, in brackets."""
    text, age = problem.text, duration(problem.since_s)
    if problem.since_s < AGED_FROM_S:
        return text
    if problem.code == "uplink-gone":
        return f"{text} {age} ago"
    if text.endswith(_LASTING):
        return f"{text} for {age}"
    return f"{text} (for {age})" if brackets else text


@dataclass(frozen=True, slots=True)
class _Head:
    """The beginning of the line, the problems that it tells, and whether it is too early to say."""

    text: str
    told: tuple[ProblemStatus, ...] = ()
    unknown: bool = False


# --- boxes with engines ------------------------------------------------------------------------------------


def _engines(snapshot: Snapshot, problems: Sequence[ProblemStatus]) -> _Head | None:
    """The heads of senders and receivers; None if the configuration has none."""
    heads = [
        found
        for role, head in (("sender", _senders), ("receiver", _receivers))
        if (some := [engine for engine in snapshot.engines if engine.role == role])
        for found in [head(some, snapshot, problems)]
    ]
    if not heads:
        return None
    return _Head(
        "; ".join(dict.fromkeys(head.text for head in heads)),  # STARTING is said once
        tuple(problem for head in heads for problem in head.told),
        any(head.unknown for head in heads),
    )


def _failure(engines: Sequence[EngineStatus], problems: Sequence[ProblemStatus]) -> _Head | None:
    """Of engines that do not run, or not as they should."""
    names = {engine.name for engine in engines}
    failed = [one for one in problems if one.code in _NOT_RUNNING and one.subject in names]
    if failed:
        return _Head(f"NOT RUNNING: {failed[0].text}", (failed[0],))
    return None


def _senders(engines: Sequence[EngineStatus], snapshot: Snapshot, problems: Sequence[ProblemStatus]) -> _Head:
    if failed := _failure(engines, problems):
        return failed
    names = {engine.name for engine in engines}
    if away := [one for one in problems if one.code in _NOT_CONNECTED and one.subject in names]:
        return _Head(f"NOT CONNECTED: {away[0].text}", (away[0],))
    senders = [stats for engine in engines if isinstance(stats := engine.stats, SenderStatistics)]
    missing = [stats for stats in senders if stats.state != "connected"]
    if missing:
        return _Head(f"CONNECTING to {missing[0].receiver}", unknown=True)
    if len(senders) < len(engines):
        return _Head("STARTING", unknown=True)
    links = [link for stats in senders for link in stats.links if link.enabled]
    up = sum(link.state == "up" for link in links)
    gone = sum(one.code == "uplink-gone" for one in problems)
    over = f"{up} of {counted(len(links) + gone, 'link')}"
    streaming = [rate for stats in senders if (rate := _rate(stats)) >= STREAM_BPS]
    if streaming:
        several = f" in {len(streaming)} streams" if len(streaming) > 1 else ""
        return _Head(f"STREAMING {spell_rate(sum(streaming))}{several} over {over}")
    broken = [one for one in problems if one.severity == BROKEN and one.subject in names]
    if broken:
        return _Head(f"NO STREAM: {broken[0].text}", (broken[0],))
    if any(stats.caller is not None and not stats.caller_closed for stats in senders):
        return _Head(f"CONNECTED over {over}, no stream")
    return _Head(f"READY over {over}, no SRT caller yet")


def _rate(stats: SenderStatistics) -> int:
    """What the links that are up carry, bit/s."""
    return sum(_sent(link) for link in stats.links if link.state == "up") if stats.caller else 0


def _sent(link: LinkStatistics) -> int:
    return min(max(link.bitrate_bps, 0), 10**12)  # what an engine says need not make sense


def _receivers(
    engines: Sequence[EngineStatus], snapshot: Snapshot, problems: Sequence[ProblemStatus]
) -> _Head:
    if failed := _failure(engines, problems):
        return failed
    receivers = [stats for engine in engines if isinstance(stats := engine.stats, ReceiverStatistics)]
    if len(receivers) < len(engines):
        return _Head("STARTING", unknown=True)
    groups = [group for stats in receivers for group in stats.groups]
    live = [group for group in groups if group.live]
    if live:
        rate = sum(min(max(group.bitrate_bps, 0), 10**12) for group in live)
        waiting = f", {len(groups) - len(live)} more without data" if len(groups) > len(live) else ""
        return _Head(f"RECEIVING {counted(len(live), 'stream')}, {spell_rate(rate)}{waiting}")
    names = {engine.name for engine in engines}
    broken = [one for one in problems if one.severity == BROKEN and one.subject in names]
    if broken:
        return _Head(f"NO STREAM: {broken[0].text}", (broken[0],))
    if groups:
        return _Head(f"LISTENING: {counted(len(groups), 'sender')} connected, no stream")
    return _Head("LISTENING: no sender connected")


# --- routing alone -----------------------------------------------------------------------------------------


def _uplinks(snapshot: Snapshot, problems: Sequence[ProblemStatus]) -> _Head:
    usable = list(dict.fromkeys(one.name for one in snapshot.uplinks if one.state == UplinkState.UP))
    if usable:
        return _Head(f"UP: {counted(len(usable), 'uplink')}")
    without = [one for one in problems if one.code == "no-uplink"]
    if without:
        return _Head(f"DOWN: {without[0].text}", (without[0],))
    return _Head("STARTING", unknown=True)


def spell_rate(bps: float) -> str:
    """Bits per second: "6.0 Mbit/s", "850 kbit/s"."""
    return f"{bps / 1e6:.1f} Mbit/s" if bps >= 999_500 else f"{bps / 1e3:.0f} kbit/s"
