"""A picture that is larger than the terminal: what is seen of it, and what keys do."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
import termios
import time

import pytest
from rich.console import Console
from rich.screen import Screen
from rich.text import Text

from netbond.cli.scroll import Window, read_keys

TALL = "\n".join(f"line {number}" for number in range(1, 41))


def seen(window: Window, height: int = 10, width: int = 60) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, markup=False, highlight=False)
    console.print(Screen(window))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        ([], 1),
        (["down"], 2),
        (["down", "down", "up"], 2),
        (["up"], 1),
        (["page down"], 10),
        (["page down", "page up"], 1),
        (["end"], 32),
        (["end", "down"], 32),
        (["end", "home"], 1),
        (["quit"], 1),
    ],
)
def test_keys_scroll_within_the_picture(keys: list[str], first: int) -> None:
    window = Window(Text(TALL))
    seen(window)
    for key in keys:
        window.press(key)
    lines = seen(window)
    assert len(lines) == 10
    assert lines[0] == f"line {first}"
    assert lines[-1] == f"-- lines {first} to {first + 8} of 40: arrows scroll, q ends --"


def test_what_fits_has_no_last_line_of_ours() -> None:
    window = Window(Text("one\ntwo"))
    assert seen(window)[:3] == ["one", "two", ""]
    window.press("down")
    assert seen(window)[0] == "one"


def test_a_picture_that_shrinks_is_still_seen() -> None:
    window = Window(Text(TALL))
    seen(window)
    window.press("end")
    window.view = Text("one\ntwo")
    assert seen(window)[0] == "one"


def test_the_last_line_fits_a_narrow_terminal() -> None:
    assert max(map(len, seen(Window(Text(TALL)), width=20))) <= 20


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"", []),
        (b"j", ["down"]),
        (b"\x1b[B\x1b[A", ["down", "up"]),
        (b"\x1bOB ", ["down", "page down"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[4~", ["page up", "page down", "home", "end"]),
        (b"xyz\x1b[99~q", ["quit"]),
        (b"\xff\x1b", []),
    ],
)
def test_bytes_are_keys(data: bytes, keys: list[str]) -> None:
    assert read_keys(data) == keys


PROGRAM = """
from rich.console import Console
from rich.text import Text
from netbond.cli.scroll import watch
watch(Console(highlight=False), lambda: Text("\\n".join(f"line {n}." for n in range(1, 41))), 0.05)
"""


def test_on_a_terminal_keys_scroll_q_ends_and_the_picture_stays() -> None:
    leader, follower = pty.openpty()
    before = termios.tcgetattr(follower)
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "60", "LINES": "10"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=follower, stdout=follower, stderr=follower, env=environ
    )
    told = bytearray()

    def until(what: bytes) -> None:
        deadline = time.monotonic() + 60
        while what not in told:
            assert time.monotonic() < deadline, told
            if select.select([leader], [], [], 0.1)[0]:
                told.extend(os.read(leader, 65536))

    try:
        until(b"lines 1 to 9 of 40")
        os.write(leader, b"G")
        until(b"lines 32 to 40 of 40")
        assert b"line 20." not in told
        os.write(leader, b"q")
        until(b"\x1b[?1049l")
        until(b"line 20.")
        assert process.wait(40) == 0
        assert termios.tcgetattr(follower) == before, "the terminal is as it was"
    finally:
        process.kill()
        process.wait()
        os.close(leader)
        os.close(follower)
