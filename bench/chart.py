"""Draws lines over time as an SVG file."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

WIDTH: Final = 960
HEIGHT: Final = 420
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 60, 40
STEPS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
STEPS_ACROSS: Final = (10, 30, 60, 180, 360, 720)
TICKS: Final = 8
TICKS_ACROSS: Final = 16


@dataclass(frozen=True, slots=True)
class Series:
    """A line."""

    name: str
    times: list[float]
    values: list[float]
    colour: str
    filled: bool = False  # the area below it, and not the line


def chart(path: Path, title: str, unit: str, lines: list[Series], across: str = "s") -> None:
    """Draw the lines into the file. `across` is the unit of times."""
    until = max(max(line.times) for line in lines)
    most = max(max(line.values) for line in lines) * 1.05
    wide, down = (WIDTH - LEFT - RIGHT) / until, (HEIGHT - TOP - BOTTOM) / most
    base = HEIGHT - BOTTOM

    def place(at: float, value: float) -> str:
        return f"{LEFT + at * wide:.1f},{base - value * down:.1f}"

    step = next(each for each in STEPS if most / each <= TICKS)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>',
    ]
    level = 0.0
    while level <= most:
        y = base - level * down
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e5e5"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{level:g}</text>')
        level += step
    tick = next((each for each in STEPS_ACROSS if until / each <= TICKS_ACROSS), STEPS_ACROSS[-1])
    for at in range(0, int(until) + 1, tick):
        x = LEFT + at * wide
        out.append(f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{at} {across}</text>')
    out.append(f'<text x="14" y="{TOP - 8}">{escape(unit)}</text>')
    key = LEFT
    for line in lines:
        points = [place(at, value) for at, value in zip(line.times, line.values, strict=True)]
        if line.filled:
            area = [place(line.times[0], 0.0), *points, place(line.times[-1], 0.0)]
            out.append(f'<polygon points="{" ".join(area)}" fill="{line.colour}" fill-opacity="0.5"/>')
        else:
            drawn = f'fill="none" stroke="{line.colour}" stroke-width="1.3"'
            out.append(f'<polyline points="{" ".join(points)}" {drawn}/>')
        out.append(f'<rect x="{key}" y="30" width="12" height="12" fill="{line.colour}"/>')
        out.append(f'<text x="{key + 17}" y="40">{escape(line.name)}</text>')
        key += 40 + 7 * len(line.name)
    path.write_text("\n".join([*out, "</svg>", ""]), encoding="utf-8")
