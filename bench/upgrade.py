"""Replaces netbond under a running stream by another version, and counts what the stream loses. Needs root.

    sudo .venv/bin/python bench/upgrade.py                     from and to 0.1.0 (commit 73643462)
    sudo .venv/bin/python bench/upgrade.py --before COMMIT     from and to another one
    sudo .venv/bin/python bench/upgrade.py --latency 2000      SRT's latency in ms (default 1000)

In a lab with four modems (docs/lab.md), one of them with a data plan, agent and receiver run from a folder of
their own, which first has the earlier version. For each step a stream of 8 Mbit/s flows for 12 s. After 4 s
the package is replaced, and a second later the agent or the receiver is stopped by SIGTERM and started, as
`systemctl restart` does: the agent is upgraded, the receiver, and both go back again. Said are lost packets,
for how long nothing arrived in time, what the uplinks and the data plan are after each step, and each
warning in the log of a program that has just started.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from netbond.lab import boxfiles, programs
from netbond.lab.lab import Lab
from netbond.lab.stream import Stream
from tests.netns.box import wait_for

ROOT = Path(__file__).parents[1]
BEFORE = "73643462"  # the last commit of 0.1.0 whose changes are not of 0.2.0
SECONDS, REPLACED_AT_S, RESTARTED_AT_S, MBPS = 12.0, 4.0, 5.0, 8.0
DEVICES = ("usb0", "usb1", "usb2", "usb3")
PLAN = '\n[[uplink]]\nmatch = "usb0"\nbudget = "1GB"\n'


class Site:
    """The folder from which netbond is imported, and the versions that may lie there."""

    def __init__(self, folder: Path, before: str) -> None:
        self.folder = folder / "site"
        self._versions = {"before": folder / "before", "now": folder / "now"}
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", before, "netbond"], stdout=subprocess.PIPE, check=True
        ).stdout
        self._versions["before"].mkdir()
        subprocess.run(["tar", "-x", "-C", str(self._versions["before"])], input=archive, check=True)
        shutil.copytree(
            ROOT / "netbond", self._versions["now"] / "netbond", ignore=shutil.ignore_patterns("*.so")
        )
        self.folder.mkdir()
        for version in self._versions.values():  # as pip does
            subprocess.run([sys.executable, "-m", "compileall", "-q", str(version)], check=True)
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        self.put("before")

    def put(self, version: str) -> None:
        """Replace the package by another version, as pip does: remove, then write."""
        place = self.folder / "netbond"
        if place.exists():
            shutil.rmtree(place)
        shutil.copytree(self._versions[version] / "netbond", place)


@contextlib.contextmanager
def running_lab(site: Site) -> Iterator[Lab]:
    """A lab whose agent and receiver come from the site."""
    with Lab(f"u{os.getpid()}", devices=DEVICES) as lab:
        command = lab.state_dir / "bin" / "netbond"
        python = shlex.quote(sys.executable)
        command.write_text(f'#!/bin/sh\nPYTHONPATH={site.folder} exec {python} -P -m netbond "$@"\n')
        lab.config.write_text(boxfiles.config_text(lab.topology, lab.state_dir, sender=True) + PLAN)
        lab.wait_for_leases()
        start_receiver(lab)
        lab.start_agent()
        wait_for(lambda: connected(lab), 20, "the sender is connected over all links")
        yield lab


def connected(lab: Lab) -> bool:
    """Whether the sender has all links up."""
    with contextlib.suppress(Exception):
        (engine,) = lab.agent_status()["engines"]
        links = (engine["stats"] or {}).get("links", ())
        return [link["state"] for link in links] == ["up"] * len(DEVICES)
    return False


def restart_agent(lab: Lab) -> None:
    """As `systemctl restart netbond`."""
    lab.stop("agent", grace_s=10)
    lab.start_agent()


def start_receiver(lab: Lab) -> None:
    """As netbond-recv.service does; that of 0.1.0 keeps nothing for its successor."""
    command = programs.receiver(lab.state_dir / "bin" / "netbond")
    said = lab.exec_in(lab.topology.net, [*command, "--help"], capture_output=True).stdout
    if "--resume-file" in said:
        command.append(f"--resume-file={lab.state_dir}/receiver.json")
    lab.start("receiver", lab.topology.net, command)


def restart_receiver(lab: Lab) -> None:
    """As `systemctl restart netbond-recv`."""
    lab.stop("receiver", grace_s=10)
    start_receiver(lab)


def step(lab: Lab, site: Site, version: str, restart: Callable[[Lab], None], latency_ms: int) -> str:
    """One replacement under a stream: what it cost."""
    stream = Stream(lab, mbps=MBPS, duration_s=SECONDS, latency_ms=latency_ms)
    todo = iter(
        [
            (REPLACED_AT_S, lambda: site.put(version)),
            (RESTARTED_AT_S, lambda: restart(lab)),
        ]
    )
    due, took = next(todo), [0.0]

    def tick() -> None:
        nonlocal due
        if due is not None and stream.started and time.monotonic() - stream.started >= due[0]:
            began = time.monotonic()
            due[1]()
            took[0] = time.monotonic() - began
            due = next(todo, None)  # type: ignore[arg-type, assignment]

    log = lab.logs / ("agent.log" if restart is restart_agent else "receiver.log")
    report = stream.run(tick)
    gaps = ", ".join(f"{first} to {last}" for first, last in report.lost_ranges) or "none"
    wait_for(lambda: connected(lab), 20, "connected again")
    status = lab.agent_status()
    plan = status["metered"]["uplinks"] if "uplinks" in status["metered"] else status["metered"]
    lines = [
        f"  {report.lost} of {report.sent} packets lost ({gaps}); the restart took {took[0]:.2f} s;"
        f" delay at most {report.delay_ms['max']:.0f} ms {report.trouble}",
        f"  uplinks: {', '.join(u['device'] + ' ' + u['state'] for u in status['uplinks'])}; plan: {plan}",
    ]
    text = log.read_text(errors="replace")
    lines += [f"  | {line}" for line in text.splitlines()[-60:] if "WARN" in line or "ignored" in line]
    return "\n".join(lines)


def main() -> int:
    """Run all steps; 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--before", metavar="COMMIT", default=BEFORE)
    parser.add_argument("--latency", metavar="MS", type=int, default=1000)
    args = parser.parse_args()
    steps: list[tuple[str, str, Callable[[Lab], None]]] = [
        ("the agent is upgraded", "now", restart_agent),
        ("the receiver is upgraded", "now", restart_receiver),
        ("the receiver is restarted", "now", restart_receiver),
        ("the agent is restarted", "now", restart_agent),
        ("the receiver goes back", "before", restart_receiver),
        ("the agent goes back", "before", restart_agent),
        ("the agent is upgraded again", "now", restart_agent),
    ]
    with tempfile.TemporaryDirectory(prefix="netbond-upgrade-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        site = Site(folder, args.before)
        with running_lab(site) as lab:
            for title, version, restart in steps:
                print(f"{title}:", flush=True)
                print(step(lab, site, version, restart, args.latency), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
