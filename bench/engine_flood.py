"""Measures what an engine that was taken over does to the agent by flooding its channel. Needs root.

    sudo .venv/bin/python bench/engine_flood.py                    each kind of flood
    sudo .venv/bin/python bench/engine_flood.py resumes            one kind

For each: what the agent uses of a processor, the reaction to an address (from the kernel's event to rule,
default and nexthop, 10 times; 5 s if it takes longer), how often the engine was ended for it, and what was
written below `state_dir`. The agent runs from a copy of the package, whose sender does nothing but flood.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import lockout
from bench.routing import percentile
from tests.netns.box import Box, wait_for

UPLINKS = 4
FLOOD = """
import argparse, json, socket, time
HELP = ""
def configure(parser):
    parser.add_argument("--control-fd", type=int)
    parser.add_argument("--user")
    parser.add_argument("--listen")
    parser.add_argument("--receiver")
    parser.add_argument("words", nargs="*")
def run(args):
    channel = socket.socket(fileno=args.control_fd)
    channel.sendall(b'{"ready":true}\\n')
    number = 0
    while True:
        number += 1
        began = time.monotonic()
        for line in lines(number):
            channel.sendall(json.dumps(line, separators=(",", ":")).encode() + b"\\n")
        time.sleep(max(0.0, began + PAUSE - time.monotonic()))
PAUSE = %(pause)r
def lines(number):
    for _ in range(%(count)d):
        yield %(line)s
"""
LINKS = (
    """{"stats": {"role": "sender", "listen": "x", "links": [{"label": str(number)} for _ in range(%d)]}}"""
)
KINDS = {
    "quiet": {"pause": 1.0, "count": 1, "line": '{"stats": {}}'},
    "statistics": {"pause": 0.5, "count": 1, "line": LINKS % 50000},  # 1 MB twice a second
    "statistics, 900 lines": {"pause": 1.0, "count": 900, "line": LINKS % 100},
    "statistics, 30 MB": {"pause": 1.0, "count": 28, "line": LINKS % 50000},
    "resumes": {"pause": 0.1, "count": 1, "line": '{"resume": {"a": [number] * 40000}}'},  # 80 to 280 kB
    "resumes, 1 MB": {"pause": 0.1, "count": 1, "line": '{"resume": {"a": [number + 100000] * 140000}}'},
    "resumes, 900": {"pause": 1.0, "count": 900, "line": '{"resume": {"a": [number, _]}}'},
    "advice": {
        "pause": 0.2,
        "count": 4,
        "line": '{"advice": {"advised_bits_per_second": number, "x": [1] * 60000}}',
    },
    "video": {"pause": 1.0, "count": 900, "line": '{"video": number + _}'},
}


class FloodedBox(Box):
    """Its agent is started from another copy of the package."""

    def command(self, *words: str) -> list[str]:
        """Return a netbond command line that runs in this box."""
        return ["ip", "netns", "exec", self.name, sys.executable, "-P", "-m", "netbond", *words]


def measured(kind: str) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        package = folder / "site" / "netbond"
        shutil.copytree(Path(__file__).parents[1] / "netbond", package)
        (package / "cli" / "send.py").write_text(FLOOD % KINDS[kind])
        with FloodedBox(folder) as box:
            box.environment["PYTHONPATH"] = str(package.parent)
            for number in range(UPLINKS):
                box.plug(f"u{number}", number, default=False)
            box.ip("link", "set", "lo", "up")
            uplinks = "".join(
                f'[[uplink]]\nmatch = "u{number}"\ngateway = "10.0.{number}.1"\n' for number in range(UPLINKS)
            )
            box.configure(f'{uplinks}[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = "10.0.0.1:5000"\n')
            box.start()
            wait_for(lambda: bool(box.status()["engines"][0]["pid"]), 10, "the engine runs")
            tables = {uplink["device"]: uplink["table"] for uplink in box.status()["uplinks"]}
            pid = lockout.agent_pid(box)
            time.sleep(2)
            used, began = lockout.used_s(pid), time.monotonic()
            time.sleep(10)
            share = (lockout.used_s(pid) - used) / (time.monotonic() - began)
            reactions = lockout.reactions(box, tables)
            engine = box.status()["engines"][0]
            written = Path(f"/proc/{pid}/io").read_text().split("write_bytes: ")[1].split()[0]
            asked = Path(f"/proc/{pid}/io").read_text().split("wchar: ")[1].split()[0]
            median, worst = 1000 * percentile(reactions, 0.5), 1000 * max(reactions)
            return (
                f"{kind:22} {100 * share:5.1f} % of a processor;"
                f" reaction {median:.1f} ms, {worst:.1f} at worst;"
                f" ended {engine['restarts']} times ({engine['last_exit'][:60]});"
                f" written {int(asked) / 1e6:.0f} MB ({int(written) / 1e6:.0f} MB to disks)"
            )


if __name__ == "__main__":
    for each in sys.argv[1:] or KINDS:
        print(measured(each), flush=True)
