"""Uplinks of a router, for tests of its marks and of its table of nftables."""

from __future__ import annotations

import ipaddress

from netbond.config.schema import RouterConfig
from netbond.model import Address, Uplink, UplinkState

CONFIG = RouterConfig(lan=("eth1", "br*"))


def uplink(device: str, table: int, interface: str, state: str = "up") -> Uplink:
    """An uplink, as far as router mode looks at it."""
    address = Address(device, ipaddress.ip_interface(interface))
    return Uplink(
        device,
        address.interface,
        None,
        "test",
        table=table,
        addresses=(address,),
        state=UplinkState(state),
        weight=1,
    )


USB0 = uplink("usb0", 100, "10.0.0.10/24")
WWAN0 = uplink("wwan0", 201, "10.0.1.10/24")
DEAD = uplink("usb1", 101, "10.0.2.10/24", state="down")
