"""Takes all descriptors from a running agent, and from one that starts: log, processor, end. Needs root.

    sudo .venv/bin/python bench/shortage.py

Meanwhile its status is asked for, its metrics are scraped, and an uplink comes and goes. Then SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.lockout import agent_pid, used_s
from netbond.errors import NetbondError
from netbond.status.control import request
from tests.netns.box import Box

SECONDS = 20


def causes(text: str) -> Counter[str]:
    """Return how often the log has each line of level WARNING and above."""
    lines = [line.split(None, 2) for line in text.splitlines()]
    return Counter(words[2] for words in lines if len(words) == 3 and words[1] in ("WARNING", "ERROR"))


def ended_after_s(process: subprocess.Popen[str]) -> float:
    began = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return 15.0
    return time.perf_counter() - began


def running() -> None:
    with tempfile.TemporaryDirectory() as folder, Box(Path(folder)) as box:
        for number in range(2):
            box.plug(f"u{number}", number)
        box.configure(
            '[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = "10.0.0.1:5000"\n',
            agent='metrics = "127.0.0.1:9700"\n',
        )
        box.ip("link", "set", "lo", "up")
        box.start()
        time.sleep(2)
        pid = agent_pid(box)
        before, used, began = len(box.log.read_text()), used_s(pid), time.monotonic()
        _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, most))
        scrape = "import socket\ns = socket.create_connection(('127.0.0.1', 9700), 1)\ns.recv(1)\n"
        scrapes = []
        while time.monotonic() - began < SECONDS:
            with contextlib.suppress(NetbondError):
                request(box.folder / "control.sock", {"command": "status"}, 0.2)
            scrapes.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", box.name, sys.executable, "-c", scrape], stderr=subprocess.DEVNULL
                )
            )
            box.ip("link", "set", "u1", "down")
            time.sleep(0.5)
            box.ip("link", "set", "u1", "up")
            for engine in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(engine), signal.SIGKILL)
            time.sleep(0.5)
        share = (used_s(pid) - used) / (time.monotonic() - began)
        for each in scrapes:
            each.kill()
            each.wait()
        assert box.agent is not None
        took = ended_after_s(box.agent)
        box.agent = None
        text = box.log.read_text()[before:]
        found = causes(text)
        print(
            f"running: {len(text.splitlines())} lines in {SECONDS} s, warnings and errors {found.total()},"
            f" of one cause at most {max(found.values(), default=0)}; {100 * share:.0f} % of a processor;"
            f" ended {took:.1f} s after SIGTERM"
        )
        for line, number in found.most_common(5):
            print(f"    {number:4} {line[:110]}")


def starting(descriptors: int) -> None:
    with tempfile.TemporaryDirectory() as folder, Box(Path(folder)) as box:
        box.plug("u0", 0)
        box.configure()
        with box.log.open("a") as log:
            process = subprocess.Popen(
                ["prlimit", f"--nofile={descriptors}", *box.command("run", "--config", str(box.config_file))],
                stderr=log,
                text=True,
            )
        time.sleep(5)
        ended = process.poll()
        took = ended_after_s(process) if ended is None else 0.0
        lines = box.log.read_text().splitlines()
        how = "runs" if ended is None else f"ended by itself with status {ended}"
        print(
            f"starting with {descriptors:2} descriptors: {how}; {len(lines)} lines in 5 s;"
            f" ended {took:.1f} s after SIGTERM"
        )


def main() -> None:
    running()
    for descriptors in (8, 10, 11, 12, 16, 20):
        starting(descriptors)


if __name__ == "__main__":
    main()
