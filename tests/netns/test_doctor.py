"""`netbond doctor` on boxes that are broken in a few ways, beside a real kernel."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import sh, wait_for
from tests.netns.internet import HOST, PORT, InternetBox

pytestmark = pytest.mark.root

CONFIG = f"""
[health]
checks = ["gateway"]
resolvers = ["{HOST}"]
[[sender]]
listen = "127.0.0.1:6000"
receiver = "{HOST}:{PORT}"
"""

Finding = dict[str, str]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[InternetBox]:
    """Two modems, a name server and a receiver on the internet, and an agent that has done its work."""
    with InternetBox(tmp_path) as box:
        for number in range(2):
            box.modem(number)
        box.start_server()
        dns = subprocess.Popen(
            [
                *("ip", "netns", "exec", box.far, "dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts"),
                *("--conf-file=/dev/null", f"--listen-address={HOST}", "--bind-interfaces"),
                "--address=/#/192.0.2.99",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda: f"{HOST}:53" in box.run_far("ss", "-Hlnu"), 5, "the name server listens")
            box.configure(CONFIG)
            box.start()
            yield box
        finally:
            dns.kill()
            dns.wait()


def doctor(box: InternetBox, *words: str) -> tuple[int, list[Finding]]:
    command = box.command("doctor", "--json", *words, "--config", str(box.config_file))
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | box.environment)
    assert run.stdout, run.stderr
    findings: list[Finding] = json.loads(run.stdout)["findings"]
    return run.returncode, findings


def of(findings: list[Finding], code: str) -> dict[str, str]:
    """The severities of this check by subject."""
    return {each["subject"]: each["severity"] for each in findings if each["code"] == code}


def test_a_box_that_is_well_then_broken_in_a_few_ways_then_mended(box: InternetBox) -> None:
    def connected() -> bool:
        (sender,) = box.status()["engines"]
        return bool(sender["stats"]) and sum(link["state"] == "up" for link in sender["stats"]["links"]) >= 2

    wait_for(connected, 10, "the sender is registered over both modems")
    _, findings = doctor(box)
    for code in ("source-route", "device-route", "dns", "receiver", "path-mtu"):
        assert of(findings, code) == {"usb0": "ok", "usb1": "ok"}, (code, findings)
    assert of(findings, "rp_filter") == of(findings, "plan") == of(findings, "agent") == {"": "ok"}
    assert of(findings, "shared-default")["IPv4"] == "ok"
    assert of(findings, "engine") == {"sender 127.0.0.1:6000": "ok"}

    assert box.agent is not None
    box.agent.kill()  # nobody repairs anything now; its rules and routes stay
    box.agent.wait()
    box.run("sysctl", "-qw", "net.ipv4.conf.usb0.rp_filter=1")
    box.ip("rule", "del", "from", "10.0.1.10")
    box.filter(1, "udp dport { 53, " + str(PORT) + " }")
    sh("ip", "-n", box.routers[0], "link", "set", "radio", "mtu", "1280")
    status, findings = doctor(box)
    assert status == 2
    wrong = {(each["code"], each["subject"]): each for each in findings if each["severity"] == "error"}
    assert wrong["rp_filter", "usb0"]["mend"] == "sysctl -w net.ipv4.conf.usb0.rp_filter=2"
    assert wrong["source-route", "usb1"]["mend"].startswith("ip rule add priority")
    assert "no name server answers over usb1 (IPv4)" in wrong["dns", "usb1"]["verdict"]
    assert "do not get through usb0" in wrong["path-mtu", "usb0"]["verdict"], findings
    assert "does not answer over usb1, and does over others" in wrong["receiver", "usb1"]["verdict"]
    assert of(findings, "dns")["usb0"] == of(findings, "receiver")["usb0"] == "ok"
    assert of(findings, "path-mtu")["usb1"] == "ok"
    assert of(findings, "agent") == {"": "error"}

    box.run(*wrong["source-route", "usb1"]["mend"].split())
    command = box.command("doctor", "--fix", "--yes", "--offline", "--config", str(box.config_file))
    fixed = subprocess.run(command, capture_output=True, text=True, env=os.environ | box.environment)
    assert "sysctl -w net.ipv4.conf.usb0.rp_filter=2: done" in fixed.stdout.splitlines()
    _, findings = doctor(box, "--offline")
    assert of(findings, "rp_filter") == {"": "ok"}
    assert of(findings, "source-route") == {"usb0": "ok", "usb1": "ok"}
    assert of(findings, "dns") == {}
