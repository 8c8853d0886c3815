"""The kernel's routing state, read and written through pyroute2. The only file that changes routes and rules.

Reading turns netlink messages into the nouns of netbond.model; writing applies the operations of netbond.plan
one by one, goes on after a failure, and says what failed. Sources: rtnetlink(7) and the kernel's
include/uapi/linux/{rtnetlink,fib_rules,if_link,if_addr}.h.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from netbond.errors import KernelLacksError, NotPermittedError
from netbond.model import Address, Facts, IPNetwork, Link, Nexthop, Route, Rule
from netbond.plan import Operation
from netbond.tables import DEFAULT

LOCAL_TABLE = 255  # RT_TABLE_LOCAL

_IFF_UP, _IFF_LOOPBACK, _IFF_POINTOPOINT, _IFF_LOWER_UP = 0x1, 0x8, 0x10, 0x10000
_RTM_F_CLONED = 0x200  # a cached exception (path MTU), not a configured route
_RTNH_F_ONLINK = 0x4
_FAMILY = {2: 4, 10: 6}  # AF_INET, AF_INET6
_AF = {4: 2, 6: 10}
_KINDS = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
}
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_ACTIONS = {1: "table", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_KIND_NUMBERS = {name: number for number, name in _KINDS.items()}
_SCOPE_NUMBERS = {name: number for number, name in _SCOPES.items()}

# What a rule may match on besides what model.Rule has; a rule with one of these is somebody else's.
_OTHER_MATCHES = (
    "FRA_FWMARK",
    "FRA_TUN_ID",
    "FRA_UID_RANGE",
    "FRA_IP_PROTO",
    "FRA_SPORT_RANGE",
    "FRA_DPORT_RANGE",
    "FRA_L3MDEV",
    "FRA_DST",
    "FRA_FLOW",
    "FRA_SUPPRESS_IFGROUP",
)

Message = Any  # pyroute2 has no types: a mapping with .get_attr()


# --- messages into nouns ----------------------------------------------------------------------------------


def _link(message: Message, names: Mapping[int, str]) -> Link:
    flags = message["flags"]
    info = message.get_attr("IFLA_LINKINFO")
    stats = message.get_attr("IFLA_STATS64") or {}
    return Link(
        name=message.get_attr("IFLA_IFNAME"),
        index=message["index"],
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_LOWER_UP),
        loopback=bool(flags & _IFF_LOOPBACK),
        point_to_point=bool(flags & _IFF_POINTOPOINT),
        kind=(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        master=names.get(message.get_attr("IFLA_MASTER") or 0, ""),
        mac=message.get_attr("IFLA_ADDRESS") or "",
        rx_bytes=stats.get("rx_bytes", 0),
        tx_bytes=stats.get("tx_bytes", 0),
    )


def _address(message: Message, names: Mapping[int, str]) -> Address | None:
    device = names.get(message["index"])
    # On a point-to-point link IFA_ADDRESS is the peer and the prefix length is the peer's.
    peer = message.get_attr("IFA_ADDRESS")
    local = message.get_attr("IFA_LOCAL") or peer
    if device is None or local is None:
        return None
    scope = _SCOPES.get(message["scope"], str(message["scope"]))
    if peer is not None and peer != local:
        return Address(device, ipaddress.ip_interface(local), ipaddress.ip_address(peer), scope)
    return Address(device, ipaddress.ip_interface(f"{local}/{message['prefixlen']}"), scope=scope)


def _hop(
    gateway: str | None, index: int | None, flags: int, weight: int, names: Mapping[int, str]
) -> Nexthop:
    return Nexthop(
        device=names.get(index or 0, ""),
        gateway=None if gateway is None else ipaddress.ip_address(gateway),
        weight=weight,
        onlink=bool(flags & _RTNH_F_ONLINK),
    )


def _network(address: str | None, length: int, family: int) -> IPNetwork:
    return DEFAULT[family] if address is None else ipaddress.ip_network((address, length))


def _route(message: Message, names: Mapping[int, str]) -> Route | None:
    family = _FAMILY.get(message["family"])
    table = message.get_attr("RTA_TABLE") or message["table"]
    if family is None or table == LOCAL_TABLE or message["flags"] & _RTM_F_CLONED:
        return None
    hops: tuple[Nexthop, ...] = ()
    legs = message.get_attr("RTA_MULTIPATH")
    if legs:
        # `hops` is the weight less one (rtnh_hops).
        hops = tuple(
            _hop(leg.get_attr("RTA_GATEWAY"), leg["oif"], leg["flags"], leg["hops"] + 1, names)
            for leg in legs
        )
    elif message.get_attr("RTA_OIF") is not None:
        gateway = message.get_attr("RTA_GATEWAY")
        hops = (_hop(gateway, message.get_attr("RTA_OIF"), message["flags"], 1, names),)
    source = message.get_attr("RTA_PREFSRC")
    return Route(
        table=table,
        destination=_network(message.get_attr("RTA_DST"), message["dst_len"], family),
        nexthops=hops,
        kind=_KINDS.get(message["type"], str(message["type"])),
        metric=message.get_attr("RTA_PRIORITY") or 0,
        source=None if source is None else ipaddress.ip_address(source),
        scope=_SCOPES.get(message["scope"], str(message["scope"])),
        protocol=message["proto"],
    )


def _rule(message: Message) -> Rule | None:
    family = _FAMILY.get(message["family"])
    if family is None:
        return None
    source = message.get_attr("FRA_SRC")
    suppress = message.get_attr("FRA_SUPPRESS_PREFIXLEN")
    other = [
        f"{name}={message.get_attr(name)}"
        for name in _OTHER_MATCHES
        if message.get_attr(name) not in (None, 0)
    ]
    if message["tos"]:
        other.append(f"tos={message['tos']}")
    if message["flags"] & 2:  # FIB_RULE_INVERT: `ip rule add not ...`
        other.append("not")
    return Rule(
        priority=message.get_attr("FRA_PRIORITY") or 0,
        family=family,
        table=message.get_attr("FRA_TABLE") or message["table"],
        source=None if source is None else _network(source, message["src_len"], family),
        oif=message.get_attr("FRA_OIFNAME") or "",
        iif=message.get_attr("FRA_IIFNAME") or "",
        # The kernel reports -1 for "none".
        suppress_prefixlength=None if suppress in (None, 0xFFFFFFFF) else suppress,
        protocol=message.get_attr("FRA_PROTOCOL") or 0,
        action=_ACTIONS.get(message["action"], str(message["action"])),
        other=" ".join(other),
    )


# --- nouns into requests ----------------------------------------------------------------------------------


class _GoneError(Exception):
    """The device of a route has vanished since it was read."""


def _route_request(route: Route, indexes: Mapping[str, int]) -> dict[str, Any]:
    def hop(nexthop: Nexthop) -> dict[str, Any]:
        if nexthop.device not in indexes:
            raise _GoneError(nexthop.device)
        request: dict[str, Any] = {"oif": indexes[nexthop.device]}
        if nexthop.gateway is not None:
            request["gateway"] = str(nexthop.gateway)
        if nexthop.onlink:
            request["flags"] = _RTNH_F_ONLINK
        return request

    request: dict[str, Any] = {
        "family": _AF[route.destination.version],
        "table": route.table,
        "dst": str(route.destination),
        "type": _KIND_NUMBERS[route.kind],
        "scope": _SCOPE_NUMBERS[route.scope],
        "proto": route.protocol,
    }
    if route.metric:
        request["priority"] = route.metric
    if route.source is not None:
        request["prefsrc"] = str(route.source)
    if len(route.nexthops) == 1:
        request |= hop(route.nexthops[0])
    elif route.nexthops:
        request["multipath"] = [hop(nexthop) | {"hops": nexthop.weight - 1} for nexthop in route.nexthops]
    return request


def _rule_request(rule: Rule) -> dict[str, Any]:
    request: dict[str, Any] = {
        "family": _AF[rule.family],
        "priority": rule.priority,
        "table": rule.table,
        "protocol": rule.protocol,
        "action": 1,  # FR_ACT_TO_TBL: netbond has no other rules
    }
    if rule.source is not None:
        request |= {"src": str(rule.source.network_address), "src_len": rule.source.prefixlen}
    if rule.oif:
        request["oifname"] = rule.oif
    if rule.suppress_prefixlength is not None:
        request["FRA_SUPPRESS_PREFIXLEN"] = rule.suppress_prefixlength
    return request


# --- the kernel -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """An operation that the kernel refused."""

    operation: Operation
    error: int  # errno

    def __str__(self) -> str:
        what = self.operation.command()
        if self.error == errno.EEXIST:
            return f"{what}: a route that is not netbond's has that place"
        return f"{what}: {errno.errorcode.get(self.error, str(self.error))}"


# An operation that finds its aim reached already has succeeded.
_DONE_ALREADY = {
    ("delete", Route): {errno.ESRCH, errno.ENODEV},
    ("delete", Rule): {errno.ENOENT},
    ("add", Rule): {errno.EEXIST},
}
# The device went down or away while the operation was under way: its own event brings the next look.
_OVERTAKEN = {errno.ENODEV, errno.ENETDOWN}


class Kernel:
    """A netlink socket for requests. `async with Kernel() as kernel: ...`"""

    def __init__(self) -> None:
        self._netlink: Any = None

    async def __aenter__(self) -> Self:
        self._netlink = AsyncIPRoute()
        await self._netlink.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._netlink.__aexit__(kind, error, trace)

    async def check_policy_routing(self) -> None:
        """Refuse a kernel without policy routing, before anything is written.

        Without CONFIG_IP_MULTIPLE_TABLES the kernel refuses rules, but `ip route add ... table N` silently
        writes to main: it would take the box off the net.
        """
        try:
            rules = [message async for message in await self._netlink.get_rules(family=_AF[4])]
        except NetlinkError as error:
            if error.code in (errno.EPERM, errno.EACCES):
                raise NotPermittedError("netlink refuses to list rules", "run netbond as root") from None
            rules = []
        if not any(message["table"] == LOCAL_TABLE for message in rules):
            raise KernelLacksError(
                "this kernel has no policy routing (`ip rule` lists nothing)",
                "use a kernel with CONFIG_IP_MULTIPLE_TABLES=y; nothing was changed",
            )

    async def read_links(self) -> tuple[Link, ...]:
        """The interfaces with their byte counters."""
        return (await self._read_links())[0]

    async def _read_links(self) -> tuple[tuple[Link, ...], dict[int, str]]:
        raw = [message async for message in await self._netlink.get_links()]
        names = {message["index"]: message.get_attr("IFLA_IFNAME") for message in raw}
        return tuple(_link(message, names) for message in raw), names

    async def read(self) -> Facts:
        """Links, IPv4 addresses, routes and rules as they are now. The local table is left out."""
        netlink = self._netlink
        links, names = await self._read_links()
        addresses = [_address(m, names) async for m in await netlink.get_addr(family=_AF[4])]
        routes = [_route(m, names) async for m in await netlink.get_routes(family=_AF[4])]
        rules = [_rule(m) async for m in await netlink.get_rules(family=_AF[4])]
        return Facts(
            links=links,
            addresses=tuple(address for address in addresses if address is not None),
            routes=tuple(route for route in routes if route is not None),
            rules=tuple(rule for rule in rules if rule is not None),
        )

    async def apply(self, operations: Iterable[Operation], links: Iterable[Link]) -> list[Failure]:
        """Do the operations in their order; what failed, and is not merely overtaken by events."""
        indexes = {link.name: link.index for link in links}
        failures = []
        for operation in operations:
            what = operation.what
            verb = {"delete": "del"}.get(operation.verb, operation.verb)
            try:
                if isinstance(what, Rule):
                    await self._netlink.rule(verb, **_rule_request(what))
                else:
                    await self._netlink.route(verb, **_route_request(what, indexes))
            except _GoneError:
                continue
            except NetlinkError as error:
                if error.code in (errno.EPERM, errno.EACCES):
                    raise NotPermittedError(
                        "the kernel refuses to change routes", "run netbond as root (CAP_NET_ADMIN)"
                    ) from None
                done = error.code in _DONE_ALREADY.get((operation.verb, type(what)), ())
                if not done and error.code not in _OVERTAKEN:
                    failures.append(Failure(operation, error.code))
        return failures


def read_facts_once() -> Facts:
    """What the kernel holds now, for a command that has no event loop. No root needed."""

    async def read() -> Facts:
        async with Kernel() as kernel:
            return await kernel.read()

    return asyncio.run(read())
