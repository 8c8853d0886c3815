"""Which uplinks were in use, from one pass to the next."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import ip_address

from netbond.config.schema import Config, UplinkConfig
from netbond.desired import desired
from netbond.model import Facts, Health
from netbond.sources.last_pass import LastPass
from netbond.status.schema import Sections
from tests.unit.boxes import box

CONFIG = Config()


async def test_nothing_is_known_before_the_first_pass() -> None:
    assert LastPass().contribute(box("usb0"), 0.0).alive == frozenset()


async def test_the_uplinks_in_use_and_those_that_wait_for_their_turn() -> None:
    config = Config(uplink=(UplinkConfig("usb1", backup=True),))
    source, facts = LastPass(), box("usb0", "usb1", "usb2")
    facts = replace(facts, health=(Health("usb2", 4, "down", "silent"),))
    assert await source.apply(facts, desired(facts, config), config) == ()
    assert source.contribute(facts, 0.0).alive == {
        ("usb0", ip_address("10.0.0.10")),
        ("usb1", ip_address("10.0.1.10")),
    }


async def test_when_all_are_dead_those_used_last_stay_in_use() -> None:
    """What the fact is for, over three passes."""
    source, facts = LastPass(), box("usb0", "usb1")

    async def look(*dead: str) -> list[str]:
        seen = replace(facts, health=tuple(Health(name, 4, "down", "silent") for name in dead))
        seen = source.contribute(seen, 0.0)
        goal = desired(seen, CONFIG)
        await source.apply(seen, goal, CONFIG)
        return [uplink.name for uplink in goal.uplinks if uplink.usable]

    assert await look() == ["usb0", "usb1"]
    assert await look("usb1") == ["usb0"]
    assert await look("usb0", "usb1") == ["usb0"]


async def test_what_it_says_replaces_what_was_there() -> None:
    source, facts = LastPass(), box("usb0")
    await source.apply(facts, desired(facts, CONFIG), CONFIG)
    await source.apply(Facts(), desired(Facts(), CONFIG), CONFIG)
    before = replace(facts, alive=frozenset({("usb0", ip_address("10.0.0.10"))}))
    assert source.contribute(before, 0.0).alive == frozenset()


async def test_status_has_the_uplinks_that_have_gone_and_why() -> None:
    config = Config(uplink=(UplinkConfig("usb2", enabled=False),))
    source, facts = LastPass(), box("usb0", "usb1", "usb2")
    await source.apply(facts, desired(facts, CONFIG), CONFIG)
    assert source.status(Sections(), (), time.monotonic()).gone == ()
    left = replace(facts, interfaces=facts.interfaces[:2] + facts.interfaces[3:])  # without usb1
    await source.apply(left, desired(left, config), config)
    gone = source.status(Sections(), (), time.monotonic()).gone
    assert [(each.name, each.address, each.reason) for each in gone] == [
        ("usb1", "10.0.1.10", "unplugged"),
        ("usb2", "10.0.2.10", "enabled = false"),
    ]
