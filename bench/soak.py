"""Runs a box for hours with flaps, renewals and streams, and fails if something grows. Needs root.

    sudo scripts/soak HOURS [--seed 1] [--mbps 1] [--out soak]

The box is a lab's (docs/lab.md): four modems, two of them twins, real DHCP clients that renew each minute,
the agent with its sender, and a receiver. Streams of ten minutes run one after the other. At random, one
modem at a time is unplugged, or its radio link or its carrier goes for some seconds; the configuration is
read again; an uplink is set off. Once a minute memory, descriptors and processor of each process are read. At
the end there are OUT.csv and OUT.svg, and a table; the status is 1 if something has grown, a process had to
be started again, the rules are not those of the beginning, or more packets were lost than MOST_LOST.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.chart import Series, chart
from netbond.errors import NetbondError
from netbond.lab.demo import rules_text
from netbond.lab.lab import Lab
from netbond.lab.stream import Stream

LEASE_S = 120  # dnsmasq's least: renewed after half of it
STREAM_S = 600.0
SAMPLE_S = 60.0
QUIET_S = (15.0, 60.0)  # between two disturbances
READY_S = 60.0
MOST_LOST = 0.001  # of the packets
# More than this above what it was in the second quarter of the run is growth. Of the memory nothing is read
# from files (RssAnon), so that a busy page cache does not count.
GROWTH_MB, GROWTH_SHARE, GROWTH_DESCRIPTORS, GROWTH_CPU = 1.0, 0.03, 2, 0.01
PROCESSES = ("agent", "sender", "receiver")
COLOURS = ("#1f77b4", "#d62728", "#2ca02c")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a process has at one time."""

    pid: int
    memory_mb: float
    descriptors: int
    threads: int
    cpu_s: float  # since it started


@dataclass(slots=True)
class Sample:
    """One minute."""

    minute: float  # since the first one
    readings: dict[str, Reading]  # by process
    load: float  # of the machine
    sent: int  # packets of streams, since the start
    lost: int  # of streams that have ended
    disturbances: int
    cpu: dict[str, float] = field(default_factory=dict)  # share of a core since the sample before


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of one process: the medians of the second and of the last quarter of the run."""

    process: str
    measure: str
    early: float
    late: float
    most: float
    grown: bool


def read(pid: int) -> Reading:
    """Read a process; OSError if it is gone."""
    proc = Path("/proc", str(pid))
    words = {name: rest.split() for name, _, rest in
             (line.partition(":") for line in (proc / "status").read_text().splitlines())}  # fmt: skip
    # The second field may have blanks and brackets: a program's name.
    times = (proc / "stat").read_text().rpartition(")")[2].split()
    return Reading(
        pid,
        (int(words["RssAnon"][0]) + int(words["VmSwap"][0])) / 1024,
        len(os.listdir(proc / "fd")),  # noqa: PTH208 - only their number
        int(words["Threads"][0]),
        (int(times[11]) + int(times[12])) / TICKS_PER_S,
    )


def rows(samples: Sequence[Sample]) -> list[Row]:
    """Compare the quarters. Pure."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[len(samples) - quarter :]
    found = []
    for process in PROCESSES:
        for measure, slack, share in (
            ("memory MB", GROWTH_MB, GROWTH_SHARE),
            ("descriptors", GROWTH_DESCRIPTORS, 0.0),
            ("threads", GROWTH_DESCRIPTORS, 0.0),
            ("CPU % of a core", 100 * GROWTH_CPU, 0.5),
        ):
            before, after, all_ = (
                [value(sample, process, measure) for sample in part] for part in (early, late, samples)
            )
            then, now = statistics.median(before), statistics.median(after)
            grown = now > then + max(slack, share * then)
            found.append(Row(process, measure, then, now, max(all_), grown))
    return found


def value(sample: Sample, process: str, measure: str) -> float:
    """One value of a sample."""
    reading = sample.readings[process]
    return {
        "memory MB": reading.memory_mb,
        "descriptors": float(reading.descriptors),
        "threads": float(reading.threads),
        "CPU % of a core": 100 * sample.cpu.get(process, 0.0),
    }[measure]


def table(found: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| process | measure | second quarter | last quarter | most | grown |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.process} | {row.measure} | {row.early:.1f} | {row.late:.1f} | {row.most:.1f} |"
        f" {'yes' if row.grown else 'no'} |"
        for row in found
    ]
    return "\n".join(lines)


class Soak:
    """One run."""

    def __init__(self, lab: Lab, seed: int, mbps: float, seconds: float) -> None:
        self.lab = lab
        self.random = random.Random(seed)
        self.mbps, self.seconds = mbps, seconds
        self.samples: list[Sample] = []
        self.faults: list[str] = []
        self.disturbances: dict[str, int] = {}
        self.sent = self.lost = self.streams = 0
        self.restarts = 0
        self._stream: Stream | None = None
        self._stop = threading.Event()
        self._first: dict[str, int] = {}  # process ids at the start
        self._began = 0.0

    def run(self) -> None:
        """Run for the given time; what went wrong is in `faults`."""
        self._wait_until_all_are_up()
        rules = self._rules()
        self._began = time.monotonic()
        self._first = self._pids()
        helpers = [threading.Thread(target=each) for each in (self._disturb, self._watch)]
        for helper in helpers:
            helper.start()
        try:
            while (left_s := self._began + self.seconds - time.monotonic()) > 0:
                self._one_stream(min(STREAM_S, max(1.0, left_s)))
        finally:
            self._stop.set()
            for helper in helpers:
                helper.join()
        self._wait_until_all_are_up()
        self._sample()
        if self._rules() != rules:
            self.faults.append(f"the rules are not those of the beginning:\n{rules_text(self.lab)}")
        if self._pids() != self._first:
            self.faults.append(f"processes have changed: {self._first} are now {self._pids()}")
        if self.lost > MOST_LOST * self.sent:
            self.faults.append(f"{self.lost} of {self.sent} packets were lost")

    def _one_stream(self, seconds: float) -> None:
        self._stream = Stream(self.lab, mbps=self.mbps, duration_s=seconds, latency_ms=2000)
        try:
            report = self._stream.run()
        except NetbondError as error:
            self.faults.append(f"minute {self._minute():.0f}: {error}")
            time.sleep(1)
            return
        self._stream = None
        self.streams += 1
        self.sent += report.sent
        self.lost += report.lost
        if report.trouble:
            self.faults.append(f"minute {self._minute():.0f}: {report.trouble}")
        print(f"minute {self._minute():.0f}: stream of {seconds:.0f} s, {report.lost} of {report.sent} lost")

    def _rules(self) -> list[str]:
        return sorted(rules_text(self.lab).splitlines())  # those of one priority have no fixed order

    def _minute(self) -> float:
        return (time.monotonic() - self._began) / 60

    def _pids(self) -> dict[str, int]:
        status = self.lab.agent_status()
        agent, receiver = self.lab.process("agent"), self.lab.process("receiver")
        assert agent is not None
        assert receiver is not None
        return {"agent": agent.pid, "sender": int(status["engines"][0]["pid"] or 0), "receiver": receiver.pid}

    def _all_are_up(self) -> bool:
        try:
            status = self.lab.agent_status()
        except NetbondError:
            return False
        links = (status["engines"][0]["stats"] or {}).get("links", ()) if status["engines"] else ()
        return sum(link["state"] == "up" for link in links) == len(self.lab.topology.modems)

    def _wait_until_all_are_up(self) -> None:
        deadline = time.monotonic() + READY_S
        while not self._all_are_up():
            if time.monotonic() > deadline:
                self.faults.append(f"not all links were up within {READY_S:g} s")
                return
            time.sleep(0.5)

    # --- once a minute

    def _watch(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += SAMPLE_S
            try:
                self._sample()
            except (OSError, NetbondError) as error:
                self.faults.append(f"minute {self._minute():.0f}: {error}")

    def _sample(self) -> None:
        sent = self.sent + (self._stream.sent if self._stream is not None else 0)
        readings = {process: read(pid) for process, pid in self._pids().items()}
        sample = Sample(
            self._minute(), readings, os.getloadavg()[0], sent, self.lost, sum(self.disturbances.values())
        )
        if self.samples:
            before = self.samples[-1]
            seconds = max(1e-3, 60 * (sample.minute - before.minute))
            for process, now in readings.items():
                then = before.readings[process]
                if now.pid == then.pid:
                    sample.cpu[process] = (now.cpu_s - then.cpu_s) / seconds
        self.samples.append(sample)

    # --- what happens to the box

    def _disturb(self) -> None:
        while not self._stop.wait(self.random.uniform(*QUIET_S)):
            device = self.random.choice(self.lab.topology.modems).device
            kind = self.random.choice(["unplugged", "outage", "carrier", "unplugged", "reload", "set off"])
            self.disturbances[kind] = self.disturbances.get(kind, 0) + 1
            pause_s = self.random.uniform(1.0, 12.0)
            try:
                self._one_disturbance(kind, device, pause_s)
            except (OSError, NetbondError) as error:
                self.faults.append(f"minute {self._minute():.0f}: {kind} of {device}: {error}")

    def _one_disturbance(self, kind: str, device: str, pause_s: float) -> None:
        lab = self.lab
        if kind == "reload":
            os.kill(self._first["agent"], signal.SIGHUP)
            return
        if kind == "unplugged":
            lab.unplug(device)
        elif kind == "set off":
            lab.box_exec(["netbond", "set", device, "off"], capture_output=True, check=False)
        else:
            lab.impair(device, "off" if kind == "outage" else "carrier=off")
        self._stop.wait(pause_s)
        if kind == "unplugged":
            lab.plug(device)
        elif kind == "set off":
            lab.box_exec(["netbond", "unset", device], capture_output=True, check=False)
        else:
            lab.impair(device, "on" if kind == "outage" else "carrier=on")


def write(soak: Soak, out: Path) -> None:
    """Write OUT.csv and OUT.svg."""
    measures = ("memory MB", "descriptors", "threads", "CPU % of a core")
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [(process, measure) for process in PROCESSES for measure in measures]
        writer.writerow(["minute", "load", "sent", "lost", "disturbances", *map(" ".join, columns)])
        for each in soak.samples:
            values = [f"{value(each, process, measure):.2f}" for process, measure in columns]
            writer.writerow(
                [f"{each.minute:.2f}", f"{each.load:.2f}", each.sent, each.lost, each.disturbances, *values]
            )
    lines = [
        Series(
            f"{process}, MB",
            [each.minute for each in soak.samples],
            [each.readings[process].memory_mb for each in soak.samples],
            colour,
        )
        for process, colour in zip(PROCESSES, COLOURS, strict=True)
    ]
    minutes = soak.samples[-1].minute
    chart(
        out.with_suffix(".svg"),
        f"A box with flaps, renewals and streams for {minutes / 60:.1f} hours",
        "memory, MB",
        lines,
        across="min",
    )


def main() -> int:
    """Run, write, judge; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("hours", type=float)
    parser.add_argument("--seed", type=int, default=1, help="of what happens (1)")
    parser.add_argument("--mbps", type=float, default=1.0, help="of the stream (1)")
    parser.add_argument(
        "--out", type=Path, default=Path("soak"), help="files to write: OUT.csv, OUT.svg (soak)"
    )
    args = parser.parse_args()
    lab = Lab(f"soak{os.getpid()}", 4, twins=(2, 3), lease_seconds=LEASE_S, receiver=True, agent=True)
    with lab:
        soak = Soak(lab, args.seed, args.mbps, 3600 * args.hours)
        try:
            soak.run()
        except KeyboardInterrupt:
            soak.faults.append("ended early")
        seconds = 60 * soak._minute()
        if soak.faults:
            print((lab.logs / "agent.log").read_text(errors="replace")[-4000:], file=sys.stderr)
    if len(soak.samples) < 8:
        soak.faults.append("shorter than eight minutes: growth cannot be judged")
        found = []
    else:
        write(soak, args.out)
        found = rows(soak.samples)
    happened = ", ".join(f"{kind} {count}" for kind, count in sorted(soak.disturbances.items()))
    print(f"{seconds / 3600:.2f} hours, {soak.streams} streams, {soak.lost} of {soak.sent} packets lost")
    print(f"disturbances: {happened}; renewals each {LEASE_S / 2:.0f} s or so")
    print(table(found))
    soak.faults += [f"{row.process}: {row.measure} has grown" for row in found if row.grown]
    for fault in soak.faults:
        print(f"FAIL  {fault}")
    return 1 if soak.faults else 0


if __name__ == "__main__":
    sys.exit(main())
