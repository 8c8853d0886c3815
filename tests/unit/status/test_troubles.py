"""Which problems a snapshot shows: code, subject, severity, text, what to do, and since when."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from netbond.health import suspects
from netbond.srtla import sender
from netbond.srtla.callers import REFUSAL_S
from netbond.status import troubles as tested
from netbond.status.schema import from_json
from netbond.status.troubles import troubles
from tests.unit.cli.snapshots import SNAPSHOT, check
from tests.unit.status.faults import (
    Change,
    at_home,
    backpack,
    engine_is,
    gone,
    links_of,
    not_registered,
    one_link,
    set_off,
    stats_of,
    studio,
    told,
    uplink_is,
)

SENDER = "sender 127.0.0.1:6000"


def found(box: dict[str, Any], change: Change) -> list[tuple[str, str, str, str]]:
    change(box)
    return [(one.code, one.subject, one.severity, one.text) for one in troubles(from_json(box))]


def dead_with_its_link(box: dict[str, Any]) -> None:
    uplink_is(3, "dead", "gateway: no answer", state="down", since_s=70.0)(box)
    one_link(state="down", reason="silent for 5 s", silent_ms=70_000)(box)


def all_dead(box: dict[str, Any]) -> None:
    for number in range(2):
        uplink_is(number, "dead", "gateway: no answer", state="down")(box)


def both_families(box: dict[str, Any]) -> None:
    box["uplinks"].append({**box["uplinks"][0], "family": 6, "address": "2001:db8::2", "state": "dead"})
    box["uplinks"][-1]["reason"] = "gateway: no answer"


def test_what_is_set_off_is_no_problem() -> None:
    assert found(backpack(), set_off(3)) == []
    assert found(backpack(), set_off(3, state="no carrier")) == [
        ("uplink-no-carrier", "usb3", "notice", "usb3: no carrier")
    ]
    box = backpack()
    set_off(3)(box)
    assert [severity for _, _, severity, _ in found(box, gone)] == ["notice"]


def test_all_are_set_off() -> None:
    box = at_home()
    set_off(0)(box)
    set_off(1)(box)
    (problem,) = troubles(from_json(box))
    assert (problem.code, problem.text) == ("no-uplink", "none of 2 uplinks is usable")
    assert problem.hint == "usb0 is set off: netbond unset usb0"


def test_all_is_well() -> None:
    for box in (backpack(), at_home(), studio()):
        assert found(box, lambda _box: None) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (gone, ("uplink-gone", "usb3", "degraded", "usb3 unplugged")),
        (dead_with_its_link, ("uplink-dead", "usb3", "degraded", "usb3 dead: gateway: no answer")),
        (
            uplink_is(3, "no carrier", "no carrier"),
            ("uplink-no-carrier", "usb3", "degraded", "usb3: no carrier"),
        ),
        (
            uplink_is(3, "down", "interface is down"),
            ("uplink-down", "usb3", "notice", "usb3: interface is down"),
        ),
        (
            uplink_is(3, "spent", "its data plan is used up"),
            ("data-plan-spent", "usb3", "degraded", "usb3: its data plan is used up"),
        ),
        (
            uplink_is(3, "degraded", "icmp: loss 25 %", state="degraded", since_s=9.0),
            (
                *("uplink-degraded", "usb3", "degraded"),
                "usb3 degraded, and out of the shared default: icmp: loss 25 %",
            ),
        ),
        (
            uplink_is(3, "up", "", state="degraded", reason="icmp: loss 25 %"),
            ("uplink-degraded", "usb3", "degraded", "usb3 degraded: icmp: loss 25 %"),
        ),
        (
            uplink_is(3, "up", "", checks=[check("receiver", "failing", None, None, "no answer")]),
            (
                *("uplink-suspect", "usb3", "notice"),
                "usb3 suspect: its stream's receiver is heard over others, and not over it",
            ),
        ),
        (
            uplink_is(3, "up", "", state="down", reason="gateway: no answer"),
            (
                *("uplink-dead", "usb3", "degraded"),
                "usb3 fails its checks, and is used as no other is better: gateway: no answer",
            ),
        ),
        (
            both_families,
            ("uplink-dead", "usb0", "degraded", "usb0 IPv6 dead: gateway: no answer"),
        ),
        (
            one_link(state="down", reason="silent for 5 s", silent_ms=20_000),
            ("link-down", "usb3", "degraded", "usb3: no answer"),
        ),
        (one_link(silent_ms=4000), ("link-down", "usb3", "degraded", "usb3: no answer")),
        (
            one_link(state="registering", reason=sender.NO_ANSWER, silent_ms=None),
            ("link-down", "usb3", "degraded", "usb3: no answer"),
        ),
        (
            one_link(state="registering", reason="the receiver knows our other links, but not this one"),
            (
                *("link-down", "usb3", "degraded"),
                "usb3: the receiver knows our other links, but not this one",
            ),
        ),
        (
            one_link(reason="stalled: packets without any answer"),
            ("link-down", "usb3", "degraded", "usb3: no answer"),
        ),
        (
            one_link(reason="packets of more than 1200 bytes do not arrive"),
            ("link-mtu", "usb3", "degraded", "usb3: packets of more than 1200 bytes do not arrive"),
        ),
        (
            not_registered(problems=("bond.example.org:5000 does not know our key: not sending to it",)),
            (
                *("not-registered", SENDER, "broken"),
                "bond.example.org:5000 does not know our key: not sending to it",
            ),
        ),
        (
            not_registered("silent for 5 s"),
            ("not-registered", SENDER, "broken", "no answer from bond.example.org:5000"),
        ),
        (
            lambda box: stats_of(box).update(caller_silent_ms=4000),
            ("caller-gone", SENDER, "degraded", "the SRT caller 127.0.0.1:43210 is silent"),
        ),
        (
            told("the receiver's SRT server refuses the SRT caller: the passphrase is wrong"),
            (
                *("srt-server-refuses", SENDER, "broken"),
                "the receiver's SRT server refuses the SRT caller: the passphrase is wrong",
            ),
        ),
        (
            told("a second SRT caller, 127.0.0.1:2, is refused while 127.0.0.1:1 is connected"),
            (
                *("caller-refused", SENDER, "degraded"),
                "a second SRT caller, 127.0.0.1:2, is refused while 127.0.0.1:1 is connected",
            ),
        ),
        (
            told("a.example:5000 did not answer: it is used again when it does and no SRT caller is there"),
            (
                *("receiver-failover", SENDER, "degraded"),
                "a.example:5000 did not answer: it is used again when it does and no SRT caller is there",
            ),
        ),
        (
            told("what no version has said so far"),
            ("sender", SENDER, "degraded", "what no version has said so far"),
        ),
        (
            engine_is(state="failed", reason="port 6000 is taken", stats=None),
            ("engine-failed", SENDER, "broken", f"{SENDER}: port 6000 is taken"),
        ),
        (
            engine_is(state="backing off", reason="hung: no statistics for 3.1 s", stats=None),
            ("engine-restarting", SENDER, "broken", f"{SENDER}: hung: no statistics for 3.1 s"),
        ),
        (
            engine_is(state="starting", reason="not ready after 12 s", stats=None),
            ("engine-restarting", SENDER, "broken", f"{SENDER} is not ready"),
        ),
        (
            engine_is(reason="no statistics for 6 s"),
            ("engine-hung", SENDER, "broken", f"{SENDER} hangs"),
        ),
        (
            engine_is(restarts=1, restarted_s=20.0, last_exit="killed by SIGKILL"),
            ("engine-restarted", SENDER, "degraded", f"{SENDER} was started again: killed by SIGKILL"),
        ),
        (
            lambda box: stats_of(box).update(flavour="pure"),
            (
                *("pure-flavour", "", "notice"),
                "the engines are pure Python: packets cost two to four times the CPU time",
            ),
        ),
    ],
)
def test_of_a_sender(change: Change, problem: tuple[str, str, str, str]) -> None:
    assert found(backpack(), change) == [problem]


def test_what_an_engine_says_is_bounded() -> None:
    problems = found(backpack(), told(*(f"trouble {number}" for number in range(1000))))
    assert len(problems) == tested.MOST_OF_ENGINE


def test_of_routing() -> None:
    assert found(at_home(), all_dead) == [
        ("no-uplink", "", "broken", "none of 2 uplinks is usable"),
        ("uplink-dead", "usb0", "degraded", "usb0 dead: gateway: no answer"),
        ("uplink-dead", "usb1", "degraded", "usb1 dead: gateway: no answer"),
    ]


def test_of_modems_and_data_plans() -> None:
    box = copy.deepcopy(at_home())
    box["metered"] = [{**SNAPSHOT["metered"][0], "device": "usb1"}]
    modem = {**SNAPSHOT["modems"]["wwan0"], "device": "wwan1", "sim": "sim-pin", "state": "locked"}
    box["idle_modems"] = [{**modem, "why": "SIM waits for sim-pin"}]
    assert found(box, lambda _box: None) == [
        ("data-plan-low", "usb1", "notice", "usb1: 80 % of its data plan is used"),
        ("modem", "wwan1", "degraded", "modem wwan1: SIM waits for sim-pin"),
    ]


def test_of_a_receiver() -> None:
    def change(box: dict[str, Any]) -> None:
        stats = stats_of(box)
        (group,) = stats["groups"]
        silent = {**group["links"][0], "idle_s": 4.0}
        stats["groups"] = [
            {**group, "links": [silent, group["links"][0]]},
            {**group, "stream": "off", "live": False},
            {**group, "stream": "waits", "live": False, "uptime_s": None},
        ]
        stats["problems"] = ["SRT server 127.0.0.1:5002: nothing listens there"]

    assert found(studio(), change) == [
        (
            *("srt-server-silent", "receiver 0.0.0.0:5000", "broken"),
            "SRT server 127.0.0.1:5002: nothing listens there",
        ),
        ("stream-links", "live/~3f2a", "notice", "stream live/~3f2a: 1 of 2 links silent"),
        ("stream-stopped", "off", "degraded", "stream off: no data"),
    ]


@pytest.mark.parametrize(
    "quiet",
    [
        one_link(state="registering", reason="", silent_ms=None),  # it has only just begun
        one_link(enabled=False, reason="idle: carries no stream"),
        lambda box: stats_of(box).update(caller_silent_ms=700_000),  # switched off long ago
        lambda box: stats_of(box).update(caller_silent_ms=5000, caller_closed=True),
        uplink_is(3, "standby", "waits"),
        uplink_is(
            *(3, "up", ""),
            reason="only streams are blocked: no answer from 192.0.2.7",  # reported by the health checks
            checks=[check("receiver", "failing", None, None, "no answer")],
        ),
        engine_is(restarts=1, restarted_s=61.0),
        engine_is(state="starting", stats=None),
        lambda box: box.update(gone=[{**_gone(), "gone_s": 601.0}]),
        lambda box: box.update(gone=[{**_gone(), "reason": "enabled = false"}]),
        lambda box: box.update(gone=[{**_gone(), "name": "usb0", "device": "usb0", "family": 6}]),
    ],
)
def test_what_is_none(quiet: Change) -> None:
    assert found(backpack(), quiet) == []


def _gone() -> dict[str, Any]:
    box = backpack()
    gone(box)
    only: dict[str, Any] = box["gone"][0]
    return only


@pytest.mark.parametrize(
    ("change", "since_s"),
    [
        (one_link(state="down", reason="silent for 5 s", silent_ms=20_000), 20.0),
        (dead_with_its_link, 70.0),
        (gone, 20.0),
        (lambda box: stats_of(box).update(caller_silent_ms=4500), 4.5),
        (engine_is(restarts=1, restarted_s=30.0, last_exit="x"), 30.0),
        (uplink_is(3, "no carrier", "no carrier"), None),
    ],
)
def test_since_when(change: Change, since_s: float | None) -> None:
    box = backpack()
    change(box)
    assert [one.since_s for one in troubles(from_json(box))] == [since_s]


def test_a_text_does_not_change_while_time_passes() -> None:
    """Else the log would have it again each second."""
    texts = set()
    for silent in (5, 6, 7):
        box = backpack()
        for each in links_of(box)[2:]:
            each.update(state="down", reason=f"silent for {silent} s", silent_ms=silent * 1000)
        texts.add(tuple(one.text for one in troubles(from_json(box))))
    assert len(texts) == 1


def test_the_words_are_those_of_the_engine() -> None:
    assert tested._NO_ANSWER == sender.NO_ANSWER
    assert tested._SUSPICION == suspects.NAME
    assert REFUSAL_S > 1.0, "status is published each second"


def test_each_that_stops_a_stream_says_what_to_do() -> None:
    for change in (
        not_registered("nothing listens at the receiver's port"),
        not_registered(sender.NO_ANSWER),
        not_registered("refused by the receiver: it has another key"),
        told("the receiver's SRT server refuses the SRT caller: the passphrase is wrong"),
        engine_is(state="failed", reason="x", stats=None),
        lambda box: box.update(uplinks=[]),
    ):
        box = backpack()
        change(box)
        broken = [one for one in troubles(from_json(box)) if one.severity == "broken"]
        assert broken
        assert all(one.hint for one in broken)
