"""`netbond status`: what a person reads, written out; what programs get; and an agent that is not there."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.screen import Screen

from netbond.cli import main, status
from netbond.cli.status import render
from netbond.cli.status_details import contradictions
from netbond.cli.status_view import Cropped, age, amount, duration, size
from netbond.status.control import Command, ControlServer
from netbond.status.schema import KernelStatus, from_json
from netbond.system.typed_json import to_json
from netbond.watchers.modemmanager import Modem, idle_modem

NOW = 1_800_000_000.0  # Unix time


def uplink(
    device: str,
    address: str,
    gateway: str | None,
    source: str,
    table: int,
    state: str = "up",
    reason: str = "",
    since: float | None = None,
) -> dict[str, Any]:
    return {
        "name": device,
        "device": device,
        "family": 4,
        "address": address,
        "prefix_length": 24,
        "gateway": gateway,
        "gateway_source": source,
        "gateway_since": since,
        "disputed": [],
        "table": table,
        "weight": 1,
        "state": state,
        "reason": reason,
        "in_ecmp": True,
        "rx_bytes": 1,
        "tx_bytes": 2,
        "rx_bps": 1_500_000,
        "tx_bps": 850,
    }


def link(label: str, **rest: Any) -> dict[str, Any]:
    return {
        "label": label,
        "address": "10.0.0.10",
        "device": label,
        "priority": 0,
        "enabled": True,
        "state": "up",
        "reason": "",
        "window": 20500,
        "in_flight": 12,
        "rtt_ms": 48,
        "silent_ms": 300,
        "packets": 1,
        "bytes": 1,
        "lost": 3,
        "loss_pct": 0.3,
        "bitrate_bps": 2_134_567,
        **rest,
    }


def check(name: str, state: str, rtt_ms: float | None, loss: float | None, detail: str) -> dict[str, Any]:
    return {"name": name, "state": state, "rtt_ms": rtt_ms, "loss": loss, "detail": detail}


def health(
    device: str, address: str, state: str, reason: str, since_s: float, *checks: dict[str, Any]
) -> dict[str, Any]:
    return {
        "device": device,
        "address": address,
        "family": 4,
        "state": state,
        "reason": reason,
        "since_s": since_s,
        "checks": list(checks),
    }


SENDER: dict[str, Any] = {
    "role": "sender",
    "listen": "127.0.0.1:6000",
    "receiver": "bond.example.org:5000",
    "receiver_address": None,
    "caller": None,
    "state": "connected",
    "group": None,
    "packets": 1,
    "bytes": 1,
    "retransmitted": 0,
    "resent": 0,
    "dropped": 0,
    "links": [],
}
RECEIVER: dict[str, Any] = {
    "role": "receiver",
    "listen": "0.0.0.0:5000",
    "srt": "127.0.0.1:5002",
    "groups": [],
    "groups_left_out": 0,
    "refused": {},
}


SNAPSHOT: dict[str, Any] = {
    "version": 1,
    "agent": {
        "running": True,
        "version": "0.1.0",
        "pid": 70123,
        "uptime_s": 3720.0,
        "config": "/etc/netbond/netbond.toml",
        "changes": 31,
        "problems": ["usb7: no such interface now"],
    },
    "uplinks": [
        uplink("usb0", "192.168.100.100", "192.168.100.1", "dhclient", 100, since=NOW - 200),
        uplink("usb1", "192.168.100.100", "192.168.100.1", "main default (gone)", 101, state="dead")
        | {"reason": "gateway: no answer"},
        uplink(
            "usb2", "10.0.0.10", "10.0.0.1", "configuration", 102, state="no carrier", reason="no carrier"
        ),
        uplink("wwan0", "10.64.3.9", None, "NetworkManager", 130) | {"name": "roof"},
        uplink(
            "wlan0", "10.9.0.2", "10.9.0.1", "main default", 120, state="down", reason="interface is down"
        ),
        uplink("usb0", "2001:db8:1:2:3:4:5:6", "fe80::1", "main default", 100) | {"family": 6},
    ],
    "excluded": [
        {"device": "docker0", "reason": "a bridge"},
        {"device": "lo", "reason": "loopback"},
        {"device": "wg0", "reason": "a tunnel"},
    ],
    "idle": ["usb7: no such interface now"],
    "health": [
        health("usb0", "192.168.100.100", "up", "", 7200, check("gateway", "ok", 0.4, 0.0, "")),
        health(
            *("usb1", "192.168.100.100", "down", "gateway: no answer", 185),
            check("gateway", "failing", None, 1.0, "no answer"),
            check("icmp", "waiting", None, None, ""),
        ),
        health(
            *("wwan0", "10.64.3.9", "degraded", "icmp: loss 25 %", 61),
            check("icmp", "ok", 48.4, 0.25, "1.1.1.1: no answer"),
        ),
    ],
    "metered": [
        {
            "device": "wwan0",
            "used_bytes": 41_000_000_000,
            "budget_bytes": 50_000_000_000,
            "since": "2026-11-15",
            "resets": "2026-12-15",
            "level": "warning",
            "verdict": "normal",
        }
    ],
    "modems": {
        "wwan0": {
            "summary": "T-Mobile LTE 72 %",
            "manufacturer": "Quectel",
            "model": "EM12-G",
            "port": "/sys/devices/usb1/1-1",
            "state": "registered",
            "failed": "",
            "sim": "ok",
            "registration": "home",
            "roaming": False,
            "operator": "T-Mobile",
            "operator_code": "26201",
            "technologies": ["lte"],
            "signal_quality": 72,
            "rssi_dbm": -61.0,
            "rsrp_dbm": -92.0,
            "rsrq_db": -9.5,
            "snr_db": None,
            "bands": ["eutran-20"],
            "current": True,
        }
    },
    "networkmanager": {
        "wwan0": {
            "state": "activated",
            "managed": True,
            "addresses": ["10.64.3.7/32"],
            "gateway4": None,
            "gateway6": None,
            "dns": ["10.64.0.1"],
            "metered": "guess-yes",
            "connectivity": "portal",
            "connection": "modem 0",
            "lease_seconds": 3600,
            "external": False,
            "current": True,
        }
    },
    "hardware": {
        "usb0": {
            "path": "pci-0000:00:14.0-usb-0:1.2:1.0",
            "vendor": "12d1",
            "model": "14db",
            "vendor_name": "HUAWEI",
            "model_name": "HUAWEI Mobile",
            "driver": "cdc_ether",
            "mac": "0c:5b:8f:27:9a:64",
        }
    },
    "ecmp": {
        "table": 222,
        "legs": [
            {"family": 4, "device": "usb0", "gateway": "192.168.100.1", "weight": 2},
            {"family": 4, "device": "wwan0", "gateway": None, "weight": 1},
        ],
    },
    "engines": [
        {
            "name": "sender 127.0.0.1:6000",
            "role": "sender",
            "state": "running",
            "pid": 70130,
            "restarts": 2,
            "reason": "",
            "last_exit": "killed by SIGKILL",
            "stats": {
                **SENDER,
                "receiver_address": "192.0.2.7:5000",
                "caller": "127.0.0.1:43210",
                "links": [
                    link("usb0"),
                    link("usb1", state="down", reason="silent for 5 s", rtt_ms=None, bitrate_bps=0),
                    link(
                        "wwan0", state="error", reason="stalled: [bold]packets[/] without any \x1b[2Janswer"
                    ),
                ],
            },
        },
        {
            "name": "receiver 0.0.0.0:5000",
            "role": "receiver",
            "state": "running",
            "pid": 70131,
            "restarts": 0,
            "reason": "",
            "last_exit": "",
            "stats": {
                **RECEIVER,
                "groups": [
                    {
                        "id": "0a1b2c3d",
                        "keyed": False,
                        "age_s": 60,
                        "packets": 12345,
                        "bytes": 16_000_000,
                        "bitrate_bps": 2_100_000,
                        "srt_port": 5001,
                        "links": [
                            {
                                "peer": "192.0.2.1:40000",
                                "packets": 12345,
                                "bytes": 16_000_000,
                                "bitrate_bps": 2_100_000,
                                "idle_s": 0.02,
                            }
                        ],
                    }
                ],
                "refused": {"table_full": 0, "unknown_peer": 12, "quota": 1},
            },
        },
        {
            "name": "sender 127.0.0.1:6001",
            "role": "sender",
            "state": "failed",
            "pid": None,
            "restarts": 4,
            "reason": "port 6001 is taken",
            "last_exit": "port 6001 is taken",
            "stats": None,
        },
    ],
}

VIEW = r"""
netbond 0.1.0  pid 70123, up 1 h 2 min, 31 changes, /etc/netbond/netbond.toml
! usb7: no such interface now

Uplinks (rx and tx in bit/s)
  uplink       address         gateway                         rx  tx state
  usb0         192.168.100.100 192.168.100.1                1.50M 850 up
                               (dhclient, 3 min ago)
  usb1         192.168.100.100 192.168.100.1 (main, gone)   1.50M 850 dead
  usb2         10.0.0.10       10.0.0.1 (config)            1.50M 850 no carrier
  roof (wwan0) 10.64.3.9       - (NM)                       1.50M 850 degraded
  wlan0        10.9.0.2        10.9.0.1 (main)              1.50M 850 down
  uplink address              gateway        state
  usb0   2001:db8:1:2:3:4:5:6 fe80::1 (main) up
  usb1  dead for 3 min: gateway: no answer
  roof  degraded for 1 min: icmp: loss 25 %
  roof  T-Mobile LTE 72 %, 41.0 GB of 50.0 GB used
Not used: docker0, wg0 (--all says why)

Default for unbound traffic (table 222)
  uplink        gateway        weight  share
  usb0          192.168.100.1       2   67 %
  roof (wwan0)  -                   1   33 %

sender 127.0.0.1:6000  running, pid 70130, 2 restarts (last: killed by SIGKILL)
  connected: bond.example.org:5000 (192.0.2.7:5000), caller 127.0.0.1:43210
  link   window  in flight    RTT   loss  bit/s  share  state
  usb0     20.5         12  48 ms  0.3 %  2.13M  100 %  up
  usb1     20.5         12      -  0.3 %      0      -  down: silent for 5 s
  wwan0    20.5         12  48 ms  0.3 %  2.13M      -  error: stalled:
                                                        [bold]packets[/] without
                                                        any \x1b[2Janswer

receiver 0.0.0.0:5000  running, pid 70131
  group     peer             packets   idle  bit/s
  0a1b2c3d  192.0.2.1:40000    12345  0.0 s  2.10M
  refused: unknown_peer 12, quota 1

sender 127.0.0.1:6001  failed: port 6001 is taken, 4 restarts
"""

ALL = """
usb0
  IPv4          192.168.100.100/24, table 100, weight 1, in the shared default
  gateway       192.168.100.1 (dhclient, 3 min ago)
  IPv6          2001:db8:1:2:3:4:5:6/24, table 100, weight 1, in the shared
                default
  gateway       fe80::1 (main default)
  hardware      HUAWEI Mobile, 12d1:14db, driver cdc_ether, MAC
                0c:5b:8f:27:9a:64
  port          pci-0000:00:14.0-usb-0:1.2:1.0
  health, IPv4  up (for 2 h)
    gateway     ok, RTT 0.4 ms, loss 0 %

usb1
  IPv4          192.168.100.100/24, table 101, weight 1, in the shared default
  gateway       192.168.100.1 (main default (gone))
  health, IPv4  down: gateway: no answer (for 3 min)
    gateway     failing, loss 100 %: no answer
    icmp        waiting

usb2
  IPv4     10.0.0.10/24, table 102, weight 1, in the shared default
  gateway  10.0.0.1 (configuration)

roof (wwan0)
  IPv4            10.64.3.9/24, table 130, weight 1, in the shared default
  gateway         none needed (NetworkManager)
  modem           Quectel EM12-G, registered
  network         T-Mobile LTE 72 %, 26201, home
  signal          RSSI -61 dBm, RSRP -92 dBm, RSRQ -9.5 dB
  NetworkManager  activated, connection modem 0, connectivity portal, metered:
                  guess-yes, lease of 1 h
  data plan       41.0 GB of 50.0 GB used since 2026-11-15, anew from 2026-12-15
  health, IPv4    degraded: icmp: loss 25 % (for 1 min)
    icmp          ok, RTT 48 ms, loss 25 %: 1.1.1.1: no answer
  disagreement    NetworkManager gave it 10.64.3.7/32, and netbond binds to
                  10.64.3.9
  disagreement    NetworkManager sees a captive portal, and the checks get
                  through
  disagreement    it is in use, and ModemManager says that the modem is
                  registered

wlan0
  IPv4     10.9.0.2/24, table 120, weight 1, in the shared default
  gateway  10.9.0.1 (main default)

Not used
  docker0  a bridge
  lo       loopback
  wg0      a tunnel
  usb7     no such interface now
"""


def shown(snapshot: dict[str, Any], width: int = 80, *, everything: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=width, markup=False, emoji=False, highlight=False).print(
        render(from_json(snapshot), NOW, everything=everything)
    )
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


# --- the view ----------------------------------------------------------------------------------------------


def test_the_view_at_80_columns() -> None:
    assert shown(SNAPSHOT) == VIEW.lstrip("\n")


def test_a_box_with_nothing() -> None:
    agent = {**SNAPSHOT["agent"], "problems": [], "config": None, "uptime_s": 3.2, "changes": 0}
    lists: dict[str, Any] = {key: [] for key in ("excluded", "idle", "uplinks", "engines")}
    nothing = {"version": 1, "agent": agent, **lists, "ecmp": {"table": 222, "legs": []}}
    assert shown(nothing) == (
        "netbond 0.1.0  pid 70123, up 3 s, 0 changes, no configuration file\n"
        "\n"
        "No uplinks: no interface has an address and a known gateway.\n"
        "\n"
        "Default for unbound traffic (table 222): none of netbond's, no uplink is usable\n"
    )


def test_long_names_keep_every_line_within_80_columns() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    for row in snapshot["uplinks"]:
        row.update(name="enx001122334455", device="enx001122334455")
        row.update(address="192.168.100.100", gateway="192.168.100.1")
    lines = shown(snapshot).splitlines()
    assert max(map(len, lines)) <= 80
    first = next(i for i, line in enumerate(lines) if "enx001122334455" in line)
    assert lines[first].split()[:3] == ["enx001122334455", "192.168.100.100", "192.168.100.1"]
    assert lines[first + 1].strip() == "(dhclient, 3 min ago)"


def test_the_longest_ipv6_addresses_fit() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["uplinks"][-1].update(
        address="2001:db8:1111:2222:3333:4444:5555:6666", gateway="fe80::1111:22ff:fe33:4444"
    )
    text = shown(snapshot)
    assert "usb0   2001:db8:1111:2222:3333:4444:5555:6666 fe80::1111:22ff:fe33:4444  up\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_reasons_say_which_family_where_there_are_two() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["uplinks"][-1].update(state="dead", reason="http: HTTP 302")
    assert "\n  usb0, IPv6  http: HTTP 302\n" in shown(snapshot)


@pytest.mark.parametrize(
    ("height", "last"),
    [
        (100, "sender 127.0.0.1:6001  failed: port 6001 is taken, 4 restarts"),
        (24, "... 15 more lines: make the window taller"),
    ],
)
def test_a_screen_that_is_too_small_says_so(height: int, last: str) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, height=height, markup=False, emoji=False, highlight=False)
    console.print(Screen(Cropped(render(from_json(SNAPSHOT), NOW))))
    lines = [line.rstrip() for line in out.getvalue().rstrip("\n ").splitlines()]
    assert len(lines) <= height
    assert lines[-1] == last


def test_what_is_left_out_is_named_but_not_without_end() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["excluded"] = [{"device": f"veth{i}", "reason": "a container's"} for i in range(9)]
    assert "\nNot used: veth0, veth1, veth2, veth3, veth4 and 4 more (--all says why)\n" in shown(snapshot)
    assert "Not used" not in shown({**snapshot, "excluded": [{"device": "lo", "reason": "loopback"}]})


# --- --all -------------------------------------------------------------------------------------------------


def test_all_at_80_columns() -> None:
    assert shown(SNAPSHOT, everything=True) == (VIEW + ALL).lstrip("\n")


def test_an_agent_of_before_shows_what_it_has() -> None:
    first = ("version", "agent", "excluded", "idle", "uplinks", "ecmp", "engines")
    old = {key: SNAPSHOT[key] for key in first}
    text = shown(old, everything=True)
    assert "roof (wwan0)\n  IPv4     10.64.3.9/24" in text


def test_what_was_before_a_service_went_away_says_so() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["modems"]["wwan0"].update(current=False, signal_quality=None, rssi_dbm=None)
    snapshot["networkmanager"]["wwan0"].update(current=False)
    text = shown(snapshot, width=160, everything=True)
    assert "Quectel EM12-G, registered, as before ModemManager went away\n" in text
    assert "lease of 1 h, as before NetworkManager went away\n" in text
    assert "disagreement" not in text, "old words contradict nothing"


def managed(**rest: Any) -> dict[str, Any]:
    """A snapshot of one uplink that NetworkManager knows just as netbond does, but for `rest`."""
    device = {**SNAPSHOT["networkmanager"]["wwan0"], "connectivity": "full", "addresses": ["10.0.0.10/24"]}
    return {
        **SNAPSHOT,
        "modems": {},
        "engines": [],
        "uplinks": [uplink("usb0", "10.0.0.10", "10.0.0.1", "configuration", 100)],
        "networkmanager": {"usb0": {**device, "gateway4": "10.0.0.1", **rest}},
        "health": [health("usb0", "10.0.0.10", "up", "", 9)],
    }


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


def test_engines_before_they_have_links_and_after_they_failed() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    sender, receiver, _ = snapshot["engines"]
    sender.update(state="starting", reason="not ready after 12 s", last_exit="", restarts=0)
    sender["stats"] = {**SENDER, "state": "resolving"}
    receiver.update(stats=RECEIVER)
    text = shown(snapshot)
    assert "sender 127.0.0.1:6000  starting: not ready after 12 s, pid 70130\n" in text
    assert "\n  resolving: bond.example.org:5000, caller not yet heard\n" in text
    assert "receiver 0.0.0.0:5000  running, pid 70131\n  no sender connected\n" in text


@pytest.mark.parametrize("strange", [None, "x", [], {}, -1, 10**400, float("1e300"), True, [1], {"a": 1}])
def test_nothing_that_an_engine_says_breaks_the_view(strange: object) -> None:
    def spoiled(value: object) -> object:
        if isinstance(value, dict):
            return {key: spoiled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [spoiled(item) for item in value]
        return strange

    snapshot = copy.deepcopy(SNAPSHOT)
    for engine in snapshot["engines"]:
        engine["stats"] = spoiled(engine["stats"])
    assert "sender 127.0.0.1:6000  running" in shown(snapshot)
    for engine in snapshot["engines"]:
        links = {"links": [strange, {**link("usb0"), "window": strange, "rtt_ms": strange}]}
        group = {**SNAPSHOT["engines"][1]["stats"]["groups"][0], "links": strange}
        engine["stats"] = {**SENDER, **RECEIVER, **links, "groups": [group, strange], "role": engine["role"]}
    assert "sender 127.0.0.1:6000  running" in shown(snapshot)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1.00k"),
        (1000, "1.00k"),
        (9_994, "9.99k"),
        (9_996, "10.0k"),
        (99_960, "100k"),
        (999_400, "999k"),
        (999_600, "1.00M"),
        (12_345_678, "12.3M"),
        (2_500_000_000, "2.50G"),
        (12_345_000_000_000, "12345G"),
        (None, None),
        (10**400, None),
    ],
)
def test_amounts_have_three_digits(number: float | None, says: str | None) -> None:
    assert amount(number) == says


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (86_400, "1 d"),
        (90_000, "1 d 1 h"),
        (None, "-"),
    ],
)
def test_durations(seconds: float | None, says: str) -> None:
    assert duration(seconds) == says


@pytest.mark.parametrize(
    ("since", "says"),
    [
        (NOW - 5, "5 s ago"),
        (NOW - 200, "3 min ago"),
        (NOW - 7500, "2 h ago"),
        (NOW - 200_000, "2 d ago"),
        (NOW + 5, ""),  # the clock was set back since
        (1000.0, ""),  # it came before the clock was set
        (None, ""),
    ],
)
def test_ages(since: float | None, says: str) -> None:
    assert age(since, NOW) == says


def test_sizes_are_those_of_data_plans() -> None:
    assert [size(number) for number in (49_500_000_000, 0, None)] == ["49.5 GB", "0.0 kB", "-"]


# --- the command -------------------------------------------------------------------------------------------


@contextmanager
def an_agent(path: Path, answer: Any) -> Iterator[None]:
    """A control server in a thread that answers status with `answer`."""
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        server = ControlServer(path, {"status": Command(lambda request, peer: answer, anybody=True)})
        await server.start()
        started.set()
        await asyncio.to_thread(stop.wait)
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(5)
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_running_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with an_agent(tmp_path / "s", {"status": SNAPSHOT}):
        assert main(["status", "--socket", str(tmp_path / "s")]) == 0
        table = capsys.readouterr()
        assert main(["status", "--socket", str(tmp_path / "s"), "--json"]) == 0
        plain = capsys.readouterr()
    assert "192.168.100.100 192.168.100.1 (dhclient" in table.out, "an age depends on the day of the test"
    assert "\x1b" not in table.out, "no colours where nobody sees them"
    assert "error: stalled: [bold]packets[/] without any \\x1b[2Janswer" in table.out, (
        "a line is a line in a pipe"
    )
    assert json.loads(plain.out) == SNAPSHOT
    assert (table.err, plain.err) == ("", "")
    with an_agent(tmp_path / "s", {"status": SNAPSHOT}):
        assert main(["status", "--socket", str(tmp_path / "s"), "--all"]) == 0
    assert "RSRP -92 dBm" in capsys.readouterr().out
    assert "RSRP" not in table.out


def test_the_socket_is_that_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netbond.toml"
    file.write_text(f'[agent]\ncontrol_socket = "{tmp_path}/s"\n')
    monkeypatch.setenv("NETBOND_CONFIG", str(file))
    with an_agent(tmp_path / "s", {"status": SNAPSHOT}):
        assert main(["status"]) == 0
        assert main(["status", "--config", str(file)]) == 0
        file.write_text("[agnet]")
        assert main(["status"]) == 78
        assert "unknown table 'agnet'" in capsys.readouterr().err
        assert main(["status", "--socket", f"{tmp_path}/s"]) == 0, "a broken file is no reason to see nothing"


HELD = {
    "rules": ["priority 40 from all oif usb0 lookup 100 protocol 78"],
    "routes": ["default dev usb0 table 100"],
}
KERNEL = KernelStatus(tuple(HELD["rules"]), tuple(HELD["routes"]))


def test_no_agent_says_so_in_one_line_and_still_shows_the_kernel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the real kernel holds is for tests/netns/test_status.py.
    monkeypatch.setattr(status, "read_kernel", lambda protocol: KERNEL)
    path = tmp_path / "s"
    line = f"the agent is not running (nobody answers at {path}); start it: netbond run"
    assert main(["status", "--socket", str(path)]) == 3
    table = capsys.readouterr()
    assert table.err == f"netbond status: {line}\n"
    assert table.out == (
        "Of netbond's the kernel still holds\n"
        "ip rule   priority 40 from all oif usb0 lookup 100 protocol 78\n"
        "ip route  default dev usb0 table 100\n"
    )
    assert main(["status", "--socket", str(path), "--json"]) == 3
    plain = capsys.readouterr()
    assert plain.err == f"netbond status: {line}\n"
    assert json.loads(plain.out) == {"version": 1, "agent": {"running": False, "error": line}, "kernel": HELD}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"ok": False, "error": "no\x1b[2J"}, "the agent refuses: no\\x1b[2J"),
        (
            {"status": {"agent": {"running": True}}},
            "what the agent shows is not understood: version: missing; restart it after an update",
        ),
        ({"status": {}}, "the agent has nothing to show yet; ask again in a moment"),
        ({}, "the agent has nothing to show yet; ask again in a moment"),
    ],
)
def test_an_agent_that_gives_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any],
    says: str,
) -> None:
    monkeypatch.setattr(status, "read_kernel", lambda protocol: KERNEL)
    with an_agent(tmp_path / "s", answer):
        assert main(["status", "--socket", str(tmp_path / "s")]) == 69
    assert capsys.readouterr().err == f"netbond status: {says}\n"


def test_an_agent_that_hangs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "read_kernel", lambda protocol: KERNEL)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "s"))
        hung.listen()
        assert main(["status", "--socket", str(tmp_path / "s")]) == 69
    out, err = capsys.readouterr()
    assert "does not answer at" in err
    assert "oif usb0" in out


def command(*arguments: str, **environ: str) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "netbond", "status", *arguments], {**os.environ, **environ}


def test_a_terminal_of_other_letters_and_a_reader_who_leaves(tmp_path: Path) -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["agent"]["problems"] = ["モデム" * 3] * 20_000
    arguments, environ = command(
        "--socket", str(tmp_path / "s"), PYTHONIOENCODING="latin-1", PYTHONUNBUFFERED=""
    )
    with an_agent(tmp_path / "s", {"status": snapshot}):
        process = subprocess.Popen(
            arguments, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(2)]
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(10) == 1
    assert first[1].startswith("! \\u30e2\\u30c7\\u30e0")


def test_watch_draws_again_until_ctrl_c(tmp_path: Path) -> None:
    answer = {"status": copy.deepcopy(SNAPSHOT)}
    arguments, environ = command(
        "--watch", "--socket", str(tmp_path / "s"), TERM="xterm", COLUMNS="80", LINES="50"
    )
    leader, follower = pty.openpty()
    seen = bytearray()

    def until(what: bytes) -> None:
        deadline = time.monotonic() + 15
        while what not in seen:
            assert time.monotonic() < deadline, seen
            seen.extend(os.read(leader, 65536))

    with an_agent(tmp_path / "s", answer):
        process = subprocess.Popen(arguments, env=environ, stdin=follower, stdout=follower, stderr=follower)
        try:
            until(b"31 changes")
            answer["status"]["agent"]["changes"] = 32
            until(b"32 changes")
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
            until(b"\x1b[?1049l")  # the screen is as it was before
        finally:
            process.kill()
            process.wait()
            os.close(leader)
            os.close(follower)
    assert b"\x1b[32m" in seen, "green: up"
    assert b"Traceback" not in seen


def test_watch_in_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "s"
    arguments, environ = command("--watch", "--socket", str(path))
    refused = subprocess.run(arguments, env=environ, capture_output=True, text=True)
    assert refused.returncode == 64
    assert refused.stderr.startswith("netbond status: --watch needs a terminal; --json --watch prints")
    arguments, environ = command("--watch", "--json", "--socket", str(path))
    with an_agent(path, {"status": SNAPSHOT}):
        process = subprocess.Popen(arguments, env=environ, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        process.stdout.close()
    assert lines == [SNAPSHOT, SNAPSHOT]


# --- what is not there -------------------------------------------------------------------------------------


def missing() -> dict[str, Any]:
    snapshot = copy.deepcopy(SNAPSHOT)
    locked = Modem(
        "/2", ("wwan1",), port="/sys/devices/usb1/1-1.3", model="EM12", state="locked", sim="sim-pin"
    )
    bare = Modem(
        "/3", port="/sys/devices/usb1/1-1.4", manufacturer="Evil\x1b[2J", state="failed", sim="missing"
    )
    well = Modem("/4", ("wwan2",), state="connected", roaming=False, sim="ok")
    snapshot["idle_modems"] = [to_json(idle_modem(modem)) for modem in (locked, bare, well)]
    gone = {
        "device": "usb5",
        "address": "10.0.5.10",
        "gateway": "10.0.5.1",
        "gone_s": 200.0,
        "reason": "unplugged",
    }
    snapshot["gone"] = [{"name": "usb5", "family": family, **gone} for family in (4, 6)]
    return snapshot


def test_modems_that_are_no_uplinks_and_uplinks_that_have_gone() -> None:
    lines = shown(missing()).splitlines()
    assert "Modem wwan1: SIM waits for sim-pin" in lines
    assert "Modem Evil\\x1b[2J at 1-1.4: no SIM" in lines
    assert "Gone: usb5 (unplugged, 3 min ago)" in lines
    assert "wwan2" not in "".join(lines)  # it is not the modem's fault; idle says whose
    words = " ".join(shown(missing(), everything=True, width=160).split())
    assert (
        " wwan1 modem: SIM waits for sim-pin, state locked, SIM sim-pin, EM12, /sys/devices/usb1/1-1.3 "
        in words
    )
    assert " wwan2 modem: state connected, SIM ok" in words
    assert " usb5 unplugged, 3 min ago; it had 10.0.5.10 via 10.0.5.1" in words


def test_with_no_uplink_left_it_is_said_what_there_was() -> None:
    snapshot = missing() | {"uplinks": []}
    text = shown(snapshot)
    assert "No uplinks: " in text
    assert "Gone: usb5 (unplugged, 3 min ago)\n" in text
    assert "Modem wwan1: SIM waits for sim-pin\n" in text


def test_a_spent_data_plan_is_said_once() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    roof = next(uplink for uplink in snapshot["uplinks"] if uplink["device"] == "wwan0")
    roof.update(state="standby", reason="50.0 GB a month are used up")
    snapshot["metered"][0].update(used_bytes=51_000_000_000, level="spent", verdict="backup")
    text = shown(snapshot)
    assert "used up" not in text
    assert text.count("51.0 GB of 50.0 GB used") == 1


def test_a_gateway_that_others_see_differently() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["uplinks"][0]["disputed"] = [{"source": "main default", "gateway": "10.0.0.9\x1b"}]
    words = " ".join(shown(snapshot, everything=True, width=160).split())
    assert "disagreement gateway 192.168.100.1 (dhclient), but 10.0.0.9\\x1b (main default)" in words


# --- --schema ----------------------------------------------------------------------------------------------


def test_the_schema_needs_no_agent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["$defs"]["Snapshot"]["properties"]) >= set(SNAPSHOT)
