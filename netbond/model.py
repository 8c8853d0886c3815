"""Defines the types of routing: facts about the box, and the routes and rules of its kernel. Pure.

They are frozen dataclasses with almost no behaviour, and do no I/O. They identify interfaces by name, not by
index: people cannot read an index, and one dump of the kernel's links resolves all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from netbond.dhcp.lease import Lease
from netbond.srtla.statistics import EngineStatistics
from netbond.system.hashed_once import HashedOnce, hashed_once

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

# Attributes of a route's path (RTAX_* from 1 on), as ip-route(8) names them. "lock" has a bit for each that
# is locked, 1 << its number. Each is a number in the kernel's unit, but for the congestion control's name.
PATH_ATTRIBUTES = (
    *("lock", "mtu", "window", "rtt", "rttvar", "ssthresh", "cwnd", "advmss", "reordering", "hoplimit"),
    *("initcwnd", "features", "rto_min", "initrwnd", "quickack", "congctl", "fastopen_no_cookie"),
)
PathAttributes = tuple[tuple[str, int | str], ...]  # (("mtu", 1430), ("congctl", "bbr")), in this order

FACTS_VERSION = 2  # the version of Facts in answers on the control socket

# RT_TABLE_DEFAULT, RT_TABLE_MAIN and RT_TABLE_LOCAL, include/uapi/linux/rtnetlink.h
DEFAULT_TABLE = 253
MAIN_TABLE = 254
LOCAL_TABLE = 255

# Of a resilient group: enough buckets for weights of 255 to 1, and the kernel's own idle time.
GROUP_BUCKETS = 1024
GROUP_IDLE_S = 120

# In Facts.forwarding an interface stands for itself in IPv4. IPv6 has one switch for all of them.
FORWARDS_ALL = "all"

# Kinds of routes, and actions of rules, that end a lookup without a way.
REFUSALS = frozenset({"unreachable", "prohibit", "blackhole"})


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface as the kernel reports it."""

    name: str
    index: int
    up: bool = True  # IFF_UP: it is set up administratively
    carrier: bool = True  # IFF_LOWER_UP: a cable, a radio link or a peer is connected
    loopback: bool = False
    point_to_point: bool = False  # IFF_POINTOPOINT
    no_arp: bool = False  # IFF_NOARP: packets have no hardware address, as on raw-IP modems
    mtu: int = 0  # bytes; 0: unknown
    kind: str = ""  # IFLA_INFO_KIND: "veth", "bridge", ...; "" for hardware
    master: str = ""  # the bridge or bond that it is a port of, or the VRF that it is in
    vrf_table: int = 0  # of a VRF: its routing table
    mac: str = ""
    rx_bytes: int = field(default=0, compare=False)  # since the interface was created (IFLA_STATS64)
    tx_bytes: int = field(default=0, compare=False)

    @property
    def needs_gateway(self) -> bool:
        """Whether a default over it must name a gateway. Else all packets reach the same other end."""
        return not (self.point_to_point or self.no_arp)


@dataclass(frozen=True, slots=True)
class Address:
    """An address on an interface, with its network."""

    device: str
    interface: IPInterface
    peer: IPAddress | None = None  # the other end of a point-to-point link, if one is set
    scope: str = "global"
    tentative: bool = False  # IPv6: duplicate address detection is not finished, or has failed; unusable
    deprecated: bool = False  # IPv6: existing connections may use it, new ones should not
    temporary: bool = False  # IPv6: a privacy address (RFC 8981), replaced after a day or so
    dynamic: bool = False  # a DHCP server or a router gave it; False for what is static, or delegated (IPv6)

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.interface.version


@dataclass(frozen=True, slots=True, order=True)
class Nexthop:
    """A next hop of a route: a device, and a gateway unless the link is point-to-point."""

    device: str
    gateway: IPAddress | None = None
    weight: int = 1
    onlink: bool = False  # the gateway is outside the connected networks (a /32 lease)
    dead: bool = field(default=False, compare=False)  # as read: the kernel skips it (no carrier)


@hashed_once
@dataclass(frozen=True, slots=True)
class Route(HashedOnce):
    """A route in any table. `kind` is the kernel's type: unicast, unreachable, prohibit, ...

    `expires_s` is how long a router's advertisement still holds, as it was read (IPv6); None: for ever.
    `preference` is the advertised one (RFC 4191): 1 high, 0 medium, -1 low.
    """

    table: int
    destination: IPNetwork
    nexthops: tuple[Nexthop, ...] = ()
    kind: str = "unicast"
    metric: int = 0
    source: IPAddress | None = None  # prefsrc
    scope: str = "global"  # "link" for routes without a gateway; IPv6 routes always have "global"
    protocol: int = 0
    nexthop_id: int = 0  # the nexthop object or group that it uses; `nexthops` then has its content
    attributes: PathAttributes = ()
    expires_s: float | None = field(default=None, compare=False)
    other: str = ""  # what else a foreign route matches on or does, as "tos 16"; "" in netbond's own
    preference: int = field(default=0, compare=False)

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.destination.version


@hashed_once
@dataclass(frozen=True, slots=True)
class Rule(HashedOnce):
    """A policy rule. `action` is "table" (look up this table), or the kernel's unreachable, prohibit, ..."""

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
    # Other selectors, as "uidrange 0-0, ipproto 17, dport 443-443, dscp 46", and "goto N" of a goto.
    other: str = ""


@hashed_once
@dataclass(frozen=True, slots=True)
class NexthopObject(HashedOnce):
    """A nexthop object of the kernel, which has a number (`ip nexthop`, kernel 5.3 and later)."""

    id: int
    family: int  # 4 or 6: that of its gateway, if it has one
    device: str = ""
    gateway: IPAddress | None = None
    onlink: bool = False
    protocol: int = 0
    other: str = ""  # other attributes of a foreign one; "" in netbond's own


@hashed_once
@dataclass(frozen=True, slots=True)
class NexthopGroup(HashedOnce):
    """Several nexthop objects that share traffic by weight. `members` are (id, weight), sorted.

    The kernel does not turn a group into a `resilient` one, nor back.
    """

    id: int
    family: int  # 4 or 6; 0 as read, because the kernel does not report it
    members: tuple[tuple[int, int], ...] = ()
    protocol: int = 0
    resilient: bool = False  # busy flows stay on their member when others come and go


@dataclass(frozen=True, slots=True)
class GatewayClaim:
    """What a source reports as the gateway of an address.

    A claim is valid only while the interface has the address. If several claims name a gateway for one
    address, the newest wins. `gateway` is None on a point-to-point link, where routes need only the device.
    `said_s` is the time of the claim in seconds since boot; it is negative for an earlier boot. `standing`
    means that the source is asked again in each pass, so `said_s` says nothing about the claim's age.
    `ifindex` is the interface's index at that time, or 0 if it is unknown.
    """

    device: str
    source: str  # "dhclient", "NetworkManager", "main", ...
    address: IPInterface
    gateway: IPAddress | None
    said_s: float = 0.0
    ifindex: int = 0
    standing: bool = False
    attributes: PathAttributes = ()  # of the default that was seen in main
    others: tuple[IPAddress, ...] = ()  # further gateways, for when `gateway` does not work, in order


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict of the health checks on an uplink. `since` is in seconds of the checker's clock."""

    device: str
    family: int
    state: str  # "up", "degraded", "suspect", "down" or "unknown"
    reason: str = ""
    since: float = 0.0
    address: IPAddress | None = None  # the address that was checked; None: any
    gateway: IPAddress | None = None  # the gateway that was checked; None: any
    answers: bool = True  # False: the gateway itself does not answer, whatever is behind it
    poor: bool = False  # degraded by loss or delay


@dataclass(frozen=True, slots=True)
class GatewayChoice:
    """One of several gateways of an uplink, and what its checks say (netbond.gateways)."""

    gateway: IPAddress | None
    source: str  # as in Uplink.gateway_source
    since_s: float | None = None  # as in Uplink.gateway_since
    state: str = "unknown"  # as in Health
    reason: str = ""
    answers: bool = True  # as in Health


@dataclass(frozen=True, slots=True)
class SpentDataPlan:
    """A spent data plan. `action`: use the device's uplinks only as a backup ("backup"), or never ("off")."""

    device: str
    action: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Override:
    """What a person has set of an uplink: it is stronger than the configuration (netbond.overrides)."""

    uplink: str  # its name
    mode: str = ""  # "normal", "backup" or "off"; "": as configured
    weight: int | None = None  # None: as configured, as the next
    priority: int | None = None
    by: str = ""  # who has set the mode


@dataclass(frozen=True, slots=True, order=True)
class Leg:
    """What an uplink is as a leg of the shared default: if one of these changes, it is another leg."""

    family: int  # 4 or 6
    table: int  # of its uplink
    device: str
    gateway: str  # "" if it has none
    weight: int  # as configured


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the decisions of one pass depend on, besides the configuration."""

    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    leases: tuple[Lease, ...] = ()  # of DHCP clients, with and without routers
    claims: tuple[GatewayClaim, ...] = ()  # of other programs that configure interfaces
    devices: tuple[Device, ...] = ()  # the hardware of the links, as far as it is known
    remembered: tuple[GatewayClaim, ...] = ()  # defaults seen in main before (netbond.uplinks.remember)
    nexthops: tuple[NexthopObject | NexthopGroup, ...] | None = None  # None: the kernel does not support them
    health: tuple[Health, ...] = ()
    alive: frozenset[tuple[str, IPAddress]] = frozenset()  # device and address of the uplinks used so far
    roaming: frozenset[str] = frozenset()  # devices whose modem is roaming
    metered: frozenset[str] = frozenset()  # devices on which data costs money, as NetworkManager says
    spent_plans: tuple[SpentDataPlan, ...] = ()
    overrides: tuple[Override, ...] = ()  # what people have set, one for each uplink
    taken: tuple[Route, ...] = ()  # foreign defaults that netbond took out of main (take_over_default)
    resolved: tuple[tuple[str, tuple[IPAddress, ...]], ...] = ()  # host names with their addresses
    users: tuple[tuple[str, int], ...] = ()  # of policies: their names with their numbers
    overflowing: frozenset[str] = frozenset()  # policies whose best tier carries too much (sources.overflow)
    dscp_rules: bool = False  # whether rules of this kernel can ask for a DSCP (6.13 and later)
    left_out: frozenset[Leg] = frozenset()  # of the shared default, because the kernel refuses them
    measured: tuple[tuple[str, int], ...] = ()  # for weight = "auto", by interface (sources.auto_weight)
    forwarding: frozenset[tuple[str, int]] = frozenset()  # whose packets the box forwards: see FORWARDS_ALL
    resilient_groups: bool = False  # whether the kernel has them (5.13 and later)
    nft: bool | None = None  # whether netbond can have a table of nftables; None: nobody has looked


class UplinkState(StrEnum):
    """Whether an uplink is used, and if not, why not."""

    UP = "up"  # in the ECMP default and the address list, if its device is in no VRF
    STANDBY = "standby"  # a backup that is not needed, because another uplink is up
    DEGRADED = "degraded"  # it loses or delays too much, and another uplink does not (check_quality)
    DEAD = "dead"  # its link has carrier, but its health checks fail
    SPENT = "spent"  # its data plan is used up
    OFF = "off"  # a person has set it off
    NO_CARRIER = "no carrier"
    DOWN = "down"  # it is set down administratively


@dataclass(frozen=True, slots=True)
class IdleInterface:
    """An interface, or the `match` of an [[uplink]], that could be an uplink but is not, and the reason.

    str() gives "usb1: enabled = false", or the reason alone if there is no name. `label` is what the uplink
    is called while it is there; from_text() does not know it.
    """

    name: str
    reason: str
    label: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.name else self.reason

    @classmethod
    def from_text(cls, text: str) -> IdleInterface:
        """Read what str() has written."""
        name, colon, reason = text.partition(": ")
        return cls(name, reason) if colon else cls("", text)


@dataclass(frozen=True, slots=True)
class Uplink:
    """An uplink: an interface, an address family and a gateway, with all that is needed to use them.

    `address` is the address that senders bind to. `reason` says why the state is not "up". `gateway_source`
    is "configuration", "dhclient" (or another client), "main default", or "main default (gone)". `name` is
    the device's name, its label, or "eth0+10.1.0.1" for each further gateway on it. Both families of one name
    share a table. `gateway_since` is when the lease with the gateway came or was renewed, in seconds since
    boot; a renewal does not make it another uplink. `disputed` are the other gateways that sources name for
    it, each with its source. `attributes` are those of main's default. If it has several
    gateways, `gateways` are all of them, and `gateway` is the one in use.
    """

    device: str
    address: IPInterface
    gateway: IPAddress | None  # None: point-to-point, routes need only the device
    gateway_source: str
    table: int
    weight: int = 1
    state: UplinkState = UplinkState.UP
    reason: str = ""
    addresses: tuple[Address, ...] = ()  # those whose traffic uses this gateway; includes `address`
    label: str = ""  # `name` if that differs from the device's: configured, or of a further gateway
    further: bool = False  # it has not the first gateway of its device and family
    listed: bool | None = None  # whether it is in the address list; None: if it is up or degraded
    gateway_since: float | None = field(default=None, compare=False)  # None: not from a lease
    disputed: tuple[tuple[str, IPAddress], ...] = field(default=(), compare=False)
    priority: int = 0  # SRTLA streams use links of a higher one first
    mode: str = "normal"  # "normal", "backup", or "off", which only people set
    set_by: str = ""  # who has set the mode; "": it is that of the configuration
    streams: bool = True  # False: SRTLA streams keep a link over it, but send no data on it
    metered: bool = False  # its data costs money: SRTLA senders do not probe for more capacity on it
    mtu: int = field(default=0, compare=False)  # of the device
    attributes: PathAttributes = field(default=(), compare=False)
    needs_gateway: bool = field(default=True, compare=False)  # as in Interface, of its device
    vrf: str = ""  # the VRF that its device is in: only what is bound to the device can use it
    gateways: tuple[GatewayChoice, ...] = field(default=(), compare=False)  # the best first; (): one

    @property
    def name(self) -> str:
        """The name by which people and SRTLA links know it."""
        return self.label or self.device

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.address.version

    @property
    def usable(self) -> bool:
        """Whether new unbound traffic may use it."""
        return self.state == UplinkState.UP and not self.vrf

    @property
    def works(self) -> bool:
        """Whether traffic that is bound to its device gets through: in use, a backup, or degraded."""
        return self.state in (UplinkState.UP, UplinkState.STANDBY, UplinkState.DEGRADED)

    @property
    def leads_out(self) -> bool:
        """Whether other traffic gets through, too, if it is led to it."""
        return self.works and not self.vrf

    @property
    def in_list(self) -> bool:
        """Whether it belongs in the address list for senders."""
        if self.listed is None:
            return self.state in (UplinkState.UP, UplinkState.DEGRADED)
        return self.listed


@dataclass(frozen=True, slots=True)
class Withheld:
    """Addresses of one family, on an interface that is no uplink for it now (netbond.withheld).

    What is bound to them leaves by `device`, or if not `leaves_by_device`, not at all.
    """

    device: str
    name: str  # its label, or the device's name
    family: int  # 4 or 6
    table: int
    addresses: tuple[Address, ...]
    leaves_by_device: bool = False
    gateway: IPAddress | None = None  # None: it needs none
    onlink: bool = False  # the gateway is outside every connected network
    attributes: PathAttributes = ()  # those of main's default


@dataclass(frozen=True, slots=True)
class Device:
    """The hardware of an interface, as udev and sysfs report it; "" where something is unknown.

    `path` is the port (ID_PATH: "pci-0000:00:14.0-usb-0:1.2:1.0"). `vendor` and `model` are the bus's ids
    ("12d1", "14db"); `vendor_name` and `model_name` are for people. `bus` is "usb", "pci", ...
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
    state: str  # "starting", "running", "backing off", or "failed" (a restart would not help)
    pid: int | None = None
    restarts: int = 0
    hung: int = 0  # how often a process of it was ended because it hung
    reason: str = ""  # why it is not running, or not working properly
    last_exit: str = ""  # how its last process ended
    stats: EngineStatistics | None = None  # the engine's own, as it last gave them
    restarted_s: float | None = None  # since it was last started again; None: never


@dataclass(frozen=True, slots=True)
class Rate:
    """The traffic of an interface, in bits per second."""

    rx_bps: float = 0.0
    tx_bps: float = 0.0
