"""Decides what people may set of an uplink while the agent runs, and for how long that holds. Pure.

What is set is stronger than the configuration: the mode ("normal", "backup", "off"), the weight and the
priority of an uplink, by its name. Each holds until it is unset, or for a time. netbond.usability says what
a mode does.

The time is measured by the clock that counts since boot, which never jumps. How long the box was off is known
from the wall clock, if a time server has set it before and after; else only the time that the box runs
counts. So nothing ends too early, whatever the wall clock says, and what is set for an hour ends after an
hour of running at the latest. A power cut adds SAVE_INTERVAL_S at most: what had passed since the file was
written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from shlex import quote
from typing import Any

from netbond.config.schema import UplinkConfig
from netbond.errors import UnavailableError, UsageError
from netbond.model import Override, UplinkState
from netbond.status.schema import OverrideStatus, Snapshot, UplinkStatus
from netbond.system.text import duration, printable, quoted
from netbond.system.typed_json import from_json, to_json

MODES = ("normal", "backup", "off")
WHATS = ("mode", "weight", "priority")
LIMITS = {"weight": (1, 256), "priority": (0, 100)}  # as in the configuration
SAVE_INTERVAL_S = 600.0  # between two writings of what is left of the time; only while something has one
SHORTEST_S = 1.0
LONGEST_S = 366 * 86400.0
MOST = 256  # settings
LONGEST_NAME = 64  # characters of who has set something

Value = str | int  # of the mode: one of MODES; else a number


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that is set of one uplink. Times are seconds since boot, negative before it."""

    uplink: str
    what: str
    value: Value
    by: str
    set_s: float
    until_s: float | None = None  # None: until it is unset


@dataclass(frozen=True, slots=True)
class Moment:
    """What the box's clocks say."""

    boot: str  # which boot it is; "": unknown
    boot_s: float  # seconds since it
    wall_s: float  # Unix time
    synchronised: bool  # whether a time server has set the wall clock


# --- what is asked for -------------------------------------------------------------------------------------


def checked(what: str, value: object, for_s: float | None) -> Value:
    """The value of a request; UsageError if it cannot be."""
    if what not in WHATS:
        raise UsageError(f"{quoted(what)} cannot be set", f"what can be is {', '.join(WHATS)}")
    if for_s is not None and not SHORTEST_S <= for_s <= LONGEST_S:
        raise UsageError("the time is from 1 s to 366 d", "leave it out, and it holds until it is unset")
    if what == "mode":
        if value not in MODES:
            raise UsageError(f"{quoted(value)} is no mode", f"modes are {', '.join(MODES)}")
        return str(value)
    low, high = LIMITS[what]
    if type(value) is not int or not low <= value <= high:
        raise UsageError(f"{quoted(value)} is no {what}", f"it is a whole number from {low} to {high}")
    return value


def named(name: str, snapshot: Snapshot, settings: Iterable[Setting], *, anyway: bool = False) -> str:
    """The name of the uplink that `name` means, also if it is not there now: a name or an interface's.

    UnavailableError if there is none of that name; unless `anyway`, also if the configuration says that it is
    to be none.
    """
    there = [(one.name, one.device) for one in snapshot.uplinks]
    away = [(one.name, one.device) for one in snapshot.gone]
    away += [(one.label or one.name, one.name) for one in snapshot.idle if _is_name(one.label or one.name)]
    away += [(one.uplink, one.uplink) for one in settings]
    for known in (there, away):
        for found, device in known:
            if name in (found, device) and (name == found or "+" not in found):
                if not anyway:
                    _check_meant(found, there, snapshot)
                return found
    for one in snapshot.excluded:
        if one.device == name:
            raise UnavailableError(f"{name} is no uplink: {one.reason}", "netbond status --all shows all")
    names = sorted({found for found, _ in (*there, *away)})
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}" if names else ""
    raise UnavailableError(f"there is no uplink {quoted(name)}", hint or "there is none at all")


def _is_name(text: str) -> bool:
    """Whether it names one interface: no pattern, and no hardware."""
    return bool(text) and not any(character in "*?[{=" for character in text)


def _check_meant(name: str, there: Sequence[tuple[str, str]], snapshot: Snapshot) -> None:
    disabled = any(name in (one.name, one.label) and one.reason == "enabled = false" for one in snapshot.idle)
    if disabled and all(name != found for found, _ in there):
        raise UnavailableError(
            f"{name} is no uplink: the configuration has enabled = false", "change it there, and reload"
        )


def left_without(name: str, uplinks: Iterable[UplinkStatus]) -> list[int]:
    """The families (4, 6) for which this uplink is the only one that works: "off" would leave them none."""
    working = (UplinkState.UP, UplinkState.STANDBY, UplinkState.DEGRADED)
    found = [one for one in uplinks if one.state in working]
    return [
        family
        for family in (4, 6)
        if any(one.family == family for one in found)
        and all(one.name == name for one in found if one.family == family)
    ]


def by_whom(by: str) -> str:
    """Who sets something, as it is shown."""
    return printable(by.strip(), LONGEST_NAME) or "root"


# --- what is set -------------------------------------------------------------------------------------------


def with_setting(settings: Iterable[Setting], new: Setting) -> tuple[Setting, ...]:
    """The settings with this one, in the place of one of the same thing; UnavailableError: too many."""
    kept = [one for one in settings if (one.uplink, one.what) != (new.uplink, new.what)]
    if len(kept) >= MOST:
        raise UnavailableError(f"{MOST} things are set already", "unset some: netbond unset UPLINK")
    return (*kept, new)


def without(settings: Iterable[Setting], uplink: str, what: str = "") -> tuple[Setting, ...]:
    """The settings without this one; what = "": without all of this uplink."""
    return tuple(one for one in settings if one.uplink != uplink or what not in ("", one.what))


def ended(settings: Iterable[Setting], now_s: float) -> tuple[Setting, ...]:
    """Those whose time is over; `now_s` is in seconds since boot."""
    return tuple(one for one in settings if one.until_s is not None and one.until_s <= now_s)


def overrides(settings: Iterable[Setting]) -> tuple[Override, ...]:
    """What is in force, for the decisions."""
    found: dict[str, Override] = {}
    for one in settings:
        before = found.get(one.uplink, Override(one.uplink))
        if one.what == "mode":
            found[one.uplink] = replace(before, mode=str(one.value), by=one.by)
        elif one.what == "weight":
            found[one.uplink] = replace(before, weight=int(one.value))
        else:
            found[one.uplink] = replace(before, priority=int(one.value))
    return tuple(found[name] for name in sorted(found))


def configured(what: str, setting: UplinkConfig) -> Value:
    """What the configuration says."""
    if what == "mode":
        return "backup" if setting.backup else "normal"
    return setting.weight if what == "weight" else setting.priority


def words(what: str, value: Value) -> str:
    """A setting in words: "set off", "set weight 3"."""
    return f"set {value}" if what == "mode" else f"set {what} {value}"


def told(uplink: str, what: str, value: Value, by: str, left_s: float | None) -> str:
    """That it is set: "usb1 set off by root for 1 h"."""
    time = "" if left_s is None else f" for {duration(left_s)}"
    return f"{uplink} {words(what, value)} by {by}{time}"


def standing(one: OverrideStatus) -> str:
    """That it is set, and for how long still: "set off by root, for 43 min more"."""
    left = left_words(one.left_s)
    return f"{words(one.what, one.value)} by {one.by}{f', {left}' if left else ''}"


def left_words(left_s: float | None) -> str:
    """How long it still holds, "for 43 min more"; "": until it is unset."""
    return "" if left_s is None else f"for {duration(left_s)} more"


def command(uplink: str, what: str, value: Value, left_s: float | None) -> str:
    """The command that sets it."""
    setting = str(value) if what == "mode" else f"{what} {value}"
    time = "" if left_s is None else f" --for {max(1, round(left_s))}s"
    return f"netbond set {quote(uplink)} {setting}{time}"


def undoing(uplink: str, what: str, before: Iterable[OverrideStatus]) -> str:
    """The command that takes back a change; `before` is what was set of the same."""
    found = [command(one.uplink, one.what, one.value, one.left_s) for one in before]
    return "; ".join(found) or f"netbond unset {quote(uplink)} {what}".rstrip()


def notes(found: Iterable[Override]) -> list[str]:
    """What is set, a line for each uplink: "usb1: set off by root, weight 3"."""
    lines = []
    for one in found:
        words = [f"{one.mode} by {one.by}"] if one.mode else []
        words += [f"{what} {getattr(one, what)}" for what in LIMITS if getattr(one, what) is not None]
        lines.append(f"{one.uplink}: set {', '.join(words)}")
    return lines


# --- over reboots ------------------------------------------------------------------------------------------


def elapsed_s(then: Moment, now: Moment) -> float:
    """The seconds that have passed for certain; `then` is of this boot, or of one before."""
    if same_boot(then, now):
        return max(0.0, now.boot_s - then.boot_s)
    if then.synchronised and now.synchronised:
        return max(now.boot_s, now.wall_s - then.wall_s)
    return now.boot_s


def same_boot(one: Moment, other: Moment) -> bool:
    """Whether both are of one boot, as far as is known."""
    return bool(one.boot) and one.boot == other.boot


def earlier(
    settings: Iterable[Setting], which: Collection[tuple[str, str]], by_s: float
) -> tuple[Setting, ...]:
    """The settings, those of `which` (uplink, what) set, and ended, by so much earlier."""
    return tuple(
        replace(one, set_s=one.set_s - by_s, until_s=None if one.until_s is None else one.until_s - by_s)
        if (one.uplink, one.what) in which
        else one
        for one in settings
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """A setting as the file has it: times as of the moment of writing."""

    uplink: str
    what: str
    value: Value
    by: str
    age_s: float
    left_s: float | None = None


@dataclass(frozen=True, slots=True)
class _File:
    written: Moment
    settings: tuple[_Kept, ...]


def to_file(settings: Iterable[Setting], now: Moment) -> dict[str, Any]:
    """The settings as the content of a file that is written now."""
    kept = tuple(
        _Kept(
            *(one.uplink, one.what, one.value, one.by, round(now.boot_s - one.set_s, 1)),
            None if one.until_s is None else round(one.until_s - now.boot_s, 1),
        )
        for one in settings
    )
    found: dict[str, Any] = to_json(_File(now, kept))
    return found


def from_file(content: Mapping[str, Any], now: Moment) -> tuple[tuple[Setting, ...], Moment]:
    """The settings that a file has, and when it was written; ValueError if it makes no sense.

    Those whose time is over are among them.
    """
    wanted = {key: content[key] for key in ("written", "settings") if key in content}
    found = from_json(_File, wanted)
    if len(found.settings) > MOST:
        raise ValueError(f"it has more than {MOST} settings")
    passed_s = elapsed_s(found.written, now)
    settings: tuple[Setting, ...] = ()
    for one in found.settings:
        try:
            value = checked(one.what, one.value, None)
        except UsageError as error:
            raise ValueError(str(error)) from None
        set_s = now.boot_s - passed_s - min(max(0.0, one.age_s), LONGEST_S)
        until_s = None
        if one.left_s is not None:
            until_s = now.boot_s - passed_s + min(one.left_s, LONGEST_S)
        setting = Setting(printable(one.uplink), one.what, value, by_whom(one.by), set_s, until_s)
        settings = with_setting(settings, setting)
    return settings, found.written
