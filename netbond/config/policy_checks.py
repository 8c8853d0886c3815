"""Checks each [[policy]] as a whole, and against the others and the rest of the configuration. Pure."""

from __future__ import annotations

import difflib
import ipaddress
import math
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from netbond.config.pattern import Match
from netbond.config.policy_values import WITH_PORTS

if TYPE_CHECKING:
    from netbond.config.mistakes import Mistakes
    from netbond.config.schema import Config, PolicyConfig, UplinkConfig

MOST_POLICIES = 64
MOST_RULES = 256  # of one policy and family: each packet that starts a connection is compared with all


def check(config: Config, mistakes: Mistakes) -> None:
    """Note what is wrong."""
    if len(config.policy) > MOST_POLICIES:
        mistakes.add("policy", f"{len(config.policy)} policies", f"{MOST_POLICIES} are the limit")
    names: set[str] = set()
    for number, policy in enumerate(config.policy, 1):
        where, name = f"policy[{number}]", f"policy {policy.name!r}"
        if policy.name in names:
            what = f"two policies are named {policy.name!r}"
            mistakes.add(f"{where}.name", what, "give each a name of its own")
        names.add(policy.name)
        _check_matches(policy, where, mistakes)
        if policy.overflow and len(policy.uplinks) < 2:
            mistakes.add(
                where,
                f"{name} has overflow and one tier",
                'add the tier that takes what is too much: uplinks = ["dsl", "lte"]',
            )
        if policy.failback == "keep" and not policy.sticky:
            mistakes.add(
                where,
                f"{name} has failback = 'keep' without sticky",
                'add sticky = "10min": without it there are no clients to keep, only connections ("drain")',
            )
        for mark, mask in policy.mark:
            if mask & config.router.mark_mask and mask != 0xFFFFFFFF:
                mistakes.add(
                    where,
                    f"{name}.mark: {mark:#x}/{mask:#x} has bits of netbond's own marks,"
                    f" {config.router.mark_mask:#x}",
                    "use other bits, or move router.mark_mask",
                )
        for uplink in (uplink for tier in policy.uplinks for uplink, _ in tier):
            if near := _meant(uplink, config.uplink):
                mistakes.add(
                    f"{where}.uplinks",
                    f"{name}.uplinks names {uplink!r}, which is no uplink",
                    f"did you mean {near!r}?",
                )
    last = config.routing.ecmp_priority + len(config.policy)
    if config.policy and last > 32765:
        mistakes.add(
            "routing.ecmp_priority",
            f"routing.ecmp_priority = {config.routing.ecmp_priority} leaves no room for"
            f" {len(config.policy)} policies",
            "their rules stand from that number on: choose a lower one",
        )


def _check_matches(policy: PolicyConfig, where: str, mistakes: Mistakes) -> None:
    """The matches can be true together, in one family at least, and do not make too many rules."""
    name = f"policy {policy.name!r}"
    if policy.uid and policy.interface not in ((), ("lo",)):
        mistakes.add(
            where,
            f"{name} has uid and interface",
            "what comes in by an interface has no user: take one out",
        )
    portless = [name for name in policy.protocol if name not in WITH_PORTS]
    if policy.port and portless:
        mistakes.add(
            where,
            f"{name} has port and protocol = {portless[0]!r}, which has no ports",
            "make it two policies, or leave port out",
        )
    sources = {ipaddress.ip_network(text).version for text in policy.source} or {4, 6}
    if not sources & ({each for text in policy.destination for each in _versions(text)} or {4, 6}):
        mistakes.add(
            where,
            f"{name} has IPv4 on one side and IPv6 on the other",
            "no packet has source and destination so",
        )
    rules = math.prod(
        max(1, len(values))
        for values in (
            *(policy.source, policy.interface, policy.dscp, policy.mark, policy.uid, policy.port),
            policy.protocol or (("tcp", "udp") if policy.port else ()),
        )
    )
    if rules > MOST_RULES:
        mistakes.add(
            where,
            f"{name} makes {rules} rules",
            f"{MOST_RULES} are the limit: use prefixes and ranges of ports",
        )


def _versions(destination: str) -> set[int]:
    try:
        return {ipaddress.ip_network(destination).version}
    except ValueError:
        return {4, 6}  # a name


def _meant(name: str, uplinks: tuple[UplinkConfig, ...]) -> str:
    """The label or interface of an [[uplink]] that a name is nearly, if it is none; "" if it may be right.

    Names that differ in their numbers alone are taken for two: usb1 needs no [[uplink]] beside usb0.
    """
    if any(char in name for char in "*?["):
        return ""
    known = {uplink.label for uplink in uplinks if uplink.label}
    matches = [Match.parse(uplink.match) for uplink in uplinks]
    named = {match.name for match in matches if match.name and match.name != "*"}
    known |= {pattern for pattern in named if not any(char in pattern for char in "*?[")}
    if any(fnmatchcase(name, pattern) for pattern in (*known, *named)):
        return ""
    letters = "".join(char for char in name if not char.isdigit())
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    same = near and letters == "".join(char for char in near[0] if not char.isdigit())
    return near[0] if near and not same else ""
