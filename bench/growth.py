"""What an agent's memory does while the same thing happens to its box again and again.

usage (as root): python -m bench.growth reload|flap|carrier [TIMES]

A box with four modems in a network namespace. Five times it prints the agent's memory, in MB.
What fills something bounded (caches, the last events) flattens; a leak does not.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.netns.box import Box

MODEMS = 4


def memory(pid: int) -> str:
    """RSS and anonymous memory of a process, in MB."""
    lines = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    return "  ".join(f"{name} {int(lines[name].split()[0]) / 1024:.1f}" for name in ("Rss", "Anonymous"))


def happen(box: Box, kind: str, number: int) -> None:
    assert box.agent is not None
    if kind == "reload":
        box.config_file.write_text(f"{box.config_file.read_text().partition('# time')[0]}# time {number}\n")
        os.kill(box.agent.pid, signal.SIGHUP)
        time.sleep(0.25)
    elif kind == "flap":
        box.unplug("usb1")
        time.sleep(0.3)
        box.plug("usb1", 1)
        time.sleep(0.4)
    else:
        box.ip("link", "set", "usb1", "down")
        time.sleep(0.2)
        box.ip("link", "set", "usb1", "up")
        time.sleep(0.3)


def main() -> None:
    kind, times = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100
    if kind not in ("reload", "flap", "carrier"):
        sys.exit(f"{kind} is none of reload, flap, carrier")
    with tempfile.TemporaryDirectory() as folder, Box(Path(folder)) as box:
        for number in range(MODEMS):
            box.plug(f"usb{number}", number)
        box.ip("link", "set", "lo", "up")
        box.configure()
        box.start()
        time.sleep(3)
        assert box.agent is not None
        print(f"{kind} 0: {memory(box.agent.pid)}", flush=True)
        for number in range(1, times + 1):
            happen(box, kind, number)
            if number % max(1, times // 5) == 0:
                print(f"{kind} {number}: {memory(box.agent.pid)}", flush=True)


if __name__ == "__main__":
    main()
