"""When a tier carries too much: the mean of 10 s, the larger direction, and hysteresis."""

from __future__ import annotations

import pytest

from netbond.config.load import parse
from netbond.desired import desired
from netbond.policies.overflow import OverflowMeter, Watched, watched
from tests.unit.boxes import box

M = 125_000  # bytes a second that are 1 Mbit/s


class Line:
    """Traffic of usb0 and usb1, second by second, against a limit of 8 Mbit/s."""

    def __init__(self, *devices: str) -> None:
        self.meter = OverflowMeter()
        self.wanted = {"p": Watched(frozenset(devices or ("usb0", "usb1")), 8_000_000)}
        self.counters = {"usb0": (0, 0), "usb1": (0, 0), "usb2": (0, 0)}
        self.now = 100.0

    def carry(self, seconds: int, **rates: tuple[float, float]) -> list[int]:
        """Received and sent Mbit/s of each device for some seconds; the seconds in which it overflows."""
        over = []
        for second in range(seconds):
            self.meter.observe(self.counters, self.wanted, self.now)
            if self.meter.overflowing:
                over.append(second)
            self.now += 1
            for device, (down, up) in rates.items():
                received, sent = self.counters[device]
                self.counters[device] = (received + int(down * M), sent + int(up * M))
        return over


def test_a_burst_does_not_count() -> None:
    line = Line()
    assert line.carry(20, usb0=(4, 0.1)) == []
    assert line.carry(2, usb0=(20, 0.1)) == []
    assert line.carry(20, usb0=(4, 0.1)) == []


def test_the_larger_direction_summed_over_the_tier() -> None:
    assert Line().carry(30, usb0=(5, 1), usb1=(5, 1)) == list(range(9, 30))
    assert Line().carry(30, usb0=(1, 5), usb1=(1, 5)) == list(range(9, 30))
    # 5 down on one and 5 up on the other are 6 in the larger direction.
    assert Line().carry(30, usb0=(5, 1), usb1=(1, 5)) == []
    assert Line("usb0").carry(30, usb0=(5, 1), usb1=(5, 1)) == []


def test_hysteresis() -> None:
    line = Line()
    assert line.carry(30, usb0=(9, 0))[0] == 9
    assert len(line.carry(30, usb0=(7, 0))) == 30  # less than the limit, and more than four fifths of it
    over = line.carry(30, usb0=(5, 0))
    assert over == list(range(3))
    assert line.carry(30, usb0=(7.9, 0)) == []


def test_a_device_that_comes_goes_or_is_another_one_of_its_name() -> None:
    line = Line("usb0", "new")
    line.carry(20, usb0=(4, 0))
    line.counters["new"] = (10**12, 0)
    assert line.carry(1) == []
    line.counters["usb0"] = (0, 0)
    assert line.carry(5, usb0=(1, 0)) == []
    del line.counters["usb0"]
    assert line.carry(5) == []
    assert OverflowMeter().carried_bps(["usb0"]) == 0.0


def test_what_is_not_watched_any_more_does_not_overflow() -> None:
    line = Line()
    line.carry(30, usb0=(9, 0))
    assert line.meter.overflowing == {"p"}
    line.meter.observe(line.counters, {}, line.now)
    assert line.meter.overflowing == frozenset()


@pytest.mark.parametrize(
    ("config", "devices"),
    [
        ("", {"usb0", "usb1"}),
        ('[[uplink]]\nmatch = "usb1"\nbackup = true', {"usb0"}),
        ('[[uplink]]\nmatch = "usb*"\nenabled = false', {"usb2"}),
    ],
)
def test_the_working_uplinks_of_the_best_tier_are_watched(config: str, devices: set[str]) -> None:
    text = '\n[[policy]]\nname = "p"\nuplinks = [["usb0", "usb1"], "lte"]\noverflow = "8Mbit/s"'
    text += '\n[[policy]]\nname = "q"\nuplinks = ["usb2"]'
    if "enabled" in config:
        config = config.replace("usb*", "usb[01]")
        text = text.replace('"lte"', '"usb2", "lte"')
    goal = desired(box("usb0", "usb1", "usb2"), parse(config + text))
    assert watched(goal.policies, goal.uplinks) == {"p": Watched(frozenset(devices), 8_000_000)}
