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
    Override,
    SpentDataPlan,
)
from netbond.usability import spent_devices, stream_links
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

    def poor(self, *devices: str) -> Facts:
        bad = tuple(Health(each, 4, "degraded", "icmp: 30% missing", poor=True) for each in devices)
        return replace(self.facts, health=bad)

    QUALITY = "[health]\ncheck_quality = true\n"

    def test_poor_quality_counts_only_if_that_is_configured(self) -> None:
        assert self.states(self.poor("usb1")) == ["up"] * 3
        assert self.states(self.poor("usb1"), self.QUALITY) == ["up", "degraded", "up"]
        own = '[[uplink]]\nmatch = "usb1"\ncheck_quality = true'
        assert self.states(self.poor("usb0", "usb1"), own) == ["up", "degraded", "up"]
        other = f'{self.QUALITY}[[uplink]]\nmatch = "usb1"\ncheck_quality = false'
        assert self.states(self.poor("usb0", "usb1"), other) == ["degraded", "up", "up"]

    def test_a_degraded_uplink_leaves_the_share_and_stays_in_the_bond(self) -> None:
        goal = desired(self.poor("usb1"), parse(self.QUALITY))
        degraded = goal.uplinks[1]
        assert degraded.reason == "icmp: 30% missing"
        (share,) = [r for r in goal.routes if r.table == 222]
        assert [hop.device for hop in share.nexthops] == ["usb0", "usb2"]
        assert sum(r.table == 101 for r in goal.routes) == 3
        assert (degraded.usable, degraded.in_list, degraded.leads_out) == (False, True, True)
        assert degraded in stream_links(goal.uplinks)

    def test_if_all_are_degraded_none_leaves(self) -> None:
        assert self.states(self.poor("usb0", "usb1", "usb2"), self.QUALITY) == ["up"] * 3
        facts = self.poor("usb0", "usb1")
        facts = replace(facts, health=(*facts.health, *self.down("usb2")))
        assert self.states(facts, self.QUALITY) == ["up", "up", "dead"]

    def test_a_target_that_is_silent_is_no_poor_quality(self) -> None:
        facts = replace(self.facts, health=(Health("usb1", 4, "degraded", "icmp: no answer from 1.1.1.1"),))
        assert self.states(facts, self.QUALITY) == ["up"] * 3

    def test_a_backup_stands_in_for_the_degraded(self) -> None:
        text = f'{self.QUALITY}[[uplink]]\nmatch = "usb2"\nbackup = true'
        assert self.states(self.poor("usb0"), text) == ["degraded", "up", "standby"]
        assert self.states(self.poor("usb0", "usb1"), text) == ["degraded", "degraded", "up"]
        assert self.states(self.poor("usb0", "usb1", "usb2"), text) == ["up", "up", "standby"]
        assert self.states(self.poor("usb2"), text) == ["up", "up", "standby"]

    def test_a_spent_plan_does_not_stand_in(self) -> None:
        plan = (SpentDataPlan("usb2", "backup"),)
        facts = replace(self.poor("usb0", "usb1"), spent_plans=plan)
        assert self.states(facts, self.QUALITY) == ["up", "up", "standby"]
        backup = f'{self.QUALITY}[[uplink]]\nmatch = "usb1"\nbackup = true'
        facts = replace(self.poor("usb0"), spent_plans=plan)
        assert self.states(facts, backup) == ["degraded", "up", "standby"]

    def test_a_pin_to_a_degraded_uplink_holds(self) -> None:
        text = f'{self.QUALITY}[[pin]]\ndestination = ["203.0.113.0/24"]\nuplinks = ["usb1"]'
        (pinned,) = [r for r in desired(self.poor("usb1"), parse(text)).routes if r.table == 221]
        assert [hop.device for hop in pinned.nexthops] == ["usb1"]

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

    def test_a_reason_that_is_missing_is_said_in_general_words(self) -> None:
        bad = replace(
            self.facts, health=(Health("usb0", 4, "down"), Health("usb1", 4, "degraded", poor=True))
        )
        found = uplinks(bad, parse("[health]\ncheck_quality = true"))
        assert [each.reason for each in found] == ["checks fail", "degraded", ""]
        spent = (SpentDataPlan("usb0", "off", ""), SpentDataPlan("usb1", "backup", ""))
        found = uplinks(replace(self.facts, spent_plans=spent), Config())
        assert [each.reason for each in found] == ["data plan is spent"] * 2 + [""]
        dead = uplinks(replace(self.facts, health=self.down("usb0"), spent_plans=spent[:1]), Config())
        assert [(each.state, each.reason) for each in dead] == [("dead", "no answer"), ("up", ""), ("up", "")]

    def test_devices_with_a_spent_plan_but_those_that_are_set_to_be_used(self) -> None:
        spent = tuple(SpentDataPlan(f"usb{n}", "off", "") for n in (0, 1))
        facts = replace(self.set_to("up"), spent_plans=spent)
        assert spent_devices(uplinks(facts, Config()), facts) == {"usb1"}

    def set_to(self, *modes: str, **rest: object) -> Facts:
        """The box with these modes set for usb0, usb1, ...; "": none."""
        found = tuple(Override(f"usb{i}", mode, by="root") for i, mode in enumerate(modes) if mode)
        return replace(self.facts, overrides=found, **rest)  # type: ignore[arg-type]  # facts

    def test_off_is_not_used_whatever_happens_to_the_others(self) -> None:
        assert self.states(self.set_to("", "off")) == ["up", "off", "up"]
        assert self.states(self.set_to("off", "off", "off")) == ["off"] * 3
        assert self.states(self.set_to("", "off", health=self.down("usb0", "usb2"))) == ["up", "off", "up"]
        spent = tuple(SpentDataPlan(each, "off") for each in ("usb0", "usb2"))
        assert self.states(self.set_to("", "off", spent_plans=spent)) == ["up", "off", "up"]
        backup = '[[uplink]]\nmatch = "usb2"\nbackup = true'
        assert self.states(self.set_to("off", "off"), backup) == ["off", "off", "up"]
        none = replace(self.set_to("off"), interfaces=(link("usb0", carrier=False), link("usb1")))
        assert self.states(none) == ["no carrier", "up"]

    def test_off_leaves_the_share_the_list_and_the_bond_and_keeps_its_table_and_rules(self) -> None:
        goal = desired(self.set_to("", "off"), Config())
        off = goal.uplinks[1]
        assert off.reason == "set off by root"
        assert (off.usable, off.in_list, off.leads_out, off in stream_links(goal.uplinks)) == (False,) * 4
        (share,) = [r for r in goal.routes if r.table == 222]
        assert [hop.device for hop in share.nexthops] == ["usb0", "usb2"]
        before = desired(self.facts, Config())
        assert goal.rules == before.rules
        assert [r for r in goal.routes if r.table == 101] == [r for r in before.routes if r.table == 101]

    def test_off_is_not_dead(self) -> None:
        """It is the person's word that counts, and what checks say of it is of no concern."""
        facts = self.set_to("off", "", "", health=self.down("usb0", "usb1", "usb2"))
        assert self.states(facts) == ["off", "up", "up"]

    def test_a_backup_that_is_set_and_one_that_is_none_any_more(self) -> None:
        text = '[[uplink]]\nmatch = "usb2"\nbackup = true'
        goal = desired(self.set_to("backup"), parse(text))
        assert [(u.state, u.reason) for u in goal.uplinks] == [
            ("standby", "set backup by root"),
            ("up", ""),
            ("standby", "backup"),
        ]
        assert self.states(self.set_to("", "", "normal"), text) == ["up"] * 3
        assert self.states(self.set_to("backup", "backup", "backup")) == ["up"] * 3

    @pytest.mark.parametrize(("action", "states"), [("off", ["up", "spent"]), ("backup", ["up", "standby"])])
    def test_a_mode_that_is_set_is_stronger_than_a_spent_plan(self, action: str, states: list[str]) -> None:
        spent = tuple(SpentDataPlan(each, action) for each in ("usb1", "usb2"))
        assert self.states(self.set_to("", "", "normal", spent_plans=spent)) == [*states, "up"]
        assert self.states(self.set_to("", "", "backup", spent_plans=spent)) == [*states, "standby"]
        assert self.states(self.set_to("off", "", "backup", spent_plans=spent))[2] == "up"

    def test_a_dead_uplink_stays_dead_whatever_is_set(self) -> None:
        assert self.states(self.set_to("normal", health=self.down("usb0"))) == ["dead", "up", "up"]

    def test_a_backup_that_is_set_stands_in_for_the_degraded(self) -> None:
        poor = replace(self.poor("usb0", "usb1"), overrides=(Override("usb2", "backup", by="root"),))
        assert self.states(poor, self.QUALITY) == ["degraded", "degraded", "up"]

    def test_weight_and_priority(self) -> None:
        text = '[[uplink]]\nmatch = "usb*"\nweight = 2\npriority = 1'
        facts = replace(
            self.facts,
            overrides=(Override("usb0", weight=6), Override("usb1", priority=0), Override("usb7", "off")),
        )
        found = uplinks(facts, parse(text))
        assert [(u.weight, u.priority, u.mode, u.set_by) for u in found] == [
            (6, 1, "normal", ""),
            (2, 0, "normal", ""),
            (2, 1, "normal", ""),
        ]
        (share,) = [r for r in desired(facts, parse(text)).routes if r.table == 222]
        assert [hop.weight for hop in share.nexthops] == [3, 1, 1]
        measured = replace(facts, measured=(("usb0", 9), ("usb1", 9)))
        assert [u.weight for u in uplinks(measured, parse(text.replace("2", '"auto"')))] == [6, 9, 1]

    def test_what_is_set_goes_by_the_name(self) -> None:
        text = '[[uplink]]\nmatch = "usb1"\nlabel = "lte"'
        by_device = replace(self.facts, overrides=(Override("usb1", "off", by="root"),))
        assert self.states(by_device, text) == ["up"] * 3
        by_label = replace(self.facts, overrides=(Override("lte", "off", by="root"),))
        assert sorted(u.state for u in uplinks(by_label, parse(text))) == ["off", "up", "up"]
