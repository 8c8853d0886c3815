"""How the demo looks: the same moment on a terminal and as a line."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from netbond.lab.view import BAR, LIVE_PERIOD_S, PLAIN_PERIOD_S, LinkLine, Moment, Screen, picture, plain

UP = LinkLine("usb0", "10.0.0.10", "10.0.0.1", "up", 0.5, 4.0, 41.6, 20, 3)
PULLED = LinkLine("usb1", "10.0.1.10", "10.0.1.1", "pulled", 0.0, 0.0, None, None, None)
MOMENT = Moment(12.34, 30.0, 100, 98, 1, (UP, PULLED), ("usb1 was pulled",))


def drawn(moment: Moment, width: int = 140) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(picture(moment, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_moment_as_a_line() -> None:
    assert plain(MOMENT) == (
        " 12.3 s  sent 100  arrived 98  late or lost 1  |  usb0 50%  usb1 pulled"
    )  # fmt: skip


def test_a_moment_as_a_picture() -> None:
    head, names, pulled, up, news = drawn(MOMENT)
    assert head.split() == [
        "12.3",
        "of",
        "30",
        "s",
        "sent",
        "100",
        "arrived",
        "98",
        "late",
        "or",
        "lost",
        "1",
    ]
    assert names.split()[:3] == ["uplink", "state", "share"]
    assert names.split()[-2:] == ["address", "gateway"]
    assert up.count("█") == BAR // 2
    assert up.split()[-6:] == ["4.00", "42", "20", "3", "10.0.0.10", "10.0.0.1"]
    assert pulled.split()[-6:-2] == ["0.00", "-", "-", "-"]
    assert news == "usb1 was pulled"


@pytest.mark.parametrize(("width", "last"), [(80, "flight"), (76, "flight"), (60, "ms")])
def test_eight_modems_fit_a_small_terminal(width: int, last: str) -> None:
    links = tuple(replace(UP, device=f"usb{number}", address="192.168.100.100") for number in range(8))
    lines = drawn(replace(MOMENT, links=(*links[:7], replace(PULLED, device="usb7"))), width)
    assert len(lines) == 11
    assert max(map(len, lines)) <= width
    assert lines[1].split()[-1] == last
    assert [line.split()[0] for line in lines[2:10]] == ["usb7", *(f"usb{number}" for number in range(7))]


def test_after_the_last_packet_the_clock_stands_still() -> None:
    late = Moment(31.5, 30.0, 100, 98, 1, (), ())
    assert plain(late).startswith(" 30.0 s")
    assert drawn(late)[0].startswith("30.0 of 30 s")


def test_lines_are_few_and_news_come_at_once() -> None:
    screen = Screen(live=False)
    screen.console = Console(file=io.StringIO(), width=200, highlight=False)
    with screen:
        assert screen.wants(0.0)
        screen.show(MOMENT)
        assert not screen.wants(MOMENT.elapsed_s + PLAIN_PERIOD_S / 2)
        assert screen.wants(MOMENT.elapsed_s + PLAIN_PERIOD_S)
        screen.news("[bold]usb1[/bold] was pulled")
    assert isinstance(screen.console.file, io.StringIO)
    assert screen.console.file.getvalue() == f"{plain(MOMENT)}\n       [bold]usb1[/bold] was pulled\n"


def test_on_a_terminal_news_are_part_of_the_picture() -> None:
    screen = Screen(live=True)
    with screen:
        screen.show(MOMENT)
        assert screen.wants(MOMENT.elapsed_s + LIVE_PERIOD_S)
        screen.news("not a line of its own")
