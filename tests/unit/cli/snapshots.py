"""Snapshots for the tests of `netbond status`, and how they look."""

from __future__ import annotations

import copy
import io
from typing import Any

from rich.console import Console

from netbond.cli.status import render
from netbond.status.schema import from_json
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
    "flavour": "compiled",
}


RECEIVER: dict[str, Any] = {
    "role": "receiver",
    "listen": "0.0.0.0:5000",
    "srt": "127.0.0.1:5002",
    "groups": [],
    "groups_left_out": 0,
    "refused": {},
    "flavour": "pure",
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
                "latency_ms": 1000,
                "capacity_bits_per_second": 4_000_000,
                "advised_bits_per_second": 3_600_000,
                "queued_ms": 35,
                "links": [
                    link("usb0", capacity_bits_per_second=4_000_000, capacity_is="at_least"),
                    link(
                        "usb1",
                        state="down",
                        reason="silent for 5 s",
                        silent_ms=8000,
                        rtt_ms=None,
                        bitrate_bps=0,
                    ),
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
                                "sender": {
                                    "link": 1,
                                    "rtt_ms": 45,
                                    "window": 20,
                                    "in_flight": 12,
                                    "naks": 31,
                                    "bitrate_bps": 2_200_000,
                                },
                            },
                            {
                                "peer": "198.51.100.7:1024",
                                "packets": 1,
                                "bytes": 1,
                                "bitrate_bps": 0,
                                "idle_s": 4.2,
                            },
                        ],
                        "loss_pct": 0.3,
                        "stream": "live/~3f2a",
                        "live": True,
                        "rtt_ms": 44.7,
                        "dropped_packets": 2,
                        "server": "127.0.0.1:5002",
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
NOT RUNNING: sender 127.0.0.1:6001: port 6001 is taken; RECEIVING 1 stream, 2.1
Mbit/s; usb7: no such interface now; usb1 dead: gateway: no answer for 3 min;
and 3 more problems
! sender 127.0.0.1:6001: port 6001 is taken
  to do: find who has the port: ss -ulpn
! usb7: no such interface now
! usb1 dead: gateway: no answer for 3 min
! usb2: no carrier
! roof degraded: icmp: loss 25 % (for 1 min)
! and 5 more (--all shows them)

sender 127.0.0.1:6000  running, pid 70130, compiled, 2 restarts (last: killed by
SIGKILL)
  connected: bond.example.org:5000 (192.0.2.7:5000), caller 127.0.0.1:43210
  advice: send 3.60M of 4.00M bit/s, queued 35 of 1000 ms
  link   window  in flight    RTT   loss  bit/s  capacity  state
  usb1     20.5         12      -  0.3 %      0         -  down: silent for 8 s
  wwan0    20.5         12  48 ms  0.3 %  2.13M         -  error: stalled:
                                                           [bold]packets[/]
                                                           without any
                                                           \x1b[2Janswer
  usb0     20.5         12  48 ms  0.3 %  2.13M    >4.00M  up

receiver 0.0.0.0:5000  running, pid 70131, pure
  stream      bit/s   loss  dropped    RTT  links
  live/~3f2a  2.10M  0.3 %        2  45 ms  1 of 2
  refused: unknown_peer 12, quota 1

sender 127.0.0.1:6001  failed: port 6001 is taken, 4 restarts

Uplinks (rx and tx in bit/s)
  uplink       address         gateway                         rx  tx state
  usb1         192.168.100.100 192.168.100.1 (main, gone)   1.50M 850 dead
  usb2         10.0.0.10       10.0.0.1 (config)            1.50M 850 no carrier
  wlan0        10.9.0.2        10.9.0.1 (main)              1.50M 850 down
  roof (wwan0) 10.64.3.9       - (NM)                       1.50M 850 degraded
  usb0         192.168.100.100 192.168.100.1                1.50M 850 up
                               (dhclient, 3 min ago)
  uplink address              gateway        state
  usb0   2001:db8:1:2:3:4:5:6 fe80::1 (main) up
  roof  T-Mobile LTE 72 %, 41.0 GB of 50.0 GB used
Not used: docker0, wg0 (--all says why)

Default for unbound traffic (table 222)
  uplink        gateway        weight  share
  usb0          192.168.100.1       2   67 %
  roof (wwan0)  -                   1   33 %

netbond 0.1.0  pid 70123, up 1 h 2 min, 31 changes, /etc/netbond/netbond.toml
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

receiver 0.0.0.0:5000
  stream      peer                idle  bit/s    RTT  lost  in flight
  live/~3f2a  192.0.2.1:40000    0.0 s  2.10M  45 ms    31         12
  live/~3f2a  198.51.100.7:1024  4.2 s      0      -     -          -

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
