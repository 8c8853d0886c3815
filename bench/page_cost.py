"""What the web page costs: processor time of agent and page, and the rate of the stream, closed and open.

usage: sudo .venv/bin/python -m bench.page_cost [SECONDS]    (25 for each row; as root, for `netbond lab`)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from netbond.lab.lab import Lab
from netbond.lab.stream import Stream

LINKS = {
    "usb0": ["rate=6", "delay=40"],
    "usb1": ["rate=3", "delay=60", "loss=1"],
    "usb2": ["rate=4", "delay=25"],
    "usb3": ["rate=4", "delay=35"],
}


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, in seconds."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Its memory (RSS)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def row(lab: Lab, title: str, seconds: float, viewers: int) -> None:
    """Measure with that many viewers, and print a line."""
    agent = lab.agent_status()["agent"]["pid"]
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    [page] = [int(child) for child in children if b"\0page\0" in Path(f"/proc/{child}/cmdline").read_bytes()]
    with tempfile.TemporaryFile() as taken:
        command = lab.exec_command(lab.topology.box, ["curl", "-sN", "http://127.0.0.1:10470/live"])
        looking = [subprocess.Popen(command, stdout=taken) for _ in range(viewers)]
        time.sleep(3)
        before, size, began = (cpu_s(agent), cpu_s(page)), os.fstat(taken.fileno()).st_size, time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        used = [100 * (cpu_s(pid) - was) / took for pid, was in zip((agent, page), before, strict=True)]
        rate = (os.fstat(taken.fileno()).st_size - size) * 8 / took / 1000 / max(viewers, 1)
        for process in looking:
            process.send_signal(signal.SIGTERM)
            process.wait()
    print(
        f"{title:<28} agent {used[0]:.2f} %, {memory_mb(agent):.0f} MB; page {used[1]:.2f} %,"
        f" {memory_mb(page):.0f} MB; {rate:.1f} kbit/s for each viewer",
        flush=True,
    )


def main(seconds: float) -> None:
    """Print the table of docs/page.md."""
    with Lab(f"nbcost{os.getpid()}", devices=list(LINKS), links=LINKS, receiver=True) as lab:
        with lab.config.open("a") as config:
            config.write("[page]\nenabled = true\n")
        lab.start_agent()
        time.sleep(5)
        row(lab, "no stream, closed", seconds, 0)
        row(lab, "no stream, one viewer", seconds, 1)
        stream = Stream(lab, mbps=6, duration_s=4 * seconds + 40)
        streaming = threading.Thread(target=stream.run)
        streaming.start()
        time.sleep(10)
        row(lab, "stream, closed", seconds, 0)
        row(lab, "stream, one viewer", seconds, 1)
        row(lab, "stream, eight viewers", seconds, 8)
        stream.stop()
        streaming.join()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 25.0)
