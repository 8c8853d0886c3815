"""A real systemd-networkd: its lease is known at once, renewed, and gone."""

import asyncio
import functools
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netbond.model import Interface
from netbond.system import clock
from netbond.watchers.networkd import Networkd
from tests import buses
from tests.netns.box import wait_for
from tests.netns.dhcpbox import DhcpBox

pytestmark = pytest.mark.root

NETWORKD = "/lib/systemd/systemd-networkd"

# Without udevd, networkd takes interfaces as they are only where /sys cannot be written. Its folder is put
# where the test can see it.
SETUP = """
set -e
mkdir -p /run/systemd/network /run/systemd/netif
mount --bind "$1/netif" /run/systemd/netif
mount -o remount,ro /sys
printf '[Match]\\nName=usb0\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\n[DHCPv4]\\nUseDNS=no\\n' \
    >/run/systemd/network/usb.network
exec "$2"
"""


@pytest.fixture
def box() -> Iterator[DhcpBox]:
    # networkd gives up root, and must still get there: pytest's own folders are for root only.
    with tempfile.TemporaryDirectory(prefix="nbn") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("netif", "netif/leases", "netif/links", "netif/lldp"):
            (folder / part).mkdir()
        subprocess.run(["chown", "-R", "systemd-network", folder / "netif"], check=True)
        with DhcpBox(folder / "box") as box:
            yield box


async def until(condition: Callable[[], bool]) -> None:
    await buses.until(condition, "what was expected", 60)


async def test_leases_of_networkd(box: DhcpBox) -> None:
    folder = box.folder.parent
    index = int(box.run("cat", "/sys/class/net/usb0/ifindex"))
    source = Networkd(folder / "netif/leases")
    box.serve("--dhcp-option=3,192.168.8.9,192.168.8.1")
    looks: list[tuple[str, ...]] = []

    def look() -> None:
        looks.append(
            tuple(
                f"{x.address} {x.routers[0]}"
                for x in source.leases([Interface("usb0", index)], clock.now(), time.time())
                if x.routers
            )
        )

    def last(*expected: str) -> Callable[[], bool]:
        return lambda: bool(looks) and looks[-1] == expected

    source.start(look)
    with (folder / "log").open("wb") as log:
        command = ["sh", "-c", SETUP, "sh", str(folder), NETWORKD]
        daemon = subprocess.Popen(box.inside(*command), stdout=log, stderr=log)
    try:
        await until(last("192.168.8.100/24 192.168.8.9"))
        box.serve(address="192.168.8.200")
        renew = ["ip", "link", "set", "usb0"]
        box.run(*renew, "down")
        await until(last())
        box.run(*renew, "up")
        await until(last("192.168.8.200/24 192.168.8.1"))
    finally:
        daemon.terminate()
        await asyncio.to_thread(daemon.wait, 10)
    await until(last())
    source.stop()


def test_networkd_is_killed_and_started_again(box: DhcpBox) -> None:
    folder = box.folder.parent
    index = int(box.run("cat", "/sys/class/net/usb0/ifindex"))
    source = Networkd(folder / "netif/leases")
    box.serve()

    def known() -> list[str]:
        return [
            str(lease.address)
            for lease in source.leases([Interface("usb0", index)], clock.now(), time.time())
        ]

    address = functools.partial(box.run, "ip", "address", "show", "usb0")
    for _ in range(2):
        # The first one's file would pass for that of the second one, which takes a while.
        (folder / "netif/leases" / str(index)).unlink(missing_ok=True)
        with (folder / "log").open("wb") as log:
            command = ["sh", "-c", SETUP, "sh", str(folder), NETWORKD]
            daemon = subprocess.Popen(box.inside(*command), stdout=log, stderr=log)
        try:
            wait_for(lambda: known() == ["192.168.8.100/24"], 15, "the lease is there")
            wait_for(lambda: "192.168.8.100/24" in address(), 15, "and the address on the interface")
        finally:
            daemon.kill()
            daemon.wait(40)
        assert known() == ["192.168.8.100/24"]  # the address is still on the interface, too
        assert "192.168.8.100/24" in address()
