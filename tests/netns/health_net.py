"""Makes a box and modems in namespaces, with real gateways, DNS and web servers behind them. Needs root."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import ipaddress
import itertools
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from netbond.health.probes import ProbedUplink
from netbond.lab.netns import call_in, ip_batch
from netbond.model import Uplink
from tests.netns.box import sh, wait_for

T = TypeVar("T")

_numbers = itertools.count()

# Hosts of the internet. Each modem's namespace has all of them, so the answer shows which modem was used.
HOST, OTHER, HOST6 = "192.0.2.1", "192.0.2.2", "2001:db8:ffff::1"


class Modem:
    """One modem, and the internet behind it, in namespace `name`; its end of the cable is named `lan`."""

    def __init__(self, net: Net, number: int, address: str) -> None:
        self.net = net
        self.device = f"usb{number}"
        self.name = f"{net.name}m{number}"
        self.interface = ipaddress.ip_interface(address)
        self.gateway = self.interface.network[1]
        self.interface6 = ipaddress.ip_interface(f"2001:db8:{number}::10/64")
        self.gateway6 = ipaddress.ip_address(f"fe80::{number + 1}")
        net.add(self.name)
        device, six = self.device, f"2001:db8:{number}::1/64"
        ip_batch(
            [
                f"link add {device} type veth peer name lan netns {self.name}",
                f"link set {device} up",
                f"addr add {address} dev {device}",
                f"addr add {self.interface6} dev {device} nodad",
            ],
            net.name,
        )
        ip_batch(
            [
                "link set lo up",
                "link set lan up",
                f"addr add {self.gateway}/{self.interface.network.prefixlen} dev lan",
                f"addr add {self.gateway6}/64 dev lan nodad",
                f"addr add {six} dev lan nodad",
                *(f"addr add {host} dev lo" for host in (HOST, OTHER)),
                # nodad on lo, too: otherwise the address is tentative until a kernel worker has run.
                f"addr add {HOST6} dev lo nodad",
            ],
            self.name,
        )
        ip_batch(
            [
                f"route add default via {self.gateway} dev {device} metric {1000 + number}",
                f"route add default via {self.gateway6} dev {device} metric {1000 + number}",
            ],
            net.name,
        )

    def ip(self, *words: str) -> str:
        """Run `ip` in the modem."""
        return sh("ip", "-n", self.name, *words)

    def nft(self, rules: str) -> None:
        """Run nft commands in the modem, after making a chain `inet t input` for them."""
        text = f"add table inet t; add chain inet t input {{ type filter hook input priority 0; }}; {rules}"
        sh("ip", "netns", "exec", self.name, "nft", text)

    def hang(self) -> None:
        """Make the modem answer nothing, not even ARP, while its cable stays connected."""
        self.nft("flush chain inet t input; add rule inet t input drop")
        self.ip("link", "set", "lan", "arp", "off")

    def recover(self) -> None:
        """Undo hang()."""
        self.nft("flush chain inet t input")
        self.ip("link", "set", "lan", "arp", "on")

    # --- as the box sees it --------------------------------------------------------------------------------

    def probed(self, family: int = 4, **other: Any) -> ProbedUplink:
        """Return the probe's parameters for this modem."""
        if family == 6:
            return ProbedUplink(self.device, self.interface6.ip, self.gateway6, **other)
        return ProbedUplink(self.device, self.interface.ip, self.gateway, **other)

    def uplink(self, family: int = 4, **other: Any) -> Uplink:
        """Return the uplink that netbond would find."""
        address, gateway = (self.interface, self.gateway) if family == 4 else (self.interface6, self.gateway6)
        return Uplink(self.device, address, gateway, "configuration", 100 + int(self.device[3:]), **other)

    # --- servers behind it ---------------------------------------------------------------------------------

    def socket(self, kind: int, host: str = HOST, port: int = 0) -> socket.socket:
        """Open a bound socket in the modem's namespace; a stream socket listens."""

        def make() -> socket.socket:
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            if kind == socket.SOCK_STREAM:
                sock.listen()
            return sock

        return self.net.closing(call_in(self.name, make))

    def http(self, status: int, host: str = HOST, headers: dict[str, str] | None = None) -> list[str]:
        """Run a web server on port 80 that answers with this status; yield the list of requested paths."""
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(f"{self.headers['Host']}{self.path}")
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(http.server.ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        server = call_in(self.name, lambda: Server((host, 80), Handler))
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()

        def stop() -> None:
            server.shutdown()
            thread.join()
            server.server_close()

        self.net.cleanup.callback(stop)
        return asked

    def dnsmasq(self, *options: str, host: str = HOST) -> subprocess.Popen[bytes]:
        """Run a real DNS server on port 53, which knows only the names in its options."""
        command = [
            "ip",
            "netns",
            "exec",
            self.name,
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
        ]
        command += ["--no-resolv", "--no-hosts", "--pid-file=", "--bind-interfaces", "--user=root"]
        process = subprocess.Popen(
            [*command, f"--listen-address={host}", *options], stderr=subprocess.DEVNULL
        )

        def stop() -> None:
            process.terminate()
            process.wait()

        self.net.cleanup.callback(stop)
        listening = f"{host}:53" if ":" not in host else f"[{host}]:53"
        wait_for(
            lambda: listening in sh("ip", "netns", "exec", self.name, "ss", "-lnu"), 5, "dnsmasq listens"
        )
        return process


class Net:
    """A box, to which tests add modems."""

    def __init__(self) -> None:
        self.name = f"nbh{os.getpid()}-{next(_numbers)}"
        self.names: list[str] = []  # of the namespaces
        self.count = 0
        self.cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.add(self.name)
        sh("ip", "-n", self.name, "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cleanup.close()
        for name in self.names:
            sh("ip", "netns", "del", name, check=False)

    def add(self, name: str) -> None:
        """Make a namespace that is removed with this one."""
        self.names.append(name)
        sh("ip", "netns", "add", name)

    def modem(self, address: str = "") -> Modem:
        """Add a modem; the first is usb0, with 10.0.0.10/24 from 10.0.0.1."""
        number, self.count = self.count, self.count + 1
        return Modem(self, number, address or f"10.0.{number}.10/24")

    def closing(self, sock: socket.socket) -> socket.socket:
        self.cleanup.callback(sock.close)
        return sock

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in an event loop in the box."""
        return call_in(self.name, lambda: asyncio.run(work()))
