"""The GStreamer sender of contrib/: a real x264 whose bitrate follows the advice, over real SRT."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from netbond.srtla.advice import Advice
from netbond.srtla.watch import VERSION, WatchLine
from netbond.system.typed_json import to_json
from tests import ready
from tests.srtla_util import free_ports

pytestmark = pytest.mark.root

SCRIPT = Path(__file__).parents[2] / "contrib" / "gstreamer" / "netbond_send.py"
PYTHON = "/usr/bin/python3"  # whose package python3-gi is
NEEDS = "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst; Gst.init(None)"


class Feed:
    """What `netbond send --watch-socket` is for `netbond watch`, with advice of the test's own."""

    def __init__(self, path: Path) -> None:
        self.rate: int | None = None
        self._end = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError), self._listener.accept()[0] as connection:  # until it or we end
            while not self._end.wait(0.2):
                rate = self.rate
                advice = None if rate is None else Advice(rate, rate, 0, 1000, 0.0, 40)
                line = WatchLine(VERSION, "127.0.0.1:6000", "connected", advice)
                connection.sendall(json.dumps({"ok": True, **to_json(line)}).encode() + b"\n")

    def close(self) -> None:
        self._end.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._thread.join()
        self._listener.close()


class Listener:
    """An SRT listener that counts what arrives."""

    def __init__(self, port: int) -> None:
        uri = f"srt://127.0.0.1:{port}?mode=listener&latency=100"
        command = ["srt-live-transmit", "-q", uri, "file://con"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        ready.udp_port(port, self.process)
        self.octets = 0
        self.first = b""
        self._thread = threading.Thread(target=self._count)
        self._thread.start()

    def _count(self) -> None:
        assert self.process.stdout is not None
        while data := os.read(self.process.stdout.fileno(), 65536):
            self.first = self.first or data
            self.octets += len(data)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def rate(self) -> float:
        """Bit/s over the next second."""
        before, began = self.octets, time.monotonic()
        time.sleep(1.0)
        return (self.octets - before) * 8 / (time.monotonic() - began)


@contextmanager
def running(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.alone
def test_the_bitrate_follows_the_advice(tmp_path: Path) -> None:
    subprocess.run([PYTHON, "-c", NEEDS], check=True)
    (port,) = free_ports(1)
    feed, listener = Feed(tmp_path / "s"), Listener(port)
    log = tmp_path / "log"
    srt = f"srt://127.0.0.1:{port}?mode=caller&latency=100"
    command = [PYTHON, str(SCRIPT), "--socket", str(tmp_path / "s"), "--srt", srt, "--least", "300"]
    try:
        with running(*command, log=log) as process:

            def comes_to(least: float, most: float) -> None:
                for _ in range(20):
                    if least <= (rate := listener.rate()) <= most:
                        return
                raise AssertionError(f"{rate:.0f} bit/s is not between these\n{log.read_text()}")

            ready.wait(lambda: listener.octets, "a stream arrives", process, log)
            assert listener.first[0] == 0x47, "MPEG-TS"
            feed.rate = 4_000_000
            comes_to(3_000_000, 4_200_000)
            feed.rate = 1_000_000
            comes_to(600_000, 1_100_000)
            feed.rate = None  # the rate stays
            comes_to(600_000, 1_100_000)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        assert log.read_text().split() == ["3760", "kbit/s", "940", "kbit/s"]
    finally:
        feed.close()
        listener.close()
