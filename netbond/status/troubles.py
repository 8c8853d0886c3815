"""Finds in a snapshot what is wrong with uplinks, engines and streams. Pure.

What sources and outputs report (a refused route, a file that cannot be written) are problems already. These
here are states that last: an uplink is dead, a sender is not registered, an SRT server does not answer. A
trouble that follows from another is not named: a link over a dead uplink.

Texts have no ages in them (netbond.problems); `since_s` has the age.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from shlex import quote

from netbond.model import UplinkState
from netbond.problems import BROKEN, DEGRADED, NOTICE, Problem
from netbond.srtla.statistics import LinkStatistics, ReceiverStatistics, SenderStatistics
from netbond.status.schema import EngineStatus, HealthStatus, Snapshot, UplinkStatus

RESTARTED_SHOWN_S = 60.0  # for which a restart of an engine is a problem
CALLER_SILENT_MS = 3000  # SRT has a keepalive a second
CALLER_FORGOTTEN_MS = 600_000  # an encoder that is silent for longer was switched off
LINK_SILENT_MS = 3000  # of a link that is up, and asked each second
GROUP_SILENT_S = 3.0  # of a link of a receiver, likewise
GONE_SHOWN_S = 600.0
MOST_OF_ENGINE = 64  # problems that one engine may have: it faces the internet, and what it says is logged

_NO_ANSWER = "no answer from the receiver"  # netbond.srtla.sender.NO_ANSWER
_PORT_CLOSED = "nothing listens at the receiver's port"  # netbond.srtla.link
# A link over an uplink with one of these has no problem of its own.
_OF_LINKS = frozenset(("uplink-dead", "uplink-no-carrier", "uplink-down", "uplink-gone", "data-plan-spent"))
_SUSPICION = "receiver"  # netbond.health.suspects.NAME: the check of what a stream has shown
_ON_PURPOSE = ("enabled = false", "exclude_roaming")  # of a departed uplink's reason


def troubles(snapshot: Snapshot) -> list[Problem]:
    """The problems, the causes before what follows from them."""
    found = [*_uplinks(snapshot), *_modems(snapshot)]
    faulty = {problem.subject for problem in found if problem.code in _OF_LINKS}
    for engine in snapshot.engines:
        found += islice(_engine(engine, snapshot, faulty), MOST_OF_ENGINE)
    return [*found, *_flavour(snapshot.engines)]


# --- uplinks -----------------------------------------------------------------------------------------------


def _uplinks(snapshot: Snapshot) -> Iterator[Problem]:
    first = {(one.device, one.family): one for one in reversed(snapshot.uplinks)}
    if not any(one.state == UplinkState.UP for one in snapshot.uplinks) and not _waits(snapshot):
        yield _no_uplink(snapshot)
    for uplink in snapshot.uplinks:
        yield from _uplink(uplink, snapshot, several=(uplink.device, 10 - uplink.family) in first)
    for plan in snapshot.metered:
        if plan.level == "warning":
            share = 100 * plan.used_bytes // plan.budget_bytes if plan.budget_bytes else 100
            name = _name_of(plan.device, snapshot)
            yield Problem(
                "data-plan-low",
                f"{name}: {share // 10 * 10} % of its data plan is used",
                name,
                f"it counts anew from {plan.resets}" if plan.resets else "",
                NOTICE,
            )
    yield from _gone(snapshot)


def _gone(snapshot: Snapshot) -> Iterator[Problem]:
    """Of uplinks that were there a while ago."""
    there = {one.device for one in snapshot.uplinks}
    off = {one.uplink for one in snapshot.overrides if one.value == "off"}
    named = set()
    for gone in snapshot.gone:
        on_purpose = any(word in gone.reason for word in _ON_PURPOSE)
        if gone.device in there or gone.name in named or on_purpose or gone.gone_s >= GONE_SHOWN_S:
            continue
        named.add(gone.name)
        text, hint = f"{gone.name} gone: {gone.reason}", ""
        if gone.reason == "unplugged":
            text, hint = f"{gone.name} unplugged", "plug it in again; dmesg says whether the bus lost it"
        severity = NOTICE if gone.name in off else DEGRADED
        yield Problem("uplink-gone", text, gone.name, hint, severity, since_s=gone.gone_s, logged=False)


def _waits(snapshot: Snapshot) -> bool:
    """Whether the agent has only just started: leases may be on their way."""
    return not snapshot.uplinks and snapshot.agent.uptime_s < 10.0


def _no_uplink(snapshot: Snapshot) -> Problem:
    if not snapshot.uplinks:
        return Problem(
            "no-uplink",
            "no uplink: no interface has an address and a known gateway",
            hint="plug in a modem; netbond status --all says why an interface is not used",
            severity=BROKEN,
        )
    names = list(dict.fromkeys(one.name for one in snapshot.uplinks))
    said = (
        f"none of {len(names)} uplinks is usable"
        if len(names) > 1
        else f"the only uplink, {names[0]}, is not usable"
    )
    hint = "the lines below say why"
    if off := [one.name for one in snapshot.uplinks if one.state == UplinkState.OFF]:
        hint = f"{off[0]} is set off: netbond unset {quote(off[0])}"
    return Problem("no-uplink", said, hint=hint, severity=BROKEN)


def _uplink(uplink: UplinkStatus, snapshot: Snapshot, *, several: bool) -> Iterator[Problem]:
    health = next(
        (h for h in snapshot.health if (h.device, h.address) == (uplink.device, uplink.address)), None
    )
    name = uplink.name
    said = f"{name} IPv{uplink.family}" if several else name
    since = _since(health, ("down",))
    if uplink.state == UplinkState.DEAD:
        hint = "is the modem online? netbond status --all shows each check"
        yield Problem("uplink-dead", f"{said} dead: {uplink.reason}", name, hint, since_s=since)
    elif uplink.state == UplinkState.NO_CARRIER:
        # Whoever has set it off may have pulled the cable, too.
        severity = NOTICE if uplink.mode == "off" else DEGRADED
        hint = "check its cable, or its radio"
        yield Problem("uplink-no-carrier", f"{said}: no carrier", name, hint, severity)
    elif uplink.state == UplinkState.DOWN:
        hint = f"ip link set {uplink.device} up, if nobody meant it"
        yield Problem("uplink-down", f"{said}: {uplink.reason or 'interface is down'}", name, hint, NOTICE)
    elif uplink.state == UplinkState.SPENT:
        yield Problem("data-plan-spent", f"{said}: {uplink.reason or 'its data plan is used up'}", name)
    elif uplink.state == UplinkState.DEGRADED:
        text = f"{said} degraded, and out of the shared default: {uplink.reason}"
        since = _since(health, ("degraded",))
        yield Problem("uplink-degraded", text, name, "netbond status --all shows each check", since_s=since)
    elif uplink.state not in (UplinkState.UP, UplinkState.STANDBY, UplinkState.OFF):
        yield Problem("uplink-degraded", f"{said} {uplink.state}: {uplink.reason}", name)
    elif health is not None and uplink.state != UplinkState.OFF:
        yield from _health(said, uplink, health)


def _health(said: str, uplink: UplinkStatus, health: HealthStatus) -> Iterator[Problem]:
    """Of an uplink that is in use, or waits."""
    said_of = {
        "down": ("uplink-dead", f"{said} fails its checks, and is used as no other is better"),
        "degraded": ("uplink-degraded", f"{said} degraded"),
    }
    if health.state in said_of:
        code, text = said_of[health.state]
        hint = "netbond status --all shows each check"
        yield Problem(code, f"{text}: {health.reason}", uplink.name, hint, since_s=health.since_s)
    elif _is_suspect(health):
        text = f"{said} suspect: its stream's receiver is heard over others, and not over it"
        yield Problem("uplink-suspect", text, uplink.name, "is the modem online?", NOTICE)


def _is_suspect(health: HealthStatus) -> bool:
    """Whether a stream hears nothing over it. That only streams are blocked is a problem of its own."""
    failing = any(check.name == _SUSPICION and check.state == "failing" for check in health.checks)
    return failing and not health.reason.startswith("only streams are blocked")


def _since(health: HealthStatus | None, states: Sequence[str]) -> float | None:
    return health.since_s if health is not None and health.state in states else None


def _name_of(device: str, snapshot: Snapshot) -> str:
    return next((one.name for one in snapshot.uplinks if one.device == device), device)


def _modems(snapshot: Snapshot) -> Iterator[Problem]:
    for modem in snapshot.idle_modems:
        if modem.why:
            name = modem.device or modem.model or modem.port.rpartition("/")[2] or "of unknown make"
            hint = "unlock its SIM: mmcli, or its connection in NetworkManager" if "pin" in modem.sim else ""
            yield Problem("modem", f"modem {name}: {modem.why}", name, hint or "docs/modemmanager.md")


# --- engines -----------------------------------------------------------------------------------------------


def _engine(engine: EngineStatus, snapshot: Snapshot, faulty: set[str]) -> Iterator[Problem]:
    name, log = engine.name, "journalctl -u netbond has its last lines"
    if engine.state == "failed":
        yield Problem("engine-failed", f"{name}: {engine.reason}", name, _hint(engine.reason) or log, BROKEN)
    elif engine.state == "backing off":
        yield Problem("engine-restarting", f"{name}: {engine.reason}", name, log, BROKEN)
    elif engine.reason:
        code = "engine-hung" if engine.state == "running" else "engine-restarting"
        word = "hangs" if engine.state == "running" else "is not ready"
        yield Problem(code, f"{name} {word}", name, log, BROKEN)
    elif engine.restarted_s is not None and engine.restarted_s < RESTARTED_SHOWN_S:
        text = f"{name} was started again: {engine.last_exit or 'it ended'}"
        yield Problem("engine-restarted", text, name, log, since_s=engine.restarted_s)
    if engine.state != "running" or engine.reason:
        return
    if isinstance(engine.stats, SenderStatistics):
        yield from _sender(name, engine.stats, snapshot, faulty)
    elif isinstance(engine.stats, ReceiverStatistics):
        yield from _receiver(name, engine.stats)


def _hint(reason: str) -> str:
    if "in use" in reason or "taken" in reason:
        return "find who has the port: ss -ulpn"
    return ""


def _flavour(engines: Iterable[EngineStatus]) -> Iterator[Problem]:
    if any(engine.stats is not None and engine.stats.flavour == "pure" for engine in engines):
        yield Problem(
            "pure-flavour",
            "the engines are pure Python: packets cost two to four times the CPU time",
            hint="apt install gcc python3-dev, and install netbond again",
            severity=NOTICE,
        )


# --- senders -----------------------------------------------------------------------------------------------


def _sender(name: str, stats: SenderStatistics, snapshot: Snapshot, faulty: set[str]) -> Iterator[Problem]:
    if stats.state == "connected":
        for link in stats.links:
            yield from _link(link, stats.links, snapshot, faulty)
        yield from _caller(name, stats)
    elif (problem := _not_connected(name, stats)) is not None:
        yield problem
    for text in stats.problems:
        if problem := _told(name, text):
            yield problem


def _not_connected(name: str, stats: SenderStatistics) -> Problem | None:
    """Why a sender has no link that is up; None: it has not tried for long enough to say."""
    receiver = stats.receiver
    if stats.state == "resolving":
        text = next((one for one in stats.problems if one.startswith("cannot resolve")), "")
        if not text:
            return None
        hint = "is the name right? does a name server answer: getent hosts NAME"
        return Problem("receiver-unresolved", text, name, hint, BROKEN)
    if not stats.links or stats.state == "no links":
        why = {link.label: link.reason for link in stats.links if link.reason}
        text = _reasons(why) if why else "no uplink is usable"
        return Problem("no-links", text, name, "netbond status --all says what the uplinks lack", BROKEN)
    key = next((one for one in stats.problems if "does not know our key" in one), "")
    if key:
        return Problem("not-registered", key, name, "give both ends the same key (docs/srtla.md)", BROKEN)
    why = {link.label: link.reason for link in stats.links if link.reason}
    if not why:
        silent = next((one for one in stats.problems if one.startswith("no answer from")), "")
        return Problem("not-registered", silent, name, _answer_hint(receiver), BROKEN) if silent else None
    reasons = {_without_age(reason) for reason in why.values()}
    if _PORT_CLOSED in reasons and reasons <= {_PORT_CLOSED, _NO_ANSWER}:
        hint = "start the receiver there (netbond recv), or correct the port"
        return Problem("not-registered", f"nothing listens at {receiver}", name, hint, BROKEN)
    if reasons <= {_NO_ANSWER, "no answer", ""}:
        return Problem("not-registered", f"no answer from {receiver}", name, _answer_hint(receiver), BROKEN)
    if len(reasons) == 1:
        (reason,) = reasons
        return Problem("not-registered", f"{receiver}: {reason}", name, _refusal_hint(reason), BROKEN)
    return Problem("not-registered", f"{receiver}: {_reasons(why)}", name, "", BROKEN)


def _answer_hint(receiver: str) -> str:
    port = receiver.rpartition(":")[2]
    return f"does the receiver run, and its firewall let UDP port {port} in?"


def _refusal_hint(reason: str) -> str:
    if "key" in reason:
        return "give both ends the same key (docs/srtla.md)"
    if "refused" in reason:
        return "the receiver's log says why: it is full, or serves others (docs/recv.md)"
    return ""


def _without_age(reason: str) -> str:
    """The reason of a link that is down, without how long it had been silent when that was noticed."""
    return "no answer" if reason.startswith("silent for ") else reason


def _reasons(why: dict[str, str]) -> str:
    """Reasons with the links that have them: "usb0, usb1: no carrier; usb2: no answer"."""
    links: dict[str, list[str]] = {}
    for label, reason in why.items():
        links.setdefault(_without_age(reason), []).append(label)
    return "; ".join(f"{', '.join(labels)}: {reason}" for reason, labels in links.items())


def _link(
    link: LinkStatistics, links: Sequence[LinkStatistics], snapshot: Snapshot, faulty: set[str]
) -> Iterator[Problem]:
    label = link.label
    if _name_of(link.device, snapshot) in faulty or label in faulty:
        return  # the uplink's problem says why
    silent = None if link.silent_ms is None else _seconds(link.silent_ms)
    reason = _without_age(link.reason)
    if link.state == "up":
        if reason.startswith("stalled"):
            yield Problem("link-down", f"{label}: no answer", label, _link_hint("no answer"), since_s=silent)
        elif reason.startswith("packets of more than"):
            hint = "lower its MTU, or the encoder's packet size"
            yield Problem("link-mtu", f"{label}: {reason}", label, hint)
        elif link.silent_ms is not None and link.silent_ms >= LINK_SILENT_MS:
            yield Problem("link-down", f"{label}: no answer", label, _link_hint("no answer"), since_s=silent)
        return
    if not reason:
        return  # it has only just begun
    if reason == _NO_ANSWER:
        reason = "no answer"
    since = silent if reason == "no answer" else None
    yield Problem("link-down", f"{label}: {reason}", label, _link_hint(reason), since_s=since)


def _seconds(ms: int) -> float:
    """Milliseconds as an engine tells them, which need not make sense."""
    return min(max(ms, 0), 10**12) / 1000


def _link_hint(reason: str) -> str:
    if reason == "no answer":
        return "is that line online, and does its operator let UDP through?"
    return _refusal_hint(reason)


def _caller(name: str, stats: SenderStatistics) -> Iterator[Problem]:
    silent = stats.caller_silent_ms
    if stats.caller is None or stats.caller_closed or silent is None:
        return
    if CALLER_SILENT_MS <= silent < CALLER_FORGOTTEN_MS:
        yield Problem(
            "caller-gone",
            f"the SRT caller {stats.caller} is silent",
            name,
            "does the encoder run, and send to this port?",
            since_s=_seconds(silent),
        )


def _told(name: str, text: str) -> Problem | None:
    """What a sender says itself (netbond.srtla.answers, netbond.srtla.process.sending)."""
    if text.startswith(("no answer from", "cannot resolve")) or "does not know our key" in text:
        return None  # told already
    if "its SRT server does not" in text:
        hint = "start the SRT server behind the receiver, or correct its address there"
        return Problem("srt-server-silent", text, name, hint, BROKEN)
    if "SRT server refuses" in text:
        hint = "correct the encoder's stream id or passphrase; the SRT server's log says more"
        return Problem("srt-server-refuses", text, name, hint, BROKEN)
    if text.startswith("a second SRT caller"):
        return Problem("caller-refused", text, name, "end one of the two encoders")
    if "did not answer: it is used again" in text:
        return Problem("receiver-failover", text, name)
    return Problem("sender", text, name)


# --- receivers ---------------------------------------------------------------------------------------------


def _receiver(name: str, stats: ReceiverStatistics) -> Iterator[Problem]:
    for text in stats.problems:
        hint = "start the SRT server, or correct its address in the configuration"
        yield Problem("srt-server-silent", text, name, hint, BROKEN)
    for group in stats.groups:
        stream = group.stream or f"group {group.id}"
        silent = sum(link.idle_s >= GROUP_SILENT_S for link in group.links)
        if group.uptime_s is not None and not group.live:
            yield Problem("stream-stopped", f"stream {stream}: no data", stream, "is its encoder on?")
        elif group.live and silent:
            text = f"stream {stream}: {silent} of {len(group.links)} links silent"
            yield Problem("stream-links", text, stream, "", NOTICE)
