"""Writes the nftables text that holds forwarded connections, and shares the uplinks with a LAN. Pure.

How a forwarded connection lives, of a container, a hotspot, a virtual machine or a LAN client (router mode):
1. its first packet finds no mark, so the routing decides as for anybody (pins, then the ECMP default);
2. in `forward` (`begins`) the connection gets the mark of the uplink that was chosen (netbond.lan). In router
   mode it gets the uplink's address in `postrouting`; all others are translated by whoever forwards them;
3. each later packet gets the connection's mark as its own (`prerouting`), and a rule
   `fwmark MARK/MASK lookup TABLE` sends it to the same uplink, whatever became of the ECMP default;
4. when the uplink is given up, its marks are no longer handed to packets, and netbond.router.nft deletes its
   connections: the next packet begins anew at 1, with the address of another uplink.
A connection that comes in by an uplink (a port forward) is marked in `forward`, too, so that its answers
leave by that uplink. One that is older than the table has been translated to the address of an uplink, or
came in at one, which tells its uplink (`begun`).

Where rules cannot ask for a DSCP (kernels before 6.13), `prerouting` marks packets by theirs, with values
that no uplink has: the rules of policies ask for these at 1.

Packets of the box itself are left alone. Its sockets are held by their device or their address
(netbond.rules), which says as much as a mark would, save for one case: two uplinks with the same address.
Only then `output` hands marks to answers, as each such packet costs the kernel a second route lookup.

Interfaces are written out by name: sets with wildcards need newer nftables than the text here (0.9.8, kernel
5.10).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from netbond.config.schema import RouterConfig
from netbond.lan import cut_values, lan_families, mark_value, of_families
from netbond.model import IPAddress, IPNetwork, Uplink
from netbond.policies.model import PolicyInUse
from netbond.router import sticky

FAMILY, TABLE = "inet", "netbond"

# The start of a transaction that replaces the table: the first line keeps the second from failing.
ANEW = f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"

REMOVAL = ANEW

# Ends a TCP connection for the client: it is answered by a reset, and as it may have nothing to send, what
# comes for it becomes one. After a moment the connection gets another mark, and the other end is answered.
_CUT = ("ct direction original reject with tcp reset", "tcp flags set rst accept")

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
    *,
    held: Collection[int] = (),
    others_marks: Sequence[tuple[int, int]] = (),
    policies: Sequence[PolicyInUse] = (),
    pinned: Iterable[IPNetwork] = (),
) -> str:
    """The text for `nft -f -` that replaces table inet netbond in one transaction; "" for no table.

    `held` are the families of which forwarded connections are held without a LAN, too, and `others_marks` the
    marks, each with its mask, of packets that are left alone. Sticky `policies` have sets of clients;
    destinations in `pinned` are not theirs.
    """
    lan = lan_families(config) if lan_devices else frozenset()
    families = lan | frozenset(held)
    ours = of_families(uplinks, families)
    if not ours:
        return ""
    live = [_Words(uplink, config, ours, families) for uplink in ours if uplink.leads_out]
    sets, chains = sticky.lines(
        policies,
        ours,
        pinned,
        config.mark_mask,
        lambda uplink: _Words(uplink, config, ours, families).remembering(),
        several=len(families) > 1,
    )
    out = _names(uplink.device for uplink in ours)
    others = [f"meta mark & 0x{mask:08x} == 0x{mark:08x}" for mark, mask in others_marks]
    one_family = [f"meta nfproto ipv{10 - family} accept" for family in families if len(families) == 1]
    unmarked = f"ct mark & 0x{config.mark_mask:08x} == 0x00000000"
    twins = _twins(ours)

    # The first line is for what comes to the box itself, and for answers that nobody marked.
    prerouting = [
        *one_family,
        f"iifname {out} {unmarked} accept",
        *(f"{mark} accept" for mark in others),
        *_by_dscp(policies, families, {*(uplink.device for uplink in ours), "lo"}),
        f"{unmarked} jump begun",
        *([f"ct state new ct direction original {unmarked} jump sticky"] if chains else []),
        *dict.fromkeys(words.restore() for words in live),
    ]
    begun = [line for words in live for line in words.begun(twins)]
    begins = [
        *(f"{mark} return" for mark in others),
        *(words.leaving() for words in live),
        *(words.arriving() for words in live),
    ]
    cuts = any(policy.failback == "cut" for policy in policies)
    first, then = (
        f"ct mark & 0x{config.mark_mask:08x} == 0x{value:08x} meta l4proto tcp"
        for value in cut_values(config.mark_mask)
    )
    hold = [f"{first} goto cut", f"{then} reject with tcp reset"] if cuts else []
    hold.append(f"ct direction original {unmarked} jump begins")
    if chains:
        hold.append("ct state new ct direction original jump remember")
    lines = [
        *(_chain("cut", "", _CUT) if cuts else []),
        *(f"\t{each}" for each in sets),
        *(line for name in reversed(chains) for line in _chain(name, "", chains[name])),
        *_chain("begins", "", begins),
        *_chain("begun", "", begun),
        *_chain("prerouting", "filter hook prerouting priority mangle", prerouting),
    ]
    if twins and lan:
        answers = dict.fromkeys(f"ct direction reply {words.returning()}" for words in live)
        lines += _chain("input", "filter hook input priority mangle", [*one_family, hold[-1 - bool(chains)]])
        lines += _chain("output", "route hook output priority mangle", [*one_family, *answers])
    if lan:
        in_lan = of_families(uplinks, lan)
        only = "meta nfproto ipv4 " if config.ipv6 == "off" and len(families) > 1 else ""
        lines += _shared(in_lan, lan_devices, config, only, one_family, hold)
    else:
        lines += _chain("forward", "filter hook forward priority filter", [*one_family, *hold])
    return ANEW + "\n".join([f"table {FAMILY} {TABLE} {{", *lines, "}"]) + "\n"


def _by_dscp(
    policies: Iterable[PolicyInUse], families: Collection[int], passed_over: Iterable[str]
) -> list[str]:
    """Mark packets by their DSCP for the rules of policies; the mark of their connection replaces it.

    What comes in by interfaces in `passed_over` is left alone.
    """
    found = {
        (way.family, code): mark
        for policy in policies
        for way in policy.ways
        if way.family in families
        for code, mark in zip(way.match.dscps, way.match.dscp_marks, strict=False)
    }
    from_others = f"iifname != {_names(passed_over)}"
    return [
        f"{from_others} {'ip' if family == 4 else 'ip6'} dscp {code}"
        f" meta mark set meta mark & 0x{~mask & 0xFFFFFFFF:08x} | 0x{value:08x}"
        for (family, code), (value, mask) in sorted(found.items())
    ]


def _shared(
    ours: Sequence[Uplink],
    lan_devices: Sequence[str],
    config: RouterConfig,
    only: str,
    forward: Sequence[str],
    hold: Sequence[str],
) -> list[str]:
    """The chains with which a LAN shares the uplinks.

    `only` says which family is the LAN's, where another one is held, too. `forward` are the first lines of
    that chain, `hold` those that hold connections.
    """
    inside, out = _names(lan_devices), _names(uplink.device for uplink in ours)
    lines: list[str] = []
    forward = list(forward)
    if config.protect_lan:
        everywhere = _names([*lan_devices, *(uplink.device for uplink in ours)])
        forward.append(f"{only}iifname {out} oifname {everywhere} ct state new jump inbound")
        lines += _chain("inbound", "", ["ct status dnat return", "drop"])
    forward += hold
    if config.clamp_mss:
        clamp = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"
        forward += [f"{only}oifname {out} {clamp}", f"{only}iifname {out} {clamp}"]
    lines += _chain("forward", "filter hook forward priority filter", forward)
    translated = {
        (True, "masquerade"): "",
        (True, "off"): "meta nfproto ipv4 ",
        (True, "forward"): "meta nfproto ipv4 ",
        (False, "masquerade"): "meta nfproto ipv6 ",
    }.get((config.masquerade, config.ipv6))
    if translated is not None:
        masquerade = f"iifname {inside} oifname {out} {translated}masquerade"
        lines += _chain("postrouting", "nat hook postrouting priority srcnat", [masquerade])
    return lines


class _Words:
    """What nft is told of one uplink.

    What was routed to its gateway is its own, and not what other programs' routes send over its device. Where
    an interface is several uplinks, one for each gateway, the address tells them apart on the way in. Where
    both families are held, each line is for one.
    """

    def __init__(
        self, uplink: Uplink, config: RouterConfig, ours: Iterable[Uplink], families: Collection[int]
    ) -> None:
        self._uplink = uplink
        self._version = uplink.address.version
        self._ip = "ip" if self._version == 4 else "ip6"
        self._family = f"meta nfproto ipv{self._version} " if len(families) > 1 else ""
        self._mask, self._keep = config.mark_mask, ~config.mark_mask & 0xFFFFFFFF
        self._mark = mark_value(uplink.table, config.mark_mask)
        tables = {u.table for u in ours if (u.device, u.address.version) == (uplink.device, self._version)}
        self._shares_device = len(tables) > 1
        own = sorted(a.interface.ip for a in self._uplink.addresses if a.interface.version == self._version)
        self._own = "" if not own else f"{{ {', '.join(map(str, own))} }}"

    def _has(self, value: int) -> str:
        return f"ct mark & 0x{self._mask:08x} == 0x{value:08x}"

    def _set(self, what: str) -> str:
        return f"{what} mark set {what} mark & 0x{self._keep:08x} | 0x{self._mark:08x}"

    def leaving(self) -> str:
        """Marks a connection that was routed to the uplink."""
        gateway = self._uplink.gateway
        # nft does not see the gateway if that is of the other family (RFC 8950).
        seen = gateway is not None and gateway.version == self._version
        via = f"rt {self._ip} nexthop {gateway} " if seen else ""
        return f'{self._family}oifname "{self._uplink.device}" {via}{self._set("ct")} return'

    def arriving(self) -> str:
        """Marks a connection that comes in by the uplink, so that its answers leave by it."""
        to = f"ct original {self._ip} daddr {self._own} " if self._shares_device and self._own else ""
        return f'{self._family}iifname "{self._uplink.device}" {to}{self._set("ct")} return'

    def begun(self, twins: Collection[IPAddress]) -> list[str]:
        """Mark a connection that is older than the table: its address tells the uplink."""
        if not self._own or any(address.interface.ip in twins for address in self._uplink.addresses):
            return []
        mark = self._set("ct")
        return [
            f"{self._family}ct direction {way} ct {other} {self._ip} daddr {self._own} {mark} return"
            for way, other in (("original", "reply"), ("reply", "original"))
        ]

    def returning(self) -> str:
        """Gives a packet the mark of its connection."""
        return f"{self._family}{self._has(self._mark)} {self._set('meta')}"

    def remembering(self) -> tuple[str, str]:
        """Whether a connection has the mark, and what gives it to a packet."""
        return self._has(self._mark), self._set("meta")

    def restore(self) -> str:
        """The same, unless the packet comes in by the uplink itself: the mark tells where it goes to."""
        return f'iifname != "{self._uplink.device}" {self.returning()}'


def _twins(uplinks: Sequence[Uplink]) -> set[IPAddress]:
    """The addresses that two interfaces have."""
    owners = {(address.interface.ip, uplink.device) for uplink in uplinks for address in uplink.addresses}
    counts = Counter(address for address, _ in owners)
    return {address for address, count in counts.items() if count > 1}


# --- for people -------------------------------------------------------------------------------------------


def pending(applied: str, wanted: str, *, lan: bool = True) -> str:
    """The nft text that is still to be applied, with a comment that says why; "" if there is none.

    `applied` is the text that the kernel's table was made from, "" if the table is not there or not as made.
    `lan`: there are LAN interfaces.
    """
    if applied == wanted:
        return ""
    if not wanted:
        return f"# no LAN shares the uplinks, and no forwarded flows have several\n{REMOVAL}"
    why = "forwarded flows keep their uplink"
    if applied:
        why = "uplinks or LAN interfaces changed"
    elif lan:
        why = "the LAN shares the uplinks"
    return f"# {why}\n{wanted}"
