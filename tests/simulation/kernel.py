"""A kernel without I/O: links, addresses, routes, rules and nexthops of IPv4, as Linux has them.

It has what the agent asks of netbond.kernel.client.Kernel, and what people and DHCP clients do with `ip`.
tests/netns/test_simulated_kernel.py does the same with this one and with the real one, and compares.

It knows: what goes when a link is set down, loses its carrier or vanishes, or when an address is removed;
which operations are refused; rules, longest prefix, metrics, dead legs, `suppress_prefixlength`, refusing
routes, and that the destination is assumed on the link of a socket's device where no route leads. Sources:
net/ipv4 (fib_semantics.c, fib_trie.c, fib_frontend.c, route.c, nexthop.c) and what kernel 6.18 does. It has
no IPv6, no secondary addresses, no VRFs, no marks and no forwarding.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from netbond.model import (
    MAIN_TABLE,
    REFUSALS,
    Address,
    Facts,
    Interface,
    IPAddress,
    IPInterface,
    Nexthop,
    NexthopGroup,
    NexthopObject,
    Route,
    Rule,
)
from netbond.plan import Operation
from netbond.refusals import Refusal

KERNEL = 2  # RTPROT_KERNEL
REFUSED_WITH = {"unreachable": errno.EHOSTUNREACH, "prohibit": errno.EACCES, "blackhole": errno.EINVAL}
# What the agent's own client takes for success (netbond.kernel.client).
DONE = {
    ("delete", Route): {errno.ESRCH, errno.ENODEV},
    ("delete", Rule): {errno.ENOENT},
    ("add", Rule): {errno.EEXIST},
    ("delete", NexthopObject): {errno.ENOENT},
    ("delete", NexthopGroup): {errno.ENOENT},
}
GONE = {errno.ENODEV, errno.ENETDOWN}


class RefusedError(Exception):
    """The kernel refuses, with an errno."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.errno = number


@dataclass(frozen=True)
class Way:
    """Where a packet goes: one of these hops, by a route of this table (0: by none, but its device)."""

    hops: frozenset[tuple[str, IPAddress | None]]
    table: int


@dataclass
class SimulatedKernel:
    """The state of one box; `changed(moved)` is called after each change, as netlink tells it."""

    links: dict[str, Interface] = field(default_factory=dict)
    addresses: list[Address] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    nexthops: dict[int, NexthopObject | NexthopGroup] = field(default_factory=dict)
    next_index: int = 1
    protocol: int = 78

    def __post_init__(self) -> None:
        """Begin as a new network namespace does, with its loopback up."""
        self.rules += [
            Rule(0, 4, table=255, protocol=KERNEL),
            Rule(32766, 4, table=MAIN_TABLE, protocol=KERNEL),
            Rule(32767, 4, table=253, protocol=KERNEL),
        ]
        self.links["lo"] = Interface("lo", self._index(), loopback=True)

    def _index(self) -> int:
        self.next_index += 1
        return self.next_index - 1

    def changed(self, moved: bool) -> None:
        """Nobody listens."""

    # --- what the agent asks --------------------------------------------------------------------------------

    async def read(self) -> Facts:
        """Everything, as netbond.kernel.client.Kernel.read has it."""
        return self.facts()

    def facts(self) -> Facts:
        """The same."""
        nexthops = tuple(
            replace(each, family=0) if isinstance(each, NexthopGroup) else each
            for each in self.nexthops.values()
        )
        return Facts(
            interfaces=tuple(self.links.values()),
            addresses=tuple(self.addresses),
            routes=tuple(map(self._as_read, self.routes)),
            rules=tuple(self.rules),
            nexthops=nexthops,
        )

    def _as_read(self, route: Route) -> Route:
        return replace(route, nexthops=self._hops(route)) if route.nexthop_id else route

    async def read_links(self) -> tuple[Interface, ...]:
        """The interfaces with their byte counters."""
        return tuple(self.links.values())

    async def read_lifetimes(self) -> list[float]:
        """IPv4 has none."""
        return []

    async def apply(self, operations: Iterable[Operation], links: Iterable[Interface]) -> list[Refusal]:
        """Apply the agent's operations; return those that failed, unless their device has gone."""
        failures = []
        known = {link.name: link.index for link in links}
        operations = list(operations)
        for operation in operations:
            try:
                self._carry_out(operation, known)
            except RefusedError as error:
                done = DONE.get((operation.verb, type(operation.what)), ())
                if error.errno not in done and error.errno not in GONE:
                    failures.append(Refusal(operation, error.errno))
        if operations:
            self.changed(False)
        return failures

    def _carry_out(self, operation: Operation, known: dict[str, int]) -> None:
        what, verb = operation.what, operation.verb
        if isinstance(what, Rule):
            self.add_rule(what) if verb == "add" else self.delete_rule(what)
            return
        hops = what.nexthops if isinstance(what, Route) and not what.nexthop_id else ()
        devices = [hop.device for hop in hops] if isinstance(what, Route) else []
        if isinstance(what, NexthopObject):
            devices = [what.device]
        if verb != "delete" or isinstance(what, Route):
            for device in devices:  # a request names the index that was read
                link = self.links.get(device)
                if link is None or link.index != known.get(device):
                    raise RefusedError(errno.ENODEV)
        if isinstance(what, Route):
            if verb == "delete":
                self.delete_route(what)
            else:
                self.add_route(what, replacing=verb == "replace")
        elif verb == "delete":
            self.delete_nexthop(what.id)
        else:
            self.add_nexthop(what, replacing=verb == "replace")

    # --- links and addresses --------------------------------------------------------------------------------

    def add_link(self, name: str, *, up: bool = True, mac: str = "") -> None:
        """A modem is plugged in."""
        self.links[name] = Interface(name, self._index(), up=up, carrier=up, kind="veth", mac=mac)
        self.changed(True)

    def delete_link(self, name: str) -> None:
        """It is unplugged."""
        del self.links[name]
        self.addresses = [each for each in self.addresses if each.device != name]
        self._lose_nexthops(name)
        # Of a multipath route with a leg that vanishes, nothing stays.
        self.routes = [each for each in self.routes if all(hop.device != name for hop in each.nexthops)]
        self.changed(True)

    def rename_link(self, old: str, new: str) -> None:
        """It is given another name (it has to be down, as the kernel asks)."""
        link = self.links.pop(old)
        if link.up:
            raise RefusedError(errno.EBUSY)
        self.links[new] = replace(link, name=new)
        self.addresses = [
            replace(each, device=new) if each.device == old else each for each in self.addresses
        ]
        self.changed(True)

    def set_up(self, name: str, up: bool) -> None:
        """`ip link set NAME up|down`; there is a carrier as long as it is up."""
        link = self.links[name]
        if link.up == up:
            return
        self.links[name] = replace(link, up=up, carrier=up)
        if up:
            self._revive(name)
            for address in self.addresses:
                if address.device == name:
                    self._connect(address)
        else:
            self._lose_nexthops(name)
            self._lose_routes(name)
        self.changed(True)

    def set_carrier(self, name: str, carrier: bool) -> None:
        """The cable: routes stay, nexthop objects do not."""
        link = self.links[name]
        if not link.up or link.carrier == carrier:
            return
        self.links[name] = replace(link, carrier=carrier)
        if not carrier:
            self._lose_nexthops(name)
        self.changed(True)

    def add_address(self, device: str, interface: IPInterface) -> None:
        """`ip address add`; a network has one address of each device."""
        address = Address(device, interface)
        self.addresses.append(address)
        if self.links[device].up:
            self._revive(device)
            self._connect(address)
        self.changed(True)

    def delete_address(self, device: str, interface: IPInterface) -> None:
        """`ip address del`."""
        address = Address(device, interface)
        self.addresses.remove(address)
        if interface.network.prefixlen < 32:
            self.routes = [
                each
                for each in self.routes
                if not (
                    each.table == MAIN_TABLE
                    and each.protocol == KERNEL
                    and each.destination == interface.network
                    and [hop.device for hop in each.nexthops] == [device]
                )
            ]
        if not any(each.interface.ip == interface.ip for each in self.addresses):
            # Only main's: routes with this source stay in all other tables.
            self.routes = [
                each for each in self.routes if each.table != MAIN_TABLE or each.source != interface.ip
            ]
        if not any(each.device == device for each in self.addresses):
            self._lose_routes(device)
        self.changed(True)

    def _connect(self, address: Address) -> None:
        network = address.interface.network
        if network.prefixlen == 32:
            return
        hop = Nexthop(address.device)
        route = Route(MAIN_TABLE, network, (hop,), source=address.interface.ip, scope="link", protocol=KERNEL)
        if route not in self.routes:
            self._insert(route)

    def _lose_nexthops(self, device: str) -> None:
        lost = {
            each.id
            for each in self.nexthops.values()
            if isinstance(each, NexthopObject) and each.device == device
        }
        for number in lost:
            self._remove_nexthop(number)

    def _lose_routes(self, device: str) -> None:
        """Without the device: routes by it alone go, legs of others are dead."""
        kept = []
        for route in self.routes:
            hops = tuple(replace(hop, dead=hop.dead or hop.device == device) for hop in route.nexthops)
            if not hops or not all(hop.dead for hop in hops):
                kept.append(replace(route, nexthops=hops) if hops != route.nexthops or hops else route)
        self.routes = kept

    def _revive(self, device: str) -> None:
        self.routes = [
            replace(
                route,
                nexthops=tuple(
                    replace(hop, dead=hop.dead and hop.device != device) for hop in route.nexthops
                ),
            )
            if any(hop.dead for hop in route.nexthops)
            else route
            for route in self.routes
        ]

    # --- rules ----------------------------------------------------------------------------------------------

    def add_rule(self, rule: Rule) -> None:
        """`ip rule add`; those of one priority in the order in which they came."""
        # A new one for all addresses counts as being there if there is one for some.
        if any(_fits(rule, each) and each.oif == rule.oif for each in self.rules):
            raise RefusedError(errno.EEXIST)
        place = next(
            (i for i, each in enumerate(self.rules) if each.priority > rule.priority), len(self.rules)
        )
        self.rules.insert(place, rule)

    def delete_rule(self, rule: Rule) -> None:
        """`ip rule del`: the first one that fits."""
        found = next((each for each in self.rules if _fits(rule, each)), None)
        if found is None:
            raise RefusedError(errno.ENOENT)
        self.rules.remove(found)

    # --- nexthops -------------------------------------------------------------------------------------------

    def add_nexthop(self, nexthop: NexthopObject | NexthopGroup, *, replacing: bool = False) -> None:
        """`ip nexthop add|replace`."""
        if isinstance(nexthop, NexthopGroup):
            members = [self.nexthops.get(number) for number, _ in nexthop.members]
            if not members or not all(isinstance(each, NexthopObject) for each in members):
                raise RefusedError(errno.EINVAL)
        else:
            link = self._up(nexthop.device)
            if not link.carrier:
                raise RefusedError(errno.ENETDOWN)
            if nexthop.gateway is not None and not nexthop.onlink:
                self._reaches(nexthop.gateway, nexthop.device, MAIN_TABLE)
        old = self.nexthops.get(nexthop.id)
        if old is not None and not replacing:
            raise RefusedError(errno.EEXIST)
        if old is not None and type(old) is not type(nexthop):
            raise RefusedError(errno.EINVAL)
        self.nexthops[nexthop.id] = nexthop

    def delete_nexthop(self, number: int) -> None:
        """`ip nexthop del`: groups lose it, routes by it go."""
        if number not in self.nexthops:
            raise RefusedError(errno.ENOENT)
        self._remove_nexthop(number)

    def _remove_nexthop(self, number: int) -> None:
        if self.nexthops.pop(number, None) is None:
            return
        self.routes = [each for each in self.routes if each.nexthop_id != number]
        for group in list(self.nexthops.values()):
            if isinstance(group, NexthopGroup) and any(member == number for member, _ in group.members):
                left = tuple(each for each in group.members if each[0] != number)
                if left:
                    self.nexthops[group.id] = replace(group, members=left)
                else:
                    self._remove_nexthop(group.id)

    # --- routes ---------------------------------------------------------------------------------------------

    def add_route(self, route: Route, *, replacing: bool = False) -> None:
        """`ip route add|replace`: it takes the place of the first with its destination and metric."""
        if route.nexthop_id:
            if route.nexthop_id not in self.nexthops:
                raise RefusedError(errno.EINVAL)
            route = replace(route, nexthops=())
        elif route.kind not in REFUSALS:
            for hop in route.nexthops:
                if hop.gateway is not None and not hop.onlink:
                    self._reaches(hop.gateway, hop.device, route.table)
                self._up(hop.device)
        if route.source is not None and not self._is_local(route.source):
            raise RefusedError(errno.EINVAL)
        route = replace(
            route,
            nexthops=tuple(replace(hop, dead=False) for hop in route.nexthops),
            scope="global" if route.nexthop_id else route.scope,
        )
        same = [each for each in self.routes if _place(each) == _place(route)]
        if not same:
            self._insert(route)
            return
        if not replacing:
            raise RefusedError(errno.EEXIST)
        self.routes[self.routes.index(same[0])] = route

    def _insert(self, route: Route) -> None:
        self.routes.append(route)

    def delete_route(self, route: Route) -> None:
        """`ip route del`, by all of it."""
        if route.nexthop_id and route.nexthop_id not in self.nexthops:
            raise RefusedError(errno.EINVAL)
        for each in self.routes:
            if _place(each) == _place(route) and each.protocol == route.protocol and each.kind == route.kind:
                same = (
                    each.nexthop_id == route.nexthop_id
                    if route.nexthop_id or each.nexthop_id
                    else _hop_keys(each) == _hop_keys(route)
                )
                if same and (route.source is None or each.source == route.source):
                    self.routes.remove(each)
                    return
        raise RefusedError(errno.ESRCH)

    def _up(self, device: str) -> Interface:
        link = self.links.get(device)
        if link is None:
            raise RefusedError(errno.ENODEV)
        if not link.up:
            raise RefusedError(errno.ENETDOWN)
        return link

    def _is_local(self, address: IPAddress) -> bool:
        return any(each.interface.ip == address for each in self.addresses)

    def _reaches(self, gateway: IPAddress, device: str, table: int) -> None:
        """A gateway must be on the link of its device, by a route of its own table or by the rules."""
        if self._is_local(gateway):
            raise RefusedError(errno.EINVAL)
        found = None
        if table != MAIN_TABLE:
            found = self._in_table(table, gateway, device, link_only=True)
        if found is None:
            # The rules, as for a packet by this device.
            found = self._by_rules(gateway, None, device, link_only=True)
        if found is None or found.kind in REFUSALS:
            raise RefusedError(errno.ENETUNREACH)

    # --- looking up -----------------------------------------------------------------------------------------

    def _hops(self, route: Route) -> tuple[Nexthop, ...]:
        if not route.nexthop_id:
            return route.nexthops
        found = self.nexthops[route.nexthop_id]
        members = found.members if isinstance(found, NexthopGroup) else ((found.id, 1),)
        hops = []
        for number, weight in members:
            each = self.nexthops[number]
            assert isinstance(each, NexthopObject)
            hops.append(Nexthop(each.device, each.gateway, weight, onlink=each.onlink))
        return tuple(hops)

    def _ways(self, route: Route, device: str) -> list[Nexthop]:
        return [hop for hop in self._hops(route) if not hop.dead and device in ("", hop.device)]

    def _in_table(self, table: int, to: IPAddress, device: str, *, link_only: bool = False) -> Route | None:
        """The route that a table has: the longest prefix, then the lowest metric."""
        fitting = [each for each in self.routes if each.table == table and to in each.destination]
        fitting.sort(key=lambda each: (-each.destination.prefixlen, each.metric))
        for route in fitting:
            if link_only and route.scope != "link":
                continue
            if route.kind in REFUSALS:
                return route
            if self._ways(route, device):
                return route
        return None

    def _by_rules(
        self, to: IPAddress, source: IPAddress | None, device: str, *, link_only: bool = False
    ) -> Route | None:
        for rule in self.rules:
            if rule.table == 255 or rule.family != 4 or rule.iif or rule.mark:
                continue
            if rule.oif and rule.oif != device:
                continue
            if rule.source is not None and (source is None or source not in rule.source):
                continue
            if rule.destination is not None and to not in rule.destination:
                continue
            if rule.action in REFUSALS:
                return Route(0, ipaddress.ip_network("0.0.0.0/0"), kind=rule.action)
            found = self._in_table(rule.table, to, device, link_only=link_only)
            if found is None:
                continue
            suppressed = rule.suppress_prefixlength
            if (
                suppressed is not None
                and found.kind not in REFUSALS
                and found.destination.prefixlen <= suppressed
            ):
                continue
            return found
        return None

    def lookup(self, to: IPAddress, source: IPAddress | None = None, device: str = "") -> Way:
        """Where a packet goes that a program sends; RefusedError if nowhere."""
        if device:
            if device not in self.links:
                raise RefusedError(errno.ENODEV)
            if not self.links[device].up:
                raise RefusedError(errno.ENETUNREACH)
        elif source is not None and not self._is_local(source):
            raise RefusedError(errno.EINVAL)
        if self._is_local(to):
            return Way(frozenset({("lo", None)}), 255)
        found = self._by_rules(to, source, device)
        if found is not None and found.kind not in REFUSALS:
            hops = frozenset((hop.device, hop.gateway) for hop in self._ways(found, device))
            return Way(hops, found.table)
        if device:  # the kernel assumes that the destination is on the link
            return Way(frozenset({(device, None)}), 0)
        by_rule = found is not None and found.table == 0 and found.kind == "unreachable"
        raise RefusedError(errno.ENETUNREACH if found is None or by_rule else REFUSED_WITH[found.kind])


def _fits(asked: Rule, rule: Rule) -> bool:
    """Whether the rule is what a request is about: what the request does not name does not count."""
    names = ("source", "destination", "oif")
    unnamed = {name: getattr(rule, name) for name in names if not getattr(asked, name)}
    return replace(asked, suppress_prefixlength=rule.suppress_prefixlength, **unnamed) == rule


def _place(route: Route) -> tuple[object, ...]:
    return (route.table, route.destination, route.metric)


def _hop_keys(route: Route) -> list[tuple[object, ...]]:
    return [(hop.device, hop.gateway, hop.weight) for hop in route.nexthops]
