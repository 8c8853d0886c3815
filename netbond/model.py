"""The nouns of routing: what a box has (facts), and what is written to its kernel (routes and rules).

Frozen dataclasses without behaviour beyond naming themselves; no I/O. Interfaces are named, not numbered: an
index means nothing to a reader, and one dump of the kernel resolves all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

MAIN_TABLE = 254  # RT_TABLE_MAIN, include/uapi/linux/rtnetlink.h


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface as the kernel reports it."""

    name: str
    index: int
    up: bool = True  # IFF_UP: the administrator wants it up
    carrier: bool = True  # IFF_LOWER_UP: there is a cable, a radio link, a peer
    loopback: bool = False
    point_to_point: bool = False  # IFF_POINTOPOINT: no gateway is needed or possible
    kind: str = ""  # IFLA_INFO_KIND: "veth", "bridge", ...; "" for hardware
    master: str = ""  # the bridge or bond that it is a port of
    mac: str = ""
    rx_bytes: int = field(default=0, compare=False)  # since the interface exists (IFLA_STATS64)
    tx_bytes: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Address:
    """An address on an interface, with its network."""

    device: str
    interface: IPInterface
    peer: IPAddress | None = None  # the other end of a point-to-point link, where one is set
    scope: str = "global"


@dataclass(frozen=True, slots=True, order=True)
class Nexthop:
    """One way out: a device, and a gateway unless the link is point-to-point."""

    device: str
    gateway: IPAddress | None = None
    weight: int = 1
    onlink: bool = False  # the gateway is outside the connected networks (a /32 lease)


@dataclass(frozen=True, slots=True)
class Route:
    """A route of any table. `kind` is the kernel's type: unicast, unreachable, prohibit, ..."""

    table: int
    destination: IPNetwork
    nexthops: tuple[Nexthop, ...] = ()
    kind: str = "unicast"
    metric: int = 0
    source: IPAddress | None = None  # prefsrc
    scope: str = "global"  # "link" for routes without a gateway
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule: `action` is "table" (look it up) or the kernel's unreachable, prohibit, blackhole."""

    priority: int
    family: int  # 4 or 6
    table: int = 0
    source: IPNetwork | None = None
    oif: str = ""
    iif: str = ""
    suppress_prefixlength: int | None = None
    protocol: int = 0
    action: str = "table"
    other: str = ""  # anything else a foreign rule matches on; netbond's own rules leave it empty


@dataclass(frozen=True, slots=True)
class Lease:
    """What a DHCP client was told, checked (netbond.leases); `received` is wall-clock seconds."""

    device: str
    source: str  # "dhclient", ...
    address: IPv4Interface
    routers: tuple[IPv4Address, ...] = ()
    received: float = 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that deciding looks at, read in one go."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    leases: tuple[Lease, ...] = ()
    learned: tuple[Lease, ...] = ()  # defaults once seen in main, in the form of a lease (uplinks.learned)


@dataclass(frozen=True, slots=True)
class Uplink:
    """An interface that leads out, with all that is needed to use it.

    `address` is the one that senders bind to. `state` is "up" (in the ECMP default and the address list),
    "no carrier" or "down"; `reason` says why it is not up. `gateway_source` is "configuration", "dhclient"
    (or another client), "main default", or "main default (gone)".
    """

    device: str
    address: IPInterface
    gateway: IPAddress | None  # None: point-to-point, the device alone is the way
    gateway_source: str
    table: int
    weight: int = 1
    state: str = "up"
    reason: str = ""
    addresses: tuple[Address, ...] = ()  # all of the interface's, `address` among them

    @property
    def usable(self) -> bool:
        """Whether new traffic should leave by it."""
        return self.state == "up"


@dataclass(frozen=True, slots=True)
class Desired:
    """What the kernel should hold of netbond's, routes and rules in the order in which they are added."""

    uplinks: tuple[Uplink, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    idle: tuple[str, ...] = ()  # interfaces that could be uplinks and are not, each "usb1: why"
