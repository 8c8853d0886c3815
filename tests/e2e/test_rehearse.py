"""`netbond rehearse` on a box with an agent and emulated radio links, and with receivers of others."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path as File
from typing import Any

import pytest

from netbond.cli.rehearse import streaming
from netbond.lab.lab import Lab
from netbond.lab.stream import Stream
from netbond.srtla.rehearsal import PAYLOAD
from netbond.status.schema import from_json
from tests import foreign, ready
from tests.relay import Path, relay
from tests.srtla_util import free_ports

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

_numbers = itertools.count()
LINKS = {
    "usb0": ["up.rate=6", "delay=25"],
    "usb1": ["up.rate=4", "delay=35"],
    "usb2": ["up.rate=3", "delay=45"],
}
ON_THE_WIRE = (PAYLOAD + 16 + 28) / PAYLOAD / 1e6  # Mbit/s of IP packets for bit/s of payload


def near(rates: list[float], links: dict[str, Any], together: float) -> None:
    """Whether the rates are those of the links; a busy machine may be too slow for all of them together."""
    assert links == {name: pytest.approx(rate, rel=0.2) for name, rate in zip(links, rates, strict=True)}
    assert 0.6 * sum(rates) < together < 1.1 * sum(rates)


@pytest.mark.alone
def test_the_uplinks_of_a_box_but_not_beside_a_stream() -> None:
    lab = Lab(f"r{os.getpid()}x{next(_numbers)}", modems=3, links=LINKS, receiver=True)
    with lab:
        command = [sys.executable, "-m", "netbond", "rehearse", "--config", str(lab.config)]
        with lab.config.open("a") as config:
            config.write('\n[[uplink]]\nmatch = "usb2"\nbudget = "5GB"\n')
        lab.start_agent()

        done = lab.box_exec([*command, "--json", "--max-data", "6MB"], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        print(done.stdout)
        links = {link["label"]: link for link in found["links"]}
        assert links.pop("usb2")["reason"] == "metered"
        rates = {name: link["capacity_bits_per_second"] * ON_THE_WIRE for name, link in links.items()}
        near([6, 4], rates, found["capacity_bits_per_second"] * ON_THE_WIRE)
        for link, rtt in ((links["usb0"], 50), (links["usb1"], 70)):
            assert rtt - 1 <= link["rtt_ms"] < rtt + 150
            assert link["full_rtt_ms"] > link["rtt_ms"]
        assert found["used_bytes"] <= 6_000_000
        carried = sum(lab.radio()[device]["up"]["bytes"] for device in ("usb0", "usb1"))
        assert carried == pytest.approx(found["used_bytes"], rel=0.2)
        assert lab.radio()["usb2"]["up"]["bytes"] < 50_000

        tried: list[subprocess.CompletedProcess[str]] = []

        def try_it() -> None:
            if not tried and streaming(from_json(lab.agent_status())):
                tried.append(lab.box_exec(command, capture_output=True, check=False))

        stream = Stream(lab, mbps=2, duration_s=4, latency_ms=1000)
        assert stream.run(try_it).trouble == ""
        assert [done.returncode for done in tried] == [1]
        assert "sender 127.0.0.1:6000 carries a stream, which would be disturbed" in tried[0].stderr


@pytest.mark.parametrize("folder", foreign.folders(), ids=lambda folder: folder.name)
def test_receivers_of_others(folder: File, tmp_path: File) -> None:
    """Theirs, with the real SRT server behind it: it drops the packets, and takes a caller afterwards."""
    if "srtla_rec" not in foreign.programs(folder):
        pytest.skip("it has no receiver")
    port, srt_port = free_ports(2)
    ips = tmp_path / "ips"
    ips.write_text("127.0.0.2\n127.0.0.3\n")
    paths = {"127.0.0.2": Path(mbps=6), "127.0.0.3": Path(mbps=3)}
    with relay(port, paths) as between, (tmp_path / "log").open("ab") as log:
        server = subprocess.Popen(
            ["srt-live-transmit", "-a:no", f"srt://127.0.0.1:{srt_port}?mode=listener", "file://con"],
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        ready.udp_port(srt_port, server, tmp_path / "log")
        receiver = subprocess.Popen(foreign.receiver(folder, port, srt_port), stdout=log, stderr=log)
        try:
            ready.udp_port(port, receiver, tmp_path / "log")
            command = [sys.executable, "-m", "netbond", "rehearse", f"127.0.0.1:{between.port}"]
            done = subprocess.run(
                [*command, "--links", str(ips), "--json"], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert server.poll() is None
        finally:
            for process in (receiver, server):
                process.kill()
                process.wait(10)
    found = json.loads(done.stdout)
    per_packet = (PAYLOAD + 16) / PAYLOAD / 1e6
    rates = {link["label"]: link["capacity_bits_per_second"] * per_packet for link in found["links"]}
    near([6, 3], rates, found["capacity_bits_per_second"] * per_packet)
