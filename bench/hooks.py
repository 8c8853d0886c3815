"""Measures how long a DHCP client waits for its hook: with a running, a hanging, and no agent. Needs root.

    sudo .venv/bin/python bench/hooks.py                       this netbond
    sudo .venv/bin/python bench/hooks.py --netbond A --netbond B    several, in turns (paths of the program)

Each time is from the start of contrib/dhclient-hooks/netbond in dash, as dhclient-script runs it, to its end.
The lease is a new one each time. In turns with the hook, it measures Python's own start, which is the
minimum.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.netns.box import Box, wait_for

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "contrib/dhclient-hooks/netbond"
LIMIT_MS = 200.0


def once(box: Box, program: str, number: int) -> float:
    """Run one hook; return its time in milliseconds."""
    news = {
        "reason": "RENEW",
        "interface": "usb0",
        "new_ip_address": "10.0.0.10",
        "new_subnet_mask": "255.255.255.0",
        "new_routers": f"10.0.0.{20 + number % 200}",
        "NETBOND": program,
        "NETBOND_CONFIG": str(box.config_file),
    }
    return timed(["nsenter", f"--net=/run/netns/{box.name}", "dash", str(SCRIPT)], news)


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Run a command; return its time in milliseconds."""
    start = time.monotonic()
    subprocess.run(command, env=os.environ | environment, check=True, timeout=30)
    return 1000 * (time.monotonic() - start)


def row(name: str, taken: list[float]) -> str:
    ranked = sorted(taken)
    p95 = ranked[int(0.95 * (len(ranked) - 1))]
    late = sum(each > LIMIT_MS for each in taken)
    return (
        f"| {name} | {len(taken)} | {statistics.median(taken):.0f} | {p95:.0f} | {ranked[-1]:.0f} | {late} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="How long a DHCP client waits for its hook.")
    parser.add_argument("--netbond", action="append", help="the program (more than once: in turns)")
    parser.add_argument("-n", type=int, default=40, help="hooks of each kind")
    args = parser.parse_args()
    programs = args.netbond or [str(Path(sys.executable).parent / "netbond")]
    taken: dict[str, list[float]] = {}

    def take(agent: str) -> None:
        for number in range(args.n):
            for program in programs:
                name = f"{agent} ({program})" if len(programs) > 1 else agent
                taken.setdefault(name, []).append(once(box, program, number))
            taken.setdefault("only Python's start", []).append(timed([sys.executable, "-c", "pass"], {}))

    with tempfile.TemporaryDirectory() as folder, Box(Path(folder)) as box:
        for number in range(4):
            box.plug(f"usb{number}", number, default=number > 0)
        box.configure()
        take("no agent")
        box.start()
        take("the agent runs")
        assert box.agent is not None
        os.kill(box.agent.pid, signal.SIGSTOP)
        take("the agent hangs")
        os.kill(box.agent.pid, signal.SIGCONT)
        last = f"10.0.0.{20 + (args.n - 1) % 200}"
        wait_for(lambda: f"default via {last} dev usb0" in box.table(100), 10, "the last lease is not lost")
    print("| | hooks | median ms | 95 % | most | over 200 ms |\n|---|---|---|---|---|---|")
    for name, times in taken.items():
        print(row(name, times))


if __name__ == "__main__":
    main()
