"""Router mode: clients behind the LAN interfaces share the uplinks. What nftables and the rules say. Pure.

How a connection of a LAN client lives:
1. its first packet finds no mark, so the routing decides as for anybody (pins, then the ECMP default);
2. in `forward` the connection gets the mark of the uplink that was chosen, in `postrouting` its address;
3. each later packet from the LAN gets the connection's mark as its own (`prerouting`), and a rule
   `fwmark MARK/MASK lookup TABLE` sends it to the same uplink, whatever became of the ECMP default;
4. when the uplink is given up, its marks are no longer handed to packets, and netbond.nft deletes its
   connections: the next packet begins anew at 1, with the address of another uplink.
A connection that comes in by an uplink (a port forward) is marked on arrival, so that its answers leave by
that uplink.

Packets of the box itself are left alone. Its sockets are held by their device or their address
(netbond.rules), which says as much as a mark would, save for one case: two uplinks with the same address.
Only then `output` hands marks to answers, as each such packet costs the kernel a second route lookup.

A mark is the uplink's table number in the bits of `mark_mask`; the other bits belong to others and are kept.
The default, 0xff000000, is the one byte that nobody on such boxes uses: administrators and wg-quick have the
lowest, mwan3 has 0x3f00, Kubernetes 0xc000, tailscale and OpenWrt's pbr 0xff0000. Calico and Cilium claim
nearly all bits and cannot run beside it (github.com/fwmark/registry).

Interfaces are written out by name: sets with wildcards need newer nftables than the text here (0.9.8, kernel
5.10).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from netbond.config import Config, RouterConfig
from netbond.model import Link, Uplink

FAMILY, TABLE = "inet", "netbond"

# The start of a transaction that replaces the table: the first line keeps the second from failing.
_ANEW = f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"

REMOVAL = _ANEW

# What may stand between quotes in nft's language without meaning something there: no quote, no final `*`.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.@+=%~-]{1,15}")


@dataclass(frozen=True, slots=True)
class MarkRule:
    """`ip rule add priority PRIORITY fwmark MARK/MASK lookup TABLE`, for one family (4 or 6)."""

    priority: int
    family: int
    mark: int
    mask: int
    table: int


@dataclass(frozen=True, slots=True)
class Lan:
    """The LAN interfaces that are there, and what is wrong with the others that `lan` names."""

    devices: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


# --- who is who -------------------------------------------------------------------------------------------


def is_lan(device: str, config: Config) -> bool:
    """Whether [router] claims the interface for the LAN. What is LAN is never an uplink.

    An exact name beats a pattern; between two patterns the uplink wins (config refuses two exact names).
    """
    if not any(fnmatchcase(device, pattern) for pattern in config.router.lan):
        return False
    claim = next((u for u in config.uplink if fnmatchcase(device, u.match)), None)
    if claim is None or not claim.enabled:
        return True
    return claim.match != device and device in config.router.lan


def lan(links: Iterable[Link], uplinks: Iterable[Uplink], config: Config) -> Lan:
    """The interfaces of `links` that are LAN now, with a line for each that cannot be."""
    out = sorted({uplink.device for uplink in uplinks})
    devices: list[str] = []
    problems = [
        f"router: {device!a} cannot carry LAN traffic: nftables needs a plainer name"
        for device in out
        if config.router.lan and not _PLAIN_NAME.fullmatch(device)
    ]
    for link in sorted(links, key=lambda link: link.name):
        if link.loopback or not is_lan(link.name, config):
            continue
        if link.name in out:
            problems.append(f"router: {link.name} leads out, so it is not LAN; take it out of router.lan")
        elif not _PLAIN_NAME.fullmatch(link.name):
            problems.append(f"router: {link.name!a} cannot be LAN: nftables needs a plainer name")
        elif link.master:
            problems.append(
                f"router: {link.name} is a port of {link.master}, which its packets seem to come from;"
                f" put {link.master} into router.lan"
            )
        else:
            devices.append(link.name)
    return Lan(tuple(devices), tuple(problems))


def mark(table: int, mask: int) -> int:
    """The mark of the uplink with this table."""
    return table * (mask & -mask)


def marks(
    uplinks: Iterable[Uplink], config: RouterConfig, live: Collection[str] | None = None
) -> dict[str, int]:
    """The marks of the uplinks whose connections stay where they are, by device.

    `live` names their devices; without it they are the usable uplinks. (An uplink that is kept for later, or
    leaves the ECMP default without being dead, is not usable and may yet be live.)
    """
    return {
        uplink.device: mark(uplink.table, config.mark_mask)
        for uplink in uplinks
        if _PLAIN_NAME.fullmatch(uplink.device) and (uplink.usable if live is None else uplink.device in live)
    }


def mark_rules(uplinks: Iterable[Uplink], config: RouterConfig) -> list[MarkRule]:
    """The rules that send a marked packet to its uplink's table; none if router mode is off.

    All uplinks have theirs, dead ones too: packets carry the marks of live ones only.
    """
    if not config.lan:
        return []
    families = {4} if config.ipv6 == "off" else {4, 6}
    found = {
        MarkRule(
            config.mark_priority,
            uplink.address.version,
            mark(uplink.table, config.mark_mask),
            config.mark_mask,
            uplink.table,
        )
        for uplink in uplinks
        if uplink.address.version in families
    }
    return sorted(found, key=lambda rule: (rule.family, rule.mark))


def released(
    before: Mapping[str, int], uplinks: Iterable[Uplink], config: RouterConfig, live: Mapping[str, int]
) -> list[int]:
    """The marks whose connections are to be deleted: of uplinks that are there and not live.

    `before` are the marks() that were live until now, `live` those that are; an uplink that was not live
    before either has been dealt with, unless `before` is empty: after a start nothing is known.
    """
    dead = {mark(uplink.table, config.mark_mask) for uplink in uplinks} - set(live.values())
    gone = set(before.values()) - set(live.values())
    return sorted(gone if before else dead)


# --- nftables ---------------------------------------------------------------------------------------------


def _names(devices: Iterable[str]) -> str:
    quoted = [f'"{device}"' for device in sorted(set(devices))]
    return quoted[0] if len(quoted) == 1 else "{ " + ", ".join(quoted) + " }"


def _chain(name: str, hook: str, lines: Sequence[str]) -> list[str]:
    head = [f"type {hook}; policy accept;"] if hook else []
    return [f"\tchain {name} {{", *(f"\t\t{line}" for line in [*head, *lines]), "\t}"]


def ruleset(
    uplinks: Sequence[Uplink],
    lan_devices: Sequence[str],
    config: RouterConfig,
    live: Collection[str] | None = None,
) -> str:
    """The text for `nft -f -` that replaces table inet netbond in one transaction; "" if there shall be none.

    `live` is as for marks().
    """
    named = [uplink for uplink in uplinks if _PLAIN_NAME.fullmatch(uplink.device)]
    if not config.lan or not lan_devices or not named:
        return ""
    mask, keep = config.mark_mask, ~config.mark_mask & 0xFFFFFFFF
    pinned = marks(named, config, live)
    inside, out = _names(lan_devices), _names(uplink.device for uplink in named)

    def has(value: int) -> str:
        return f"ct mark & 0x{mask:08x} == 0x{value:08x}"

    def set_(what: str, value: int) -> str:
        return f"{what} mark set {what} mark & 0x{keep:08x} | 0x{value:08x}"

    not_ours = ["meta nfproto ipv6 accept"] if config.ipv6 == "off" else []
    prerouting = [
        *not_ours,
        *(
            f'iifname "{device}" ct state new {has(0)} {set_("ct", value)}'
            for device, value in pinned.items()
        ),
        *(f"iifname {inside} {has(value)} {set_('meta', value)}" for value in pinned.values()),
    ]
    forward = list(not_ours)
    inbound: list[str] = []
    if config.protect_lan:
        everywhere = _names([*lan_devices, *(uplink.device for uplink in named)])
        forward.append(f"iifname {out} oifname {everywhere} ct state new jump inbound")
        inbound = _chain("inbound", "", ["ct status dnat return", "drop"])
    forward += [
        f'iifname {inside} oifname "{device}" ct direction original {has(0)} {set_("ct", value)}'
        for device, value in pinned.items()
    ]
    if config.clamp_mss:
        clamp = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"
        forward += [f"oifname {out} {clamp}", f"iifname {out} {clamp}"]
    translated = {
        (True, "masquerade"): "",
        (True, "off"): "meta nfproto ipv4 ",
        (True, "forward"): "meta nfproto ipv4 ",
        (False, "masquerade"): "meta nfproto ipv6 ",
    }.get((config.masquerade, config.ipv6))
    postrouting = [] if translated is None else [f"iifname {inside} oifname {out} {translated}masquerade"]

    lines = _chain("prerouting", "filter hook prerouting priority mangle", prerouting)
    if _twins(named):
        answers = [f"ct direction reply {has(value)} {set_('meta', value)}" for value in pinned.values()]
        lines += _chain("output", "route hook output priority mangle", [*not_ours, *answers])
    lines += inbound
    lines += _chain("forward", "filter hook forward priority filter", forward)
    if postrouting:
        lines += _chain("postrouting", "nat hook postrouting priority srcnat", postrouting)
    return _ANEW + "\n".join([f"table {FAMILY} {TABLE} {{", *lines, "}"]) + "\n"


def _twins(uplinks: Sequence[Uplink]) -> bool:
    """Whether two interfaces have the same address."""
    owners = {(address.interface.ip, uplink.device) for uplink in uplinks for address in uplink.addresses}
    return len({address for address, _ in owners}) < len(owners)


# --- for people -------------------------------------------------------------------------------------------


def pending(applied: str, wanted: str) -> str:
    """The nft text that is still to be applied, with a comment that says why; "" if there is none.

    `applied` is the text that the kernel's table was made from, "" if the table is not there or not as made.
    """
    if applied == wanted:
        return ""
    if not wanted:
        return f"# router mode is off, or has no LAN interface or no uplink\n{REMOVAL}"
    why = "the LAN shares the uplinks" if not applied else "uplinks or LAN interfaces changed"
    return f"# {why}\n{wanted}"
