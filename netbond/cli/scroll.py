"""Shows a picture that changes, larger than the terminal: keys scroll, and the last picture stays.

Takes the terminal's keys one by one (cbreak mode) and gives it back as it was.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment

KEYS = {
    **dict.fromkeys((b"\x1b[A", b"\x1bOA", b"k"), "up"),
    **dict.fromkeys((b"\x1b[B", b"\x1bOB", b"j", b"\r", b"\n"), "down"),
    **dict.fromkeys((b"\x1b[5~", b"b"), "page up"),
    **dict.fromkeys((b"\x1b[6~", b" ", b"f"), "page down"),
    **dict.fromkeys((b"\x1b[H", b"\x1b[1~", b"g"), "home"),
    **dict.fromkeys((b"\x1b[F", b"\x1b[4~", b"G"), "end"),
    **dict.fromkeys((b"q", b"Q", b"\x04"), "quit"),
}
_LONGEST = max(map(len, KEYS))


def read_keys(data: bytes) -> list[str]:
    """The keys that were pressed, without those that mean nothing here."""
    found = []
    while data:
        size = next((size for size in range(_LONGEST, 0, -1) if data[:size] in KEYS), 0)
        if size:
            found.append(KEYS[data[:size]])
        data = data[size or 1 :]
    return found


class Window:
    """As much of a picture as the screen has lines for, from a line that keys choose."""

    def __init__(self, view: RenderableType = "") -> None:
        self.view = view
        self._top = 0
        self._page = 1
        self._last = 0  # the largest top

    def press(self, key: str) -> None:
        """Scroll by this key."""
        steps = {"up": -1, "down": 1, "page up": -self._page, "page down": self._page}
        steps |= {"home": -self._top, "end": self._last - self._top}
        self._top = max(0, min(self._top + steps.get(key, 0), self._last))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.height
        lines = console.render_lines(self.view, options.update(height=None), pad=False)
        self._page = max(height - 1, 1)
        self._last = max(len(lines) - self._page, 0) if len(lines) > height else 0
        self._top = min(self._top, self._last)
        if self._last:
            shown = lines[self._top : self._top + self._page]
            last = self._top + len(shown)
            place = f"-- lines {self._top + 1} to {last} of {len(lines)}: arrows scroll, q ends --"
            lines = [*shown, [Segment(place[: options.max_width])]]
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line


def watch(console: Console, picture: Callable[[], RenderableType], period_s: float) -> None:
    """Show `picture()` again each `period_s` until q or Ctrl-C, and print the last one where it stays."""
    window = Window()
    try:
        with _keys() as pressed, Live(window, console=console, auto_refresh=False, screen=True) as live:
            while True:
                window.view = picture()
                live.refresh()
                until = time.monotonic() + period_s
                while (left := until - time.monotonic()) > 0:
                    for key in pressed(left):
                        if key == "quit":
                            return
                        window.press(key)
                        live.refresh()
    finally:
        console.print(window.view)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], list[str]]]:
    """A function that waits for keys for so many seconds. Without a terminal on stdin it only waits."""
    try:
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
    except (ValueError, OSError, termios.error, AttributeError):

        def wait(seconds: float) -> list[str]:
            time.sleep(seconds)
            return []

        yield wait
        return

    def pressed(seconds: float) -> list[str]:
        ready, _, _ = select.select([terminal], [], [], seconds)
        if not ready:
            return []
        data = os.read(terminal, 1024)
        return read_keys(data) if data else ["quit"]  # the terminal has gone

    tty.setcbreak(terminal)
    try:
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
