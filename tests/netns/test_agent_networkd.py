"""The agent with a real systemd-networkd that sets no routes: the gateway is in its lease only."""

import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.netns.agents import Agent
from tests.netns.box import wait_for
from tests.netns.dhcpbox import DhcpBox
from tests.netns.test_networkd import NETWORKD, SETUP

pytestmark = pytest.mark.root

QUIET = SETUP.replace("UseDNS=no", "UseDNS=no\\nUseRoutes=no\\nUseGateway=no")


def test_the_gateway_of_networkds_lease() -> None:
    assert QUIET != SETUP
    with tempfile.TemporaryDirectory(prefix="nbn") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("netif", "netif/leases", "netif/links", "netif/lldp"):
            (folder / part).mkdir()
        subprocess.run(["chown", "-R", "systemd-network", folder / "netif"], check=True)
        with DhcpBox(folder / "box") as box:
            box.serve()
            with (folder / "log").open("wb") as log:
                daemon = subprocess.Popen(
                    box.inside("sh", "-c", QUIET, "sh", name, NETWORKD), stdout=log, stderr=log
                )
            try:
                with Agent(folder, box.name, box.inside) as agent:
                    agent.start()

                    def uplinks() -> list[tuple[str, str, str]]:
                        found = agent.status()["uplinks"]
                        return [(u["address"], u["gateway"], u["gateway_source"]) for u in found]

                    expected = [("192.168.8.100", "192.168.8.1", "networkd")]
                    wait_for(lambda: uplinks() == expected, 20, "the lease is used")
                    assert "default" not in box.main_table()
                    assert "default via 192.168.8.1 dev usb0" in agent.table(100)
            finally:
                daemon.terminate()
                daemon.wait(10)
