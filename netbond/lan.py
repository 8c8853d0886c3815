"""Decides which interfaces are LAN, and which marks keep forwarded connections on an uplink. Pure.

netbond.router.ruleset tells how a connection gets its mark, and netbond.router.nft applies it.

A mark is the uplink's table number in the bits of `mark_mask`; the other bits belong to others and are kept.
The default, 0xff000000, is the one byte that nobody on such boxes uses: administrators and wg-quick have the
lowest, mwan3 has 0x3f00, Kubernetes 0xc000, tailscale and OpenWrt's pbr 0xff0000. Calico and Cilium claim
nearly all bits and cannot run beside it (github.com/fwmark/registry).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from netbond.config.schema import RouterConfig, UplinkConfig
from netbond.model import DEFAULT_TABLE, LOCAL_TABLE, MAIN_TABLE, Interface, IPNetwork, Rule, Uplink
from netbond.policies.model import PolicyInUse

# What may stand between quotes in nft's language without meaning something there: no quote, no final `*`.
_NFT_NAME = re.compile(r"[A-Za-z0-9_.@+=%~-]{1,15}")


@dataclass(frozen=True, slots=True)
class Lan:
    """The LAN interfaces that are there, and a line for each that `lan` names and that cannot be.

    `held` are the families of which all forwarded connections are held, whether they come from a LAN
    interface or not (netbond.flows). What has one of `others_marks`, each with its mask, is left alone.
    `takers` are the rules of other programs to which all unbound traffic goes, as a VPN's.
    """

    devices: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    held: frozenset[int] = frozenset()
    others_marks: tuple[tuple[int, int], ...] = ()
    takers: frozenset[Rule] = frozenset()
    policies: tuple[PolicyInUse, ...] = ()
    pinned: frozenset[IPNetwork] = frozenset()  # destinations that come before policies


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """The mark of an uplink's connections of one family (4 or 6), as one family can die alone."""

    value: int
    family: int


# --- interfaces --------------------------------------------------------------------------------------------


def is_lan(device: str, router: RouterConfig, claim: UplinkConfig | None) -> bool:
    """Whether [router] claims the interface for the LAN. A LAN interface is never an uplink.

    `claim` is the [[uplink]] that the interface has, if any. An exact name beats a pattern; between two
    patterns the uplink wins (netbond.config.crosscheck refuses two exact names).
    """
    if not any(fnmatchcase(device, pattern) for pattern in router.lan):
        return False
    if claim is None or not claim.enabled:
        return True
    return claim.match != device and device in router.lan


def lan_interfaces(
    links: Iterable[Interface],
    uplinks: Iterable[Uplink],
    router: RouterConfig,
    settings: Mapping[str, UplinkConfig],
) -> Lan:
    """The interfaces of `links` that are LAN now. `settings` are those of Desired."""
    out = sorted({uplink.device for uplink in uplinks})
    devices: list[str] = []
    problems = [
        f"router: {device!a} cannot carry LAN traffic: nftables needs a plainer name"
        for device in out
        if router.lan and not _NFT_NAME.fullmatch(device)
    ]
    for link in sorted(links, key=lambda link: link.name):
        if link.loopback or not is_lan(link.name, router, settings.get(link.name)):
            continue
        if link.name in out:
            problems.append(f"router: {link.name} leads out, so it is not LAN; take it out of router.lan")
        elif not _NFT_NAME.fullmatch(link.name):
            problems.append(f"router: {link.name!a} cannot be LAN: nftables needs a plainer name")
        elif link.master:
            problems.append(
                f"router: {link.name} is a port of {link.master}, which its packets seem to come from;"
                f" put {link.master} into router.lan"
            )
        else:
            devices.append(link.name)
    return Lan(tuple(devices), tuple(problems))


def lan_families(router: RouterConfig) -> frozenset[int]:
    """The families (4, 6) that router mode handles; none if it is off."""
    if not router.lan:
        return frozenset()
    return frozenset({4} if router.ipv6 == "off" else {4, 6})


def of_families(uplinks: Iterable[Uplink], families: Collection[int]) -> list[Uplink]:
    """The uplinks of these families, as far as nftables can be told their names; without those in VRFs."""
    return [
        uplink
        for uplink in uplinks
        if uplink.family in families and not uplink.vrf and _NFT_NAME.fullmatch(uplink.device)
    ]


# --- marks -------------------------------------------------------------------------------------------------


def mark_value(table: int, mask: int) -> int:
    """The mark of the uplink with this table."""
    return table * (mask & -mask)


def dscp_marks(
    codes: Iterable[int], tables: Collection[int], router: RouterConfig
) -> dict[int, tuple[int, int]]:
    """A mark for each code point, with its mask: of a table that no uplink has.

    The kernel's table 253 comes first, then those at the end of the range, which uplinks rarely have.
    """
    free = (table for table in range(DEFAULT_TABLE, 0, -1) if table not in tables)
    return {
        code: (mark_value(table, router.mark_mask), router.mark_mask)
        for code, table in zip(sorted(set(codes)), free, strict=False)
    }


def cut_values(mask: int) -> tuple[int, int]:
    """The marks of connections that are being cut, first and then: of tables that no uplink has."""
    return mark_value(LOCAL_TABLE, mask), mark_value(MAIN_TABLE, mask)


def names_by_mark(uplinks: Iterable[Uplink], router: RouterConfig) -> dict[tuple[int, int], str]:
    """The names of uplinks, by family and mark."""
    return {(uplink.family, mark_value(uplink.table, router.mark_mask)): uplink.name for uplink in uplinks}


def _mark(uplink: Uplink, router: RouterConfig) -> Mark:
    return Mark(mark_value(uplink.table, router.mark_mask), uplink.family)


def live_marks(uplinks: Iterable[Uplink], router: RouterConfig, families: Collection[int]) -> frozenset[Mark]:
    """The marks of the uplinks that keep their connections."""
    return frozenset(_mark(uplink, router) for uplink in of_families(uplinks, families) if uplink.leads_out)


def marks_to_release(
    before: Collection[Mark], uplinks: Iterable[Uplink], router: RouterConfig, families: Collection[int]
) -> list[Mark]:
    """The marks whose connections are to be deleted: those of uplinks that no longer keep them.

    `before` are the live_marks() of the last time. After a start it is empty and nothing is known: then every
    uplink of `families` that keeps no connections counts.
    """
    uplinks = list(uplinks)
    candidates = before or {_mark(uplink, router) for uplink in of_families(uplinks, families)}
    return sorted(set(candidates) - live_marks(uplinks, router, (4, 6)))


def mark_rules(
    uplinks: Iterable[Uplink], router: RouterConfig, protocol: int, held: Collection[int] = ()
) -> list[Rule]:
    """The rules that send a marked packet to its uplink's table, for router mode and the families `held`.

    Dead uplinks have their rule, too: no packet gets the mark of one.
    """
    found = {
        Rule(
            router.mark_priority,
            uplink.family,
            table=uplink.table,
            mark=mark_value(uplink.table, router.mark_mask),
            mask=router.mark_mask,
            protocol=protocol,
        )
        for uplink in of_families(uplinks, {*lan_families(router), *held})
    }
    return sorted(found, key=lambda rule: (rule.family, rule.mark))
