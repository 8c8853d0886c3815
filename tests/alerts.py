"""Which of contrib/prometheus' alerts fire on a box, as promtool says of the metrics that it serves now."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

RULES = Path(__file__).parents[1] / "contrib" / "prometheus" / "netbond.rules.yml"
MINUTES = 30  # for which all stays as it is: longer than each alert waits


def firing(metrics: str, folder: Path) -> set[str]:
    """The names of the alerts that fire if these metrics stay so; `folder` is for promtool's files."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: prometheus); scripts/test as root installs it")
    series = [{"series": 'up{job="netbond",instance="box"}', "values": f"1x{MINUTES}"}]
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name.startswith("netbond_"):
                labels = {"job": "netbond", "instance": "box", **sample.labels}
                inner = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
                series.append(
                    {"series": f"{sample.name}{{{inner}}}", "values": f"{sample.value:.6f}x{MINUTES}"}
                )
    names = [line.split()[-1] for line in RULES.read_text("utf-8").splitlines() if "- alert:" in line]
    return {name for name in names if _fires(name, series, folder)}


def _fires(name: str, series: list[dict[str, str]], folder: Path) -> bool:
    expression = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) > bool 0 or vector(0)'
    file = folder / f"{name}.json"  # JSON is YAML
    file.write_text(
        json.dumps(
            {
                "rule_files": [str(RULES)],
                "evaluation_interval": "1m",
                "tests": [
                    {
                        "interval": "1m",
                        "input_series": series,
                        "promql_expr_test": [
                            {
                                "expr": expression,
                                "eval_time": f"{MINUTES}m",
                                "exp_samples": [{"labels": "{}", "value": 1}],
                            }
                        ],
                    }
                ],
            }
        )
    )
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        assert "exp:" in done.stderr + done.stdout, done.stderr
    return done.returncode == 0
