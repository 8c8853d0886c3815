"""A receiver with several processes: a stream's links in one place, and the stream goes on when that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.srtla_net import PATIENCE, RECEIVER, Agent, Net, Stream, eventually, net, sending_agent

pytestmark = pytest.mark.root


def receiving(lab: Net, *more: str) -> Agent:
    return Agent(
        lab, lab.far, "recv", "--srtla-port", "5000", "--srt-port", "5002", "--workers", "3", *more,
        log="recv.log",
    ).until_ready()  # fmt: skip


def children(pid: int) -> list[int]:
    """The processes below this one."""
    try:
        below = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []
    return below + [further for each in below for further in children(each)]


def neighbours(lab: Net, rate: int, seconds: float) -> list[subprocess.Popen[Any]]:
    """Two other groups of four links."""
    command = [sys.executable, "-m", "tests.srtla_flood", "group", RECEIVER, "5000", str(rate), str(seconds)]
    where = Path(__file__).parents[2]
    return [lab.popen(lab.far, command, "flood.log", cwd=where, stdout=subprocess.PIPE) for _ in range(2)]


def test_streams_over_several_workers_and_one_of_them_dies(tmp_path: Path) -> None:
    with net(tmp_path, 3) as lab:
        stream = Stream(lab, latency=2000)
        receiver, sender = receiving(lab), sending_agent(lab)
        eventually(lambda: sum(link["state"] == "up" for link in sender.stats.get("links", [])) == 3, 20)
        stream.start(mbps=4)
        stream.arrives()
        others = neighbours(lab, 500, 3)
        eventually(lambda: len(receiver.stats["groups"]) == 3, 10)
        eventually(lambda: [w["groups"] for w in receiver.stats["workers"]] == [1, 1, 1], 5)
        eventually(lambda: sorted(w["links"] for w in receiver.stats["workers"]) == [3, 4, 4], 5)
        stray = receiver.stats["refused"]
        for process in others:
            assert process.wait(60) == 0
        assert receiver.stats["refused"]["srt_unreachable"] == stray["srt_unreachable"]

        # Each worker once: the one with the stream is among them.
        _front, *workers = children(receiver.process.pid)
        assert len(workers) == 3
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        stream.arrives(15)
        assert stream.finish() == []
        eventually(lambda: lab.log("recv.log").count("died; starting it again") == 3)
        eventually(lambda: sender.stats["state"] == "connected")
        assert lab.log("send.log").count("registered: group") == 1

        receiver.process.terminate()
        assert receiver.process.wait(40) == 0
        eventually(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()], 5)


def test_workers_that_hang_are_replaced_and_the_stream_goes_on(tmp_path: Path) -> None:
    with net(tmp_path, 3) as lab:
        stream = Stream(lab, latency=8000)
        receiver, sender = receiving(lab), sending_agent(lab)
        eventually(lambda: sum(link["state"] == "up" for link in sender.stats.get("links", [])) == 3, 20)
        stream.start(mbps=2)
        stream.arrives()
        _front, *workers = children(receiver.process.pid)
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        began = time.monotonic()
        eventually(lambda: lab.log("recv.log").count("hangs: ending it") == 3, 10)
        assert time.monotonic() - began < 5 * PATIENCE
        stream.arrives(15)
        assert stream.finish() == []
        eventually(lambda: lab.log("recv.log").count("died; starting it again") == 3)
        assert lab.log("send.log").count("registered: group") == 1


def test_what_a_worker_cannot_do_ends_them_all_and_is_told(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        receiver = receiving(lab, "--group-dir", str(tmp_path / "none"))
        assert receiver.process.wait(60) == 69
        eventually(lambda: receiver.fatal)
        assert "--group-dir" in receiver.fatal


def test_nobody_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        receiver = receiving(lab)
        eventually(lambda: receiver.ready, 20)
        eventually(lambda: len(children(receiver.process.pid)) == 4)
        below = children(receiver.process.pid)
        receiver.process.kill()
        second = receiving(lab)  # at once: the port becomes free in time
        eventually(lambda: second.ready, 20)
        assert not second.fatal
        eventually(lambda: not [pid for pid in below if Path(f"/proc/{pid}").exists()])
