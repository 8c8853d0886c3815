"""DHCP leases: what a client says in its environment, checked, and the store that keeps it in `state_dir`.

The hook process writes the store itself and only then tells the agent: a lease is never lost, whether or not
an agent runs. One JSON file per device; the newest word on a device counts, whichever client it came from.

A DHCP server is a stranger, and its words pass through a shell script run by root on the way here. Each value
is therefore checked as if it came from the network, and an error names it in one line.

Quick to import (a DHCP client waits for it): nothing but the standard library's light modules.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from netbond import files
from netbond.errors import NetbondError
from netbond.model import Lease

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
LARGEST_FILE = 8192  # bytes


class LeaseError(NetbondError, ValueError):
    """A DHCP client's environment, or a file of the store, says something that cannot be."""


@dataclass(frozen=True, slots=True)
class Released:
    """A DHCP client no longer holds a lease; `address` is the one it held, or None for whatever it was."""

    device: str
    source: str
    address: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """A client did something that the kernel knows best: there is nothing to keep, but a reason to look."""

    device: str
    source: str


News = Lease | Released | Changed


# --- checking values ---------------------------------------------------------------------------------------


def _shown(value: object) -> str:
    """A value as it may stand in a log: one line, quoted, and not all of it when it is long."""
    text = str(value)
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def check_device(name: str) -> str:
    """`name` if the kernel would allow it as an interface's name (dev_valid_name in net/core/dev.c).

    LeaseError otherwise, so a path never passes.
    """
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:
        raise LeaseError(f"interface {_shown(name)} is not a name that an interface can have") from None
    # The kernel's isspace() has 0xA0 besides ASCII's; NUL would end the name for the kernel but not for us.
    bad = any(c in b" \t\n\v\f\r\xa0/:\0" for c in raw)
    if not raw or len(raw) >= IFNAMSIZ or name in (".", "..") or bad:
        raise LeaseError(f"interface {_shown(name)} is not a name that an interface can have")
    return name


def _address(value: str, what: str) -> IPv4Address:
    try:
        return IPv4Address(value)
    except ValueError:
        raise LeaseError(f"{what} {_shown(value)} is not an IPv4 address") from None


def _interface(address: str, mask: str, what: str) -> IPv4Interface:
    """Address and mask (dotted, or a length), as an address that a host can have."""
    ip = _address(address, what)
    try:
        interface = IPv4Interface(f"{ip}/{mask}") if mask else IPv4Interface(ip)
    except ValueError:
        raise LeaseError(f"{what} {ip} has the subnet mask {_shown(mask)}, which is none") from None
    # ipaddress reads 0.0.0.255 as a host mask; DHCP knows net masks only.
    if "." in mask and str(interface.netmask) != mask:
        raise LeaseError(f"{what} {ip} has the subnet mask {_shown(mask)}, which is none")
    if interface.network.prefixlen == 0:
        raise LeaseError(f"{what} {ip} has the subnet mask {_shown(mask)}, which leaves no other network")
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
    """The routers that can be used, in the order given, each once.

    What is no address at all is an error. An address that cannot be a router (0.0.0.0, this box's own, a
    broadcast) is left out: real servers send them, and one of them would make the kernel refuse the ECMP
    default of all uplinks. A router outside the network stays: /32 leases have nothing else, and it is
    reached on-link.
    """
    found: list[IPv4Address] = []
    for value in values:
        router = _address(value, "router")
        if _unicast(router) and router != interface.ip and router not in (*found, *_ends(interface)):
            found.append(router)
    return tuple(found)


def _lease(
    device: str, source: str, interface: IPv4Interface, routers: Sequence[str], received: float
) -> Lease:
    return Lease(check_device(device), source, interface, _routers(routers, interface), received)


def _value(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if len(value) > LONGEST_VALUE:
        raise LeaseError(f"{name} {_shown(value)} has {len(value)} characters")
    return value


# --- what the clients say ----------------------------------------------------------------------------------


def parse_dhclient(environ: Mapping[str, str], now: float) -> News | None:
    """What ISC dhclient told its script: `environ` as in dhclient-script(8), `now` in wall-clock seconds.

    None if it says nothing: PREINIT, and any reason unknown here. A TIMEOUT is a lease that may be worth
    nothing: the caller looks whether the script left the address on the interface. LeaseError if a value
    cannot be.
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
    """What dhcpcd told its hooks: `environ` as in dhcpcd-run-hooks(8), `now` in wall-clock seconds.

    None if it says nothing, LeaseError if a value cannot be.
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
    """What busybox udhcpc (or udhcpc6) told its script: `event` is the script's argument, `now` wall-clock.

    None if it says nothing, LeaseError if a value cannot be.
    """
    if event not in UDHCPC_LEASED | UDHCPC_RELEASED:
        return None
    device = check_device(_value(environ, "interface"))
    if event in UDHCPC_RELEASED:
        return Released(device, "udhcpc")  # which lease it was, the environment does not say
    if "ip" not in environ and "ipv6" in environ:
        return Changed(device, "udhcpc")
    routers = _value(environ, "router").split()
    for name in ("staticroutes", "msstaticroutes"):  # options 121 and 249
        if routes := _value(environ, name):
            routers = _default_of_pairs(routes, name)
            break
    mask = _value(environ, "subnet") or _value(environ, "mask")
    return _lease(device, "udhcpc", _interface(_value(environ, "ip"), mask, "ip"), routers, now)


def _leased(environ: Mapping[str, str], source: str, mask: str, routers: Sequence[str], now: float) -> Lease:
    """The new lease in the names that dhclient and dhcpcd share."""
    device = check_device(_value(environ, "interface"))
    interface = _interface(_value(environ, "new_ip_address"), mask, "new_ip_address")
    return _lease(device, source, interface, routers, now)


def _released(environ: Mapping[str, str], source: str) -> Released:
    """The old lease in the names that dhclient and dhcpcd share: EXPIRE names it, FAIL often names none."""
    device = check_device(_value(environ, "interface"))
    old = _value(environ, "old_ip_address")
    return Released(device, source, _address(old, "old_ip_address") if old else None)


def _default_of_pairs(value: str, name: str) -> list[str]:
    """The gateways of the default routes in "10.0.0.0/8 10.0.0.7 0.0.0.0/0 10.0.0.1 ..."."""
    words = value.split()
    if len(words) % 2:
        raise LeaseError(f"{name} {_shown(value)} is not a list of routes")
    gateways: list[str] = []
    for destination, gateway in zip(words[::2], words[1::2], strict=True):
        try:
            network = IPv4Network(destination, strict=False)
            IPv4Address(gateway)
        except ValueError:
            raise LeaseError(f"{name} {_shown(value)} is not a list of routes") from None
        if network.prefixlen == 0:
            gateways.append(gateway)
    return gateways


def _classless_default(value: str) -> list[str]:
    """The gateways of the default routes in option 121, as dhclient writes it: "24 10 1 2 10 0 0 1 0 ...".

    Each route is a prefix length, as many octets of the destination as that needs, and four of the gateway.
    """
    expected = f"new_rfc3442_classless_static_routes {_shown(value)} is not a list of routes"
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
    """What NetworkManager told a dispatcher script: `argv` is [interface, action], `now` wall-clock seconds.

    Connections without DHCP count too: a modem's address comes from its bearer. None for other actions, for
    VPNs, and for an interface without an IPv4 address. LeaseError if a value cannot be.
    """
    if len(argv) != 2:
        raise LeaseError(f"expected an interface and an action, not {len(argv)} words")
    name, action = argv
    if action not in NETWORKMANAGER_LEASED | NETWORKMANAGER_RELEASED:
        return None
    if environ.get("CONNECTION_EXTERNAL") == "1":
        return None  # it only looks on while another client does the work, and that one speaks for itself
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
    interface = _interface(address, mask, "address")
    # IP4_GATEWAY is what NetworkManager itself uses, classless routes and settings considered. It is missing
    # where the connection may not have the default route in main; the uplink has a gateway all the same.
    routers = [*_value(environ, "IP4_GATEWAY").split(), *_value(environ, "DHCP4_ROUTERS").split()]
    return _lease(device, "networkmanager", interface, routers, now)


def parse_networkd(text: str, device: str, received: float) -> Lease:
    """A lease file of systemd-networkd (/run/systemd/netif/leases/INDEX); `received` is wall-clock seconds.

    LeaseError if a value cannot be. Lines and keys that are not needed are passed over.
    """
    values = dict(line.partition("=")[::2] for line in text.splitlines() if not line.startswith("#"))
    routers = _value(values, "ROUTER").split()
    for name in ("CLASSLESS_ROUTES", "ROUTES"):  # since 252; before it, together with option 33
        if routes := _value(values, name):
            # "10.0.0.0/8,10.0.0.7 0.0.0.0/0,10.0.0.1"
            routers = _default_of_pairs(routes.replace(",", " "), name)
            break
    interface = _interface(_value(values, "ADDRESS"), _value(values, "NETMASK"), "ADDRESS")
    return _lease(device, "networkd", interface, routers, received)


# --- the store ---------------------------------------------------------------------------------------------


def encode(lease: Lease) -> bytes:
    """The lease as a file of the store holds it: one JSON object and a newline."""
    data = {
        "device": lease.device,
        "source": lease.source,
        "address": str(lease.address),
        "routers": [str(router) for router in lease.routers],
        "received": lease.received,
    }
    return json.dumps(data).encode() + b"\n"


def decode(data: bytes) -> Lease:
    """Read what `encode` wrote; LeaseError for anything else. Keys of a later version are passed over."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise LeaseError("it is not JSON") from None
    if not isinstance(value, dict):
        raise LeaseError("it is not a JSON object")
    device, source, address = value.get("device"), value.get("source"), value.get("address")
    routers, received = value.get("routers"), value.get("received")
    if not isinstance(device, str) or not isinstance(source, str) or not isinstance(address, str):
        raise LeaseError("device, source or address is not a string")
    if not isinstance(routers, list) or not all(isinstance(router, str) for router in routers):
        raise LeaseError("routers is not a list of strings")
    if isinstance(received, bool) or not isinstance(received, int | float) or not 0 <= received < 1e12:
        raise LeaseError("received is not a time")
    if not source.isascii() or not source.isalnum() or len(source) > 32:
        raise LeaseError(f"source {_shown(source)} is not the name of a DHCP client")
    ip, _, length = address.partition("/")
    return _lease(device, source, _interface(ip, length, "address"), routers, float(received))


def file_name(device: str) -> str:
    """The store's file for a device; bytes that are not plain in a file's name are written as %XX."""
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    raw = os.fsencode(check_device(device))
    name = "".join(chr(c) if c in plain else f"%{c:02X}" for c in raw)
    return (name.replace(".", "%2E", 1) if name.startswith(".") else name) + ".json"


class LeaseStore:
    """The leases in one directory (`state_dir/leases`), a file per device.

    Any number of hook processes and an agent may use it at once: each file is replaced or removed as a whole.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._reported: set[str] = set()
        self._kept: dict[str, Lease] = {}  # what load() read the last time, by file

    def save(self, lease: Lease) -> None:
        """Keep the lease in place of what is known of its device. OSError if it cannot be written."""
        name = file_name(lease.device)
        files.make_directory(self.directory.parent, 0o755)
        files.make_directory(self.directory, 0o700)
        folder = self._open(lock=True)
        try:
            files.replace(name, encode(lease), 0o600, dir_fd=folder)
            self._sweep(folder, lease.received)
        finally:
            os.close(folder)

    def forget(self, device: str, address: IPv4Address | None = None, source: str = "") -> bool:
        """Drop the device's lease; with `address` or `source`, only if it is that one. Whether there was one.

        The conditions matter when a client lets go of an old lease after another one has got a new lease.
        OSError if it cannot be removed.
        """
        name = file_name(device)
        try:
            folder = self._open(lock=True)
        except FileNotFoundError:
            return False
        try:
            if address is not None or source:
                try:
                    lease = self._read(name, folder)
                    if address not in (None, lease.address.ip) or source not in ("", lease.source):
                        return False
                except (LeaseError, files.UnfitFileError):
                    pass  # it holds no lease worth keeping
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return False
        finally:
            os.close(folder)
        return True

    def load(self) -> tuple[Lease, ...]:
        """All leases, by device name. A file that is not right is passed over, and named in the log once.

        One that cannot be read just now (no descriptor or memory left) counts as it was read before: an
        uplink must not go for that. OSError if the directory is there and cannot be read or trusted.
        """
        try:
            folder = self._open()
        except FileNotFoundError:
            self._kept = {}
            return ()
        try:
            leases: dict[str, Lease] = {}
            for name in sorted(entry.name for entry in os.scandir(folder)):
                if name.startswith(files.TEMPORARY):
                    continue
                try:
                    leases[name] = self._read(name, folder)
                except FileNotFoundError:
                    continue  # forgotten in the meantime
                except (LeaseError, files.UnfitFileError) as error:
                    self._report(name, error)
                except OSError as error:
                    self._report(name, error)
                    if name in self._kept:
                        leases[name] = self._kept[name]
        finally:
            os.close(folder)
        self._kept = leases
        return tuple(sorted(leases.values(), key=lambda lease: lease.device))

    def _open(self, *, lock: bool = False) -> int:
        """The directory, as a descriptor; nothing that others could have put in its place.

        Locked against other writers on request: `forget` reads before it removes. Closing it unlocks.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(self.directory, flags)
        status = os.fstat(folder)
        if not _ours(status):
            os.close(folder)
            raise PermissionError(errno.EPERM, "others than root can write there", str(self.directory))
        if lock:
            fcntl.flock(folder, fcntl.LOCK_EX)
        return folder

    def _read(self, name: str, folder: int) -> Lease:
        data, status = files.read(name, LARGEST_FILE, dir_fd=folder)
        if not _ours(status):
            raise LeaseError("others than root can write to it")
        lease = decode(data)
        if file_name(lease.device) != name:
            raise LeaseError(f"it is about {_shown(lease.device)}")
        return lease

    def _sweep(self, folder: int, now: float) -> None:
        """Remove what writers left behind that were killed a minute ago or more."""
        for name in [entry.name for entry in os.scandir(folder)]:
            if name.startswith(files.TEMPORARY):
                try:
                    if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < now - 60:
                        os.unlink(name, dir_fd=folder)
                except OSError:
                    continue  # another writer was first

    def _report(self, name: str, error: LeaseError | OSError) -> None:
        reason = files.why(error) if isinstance(error, OSError) else str(error)
        line = f"{self.directory}/{_shown(name)[1:-1]}: {reason}; passed over"
        if line not in self._reported:
            import logging  # not needed by the hook, which only writes

            self._reported.add(line)
            logging.getLogger(__name__).warning("%s", line)


def _ours(status: os.stat_result) -> bool:
    """Whether only root or this process's user could have written it."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
