"""What `netbond status --all` adds: all that is known of each uplink, by source, and where sources disagree.

Only presentation, and a comparison of what the snapshot has; netbond itself goes by netbond.uplinks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from netbond.cli.status_view import (
    data_plan,
    duration,
    gone_since,
    health_of,
    indented,
    modem_name,
    number,
    origin,
    plain_table,
    state,
    text,
    title,
)
from netbond.status.snapshot import mapping, objects

Row = tuple[str, Text]


def details(snapshot: Mapping[str, Any], now: float) -> list[RenderableType]:
    """A part for each device that is an uplink, then what is not used and why. `now` is Unix time."""
    parts: list[RenderableType] = []
    by_device: dict[str, list[dict[str, Any]]] = {}
    for uplink in objects(snapshot, "uplinks"):
        by_device.setdefault(str(uplink.get("device")), []).append(uplink)
    for device, uplinks in by_device.items():
        table = plain_table()
        for key, value in _rows(snapshot, device, uplinks, now):
            table.add_row(text(key, "dim"), value)
        heading = title(uplinks[0]) if len(uplinks) == 1 else _heading(device, uplinks)
        parts += [text(""), text(heading, "bold"), indented(table)]
    return parts + _unused(snapshot)


def _heading(device: str, uplinks: list[dict[str, Any]]) -> str:
    names = dict.fromkeys(title(uplink) for uplink in uplinks)
    return ", ".join(names) if names else device


def _rows(
    snapshot: Mapping[str, Any], device: str, uplinks: list[dict[str, Any]], now: float
) -> Iterator[Row]:
    for uplink in uplinks:
        yield from _routing(uplink, now)
    if hardware := mapping(mapping(snapshot, "hardware"), device):
        yield from _hardware(hardware)
    if modem := mapping(mapping(snapshot, "modems"), device):
        yield from _modem(modem)
    if manager := mapping(mapping(snapshot, "networkmanager"), device):
        yield "NetworkManager", _networkmanager(manager)
    for plan in objects(snapshot, "metered"):
        if plan.get("device") == device:
            yield "data plan", _plan(plan)
    for uplink in uplinks:
        yield from _health(health_of(snapshot, uplink))
    for line in contradictions(snapshot, device):
        yield "disagreement", text(line, "yellow")


def _routing(uplink: Mapping[str, Any], now: float) -> Iterator[Row]:
    words = [
        f"{uplink.get('address')}/{uplink.get('prefix_length')}",
        f"table {uplink.get('table')}",
        f"weight {uplink.get('weight')}",
        "in the shared default" if uplink.get("in_ecmp") else "not in the shared default",
    ]
    yield f"IPv{uplink.get('family')}", text(", ".join(words))
    gateway = text(uplink.get("gateway") or "none needed").append(" ")
    yield "gateway", gateway.append_text(origin(uplink, now, str(uplink.get("gateway_source"))))


def _joined(*words: object) -> Text:
    return text(", ".join(str(word) for word in words if word))


def _hardware(hardware: Mapping[str, Any]) -> Iterator[Row]:
    known = {key: hardware.get(key) for key in ("vendor_name", "model_name", "vendor", "model")}
    names = [known["vendor_name"], known["model_name"]]
    if str(names[1]).startswith(str(names[0])):
        del names[0]
    numbers = ":".join(str(known[key]) for key in ("vendor", "model") if known[key])
    labelled = {"serial number": "serial", "driver": "driver", "MAC": "mac"}
    yield (
        "hardware",
        _joined(
            " ".join(str(name) for name in names if name),
            numbers,
            *(f"{label} {hardware[key]}" for label, key in labelled.items() if hardware.get(key)),
        ),
    )
    if hardware.get("path"):
        yield "port", text(hardware["path"])


def _modem(modem: Mapping[str, Any]) -> Iterator[Row]:
    away = "" if modem.get("current") else "as before ModemManager went away"
    maker = " ".join(str(modem[key]) for key in ("manufacturer", "model") if modem.get(key))
    yield "modem", _joined(maker, modem.get("state"), modem.get("failed"), away)
    sim = modem.get("sim")
    yield (
        "network",
        _joined(
            modem.get("summary"),
            modem.get("operator_code"),
            modem.get("registration"),
            f"SIM {sim}" if sim not in ("ok", "unknown", None) else "",
        ),
    )
    measured = (("RSSI", "rssi_dbm", "dBm"), ("RSRP", "rsrp_dbm", "dBm"), ("RSRQ", "rsrq_db", "dB"))
    signal = [
        f"{name} {modem[key]:g} {unit}"
        for name, key, unit in (*measured, ("SNR", "snr_db", "dB"))
        if number(modem.get(key)) is not None
    ]
    if signal:
        yield "signal", text(", ".join(signal))


def _joined_modem(modem: Mapping[str, Any]) -> list[object]:
    """What else to say of a modem that is no uplink."""
    maker = " ".join(str(modem[key]) for key in ("manufacturer", "model") if modem.get(key))
    quality = modem.get("signal_quality")
    return [
        f"state {modem.get('state')}",
        f"SIM {modem.get('sim')}",
        modem.get("operator"),
        None if quality is None else f"signal {quality} %",
        maker if modem.get("device") else None,
        modem.get("port") if modem.get("device") else None,
        None if modem.get("current") else "as before ModemManager went away",
    ]


def _networkmanager(device: Mapping[str, Any]) -> Text:
    connection = f"connection {device['connection']}" if device.get("connection") else ""
    lease = number(device.get("lease_seconds"))
    metered = str(device.get("metered"))
    return _joined(
        device.get("state"),
        "" if device.get("managed") else "not managed",
        "configured by somebody else" if device.get("external") else "",
        connection,
        f"connectivity {device['connectivity']}" if device.get("connectivity") != "unknown" else "",
        f"metered: {metered}" if metered in ("yes", "guess-yes") else "",
        f"lease of {duration(lease)}" if lease else "",
        "" if device.get("current") else "as before NetworkManager went away",
    )


def _plan(plan: Mapping[str, Any]) -> Text:
    said = data_plan(plan)
    if plan.get("since"):
        said.append_text(text(f" since {plan['since']}"))
    if plan.get("resets"):
        said.append_text(text(f", anew from {plan['resets']}"))
    uses = {"backup": "only for emergencies until then", "off": "not used until then"}
    if use := uses.get(str(plan.get("verdict"))):
        said.append_text(text(f"; {use}"))
    return said


def _health(health: Mapping[str, Any]) -> Iterator[Row]:
    if not health:
        return
    verdict = state(health.get("state"), health.get("reason"))
    verdict.append_text(text(f" (for {duration(health.get('since_s'))})"))
    yield f"health, IPv{health.get('family')}", verdict
    for check in objects(health, "checks"):
        rtt, loss = number(check.get("rtt_ms")), number(check.get("loss"))
        said = state(check.get("state"))
        if rtt is not None:
            said.append_text(text(f", RTT {rtt:.1f} ms" if rtt < 10 else f", RTT {rtt:.0f} ms"))
        if loss is not None:
            said.append_text(text(f", loss {100 * loss:.0f} %"))
        if check.get("detail"):
            said.append_text(text(f": {check['detail']}"))
        yield f"  {check.get('name')}", said


# --- where sources disagree --------------------------------------------------------------------------------


def contradictions(snapshot: Mapping[str, Any], device: str) -> list[str]:
    """What sources say of a device that does not fit what netbond goes by, a line each."""
    found: list[str] = []
    manager = mapping(mapping(snapshot, "networkmanager"), device)
    modem = mapping(mapping(snapshot, "modems"), device)
    uplinks = [uplink for uplink in objects(snapshot, "uplinks") if uplink.get("device") == device]
    if manager.get("managed") and not manager.get("external") and manager.get("current"):
        for uplink in uplinks:
            found += _against_networkmanager(uplink, manager, health_of(snapshot, uplink))
    used = any(uplink.get("state") == "up" for uplink in uplinks)
    if used and modem.get("current") and modem.get("state") != "connected":
        found.append(f"it is in use, and ModemManager says that the modem is {modem.get('state')}")
    for uplink in uplinks:
        ours = f"gateway {uplink.get('gateway')} ({uplink.get('gateway_source')})"
        for other in objects(uplink, "disputed"):
            found.append(f"{ours}, but {other.get('gateway')} ({other.get('source')})")
        found += _against_the_stream(snapshot, uplink)
    return found


def _against_networkmanager(
    uplink: Mapping[str, Any], manager: Mapping[str, Any], health: Mapping[str, Any]
) -> Iterator[str]:
    if manager.get("state") != "activated":
        if uplink.get("state") == "up":
            yield f"it is in use, and NetworkManager says {manager.get('state')}"
        return
    theirs = manager.get(f"gateway{uplink.get('family')}")
    ours = uplink.get("gateway")
    # Each further gateway differs from NetworkManager's one by its nature.
    if theirs and ours and theirs != ours and "+" not in str(uplink.get("name")):
        yield f"gateway {ours} ({uplink.get('gateway_source')}), but {theirs} for NetworkManager"
    addresses = manager.get("addresses")
    given = [str(one) for one in addresses if ":" not in str(one)] if isinstance(addresses, list) else []
    held = {one.partition("/")[0] for one in given}
    # Of IPv6 addresses there are several at any time, and they come and go.
    if given and uplink.get("family") == 4 and uplink.get("address") not in held:
        yield f"NetworkManager gave it {', '.join(given)}, and netbond binds to {uplink.get('address')}"
    if manager.get("connectivity") == "portal" and health.get("state") in ("up", "degraded"):
        yield "NetworkManager sees a captive portal, and the checks get through"


def _against_the_stream(snapshot: Mapping[str, Any], uplink: Mapping[str, Any]) -> Iterator[str]:
    """Checks and the links of connected senders that do not agree on whether the uplink leads anywhere."""
    verdict = health_of(snapshot, uplink).get("state")
    good = uplink.get("state") == "up" and verdict in ("up", "degraded")
    bad = verdict == "down"
    for engine in objects(snapshot, "engines"):
        # A sender that has no link at all proves nothing: the receiver may be what is gone.
        stats = mapping(engine, "stats")
        if engine.get("role") != "sender" or stats.get("state") != "connected":
            continue
        for link in objects(stats, "links"):
            if (link.get("device"), link.get("address")) != (uplink.get("device"), uplink.get("address")):
                continue
            if good and link.get("state") == "down":
                why = link.get("reason") or "no answer"
                yield f"the checks get through, and the link of {engine.get('name')} is down: {why}"
            elif bad and link.get("state") == "up":
                yield f"the checks fail, and the link of {engine.get('name')} is up"


# --- what is not used --------------------------------------------------------------------------------------


def _unused(snapshot: Mapping[str, Any]) -> list[RenderableType]:
    reasons = [(str(one.get("device")), str(one.get("reason"))) for one in objects(snapshot, "excluded")]
    idle = snapshot.get("idle")
    for line in idle if isinstance(idle, list) else ():
        name, _, why = str(line).partition(": ")
        reasons.append((name, why))
    for modem in objects(snapshot, "idle_modems"):
        known = [modem.get("why"), *_joined_modem(modem)]
        reasons.append((modem_name(modem), "modem: " + ", ".join(str(word) for word in known if word)))
    for one in objects(snapshot, "gone"):
        way = f" via {one['gateway']}" if one.get("gateway") else ""
        reasons.append((str(one.get("name")), f"{gone_since(one)}; it had {one.get('address')}{way}"))
    if not reasons:
        return []
    table = plain_table()
    for name, why in reasons:
        table.add_row(text(name, "bold"), text(why))
    return [text(""), text("Not used"), indented(table)]
