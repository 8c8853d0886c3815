"""What policies remember, counted in packets on each uplink: sticky clients, and a better tier's return."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import wait_for
from tests.netns.test_policies import FAR, FAR6, Policies

pytestmark = pytest.mark.root

BY_FLOW = "[sysctl]\nmultipath_hash = 'flows'\n"
MANY = 16  # new connections: one in 30,000 times two uplinks get none of them by chance


SERVER = """
import socket, sys, threading, time
def serve(one):
    try:
        while True:
            one.send(b"x" * 1000)
            time.sleep(0.02)
    except OSError as error:
        print(error.strerror, flush=True)
def accept(server):
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
four = socket.create_server((sys.argv[1], 7000))
six = socket.create_server((sys.argv[2], 7000), family=socket.AF_INET6)
print("ready", flush=True)
threading.Thread(target=accept, args=(four,), daemon=True).start()
accept(six)
"""

# Downloads: it sends nothing after its connections are there, and says how each of them ends.
DOWNLOAD = """
import selectors, socket, sys
found = selectors.DefaultSelector()
for host in sys.argv[1:]:
    one = socket.create_connection((host, 7000), timeout=30)
    one.recv(10)
    print("open", flush=True)
    found.register(one, selectors.EVENT_READ, host)
for host in sys.argv[1:]:
    while host:
        for key, _ in found.select():
            try:
                if not key.fileobj.recv(100000):
                    raise OSError(0, "closed")
            except OSError as error:
                print(error.strerror, flush=True)
                found.unregister(key.fileobj)
                host = ""
"""


# Sends datagrams over one socket for each host, without an answer.
CALL = """
import socket, sys, time
families = [socket.AF_INET6 if ":" in host else socket.AF_INET for host in sys.argv[1:]]
calls = [socket.socket(family, socket.SOCK_DGRAM) for family in families]
for one, host in zip(calls, sys.argv[1:]):
    one.connect((host, 9))
while True:
    for one in calls:
        one.send(b"x")
    time.sleep(0.02)
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Policies]:
    with Policies(tmp_path) as box:
        box.prepare()
        yield box


def test_a_sticky_client_stays_on_its_uplink_with_new_connections(box: Policies) -> None:
    all_three = 'uplinks = [["usb0", "usb1", "usb2"]]\n'
    box.policy(f'port = 9\nsticky = "10min"\n{all_three}', more=BY_FLOW)
    assert not any("nft" in line for line in box.status()["agent"]["problems"])
    for source in (2, 3):
        first = box.both(lan=True, source=source, count=1)
        for _ in range(2):
            assert box.both(lan=True, source=source, count=MANY) == first
    # Other traffic, and the box's own, is shared out.
    assert " " in box.send(FAR, lan=True, port=10, count=MANY)
    assert " " in box.send(FAR, count=MANY)
    # The memory outlives a change of the table.
    before = box.both(lan=True, count=1)
    other = ({0, 1, 2} - {int(each[3]) for each in before}).pop()
    box.lose(other)
    wait_for(lambda: f"dev usb{other}" not in box.table(222), 5, "the table is another one")
    assert box.both(lan=True, count=MANY) == before
    # Without its uplink a client gets another one, and stays there.
    box.regain(other)
    lost = int(before[0][3])
    box.lose(lost)
    # The kernel takes the leg out first. Until nftables knows, the client's packets lead nowhere.
    wait_for(lambda: "usb" in box.send(FAR, lan=True, count=1), 5, "another one")
    after = box.send(FAR, lan=True, count=1)
    assert after != before[0]
    box.regain(lost)
    wait_for(lambda: f"dev usb{lost}" in box.table(222), 5, "it is back")
    assert box.send(FAR, lan=True, count=MANY) == after


@pytest.mark.parametrize(("failback", "known"), [("keep", "usb1"), ("drain", "usb0")])
def test_where_new_connections_of_a_sticky_client_go_when_the_better_tier_is_back(
    box: Policies, failback: str, known: str
) -> None:
    box.policy(f'uplinks = ["usb0", "usb1"]\nsticky = "10min"\nfailback = "{failback}"', more=BY_FLOW)
    box.lose(0)
    box.comes_to([2, 2])
    assert box.both(lan=True) == ("usb1", "usb1")
    box.regain(0)
    box.comes_to([1, 1])
    assert box.both(lan=True) == (known, known)
    assert box.both(lan=True, source=3) == ("usb0", "usb0")  # a client that is new
    assert box.both() == ("usb0", "usb0")  # the box itself


class Downloads:
    """A program in a namespace that downloads from the far side, over both families."""

    def __init__(self, namespace: str) -> None:
        command = ["ip", "netns", "exec", namespace, sys.executable, "-c", DOWNLOAD, FAR, FAR6]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert [self.line(), self.line()] == ["open", "open"]

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("failback", ["cut", "drain"])
def test_what_becomes_of_connections_when_the_better_tier_is_back(box: Policies, failback: str) -> None:
    router = '[router]\nlan = ["eth1"]\nipv6 = "masquerade"\n'
    box.policy(f'uplinks = ["usb0", "usb1"]\nfailback = "{failback}"', more=router)
    command = ["ip", "netns", "exec", box.far, sys.executable, "-c", SERVER, FAR, FAR6]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    box.lose(0)
    box.comes_to([2, 2])
    running = [Downloads(box.name), Downloads(box.client)]
    call = subprocess.Popen(["ip", "netns", "exec", box.client, sys.executable, "-c", CALL, FAR, FAR6])
    on_first = box.counts()
    wait_for(lambda: box.counts()[1, 4] > on_first[1, 4] + 9, 5, "the call is on usb1")
    try:
        box.regain(0)
        began = time.monotonic()
        wait_for(lambda: box.tier() == [1, 1], 5, "tier 1")
        if failback == "cut":
            ends = [each.line() for each in running for _ in range(2)]
            print(f"cut after {time.monotonic() - began:.1f} s")
            assert ends == ["Software caused connection abort"] * 2 + ["Connection reset by peer"] * 2

            def quiet() -> bool:
                before = packets(box)
                time.sleep(1)
                return packets(box) - before < 5  # neighbour discovery

            def calls() -> bool:
                now = box.counts()
                return all(now[0, family] > on_first[0, family] + 9 for family in (4, 6))

            wait_for(quiet, 5, "nothing more comes by usb1")
            wait_for(calls, 5, "the call goes on by usb0")
        else:
            before = packets(box)
            wait_for(lambda: packets(box) - before > 100, 2, "the downloads go on")
            assert box.counts()[0, 4] == on_first[0, 4]
            assert all(each.process.poll() is None for each in running)
            again = Downloads(box.client)  # new ones go to the better tier
            running.append(again)
            expected = [
                {"policy": "p1", "uplink": "usb0", "connections": 2},
                {"policy": "p1", "uplink": "usb1", "connections": 6},
            ]
            wait_for(lambda: box.status()["connections"] == expected, 15, "they are counted")
    finally:
        for each in running:
            each.stop()
        for process in (server, call):
            process.kill()
            process.communicate()


def packets(box: Policies) -> int:
    """How many packets usb1 has received and sent."""
    return sum(int(box.run("cat", f"/sys/class/net/usb1/statistics/{way}_packets")) for way in ("rx", "tx"))
