"""The demo, whole: SRT over four modems, two of them twins, one unplugged and plugged in again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from netbond.lab import netns, topology
from netbond.lab.lab import Lab
from netbond.lab.netns import PRIVATE_DIR
from netbond.lab.remains import STATE_ROOT
from tests import foreign

pytestmark = pytest.mark.root

NETBOND = [sys.executable, "-P", "-m", "netbond"]


def remains(lab: str) -> list[str]:
    """Files and namespaces that carry the lab's name."""
    return [
        str(path)
        for folder in (STATE_ROOT, PRIVATE_DIR, netns.NETNS_DIR)
        if folder.is_dir()
        for path in folder.iterdir()
        if path.name == lab or topology.is_namespace_of(lab, path.name)
    ]


def start(name: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*NETBOND, "lab", "demo", "--name", name, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.alone
@pytest.mark.parametrize("pulled", ["usb1", "usb3"])
def test_nothing_is_lost_and_every_link_is_used(pulled: str) -> None:
    name = f"nbd{os.getpid()}{pulled}"
    process = start(name, "--secs", "7.5", "--pull", pulled)
    output, errors = process.communicate(timeout=90)
    assert process.returncode == 0, output + errors
    assert errors == ""
    assert "    ok    0 of 5699 packets lost\n" in output
    assert "    ok    all 4 links carried traffic, the twins usb2 and usb3 too\n" in output
    assert output.count("from 192.168.8.100 lookup") >= 4  # both twins' rules, before and after
    assert f"s {pulled} is unplugged" in output
    assert remains(name) == []


@pytest.mark.parametrize(
    ("number", "at"),
    [
        (signal.SIGINT, "these leases"),
        (signal.SIGINT, "and with netbond"),
        (signal.SIGINT, "late or lost"),
        (signal.SIGTERM, "is unplugged"),
    ],
)
def test_interrupted_at_any_moment_it_leaves_nothing(number: int, at: str) -> None:
    name = f"nbi{os.getpid()}"
    with start(name, "--secs", "3") as process:
        assert process.stdout is not None
        assert any(at in line for line in process.stdout)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert errors == ""
    assert remains(name) == []


def test_what_a_killed_demo_leaves_is_cleaned_by_the_next() -> None:
    name = f"nbk{os.getpid()}"
    with start(name) as process:
        assert process.stdout is not None
        assert any("late or lost" in line for line in process.stdout)
        process.kill()
    assert remains(name) != []
    with start(name, "--secs", "3") as process:
        output, errors = process.communicate(timeout=60)
    assert "packets lost" in output, errors
    assert remains(name) == []


def test_a_stream_without_an_agent_says_what_is_missing() -> None:
    with Lab(f"nbs{os.getpid()}", 1, receiver=True) as lab:
        command = [*NETBOND, "lab", "stream", "--name", lab.name]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 69
        assert "the lab has no agent; start the lab with --agent" in ran.stderr


def test_two_streams_do_not_share_a_lab_and_a_second_one_follows() -> None:
    links = {"usb0": ["rate=6", "delay=20"], "usb1": ["rate=6", "delay=30"]}
    with Lab(f"nbt{os.getpid()}", 2, receiver=True, agent=True, links=links) as lab:
        command = [*NETBOND, "lab", "stream", "--name", lab.name, "--mbps", "4", "--secs"]
        with subprocess.Popen([*command, "20"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as first:
            while lab.radio()["usb0"]["up"]["bytes"] < 100_000:
                assert first.poll() is None
                time.sleep(0.1)
            ran = subprocess.run([*command, "1"], capture_output=True, text=True, timeout=60)
            assert "a stream is already running in lab" in ran.stderr
            first.send_signal(signal.SIGKILL)  # it cannot clean up: the next one does
        ran = subprocess.run([*command, "2", "--json"], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stderr
        assert '"lost": 0' in ran.stdout


@pytest.mark.skipif(
    not foreign.folders(),
    reason="set NETBOND_FOREIGN_SRTLA to a folder with srtla_send and srtla_rec to test with them",
)
def test_other_programs_by_template() -> None:
    both = [each for each in foreign.folders() if len(foreign.programs(each)) == 2]
    folder = next(each for each in both if foreign.receiver(each, 1, 2)[1] == "1")  # arguments by position
    with Lab(f"nbo{os.getpid()}", 2, receiver=True, agent=True) as lab:
        ran = subprocess.run(
            [
                *(*NETBOND, "lab", "stream", "--name", lab.name, "--mbps", "4", "--secs", "3"),
                *("--sender", f"{folder}/srtla_send {{lport}} {{rhost}} {{rport}} {{ips}}"),
                *("--receiver", f"{folder}/srtla_rec {{rport}} 127.0.0.1 {{srtport}}"),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        assert "lost 0" in ran.stdout
