"""Measures a receiver with several processes, and what junk costs it (docs/recv.md, "More than one core").

    python -m bench.workers [--workers 1,2] [--groups 2] [--rate 4000] [--junk 20000] [--secs 8]

Each group sends RATE packets of 1332 bytes per second over four links on loopback; at the same time, other
peers send JUNK datagrams per second. It measures the CPU time of each process of the receiver, in percent of
a core; the packets that do not reach the simulated SRT server; and the datagrams that the kernel drops.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench.engines import cpu_ns, free_port, udp

ROOT = Path(__file__).parents[1]


def flood(kind: str, port: int, rate: int, seconds: float) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "tests.srtla_flood",
        kind,
        "127.0.0.1",
        str(port),
        str(rate),
        str(seconds),
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def family(pid: int) -> list[int]:
    """Return the PIDs of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def dropped(port: int) -> int:
    lines = [
        *Path("/proc/net/udp").read_text().splitlines(),
        *Path("/proc/net/udp6").read_text().splitlines(),
    ]
    return sum(int(line.split()[-1]) for line in lines if line.split()[1].endswith(f":{port:04X}"))


def run(workers: int, groups: int, rate: int, junk: int, seconds: float) -> str:
    port = free_port()
    arrived = 0
    with udp() as server:

        def count() -> None:
            nonlocal arrived
            while data := server.recv(2048):
                arrived += not data[0] & 0x80

        counter = threading.Thread(target=count, daemon=True)
        counter.start()
        command = [sys.executable, "-m", "netbond", "recv", "--listen", f"127.0.0.1:{port}"]
        command += ["--srt", f"127.0.0.1:{server.getsockname()[1]}", "--workers", str(workers)]
        receiver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert receiver.stderr is not None
            receiver.stderr.readline()
            time.sleep(1)
            floods = [flood("group", port, rate, seconds + 2) for _ in range(groups)]
            time.sleep(1)
            strangers = flood("junk", port, junk, seconds) if junk else None
            time.sleep(1)
            pids = family(receiver.pid)
            before = [cpu_ns(pid) for pid in pids]
            began = time.monotonic()
            time.sleep(seconds - 2)
            spent = time.monotonic() - began
            shares = [(cpu_ns(pid) - was) / 1e7 / spent for pid, was in zip(pids, before, strict=True)]
            sent = sum(int(each.communicate()[0]) for each in floods)
            thrown = int(strangers.communicate()[0]) if strangers else 0
            time.sleep(0.5)
            lost, full = sent - arrived, dropped(port)
        finally:
            receiver.terminate()
            receiver.wait()
        with socket.socket(type=socket.SOCK_DGRAM) as end:
            end.sendto(b"", server.getsockname())
        counter.join()
    names = (
        ["receiver"] if workers == 1 else ["parent", "front", *(f"worker {n + 1}" for n in range(workers))]
    )
    cpu = ", ".join(f"{name} {share:.0f} %" for name, share in zip(names, shares, strict=True))
    what = f"{workers} worker(s), {junk} junk/s ({thrown} in all)"
    return f"{what}: {sent} packets, {lost} lost, {full} thrown away; {cpu}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--rate", type=int, default=4000)
    parser.add_argument("--junk", type=int, default=20000)
    parser.add_argument("--secs", type=float, default=8.0)
    args = parser.parse_args()
    for junk in (0, args.junk):
        for workers in map(int, args.workers.split(",")):
            print(run(workers, args.groups, args.rate, junk, args.secs), flush=True)


if __name__ == "__main__":
    main()
