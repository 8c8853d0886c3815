"""A real Prometheus for tests, with answers to their queries."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None,
    reason="prometheus is not installed (Debian: prometheus); scripts/test as root installs it",
)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Prometheus:
    """A real one, at a port of its own."""

    def __init__(self, folder: Path, scrape_configs: list[dict[str, Any]], *rule_files: Path) -> None:
        self._at = f"127.0.0.1:{free_port()}"
        every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = {
            "global": every,
            "rule_files": [str(file) for file in rule_files],
            "scrape_configs": scrape_configs,
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        options = [
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address={self._at}",
        ]
        assert PROMETHEUS
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen([PROMETHEUS, *options], cwd=folder, stdout=log, stderr=log)

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

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)
