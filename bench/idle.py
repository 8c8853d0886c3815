"""Measures what an agent takes that has nothing to do, and how long `netbond status` takes. Needs root.

    sudo .venv/bin/python bench/idle.py [--seconds 120] [--uplinks 4] [--runs 20] [--sender]

The box has uplinks with IPv4 and IPv6, data plans, metrics that are scraped every 15 s, and the default
health checks, whose gateways answer. Memory is resident, CPU is of one core. `netbond status` is measured as
a user waits for it, and by the time of a processor that it takes: a busy machine changes that less.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.lockout import agent_pid, used_s
from tests.netns.box import Box, wait_for

PORT = 9701
SCRAPE_S = 15.0
MOST_STATUS_MS, MOST_MB, MOST_SHARE = 250.0, 60.0, 0.005  # what is promised in docs/status.md


def make(box: Box, uplinks: int, *, sender: bool) -> None:
    text = '[[uplink]]\nmatch = "usb*"\nbudget = "50GB"\n'
    if sender:
        text += '[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = "10.0.0.1:5000"\n'
    box.ip("link", "set", "lo", "up")
    for number in range(uplinks):
        box.plug(f"usb{number}", number)
        box.ip("addr", "add", f"2001:db8:{number}::10/64", "dev", f"usb{number}", "nodad")
        box.ip(
            "route",
            "add",
            "default",
            "via",
            f"fe80::{number + 1}",
            "dev",
            f"usb{number}",
            "metric",
            str(1024 + number),
        )
        far = ("netns", "exec", box.far, "ip", "addr", "add", f"fe80::{number + 1}/64")
        subprocess.run(["ip", *far, "dev", f"p{number}", "nodad"], check=True)
    box.configure(text, agent=f'metrics = "127.0.0.1:{PORT}"\n')
    config = box.config_file.read_text().replace('log_level = "debug"', 'log_level = "info"')
    box.config_file.write_text(config)


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1000


def scrape(box: Box) -> None:
    code = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{PORT}/metrics').read()"
    box.run(sys.executable, "-S", "-c", code)


def idle(box: Box, pid: int, seconds: float) -> tuple[float, float]:
    """The share of a core, and the resident memory at the end, MB."""
    began, used = time.monotonic(), used_s(pid)
    due = began
    while (now := time.monotonic()) < began + seconds:
        if now >= due:
            scrape(box)
            due += SCRAPE_S
        time.sleep(min(1.0, max(0.0, began + seconds - now)))
    return (used_s(pid) - used) / (time.monotonic() - began), memory_mb(pid)


def status(box: Box, runs: int) -> tuple[list[float], list[float]]:
    """How long it takes, and how much of a processor, in ms, sorted."""
    took, cpu = [], []
    command = [sys.executable, "-m", "netbond", "status", "--config", str(box.config_file)]
    for _ in range(runs):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | box.environment)
        took.append(1000 * (time.perf_counter() - began))
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(1000 * (now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime))
    return sorted(took), sorted(cpu)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--uplinks", type=int, default=4)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--sender", action="store_true", help="with a sender that finds no receiver")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Box(Path(folder)) as box:
        make(box, args.uplinks, sender=args.sender)
        box.start()
        wait_for(lambda: len(box.status()["uplinks"]) == 2 * args.uplinks, 5, "all are uplinks")
        time.sleep(5)
        pid = agent_pid(box)
        share, mb = idle(box, pid, args.seconds)
        states = sorted({uplink["state"] for uplink in box.status()["uplinks"]})
        took, cpu = status(box, args.runs)
        load = os.getloadavg()[0]
    of = f"{2 * args.uplinks} uplinks ({', '.join(states)})"
    print(f"{of}, {args.seconds:.0f} s, load of the machine {load:.1f}")
    share, most = 100 * share, 100 * MOST_SHARE
    print(f"agent: {share:.2f} % of a core (at most {most:.1f}), {mb:.1f} MB (at most {MOST_MB:.0f})")
    median = statistics.median(took)
    print(f"netbond status, {args.runs} runs: median {median:.0f} ms (at most {MOST_STATUS_MS:.0f}),")
    print(f"  {took[0]:.0f} to {took[-1]:.0f} ms; of a processor {statistics.median(cpu):.0f} ms")


if __name__ == "__main__":
    main()
