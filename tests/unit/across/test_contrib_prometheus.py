"""The alerts in contrib/prometheus: what lets each fire, and what looks like it and does not (promtool)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netbond.status.metrics import MetricsServer
from netbond.status.schema import from_json
from tests.unit.prometheus import free_port
from tests.unit.status.test_metrics import SNAPSHOT

FOLDER = Path(__file__).parents[3] / "contrib" / "prometheus"
RULES = FOLDER / "netbond.rules.yml"
FLEET = FOLDER / "netbond-fleet.rules.yml"
PROMTOOL = shutil.which("promtool")
NODE_EXPORTER = shutil.which("prometheus-node-exporter")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None,
    reason="promtool is not installed (Debian: prometheus); scripts/test as root installs it",
)


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation, a value each 15 s from 0 on; the alert `at` that time.

    `labels` are those of the alert beside job and instance; no summary: it does not fire.
    """

    alert: str
    what: str
    series: Mapping[str, str]
    at: str
    summary: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def problem(code: str, subject: str, severity: str = "degraded") -> str:
    return f'netbond_problem{{code="{code}",subject="{subject}",severity="{severity}"}}'


def about(code: str, subject: str, severity: str) -> dict[str, str]:
    return {"code": code, "subject": subject, "severity": severity}


INFO = 'netbond_uplink_info{name="roof",device="usb0",address="10.0.0.9",state="up"}'
UP = 'netbond_uplink_up{device="usb0",address="10.0.0.9"}'
ROOF = 'netbond_uplink_expected{name="roof"}'
ENGINE = "sender 127.0.0.1:6000"
RECEIVER = "receiver 0.0.0.0:5000"
SENDER = f'{{engine="{ENGINE}"}}'
CONNECTED = f"netbond_sender_connected{SENDER}"
BYTES = f"netbond_sender_bytes_total{SENDER}"  # 15 s of 4 Mbit/s are 7.5 MB
CAPACITY = f"netbond_sender_capacity_bits_per_second{SENDER}"
ADVISED = f"netbond_sender_advised_bits_per_second{SENDER}"
LIVE = f'netbond_stream_live{{engine="{RECEIVER}",stream="live/a"}}'
STOPPED = problem("stream-stopped", "live/a")
RESTARTS = f'netbond_engine_restarts_total{{engine="{ENGINE}",role="sender"}}'
ENGINE_UP = f'netbond_engine_up{{engine="{ENGINE}",role="sender"}}'
USED = 'netbond_metered_used_bytes{device="wwan0"}'
BUDGET = 'netbond_metered_budget_bytes{device="wwan0"}'
MODEM = 'netbond_modem_uplink{device="wwan1",port="usb-1",state="locked",why="SIM waits for sim-pin"}'
LINK = f'{{engine="{ENGINE}",link="roof",device="usb0",address="10.0.0.9"}}'

CASES = [
    Case(
        "NetbondDown",
        "no answer for 2 min",
        {"up": "1x4 0x20"},
        "4m",
        "box: the agent does not answer",
        {"severity": "critical"},
    ),
    Case("NetbondDown", "it was restarted", {"up": "1x4 0 1x20"}, "1m15s"),
    Case("NetbondDown", "another job", {'up{job="node"}': "0x20"}, "4m"),
    Case(
        "NetbondDown",
        "the node exporter has its metrics, and it does not answer",
        {'netbond_textfile_up{job="node"}': "1x4 0x20"},
        "4m",
        "box: the agent does not answer",
        {"severity": "critical", "job": "node"},
    ),
    Case(
        "NetbondDown",
        "nothing copies its metrics to the node exporter any more",
        {'node_textfile_mtime_seconds{job="node",file="/a/netbond.prom"}': "0 15 30 30x20"},
        "4m",
        "box: the agent does not answer",
        {"severity": "critical", "job": "node"},
    ),
    Case(
        "NetbondDown",
        "another text file is old",
        {
            'netbond_textfile_up{job="node"}': "1x20",
            'node_textfile_mtime_seconds{job="node",file="/a/netbond.prom"}': "0+15x20",
            'node_textfile_mtime_seconds{job="node",file="/a/apt.prom"}': "0x20",
        },
        "4m",
    ),
    Case(
        "NetbondSilent",
        "a box that pushed is gone",
        {'up{job="netbond-push"}': "1x8 stale"},
        "5m",
        "box: nothing is heard of the box",
        {"severity": "critical", "job": "netbond-push"},
    ),
    Case(
        "NetbondSilent",
        "gone, and nothing has told that its series end",
        {'up{job="netbond-push"}': "1x8 _x60"},
        "4m15s",
        "box: nothing is heard of the box",
        {"severity": "critical", "job": "netbond-push"},
    ),
    Case(
        "NetbondSilent",
        "gone for longer than Prometheus shows a last sample",
        {'up{job="netbond-push"}': "1x8 _x80"},
        "12m",
        "box: nothing is heard of the box",
        {"severity": "critical", "job": "netbond-push"},
    ),
    Case("NetbondSilent", "it pushes", {'up{job="netbond-push"}': "1x40"}, "5m"),
    Case("NetbondSilent", "it came back", {'up{job="netbond-push"}': "1x8 stale _x8 1x20"}, "6m"),
    Case("NetbondSilent", "a box that is scraped was removed", {"up": "1x8 stale"}, "5m"),
    Case("NetbondSilent", "long ago", {'up{job="netbond-push"}': "1x8 stale"}, "70m"),
    Case(
        "UplinkMissing",
        "unplugged: its other series vanish",
        {ROOF: "1x40", INFO: "1x8 stale", UP: "1x8 stale"},
        "4m",
        "box: uplink roof is missing",
        {"name": "roof", "severity": "warning"},
    ),
    Case("UplinkMissing", "it is there, with two addresses", {ROOF: "1x40", INFO: "1x40"}, "4m"),
    Case("UplinkMissing", "back after half a minute", {ROOF: "1x40", INFO: "1x8 stale _ 1x40"}, "3m"),
    Case("UplinkMissing", "the whole box is gone", {ROOF: "1x8 stale", INFO: "1x8 stale"}, "4m"),
    Case(
        "UplinkMissing",
        "another box has one of that name",
        {ROOF: "1x40", 'netbond_uplink_info{name="roof",instance="other"}': "1x40"},
        "4m",
        "box: uplink roof is missing",
        {"name": "roof", "severity": "warning"},
    ),
    Case(
        "UplinkDead",
        "its checks fail",
        {problem("uplink-dead", "roof"): "1x20", UP: "0x20"},
        "2m",
        "box: uplink roof leads nowhere",
        about("uplink-dead", "roof", "warning"),
    ),
    Case("UplinkDead", "degraded, and check_quality took it out", {UP: "0x20", INFO: "1x20"}, "2m"),
    Case("UplinkDead", "degraded", {problem("uplink-degraded", "roof"): "1x20"}, "2m"),
    Case("UplinkDead", "for a moment", {problem("uplink-dead", "roof"): "1x1 stale"}, "15s"),
    Case(
        "LinkDown",
        "no answer over it",
        {problem("link-down", "roof"): "1x20", CONNECTED: "1x20"},
        "2m",
        "box: the stream's link roof has no answer or is refused",
        about("link-down", "roof", "warning"),
    ),
    Case("LinkDown", "its uplink is dead", {problem("uplink-dead", "roof"): "1x20"}, "2m"),
    Case("LinkDown", "it was back soon", {problem("link-down", "roof"): "1x2 stale"}, "30s"),
    Case(
        "SenderNotConnected",
        "the receiver does not answer",
        {CONNECTED: "1x4 0x20"},
        "3m",
        f"box: {ENGINE} is not connected to its receiver",
        {"engine": ENGINE, "severity": "critical"},
    ),
    Case("SenderNotConnected", "connected", {CONNECTED: "1x20"}, "3m"),
    Case("SenderNotConnected", "it has just started", {CONNECTED: "0 0 1x20"}, "15s"),
    Case(
        "StreamStopped",
        "no data",
        {LIVE: "1x8 0x20", STOPPED: "_x9 1x20"},
        "4m",
        "box: stream live/a brings no data, and was not ended",
        {"stream": "live/a", "severity": "critical"},
    ),
    Case(
        "StreamStopped",
        "no data, and the receiver has forgotten it",
        {LIVE: "1x8 0 0 stale", STOPPED: "_x9 1 1 stale"},
        "15m",
        "box: stream live/a brings no data, and was not ended",
        {"stream": "live/a", "severity": "critical"},
    ),
    Case("StreamStopped", "it is back", {LIVE: "1x8 0 0 stale _x4 1x80", STOPPED: "_x9 1 1 stale"}, "15m"),
    Case("StreamStopped", "ended by its encoder", {LIVE: "1x8 0 0 stale"}, "15m"),
    Case(
        "StreamStopped",
        "it came back, and was ended",
        {LIVE: "1x8 0 0 1x8 0 0 stale", STOPPED: "_x9 1 1 stale"},
        "15m",
    ),
    Case("StreamStopped", "long ago", {LIVE: "1x8 0 0 stale", STOPPED: "_x9 1 1 stale"}, "40m"),
    Case(
        "ReceiverWithoutServer",
        "its SRT server is down",
        {problem("srt-server-silent", RECEIVER, "broken"): "1x20"},
        "1m",
        f"box: the SRT server behind {RECEIVER} does not answer",
        about("srt-server-silent", RECEIVER, "critical"),
    ),
    Case(
        "ReceiverWithoutServer",
        "the server refuses one encoder",
        {problem("srt-server-refuses", ENGINE, "broken"): "1x20"},
        "1m",
    ),
    Case(
        "DataPlanNearlySpent",
        "41 of 50 GB",
        {USED: "41e9x4", BUDGET: "50e9x4"},
        "1m",
        "box: 82% of the data plan of wwan0 used",
        {"device": "wwan0", "severity": "warning"},
    ),
    Case("DataPlanNearlySpent", "39 of 50 GB", {USED: "39e9x4", BUDGET: "50e9x4"}, "1m"),
    Case(
        "EngineDown",
        "it does not run",
        {ENGINE_UP: "1x2 0x20"},
        "2m",
        f"box: {ENGINE} does not run",
        {"engine": ENGINE, "role": "sender", "severity": "critical"},
    ),
    Case("EngineDown", "started again at once", {ENGINE_UP: "1x2 0 1x20"}, "45s"),
    Case(
        "EngineRestarting",
        "four times in a quarter of an hour",
        {RESTARTS: "0x20 1x6 2x6 3x6 4x60"},
        "12m",
        f"box: {ENGINE} is started again and again",
        {"engine": ENGINE, "role": "sender", "severity": "critical"},
    ),
    Case("EngineRestarting", "once", {RESTARTS: "0x20 1x60"}, "12m"),
    Case("EngineRestarting", "the agent was restarted, and counts anew", {RESTARTS: "7x20 0x6 1x60"}, "12m"),
    Case(
        "CapacityLow",
        "4 Mbit/s over links that carry 3",
        {BYTES: "0+7500000x20", CAPACITY: "3e6x20", ADVISED: "2.5e6x20"},
        "3m",
        f"box: the links of {ENGINE} carry too little for its stream",
        {"engine": ENGINE, "severity": "warning"},
    ),
    Case(
        "CapacityLow",
        "the encoder follows, down to a rate of no use",
        {BYTES: "0+1500000x20", CAPACITY: "9e5x20", ADVISED: "8e5x20"},
        "3m",
        f"box: the links of {ENGINE} carry too little for its stream",
        {"engine": ENGINE, "severity": "warning"},
    ),
    Case("CapacityLow", "4 of 4", {BYTES: "0+7500000x20", CAPACITY: "4e6x20", ADVISED: "4e6x20"}, "3m"),
    Case(
        "CapacityLow",
        "a small stream over links that were never full",
        {BYTES: "0+937500x20", CAPACITY: "9e5x20", ADVISED: "9e5x20"},
        "3m",
    ),
    Case("CapacityLow", "no stream", {BYTES: "7500000x20", CAPACITY: "9e5x20"}, "3m"),
    Case(
        "LinkLoses",
        "10 %",
        {
            f"netbond_link_lost_packets_total{LINK}": "0+10x20",
            f"netbond_link_packets_total{LINK}": "0+100x20",
        },
        "4m",
        f"box: {ENGINE} loses packets on roof",
        {"engine": ENGINE, "link": "roof", "device": "usb0", "address": "10.0.0.9", "severity": "info"},
    ),
    Case(
        "LinkLoses",
        "1 %",
        {f"netbond_link_lost_packets_total{LINK}": "0+1x20", f"netbond_link_packets_total{LINK}": "0+100x20"},
        "4m",
    ),
    Case(
        "ModemIsNoUplink",
        "locked",
        {MODEM: "0x40"},
        "7m",
        "box: modem wwan1 usb-1: SIM waits for sim-pin",
        {"device": "wwan1", "port": "usb-1", "state": "locked", "why": "SIM waits for sim-pin"}
        | {"severity": "warning"},
    ),
    Case(
        "ModemIsNoUplink",
        "its [[uplink]] says why",
        {MODEM.replace("SIM waits for sim-pin", ""): "0x40"},
        "7m",
    ),
    Case(
        "ModemRoams",
        "abroad",
        {'netbond_modem_roaming{device="wwan0"}': "1x40"},
        "7m",
        "box: the modem wwan0 is roaming",
        {"device": "wwan0", "severity": "warning"},
    ),
    Case("ModemRoams", "at home", {'netbond_modem_roaming{device="wwan0"}': "0x40"}, "7m"),
    Case(
        "NetbondProblem",
        "nothing gets through",
        {problem("no-uplink", "", "broken"): "1x20"},
        "3m",
        "box: no-uplink ",
        {"code": "no-uplink", "severity": "critical"},
    ),
    Case(
        "NetbondProblem",
        "something is worse",
        {problem("uplink-degraded", "roof"): "1x20"},
        "3m",
        "box: uplink-degraded roof",
        about("uplink-degraded", "roof", "warning"),
    ),
    Case("NetbondProblem", "a notice", {problem("pure-flavour", "", "notice"): "1x20"}, "3m"),
    Case("NetbondProblem", "another alert tells", {problem("engine-hung", ENGINE, "broken"): "1x20"}, "3m"),
]


def descriptions() -> dict[str, str]:
    """What the file says is to be done, by alert."""
    blocks = RULES.read_text().split("- alert: ")[1:]
    found = {}
    for block in blocks:
        text = re.search(r"description: >-\n((?: {12}.*\n)+)", block)
        assert text, block
        found[block.partition("\n")[0]] = " ".join(text[1].split())
    return found


def series(text: str) -> str:
    """With the labels that Prometheus adds, where there are none."""
    name, _, labels = text.rstrip("}").partition("{")
    have = set(re.findall(r'(\w+)="', labels))
    added = [
        f'{key}="{value}"' for key, value in (("job", "netbond"), ("instance", "box")) if key not in have
    ]
    return f"{name}{{{','.join([*filter(None, [labels]), *added])}}}"


def promtool_test(case: Case, description: str) -> dict[str, object]:
    """The case as promtool reads it."""
    fires = {
        "exp_labels": {"job": "netbond", "instance": "box", **case.labels},
        "exp_annotations": {"summary": case.summary, "description": description},
    }
    expected = {
        "eval_time": case.at,
        "alertname": case.alert,
        "exp_alerts": [fires] if case.summary else [],
    }
    return {
        "name": f"{case.alert}: {case.what}",
        "interval": "15s",
        "input_series": [{"series": series(k), "values": v} for k, v in case.series.items()],
        "alert_rule_test": [expected],
    }


@needs_promtool
def test_alerts_fire_or_do_not(tmp_path: Path) -> None:
    says = descriptions()
    blocks = RULES.read_text().split("      - alert: ")
    for block in blocks[1:]:  # a file for each: promtool evaluates all the rules of a file all the time
        alert = block.partition("\n")[0]
        (tmp_path / f"{alert}.rules.yml").write_text(f"{blocks[0]}      - alert: {block}")
        tests = [promtool_test(case, says[alert]) for case in CASES if case.alert == alert]
        content = {"rule_files": [f"{alert}.rules.yml"], "evaluation_interval": "15s", "tests": tests}
        (tmp_path / f"{alert}.test.yml").write_text(json.dumps(content))  # JSON is YAML
    files = sorted(map(str, tmp_path.glob("*.test.yml")))
    assert PROMTOOL
    done = subprocess.run([PROMTOOL, "test", "rules", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    fire = {case.alert for case in CASES if case.summary}
    rest = {case.alert for case in CASES if not case.summary}
    assert fire == rest == set(descriptions())


def test_each_alert_has_a_severity_and_says_what_to_do() -> None:
    blocks = RULES.read_text().split("- alert: ")[1:]
    for block in blocks:
        assert "severity: " in block, block
        assert 'summary: "{{ $labels.instance }}: ' in block, block
        assert re.search(r"description: >-\n", block), block


@needs_promtool
@pytest.mark.parametrize(
    "words",
    [
        ("rules", "netbond.rules.yml", "netbond-fleet.rules.yml"),
        ("config", "prometheus.yml"),
        ("config", "--agent", "agent.yml"),
    ],
)
def test_promtool_accepts_the_files(words: tuple[str, ...]) -> None:
    assert PROMTOOL
    command = [PROMTOOL, "check", *words]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Recorded:
    """Series as in a Case, and what a recording rule makes of them 6 minutes later."""

    record: str
    what: str
    series: Mapping[str, str]
    values: Mapping[str, float]


SITE = 'site="berlin"'
A = f'engine="sender 127.0.0.1:6000",{SITE}'
B = f'engine="sender 127.0.0.1:6001",{SITE}'
USB0, USB1 = 'link="usb0",device="usb0",address="10.0.0.9"', 'link="usb1",device="usb1",address="10.0.0.9"'
OTHER = 'instance="other"'

RECORDED = [
    Recorded(
        "instance:netbond_sender_bits:rate1m",
        "two senders of 4 and 2 Mbit/s, and another box",
        {
            f"netbond_sender_bytes_total{{{A}}}": "0+7500000x30",
            f"netbond_sender_bytes_total{{{B}}}": "0+3750000x30",
            f"netbond_sender_bytes_total{{{A},{OTHER}}}": "0+1875000x30",
        },
        {SITE: 6e6, f"{SITE},{OTHER}": 1e6},
    ),
    Recorded(
        "instance:netbond_sender_capacity_bits:min",
        "the lesser of two that stream; a third is idle",
        {
            f"netbond_sender_capacity_bits_per_second{{{A}}}": "9e6x30",
            f"netbond_sender_capacity_bits_per_second{{{B}}}": "3e6x30",
            'netbond_sender_capacity_bits_per_second{engine="idle"}': "1e6x30",
            f"netbond_sender_advised_bits_per_second{{{A}}}": "8e6x30",
            f"netbond_sender_advised_bits_per_second{{{B}}}": "2e6x30",
        },
        {SITE: 3e6},
    ),
    Recorded("instance:netbond_sender_capacity_bits:min", "nobody streams", {CAPACITY: "9e6x30"}, {}),
    Recorded(
        "instance:netbond_link_lost:ratio_rate5m",
        "10 % of one link of three with the same rate; a box that sends nothing",
        {
            f"netbond_link_packets_total{{{A},{USB0}}}": "0+1500x30",
            f"netbond_link_packets_total{{{A},{USB1}}}": "0+1500x30",
            f"netbond_link_packets_total{{{B},{USB0}}}": "0+1500x30",
            f"netbond_link_lost_packets_total{{{A},{USB0}}}": "0+150x30",
            f"netbond_link_lost_packets_total{{{A},{USB1}}}": "7x30",
            f"netbond_link_lost_packets_total{{{B},{USB0}}}": "0x30",
            f"netbond_link_packets_total{{{A},{USB0},{OTHER}}}": "9x30",
            f"netbond_link_lost_packets_total{{{A},{USB0},{OTHER}}}": "9x30",
        },
        {SITE: 1 / 30},
    ),
    Recorded(
        "instance:netbond_uplink_bits:rate1m",
        "1 Mbit/s in and 2 out over one, 1 out over the other",
        {
            f'netbond_uplink_receive_bytes_total{{device="usb0",{SITE}}}': "0+1875000x30",
            f'netbond_uplink_transmit_bytes_total{{device="usb0",{SITE}}}': "0+3750000x30",
            f'netbond_uplink_receive_bytes_total{{device="usb1",{SITE}}}': "0x30",
            f'netbond_uplink_transmit_bytes_total{{device="usb1",{SITE}}}': "0+1875000x30",
        },
        {SITE: 4e6},
    ),
    Recorded(
        "instance:netbond_uplinks_missing:count",
        "one of two; none of another box",
        {
            ROOF: "1x30",
            'netbond_uplink_expected{name="usb1"}': "1x30",
            'netbond_uplink_info{name="usb1",device="usb1",state="up"}': "1x30",
            f'netbond_uplink_expected{{name="roof",{OTHER}}}': "1x30",
            f'netbond_uplink_info{{name="roof",{OTHER}}}': "1x30",
        },
        {"": 1, OTHER: 0},
    ),
    Recorded(
        "instance:netbond_data_plan_used:max",
        "the most of two plans",
        {
            'netbond_metered_used_bytes{device="usb0"}': "10e9x30",
            'netbond_metered_budget_bytes{device="usb0"}': "20e9x30",
            USED: "40e9x30",
            BUDGET: "50e9x30",
        },
        {"": 0.8},
    ),
]


@needs_promtool
def test_recording_rules_make_these_values(tmp_path: Path) -> None:
    def test(case: Recorded) -> dict[str, object]:
        expected = [
            {"labels": series(f"{case.record}{{{labels}}}"), "value": value}
            for labels, value in case.values.items()
        ]
        return {
            "name": f"{case.record}: {case.what}",
            "interval": "15s",
            "input_series": [{"series": series(k), "values": v} for k, v in case.series.items()],
            "promql_expr_test": [{"expr": case.record, "eval_time": "6m", "exp_samples": expected}],
        }

    content = {
        "rule_files": [str(FLEET)],
        "evaluation_interval": "15s",
        "tests": [test(case) for case in RECORDED],
    }
    (tmp_path / "fleet.test.yml").write_text(json.dumps(content))
    assert PROMTOOL
    command = [PROMTOOL, "test", "rules", str(tmp_path / "fleet.test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_recording_rule_has_a_case_and_is_in_a_dashboard() -> None:
    names = set(re.findall(r"- record: (\S+)", FLEET.read_text()))
    assert names == {case.record for case in RECORDED}
    dashboard = (FOLDER.parent / "grafana" / "netbond-fleet.json").read_text()
    assert names == set(re.findall(r"instance:\w+:\w+", dashboard))


def samples(text: str) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def copying(directory: Path, url: str, *seconds: str) -> Iterator[subprocess.Popen[str]]:
    command = [str(FOLDER / "netbond-textfile"), str(directory), url, *seconds]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=40)


def until(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("not within 10 s")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_text_file_is_what_the_agent_says_and_nothing_old(tmp_path: Path) -> None:
    file = tmp_path / "netbond.prom"
    server = MetricsServer("127.0.0.1", 0, lambda: from_json(SNAPSHOT))
    server.start()
    url = f"http://127.0.0.1:{server.port}/metrics"
    try:
        subprocess.run([FOLDER / "netbond-textfile", tmp_path, url], check=True, timeout=60)
        with urllib.request.urlopen(url, timeout=5) as reply:
            said = reply.read().decode()
    finally:
        server.stop()
    assert samples(file.read_text()) == samples(said) | {("netbond_textfile_up", (), 1.0)}
    assert file.stat().st_mode & 0o777 == 0o644
    with copying(tmp_path, url, "1") as process:
        until(lambda: len(samples(file.read_text())) == 1)
        assert process.poll() is None, "it goes on"
    assert samples(file.read_text()) == {("netbond_textfile_up", (), 0.0)}
    assert list(tmp_path.iterdir()) == [file], "nothing is left"


@pytest.mark.skipif(
    NODE_EXPORTER is None or shutil.which("curl") is None,
    reason="prometheus-node-exporter or curl is not installed; scripts/test as root installs both",
)
def test_a_real_node_exporter_has_the_metrics(tmp_path: Path) -> None:
    assert NODE_EXPORTER
    at = f"127.0.0.1:{free_port()}"
    options = [f"--collector.textfile.directory={tmp_path}", f"--web.listen-address={at}"]
    command = [NODE_EXPORTER, "--collector.disable-defaults", "--collector.textfile", *options]
    exporter = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    server = MetricsServer("127.0.0.1", 0, lambda: from_json(SNAPSHOT))
    server.start()

    def scraped() -> str:
        try:
            with urllib.request.urlopen(f"http://{at}/metrics", timeout=5) as reply:
                return str(reply.read().decode())
        except OSError:  # it has only just started
            return ""

    try:
        with copying(tmp_path, f"http://127.0.0.1:{server.port}/metrics", "1"):
            until(lambda: "netbond_textfile_up 1" in scraped())
            found = samples(scraped())
    finally:
        server.stop()
        exporter.terminate()
        exporter.wait(40)
    assert samples((tmp_path / "netbond.prom").read_text()) <= found
    assert ("node_textfile_scrape_error", (), 0.0) in found
    (file,) = [labels for name, labels, _ in found if name == "node_textfile_mtime_seconds"]
    assert file == (("file", str(tmp_path / "netbond.prom")),), "NetbondDown looks at it"
