"""What `netbond status --all` adds: all that is known of each uplink, by source, and where sources disagree.

Only presentation, and a comparison of what the snapshot has; netbond itself goes by netbond.uplinks.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from netbond.cli.status_view import (
    amount,
    data_plan,
    duration,
    gone_since,
    health_of,
    indented,
    make_table,
    maker,
    modem_name,
    name_of,
    number,
    origin,
    plain_table,
    set_by_hand,
    state,
    text,
    title,
)
from netbond.model import UplinkState
from netbond.srtla.statistics import ReceiverStatistics, SenderStatistics
from netbond.status.schema import (
    DataPlanStatus,
    HardwareStatus,
    HealthStatus,
    IdleModem,
    ManagedDevice,
    ModemStatus,
    Snapshot,
    UplinkStatus,
)

Row = tuple[str, Text]


def details(snapshot: Snapshot, now: float) -> list[RenderableType]:
    """A part for each device that is an uplink, then what is not used and why. `now` is Unix time."""
    parts: list[RenderableType] = []
    by_device: dict[str, list[UplinkStatus]] = {}
    for uplink in snapshot.uplinks:
        by_device.setdefault(uplink.device, []).append(uplink)
    for device, uplinks in by_device.items():
        table = plain_table()
        for key, value in _rows(snapshot, device, uplinks, now):
            table.add_row(text(key, "dim"), value)
        heading = ", ".join(dict.fromkeys(map(title, uplinks)))
        parts += [text(""), text(heading, "bold"), indented(table)]
    for engine in snapshot.engines:
        if isinstance(engine.stats, ReceiverStatistics) and engine.stats.groups:
            parts += [text(""), text(engine.name, "bold"), indented(_links(engine.stats))]
    return parts + _unused(snapshot)


def _links(stats: ReceiverStatistics) -> Table:
    """The links of a receiver's streams: what it hears, and what their senders tell."""
    table = make_table(
        *("stream", "peer", "idle", "bit/s", "RTT", "lost", "in flight"),
        right=("idle", "bit/s", "RTT", "lost", "in flight"),
        fold="stream",
    )
    for group in stats.groups:
        for link in group.links:
            idle, told = number(link.idle_s), link.sender
            rtt = None if told is None else number(told.rtt_ms)
            table.add_row(
                text(name_of(group), "bold"),
                text(link.peer),
                text(None if idle is None else f"{idle:.1f} s"),
                text(amount(link.bitrate_bps)),
                text(None if rtt is None else f"{rtt:.0f} ms"),
                text(None if told is None else amount(told.naks)),
                text(None if told is None else amount(told.in_flight)),
            )
    return table


def _rows(snapshot: Snapshot, device: str, uplinks: list[UplinkStatus], now: float) -> Iterator[Row]:
    for uplink in uplinks:
        yield from _routing(uplink, now)
    for name in dict.fromkeys(uplink.name for uplink in uplinks):
        if told := set_by_hand(snapshot, name):
            yield "set by hand", text(told, "yellow")
    if (hardware := snapshot.hardware.get(device)) is not None and hardware != HardwareStatus():
        yield from _hardware(hardware)
    if (modem := snapshot.modems.get(device)) is not None:
        yield from _modem(modem)
    if (manager := snapshot.networkmanager.get(device)) is not None:
        yield "NetworkManager", _networkmanager(manager)
    set_to = {one.uplink for one in snapshot.overrides if one.what == "mode"}
    for plan in snapshot.metered:
        if plan.device == device:
            yield "data plan", _plan(plan, in_spite=any(uplink.name in set_to for uplink in uplinks))
    for uplink in uplinks:
        if (health := health_of(snapshot, uplink)) is not None:
            yield from _health(health)
    for line in contradictions(snapshot, device):
        yield "disagreement", text(line, "yellow")


def _routing(uplink: UplinkStatus, now: float) -> Iterator[Row]:
    words = [
        f"{uplink.address}/{uplink.prefix_length}",
        f"table {uplink.table}",
        f"weight {uplink.weight}",
        "in the shared default" if uplink.in_ecmp else "not in the shared default",
    ]
    if uplink.priority:
        words.append(f"priority {uplink.priority}")
    if uplink.metered:
        words.append("metered")
    yield f"IPv{uplink.family}", text(", ".join(words))
    gateway = text(uplink.gateway or "none needed").append(" ")
    yield "gateway", gateway.append_text(origin(uplink, now, uplink.gateway_source))
    for place, one in enumerate(uplink.gateways, 1):
        known = f"{place} of {len(uplink.gateways)}: {one.gateway} ({one.source}), {one.state}"
        yield "", text(f"{known}: {one.reason}" if one.reason else known)


def _joined(*words: object) -> Text:
    return text(", ".join(str(word) for word in words if word))


def _hardware(hardware: HardwareStatus) -> Iterator[Row]:
    names = [hardware.vendor_name, hardware.model_name]
    if names[1].startswith(names[0]):
        del names[0]
    labelled = {"serial number": hardware.serial, "driver": hardware.driver, "MAC": hardware.mac}
    yield (
        "hardware",
        _joined(
            " ".join(name for name in names if name),
            ":".join(number for number in (hardware.vendor, hardware.model) if number),
            *(f"{label} {value}" for label, value in labelled.items() if value),
        ),
    )
    if hardware.path:
        yield "port", text(hardware.path)


def _modem(modem: ModemStatus) -> Iterator[Row]:
    away = "" if modem.current else "as before ModemManager went away"
    yield "modem", _joined(maker(modem), modem.state, modem.failed, away)
    yield (
        "network",
        _joined(
            modem.summary,
            modem.operator_code,
            modem.registration,
            f"SIM {modem.sim}" if modem.sim not in ("ok", "unknown") else "",
        ),
    )
    measured = (
        ("RSSI", modem.rssi_dbm, "dBm"),
        ("RSRP", modem.rsrp_dbm, "dBm"),
        ("RSRQ", modem.rsrq_db, "dB"),
        ("SNR", modem.snr_db, "dB"),
    )
    signal = [f"{name} {value:g} {unit}" for name, value, unit in measured if value is not None]
    if signal:
        yield "signal", text(", ".join(signal))


def _joined_modem(modem: IdleModem) -> list[str | None]:
    """What else to say of a modem that is no uplink."""
    quality = modem.signal_quality
    return [
        f"state {modem.state}",
        f"SIM {modem.sim}",
        modem.operator,
        None if quality is None else f"signal {quality} %",
        maker(modem) if modem.device else None,
        modem.port if modem.device else None,
        None if modem.current else "as before ModemManager went away",
    ]


def _networkmanager(device: ManagedDevice) -> Text:
    return _joined(
        device.state,
        "" if device.managed else "not managed",
        "configured by somebody else" if device.external else "",
        f"connection {device.connection}" if device.connection else "",
        f"connectivity {device.connectivity}" if device.connectivity != "unknown" else "",
        f"metered: {device.metered}" if device.metered in ("yes", "guess-yes") else "",
        f"lease of {duration(device.lease_seconds)}" if device.lease_seconds else "",
        "" if device.current else "as before NetworkManager went away",
    )


def _plan(plan: DataPlanStatus, *, in_spite: bool) -> Text:
    """How much is used, and what follows; `in_spite`: a person has set what the uplink is used for."""
    said = data_plan(plan)
    if plan.since:
        said.append_text(text(f" since {plan.since}"))
    if plan.resets:
        said.append_text(text(f", anew from {plan.resets}"))
    uses = {"backup": "only for emergencies until then", "off": "not used until then"}
    if (use := uses.get(plan.verdict)) and not in_spite:
        said.append_text(text(f"; {use}"))
    return said


def _health(health: HealthStatus) -> Iterator[Row]:
    verdict = state(health.state, health.reason)
    verdict.append_text(text(f" (for {duration(health.since_s)})"))
    yield f"health, IPv{health.family}", verdict
    for check in health.checks:
        said = state(check.state)
        if check.rtt_ms is not None:
            digits = 1 if check.rtt_ms < 10 else 0
            said.append_text(text(f", RTT {check.rtt_ms:.{digits}f} ms"))
        if check.loss is not None:
            said.append_text(text(f", loss {100 * check.loss:.0f} %"))
        if check.detail:
            said.append_text(text(f": {check.detail}"))
        yield f"  {check.name}", said


# --- where sources disagree --------------------------------------------------------------------------------


def contradictions(snapshot: Snapshot, device: str) -> list[str]:
    """What sources say of a device that does not fit what netbond goes by, a line each."""
    found: list[str] = []
    manager = snapshot.networkmanager.get(device)
    modem = snapshot.modems.get(device)
    uplinks = [uplink for uplink in snapshot.uplinks if uplink.device == device]
    if manager is not None and manager.managed and not manager.external and manager.current:
        for uplink in uplinks:
            found += _against_networkmanager(uplink, manager, health_of(snapshot, uplink))
    used = any(uplink.state == UplinkState.UP for uplink in uplinks)
    if used and modem is not None and modem.current and modem.state != "connected":
        found.append(f"it is in use, and ModemManager says that the modem is {modem.state}")
    for uplink in uplinks:
        ours = f"gateway {uplink.gateway} ({uplink.gateway_source})"
        found += [f"{ours}, but {other.gateway} ({other.source})" for other in uplink.disputed]
        found += _against_the_stream(snapshot, uplink)
    return found


def _against_networkmanager(
    uplink: UplinkStatus, manager: ManagedDevice, health: HealthStatus | None
) -> Iterator[str]:
    if manager.state != "activated":
        if uplink.state == UplinkState.UP:
            yield f"it is in use, and NetworkManager says {manager.state}"
        return
    theirs = manager.gateway6 if uplink.family == 6 else manager.gateway4
    ours = uplink.gateway
    # Each further gateway differs from NetworkManager's one by its nature.
    known = {ours, *(one.gateway for one in uplink.gateways)}
    if theirs and ours and theirs not in known and "+" not in uplink.name:
        yield f"gateway {ours} ({uplink.gateway_source}), but {theirs} for NetworkManager"
    given = [address for address in manager.addresses if ":" not in address]
    held = {address.partition("/")[0] for address in given}
    # Of IPv6 addresses there are several at any time, and they come and go.
    if given and uplink.family == 4 and uplink.address not in held:
        yield f"NetworkManager gave it {', '.join(given)}, and netbond binds to {uplink.address}"
    if manager.connectivity == "portal" and health is not None and health.state in ("up", "degraded"):
        yield "NetworkManager sees a captive portal, and the checks get through"


def _against_the_stream(snapshot: Snapshot, uplink: UplinkStatus) -> Iterator[str]:
    """Checks and the links of connected senders that do not agree on whether the uplink leads anywhere."""
    health = health_of(snapshot, uplink)
    if health is None:
        return
    good = uplink.state in (UplinkState.UP, UplinkState.DEGRADED) and health.state in ("up", "degraded")
    bad = health.state == "down"
    for engine in snapshot.engines:
        stats = engine.stats
        # A sender that has no link at all proves nothing: the receiver may be what is gone.
        if not isinstance(stats, SenderStatistics) or stats.state != "connected":
            continue
        for link in stats.links:
            if (link.device, link.address) != (uplink.device, uplink.address):
                continue
            if good and link.state == "down":
                why = link.reason or "no answer"
                yield f"the checks get through, and the link of {engine.name} is down: {why}"
            elif bad and link.state == "up":
                yield f"the checks fail, and the link of {engine.name} is up"


# --- what is not used --------------------------------------------------------------------------------------


def _unused(snapshot: Snapshot) -> list[RenderableType]:
    reasons = [(one.device, one.reason) for one in snapshot.excluded]
    reasons += [(each.name, each.reason) if each.name else (each.reason, "") for each in snapshot.idle]
    for modem in snapshot.idle_modems:
        known = [modem.why, *_joined_modem(modem)]
        reasons.append((modem_name(modem), "modem: " + ", ".join(word for word in known if word)))
    for one in snapshot.gone:
        way = f" via {one.gateway}" if one.gateway else ""
        reasons.append((one.name, f"{gone_since(one)}; it had {one.address}{way}"))
    if not reasons:
        return []
    table = plain_table()
    for name, why in reasons:
        table.add_row(text(name, "bold"), text(why))
    return [text(""), text("Not used"), indented(table)]
