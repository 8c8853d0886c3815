"""Losing one leg of the ECMP default loses no packet of the flows on the others: counted."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh
from tests.netns.spaces import inside

pytestmark = pytest.mark.root

SERVER = ("198.51.100.7", 9999)
UPLINKS = 4


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Four modems whose gateways the configuration knows: main has no default that would hide a gap."""
    with Box(tmp_path) as box:
        for number in range(UPLINKS):
            box.plug(f"usb{number}", number, default=False)
        sh("ip", "-n", box.far, "addr", "add", f"{SERVER[0]}/32", "dev", "lo")
        box.run("sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=1")
        yield box


def configuration(nexthop_base: int) -> str:
    uplinks = "".join(f'[[uplink]]\nmatch = "usb{n}"\ngateway = "10.0.{n}.1"\n' for n in range(UPLINKS))
    return f"[routing]\nnexthop_base = {nexthop_base}\n{uplinks}"


def received(server: socket.socket, expected: int) -> Counter[bytes]:
    """What has arrived, by what was sent, once it is as much as `expected` or no more comes."""
    found: Counter[bytes] = Counter()
    server.settimeout(5)
    with contextlib.suppress(TimeoutError):
        while found.total() < expected:
            found[server.recv(100)] += 1
    return found


def flows(namespace: str, count: int) -> dict[str, list[socket.socket]]:
    """Connected sockets, bound to nothing, by the device that their source address belongs to."""
    found: dict[str, list[socket.socket]] = {}
    with inside(namespace):
        for _ in range(count):
            flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            flow.connect(SERVER)
            found.setdefault(f"usb{flow.getsockname()[0].split('.')[2]}", []).append(flow)
    return found


@pytest.mark.parametrize(("nexthop_base", "gap"), [(7_800_000, False), (0, True)])
def test_a_leg_goes_and_the_others_lose_nothing(box: Box, nexthop_base: int, gap: bool) -> None:
    """With the agent stopped: what the kernel does by itself counts, not how fast somebody mends it.

    The second case is the plain multipath route, to show that the test can see a gap.
    """
    box.configure(configuration(nexthop_base))
    box.start()
    with inside(box.far):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE: beyond net.core.rmem_max
        server.bind(SERVER)
        server.setblocking(False)
    shared = flows(box.name, 64)
    assert set(shared) == {f"usb{n}" for n in range(UPLINKS)}
    survivors = [flow for device, many in shared.items() if device != "usb2" for flow in many]
    assert box.agent is not None
    box.agent.send_signal(signal.SIGSTOP)
    refused = 0
    try:
        for turn in range(20):
            if turn == 10:
                box.unplug("usb2")
            for number, flow in enumerate(survivors):
                flow.send(b"old %d" % number)
            # New flows, too, must find a way while one leg is missing.
            for _ in range(20):
                with inside(box.name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as fresh:
                    try:
                        fresh.sendto(b"new", SERVER)
                    except OSError as error:
                        if error.errno != errno.ENETUNREACH:
                            raise
                        refused += 1
            time.sleep(0.01)
        arrived = received(server, 20 * len(survivors) + 400 - refused)
    finally:
        box.agent.send_signal(signal.SIGCONT)
        for flow in [*survivors, *shared["usb2"], server]:
            flow.close()
    assert [arrived[b"old %d" % number] for number in range(len(survivors))] == [20] * len(survivors)
    assert (refused > 0) is gap
    assert arrived[b"new"] == 400 - refused


def test_automatic_weights_follow_what_is_carried(box: Box) -> None:
    box.configure(configuration(7_800_000).replace("gateway", 'weight = "auto"\ngateway'))
    box.start()
    with inside(box.name):
        ways = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(UPLINKS)]
    for number, way in enumerate(ways):
        way.bind((f"10.0.{number}.10", 0))

    def weights() -> list[int]:
        return [int(line.split()[6]) for line in box.table(222).splitlines()[1:]]

    def follow() -> bool:
        usb0, usb1, usb2, usb3 = weights()
        return usb0 >= 3 * usb1 and usb1 == usb2 == usb3

    end = time.monotonic() + 60
    try:
        # usb0 carries four times what the others do.
        while not follow() and time.monotonic() < end:
            for number in [0, 0, 0, *range(UPLINKS)]:
                for _ in range(25):
                    ways[number].sendto(bytes(1000), SERVER)
            time.sleep(0.05)
    finally:
        for way in ways:
            way.close()
    assert follow(), weights()
