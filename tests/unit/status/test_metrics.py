"""Metrics as a Prometheus server gets them: over real HTTP, read with the client's own parser."""

from __future__ import annotations

import copy
import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netbond.engines.child import read_statistics
from netbond.errors import UnavailableError
from netbond.health import report
from netbond.health.judge import CheckHealth, UplinkHealth
from netbond.model import IdleInterface
from netbond.sources import data_plans
from netbond.srtla.advice import Advice
from netbond.srtla.watch import VERSION, WatchLine
from netbond.status.metrics import MetricsServer, SnapshotCollector
from netbond.status.schema import Snapshot, from_json
from netbond.system.typed_json import to_json
from netbond.watchers import modemmanager


def plain(values: Iterable[object]) -> list[Any]:
    return [to_json(value) for value in values]


def shown(modem: modemmanager.Modem) -> dict[str, Any]:
    return dict(to_json(modemmanager.modem_snapshot(modem)))


LINK: dict[str, Any] = {
    "priority": 0,
    "enabled": True,
    "reason": "",
    "window": 20000,
    "in_flight": 0,
    "silent_ms": None,
    "packets": 0,
    "bytes": 0,
    "lost": 0,
    "loss_pct": 0.0,
    "bitrate_bps": 0,
}
TOLD = {"link": 2, "rtt_ms": 40, "window": 20, "in_flight": 7, "naks": 3, "bitrate_bps": 8000}
PEER = {"peer": "192.0.2.1:40000", "packets": 9, "bytes": 99, "bitrate_bps": 0, "idle_s": 0.2, "sender": TOLD}
GROUP = {
    "id": "0a1b2c3d",
    "keyed": False,
    "age_s": 5,
    "packets": 9,
    "bytes": 99,
    "bitrate_bps": 0,
    "links": [PEER],
    "srt_port": 5001,
    "loss_pct": 2.5,
    "live": True,
    "rtt_ms": 40.0,
    "lost_packets": 5,
    "dropped_packets": 1,
    "stream": "live/~3f2a",
    "stream_id": "live/secret",
}

SNAPSHOT: dict[str, Any] = {
    "version": 1,
    "agent": {
        "running": True,
        "version": "0.1.0",
        "pid": 700,
        "uptime_s": 60.5,
        "config": None,
        "changes": 12,
        "problems": ["one", "two", "three"],
        "problem_details": [
            {"code": code, "subject": "usb1", "severity": severity, "since_s": 3.5, "text": text, "hint": ""}
            for code, severity, text in (
                ("link-down", "degraded", "one"),
                ("uplink-dead", "degraded", "two"),
                ("uplink-down", "notice", "three"),
            )
        ],
    },
    "verdict": {"text": "UP: 1 uplink; one; two", "code": 1},
    "overrides": [
        {
            "uplink": name,
            "what": what,
            "value": value,
            "by": "root",
            "since_s": 1,
            "left_s": None,
            "configured": None,
        }
        for name, what, value in (("roof", "weight", 2), ("usb5", "mode", "off"))
    ],
    "uplinks": [
        {
            "name": "roof",
            "device": "usb0",
            "family": 4,
            "address": "10.0.0.10",
            "prefix_length": 24,
            "gateway": "10.0.0.1",
            "gateway_source": "dhclient",
            "gateway_since": None,
            "disputed": [],
            "table": 100,
            "weight": 2,
            "state": "up",
            "reason": "",
            "in_ecmp": True,
            "rx_bytes": 5000,
            "tx_bytes": 700,
            "rx_bps": 0,
            "tx_bps": 0,
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
            "state": "no carrier",
            "reason": "",
            "in_ecmp": False,
            "rx_bytes": 1,
            "tx_bytes": 2,
            "rx_bps": 0,
            "tx_bps": 0,
        },
    ],
    "ecmp": {"table": 222, "legs": [{"family": 4, "device": "usb0", "gateway": "10.0.0.1", "weight": 2}]},
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
        }
    ],
    "excluded": [],
    "idle": [],
    "health": plain(
        report.section(
            [
                UplinkHealth(
                    "usb0",
                    ip_address("10.0.0.10"),
                    state="degraded",
                    checks=(
                        CheckHealth("gateway", "ok", 0.0004, 0.0),
                        CheckHealth("icmp", "ok", 0.048, 0.25),
                    ),
                ),
                UplinkHealth(
                    "wwan0",
                    ip_address("10.64.0.9"),
                    state="down",
                    checks=(CheckHealth("icmp", "failing", None, 1.0), CheckHealth("http", "waiting")),
                ),
            ],
            0.0,
        )
    ),
    "metered": plain(data_plans.section([data_plans.PlanState("wwan0", 41, 50, None, None, "off")])),
    "idle_modems": plain(
        [
            modemmanager.idle_modem(
                modemmanager.Modem("/2", port="/sys/devices/usb1/1-1.3", state="locked", sim="sim-pin")
            ),
            modemmanager.idle_modem(
                modemmanager.Modem(
                    "/3",
                    devices=("wwan2",),
                    state="searching",
                    registration="denied",
                    model="EM12",
                    signal_quality=30,
                )
            ),
        ]
    ),
    "modems": {
        "wwan0": shown(
            modemmanager.Modem(
                "/",
                model="EM12-G",
                registration="home",
                roaming=False,
                operator="T-Mobile",
                operator_code="26201",
                technologies=("lte", "5gnr"),
                signal_quality=72,
                rssi=-61.0,
                rsrp=-92.5,
                rsrq=-9.0,
                snr=14.0,
            )
        ),
        "wwan1": shown(modemmanager.Modem("/")),
    },
    "engines": [
        {
            "name": "sender 127.0.0.1:6000",
            "role": "sender",
            "state": "running",
            "pid": 701,
            "restarts": 3,
            "hung": 2,
            "reason": "",
            "last_exit": "",
            "stats": {
                "role": "sender",
                "flavour": "compiled",
                "listen": "127.0.0.1:6000",
                "receiver": "bond.example.org:5000",
                "receiver_address": None,
                "caller": None,
                "group": None,
                "stream": "live/~3f2a",
                "stream_id": "live/secret",
                "state": "connected",
                "packets": 990,
                "bytes": 1300000,
                "retransmitted": 4,
                "resent": 5,
                "dropped": 6,
                "latency_ms": 1000,
                "capacity_bits_per_second": 4_000_000,
                "advised_bits_per_second": 3_600_000,
                "queued_ms": 35,
                "links": [
                    LINK
                    | {
                        "label": "usb0",
                        "address": "10.0.0.10",
                        "device": "usb0",
                        "state": "up",
                        "window": 20000,
                        "in_flight": 7,
                        "rtt_ms": 45,
                        "silent_ms": 300,
                        "packets": 1000,
                        "bytes": 1316000,
                        "lost": 2,
                        "capacity_bits_per_second": 4_000_000,
                        "capacity_is": "measured",
                    },
                    LINK
                    | {
                        "label": "wwan0",
                        "address": "10.64.0.9",
                        "device": "wwan0",
                        "state": "down",
                        "rtt_ms": None,
                    },
                ],
            },
        },
        {
            "name": "receiver 0.0.0.0:5000",
            "role": "receiver",
            "state": "backing off",
            "pid": None,
            "restarts": 1,
            "reason": "killed by SIGKILL",
            "last_exit": "killed by SIGKILL",
            "stats": {
                "role": "receiver",
                "listen": "0.0.0.0:5000",
                "srt": "127.0.0.1:5002",
                "groups": [GROUP],
                "groups_left_out": 0,
                "refused": {"quota": 0, "unknown_peer": 12},
            },
        },
    ],
}

EXPECTED = """
netbond_agent_info{version="0.1.0"} 1
netbond_agent_uptime_seconds 60.5
netbond_agent_changes_total 12
netbond_agent_problems 2
netbond_problem{code="link-down",subject="usb1",severity="degraded"} 1
netbond_problem{code="uplink-dead",subject="usb1",severity="degraded"} 1
netbond_problem{code="uplink-down",subject="usb1",severity="notice"} 1
netbond_problem_since_seconds{code="link-down",subject="usb1"} 3.5
netbond_problem_since_seconds{code="uplink-dead",subject="usb1"} 3.5
netbond_problem_since_seconds{code="uplink-down",subject="usb1"} 3.5
netbond_verdict 1
netbond_uplink_info{device="usb0",address="10.0.0.10",name="roof",gateway="10.0.0.1",gateway_source="dhclient",table="100",state="up"} 1
netbond_uplink_info{device="wwan0",address="10.64.0.9",name="wwan0",gateway="",gateway_source="configuration",table="130",state="no carrier"} 1
netbond_uplink_up{device="usb0",address="10.0.0.10"} 1
netbond_uplink_up{device="wwan0",address="10.64.0.9"} 0
netbond_uplink_expected{name="roof"} 1
netbond_uplink_expected{name="wwan0"} 1
netbond_uplink_override{name="roof",what="weight",value="2"} 1
netbond_uplink_override{name="usb5",what="mode",value="off"} 1
netbond_uplink_in_ecmp{device="usb0",address="10.0.0.10"} 1
netbond_uplink_in_ecmp{device="wwan0",address="10.64.0.9"} 0
netbond_uplink_weight{device="usb0",address="10.0.0.10"} 2
netbond_uplink_weight{device="wwan0",address="10.64.0.9"} 1
netbond_uplink_receive_bytes_total{device="usb0"} 5000
netbond_uplink_receive_bytes_total{device="wwan0"} 1
netbond_uplink_transmit_bytes_total{device="usb0"} 700
netbond_uplink_transmit_bytes_total{device="wwan0"} 2
netbond_ecmp_weight{family="4",device="usb0",gateway="10.0.0.1"} 2
netbond_policy_tier{policy="bank",family="4"} 2
netbond_policy_best_tier{policy="bank",family="4"} 1
netbond_policy_uplink_weight{policy="bank",family="4",uplink="wwan0"} 3
netbond_uplink_health{device="usb0",address="10.0.0.10",state="up"} 0
netbond_uplink_health{device="usb0",address="10.0.0.10",state="degraded"} 1
netbond_uplink_health{device="usb0",address="10.0.0.10",state="suspect"} 0
netbond_uplink_health{device="usb0",address="10.0.0.10",state="down"} 0
netbond_uplink_health{device="usb0",address="10.0.0.10",state="unknown"} 0
netbond_uplink_health{device="wwan0",address="10.64.0.9",state="up"} 0
netbond_uplink_health{device="wwan0",address="10.64.0.9",state="degraded"} 0
netbond_uplink_health{device="wwan0",address="10.64.0.9",state="suspect"} 0
netbond_uplink_health{device="wwan0",address="10.64.0.9",state="down"} 1
netbond_uplink_health{device="wwan0",address="10.64.0.9",state="unknown"} 0
netbond_health_check_ok{device="usb0",address="10.0.0.10",check="gateway"} 1
netbond_health_check_ok{device="usb0",address="10.0.0.10",check="icmp"} 1
netbond_health_check_ok{device="wwan0",address="10.64.0.9",check="icmp"} 0
netbond_health_rtt_seconds{device="usb0",address="10.0.0.10",check="gateway"} 0.0004
netbond_health_rtt_seconds{device="usb0",address="10.0.0.10",check="icmp"} 0.048
netbond_health_loss_ratio{device="usb0",address="10.0.0.10",check="gateway"} 0
netbond_health_loss_ratio{device="usb0",address="10.0.0.10",check="icmp"} 0.25
netbond_health_loss_ratio{device="wwan0",address="10.64.0.9",check="icmp"} 1
netbond_metered_used_bytes{device="wwan0"} 41
netbond_metered_budget_bytes{device="wwan0"} 50
netbond_modem_uplink{device="wwan0",port="",state="unknown",why=""} 1
netbond_modem_uplink{device="wwan1",port="",state="unknown",why=""} 1
netbond_modem_uplink{device="",port="/sys/devices/usb1/1-1.3",state="locked",why="SIM waits for sim-pin"} 0
netbond_modem_uplink{device="wwan2",port="",state="searching",why="not registered: denied"} 0
netbond_modem_info{device="wwan2",operator="",operator_code="",technology="",model="EM12"} 1
netbond_modem_registered{device="wwan2"} 0
netbond_modem_signal_quality_ratio{device="wwan2"} 0.3
netbond_modem_info{device="wwan0",operator="T-Mobile",operator_code="26201",technology="5gnr,lte",model="EM12-G"} 1
netbond_modem_info{device="wwan1",operator="",operator_code="",technology="",model=""} 1
netbond_modem_registered{device="wwan0"} 1
netbond_modem_registered{device="wwan1"} 0
netbond_modem_roaming{device="wwan0"} 0
netbond_modem_signal_quality_ratio{device="wwan0"} 0.72
netbond_modem_rssi_dbm{device="wwan0"} -61
netbond_modem_rsrp_dbm{device="wwan0"} -92.5
netbond_modem_rsrq_db{device="wwan0"} -9
netbond_modem_snr_db{device="wwan0"} 14
netbond_engine_up{engine="sender 127.0.0.1:6000",role="sender"} 1
netbond_engine_up{engine="receiver 0.0.0.0:5000",role="receiver"} 0
netbond_engine_restarts_total{engine="sender 127.0.0.1:6000",role="sender"} 3
netbond_engine_restarts_total{engine="receiver 0.0.0.0:5000",role="receiver"} 1
netbond_engine_hung_total{engine="sender 127.0.0.1:6000",role="sender"} 2
netbond_engine_hung_total{engine="receiver 0.0.0.0:5000",role="receiver"} 0
netbond_engine_info{engine="sender 127.0.0.1:6000",flavour="compiled",role="sender"} 1
netbond_sender_connected{engine="sender 127.0.0.1:6000"} 1
netbond_sender_packets_total{engine="sender 127.0.0.1:6000"} 990
netbond_sender_bytes_total{engine="sender 127.0.0.1:6000"} 1300000
netbond_sender_retransmitted_packets_total{engine="sender 127.0.0.1:6000"} 4
netbond_sender_resent_packets_total{engine="sender 127.0.0.1:6000"} 5
netbond_sender_dropped_packets_total{engine="sender 127.0.0.1:6000"} 6
netbond_sender_capacity_bits_per_second{engine="sender 127.0.0.1:6000"} 4000000
netbond_sender_advised_bits_per_second{engine="sender 127.0.0.1:6000"} 3600000
netbond_sender_queued_seconds{engine="sender 127.0.0.1:6000"} 0.035
netbond_link_capacity_bits_per_second{engine="sender 127.0.0.1:6000",link="usb0",device="usb0",address="10.0.0.10"} 4000000
netbond_link_up{engine="sender 127.0.0.1:6000",link="usb0",device="usb0",address="10.0.0.10"} 1
netbond_link_up{engine="sender 127.0.0.1:6000",link="wwan0",device="wwan0",address="10.64.0.9"} 0
netbond_link_window{engine="sender 127.0.0.1:6000",link="usb0",device="usb0",address="10.0.0.10"} 20000
netbond_link_in_flight{engine="sender 127.0.0.1:6000",link="usb0",device="usb0",address="10.0.0.10"} 7
netbond_link_rtt_seconds{engine="sender 127.0.0.1:6000",link="usb0",device="usb0",address="10.0.0.10"} 0.045
netbond_link_silent_seconds{engine="sender 127.0.0.1:6000",link="usb0",device="usb0",address="10.0.0.10"} 0.3
netbond_link_packets_total{engine="sender 127.0.0.1:6000",link="usb0",device="usb0",address="10.0.0.10"} 1000
netbond_link_bytes_total{engine="sender 127.0.0.1:6000",link="usb0",device="usb0",address="10.0.0.10"} 1316000
netbond_link_lost_packets_total{engine="sender 127.0.0.1:6000",link="usb0",device="usb0",address="10.0.0.10"} 2
netbond_link_window{engine="sender 127.0.0.1:6000",link="wwan0",device="wwan0",address="10.64.0.9"} 20000
netbond_link_in_flight{engine="sender 127.0.0.1:6000",link="wwan0",device="wwan0",address="10.64.0.9"} 0
netbond_link_packets_total{engine="sender 127.0.0.1:6000",link="wwan0",device="wwan0",address="10.64.0.9"} 0
netbond_link_bytes_total{engine="sender 127.0.0.1:6000",link="wwan0",device="wwan0",address="10.64.0.9"} 0
netbond_link_lost_packets_total{engine="sender 127.0.0.1:6000",link="wwan0",device="wwan0",address="10.64.0.9"} 0
netbond_receiver_groups{engine="receiver 0.0.0.0:5000"} 1
netbond_receiver_refused_total{engine="receiver 0.0.0.0:5000",reason="quota"} 0
netbond_receiver_refused_total{engine="receiver 0.0.0.0:5000",reason="unknown_peer"} 12
netbond_peer_packets_total{engine="receiver 0.0.0.0:5000",group="0a1b2c3d",peer="192.0.2.1:40000"} 9
netbond_peer_bytes_total{engine="receiver 0.0.0.0:5000",group="0a1b2c3d",peer="192.0.2.1:40000"} 99
netbond_peer_idle_seconds{engine="receiver 0.0.0.0:5000",group="0a1b2c3d",peer="192.0.2.1:40000"} 0.2
netbond_sender_stream{engine="sender 127.0.0.1:6000",stream="live/~3f2a"} 1
netbond_stream_packets_total{engine="receiver 0.0.0.0:5000",stream="live/~3f2a"} 9
netbond_stream_bytes_total{engine="receiver 0.0.0.0:5000",stream="live/~3f2a"} 99
netbond_stream_lost_packets_total{engine="receiver 0.0.0.0:5000",stream="live/~3f2a"} 5
netbond_stream_dropped_packets_total{engine="receiver 0.0.0.0:5000",stream="live/~3f2a"} 1
netbond_stream_live{engine="receiver 0.0.0.0:5000",stream="live/~3f2a"} 1
netbond_stream_bits_per_second{engine="receiver 0.0.0.0:5000",stream="live/~3f2a"} 0
netbond_stream_rtt_seconds{engine="receiver 0.0.0.0:5000",stream="live/~3f2a"} 0.04
netbond_stream_loss_ratio{engine="receiver 0.0.0.0:5000",stream="live/~3f2a"} 0.025
netbond_stream_links{engine="receiver 0.0.0.0:5000",stream="live/~3f2a"} 1
netbond_stream_link_rtt_seconds{engine="receiver 0.0.0.0:5000",stream="live/~3f2a",link="2"} 0.04
netbond_stream_link_lost_packets_total{engine="receiver 0.0.0.0:5000",stream="live/~3f2a",link="2"} 3
netbond_stream_link_in_flight{engine="receiver 0.0.0.0:5000",stream="live/~3f2a",link="2"} 7
netbond_stream_link_bits_per_second{engine="receiver 0.0.0.0:5000",stream="live/~3f2a",link="2"} 8000
"""  # noqa: E501 - as it is on the wire

Sample = tuple[str, frozenset[tuple[str, str]], float]


def samples(text: str) -> list[Sample]:
    return [
        (sample.name, frozenset(sample.labels.items()), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


@contextmanager
def serving(
    snapshot: dict[str, Any], host: str = "127.0.0.1", advice: Mapping[str, WatchLine] | None = None
) -> Iterator[MetricsServer]:
    server = MetricsServer(host, 0, lambda: from_json(snapshot) if snapshot else None, lambda: advice or {})
    server.start()
    try:
        yield server
    finally:
        server.stop()


def scrape(server: MetricsServer, host: str = "127.0.0.1") -> str:
    with urllib.request.urlopen(f"http://{host}:{server.port}/metrics", timeout=5) as reply:
        text: str = reply.read().decode()
        return text


def test_a_scrape_holds_every_fact_once() -> None:
    with serving(SNAPSHOT) as server:
        text = scrape(server)
    got = samples(text)
    assert set(got) == set(samples(EXPECTED))
    assert len(got) == len(set(got))
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert {name for name, kind in types.items() if kind == "counter"} == {
        name for name in types if name.endswith("_total")
    }
    assert set(types.values()) == {"counter", "gauge"}


def test_the_page_lists_just_these_names() -> None:
    page = Path(__file__).parents[3] / "docs" / "metrics.md"
    documented = set(re.findall(r"^\| `(netbond_\w+)` \|", page.read_text(), re.MULTILINE))
    assert documented == {name for name, _, _ in samples(EXPECTED)}


GONE = {"family": 4, "address": "10.0.0.9", "gateway": "10.0.0.1", "gone_s": 9.0, "reason": "unplugged"}


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        ({}, set()),
        ({"idle": ["usb7: no such interface now"]}, {"usb7"}),
        ({"gone": [GONE | {"name": "left", "device": "usb2"}]}, {"left"}),
        (
            {"idle": ["usb2: no such interface now"], "gone": [GONE | {"name": "usb2", "device": "usb2"}]},
            {"usb2"},
        ),
        ({"idle": ["usb1: enabled = false", "wwan1: it roams (exclude_roaming = true)"]}, set()),
        ({"gone": [GONE | {"name": "usb1", "device": "usb1", "reason": "enabled = false"}]}, set()),
        # Its IPv6 has gone, or one of its gateways: it is an uplink still.
        ({"gone": [GONE | {"name": "usb0+10.0.0.2", "device": "usb0"}]}, set()),
        ({"idle": ["label 'a' fits two interfaces"]}, set()),
    ],
)
def test_an_uplink_that_is_missing_is_expected(parts: dict[str, Any], missing: set[str]) -> None:
    with serving(SNAPSHOT | parts) as server:
        found = samples(scrape(server))
    expected = {dict(labels)["name"] for name, labels, _ in found if name == "netbond_uplink_expected"}
    assert expected == {"roof", "wwan0"} | missing


def test_one_that_is_set_off_is_not_missed() -> None:
    """Whoever has set it off may have pulled it out, too."""
    snapshot = replace(from_json(SNAPSHOT), idle=(IdleInterface("usb5", "no such interface now"),))
    for shown, missed in ((snapshot, False), (replace(snapshot, overrides=()), True)):
        found = [m for m in SnapshotCollector(partial(_same, shown)).collect() if "expected" in m.name]
        assert ("usb5" in [sample.labels["name"] for sample in found[0].samples]) is missed


def _same(snapshot: Snapshot) -> Snapshot:
    return snapshot


def test_a_missing_uplink_has_its_label() -> None:
    snapshot = replace(from_json(SNAPSHOT), idle=(IdleInterface("usb7", "no such interface now", "left"),))
    found = [m for m in SnapshotCollector(lambda: snapshot).collect() if m.name == "netbond_uplink_expected"]
    assert [sample.labels["name"] for sample in found[0].samples] == ["roof", "wwan0", "left"]


def test_nothing_is_made_up_where_a_source_is_absent() -> None:
    without = {
        key: value
        for key, value in SNAPSHOT.items()
        if key not in ("health", "metered", "modems", "idle_modems")
    }
    with serving(without) as server:
        names = {name for name, _, _ in samples(scrape(server))}
    assert "netbond_uplink_up" in names
    assert not {name for name in names if re.search("_(health|metered|modem)_", name)}


DASHBOARDS = ["grafana/netbond.json", "grafana/netbond-fleet.json", "grafana/netbond-receiver.json"]


@pytest.mark.parametrize("file", ["prometheus/netbond.rules.yml", *DASHBOARDS])
def test_what_contrib_asks_for_is_there(file: str) -> None:
    text = (Path(__file__).parents[3] / "contrib" / file).read_text()
    # Recording rules are named "box:netbond_...".
    asked = set(re.findall(r"(?<![\w:])netbond_\w+", text)) - {
        "netbond_textfile_up"
    }  # netbond-textfile's own
    assert asked
    assert asked <= {name for name, _, _ in samples(EXPECTED)}


@pytest.mark.parametrize("file", DASHBOARDS)
def test_the_dashboard_is_one_that_grafana_can_import(file: str) -> None:
    dashboard = json.loads((Path(__file__).parents[3] / "contrib" / file).read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert dashboard["uid"] == Path(file).stem
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places)), "no panel lies on another"
    assert max(x for x, _ in places) < 24
    for panel in panels:
        assert panel["targets"], panel["title"]
        assert all(target["expr"] for target in panel["targets"])
        assert panel["datasource"]["uid"] == "${datasource}"


def test_a_scrape_shows_the_snapshot_of_the_moment() -> None:
    snapshot: dict[str, Any] = {}
    with serving(snapshot) as server:
        assert samples(scrape(server)) == [], "the agent has only just started"
        snapshot.update(copy.deepcopy(SNAPSHOT))
        assert ("netbond_agent_changes_total", frozenset(), 12.0) in samples(scrape(server))


def test_advice_is_on_a_page_of_its_own_for_scripts_on_this_box() -> None:
    line = WatchLine(VERSION, "127.0.0.1:6000", "connected", Advice(3_600_000, 4_000_000, 35, 1000, 0.0, 48))
    none = WatchLine(VERSION, "[::1]:6001", "backing off", None)
    with serving(SNAPSHOT, advice={line.sender: line, none.sender: none}) as server:
        for path in ("/advice", "/advice?sender=1"):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as reply:
                page = json.load(reply)
                headers = reply.headers
            assert page == {"version": 1, "senders": {each.sender: to_json(each) for each in (line, none)}}
            assert headers["Content-Type"] == "application/json"
            assert headers["Cache-Control"] == "no-store"
            assert headers["Access-Control-Allow-Origin"] is None, "not for pages of others in a browser"
        assert samples(scrape(server)), "the metrics are where they were"


def test_without_a_sender_the_page_is_empty() -> None:
    with (
        serving({}) as server,
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/advice", timeout=5) as reply,
    ):
        assert json.load(reply) == {"version": 1, "senders": {}}


HUGE = int("9" * 400)
WITH = LINK | {"label": "usb0", "address": "10.0.0.10", "device": "usb0", "state": "up", "rtt_ms": 5}


@pytest.mark.parametrize(
    "stats",
    [
        None,
        {},
        {"links": 7, "groups": {}, "refused": 3},
        {"state": [], "packets": "many"},
        {"refused": {"x": "y", "z": None, "quota": HUGE}},
        {"links": [1, None, "x", []], "groups": [1, GROUP | {"links": 2}, GROUP | {"links": [None]}]},
        {"links": [WITH | {"in_flight": HUGE, "rtt_ms": []}, WITH | {"window": "20", "packets": None}]},
        {"links": [WITH | {"label": 'a"b\\\n\x1b\ud800' * 99}]},
        {
            "links": [WITH | {"window": 1}, WITH | {"window": 2}],
            "groups": [GROUP, GROUP | {"links": [PEER, PEER]}],
        },
    ],
)
@pytest.mark.parametrize("role", ["sender", "receiver"])
def test_strange_statistics_do_not_spoil_a_scrape(stats: dict[str, Any] | None, role: str) -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    for engine in snapshot["engines"]:
        sound = {key: value for each in SNAPSHOT["engines"] for key, value in each["stats"].items()}
        said = {**sound, **stats, "role": role} if stats else stats
        engine.update(stats=to_json(read_statistics(role, said)), role=role)
    with serving(snapshot) as server:
        got = samples(scrape(server))
    keys = [(name, labels) for name, labels, _ in got]
    assert len(keys) == len(set(keys)), "Prometheus would refuse all of it"
    assert ("netbond_agent_problems", frozenset(), 2.0) in got


# --- the server --------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UnavailableError) as error:
            MetricsServer("127.0.0.1", port, lambda: None).start()
    assert str(error.value) == (
        f"cannot serve metrics at 127.0.0.1:{port}: Address already in use;"
        " choose another address with agent.metrics"
    )
