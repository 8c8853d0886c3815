"""How a snapshot looks: the view of `netbond status`, and what status_details.py makes the rest of it with.

Everything goes through rich's Text, which knows no markup, and through printable(): reasons come from engines
that face the internet, names from modems and their networks. 80 columns are enough for what is usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from netbond.model import UplinkState
from netbond.overrides import standing
from netbond.policies.words import way_words
from netbond.srtla.advice import Advice, LinkAdvice
from netbond.srtla.statistics import (
    GroupStatistics,
    LinkStatistics,
    ReceiverStatistics,
    SenderStatistics,
)
from netbond.status.schema import (
    AgentStatus,
    DataPlanStatus,
    DepartedUplink,
    EngineStatus,
    ForwardedFlows,
    HealthStatus,
    IdleModem,
    KernelStatus,
    ModemStatus,
    Snapshot,
    UplinkStatus,
)
from netbond.status.verdict import aged
from netbond.system.text import counted, data_amount, printable
from netbond.system.text import duration as spelled

_STYLES = {
    UplinkState.UP: "green",
    "ok": "green",
    "unknown": "yellow",
    "waiting": "yellow",
    "running": "green",
    "connected": "green",
    "starting": "yellow",
    "registering": "yellow",
    "resolving": "yellow",
    UplinkState.NO_CARRIER: "yellow",
    UplinkState.STANDBY: "yellow",
    UplinkState.OFF: "yellow",
    "degraded": "yellow",
    "backing off": "yellow",
}


NARROW = 70  # columns; with fewer, tables leave out what --json has
SILENT_S = 3.0  # of a sender's link, which is heard each second
CLOCK_IS_SET = 1735689600.0  # Unix time of sources.data_plans.EARLIEST; to import that takes 0.1 s


def text(value: object, style: str = "") -> Text:
    """A value as it is, without anything that a terminal or rich would act on; "-" for None."""
    return Text("-" if value is None else printable(str(value)), style=style)


def state(word: object, reason: object = "") -> Text:
    """A state in its colour, with the reason unless that says the same."""
    style = _STYLES.get(str(word), "red")
    said = text(word, style)
    if reason and reason != word:
        said.append(": ").append_text(text(reason))
    return said


def overview(
    snapshot: Snapshot, now: float, *, brief: bool = False, everything: bool = False
) -> list[RenderableType]:
    """The view without the details of --all. `now` is Unix time.

    `brief`: for a small terminal, on which the beginning must stay: uplinks that are simply up take one line
    together. `everything`: all problems, each with what to do.
    """
    parts: list[RenderableType] = [*_verdict(snapshot), *_problems(snapshot.agent, everything=everything)]
    for engine in snapshot.engines:
        parts += [text(""), *_engine(engine)]
    parts += [text(""), *(_brief_uplinks(snapshot) if brief else _uplinks(snapshot, now))]
    if not brief or not snapshot.ecmp.legs:
        parts += [text(""), *_ecmp(snapshot)]
    if snapshot.policies and not brief:
        parts += [text(""), text("Policies"), indented(_policies(snapshot))]
    return [*parts, text(""), _agent(snapshot.agent)]


def render_kernel(held: KernelStatus) -> Group:
    """netbond's rules and routes in the kernel."""
    if held.error:
        return Group(text(f"The kernel's routes cannot be read: {held.error}", "red"))
    if not held.rules and not held.routes:
        return Group(text("The kernel holds no rules or routes of netbond's."))
    lines = [text("Of netbond's the kernel still holds", "bold")]
    lines += [text(f"ip rule   {line}") for line in held.rules]
    lines += [text(f"ip route  {line}") for line in held.routes]
    return Group(*lines)


_VERDICTS = ("bold green", "bold yellow", "bold red")  # by the verdict's code


def _verdict(snapshot: Snapshot) -> list[RenderableType]:
    found = snapshot.verdict
    if found is None:
        return []
    return [text(found.text, _VERDICTS[found.code] if 0 <= found.code < len(_VERDICTS) else "bold")]


MOST_PROBLEMS = 6  # in the view without --all


def _problems(agent: AgentStatus, *, everything: bool) -> list[RenderableType]:
    """The problems, the worst first, those that stop something with what to do."""
    details = agent.problem_details
    shown = details if everything or len(details) <= MOST_PROBLEMS else details[: MOST_PROBLEMS - 1]
    parts: list[RenderableType] = []
    for one in shown:
        style = {"degraded": "yellow", "notice": ""}.get(one.severity, "red")
        parts.append(text(f"! {aged(one)}", style))
        if one.hint and (everything or one.severity == "broken"):
            parts.append(text(f"  to do: {one.hint}"))
    if len(details) > len(shown):
        parts.append(text(f"! and {len(details) - len(shown)} more (--all shows them)"))
    return parts


def _agent(agent: AgentStatus) -> Text:
    line = text(f"netbond {agent.version}", "bold")
    return line.append_text(
        text(
            f"  pid {agent.pid}, up {duration(agent.uptime_s)},"
            f" {counted(agent.changes, 'change')}, {agent.config or 'no configuration file'}"
        )
    )


class ByWidth:
    """What looks different where there are fewer than NARROW columns; `make` is told whether that is so."""

    def __init__(self, make: Callable[[bool], RenderableType]) -> None:
        self._make = make

    def _fitting(self, console: Console) -> RenderableType:
        return self._make(console.width < NARROW)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._fitting(console)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._fitting(console))


def make_table(*columns: str, right: tuple[str, ...] = (), fold: str = "", gap: int = 2) -> Table:
    """A plain table; in the column `fold` text is wrapped where there is too little space."""
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column != fold,
            overflow="fold",
        )
    return table


def plain_table() -> Table:
    """Names and what is to be said of them, without a heading; the latter is wrapped."""
    table = make_table("name", "said", fold="said")
    table.show_header = False
    return table


def indented(table: RenderableType) -> RenderableType:
    return Padding(table, (0, 0, 0, 2), expand=False)


# --- uplinks -----------------------------------------------------------------------------------------------


def _uplinks(snapshot: Snapshot, now: float) -> list[RenderableType]:
    """A table for each family, and below what is to be said of each uplink: there it has the space."""
    uplinks = snapshot.uplinks
    none = "No uplinks: no interface has an address and a known gateway."
    parts: list[RenderableType] = [text("Uplinks (rx and tx in bit/s)") if uplinks else text(none, "yellow")]
    notes = plain_table()
    named: set[str] = set()  # uplinks of which it is said what is set
    shown: set[str] = set()  # devices whose rates, modem and data plan have their place already
    for family in (4, 6):
        some = worst_first([uplink for uplink in uplinks if uplink.family == family], snapshot)
        if some:
            make = partial(_family, some, snapshot, now, frozenset(shown))
            parts.append(indented(ByWidth(make)))
        for uplink in some:
            device, name = uplink.device, uplink.name
            if why := _why(uplink, health_of(snapshot, uplink), snapshot):
                notes.add_row(text(f"{name}, IPv6" if family == 6 and device in shown else name, "bold"), why)
            if name not in named and (told := set_by_hand(snapshot, name)):
                notes.add_row(text(name, "bold"), text(told, "yellow"))
            named.add(name)
            if device not in shown and (carrier := _carrier(snapshot, device)):
                notes.add_row(text(name, "bold"), carrier)
            shown.add(device)
    if notes.rows:
        parts.append(indented(notes))
    parts += [text(f"Modem {modem_name(each)}: {each.why}", "yellow") for each in _stuck(snapshot)]
    if snapshot.gone:
        away = dict.fromkeys(f"{one.name} ({gone_since(one)})" for one in snapshot.gone)
        parts.append(text(f"Gone: {', '.join(away)}", "yellow"))
    if later := set_for_later(snapshot):
        parts.append(text(f"Not there now: {'; '.join(later)}", "yellow"))
    names = [one.device for one in snapshot.excluded if one.reason != "loopback"]
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        parts.append(text(f"Not used: {', '.join(names[:5])}{more} (--all says why)", "dim"))
    return parts


def _family(
    uplinks: Sequence[UplinkStatus], snapshot: Snapshot, now: float, shown: Iterable[str], narrow: bool
) -> Table:
    # The counters are those of the interface, so they stand with the first uplink that it is.
    counted = set(shown)
    rates = not narrow and any(uplink.device not in counted for uplink in uplinks)
    table = make_table(
        *("uplink", "address", "gateway", *(("rx", "tx") if rates else ()), "state"),
        right=("rx", "tx"),
        fold="gateway",
        gap=1,
    )
    for uplink in uplinks:
        first = uplink.device not in counted
        counted.add(uplink.device)
        carried = [text(amount(rate) if first else "") for rate in (uplink.rx_bps, uplink.tx_bps)]
        source = uplink.gateway_source
        table.add_row(
            text(title(uplink), "bold"),
            text(uplink.address),
            _Stack(text(uplink.gateway), origin(uplink, now, _SOURCES.get(source, source))),
            *(carried if rates else ()),
            _standing(uplink, health_of(snapshot, uplink)),
        )
    return table


class _Stack:
    """Two texts side by side, or one below the other where the column is too narrow for that."""

    def __init__(self, first: Text, second: Text) -> None:
        self._beside = Text(" ").join((first, second))
        self._below = Text("\n").join((first, second))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._beside if self._beside.cell_len <= options.max_width else self._below

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(Measurement.get(console, options, self._below).maximum, self._beside.cell_len)


def set_by_hand(snapshot: Snapshot, name: str) -> str:
    """What people have set of the uplink, "set off by root, for 43 min more"; "" if nothing."""
    return "; ".join(standing(one) for one in snapshot.overrides if one.uplink == name)


def set_for_later(snapshot: Snapshot) -> list[str]:
    """What is set of uplinks that are not there: "usb5 set off by root"."""
    there = {one.name for one in snapshot.uplinks}
    return [f"{one.uplink} {standing(one)}" for one in snapshot.overrides if one.uplink not in there]


def _standing(uplink: UplinkStatus, health: HealthStatus | None) -> Text:
    """The uplink's state in a word; one that is used without answering well is not simply green."""
    if uplink.state == UplinkState.UP and health is not None:
        if health.state == "degraded":
            return state("degraded")
        if health.state == "down":
            return text("up", "red")  # because all are down; the reason below says so
    return state(uplink.state)


def title(uplink: UplinkStatus) -> str:
    """The uplink's name, and the device's where that does not tell it."""
    name, device = uplink.name, uplink.device
    return name if name == device or name.startswith(f"{device}+") else f"{name} ({device})"


def health_of(snapshot: Snapshot, uplink: UplinkStatus) -> HealthStatus | None:
    """What checks say of the uplink, if there are any."""
    key = (uplink.device, uplink.address)
    return next((one for one in snapshot.health if (one.device, one.address) == key), None)


# As much as fits a glance; --json has the words in full.
_SOURCES = {
    "configuration": "config",
    "main default": "main",
    "main default (gone)": "main, gone",
    "NetworkManager": "NM",
    "networkmanager": "NM",
}


def origin(uplink: UplinkStatus, now: float, source: str) -> Text:
    """Who named the gateway, and how long ago, in brackets."""
    words = (source, age(uplink.gateway_since, now))
    return text(f"({', '.join(word for word in words if word)})")


def _stuck(snapshot: Snapshot) -> list[IdleModem]:
    """The modems that are no uplinks for a reason of their own: a SIM that waits for its PIN."""
    return [modem for modem in snapshot.idle_modems if modem.why]


def maker(modem: ModemStatus) -> str:
    """Who made the modem, and what it is called; "" if neither is known."""
    return " ".join(word for word in (modem.manufacturer, modem.model) if word)


def modem_name(modem: IdleModem) -> str:
    """What to call a modem that is no uplink: its interface, else what it is and where it is plugged in."""
    if modem.device:
        return modem.device
    made = maker(modem)
    port = modem.port.rpartition("/")[2]
    return (f"{made} at {port}" if made and port else made or port) or "of unknown make"


def gone_since(one: DepartedUplink) -> str:
    """Why and since when an uplink is gone: "unplugged 3 min ago"."""
    return f"{one.reason}, {duration(one.gone_s)} ago"


def _why(uplink: UplinkStatus, health: HealthStatus | None, snapshot: Snapshot) -> Text | None:
    """Why the uplink is not simply up, and since when as far as the checks know."""
    said, reason = uplink.state, uplink.reason
    if any(one.subject == uplink.name and one.code in _TOLD for one in snapshot.agent.problem_details):
        return None  # it stands above
    if uplink.mode != "normal" and reason.startswith(f"set {uplink.mode} by "):
        return None  # what is set stands there
    if said == UplinkState.DEAD and health is not None and health.state == "down":
        return text(f"dead for {duration(health.since_s)}: {reason}", "red")
    if said in (UplinkState.SPENT, UplinkState.STANDBY) and any(
        plan.device == uplink.device and plan.verdict in ("backup", "off") for plan in snapshot.metered
    ):
        return None  # how much of the plan is used stands there in red
    if said == UplinkState.DEGRADED and health is not None and health.state == "degraded":
        return text(f"not in the shared default for {duration(health.since_s)}: {reason}", "yellow")
    if reason and reason not in (said, f"interface is {said}"):
        return text(reason, "yellow")
    return None


# The problems of an uplink that say what would stand below the table.
_TOLD = frozenset(
    (
        *("uplink-dead", "uplink-suspect", "uplink-degraded", "uplink-no-carrier", "uplink-down"),
        "data-plan-spent",
    )
)


def _carrier(snapshot: Snapshot, device: str) -> Text | None:
    """The modem's network and signal, and what is used of the data plan."""
    parts = []
    if (modem := snapshot.modems.get(device)) is not None:
        parts.append(text(modem.summary, "" if modem.current else "dim"))
    parts += [data_plan(plan) for plan in snapshot.metered if plan.device == device]
    return Text(", ").join(parts) if parts else None


def data_plan(plan: DataPlanStatus) -> Text:
    """How much of a data plan is used."""
    style = {"warning": "yellow", "spent": "red"}.get(plan.level, "")
    return text(f"{size(plan.used_bytes)} of {size(plan.budget_bytes)} used", style)


# --- the shared default and the engines --------------------------------------------------------------------


def _ecmp(snapshot: Snapshot) -> list[RenderableType]:
    legs = snapshot.ecmp.legs
    heading = text(f"Default for unbound traffic (table {snapshot.ecmp.table})")
    if not legs:
        return [heading.append_text(text(": none of netbond's, no uplink is usable", "yellow"))]
    totals: dict[int, int] = {}
    for leg in legs:
        totals[leg.family] = totals.get(leg.family, 0) + leg.weight
    titles = {(uplink.family, uplink.device, uplink.gateway): title(uplink) for uplink in snapshot.uplinks}
    table = make_table("uplink", "gateway", "weight", "share", right=("weight", "share"))
    for leg in legs:
        key, total = (leg.family, leg.device, leg.gateway), totals[leg.family]
        table.add_row(
            text(titles.get(key, leg.device), "bold"),
            text(leg.gateway),
            text(leg.weight),
            text(f"{100 * leg.weight / total:.0f} %" if total else None),
        )
    return [heading, indented(table), *map(_forwarded, snapshot.flows)]


def _forwarded(flows: ForwardedFlows) -> Text:
    """What holds forwarded flows of a family."""
    if flows.held_by == "nothing":
        told = "move when an uplink comes or goes: install nftables"
        return text(f"Forwarded IPv{flows.family} flows {told}", "yellow")
    article = "a " if flows.held_by.endswith("group") else ""
    return text(f"Forwarded IPv{flows.family} flows keep their uplink by {article}{flows.held_by}")


def _policies(snapshot: Snapshot) -> RenderableType:
    """A line for each policy; for each family, where they differ. Another one for its connections."""
    table = plain_table()
    for policy in snapshot.policies:
        if policy.problem:
            table.add_row(text(policy.name, "bold"), text(policy.problem, "yellow" if policy.ways else "red"))
        lines: dict[tuple[str, str, str], list[int]] = {}
        for way in policy.ways:
            names = [uplink.name for uplink in way.uplinks]
            said = way_words(way.tier, len(policy.tiers), names, policy.otherwise)
            style = "green" if way.tier == 1 else "yellow" if way.tier else "red"
            lines.setdefault((said, style, way.reason), []).append(way.family)
        if not lines and not policy.problem:
            lines["nothing matches it: no such interface, user, name or family here", "yellow", ""] = []
        for (said, style, reason), families in lines.items():
            line = text(f"IPv{families[0]}: " if len(lines) > 1 else "")
            line.append_text(text(said, style))
            table.add_row(text(policy.name, "bold"), line.append_text(text(f": {reason}" if reason else "")))
        on = [
            f"{each.connections} on {each.uplink}"
            for each in snapshot.connections
            if each.policy == policy.name
        ]
        if on:
            table.add_row(text(""), text(f"connections: {', '.join(on)}"))
    return table


def _engine(engine: EngineStatus) -> list[RenderableType]:
    line = text(engine.name, "bold").append("  ")
    line.append_text(state(engine.state, engine.reason))
    if engine.pid is not None:
        line.append_text(text(f", pid {engine.pid}"))
    if engine.stats is not None and engine.stats.flavour:
        line.append_text(text(f", {engine.stats.flavour}"))
    if engine.restarts:
        line.append_text(text(f", {counted(engine.restarts, 'restart')}"))
        if engine.last_exit != engine.reason:
            line.append_text(text(f" (last: {engine.last_exit})"))
    if isinstance(engine.stats, SenderStatistics):
        return [line, *_sender(engine.stats)]
    if isinstance(engine.stats, ReceiverStatistics):
        return [line, *_receiver(engine.stats)]
    return [line]


def _sender(stats: SenderStatistics) -> list[RenderableType]:
    way = state(stats.state).append_text(text(f": {stats.receiver}"))
    if stats.receiver_address:
        way.append_text(text(f" ({stats.receiver_address})"))
    way.append_text(text(f", caller {stats.caller or 'not yet connected'}"))
    if stats.stream:
        way.append_text(text(f", stream {stats.stream}"))
    notes = [indented(text(problem, "yellow")) for problem in stats.problems]
    if stats.advised_bits_per_second is not None:
        notes.insert(0, indented(text(f"advice: {rates(stats)}, {waiting(stats)}")))
    if not stats.links:
        return [indented(way), *notes]
    return [indented(way), *notes, indented(ByWidth(partial(_links, stats)))]


def _links(stats: SenderStatistics, narrow: bool) -> Table:
    """The links of a sender, the worst first."""
    # What a link can carry says more than its share, and there is no space for both.
    known = any(link.capacity_bits_per_second is not None for link in stats.links)
    last = "capacity" if known else "share"
    queue = () if narrow else ("window", "in flight")
    right = (*queue, "RTT", "loss", "bit/s", last)
    table = make_table("link", *right, "state", right=right, fold="state")
    # What goes out over a link that is down are attempts, and no part of the stream.
    total = sum(number(link.bitrate_bps) or 0 for link in stats.links if link.state == "up")
    for link in worst_first(stats.links):
        window, rtt, loss = number(link.window), number(link.rtt_ms), number(link.loss_pct)
        rate = number(link.bitrate_bps)
        carries = rate is not None and total > 0 and link.state == "up"
        share = f"{100 * (rate or 0) / total:.0f} %" if carries else None
        # The protocol counts the window in thousandths.
        queued = (text(None if window is None else f"{window / 1000:.1f}"), text(link.in_flight))
        table.add_row(
            text(link.label, "bold"),
            *(() if narrow else queued),
            text(None if rtt is None else f"{rtt:.0f} ms"),
            text(None if loss is None else f"{loss:.1f} %"),
            text(amount(rate)),
            text(capacity(link) if known else share),
            state(link.state, live_reason(link)),
        )
    return table


def live_reason(link: LinkStatistics) -> str:
    """Why a link is as it is; how long it has been silent as of now, not of when that was noticed."""
    silent = number(link.silent_ms)
    if link.reason.startswith("silent for ") and silent is not None:
        return f"silent for {duration(silent / 1000)}"
    return link.reason


Row = TypeVar("Row", UplinkStatus, LinkStatistics)


def worst_first(rows: Sequence[Row], snapshot: Snapshot | None = None) -> list[Row]:
    """What does not work first, then what works badly; else in their order, so that rows keep their place."""
    return sorted(rows, key=lambda row: _badness(row, snapshot))


def _badness(row: UplinkStatus | LinkStatistics, snapshot: Snapshot | None) -> int:
    if isinstance(row, LinkStatistics):
        ranks = {"up": 2 if row.reason and row.enabled else 3, "registering": 1}
        return ranks.get(row.state, 0)
    health = None if snapshot is None else health_of(snapshot, row)
    if row.state == UplinkState.UP:
        return 3 if health is None or health.state in ("up", "unknown") else 1
    return {"standby": 2, "off": 2, "degraded": 1}.get(row.state, 0)


def _brief_uplinks(snapshot: Snapshot) -> list[RenderableType]:
    """Uplinks on a small terminal: those that are not simply up, and the names of the others."""
    if not snapshot.uplinks:
        return [text("No uplinks: no interface has an address and a known gateway.", "yellow")]
    parts: list[RenderableType] = []
    good: dict[str, None] = {}
    for uplink in worst_first(snapshot.uplinks, snapshot):
        if _badness(uplink, snapshot) == 3:
            good[title(uplink)] = None
        else:
            family = "" if uplink.family == 4 else " IPv6"
            standing = _standing(uplink, health_of(snapshot, uplink))
            parts.append(text(f"Uplink {title(uplink)}{family}: ").append_text(standing))
    if good:
        parts.append(text(f"{counted(len(good), 'uplink')} up: {', '.join(good)}"))
    return parts


def _receiver(stats: ReceiverStatistics) -> list[RenderableType]:
    said = ", ".join(f"{why} {count}" for why, count in stats.refused.items() if number(count))
    notes = [indented(text(f"refused: {said}"))] if said else []
    if not stats.groups:
        return [indented(text("no sender connected")), *notes]
    table = ByWidth(partial(_stream_table, stats))
    if stats.groups_left_out:
        notes.append(indented(text(f"and {stats.groups_left_out} more streams, which carry less")))
    return [indented(table), *notes]


def _stream_table(stats: ReceiverStatistics, narrow: bool) -> Table:
    several = not narrow and len({group.server for group in stats.groups}) > 1
    table = make_table(
        *("stream", "bit/s", "loss", "dropped", "RTT", "links", *(("SRT server",) if several else ())),
        right=("bit/s", "loss", "dropped", "RTT"),
    )
    for group in sorted(stats.groups, key=_trouble):
        heard, loss, rtt = alive(group), number(group.loss_pct), number(group.rtt_ms)
        table.add_row(
            text(name_of(group), "bold"),
            text(amount(group.bitrate_bps), "" if group.live else "red"),
            text(None if loss is None else f"{loss:.1f} %"),
            text(amount(group.dropped_packets)),
            text(None if rtt is None else f"{rtt:.0f} ms"),
            text(heard)
            if heard == len(group.links)
            else text(f"{heard} of {len(group.links)}", "yellow" if heard else "red"),
            *((text(group.server),) if several else ()),
        )
    return table


def _trouble(group: GroupStatistics) -> tuple[bool, float, float, float]:
    """Sorts streams: first those that do not flow, then those that lose most, whose links are silent, ..."""
    silent = 1 - alive(group) / len(group.links) if group.links else 1.0
    loss, rtt = number(group.loss_pct) or 0.0, number(group.rtt_ms) or 0.0
    return group.live, -loss, -silent, -rtt


def alive(group: GroupStatistics) -> int:
    """How many of its links were heard lately."""
    return sum((number(link.idle_s) or 0.0) < SILENT_S for link in group.links)


def name_of(group: GroupStatistics) -> str:
    """What to call a stream; an engine of 0.1.0 knows no names."""
    return group.stream or f"group {group.id}"


# --- numbers -----------------------------------------------------------------------------------------------


def number(value: float | None) -> float | None:
    """The number, None if it is none or larger than any true one: what an engine says need not make sense."""
    return None if value is None or abs(value) > 1e18 else float(value)


def amount(value: float | None) -> str | None:
    """A number with three digits and k, M or G: 1500000 is "1.50M"; None for what is none."""
    left = number(value)
    if left is None:
        return None
    for unit in ("", "k", "M", "G"):
        if abs(left) < 999.5 or unit == "G":
            break
        left /= 1000
    if not unit:
        return f"{left:.0f}"
    digits = 2 if abs(left) < 9.995 else 1 if abs(left) < 99.95 else 0
    return f"{left:.{digits}f}{unit}"


def capacity(link: LinkStatistics | LinkAdvice) -> str | None:
    """What a link carries: "1.50M" as measured, ">1.50M" at least, "~1.50M" as remembered; None: unknown."""
    found = amount(link.capacity_bits_per_second)
    return None if found is None else {"at_least": ">", "remembered": "~"}.get(link.capacity_is, "") + found


def rates(of: SenderStatistics | Advice) -> str:
    """What an encoder may send, of what the bond carries: "send 8.50M of 9.50M bit/s".

    Of ">9.50M" if it is to send more than links have shown so far: only full ones show what they carry.
    """
    advised, carried = amount(of.advised_bits_per_second), amount(of.capacity_bits_per_second)
    return f"send {advised or '-'} of {'>' if carried and exceeds(of) else ''}{carried or '-'} bit/s"


def exceeds(of: SenderStatistics | Advice) -> bool:
    """Whether more is advised than the links have shown that they carry."""
    advised, known = number(of.advised_bits_per_second), number(of.capacity_bits_per_second)
    return advised is not None and known is not None and advised > known


def waiting(of: SenderStatistics | Advice) -> str:
    """How long what waits takes, of the time that it has: "queued 35 of 1000 ms"."""
    queued, latency = number(of.queued_ms), number(of.latency_ms)
    return f"queued {queued or 0:.0f} of {'-' if latency is None else f'{latency:.0f}'} ms"


def size(value: float | None) -> str:
    """Bytes in the units of data plans: "12.3 GB"; "-" for what is none."""
    found = number(value)
    return "-" if found is None else data_amount(int(found))


def duration(seconds: float | None) -> str:
    """Seconds as people say them: "45 s", "3 min", "2 h 5 min", "4 d 1 h"."""
    found = number(seconds)
    if found is None:
        return "-"
    return spelled(found)


def age(since: float | None, now: float) -> str:
    """How long ago that was, both in Unix time, as "3 min ago"; "" if it is not known.

    A box without a clock starts in 1970 or where it stopped: a time like that tells no age.
    """
    found = number(since)
    if found is None or found < CLOCK_IS_SET or now < found:
        return ""
    return " ".join(duration(now - found).split()[:2]) + " ago"
