"""Which tier is in use, and by which uplinks."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

import pytest

from netbond.config.policy_values import tiers as read
from netbond.model import Uplink, UplinkState
from netbond.policies.tiers import choose, members

ADDRESS = ipaddress.ip_interface("10.0.0.10/24")


def uplink(device: str, state: str = "up", *, label: str = "", reason: str = "", weight: int = 1) -> Uplink:
    return Uplink(device, ADDRESS, None, "", 100, weight, UplinkState(state), label=label, reason=reason)


def choice(
    tiers: list[object], *uplinks: Uplink, overflowing: bool = False, spent: Collection[str] = ()
) -> str:
    """'2 of best 1: lte1*2 lte2*1 (reason)'."""
    found = choose(members(read(tiers), uplinks), overflowing=overflowing, spent=spent)
    used = " ".join(f"{each.name}*{weight}" for each, weight in found.uplinks)
    return f"{found.tier} of best {found.best}: {used} ({found.reason})"


DSL, LTE1, LTE2 = uplink("eth0", label="dsl"), uplink("wwan0", label="lte1"), uplink("wwan1", label="lte2")


def down(which: Uplink, state: str = "no carrier", reason: str = "") -> Uplink:
    return uplink(which.device, state, label=which.label, reason=reason)


@pytest.mark.parametrize(
    ("tiers", "uplinks", "found"),
    [
        (["dsl", "lte*"], [DSL, LTE1, LTE2], "1 of best 1: dsl*1 ()"),
        # By the device's name, too; and in the tier that names it first.
        (["eth0", "*"], [LTE1, DSL], "1 of best 1: dsl*1 ()"),
        (
            ["eth0", "*"],
            [LTE1, down(DSL), LTE2],
            "2 of best 2: lte1*1 lte2*1 (tier 1: dsl: no carrier)",
        ),
        (
            ["dsl", {"lte1": 3, "lte*": 2}],
            [down(DSL, "dead", "gateway: no answer"), LTE1, LTE2],
            "2 of best 2: lte1*3 lte2*2 (tier 1: dsl: gateway: no answer)",
        ),
        # Degraded ones give way to others of their tier, and to the next tier, but not to nothing.
        ([["dsl", "lte*"]], [DSL, down(LTE1, "degraded"), LTE2], "1 of best 1: dsl*1 lte2*1 ()"),
        (
            ["dsl", "lte1"],
            [down(DSL, "degraded", "icmp: answers take 2 s"), LTE1],
            "2 of best 2: lte1*1 (tier 1: dsl: icmp: answers take 2 s)",
        ),
        (["dsl", "lte1"], [down(DSL, "degraded"), down(LTE1, "dead")], "1 of best 1: dsl*1 ()"),
        # The weights of the uplinks themselves, where the policy has none.
        ([["lte1", "x"]], [uplink("x", weight=5), LTE1], "1 of best 1: x*5 lte1*1 ()"),
        (["usb0", "lte1"], [LTE1], "2 of best 2: lte1*1 (tier 1: no such uplink is there)"),
        (
            ["usb0", "dsl"],
            [down(DSL, "down")],
            "0 of best 0:  (tier 1: no such uplink is there; tier 2: dsl: down)",
        ),
        # A backup that waits works, but in its tier it waits for the others.
        (["lte1"], [down(LTE1, "standby", "backup")], "1 of best 1: lte1*1 ()"),
        (["*"], [DSL, down(LTE1, "standby", "backup")], "1 of best 1: dsl*1 ()"),
    ],
)
def test_by_state(tiers: list[object], uplinks: list[Uplink], found: str) -> None:
    assert choice(tiers, *uplinks) == found


def test_a_spent_plan_is_the_last_resort_of_all_tiers() -> None:
    waits = down(LTE1, "standby", "data plan is spent")
    assert choice(["lte1", "dsl"], DSL, waits, spent={"wwan0"}) == (
        "2 of best 2: dsl*1 (tier 1: lte1: its data plan is spent)"
    )
    assert choice(["lte1", "dsl"], down(DSL), waits, spent={"wwan0"}) == "1 of best 1: lte1*1 ()"
    assert choice(["lte1"], down(LTE1, "spent", "data plan is spent"), spent={"wwan0"}) == (
        "0 of best 0:  (tier 1: lte1: data plan is spent)"
    )


def test_a_degraded_uplink_is_used_before_a_spent_plan_and_after_all_others() -> None:
    poor = down(DSL, "degraded", "icmp: 30 % lost")
    assert choice(["dsl", "lte1"], poor, down(LTE1, "standby", "backup")) == (
        "2 of best 2: lte1*1 (tier 1: dsl: icmp: 30 % lost)"
    )
    assert choice([["dsl", "lte1"]], poor, LTE1) == "1 of best 1: lte1*1 ()"
    spent = down(LTE1, "standby", "data plan is spent")
    assert choice(["lte1", "dsl"], poor, spent, spent={"wwan0"}) == (
        "2 of best 2: dsl*1 (tier 1: lte1: its data plan is spent)"
    )
    assert choice(["lte1", "dsl"], down(DSL), spent, spent={"wwan0"}) == "1 of best 1: lte1*1 ()"


def test_overflow_uses_the_next_tier_that_works() -> None:
    assert choice(["dsl", "lte1", "lte2"], DSL, LTE1, LTE2, overflowing=True) == (
        "2 of best 1: lte1*1 (tier 1 overflows)"
    )
    assert choice(["dsl", "lte1", "lte2"], DSL, down(LTE1), LTE2, overflowing=True) == (
        "3 of best 1: lte2*1 (tier 1 overflows)"
    )
    assert choice(["dsl", "lte1"], DSL, down(LTE1), overflowing=True) == "1 of best 1: dsl*1 ()"


def test_a_spent_plan_does_not_stand_in_for_a_degraded_uplink() -> None:
    degraded = down(DSL, "degraded")
    assert choice(["dsl", "lte1"], degraded, LTE1, spent=["wwan0"]) == "1 of best 1: dsl*1 ()"
    assert choice(["dsl", "lte1", "lte2"], degraded, LTE1, LTE2, spent=["wwan0"]).startswith(
        "3 of best 3: lte2*1"
    )
