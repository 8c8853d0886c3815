"""The agent with a real systemd-networkd that sets no routes: the gateway is in its lease only."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.agents import Agent
from tests.netns.box import wait_for
from tests.netns.dhcpbox import DhcpBox
from tests.netns.test_agent_sources import SOON, repair, stopped
from tests.netns.test_networkd import NETWORKD, SETUP

pytestmark = pytest.mark.root

QUIET = SETUP.replace("UseDNS=no", "UseDNS=no\\nUseRoutes=no\\nUseGateway=no")


@contextmanager
def networkd(folder: Path, box: DhcpBox) -> Iterator[subprocess.Popen[bytes]]:
    """A real one in the box; what it has set stays when it ends."""
    with (folder / "log").open("ab") as log:
        daemon = subprocess.Popen(
            box.inside("sh", "-c", QUIET, "sh", str(folder), NETWORKD), stdout=log, stderr=log
        )
    try:
        yield daemon
    finally:
        daemon.terminate()
        daemon.wait(40)


def test_networkd_beside_the_agent() -> None:
    """The gateway of its lease; it hangs, is killed and is started again, and routing goes on."""
    assert QUIET != SETUP
    with tempfile.TemporaryDirectory(prefix="nbn") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("netif", "netif/leases", "netif/links", "netif/lldp"):
            (folder / part).mkdir()
        subprocess.run(["chown", "-R", "systemd-network", folder / "netif"], check=True)
        with DhcpBox(folder / "box") as box, Agent(folder, box.name, box.inside) as agent:
            box.serve()

            def uplinks() -> list[tuple[str, str, str]]:
                found = agent.status()["uplinks"]
                return [(u["address"], u["gateway"], u["gateway_source"]) for u in found]

            expected = [("192.168.8.100", "192.168.8.1", "networkd")]
            with networkd(folder, box) as daemon:
                agent.start()
                wait_for(lambda: uplinks() == expected, 20, "the lease is used")
                assert "default" not in box.main_table()
                assert "default via 192.168.8.1 dev usb0" in agent.table(100)
                with stopped(daemon.pid):
                    assert repair(agent, box.name) < SOON
                daemon.kill()
                daemon.wait(40)
                assert repair(agent, box.name) < SOON
                assert uplinks() == expected
            box.serve("--dhcp-option=3,192.168.8.9")
            with networkd(folder, box):
                expected = [("192.168.8.100", "192.168.8.9", "networkd")]
                wait_for(lambda: uplinks() == expected, 20, "the new one's lease")
            wait_for(lambda: agent.problems() == [], 5, "nothing to say")
