"""What `netbond status --all` adds, and where sources disagree."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from netbond.cli.status_details import contradictions
from netbond.status.schema import from_json
from tests.unit.cli.snapshots import ALL, SENDER, SNAPSHOT, VIEW, link, managed, shown


def test_all_at_80_columns() -> None:
    told = shown(SNAPSHOT, everything=True)
    begin = "sender 127.0.0.1:6000  running"
    assert told[told.index(begin) :] == (VIEW + ALL)[(VIEW + ALL).index(begin) :]
    assert "! usb7: no such interface now\n  to do: plug it in, or correct its [[uplink]]" in told
    assert "--all shows them" not in told


def test_what_was_before_a_service_went_away_says_so() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["modems"]["wwan0"].update(current=False, signal_quality=None, rssi_dbm=None)
    snapshot["networkmanager"]["wwan0"].update(current=False)
    text = shown(snapshot, width=160, everything=True)
    assert "Quectel EM12-G, registered, as before ModemManager went away\n" in text
    assert "lease of 1 h, as before NetworkManager went away\n" in text
    assert "disagreement" not in text, "old words contradict nothing"


def test_a_metered_uplink_says_so() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    assert ", metered\n" not in shown(snapshot, width=160, everything=True)
    snapshot["uplinks"][0]["metered"] = True
    assert "in the shared default, metered\n" in shown(snapshot, width=160, everything=True)


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ({}, []),
        ({"gateway4": "10.0.0.138"}, ["gateway 10.0.0.1 (configuration), but 10.0.0.138 for NetworkManager"]),
        ({"gateway4": "10.0.0.138", "external": True}, []),
        ({"gateway4": "10.0.0.138", "managed": False}, []),
        ({"gateway4": None, "gateway6": "fe80::9"}, []),
        (
            {"addresses": ["10.9.9.9/24", "2001:db8::1/64"]},
            ["NetworkManager gave it 10.9.9.9/24, and netbond binds to 10.0.0.10"],
        ),
        ({"addresses": ["2001:db8::1/64"]}, []),
        ({"state": "disconnected"}, ["it is in use, and NetworkManager says disconnected"]),
        ({"connectivity": "portal"}, ["NetworkManager sees a captive portal, and the checks get through"]),
    ],
)
def test_disagreement_with_networkmanager(rest: dict[str, Any], says: list[str]) -> None:
    assert contradictions(from_json(managed(**rest)), "usb0") == says


def test_disagreement_of_checks_and_stream() -> None:
    silent = link("usb0", state="down", reason="silent for 5 s")
    stats = {**SENDER, "links": [silent, link("usb1")]}
    snapshot = {**managed(), "engines": [{**SNAPSHOT["engines"][0], "stats": stats}]}
    assert contradictions(from_json(snapshot), "usb0") == [
        "the checks get through, and the link of sender 127.0.0.1:6000 is down: silent for 5 s"
    ]
    stats["state"] = "resolving"  # then no link can be up
    assert contradictions(from_json(snapshot), "usb0") == []
    stats["state"] = "connected"
    snapshot["uplinks"][0]["state"] = "dead"
    snapshot["health"][0]["state"] = "down"
    assert contradictions(from_json(snapshot), "usb0") == []
    stats["links"] = [link("usb0")]
    assert contradictions(from_json(snapshot), "usb0") == [
        "the checks fail, and the link of sender 127.0.0.1:6000 is up"
    ]


def test_several_gateways() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["uplinks"][0]["gateways"] = [
        {"gateway": "192.168.100.2", "source": "dhclient", "state": "down", "reason": "gateway: silent\x1b"},
        {"gateway": "192.168.100.1", "source": "main default", "state": "up", "reason": ""},
    ]
    words = " ".join(shown(snapshot, everything=True, width=160).split())
    assert "1 of 2: 192.168.100.2 (dhclient), down: gateway: silent\\x1b" in words
    assert "2 of 2: 192.168.100.1 (main default), up" in words


def test_a_gateway_that_others_see_differently() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["uplinks"][0]["disputed"] = [{"source": "main default", "gateway": "10.0.0.9\x1b"}]
    words = " ".join(shown(snapshot, everything=True, width=160).split())
    assert "disagreement gateway 192.168.100.1 (dhclient), but 10.0.0.9\\x1b (main default)" in words
