"""Measures what four local users who flood the control socket do to root and to routing. Needs root.

    sudo .venv/bin/python bench/lockout.py                     quiet, then each kind of flood
    sudo .venv/bin/python bench/lockout.py connect --one-uid   one kind; all four are the same user

For each: how long root's `status` takes (50 times), the reaction to an address (from the kernel's event to
rule, default and nexthop, 15 times; 5 s if it takes longer), what the agent uses of a processor, and whether
it has real-time priority meanwhile. Everything runs in network namespaces of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.routing import box, legs, listener, one_event, percentile, start, watch_closely
from netbond.errors import NetbondError
from netbond.status.control import request
from tests.netns.box import Box

FLOODERS = 4
ASKED = 50
ADDRESSES = 15
UPLINKS = 4
FIRST_UID = 61001  # nobody's

# argv: uid, kind, path. Each stays at it until it is killed.
FLOOD = """
import os, socket, sys
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(*[int(sys.argv[1])] * 3)
kind, path, held = sys.argv[2], sys.argv[3], []
while True:
    s = socket.socket(socket.AF_UNIX)
    try:
        s.settimeout(5)
        s.connect(path)
        if kind == "ask":
            s.sendall(b'{"command": "status"}\\n' * 20)
            while s.recv(65536):
                pass
        if kind == "hold":
            held.append(s)
            del held[:-200]
            continue
    except OSError:
        pass
    s.close()
"""
KINDS = ("connect", "ask", "hold")


@contextmanager
def flooded(kind: str, path: Path, *, one_uid: bool) -> Iterator[None]:
    """Run the flooders; "quiet" is none."""
    flooders = []
    if kind != "quiet":
        for number in range(FLOODERS):
            uid = FIRST_UID if one_uid else FIRST_UID + number
            words = [sys.executable, "-c", FLOOD, str(uid), kind, str(path)]
            flooders.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
        time.sleep(1)
    try:
        yield
    finally:
        for flooder in flooders:
            flooder.kill()
            flooder.wait()


def asked(path: Path) -> list[float]:
    """Ask for the status as root; return the seconds of each answer, 2 where there was none."""
    took = []
    for _ in range(ASKED):
        began = time.perf_counter()
        try:
            answered = request(path, {"command": "status"})["ok"]
        except NetbondError:
            answered = False
        took.append(time.perf_counter() - began if answered else 2.0)
        time.sleep(0.02)
    return took


def agent_pid(found: Box) -> int:
    assert found.agent is not None
    return found.agent.pid


def used_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reactions(found: Box, tables: dict[str, int]) -> list[float]:
    """Return the seconds from each address event until routing is right."""
    took = []
    with listener(found.name) as heard:
        for each in range(ADDRESSES):
            number = each % UPLINKS
            found.ip("addr", "flush", "dev", f"u{number}")
            time.sleep(0.1)
            heard.setblocking(False)
            try:
                while heard.recv(1 << 18):
                    pass
            except BlockingIOError:
                heard.setblocking(True)
            try:
                took.append(one_event(found, heard, number, tables[f"u{number}"]))
            except TimeoutError:
                took.append(5.0)
            time.sleep(0.02)
    return took


def row(found: Box, tables: dict[str, int], kind: str, *, one_uid: bool) -> str:
    path, pid = found.folder / "control.sock", agent_pid(found)
    with flooded(kind, path, one_uid=one_uid):
        used, began = used_s(pid), time.monotonic()
        answers = asked(path)
        late = reactions(found, tables)
        share = (used_s(pid) - used) / (time.monotonic() - began)
        realtime = os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
    in_time = sum(answer <= 0.1 for answer in answers)
    return (
        f"{kind:8} status within 100 ms: {in_time} of {ASKED}, slowest {1000 * max(answers):.0f} ms;"
        f" address: median {1000 * percentile(late, 0.5):.1f} ms, slowest {1000 * max(late):.0f} ms;"
        f" agent {100 * share:.0f} % of a processor; real-time {'yes' if realtime else 'no'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", nargs="*", choices=[*KINDS, []], help="default: all, after quiet")
    parser.add_argument("--one-uid", action="store_true", help="the flooders are one user")
    args = parser.parse_args()
    with box(UPLINKS) as found:
        found.folder.chmod(0o711)  # other users reach the socket in it, as in /run/netbond
        start(found, wait=lambda: legs(found) == UPLINKS)
        tables = {uplink["device"]: uplink["table"] for uplink in found.status()["uplinks"]}
        watch_closely()
        for kind in ("quiet", *(args.kind or KINDS), "quiet"):
            print(row(found, tables, kind, one_uid=args.one_uid), flush=True)


if __name__ == "__main__":
    main()
