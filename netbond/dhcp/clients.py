"""Parses and checks what DHCP clients say in the environment of their hooks. netbond.dhcp.store keeps it.

A DHCP server is untrusted, and its values pass through a shell script run by root on the way here. So each
value is checked as if it came from the network. An error names it in one line.

Quick to import (a DHCP client waits for it): only light modules of the standard library.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from netbond.dhcp.lease import TYPE_CHECKING, Changed, Lease, Released
from netbond.errors import NetbondError
from netbond.system.text import counted, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netbond.dhcp.lease import News

# dhclient-script(8) says what each reason means. PREINIT comes once, when the client starts: an earlier
# client may have left a lease that is still good, and BOUND, REBOOT, TIMEOUT or FAIL follows and says so.
# NBI names no interface; MEDIUM, ARPCHECK and ARPSEND ask the script for something and tell nothing.
DHCLIENT_LEASED = frozenset({"BOUND", "RENEW", "REBIND", "REBOOT", "TIMEOUT"})
DHCLIENT_RELEASED = frozenset({"EXPIRE", "FAIL", "RELEASE", "STOP", "V6ONLY"})
# DHCPv6 never names a gateway: that comes in router advertisements, and the kernel knows it. So news of IPv6
# is a reason to look, and there is nothing to keep.
DHCLIENT_CHANGED = frozenset({"BOUND6", "RENEW6", "REBIND6", "DEPREF6", "EXPIRE6", "RELEASE6", "STOP6"})

# dhcpcd-run-hooks(8). STATIC is an address from dhcpcd.conf; TIMEOUT an old lease that dhcpcd put to use.
# PREINIT, CARRIER, NOCARRIER and the like tell what the kernel tells too, IPV4LL names no router, 3RDPARTY,
# TEST and DUMP tell nothing.
DHCPCD_LEASED = frozenset({"BOUND", "RENEW", "REBIND", "REBOOT", "INFORM", "STATIC", "TIMEOUT"})
DHCPCD_RELEASED = frozenset({"EXPIRE", "FAIL", "NAK", "RELEASE", "STOP", "STOPPED", "DEPARTED"})
DHCPCD_CHANGED = frozenset(
    {"BOUND6", "RENEW6", "REBIND6", "REBOOT6", "INFORM6", "STATIC6", "DELEGATED6", "TIMEOUT6"}
    | {"EXPIRE6", "RELEASE6", "STOP6", "ROUTERADVERT"}
)

# busybox, networking/udhcp/dhcpc.c. "deconfig" comes at the start and whenever a lease is lost.
UDHCPC_LEASED = frozenset({"bound", "renew"})
UDHCPC_RELEASED = frozenset({"deconfig", "leasefail", "nak"})

# NetworkManager-dispatcher(8). "down" comes after the interface was taken down.
NETWORKMANAGER_LEASED = frozenset({"up", "dhcp4-change", "reapply"})
NETWORKMANAGER_RELEASED = frozenset({"down"})

IFNAMSIZ = 16  # include/uapi/linux/if.h; with the ending NUL
LONGEST_VALUE = 2048  # characters; a DHCP option holds 255 bytes, several of one code are joined


class LeaseError(NetbondError, ValueError):
    """A value in a DHCP client's environment, or in a file of the store, is invalid."""


# --- checking values ---------------------------------------------------------------------------------------


def check_device(name: str) -> str:
    """`name` if the kernel allows it as an interface's name (dev_valid_name in net/core/dev.c).

    LeaseError otherwise. So a path never passes.
    """
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:
        raise LeaseError(f"interface {quoted(name)} is not a name that an interface can have") from None
    # The kernel's isspace() knows 0xA0 besides ASCII's. NUL ends a name for the kernel, but not for Python.
    bad = any(c in b" \t\n\v\f\r\xa0/:\0" for c in raw)
    if not raw or len(raw) >= IFNAMSIZ or name in (".", "..") or bad:
        raise LeaseError(f"interface {quoted(name)} is not a name that an interface can have")
    return name


def _address(value: str, what: str) -> IPv4Address:
    try:
        return IPv4Address(value)
    except ValueError:
        raise LeaseError(f"{what} {quoted(value)} is not an IPv4 address") from None


def check_interface(address: str, mask: str, what: str) -> IPv4Interface:
    """Address and mask (dotted, or a length), as an address that a host can have."""
    ip = _address(address, what)
    try:
        interface = IPv4Interface(f"{ip}/{mask}") if mask else IPv4Interface(ip)
    except ValueError:
        raise LeaseError(f"{what} {ip} has the subnet mask {quoted(mask)}, which is none") from None
    # ipaddress reads 0.0.0.255 as a host mask; DHCP knows net masks only.
    if "." in mask and str(interface.netmask) != mask:
        raise LeaseError(f"{what} {ip} has the subnet mask {quoted(mask)}, which is none")
    if interface.network.prefixlen == 0:
        raise LeaseError(f"{what} {ip} has the subnet mask {quoted(mask)}, which leaves no other network")
    if not _unicast(ip) or ip in _ends(interface):
        raise LeaseError(f"{what} {interface} is not an address that a host can have")
    return interface


def _unicast(ip: IPv4Address) -> bool:
    # 0.0.0.0/8 "this network", 127.0.0.0/8 loopback, 224.0.0.0/4 multicast, 240.0.0.0/4 reserved, broadcast
    return 1 <= int(ip) >> 24 < 224 and int(ip) >> 24 != 127


def _ends(interface: IPv4Interface) -> tuple[IPv4Address, ...]:
    """The network's own address and its broadcast address, where it has them (RFC 3021: /31 has none)."""
    network = interface.network
    return (network.network_address, network.broadcast_address) if network.prefixlen < 31 else ()


def _routers(values: Sequence[str], interface: IPv4Interface) -> tuple[IPv4Address, ...]:
    """The usable routers, in the order given, each once. LeaseError for what is no address.

    An address that cannot be a router (0.0.0.0, this box's own, a broadcast) is left out. Real servers send
    such, and one of them would make the kernel refuse the ECMP default of all uplinks. A router outside the
    network stays: a /32 lease has no other, and it is reached on-link.
    """
    found: list[IPv4Address] = []
    for value in values:
        router = _address(value, "router")
        if _unicast(router) and router != interface.ip and router not in (*found, *_ends(interface)):
            found.append(router)
    return tuple(found)


def checked(
    device: str, source: str, interface: IPv4Interface, routers: Sequence[str], received: float
) -> Lease:
    """The lease, with its device and routers checked; LeaseError if one is invalid."""
    return Lease(check_device(device), source, interface, _routers(routers, interface), received)


def _value(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if len(value) > LONGEST_VALUE:
        raise LeaseError(f"{name} {quoted(value)} has {len(value)} characters")
    return value


# --- what the clients say ----------------------------------------------------------------------------------


def parse_dhclient(environ: Mapping[str, str], now: float) -> News | None:
    """What ISC dhclient told its script: `environ` as in dhclient-script(8), `now` in seconds since boot.

    None if it says nothing: PREINIT, and any reason unknown here. The lease of a TIMEOUT may be useless: the
    caller checks that the script left the address on the interface. LeaseError if a value is invalid.
    """
    reason = environ.get("reason", "")
    if reason in DHCLIENT_CHANGED:
        return Changed(check_device(_value(environ, "interface")), "dhclient")
    if reason in DHCLIENT_RELEASED:
        return _released(environ, "dhclient")
    if reason not in DHCLIENT_LEASED:
        return None
    classless = _value(environ, "new_rfc3442_classless_static_routes")
    # RFC 3442: a client that gets classless routes ignores the routers, even when no default is among them.
    routers = _classless_default(classless) if classless else _value(environ, "new_routers").split()
    return _leased(environ, "dhclient", _value(environ, "new_subnet_mask"), routers, now)


def parse_dhcpcd(environ: Mapping[str, str], now: float) -> News | None:
    """What dhcpcd told its hooks: `environ` as in dhcpcd-run-hooks(8), `now` in seconds since boot.

    None if it says nothing, LeaseError if a value is invalid.
    """
    reason = environ.get("reason", "")
    if reason in DHCPCD_CHANGED:
        return Changed(check_device(_value(environ, "interface")), "dhcpcd")
    if reason in DHCPCD_RELEASED:
        return _released(environ, "dhcpcd")
    if reason not in DHCPCD_LEASED:
        return None
    routers = _value(environ, "new_routers").split()
    for name in ("new_classless_static_routes", "new_ms_classless_static_routes"):  # options 121 and 249
        if routes := _value(environ, name):
            routers = _default_of_pairs(routes, name)
            break
    mask = _value(environ, "new_subnet_mask") or _value(environ, "new_subnet_cidr")
    return _leased(environ, "dhcpcd", mask, routers, now)


def parse_udhcpc(event: str, environ: Mapping[str, str], now: float) -> News | None:
    """What busybox udhcpc (or udhcpc6) told its script: `event` is the script's argument.

    `now` is seconds since boot. None if it says nothing, LeaseError if a value is invalid.
    """
    if event not in UDHCPC_LEASED | UDHCPC_RELEASED:
        return None
    device = check_device(_value(environ, "interface"))
    if event in UDHCPC_RELEASED:
        return Released(device, "udhcpc")  # the environment does not say which lease it was
    if "ip" not in environ and "ipv6" in environ:
        return Changed(device, "udhcpc")
    routers = _value(environ, "router").split()
    for name in ("staticroutes", "msstaticroutes"):  # options 121 and 249
        if routes := _value(environ, name):
            routers = _default_of_pairs(routes, name)
            break
    mask = _value(environ, "subnet") or _value(environ, "mask")
    return checked(device, "udhcpc", check_interface(_value(environ, "ip"), mask, "ip"), routers, now)


def _leased(environ: Mapping[str, str], source: str, mask: str, routers: Sequence[str], now: float) -> Lease:
    """The new lease in the names that dhclient and dhcpcd share."""
    device = check_device(_value(environ, "interface"))
    interface = check_interface(_value(environ, "new_ip_address"), mask, "new_ip_address")
    return checked(device, source, interface, routers, now)


def _released(environ: Mapping[str, str], source: str) -> Released:
    """The old lease in the names that dhclient and dhcpcd share: EXPIRE names it, FAIL often names none."""
    device = check_device(_value(environ, "interface"))
    old = _value(environ, "old_ip_address")
    return Released(device, source, _address(old, "old_ip_address") if old else None)


def _default_of_pairs(value: str, name: str) -> list[str]:
    """The gateways of the default routes in "10.0.0.0/8 10.0.0.7 0.0.0.0/0 10.0.0.1 ..."."""
    words = value.split()
    if len(words) % 2:
        raise LeaseError(f"{name} {quoted(value)} is not a list of routes")
    gateways: list[str] = []
    for destination, gateway in zip(words[::2], words[1::2], strict=True):
        try:
            network = IPv4Network(destination, strict=False)
            IPv4Address(gateway)
        except ValueError:
            raise LeaseError(f"{name} {quoted(value)} is not a list of routes") from None
        if network.prefixlen == 0:
            gateways.append(gateway)
    return gateways


def _classless_default(value: str) -> list[str]:
    """The gateways of the default routes in option 121, as dhclient writes it: "24 10 1 2 10 0 0 1 0 ...".

    Each route is a prefix length, as many octets of the destination as that needs, and four of the gateway.
    """
    expected = f"new_rfc3442_classless_static_routes {quoted(value)} is not a list of routes"
    words = value.split()
    if not all(word.isascii() and word.isdigit() and len(word) <= 3 and int(word) <= 255 for word in words):
        raise LeaseError(expected)
    gateways: list[str] = []
    position = 0
    while position < len(words):
        length = int(words[position])
        gateway = position + 1 + (length + 7) // 8
        position = gateway + 4
        if length > 32 or position > len(words):
            raise LeaseError(expected)
        if length == 0:
            gateways.append(".".join(str(int(word)) for word in words[gateway:position]))
    return gateways


def parse_networkmanager(
    argv: Sequence[str], environ: Mapping[str, str], now: float
) -> Lease | Released | None:
    """What NetworkManager told a dispatcher script: `argv` is [interface, action], `now` seconds since boot.

    Connections without DHCP count too: a modem's address comes from its bearer. None for other actions, for
    VPNs, and for an interface without an IPv4 address. LeaseError if a value is invalid.
    """
    if len(argv) != 2:
        raise LeaseError(f"expected an interface and an action, not {counted(len(argv), 'word')}")
    name, action = argv
    if action not in NETWORKMANAGER_LEASED | NETWORKMANAGER_RELEASED:
        return None
    if environ.get("CONNECTION_EXTERNAL") == "1":
        return None  # another client configures the interface, and that one has its own hook
    # A modem's control device (cdc-wdm0, ttyUSB2) is not the interface that carries its packets.
    device = check_device(_value(environ, "DEVICE_IP_IFACE") or name)
    if action in NETWORKMANAGER_RELEASED:
        return Released(device, "networkmanager")
    address, mask = _value(environ, "DHCP4_IP_ADDRESS"), _value(environ, "DHCP4_SUBNET_MASK")
    if not address:
        words = _value(environ, "IP4_ADDRESS_0").split()  # "ADDRESS/LENGTH GATEWAY"
        if not words:
            return None
        address, _, mask = words[0].partition("/")
    interface = check_interface(address, mask, "address")
    # IP4_GATEWAY is what NetworkManager itself uses, classless routes and settings considered. It is missing
    # where the connection may not have the default route in main; the uplink has a gateway all the same.
    routers = [*_value(environ, "IP4_GATEWAY").split(), *_value(environ, "DHCP4_ROUTERS").split()]
    return checked(device, "networkmanager", interface, routers, now)


def parse_networkd(text: str, device: str, received: float) -> Lease:
    """A lease file of systemd-networkd (/run/systemd/netif/leases/INDEX); `received` is seconds since boot.

    LeaseError if a value is invalid. Other lines and keys are ignored.
    """
    values = dict(line.partition("=")[::2] for line in text.splitlines() if not line.startswith("#"))
    routers = _value(values, "ROUTER").split()
    for name in ("CLASSLESS_ROUTES", "ROUTES"):  # since 252; before it, together with option 33
        if routes := _value(values, name):
            # "10.0.0.0/8,10.0.0.7 0.0.0.0/0,10.0.0.1"
            routers = _default_of_pairs(routes.replace(",", " "), name)
            break
    interface = check_interface(_value(values, "ADDRESS"), _value(values, "NETMASK"), "ADDRESS")
    return checked(device, "networkd", interface, routers, received)
