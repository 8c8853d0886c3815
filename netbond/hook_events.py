"""Finds what hooks are told: uplinks that came up, went down or got worse, and the turn to backups. Pure.

Both families of an uplink are told of together. It is "up" if all its families lead out, "degraded" if it
works with a fault (of its checks, or in one family), "spent" if its data plan is, "down" otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netbond.config.schema import HOOK_EVENTS
from netbond.desired import Desired
from netbond.model import Facts, Uplink, UplinkState
from netbond.usability import spent_devices

MOST_WAITING = 64  # events, each of another uplink, while a hook runs

UP, DOWN, DEGRADED, FAILOVER, FAILBACK, SPENT = HOOK_EVENTS


@dataclass(frozen=True, slots=True)
class Condition:
    """How an uplink is: UP, DEGRADED, SPENT or DOWN, and why it is not up."""

    state: str
    device: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How all uplinks are, by name."""

    uplinks: Mapping[str, Condition] = field(default_factory=dict)
    in_use: tuple[str, ...] = ()  # the names of those that share unbound traffic
    on_backups: bool | None = None  # whether only backups do, in some family; None: nothing does


@dataclass(frozen=True, slots=True)
class Event:
    """What a hook is told. `uplink` is "" for FAILOVER and FAILBACK, which are about all of them."""

    kind: str
    uplink: str = ""
    device: str = ""
    reason: str = ""
    in_use: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} of {self.uplink}" if self.uplink else self.kind


def conditions(facts: Facts, goal: Desired) -> Conditions:
    """How the uplinks are now."""
    by_name: dict[str, list[Uplink]] = {}
    for uplink in goal.uplinks:
        by_name.setdefault(uplink.name, []).append(uplink)
    devices = spent_devices(goal.uplinks, facts)
    spent = {plan.device: plan.reason for plan in facts.spent_plans if plan.device in devices}
    found = {name: _condition(uplinks, facts, spent) for name, uplinks in by_name.items()}
    in_use = [uplink for uplink in goal.uplinks if uplink.usable]
    families = {uplink.family for uplink in in_use}
    on_backups = any(
        all(uplink.mode == "backup" or uplink.device in spent for uplink in in_use if uplink.family == family)
        for family in families
    )
    names = tuple(dict.fromkeys(uplink.name for uplink in in_use))
    return Conditions(found, names, on_backups if families else None)


def _condition(uplinks: list[Uplink], facts: Facts, spent: Mapping[str, str]) -> Condition:
    device = uplinks[0].device
    working = [uplink for uplink in uplinks if uplink.works]
    faults = [uplink for uplink in uplinks if not uplink.works]
    if device in spent and all(uplink.state in _WITH_LINK for uplink in uplinks):
        return Condition(SPENT, device, spent[device])
    if not working:
        return Condition(DOWN, device, faults[0].reason or str(faults[0].state))
    if faults:
        return Condition(DEGRADED, device, f"IPv{faults[0].family}: {faults[0].reason or faults[0].state}")
    for uplink in working:
        for health in facts.health:
            same = (health.device, health.family) == (device, uplink.family)
            if same and health.state == "degraded" and health.address in (None, uplink.address.ip):
                return Condition(DEGRADED, device, health.reason)
    return Condition(UP, device)


_WITH_LINK = (UplinkState.UP, UplinkState.STANDBY, UplinkState.SPENT)


def events(before: Conditions | None, now: Conditions) -> list[Event]:
    """What has happened since; nothing at the first look (None), at the agent's start.

    An uplink that is not there counts as DOWN.
    """
    if before is None:
        return []
    found = []
    for name in {**before.uplinks, **now.uplinks}:
        was = before.uplinks.get(name)
        condition = now.uplinks.get(name) or Condition(DOWN, was.device if was else "", "it is gone")
        if condition.state != (was.state if was else DOWN):
            found.append(Event(condition.state, name, condition.device, condition.reason, now.in_use))
    if now.on_backups is not None and bool(before.on_backups) != now.on_backups:
        found.append(Event(FAILOVER if now.on_backups else FAILBACK, in_use=now.in_use))
    return found


def carry_on(before: Conditions | None, now: Conditions) -> Conditions:
    """What the next look compares with: while nothing is in use, it stays known what was."""
    if before is not None and now.on_backups is None:
        return Conditions(now.uplinks, now.in_use, before.on_backups)
    return now


class Queue:
    """What one hook has still to be told, while it runs: of each uplink the newest event only."""

    def __init__(self) -> None:
        self.running: Event | None = None
        self._waiting: dict[str, Event] = {}

    @property
    def waiting(self) -> tuple[Event, ...]:
        """The events that are still to be told."""
        return tuple(self._waiting.values())

    def put(self, event: Event) -> str:
        """Add an event; a line for the log about what is skipped because of it, or ""."""
        skipped = self._waiting.pop(event.uplink, None)
        if skipped is not None and self.running is not None and _same(event, self.running):
            return f"skipped {skipped} and {event}: it is told of {self.running} at present"
        self._waiting[event.uplink] = event
        if len(self._waiting) > MOST_WAITING:
            return f"skipped {self._waiting.pop(next(iter(self._waiting)))}, because too many events wait"
        return f"skipped {skipped}, because of {event}" if skipped is not None else ""

    def take(self) -> Event | None:
        """The next event to tell, which runs from now on; None: there is none."""
        self.running = self._waiting.pop(next(iter(self._waiting))) if self._waiting else None
        return self.running


def _same(event: Event, other: Event) -> bool:
    return (event.kind, event.uplink) == (other.kind, other.uplink)
