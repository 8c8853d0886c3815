"""Draws `netbond status` as pictures for the documentation: docs/screenshots/*.svg, by netbond's own view.

usage: .venv/bin/python scripts/screenshots.py [--check]      --check: names outdated pictures, writes none
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "screenshots"
sys.path.insert(0, str(ROOT))

from netbond.cli.scroll import Window  # noqa: E402 - of this checkout
from netbond.cli.status import fitting, render  # noqa: E402
from netbond.status.schema import Snapshot, from_json  # noqa: E402
from tests.unit.cli.snapshots import NOW, SENDER, SNAPSHOT, health, link, uplink  # noqa: E402
from tests.unit.cli.snapshots import check as health_check  # noqa: E402

CELL_W: Final = 8.4  # of a character, in pixels; the font may have another width: textLength makes it so
CELL_H: Final = 18
MARGIN: Final = 14
THEME: Final = TerminalTheme(
    (22, 27, 34),
    (222, 226, 230),
    [
        *((72, 79, 88), (255, 123, 114), (99, 210, 112), (227, 179, 65)),
        *((121, 192, 255), (210, 168, 255), (86, 212, 221), (222, 226, 230)),
    ],
)


def backpack() -> Snapshot:
    """A backpack with four modems that streams: two have the same address, one of these hears nothing."""
    twin, gateway = "192.168.8.100", "192.168.8.1"
    uplinks = [
        uplink("usb0", twin, gateway, "dhclient", 100, since=NOW - 200),
        uplink("usb1", twin, gateway, "dhclient", 101, state="dead", since=NOW - 3600)
        | {"reason": "gateway: no answer", "in_ecmp": False},
        uplink("usb2", "192.168.42.17", "192.168.42.129", "NetworkManager", 102),
        uplink("wwan0", "10.64.3.9", None, "NetworkManager", 130) | {"name": "roof"},
    ]
    rates = {"usb0": (84_000, 2_310_000), "usb1": (0, 210), "usb2": (61_000, 1_640_000)}
    for one in uplinks:
        one["rx_bps"], one["tx_bps"] = rates.get(one["device"], (92_000, 2_480_000))
    dead = health(
        "usb1", twin, "down", "gateway: no answer", 125, health_check("gateway", "failing", None, 1.0, "")
    )
    links = [
        link(
            "usb0",
            bitrate_bps=2_240_000,
            capacity_bits_per_second=3_900_000,
            capacity_is="measured",
            rtt_ms=52,
        ),
        link(
            "usb1",
            bitrate_bps=0,
            state="down",
            reason="silent for 125 s",
            silent_ms=125_000,
            rtt_ms=None,
            in_flight=0,
        ),
        link(
            "usb2",
            bitrate_bps=1_570_000,
            capacity_bits_per_second=2_100_000,
            capacity_is="measured",
            rtt_ms=71,
        )
        | {"window": 14_200, "loss_pct": 1.1},
        link(
            "roof",
            bitrate_bps=2_400_000,
            capacity_bits_per_second=4_200_000,
            capacity_is="at_least",
            rtt_ms=44,
        )
        | {"device": "wwan0", "loss_pct": 0.0},
    ]
    stats = {
        **SENDER,
        "receiver_address": "192.0.2.7:5000",
        "caller": "127.0.0.1:43210",
        "latency_ms": 1000,
        "capacity_bits_per_second": 10_200_000,
        "advised_bits_per_second": 9_100_000,
        "queued_ms": 35,
        "bitrate_bps": 6_000_000,
        "links": links,
    }
    plan = {
        "device": "wwan0",
        "used_bytes": 31_000_000_000,
        "budget_bytes": 50_000_000_000,
        "since": "2026-11-15",
        "resets": "2026-12-15",
        "level": "off",
        "verdict": "normal",
    }
    found: dict[str, Any] = {
        "version": 1,
        "agent": {
            "running": True,
            "version": "0.2.0",
            "pid": 70123,
            "uptime_s": 3720.0,
            "config": "/etc/netbond/netbond.toml",
            "changes": 31,
            "problems": [],
        },
        "uplinks": uplinks,
        "excluded": [{"device": "docker0", "reason": "a bridge"}],
        "idle": [],
        "health": [dead],
        "metered": [plan],
        "modems": {"wwan0": dict(SNAPSHOT["modems"]["wwan0"])},
        "networkmanager": {},
        "hardware": {},
        "ecmp": {
            "table": 222,
            "legs": [
                {"family": 4, "device": one["device"], "gateway": one["gateway"], "weight": 1}
                for one in uplinks
                if one["in_ecmp"]
            ],
        },
        "engines": [
            {
                "name": "sender 127.0.0.1:6000",
                "role": "sender",
                "state": "running",
                "pid": 70130,
                "restarts": 0,
                "reason": "",
                "last_exit": "",
                "stats": stats,
            }
        ],
    }
    return from_json(found)


def pictures() -> Iterator[tuple[str, str, int, RenderableType, int | None]]:
    """File, title, columns, what is on the screen, and its lines if it fills them."""
    snapshot = backpack()
    for width, height in ((80, 24), (60, 24)):
        terminal = Console(width=width, height=height, force_terminal=True, file=io.StringIO())
        view = fitting(snapshot, NOW, terminal)
        yield f"status-{width}.svg", "$ netbond status", width, view, None
        whole = render(snapshot, NOW)
        yield f"watch-{width}x{height}.svg", "$ netbond status --watch", width, Window(whole), height


def svg(title: str, width: int, view: RenderableType, height: int | None) -> str:
    """The picture, with the command above it."""
    console = Console(
        width=width, height=height or 100, force_terminal=True, color_system="standard", highlight=False,
        markup=False, emoji=False, legacy_windows=False, file=io.StringIO(),
    )  # fmt: skip
    options = console.options.update(height=height) if height else console.options
    lines = [[Segment(title, Style(dim=True))], *console.render_lines(view, options, pad=False)]
    w, h = width * CELL_W + 2 * MARGIN, len(lines) * CELL_H + 2 * MARGIN
    background = THEME.background_color.hex
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" role="img"'
        f' viewBox="0 0 {w:.0f} {h}" width="{w:.0f}" height="{h}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="100%" height="100%" rx="8" fill="{background}"/>',
        '<g font-family="ui-monospace, \'DejaVu Sans Mono\', Menlo, Consolas, monospace" font-size="14"'
        ' xml:space="preserve">',
    ]
    for row, line in enumerate(lines):
        column, y = 0, MARGIN + row * CELL_H + 14
        for style, run in groupby(line, lambda segment: segment.style or Style()):
            text = "".join(segment.text for segment in run)
            shown = text.strip()
            if shown:
                at = column + len(text) - len(text.lstrip())
                parts.append(
                    f'<text x="{MARGIN + at * CELL_W:.1f}" y="{y}" textLength="{len(shown) * CELL_W:.1f}"'
                    f"{_look(style)}>{escape(shown)}</text>"
                )
            column += len(text)
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _look(style: Style) -> str:
    colour = style.color.get_truecolor(THEME) if style.color else THEME.foreground_color
    words = f' fill="{colour.hex}"'
    if style.bold:
        words += ' font-weight="bold"'
    if style.dim:
        words += ' opacity="0.6"'
    return words


def main(arguments: list[str]) -> int:
    """Write or check them; 1 if one is outdated."""
    status = 0
    for name, title, width, view, height in pictures():
        file, text = FOLDER / name, svg(title, width, view, height)
        if file.exists() and file.read_text() == text:
            continue
        print(file.relative_to(ROOT))
        status = 1
        if "--check" not in arguments:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
            status = 0
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
