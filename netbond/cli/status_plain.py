"""How a snapshot reads: `netbond status --plain`, one sentence a line, for screen readers.

No tables, no colours, no abbreviations that need a heading: each line says what it is about.
"""

from __future__ import annotations

from collections.abc import Iterator

from netbond.cli.status_view import (
    alive,
    amount,
    duration,
    health_of,
    live_reason,
    name_of,
    number,
    set_by_hand,
    set_for_later,
    title,
    worst_first,
)
from netbond.model import UplinkState
from netbond.srtla.statistics import ReceiverStatistics, SenderStatistics
from netbond.status.schema import EngineStatus, Snapshot, UplinkStatus
from netbond.status.verdict import aged
from netbond.system.text import counted, printable


def lines(snapshot: Snapshot) -> list[str]:
    """The whole, the worst first."""
    return [printable(line, 1000) for line in _lines(snapshot)]


def _lines(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.verdict is not None:
        yield f"Verdict: {snapshot.verdict.text}"
    for problem in snapshot.agent.problem_details:
        word = {"notice": "Notice", "broken": "Broken"}.get(problem.severity, "Problem")
        yield f"{word}: {aged(problem)}.{_what_to_do(problem.hint)}"
    for engine in snapshot.engines:
        yield from _engine(engine)
    for uplink in worst_first(snapshot.uplinks, snapshot):
        yield _uplink(uplink, snapshot)
    for modem in snapshot.idle_modems:
        if modem.why:
            yield f"Modem {modem.device or modem.model}: {modem.why}."
    for gone in snapshot.gone:
        yield f"Gone: {gone.name}, {gone.reason}, {duration(gone.gone_s)} ago."
    for line in set_for_later(snapshot):
        yield f"Not there now: {line}."
    agent = snapshot.agent
    yield (
        f"Agent: netbond {agent.version}, process {agent.pid}, up for {duration(agent.uptime_s)},"
        f" {agent.config or 'no configuration file'}."
    )


def _what_to_do(hint: str) -> str:
    if not hint:
        return ""
    return f" What to do: {hint}" if hint.endswith("?") else f" What to do: {hint}."


def _engine(engine: EngineStatus) -> Iterator[str]:
    why = f": {engine.reason}" if engine.reason else ""
    yield f"{engine.name.capitalize()}: {engine.state}{why}."
    if isinstance(engine.stats, SenderStatistics):
        yield from _sender(engine.stats)
    elif isinstance(engine.stats, ReceiverStatistics):
        for group in engine.stats.groups:
            rate = amount(group.bitrate_bps)
            flows = f"{rate} bit/s" if group.live else "no data"
            loss = number(group.loss_pct)
            lost = "" if loss is None else f", loss {loss:.1f} per cent"
            links = f"{alive(group)} of {counted(len(group.links), 'link')}"
            yield f"Stream {name_of(group)}: {flows}, {links}{lost}."


def _sender(stats: SenderStatistics) -> Iterator[str]:
    caller = stats.caller or "not connected yet"
    yield f"Receiver {stats.receiver}: {stats.state}. SRT caller: {caller}."
    for link in worst_first(stats.links):
        reason = live_reason(link)
        words = [link.state + (f", {reason}" if reason else "")]
        if link.state == "up":
            rtt, loss = number(link.rtt_ms), number(link.loss_pct)
            words.append(f"{amount(link.bitrate_bps) or 'unknown'} bit/s")
            words += [f"round trip {rtt:.0f} ms"] if rtt is not None else []
            words += [f"loss {loss:.1f} per cent"] if loss is not None else []
        yield f"Link {link.label}: {', '.join(words)}."


def _uplink(uplink: UplinkStatus, snapshot: Snapshot) -> str:
    health = health_of(snapshot, uplink)
    said, reason = str(uplink.state), uplink.reason
    if uplink.state == UplinkState.UP and health is not None and health.state not in ("up", "unknown"):
        said, reason = health.state, health.reason
    why = f", {reason}" if reason and reason != said else ""
    told = set_by_hand(snapshot, uplink.name)
    if told and reason.startswith("set "):
        why = ""
    by_hand = f" It is {told}." if told else ""
    family = "" if uplink.family == 4 else ", IPv6"
    gateway = f"gateway {uplink.gateway}" if uplink.gateway else "no gateway needed"
    return f"Uplink {title(uplink)}{family}: {said}{why}, address {uplink.address}, {gateway}.{by_hand}"
