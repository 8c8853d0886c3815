"""Says which interfaces are not uplinks by default, and why. Pure.

The role of an interface decides first: its kind in the kernel, whether it is a port of another one, whether
it is the LAN side. Some kinds do not tell the role: a veth attaches a container, but it is also what a test
box or a container has in place of a modem; likewise macvlan, ipvlan and TUN. Then the name decides: an
interface with a name of hardware (usb0, eth1, enx..., wwan0) may be an uplink; vethc0ffee and tun0 may not.

An [[uplink]] that matches overrides all of this, except what cannot work: loopback, ports, the LAN side.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from netbond.model import Interface

UNREADABLE = "\N{REPLACEMENT CHARACTER}"  # what stands for a byte that is not UTF-8


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why an interface is not an uplink; `final` if an [[uplink]] for it does not change that."""

    reason: str
    final: bool = False


# By the kernel's kind (IFLA_INFO_KIND), why it is not an uplink. All other kinds may be uplinks: "" is
# hardware; bond, team, vlan, ppp, wwan, rmnet and qmimux are made of hardware.
BY_KIND = {
    "bridge": "a bridge",
    "dummy": "a dummy interface",
    "ifb": "an intermediate functional block (traffic shaping)",
    "nlmon": "a netlink monitor",
    "vrf": "a VRF",
    "can": "a CAN bus",
    "vcan": "a CAN bus",
    "vxcan": "a CAN bus",
    "wireguard": "a WireGuard tunnel",
    "amneziawg": "a WireGuard tunnel",
    "ovpn": "an OpenVPN tunnel",
    "ipip": "an IP tunnel",
    "sit": "an IP tunnel",
    "ip6tnl": "an IP tunnel",
    "gre": "an IP tunnel",
    "gretap": "an IP tunnel",
    "ip6gre": "an IP tunnel",
    "ip6gretap": "an IP tunnel",
    "erspan": "an IP tunnel",
    "ip6erspan": "an IP tunnel",
    "vti": "an IPsec tunnel",
    "vti6": "an IPsec tunnel",
    "xfrm": "an IPsec tunnel",
    "vxlan": "an overlay network",
    "geneve": "an overlay network",
    "bareudp": "an overlay network",
    "gtp": "a GTP tunnel",
    "openvswitch": "an Open vSwitch interface",
    "batadv": "a mesh",
}

# Kinds whose role the name tells.
BY_KIND_AND_NAME = {
    "veth": "a veth pair, as containers have",
    "netkit": "a netkit pair, as containers have",
    "macvlan": "a macvlan on another interface, as containers have",
    "macvtap": "a macvtap on another interface, as virtual machines have",
    "ipvlan": "an ipvlan on another interface, as containers have",
    "ipvtap": "an ipvtap on another interface, as virtual machines have",
    "tun": "a TUN/TAP device, as VPNs have",
}

# Names that programs give to their interfaces. The kind is not enough: some look like hardware to the kernel.
CONTAINERS = "a container network"
MACHINES = "a virtual machine's network"
BY_NAME = (
    (r"docker[0-9]+|br-[0-9a-f]{12}|docker_gwbridge", "a container network (Docker)"),
    (r"podman[0-9]+|cni[0-9]+|cni-.*|cbr[0-9]+|nodelocaldns|kube-.*|weave|antrea-.*", CONTAINERS),
    (r"flannel.*|cali[0-9a-f]{6,}|tunl[0-9]+|vxlan\.calico|cilium_.*", CONTAINERS),
    (r"veth[0-9a-z]+|lxc[0-9a-z]+|lxdbr[0-9]+|incusbr[0-9]+|v[ebz]-.+|waydroid[0-9]+", CONTAINERS),
    (r"virbr[0-9]+(-nic)?|vnet[0-9]+|vboxnet[0-9]+|vmnet[0-9]+", MACHINES),
    (r"tap[0-9a-f]+.*|fw(br|pr|ln).+", MACHINES),
    (r"tailscale[0-9]+|ts[0-9]+", "a VPN (Tailscale)"),
    (r"zt[0-9a-z]{8,}", "a VPN (ZeroTier)"),
    (r"wg[0-9]+|wg-.+", "a VPN (WireGuard)"),
    (r"(tun|utun)[0-9]+|(tun|tap)-.+|wt[0-9]+|nebula[0-9]*|gpd[0-9]+|cscotun[0-9]+", "a VPN"),
    (r"nordlynx|nordtun|proton[0-9]+|pvpn.*|mullvad.*|CloudflareWARP", "a VPN"),
    (r"ipsec[0-9]*|ipsec-.+|vti[0-9]+|xfrm[0-9]+", "an IPsec tunnel"),
    (r"(sit|ip6tnl|gre|gretap|erspan|ip6gre|ip_vti|ip6_vti|teql)[0-9]+", "made by the kernel for tunnels"),
    (r"dummy[0-9]+", "a dummy interface"),
    (r"ifb[0-9a-z-]+", "an intermediate functional block (traffic shaping)"),
)
_BY_NAME = tuple((re.compile(pattern), reason) for pattern, reason in BY_NAME)

# Names that the kernel, udev (systemd.net-naming-scheme(7)) and modem drivers give to hardware.
_HARDWARE = re.compile(
    r"(usb|eth|wlan|wwan|lte|hso|rmnet|rmnet_data|ppp)[0-9]+(\.[0-9]+)?"
    r"|(en|wl|ww)(x[0-9a-f]{12}|(P[0-9]+)?([abcdiosuv]|p[0-9]+s)[0-9][0-9a-z]*)(\.[0-9]+)?"
)

# Masters whose ports still have addresses of their own: a VRF is a routing table, not a switch.
_ROUTED_MASTERS = {"vrf"}


def like_hardware(name: str) -> bool:
    """Whether a modem, a network card or a Wi-Fi card would have this name."""
    return _HARDWARE.fullmatch(name) is not None


class _Traits(NamedTuple):
    """What an interface is: this does not change while it goes up and down."""

    name: str
    kind: str
    master: str
    loopback: bool


def _exclusion(link: _Traits, kinds: Mapping[str, str], lan: Collection[str]) -> Exclusion | None:
    if link.loopback:
        return Exclusion("loopback", final=True)
    if not link.name.isprintable() or UNREADABLE in link.name:
        # The kernel accepts any bytes but "/", ":" and blanks. No configuration could name this interface,
        # and its name cannot be part of a file's name.
        return Exclusion("its name is not text", final=True)
    if link.name in lan:
        return Exclusion("the LAN side", final=True)
    if link.master:
        kind = kinds.get(link.master, "")
        if kind in _ROUTED_MASTERS:
            return Exclusion(f"in VRF {link.master}, which has a routing table of its own")
        what = f"{kind} " if kind else ""
        # It has no address of its own that the kernel would use; its master has.
        return Exclusion(f"a port of {what}{link.master}", final=True)
    if link.kind in BY_KIND:
        return Exclusion(BY_KIND[link.kind])
    if like_hardware(link.name):
        return None
    for pattern, reason in _BY_NAME:
        if pattern.fullmatch(link.name):
            return Exclusion(reason)
    if link.kind in BY_KIND_AND_NAME:
        return Exclusion(BY_KIND_AND_NAME[link.kind])
    return None


def exclusions(links: Iterable[Interface], lan: Collection[str] = ()) -> dict[str, Exclusion]:
    """By name, why each interface is not an uplink by default; interfaces that may be are missing.

    `lan` are the interfaces of the LAN side in router mode.
    """
    traits = tuple([_Traits(link.name, link.kind, link.master, link.loopback) for link in links])
    return dict(_exclusions(traits, frozenset(lan)))


@lru_cache(maxsize=4)
def _exclusions(links: tuple[_Traits, ...], lan: frozenset[str]) -> tuple[tuple[str, Exclusion], ...]:
    kinds = {link.name: link.kind for link in links}
    found = ((link.name, _exclusion(link, kinds, lan)) for link in links)
    return tuple((name, exclusion) for name, exclusion in found if exclusion is not None)
