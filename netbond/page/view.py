"""Makes of a snapshot what the page shows: small, and so that one second differs little from the next. Pure.

The result is JSON without null. Keys whose value is null, false, "" or empty are left out. What there are
several of (links, uplinks, events) are objects by name, in which a patch (netbond.page.merge) can change one
value. Ages are given as the moment of the beginning: they would differ each second. Rates are kbit/s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from netbond.events import Event
from netbond.srtla.advice import Advice
from netbond.srtla.statistics import (
    GroupStatistics,
    LinkStatistics,
    ReceiverStatistics,
    SenderStatistics,
)
from netbond.srtla.watch import WatchLine, name_of
from netbond.status.schema import EngineStatus, HealthStatus, Snapshot, UplinkStatus

STEADY_S: Final = 1.5  # by which a beginning may seem to move: ages are measured at other moments than told
MAX_EVENTS: Final = 40
MAX_STREAMS: Final = 32  # of a receiver, the busiest

Json = dict[str, Any]


class Beginnings:
    """Remembers when something began, so that the same moment is told in the same second each time."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._asked: dict[str, int] = {}

    def of(self, what: str, age_s: float, now: float) -> int:
        """Return when it began, in whole seconds of the clock of `now`."""
        began, known = now - age_s, self._known.get(what)
        found = known if known is not None and abs(began - known) <= STEADY_S else round(began)
        self._asked[what] = found
        return found

    def forget_others(self) -> None:
        """Forget what was not asked for since the last call."""
        self._known, self._asked = self._asked, {}


def page_of(snapshot: Snapshot, beginnings: Beginnings, now: float) -> Json:
    """Return all that the page shows of a snapshot; `now` is monotonic seconds."""
    checks = {(each.device, each.address): each for each in snapshot.health}
    found = _given(
        version=snapshot.agent.version,
        started=beginnings.of("agent", snapshot.agent.uptime_s, now),
        verdict=snapshot.verdict.text if snapshot.verdict is not None else "UNKNOWN",
        code=snapshot.verdict.code if snapshot.verdict is not None else 3,
        problems=[
            [
                each.severity,
                each.text,
                each.hint,
                beginnings.of(f"{each.code} {each.subject} {each.text}", each.since_s, now),
            ]
            for each in snapshot.agent.problem_details
        ],
        uplinks={
            _key(uplink): {
                **_uplink(uplink, snapshot, checks.get((uplink.device, uplink.address))),
                **_given(set=_overrides(uplink.name, snapshot, beginnings, now)),
            }
            for uplink in snapshot.uplinks
        },
        away={
            each.uplink: _overrides(each.uplink, snapshot, beginnings, now)
            for each in snapshot.overrides
            if all(each.uplink != uplink.name for uplink in snapshot.uplinks)
        },
        gone={
            f"{each.name}/{each.family}": [
                each.name,
                each.reason,
                beginnings.of(f"gone {each.name}/{each.family}", each.gone_s, now),
            ]
            for each in snapshot.gone
        },
        senders={
            name_of(engine.name): _sender(engine, beginnings, now)
            for engine in snapshot.engines
            if engine.role == "sender"
        },
        receivers={
            engine.name.removeprefix("receiver "): _receiver(engine)
            for engine in snapshot.engines
            if engine.role == "receiver"
        },
    )
    beginnings.forget_others()
    return found


def with_advice(page: Mapping[str, Any], lines: Iterable[WatchLine]) -> Json:
    """Return the page with what its senders have said since the snapshot: five times a second."""
    senders = dict(page.get("senders", {}))
    for line in lines:
        sender = senders.get(line.sender)
        if sender is not None and line.advice is not None and sender.get("state") == line.state:
            senders[line.sender] = _advised(sender, line.advice)
    return {**page, "senders": senders} if senders else dict(page)


def events_of(events: Iterable[Event]) -> Json:
    """Return the last events, by number: time, level and text."""
    last = sorted(events, key=lambda event: event.number)[-MAX_EVENTS:]
    return {str(event.number): [round(event.time), event.level, event.text] for event in last}


def _given(**values: Any) -> Json:
    """Return the values that say something."""
    return {
        key: value
        for key, value in values.items()
        if value is not None and value is not False and value not in ("", (), [], {})
    }


def _key(uplink: UplinkStatus) -> str:
    return uplink.name if uplink.family == 4 else f"{uplink.name}/6"


def _kbps(bps: int | None) -> int | None:
    return None if bps is None else round(bps / 1000)


def _uplink(uplink: UplinkStatus, snapshot: Snapshot, health: HealthStatus | None) -> Json:
    modem = snapshot.modems.get(uplink.device)
    plan = next((each for each in snapshot.metered if each.device == uplink.device), None)
    # The last check of the chain leads farthest.
    rtts = (
        [(check.name, check.rtt_ms) for check in health.checks if check.rtt_ms is not None] if health else []
    )
    losses = [check.loss for check in health.checks if check.loss is not None] if health else []
    return _given(
        name=uplink.name,
        device=uplink.device if uplink.device != uplink.name else None,
        family=uplink.family,
        address=uplink.address,
        gateway=uplink.gateway,
        state=uplink.state,
        reason=uplink.reason,
        used=uplink.in_ecmp,
        weight=uplink.weight,
        mode=uplink.mode,
        priority=uplink.priority,
        metered=uplink.metered,
        rx=_kbps(uplink.rx_bps),
        tx=_kbps(uplink.tx_bps),
        check=rtts[-1][0] if rtts else None,
        rtt=_tenths(rtts[-1][1]) if rtts else None,
        loss=_tenths(100 * losses[-1]) if losses else None,
        modem=modem.summary if modem else None,
        plan=[plan.used_bytes // 10**6, plan.budget_bytes // 10**6, plan.level] if plan else None,
    )


def _overrides(uplink: str, snapshot: Snapshot, beginnings: Beginnings, now: float) -> Json:
    """What people have set of an uplink: by what it is, the value, who has set it, and when it ends."""
    return {
        each.what: [
            each.value,
            each.by,
            *(() if each.left_s is None else (beginnings.of(f"{uplink} {each.what}", -each.left_s, now),)),
        ]
        for each in snapshot.overrides
        if each.uplink == uplink
    }


def _sender(engine: EngineStatus, beginnings: Beginnings, now: float) -> Json:
    stats = engine.stats
    if not isinstance(stats, SenderStatistics):
        return _given(state=engine.state, reason=engine.reason)
    return _given(
        state=stats.state,
        reason=engine.reason,
        receiver=stats.receiver,
        stream=stats.stream,
        kbps=sum(_kbps(link.bitrate_bps) or 0 for link in stats.links),
        cap=_kbps(stats.capacity_bits_per_second),
        advised=_kbps(stats.advised_bits_per_second),
        queued=stats.queued_ms,
        latency=stats.latency_ms,
        dropped=stats.dropped,
        links={
            link.label: _link(link, beginnings, f"{stats.listen} {link.label}", now) for link in stats.links
        },
    )


def _link(link: LinkStatistics, beginnings: Beginnings, what: str, now: float) -> Json:
    silent = link.silent_ms is not None and link.silent_ms >= 3000
    return _given(
        state=link.state,
        reason=link.reason,
        idle=not link.enabled,
        metered=link.metered,
        kbps=_kbps(link.bitrate_bps),
        rtt=link.rtt_ms,
        loss=_tenths(link.loss_pct),
        cap=_kbps(link.capacity_bits_per_second),
        sure=link.capacity_is in ("measured", "at_least"),
        queued=link.queued_ms,
        silent=beginnings.of(what, (link.silent_ms or 0) / 1000, now) if silent else None,
    )


def _advised(sender: Json, advice: Advice) -> Json:
    links = dict(sender.get("links", {}))
    for each in advice.links:
        if each.label in links:
            links[each.label] = {
                **links[each.label],
                **_given(
                    state=each.state,
                    kbps=_kbps(each.bitrate_bps),
                    rtt=each.rtt_ms,
                    loss=_tenths(each.loss_pct),
                    cap=_kbps(each.capacity_bits_per_second),
                    queued=each.queued_ms,
                ),
            }
    return {
        **sender,
        **_given(
            kbps=sum(link.get("kbps", 0) for link in links.values()),
            cap=_kbps(advice.capacity_bits_per_second),
            advised=_kbps(advice.advised_bits_per_second),
            queued=advice.queued_ms,
            lost=_tenths(advice.loss_pct),
        ),
        "links": links,
    }


def _receiver(engine: EngineStatus) -> Json:
    stats = engine.stats
    if not isinstance(stats, ReceiverStatistics):
        return _given(state=engine.state, reason=engine.reason)
    busiest = sorted(stats.groups, key=lambda group: -group.bitrate_bps)
    return _given(
        state=engine.state,
        reason=engine.reason,
        server=stats.srt,
        more=max(len(busiest) - MAX_STREAMS, 0) + stats.groups_left_out or None,
        streams={group.id: _stream(group) for group in busiest[:MAX_STREAMS]},
    )


def _stream(group: GroupStatistics) -> Json:
    return _given(
        name=group.stream,
        live=group.live,
        kbps=_kbps(group.bitrate_bps),
        rtt=None if group.rtt_ms is None else round(group.rtt_ms),
        loss=None if group.loss_pct is None else _tenths(group.loss_pct),
        dropped=group.dropped_packets,
        links=len(group.links),
    )


def _tenths(value: float) -> float:
    """Return it rounded, and as a whole number where it is one: 0 and not 0.0."""
    rounded = round(value, 1)
    return int(rounded) if math.isclose(rounded, int(rounded)) else rounded
