"""Describes a lab: its names, its addresses, and the `ip` commands that make it. Pure; lab.py runs them.

NAME-box          NAME-m0                              NAME-net
usb0 ── veth ── lan0 (dnsmasq) NAT radio0 ── cable ── m0    203.0.113.10 (bond.lab), 8.8.8.8
usb1 ── veth ── lan0           NAT radio0 ── cable ── m1
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from netbond.errors import UsageError

MOST_MODEMS = 32
RECEIVER = "203.0.113.10"  # TEST-NET-3 (RFC 5737)
RECEIVER_NAME = "bond.lab"
RECEIVER_PORT = 5000
SENDER_PORT = 6000
SRT_PORT = 5002
ELSEWHERE = ("8.8.8.8", "1.1.1.1")  # addresses that people ping to see whether they are online
TWIN_NETWORK = "192.168.8"  # the network of every Huawei HiLink modem
DEFAULT_WORDS = ("rate=20", "delay=20")  # a radio link's impairments if the user gives none

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")


@dataclass(frozen=True, slots=True)
class Modem:
    """One uplink of the box: an Ethernet link to a modem, which is a DHCP server and does NAT."""

    number: int
    device: str  # the interface's name in the box: usb0
    netns: str
    network: str  # the first three bytes of its LAN, a /24
    public: str  # its address on the radio link, which the internet sees
    mac: str  # of the box's interface
    modem_mac: str
    twin: bool = False
    words: tuple[str, ...] = DEFAULT_WORDS

    @property
    def address(self) -> str:
        """The modem's address in its LAN: the gateway of the lease."""
        return f"{self.network}.1"

    @property
    def lease(self) -> str:
        """The only address that it hands out."""
        return f"{self.network}.100"

    @property
    def net_device(self) -> str:
        """The internet's end of its radio link."""
        return f"m{self.number}"


@dataclass(frozen=True, slots=True)
class Topology:
    """A lab: its name and its modems."""

    name: str
    modems: tuple[Modem, ...]

    @property
    def box(self) -> str:
        """The namespace of the box."""
        return f"{self.name}-box"

    @property
    def net(self) -> str:
        """The namespace of the internet."""
        return f"{self.name}-net"

    @property
    def namespaces(self) -> list[str]:
        """The names of all namespaces."""
        return [self.box, self.net, *(modem.netns for modem in self.modems)]

    def modem(self, device: str) -> Modem:
        """Return the modem of an interface of the box; UsageError if there is none."""
        for modem in self.modems:
            if modem.device == device:
                return modem
        raise UsageError(
            f"lab {self.name!r} has no uplink {device!r}",
            "it has " + ", ".join(modem.device for modem in self.modems),
        )


def check_name(name: str) -> str:
    """Return the name of a lab; UsageError if it cannot be part of the names of namespaces and files."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a lab", "use lower-case letters, digits and '-', 32 characters at most"
        )
    return name


def is_namespace_of(name: str, netns: str) -> bool:
    """Whether a namespace belongs to the lab of that name, and not to one with a longer name."""
    return re.fullmatch(re.escape(name) + r"-(box|net|m[0-9]+)", netns) is not None


def plan(
    name: str,
    devices: Sequence[str],
    twins: Sequence[str] = (),
    words: dict[str, tuple[str, ...]] | None = None,
) -> Topology:
    """Plan a lab with a modem per device; `twins` share subnet and address, `words` are their impairments."""
    check_name(name)
    if not 1 <= len(devices) <= MOST_MODEMS:
        raise UsageError(f"{len(devices)} modems are not possible", f"choose from 1 to {MOST_MODEMS}")
    for device in devices:
        if not _DEVICE.fullmatch(device) or device == "lo" or list(devices).count(device) > 1:
            raise UsageError(
                f"{device!r} cannot name an uplink",
                "give each a different name, like usb0 (15 characters at most)",
            )
    for device in [*twins, *(words or {})]:
        if device not in devices:
            raise UsageError(f"there is no uplink {device!r}", "there will be " + ", ".join(devices))
    salt = zlib.crc32(name.encode()) & 0xFFFF  # MAC addresses are stable for a lab, and differ between labs
    mac = f"02:4e:{salt >> 8:02x}:{salt & 0xFF:02x}"  # locally administered
    return Topology(
        name,
        tuple(
            Modem(
                number=number,
                device=device,
                netns=f"{name}-m{number}",
                network=TWIN_NETWORK if device in twins else f"192.168.{10 + number}",
                public=f"100.64.{number}.2",  # shared address space (RFC 6598), as carriers use it
                mac=f"{mac}:00:{number:02x}",
                modem_mac=f"{mac}:01:{number:02x}",
                twin=device in twins,
                words=(words or {}).get(device, DEFAULT_WORDS),
            )
            for number, device in enumerate(devices)
        ),
    )


# --- commands for ip ---------------------------------------------------------------------------------------


def plug_command(modem: Modem) -> str:
    """Return the command in the box that adds the link to the modem, as a new interface with a new index."""
    return (
        f"link add {modem.device} address {modem.mac} type veth"
        f" peer name lan0 address {modem.modem_mac} netns {modem.netns}"
    )


def lan_commands(modem: Modem) -> list[str]:
    """Return the commands in the modem's namespace that set up its end of that link."""
    return [f"address add {modem.address}/24 dev lan0", "link set lan0 up"]


def radio_on_commands(modem: Modem) -> list[str]:
    """Return the commands in the modem's namespace that switch the radio on, and restore its route."""
    return ["link set radio0 up", "route replace default dev radio0"]


def modem_commands(modem: Modem) -> list[str]:
    """Return the commands for a modem's new namespace that has its lan0."""
    return [
        "link set lo up",
        "tuntap add dev radio0 mode tun",
        "link set radio0 txqueuelen 1000",
        f"address add {modem.public}/32 dev radio0",
        *radio_on_commands(modem),
        *lan_commands(modem),
    ]


def net_commands(topology: Topology) -> list[str]:
    """Return the commands for the internet's new namespace."""
    lines = ["link set lo up", *(f"address add {address}/32 dev lo" for address in (RECEIVER, *ELSEWHERE))]
    for modem in topology.modems:
        lines += [
            f"tuntap add dev {modem.net_device} mode tun",
            f"link set {modem.net_device} txqueuelen 1000 up",
            # src: a server without a bound address must answer from the address that was asked
            f"route add {modem.public}/32 dev {modem.net_device} src {RECEIVER}",
        ]
    return lines


def nat_rules() -> str:
    """Return the NAT rules for `nft -f -` in a modem's namespace."""
    return """\
table ip nat {
    chain post {
        type nat hook postrouting priority srcnat
        oifname "radio0" masquerade
    }
}
"""
