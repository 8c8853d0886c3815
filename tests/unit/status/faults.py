"""A box in which all is well, as a snapshot, and what tests of its problems do to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netbond.status.assessment import belated
from netbond.status.schema import Snapshot, from_json
from tests.unit.cli.snapshots import RECEIVER, SENDER, SNAPSHOT, health, link, uplink

Change = Callable[[dict[str, Any]], object]


def backpack() -> dict[str, Any]:
    """Four modems, and a sender that streams 6 Mbit/s over all of them."""
    names = [f"usb{number}" for number in range(4)]
    places = [(name, f"10.0.{number}.10", f"10.0.{number}.1") for number, name in enumerate(names)]
    stats = {
        **SENDER,
        "receiver_address": "192.0.2.7:5000",
        "caller": "127.0.0.1:43210",
        "caller_silent_ms": 20,
        "links": [link(name, address=address, bitrate_bps=1_500_000) for name, address, _ in places],
    }
    engine = {
        **SNAPSHOT["engines"][0],
        "restarts": 0,
        "last_exit": "",
        "stats": stats,
    }
    return {
        **{key: SNAPSHOT[key] for key in ("version", "excluded", "ecmp")},
        "agent": {**SNAPSHOT["agent"], "problems": []},
        "idle": [],
        "uplinks": [
            uplink(name, address, gateway, "dhclient", 100 + number)
            for number, (name, address, gateway) in enumerate(places)
        ],
        "health": [health(name, address, "up", "", 7200) for name, address, _ in places],
        "engines": [engine],
    }


def at_home() -> dict[str, Any]:
    """Two lines, and no engine."""
    box = backpack()
    return {**box, "uplinks": box["uplinks"][:2], "health": box["health"][:2], "engines": []}


def studio() -> dict[str, Any]:
    """A receiver with one stream over two links."""
    box = at_home()
    group = SNAPSHOT["engines"][1]["stats"]["groups"][0]
    good = group["links"][0]
    stats = {
        **RECEIVER,
        "flavour": "compiled",
        "groups": [{**group, "links": [good, good], "uptime_s": 60}],
    }
    engine = {**SNAPSHOT["engines"][1], "stats": stats}
    return {**box, "uplinks": box["uplinks"][:1], "health": box["health"][:1], "engines": [engine]}


def after(box: dict[str, Any], change: Change) -> Snapshot:
    """The box with that change, and with what the agent makes of it."""
    change(box)
    return belated(from_json(box))


def stats_of(box: dict[str, Any]) -> dict[str, Any]:
    """The statistics of its only engine."""
    stats: dict[str, Any] = box["engines"][0]["stats"]
    return stats


def links_of(box: dict[str, Any]) -> list[dict[str, Any]]:
    """The links of its only engine, a sender."""
    links: list[dict[str, Any]] = stats_of(box)["links"]
    return links


def not_registered(*reasons: str, problems: tuple[str, ...] = ()) -> Change:
    """No link comes up, for these reasons."""

    def change(box: dict[str, Any]) -> None:
        stats_of(box).update(state="registering", problems=list(problems))
        for number, each in enumerate(links_of(box)):
            reason = reasons[min(number, len(reasons) - 1)] if reasons else ""
            each.update(state="registering", reason=reason, bitrate_bps=0, silent_ms=None)

    return change


def one_link(**changed: Any) -> Change:
    """The last link is so."""
    return lambda box: links_of(box)[3].update(changed)


def told(*problems: str) -> Change:
    """The sender says so of itself, and carries nothing."""

    def change(box: dict[str, Any]) -> None:
        stats_of(box)["problems"] = list(problems)
        for each in links_of(box):
            each["bitrate_bps"] = 400

    return change


def engine_is(**changed: Any) -> Change:
    """The only engine is so."""
    return lambda box: box["engines"][0].update(changed)


def uplink_is(number: int, standing: str, why: str, **health_is: Any) -> Change:
    """That uplink is so."""

    def change(box: dict[str, Any]) -> None:
        box["uplinks"][number].update(state=standing, reason=why)
        box["health"][number].update(health_is)

    return change


def set_off(number: int, left_s: float | None = None, **more: Any) -> Change:
    """That uplink is set off, for so long still, and more is so. Its checks fail, and it has no link."""

    def change(box: dict[str, Any]) -> None:
        uplink = box["uplinks"][number]
        uplink.update({"state": "off", "reason": "set off by root", "mode": "off", "in_ecmp": False, **more})
        box["health"][number].update(state="down", reason="gateway: no answer")
        said = {"what": "mode", "value": "off", "by": "root", "since_s": 9.0, "left_s": left_s}
        override = {"uplink": uplink["name"], **said, "configured": "normal"}
        box["overrides"] = [*box.get("overrides", ()), override]
        if box["engines"]:
            links = links_of(box)
            links[:] = [each for each in links if each["device"] != uplink["device"]]

    return change


def gone(box: dict[str, Any]) -> None:
    """The last modem was unplugged 20 s ago."""
    left = box["uplinks"].pop()
    box["health"].pop()
    links_of(box).pop()
    box["gone"] = [
        {
            **{key: left[key] for key in ("name", "device", "family", "address", "gateway")},
            "gone_s": 20.0,
            "reason": "unplugged",
        }
    ]
