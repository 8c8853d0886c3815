"""What people break, with real parts: the verdict, the problem, the event and the exit status of each fault.

A box with two modems, the agent and its sender; a receiver in the internet; no SRT server unless said.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netbond.lab.lab import Lab
from netbond.srtla.streamid import display_name
from tests.alerts import firing
from tests.netns.box import wait_for

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

_numbers = itertools.count()


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab whose sender is connected and waits for an encoder."""
    with Lab(f"f{os.getpid()}x{next(_numbers)}", modems=2, receiver=True, agent=True) as lab:
        lab.wait_for_leases()
        told(lab, lambda text: text == "READY over 2 of 2 links, no SRT caller yet", 15)
        yield lab


def verdict(lab: Lab) -> tuple[str, int]:
    found = lab.agent_status()["verdict"]
    return found["text"], found["code"]


def told(lab: Lab, what: Callable[[str], object], within_s: float) -> None:
    seen = [""]

    def holds() -> bool:
        seen[0], _ = verdict(lab)
        return bool(what(seen[0]))

    try:
        wait_for(holds, within_s, "the verdict")
    except AssertionError:
        pytest.fail(f"the verdict is {seen[0]!r}")


def problems(lab: Lab) -> dict[str, dict[str, Any]]:
    """By code, those that are wrong; not that the engines are pure, which depends on the machine."""
    details = lab.agent_status()["agent"]["problem_details"]
    return {one["code"]: one for one in details if one["code"] != "pure-flavour"}


def netbond(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    socket = str(lab.state_dir / "box" / "control.sock")
    command = [sys.executable, "-m", "netbond", *words, "--socket", socket]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def events(lab: Lab) -> list[str]:
    """The lines, without the times."""
    return [json.loads(line)["text"] for line in netbond(lab, "events", "--json").stdout.splitlines()]


def metrics(lab: Lab) -> str:
    """What Prometheus would read."""
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:10469/metrics').read().decode())"
    done = lab.box_exec([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    return str(done.stdout)


def agent(lab: Lab) -> int:
    found = lab.process("agent")
    assert found is not None
    return found.pid


def hang_engine(lab: Lab, restarts: int) -> None:
    """Stop the engine that runs, and wait until it is replaced; it is the `restarts`th time."""

    def engine() -> dict[str, Any]:
        return dict(lab.agent_status()["engines"][0])

    wait_for(lambda: engine()["state"] == "running" and engine()["stats"], 10, "it runs")
    os.kill(engine()["pid"], signal.SIGSTOP)
    wait_for(lambda: bool(engine()["restarts"] == restarts), 20, "it is replaced")
    wait_for(lambda: bool(engine()["stats"]), 20, "its successor runs")


def reconfigure(lab: Lab, text: str) -> None:
    lab.config.write_text(text)
    os.kill(agent(lab), signal.SIGHUP)


def test_a_receiver_that_is_stopped_and_a_port_that_is_wrong(lab: Lab, tmp_path: Path) -> None:
    assert netbond(lab, "status", "--check").returncode == 0
    assert firing(metrics(lab), tmp_path) == set()
    lab.stop("receiver")
    told(lab, lambda text: text == "NOT CONNECTED: nothing listens at bond.lab:5000", 25)
    wait_for(lambda: "not-registered" in problems(lab), 5, "it is a problem")
    problem = problems(lab)["not-registered"]
    assert (problem["subject"], problem["severity"]) == ("sender 127.0.0.1:6000", "broken")
    assert problem["hint"] == "start the receiver there (netbond recv), or correct the port"
    checked = netbond(lab, "status", "--check")
    assert (checked.stdout, checked.returncode) == ("NOT CONNECTED: nothing listens at bond.lab:5000\n", 2)
    found = metrics(lab)
    series = 'netbond_problem{code="not-registered",severity="broken",subject="sender 127.0.0.1:6000"} 1.0'
    assert series in found
    assert firing(found, tmp_path) == {"SenderNotConnected"}
    lab._start_receiver()
    told(lab, lambda text: text.startswith("READY over 2 of 2 links"), 25)
    wait_for(lambda: any("over after" in line for line in events(lab)), 12, "it is over")
    wait_for(lambda: "nothing listens at bond.lab:5000" in events(lab), 5, "it is an event, too")

    good = lab.config.read_text()
    lab.config.write_text(good.replace("bond.lab:5000", "bond.lab:5999"))
    os.kill(agent(lab), signal.SIGHUP)
    told(lab, lambda text: text == "NOT CONNECTED: nothing listens at bond.lab:5999", 25)

    lab.config.write_text("[agnet]\n" + good)
    os.kill(agent(lab), signal.SIGHUP)
    wait_for(lambda: "configuration" in problems(lab), 5, "the reload is refused, and that is said")
    assert "unknown table 'agnet'" in problems(lab)["configuration"]["text"]
    assert 'netbond_problem{code="configuration",' in metrics(lab)
    assert firing(metrics(lab), tmp_path) == {"NetbondProblem", "SenderNotConnected"}
    shown = netbond(lab, "status", "--config", str(lab.config))
    assert shown.returncode == 0, "it shows the agent that runs"
    assert shown.stdout.startswith("NOT CONNECTED: nothing listens at bond.lab:5999")
    lab.config.write_text(good)
    os.kill(agent(lab), signal.SIGHUP)
    told(lab, lambda text: text == "READY over 2 of 2 links, no SRT caller yet", 25)


def test_a_firewall_in_front_of_the_receiver(lab: Lab, tmp_path: Path) -> None:
    """Nothing is refused and nothing answers, while the uplinks are fine."""
    chain = "add table ip f; add chain ip f i { type filter hook input priority 0; }"
    rules = f"{chain}; add rule ip f i udp dport 5000 drop"
    lab.exec_in(lab.topology.net, ["nft", rules], check=True)
    told(lab, lambda text: text.startswith("NOT CONNECTED: "), 30)
    wait_for(lambda: "not-registered" in problems(lab), 10, "it is a problem")
    problem = problems(lab)["not-registered"]
    assert "no answer" in problem["text"]
    assert "firewall" in problem["hint"]
    wait_for(lambda: any("no answer" in line for line in events(lab)), 5, "it is an event, too")
    assert "SenderNotConnected" in firing(metrics(lab), tmp_path)
    lab.exec_in(lab.topology.net, ["nft", "delete table ip f"], check=True)
    told(lab, lambda text: text.startswith("READY over 2 of 2 links"), 30)


def test_an_srt_server_that_is_down_and_an_engine_that_hangs(lab: Lab, tmp_path: Path) -> None:
    lab.start(
        "caller",
        lab.topology.box,
        ["srt-live-transmit", "-q", "-a:yes", "udp://:9999", "srt://127.0.0.1:6000"],
    )
    words = "the receiver answers, its SRT server does not: is it running, and set at the receiver?"
    told(lab, lambda text: text == f"NO STREAM: {words}", 15)
    wait_for(lambda: "srt-server-silent" in problems(lab), 5, "it is a problem")
    assert netbond(lab, "status", "--check").returncode == 2
    assert firing(metrics(lab), tmp_path) == {"ReceiverWithoutServer"}
    lab.stop("caller")

    before = metrics(lab)
    hang_engine(lab, 1)
    wait_for(lambda: "engine-restarted" in problems(lab), 20, "and that is said")
    said = problems(lab)["engine-restarted"]["text"]
    assert said.startswith("sender 127.0.0.1:6000 was started again: hung: no statistics for ")
    wait_for(lambda: said in events(lab), 5, "it is an event, too")
    assert "netbond_engine_restarts_total{" in metrics(lab)
    wait_for(lambda: netbond(lab, "status", "--check").returncode == 1, 20, "degraded")
    assert "EngineRestarting" not in firing(metrics(lab), tmp_path, before=before), "once may be an accident"
    hang_engine(lab, 2)
    told(lab, lambda text: text.startswith("READY over 2 of 2 links, no SRT caller yet; sender 127."), 20)
    assert firing(metrics(lab), tmp_path, before=before) == {"EngineRestarting"}


def test_a_modem_that_is_unplugged_is_one_line_and_its_return_another(lab: Lab, tmp_path: Path) -> None:
    before = len(events(lab))
    lab.unplug("usb1")
    told(lab, lambda text: text.startswith("READY over 1 of 2 links, no SRT caller yet; usb1 unplugged"), 10)
    assert firing(metrics(lab), tmp_path) == {"UplinkMissing"}
    lab.plug("usb1")
    told(lab, lambda text: text == "READY over 2 of 2 links, no SRT caller yet", 20)
    wait_for(lambda: len(events(lab)) >= before + 2, 5, "both are events")
    first, second = events(lab)[before:]
    assert first == "usb1 unplugged; 1 uplink left"
    assert second.startswith("usb1 back after ")
    assert second.endswith(" s with the same address")
    log = (lab.logs / "agent.log").read_text()
    about = [line for line in log.splitlines() if "usb1" in line and "running: " not in line]
    assert [line.partition(" usb1 ")[2].split()[0] for line in about] == ["unplugged;", "back"]

    lab.stop("agent")
    assert netbond(lab, "status", "--check").returncode == 2
    lab.start_agent()
    told(lab, lambda text: text.startswith("READY over 2 of 2 links"), 20)
    assert events(lab)[before : before + 3] == [first, second, "netbond is stopping"]


def test_a_radio_that_is_gone_twins_with_a_plain_list_and_one_stream_of_twenty(tmp_path: Path) -> None:
    """Each modem answers ARP whatever its radio does. Later the box has no [[sender]], but a receiver."""
    with Lab(f"f{os.getpid()}x{next(_numbers)}", modems=2, twins=(0, 1), receiver=True, agent=True) as lab:
        lab.wait_for_leases()
        told(lab, lambda text: text == "READY over 2 of 2 links, no SRT caller yet", 15)
        good = lab.config.read_text()
        lab.impair("usb1", "off")
        why = "dead: receiver: bond.lab:5000: no answer within 2 s, but through usb0"
        told(lab, lambda text: text == f"READY over 1 of 2 links, no SRT caller yet; usb1 {why}", 20)
        problem = problems(lab)["uplink-dead"]
        assert (problem["subject"], problem["text"]) == ("usb1", f"usb1 {why}")
        assert problem["hint"] == "is the modem online? netbond status --all shows each check"
        wait_for(lambda: f"usb1 {why}" in events(lab), 5, "it is an event")
        assert 'netbond_problem{code="uplink-dead",severity="degraded",subject="usb1"} 1.0' in metrics(lab)
        assert firing(metrics(lab), tmp_path) == {"UplinkDead"}
        assert netbond(lab, "status", "--check").returncode == 1
        lab.impair("usb1", "clear")

        settings, _, sender = good.partition("[[sender]]")
        assert sender
        told_of = 'notify_process = "srtla_send"\n'
        reconfigure(lab, settings + told_of)
        path = lab.state_dir / "box" / "srtla_ips"
        (address,) = path.read_text().split()
        twins = f"{path} has one line, {address}, for 2 modems: usb0, usb1"
        told(lab, lambda text: text == f"UP: 2 uplinks; {twins}", 30)
        problem = problems(lab)["twins-plain-list"]
        assert (problem["subject"], problem["severity"]) == (address, "degraded")
        assert problem["hint"].startswith(
            "srtla_send uses one of them: use netbond send with ip_list_devices"
        )
        wait_for(lambda: twins in events(lab), 5, "it is an event")
        assert f'netbond_problem{{code="twins-plain-list",severity="degraded",subject="{address}"}} 1.0' in (
            metrics(lab)
        )
        assert firing(metrics(lab), tmp_path) == {"NetbondProblem"}

        reconfigure(lab, f'{settings}\n[[receiver]]\nlisten = "127.0.0.1:5100"\nsrt = "127.0.0.1:5102"\n')
        told(lab, lambda text: text.startswith("LISTENING: no sender connected"), 20)
        callers = [sys.executable, "-m", "tests.srtla_callers", "127.0.0.1", "5100", "5102", "20"]
        streams = lab.start("streams", lab.topology.box, callers)
        told(lab, lambda text: re.fullmatch(r"RECEIVING 20 streams, [0-9.]+ Mbit/s", text), 30)
        assert firing(metrics(lab), tmp_path) == set()
        os.kill(streams.pid, signal.SIGUSR1)
        name = display_name("cam01")
        stopped = f"stream {name}: no data"
        words = rf"RECEIVING 19 streams, [0-9.]+ Mbit/s, 1 more without data; {re.escape(stopped)}"
        told(lab, lambda text: re.fullmatch(words, text), 20)
        problem = problems(lab)["stream-stopped"]
        assert (problem["subject"], problem["hint"]) == (name, "is its encoder on?")
        wait_for(lambda: stopped in events(lab), 5, "it is an event")
        found = metrics(lab)
        assert f'netbond_problem{{code="stream-stopped",severity="degraded",subject="{name}"}} 1.0' in found
        assert found.count("netbond_stream_live{") == 20
        assert firing(found, tmp_path) == {"StreamStopped"}
