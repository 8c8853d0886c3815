"""What DHCP clients say, and that naming it costs a DHCP client little."""

from __future__ import annotations

import ipaddress
import subprocess
import sys

from netbond.dhcp.lease import Changed, Lease, Released

ADDRESS = ipaddress.IPv4Interface("10.0.0.10/24")


def test_what_need_not_be_said() -> None:
    lease = Lease("usb0", "dhclient", ADDRESS)
    assert (lease.routers, lease.received, lease.ifindex) == ((), 0.0, 0)
    assert Released("usb0", "dhclient").address is None


def test_equal_by_what_they_say() -> None:
    router = ipaddress.IPv4Address("10.0.0.1")
    assert Lease("usb0", "dhclient", ADDRESS, (router,)) == Lease("usb0", "dhclient", ADDRESS, (router,))
    assert Lease("usb0", "dhclient", ADDRESS) != Lease("usb1", "dhclient", ADDRESS)
    assert Changed("usb0", "networkd") == Changed("usb0", "networkd")


def test_their_kinds_are_told_apart() -> None:
    """The store and the agent go by the class."""
    assert not isinstance(Released("usb0", "dhclient"), Lease)
    assert not isinstance(Changed("usb0", "dhclient"), Released)


def test_a_dhcp_client_does_not_wait_for_slow_imports() -> None:
    """`netbond hook` is on its way; dataclasses and typing would take as long as all the rest."""
    code = (
        "import sys, netbond.dhcp.lease;"
        " sys.exit(', '.join({'dataclasses', 'typing', 'ipaddress'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-ISc", "import sys; sys.path[:0] = sys.argv[1:];" + code,
                           *sys.path], capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
