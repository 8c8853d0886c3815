"""A link's entry in the statistics."""

from __future__ import annotations

from dataclasses import replace

from netbond.srtla.link import LOSS_WINDOW, PORT_CLOSED_SHOWN_S, Link, link_stats
from netbond.srtla.linkspec import LinkSpec

SPEC = LinkSpec("usb0", "10.0.0.10", "usb0", priority=5)


def test_a_link_without_a_socket() -> None:
    link = Link(1, spec=SPEC)
    assert not link.open
    shown = link_stats(link, 10.0)
    assert (shown["state"], shown["reason"]) == ("error", "not opened yet")
    assert (shown["rtt_ms"], shown["silent_ms"], shown["loss_pct"]) == (None, None, 0.0)


def test_a_link_says_that_nothing_listens_at_the_receivers_port_until_it_hears_otherwise() -> None:
    link = Link(1, spec=SPEC, state="down", reason="silent for 4 s", opened_at=1.0, answered_at=2.0)
    link.refused_at = 9.0
    assert link_stats(link, 10.0)["reason"] == "nothing listens at the receiver's port"
    assert link_stats(link, 9.0 + PORT_CLOSED_SHOWN_S)["reason"] == "silent for 4 s"
    for said in ({"answered_at": 9.5}, {"opened_at": 9.5}, {"state": "error"}, {"usable": True}):
        other = replace(link, **said)
        assert link_stats(other, 10.0)["reason"] == "silent for 4 s", said


def test_a_link_that_is_up() -> None:
    link = Link(1, spec=SPEC, state="up", reason="", priority=5, rtt=0.0416, last_heard=9.25)
    link.packets, link.bytes, link.lost, link.bitrate, link.in_flight = 100, 130_000, 3, 5000, 7
    assert link.open
    assert link_stats(link, 10.0) == {
        "label": "usb0",
        "address": "10.0.0.10",
        "device": "usb0",
        "priority": 5,
        "enabled": True,
        "state": "up",
        "reason": "",
        "window": 20000,
        "in_flight": 7,
        "rtt_ms": 42,
        "silent_ms": 750,
        "packets": 100,
        "bytes": 130_000,
        "lost": 3,
        "loss_pct": 0.0,
        "bitrate_bps": 5000,
        "metered": False,
    }


def test_loss_is_that_of_the_last_seconds() -> None:
    link = Link(1, spec=SPEC)
    link.recent.append((100, 50))
    link.recent.extend([(100, 1)] * LOSS_WINDOW)
    assert link_stats(link, 0.0)["loss_pct"] == 1.0
    link.recent.extend([(1, 9)] * LOSS_WINDOW)
    assert link_stats(link, 0.0)["loss_pct"] == 100.0


def test_reasons() -> None:
    link = Link(1, spec=SPEC, state="up", reason="", stalled=True, enabled=False)
    assert link_stats(link, 0.0)["reason"] == "stalled: packets without any answer"
    link.stalled = False
    assert link_stats(link, 0.0)["reason"] == "idle: carries no stream"
    link.enabled, link.usable, link.passing.limit, link.largest = True, True, 1208, 1208
    assert link_stats(link, 0.0)["reason"] == "packets of more than 1208 bytes do not arrive"
    link.usable = False
    link.reason = "removed from the list"
    assert link_stats(link, 0.0)["reason"] == "removed from the list"
