"""The snapshot: the keys that users' scripts rely on, written out."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import jsonschema
import pytest

from netbond.desired import Desired
from netbond.health import judge, report
from netbond.model import Device, EngineState, IdleInterface, Interface, Nexthop, Rate, Route, Uplink
from netbond.policies.model import PolicyInUse, PolicyMatch, PolicyWay
from netbond.sources import data_plans
from netbond.srtla.statistics import LinkStatistics
from netbond.status.departed import Departed
from netbond.status.schema import (
    DepartedUplink,
    EcmpStatus,
    HardwareStatus,
    KernelStatus,
    NoAgent,
    OverrideStatus,
    Sections,
    WithoutAgent,
    from_json,
    to_json,
)
from netbond.status.schema import json_schema as schema_of_status
from netbond.status.snapshot import AgentInfo, build, rates
from netbond.system.text import printable
from netbond.watchers import modemmanager, networkmanager

AGENT = AgentInfo(
    version="0.1.0",
    pid=700,
    started=100.0,
    config="/etc/netbond/netbond.toml",
    changes=12,
    problems=("a\nb",),
)


def uplink(device: str, address: str, gateway: str | None, source: str, table: int, **rest: Any) -> Uplink:
    interface = ip_interface(address)
    via = None if gateway is None else ip_address(gateway)
    return Uplink(device, interface, via, source, table, **rest)


USB0 = uplink(
    "usb0",
    "10.0.0.10/24",
    "10.0.0.1",
    "dhclient",
    100,
    weight=2,
    gateway_since=1_763_629_200.5,
    disputed=(("main default", ip_address("10.0.0.9")),),
)
WWAN0 = uplink("wwan0", "10.64.0.9/32", None, "configuration", 130, metered=True, mode="backup", priority=7)
USB1 = uplink(
    *("usb1", "10.0.0.10/24", "10.0.0.1", "main default", 101),
    state="no carrier",
    reason="the modem \x1b[2Jhas no link",
)
SIX = uplink("usb0", "2001:db8::5/64", "fe80::1", "main default", 100)
DESIRED = Desired(
    policies=(
        PolicyInUse(
            "bank",
            1,
            7801,
            (("usb0",), ("wwan0",)),
            (PolicyWay(4, PolicyMatch(), 1, 2, (("wwan0", 3),), "tier 1 overflows"),),
        ),
    ),
    uplinks=(USB0, WWAN0, USB1, SIX),
    routes=(
        Route(100, ip_network("0.0.0.0/0"), (Nexthop("usb0", ip_address("10.0.0.1")),)),
        Route(222, ip_network("::/0"), (Nexthop("usb0", ip_address("fe80::1")),)),
        Route(
            222,
            ip_network("0.0.0.0/0"),
            (Nexthop("usb0", ip_address("10.0.0.1"), weight=2), Nexthop("wwan0")),
        ),
        Route(222, ip_network("0.0.0.0/0"), kind="unreachable", metric=4294967295),
    ),
    idle=(IdleInterface("usb9", "no such interface now"),),
    excluded=(("docker0", "a bridge"),),
)
LINKS = (
    Interface("usb0", 2, rx_bytes=5000, tx_bytes=700),
    Interface("wwan0", 3, rx_bytes=1, tx_bytes=2),
)
ENGINE = EngineState(
    name="sender 127.0.0.1:6000",
    role="sender",
    state="failed",
    restarts=3,
    hung=1,
    reason="port taken\x07",
    last_exit="killed by SIGKILL",
    restarted_s=12.5,
)


def departed() -> tuple[DepartedUplink, ...]:
    """An uplink that was there."""
    gone = Departed()
    gone.observe(DESIRED.uplinks[:1], {"usb0"}, {}, 1.0)
    gone.observe((), {"usb0"}, {}, 2.0)
    return gone.section(3.0)


SECTIONS = Sections(
    health=report.section(
        [judge.UplinkHealth("usb0", ip_address("10.0.0.10"), checks=(judge.CheckHealth("icmp", "ok"),))], 0.0
    ),
    metered=data_plans.section([data_plans.PlanState("usb0", 1, 3, None, None, "warn")]),
    networkmanager={"usb0": networkmanager.device_snapshot(networkmanager.NMDevice("usb0"))},
    modems={"usb0": modemmanager.modem_snapshot(modemmanager.Modem("/"))},
    idle_modems=(modemmanager.idle_modem(modemmanager.Modem("/2", sim="missing")),),
    gone=departed(),
    overrides=(
        OverrideStatus("usb1", "mode", "off", "root", 60.0, 3540.0, None),
        OverrideStatus("wwan0", "weight", 3, "alice", 5.0, None, 1),
    ),
    hardware={"usb0": HardwareStatus.of(Device("usb0", path="a", vendor="b", model_name="e", bus="i"))},
)


def test_the_whole_snapshot() -> None:
    snapshot = build(
        AGENT,
        DESIRED,
        LINKS,
        [ENGINE],
        ecmp_table=222,
        now=160.5,
        current_rates={"usb0": Rate(1_500_000.4, 99.6)},
        sections=SECTIONS,
    )
    # As text: the order of the keys is what it was, too.
    assert json.dumps(to_json(snapshot), indent=1) == json.dumps(WHOLE, indent=1)
    assert from_json(json.loads(json.dumps(to_json(snapshot)))) == snapshot


def test_a_leg_that_needs_no_gateway_has_none_in_the_snapshot() -> None:
    ppp = uplink("ppp0", "2001:db8:1::5/64", None, "configuration", 140)
    route = Route(222, ip_network("::/0"), (Nexthop("ppp0", ip_address("fe80::")),))
    snapshot = build(AGENT, Desired(uplinks=(ppp,), routes=(route,)), (), (), ecmp_table=222, now=0.0)
    assert [(leg.device, leg.gateway) for leg in snapshot.ecmp.legs] == [("ppp0", None)]
    assert snapshot.uplinks[0].in_ecmp


MODEM: dict[str, Any] = {
    "summary": "unknown",
    "manufacturer": "",
    "model": "",
    "port": "",
    "state": "unknown",
    "failed": "",
    "sim": "unknown",
    "registration": "unknown",
    "roaming": None,
    "operator": "",
    "operator_code": "",
    "technologies": [],
    "signal_quality": None,
    "rssi_dbm": None,
    "rsrp_dbm": None,
    "rsrq_db": None,
    "snr_db": None,
    "bands": [],
    "current": True,
}
WHOLE: dict[str, Any] = {
    "version": 1,
    "agent": {
        "running": True,
        "version": "0.1.0",
        "pid": 700,
        "uptime_s": 60.5,
        "config": "/etc/netbond/netbond.toml",
        "changes": 12,
        "problems": ["a\\nb"],
        "problem_details": [],
    },
    "excluded": [{"device": "docker0", "reason": "a bridge"}],
    "idle": ["usb9: no such interface now"],
    "uplinks": [
        {
            "name": "usb0",
            "device": "usb0",
            "family": 4,
            "address": "10.0.0.10",
            "prefix_length": 24,
            "gateway": "10.0.0.1",
            "gateway_source": "dhclient",
            "gateway_since": 1_763_629_200.5,
            "disputed": [{"source": "main default", "gateway": "10.0.0.9"}],
            "table": 100,
            "weight": 2,
            "state": "up",
            "reason": "",
            "in_ecmp": True,
            "rx_bytes": 5000,
            "tx_bytes": 700,
            "rx_bps": 1_500_000,
            "tx_bps": 100,
            "metered": False,
            "gateways": [],
            "mode": "normal",
            "priority": 0,
        },
        {
            "name": "wwan0",
            "device": "wwan0",
            "family": 4,
            "address": "10.64.0.9",
            "prefix_length": 32,
            "gateway": None,
            "gateway_source": "configuration",
            "gateway_since": None,
            "disputed": [],
            "table": 130,
            "weight": 1,
            "state": "up",
            "reason": "",
            "in_ecmp": True,
            "rx_bytes": 1,
            "tx_bytes": 2,
            "rx_bps": 0,
            "tx_bps": 0,
            "metered": True,
            "gateways": [],
            "mode": "backup",
            "priority": 7,
        },
        {
            "name": "usb1",
            "device": "usb1",
            "family": 4,
            "address": "10.0.0.10",
            "prefix_length": 24,
            "gateway": "10.0.0.1",
            "gateway_source": "main default",
            "gateway_since": None,
            "disputed": [],
            "table": 101,
            "weight": 1,
            "state": "no carrier",
            "reason": "the modem \\x1b[2Jhas no link",
            "in_ecmp": False,
            "rx_bytes": 0,
            "tx_bytes": 0,
            "rx_bps": 0,
            "tx_bps": 0,
            "metered": False,
            "gateways": [],
            "mode": "normal",
            "priority": 0,
        },
        {
            "name": "usb0",
            "device": "usb0",
            "family": 6,
            "address": "2001:db8::5",
            "prefix_length": 64,
            "gateway": "fe80::1",
            "gateway_source": "main default",
            "gateway_since": None,
            "disputed": [],
            "table": 100,
            "weight": 1,
            "state": "up",
            "reason": "",
            "in_ecmp": True,
            "rx_bytes": 5000,
            "tx_bytes": 700,
            "rx_bps": 1_500_000,
            "tx_bps": 100,
            "metered": False,
            "gateways": [],
            "mode": "normal",
            "priority": 0,
        },
    ],
    "ecmp": {
        "table": 222,
        "legs": [
            {"family": 4, "device": "usb0", "gateway": "10.0.0.1", "weight": 2},
            {"family": 4, "device": "wwan0", "gateway": None, "weight": 1},
            {"family": 6, "device": "usb0", "gateway": "fe80::1", "weight": 1},
        ],
    },
    "engines": [
        {
            "name": "sender 127.0.0.1:6000",
            "role": "sender",
            "state": "failed",
            "pid": None,
            "restarts": 3,
            "reason": "port taken\\x07",
            "last_exit": "killed by SIGKILL",
            "stats": None,
            "hung": 1,
            "restarted_s": 12.5,
        }
    ],
    "policies": [
        {
            "name": "bank",
            "table": 7801,
            "tiers": [["usb0"], ["wwan0"]],
            "otherwise": "share",
            "ways": [
                {
                    "family": 4,
                    "best": 1,
                    "tier": 2,
                    "uplinks": [{"name": "wwan0", "weight": 3}],
                    "reason": "tier 1 overflows",
                }
            ],
            "problem": "",
        }
    ],
    "flows": [],
    "verdict": None,
    "health": [
        {
            "device": "usb0",
            "address": "10.0.0.10",
            "family": 4,
            "state": "unknown",
            "reason": "",
            "since_s": 0.0,
            "checks": [{"name": "icmp", "state": "ok", "rtt_ms": None, "loss": None, "detail": ""}],
        }
    ],
    "metered": [
        {
            "device": "usb0",
            "used_bytes": 1,
            "budget_bytes": 3,
            "since": None,
            "resets": None,
            "level": "ok",
            "verdict": "normal",
        }
    ],
    "networkmanager": {
        "usb0": {
            "state": "unknown",
            "managed": False,
            "addresses": [],
            "gateway4": None,
            "gateway6": None,
            "dns": [],
            "metered": "unknown",
            "connectivity": "unknown",
            "connection": "",
            "lease_seconds": 0,
            "external": False,
            "current": True,
        }
    },
    "modems": {"usb0": MODEM},
    "idle_modems": [{"device": None, "why": "no SIM", **MODEM, "summary": "no SIM", "sim": "missing"}],
    "gone": [
        {
            "name": "usb0",
            "device": "usb0",
            "family": 4,
            "address": "10.0.0.10",
            "gateway": "10.0.0.1",
            "gone_s": 1.0,
            "reason": "no address, or no known gateway",
        }
    ],
    "hardware": {"usb0": {"path": "a", "vendor": "b", "model_name": "e", "bus": "i"}},
    "connections": [],
    "overrides": [
        {
            "uplink": "usb1",
            "what": "mode",
            "value": "off",
            "by": "root",
            "since_s": 60.0,
            "left_s": 3540.0,
            "configured": None,
        },
        {
            "uplink": "wwan0",
            "what": "weight",
            "value": 3,
            "by": "alice",
            "since_s": 5.0,
            "left_s": None,
            "configured": 1,
        },
    ],
}


def test_a_box_with_nothing() -> None:
    snapshot = build(AgentInfo("0.1.0", 1, 5.0), Desired(), [], [], ecmp_table=222, now=5.0)
    assert (snapshot.uplinks, snapshot.ecmp, snapshot.engines) == ((), EcmpStatus(222, ()), ())
    assert (snapshot.agent.config, snapshot.agent.problems) == (None, ())


# --- the schema that lists the keys -------------------------------------------------------------------------


def test_a_snapshot_is_as_the_schema_says() -> None:
    schema = schema_of_status()
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = jsonschema.Draft202012Validator(schema).is_valid
    assert valid(WHOLE)
    texts = ("label", "address", "device", "state", "reason", "receiver_address")
    keys = [each.name for each in dataclasses.fields(LinkStatistics)]
    link = {**dict.fromkeys(keys, 0), **dict.fromkeys(texts, ""), "enabled": True, "metered": False}
    link["capacity_is"] = "measured"
    sender: dict[str, Any] = {
        "role": "sender",
        "listen": "",
        "receiver": "",
        "receiver_address": None,
        "caller": None,
    }
    sender |= {"state": "", "group": None, "packets": 0, "bytes": 0, "retransmitted": 0, "resent": 0}
    sender |= {"dropped": 0, "links": [link], "callers_refused": 0, "problems": []}
    advice = ("latency_ms", "capacity_bits_per_second", "advised_bits_per_second", "queued_ms")
    sender |= {**dict.fromkeys(advice), "stream": "", "caller_silent_ms": None, "caller_closed": False}
    (engine,) = WHOLE["engines"]
    assert valid({**WHOLE, "engines": [{**engine, "stats": sender}]})
    assert not valid({**WHOLE, "engines": [{**engine, "stats": {**sender, "links": [{}]}}]})
    assert not valid({**WHOLE, "uplinks": [{**WHOLE["uplinks"][0], "table": "100"}]})
    assert not valid({key: value for key, value in WHOLE.items() if key != "health"})
    said = WithoutAgent(1, NoAgent(False, "no"), KernelStatus((), ()))
    assert valid(to_json(said))


def test_every_key_is_described() -> None:
    undescribed = [
        f"{name}.{key}"
        for name, shape in schema_of_status()["$defs"].items()
        for key, value in shape["properties"].items()
        if not value.get("description")
    ]
    assert undescribed == []


def test_a_snapshot_of_another_version_is_read_as_far_as_it_is_understood() -> None:
    other = json.loads(json.dumps(WHOLE))
    other["weather"] = "fine"
    other["uplinks"][0]["colour"] = "green"
    del other["uplinks"][1]["table"]
    del other["gone"], other["hardware"]
    other["engines"][0]["stats"] = {"role": "juggler"}
    found = from_json(other)
    assert [uplink.device for uplink in found.uplinks] == ["usb0", "usb1", "usb0"]
    assert (found.gone, dict(found.hardware), found.engines[0].stats) == ((), {}, None)
    nothings: tuple[object, ...] = (None, [], {}, {**other, "agent": {"running": True}})
    for nothing in nothings:
        with pytest.raises(ValueError, match=r"no object|missing"):
            from_json(nothing)


# --- rates -------------------------------------------------------------------------------------------------


def test_rates_are_bits_per_second() -> None:
    later = [replace(LINKS[0], rx_bytes=6000, tx_bytes=700), replace(LINKS[1], rx_bytes=2, tx_bytes=252)]
    assert rates(LINKS, later, 2.0) == {"usb0": Rate(4000.0, 0.0), "wwan0": Rate(4.0, 1000.0)}


@pytest.mark.parametrize(
    "later",
    [
        Interface("usb0", 9, rx_bytes=9000, tx_bytes=9000),  # pulled and plugged in again
        Interface("usb0", 2, rx_bytes=10, tx_bytes=900),  # the driver was reset
        Interface("usb9", 2, rx_bytes=9000, tx_bytes=9000),  # new, or renamed
    ],
)
def test_no_rate_without_two_readings_of_the_same_counter(later: Interface) -> None:
    assert rates(LINKS, [later], 1.0) == {}


@pytest.mark.parametrize("dt", [0.0, -1.0])
def test_no_rate_without_time(dt: float) -> None:
    assert rates(LINKS, LINKS, dt) == {}


# --- text from outside -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, Umlaut ä, 日本", "plain text, Umlaut ä, 日本"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202eright to left \u2066", "\\u202eright to left \\u2066"),
        ("\x9b2J \ud800 \u2028", "\\x9b2J \\ud800 \\u2028"),
        ("x" * 12, "xxxxxxxxx…"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text, limit=10 if text.startswith("xxx") else 500) == shown
