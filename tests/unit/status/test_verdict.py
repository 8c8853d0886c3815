"""The verdict: one line and a code, for each fault that people met."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from netbond.srtla.answers import Answers
from netbond.status.assessment import belated
from netbond.status.schema import ProblemStatus, from_json
from netbond.status.verdict import LONGEST, aged, no_agent, spell_rate, unknown, verdict
from tests.unit.cli.snapshots import SNAPSHOT
from tests.unit.status.faults import (
    Change,
    after,
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


def fine(_box: dict[str, Any]) -> None:
    pass


def everything_is_gone(box: dict[str, Any]) -> None:
    box.update(uplinks=[], health=[])


def two_trouble(box: dict[str, Any]) -> None:
    for number in range(1, 4):
        links_of(box)[number].update(state="down", reason="silent for 5 s", silent_ms=20_000)


def no_caller(box: dict[str, Any]) -> None:
    stats_of(box).update(caller=None, caller_silent_ms=None)
    for each in links_of(box):
        each["bitrate_bps"] = 400


def caller_gone(box: dict[str, Any]) -> None:
    stats_of(box)["caller_silent_ms"] = 20_000
    for each in links_of(box):
        each["bitrate_bps"] = 400


def over(box: dict[str, Any]) -> None:
    caller_gone(box)
    stats_of(box)["caller_closed"] = True


@pytest.mark.parametrize(
    ("change", "text", "code"),
    [
        (fine, "STREAMING 6.0 Mbit/s over 4 of 4 links", 0),
        (
            one_link(state="down", reason="silent for 5 s", silent_ms=20_000, bitrate_bps=0),
            "STREAMING 4.5 Mbit/s over 3 of 4 links; usb3: no answer for 20 s",
            1,
        ),
        (gone, "STREAMING 4.5 Mbit/s over 3 of 4 links; usb3 unplugged 20 s ago", 1),
        (
            two_trouble,
            "STREAMING 1.5 Mbit/s over 1 of 4 links; usb1: no answer for 20 s; usb2: no answer for 20 s;"
            " and 1 more problem",
            1,
        ),
        (
            not_registered("nothing listens at the receiver's port"),
            "NOT CONNECTED: nothing listens at bond.example.org:5000",
            2,
        ),
        (
            not_registered("no answer from the receiver"),
            "NOT CONNECTED: no answer from bond.example.org:5000",
            2,
        ),
        (
            not_registered("refused by the receiver: it wants a key"),
            "NOT CONNECTED: bond.example.org:5000: refused by the receiver: it wants a key",
            2,
        ),
        (
            not_registered("no answer from the receiver", "refused by the receiver"),
            "NOT CONNECTED: bond.example.org:5000: usb0: no answer from the receiver;"
            " usb1, usb2, usb3: refused by the receiver",
            2,
        ),
        (not_registered(), "CONNECTING to bond.example.org:5000", 3),
        (
            lambda box: stats_of(box).update(
                state="resolving", problems=["cannot resolve bond.example.org: no such name"], links=[]
            ),
            "NOT CONNECTED: cannot resolve bond.example.org: no such name",
            2,
        ),
        (
            lambda box: stats_of(box).update(state="no links", links=[]),
            "NOT CONNECTED: no uplink is usable",
            2,
        ),
        (no_caller, "READY over 4 of 4 links, no SRT caller yet", 0),
        (
            caller_gone,
            "CONNECTED over 4 of 4 links, no stream; the SRT caller 127.0.0.1:43210 is silent for 20 s",
            1,
        ),
        (over, "READY over 4 of 4 links, no SRT caller yet", 0),
        (
            engine_is(state="backing off", reason="killed by SIGKILL", pid=None, stats=None),
            "NOT RUNNING: sender 127.0.0.1:6000: killed by SIGKILL",
            2,
        ),
        (
            engine_is(reason="no statistics for 6 s"),
            "NOT RUNNING: sender 127.0.0.1:6000 hangs",
            2,
        ),
        (engine_is(state="starting", stats=None, pid=None), "STARTING", 3),
        (
            lambda box: box["agent"].update(problems=["configuration: not reloaded"]),
            "STREAMING 6.0 Mbit/s over 4 of 4 links; configuration: not reloaded",
            1,
        ),
        (
            lambda box: stats_of(box).update(flavour="pure"),
            "STREAMING 6.0 Mbit/s over 4 of 4 links",
            0,
        ),
    ],
)
def test_of_a_sender(change: Change, text: str, code: int) -> None:
    found = after(backpack(), change).verdict
    assert found is not None
    assert (found.text, found.code) == (text, code)


def test_that_both_start_is_said_once() -> None:
    """A sender and a receiver on one box."""

    def both(box: dict[str, Any]) -> None:
        engine_is(state="starting", stats=None, pid=None)(box)
        box["engines"].append({**box["engines"][0], "role": "receiver", "name": "receiver [::]:5000"})

    found = after(backpack(), both).verdict
    assert found is not None
    assert (found.text, found.code) == ("STARTING", 3)


def test_an_srt_server_that_does_not_answer_is_said_first() -> None:
    """In the words that the sender has for it."""
    answers = Answers()
    answers.asked(1.0)
    words = answers.trouble(4.0)
    found = after(backpack(), told(words)).verdict
    assert found is not None
    assert (found.text, found.code) == (f"NO STREAM: {words}", 2)
    assert "its SRT server does not" in words


@pytest.mark.parametrize(
    ("change", "text", "code"),
    [
        (fine, "UP: 2 uplinks", 0),
        (
            uplink_is(1, "dead", "gateway does not answer", state="down", since_s=130.0),
            "UP: 1 uplink; usb1 dead: gateway does not answer",
            1,
        ),
        (uplink_is(1, "standby", "waits"), "UP: 1 uplink", 0),
        (
            uplink_is(1, "up", "", state="degraded", reason="icmp: loss 25 %"),
            "UP: 2 uplinks; usb1 degraded: icmp: loss 25 %",
            1,
        ),
        (everything_is_gone, "DOWN: no uplink: no interface has an address and a known gateway", 2),
        (
            lambda box: box.update(uplinks=[], health=[], agent={**box["agent"], "uptime_s": 2.0}),
            "STARTING",
            3,
        ),
    ],
)
def test_of_routing_alone(change: Change, text: str, code: int) -> None:
    found = after(at_home(), change).verdict
    assert found is not None
    assert (found.text, found.code) == (text, code)


@pytest.mark.parametrize(
    ("change", "text", "code"),
    [
        (fine, "RECEIVING 1 stream, 2.1 Mbit/s", 0),
        (lambda box: stats_of(box).update(groups=[]), "LISTENING: no sender connected", 0),
        (
            lambda box: stats_of(box)["groups"][0].update(live=False, uptime_s=None, bitrate_bps=0),
            "LISTENING: 1 sender connected, no stream",
            0,
        ),
        (
            lambda box: stats_of(box)["groups"][0].update(live=False, bitrate_bps=0),
            "LISTENING: 1 sender connected, no stream; stream live/~3f2a: no data",
            1,
        ),
        (
            lambda box: stats_of(box).update(
                problems=["SRT server 127.0.0.1:5002: nothing listens there"],
                groups=[{**stats_of(box)["groups"][0], "live": False, "uptime_s": None}],
            ),
            "NO STREAM: SRT server 127.0.0.1:5002: nothing listens there",
            2,
        ),
    ],
)
def test_of_a_receiver(change: Change, text: str, code: int) -> None:
    found = after(studio(), change).verdict
    assert found is not None
    assert (found.text, found.code) == (text, code)


def test_senders_and_receivers_of_one_box_are_both_named() -> None:
    box = backpack()
    box["engines"] += studio()["engines"]
    found = after(box, fine).verdict
    assert found is not None
    assert found.text == "STREAMING 6.0 Mbit/s over 4 of 4 links; RECEIVING 1 stream, 2.1 Mbit/s"


def test_a_modem_that_is_gone_and_has_an_uplink_of_its_own_is_said_once() -> None:
    box = backpack()
    gone(box)
    box["idle"] = box["agent"]["problems"] = ["usb3: no such interface now"]
    found = after(box, fine).verdict
    assert found is not None
    assert found.text == "STREAMING 4.5 Mbit/s over 3 of 4 links; usb3 unplugged 20 s ago"


def test_two_streams_are_added_up() -> None:
    box = backpack()
    box["engines"] *= 2
    found = after(box, fine).verdict
    assert found is not None
    assert found.text == "STREAMING 12.0 Mbit/s in 2 streams over 8 of 8 links"


def test_it_is_one_line_that_nothing_of_outside_breaks() -> None:
    snapshot = belated(from_json(SNAPSHOT))
    shout = ProblemStatus("x", "", "broken", 0.0, "a\x1b[2J\nb" * 100, "")
    agent = replace(snapshot.agent, problem_details=(shout,))
    text = verdict(replace(snapshot, agent=agent)).text
    assert len(text) <= LONGEST
    assert text.isprintable()


def test_without_an_agent() -> None:
    assert no_agent("it is not running").code == 2
    assert unknown("what?").code == 3


@pytest.mark.parametrize(
    ("code", "text", "since_s", "says"),
    [
        ("link-down", "usb3: no answer", 1.0, "usb3: no answer"),
        ("link-down", "usb3: no answer", 125.0, "usb3: no answer for 2 min"),
        ("uplink-gone", "usb3 unplugged", 125.0, "usb3 unplugged 2 min ago"),
        ("route-refused", "the kernel refuses: x", 5.0, "the kernel refuses: x (for 5 s)"),
    ],
)
def test_ages_are_said_as_people_do(code: str, text: str, since_s: float, says: str) -> None:
    assert aged(ProblemStatus(code, "", "degraded", since_s, text, "")) == says


@pytest.mark.parametrize(
    ("bps", "says"), [(6_000_000, "6.0 Mbit/s"), (850_400, "850 kbit/s"), (999_600, "1.0 Mbit/s")]
)
def test_rates(bps: float, says: str) -> None:
    assert spell_rate(bps) == says


def test_what_is_set_off_is_in_the_verdict_and_makes_nothing_worse() -> None:
    found = after(backpack(), set_off(3, 2580.0)).verdict
    assert found is not None
    assert found.text == "STREAMING 4.5 Mbit/s over 3 of 3 links; usb3 set off for 43 min more"
    assert found.code == 0
    box = at_home()
    set_off(0)(box)
    found = after(box, uplink_is(1, "dead", "gateway: no answer", state="down", since_s=70.0)).verdict
    assert found is not None
    assert found.text == (
        "DOWN: none of 2 uplinks is usable; usb1 dead: gateway: no answer for 1 min; usb0 set off"
    )


def test_only_modes_of_what_is_there_and_not_without_end() -> None:
    box = backpack()
    for number in range(3):
        set_off(number)(box)
    box["overrides"] += [
        {**box["overrides"][0], "uplink": "usb3", "what": "weight", "value": 3},
        {**box["overrides"][0], "uplink": "usb9"},
    ]
    found = after(box, fine).verdict
    assert found is not None
    assert found.text.endswith("; usb0 set off; usb1 set off; and 1 more set by hand")
