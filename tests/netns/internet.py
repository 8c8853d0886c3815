"""A box whose modems are routers of their own, with one internet behind all of them. Needs root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from netbond.lab.netns import ip_batch
from tests.netns.box import Box, sh, wait_for

HOST, HOST6 = "198.51.100.1", "2001:db8:ffff::1"
PORT = 5000


class InternetBox(Box):
    """usbN leads to a router (10.0.N.1, 2001:db8:N::1), and that to the internet, which is `self.far`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.routers: list[str] = []
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        ip_batch([f"addr add {HOST}/32 dev lo", f"addr add {HOST6}/128 dev lo nodad"], self.far)
        self.run_far("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0")
        self.ip("addr", "add", "127.0.0.1/8", "dev", "lo", check=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_server()
        super().__exit__(kind, error, trace)
        for router in self.routers:
            sh("ip", "netns", "del", router, check=False)

    def modem(self, number: int) -> str:
        """Plug in usbN with its router, which translates IPv4 and forwards IPv6; return its namespace."""
        router, device = f"{self.name}r{number}", f"usb{number}"
        sh("ip", "netns", "add", router)
        self.routers.append(router)
        for switch in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
            sh("ip", "netns", "exec", router, "sysctl", "-qw", switch)
        ip_batch(
            [
                f"link add {device} type veth peer name lan netns {router}",
                f"link set {device} up",
                f"addr add 10.0.{number}.10/24 dev {device}",
                f"addr add 2001:db8:{number}::10/64 dev {device} nodad",
            ],
            self.name,
        )
        ip_batch(
            [
                f"link add up{number} type veth peer name radio netns {router}",
                f"addr add 192.0.2.{4 * number + 1}/30 dev up{number}",
                f"addr add 2001:db8:ff0{number}::1/64 dev up{number} nodad",
                f"link set up{number} up",
            ],
            self.far,
        )
        ip_batch(
            [
                "link set lo up",
                f"addr add 10.0.{number}.1/24 dev lan",
                f"addr add 2001:db8:{number}::1/64 dev lan nodad",
                f"addr add 192.0.2.{4 * number + 2}/30 dev radio",
                f"addr add 2001:db8:ff0{number}::2/64 dev radio nodad",
                "link set lan up",
                "link set radio up",
                f"route add default via 192.0.2.{4 * number + 1} dev radio",
                f"route add default via 2001:db8:ff0{number}::1 dev radio",
            ],
            router,
        )
        sh("ip", "-n", self.far, "route", "add", f"2001:db8:{number}::/64", "via", f"2001:db8:ff0{number}::2")
        self.nft(
            number,
            "add chain inet t nat { type nat hook postrouting priority 100; };"
            'add rule inet t nat oifname "radio" meta nfproto ipv4 masquerade',
        )
        for gateway in (f"10.0.{number}.1", f"2001:db8:{number}::1"):
            metric = str(1000 + number)
            self.ip("route", "add", "default", "via", gateway, "dev", device, "metric", metric)
        return router

    def run_far(self, *command: str) -> str:
        """Run a command on the internet."""
        return sh("ip", "netns", "exec", self.far, *command)

    def nft(self, number: int, rules: str) -> None:
        """Run nft commands in the router of usbN, which has a chain `inet t forward` for them."""
        text = (
            f"add table inet t; add chain inet t forward {{ type filter hook forward priority 0; }}; {rules}"
        )
        sh("ip", "netns", "exec", self.routers[number], "nft", text)

    def filter(self, number: int, match: str) -> None:
        """The operator of usbN drops what matches."""
        self.nft(number, f"add rule inet t forward {match} drop")

    def open(self, number: int) -> None:
        """The operator of usbN drops nothing."""
        self.nft(number, "flush chain inet t forward")

    def start_server(self) -> None:
        """Start an SRTLA receiver on the internet, for both families."""
        command = ["ip", "netns", "exec", self.far, sys.executable, "-m", "netbond", "recv"]
        with (self.folder / "recv.log").open("ab") as log:
            self._server = subprocess.Popen(
                [*command, "--user", "root", str(PORT), "127.0.0.1", "5002"], stdout=log, stderr=log
            )
        wait_for(lambda: f":{PORT}" in self.run_far("ss", "-Hlnu"), 15, "the receiver listens")

    def stop_server(self) -> None:
        """Stop it."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None
