"""The dashboards in contrib/grafana: a real Prometheus that scrapes two boxes has answers for them."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from netbond.status.metrics import MetricsServer
from netbond.status.schema import from_json
from tests.unit.prometheus import Prometheus, needs_prometheus
from tests.unit.status.test_metrics import GROUP, SNAPSHOT

FOLDER = Path(__file__).parents[3] / "contrib" / "grafana"
FLEET_RULES = FOLDER.parent / "prometheus" / "netbond-fleet.rules.yml"
STREAMS = 20


def box() -> dict[str, Any]:
    """One whose uplink is missing, with a sender that sends."""
    snapshot = copy.deepcopy(SNAPSHOT) | {"idle": ["usb7: no such interface now"]}
    snapshot["engines"] = snapshot["engines"][:1]
    snapshot["engines"][0]["stats"]["bytes"] = int(time.monotonic() * 500_000)
    snapshot["engines"][0]["stats"]["links"][0]["packets"] = int(time.monotonic() * 400)
    return snapshot


def receiver() -> dict[str, Any]:
    """All streams but the first are live; each loses a packet now and then for good."""
    snapshot = copy.deepcopy(SNAPSHOT) | {"uplinks": [], "health": [], "metered": []}
    engine = snapshot["engines"][1]
    engine["stats"]["groups"] = [
        copy.deepcopy(GROUP)
        | {
            "id": f"{number:08x}",
            "stream": f"live/{number}",
            "live": number > 0,
            "dropped_packets": int(time.monotonic() * 10),
        }
        for number in range(STREAMS)
    ]
    snapshot["engines"] = [engine]
    return snapshot


@contextmanager
def serving(snapshot: Callable[[], dict[str, Any]]) -> Iterator[int]:
    server = MetricsServer("127.0.0.1", 0, lambda: from_json(snapshot()))
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


def queries(file: Path) -> Iterator[tuple[str, str]]:
    """Title and query, with Grafana's variables filled in."""
    dashboard = json.loads(file.read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expr = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "10s")
            yield f"{file.name}: {panel['title']}", expr
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            name = re.fullmatch(r"label_values\((\w+), instance\)", variable["query"]["query"])
            assert name
            yield f"{file.name}: {variable['name']}", name[1]


@needs_prometheus
def test_each_query_has_an_answer(tmp_path: Path) -> None:
    with serving(box) as first, serving(receiver) as second:
        targets = [f"127.0.0.1:{first}", f"127.0.0.1:{second}"]
        job = {"job_name": "netbond", "static_configs": [{"targets": targets}]}
        rules = tmp_path / "rules.yml"
        rules.write_text(FLEET_RULES.read_text().replace("interval: 15s", "interval: 1s"))
        prometheus = Prometheus(tmp_path, [job], rules)
        try:
            prometheus.wait_for("count_over_time(up[30s]) >= 4 and up == 1 and on () count(up == 1) == 2")
            prometheus.wait_for("count(instance:netbond_sender_bits:rate1m) == 1")
            asked = [each for file in sorted(FOLDER.glob("*.json")) for each in queries(file)]
            empty = {title for title, query in asked if not prometheus.ask(query)}
            assert len(prometheus.ask("netbond_stream_live == 1")) == STREAMS - 1
            numbers = {
                title: prometheus.ask(query)[0]["value"][1]
                for title, query in asked
                if title.endswith((": Streams live", ": Streams not live", ": Boxes that answer"))
            }
            missing = prometheus.ask(dict(asked)["netbond-fleet.json: Uplinks missing"])
        finally:
            prometheus.stop()
    assert not empty
    assert numbers == {
        "netbond-receiver.json: Streams live": str(STREAMS - 1),
        "netbond-receiver.json: Streams not live": "1",
        "netbond-fleet.json: Boxes that answer": "2",
    }
    assert [each["metric"]["name"] for each in missing] == ["usb7"]
