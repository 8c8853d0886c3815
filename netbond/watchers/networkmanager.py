"""Reads from NetworkManager what it knows of each interface, above all the gateway.

Parsing is a pure function of the objects on the bus. `NetworkManagerWatcher` keeps its result up to date.

The gateway of a connection with `never-default` is not in its Ip4Config, because NetworkManager installs no
default route for it. It is taken from the DHCP options, as the server gave it. People use that setting to
keep a modem's default out of main, so those are the connections that matter here.

While NetworkManager is away (an upgrade restarts it), it leaves its interfaces as they are. The watcher then
goes on giving what NetworkManager last said, marked `current=False`. A gateway counts only while the
interface holds the address that it came with, as for any lease (netbond.uplinks).

Source: the D-Bus reference at https://networkmanager.dev/docs/api/latest/ and, for the numbers,
NMDeviceState, NMMetered and NMConnectivityState in src/libnm-core-public/nm-dbus-interface.h.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from netbond.model import GatewayClaim
from netbond.status.schema import ManagedDevice
from netbond.watchers.bus import (
    RUNNING,
    Objects,
    Properties,
    Service,
    Watcher,
    device_name,
    mappings,
    text,
    whole,
)

NAME = "org.freedesktop.NetworkManager"
DEVICE = f"{NAME}.Device"
IP4 = f"{NAME}.IP4Config"
IP6 = f"{NAME}.IP6Config"
DHCP4 = f"{NAME}.DHCP4Config"
ACTIVE = f"{NAME}.Connection.Active"

MANAGER = "/org/freedesktop/NetworkManager"

SERVICE = Service(
    title="NetworkManager",
    name=NAME,
    root="/org/freedesktop",
    namespace="/org/freedesktop/NetworkManager",
    properties={
        NAME: frozenset({"Startup"}),
        DEVICE: frozenset(
            {
                "Interface",
                "IpInterface",
                "State",
                "Managed",
                "Metered",
                "Ip4Connectivity",
                "Ip6Connectivity",
                "Ip4Config",
                "Ip6Config",
                "Dhcp4Config",
                "ActiveConnection",
            }
        ),
        IP4: frozenset({"AddressData", "Gateway", "NameserverData"}),
        IP6: frozenset({"AddressData", "Gateway", "Nameservers"}),
        DHCP4: frozenset({"Options"}),
        ACTIVE: frozenset({"Id", "StateFlags"}),
    },
)

STATES = {
    0: "unknown",
    10: "unmanaged",
    20: "unavailable",
    30: "disconnected",
    40: "prepare",
    50: "config",
    60: "need-auth",
    70: "ip-config",
    80: "ip-check",
    90: "secondaries",
    100: "activated",
    110: "deactivating",
    120: "failed",
}
METERED = {0: "unknown", 1: "yes", 2: "no", 3: "guess-yes", 4: "guess-no"}
CONNECTIVITY = {0: "unknown", 1: "none", 2: "portal", 3: "limited", 4: "full"}

COSTS = frozenset({"yes", "guess-yes"})  # of METERED

# The states in which addresses and routes are in place. In the others, a gateway is not in use.
CONFIGURED = frozenset({"ip-check", "secondaries", "activated"})

# The states that lead to those.
UNDER_WAY = frozenset({"prepare", "config", "need-auth", "ip-config"})

EXTERNAL = 0x80  # NM_ACTIVATION_STATE_FLAG_EXTERNAL

MOST_ADDRESSES = 64  # of one kind and interface; more are a fault
ENDLESS_LEASE_S = 0xFFFFFFFF  # in DHCP this means for ever


@dataclass(frozen=True, slots=True)
class NMDevice:
    """An interface as NetworkManager sees it.

    `state` is one of STATES, `metered` of METERED, `connectivity` of CONNECTIVITY (the better of IPv4 and
    IPv6). `dhcp` says whether a DHCPv4 client runs, `lease_seconds` is the time of its lease, 0 if there is
    none or it never ends. `starting` is True until a started NetworkManager has gone through all interfaces
    once. `current` is False for what it said before it, or the bus, went away.
    """

    device: str
    state: str = "unknown"
    managed: bool = False
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    gateway4: IPv4Address | None = None
    gateway6: IPv6Address | None = None
    routers4: tuple[IPv4Address, ...] = ()  # of the DHCP server, besides gateway4
    dns: tuple[IPv4Address | IPv6Address, ...] = ()
    metered: str = "unknown"
    connectivity: str = "unknown"
    connection: str = ""  # the connection's name, as in `nmcli connection`
    dhcp: bool = False
    lease_seconds: int = 0
    external: bool = False  # another program configures it; NetworkManager only shows what the kernel has
    starting: bool = False
    current: bool = True


# --- reading objects --------------------------------------------------------------------------------------


def _address(value: object) -> IPv4Address | IPv6Address | None:
    """A unicast address other than loopback; None for anything else."""
    # ipaddress accepts numbers too, and a zone ("%eth0") that would get into commands.
    if not isinstance(value, str) or len(value) > 45 or "%" in value:
        return None
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    return None if address.is_multicast or address.is_unspecified or address.is_loopback else address


def _interfaces(value: object, version: int) -> Iterable[IPv4Interface | IPv6Interface]:
    """AddressData (aa{sv}): each "address" with its "prefix"."""
    for entry in mappings(value)[:MOST_ADDRESSES]:
        address, prefix = _address(entry.get("address")), whole(entry.get("prefix"))
        if address is None or address.version != version or prefix is None:
            continue
        if 1 <= prefix <= address.max_prefixlen:
            yield ipaddress.ip_interface((address, prefix))


def _gateways4(config: Properties, options: Properties) -> tuple[IPv4Address, ...]:
    """The gateway in use, and the routers of the DHCP server (for `never-default` alone, see above)."""
    routers = options.get("routers")
    values = (config.get("Gateway"), *(routers.split() if isinstance(routers, str) else ()))
    found = [address for address in map(_address, values) if isinstance(address, IPv4Address)]
    return tuple(dict.fromkeys(address for address in found if not address.is_reserved))


def _gateway6(config: Properties) -> IPv6Address | None:
    address = _address(config.get("Gateway"))
    return address if isinstance(address, IPv6Address) else None


def _dns(config4: Properties, config6: Properties) -> Iterable[IPv4Address | IPv6Address]:
    """IPv4 name servers from NameserverData (aa{sv}), IPv6 ones from Nameservers (aay)."""
    for entry in mappings(config4.get("NameserverData"))[:MOST_ADDRESSES]:
        address = _address(entry.get("address"))
        if address is not None:
            yield address
    raw = config6.get("Nameservers")
    for packed in raw[:MOST_ADDRESSES] if isinstance(raw, list) else ():
        if isinstance(packed, bytes) and len(packed) == 16:
            yield IPv6Address(packed)


def _lease_seconds(options: Properties) -> int:
    value = options.get("dhcp_lease_time")
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 10:
        return 0
    seconds = int(value)
    return seconds if seconds < ENDLESS_LEASE_S else 0


def parse_device(objects: Objects, path: str) -> NMDevice | None:
    """The device at `path`; None if it is no device, or has no interface (a modem that is not connected)."""

    def behind(key: str, interface: str) -> Properties:
        target = properties.get(key)
        return objects.get(target, {}).get(interface, {}) if isinstance(target, str) else {}

    properties = objects.get(path, {}).get(DEVICE, {})
    # Interface is the control port of a mobile broadband device; its network interface is in IpInterface.
    name = device_name(properties.get("IpInterface")) or device_name(properties.get("Interface"))
    if not name:
        return None
    config4, config6 = behind("Ip4Config", IP4), behind("Ip6Config", IP6)
    active = behind("ActiveConnection", ACTIVE)
    options = behind("Dhcp4Config", DHCP4).get("Options")
    options = options if isinstance(options, dict) else {}
    gateways4 = _gateways4(config4, options)
    reached = max(whole(properties.get(f"Ip{version}Connectivity")) or 0 for version in (4, 6))
    return NMDevice(
        device=name,
        state=STATES.get(whole(properties.get("State")) or 0, "unknown"),
        managed=properties.get("Managed") is True,
        addresses=(
            *_interfaces(config4.get("AddressData"), 4),
            *_interfaces(config6.get("AddressData"), 6),
        ),
        gateway4=next(iter(gateways4), None),
        gateway6=_gateway6(config6),
        routers4=gateways4[1:],
        dns=tuple(_dns(config4, config6)),
        metered=METERED.get(whole(properties.get("Metered")) or 0, "unknown"),
        connectivity=CONNECTIVITY.get(reached, "unknown"),
        connection=text(active.get("Id"), 64),
        dhcp=properties.get("Dhcp4Config") not in (None, "/"),
        lease_seconds=_lease_seconds(options),
        external=bool((whole(active.get("StateFlags")) or 0) & EXTERNAL),
        starting=objects.get(MANAGER, {}).get(NAME, {}).get("Startup") is True,
    )


def parse_devices(objects: Objects) -> tuple[NMDevice, ...]:
    """All devices, by name. Of two with the same interface, the one that NetworkManager manages counts."""
    found: dict[str, NMDevice] = {}
    for path in sorted(objects):
        device = parse_device(objects, path)
        if device is not None and not (device.device in found and found[device.device].managed):
            found[device.device] = device
    return tuple(found[name] for name in sorted(found))


# --- what others ask --------------------------------------------------------------------------------------


def configures(device: NMDevice) -> bool:
    """Whether NetworkManager has configured the interface: only then does its gateway count."""
    return device.managed and not device.external and device.state in CONFIGURED


def carried(device: NMDevice, before: NMDevice | None) -> NMDevice:
    """The device, with the gateway of its DHCP server kept if only the DHCP client has ended.

    A NetworkManager that ends stops the client first. The interface stays activated with the same address for
    a moment. With `never-default`, the gateway was in the client's options only.
    """
    if before is None or not before.dhcp or device.dhcp or device.gateway4 is not None:
        return device
    if not configures(device) or device.addresses != before.addresses:
        return device
    return replace(device, gateway4=before.gateway4, routers4=before.routers4, dhcp=True)


def claims(
    devices: Iterable[NMDevice], now_s: float, before: Iterable[GatewayClaim] = ()
) -> tuple[GatewayClaim, ...]:
    """The gateways of the addresses that NetworkManager has configured.

    `now_s` dates them, in seconds since boot. `before` is what this returned the last time. A
    NetworkManager that ends says of each interface that it is gone. One that starts takes each up again step
    by step, from unmanaged to disconnected and on. Both leave the address in place, so the gateway stays as
    well. An unplugged interface has no address any more. One that NetworkManager releases becomes
    disconnected or unmanaged while NetworkManager is not starting.
    """
    found = tuple(devices)
    fresh = tuple(
        GatewayClaim(
            device.device,
            SERVICE.title,
            address,
            way,
            now_s,
            standing=True,
            others=device.routers4 if address.version == 4 else (),
        )
        for device in found
        if configures(device)
        for address in device.addresses
        if not address.ip.is_link_local
        for way in (device.gateway4 if address.version == 4 else device.gateway6,)
        if way is not None
    )
    settled = {claim.device for claim in fresh}
    settled |= {device.device for device in found if not (device.starting or device.state in UNDER_WAY)}
    return (*fresh, *(claim for claim in before if claim.device not in settled))


def metered(devices: Iterable[NMDevice], before: Collection[str] = ()) -> frozenset[str]:
    """The interfaces on which data costs money, as NetworkManager says or guesses.

    `before` is what this returned the last time. A NetworkManager that starts does not know it of an
    interface until it has taken that up again, so what it said before holds until then.
    """
    found = tuple(devices)
    settled = {
        device.device
        for device in found
        if device.metered != "unknown" or not (device.starting or device.state in UNDER_WAY)
    }
    return frozenset({device.device for device in found if device.metered in COSTS} | (set(before) - settled))


def device_snapshot(device: NMDevice) -> ManagedDevice:
    """The device as `netbond status` shows it."""
    return ManagedDevice(
        state=device.state,
        managed=device.managed,
        addresses=tuple(map(str, device.addresses)),
        gateway4=None if device.gateway4 is None else str(device.gateway4),
        gateway6=None if device.gateway6 is None else str(device.gateway6),
        dns=tuple(map(str, device.dns)),
        metered=device.metered,
        connectivity=device.connectivity,
        connection=device.connection,
        lease_seconds=device.lease_seconds,
        external=device.external,
        current=device.current,
    )


# --- watching ---------------------------------------------------------------------------------------------


class NetworkManagerWatcher(Watcher[NMDevice]):
    """Keeps the facts of NetworkManager's devices."""

    def __init__(self, address: str | None = None) -> None:
        """`address`: of the bus; None for $DBUS_SYSTEM_BUS_ADDRESS or the usual place."""
        super().__init__(SERVICE, address)

    def _read(self) -> tuple[NMDevice, ...]:
        if self._follower.status == RUNNING:
            known = {device.device: device for device in self._facts}
            return tuple(
                carried(device, known.get(device.device)) for device in parse_devices(self._follower.objects)
            )
        return tuple(replace(device, current=False) for device in self._facts)
