"""What hooks are told of changes, and what a hook that still runs is told later, or not at all."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.desired import Desired, desired
from netbond.hook_events import Conditions, Event, Queue, carry_on, conditions, events
from netbond.model import Facts, Health, Override, SpentDataPlan, UplinkState
from tests.unit.boxes import box

PLAIN = parse("")
WITH_BACKUP = parse('[[uplink]]\nmatch = "usb1"\nbackup = true\n')
BOTH = box("usb0", "usb1")


def dead(device: str, state: str = "down", reason: str = "10.0.0.1 does not answer") -> Facts:
    address = ipaddress.ip_address("10.0.0.10" if device == "usb0" else "10.0.1.10")
    return replace(BOTH, health=(Health(device, 4, state, reason, address=address),))


def story(config: Config, *steps: Facts) -> list[list[str]]:
    """What is told at each step, as "down of usb0 (reason) [in use]"."""
    before: Conditions | None = None
    told = []
    for facts in steps:
        now = conditions(facts, desired(facts, config))
        told.append([f"{each} ({each.reason}) [{' '.join(each.in_use)}]" for each in events(before, now)])
        before = carry_on(before, now)
    return told


def test_nothing_at_the_start_and_nothing_without_change() -> None:
    assert story(PLAIN, BOTH, BOTH) == [[], []]


def test_an_uplink_goes_down_and_comes_back() -> None:
    assert story(PLAIN, BOTH, dead("usb0"), dead("usb0"), BOTH) == [
        [],
        ["down of usb0 (10.0.0.1 does not answer) [usb1]"],
        [],
        ["up of usb0 () [usb0 usb1]"],
    ]


def test_a_modem_is_unplugged_and_plugged_in() -> None:
    assert story(PLAIN, BOTH, box("usb0"), box("usb0"), BOTH) == [
        [],
        ["down of usb1 (it is gone) [usb0]"],
        [],
        ["up of usb1 () [usb0 usb1]"],
    ]


def test_a_modem_that_is_new() -> None:
    assert story(PLAIN, box("usb0"), BOTH) == [[], ["up of usb1 () [usb0 usb1]"]]


def test_a_dead_uplink_is_unplugged_and_a_new_one_has_no_link() -> None:
    """Both are down before and after."""
    down = replace(
        BOTH, interfaces=tuple(replace(link, carrier=link.name != "usb1") for link in BOTH.interfaces)
    )
    assert story(PLAIN, BOTH, dead("usb0"), box("usb1"), BOTH)[2:] == [[], ["up of usb0 () [usb0 usb1]"]]
    assert story(PLAIN, box("usb0"), down) == [[], []]


def test_degraded() -> None:
    assert story(PLAIN, BOTH, dead("usb0", "degraded", "icmp: 25 % loss"), dead("usb0"), BOTH) == [
        [],
        ["degraded of usb0 (icmp: 25 % loss) [usb0 usb1]"],
        ["down of usb0 (10.0.0.1 does not answer) [usb1]"],
        ["up of usb0 () [usb0 usb1]"],
    ]


def test_failover_and_failback() -> None:
    assert story(WITH_BACKUP, BOTH, dead("usb0"), BOTH) == [
        [],
        ["down of usb0 (10.0.0.1 does not answer) [usb1]", "failover () [usb1]"],
        ["up of usb0 () [usb0]", "failback () [usb0]"],
    ]


def test_a_moment_without_any_uplink_is_no_failback() -> None:
    nothing = box()
    assert [[word.split()[0] for word in told] for told in story(
        WITH_BACKUP, BOTH, dead("usb0"), nothing, dead("usb0"), nothing, BOTH
    )] == [[], ["down", "failover"], ["down"], ["up"], ["down"], ["up", "up", "failback"]]  # fmt: skip


@pytest.mark.parametrize("action", ["off", "backup"])
def test_a_spent_data_plan(action: str) -> None:
    spent = replace(BOTH, spent_plans=(SpentDataPlan("usb0", action, "50 GB of 50 GB used"),))
    assert story(PLAIN, BOTH, spent, BOTH) == [
        [],
        ["spent of usb0 (50 GB of 50 GB used) [usb1]"],
        ["up of usb0 () [usb0 usb1]"],
    ]


def test_a_spent_backup_that_carries_all_is_a_failover() -> None:
    spent = SpentDataPlan("usb1", "backup", "used up")
    assert [
        word.split()[0] for word in story(PLAIN, BOTH, replace(dead("usb0"), spent_plans=(spent,)))[0]
    ] == []
    told = story(PLAIN, BOTH, replace(dead("usb0"), spent_plans=(spent,)))[1]
    assert [word.split()[0] for word in told] == ["down", "spent", "failover"]


def test_what_a_person_sets() -> None:
    """Off is down, and says who; a spent plan that is to be used nevertheless is up; a backup is one."""

    def set_to(mode: str, **rest: object) -> Facts:
        return replace(BOTH, overrides=(Override("usb0", mode, by="root"),), **rest)  # type: ignore[arg-type]

    assert story(PLAIN, BOTH, set_to("off"), BOTH) == [
        [],
        ["down of usb0 (set off by root) [usb1]"],
        ["up of usb0 () [usb0 usb1]"],
    ]
    spent = (SpentDataPlan("usb0", "off", "used up"),)
    told = story(PLAIN, replace(BOTH, spent_plans=spent), set_to("normal", spent_plans=spent))
    assert told == [[], ["up of usb0 () [usb0 usb1]"]]
    dead = replace(set_to("backup"), health=(Health("usb1", 4, "down", "no answer"),))
    assert story(PLAIN, set_to("backup"), dead) == [
        [],
        ["down of usb1 (no answer) [usb0]", "failover () [usb0]"],
    ]


def test_one_family_of_an_uplink_fails() -> None:
    goal = desired(BOTH, PLAIN)
    (usb0, _) = goal.uplinks
    six = replace(usb0, address=ipaddress.ip_interface("2001:db8::10/64"), gateway=None)
    both = Desired(uplinks=(usb0, six))
    first = conditions(BOTH, both)
    assert [condition.state for condition in first.uplinks.values()] == ["up"]
    broken = Desired(uplinks=(usb0, replace(six, state=UplinkState.DEAD, reason="fe80::1 is silent")))
    (event,) = events(first, conditions(BOTH, broken))
    assert (event.kind, event.reason) == ("degraded", "IPv6: fe80::1 is silent")


# --- the queue of one hook ---------------------------------------------------------------------------------

DOWN, UP = Event("down", "usb0"), Event("up", "usb0")
OTHER, FAILOVER = Event("down", "usb1"), Event("failover")


def test_events_are_told_in_their_order() -> None:
    queue = Queue()
    assert [queue.put(event) for event in (DOWN, OTHER, FAILOVER)] == ["", "", ""]
    assert [queue.take() for _ in range(4)] == [DOWN, OTHER, FAILOVER, None]


def test_the_newest_event_of_an_uplink_replaces_one_that_waits() -> None:
    queue = Queue()
    queue.put(DOWN)
    assert queue.take() == DOWN  # it runs, and takes its time
    assert queue.put(UP) == ""
    assert queue.put(OTHER) == ""
    assert queue.put(Event("degraded", "usb0")) == "skipped up of usb0, because of degraded of usb0"
    assert [queue.take(), queue.take(), queue.take()] == [OTHER, Event("degraded", "usb0"), None]


def test_what_it_is_told_at_present_is_not_told_again() -> None:
    queue = Queue()
    queue.put(DOWN)
    queue.take()
    queue.put(UP)
    assert queue.put(DOWN) == "skipped up of usb0 and down of usb0: it is told of down of usb0 at present"
    assert queue.take() is None


def test_no_more_events_wait_than_uplinks_make_sense() -> None:
    queue = Queue()
    said = [queue.put(Event("up", f"ppp{number}")) for number in range(66)]
    assert said[64:] == [f"skipped up of ppp{n}, because too many events wait" for n in (0, 1)]
    assert queue.take() == Event("up", "ppp2")


def test_the_same_again_is_told_if_it_has_ended() -> None:
    """A hook that hears only of "down" hears of each."""
    queue = Queue()
    queue.put(DOWN)
    queue.take()
    queue.take()
    assert queue.put(DOWN) == ""
    assert queue.take() == DOWN
    assert queue.put(DOWN) == ""  # a second one while it runs: told afterwards
    assert queue.take() == DOWN
