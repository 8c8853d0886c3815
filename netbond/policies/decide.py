"""Applies the policies of the configuration to the box: PolicyInUse for each. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from netbond.config.policy_values import PROTOCOLS
from netbond.config.schema import Config, PolicyConfig
from netbond.lan import dscp_marks
from netbond.model import Facts, IPAddress, IPNetwork, Uplink
from netbond.policies.destinations import networks
from netbond.policies.model import PolicyInUse, PolicyMatch, PolicyWay
from netbond.policies.tiers import Choice, choose, members, names_of
from netbond.system.by_identity import by_identity
from netbond.usability import spent_devices


def policies(uplinks: Iterable[Uplink], facts: Facts, config: Config) -> tuple[PolicyInUse, ...]:
    """Each policy of the configuration, in its order."""
    if not config.policy:
        return ()
    found: dict[int, list[Uplink]] = {4: [], 6: []}
    for uplink in uplinks:
        found[uplink.family].append(uplink)
    marks: dict[int, tuple[int, int]] = {}
    if not facts.dscp_rules:
        codes = {code for policy in config.policy for code in policy.dscp}
        tables = {uplink.table for family in found.values() for uplink in family}
        marks = dscp_marks(codes, tables, config.router)
    spent = spent_devices((*found[4], *found[6]), facts)
    return tuple(
        _apply(policy, number, found, facts, config, marks, spent)
        for number, policy in enumerate(config.policy, 1)
    )


def _apply(
    policy: PolicyConfig,
    number: int,
    uplinks: Mapping[int, Sequence[Uplink]],
    facts: Facts,
    config: Config,
    marks: Mapping[int, tuple[int, int]],
    spent: Collection[str],
) -> PolicyInUse:
    """The policy with this place in the file, with the uplinks of each family.

    `marks` are those of code points, with masks; empty if rules can ask for a DSCP.

    A family without uplinks has a way only if the policy refuses then: all else is not netbond's there.
    """
    problem = ""
    by_marks = bool(policy.dscp and marks)
    tiers = {family: members(policy.uplinks, found) for family, found in uplinks.items()}
    ways = []
    for family in (4, 6):
        there = bool(uplinks[family])
        if not there and (policy.otherwise != "unreachable" or (family == 6 and not config.routing.ipv6)):
            continue
        match = matching(policy, family, facts)
        if match is None:
            continue
        if by_marks:
            problem = _without_dscp(match, facts) or problem
            if (marked := _by_marks(match, marks)) is None or facts.nft is False:
                continue
            match = marked
        choice = (
            choose(tiers[family], overflowing=policy.name in facts.overflowing, spent=spent)
            if there
            else Choice(reason="no uplink")
        )
        used = tuple((uplink.name, weight) for uplink, weight in choice.uplinks)
        ways.append(PolicyWay(family, match, choice.best, choice.tier, used, choice.reason))
    return PolicyInUse(
        policy.name,
        number,
        config.routing.policy_table + number,
        names_of(policy.uplinks, uplinks[4], uplinks[6]),
        tuple(ways),
        policy.sticky,
        policy.overflow,
        policy.failback,
        policy.otherwise,
        problem,
    )


def matching(policy: PolicyConfig, family: int, facts: Facts) -> PolicyMatch | None:
    """The traffic of the policy in a family; None if there is none: no such source, interface or user.

    A key whose values all belong to the other family, or are not there, matches nothing; one that is left out
    matches everything.
    """
    links = tuple([link.name for link in facts.interfaces]) if policy.interface else ()
    return _matching(policy, family, facts.resolved, links, facts.users)


@by_identity
def _matching(
    policy: PolicyConfig,
    family: int,
    resolved: tuple[tuple[str, tuple[IPAddress, ...]], ...],
    links: tuple[str, ...],
    known_users: tuple[tuple[str, int], ...],
) -> PolicyMatch | None:
    destinations = _of_family(networks(policy.destination, dict(resolved)), family)
    sources = _of_family(networks(policy.source, {}), family)
    interfaces = [link for link in links if any(fnmatchcase(link, each) for each in policy.interface)]
    users = dict(known_users)
    uids = [
        tuple(map(int, user.split("-"))) if user[0].isdigit() else (users[user], users[user])
        for user in policy.uid
        if user[0].isdigit() or user in users
    ]
    given = (
        (policy.destination, destinations),
        (policy.source, sources),
        (policy.interface, interfaces),
        (policy.uid, uids),
    )
    if any(key and not values for key, values in given):
        return None
    return PolicyMatch(
        tuple(destinations),
        tuple(sources),
        ("lo",) if policy.uid else tuple(sorted(interfaces)),
        tuple(dict.fromkeys(_protocols(policy, family))),
        policy.port,
        policy.dscp,
        policy.mark,
        tuple((first, last) for first, last in uids),
    )


def _by_marks(match: PolicyMatch, marks: Mapping[int, tuple[int, int]]) -> PolicyMatch | None:
    """The traffic by the marks of its code points; None if it is the box's own, which nobody marks."""
    interfaces = tuple(name for name in match.interfaces if name != "lo")
    if match.interfaces and not interfaces:
        return None
    return replace(match, interfaces=interfaces, dscp_marks=tuple(marks[code] for code in match.dscps))


def _without_dscp(match: PolicyMatch, facts: Facts) -> str:
    """What is left out because rules cannot ask for a DSCP; "" if nothing is."""
    why = "this kernel cannot tell DSCP apart (6.13 and later can)"
    if facts.nft is False:
        return f"{why}, and there is no nftables, which could for forwarded traffic: it does nothing"
    if match.interfaces == ("lo",):
        return f"{why}, and nftables can for forwarded traffic only: it does nothing"
    if "lo" in match.interfaces or not (match.interfaces or match.sources):
        return f"{why}, and nftables can for forwarded traffic only: it leaves out this box's own"
    return ""


def _of_family(networks: Iterable[IPNetwork], family: int) -> list[IPNetwork]:
    return [network for network in networks if network.version == family]


def _protocols(policy: PolicyConfig, family: int) -> list[int]:
    names = policy.protocol or (("tcp", "udp") if policy.port else ())
    return [PROTOCOLS[name][family == 6] if name in PROTOCOLS else int(name) for name in names]
