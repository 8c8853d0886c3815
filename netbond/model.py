"""The nouns of routing: what a box has (facts), and what is written to its kernel (routes and rules).

Frozen dataclasses without behaviour beyond naming themselves; no I/O. Interfaces are named, not numbered: an
index means nothing to a reader, and one dump of the kernel resolves all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from netbond.dhcp.lease import Lease
from netbond.srtla.statistics import EngineStatistics

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

FACTS_VERSION = 1  # of Facts as the control socket carries them

# RT_TABLE_MAIN and RT_TABLE_LOCAL, include/uapi/linux/rtnetlink.h
MAIN_TABLE = 254
LOCAL_TABLE = 255


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
    tentative: bool = False  # IPv6: not proven to be unique yet, or proven not to be; cannot be used
    deprecated: bool = False  # IPv6: for connections that exist, not for new ones
    temporary: bool = False  # IPv6: a privacy address (RFC 8981), replaced after a day or so

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.interface.version


@dataclass(frozen=True, slots=True, order=True)
class Nexthop:
    """One way out: a device, and a gateway unless the link is point-to-point."""

    device: str
    gateway: IPAddress | None = None
    weight: int = 1
    onlink: bool = False  # the gateway is outside the connected networks (a /32 lease)
    dead: bool = field(default=False, compare=False)  # as read: the kernel passes it over (no carrier)


@dataclass(frozen=True, slots=True)
class Route:
    """A route of any table. `kind` is the kernel's type: unicast, unreachable, prohibit, ..."""

    table: int
    destination: IPNetwork
    nexthops: tuple[Nexthop, ...] = ()
    kind: str = "unicast"
    metric: int = 0
    source: IPAddress | None = None  # prefsrc
    scope: str = "global"  # "link" for routes without a gateway; IPv6 knows no other than "global"
    protocol: int = 0
    nexthop_id: int = 0  # the nexthop object or group that it uses; `nexthops` then tells what is in it

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.destination.version


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
    destination: IPNetwork | None = None
    mark: int = 0  # fwmark, with its mask
    mask: int = 0
    protocol: int = 0
    action: str = "table"
    other: str = ""  # anything else a foreign rule matches on; netbond's own rules leave it empty


@dataclass(frozen=True, slots=True)
class NexthopObject:
    """A way out that the kernel keeps under a number (`ip nexthop`, kernel 5.3 and later)."""

    id: int
    family: int  # 4 or 6
    device: str = ""
    gateway: IPAddress | None = None
    onlink: bool = False
    protocol: int = 0
    other: str = ""  # what a foreign one has besides; netbond's own leave it empty


@dataclass(frozen=True, slots=True)
class NexthopGroup:
    """Several nexthop objects that share traffic by weight. `members` are (id, weight), sorted."""

    id: int
    family: int  # 4 or 6; 0 as read: the kernel does not say
    members: tuple[tuple[int, int], ...] = ()
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class GatewayClaim:
    """What a source says of an address: by which gateway it leads out.

    It counts only while the interface holds the address; of several for one address the newest counts.
    `gateway` is None for a point-to-point link: the device alone is the way. `said_s` is when it was said, in
    seconds since boot, negative for an earlier boot. `standing`: the source is asked anew in each pass, so
    that `said_s` is no age. `ifindex` is the interface's number at that time, 0 if that is not known.
    """

    device: str
    source: str  # "dhclient", "NetworkManager", "main", ...
    address: IPInterface
    gateway: IPAddress | None
    said_s: float = 0.0
    ifindex: int = 0
    standing: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """What checks say of an uplink; `since` is seconds of the checker's clock."""

    device: str
    family: int
    state: str  # "up", "degraded", "down" or "unknown"
    reason: str = ""
    since: float = 0.0
    address: IPAddress | None = None  # the one that was checked; None: whatever it is


@dataclass(frozen=True, slots=True)
class Budget:
    """A spent data plan: the device's uplinks are for emergencies ("backup") or not used ("off")."""

    device: str
    action: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that deciding looks at, read in one go."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    leases: tuple[Lease, ...] = ()  # of DHCP clients, with and without routers
    claims: tuple[GatewayClaim, ...] = ()  # of who else configures interfaces
    devices: tuple[Device, ...] = ()  # the hardware of the links, as far as it is known
    remembered: tuple[GatewayClaim, ...] = ()  # defaults once seen in main (netbond.uplinks.remember)
    nexthops: tuple[NexthopObject | NexthopGroup, ...] | None = None  # None: the kernel knows none
    health: tuple[Health, ...] = ()
    alive: frozenset[tuple[str, IPAddress]] = frozenset()  # device and address of the uplinks used so far
    roaming: frozenset[str] = frozenset()  # devices whose modem is in a foreign network
    budgets: tuple[Budget, ...] = ()
    taken: tuple[Route, ...] = ()  # foreign defaults that netbond took out of main (take_over_default)
    resolved: tuple[tuple[str, tuple[IPAddress, ...]], ...] = ()  # host names of pins, as last resolved
    measured: tuple[tuple[str, int], ...] = ()  # for weight = "auto", by interface (sources.auto_weight)


class UplinkState(StrEnum):
    """Whether an uplink is used, and if not, why not."""

    UP = "up"  # in the ECMP default and the address list
    STANDBY = "standby"  # a backup, while others are up
    DEAD = "dead"  # its link is there and leads nowhere
    SPENT = "spent"  # its data plan is used up
    NO_CARRIER = "no carrier"
    DOWN = "down"  # the administrator's word


@dataclass(frozen=True, slots=True)
class IdleInterface:
    """An interface, or the `match` of an [[uplink]], that could be an uplink and is not, and why.

    Its text is "usb1: enabled = false"; without a name, the reason alone.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.name else self.reason

    @classmethod
    def from_text(cls, text: str) -> IdleInterface:
        """What str() has written."""
        name, colon, reason = text.partition(": ")
        return cls(name, reason) if colon else cls("", text)


@dataclass(frozen=True, slots=True)
class Uplink:
    """A way out: an interface, a family, a gateway, with all that is needed to use it.

    `address` is the one that senders bind to; `reason` says why the state is not "up". `gateway_source` is
    "configuration", "dhclient" (or another client), "main default", or "main default (gone)". `name` is the
    device's, its label, or "eth0+10.1.0.1" for each further gateway on it; both families of a name share a
    table. `gateway_since` is when the lease with the gateway came or was renewed, in seconds since boot; a
    renewal makes no other uplink. `disputed` are other gateways that sources name for it, each with its
    source.
    """

    device: str
    address: IPInterface
    gateway: IPAddress | None  # None: point-to-point, the device alone is the way
    gateway_source: str
    table: int
    weight: int = 1
    state: UplinkState = UplinkState.UP
    reason: str = ""
    addresses: tuple[Address, ...] = ()  # those whose traffic is bound to this way, `address` among them
    label: str = ""  # `name`, where it is not the device's: configured, or of a further gateway
    further: bool = False  # not the first gateway of its device and family
    listed: bool | None = None  # in the address list; None: if it is up
    gateway_since: float | None = field(default=None, compare=False)  # None: from no lease
    disputed: tuple[tuple[str, IPAddress], ...] = field(default=(), compare=False)
    priority: int = 0  # SRTLA streams use links of a higher one first
    streams: bool = True  # False: SRTLA streams keep a link over it, but do not use it

    @property
    def name(self) -> str:
        """What people and links call it."""
        return self.label or self.device

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.address.version

    @property
    def usable(self) -> bool:
        """Whether new traffic should leave by it."""
        return self.state == UplinkState.UP

    @property
    def leads_out(self) -> bool:
        """Whether traffic that is bound to it gets through: it is in use, or a backup that waits."""
        return self.usable or self.state == UplinkState.STANDBY

    @property
    def in_list(self) -> bool:
        """Whether senders are told of it."""
        return self.usable if self.listed is None else self.listed


@dataclass(frozen=True, slots=True)
class Device:
    """The hardware of an interface, as udev and sysfs tell it; "" for what is not known.

    `path` is the port (ID_PATH: "pci-0000:00:14.0-usb-0:1.2:1.0"). `vendor` and `model` are the numbers of
    the bus ("12d1", "14db"), `vendor_name` and `model_name` are for people. `bus` is "usb", "pci", ...
    """

    name: str
    path: str = ""
    vendor: str = ""
    model: str = ""
    vendor_name: str = ""
    model_name: str = ""
    serial: str = ""
    driver: str = ""
    mac: str = ""
    bus: str = ""


@dataclass(frozen=True, slots=True)
class EngineState:
    """An engine as status shows it."""

    name: str
    role: str  # "sender" or "receiver"
    state: str  # "starting", "running", "backing off", or "failed": not to be mended by a restart
    pid: int | None = None
    restarts: int = 0
    reason: str = ""  # why it is not running, or not as it should
    last_exit: str = ""  # how its last process ended
    stats: EngineStatistics | None = None  # the engine's own, as it last gave them


@dataclass(frozen=True, slots=True)
class Rate:
    """What an interface carries, in bits per second."""

    rx_bps: float = 0.0
    tx_bps: float = 0.0
