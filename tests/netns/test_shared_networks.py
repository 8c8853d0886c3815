"""Two uplinks in one network, or with one peer: each address sends into it by its own device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for
from tests.netns.test_bound_sockets import nothing_to_do

pytestmark = pytest.mark.root


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box."""
    with Box(tmp_path) as box:
        yield box


@pytest.mark.parametrize("layout", ["default", "classic"])
def test_one_subnet(box: Box, layout: str) -> None:
    """As with Ethernet and Wi-Fi in one LAN, and with modems that hand out different addresses."""
    box.configure(f'[routing]\nlayout = "{layout}"\ntake_over_default = {str(layout == "classic").lower()}')
    for number in range(2):
        box.plug(f"usb{number}", number, f"10.0.0.1{number}/24")
        sh("ip", "-n", box.far, "addr", "add", f"fe80::1:{number}/64", "dev", f"p{number}", "nodad")
        box.ip("addr", "add", f"2001:db8::1{number}/64", "dev", f"usb{number}", "nodad")
        box.ip(
            "-6", "route", "add", "default", "via", "fe80::1:0", "dev", f"usb{number}", "metric", f"5{number}"
        )
    assert box.way("10.0.0.77", "from", "10.0.0.11") == "usb0"  # without netbond
    box.start()
    for number in range(2):
        assert box.way("10.0.0.77", "from", f"10.0.0.1{number}") == f"usb{number}"
        assert box.way("8.8.8.8", "from", f"10.0.0.1{number}") == f"usb{number}"
        assert box.way("2001:db8::77", "from", f"2001:db8::1{number}") == f"usb{number}"
        # A bound device counts more than an address.
        assert box.way("10.0.0.77", "from", "10.0.0.10", "oif", f"usb{number}") == f"usb{number}"
    assert box.way("10.0.0.77") in ("usb0", "usb1")
    assert box.way("127.0.0.1", "from", "10.0.0.11") == "lo"
    assert nothing_to_do(box)
    # Without its cable usb1's address is reached by the other one, as before.
    sh("ip", "-n", box.far, "link", "set", "p1", "down")
    wait_for(lambda: "10.0.0.11 to" not in box.rules(), 1.0, "no rule without a link")
    wait_for(lambda: box.way("10.0.0.77", "from", "10.0.0.11") == "usb0", 1.0, "by the other one")
    sh("ip", "-n", box.far, "link", "set", "p1", "up")
    wait_for(lambda: box.way("10.0.0.77", "from", "10.0.0.11") == "usb1", 1.0, "and back")
    box.unplug("usb1")
    wait_for(lambda: " to 10.0.0.0/24" not in box.rules(), 1.0, "alone again")
    assert box.stop() == 0
    assert "proto 78" not in box.rules()


def test_one_peer(box: Box) -> None:
    """pppd invents the peer 10.64.64.64 for each modem; and one operator announces one network."""
    box.configure("".join(f'[[uplink]]\nmatch = "usb{n}"\ngateway = "none"\n' for n in range(2)))
    for number in range(2):
        box.plug(f"usb{number}", number, f"10.64.1.{number + 1}", default=False)
        box.ip("addr", "flush", "dev", f"usb{number}", "scope", "global")
        box.ip("addr", "add", f"10.64.1.{number + 1}", "peer", "10.64.64.64", "dev", f"usb{number}")
        box.ip("route", "append", "10.99.0.0/16", "dev", f"usb{number}", "metric", f"{number}")
    assert box.way("10.64.64.64", "from", "10.64.1.2") == "usb0"  # without netbond
    box.start()
    for number in range(2):
        for destination in ("10.64.64.64", "10.99.1.1", "8.8.8.8"):
            assert box.way(destination, "from", f"10.64.1.{number + 1}") == f"usb{number}"
    assert nothing_to_do(box)


def test_one_subnet_beside_a_vpn_that_got_ahead(box: Box) -> None:
    """`ip rule add` without a priority is asked first: the copies ahead of it have these rules, too."""
    for number in range(2):
        box.plug(f"usb{number}", number, f"10.0.0.1{number}/24")
    box.start()
    box.ip("link", "add", "wg0", "type", "veth", "peer", "name", "wg9", "netns", box.far)
    box.ip("link", "set", "wg0", "up")
    box.ip("route", "add", "default", "dev", "wg0", "table", "51820")
    box.ip("rule", "add", "not", "fwmark", "0xca6c", "table", "51820")
    wait_for(lambda: box.way("8.8.8.8", "from", "10.0.0.11") == "usb1", 1.0, "bound traffic is back")
    wait_for(lambda: nothing_to_do(box), 2.0, "nothing to do")
    for number in range(2):
        assert box.way("10.0.0.77", "from", f"10.0.0.1{number}") == f"usb{number}"
        assert box.way("10.0.0.77", "oif", f"usb{number}") == f"usb{number}"
    assert box.way("8.8.8.8") == "wg0"
