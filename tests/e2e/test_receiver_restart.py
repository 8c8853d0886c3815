"""A receiver without the agent is restarted, as an upgrade does: its streams go on."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.srtla_net import Net, Stream, eventually, net

pytestmark = pytest.mark.root


def receive(lab: Net, workers: int) -> subprocess.Popen[bytes]:
    """`netbond recv` as netbond-recv.service starts it."""
    return lab.netbond(
        lab.far, "recv", f"--workers={workers}", f"--resume-file={lab.directory}/resume.json",
        "--srtla-port=5000", "--srt=127.0.0.1:5002", log="recv.log",
    )  # fmt: skip


@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGKILL), (2, signal.SIGTERM)])
def test_streams_go_on_over_a_restart(tmp_path: Path, workers: int, number: signal.Signals) -> None:
    with net(tmp_path, 2) as lab:
        stream = Stream(lab, latency=2000)
        receiver = receive(lab, workers)
        lab.send()
        eventually(lambda: lab.log("send.log").count(": up") == 2, 20)
        stream.start(mbps=2)
        stream.arrives()
        receiver.send_signal(number)
        receiver.wait(20)
        receive(lab, workers)
        sent = stream.sent
        eventually(lambda: "taking up 1 group(s) of the engine before" in lab.log("recv.log"), 20)
        eventually(lambda: stream.got[-1] > sent + 100, 30, "it goes on")
        stream.finish()  # over the same SRT connection
        assert "registering anew" not in lab.log("send.log")
