"""The states that health checks, data plans and backups give to the uplinks of a box."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.desired import desired
from netbond.model import (
    Facts,
    Health,
    SpentDataPlan,
)
from tests.unit.boxes import box, link, uplinks


class TestStates:
    """Health, budgets and backups."""

    facts = box("usb0", "usb1", "usb2")

    def states(self, facts: Facts, text: str = "") -> list[str]:
        return [u.state for u in uplinks(facts, parse(text))]

    def down(self, *devices: str) -> tuple[Health, ...]:
        return tuple(Health(device, 4, "down", "no answer") for device in devices)

    def test_a_dead_uplink_leaves_the_share_and_the_list_and_keeps_its_table(self) -> None:
        facts = replace(self.facts, health=self.down("usb1"))
        assert self.states(facts) == ["up", "dead", "up"]
        goal = desired(facts, Config())
        assert goal.uplinks[1].reason == "no answer"
        assert not goal.uplinks[1].in_list
        (share,) = [r for r in goal.routes if r.table == 222]
        assert [hop.device for hop in share.nexthops] == ["usb0", "usb2"]
        assert sum(r.table == 101 for r in goal.routes) == 3
        (kept,) = [u for u in uplinks(facts, parse("[health]\ndown_from_list = false")) if u.state == "dead"]
        assert kept.in_list

    def test_if_all_are_dead_none_is(self) -> None:
        assert self.states(replace(self.facts, health=self.down("usb0", "usb1", "usb2"))) == ["up"] * 3

    @pytest.mark.parametrize("state", ["up", "degraded", "unknown"])
    def test_anything_but_down_is_used(self, state: str) -> None:
        health = (Health("usb0", 4, state), Health("usb1", 6, "down"))
        assert self.states(replace(self.facts, health=health)) == ["up"] * 3

    def test_of_another_address_is_of_no_concern(self) -> None:
        health = Health("usb0", 4, "down", address=ipaddress.ip_address("10.9.9.9"))
        assert self.states(replace(self.facts, health=(health,))) == ["up"] * 3

    def test_backups(self) -> None:
        text = '[[uplink]]\nmatch = "usb2"\nbackup = true'
        assert self.states(self.facts, text) == ["up", "up", "standby"]
        dead = replace(self.facts, health=self.down("usb0", "usb1"))
        assert self.states(dead, text) == ["dead", "dead", "up"]
        assert self.states(replace(dead, health=self.down("usb0", "usb1", "usb2")), text) == [
            "up",
            "up",
            "standby",
        ]
        none = replace(self.facts, interfaces=(link("usb2"),))
        assert self.states(none, text) == ["up"]

    def test_spent_data_plans(self) -> None:
        def spent(*pairs: tuple[str, str]) -> Facts:
            return replace(
                self.facts, spent_plans=tuple(SpentDataPlan(d, action, "50 GB used") for d, action in pairs)
            )

        assert self.states(spent(("usb0", "backup"))) == ["standby", "up", "up"]
        assert self.states(spent(("usb0", "off"))) == ["spent", "up", "up"]
        assert self.states(spent(("usb0", "off"), ("usb1", "off"), ("usb2", "off"))) == ["up"] * 3
        alone = replace(spent(("usb0", "off"), ("usb1", "off")), health=self.down("usb2"))
        assert self.states(alone) == ["up", "up", "dead"]

    def test_if_all_are_dead_the_last_state_stays(self) -> None:
        dead = replace(self.facts, health=self.down("usb0", "usb1", "usb2"))
        assert self.states(dead) == ["up"] * 3
        only = frozenset({("usb1", ipaddress.ip_address("10.0.1.10"))})
        assert self.states(replace(dead, alive=only)) == ["dead", "up", "dead"]
