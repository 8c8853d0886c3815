"""What DHCP clients say: a lease, its release, or a change. Nouns like those of netbond.model.

They are apart to be quick to import, as a DHCP client waits for `netbond hook`. Importing dataclasses or
typing takes as long as all the rest of the hook. So these are named tuples, declared again for the type
checker.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False  # type checkers take it for typing.TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
    from typing import NamedTuple

    class Lease(NamedTuple):
        """An address that a DHCP client or a manager got, and the routers that go with it; all checked.

        `source` is "dhclient", or another client. `received` is seconds since the kernel started
        (netbond.system.clock), negative for a lease from before that. `ifindex` is the number of the
        interface when the lease came, 0 if that is not known: an interface may be renamed. IPv6 only from
        NetworkManager, as DHCPv6 names no routers.
        """

        device: str
        source: str
        address: IPv4Interface | IPv6Interface
        routers: tuple[IPv4Address | IPv6Address, ...] = ()
        received: float = 0.0
        ifindex: int = 0

    class Released(NamedTuple):
        """A client no longer holds a lease. `address` is the one it held, None if it did not say."""

        device: str
        source: str
        address: IPv4Address | IPv6Address | None = None

    class Changed(NamedTuple):
        """A client changed something that the kernel knows: nothing to keep, but a reason to look."""

        device: str
        source: str

    News = Lease | Released | Changed
else:
    Lease = namedtuple(
        "Lease", ("device", "source", "address", "routers", "received", "ifindex"), defaults=((), 0.0, 0)
    )
    Released = namedtuple("Released", ("device", "source", "address"), defaults=(None,))
    Changed = namedtuple("Changed", ("device", "source"))
