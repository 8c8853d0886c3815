"""The page of streams with a real SRT stream: as NOALBS reads it, and beside libsrt's own statistics."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests import noalbs, ready
from tests.srtla_net import CHUNK, Net, Stream, eventually, net, sh

pytestmark = pytest.mark.root

KEY = "0123456789abcdef"
PUBLISHER = "publish/live/feed1"
PAGE = "http://127.0.0.1:8181/stats"


class Watched(Stream):
    """A stream whose listener writes libsrt's statistics to a file."""

    def listen(self) -> None:
        self.stats = self.net.directory / "listener.json"
        self.listener = self.net.popen(
            self.net.far,
            [
                "srt-live-transmit", "-q", "-a:no", f"-chunk:{CHUNK}", "-s:20", "-f", "-pf:json",
                f"-statsout:{self.stats}",
                f"srt://127.0.0.1:5002?mode=listener&lossmaxttl=40&latency={self.latency}", "file://con",
            ],
            "listener.log",
            stdout=subprocess.PIPE,
        )  # fmt: skip
        ready.udp_port(5002, self.listener, self.net.directory / "listener.log")
        self._reader = threading.Thread(target=self._read, args=(self.listener.stdout,), daemon=True)
        self._reader.start()

    def call(self) -> None:
        self.caller = self.net.popen(
            self.net.box,
            [
                "srt-live-transmit", "-q", "-a:no", f"-chunk:{CHUNK}", "file://con",
                f"srt://127.0.0.1:6000?mode=caller&latency={self.latency}&streamid={PUBLISHER}",
            ],
            "caller.log",
            stdin=subprocess.PIPE,
        )  # fmt: skip

    def libsrt(self) -> dict[str, Any]:
        """What libsrt said last."""
        for line in reversed(self.stats.read_text().splitlines()):
            try:
                found: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            return found
        return {}


def receive(lab: Net, *more: str) -> None:
    key = lab.directory / "key"
    key.write_text(KEY + "\n")
    key.chmod(0o600)
    where = ("--listen", "0.0.0.0:5000", "--srt", "127.0.0.1:5002")
    page = ("--stats-listen", "127.0.0.1:8181", "--stats-key-file", str(key))
    lab.netbond(lab.far, "recv", *where, *page, *more, log="recv.log")


def read(lab: Net, kind: dict[str, str], key: str = KEY) -> dict[str, Any] | None:
    """What NOALBS gets of the stream."""

    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{PAGE}?key={key}", timeout=20) as answer:  # noqa: S310 - it is http
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""

    status, text = lab.in_namespace(lab.far, fetch)
    return noalbs.read(status, text, PUBLISHER, kind)


def shows(lab: Net, least_kbps: int) -> None:
    """Wait until NOALBS sees so much."""
    eventually(lambda: (read(lab, noalbs.BELABOX) or {"bitrate": 0})["bitrate"] >= least_kbps, 10)


def test_what_noalbs_sees_is_what_libsrt_says(tmp_path: Path) -> None:
    with net(tmp_path, 2) as lab:
        stream = Watched(lab, latency=300)
        receive(lab, "--srtla-stats")  # which libsrt ignores
        lab.send()
        eventually(lambda: lab.log("send.log").count(": up") == 2, 10)
        assert read(lab, noalbs.BELABOX) is None
        stream.start(mbps=3)
        shows(lab, 2500)
        assert read(lab, noalbs.SRT_LIVE_SERVER, key="another") is None

        def is_right() -> bool:
            found = read(lab, noalbs.SRT_LIVE_SERVER)
            if found is None:
                return False
            buffer = found["msRcvBuf"]  # nearly all of SRT's latency
            return bool(2500 < found["bitrate"] < 3500 and 0 < found["rtt"] < 300 and 150 < buffer < 400)

        eventually(is_right, 10)

        table = "inet loss"
        sh("ip", "netns", "exec", lab.far, "nft", f"""add table {table}
            add chain {table} in {{ type filter hook input priority 0; }}
            add rule {table} in udp dport 5000 numgen random mod 100 < 80 drop""")  # fmt: skip
        eventually(lambda: stream.libsrt().get("recv", {}).get("packetsDropped", 0) > 20, 15, "losses")
        sh("ip", "netns", "exec", lab.far, "nft", f"delete table {table}")

        def agrees() -> bool:
            found, theirs = read(lab, noalbs.SRT_LIVE_SERVER), stream.libsrt()["recv"]
            dropped, belated = theirs["packetsDropped"], theirs["packetsBelated"]
            return found is not None and dropped - belated <= found["pktRcvDrop"] <= dropped

        eventually(agrees, 10, "the same figure of packets that are lost for good")
        found = read(lab, noalbs.SRT_LIVE_SERVER)
        assert found is not None
        assert found["pktRcvLoss"] >= found["pktRcvDrop"] > 0

        stream.caller.kill()
        eventually(lambda: read(lab, noalbs.BELABOX) is None, 10, "it is offline")


def test_of_several_processes_the_front_has_the_page(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        stream = Watched(lab, latency=200)
        receive(lab, "--workers", "2", "--user", "nobody")
        lab.send()
        stream.start(mbps=2)
        shows(lab, 1500)
