"""Which of contrib/prometheus' alerts fire on a box, as promtool says of the metrics that it serves now."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

RULES = Path(__file__).parents[1] / "contrib" / "prometheus" / "netbond.rules.yml"
MINUTES = 30  # for which all stays as it is: longer than each alert waits
GREW = 10  # minutes before the end, when what was before became what is now


def firing(metrics: str, folder: Path, *, before: str = "") -> set[str]:
    """The names of the alerts that fire if these metrics stay so; `folder` is for promtool's files.

    `before`: what they were until 10 minutes before the end, for alerts about what grows.
    """
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: prometheus); scripts/test as root installs it")
    series = [{"series": 'up{job="netbond",instance="box"}', "values": f"1x{MINUTES}"}]
    old, new = _series(before), _series(metrics)
    for name, value in new.items():
        first = f"{old[name]:.6f}x{MINUTES - GREW} " if name in old else ""
        series.append({"series": name, "values": f"{first}{value:.6f}x{GREW - 1 if first else MINUTES}"})
    names = [line.split()[-1] for line in RULES.read_text("utf-8").splitlines() if "- alert:" in line]
    tests = [
        {
            "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) > bool 0 or vector(0)',
            "eval_time": f"{MINUTES}m",
            "exp_samples": [{"labels": "{}", "value": 0}],
        }
        for name in names
    ]
    said = _promtool({"interval": "1m", "input_series": series, "promql_expr_test": tests}, folder)
    return set(re.findall(r'expr: "count\(ALERTS\{alertname=\\?"(\w+)', said))


def _series(metrics: str) -> dict[str, float]:
    """The values by the names of series, as promtool writes them."""
    found = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name.startswith("netbond_"):
                labels = {"job": "netbond", "instance": "box", **sample.labels}
                inner = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
                found[f"{sample.name}{{{inner}}}"] = sample.value
    return found


def _promtool(test: dict[str, object], folder: Path) -> str:
    """What promtool says of the test: all in which it failed."""
    file = folder / "alerts.json"  # JSON is YAML
    file.write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}),
    )
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, timeout=60)
    said = done.stderr + done.stdout
    assert (done.returncode != 0) == ("exp:" in said), said
    return said
