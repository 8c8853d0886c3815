"""What a person sets of an uplink, in packets: where they leave, and where none does."""

from __future__ import annotations

import json
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netbond.status.control import request
from tests.netns.box import PATIENCE, Box, heard, ip_monitor, sh, wait_for
from tests.netns.internet import InternetBox

pytestmark = pytest.mark.root

FLOWS = 64  # each to another address, as the kernel chooses by addresses
SEND = f"""
import socket, sys
family, source, device = sys.argv[1:]
refused = 0
for number in range({FLOWS}):
    with socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if device:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if source:
            sock.bind((source, 0))
        try:
            host = f"2001:db8:ffff::1:{{number:x}}" if family == "6" else f"198.51.100.{{number}}"
            sock.sendto(b"x", (host, 9))
        except OSError:
            refused += 1
print(refused)
"""


class Net(InternetBox):
    """Two modems, whose packets are counted."""

    def __enter__(self) -> Net:
        super().__enter__()
        for number in range(2):
            self.modem(number)
            for family in ("ipv4", "ipv6"):
                self.nft(number, f"add rule inet t forward meta nfproto {family} udp dport 9 counter")
        return self

    def ask(self, command: str, **more: object) -> dict[str, Any]:
        return request(self.folder / "control.sock", {"command": command, **more}, timeout=10.0 * PATIENCE)

    def set_mode(self, uplink: str, value: str, **more: object) -> dict[str, Any]:
        reply = self.ask("set", uplink=uplink, what="mode", value=value, **more)
        assert reply["ok"], reply
        return reply

    def send(self, family: int, source: str = "", device: str = "") -> list[int]:
        """How many of FLOWS packets left by usb0, by usb1, and were refused."""
        before = self._counted(family)
        refused = int(self.run(sys.executable, "-c", SEND, str(family), source, device))
        wait_for(
            lambda: sum(self._counted(family)) - sum(before) >= FLOWS - refused, 2, "they have left the box"
        )
        return [*(now - then for now, then in zip(self._counted(family), before, strict=True)), refused]

    def _counted(self, family: int) -> list[int]:
        listed = [
            sh("ip", "netns", "exec", each, "nft", "list", "chain", "inet", "t", "forward")
            for each in self.routers
        ]
        found = [re.search(rf"nfproto ipv{family} .*packets (\d+)", text) for text in listed]
        return [int(each[1]) for each in found if each is not None]

    def states(self) -> set[str]:
        return {f"{each['name']} {each['state']}" for each in self.status()["uplinks"]}


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with Net(tmp_path) as net:
        net.configure()
        net.start()
        wait_for(lambda: len(net.status()["uplinks"]) == 4, 5, "both families of both modems")
        yield net


def test_off_carries_nothing_new_and_what_is_bound(net: Net) -> None:
    everything = [net.send(family) for family in (4, 6)]
    assert [min(usb0, usb1) > 0 for usb0, usb1, _ in everything] == [True, True]
    before = net.state()
    assert net.set_mode("usb1", "off")["undo"] == "netbond unset usb1 mode"
    # No pass to wait for: the answer comes when the routes are right.
    assert [net.send(family) for family in (4, 6)] == [[FLOWS, 0, 0]] * 2
    assert net.send(4, source="10.0.1.10") == net.send(6, source="2001:db8:1::10") == [0, FLOWS, 0]
    assert net.send(4, device="usb1") == [0, FLOWS, 0]
    net.run_far("ping", "-c1", "-W5", "2001:db8:1::10")  # who comes from outside is answered
    wait_for(lambda: (net.folder / "ips").read_text().split() == ["10.0.0.10"], 5, "senders are told")
    assert net.states() == {"usb0 up", "usb1 off"}
    # Killed and started again, it is off from the first pass on.
    watch = ip_monitor(net.name, "monitor", "route", "rule")
    net.stop(signal.SIGKILL)
    net.start()
    assert net.states() == {"usb0 up", "usb1 off"}
    assert not [line for line in heard(watch, net.name) if "table 222" in line and "usb1" in line]
    assert net.ask("unset", uplink="usb1")["undo"] == "netbond set usb1 off"
    assert net.state() == before
    assert [min(net.send(family)[:2]) > 0 for family in (4, 6)] == [True, True]


def test_the_last_one_that_is_off_carries_nothing_although_main_has_its_default(net: Net) -> None:
    reply = net.ask("set", uplink="usb1", what="mode", value="off")
    assert reply["ok"]
    refusal = net.ask("set", uplink="usb0", what="mode", value="off")
    assert refusal["error"].startswith("usb0 is the last uplink that works for IPv4 and IPv6")
    net.ask("unset", uplink="usb1")
    # Off while another works, and then that one is pulled: main's default by usb1 is there.
    net.set_mode("usb0", "off")
    assert "default via 10.0.0.1" in net.ip("route")
    net.unplug("usb1")
    wait_for(lambda: net.states() == {"usb0 off"}, 5, "usb1 is gone")
    wait_for(lambda: "unreachable" in net.table(222), 5, "what is not bound is refused")
    six = ("-6", "route", "show", "table", "222")
    wait_for(lambda: "unreachable" in net.ip(*six, check=False), 5, "in both families")
    wait_for(lambda: "from 2001:db8::10 unreachable" in net.ip("-6", "rule"), 5, "in IPv6, too")
    assert [net.send(family) for family in (4, 6)] == [[0, 0, FLOWS]] * 2
    assert net.send(4, source="10.0.0.10") == [FLOWS, 0, 0]
    assert net.send(6, source="2001:db8::10") == [0, 0, FLOWS]
    assert net.send(6, device="usb0") == [FLOWS, 0, 0]
    wait_for(lambda: "DOWN" in net.status()["verdict"]["text"], 5, "the verdict says so")
    net.ask("unset", uplink="usb0")
    assert [net.send(family) for family in (4, 6)] == [[FLOWS, 0, 0]] * 2
    assert net.stop() == 0
    assert "proto 78" not in net.ip("rule") + net.ip("-6", "rule")


# As a user would who has no netbond, and cannot read this checkout.
AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c"]
ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.sendall(sys.argv[2].encode() + b"\\n")
    print(sock.makefile().readline())
"""


def test_its_time_ends_by_itself_and_only_root_may_set_it() -> None:
    with tempfile.TemporaryDirectory() as folder, Box(Path(folder)) as box:
        box.folder.chmod(0o755)
        for number in range(2):
            box.plug(f"usb{number}", number)
        box.start()
        socket = box.folder / "control.sock"
        ask = {"command": "set", "uplink": "usb1", "what": "mode", "value": "off", "for_s": 1.5}
        for command in (ask, {"command": "unset", "uplink": "usb1"}):
            refused = json.loads(sh(*AS_NOBODY, ASK, str(socket), json.dumps(command)))
            assert refused == {"ok": False, "error": f"the command '{command['command']}' is for root"}
        assert request(socket, ask, timeout=10.0 * PATIENCE)["ok"]
        assert "usb1" not in box.table(222)
        wait_for(lambda: "usb1" in box.table(222), 5, "it is over")

        def told() -> list[str]:
            return [
                event["text"]
                for event in request(socket, {"command": "events"}, timeout=10.0 * PATIENCE)["events"]
            ]

        expected = ["usb1 set off by root for 1 s", "usb1: set off ended"]
        wait_for(lambda: [text for text in told() if "set off" in text][-2:] == expected, 5, "it is told")
