"""Many boxes and a real Prometheus: how long the dashboards' queries take, and what memory it needs.

Simulated boxes serve metrics that netbond's own renderer makes of snapshots with changing values, each at an
address of its own in 127.0.0.0/8: nine of ten are boxes with four modems and a sender, the others receivers
with 20 streams. Prometheus finds them by `netbond fleet sd`, scrapes them, and evaluates all rules of
contrib/prometheus. Then each query of the dashboards in contrib/grafana is asked five times, over the whole
time and for as many points as a panel has.

usage: .venv/bin/python -m bench.fleet [--boxes 200] [--interval 5] [--minutes 10] [--page docs/dashboards.md]

Needs `prometheus` (Debian: prometheus), no root. docs/fleet.md has the figures.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import multiprocessing
import random
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from netbond.status.metrics import SnapshotCollector
from netbond.status.schema import from_json
from tests.unit.status.test_metrics import GROUP, PEER, SNAPSHOT, TOLD

ROOT = Path(__file__).parents[1]
RULES = ("netbond.rules.yml", "netbond-fleet.rules.yml")
PORT = 10469
STREAMS = 20  # of a receiver
MODEMS = ("usb0", "usb1", "usb2", "wwan0")
STEPS = 240  # points of a panel: an hour, one each 15 s
ASKED = 5  # times
DASHBOARDS = {"netbond": "One box", "netbond-fleet": "A fleet", "netbond-receiver": "A receiver"}
SHOWN = ("instance", "name", "code", "subject")  # labels of a table's row
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n"


# --- the boxes ---------------------------------------------------------------------------------------------


class Box:
    """A simulated box; `number` from 0 says which, and what it lacks."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.address = f"127.77.{number // 250}.{number % 250 + 1}"
        self._chance = random.Random(number)
        self._at = time.monotonic()
        self._snapshot = self._receiver() if self.is_receiver else self._sender()
        self._registry = CollectorRegistry()
        self._registry.register(SnapshotCollector(lambda: from_json(self._snapshot)))

    @property
    def is_receiver(self) -> bool:
        return self.number % 10 == 9

    @property
    def name(self) -> str:
        return f"{'receiver' if self.is_receiver else 'box'}-{self.number}"

    def metrics(self, now: float) -> bytes:
        """What it says at that time."""
        self._advance(now)
        return generate_latest(self._registry)

    def _sender(self) -> dict[str, Any]:
        found = copy.deepcopy(SNAPSHOT)
        uplink, [check] = found["uplinks"][0], [found["health"][0]]
        found["uplinks"] = [
            uplink | {"name": device, "device": device, "address": f"10.0.{place}.10"}
            for place, device in enumerate(MODEMS)
        ]
        found["health"] = [
            check | {"device": device, "address": f"10.0.{place}.10", "state": "up"}
            for place, device in enumerate(MODEMS)
        ]
        found["modems"] = dict.fromkeys(MODEMS, found["modems"]["wwan0"])
        found["metered"] = [found["metered"][0] | {"device": device} for device in MODEMS]
        found["idle_modems"], found["policies"] = [], []
        found["idle"] = ["usb7: no such interface now"] if self.number % 20 == 4 else []
        found["engines"] = found["engines"][:1]
        stats = found["engines"][0]["stats"]
        stats["stream"] = f"live/{self.number}"
        stats["links"] = [
            stats["links"][0] | {"label": device, "device": device, "address": f"10.0.{place}.10"}
            for place, device in enumerate(MODEMS)
        ]
        return found

    def _receiver(self) -> dict[str, Any]:
        found = copy.deepcopy(SNAPSHOT) | {"idle_modems": [], "policies": [], "metered": [], "modems": {}}
        found["uplinks"], found["health"] = found["uplinks"][:1], found["health"][:1]
        found["engines"] = found["engines"][1:]
        found["engines"][0]["state"] = "running"
        return found

    def _advance(self, now: float) -> None:
        chance, found = self._chance, self._snapshot
        seconds, self._at = now - self._at, now
        wave = 1 + 0.5 * math.sin(now / 60 + self.number)
        trouble = self.number % 7 == 3 and math.sin(now / 40 + self.number) > 0
        details = SNAPSHOT["agent"]["problem_details"]
        found["agent"] |= {"uptime_s": now, "problem_details": details if trouble else []}
        found["verdict"] = {"text": "", "code": int(trouble)}
        for uplink in found["uplinks"]:
            uplink["tx_bytes"] += int(seconds * wave * chance.uniform(2e5, 3e5))
            uplink["rx_bytes"] += int(seconds * chance.uniform(1e3, 2e4))
        for health in found["health"]:
            for check in health["checks"]:
                check["rtt_ms"] = chance.uniform(30, 90)
        for place, plan in enumerate(found["metered"]):
            plan["budget_bytes"] = 50_000_000_000
            plan["used_bytes"] = (self.number * 7 + place * 11) % 90 * 500_000_000 + int(now * 1e4)
        stats = found["engines"][0]["stats"]
        if self.is_receiver:
            stats["groups"] = [self._group(stream, wave, now) for stream in range(STREAMS)]
            return
        stats["bytes"] += int(seconds * wave * 6e5)
        stats["packets"] += int(seconds * wave * 460)
        stats["capacity_bits_per_second"] = int(wave * 8e6)
        stats["advised_bits_per_second"] = int(wave * 7e6)
        stats["queued_ms"] = chance.randrange(5, 80)
        for link in stats["links"]:
            link["packets"] += int(seconds * wave * 120)
            link["bytes"] += int(seconds * wave * 1.6e5)
            link["lost"] += int(seconds * chance.uniform(0, 2))
            link["capacity_bits_per_second"] = int(wave * chance.uniform(1.9e6, 2.1e6))
            link["rtt_ms"] = chance.randrange(30, 90)
            link["in_flight"] = chance.randrange(40)
            link["window"] = chance.randrange(10_000, 60_000)

    def _group(self, stream: int, wave: float, now: float) -> dict[str, Any]:
        chance, sent = self._chance, int(now * 120) + stream
        links = [
            PEER
            | {"peer": f"192.0.2.{place}:{4000 + stream}", "packets": sent, "bytes": sent * 1300}
            | {
                "sender": TOLD
                | {"link": place, "rtt_ms": chance.randrange(30, 90), "naks": sent // 100}
                | {"bitrate_bps": int(wave * 1.2e6)}
            }
            for place in range(len(MODEMS))
        ]
        return GROUP | {
            "id": f"{self.number * 100 + stream:08x}",
            "stream": f"live/{self.number}-{stream}",
            "links": links,
            "packets": sent * 4,
            "bytes": sent * 5200,
            "bitrate_bps": int(wave * 5e6),
            "live": stream > 0,
            "rtt_ms": chance.uniform(40, 90),
            "loss_pct": chance.uniform(0, 3),
            "lost_packets": sent // 50,
            "dropped_packets": sent * (stream == 7) // 5000,
        }


def serve(boxes: int, ready: Any) -> None:
    """Answer for all boxes, one request after the other."""
    waiting = selectors.DefaultSelector()
    for number in range(boxes):
        box = Box(number)
        listening = socket.create_server((box.address, PORT), backlog=16)
        waiting.register(listening, selectors.EVENT_READ, box)
    ready.set()
    while True:
        for key, _ in waiting.select():
            if isinstance(key.data, Box):
                connection, _ = key.fileobj.accept()  # type: ignore[union-attr]
                waiting.register(connection, selectors.EVENT_READ, (key.data,))
                continue
            connection, (box,) = key.fileobj, key.data
            try:
                asked_for = connection.recv(65536)  # type: ignore[union-attr]
                if asked_for:
                    body = box.metrics(time.monotonic())
                    connection.sendall(HEAD.format(len(body)).encode() + body)  # type: ignore[union-attr]
            except ConnectionError:  # it has waited too long
                asked_for = b""
            if not asked_for:
                waiting.unregister(connection)
                connection.close()  # type: ignore[union-attr]


# --- Prometheus --------------------------------------------------------------------------------------------


@dataclass
class Prometheus:
    """The running one."""

    at: str
    process: subprocess.Popen[bytes]

    def get(self, what: str, **fields: object) -> list[dict[str, Any]]:
        with urllib.request.urlopen(
            f"http://{self.at}/api/v1/{what}?{urllib.parse.urlencode(fields)}", timeout=60
        ) as reply:
            return list(json.loads(reply.read())["data"]["result"])

    def number(self, query: str) -> float:
        """The value of a query; 0 if it has none."""
        found = self.get("query", query=query)
        return float(found[0]["value"][1]) if found else 0.0

    def memory_mb(self) -> float:
        """What it has in memory, as the kernel counts it."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def cpu_s(self) -> float:
        """Seconds of a processor so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


@dataclass(frozen=True)
class Query:
    """One of a panel's queries, with Grafana's variables filled in; `instant`: it shows the moment only."""

    dashboard: str
    panel: str
    expr: str
    legend: str
    unit: str
    instant: bool


def queries() -> Iterator[Query]:
    """All of contrib/grafana."""
    one = {"netbond": "box-0", "netbond-receiver": "receiver-9", "netbond-fleet": ".*"}
    for file in sorted((ROOT / "contrib" / "grafana").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            unit = panel["fieldConfig"]["defaults"].get("unit", "short")
            for target in panel["targets"]:
                expr = target["expr"].replace("$instance", one[file.stem])
                legend, instant = target.get("legendFormat", ""), target.get("instant", False)
                yield Query(file.stem, panel["title"], expr, legend, unit, instant)


def asked(prometheus: Prometheus, expr: str, *, instant: bool, seconds: float) -> tuple[float, int]:
    """The median time of a query in ms, and how many series it gives."""
    end, step = time.time(), seconds / STEPS
    expr = expr.replace("$__rate_interval", f"{max(int(4 * step), 60)}s")
    times = []
    for _ in range(ASKED):
        began = time.perf_counter()
        if instant:
            found = prometheus.get("query", query=expr, time=end)
        else:
            found = prometheus.get("query_range", query=expr, start=end - seconds, end=end, step=step)
        times.append((time.perf_counter() - began) * 1000)
    return median(times), len(found)


COMPARED = (  # what a fleet's panel would ask without the recording rules
    (
        "sum(instance:netbond_sender_bits:rate1m)",
        "sum(rate(netbond_sender_bytes_total[1m])) * 8",
    ),
    (
        "topk(10, instance:netbond_link_lost:ratio_rate5m)",
        "topk(10, sum by (instance) (rate(netbond_link_lost_packets_total[5m]))"
        " / sum by (instance) (rate(netbond_link_packets_total[5m])))",
    ),
    (
        "topk(10, instance:netbond_uplink_bits:rate1m)",
        "topk(10, sum by (instance) (rate(netbond_uplink_transmit_bytes_total[1m])"
        " + rate(netbond_uplink_receive_bytes_total[1m])))",
    ),
    (
        "sum(instance:netbond_uplinks_missing:count)",
        "count(netbond_uplink_expected unless on (job, instance, name) netbond_uplink_info)",
    ),
)


def report(prometheus: Prometheus, boxes: int, seconds: float, began_cpu_s: float) -> None:
    """Print all figures."""
    ask = prometheus.number
    up = ask('count(up{job="netbond"} == 1)')
    print(f"boxes that answer: {up:.0f} of {boxes}")
    largest = ask("max(scrape_samples_scraped)")
    print(f"series: {ask('prometheus_tsdb_head_series'):.0f}, {largest:.0f} of the largest box")
    samples = ask("sum(rate(prometheus_tsdb_head_samples_appended_total[2m]))")
    failed = 1 - ask('avg(avg_over_time(up{job="netbond"}[1h]))')
    took = ask('quantile(0.95, scrape_duration_seconds{job="netbond"})')
    print(
        f"samples a second: {samples:.0f}; {100 * failed:.1f} % of the scrapes failed, 95 % took {took:.2f} s"
    )
    print(f"memory: {prometheus.memory_mb():.0f} MB")
    busy = (prometheus.cpu_s() - began_cpu_s) / seconds
    print(f"processor: {100 * busy:.0f} % of a core for scrapes and rules")
    for rules in RULES:
        took = ask(f'sum(prometheus_rule_group_last_duration_seconds{{rule_group=~"(.*/)?{rules};.*"}})')
        print(f"{rules}: {took * 1000:.0f} ms each 15 s")
    rows = [
        (each, *asked(prometheus, each.expr, instant=each.instant, seconds=seconds)) for each in queries()
    ]
    print(f"{len(rows)} queries of the dashboards, the slowest first (ms, series):")
    for each, took, found in sorted(rows, key=lambda row: -row[1])[:12]:
        print(
            f"  {took:7.1f} {found:5d}  {each.dashboard}: {each.panel}{' (instant)' if each.instant else ''}"
        )
    for name in DASHBOARDS:
        whole = sum(took for each, took, _ in rows if each.dashboard == name)
        print(f"  {whole:7.1f}        all of {name}.json together")
    print("with and without the recording rules (ms):")
    for recorded, raw in COMPARED:
        first = asked(prometheus, recorded, instant=False, seconds=seconds)[0]
        second = asked(prometheus, raw, instant=False, seconds=seconds)[0]
        print(f"  {first:7.1f} {second:7.1f}  {recorded}")


def shown(number: float, unit: str) -> str:
    """A value as a panel shows it."""
    if unit == "bps":
        return f"{number / 1e6:.2f} Mbit/s"
    if unit == "percentunit":
        return f"{number * 100:.1f} %"
    if unit == "s":
        return f"{number:.0f} s" if number >= 1 else f"{number * 1000:.0f} ms"
    return f"{number:g}"


def page(prometheus: Prometheus, command: str) -> str:
    """What each panel shows at the moment: its series, with the values of the first three."""
    lines = ["# What the dashboards show", ""]
    lines += [
        "Each panel of [contrib/grafana](../contrib/grafana), as a real Prometheus answers it that scrapes"
    ]
    lines += [f"simulated boxes. Made by `{command}`."]
    for name, about in DASHBOARDS.items():
        lines += [
            "",
            f"## {about}",
            f"`{name}.json`",
            "",
            "| panel | series | for example |",
            "|---|---|---|",
        ]
        for each in queries():
            if each.dashboard != name:
                continue
            found = prometheus.get("query", query=each.expr.replace("$__rate_interval", "60s"))
            examples = []
            for series in found[:3]:
                label = each.legend
                for key, value in series["metric"].items():
                    label = label.replace("{{" + key + "}}", value)
                if not label:
                    label = " ".join(value for key, value in series["metric"].items() if key in SHOWN)
                examples.append(f"{label} {shown(float(series['value'][1]), each.unit)}".strip())
            lines.append(f"| {each.panel} | {len(found)} | {'; '.join(examples)} |")
    return "\n".join([*lines, ""])


def wait_for(prometheus: Prometheus, query: str) -> None:
    for _ in range(600):
        try:
            if prometheus.get("query", query=query):
                return
        except OSError:  # it has only just started
            pass
        time.sleep(0.2)
    raise SystemExit(f"no answer to {query}")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--boxes", type=int, default=200)
    parser.add_argument("--interval", type=int, default=5, help="seconds between scrapes (default 5)")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--page", type=Path, help="write what each panel shows to this file")
    args = parser.parse_args()
    program = shutil.which("prometheus") or sys.exit("prometheus is not installed (Debian: prometheus)")
    ready = multiprocessing.Event()
    exporters = multiprocessing.Process(target=serve, args=(args.boxes, ready), daemon=True)
    exporters.start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [(box.name, box.address) for box in map(Box, range(args.boxes))]
        (folder / "boxes.toml").write_text(
            "".join(f'[[box]]\nname = "{name}"\naddress = "{address}"\n' for name, address in rows)
        )
        subprocess.run(
            [sys.executable, "-m", "netbond", "fleet", "sd", "boxes.toml", "--output", "boxes.json"],
            cwd=folder,
            check=True,
        )
        for rules in RULES:
            shutil.copy(ROOT / "contrib" / "prometheus" / rules, folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            at = f"127.0.0.1:{free.getsockname()[1]}"
        every = {"scrape_interval": f"{args.interval}s", "scrape_timeout": f"{args.interval}s"}
        config = {
            "global": every,
            "rule_files": list(RULES),
            "scrape_configs": [
                {"job_name": "netbond", "file_sd_configs": [{"files": ["boxes.json"]}]},
                {"job_name": "prometheus", "static_configs": [{"targets": [at]}]},
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        ready.wait()
        options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={at}"]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([program, *options], cwd=folder, stdout=log, stderr=log)
        try:
            prometheus = Prometheus(at, process)
            wait_for(prometheus, f'count(up{{job="netbond"}} == 1) >= {args.boxes}')
            began, began_cpu_s = time.monotonic(), prometheus.cpu_s()
            time.sleep(args.minutes * 60)
            report(prometheus, args.boxes, time.monotonic() - began, began_cpu_s)
            if args.page:
                args.page.write_text(page(prometheus, f"python -m bench.fleet {' '.join(sys.argv[1:])}"))
        finally:
            process.terminate()
            process.wait(30)
            exporters.terminate()


if __name__ == "__main__":
    main()
