"""How a snapshot reads, one sentence a line."""

from __future__ import annotations

from typing import Any

from netbond.cli.status_plain import lines
from netbond.status.assessment import belated
from netbond.status.schema import from_json
from tests.unit.cli.snapshots import SNAPSHOT
from tests.unit.status.faults import at_home, backpack, gone, one_link, set_off, studio


def read(box: dict[str, Any]) -> list[str]:
    return lines(belated(from_json(box)))


def test_a_backpack_with_a_silent_link() -> None:
    box = backpack()
    one_link(state="down", reason="silent for 5 s", silent_ms=20_000, bitrate_bps=0)(box)
    assert read(box) == [
        "Verdict: STREAMING 4.5 Mbit/s over 3 of 4 links; usb3: no answer for 20 s",
        "Problem: usb3: no answer for 20 s."
        " What to do: is that line online, and does its operator let UDP through?",
        "Sender 127.0.0.1:6000: running.",
        "Receiver bond.example.org:5000: connected. SRT caller: 127.0.0.1:43210.",
        "Link usb3: down, silent for 20 s.",
        "Link usb0: up, 1.50M bit/s, round trip 48 ms, loss 0.3 per cent.",
        "Link usb1: up, 1.50M bit/s, round trip 48 ms, loss 0.3 per cent.",
        "Link usb2: up, 1.50M bit/s, round trip 48 ms, loss 0.3 per cent.",
        "Uplink usb0: up, address 10.0.0.10, gateway 10.0.0.1.",
        "Uplink usb1: up, address 10.0.1.10, gateway 10.0.1.1.",
        "Uplink usb2: up, address 10.0.2.10, gateway 10.0.2.1.",
        "Uplink usb3: up, address 10.0.3.10, gateway 10.0.3.1.",
        "Agent: netbond 0.1.0, process 70123, up for 1 h 2 min, /etc/netbond/netbond.toml.",
    ]


def test_a_receiver_and_a_modem_that_is_gone() -> None:
    assert "Stream live/~3f2a: 2.10M bit/s, 2 of 2 links, loss 0.3 per cent." in read(studio())
    box = backpack()
    gone(box)
    assert "Gone: usb3, unplugged, 20 s ago." in read(box)


def test_each_line_is_one_line_of_plain_text() -> None:
    for line in read(SNAPSHOT):
        assert line.isprintable()
        assert "  " not in line, "no columns"
    assert "Notice: wlan0: interface is down. What to do: ip link set wlan0 up, if nobody meant it." in read(
        SNAPSHOT
    )


def test_what_people_have_set() -> None:
    box = at_home()
    set_off(1, 2580.0)(box)
    box["overrides"].append({**box["overrides"][0], "uplink": "usb9", "left_s": None})
    found = read(box)
    assert (
        "Uplink usb1: off, address 10.0.1.10, gateway 10.0.1.1. It is set off by root, for 43 min more."
        in found
    )
    assert "Not there now: usb9 set off by root." in found
