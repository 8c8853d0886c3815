"""Weights that follow what interfaces carry, and do not fidget."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from netbond.config.schema import Config, UplinkConfig
from netbond.contracts import Traffic
from netbond.desired import Desired, desired
from netbond.model import Facts, Rate
from netbond.sources.auto_weight import CHANGE_INTERVAL_S, HALF_LIFE_S, AutoWeights, WeightMeter
from tests.unit.boxes import box

MBIT = 1e6
THREE = ["usb0", "usb1", "usb2"]


def carry(weigher: WeightMeter, rates: dict[str, float], start: float, seconds: int) -> list[dict[str, int]]:
    """The weights, second by second."""
    found = []
    for second in range(seconds):
        weigher.observe(rates, start + second)
        found.append(weigher.weights(THREE, start + second))
    return found


def test_nothing_known_is_all_alike() -> None:
    assert WeightMeter().weights(THREE, 0.0) == dict.fromkeys(THREE, 1)
    assert carry(WeightMeter(), dict.fromkeys(THREE, 1000.0), 0, 300)[-1] == dict.fromkeys(THREE, 1)


def test_it_follows_the_ratio() -> None:
    rates = {"usb0": 20 * MBIT, "usb1": 10 * MBIT, "usb2": 4 * MBIT}
    assert carry(WeightMeter(), rates, 0, 300)[-1] == {"usb0": 10, "usb1": 5, "usb2": 2}


def test_a_burst_does_not_count() -> None:
    weigher = WeightMeter()
    steady = dict.fromkeys(THREE, 5 * MBIT)
    before = carry(weigher, steady, 0, 300)[-1]
    carry(weigher, steady | {"usb1": 6 * MBIT}, 300, 2)
    assert carry(weigher, steady, 302, 300)[-1] == before


def test_an_interface_without_a_record_has_the_mean_and_none_is_starved() -> None:
    rates = {"usb0": 20 * MBIT, "usb1": 0.2 * MBIT}
    assert carry(WeightMeter(), rates, 0, 300)[-1] == {"usb0": 10, "usb1": 1, "usb2": 5}


def test_quiet_times_keep_the_ratio() -> None:
    weigher = WeightMeter()
    busy = carry(weigher, {"usb0": 20 * MBIT, "usb1": 10 * MBIT, "usb2": 4 * MBIT}, 0, 300)[-1]
    assert carry(weigher, dict.fromkeys(THREE, 0.0), 300, int(HALF_LIFE_S))[-1] == busy


def test_a_modem_that_gets_worse_loses_weight_in_the_end() -> None:
    weigher = WeightMeter()
    carry(weigher, dict.fromkeys(THREE, 10 * MBIT), 0, 300)
    later = carry(weigher, dict.fromkeys(THREE, 10 * MBIT) | {"usb2": 1 * MBIT}, 300, int(4 * HALF_LIFE_S))
    assert later[-1]["usb2"] <= 2
    assert later[0]["usb2"] == later[0]["usb0"]


@given(st.lists(st.floats(0, 1e8), min_size=30, max_size=30))
def test_changes_are_rare_whatever_happens(rates: list[float]) -> None:
    weigher = WeightMeter()
    changes, last = [], None
    for second in range(600):
        rate = rates[second % len(rates)]
        weigher.observe({"usb0": rate, "usb1": 5 * MBIT, "usb2": 1e8 - rate}, second)
        now = weigher.weights(THREE, second)
        assert all(1 <= weight <= 10 for weight in now.values())
        if last is not None and now != last:
            changes.append(second)
        last = now
    assert all(b - a >= CHANGE_INTERVAL_S for a, b in itertools.pairwise(changes))


def test_one_that_comes_or_goes_does_not_move_the_others() -> None:
    weigher = WeightMeter()
    before = carry(weigher, {"usb0": 20 * MBIT, "usb1": 10 * MBIT, "usb2": 4 * MBIT}, 0, 300)[-1]
    without = weigher.weights(["usb0", "usb1"], 301)
    assert without == {name: before[name] for name in without}
    assert weigher.weights(THREE, 302)["usb0"] == before["usb0"]


# --- the source --------------------------------------------------------------------------------------------

CONFIG = Config(uplink=(UplinkConfig("usb2", weight=3), UplinkConfig("usb*", weight="auto")))


def carrying(**mbit_s: float) -> Traffic:
    """Half of it each way."""
    return Traffic(rates={name: Rate(rate * MBIT / 2, rate * MBIT / 2) for name, rate in mbit_s.items()})


async def test_it_weighs_the_uplinks_that_are_to_be_weighed() -> None:
    source, facts, looks = AutoWeights(), box("usb0", "usb1", "usb2"), list[None]()
    await source.start(lambda: looks.append(None), ())
    assert await source.apply(facts, desired(facts, CONFIG), CONFIG) == ()
    assert source.contribute(facts, 0.0).measured == ()
    for second in range(300):
        source.tick(carrying(usb0=20, usb1=10, usb2=90, eth0=500), second)
    seen = source.contribute(facts, 0.0)
    assert dict(seen.measured) == {"usb0": 10, "usb1": 5}
    weights = {uplink.name: uplink.weight for uplink in desired(seen, CONFIG).uplinks}
    assert weights == {"usb0": 10, "usb1": 5, "usb2": 3}
    assert 1 <= len(looks) <= 300 / CHANGE_INTERVAL_S + 2  # not for what has not changed


async def test_an_uplink_that_is_none_any_more_has_no_weight() -> None:
    source, facts = AutoWeights(), box("usb0", "usb1")
    await source.apply(facts, desired(facts, CONFIG), CONFIG)
    source.tick(carrying(usb0=20, usb1=10), 0.0)
    assert [name for name, _ in source.contribute(facts, 0.0).measured] == ["usb0", "usb1"]
    await source.apply(Facts(), Desired(), CONFIG)
    source.tick(carrying(usb0=20), 1.0)
    assert source.contribute(facts, 0.0).measured == ()
