"""Metered uplinks: bytes into months, whatever reboots, replugging and clocks do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netbond.config.load import parse
from netbond.config.schema import UplinkConfig
from netbond.contracts import Traffic
from netbond.desired import desired
from netbond.model import Facts, Interface
from netbond.sources import data_plans, usage_files
from netbond.sources.data_plans import (
    KEEP_INTERVAL_S,
    MOST_DEVICES,
    SAVE_INTERVAL_S,
    SOONEST_S,
    Clock,
    DataPlans,
    Meter,
    PlanState,
    Usage,
    add_usage,
    from_json,
    month_of,
    news,
    next_month,
    plan_state,
    section,
    to_json,
)
from netbond.status.schema import Sections
from netbond.system import typed_json
from tests.unit.boxes import box
from tests.unit.places import agent_in, content
from tests.unit.shortage import no_descriptors

# Nothing here takes long by itself; the machine may.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

GB = 10**9
NOVEMBER, DECEMBER = date(2026, 11, 1), date(2026, 12, 1)


def clock(today: date, *, synchronised: bool = True, boot: str = "a") -> Clock:
    """A day, confirmed by a time server unless said otherwise."""
    return Clock(today, synchronised, boot)


NOV_20 = clock(date(2026, 11, 20))


def link(rx: int, tx: int = 0, index: int = 5, name: str = "usb0") -> Interface:
    """An interface with its counters."""
    return Interface(name, index, rx_bytes=rx, tx_bytes=tx)


def count(*steps: tuple[Interface, Clock], day: int = 1) -> Usage:
    """The usage of usb0 after these readings."""
    ledger: dict[str, Usage] = {}
    for seen, when in steps:
        ledger = add_usage(ledger, [seen], {"usb0": UplinkConfig("usb0", budget_day=day)}, when)
    return ledger["usb0"]


# --- months -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "day", "start", "following"),
    [
        ("2026-11-20", 1, "2026-11-01", "2026-12-01"),
        ("2026-11-01", 1, "2026-11-01", "2026-12-01"),
        ("2026-11-14", 15, "2026-10-15", "2026-11-15"),
        ("2026-11-15", 15, "2026-11-15", "2026-12-15"),
        ("2027-01-03", 15, "2026-12-15", "2027-01-15"),
        # a month without that day begins on its last one
        ("2026-02-27", 31, "2026-01-31", "2026-02-28"),
        ("2026-02-28", 31, "2026-02-28", "2026-03-31"),
        ("2028-02-29", 30, "2028-02-29", "2028-03-30"),
        ("2026-04-30", 31, "2026-04-30", "2026-05-31"),
    ],
)
def test_months(today: str, day: int, start: str, following: str) -> None:
    begins = month_of(date.fromisoformat(today), day)
    assert (str(begins), str(next_month(begins, day))) == (start, following)


@UNHURRIED
@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(1, 31))
def test_each_day_lies_in_its_month(today: date, day: int) -> None:
    start = month_of(today, day)
    end = next_month(start, day)
    assert start <= today < end
    assert month_of(start, day) == start
    assert month_of(end, day) == end
    assert 28 <= (end - start).days <= 31


# --- counters ---------------------------------------------------------------------------------------------


def test_counting_begins_when_an_interface_is_first_seen() -> None:
    assert count((link(900, 90), NOV_20)).used == 0
    assert count((link(900, 90), NOV_20), (link(1000, 99), NOV_20)).used == 109


@pytest.mark.parametrize(
    "fresh",
    [
        (link(500, 50, index=6), NOV_20),  # replugged: a new interface
        (link(500, 50), replace(NOV_20, boot="b")),  # the same index after a reboot
        (link(500, 0), NOV_20),  # the driver reset it: the received ones tell nothing, the sent ones do
        (link(0, 500), NOV_20),
    ],
)
def test_counters_that_began_anew_are_counted_in_full(fresh: tuple[Interface, Clock]) -> None:
    seen, _ = fresh
    usage = count((link(0), NOV_20), (link(300, 30), NOV_20), fresh)
    assert usage.used == 330 + seen.rx_bytes + seen.tx_bytes


def test_an_interface_that_is_away_keeps_what_it_used() -> None:
    ledger = add_usage({}, [link(0), link(0, name="usb1")], {}, NOV_20)
    ledger = add_usage(ledger, [link(100), link(7, name="usb1")], {}, NOV_20)
    ledger = add_usage(ledger, [link(8, name="usb1")], {}, NOV_20)
    assert {name: usage.used for name, usage in ledger.items()} == {"usb0": 100, "usb1": 8}
    assert add_usage(ledger, [link(50, index=9)], {}, NOV_20)["usb0"].used == 150


def test_names_that_never_come_back_do_not_fill_the_disk() -> None:
    ledger: dict[str, Usage] = {}
    for number in range(MOST_DEVICES + 10):
        ledger = add_usage(ledger, [link(0), link(0, name=f"wwx{number}")], {}, NOV_20)
    assert len(ledger) == MOST_DEVICES
    assert "usb0" in ledger
    assert "wwx0" not in ledger
    assert len(json.dumps(to_json(ledger))) < usage_files.LARGEST_BYTES


# --- clocks -----------------------------------------------------------------------------------------------

EPOCH = clock(date(1970, 1, 1), synchronised=False)


def test_a_new_month_begins_at_nothing() -> None:
    last_day = clock(date(2026, 11, 30))
    usage = count((link(0), last_day), (link(500), last_day), (link(501), clock(DECEMBER)))
    assert (usage.start, usage.used) == (DECEMBER, 1)
    assert (usage.last_start, usage.last_used) == (NOVEMBER, 500)


def test_a_new_month_does_not_wait_for_a_time_server() -> None:
    usage = count(
        (link(0), clock(date(2026, 11, 30), synchronised=False)),
        (link(500), clock(date(2026, 11, 30), synchronised=False)),
        (link(600), clock(DECEMBER, synchronised=False)),
        (link(650), clock(DECEMBER, synchronised=False)),
        (link(660), clock(DECEMBER)),  # a time server at last, and it agrees
    )
    assert (usage.start, usage.used) == (DECEMBER, 60)


def test_a_boot_in_1970_goes_on_in_the_open_month() -> None:
    before = [(link(0), NOV_20), (link(500), NOV_20)]
    rebooted = replace(EPOCH, boot="b")
    usage = count(*before, (link(10), rebooted), (link(20), rebooted))
    assert (usage.start, usage.used) == (NOVEMBER, 520)
    # the time server answers, and it is the same month
    usage = count(*before, (link(10), rebooted), (link(20), rebooted), (link(25), replace(NOV_20, boot="b")))
    assert (usage.start, usage.used, usage.undated) == (NOVEMBER, 525, 0)


def test_what_was_used_before_the_clock_was_set_counts_in_the_month_it_turned_out_to_be() -> None:
    rebooted = replace(EPOCH, boot="b")
    usage = count(
        (link(0), NOV_20),
        (link(500), NOV_20),
        (link(10), rebooted),
        (link(20), rebooted),
        (link(25), clock(DECEMBER, boot="b")),
    )
    assert (usage.start, usage.used) == (DECEMBER, 25)
    assert usage.last_used == 500


def test_a_boot_at_the_time_when_it_was_switched_off_does_not_open_last_month() -> None:
    """A Raspberry Pi saves the time; it may be weeks old, and no time server answers yet."""
    october = clock(date(2026, 10, 30), synchronised=False, boot="b")
    usage = count((link(0), NOV_20), (link(500), NOV_20), (link(10), october), (link(20), october))
    assert (usage.start, usage.used) == (NOVEMBER, 520)


def test_a_month_that_a_wrong_clock_opened_is_closed_again() -> None:
    wrong = clock(date(2099, 1, 1), synchronised=False)
    steps = [(link(0), NOV_20), (link(500), NOV_20), (link(510), wrong), (link(520), wrong)]
    assert count(*steps).start == date(2099, 1, 1)
    # Without a time server, nobody knows which was wrong.
    doubtful = replace(NOV_20, synchronised=False)
    assert count(*steps, (link(530), doubtful)).start == date(2099, 1, 1)
    # With one, all that was counted is in one sum again.
    usage = count(*steps, (link(530), NOV_20))
    assert (usage.start, usage.used, usage.last_start) == (NOVEMBER, 530, None)
    # And if a month went by meanwhile, what was counted in the wrong one is kept.
    usage = count(*steps, (link(530), clock(DECEMBER)))
    assert (usage.start, usage.used) == (DECEMBER, 20)


def test_no_date_at_all() -> None:
    usage = count((link(0), EPOCH), (link(10), EPOCH))
    assert (usage.start, usage.used) == (None, 10)
    assert plan_state("usb0", usage, UplinkConfig("usb0", budget=GB)).resets is None
    usage = count((link(0), EPOCH), (link(10), EPOCH), (link(15), NOV_20))
    assert (usage.start, usage.used) == (NOVEMBER, 15)


def test_another_budget_day_forgets_nothing() -> None:
    ledger = add_usage({}, [link(0)], {}, NOV_20)
    ledger = add_usage(ledger, [link(500)], {}, NOV_20)
    ledger = add_usage(ledger, [link(510)], {"usb0": UplinkConfig("usb*", budget_day=15)}, NOV_20)
    assert (ledger["usb0"].start, ledger["usb0"].used) == (date(2026, 11, 15), 510)


def test_a_month_that_ended_before_another_budget_day_was_set_has_ended() -> None:
    """So it is at a boot, too, while udev has not said yet whose settings an interface has."""
    in_october, right = clock(date(2026, 10, 31)), {"usb0": UplinkConfig("usb*", budget_day=15)}
    ledger = add_usage({}, [link(0)], right, in_october)
    ledger = add_usage(ledger, [link(500)], right, in_october)
    ledger = add_usage(ledger, [link(0, index=6)], {}, NOV_20)
    assert (ledger["usb0"].start, ledger["usb0"].used) == (NOVEMBER, 0)
    ledger = add_usage(ledger, [link(7, index=6)], right, NOV_20)
    assert (ledger["usb0"].start, ledger["usb0"].used) == (date(2026, 11, 15), 7)


CLOCKS = st.builds(
    Clock,
    st.dates(date(1970, 1, 1), date(2100, 1, 1)),
    st.booleans(),
    st.sampled_from("abc"),
)


@UNHURRIED
@given(st.lists(st.tuples(st.integers(0, 100), CLOCKS), min_size=1, max_size=12))
def test_no_byte_is_lost_within_a_month_and_none_is_invented(steps: list[tuple[int, Clock]]) -> None:
    """Whatever the clock does: used never exceeds all that was seen, and falls only when a month opens."""
    ledger: dict[str, Usage] = {}
    counter = total = 0
    boot, before = "", Usage()
    for number, (more, when) in enumerate(steps):
        counter = more if when.boot != boot else counter + more
        boot = when.boot
        total += more if number else 0
        ledger = add_usage(ledger, [link(counter)], {}, when)
        usage = ledger["usb0"]
        assert 0 <= usage.undated <= usage.used <= total
        if usage.used < before.used:
            assert usage.start is not None
            assert before.start is not None
            assert usage.start > before.start
        before = usage


# --- budgets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "action", "level", "verdict"),
    [
        (0, "off", "ok", "normal"),
        (40 * GB - 1, "off", "ok", "normal"),
        (40 * GB, "off", "warning", "normal"),
        (50 * GB - 1, "off", "warning", "normal"),
        (50 * GB, "off", "spent", "off"),
        (70 * GB, "backup", "spent", "backup"),
        (70 * GB, "warn", "spent", "normal"),
    ],
)
def test_levels(used: int, action: str, level: str, verdict: str) -> None:
    setting = parse(f'[[uplink]]\nmatch = "usb0"\nbudget = "50GB"\nbudget_action = "{action}"').uplink[0]
    found = plan_state("usb0", Usage(NOVEMBER, used=used), setting)
    assert (found.level, found.verdict) == (level, verdict)


def test_without_a_budget_nothing_is_ever_spent() -> None:
    found = plan_state("usb0", Usage(NOVEMBER, used=10**15), UplinkConfig("usb0", budget_action="off"))
    assert (found.level, found.verdict, str(found)) == (
        "ok",
        "normal",
        "usb0 has used 1000.0 TB; the next month begins on 2026-12-01",
    )
    assert section([found]) == ()


def at(used: int, action: str = "backup") -> PlanState:
    """usb0 with 50 GB a month."""
    return PlanState("usb0", used, 50 * GB, NOVEMBER, DECEMBER, action)


def test_each_change_is_told_once() -> None:
    assert news({}, [at(0)]) == []
    assert news({"usb0": at(0)}, [at(41 * GB)]) == [
        "usb0 has used 41.0 GB of 50.0 GB (82 %); the next month begins on 2026-12-01"
    ]
    assert news({"usb0": at(41 * GB)}, [at(42 * GB)]) == []
    spent = "usb0 has used 50.0 GB of 50.0 GB (100 %); the next month begins on 2026-12-01"
    assert news({"usb0": at(49 * GB)}, [at(50 * GB)]) == [f"{spent}: used only when all others are down"]
    assert news({}, [at(50 * GB, "off")]) == [f"{spent}: not used"]
    assert news({}, [at(50 * GB, "warn")]) == [spent]
    assert news({"usb0": at(50 * GB)}, [at(0)])[0].endswith(": used as before")


def test_for_status() -> None:
    assert [typed_json.to_json(each) for each in section([at(50 * GB)])] == [
        {
            "device": "usb0",
            "used_bytes": 50 * GB,
            "budget_bytes": 50 * GB,
            "since": "2026-11-01",
            "resets": "2026-12-01",
            "level": "spent",
            "verdict": "backup",
        }
    ]


# --- the file ---------------------------------------------------------------------------------------------

CONFIGURED = {"usb0": parse('[[uplink]]\nmatch = "usb0"\nbudget = "1MB"\nbudget_action = "off"').uplink[0]}


def meter(folder: Path) -> Meter:
    """As a new process has it."""
    found = Meter(folder / "lib", folder / "run")
    found.load()
    return found


def save(found: Meter, now_s: float) -> None:
    due = found.due(now_s)
    assert due is not None
    found.write(due)


def durable(found: Meter, now_s: float) -> bool | None:
    due = found.due(now_s)
    return None if due is None else due.durable


def test_usage_survives_a_restart(tmp_path: Path) -> None:
    first = meter(tmp_path)
    first.observe([link(0)], CONFIGURED, NOV_20)
    assert first.plans["usb0"].verdict == "normal"
    assert first.spent() == ()
    lines = first.observe([link(600_000, 400_000)], CONFIGURED, NOV_20)
    assert [line.rpartition(": ")[2] for line in lines] == ["not used"]
    assert set(first.plans) == {"usb0"}
    assert first.plans["usb0"].verdict == "off"
    assert first.spent() == (("usb0", "off", "1.0 MB a month are used up"),)
    save(first, 0.0)
    assert first.problems == ()
    assert [path.name for path in (tmp_path / "lib").iterdir()] == ["usage.json"]
    assert (tmp_path / "lib/usage.json").stat().st_mode & 0o777 == 0o600

    second = meter(tmp_path)
    assert second.problems == ()
    second.observe([link(5)], CONFIGURED, replace(NOV_20, boot="b"))
    assert second.plans["usb0"].used == 1_000_005
    assert second.plans["usb0"].verdict == "off"


def test_the_disk_is_written_at_most_once_a_minute_and_when_stopping(tmp_path: Path) -> None:
    found = meter(tmp_path)
    assert found.due(0.0) is None
    assert found.due(0.0, stopping=True) is None
    found.observe([link(0)], CONFIGURED, NOV_20)
    assert durable(found, 100.0)
    assert found.due(100.0 + SAVE_INTERVAL_S) is None  # nothing new
    found.observe([link(1)], CONFIGURED, NOV_20)
    assert found.due(100.0 + KEEP_INTERVAL_S - 1) is None
    assert durable(found, 100.0 + SAVE_INTERVAL_S - 1) is False
    due = found.due(100.0 + SAVE_INTERVAL_S - 1, stopping=True)
    assert due is not None
    assert due.durable
    found.observe([link(2)], CONFIGURED, NOV_20)
    assert durable(found, 100.0 + 2 * SAVE_INTERVAL_S)


def test_a_hundredth_of_a_budget_is_written_sooner(tmp_path: Path) -> None:
    found = meter(tmp_path)
    found.observe([link(0)], CONFIGURED, NOV_20)
    assert durable(found, 100.0)
    found.observe([link(9_999)], CONFIGURED, NOV_20)
    assert durable(found, 100.0 + SOONEST_S) is False
    found.observe([link(10_000)], CONFIGURED, NOV_20)
    assert durable(found, 100.0 + SOONEST_S - 1) is None
    assert durable(found, 100.0 + SOONEST_S)
    found.observe([link(10_001)], CONFIGURED, NOV_20)
    assert durable(found, 100.0 + 2 * SOONEST_S) is False


def test_what_is_not_saved_yet_survives_a_kill_and_a_modem_that_is_plugged_anew(tmp_path: Path) -> None:
    found = meter(tmp_path)
    found.observe([link(0)], CONFIGURED, NOV_20)
    save(found, 0.0)
    found.observe([link(900)], CONFIGURED, NOV_20)
    save(found, KEEP_INTERVAL_S)
    after = meter(tmp_path)  # the other was killed
    anew = Interface("usb0", 3, rx_bytes=7)
    after.observe([anew], CONFIGURED, NOV_20)
    assert after.plans["usb0"].used == 907


def test_without_descriptors_it_is_read_later(tmp_path: Path) -> None:
    first = meter(tmp_path)
    first.observe([link(5)], CONFIGURED, NOV_20)
    first.observe([link(800)], CONFIGURED, NOV_20)
    save(first, 0.0)
    with no_descriptors():
        found = meter(tmp_path)
        assert found.observe([link(900)], CONFIGURED, NOV_20) == []
        assert found.problems[0].endswith("Too many open files; it is read later, and counted on then")
    assert found.due(0.0, stopping=True) is None
    found.observe([link(1000)], CONFIGURED, NOV_20)
    assert found.plans["usb0"].used == 995
    assert found.problems == ()


@UNHURRIED
@given(st.lists(st.tuples(st.integers(0, 2**40), CLOCKS), max_size=5))
def test_what_is_written_is_what_is_read(steps: list[tuple[int, Clock]]) -> None:
    ledger: dict[str, Usage] = {}
    for counter, when in steps:
        ledger = add_usage(ledger, [link(counter)], {}, when)
    assert from_json(json.loads(json.dumps(to_json(ledger)))) == ledger


GOOD = to_json({"usb0": Usage(NOVEMBER)})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("used", -1),
        ("used", 1.5),
        ("used", True),
        ("used", 2**64),
        ("start", "2026-13-01"),
        ("start", 5),
        ("day", 0),
        ("boot", "../x"),
        ("boot", None),
        ("last_start", "yesterday"),
    ],
)
def test_a_wrong_entry_is_found(key: str, value: object) -> None:
    entry = GOOD["devices"]["usb0"] | {key: value}
    with pytest.raises(
        ValueError, match=key if key not in ("start", "last_start") else "isoformat|month|start"
    ):
        from_json({"devices": {"usb0": entry}})


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"version": 2, "devices": {}}', '{"version": 1, "devices": {"a/b": {}}}', "[" * 5000],
)
def test_a_broken_file_is_put_aside_and_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/usage.json").write_text(content)
    found = meter(tmp_path)
    assert len(found.problems) == 1
    assert found.problems[0].endswith("renamed to usage.json.bad, usage is counted from now on")
    assert "\n" not in found.problems[0]
    assert (tmp_path / "lib/usage.json.bad").read_text() == content
    found.observe([link(0)], CONFIGURED, NOV_20)
    save(found, 0.0)
    assert meter(tmp_path).problems == ()


def test_a_file_that_others_can_write_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/usage.json").write_text(json.dumps(to_json({})))
    (tmp_path / "lib/usage.json").chmod(0o666)
    assert "users other than root can write to it" in meter(tmp_path).problems[0]


def test_no_place_to_keep_it(tmp_path: Path) -> None:
    (tmp_path / "lib").write_text("in the way")
    found = Meter(tmp_path / "lib", tmp_path / "run")
    found.observe([link(0)], CONFIGURED, NOV_20)
    save(found, 0.0)
    assert found.problems[0].endswith("usage would be lost by a reboot")
    (tmp_path / "lib").unlink()
    save(found, SAVE_INTERVAL_S)
    assert meter(tmp_path).due(0.0, stopping=True) is None
    assert found.problems == ()
    assert (tmp_path / "lib/usage.json").exists()


def test_this_box() -> None:
    """Linux says both; what they are is its affair."""
    now = data_plans.clock(1_800_000_000.0, "a")
    assert now.today in (date(2027, 1, 14), date(2027, 1, 15), date(2027, 1, 16))
    assert isinstance(now.synchronised, bool)
    assert now.boot == "a"


@pytest.mark.parametrize(
    ("kernel", "timesyncd", "expected"),
    [(0, False, True), (1, False, True), (5, True, False), (-1, True, True), (-1, False, False)],
)
def test_who_knows_whether_the_clock_is_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: int, timesyncd: bool, expected: bool
) -> None:
    """The kernel; where it may not be asked (ProtectClock=yes), systemd-timesyncd's mark."""
    monkeypatch.setattr(data_plans, "_adjtimex", lambda: kernel)
    monkeypatch.setattr(data_plans, "_TIMESYNCD", tmp_path / "synchronized")
    if timesyncd:
        (tmp_path / "synchronized").touch()
    assert data_plans.synchronised() is expected


# --- the source --------------------------------------------------------------------------------------------

PLAN = '[[uplink]]\nmatch = "usb0"\nbudget = "1MB"\nbudget_action = "off"'


def counted(used: int, name: str = "usb0") -> Interface:
    return Interface(name, 2, rx_bytes=used)


async def test_a_plan_that_is_spent_is_a_fact_and_news(tmp_path: Path) -> None:
    config = replace(parse(PLAN), agent=agent_in(tmp_path))
    source, facts, looks = DataPlans(config), box("usb0", "usb1"), list[None]()
    await source.start(lambda: looks.append(None), (counted(0),))
    assert source.contribute(facts, 0.0).spent_plans == ()
    assert await source.apply(facts, desired(facts, config), config) == ()
    source.tick(Traffic(interfaces=(counted(999_999), counted(10**9, "usb1"))), 1.0)
    assert (source.contribute(facts, 0.0).spent_plans, looks) == ((), [])
    source.tick(Traffic(interfaces=(counted(1_000_000),)), 2.0)
    (budget,) = source.contribute(facts, 0.0).spent_plans
    assert (budget.device, budget.action) == ("usb0", "off")
    assert looks == [None]
    source.tick(Traffic(interfaces=(counted(1_000_001),)), 3.0)
    assert looks == [None]  # nothing new
    (shown,) = source.status(Sections(), {"usb0"}, 0.0).metered
    assert (shown.device, shown.used_bytes, shown.level, shown.verdict) == ("usb0", 1_000_001, "spent", "off")
    await source.stop()
    assert json.loads((tmp_path / "data/usage.json").read_text())["devices"]["usb0"]["used"] == 1_000_001


async def test_what_was_carried_while_no_agent_ran_counts_in_the_first_pass(tmp_path: Path) -> None:
    config = replace(parse(PLAN), agent=agent_in(tmp_path))
    first, facts = DataPlans(config), box("usb0")
    await first.start(lambda: None, (counted(0),))
    first.contribute(facts, 0.0)
    await first.stop()
    second = DataPlans(config)
    await second.start(lambda: None, (counted(2_000_000),))
    assert [budget.device for budget in second.contribute(facts, 0.0).spent_plans] == ["usb0"]
    await second.stop()


async def test_an_interface_that_is_no_uplink_is_not_counted(tmp_path: Path) -> None:
    config = replace(parse(PLAN), agent=agent_in(tmp_path))
    source = DataPlans(config)
    await source.start(lambda: None, ())
    facts = Facts(interfaces=(link(0),))  # without an address
    source.contribute(facts, 0.0)
    await source.apply(facts, desired(facts, config), config)
    for used in (0, 5_000_000):
        source.tick(Traffic(interfaces=(counted(used),)), 1.0)
    assert source.contribute(facts, 0.0).spent_plans == ()
    await source.stop()


async def test_once_neither_counts_nor_writes(tmp_path: Path) -> None:
    config = replace(parse(PLAN), agent=agent_in(tmp_path))
    source = DataPlans(config)
    await source.once()
    assert source.contribute(box("usb0"), 0.0).spent_plans == ()
    assert content(tmp_path) == {}


async def test_what_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way\n")
    config = replace(parse(PLAN), agent=agent_in(tmp_path))
    source = DataPlans(config)
    await source.start(lambda: None, (counted(0),))
    source.contribute(box("usb0"), 0.0)
    await source.stop()
    (problem,) = source.problems
    assert problem.startswith(f"{tmp_path}/data/usage.json: ")
