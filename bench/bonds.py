"""The rows of the table of bench/bonding.py: named bonds and random ones, each with a stream and a rate."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bondlinks import IP_UDP, parse_link
from tests.bondsim import BONDS, SHAPES, SIZE

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
    "one-lossy5": ["up=6,down=20,delay=40,loss=5"],
    "one-tiny": ["up=0.3,down=1,delay=60,queue=40"],
    "tiny4": ["up=0.3,down=1,delay=40,queue=40", "up=0.3,down=1,delay=60,queue=40"] * 2,
    "lossy5": [
        "up=6,down=20,delay=25,loss=5",
        "up=4,down=20,delay=35,loss=5",
        "up=3,down=20,delay=45,loss=5",
    ],
    "mixed6": [
        "up=10,down=30,delay=15,jitter=5",
        "up=5,down=20,delay=30,jitter=10,loss=0.5",
        "up=4,down=10,delay=45,jitter=20,queue=500",
        "up=2,down=10,delay=70,jitter=30",
        "up=1,down=5,delay=100,jitter=40,loss=2",
        "up=0.5,down=2,delay=60,queue=60",
    ],
    "bloat-stall3": [  # a queue of 3 s, which does not drain for 2.5 s
        "up=6,down=20,delay=30,queue=2250,stall=11,unstall=13.5",
        "up=5,down=20,delay=40,queue=1900",
        "up=4,down=20,delay=50,queue=1500",
    ],
    "stall-often3": [
        "up=6,down=20,delay=30",
        "up=6,down=20,delay=40,stall=9,unstall=9.8",
        "up=4,down=20,delay=50,stall=12,unstall=14",
    ],
    "asymmetric3": ["up=10,down=1,delay=25", "up=5,down=0.5,delay=35", "up=3,down=0.3,delay=45"],
    "jitter50": ["up=6,down=20,delay=25,jitter=50", "up=4,down=20,delay=35,jitter=50"],
    "come-and-go3": [
        "up=6,down=20,delay=30,off=9,on=10,every=5",
        "up=6,down=20,delay=40,off=11,on=14,every=8",
        "up=6,down=20,delay=50",
    ],
    "tunnel3": [  # an outage of all links at once
        "up=6,down=20,delay=30,off=12,on=12.6",
        "up=5,down=20,delay=40,off=12,on=12.8",
        "up=4,down=20,delay=50,off=12,on=12.5",
    ],
    "handover3": [
        "up=8,down=20,delay=30,worse=12,better=16,up2=1.5,delay2=60",
        "up=5,down=20,delay=40",
        "up=4,down=20,delay=50",
    ],
    "handovers2": [
        "up=8,down=20,delay=30,worse=9,better=11,up2=2,again=4",
        "up=8,down=20,delay=40,worse=11,better=13,up2=2,again=4",
    ],
    "detour2": [  # a longer delay for some seconds
        "up=8,down=20,delay=20,worse=12,better=18,delay2=120",
        "up=4,down=20,delay=50",
    ],
    "detours3": [
        "up=6,down=20,delay=20,worse=9,better=10,delay2=80,again=2",
        "up=4,down=20,delay=40,worse=10,better=12,delay2=90,again=5",
        "up=3,down=20,delay=50",
    ],
    "longer-for-good2": ["up=6,down=20,delay=20,worse=11,delay2=90", "up=4,down=20,delay=40"],
    "slower-for-good3": [
        "up=8,down=20,delay=30,queue=1000,worse=11,up2=2",
        "up=5,down=20,delay=40,queue=1000",
        "up=4,down=20,delay=50,queue=1000",
    ],
    "faster-for-good2": ["up=8,down=20,delay=30,worse=0,better=12,up2=1", "up=5,down=20,delay=40"],
    "flicker4": [  # each link has an outage of 0.3 s in turn
        "up=4,down=20,delay=30,off=8,on=8.3,every=4",
        "up=4,down=20,delay=35,off=9,on=9.3,every=4",
        "up=4,down=20,delay=40,off=10,on=10.3,every=4",
        "up=4,down=20,delay=45,off=11,on=11.3,every=4",
    ],
    "satellite2": ["up=6,down=20,delay=40,jitter=20", "up=10,down=20,delay=300,queue=600"],
    "five-g2": [
        "up=60,down=100,delay=12,jitter=10,queue=1500",
        "up=20,down=100,delay=20,jitter=10,queue=800",
    ],
    "weak2": ["up=6,down=20,delay=30", "up=0.1,down=2,delay=50"],
    "swing2": ["up=6,down=20,delay=30", "up=3,down=10,delay=40,worse=0,better=1,again=2,up2=0.1"],
    "shared3": [  # two modems in one cell
        "up=8,down=20,delay=30,shared=7",
        "up=6,down=20,delay=40,shared=7",
        "up=4,down=20,delay=50",
    ],
    "shared2": ["up=20,down=20,delay=25,shared=8", "up=20,down=20,delay=60,shared=8"],
    "unordered3": [
        "up=6,down=20,delay=25,jitter=20,unordered=1",
        "up=4,down=20,delay=35,jitter=40,unordered=1",
        "up=3,down=20,delay=45,jitter=5,unordered=1",
    ],
    "rebind3": ["up=6,down=20,delay=25,rebind=10", "up=4,down=20,delay=35", "up=3,down=20,delay=45"],
    "rebind2": ["up=6,down=20,delay=25,rebind=11", "up=4,down=20,delay=35,rebind=11"],  # a router between
    "swallow3": [  # keepalives pass, whole packets do not
        "up=6,down=20,delay=25",
        "up=6,down=20,delay=35,largest=1300",
        "up=4,down=20,delay=45",
    ],
    "acks-lost2": ["up=6,down=20,delay=30,downloss=20", "up=5,down=20,delay=40,downloss=30"],
}
LOADS = (0.5, 0.7, 0.85, 0.95, 1.1)  # of the capacity left after headers and loss
FEC_ROW = 10
ENCODER_MOST = 1.3  # of the capacity
RARELY_LOSSY = ["up=6,down=20,delay=25,loss=0.3", "up=4,down=20,delay=35,loss=0.3", "up=3,down=20,delay=45"]
HEADERS = 1360 / 1316


def capacity(links: list[str]) -> float:
    """Return the payload in Mbit/s that the links can carry; skip links with outages if there are others."""
    ups = [parse_link(spec)[0] for spec in links]
    total = shared = 0.0
    for up in [up for up in ups if up.off > 1e9] or ups:
        burst = up.burst_enter / (up.burst_enter + up.burst_leave) if up.burst_enter else 0.0
        rate = len(up.trace) * 1500 * 8 / up.trace[-1] if up.trace else up.rate
        if up.again and not up.worse:  # it swings all the time
            weak = (up.better - up.worse) / up.again
            rate = rate * (1 - weak) + up.worse_rate * weak
        carried = rate / 1e6 / HEADERS * (1 - up.loss) * (1 - burst)
        if 0 < up.largest < SIZE + IP_UDP:
            carried = 0.0
        if up.shared:
            shared += carried
        else:
            total += carried
    return total + min(shared, max(up.shared for up in ups) / 1e6 / HEADERS)


def random_bond(rng: random.Random) -> list[str]:
    """Make a bond of two to five random links."""
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


def wild_bond(rng: random.Random) -> list[str]:
    """Make a bond of random links, some of which change, fade, or have outages."""
    links = []
    for plain in random_bond(rng):
        spec = plain
        rate = float(spec.split("up=")[1].split(",")[0])
        chance = rng.random()
        if chance < 0.12:
            off = rng.randint(6, 12)
            spec += f",off={off},on={off + rng.choice([0.3, 1, 3])}"
            if rng.random() < 0.4:
                spec += ",every=5"
        elif chance < 0.2:
            spec += f",stall={rng.randint(6, 11)},unstall=12"
        elif chance < 0.38:
            worse = rng.randint(6, 11)
            spec += f",worse={worse},better={worse + rng.randint(1, 5)}"
            if chance < 0.3:
                spec += f",delay2={rng.randint(30, 200)}"
            else:
                spec += f",up2={round(rate * rng.uniform(0.15, 0.7), 2)}"
        if rng.random() < 0.2:
            spec += f",downloss={rng.randint(1, 15)}"
        if rng.random() < 0.15:
            spec += f",fading={max(1, round(rate, 1))}"
        links.append(spec)
    return links


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table."""

    name: str
    links: tuple[str, ...]
    mbps: float
    shape: str = "steady"
    fec: int = 0  # data packets for one packet of SRT's FEC
    arq: bool = True
    adapts: bool = False  # `mbps` is the most that the encoder sends
    receiver: str = ""  # not the column's, but this one (tests/bondreceivers.py)


def cases(date: str, randoms: int) -> Iterator[Case]:
    """Yield the rows of the usual table, `randoms` of them drawn from the date."""
    for name, links in NAMED.items():
        for load in LOADS:
            yield Case(f"{name} {load:.0%}", tuple(links), round(capacity(links) * load, 2))
    for name in ("clean3", "skew4", "lossy3"):
        for shape in SHAPES[1:]:
            for load in (0.5, 0.7, 0.85):
                yield Case(
                    f"{name} {shape} {load:.0%}", tuple(NAMED[name]), capacity(NAMED[name]) * load, shape
                )
    for name in ("clean3", "skew4", "lossy3"):
        for load in LOADS[:-1]:
            mbps = round(capacity(NAMED[name]) * load, 2)
            yield Case(f"no-acks {name} {load:.0%}", tuple(NAMED[name]), mbps, receiver="go-srtla")
    for load in LOADS[:-1]:
        mbps = round(capacity(NAMED["lossy3"]) * load * FEC_ROW / (FEC_ROW + 1), 2)
        yield Case(f"fec lossy3 {load:.0%}", tuple(NAMED["lossy3"]), mbps, fec=FEC_ROW)
        mbps = round(capacity(RARELY_LOSSY) * load * FEC_ROW / (FEC_ROW + 1), 2)
        yield Case(f"fec alone {load:.0%}", tuple(RARELY_LOSSY), mbps, fec=FEC_ROW, arq=False)
    for name in ("clean3", "skew4", "die3", "fading2", "bloat3", "lossy3", "swing2", "handover3"):
        most = round(capacity(NAMED[name]) * ENCODER_MOST, 2)
        yield Case(f"encoder {name}", tuple(NAMED[name]), most, adapts=True)
    rng = random.Random(f"random {date}")
    for number in range(randoms):
        links = random_bond(rng)
        load = rng.choice(LOADS)
        name = f"random {date} {number} {load:.0%}"
        yield Case(name, tuple(links), round(capacity(links) * load, 2))


def wild_cases(date: str, count: int) -> Iterator[Case]:
    """Yield `count` rows with random bonds that depend on the date."""
    rng = random.Random(f"wild {date}")
    for number in range(count):
        links = wild_bond(rng) if number % 2 else random_bond(rng)
        load = rng.choice(LOADS)
        shape = rng.choice(("steady", "steady", "steady", *SHAPES[1:]))
        name = f"wild {date} {number} {load:.0%} {shape}"
        yield Case(name, tuple(links), round(capacity(links) * load, 2), shape)
