"""Which interfaces must never be uplinks by default, and why. Pure.

Judged by role first: what the kernel says it is, whether it is a port of something, whether it is the LAN
side. Some kinds say nothing by themselves: a veth is how a container is attached, and also what a test box or
a container itself has for a modem; likewise macvlan, ipvlan and TUN. There the name decides: one as hardware
has (usb0, eth1, enx..., wwan0) may be an uplink, vethc0ffee and tun0 may not.

An [[uplink]] that matches overrides all of this except what can never work: loopback, ports, the LAN side.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from netbond.model import Link

UNREADABLE = "\N{REPLACEMENT CHARACTER}"  # what stands for a byte that is not UTF-8


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why an interface is no uplink; `final` if not even an [[uplink]] for it makes it one."""

    reason: str
    final: bool = False


# What the kernel's kind (IFLA_INFO_KIND) says about the role. Absent kinds may be uplinks: "" is hardware;
# bond, team, vlan, ppp, wwan, rmnet and qmimux carry what hardware carries.
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

# Kinds that are one thing under one name and another under another.
BY_KIND_AND_NAME = {
    "veth": "a veth pair, as containers have",
    "netkit": "a netkit pair, as containers have",
    "macvlan": "a macvlan on another interface, as containers have",
    "macvtap": "a macvtap on another interface, as virtual machines have",
    "ipvlan": "an ipvlan on another interface, as containers have",
    "ipvtap": "an ipvtap on another interface, as virtual machines have",
    "tun": "a TUN/TAP device, as VPNs have",
}

# Names that programs give, whatever the kind: some of their interfaces look like any other to the kernel.
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
    """Whether it is a name that a modem, a network card or a Wi-Fi card would have."""
    return _HARDWARE.fullmatch(name) is not None


def _judge(link: Link, kinds: dict[str, str], lan: Collection[str]) -> Exclusion | None:
    if link.loopback:
        return Exclusion("loopback", final=True)
    if not link.name.isprintable() or UNREADABLE in link.name:
        # The kernel takes any bytes but "/", ":" and blanks. No configuration could name it, and files that
        # bear its name would be nobody's.
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


def exclusions(links: Iterable[Link], lan: Collection[str] = ()) -> dict[str, Exclusion]:
    """Why each interface that must not be an uplink by default must not; the others are missing.

    `lan` are the interfaces of the LAN side, where the box is a router for others.
    """
    links = tuple(links)
    kinds = {link.name: link.kind for link in links}
    judged = ((link.name, _judge(link, kinds, lan)) for link in links)
    return {name: exclusion for name, exclusion in judged if exclusion is not None}
