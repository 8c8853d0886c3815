"""Compares the sender's modes on many kinds of bonds, in virtual time, and prints a table.

python -m bench.bonding [--jobs N] [--only WORD] [--seconds S] [--latency S] [--seeds N]
                        [--modes adaptive,classic] [--receivers belabox,netbond,go-srtla,irlserver]
                        [--part K/N] [--wild] [--random N] [--date DATE]
                        [--summary-only] [--json FILE] [--set NAME=VALUE]... [--sweep NAME=A,B,...]
python -m bench.bonding --compare OLD.json NEW.json
python -m bench.bonding --cost

Each row is a bond with a stream and an offered rate. For each mode, it has two columns: the payload lost in
percent, and the datagrams sent per packet delivered; both are the mean over the seeds. The last column is the
loss of an ideal scheduler. The simulator is tests/bondsim.py; its figures agree with a benchmark over real
sockets (bench/README.md). `--compare` shows what changed between two runs of the same rows, perhaps by two
checkouts, with the confidence of the means. `--set` changes parameters of the adaptive mode, and `--sweep`
prints a summary for each value of one, and how it differs from the first. `--receivers` has columns for each
of these SRTLA receivers (tests/bondreceivers.py); that of netbond is the real one.

Random bonds (60, or N) are drawn from the date of the run, so that nobody has tuned anything with them;
`--date` draws those of another day again. `--wild` has only random bonds (240, or N), half of them with
outages, handovers, fading and lost acknowledgements. `--cost` measures the CPU time per packet of the state
machine, without sockets.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.bonds import NAMED, cases, wild_cases
from bench.columns import Column, Task, measure, parameters, parse_change, parse_sweep
from bench.table import ORACLE, Results, against_first, compare, heading, line, load, save, summary
from netbond.config.schema import MODES
from netbond.srtla.modes import make_carrier
from netbond.srtla.sender import Sender
from tests.bondreceivers import RECEIVERS
from tests.bondsim import Simulation


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


def chosen_columns(
    modes: list[str], receivers: list[str], changes: list[str], sweep: str | None
) -> list[Column]:
    """Return the table's columns without the oracle's; ValueError if a name or a value is wrong."""
    for kind, names, known in (("mode", modes, MODES), ("receiver", receivers, RECEIVERS)):
        for name in names:
            if name not in known:
                raise ValueError(f"unknown {kind} {name!r}; there are {', '.join(known)}")
    fixed = tuple(parse_change(text) for text in changes)
    kinds = [("adaptive", f"{change[0]}={change[1]}", (*fixed, change)) for change in parse_sweep(sweep)]
    kinds = kinds or [(mode, mode, fixed) for mode in modes]
    columns = [
        Column(name if len(receivers) == 1 else f"{name}, {receiver}", mode, receiver, changes_made)
        for receiver in receivers
        for mode, name, changes_made in kinds
    ]
    for column in columns:
        if column.changes:
            parameters(column.changes)
    return columns


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="only rows with this in their name")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="only the K-th of N parts of the rows")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--latency", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--wild", action="store_true", help="only random bonds, half of them wild")
    parser.add_argument("--random", type=int, metavar="N", help="how many random bonds")
    parser.add_argument(
        "--date",
        default=datetime.now(UTC).date().isoformat(),
        help="draw the random bonds from this instead of today's date (UTC), %(default)s",
    )
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--receivers", default="belabox", help="of " + ",".join(RECEIVERS))
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a parameter of adaptive"
    )
    parser.add_argument("--sweep", metavar="NAME=A,B,...", help="adaptive with each value: a summary of each")
    parser.add_argument("--links", action="store_true", help="show the links of random bonds")
    parser.add_argument("--cost", action="store_true", help="CPU time per packet instead")
    parser.add_argument("--summary-only", action="store_true", help="no rows, only the summary")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all runs to this file")
    parser.add_argument(
        "--compare", type=Path, nargs=2, metavar=("OLD", "NEW"), help="two such files instead"
    )
    args = parser.parse_args()
    if args.cost:
        show_cost(args.latency)
        return 0
    if args.compare:
        try:
            print(compare(*map(load, args.compare)))
        except (OSError, ValueError) as error:
            parser.error(str(error))
        return 0
    try:
        columns = chosen_columns(args.modes.split(","), args.receivers.split(","), args.set, args.sweep)
    except ValueError as error:
        parser.error(str(error))
    rows = not args.summary_only and not args.sweep
    part, parts = (int(word) for word in args.part.split("/"))
    draw, usual = (wild_cases, 240) if args.wild else (cases, 60)
    drawn = draw(args.date, usual if args.random is None else args.random)
    chosen = [case for case in drawn if args.only in case.name]
    chosen = chosen[len(chosen) * (part - 1) // parts : len(chosen) * part // parts]
    if not chosen:
        parser.error(f"no row has {args.only!r} in its name")
    runs_of_row = [(column, seed) for column in columns for seed in range(1, args.seeds + 1)] + [(None, 0)]
    tasks = [
        Task(case, column, args.latency, args.seconds, seed)
        for case in chosen
        for column, seed in runs_of_row
    ]
    results = Results({"latency": args.latency, "seconds": args.seconds}, [])
    print(f"latency {args.latency:g} s, random bonds of {args.date}\n")
    if rows:
        print(heading([*(column.name for column in columns), ORACLE]))
    with multiprocessing.Pool(args.jobs) as pool:
        outcomes = pool.imap(measure, tasks)
        for case in chosen:
            runs = [next(outcomes) for _ in runs_of_row]
            results.runs.extend(runs)
            if rows:
                shown = f" {case.links}" if args.links and case.name.startswith(("random", "wild")) else ""
                print(line(runs) + shown, flush=True)
    print(("\n" if rows else "") + summary(results))
    if args.sweep:
        print("\n" + against_first(results))
    if args.json:
        save(results, args.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
