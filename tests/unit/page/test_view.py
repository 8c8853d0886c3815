"""What the page shows of a snapshot, and how little of it differs from one second to the next."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

from netbond.events import Event
from netbond.page.merge import patch
from netbond.page.view import MAX_EVENTS, Beginnings, events_of, page_of, with_advice
from netbond.srtla.advice import Advice, LinkAdvice
from netbond.srtla.watch import VERSION, WatchLine
from netbond.status.assessment import belated
from netbond.status.schema import OverrideStatus, ProblemStatus, Snapshot, from_json
from tests.unit.cli.snapshots import SNAPSHOT, missing

NOW = 50_000.0


def snapshot() -> Snapshot:
    return belated(from_json(copy.deepcopy(SNAPSHOT)))


def test_uplinks() -> None:
    uplinks = page_of(snapshot(), Beginnings(), NOW)["uplinks"]
    assert list(uplinks) == ["usb0", "usb1", "usb2", "roof", "wlan0", "usb0/6"]
    assert uplinks["usb0"] == {
        "name": "usb0",
        "family": 4,
        "address": "192.168.100.100",
        "gateway": "192.168.100.1",
        "state": "up",
        "used": True,
        "weight": 1,
        "mode": "normal",
        "priority": 0,
        "rx": 1500,
        "tx": 1,
        "check": "gateway",
        "rtt": 0.4,
        "loss": 0,
    }
    assert uplinks["usb1"]["reason"] == "gateway: no answer"
    assert uplinks["roof"] == {
        "name": "roof",
        "device": "wwan0",
        "family": 4,
        "address": "10.64.3.9",
        "state": "up",
        "used": True,
        "weight": 1,
        "mode": "normal",
        "priority": 0,
        "rx": 1500,
        "tx": 1,
        "check": "icmp",
        "rtt": 48.4,
        "loss": 25,
        "modem": "T-Mobile LTE 72 %",
        "plan": [41_000, 50_000, "warning"],
    }


def test_what_people_have_set() -> None:
    found, beginnings = snapshot(), Beginnings()
    first = replace(
        found,
        overrides=(
            OverrideStatus("usb0", "mode", "off", "the web page", 5.0, 3595.0, "normal"),
            OverrideStatus("usb0", "weight", 3, "root", 5.0, None, 1),
            OverrideStatus("usb9", "mode", "backup", "root", 5.0, None, None),
        ),
    )
    page = page_of(first, beginnings, NOW)
    off = {"mode": ["off", "the web page", NOW + 3595], "weight": [3, "root"]}
    assert page["uplinks"]["usb0"]["set"] == page["uplinks"]["usb0/6"]["set"] == off
    assert page["away"] == {"usb9": {"mode": ["backup", "root"]}}
    later = replace(first, overrides=(replace(first.overrides[0], left_s=3594.2), *first.overrides[1:]))
    assert patch(page, page_of(later, beginnings, NOW + 1)) == {}


def test_senders() -> None:
    senders = page_of(snapshot(), Beginnings(), NOW)["senders"]
    assert senders["127.0.0.1:6001"] == {"state": "failed", "reason": "port 6001 is taken"}
    sender = senders["127.0.0.1:6000"]
    assert (sender["state"], sender["kbps"], sender["cap"], sender["advised"]) == (
        "connected",
        4270,
        4000,
        3600,
    )
    assert sender["links"]["usb0"] == {
        "state": "up",
        "kbps": 2135,
        "rtt": 48,
        "loss": 0.3,
        "cap": 4000,
        "sure": True,
    }
    assert sender["links"]["usb1"]["silent"] == NOW - 8


def test_receivers() -> None:
    receivers = page_of(snapshot(), Beginnings(), NOW)["receivers"]
    assert receivers["0.0.0.0:5000"]["streams"] == {
        "0a1b2c3d": {
            "name": "live/~3f2a",
            "live": True,
            "kbps": 2100,
            "rtt": 45,
            "loss": 0.3,
            "dropped": 2,
            "links": 2,
        }
    }


def test_the_verdict_problems_and_what_is_gone() -> None:
    page = page_of(snapshot(), Beginnings(), NOW)
    assert (page["code"], page["version"], page["started"]) == (2, "0.1.0", NOW - 3720)
    assert page["verdict"].startswith("NOT RUNNING: ")
    assert ["degraded", "usb7: no such interface now", "", 50_000] in [
        [severity, text, "", began] for severity, text, _hint, began in page["problems"]
    ]
    assert page_of(from_json(missing()), Beginnings(), NOW).get("gone")


def test_no_null_and_nothing_that_says_nothing() -> None:
    page = page_of(snapshot(), Beginnings(), NOW)
    assert "null" not in json.dumps(page)
    assert '""' not in json.dumps(page["uplinks"])


def test_a_second_later_nothing_differs_but_what_has_changed() -> None:
    beginnings = Beginnings()
    problem = ProblemStatus("no-uplink", "", "broken", 7.0, "it is so", "")
    found = snapshot()
    first = replace(found, agent=replace(found.agent, problem_details=(problem,)))
    later = replace(
        found, agent=replace(found.agent, uptime_s=3721.4, problem_details=(replace(problem, since_s=7.7),))
    )
    before = page_of(first, beginnings, NOW)
    assert patch(before, page_of(later, beginnings, NOW + 1)) == {}
    # A problem that went and came back has begun anew.
    assert patch(before, page_of(replace(later, agent=found.agent), beginnings, NOW + 2))
    again = replace(later, agent=replace(later.agent, problem_details=(replace(problem, since_s=0.0),)))
    assert page_of(again, beginnings, NOW + 60)["problems"] == [["broken", "it is so", "", NOW + 60]]


def test_advice_between_two_snapshots() -> None:
    page = page_of(snapshot(), Beginnings(), NOW)
    link = LinkAdvice("usb0", "up", 5_000_000, "measured", 10, 12, 51, 0.0, 3_000_000)
    unknown = replace(link, label="usb9")
    advice = Advice(4_100_000, 5_000_000, 12, 1000, 0.1, 51, (link, unknown))
    told = with_advice(page, [WatchLine(VERSION, "127.0.0.1:6000", "connected", advice)])
    assert patch(page, told) == {
        "senders": {
            "127.0.0.1:6000": {
                "kbps": 5135,
                "cap": 5000,
                "advised": 4100,
                "queued": 12,
                "lost": 0.1,
                "links": {"usb0": {"kbps": 3000, "rtt": 51, "loss": 0, "cap": 5000, "queued": 12}},
            }
        }
    }
    assert "lost" not in page["senders"]["127.0.0.1:6000"]  # the page before is as it was
    for line in (
        WatchLine(VERSION, "127.0.0.1:6000", "connected", None),
        WatchLine(VERSION, "127.0.0.1:6000", "registering", advice),
        WatchLine(VERSION, "127.0.0.1:7000", "connected", advice),
    ):
        assert with_advice(page, [line]) == page


def test_the_last_events() -> None:
    events = [
        Event(number, 100.4 + number, "uplink", "usb0", "info", f"line {number}") for number in range(50)
    ]
    found = events_of(events)
    assert len(found) == MAX_EVENTS
    assert found["49"] == [149, "info", "line 49"]
    assert "9" not in found


def test_100_uplinks_are_a_small_page() -> None:
    found = snapshot()
    many = replace(
        found,
        uplinks=tuple(replace(found.uplinks[0], name=f"usb{n}", device=f"usb{n}") for n in range(100)),
    )
    assert len(json.dumps(page_of(many, Beginnings(), NOW))) < 25_000
