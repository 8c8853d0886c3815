"""The dashboards in contrib/grafana: a real Prometheus that scrapes two boxes has answers for them."""

from __future__ import annotations

import copy
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from netbond.status.metrics import MetricsServer
from netbond.status.schema import from_json
from tests.unit.status.test_metrics import GROUP, SNAPSHOT

FOLDER = Path(__file__).parents[3] / "contrib" / "grafana"
PROMETHEUS = shutil.which("prometheus")
STREAMS = 20


def box() -> dict[str, Any]:
    """One whose uplink is missing, with a sender that sends."""
    snapshot = copy.deepcopy(SNAPSHOT) | {"idle": ["usb7: no such interface now"]}
    snapshot["engines"] = snapshot["engines"][:1]
    snapshot["engines"][0]["stats"]["bytes"] = int(time.monotonic() * 500_000)
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


class Prometheus:
    """A real one, at a port of its own."""

    def __init__(self, folder: Path, targets: list[str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._at = f"127.0.0.1:{free.getsockname()[1]}"
        job = {"job_name": "netbond", "static_configs": [{"targets": targets}]}
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        options = [
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address={self._at}",
        ]
        assert PROMETHEUS
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen([PROMETHEUS, *options], cwd=folder, stdout=log, stderr=log)

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The result of an instant query; AssertionError with Prometheus' own words if it refuses it."""
        url = f"http://{self._at}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return list(json.loads(reply.read())["data"]["result"])
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{query}: {error.read().decode()}") from None

    def wait_for(self, query: str) -> None:
        for _ in range(300):
            try:
                if self.ask(query):
                    return
            except (OSError, AssertionError):  # it has only just started
                pass
            time.sleep(0.1)
        raise AssertionError(f"no answer to {query} in 30 s")


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


@pytest.mark.skipif(
    PROMETHEUS is None,
    reason="prometheus is not installed (Debian: prometheus); scripts/test as root installs it",
)
def test_each_query_has_an_answer(tmp_path: Path) -> None:
    with serving(box) as first, serving(receiver) as second:
        prometheus = Prometheus(tmp_path, [f"127.0.0.1:{first}", f"127.0.0.1:{second}"])
        try:
            prometheus.wait_for("count_over_time(up[30s]) >= 4 and up == 1 and on () count(up == 1) == 2")
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
            prometheus.process.terminate()
            prometheus.process.wait(20)
    assert not empty
    assert numbers == {
        "netbond-receiver.json: Streams live": str(STREAMS - 1),
        "netbond-receiver.json: Streams not live": "1",
        "netbond-fleet.json: Boxes that answer": "2",
    }
    assert [each["metric"]["name"] for each in missing] == ["usb7"]
