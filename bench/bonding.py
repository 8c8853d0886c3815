"""Sweeps the sender's modes over many kinds of bonds, in virtual time, and prints a table.

python -m bench.bonding [--jobs N] [--only WORD] [--seconds S] [--latency S] [--modes adaptive,classic]

Each row is a bond and an offered rate; each column a mode: payload lost in per cent, datagrams sent per
packet delivered. The simulator is tests/bondsim.py; its figures agree with a bench over real sockets
(bench/README.md).
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
from collections.abc import Iterator

from netbond.srtla.modes import MODES, make_carrier
from netbond.srtla.sender import Sender
from tests.bondsim import BONDS, Outcome, Simulation, parse_link

NAMED: dict[str, list[str]] = {
    **BONDS,
    "bloat3": [
        "up=5,down=20,delay=30,queue=2000",
        "up=3,down=20,delay=40,queue=2000",
        "up=2,down=20,delay=50,queue=2000",
    ],
    "shallow3": [
        "up=6,down=20,delay=25,queue=20",
        "up=4,down=20,delay=35,queue=20",
        "up=3,down=20,delay=45,queue=20",
    ],
    "shallow-far3": [
        "up=6,down=20,delay=80,queue=30",
        "up=4,down=20,delay=100,queue=20",
        "up=3,down=20,delay=120,queue=12",
    ],
    "burstloss3": [
        "up=8,down=20,delay=25,gep=0.5,ger=20",
        "up=6,down=20,delay=35,gep=0.3,ger=10",
        "up=4,down=20,delay=45,gep=1,ger=30",
    ],
    "downloss3": [
        "up=6,down=20,delay=25,downloss=5",
        "up=4,down=20,delay=35,downloss=10",
        "up=3,down=20,delay=45,downloss=2",
    ],
    "one": ["up=8,down=20,delay=40"],
    "one-lossy": ["up=8,down=20,delay=40,loss=2"],
    "two-far": ["up=6,down=20,delay=200,jitter=40", "up=6,down=20,delay=250,jitter=60"],
    "two-unlike": ["up=10,down=20,delay=15", "up=2,down=10,delay=250,jitter=50"],
    "fast2": ["up=50,down=50,delay=10,queue=1000", "up=30,down=50,delay=30,queue=1000"],
    "jitter3": [
        "up=5,down=20,delay=30,jitter=60",
        "up=5,down=20,delay=40,jitter=80",
        "up=5,down=20,delay=50,jitter=100",
    ],
    "die-best": ["up=10,down=20,delay=20,off=12,on=15", "up=6,down=20,delay=60", "up=6,down=20,delay=70"],
    "same8": ["up=2,down=10,delay=40,jitter=10"] * 8,
    "slowdown3": ["up=6,down=1,delay=25", "up=4,down=1,delay=35", "up=3,down=1,delay=45"],
}
LOADS = (0.5, 0.7, 0.85, 0.95, 1.1)  # of the capacity left after headers and loss
HEADERS = 1360 / 1316


def capacity(links: list[str]) -> float:
    """Mbit/s of payload that the links could carry, outages apart."""
    total = 0.0
    for spec in links:
        up, _ = parse_link(spec)
        burst = up.burst_enter / (up.burst_enter + up.burst_leave) if up.burst_enter else 0.0
        if up.off > 1e9:
            rate = len(up.trace) * 1500 * 8 / up.trace[-1] if up.trace else up.rate
            total += rate / 1e6 / HEADERS * (1 - up.loss) * (1 - burst)
    return total


def random_bond(rng: random.Random) -> list[str]:
    """Two to five links of any kind."""
    links = []
    for _ in range(rng.randint(2, 5)):
        rate = round(2 ** rng.uniform(-1, 4), 2)
        spec = f"up={rate},down={max(rate, 2)},delay={rng.randint(5, 150)}"
        spec += f",queue={max(6, round(rate * 125 * rng.choice((0.03, 0.1, 0.3, 1.0, 2.0))))}"
        if rng.random() < 0.5:
            spec += f",jitter={rng.randint(1, 60)}"
        if rng.random() < 0.3:
            spec += f",loss={round(rng.uniform(0.1, 5), 1)}"
        if rng.random() < 0.2:
            spec += f",gep={round(rng.uniform(0.1, 1), 2)},ger={rng.randint(5, 50)}"
        links.append(spec)
    return links


def cases(latency: float, randoms: int) -> Iterator[tuple[str, list[str], float, float]]:
    """(name, links, Mbit/s, latency)"""
    for name, links in NAMED.items():
        most = capacity(links)
        for load in LOADS:
            yield name, links, round(most * load, 2), latency
    rng = random.Random(7)
    for number in range(randoms):
        links = random_bond(rng)
        load = rng.choice(LOADS)
        yield f"random{number} {load:.0%}", links, round(capacity(links) * load, 2), latency


def play(case: tuple[str, list[str], float, float, str, float, int]) -> Outcome:
    """One run."""
    _, links, mbps, latency, mode, seconds, seed = case
    simulation = Simulation(
        links,
        lambda rnd, now: Sender(rnd, make_carrier(mode), now),
        mbps=mbps,
        seconds=seconds,
        latency=latency,
        seed=seed,
        hiccup=0.002,
    )
    return simulation.run()


def main() -> int:
    """Sweep; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--latency", type=float, default=1.0)
    parser.add_argument("--random", type=int, default=60)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--links", action="store_true", help="show the links of random bonds")
    args = parser.parse_args()
    modes = args.modes.split(",")
    chosen = [case for case in cases(args.latency, args.random) if args.only in case[0]]
    work = [(*case, mode, args.seconds, 1) for case in chosen for mode in modes]
    print("| bond | Mbit/s | " + " | ".join(f"{m} lost % | sent" for m in modes) + " |")
    print("|---|---|" + "---|---|" * len(modes))
    worse = 0
    with multiprocessing.Pool(args.jobs) as pool:
        outcomes = pool.imap(play, work)
        for name, links, mbps, _ in chosen:
            found = {mode: next(outcomes) for mode in modes}
            cells = " | ".join(f"{o.lost_pct:.2f} | {o.overhead:.3f}" for o in found.values())
            if "adaptive" in found and "classic" in found:
                is_worse = found["adaptive"].lost_pct > found["classic"].lost_pct + 0.05
                worse += is_worse
                cells += " | **worse** |" if is_worse else " |"
            else:
                cells += " |"
            print(f"| {name} | {mbps} | {cells}" + (f" {links}" if args.links and "rand" in name else ""))
            sys.stdout.flush()
    print(f"\n{worse} of {len(chosen)} worse than classic")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
