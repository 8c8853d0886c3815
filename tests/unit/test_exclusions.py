"""What a box has besides its modems, and that none of it is taken for a way out."""

import pytest

from netbond.exclusions import BY_KIND, BY_KIND_AND_NAME, Exclusion, exclusions, like_hardware
from netbond.model import Interface


def link(name: str, kind: str = "", master: str = "") -> Interface:
    return Interface(name, index=2, kind=kind, master=master, loopback=name == "lo")


def reason(name: str, kind: str = "") -> str:
    found = exclusions([link(name, kind)]).get(name)
    return found.reason if found else ""


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("usb0", ""), ("eth0", ""), ("wlan0", ""), ("wwan0", ""), ("enx0c5b8f279a64", ""), ("enp3s0", ""),
        ("enp0s20f0u2", ""), ("eno1", ""), ("ens160", ""), ("end0", ""), ("wlp2s0", ""),
        ("wlx00c0ca123456", ""),
        ("wwp0s20u4i6", ""), ("wwx0c5b8f279a64", ""), ("modem-left", ""), ("ppp0", "ppp"), ("ppp0", ""),
        ("bond0", "bond"), ("team0", "team"), ("eth0.100", "vlan"), ("wan", "vlan"), ("rmnet_data0", "rmnet"),
        ("qmimux0", "qmimux"), ("wwan0.1", "wwan"), ("lte0", ""), ("enP2p1s0", ""),
        # a veth that a test names usb0; a container's own way out; a cable made of TUNs
        ("usb0", "veth"), ("eth0", "veth"), ("wlan0", "macvlan"), ("eth0", "ipvlan"), ("wwan0", "tun"),
    ],
)  # fmt: skip
def test_these_may_be_uplinks(name: str, kind: str) -> None:
    assert reason(name, kind) == ""


@pytest.mark.parametrize("name", ["usb0\ufffd", "\x1b[31m", "usb\x7f", "eth\udcff0", "\u202egpj", "\x01"])
def test_names_that_are_no_text(name: str) -> None:
    assert exclusions([link(name)]) == {name: Exclusion("its name is not text", final=True)}


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("lo", "", "loopback"),
        ("docker0", "bridge", "a bridge"),
        ("docker0", "", "a container network (Docker)"),
        ("br-0123456789ab", "bridge", "a bridge"),
        ("br-0123456789ab", "", "a container network (Docker)"),
        ("br-lan", "bridge", "a bridge"),
        ("eth0", "bridge", "a bridge"),  # the role is plain: the name does not help it
        ("veth1a2b3c", "veth", "a container network"),
        ("vethc0ffee", "", "a container network"),
        ("mycontainer", "veth", "a veth pair, as containers have"),
        ("shim", "macvlan", "a macvlan on another interface, as containers have"),
        ("ipvl0", "ipvlan", "an ipvlan on another interface, as containers have"),
        ("macvtap0", "macvtap", "a macvtap on another interface, as virtual machines have"),
        ("cni0", "bridge", "a bridge"),
        ("flannel.1", "vxlan", "an overlay network"),
        ("cali0123456789a", "veth", "a container network"),
        ("lxcbr0", "bridge", "a bridge"),
        ("lxc0a1b2c", "veth", "a container network"),
        ("ve-machine", "veth", "a container network"),
        ("virbr0", "bridge", "a bridge"),
        ("vnet3", "tun", "a virtual machine's network"),
        ("tap0", "tun", "a virtual machine's network"),
        ("tailscale0", "tun", "a VPN (Tailscale)"),
        ("ztabcdefgh12", "tun", "a VPN (ZeroTier)"),
        ("wg0", "wireguard", "a WireGuard tunnel"),
        ("wg0", "tun", "a VPN (WireGuard)"),  # wireguard-go
        ("office", "wireguard", "a WireGuard tunnel"),
        ("tun0", "tun", "a VPN"),
        ("tun0", "", "a VPN"),
        ("office", "tun", "a TUN/TAP device, as VPNs have"),
        ("nordlynx", "wireguard", "a WireGuard tunnel"),
        ("CloudflareWARP", "tun", "a VPN"),
        ("dummy0", "dummy", "a dummy interface"),
        ("usb0", "dummy", "a dummy interface"),
        ("ifb0", "ifb", "an intermediate functional block (traffic shaping)"),
        ("sit0", "sit", "an IP tunnel"),
        ("he-ipv6", "sit", "an IP tunnel"),
        ("ip6tnl0", "", "made by the kernel for tunnels"),
        ("gre0", "gre", "an IP tunnel"),
        ("ip_vti0", "vti", "an IPsec tunnel"),
        ("ipsec0", "", "an IPsec tunnel"),
        ("blue", "vrf", "a VRF"),
        ("can0", "can", "a CAN bus"),
        ("ovs-system", "openvswitch", "an Open vSwitch interface"),
    ],
)
def test_these_are_none_by_default(name: str, kind: str, says: str) -> None:
    assert reason(name, kind) == says


def test_ports_are_none_whatever_they_are_called() -> None:
    links = [
        link("br0", "bridge"), link("usb0", master="br0"), link("veth1", "veth", "br0"),
        link("bond0", "bond"), link("eth0", master="bond0"),
        link("red", "vrf"), link("usb1", master="red"),
        link("usb2", master="elsewhere"),
    ]  # fmt: skip
    assert exclusions(links) == {
        "br0": Exclusion("a bridge"),
        "usb0": Exclusion("a port of bridge br0", final=True),
        "veth1": Exclusion("a port of bridge br0", final=True),
        "eth0": Exclusion("a port of bond bond0", final=True),
        "red": Exclusion("a VRF"),
        "usb1": Exclusion("in VRF red, which has a routing table of its own"),
        "usb2": Exclusion("a port of elsewhere", final=True),
    }


def test_the_lan_side() -> None:
    links = [link("lo"), link("eth0"), link("eth1"), link("br-lan", "bridge")]
    found = exclusions(links, lan={"eth1", "br-lan"})
    assert found == {
        "lo": Exclusion("loopback", final=True),
        "eth1": Exclusion("the LAN side", final=True),
        "br-lan": Exclusion("the LAN side", final=True),
    }


def test_only_what_cannot_work_is_final() -> None:
    kinds = [*BY_KIND, *BY_KIND_AND_NAME]
    found = exclusions(link(f"x{number}", kind) for number, kind in enumerate(kinds))
    assert len(found) == len(kinds)
    assert not any(exclusion.final for exclusion in found.values())


@pytest.mark.parametrize(
    "name", ["usb", "eth0x", "enemy", "wlanx", "xusb0", "en", "eth0.x", "wlan0-1", "entry", "ensemble0"]
)
def test_not_every_name_that_starts_like_hardware_is(name: str) -> None:
    assert not like_hardware(name)
