"""The overflow of policies, in the agent: counters in, names of policies out."""

from __future__ import annotations

from dataclasses import replace

from netbond.config.load import parse
from netbond.contracts import Traffic
from netbond.desired import desired
from netbond.model import Facts, Interface
from netbond.sources.overflow import PolicyOverflow
from tests.unit.boxes import box

CONFIG = parse('[[policy]]\nname = "p"\nuplinks = ["usb0", "usb1"]\noverflow = "8Mbit/s"')


def traffic(received: int) -> Traffic:
    return Traffic((Interface("usb0", 2, rx_bytes=received), Interface("usb1", 3)))


async def test_it_looks_when_a_tier_begins_and_ceases_to_overflow() -> None:
    looks: list[int] = []
    source = PolicyOverflow()
    await source.start(lambda: looks.append(1), ())
    source.tick(traffic(0), 0.0)  # nothing is watched yet
    facts = box("usb0", "usb1")
    assert await source.apply(facts, desired(facts, CONFIG), CONFIG) == ()
    for second in range(12):
        source.tick(traffic(second * 2_000_000), float(second))
    assert len(looks) == 1
    facts = source.contribute(facts, 12.0)
    assert facts.overflowing == {"p"}
    assert desired(facts, CONFIG).policies[0].ways[0].names == ("usb1",)
    # It is still usb0 that is watched.
    await source.apply(facts, desired(facts, CONFIG), CONFIG)
    for second in range(12, 24):
        source.tick(traffic(24_000_000), float(second))
    assert len(looks) == 2
    assert source.contribute(Facts(), 24.0).overflowing == frozenset()


async def test_a_policy_that_is_gone_does_not_overflow() -> None:
    source = PolicyOverflow()
    facts = box("usb0", "usb1")
    await source.apply(facts, desired(facts, CONFIG), CONFIG)
    for second in range(12):
        source.tick(traffic(second * 2_000_000), float(second))
    empty = parse("")
    await source.apply(facts, desired(replace(facts), empty), empty)
    source.tick(traffic(100_000_000), 12.0)
    assert source.contribute(Facts(), 12.0).overflowing == frozenset()
