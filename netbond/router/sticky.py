"""Writes what nftables remembers of sticky policies: which client uses which uplink. Pure.

When a client begins a connection that a sticky policy is about, `remember` puts its address into the set of
the uplink that the routing chose, for the policy's time. Its next new connection finds it there (`sticky`)
and gets that uplink's mark as the packet's own: a rule `fwmark MARK/MASK lookup TABLE` sends it there. The
connection's mark follows in `forward`, from the way that was taken: what the mark did not lead out (to
another LAN, to the box itself) gets none.

An uplink's set is asked only while the uplink works and the policy may use it for new connections.

The sets are named by the policy's number, the family and the uplink's table. They keep what they hold when
the rest of the table is replaced (`kept`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence

from netbond.model import IPNetwork, Uplink
from netbond.policies.model import PolicyInUse, PolicyMatch, PolicyWay

CLIENTS = 65535  # of one set: the kernel takes no more, and clients that are new are then not remembered

_SET = re.compile(r"^\t(set sticky_\w+) (.*)$", re.MULTILINE)


def conditions(match: PolicyMatch, family: int, mask: int, several: bool) -> list[str]:
    """What a forwarded packet must be for a policy, in words for nft; several lines: one of them is enough.

    None if the policy is for packets of the box itself. `mask` are netbond's own bits of marks; `several`
    families are in the table.
    """
    interfaces = [name for name in match.interfaces if name != "lo"]
    if match.uids or (match.interfaces and not interfaces):
        return []
    ip = "ip" if family == 4 else "ip6"
    words = [f"meta nfproto ipv{family}"] if several else []
    if interfaces:
        words.append(f"iifname {_some(f'{chr(34)}{name}{chr(34)}' for name in interfaces)}")
    if match.sources:
        words.append(f"{ip} saddr {_some(_prefixes(match.sources))}")
    if match.destinations:
        words.append(f"{ip} daddr {_some(_prefixes(match.destinations))}")
    if match.protocols:
        words.append(f"meta l4proto {_some(map(str, sorted(match.protocols)))}")
    if match.ports:
        words.append(f"th dport {_some(_ranges(match.ports))}")
    if match.dscps:
        words.append(f"{ip} dscp {_some(map(str, match.dscps))}")
    marks = [f"meta mark & 0x{bits & ~mask:08x} == 0x{mark & ~mask:08x}" for mark, bits in match.marks]
    return [" ".join([*words, mark]).strip() for mark in marks or [""]]


def _some(values: Iterable[str]) -> str:
    return "{ " + ", ".join(values) + " }"


def _prefixes(networks: Iterable[IPNetwork]) -> Iterable[str]:
    """Without overlaps, which nft refuses."""
    four = [each for each in networks if isinstance(each, ipaddress.IPv4Network)]
    six = [each for each in networks if isinstance(each, ipaddress.IPv6Network)]
    found: list[IPNetwork] = [*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six)]
    return map(str, found)


def _ranges(ports: Iterable[tuple[int, int]]) -> Iterable[str]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ports):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return (str(first) if first == last else f"{first}-{last}" for first, last in merged)


def may_begin(policy: PolicyInUse, way: PolicyWay) -> frozenset[str]:
    """The uplinks on which a client may stay with new connections, by name.

    With failback = "keep" on any. Else only on those of the best tier that works and of the one in use: they
    differ while the best one overflows.
    """
    tiers = policy.tiers
    if policy.failback != "keep":
        tiers = tuple(policy.tiers[number - 1] for number in {way.best, way.tier} if number)
    return frozenset(name for tier in tiers for name in tier)


def lines(
    policies: Sequence[PolicyInUse],
    uplinks: Sequence[Uplink],
    passed_over: Iterable[IPNetwork],
    mask: int,
    words: Callable[[Uplink], tuple[str, str]],
    several: bool,
) -> tuple[list[str], dict[str, list[str]]]:
    """The sets, and the chains with their lines; both empty if no policy is sticky.

    A client is forgotten of uplinks that are dead, too: their sets are asked again when they work.
    `passed_over` are the destinations of pins, which come
    before policies. `words` tells of an uplink how nft asks whether a connection has its mark, and how it
    gives it to a packet.
    """
    last = max((policy.number for policy in policies if policy.sticky_s), default=0)
    if not last:
        return [], {}
    sets: list[str] = []
    sticky: list[str] = []
    remember: list[str] = []
    chains: dict[str, list[str]] = {"sticky": sticky, "remember": remember}
    for version, ip in ((4, "ip"), (6, "ip6")):
        pins = [each for each in passed_over if each.version == version]
        if pins:
            one = f"{ip} daddr {_some(_prefixes(pins))} return"
            sticky.append(one)
            remember.append(one)
    for policy in policies[:last]:
        for way in policy.ways:
            found = conditions(way.match, way.family, mask, several)
            if not found:
                continue
            name = f"{policy.number}_{way.family}"
            mine = [
                each
                for each in uplinks
                if each.family == way.family and any(each.name in tier for tier in policy.tiers)
            ]
            if not policy.sticky_s or not mine:
                sticky += [f"{each} return".strip() for each in found]
                remember += [f"{each} return".strip() for each in found]
                continue
            sticky += [f"{each} goto sticky_{name}".strip() for each in found]
            remember += [f"{each} goto remember_{name}".strip() for each in found]
            client = "ip saddr" if way.family == 4 else "ip6 saddr"
            begins = may_begin(policy, way)
            asked, refreshed, forgotten, learnt = [], [], [], []
            for uplink in mine:
                clients = f"sticky_{name}_{uplink.table}"
                sets.append(
                    f"set {clients} {{ type ipv{way.family}_addr; size {CLIENTS}; flags dynamic,timeout; }}"
                    f" # {policy.name}"
                )
                has, mark = words(uplink)
                put = f"update @{clients} {{ {client} timeout {policy.sticky_s}s }}"
                forgotten.append(f"delete @{clients} {{ {client} }}")
                if not uplink.leads_out:
                    continue
                if uplink.name in begins:
                    asked.append(f"{client} @{clients} {mark} return")
                refreshed.append(f"{has} {client} @{clients} {put} return")
                learnt.append(f"{has} {put} return")
            chains[f"sticky_{name}"] = asked
            chains[f"remember_{name}"] = [*refreshed, *forgotten, *learnt]
    return sets, chains


def kept(before: str, wanted: str, start: str) -> str:
    """The transaction that makes the table `wanted` from `before`, and keeps what its sets hold if it can.

    `start` is the beginning of `wanted` that deletes the table. If a set has become that of another policy,
    all are emptied.
    """
    old, new = dict(_SET.findall(before)), dict(_SET.findall(wanted))
    if not old or not new or any(old.get(name, text) != text for name, text in new.items()):
        return wanted
    return start.replace("delete table", "flush table") + wanted.removeprefix(start)
