"""Writes the nftables text with which LAN clients share the uplinks (router mode). Pure.

How a connection of a LAN client lives:
1. its first packet finds no mark, so the routing decides as for anybody (pins, then the ECMP default);
2. in `forward` the connection gets the mark of the uplink that was chosen (netbond.lan), in `postrouting`
   its address;
3. each later packet from the LAN gets the connection's mark as its own (`prerouting`), and a rule
   `fwmark MARK/MASK lookup TABLE` sends it to the same uplink, whatever became of the ECMP default;
4. when the uplink is given up, its marks are no longer handed to packets, and netbond.router.nft deletes its
   connections: the next packet begins anew at 1, with the address of another uplink.
A connection that comes in by an uplink (a port forward) is marked on arrival, so that its answers leave by
that uplink.

Packets of the box itself are left alone. Its sockets are held by their device or their address
(netbond.rules), which says as much as a mark would, save for one case: two uplinks with the same address.
Only then `output` hands marks to answers, as each such packet costs the kernel a second route lookup.

Interfaces are written out by name: sets with wildcards need newer nftables than the text here (0.9.8, kernel
5.10).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netbond.config.schema import RouterConfig
from netbond.lan import lan_uplinks, mark_value
from netbond.model import Uplink

FAMILY, TABLE = "inet", "netbond"

# The start of a transaction that replaces the table: the first line keeps the second from failing.
_ANEW = f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"

REMOVAL = _ANEW

# --- nftables ---------------------------------------------------------------------------------------------


def _names(devices: Iterable[str]) -> str:
    quoted = [f'"{device}"' for device in sorted(set(devices))]
    return quoted[0] if len(quoted) == 1 else "{ " + ", ".join(quoted) + " }"


def _chain(name: str, hook: str, lines: Sequence[str]) -> list[str]:
    head = [f"type {hook}; policy accept;"] if hook else []
    return [f"\tchain {name} {{", *(f"\t\t{line}" for line in [*head, *lines]), "\t}"]


def ruleset(uplinks: Sequence[Uplink], lan_devices: Sequence[str], config: RouterConfig) -> str:
    """The text for `nft -f -` that replaces table inet netbond in one transaction; "" for no table."""
    ours = lan_uplinks(uplinks, config)
    if not config.lan or not lan_devices or not ours:
        return ""
    pinned = [uplink for uplink in ours if uplink.leads_out]
    inside, out = _names(lan_devices), _names(uplink.device for uplink in ours)
    only_v4 = ["meta nfproto ipv6 accept"] if config.ipv6 == "off" else []
    restore = {line: None for uplink in pinned for line in [_Words(uplink, config, ours).restore()]}

    prerouting = [
        *only_v4,
        *(_Words(uplink, config, ours).arriving() for uplink in pinned),
        *(f"iifname {inside} {line}" for line in restore),
    ]
    forward = list(only_v4)
    inbound: list[str] = []
    if config.protect_lan:
        everywhere = _names([*lan_devices, *(uplink.device for uplink in ours)])
        forward.append(f"iifname {out} oifname {everywhere} ct state new jump inbound")
        inbound = _chain("inbound", "", ["ct status dnat return", "drop"])
    forward += [f"iifname {inside} {_Words(uplink, config, ours).leaving()}" for uplink in pinned]
    if config.clamp_mss:
        clamp = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"
        forward += [f"oifname {out} {clamp}", f"iifname {out} {clamp}"]
    translated = {
        (True, "masquerade"): "",
        (True, "off"): "meta nfproto ipv4 ",
        (True, "forward"): "meta nfproto ipv4 ",
        (False, "masquerade"): "meta nfproto ipv6 ",
    }.get((config.masquerade, config.ipv6))

    lines = _chain("prerouting", "filter hook prerouting priority mangle", prerouting)
    if _twins(ours):
        answers = [f"ct direction reply {line}" for line in restore]
        lines += _chain("output", "route hook output priority mangle", [*only_v4, *answers])
    lines += inbound
    lines += _chain("forward", "filter hook forward priority filter", forward)
    if translated is not None:
        masquerade = f"iifname {inside} oifname {out} {translated}masquerade"
        lines += _chain("postrouting", "nat hook postrouting priority srcnat", [masquerade])
    return _ANEW + "\n".join([f"table {FAMILY} {TABLE} {{", *lines, "}"]) + "\n"


class _Words:
    """What nft is told of one uplink.

    Where an interface is several uplinks, one for each gateway, the gateway tells them apart on the way out
    and the address on the way in. Where both families are ours, each line is for one.
    """

    def __init__(self, uplink: Uplink, config: RouterConfig, ours: Iterable[Uplink]) -> None:
        self._uplink = uplink
        self._version = uplink.address.version
        self._ip = "ip" if self._version == 4 else "ip6"
        self._family = "" if config.ipv6 == "off" else f"meta nfproto ipv{self._version} "
        self._mask, self._keep = config.mark_mask, ~config.mark_mask & 0xFFFFFFFF
        self._mark = mark_value(uplink.table, config.mark_mask)
        tables = {u.table for u in ours if (u.device, u.address.version) == (uplink.device, self._version)}
        self._shares_device = len(tables) > 1

    def _has(self, value: int) -> str:
        return f"ct mark & 0x{self._mask:08x} == 0x{value:08x}"

    def _set(self, what: str) -> str:
        return f"{what} mark set {what} mark & 0x{self._keep:08x} | 0x{self._mark:08x}"

    def arriving(self) -> str:
        """Marks a connection that comes in by the uplink."""
        held = sorted(a.interface.ip for a in self._uplink.addresses if a.interface.version == self._version)
        mine = ", ".join(map(str, held))
        to = f"{self._ip} daddr {{ {mine} }} " if self._shares_device and mine else ""
        return (
            f'{self._family}iifname "{self._uplink.device}" {to}ct state new {self._has(0)} {self._set("ct")}'
        )

    def leaving(self) -> str:
        """Marks a connection that was routed to the uplink; without the words for where it comes from."""
        gateway = self._uplink.gateway
        via = f"rt {self._ip} nexthop {gateway} " if self._shares_device and gateway is not None else ""
        return (
            f'{self._family}oifname "{self._uplink.device}" {via}ct direction original'
            f" {self._has(0)} {self._set('ct')}"
        )

    def restore(self) -> str:
        """Gives a packet the mark of its connection; likewise."""
        return f"{self._family}{self._has(self._mark)} {self._set('meta')}"


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
