"""What is beyond the modems of a virtual machine: a namespace with an address that all of them reach.

QEMU runs in it, so that nothing of the test leaves it. In it are an SRTLA receiver and an SRT listener.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from netbond.lab import netns, payload
from tests import ready

ADDRESS = "198.51.100.1"
RECEIVER_PORT = 5000
_SRT_PORT = 5002
_SINK_PORT = 7000


class World:
    """The namespace; `with` it."""

    def __init__(self) -> None:
        self.namespace = f"nbvm{os.getpid()}"

    def __enter__(self) -> Self:
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        netns.ip_batch(["link set lo up", f"address add {ADDRESS}/32 dev lo"], self.namespace)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "delete", self.namespace], check=True)

    @contextlib.contextmanager
    def receiving(self, folder: Path) -> Iterator[payload.Tally]:
        """An SRTLA receiver with an SRT listener behind it; the tally of what comes out."""

        def bound() -> socket.socket:
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sink.bind(("127.0.0.1", _SINK_PORT))
            sink.settimeout(0.2)
            return sink

        tally = payload.Tally()
        done = threading.Event()

        def count(sink: socket.socket) -> None:
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    tally.take(sink.recv(1 << 16), time.monotonic())

        commands = [
            ["srt-live-transmit", "-a:no", "-q", "-chunk:1316",
             f"srt://127.0.0.1:{_SRT_PORT}?mode=listener&latency=3000&lossmaxttl=100",
             f"udp://127.0.0.1:{_SINK_PORT}"],
            [sys.executable, "-m", "netbond", "recv", "--srtla-port", str(RECEIVER_PORT),
             "--srt-hostname", "127.0.0.1", "--srt-port", str(_SRT_PORT)],
        ]  # fmt: skip
        with netns.call_in(self.namespace, bound) as sink, (folder / "receiver.log").open("ab") as log:
            counting = threading.Thread(target=count, args=(sink,))
            counting.start()
            running = [
                subprocess.Popen(["ip", "netns", "exec", self.namespace, *command], stdout=log, stderr=log)
                for command in commands
            ]
            try:
                for port, process in zip((_SRT_PORT, RECEIVER_PORT), running, strict=True):
                    ready.udp_port(port, process, folder / "receiver.log")
                yield tally
            finally:
                done.set()
                counting.join()
                for process in running:
                    process.terminate()
                    process.wait(10)
