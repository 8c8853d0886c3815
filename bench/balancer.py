"""What becomes of a bond behind a balancer: two receivers, four links, a real SRT stream, in namespaces.

A balancer of layer 4 sees datagrams, and not that four flows from four operators are one stream. nftables
plays it, by each rule that balancers have for UDP, and by the one that keeps links together: by port.

usage: sudo .venv/bin/python -m bench.balancer
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.srtla_net import CHUNK, RECEIVER, Net, Stream, eventually, net, sending_agent, sh

LINKS = 4
SECONDS = 15.0
LISTENER = "srt://127.0.0.1:5002?mode=listener&lossmaxttl=40&latency=1000"
MBPS = 3.0
HOSTS = ("10.8.0.2", "10.8.1.2")
MAP = f"map {{ 0 : {HOSTS[0]}, 1 : {HOSTS[1]} }}"
PER_FLOW = """table ip balance {{
 chain in {{
  type nat hook prerouting priority dstnat;
  ip daddr {vip} udp dport 5000 {rule}
 }}
}}"""
PER_DATAGRAM = """table ip balance {{
 chain in {{
  type filter hook prerouting priority raw;
  udp dport 5000 notrack
  udp sport 5000 notrack
  ip daddr {vip} udp dport 5000 ip daddr set numgen inc mod 2 {map}
 }}
 chain out {{
  type filter hook postrouting priority srcnat;
  udp sport 5000 ip saddr set {vip}
 }}
}}"""


@dataclass(frozen=True)
class Way:
    """How a balancer chooses: its name, and its rules for nft."""

    name: str
    rules: str


def per_flow(rule: str) -> str:
    return PER_FLOW.format(vip=RECEIVER, rule=rule)


WAYS = (
    Way("by flow, one after the other", per_flow(f"dnat to numgen inc mod 2 {MAP}")),
    Way("by a hash of the source's address", per_flow(f"dnat to jhash ip saddr mod 2 seed 0x7 {MAP}")),
    Way("by datagram", PER_DATAGRAM.format(vip=RECEIVER, map=MAP)),
    Way(
        "by the destination's port",
        per_flow(f"dnat to udp dport map {{ 5000 : {HOSTS[0]}, 5001 : {HOSTS[1]} }}"),
    ),
)


def add_host(lab: Net, number: int) -> str:
    """A host behind the balancer, with a receiver; return its namespace."""
    name, at = lab.namespace(f"h{number}"), f"10.8.{number}"
    link = ("type", "veth", "peer", "eth0", "netns", name)
    sh("ip", "link", "add", f"host{number}", "netns", lab.far, *link)
    for space, device, address in (
        (lab.far, f"host{number}", f"{at}.1/24"),
        (name, "eth0", HOSTS[number] + "/24"),
    ):
        sh("ip", "-n", space, "addr", "add", address, "dev", device)
        sh("ip", "-n", space, "link", "set", device, "up")
    sh("ip", "-n", name, "link", "set", "lo", "up")
    sh("ip", "-n", name, "route", "add", "default", "via", f"{at}.1")
    lab.netbond(name, "recv", "--listen", "0.0.0.0:5000", "--srt", "127.0.0.1:5002", log=f"recv{number}.log")
    return name


@contextlib.contextmanager
def behind(way: Way) -> Iterator[Net]:
    """A net whose far end is the balancer."""
    with tempfile.TemporaryDirectory() as folder, net(Path(folder), LINKS) as lab:
        sh("ip", "netns", "exec", lab.far, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        rules = lab.directory / "rules"
        rules.write_text(way.rules)
        sh("ip", "netns", "exec", lab.far, "nft", "-f", str(rules))
        yield lab


class Hosts:
    """Both hosts, with an SRT listener each, that count what arrives at each."""

    def __init__(self, lab: Net) -> None:
        self.names = [add_host(lab, number) for number in range(len(HOSTS))]
        self.files = [lab.directory / f"got{number}" for number in range(len(HOSTS))]
        for name, file in zip(self.names, self.files, strict=True):
            with file.open("wb") as got:
                lab.popen(
                    name, ["srt-live-transmit", "-q", f"-chunk:{CHUNK}", LISTENER, "file://con"], stdout=got
                )

    def arrived(self) -> list[set[int]]:
        """The numbers of the chunks that are at each host."""
        found = []
        for file in self.files:
            data = file.read_bytes()
            heads = (data[at : at + 16] for at in range(0, len(data) - CHUNK + 1, CHUNK))
            found.append({int.from_bytes(head[8:], "big") for head in heads if head[:8] == b"NBTEST00"})
        return found


def trial(way: Way) -> str:
    """A row of the table."""
    with behind(way) as lab:
        hosts = Hosts(lab)
        sender = sending_agent(lab)
        stream = Stream(lab, listener=False)
        with contextlib.suppress(AssertionError):
            eventually(lambda: count_up(sender.stats) == LINKS, 5)
        ups: list[int] = []
        stream.start(MBPS)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            ups.append(count_up(sender.stats))
            time.sleep(0.5)
        cost = sum(link["bytes"] for link in sender.stats["links"]) / sender.stats["bytes"]
        stream.stop_numbers()
        time.sleep(3)  # SRT's latency, and the listener's buffer
        arrived, sent = hosts.arrived(), stream.sent
    first = min((min(numbers) for numbers in arrived if numbers), default=sent)
    have = len(set().union(*arrived) & set(range(first, sent)))
    up = f"{min(ups)}" if min(ups) == max(ups) else f"{min(ups)} to {max(ups)}"
    share = f"{100 * have / (sent - first):.1f} %" if have else "nothing"
    return f"| {way.name} | {up} of {LINKS} | {share} | {cost:.2f} |"


def count_up(stats: dict[str, Any]) -> int:
    return sum(link["state"] == "up" for link in stats.get("links", []))


def main() -> None:
    """Print the table."""
    print(
        "| the balancer chooses | links up | arrived | bytes sent for each of the stream |\n|---|---|---|---|"
    )
    for way in WAYS:
        try:
            print(trial(way), flush=True)
        except subprocess.CalledProcessError as error:
            print(f"| {way.name} | {error} |")


if __name__ == "__main__":
    main()
