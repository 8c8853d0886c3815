"""Shows the demo: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

BAR = 24  # characters of a full bar; half as many below WIDE
WIDE, MEDIUM = 120, 76  # columns: with address and gateway, with window and packets in flight
PLAIN_PERIOD_S = 2.0  # between two plain lines
LIVE_PERIOD_S = 0.25  # between two updates of the table


@dataclass(frozen=True, slots=True)
class LinkLine:
    """One uplink at one moment."""

    device: str
    address: str
    gateway: str
    state: str  # "up", "pulled" (short for unplugged), or the agent's word
    share: float  # of the traffic of all links now, 0 to 1
    mbps: float  # of IP packets that it sends
    rtt_ms: float | None
    window: int | None
    in_flight: int | None


@dataclass(frozen=True, slots=True)
class Moment:
    """The demo at one moment."""

    elapsed_s: float  # since the first packet; more than `total_s` while the last packets arrive
    total_s: float
    sent: int
    arrived: int
    behind: int  # packets sent longer ago than the latency that have not arrived
    links: Sequence[LinkLine]
    news: Sequence[str]


def _bar(share: float, size: int) -> str:
    full = round(share * size)
    return "█" * full + "·" * (size - full)


def picture(moment: Moment, width: int = WIDE) -> Group:
    """Return a moment as a table of rich, for a terminal of `width` columns; what is not up comes first."""
    bar = BAR if width >= WIDE else BAR // 2
    table = Table(box=None, pad_edge=False, header_style="bold")
    left, right = ["uplink", "state"], ["Mbit/s", "RTT ms"]
    if width >= MEDIUM:
        right += ["window", "in flight"]
    for heading in left:
        table.add_column(heading, no_wrap=True)
    table.add_column("share", no_wrap=True, min_width=bar + 6)
    for heading in right:
        table.add_column(heading, no_wrap=True, justify="right")
    for heading in ("address", "gateway") if width >= WIDE else ():
        table.add_column(heading, no_wrap=True)
    for link in sorted(moment.links, key=lambda link: link.state == "up"):
        up = link.state == "up"
        queue = ["-" if number is None else str(number) for number in (link.window, link.in_flight)]
        table.add_row(
            link.device,
            Text(link.state, "green" if up else "red"),
            Text(f"{_bar(link.share, bar)} {link.share:4.0%}", "cyan" if up else "dim"),
            f"{link.mbps:.2f}",
            "-" if link.rtt_ms is None else f"{link.rtt_ms:.0f}",
            *(queue if width >= MEDIUM else ()),
            *((link.address, link.gateway) if width >= WIDE else ()),
        )
    head = Text(
        f"{min(moment.elapsed_s, moment.total_s):4.1f} of {moment.total_s:.0f} s"
        f"   sent {moment.sent}   arrived {moment.arrived}   late or lost {moment.behind}",
        "bold",
    )
    return Group(head, table, *(Text(line, "yellow") for line in moment.news))


def plain(moment: Moment) -> str:
    """Return a moment as one line."""
    shares = "  ".join(
        f"{link.device} {link.share:.0%}" if link.state == "up" else f"{link.device} {link.state}"
        for link in moment.links
    )
    return (
        f"{min(moment.elapsed_s, moment.total_s):5.1f} s  sent {moment.sent}  arrived {moment.arrived}"
        f"  late or lost {moment.behind}  |  {shares}"
    )


class Screen:
    """Shows moments at a useful rate, and news at once. A context manager."""

    def __init__(self, live: bool | None = None) -> None:
        """`live`: update a table in place; default: if standard output is a terminal."""
        self.console = Console(highlight=False)
        self._live: Live | None = None
        if live if live is not None else self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False)
        self._next_s = 0.0

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def wants(self, elapsed_s: float) -> bool:
        """Whether it is time to show the next moment."""
        return elapsed_s >= self._next_s

    def show(self, moment: Moment) -> None:
        """Show a moment."""
        self._next_s = moment.elapsed_s + (LIVE_PERIOD_S if self._live else PLAIN_PERIOD_S)
        if self._live:
            self._live.update(picture(moment, self.console.width), refresh=True)
        else:
            self.say(plain(moment))

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, markup=False, soft_wrap=True)
        self.console.file.flush()

    def news(self, text: str) -> None:
        """Print an event; the live table shows events itself."""
        if not self._live:
            self.say(f"       {text}")
