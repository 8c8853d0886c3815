"""`netbond watch` of a real sender without root that carries a real SRT stream."""

from __future__ import annotations

import json
import os
import pwd
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.srtla_net import RECEIVER, Stream, eventually, net, sh

pytestmark = pytest.mark.root


def test_a_sender_that_gave_up_root_tells_what_its_links_carry(tmp_path: Path) -> None:
    socket = tmp_path / "watch.sock"  # where only root may write
    with net(tmp_path, 2) as lab:
        stream = Stream(lab)
        lab.recv()
        ips = lab.ips()
        for path in (tmp_path, *tmp_path.parents[:3], ips):
            path.chmod(path.stat().st_mode | 0o055)  # the sender reads its list as nobody
        options = ("--user", "nobody", "--watch-socket", str(socket))
        sender = lab.netbond(lab.box, "send", *options, "6000", RECEIVER, "5000", str(ips), log="send.log")
        status = socket.stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (pwd.getpwnam("nobody").pw_uid, 0o660)
        eventually(lambda: lab.log("send.log").count(": up") == 2, 30)
        command = [sys.executable, "-m", "netbond", "watch", "--json", "--socket", str(socket)]
        watch = lab.popen(lab.box, command, "watch.log", stdout=subprocess.PIPE)

        def next_with(true: Any) -> dict[str, Any]:
            for _ in range(100):
                assert watch.stdout is not None
                line: dict[str, Any] = json.loads(watch.stdout.readline())
                if true(line):
                    return line
            raise AssertionError(f"the last was {line}")

        line = next_with(lambda line: line["state"] == "connected")
        assert (line["version"], line["sender"], line["advice"]) == (1, "0.0.0.0:6000", None)
        stream.start()
        line = next_with(
            lambda line: (
                line["advice"]
                and line["advice"]["capacity_bits_per_second"] > 500_000
                and line["advice"]["latency_ms"] == 1000
            )
        )
        assert [(link["label"], link["state"]) for link in line["advice"]["links"]] == [
            ("10.7.0.2%usb0", "up"),
            ("10.7.1.2%usb1", "up"),
        ]
        sh("ip", "-n", lab.box, "link", "set", "usb1", "down")
        next_with(lambda line: line["advice"] and line["advice"]["links"][1]["state"] != "up")
        watch.send_signal(signal.SIGINT)
        assert watch.wait(40) == 0
        sender.send_signal(signal.SIGTERM)
        assert sender.wait(40) == 0
    assert os.path.lexists(socket), "what is in root's folder stays; the next sender replaces it"
