"""What people and programs read is what it was: `plan`, `status --json`, `config example` and /metrics.

The recording in tests/recordings/box.json was made by netbond 0.1.0 before its files were moved into rooms
(commit 7364346), with the box below. Who changes one of these on purpose makes it anew, looks at the
difference, and says so in CHANGELOG.md:

    NETBOND_RECORD=1 pytest tests/netns/test_recorded.py
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root

FETCH = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:10469/metrics').read().decode())"
RECORDING = Path(__file__).parents[1] / "recordings" / "box.json"

CONFIG = """
[routing]
take_over_default = false
[router]
lan = ["lan0"]
[sysctl]
multipath_hash = "flows"
[health]
interval = 0.3
timeout = 0.2
jitter = 0.0
[[uplink]]
match = "usb0"
weight = 3
label = "north"
budget = "5GB"
budget_action = "backup"
[[uplink]]
match = "usb2"
backup = true
priority = 1
[[uplink]]
match = "usb9"
[[pin]]
destination = ["203.0.113.0/24"]
uplinks = ["usb2"]
[[sender]]
listen = "127.0.0.1:6000"
receiver = "198.51.100.1:5000"
[[receiver]]
listen = "127.0.0.1:5000"
srt = "127.0.0.1:5002"
"""

# What differs from run to run, by key: the recording has the kind of value in its place.
VOLATILE = {
    "pid", "uptime_s", "config", "changes", "rx_bytes", "tx_bytes", "rx_bps", "tx_bps", "since_s", "for_s",
    "last_s", "rtt_ms", "mac", "used_bytes", "gateway_since", "period_end", "period_start", "ago_s",
    "last_seen_s", "since", "resets",
}  # fmt: skip

MISSING = "usb9: no such interface now"  # of the problems the one that does not depend on time or machine

LATER = {"rtt_ms", "loss"}  # null until enough was measured


def steady(value: Any, key: str = "") -> Any:
    """The value without what differs from run to run."""
    if isinstance(value, dict):
        # What an engine says goes through states within its first seconds, and the verdict with it: there the
        # keys are compared.
        return {
            name: sorted(item)
            if name in ("stats", "verdict") and isinstance(item, dict)
            else steady(item, name)
            for name, item in value.items()
        }
    if key == "problems":
        return [one for one in value if one == MISSING]
    if key == "problem_details":
        return [steady(one) for one in value if one["text"] == MISSING]
    if isinstance(value, list):
        return [steady(item, key) for item in value]
    if key in LATER:
        return "<number or null>"
    if (key in VOLATILE and value is not None) or (key == "version" and isinstance(value, str)):
        return f"<{'number' if isinstance(value, int | float) else type(value).__name__}>"
    return value


def metrics(text: str) -> list[str]:
    """Help, type and series of each metric; its value where it is a state and no measurement."""
    lines = []
    for line in text.splitlines():
        if line.startswith(("# ", "netbond_uplink_state", "netbond_uplink_up", "netbond_uplink_weight")):
            lines.append(line)
        elif line.startswith("netbond_"):
            series = line.rpartition(" ")[0]
            lines.append(re.sub(r'flavour="(compiled|pure)"', 'flavour="<str>"', series))
    # Losses are told once enough was measured.
    later = (
        "netbond_problem{",
        "netbond_problem_since_seconds{",
        "netbond_health_loss_ratio{",
        "netbond_health_rtt_seconds{",
    )
    return [line for line in lines if not line.startswith(later)]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        for number in range(3):
            box.plug(f"usb{number}", number)
        box.ip("-6", "addr", "add", "2001:db8::10/64", "dev", "usb1", "nodad")
        box.ip("-6", "route", "add", "default", "via", "2001:db8::1", "dev", "usb1")
        box.ip("link", "add", "lan0", "type", "veth", "peer", "name", "client")
        box.ip("addr", "add", "192.168.50.1/24", "dev", "lan0")
        box.ip("link", "set", "lan0", "up")
        box.ip("link", "add", "br-0123456789ab", "type", "bridge")
        yield box


def run(box: Box, *words: str) -> str:
    found = subprocess.run(
        box.command(*words), capture_output=True, text=True, check=False, timeout=60, env=os.environ
    )
    assert found.returncode in (0, 2), found.stderr
    return found.stdout


def seen(box: Box) -> dict[str, Any]:
    """All that is compared."""
    config = ("--config", str(box.config_file))
    plan, plan_json = run(box, "plan", *config), json.loads(run(box, "plan", *config, "--json"))
    box.start()
    sh("ip", "-n", box.far, "link", "set", "p1", "arp", "off")

    def as_expected() -> bool:
        status = box.status()
        states = {(u["name"], u["family"]): (u["state"], bool(u["reason"])) for u in status["uplinks"]}
        engines = {engine["state"] for engine in status["engines"]}
        checked = {(h["device"], h["state"]) for h in status["health"]}
        return (
            states.get(("usb1", 4)) == ("dead", True)
            and states.get(("usb1", 6)) == ("up", True)  # the only one of IPv6: used although it is dead
            and {("usb0", "up"), ("usb2", "up")} <= checked
            and engines == {"running"}
            and all(engine["stats"] for engine in status["engines"])
            and len(status["engines"][0]["stats"]["links"]) == 3
        )

    wait_for(as_expected, 15, "usb1 is dead, the others are up, both engines speak")
    status = json.loads(run(box, "status", *config, "--json"))
    fetched = box.run(sys.executable, "-c", FETCH)
    return {
        "config example": run(box, "config", "example"),
        "plan": plan.replace(str(box.folder), "FOLDER"),
        "plan --json": json.loads(json.dumps(plan_json).replace(str(box.folder), "FOLDER")),
        "status --json": steady(status),
        "metrics": metrics(re.sub(r'(version|python)="[^"]*"', r'\1=""', fetched)),
    }


def test_they_are_what_they_were(box: Box) -> None:
    box.configure(CONFIG, agent='metrics = "127.0.0.1:10469"')
    found = seen(box)
    if os.environ.get("NETBOND_RECORD"):
        RECORDING.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        pytest.skip("recorded")
    recorded = json.loads(RECORDING.read_text())
    assert found.keys() == recorded.keys()
    for what, before in recorded.items():
        assert found[what] == before, what
        # Keys in the same order: people read it, too.
        assert json.dumps(found[what]) == json.dumps(before), what
