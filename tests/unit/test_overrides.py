"""What people may set of an uplink, for how long it holds, and what it is over a reboot."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from netbond.config.schema import UplinkConfig
from netbond.errors import UnavailableError, UsageError
from netbond.model import IdleInterface, Override
from netbond.overrides import (
    LONGEST_S,
    MOST,
    Moment,
    Setting,
    by_whom,
    checked,
    command,
    configured,
    earlier,
    elapsed_s,
    ended,
    from_file,
    left_without,
    named,
    notes,
    overrides,
    standing,
    to_file,
    told,
    undoing,
    with_setting,
    without,
    words,
)
from netbond.status.schema import (
    DepartedUplink,
    ExcludedInterface,
    OverrideStatus,
    Snapshot,
    UplinkStatus,
    from_json,
)
from tests.unit.status.faults import at_home

HOUR = 3600.0
OFF = Setting("usb1", "mode", "off", "root", 900.0, 900.0 + HOUR)
WEIGHT = Setting("usb1", "weight", 3, "alice", 950.0)
PRIORITY = Setting("usb0", "priority", 0, "root", 960.0)
SETTINGS = (OFF, WEIGHT, PRIORITY)


# --- what is asked for -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "value"),
    [
        *(("mode", mode) for mode in ("normal", "backup", "off")),
        *(("weight", 1), ("weight", 256), ("priority", 0), ("priority", 100)),
    ],
)
def test_what_may_be_set(what: str, value: str | int) -> None:
    assert checked(what, value, None) == value
    assert checked(what, value, 1.0) == checked(what, value, LONGEST_S) == value


@pytest.mark.parametrize(
    ("what", "value", "for_s", "error"),
    [
        ("mode", "on", None, "'on' is no mode; modes are normal, backup, off"),
        ("mode", 3, None, "'3' is no mode; modes are normal, backup, off"),
        ("weight", 0, None, "'0' is no weight; it is a whole number from 1 to 256"),
        ("weight", 257, None, "'257' is no weight; it is a whole number from 1 to 256"),
        ("weight", True, None, "'True' is no weight; it is a whole number from 1 to 256"),
        ("weight", "auto", None, "'auto' is no weight; it is a whole number from 1 to 256"),
        ("priority", -1, None, "'-1' is no priority; it is a whole number from 0 to 100"),
        ("colour", 1, None, "'colour' cannot be set; what can be is mode, weight, priority"),
        ("mode", "off", 0.5, "the time is from 1 s to 366 d; leave it out, and it holds until it is unset"),
        ("mode", "off", float("nan"), "the time is from 1 s to 366 d; leave it out, and it holds until"),
    ],
)
def test_what_may_not(what: str, value: object, for_s: float | None, error: str) -> None:
    with pytest.raises(UsageError) as raised:
        checked(what, value, for_s)
    assert str(raised.value).startswith(error)


def snapshot() -> Snapshot:
    """usb0; usb1, which is called lte; usb5 went; usb6 and dsl are expected; wlan0 is disabled."""
    found = from_json(at_home())
    first, second = found.uplinks
    return replace(
        found,
        uplinks=(first, replace(second, name="lte"), replace(second, name="usb1+10.9.0.1", table=150)),
        gone=(DepartedUplink("usb5", "usb5", 4, "10.0.5.10", None, 60.0, "unplugged"),),
        idle=(
            IdleInterface("usb6", "no such interface now"),
            IdleInterface("path=*usb-0:1.2:*", "no such interface now", "dsl"),
            IdleInterface("ppp*", "no such interface now"),
            IdleInterface("wlan0", "enabled = false"),
        ),
        excluded=(ExcludedInterface("br0", "a bridge"),),
    )


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        *(("usb0", "usb0"), ("lte", "lte"), ("usb1", "lte"), ("usb1+10.9.0.1", "usb1+10.9.0.1")),
        *(("usb5", "usb5"), ("usb6", "usb6"), ("dsl", "dsl"), ("usb9", "usb9")),
    ],
)
def test_whose_name_it_is(said: str, meant: str) -> None:
    assert named(said, snapshot(), (replace(OFF, uplink="usb9"),)) == meant


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("usb2", "there is no uplink 'usb2'; did you mean usb6?"),
        ("eth7", "there is no uplink 'eth7'; there are dsl, lte, usb0, usb1+10.9.0.1, usb5, usb6, wlan0"),
        ("ppp*", "there is no uplink 'ppp*'"),
        ("br0", "br0 is no uplink: a bridge; netbond status --all shows all"),
        ("wlan0", "wlan0 is no uplink: the configuration has enabled = false; change it there, and reload"),
        ("\x1b[2J", "there is no uplink '\\x1b[2J'"),
    ],
)
def test_whose_it_is_not(said: str, error: str) -> None:
    with pytest.raises(UnavailableError) as raised:
        named(said, snapshot(), ())
    assert str(raised.value).startswith(error)


def test_what_is_set_of_a_disabled_one_can_be_unset() -> None:
    assert named("wlan0", snapshot(), (), anyway=True) == "wlan0"


def test_a_box_without_uplinks() -> None:
    with pytest.raises(UnavailableError, match="there is no uplink 'usb0'; there is none at all"):
        named("usb0", replace(snapshot(), uplinks=(), gone=(), idle=()), ())


def way(name: str, state: str, family: int = 4) -> UplinkStatus:
    return replace(from_json(at_home()).uplinks[0], name=name, state=state, family=family)


@pytest.mark.parametrize(
    ("uplinks", "families"),
    [
        ([way("usb0", "up"), way("usb1", "up")], []),
        ([way("usb0", "up"), way("usb1", "standby")], []),
        ([way("usb0", "up"), way("usb1", "degraded")], []),
        ([way("usb0", "up")], [4]),
        ([way("usb0", "up"), way("usb1", "dead")], [4]),
        ([way("usb0", "up"), way("usb1", "off")], [4]),
        ([way("usb0", "up"), way("usb1", "no carrier")], [4]),
        ([way("usb0", "up"), way("usb0", "up", 6)], [4, 6]),
        # A line with both families, and a modem with one.
        ([way("usb0", "up"), way("usb0", "up", 6), way("usb1", "up")], [6]),
        # It carries nothing now: nothing is lost.
        ([way("usb0", "dead"), way("usb1", "dead")], []),
        ([way("usb0", "off"), way("usb1", "up")], []),
    ],
)
def test_what_off_would_leave_without_a_way(uplinks: list[UplinkStatus], families: list[int]) -> None:
    assert left_without("usb0", uplinks) == families


def test_who_sets_it() -> None:
    assert [by_whom(by) for by in ("", " ", "alice", "a\nb")] == ["root", "root", "alice", "a\\nb"]


# --- what is set -------------------------------------------------------------------------------------------


def test_the_newest_of_the_same_thing_counts() -> None:
    assert with_setting(SETTINGS, replace(OFF, value="backup")) == (
        *(WEIGHT, PRIORITY),
        replace(OFF, value="backup"),
    )
    assert without(SETTINGS, "usb1") == (PRIORITY,)
    assert without(SETTINGS, "usb1", "mode") == (WEIGHT, PRIORITY)
    assert without(SETTINGS, "usb1", "priority") == SETTINGS


def test_not_without_end() -> None:
    many = tuple(replace(OFF, uplink=f"usb{number}") for number in range(MOST))
    with pytest.raises(UnavailableError, match="256 things are set already"):
        with_setting(many, WEIGHT)
    assert len(with_setting(many, replace(OFF, uplink="usb7", value="backup"))) == MOST


def test_what_is_over() -> None:
    assert ended(SETTINGS, 900.0 + HOUR - 0.1) == ()
    assert ended(SETTINGS, 900.0 + HOUR) == (OFF,)


def test_what_the_decisions_get() -> None:
    assert overrides(SETTINGS) == (
        Override("usb0", priority=0),
        Override("usb1", "off", weight=3, by="root"),
    )


def test_what_the_configuration_says() -> None:
    plain, backup = UplinkConfig("usb*"), UplinkConfig("usb*", weight="auto", backup=True, priority=7)
    assert [configured(what, plain) for what in ("mode", "weight", "priority")] == ["normal", 1, 0]
    assert [configured(what, backup) for what in ("mode", "weight", "priority")] == ["backup", "auto", 7]


def test_words() -> None:
    assert told("usb1", "mode", "off", "root", HOUR) == "usb1 set off by root for 1 h"
    assert told("usb1", "weight", 3, "alice", None) == "usb1 set weight 3 by alice"
    assert words("priority", 0) == "set priority 0"
    assert command("usb1", "mode", "off", 2580.4) == "netbond set usb1 off --for 2580s"
    assert command("my line", "weight", 3, None) == "netbond set 'my line' weight 3"


def test_what_is_so_now() -> None:
    off = OverrideStatus("usb1", "mode", "off", "root", 5.0, 2580.0, "normal")
    assert standing(off) == "set off by root, for 43 min more"
    assert standing(replace(off, left_s=None)) == "set off by root"


def test_what_takes_it_back() -> None:
    assert undoing("usb1", "mode", ()) == "netbond unset usb1 mode"
    before = OverrideStatus("usb1", "mode", "backup", "root", 5.0, 60.0, "normal")
    assert undoing("usb1", "mode", (before,)) == "netbond set usb1 backup --for 60s"
    both = (before, OverrideStatus("usb1", "weight", 3, "root", 5.0, None, 1))
    assert undoing("usb1", "", both) == "netbond set usb1 backup --for 60s; netbond set usb1 weight 3"


def test_notes_for_plan() -> None:
    assert notes(overrides(SETTINGS)) == ["usb0: set priority 0", "usb1: set off by root, weight 3"]


# --- over reboots ------------------------------------------------------------------------------------------

THEN = Moment("a", 1000.0, 1_800_000_000.0, synchronised=True)


@pytest.mark.parametrize(
    ("now", "passed_s"),
    [
        # The same boot: the wall clock does not count, wherever it jumps.
        (Moment("a", 1060.0, 1_800_000_060.0, True), 60.0),
        (Moment("a", 1060.0, 0.0, False), 60.0),
        (Moment("a", 1060.0, 1_900_000_000.0, True), 60.0),
        # After a reboot: by the wall clock if a time server has set it, and if not, as long as it runs.
        (Moment("b", 20.0, 1_800_000_600.0, True), 600.0),
        (Moment("b", 20.0, 1_900_000_000.0, False), 20.0),
        (Moment("b", 20.0, 0.0, False), 20.0),
        (Moment("b", 20.0, 1_700_000_000.0, True), 20.0),
        # Which boot it is, is not known.
        (Moment("", 20.0, 1_800_000_600.0, False), 20.0),
    ],
)
def test_how_much_time_has_passed(now: Moment, passed_s: float) -> None:
    assert elapsed_s(THEN, now) == passed_s
    (found, _, _), written = from_file(json.loads(json.dumps(to_file(SETTINGS, THEN))), now)
    assert written == THEN
    assert found == replace(
        OFF, set_s=now.boot_s - passed_s - 100.0, until_s=now.boot_s - passed_s + HOUR - 100.0
    )


def test_a_clock_that_was_never_right_proves_nothing() -> None:
    now = Moment("b", 20.0, 1_800_000_600.0, synchronised=True)
    assert elapsed_s(replace(THEN, synchronised=False), now) == 20.0


def test_reboots_do_not_make_it_last_for_ever() -> None:
    """Each starts in 1970, and ends after 20 minutes; no time server is ever there."""
    settings: tuple[Setting, ...] = SETTINGS
    lasted_s = 0.0
    before = THEN
    for number in range(1, 100):
        settings, _ = from_file(to_file(settings, before), Moment(str(number), 0.0, 0.0, False))
        before = Moment(str(number), 1200.0, 1200.0, False)
        lasted_s += 1200.0
        if ended(settings, before.boot_s):
            break
    assert lasted_s == 3600.0


def test_what_comes_to_light_later() -> None:
    """The box was off for 10 minutes, and a time server says so only now."""
    settings = (replace(OFF, until_s=3000.0), WEIGHT)
    moved = earlier(settings, {("usb1", "mode"), ("usb0", "mode")}, 600.0)
    assert moved == (replace(OFF, set_s=300.0, until_s=2400.0), WEIGHT)
    assert earlier(settings, {("usb1", "weight")}, 600.0)[1] == replace(WEIGHT, set_s=350.0)


def broken(change: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(to_file(SETTINGS, THEN)))
    change(found)
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.pop("written"),
        lambda file: file["settings"][0].pop("uplink"),
        lambda file: file["settings"][0].update(what="colour"),
        lambda file: file["settings"][0].update(value="on"),
        lambda file: file["settings"][1].update(value=0),
        lambda file: file["settings"][1].update(value=True),
        lambda file: file["settings"][0].update(left_s="soon"),
        lambda file: file.update(settings=file["settings"] * MOST),
    ],
)
def test_what_is_no_such_file(change: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_file(broken(change), THEN)


def test_a_file_that_was_tampered_with_lasts_a_year_at_most() -> None:
    file = broken(lambda file: file["settings"][0].update(left_s=1e15, age_s=-5.0, by="a\x1b"))
    (found, *_), _ = from_file(file, THEN)
    assert found == Setting("usb1", "mode", "off", "a\\x1b", 1000.0, 1000.0 + LONGEST_S)
