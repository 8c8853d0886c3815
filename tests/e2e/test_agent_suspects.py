"""The agent with a sender whose link falls silent: is it the uplink, the operator, or the receiver?

Each modem is a router that answers ARP and neighbour solicitations whatever becomes of its radio. The engine,
the receiver and the checks are the real ones, and the configuration the default.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.internet import HOST, HOST6, PORT, InternetBox

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

RECEIVER = {4: f"{HOST}:{PORT}", 6: f"[{HOST6}]:{PORT}"}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[InternetBox]:
    with InternetBox(tmp_path) as box:
        for number in range(2):
            box.modem(number)
        box.start_server()
        yield box


# The links fall silent as fast as ever, and the agent's own rounds are quicker.
QUICK = "[health]\ninterval = 1\ntimeout = 0.4\ndown_after = 2\nhold_down = 0\n"


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait, with patience for a busy machine, which it makes no busier."""
    end = time.monotonic() + 4 * seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def sender(family: int = 4) -> str:
    return f'[[sender]]\nlisten = "127.0.0.1:600{family}"\nreceiver = "{RECEIVER[family]}"\n'


def start(box: InternetBox, config: str, *families: int) -> None:
    """Start the agent, and wait until both links of each family hear the receiver."""
    box.configure(config)
    box.start()
    for family in families:
        until(lambda: links(box, family) == {"usb0": "up", "usb1": "up"}, 10, "both links are up")  # noqa: B023


def engines(box: InternetBox) -> list[dict[str, Any]]:
    found = box.status()["engines"]
    assert isinstance(found, list)
    return found


def links(box: InternetBox, family: int = 4) -> dict[str, str]:
    """The states of the senders' links that hear a receiver of this family, or try to."""
    return {
        link["device"]: link["state"]
        for engine in engines(box)
        for link in (engine["stats"] or {}).get("links", ())
        if (":" in link["address"]) == (family == 6) and link["receiver_address"]
    }


def blocked(box: InternetBox) -> list[str]:
    """The problems about streams that are blocked; that a link is down is one of its own."""
    details = box.status()["agent"]["problem_details"]
    return [one["text"] for one in details if one["code"] == "streams-blocked"]


def health(box: InternetBox, device: str = "usb1", family: int = 4) -> dict[str, Any]:
    for found in box.status()["health"]:
        if (found["device"], found["family"]) == (device, family):
            assert isinstance(found, dict)
            return found
    raise AssertionError(f"{device} is not checked")


def legs(box: InternetBox, family: int = 4) -> set[str]:
    """The uplinks of the shared default."""
    shown = box.ip("-6" if family == 6 else "-4", "route", "show", "table", "222")
    return {device for device in ("usb0", "usb1") if f"dev {device}" in shown}


def test_a_modem_without_radio_leaves_the_default_and_comes_back(box: InternetBox) -> None:
    """With the default configuration, within 15 s on an idle machine, in both families."""
    start(box, sender(4) + sender(6), 4, 6)
    assert legs(box, 4) == legs(box, 6) == {"usb0", "usb1"}
    box.filter(1, "")
    began = time.monotonic()
    for family in (4, 6):
        until(lambda: legs(box, family) == {"usb0"}, 15, "usb1 leaves the default")  # noqa: B023
        assert time.monotonic() - began < 30
        print(f"IPv{family}: out after {time.monotonic() - began:.1f} s")
        found = health(box, family=family)
        assert found["state"] == "down"
        assert found["reason"] == f"receiver: {RECEIVER[family]}: no answer within 2 s, but through usb0"
        checks = [(check["name"], check["state"]) for check in found["checks"]]
        assert checks == [("gateway", "ok"), ("receiver", "failing")]
        assert links(box, family)["usb1"] == "down"  # it is still a link of the bond
    assert blocked(box) == []

    box.open(1)
    began = time.monotonic()
    for family in (4, 6):
        until(lambda: legs(box, family) == {"usb0", "usb1"}, 15, "it is back")  # noqa: B023
        print(f"IPv{family}: back after {time.monotonic() - began:.1f} s")
        until(lambda: links(box, family) == {"usb0": "up", "usb1": "up"}, 10, "as a link, too")  # noqa: B023


def test_a_modem_that_says_that_it_has_no_network(box: InternetBox) -> None:
    """It refuses each packet by ICMP, which is no answer of the receiver's. In IPv6 it has one."""
    start(box, QUICK + sender(4) + sender(6), 4, 6)
    box.nft(1, "add rule inet t forward meta nfproto ipv4 reject")
    until(lambda: legs(box) == {"usb0"}, 15, "usb1 leaves the default")
    assert "but through usb0" in health(box)["reason"]
    assert legs(box, 6) == {"usb0", "usb1"}


def test_an_operator_that_filters_streams_only(box: InternetBox) -> None:
    start(box, QUICK + sender(), 4)
    box.filter(1, f"udp dport {PORT}")
    until(lambda: "only streams are blocked" in health(box)["reason"], 20, "it is noticed")
    assert health(box)["state"] == "up"
    assert legs(box) == {"usb0", "usb1"}
    problem = (
        f"usb1 (10.0.1.10): only streams are blocked: no answer from {RECEIVER[4]} to SRTLA, but"
        " through usb0; the receiver's host answers ICMP"
    )
    until(lambda: blocked(box) == [problem], 5, "and said")
    box.open(1)
    until(lambda: blocked(box) == [], 15, "it is forgotten")
    assert legs(box) == {"usb0", "usb1"}


def test_what_is_no_uplinks_fault(box: InternetBox) -> None:
    """A receiver that is gone, an engine that hangs, and a receiver's firewall that lets one link in."""
    start(box, QUICK + sender(), 4)
    box.stop_server()
    until(lambda: "up" not in links(box).values(), 15, "no link hears the receiver")
    time.sleep(2)
    box.start_server()
    until(lambda: links(box) == {"usb0": "up", "usb1": "up"}, 15, "both hear it again")
    (pid,) = (engine["pid"] for engine in engines(box))
    os.kill(pid, signal.SIGSTOP)
    until(lambda: engines(box)[0]["pid"] not in (None, pid), 15, "the engine is replaced")
    until(lambda: links(box) == {"usb0": "up", "usb1": "up"}, 15, "both links are up")
    # The receiver hears nothing from usb1's public address, but its host does.
    box.run_far("nft", "add table inet f; add chain inet f i { type filter hook input priority 0; }")
    box.run_far("nft", f"add rule inet f i ip saddr 192.0.2.6 udp dport {PORT} drop")
    until(lambda: "only streams are blocked" in health(box)["reason"], 20, "it is noticed")
    assert legs(box) == {"usb0", "usb1"}
    assert "as its stream shows" not in box.log.read_text()


def test_nothing_is_asked_if_streams_are_no_evidence(box: InternetBox) -> None:
    start(box, f"{QUICK}evidence = false\n{sender()}", 4)
    box.filter(1, "")
    until(lambda: links(box)["usb1"] == "down", 10, "the link is down")
    time.sleep(2)
    assert f"asked {RECEIVER[4]}" not in box.log.read_text()
    assert legs(box) == {"usb0", "usb1"}
