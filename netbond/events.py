"""Finds what has happened between two snapshots: one line for each plug, unplug, problem and stream. Pure.

A look at one snapshot says what is; this says what changed, and where that is known what it cost. What
follows from another event is none: the link of a modem that was unplugged, its second address family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from netbond.model import UplinkState
from netbond.problems import BROKEN, NOTICE
from netbond.srtla.statistics import ReceiverStatistics, SenderStatistics
from netbond.status.schema import ProblemStatus, Snapshot, UplinkStatus
from netbond.system.text import counted, duration, printable
from netbond.system.typed_json import doc

SETTLE_S = 1.0  # for which an uplink must be gone: an address that is renewed is not
OVER_S = 5.0  # for which a problem must be gone: a link, or an engine, is on its way then
STREAM_ENDED_S = 3.0  # for which a stream must be silent
STREAM_BPS = 20_000  # from here on it is a stream, and not keepalives
REMEMBERED = 64  # uplinks that are gone

INFO, WARNING, ERROR = "info", "warning", "error"

MISSING_S = 10.0  # for which an uplink must be missing that was not seen to go: leases take their time

# Problems of which other events tell, or which end by themselves.
_MISSING = "uplink-missing"
_TOLD = frozenset(("uplink-gone",))
_WITHOUT_END = frozenset(("engine-restarted", "configuration-unread"))


@dataclass(frozen=True, slots=True)
class Event:
    """What has happened, in one line."""

    number: int = field(metadata=doc("counts up from 1, also over restarts of the agent"))
    time: float = field(metadata=doc("Unix time, seconds"))
    kind: str = field(metadata=doc("which kind of event, for programs"))
    subject: str = field(
        metadata=doc('the uplink, link, engine, stream or file that it happened to; `""`: the box')
    )
    level: str = field(metadata=doc("`info`, `warning` or `error`, as in the journal"))
    text: str = field(metadata=doc("the line"))


@dataclass(frozen=True, slots=True)
class News:
    """An event that has no number and no time yet."""

    kind: str
    subject: str
    text: str
    level: str = INFO
    logged: bool = False  # whether the log has this line already


# What each sender has lost so far, by engine: its process, and packets that found no link in time.
_Lost = Mapping[str, tuple[int | None, int]]
_Counted = tuple[int | None, int, int]  # by this process: bytes and lost packets so far
_Uplinks = tuple[UplinkStatus, ...]  # of one device


@dataclass(frozen=True, slots=True)
class _Gone:
    """An uplink that is gone."""

    at: float
    names: frozenset[str]
    addresses: frozenset[str]
    lost: _Lost


@dataclass(slots=True)
class _Trouble:
    """A problem that lasts."""

    problem: ProblemStatus
    began: float
    lost: _Lost
    away: float | None = None  # since when it is no longer there


@dataclass(slots=True)
class _Stream:
    """A stream that goes on."""

    began: float
    flowed: float  # when it was last seen to
    first: _Counted
    latest: _Counted


class EventFinder:
    """Compares each snapshot with those before. `now` is by a clock that never jumps."""

    def __init__(self) -> None:
        self._started = False
        self._known: dict[str, _Uplinks] = {}  # by device
        self._leaving: dict[str, float] = {}  # since when, for SETTLE_S
        self._gone: dict[str, _Gone] = {}  # by device
        self._names: dict[str, None] = {}  # of the uplinks that were there last
        self._standby: dict[str, bool] = {}  # by name
        self._troubles: dict[tuple[str, str, str], _Trouble] = {}
        self._streams: dict[tuple[str, str], _Stream] = {}  # by engine and stream

    def look(self, snapshot: Snapshot, now: float) -> list[News]:
        """What has happened since the last look."""
        for one in snapshot.uplinks:
            self._names.pop(one.name, None)
            self._names[one.name] = None
        while len(self._names) > REMEMBERED + len(snapshot.uplinks):
            del self._names[next(iter(self._names))]
        if not self._started:
            self._started = True
            self._known = _by_device(snapshot.uplinks)
            self._standby = _standby(snapshot)
            return list(self._look_at_problems(snapshot, now))
        return [
            *self._look_at_uplinks(snapshot, now),
            *self._look_at_backups(snapshot),
            *self._look_at_problems(snapshot, now),
            *self._look_at_streams(snapshot, now),
        ]

    # --- uplinks -------------------------------------------------------------------------------------------

    def _look_at_uplinks(self, snapshot: Snapshot, now: float) -> Iterator[News]:
        there = _by_device(snapshot.uplinks)
        for device in self._known:
            if device not in there:
                self._leaving.setdefault(device, now)
        for device, at in list(self._leaving.items()):
            if device in there:
                del self._leaving[device]
            elif now - at >= SETTLE_S:
                del self._leaving[device]
                yield self._departure(device, self._known.pop(device), snapshot, at)
        for device, uplinks in there.items():
            if device not in self._known:
                yield self._arrival(device, uplinks, snapshot, now)
            elif moved := _moved(self._known[device], uplinks):
                yield moved
        self._known.update(there)

    def _departure(self, device: str, uplinks: _Uplinks, snapshot: Snapshot, at: float) -> News:
        name = uplinks[0].name
        reason = next((one.reason for one in snapshot.gone if one.device == device), "gone")
        self._gone.pop(device, None)
        names, addresses = ({one.name for one in uplinks}, {one.address for one in uplinks})
        self._gone[device] = _Gone(at, frozenset(names), frozenset(addresses), _lost(snapshot))
        while len(self._gone) > REMEMBERED:
            del self._gone[next(iter(self._gone))]
        what = f"{name} unplugged" if reason == "unplugged" else f"{name} gone: {reason}"
        kind = "unplugged" if reason == "unplugged" else "gone"
        return News(kind, name, f"{what}; {_left(snapshot)}", WARNING)

    def _arrival(self, device: str, uplinks: _Uplinks, snapshot: Snapshot, now: float) -> News:
        first, before = uplinks[0], self._gone.pop(device, None)
        if before is None:
            way = f" via {first.gateway}" if first.gateway else ""
            text = f"{first.name} is new: {first.address}{way} ({first.gateway_source})"
            return News("new", first.name, f"{text}{_unless_up(first)}")
        same = any(one.address in before.addresses for one in uplinks)
        with_which = "the same address" if same else f"another address, {first.address}"
        text = f"{first.name} back after {duration(now - before.at)} with {with_which}{_unless_up(first)}"
        return News("back", first.name, text + _cost(before.lost, snapshot))

    def _look_at_backups(self, snapshot: Snapshot) -> Iterator[News]:
        standby = _standby(snapshot)
        for name, waits in standby.items():
            before = self._standby.get(name)
            if before is None or before == waits:
                continue
            if waits:
                yield News("backup", name, f"{name} waits again as a backup")
            elif any(one.name == name and one.state == UplinkState.UP for one in snapshot.uplinks):
                yield News("backup", name, f"{name}, a backup, is used now", WARNING)
        self._standby = standby

    # --- problems ------------------------------------------------------------------------------------------

    def _look_at_problems(self, snapshot: Snapshot, now: float) -> Iterator[News]:
        found = {
            (one.code, one.subject, one.text): one
            for one in snapshot.agent.problem_details
            if one.severity != NOTICE and one.code not in _TOLD
        }
        for key, trouble in list(self._troubles.items()):
            if key in found:
                trouble.away = None
                continue
            trouble.away = now if trouble.away is None else trouble.away
            if now - trouble.away >= OVER_S:
                del self._troubles[key]
                subject = trouble.problem.subject
                moot = any(subject in gone.names for gone in self._gone.values())  # it went with its uplink
                if trouble.problem.code not in _WITHOUT_END and not moot:
                    yield _over(trouble, snapshot)
        for key, problem in found.items():
            if key not in self._troubles and not self._premature(problem):
                self._troubles[key] = _Trouble(problem, now - problem.since_s, _lost(snapshot))
                level = ERROR if problem.severity == BROKEN else WARNING
                logged = problem.code != _MISSING
                yield News(problem.code, problem.subject, problem.text, level, logged=logged)

    def _premature(self, problem: ProblemStatus) -> bool:
        """Whether an uplink is missing that was seen to go, or only just now."""
        if problem.code != _MISSING:
            return False
        seen = {*self._known, *self._gone, *self._names}
        return problem.since_s < MISSING_S or problem.subject in seen

    # --- streams -------------------------------------------------------------------------------------------

    def _look_at_streams(self, snapshot: Snapshot, now: float) -> Iterator[News]:
        for key, (flows, counted_so_far, links) in _streams(snapshot).items():
            stream = self._streams.get(key)
            if stream is None:
                if flows:
                    self._streams[key] = _Stream(now, now, counted_so_far, counted_so_far)
                    over = f" over {counted(links, 'link')}" if links else ""
                    yield News("stream-began", _subject(key), f"{_titled(key)} began{over}")
            elif flows:
                stream.flowed, stream.latest = now, counted_so_far
        for key, stream in list(self._streams.items()):
            if now - stream.flowed >= STREAM_ENDED_S:
                del self._streams[key]
                yield News("stream-ended", _subject(key), _ended(key, stream))


def _by_device(uplinks: Iterable[UplinkStatus]) -> dict[str, _Uplinks]:
    found: dict[str, _Uplinks] = {}
    for uplink in uplinks:
        found[uplink.device] = (*found.get(uplink.device, ()), uplink)
    return found


def _moved(before: _Uplinks, now: _Uplinks) -> News | None:
    """The news that an uplink has another IPv4 address. Those of IPv6 come and go."""
    old, new = ([one for one in uplinks if one.family == 4] for uplinks in (before, now))
    if not old or not new or old[0].address == new[0].address:
        return None
    text = f"{new[0].name} has another address, {new[0].address} (before: {old[0].address})"
    return News("readdressed", new[0].name, text)


def _unless_up(uplink: UplinkStatus) -> str:
    return "" if uplink.state == UplinkState.UP else f", {uplink.state}"


def _standby(snapshot: Snapshot) -> dict[str, bool]:
    return {one.name: one.state == UplinkState.STANDBY for one in snapshot.uplinks if one.family == 4} | {
        one.name: one.state == UplinkState.STANDBY
        for one in snapshot.uplinks
        if one.family == 6 and not any(o.name == one.name and o.family == 4 for o in snapshot.uplinks)
    }


def _over(trouble: _Trouble, snapshot: Snapshot) -> News:
    problem, lasted = trouble.problem, (trouble.away or 0.0) - trouble.began
    text = f"over after {duration(max(lasted, 0.0))}: {problem.text}"
    return News("over", problem.subject, text + _cost(trouble.lost, snapshot))


# --- what it cost ------------------------------------------------------------------------------------------


def _senders(snapshot: Snapshot) -> Iterator[tuple[str, int | None, SenderStatistics]]:
    for engine in snapshot.engines:
        if isinstance(engine.stats, SenderStatistics):
            yield engine.name, engine.pid, engine.stats


def _count(told: int) -> int:
    """A counter as an engine tells it, which need not make sense."""
    return min(max(told, 0), 10**18)


def _flows(stats: SenderStatistics) -> bool:
    rate = sum(max(link.bitrate_bps, 0) for link in stats.links if link.state == "up")
    return stats.caller is not None and rate >= STREAM_BPS


def _lost(snapshot: Snapshot) -> _Lost:
    """What each sender with a stream has lost so far."""
    return {name: (pid, _count(stats.dropped)) for name, pid, stats in _senders(snapshot) if _flows(stats)}


def _cost(before: _Lost, snapshot: Snapshot) -> str:
    """What the streams have lost since; "" if there was none, or another engine process counts now."""
    deltas = [
        _count(stats.dropped) - before[name][1]
        for name, pid, stats in _senders(snapshot)
        if name in before and before[name][0] == pid and _count(stats.dropped) >= before[name][1]
    ]
    if not deltas:
        return ""
    lost = sum(deltas)
    return f"; the stream lost {counted(lost, 'packet') if lost else 'nothing'} meanwhile"


def _left(snapshot: Snapshot) -> str:
    """What goes on: "3 of 4 links left"."""
    links = [link for _, _, stats in _senders(snapshot) for link in stats.links if link.enabled]
    names = {one.name for one in snapshot.uplinks if one.state == UplinkState.UP}
    if any(_flows(stats) for _, _, stats in _senders(snapshot)):
        up = sum(link.state == "up" for link in links)
        return f"the stream goes on over {counted(up, 'link')}" if up else "the stream has no link left"
    return f"{counted(len(names), 'uplink')} left" if names else "no uplink left"


# --- streams -----------------------------------------------------------------------------------------------

# A key is the engine's name, and the stream's of a receiver, or "".


def _streams(snapshot: Snapshot) -> dict[tuple[str, str], tuple[bool, _Counted, int]]:
    """By stream: whether it flows, its bytes and lost packets so far, and its links."""
    found: dict[tuple[str, str], tuple[bool, _Counted, int]] = {}
    for engine in snapshot.engines:
        stats = engine.stats
        if isinstance(stats, SenderStatistics):
            up = sum(link.state == "up" for link in stats.links)
            found[engine.name, ""] = (
                _flows(stats),
                (engine.pid, _count(stats.bytes), _count(stats.dropped)),
                up,
            )
        elif isinstance(stats, ReceiverStatistics):
            for group in stats.groups:
                name = group.stream or f"group {group.id}"
                if group.live or (engine.name, name) not in found:
                    count = (engine.pid, _count(group.payload_bytes), _count(group.dropped_packets))
                    found[engine.name, name] = (group.live, count, len(group.links))
    return found


def _subject(key: tuple[str, str]) -> str:
    return printable(key[1] or key[0])


def _titled(key: tuple[str, str]) -> str:
    return printable(f"stream {key[1]}" if key[1] else f"the stream of {key[0]}")


def _ended(key: tuple[str, str], stream: _Stream) -> str:
    (pid, size, lost), (before, had, had_lost) = stream.latest, stream.first
    size, lost = size - had, lost - had_lost
    told = f"{_titled(key)} ended after {duration(max(stream.flowed - stream.began, 0.0))}"
    if pid != before or size < 0 or lost < 0:  # another engine process, or another SRT connection, counts now
        return told
    return f"{told}: {size / 1e6:.1f} MB, {counted(lost, 'packet') if lost else 'nothing'} lost"
