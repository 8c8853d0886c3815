"""How a snapshot looks: the view of `netbond status`, and what status_details.py makes the rest of it with.

Everything goes through rich's Text, which knows no markup, and through printable(): reasons come from engines
that face the internet, names from modems and their networks. 80 columns are enough for what is usual.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from netbond.sources.data_plans import EARLIEST
from netbond.sources.data_plans import amount as readable
from netbond.status.snapshot import mapping, objects
from netbond.system.text import printable

_STYLES = {
    "up": "green",
    "ok": "green",
    "unknown": "yellow",
    "waiting": "yellow",
    "running": "green",
    "connected": "green",
    "starting": "yellow",
    "registering": "yellow",
    "resolving": "yellow",
    "no carrier": "yellow",
    "standby": "yellow",
    "degraded": "yellow",
    "backing off": "yellow",
}


CLOCK_IS_SET = datetime.combine(EARLIEST, time.min, UTC).timestamp()


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


def overview(snapshot: Mapping[str, Any], now: float) -> list[RenderableType]:
    """The view without --all. `now` is Unix time."""
    parts: list[RenderableType] = [*_agent(snapshot["agent"]), text("")]
    parts += _uplinks(snapshot, now)
    parts += [text(""), *_ecmp(snapshot)]
    for engine in objects(snapshot, "engines"):
        parts += [text(""), *_engine(engine)]
    return parts


def render_kernel(held: Mapping[str, Any]) -> Group:
    """netbond's rules and routes in the kernel."""
    if "error" in held:
        return Group(text(f"The kernel's routes cannot be read: {held['error']}", "red"))
    if not held["rules"] and not held["routes"]:
        return Group(text("The kernel holds no rules or routes of netbond's."))
    lines = [text("Of netbond's the kernel still holds", "bold")]
    lines += [text(f"ip rule   {line}") for line in held["rules"]]
    lines += [text(f"ip route  {line}") for line in held["routes"]]
    return Group(*lines)


def _agent(agent: Mapping[str, Any]) -> list[RenderableType]:
    line = text(f"netbond {agent.get('version')}", "bold")
    line.append_text(
        text(
            f"  pid {agent.get('pid')}, up {duration(agent.get('uptime_s'))},"
            f" {agent.get('changes')} changes, {agent.get('config') or 'no configuration file'}"
        )
    )
    problems = agent.get("problems")
    return [line, *(text(f"! {problem}", "red") for problem in (problems or []))]


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


def _uplinks(snapshot: Mapping[str, Any], now: float) -> list[RenderableType]:
    """A table for each family, and below what is to be said of each uplink: there it has the space."""
    uplinks = objects(snapshot, "uplinks")
    none = "No uplinks: no interface has an address and a known gateway."
    parts: list[RenderableType] = [text("Uplinks (rx and tx in bit/s)") if uplinks else text(none, "yellow")]
    notes = plain_table()
    shown: set[object] = set()  # devices whose rates, modem and data plan have their place already
    for family in (4, 6):
        some = [uplink for uplink in uplinks if uplink.get("family") == family]
        if some:
            parts.append(indented(_family(some, snapshot, now, shown)))
        for uplink in some:
            device, name = uplink.get("device"), str(uplink.get("name"))
            if why := _why(uplink, health_of(snapshot, uplink), snapshot):
                notes.add_row(text(f"{name}, IPv6" if family == 6 and device in shown else name, "bold"), why)
            if device not in shown and (carrier := _carrier(snapshot, device)):
                notes.add_row(text(name, "bold"), carrier)
            shown.add(device)
    if notes.rows:
        parts.append(indented(notes))
    parts += [text(f"Modem {modem_name(each)}: {each['why']}", "yellow") for each in _stuck(snapshot)]
    if gone := objects(snapshot, "gone"):
        away = dict.fromkeys(f"{one.get('name')} ({gone_since(one)})" for one in gone)
        parts.append(text(f"Gone: {', '.join(away)}", "yellow"))
    excluded = objects(snapshot, "excluded")
    names = [str(one.get("device")) for one in excluded if one.get("reason") != "loopback"]
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        parts.append(text(f"Not used: {', '.join(names[:5])}{more} (--all says why)", "dim"))
    return parts


def _family(
    uplinks: list[dict[str, Any]], snapshot: Mapping[str, Any], now: float, shown: Iterable[object]
) -> Table:
    # The counters are those of the interface, so they stand with the first uplink that it is.
    counted = set(shown)
    rates = any(uplink.get("device") not in counted for uplink in uplinks)
    table = make_table(
        *("uplink", "address", "gateway", *(("rx", "tx") if rates else ()), "state"),
        right=("rx", "tx"),
        fold="gateway",
        gap=1,
    )
    for uplink in uplinks:
        first = uplink.get("device") not in counted
        counted.add(uplink.get("device"))
        carried = [text(amount(uplink.get(key)) if first else "") for key in ("rx_bps", "tx_bps")]
        source = str(uplink.get("gateway_source"))
        table.add_row(
            text(title(uplink), "bold"),
            text(uplink.get("address")),
            _Stack(text(uplink.get("gateway")), origin(uplink, now, _SOURCES.get(source, source))),
            *(carried if rates else ()),
            _standing(uplink, health_of(snapshot, uplink)),
        )
    return table


class Cropped:
    """What fits a screen of `options.height` lines, and how much does not."""

    def __init__(self, view: RenderableType) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.height
        lines = console.render_lines(self._view, options.update(height=None), pad=False)
        if len(lines) > height:
            hidden = len(lines) - height + 1
            lines = [*lines[: height - 1], [Segment(f"... {hidden} more lines: make the window taller")]]
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line


class _Stack:
    """Two texts side by side, or one below the other where the column is too narrow for that."""

    def __init__(self, first: Text, second: Text) -> None:
        self._beside = Text(" ").join((first, second))
        self._below = Text("\n").join((first, second))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._beside if self._beside.cell_len <= options.max_width else self._below

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(Measurement.get(console, options, self._below).maximum, self._beside.cell_len)


def _standing(uplink: Mapping[str, Any], health: Mapping[str, Any]) -> Text:
    """The uplink's state in a word; one that is used without answering well is not simply green."""
    if uplink.get("state") == "up" and health.get("state") == "degraded":
        return state("degraded")
    if uplink.get("state") == "up" and health.get("state") == "down":
        return text("up", "red")  # because all are down; the reason below says so
    return state(uplink.get("state"))


def title(uplink: Mapping[str, Any]) -> str:
    """The uplink's name, and the device's where that does not tell it."""
    name, device = str(uplink.get("name", uplink.get("device"))), str(uplink.get("device"))
    return name if name == device or name.startswith(f"{device}+") else f"{name} ({device})"


def health_of(snapshot: Mapping[str, Any], uplink: Mapping[str, Any]) -> dict[str, Any]:
    """What checks say of the uplink; {} if there are none."""
    key = (uplink.get("device"), uplink.get("address"))
    found = (one for one in objects(snapshot, "health") if (one.get("device"), one.get("address")) == key)
    return next(found, {})


# As much as fits a glance; --json has the words in full.
_SOURCES = {
    "configuration": "config",
    "main default": "main",
    "main default (gone)": "main, gone",
    "NetworkManager": "NM",
    "networkmanager": "NM",
}


def origin(uplink: Mapping[str, Any], now: float, source: str) -> Text:
    """Who named the gateway, and how long ago, in brackets."""
    words = (source, age(uplink.get("gateway_since"), now))
    return text(f"({', '.join(word for word in words if word)})")


def _stuck(snapshot: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The modems that are no uplinks for a reason of their own: a SIM that waits for its PIN."""
    return [modem for modem in objects(snapshot, "idle_modems") if modem.get("why")]


def modem_name(modem: Mapping[str, Any]) -> str:
    """What to call a modem that is no uplink: its interface, else what it is and where it is plugged in."""
    if modem.get("device"):
        return str(modem["device"])
    maker = " ".join(str(modem[key]) for key in ("manufacturer", "model") if modem.get(key))
    port = str(modem.get("port") or "").rpartition("/")[2]
    return (f"{maker} at {port}" if maker and port else maker or port) or "of unknown make"


def gone_since(one: Mapping[str, Any]) -> str:
    """Why and since when an uplink is gone: "unplugged 3 min ago"."""
    return f"{one.get('reason')}, {duration(one.get('gone_s'))} ago"


def _why(uplink: Mapping[str, Any], health: Mapping[str, Any], snapshot: Mapping[str, Any]) -> Text | None:
    """Why the uplink is not simply up, and since when as far as the checks know."""
    said, reason = uplink.get("state"), uplink.get("reason")
    if said == "dead" and health.get("state") == "down":
        return text(f"dead for {duration(health.get('since_s'))}: {reason}", "red")
    if said in ("spent", "standby") and any(
        plan.get("device") == uplink.get("device") and plan.get("verdict") in ("backup", "off")
        for plan in objects(snapshot, "metered")
    ):
        return None  # how much of the plan is used stands there in red
    if reason and reason not in (said, f"interface is {said}"):
        return text(reason, "yellow")
    if said == "up" and health.get("state") == "degraded":
        return text(f"degraded for {duration(health.get('since_s'))}: {health.get('reason')}", "yellow")
    return None


def _carrier(snapshot: Mapping[str, Any], device: object) -> Text | None:
    """The modem's network and signal, and what is used of the data plan."""
    parts = []
    modem = mapping(mapping(snapshot, "modems"), str(device))
    if modem:
        parts.append(text(modem.get("summary"), "" if modem.get("current") else "dim"))
    parts += [data_plan(plan) for plan in objects(snapshot, "metered") if plan.get("device") == device]
    return Text(", ").join(parts) if parts else None


def data_plan(plan: Mapping[str, Any]) -> Text:
    """How much of a data plan is used."""
    style = {"warning": "yellow", "spent": "red"}.get(str(plan.get("level")), "")
    return text(f"{size(plan.get('used_bytes'))} of {size(plan.get('budget_bytes'))} used", style)


# --- the shared default and the engines --------------------------------------------------------------------


def _ecmp(snapshot: Mapping[str, Any]) -> list[RenderableType]:
    ecmp = mapping(snapshot, "ecmp")
    legs = objects(ecmp, "legs")
    heading = text(f"Default for unbound traffic (table {ecmp.get('table')})")
    if not legs:
        return [heading.append_text(text(": none of netbond's, no uplink is usable", "yellow"))]
    totals: dict[object, float] = {}
    for leg in legs:
        totals[leg.get("family")] = totals.get(leg.get("family"), 0) + (number(leg.get("weight")) or 0)
    titles = {
        (uplink.get("family"), uplink.get("device"), uplink.get("gateway")): title(uplink)
        for uplink in objects(snapshot, "uplinks")
    }
    table = make_table("uplink", "gateway", "weight", "share", right=("weight", "share"))
    for leg in legs:
        key = (leg.get("family"), leg.get("device"), leg.get("gateway"))
        weight, total = number(leg.get("weight")) or 0, totals[leg.get("family")]
        table.add_row(
            text(titles.get(key, leg.get("device")), "bold"),
            text(leg.get("gateway")),
            text(leg.get("weight")),
            text(f"{100 * weight / total:.0f} %" if total else None),
        )
    return [heading, indented(table)]


def _engine(engine: Mapping[str, Any]) -> list[RenderableType]:
    line = text(engine.get("name"), "bold").append("  ")
    line.append_text(state(engine.get("state"), engine.get("reason")))
    if engine.get("pid") is not None:
        line.append_text(text(f", pid {engine['pid']}"))
    if engine.get("restarts"):
        line.append_text(text(f", {engine['restarts']} restarts"))
        if engine.get("last_exit") != engine.get("reason"):
            line.append_text(text(f" (last: {engine.get('last_exit')})"))
    stats = engine.get("stats")
    if not isinstance(stats, dict):
        return [line]
    if engine.get("role") == "sender":
        return [line, *_sender(stats)]
    return [line, *_receiver(stats)]


def _sender(stats: Mapping[str, Any]) -> list[RenderableType]:
    way = state(stats.get("state")).append_text(text(f": {stats.get('receiver')}"))
    if stats.get("receiver_address"):
        way.append_text(text(f" ({stats['receiver_address']})"))
    way.append_text(text(f", caller {stats.get('caller') or 'not yet heard'}"))
    links = objects(stats, "links")
    if not links:
        return [indented(way)]
    table = make_table(
        *("link", "window", "in flight", "RTT", "loss", "bit/s", "share", "state"),
        right=("window", "in flight", "RTT", "loss", "bit/s", "share"),
        fold="state",
    )
    # What goes out over a link that is down are attempts, and no part of the stream.
    total = sum(number(link.get("bitrate_bps")) or 0 for link in links if link.get("state") == "up")
    for link in links:
        window, rtt, loss = (number(link.get(key)) for key in ("window", "rtt_ms", "loss_pct"))
        rate = number(link.get("bitrate_bps"))
        carries = rate is not None and total > 0 and link.get("state") == "up"
        table.add_row(
            text(link.get("label"), "bold"),
            text(None if window is None else f"{window / 1000:.1f}"),  # the protocol counts in thousandths
            text(link.get("in_flight")),
            text(None if rtt is None else f"{rtt:.0f} ms"),
            text(None if loss is None else f"{loss:.1f} %"),
            text(amount(rate)),
            text(f"{100 * (rate or 0) / total:.0f} %" if carries else None),
            state(link.get("state"), link.get("reason")),
        )
    return [indented(way), indented(table)]


def _receiver(stats: Mapping[str, Any]) -> list[RenderableType]:
    refused = stats.get("refused")
    counts = refused.items() if isinstance(refused, dict) else ()
    said = ", ".join(f"{why} {count}" for why, count in counts if number(count))
    notes = [indented(text(f"refused: {said}"))] if said else []
    groups = objects(stats, "groups")
    if not groups:
        return [indented(text("no sender connected")), *notes]
    table = make_table("group", "peer", "packets", "idle", "bit/s", right=("packets", "idle", "bit/s"))
    for group in groups:
        for link in objects(group, "links"):
            idle = number(link.get("idle_s"))
            table.add_row(
                text(group.get("id"), "bold"),
                text(link.get("peer")),
                text(link.get("packets")),
                text(None if idle is None else f"{idle:.1f} s"),
                text(amount(link.get("bitrate_bps"))),
            )
    return [indented(table), *notes]


# --- numbers -----------------------------------------------------------------------------------------------


def number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e18:
        return None
    return float(value)


def amount(value: object) -> str | None:
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


def size(value: object) -> str:
    """Bytes in the units of data plans: "12.3 GB"; "-" for what is none."""
    found = number(value)
    return "-" if found is None else readable(int(found))


def duration(seconds: object) -> str:
    """Seconds as people say them: "45 s", "3 min", "2 h 5 min", "4 d 1 h"."""
    found = number(seconds)
    if found is None:
        return "-"
    whole = int(found)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes == 0:
        return f"{whole} s"
    if hours == 0:
        return f"{minutes} min"
    if days == 0:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


def age(since: object, now: float) -> str:
    """How long ago that was, both in Unix time, as "3 min ago"; "" if it is not known.

    A box without a clock starts in 1970 or where it stopped: a time like that tells no age.
    """
    found = number(since)
    if found is None or found < CLOCK_IS_SET or now < found:
        return ""
    return " ".join(duration(now - found).split()[:2]) + " ago"
