"""Draws docs/demo.svg: what each of the demo's modems carries of a real stream, while one is pulled.

usage: sudo .venv/bin/python scripts/demo_picture.py [--mbps 10] [--out docs/demo.svg]      half a minute
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from html import escape
from pathlib import Path
from typing import Final

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from netbond.lab.demo import LINKS, TWINS  # noqa: E402 - of this checkout
from netbond.lab.lab import Lab  # noqa: E402
from netbond.lab.payload import SIZE, Report  # noqa: E402
from netbond.lab.stream import Stream  # noqa: E402

SECONDS: Final = 24.0
UNPLUGGED_S, PLUGGED_S = 8.0, 15.0
PULLED: Final = "usb1"
OVER_S: Final = 0.5  # rates are means over this
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 380, 46, 16, 88, 34
COLOURS: Final = ("#2f81f7", "#e3742f", "#2da44e", "#a371f7")

# Time in the stream, bytes sent into each radio link, packets that arrived.
Sample = tuple[float, dict[str, int], int]


def measure(mbps: float) -> tuple[list[Sample], dict[str, float], Report]:
    """Run the stream; the samples, when `PULLED` was unplugged and plugged in, and the report."""
    samples: list[Sample] = []
    times: dict[str, float] = {}
    with Lab("nbpicture", devices=list(LINKS), twins=TWINS, links=LINKS, receiver=True, agent=True) as lab:
        deadline = time.monotonic() + 20.0
        while len(carrying(lab)) < len(LINKS):
            if time.monotonic() > deadline:
                sys.exit(f"only these links are up: {', '.join(carrying(lab))}")
            time.sleep(0.1)
        stream = Stream(lab, mbps, SECONDS)

        def tick() -> None:
            count = {device: int(ways["up"]["bytes"]) for device, ways in lab.radio().items()}
            samples.append((time.monotonic() - stream.started, count, stream.tally.arrived))

        def pull() -> None:
            for at, what, act in ((UNPLUGGED_S, "unplugged", lab.unplug), (PLUGGED_S, "back", lab.plug)):
                while not stream.started or time.monotonic() < stream.started + at:
                    time.sleep(0.02)
                times[what] = time.monotonic() - stream.started
                act(PULLED)

        puller = threading.Thread(target=pull)
        puller.start()
        report = stream.run(tick)
        puller.join()
    return samples, times, report


def carrying(lab: Lab) -> list[str]:
    """The devices of the sender's links that are up."""
    return [
        link["device"]
        for engine in lab.agent_status()["engines"]
        for link in (engine["stats"] or {}).get("links", ())
        if link["state"] == "up"
    ]


def rates(samples: list[Sample]) -> list[tuple[float, list[float], float]]:
    """Time, Mbit/s of each link, Mbit/s that arrives; of the time in which the stream is sent."""
    found = []
    first = 0
    for at, count, arrived in samples:
        if not OVER_S <= at <= SECONDS:
            continue
        while samples[first + 1][0] <= at - OVER_S:
            first += 1
        then, before, had = samples[first]
        if at - then < OVER_S / 2:
            continue
        links = [(count[device] - before[device]) * 8e-6 / (at - then) for device in LINKS]
        found.append((at, links, (arrived - had) * SIZE * 8e-6 / (at - then)))
    return found


def picture(samples: list[Sample], times: dict[str, float], report: Report, mbps: float) -> str:
    """The drawing, as SVG."""
    points = rates(samples)
    most = max(sum(links) for _, links, _ in points) * 1.12
    across, down = (WIDTH - LEFT - RIGHT) / SECONDS, (HEIGHT - TOP - BOTTOM) / most
    base = HEIGHT - BOTTOM

    def place(at: float, value: float) -> str:
        return f"{LEFT + at * across:.1f},{base - value * down:.1f}"

    title = f"{mbps:g} Mbit/s over four modems that carry 4 to 6 each; {PULLED} is pulled and comes back"
    result = f"{report.lost} of {report.sent:,} packets lost"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="13" fill="#24292f">',
        f"<title>{escape(title)}: {result}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff" stroke="#d0d7de"/>',
        f'<text x="{LEFT}" y="26" font-size="15">{escape(title)}</text>',
        f'<text x="{LEFT}" y="48" font-size="15" font-weight="bold">{result}</text>',
    ]
    for level in range(0, int(most) + 1, 4):
        y = base - level * down
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eaeef2"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{level}</text>')
    out.append(f'<text x="8" y="{TOP - 8}">Mbit/s</text>')
    out += [
        f'<text x="{LEFT + second * across:.1f}" y="{base + 20}" text-anchor="middle">{second} s</text>'
        for second in range(0, int(SECONDS) + 1, 4)
    ]
    below = [0.0] * len(points)
    key = LEFT + 60
    for number, device in enumerate(LINKS):
        above = [low + links[number] for low, (_, links, _) in zip(below, points, strict=True)]
        edge = [place(at, value) for (at, _, _), value in zip(points, above, strict=True)]
        back = [place(at, value) for (at, _, _), value in zip(points, below, strict=True)]
        area = " ".join([*edge, *reversed(back)])
        out.append(f'<polygon points="{area}" fill="{COLOURS[number]}" fill-opacity="0.55"/>')
        out.append(f'<rect x="{key}" y="{TOP - 20}" width="12" height="12" fill="{COLOURS[number]}"/>')
        out.append(f'<text x="{key + 17}" y="{TOP - 9}">{device}</text>')
        key += 66
        below = above
    line = " ".join(place(at, arrived) for at, _, arrived in points if at >= 1.5)  # SRT's latency is 1 s
    out.append(f'<polyline points="{line}" fill="none" stroke="#24292f" stroke-width="2"/>')
    out.append(f'<line x1="{key}" x2="{key + 18}" y1="{TOP - 14}" y2="{TOP - 14}" stroke="#24292f"/>')
    out.append(f'<text x="{key + 24}" y="{TOP - 9}">arrives at the SRT server</text>')
    for what, at in times.items():
        x = LEFT + at * across
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{base}" stroke="#57606a"/>')
        out.append(f'<text x="{x + 5:.1f}" y="{TOP + 14}">{PULLED} {what}</text>')
    return "\n".join([*out, "</svg>", ""])


def main() -> int:
    """Run and draw; 1 if a packet was lost."""
    parser = argparse.ArgumentParser(description="Draw docs/demo.svg from a real stream in a lab.")
    parser.add_argument("--mbps", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "demo.svg")
    args = parser.parse_args()
    samples, times, report = measure(args.mbps)
    args.out.write_text(picture(samples, times, report, args.mbps), encoding="utf-8")
    print(f"{args.out}: {report.lost} of {report.sent} packets lost")
    return 1 if report.lost else 0


if __name__ == "__main__":
    sys.exit(main())
