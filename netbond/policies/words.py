"""Says in a line what a policy does now: "policy bank: dsl (tier 1 of 2)". Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netbond.policies.model import PolicyInUse


def way_words(tier: int, tiers: int, uplinks: Sequence[str], otherwise: str) -> str:
    """What a policy does for a family: "lte1, lte2 (tier 2 of 2)"."""
    if tier:
        return f"{', '.join(uplinks)} (tier {tier} of {tiers})"
    return "refused: no tier works" if otherwise == "unreachable" else "like other traffic: no tier works"


def policy_words(policy: PolicyInUse, family: int) -> str:
    """What it does for a family, with its name; "" if it is not in force there."""
    way = policy.way(family)
    if way is None:
        return ""
    says = way_words(way.tier, len(policy.tiers), way.names, policy.otherwise)
    return f"policy {policy.name}: {says}"


def changes(before: Iterable[PolicyInUse], now: Iterable[PolicyInUse]) -> list[str]:
    """A line of the log for each policy and family that uses other uplinks than before."""
    old = {
        (policy.name, way.family): policy_words(policy, way.family)
        for policy in before
        for way in policy.ways
    }
    lines = []
    for policy in now:
        for way in policy.ways:
            says = policy_words(policy, way.family)
            if old.get((policy.name, way.family)) != says:
                why = f": {way.reason}" if way.reason else ""
                lines.append(f"{says}{' for IPv6' if way.family == 6 else ''}{why}")
    return lines


def problems(policies: Iterable[PolicyInUse]) -> list[str]:
    """A line for each policy that does nothing, although it should."""
    return [f"policy {each.name}: {each.problem}" for each in policies if each.problem and not each.ways]


def limits(policies: Iterable[PolicyInUse]) -> list[str]:
    """A line for each policy that is in force, but not for all that it should be."""
    return [f"policy {each.name}: {each.problem}" for each in policies if each.problem and each.ways]
