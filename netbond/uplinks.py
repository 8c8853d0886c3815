"""Finds the uplinks: which interfaces have a gateway to the internet, which one, and in what state. Pure.

An interface is an uplink if it is enabled, has an address of global scope, and its gateway is known. It makes
one uplink for each address family and each gateway. The gateway of an address comes from the first of these
that names one:
1. the configuration;
2. a DHCP lease that a hook handed over, or a claim of another program;
3. a default route in main on that interface: one whose gateway is in the address's network, or else any (IPv6
   routers advertise their link-local address);
4. the default route that was last seen there. The kernel removes it when the link goes down, and does not add
   it again (`remember`; IPv4 only, because IPv6 addresses disappear with the link as well).
A lease or a remembered default is valid only while the interface has the address it came with. If several
gateways are named for an address, the first one that works is used (netbond.gateways). This module has no
state: the same facts give the same uplinks, so an agent that is killed and restarted finds the same.

An uplink that is down or without carrier keeps its table and rules. As long as its address is on the box,
traffic bound to that address must fail instead of leaving by another modem.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeVar

from netbond import match
from netbond.config.pattern import of_links
from netbond.config.schema import Config, HealthConfig, UplinkConfig
from netbond.dhcp.lease import Lease
from netbond.exclusions import exclusions
from netbond.gateways import MOST_GATEWAYS, choose, in_use, judged, why
from netbond.lan import is_lan
from netbond.model import (
    MAIN_TABLE,
    Address,
    Facts,
    GatewayChoice,
    GatewayClaim,
    IdleInterface,
    Interface,
    IPAddress,
    Override,
    PathAttributes,
    Uplink,
    UplinkState,
    Withheld,
)
from netbond.system.by_identity import Before, by_identity
from netbond.tables import assign, on_link, reaches
from netbond.usability import apply_policy
from netbond.withheld import is_of_a_way_out, is_routed_by_others

# The possible `gateway_source` of an uplink, besides the sources of claims.
CONFIGURED = "configuration"
MAIN_DEFAULT = "main default"
REMEMBERED = "main default (gone)"

_UNIQUE_LOCAL = ipaddress.ip_network("fc00::/7")


# --- facts by interface ------------------------------------------------------------------------------------


class _Default(NamedTuple):
    """A nexthop of a default in main."""

    metric: int
    preference: int
    gateway: IPAddress | None
    attributes: PathAttributes


class _OfDevice(Protocol):
    @property
    def device(self) -> str: ...


_Item = TypeVar("_Item", bound=_OfDevice)


def _by_device(items: Iterable[_Item]) -> dict[str, list[_Item]]:
    found: dict[str, list[_Item]] = {}
    for item in items:
        found.setdefault(item.device, []).append(item)
    return found


class _Index:
    """The facts, and those about one interface at a time: everything is gone through once."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.addresses: Mapping[str, Sequence[Address]] = _by_device(facts.addresses)
        self.leases: Mapping[str, Sequence[Lease]] = _by_device(facts.leases)
        self.claims: Mapping[str, Sequence[GatewayClaim]] = _by_device(facts.claims)
        self.remembered: Mapping[str, Sequence[GatewayClaim]] = _by_device(facts.remembered)
        vrfs = {link.name: link.vrf_table for link in facts.interfaces if link.kind == "vrf"}
        self.vrf_of = {link.name: link.master for link in facts.interfaces if link.master in vrfs}
        # Main's defaults by device and family, as the kernel lists them; those that netbond took out, too.
        # The table of its VRF is for an interface what main is for others: there the kernel has what a router
        # advertises, and DHCP clients that know of VRFs put theirs.
        self.defaults: dict[tuple[str, int], list[_Default]] = {}
        tables = {MAIN_TABLE, *vrfs.values()}
        for route in (*facts.routes, *facts.taken):
            if route.table in tables and route.destination.prefixlen == 0:
                for hop in route.nexthops:
                    if route.table in (MAIN_TABLE, vrfs.get(self.vrf_of.get(hop.device, ""))):
                        default = _Default(route.metric, route.preference, hop.gateway, route.attributes)
                        self.defaults.setdefault((hop.device, route.family), []).append(default)

    def gateways(self, device: str, family: int) -> list[IPAddress | None]:
        """The gateways of main's defaults on an interface, and of those in the table of its VRF.

        The kernel's choice is the first one: the lowest metric, then the highest preference of a router.
        """
        found = self.defaults.get((device, family), ())
        if len(found) > 1:
            found = sorted(found, key=lambda each: (each.metric, -each.preference, str(each.gateway)))
        return [each.gateway for each in found]


# --- addresses ---------------------------------------------------------------------------------------------


def _local_only(address: Address) -> bool:
    return address.family == 6 and address.interface.ip in _UNIQUE_LOCAL


def candidates(device: str, family: int, known: _Index, *, asked_for: bool) -> tuple[Address, ...]:
    """Return the addresses that may reach the internet, in the kernel's order.

    Unique local addresses (fc00::/7) are not routed on the internet. An interface that has no others is an
    uplink only if the configuration names it (`asked_for`): its router may translate prefixes.
    """
    found = _as_leased(
        tuple(
            [
                a
                for a in known.addresses.get(device, ())
                if a.family == family and a.scope == "global" and not a.tentative
            ]
        ),
        known,
    )
    return found if asked_for or not all(map(_local_only, found)) else ()


def _as_leased(addresses: tuple[Address, ...], known: _Index) -> tuple[Address, ...]:
    """Return the addresses without those that a renewal has replaced.

    When a lease is renewed with the same IP and another mask, the DHCP client adds the new address, and the
    kernel keeps the old one until the old lease expires. The old network is no longer valid: a host that is
    only in it is now reached through the gateway.
    """
    if len(addresses) < 2:
        return addresses
    twice = {a.interface.ip for a in addresses for b in addresses if _same_but_for_network(a, b)}
    if not twice:
        return addresses
    held = {address.interface for address in addresses}
    device = addresses[0].device
    said = [(x.address, x.received) for x in known.leases.get(device, ())]
    said += [(x.address, x.said_s) for x in known.claims.get(device, ())]
    mine = [(interface, when) for interface, when in said if interface.ip in twice]
    newest = {ip: max((when for interface, when in mine if interface.ip == ip), default=0.0) for ip in twice}
    leased = {interface for interface, when in mine if when == newest[interface.ip]} & held
    renewed = {interface.ip for interface in leased}
    return tuple(a for a in addresses if a.interface.ip not in renewed or a.interface in leased)


def _same_but_for_network(one: Address, other: Address) -> bool:
    return one.interface.ip == other.interface.ip and one.interface != other.interface


def _primary(addresses: Sequence[Address], gateway: IPAddress | None) -> Address:
    """Return the address to bind to.

    Prefer one that is not deprecated, is routed on the internet, is not temporary, and is in the gateway's
    network, in this order.
    """
    if len(addresses) == 1:
        return addresses[0]
    return min(
        addresses,
        key=lambda a: (
            a.deprecated,
            _local_only(a),
            a.temporary,
            gateway is None or gateway not in a.interface.network,
        ),
    )


# --- gateways ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Gateway:
    """A gateway with the addresses that use it; `ip` is None where routes need only the device.

    `choices` begin with this gateway; those after it are for when it does not work.
    """

    choices: tuple[GatewayChoice, ...]
    addresses: tuple[Address, ...]

    @property
    def ip(self) -> IPAddress | None:
        return self.choices[0].gateway


def _attributes(device: str, family: int, gateway: IPAddress | None, known: _Index) -> PathAttributes:
    """Return the attributes of main's default through this gateway, or else of its first on the device.

    An MTU is there because of the link, whichever gateway a lease or the configuration prefers. Without a
    default in main, those count that it had when it was last seen.
    """
    found = known.defaults.get((device, family), ())
    if not found:
        once = known.remembered.get(device, ()) if family == 4 else ()
        return once[0].attributes if once else ()
    return min(found, key=lambda default: (default.gateway != gateway, default.metric)).attributes


def _claims(device: str, known: _Index) -> Iterator[GatewayClaim]:
    """Yield what DHCP leases and other programs report about gateways on an interface."""
    for lease in known.leases.get(device, ()):
        if lease.routers:
            yield GatewayClaim(
                lease.device,
                lease.source,
                lease.address,
                lease.routers[0],
                lease.received,
                lease.ifindex,
                others=lease.routers[1:],
            )
    yield from known.claims.get(device, ())


def _newest(address: Address, claims: Iterable[GatewayClaim]) -> GatewayClaim | None:
    """Return the newest claim that names a gateway for this address; older ones are outdated."""
    valid = [
        claim for claim in claims if claim.gateway is not None and claim.address.ip == address.interface.ip
    ]
    return max(valid, key=lambda claim: claim.said_s, default=None)


@lru_cache(maxsize=1024)
def _given(gateways: tuple[str, ...], family: int) -> tuple[IPAddress, ...]:
    """The gateways of this family that the configuration gives."""
    found = map(ipaddress.ip_address, gateways)
    return tuple(gateway for gateway in found if gateway.version == family)


@by_identity
def _configured(gateways: tuple[IPAddress, ...], addresses: tuple[Address, ...]) -> tuple[_Gateway, ...]:
    """Assign each address to a configured gateway.

    That is the gateway in the address's network that has the fewest addresses so far. If its network has
    none, it is the first gateway.
    """
    shares: dict[IPAddress, list[Address]] = {gateway: [] for gateway in gateways}
    for address in addresses:
        fitting = [gateway for gateway in gateways if reaches(address, gateway)]
        shares[min(fitting or gateways[:1], key=lambda gateway: len(shares[gateway]))].append(address)
    return tuple(
        _Gateway((GatewayChoice(gateway, CONFIGURED),), tuple(share)) for gateway, share in shares.items()
    )


def _known(link: Interface, addresses: Sequence[Address], known: _Index) -> list[_Gateway]:
    """Return the gateways that claims, main, and remembered defaults name for these addresses.

    After those of a claim come the defaults in main that the address reaches.
    """
    family = addresses[0].family
    defaults = known.gateways(link.name, family)
    gateways = [gateway for gateway in defaults if gateway is not None]
    found: dict[IPAddress | None, tuple[list[GatewayChoice], list[Address]]] = {}
    without_gateway = []
    remembered = known.remembered.get(link.name, ())

    def add(choices: Sequence[GatewayChoice], *of: Address) -> None:
        named, share = found.setdefault(choices[0].gateway, ([], []))
        named += choices
        share += of

    for address in addresses:
        claim = _newest(address, _claims(link.name, known))
        inside = [gateway for gateway in gateways if reaches(address, gateway)]
        inside += [gateway for gateway in gateways if gateway.is_link_local and gateway not in inside]
        once = _newest(address, remembered)
        if claim is not None:
            since = None if claim.standing or claim.said_s < 0 else claim.said_s
            named = [GatewayChoice(ip, claim.source, since) for ip in (claim.gateway, *claim.others)]
            add([*named, *(GatewayChoice(ip, MAIN_DEFAULT) for ip in inside)], address)
        elif inside and reaches(address, inside[0]):
            add([GatewayChoice(ip, MAIN_DEFAULT) for ip in inside], address)
        elif once is not None and not gateways:
            add([GatewayChoice(ip, REMEMBERED) for ip in (once.gateway, *once.others)], address)
        else:
            without_gateway.append(address)
    if not found:
        if gateways:
            add([GatewayChoice(ip, MAIN_DEFAULT) for ip in gateways])
        elif defaults and not link.needs_gateway:
            add([GatewayChoice(None, MAIN_DEFAULT)])
        elif not link.needs_gateway and _once_without_gateway(addresses, remembered):
            add([GatewayChoice(None, REMEMBERED)])
    result = [
        _Gateway(_distinct(named, found.keys() - {ip}), tuple(share)) for ip, (named, share) in found.items()
    ]
    if not result:
        return []
    # Addresses for which no gateway is known use the first one.
    first = tuple(a for a in addresses if a in without_gateway or a in result[0].addresses)
    return [replace(result[0], addresses=first), *result[1:]]


def _distinct(
    choices: Iterable[GatewayChoice], of_others: Collection[IPAddress | None]
) -> tuple[GatewayChoice, ...]:
    """Return each choice once, without the gateways that are uplinks of their own, and not too many."""
    first: dict[IPAddress | None, GatewayChoice] = {}
    for choice in choices:
        if choice.gateway not in of_others:
            first.setdefault(choice.gateway, choice)
    return tuple(first.values())[:MOST_GATEWAYS]


def _once_without_gateway(addresses: Iterable[Address], remembered: Iterable[GatewayClaim]) -> bool:
    held = {address.interface.ip for address in addresses}
    return any(claim.gateway is None and claim.address.ip in held for claim in remembered)


def _gateways(
    link: Interface, addresses: tuple[Address, ...], setting: UplinkConfig, known: _Index
) -> list[_Gateway]:
    """Return the gateways of these addresses, which are of one family; none if no gateway is known."""
    if setting.gateway == ("none",):
        return [_Gateway((GatewayChoice(None, CONFIGURED),), addresses)]
    if setting.gateway != ("auto",):
        given = _given(setting.gateway, addresses[0].family)
        if given:
            return list(_configured(given, addresses))
    return _known(link, addresses, known)


# --- memory ------------------------------------------------------------------------------------------------


def remember(facts: Facts, now_s: float) -> tuple[GatewayClaim, ...]:
    """Return `facts.remembered`, updated with the default routes that are in main now.

    `now_s` is in seconds since boot. A default that is seen now replaces the one remembered for its
    interface. One that is not seen now is kept while the interface has the address it came with. What is
    remembered of an interface that has disappeared is dropped.
    """
    kept, known = {}, _Index(facts)
    for link in facts.interfaces:
        addresses = [a for a in known.addresses.get(link.name, ()) if a.scope == "global"]
        held = {a.interface.ip for a in addresses}
        once = next((x for x in known.remembered.get(link.name, ()) if x.address.ip in held), None)
        defaults = known.gateways(link.name, 4)
        if defaults:
            seen = _seen(link, addresses, defaults, now_s)
            if seen is not None:
                seen = replace(seen, attributes=_attributes(link.name, 4, seen.gateway, known))
                same = once is not None and replace(once, said_s=now_s) == seen
                kept[link.name] = once if same and once is not None else seen
        elif once is not None:
            kept[link.name] = once
    return tuple(kept[name] for name in sorted(kept))


def _seen(
    link: Interface, addresses: Iterable[Address], defaults: Sequence[IPAddress | None], now_s: float
) -> GatewayClaim | None:
    gateway = next((gateway for gateway in defaults if gateway is not None), None)
    for address in addresses:
        interface = address.interface
        if not isinstance(interface, ipaddress.IPv4Interface):
            continue
        if isinstance(gateway, ipaddress.IPv4Address) and gateway in interface.network:
            others = tuple(
                dict.fromkeys(
                    ip for ip in defaults if ip is not None and ip != gateway and ip in interface.network
                )
            )
            return GatewayClaim(
                link.name, "main", interface, gateway, now_s, link.index, others=others[: MOST_GATEWAYS - 1]
            )
        if gateway is None and not link.needs_gateway:
            return GatewayClaim(link.name, "main", interface, None, now_s, link.index)
    return None


# --- uplinks -----------------------------------------------------------------------------------------------


@by_identity
def _checks_quality(health: HealthConfig, setting: UplinkConfig) -> bool:
    return health.of(setting).check_quality


def _is_metered(device: str, setting: UplinkConfig, facts: Facts) -> bool:
    """Whether data costs money on the interface, as far as is known."""
    if setting.metered != "auto":
        return setting.metered
    return setting.budget > 0 or device in facts.metered or device in facts.roaming


def _state(link: Interface) -> tuple[UplinkState, str]:
    if not link.up:
        return UplinkState.DOWN, "interface is down"
    if not link.carrier:
        return UplinkState.NO_CARRIER, "no carrier"
    return UplinkState.UP, ""


def _why(link: Interface, vrf: str, of_gateways: str) -> str:
    """Return what there is to say of an uplink that is up; "" if nothing is."""
    if not vrf:
        return of_gateways
    words = f"in VRF {vrf}: only what is bound to {link.name} leaves by it (ip link set {link.name} nomaster)"
    return f"{words}; {of_gateways}" if of_gateways else words


@dataclass(frozen=True, slots=True)
class _Chosen:
    link: Interface
    setting: UplinkConfig
    gateway: _Gateway
    everything: tuple[Address, ...]  # all addresses of the family: a gateway may have none of its own
    further: str  # "+10.1.0.1" for a further gateway, "" for the first of its family

    @property
    def name(self) -> str:
        return self.link.name + self.further

    @property
    def family(self) -> int:
        return self.everything[0].family


def _of_interface(
    link: Interface, setting: UplinkConfig, known: _Index, config: Config
) -> tuple[list[_Chosen], str]:
    """Return the gateways of one interface; or if it has none, the reason ("": it has no address either)."""
    asked_for = setting is not match.UNMATCHED
    if not setting.enabled:
        return [], "enabled = false"
    if setting.exclude_roaming and link.name in known.facts.roaming:
        return [], "it roams (exclude_roaming = true)"
    found: list[_Chosen] = []
    without: list[int] = []  # families with an address and no gateway
    for family in (4, 6) if config.routing.ipv6 else (4,):
        addresses = candidates(link.name, family, known, asked_for=asked_for)
        gateways = _gateways(link, addresses, setting, known) if addresses else []
        if addresses and not gateways:
            without.append(family)
        for number, gateway in enumerate(gateways):
            further = f"+{gateway.ip}" if number else ""
            found.append(_Chosen(link, setting, gateway, addresses, further))
    if found:
        return found, ""
    if without:
        return [], _without_gateway(link, without, known)
    return [], _without_address(link, known, config) or ("no address" if asked_for else "")


def _without_gateway(link: Interface, families: Iterable[int], known: _Index) -> str:
    if any(known.gateways(link.name, family) for family in families):
        return 'its default in main has no gateway, which this link needs (or set gateway = "none")'
    return "no gateway known"


def _without_address(link: Interface, known: _Index, config: Config) -> str:
    """Return why none of the interface's addresses is used; "" if it has none."""
    addresses = known.addresses.get(link.name, ())
    public = [address for address in addresses if address.scope == "global"]
    if not addresses:
        return ""
    if not public:
        return "only a link-local address"
    if not config.routing.ipv6 and all(address.family == 6 for address in public):
        return "only IPv6 addresses, and routing.ipv6 = false"
    if all(address.tentative for address in public):
        return "its address is not proved to be unique yet, or another host has it"
    return "only unique local addresses (fc00::/7); an [[uplink]] for it makes it one"


@dataclass(frozen=True, slots=True)
class _Idle:
    """The addresses of one family on an interface that is no uplink for it."""

    link: Interface
    addresses: tuple[Address, ...]
    gateway: _Gateway | None  # by which they leave nevertheless
    attributes: PathAttributes  # of main's default


def _idle_addresses(
    link: Interface, setting: UplinkConfig, families: Collection[int], known: _Index, config: Config
) -> list[_Idle]:
    """Return the addresses that must not leave by another interface; `families` are uplinks.

    The gateway of a disabled interface is left to what is bound to it, as a person may have disabled the
    interface by which he reaches the box. What roams costs money.
    """
    protocol = config.routing.protocol
    asked_for = setting is not match.UNMATCHED
    named = setting if asked_for and setting.match != "*" else None
    found = []
    for family in {4, 6} - set(families) if config.routing.ipv6 else {4} - set(families):
        addresses = candidates(link.name, family, known, asked_for=asked_for)
        gateways = _gateways(link, addresses, setting, known) if addresses else []
        addresses = tuple(
            address
            for address in addresses
            if (gateways or is_of_a_way_out(address, named, known.facts, protocol))
            and not is_routed_by_others(address, known.facts, protocol)
        )
        way_out = gateways[0] if gateways and not setting.enabled and link.up else None
        if addresses:
            path = () if way_out is None else _attributes(link.name, family, way_out.ip, known)
            found.append(_Idle(link, addresses, way_out, path))
    return found


def _withheld(
    idle: Iterable[_Idle],
    uplinks: Iterable[Uplink],
    tables: Mapping[str, int],
    labels: Mapping[str, str],
) -> Iterator[Withheld]:
    """Yield what is withheld, where there is another interface by which it could leave.

    An address that an uplink has, too, is left to it (twins).
    """
    idle, uplinks = list(idle), list(uplinks)
    for each in idle:
        family = each.addresses[0].family
        others = [uplink for uplink in uplinks if uplink.family == family]
        devices = {uplink.device for uplink in others}
        devices |= {other.link.name for other in idle if other.addresses[0].family == family}
        in_use = {address.interface.ip for uplink in others for address in uplink.addresses}
        addresses = tuple(address for address in each.addresses if address.interface.ip not in in_use)
        if len(devices) < 2 or not addresses or each.link.name not in tables:
            continue
        gateway = None if each.gateway is None else each.gateway.ip
        yield Withheld(
            each.link.name,
            labels.get(each.link.name, each.link.name),
            family,
            tables[each.link.name],
            addresses,
            leaves_by_device=each.gateway is not None,
            gateway=gateway,
            onlink=not on_link(gateway, addresses),
            attributes=each.attributes,
        )


def excluded(facts: Facts, choice: match.Choice, config: Config) -> dict[str, str]:
    """Return the interfaces that are excluded by default (bridges, containers, LAN, ...), with the reason.

    An [[uplink]] that matches such an interface makes it an uplink anyway, unless its match is "*" or the
    exclusion is final.
    """
    lan = {
        link.name
        for link in facts.interfaces
        if is_lan(link.name, config.router, choice.settings.get(link.name))
    }
    reasons = {}
    for name, exclusion in exclusions(facts.interfaces, lan).items():
        setting = choice.settings.get(name)
        if exclusion.final or setting is None or setting.match == "*":
            reasons[name] = exclusion.reason
    return reasons


@dataclass(frozen=True, slots=True)
class Found:
    """The result of `find`: uplinks ordered by family and table; `idle` and the others as in Desired."""

    uplinks: tuple[Uplink, ...]
    idle: tuple[IdleInterface, ...]
    excluded: tuple[tuple[str, str], ...]
    settings: match.Settings
    withheld: tuple[Withheld, ...] = ()


_NO_OVERRIDE = Override("")
# Of the passes before: an uplink of which nothing has changed stays the same object.
_BEFORE = Before(Uplink)


def _disputed(
    item: _Chosen, now: GatewayChoice, gateways: Iterable[_Gateway], known: _Index
) -> tuple[tuple[str, IPAddress], ...]:
    """Return the gateways that a source names for these addresses, but that the interface does not use.

    Of several that one source names, the others wait to be used (`now`: the one that is).

    NetworkManager's are left out, because status shows all that NetworkManager reports. IPv6 defaults in main
    are left out, because there is one for each router that advertises itself.
    """
    if item.further or item.gateway.ip is None:
        return ()
    family = item.gateway.ip.version
    leases, defaults = known.leases.get(item.link.name), known.gateways(item.link.name, 4)
    if not leases and not defaults:
        return ()
    used = {now.gateway}
    for gateway in gateways:
        used |= {each.gateway for each in gateway.choices if each.source == gateway.choices[0].source}
    held = {address.interface.ip for address in item.gateway.addresses}
    said = [
        (lease.source, lease.routers[0])
        for lease in leases or ()
        if lease.routers and lease.address.ip in held
    ]
    if family == 4:
        said += [(MAIN_DEFAULT, ip) for ip in defaults if ip is not None]
    return tuple(dict.fromkeys((source, ip) for source, ip in said if ip not in used))


def _by_first_gateway(chosen: Iterable[_Chosen], tables_in_use: Mapping[str, int]) -> Mapping[str, int]:
    """Return the tables by the names of uplinks, also of a further gateway that has given way to another.

    The kernel's table names the gateway in use, and the uplink has the first one's name.
    """
    found = dict(tables_in_use)
    for item in chosen:
        for choice in item.gateway.choices if item.further else ():
            kept = tables_in_use.get(f"{item.link.name}+{choice.gateway}")
            if kept is not None:
                found.setdefault(item.name, kept)
    return found


def find(facts: Facts, config: Config, tables_in_use: Mapping[str, int]) -> Found:
    """Find the uplinks, and the reason why each other candidate is not one.

    `tables_in_use` are the tables that uplinks have in the kernel now, by the uplink's name. They keep them.
    """
    known = _Index(facts)
    choice = match.choose(of_links(facts.interfaces, facts.devices), config)
    no_uplinks = excluded(facts, choice, config)
    chosen: list[_Chosen] = []
    no_way_out: list[_Idle] = []
    idle = [IdleInterface("", problem) for problem in choice.problems]
    for link in sorted(facts.interfaces, key=lambda link: link.name):
        if link.name not in no_uplinks:
            setting = choice.settings.get(link.name, match.UNMATCHED)
            found, why_not = _of_interface(link, setting, known, config)
            chosen += found
            families = {item.family for item in found}
            if link.name not in known.vrf_of:  # what is in a VRF leaves by no uplink outside
                no_way_out += _idle_addresses(link, setting, families, known, config)
            if why_not and setting is match.UNMATCHED:
                no_uplinks[link.name] = why_not
            elif why_not:
                idle.append(IdleInterface(link.name, why_not, choice.labels.get(link.name, "")))
    idle += [
        IdleInterface(setting.match, "no such interface now", setting.label) for setting in choice.unused
    ]
    several = any(len(item.gateway.choices) > 1 for item in chosen)
    before = in_use(facts.routes, config.routing.protocol) if several else {}
    tables_in_use = _by_first_gateway(chosen, tables_in_use)
    tables = assign(
        sorted({item.name for item in chosen} | {each.link.name for each in no_way_out}),
        config.routing,
        tables_in_use,
        {name: setting.table for name, setting in choice.settings.items() if setting.table},
        match.reserved_tables(config),
    )
    measured = dict(facts.measured)
    of_link: dict[str, list[_Gateway]] = {}
    for item in chosen:
        of_link.setdefault(item.link.name, []).append(item.gateway)
    overrides = {override.uplink: override for override in facts.overrides}
    uplinks, check_quality = [], set()
    for item in chosen:
        if item.name not in tables:
            lowest, highest = config.routing.tables
            idle.append(IdleInterface(item.name, f"no table left between {lowest} and {highest}"))
            continue
        state, reason = _state(item.link)
        vrf = known.vrf_of.get(item.link.name, "")
        label = choice.labels.get(item.link.name, item.link.name) + item.further
        override = overrides.get(label, _NO_OVERRIDE)
        weight = item.setting.weight if override.weight is None else override.weight
        # The first gateway decides, so that the address stays when another one is used.
        address = _primary(item.gateway.addresses or item.everything, item.gateway.ip).interface
        choices, now = item.gateway.choices, item.gateway.choices[0]
        if len(choices) > 1:
            choices = judged(choices, item.link.name, address.ip, facts.health)
            last = [before[at] for at in ((tables[item.name], item.family),) if at in before]
            now = choose(choices, last, checked=bool(config.chain(item.setting.checks)))
        uplink = Uplink(
            device=item.link.name,
            address=address,
            gateway=now.gateway,
            gateway_source=now.source,
            table=tables[item.name],
            addresses=item.gateway.addresses,
            weight=measured.get(item.link.name, 1) if weight == "auto" else weight,
            state=state,
            reason=reason or _why(item.link, vrf, why(choices, now.gateway)),
            label="" if label == item.link.name else label,
            further=bool(item.further),
            gateway_since=now.since_s,
            disputed=_disputed(item, now, of_link[item.link.name], known),
            priority=item.setting.priority if override.priority is None else override.priority,
            mode=override.mode or ("backup" if item.setting.backup else "normal"),
            set_by=override.by if override.mode else "",
            streams=item.setting.streams,
            metered=_is_metered(item.link.name, item.setting, facts),
            mtu=item.link.mtu,
            attributes=_attributes(item.link.name, item.family, now.gateway, known),
            needs_gateway=item.link.needs_gateway,
            vrf=vrf,
            gateways=choices if len(choices) > 1 else (),
        )
        uplinks.append(uplink)
        if _checks_quality(config.health, item.setting):
            check_quality.add(uplink.name)
    uplinks.sort(key=lambda uplink: (uplink.family, uplink.table))
    settled = apply_policy(
        uplinks,
        facts,
        dead_leave_list=config.health.down_from_list,
        check_quality=check_quality,
    )
    settled = [_BEFORE.same((uplink.family, uplink.table), uplink) for uplink in settled]
    return Found(
        tuple(settled),
        tuple(idle),
        tuple(sorted(no_uplinks.items())),
        choice.settings,
        tuple(_withheld(no_way_out, settled, tables, choice.labels)),
    )
