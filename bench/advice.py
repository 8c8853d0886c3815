"""Measures what an encoder that follows our advice gets over a bond, in virtual time, beside other rates.

python -m bench.advice [--jobs N] [--only WORD] [--seconds S] [--latency S] [--seed N]
                       [--scenarios FILE | --wild N [--date DATE]]
python -m bench.advice --picture FILE.svg --only NAME [--scenarios FILE] [--seconds S] [--latency S]

A row is a bond. All columns are Mbit/s of payload that arrived in time:

- links: what the links can carry;
- fixed: the highest fixed rate of which adaptive loses at most 0.1 %;
- advised: an encoder of 30 frames a second, each 60th five times as large, that follows our advice 200 ms
  late;
- ideal fixed, ideal advised: the same two for one queue before all links, from which each packet takes the
  link that can send it first. The ideal advice is k times what the links could carry in the last seconds,
  known 200 ms late, less half of what waits a second; the best of some k and times;
- SRT's figures: an encoder with belacoder's law as far as it is known from outside (tests/bondencoder.py).

Behind advised and SRT's figures: what was lost in percent, and the seconds in which something was lost.
`--scenarios` names a JSON file, {name: [links]}, as tests/bondlinks.py reads them; traces lie beside it.
Without it, the rows are the bonds of tests/bondsim.py. `--wild` has N random bonds, drawn from the date, in
their place.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.bonds import wild_cases
from bench.chart import Series, chart
from netbond.srtla.modes import make_carrier
from netbond.srtla.sender import Sender
from tests.bondlinks import parse_link
from tests.bondsim import BONDS, PAYLOAD, SIZE, Simulation, chances_of, least_loss

ALLOWED: Final = 0.1  # percent that may be lost
MOST: Final = 60.0  # Mbit/s, the encoder's most
PRECISION: Final = 0.02  # of a rate that is searched for
LEAST: Final = 0.3  # Mbit/s, the encoder's least


@dataclass(frozen=True, slots=True)
class Row:
    """A bond to be measured."""

    name: str
    links: tuple[str, ...]
    folder: Path
    latency: float  # s
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True)
class Result:
    """What an encoder got."""

    mbps: float
    lost: float = 0.0  # percent
    bad_seconds: int = 0


def simulation(row: Row, mbps: float, *, follows: bool = False, adapts: bool = False) -> Simulation:
    """Return a stream in adaptive mode over the bond."""
    return Simulation(
        list(row.links),
        lambda rnd, now: Sender(rnd, make_carrier("adaptive"), now),
        mbps=mbps,
        seconds=row.seconds,
        latency=row.latency,
        folder=row.folder,
        seed=row.seed,
        hiccup=0.002,
        follows=follows,
        adapts=adapts,
    )


def encoder(row: Row, *, follows: bool) -> Result:
    """Measure an encoder that follows our advice, or SRT's figures."""
    most = MOST if follows else 1.3 * capacity(row)  # half of it is the encoder's first rate
    outcome = simulation(row, most, follows=follows, adapts=not follows).run()
    return Result(outcome.mbps, outcome.lost_pct, outcome.bad_seconds)


def highest(loss: Callable[[float], float], most: float) -> float:
    """Return the highest rate in Mbit/s, up to `most`, of which at most ALLOWED percent is lost."""
    low, high = 0.02, most
    while high - low > PRECISION * low:
        middle = (low + high) / 2
        if loss(middle) <= ALLOWED:
            low = middle
        else:
            high = middle
    return low


def fixed(row: Row) -> Result:
    """Search the highest fixed rate that adaptive carries."""
    return Result(highest(lambda mbps: simulation(row, mbps).run().lost_pct, capacity(row)))


def ideal_fixed(row: Row) -> Result:
    """Search the highest fixed rate that an ideal scheduler could carry."""

    def loss(mbps: float) -> float:
        return least_loss(list(row.links), mbps, latency=row.latency, seconds=row.seconds, folder=row.folder)

    return Result(highest(loss, capacity(row)))


def ideal_advised(row: Row) -> Result:
    """Search the best of some ideal advices."""
    chances = chances_of(list(row.links), row.seconds + row.latency + 1, folder=row.folder)
    best = Result(0.0)
    for factor in (0.7, 0.8, 0.9, 1.0, 1.1):
        for over in (0.4, 1.0, 2.0, 4.0):
            result = _follow_ideal(chances, row, factor, over)
            if result.lost <= ALLOWED and result.mbps > best.mbps:
                best = result
    return best


def _follow_ideal(chances: list[tuple[float, float]], row: Row, factor: float, over: float) -> Result:
    """Play one queue before all chances, and an encoder that follows the ideal advice.

    A chance is (leaves, arrives), in s of the simulation.
    """
    packet = PAYLOAD * 8 / 1e6  # Mbit
    leaves = [chance[0] for chance in chances]
    start = Simulation.STREAM
    waiting: deque[float] = deque()
    due = advise_at = start
    rate, sent, arrived = 1.0, 0, 0
    nearest = min(arrives - leaves for leaves, arrives in chances)
    for leave, arrive in chances:
        while due <= leave and due < start + row.seconds:
            if due >= advise_at:
                known = advise_at - 0.2
                passed = bisect_left(leaves, known) - bisect_left(leaves, known - over)
                rate = min(max(factor * passed * packet / over - 2 * len(waiting) * packet, LEAST), MOST)
                advise_at += 0.2
            waiting.append(due)
            sent += 1
            due += packet / rate
        while waiting and arrive - waiting[0] > row.latency + nearest:
            waiting.popleft()
        if waiting:
            waiting.popleft()
            arrived += 1
    return Result(arrived * packet / row.seconds, 100 * (1 - arrived / max(sent, 1)))


def capacity(row: Row) -> float:
    """Return the payload that the links can carry during the stream, in Mbit/s."""
    chances = chances_of(list(row.links), row.seconds + 1, folder=row.folder)
    leaves = [chance[0] for chance in chances]
    count = bisect_right(leaves, Simulation.STREAM + row.seconds) - bisect_left(leaves, Simulation.STREAM)
    return count * PAYLOAD * 8 / 1e6 / row.seconds


COLUMNS: dict[str, Callable[[Row], Result]] = {
    "links": lambda row: Result(capacity(row)),
    "fixed": fixed,
    "advised": lambda row: encoder(row, follows=True),
    "ideal fixed": ideal_fixed,
    "ideal advised": ideal_advised,
    "SRT's figures": lambda row: encoder(row, follows=False),
}
JUDGED: Final = ("advised", "SRT's figures")  # columns that show what was lost


def measure(task: tuple[Row, str]) -> Result:
    """Measure one cell of the table."""
    row, column = task
    return COLUMNS[column](row)


def rows(args: argparse.Namespace) -> list[Row]:
    """Return the bonds that the command line names."""
    bonds: dict[str, list[str]] = BONDS
    folder = Path()
    if args.scenarios is not None:
        bonds, folder = json.loads(args.scenarios.read_text()), args.scenarios.parent
    elif args.wild:
        bonds = {case.name: list(case.links) for case in wild_cases(args.date, args.wild)}
    limited = {name: links for name, links in bonds.items() if all(map(_has_limit, links))}
    return [
        Row(name, tuple(links), folder, args.latency, args.seconds, args.seed)
        for name, links in limited.items()
        if args.only in name
    ]


def _has_limit(spec: str) -> bool:
    if "uptrace=" in spec:
        return True
    up, _ = parse_link(spec)
    return bool(up.rate or up.trace)


def table(found: list[Row], jobs: int) -> None:
    """Print the table."""
    print(f"| bond | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    with multiprocessing.Pool(jobs) as pool:
        results = pool.imap(measure, [(row, column) for row in found for column in COLUMNS])
        for row in found:
            cells = []
            for column in COLUMNS:
                result = next(results)
                lost = f" ({result.lost:.2f} %, {result.bad_seconds})" if column in JUDGED else ""
                cells.append(f"{result.mbps:.2f}{lost}")
            print(f"| {row.name} | {' | '.join(cells)} |", flush=True)


def picture(row: Row, path: Path) -> None:
    """Draw one stream: what the links could carry, what was estimated and advised, and what arrived."""
    step = 0.2
    played = simulation(row, MOST, follows=True)
    played.run()
    count = int(row.seconds / step)
    could, arrived = [0.0] * count, [0.0] * count
    mbps = PAYLOAD * 8 / 1e6 / step
    for leaves, _ in chances_of(list(row.links), row.seconds + 1, folder=row.folder):
        index = int((leaves - Simulation.STREAM) / step)
        if 0 <= index < count:
            could[index] += mbps
    for index in played.in_time:
        at = int(played.born[index] / step)
        if at < count:
            arrived[at] += mbps
    times = [step * (index + 0.5) for index in range(count)]
    told: list[tuple[float, float, float]] = []
    for at, advised, estimate in played.advised:
        if advised is not None and (not told or at - told[-1][0] >= step / 2):
            told.append((at, advised, estimate))
    chart(
        path,
        f"{row.name}, {row.latency:g} s of latency",
        "Mbit/s of payload",
        [
            Series("links could carry", times, could, "#bbbbbb", filled=True),
            Series("estimated capacity", [at for at, _, _ in told], [each for _, _, each in told], "#1f77b4"),
            Series("advice", [at for at, _, _ in told], [each for _, each, _ in told], "#d62728"),
            Series("arrived in time, by the time of sending", times, arrived, "#2ca02c"),
        ],
    )


def main() -> int:
    """Print the table or draw the picture; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="only bonds with this in their name")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--latency", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenarios", type=Path, metavar="FILE", help="bonds in JSON; traces lie beside it")
    parser.add_argument("--wild", type=int, default=0, metavar="N", help="N random bonds")
    parser.add_argument(
        "--date", default=datetime.now(UTC).date().isoformat(), help="draw them from this, today's date (UTC)"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw one stream into an SVG file")
    args = parser.parse_args()
    found = rows(args)
    if not found:
        parser.error(f"no bond has {args.only!r} in its name")
    if args.picture is not None:
        picture(found[0], args.picture)
        return 0
    print(f"latency {args.latency:g} s, {args.seconds:g} s, payload {PAYLOAD} of {SIZE} bytes, Mbit/s\n")
    table(found, args.jobs)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
