"""Compares the sender's modes on many kinds of bonds, in virtual time, and prints a table.

python -m bench.bonding [--jobs N] [--only WORD] [--seconds S] [--latency S] [--seeds N]
                        [--modes adaptive,classic] [--part K/N] [--wild SEED [--random N]]
python -m bench.bonding --cost

Each row is a bond with a stream and an offered rate. For each mode, it has two columns: the payload lost in
percent, and the datagrams sent per packet delivered; both are the mean over the seeds. The simulator is
tests/bondsim.py; its figures agree with a benchmark over real sockets (bench/README.md). `--wild` uses N
random bonds instead, half of them with outages, handovers, fading and lost acknowledgements. `--cost`
measures the CPU time per packet of the state machine, without sockets.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from statistics import fmean
from typing import Any

from bench.bonds import NAMED, Case, cases, wild_cases
from netbond.config.schema import MODES
from netbond.srtla.modes import make_carrier
from netbond.srtla.sender import Sender
from tests.bondsim import Outcome, Simulation

TOLERANCE = 0.1  # percentage points of loss by which adaptive may be worse than classic by chance


def play(work: tuple[Case, str, float, float, int]) -> Outcome:
    """Simulate one run."""
    case, mode, latency, seconds, seed = work
    simulation = Simulation(
        list(case.links),
        lambda rnd, now: Sender(rnd, make_carrier(mode), now),
        mbps=case.mbps,
        seconds=seconds,
        latency=latency,
        seed=seed,
        hiccup=0.002,
        shape=case.shape,
    )
    return simulation.run()


class Timed:
    """Wraps a sender, and adds up the time of its calls."""

    def __init__(self, sender: Sender) -> None:
        self.spent = 0.0
        self._sender = sender

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._sender, name)

        def timed(*args: Any, **more: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **more)
            finally:
                self.spent += time.perf_counter() - start

        setattr(self, name, timed)
        return timed


def show_cost(latency: float) -> None:
    """Print the cost of a packet in each mode's state machine: the minimum of five runs."""
    print("| bond | Mbit/s | " + " | ".join(f"{mode}, us per packet" for mode in MODES) + " |")
    print("|---|---|" + "---|" * len(MODES))
    for name, links, mbps in (
        ("clean3", NAMED["clean3"], 8.0),
        ("clean3", NAMED["clean3"], 12.4),
        ("wide4", ["up=100,down=100,delay=5"] * 4, 20.0),
        ("wide4", ["up=100,down=100,delay=5"] * 4, 120.0),
    ):
        cells = []
        for mode in MODES:
            runs = []
            for seed in range(5):
                timed: list[Timed] = []

                def make(rnd: Any, now: float, mode: str = mode, timed: list[Timed] = timed) -> Any:
                    timed.append(Timed(Sender(rnd, make_carrier(mode), now)))
                    return timed[0]

                simulation = Simulation(links, make, mbps=mbps, seconds=3, latency=latency, seed=seed)
                simulation.run()
                runs.append(timed[0].spent / simulation.offered * 1e6)
            cells.append(f"{min(runs):.1f}")
        print(f"| {name} | {mbps} | {' | '.join(cells)} |", flush=True)


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="only rows with this in their name")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="only the K-th of N parts of the rows")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--latency", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--random", type=int, default=60)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--links", action="store_true", help="show the links of random bonds")
    parser.add_argument("--wild", type=int, metavar="SEED", help="other random bonds instead")
    parser.add_argument("--cost", action="store_true", help="CPU time per packet instead")
    args = parser.parse_args()
    if args.cost:
        show_cost(args.latency)
        return 0
    modes = args.modes.split(",")
    part, parts = (int(word) for word in args.part.split("/"))
    rows = cases(args.random) if args.wild is None else wild_cases(args.wild, args.random)
    chosen = [case for case in rows if args.only in case.name]
    chosen = chosen[len(chosen) * (part - 1) // parts : len(chosen) * part // parts]
    seeds = range(1, args.seeds + 1)
    work = [
        (case, mode, args.latency, args.seconds, seed) for case in chosen for mode in modes for seed in seeds
    ]
    print("| bond | Mbit/s | " + " | ".join(f"{m} lost % | sent" for m in modes) + " |")
    print("|---|---|" + "---|---|" * len(modes))
    worse = 0
    with multiprocessing.Pool(args.jobs) as pool:
        outcomes = pool.imap(play, work)
        for case in chosen:
            lost, sent = {}, {}
            for mode in modes:
                runs = [next(outcomes) for _ in seeds]
                lost[mode] = fmean(run.lost_pct for run in runs)
                sent[mode] = fmean(run.overhead for run in runs)
            cells = " | ".join(f"{lost[mode]:.2f} | {sent[mode]:.3f}" for mode in modes) + " |"
            if len(modes) == len(MODES) and lost["adaptive"] > lost["classic"] + TOLERANCE:
                worse += 1
                cells += " **worse** |"
            shown = f" {case.links}" if args.links and case.name.startswith(("random", "wild")) else ""
            print(f"| {case.name} | {case.mbps:.2f} | {cells}{shown}", flush=True)
    print(f"\n{worse} of {len(chosen)} worse than classic by more than {TOLERANCE} points")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
