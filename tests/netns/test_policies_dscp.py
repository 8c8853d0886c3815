"""Policies with DSCP where rules cannot ask for it: packets, counted on each uplink.

The kernel says that it is an old one (`setarch --uname-2.6`). So netbond does as on one before 6.13.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netbond.kernel.client import _takes_dscp
from tests.netns.box import sh
from tests.netns.test_policies import FAR, FAR6, OTHER, OTHER6, Policies

pytestmark = pytest.mark.root

EF, AF41 = 46, 34


# In the client's namespace: a packet of one flow.
FLOW = """
import socket, sys
host, source = sys.argv[1:]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
flow = socket.socket(family, socket.SOCK_DGRAM)
if ":" in host:
    flow.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 46 << 2)
else:
    flow.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 46 << 2)
flow.bind((source, 5555))
flow.sendto(b"x", (host, 9))
"""


class OldKernel(Policies):
    """A box whose rules cannot ask for a DSCP."""

    def command(self, *words: str) -> list[str]:
        return ["setarch", "--uname-2.6", *super().command(*words)]

    def flow(self, version: int) -> list[int]:
        """By which uplink the next packet of a client's flow leaves."""
        before = self.counts()
        host, source = (FAR, "192.168.50.2") if version == 4 else (FAR6, "fd50::2")
        sh("ip", "netns", "exec", self.client, "/usr/bin/python3", "-c", FLOW, host, source)
        return [number for number, packets in self.came(before, version, 1).items() if packets]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[OldKernel]:
    with OldKernel(tmp_path) as box:
        box.prepare()
        yield box


def test_forwarded_packets_go_by_their_dscp(box: OldKernel) -> None:
    assert not _takes_dscp(box.run("setarch", "--uname-2.6", "uname", "-r"))
    box.policy(
        f'destination = ["{OTHER}", "{OTHER6}"]\ndscp = ["ef", "af41"]\nuplinks = ["usb2"]',
        'dscp = "ef"\nport = 9\nuplinks = ["usb1"]',
        'uplinks = ["usb0"]',
    )
    assert box.both(lan=True) == ("usb0", "usb0")
    assert box.both(lan=True, dscp=EF) == ("usb1", "usb1")
    assert box.both(lan=True, dscp=EF, port=10) == ("usb0", "usb0")
    assert box.both(lan=True, dscp=AF41) == ("usb0", "usb0")
    assert box.both(OTHER, lan=True, dscp=EF) == box.both(OTHER, lan=True, dscp=AF41) == ("usb2", "usb2")
    # The box's own packets are left out, whatever they are bound to, and status says so.
    assert box.both(dscp=EF) == ("usb0", "usb0")
    assert box.send(FAR, dscp=EF, bind="10.0.2.10") == "usb2"
    assert box.send(FAR6, dscp=EF, bind="2001:db8:2::10") == "usb2"
    problems = [line for line in box.status()["agent"]["problems"] if "DSCP" in line]
    assert [line.partition(":")[0] for line in problems] == ["policy p1", "policy p2"]
    assert all("for forwarded traffic only: it leaves out this box's own" in line for line in problems)
    assert box.status()["verdict"]["code"] == 0  # a notice, as the policies are in force
    said = box.run(
        *box.netbond("explain", FAR, "--in", "eth1", "--from", "192.168.50.2", "--dport", "9"),
        *("--dscp", str(EF)),
    )
    assert said.splitlines()[-1] == "policy p2: usb1 (tier 1 of 1)"

    box.lose(1)
    box.comes_to([0, 0], "p2")
    assert box.both(lan=True, dscp=EF) == ("usb0", "usb0")


def test_a_flow_keeps_the_uplink_that_its_dscp_gave_it(box: OldKernel) -> None:
    box.policy('dscp = "ef"\ninterface = "eth1"\nuplinks = ["usb1", "usb2"]', 'uplinks = ["usb0"]')
    assert [line for line in box.status()["agent"]["problems"] if "DSCP" in line] == []
    box.lose(1)
    box.comes_to([2, 2])
    assert box.flow(4) == box.flow(6) == [2]
    box.regain(1)
    box.comes_to([1, 1])
    assert box.both(lan=True, dscp=EF) == ("usb1", "usb1")
    assert box.flow(4) == box.flow(6) == [2]  # the connection's mark replaces that of its DSCP
