"""Measures how fast the agent updates routing, compared with the shell hook that it replaces. Needs root.

    sudo .venv/bin/python bench/routing.py latency   from an address event to rule, table and ECMP, 8 uplinks
    sudo .venv/bin/python bench/routing.py start     64 uplinks, from exec to the full state
    sudo .venv/bin/python bench/routing.py policies  the same with 20 policies, then single changes
    sudo .venv/bin/python bench/routing.py storm     1,000 address changes in 5 s, then until all is right
    sudo .venv/bin/python bench/routing.py flaps     10,000 link flaps: memory and open files

Everything runs in network namespaces of its own. The shell hook is measured in the same run, alternating with
the agent, in a shell that already runs. Most of its time is for running `ip` four times.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from netbond.kernel import rtnetlink as wire
from netbond.model import NexthopGroup
from tests.netns.box import Box, sh
from tests.netns.spaces import inside

SO_RCVBUFFORCE = 33  # include/uapi/asm-generic/socket.h; the socket module does not have it
GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 1 << 31  # link, IPv4 addresses, routes, rules; nexthops

HOOK = """\
ip route flush table {table}
ip route add default via {gateway} dev {device} table {table}
ip rule del priority {table}
ip rule add from {address} lookup {table} priority {table}
echo done
"""


@contextmanager
def box(uplinks: int, *, addresses: bool = True, more: str = "") -> Iterator[Box]:
    """Make a box with uplinks u0, u1, ... (gateway 10.0.N.1, by configuration), without an agent."""
    with tempfile.TemporaryDirectory() as folder, Box(Path(folder)) as found:
        text = ""
        for number in range(uplinks):
            found.plug(f"u{number}", number, default=False)
            if not addresses:
                found.ip("addr", "flush", "dev", f"u{number}")
            text += f'[[uplink]]\nmatch = "u{number}"\ngateway = "10.0.{number}.1"\n'
        found.configure(text + more)
        config = found.config_file.read_text().replace('log_level = "debug"', 'log_level = "warning"')
        found.config_file.write_text(config)
        yield found


def start(found: Box, *, wait: Callable[[], bool]) -> float:
    """Start the agent; return the seconds until `wait` is true."""
    began = time.perf_counter()
    with found.log.open("a") as log:
        found.agent = subprocess.Popen(
            found.command("run", "--config", str(found.config_file)), stderr=log, text=True
        )
    while not wait():
        if found.agent.poll() is not None or time.perf_counter() - began > 20:
            raise SystemExit(f"the agent is not up: {found.log.read_text()}")
        time.sleep(0.002)
    return time.perf_counter() - began


def legs(found: Box) -> int:
    """Return the number of nexthops of the ECMP default."""
    return found.table(222).count("nexthop via")


def listener(namespace: str) -> socket.socket:
    """Open a socket for the kernel's events in a namespace."""
    with inside(namespace):
        heard = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    heard.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
    heard.bind((0, GROUPS))
    return heard


def watch_closely() -> None:
    """Give this process real-time priority, but not its children: its own delay would be measured, too."""
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def quartet(values: list[float]) -> dict[str, float]:
    """Return median, 99th percentile and maximum in milliseconds."""
    return {
        "median_ms": round(1000 * statistics.median(values), 2),
        "p99_ms": round(1000 * percentile(values, 0.99), 2),
        "max_ms": round(1000 * max(values), 2),
    }


# --- latency ---------------------------------------------------------------------------------------------


def one_event(found: Box, heard: socket.socket, number: int, table: int) -> float:
    """Give an uplink its address; return the seconds from the kernel's event to rule, default and nexthop."""
    names = dict(socket.if_nameindex())
    missing = {"rule", "default", "group"}
    began = 0.0
    process = subprocess.Popen(
        ["ip", "-n", found.name, "addr", "add", f"10.0.{number}.10/24", "dev", f"u{number}"]
    )
    heard.settimeout(5)
    while missing:
        data = heard.recv(1 << 18)
        now = time.perf_counter()
        for kind, _, _, payload in wire.messages(data):
            if kind == wire.NEWADDR and not began:
                began = now
            elif kind == wire.NEWRULE and (rule := wire.rule(payload, names)) and rule.priority == table:
                missing.discard("rule")
            elif kind == wire.NEWROUTE and (route := wire.route(payload, names)):
                if route.table == table and route.destination.prefixlen == 0 and route.kind == "unicast":
                    missing.discard("default")
            elif kind == wire.NEWNEXTHOP and isinstance(wire.nexthop(payload, names), NexthopGroup):
                missing.discard("group")
    process.wait()
    return now - began


def latency(rounds: int) -> dict[str, object]:
    """Measure agent and hook in turns."""
    ours, theirs = [], []
    watch_closely()
    with box(8) as found:
        start(found, wait=lambda: legs(found) == 8)
        tables = {u["device"]: u["table"] for u in found.status()["uplinks"]}
        shell = subprocess.Popen(
            ["ip", "netns", "exec", found.name, "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert shell.stdin is not None
        assert shell.stdout is not None
        heard = listener(found.name)
        for turn in range(rounds):
            number = turn % 8
            found.ip("addr", "flush", "dev", f"u{number}")
            while legs(found) != 7:
                time.sleep(0.002)
            time.sleep(0.02)
            heard.settimeout(0)
            try:
                while heard.recv(1 << 18):
                    pass
            except BlockingIOError:
                pass
            ours.append(one_event(found, heard, number, tables[f"u{number}"]))
            time.sleep(0.02)
            # The hook uses another table: the agent does not change it, but reads it.
            hook = HOOK.format(table=240, gateway=f"10.0.{number}.1", device=f"u{number}", address="10.0.9.9")
            began = time.perf_counter()
            shell.stdin.write(hook)
            shell.stdin.flush()
            shell.stdout.readline()
            theirs.append(time.perf_counter() - began)
            time.sleep(0.02)
        shell.stdin.close()
        shell.wait()
        heard.close()
    agent, hook_time = quartet(ours), quartet(theirs)
    return {
        "rounds": rounds,
        "agent": agent,
        "hook": hook_time,
        "median_at_most_the_hooks": agent["median_ms"] <= hook_time["median_ms"],
        "p99_at_most_three_times": agent["p99_ms"] <= 3 * hook_time["median_ms"],
    }


# --- start -----------------------------------------------------------------------------------------------


def start_many(uplinks: int, more: str = "", policies: int = 0) -> dict[str, object]:
    """Measure the time from exec to the full state: the rule of the last uplink, and all nexthops."""
    with box(uplinks, more=more) as found:
        return started(found, uplinks, policies)


def started(found: Box, uplinks: int, policies: int) -> dict[str, object]:
    """Start the agent, and measure that."""
    heard = listener(found.name)
    heard.settimeout(10)
    began = time.perf_counter()
    with found.log.open("a") as log:
        found.agent = subprocess.Popen(
            found.command("run", "--config", str(found.config_file)), stderr=log, text=True
        )
    # The agent adds the rule of the ECMP table last.
    first = 0.0
    while True:
        data = heard.recv(1 << 18)
        now = time.perf_counter()
        first = first or now
        if any(
            kind == wire.NEWRULE and (rule := wire.rule(payload, {})) and rule.priority == 222 + policies
            for kind, _, _, payload in wire.messages(data)
        ):
            break
    heard.close()
    full = legs(found) == uplinks and found.rules().count("proto 78") == 2 * uplinks + 2 + policies
    return {
        "uplinks": uplinks,
        "policies": policies,
        "full_state": full,
        "from_exec_s": round(now - began, 3),
        "writing_ms": round(1000 * (now - first), 1),
    }


# --- policies --------------------------------------------------------------------------------------------


def policies(uplinks: int, count: int, rounds: int) -> dict[str, object]:
    """Measure the start, and how long after an uplink's loss of carrier its policy goes by the next tier.

    Policy N has uplink N as its first tier, and all others of the box share as its second. The time begins
    with the kernel's event.
    """
    text = "".join(
        f'[[policy]]\nname = "p{n}"\nport = {1000 + n}\nprotocol = "udp"\nuplinks = ["u{n}", "u*"]\n'
        for n in range(count)
    )
    took = []
    watch_closely()
    with box(uplinks, more="[health]\nchecks = []\n" + text) as found:
        start_result = started(found, uplinks, count)
        wait = time.perf_counter() + 20
        while not found.log.read_text().count("running: ") and time.perf_counter() < wait:
            time.sleep(0.01)
        time.sleep(1)
        for turn in range(rounds):
            number = turn % count
            for state, shared in (("down", True), ("up", False)):
                took.append(one_change(found, number, state, shared=shared))
                time.sleep(0.1)
    return {**start_result, "changes": len(took), "change": quartet(took)}


def one_change(found: Box, number: int, state: str, *, shared: bool) -> float:
    """Take an uplink's carrier, or give it back; return the seconds until its policy's route has changed.

    `shared`: the new route goes by several uplinks.
    """
    heard = listener(found.name)
    heard.settimeout(5)
    process = subprocess.Popen(["ip", "-n", found.far, "link", "set", f"p{number}", state])
    began = took = 0.0
    while not took:
        data = heard.recv(1 << 18)
        now = time.perf_counter()
        for kind, _, _, payload in wire.messages(data):
            if kind == wire.NEWLINK and not began:
                began = now
            route = wire.route(payload, {}) if kind == wire.NEWROUTE else None
            if route and route.table == 7801 + number and bool(route.nexthop_id) is shared:
                # The agent may look, for another reason, before the kernel tells of the link.
                took = now - began if began else 1e-6
    process.wait()
    heard.close()
    return took


# --- storm -----------------------------------------------------------------------------------------------


def storm(changes: int, seconds: float) -> dict[str, object]:
    """Change addresses at an even rate; measure how long after the last change everything is right."""
    with box(8) as found:
        start(found, wait=lambda: legs(found) == 8)
        before = found.state()
        batch = subprocess.Popen(
            ["ip", "-n", found.name, "-batch", "-"], stdin=subprocess.PIPE, text=True, bufsize=1
        )
        assert batch.stdin is not None
        cpu = cpu_seconds(found)
        began = time.perf_counter()
        for turn in range(changes):
            verb = "del" if turn % 2 == 0 else "add"
            number = turn // 2 % 8
            batch.stdin.write(f"addr {verb} 10.0.{number}.10/24 dev u{number}\n")
            batch.stdin.flush()
            pause = began + (turn + 1) * seconds / changes - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
        batch.stdin.close()
        batch.wait()
        last = time.perf_counter()
        while found.state() != before:
            if time.perf_counter() - last > 10:
                raise SystemExit("not right after 10 s")
        right = time.perf_counter() - last
        cpu = cpu_seconds(found) - cpu
    return {
        "changes": changes,
        "in_s": round(last - began, 2),
        "right_after_ms": round(1000 * right, 1),
        "agent_cpu_s": round(cpu, 2),
    }


# --- flaps -----------------------------------------------------------------------------------------------


def agent_pid(found: Box) -> int:
    """Return the agent's PID: `ip netns exec` replaces itself by the agent."""
    assert found.agent is not None
    return found.agent.pid


def cpu_seconds(found: Box) -> float:
    """Return the processor time that the agent has used, in seconds."""
    fields = Path(f"/proc/{agent_pid(found)}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(found: Box) -> int:
    """Return the agent's resident memory in KiB."""
    text = Path(f"/proc/{agent_pid(found)}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


def open_files(found: Box) -> int:
    return len(list(Path(f"/proc/{agent_pid(found)}/fd").iterdir()))


def flaps(count: int) -> dict[str, object]:
    """Set a link down and up as fast as `ip` can; measure memory and files. The first tenth is warm-up."""
    with box(4) as found:
        start(found, wait=lambda: legs(found) == 4)
        marks = []
        began = time.perf_counter()
        for tenth in range(10):
            lines = "link set u1 down\nlink set u1 up\n" * (count // 10)
            sh_input(found, lines)
            time.sleep(0.3)
            marks.append((resident(found), open_files(found)))
            print(f"  {(tenth + 1) * count // 10}: {marks[-1][0]} KiB, {marks[-1][1]} files", file=sys.stderr)
        took = time.perf_counter() - began
        time.sleep(2)
        whole = legs(found) == 4
    return {
        "flaps": count,
        "took_s": round(took, 1),
        "memory_kib": [memory for memory, _ in marks],
        "open_files": [files for _, files in marks],
        "right_at_the_end": whole,
    }


def sh_input(found: Box, lines: str) -> None:
    """Run a batch of `ip` in the box."""
    batch = found.folder / "batch"
    batch.write_text(lines)
    sh("ip", "-n", found.name, "-batch", str(batch))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["latency", "start", "policies", "storm", "flaps"])
    parser.add_argument("--rounds", type=int, default=200, help="latency: how many address events")
    parser.add_argument("--flaps", type=int, default=10_000)
    args = parser.parse_args()
    runs: dict[str, Callable[[], dict[str, object]]] = {
        "latency": lambda: latency(args.rounds),
        "start": lambda: start_many(64),
        "policies": lambda: policies(64, 20, 40),
        "storm": lambda: storm(1000, 5.0),
        "flaps": lambda: flaps(args.flaps),
    }
    print(json.dumps(runs[args.what](), indent=2))


if __name__ == "__main__":
    main()
