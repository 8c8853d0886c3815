"""`netbond explain` beside a real kernel: the walk, the intention and the kernel's own answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, wait_for
from tests.netns.test_ipv6 import plug6

pytestmark = pytest.mark.root


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Two modems with both families, and pins."""
    with Box(tmp_path) as box:
        for number in range(2):
            box.plug(f"usb{number}", number)
            plug6(box, f"usb{number}", number)
        box.configure('[[pin]]\ndestination = ["203.0.113.0/24"]\nuplinks = ["usb1"]')
        yield box


def explain(box: Box, *words: str) -> subprocess.CompletedProcess[str]:
    command = box.command("explain", *words, "--config", str(box.config_file))
    return subprocess.run(command, capture_output=True, text=True)


QUERIES = [
    ["8.8.8.8"],
    ["8.8.8.8", "--from", "10.0.1.10"],
    ["8.8.8.8", "--dev", "usb0"],
    ["8.8.8.8", "--dev", "usb1", "--from", "10.0.1.10"],
    ["203.0.113.9"],
    ["203.0.113.9", "--from", "10.0.0.10"],
    ["10.0.0.77"],
    ["10.0.0.10"],
    ["2001:4860:4860::8888"],
    ["2001:4860:4860::8888", "--from", "2001:db8:0:1::10"],
    ["2001:4860:4860::8888", "--dev", "usb0"],
]


def test_all_agree_while_the_agent_runs_also_with_a_link_down(box: Box) -> None:
    box.start()
    for words in QUERIES:
        found = explain(box, *words)
        assert found.returncode == 0, found.stdout + found.stderr
    box.ip("link", "set", "usb1", "down")
    for words in QUERIES[:8]:
        wait_for(lambda words=words: explain(box, *words).returncode == 0, 2.0, f"{words}: all agree")  # type: ignore[misc]


def test_it_says_what_is_missing(box: Box) -> None:
    box.start()
    box.stop()
    found = explain(box, "8.8.8.8", "--from", "10.0.1.10")
    assert found.returncode == 2
    lines = found.stdout.splitlines()
    assert "result: via 10.0.0.1 dev usb0 (table 254)" in lines
    assert "the kernel's own answer: via 10.0.0.1 dev usb0 (table 254)" in lines
    assert "netbond intends:" in lines
    assert "result: via 10.0.1.1 dev usb1 (table 101)" in lines


def test_for_programs(box: Box) -> None:
    box.start()
    found = json.loads(explain(box, "8.8.8.8", "--from", "10.0.1.10", "--json").stdout)
    assert found["agree"] is True
    assert found["kernel"]["ways"] == [{"device": "usb1", "gateway": "10.0.1.1"}]
    assert found["kernel"]["table"] == 101


RIVALS = """\
-4 route add default via 10.0.1.1 dev usb1 table 55
-6 route add default via 2001:db8:0:1::1 dev usb1 table 55
-4 rule add priority 10 fwmark 0x1/0xff lookup 55
-4 rule add priority 11 uidrange 1000-1999 lookup 55
-4 rule add priority 12 ipproto 6 dport 443 lookup 55
-4 rule add priority 13 sport 5000-5010 lookup 55
-4 rule add priority 14 fwmark 0x200/0xf00 goto 30
-4 rule add priority 15 not from 10.0.0.0/8 lookup 55
-4 rule add priority 16 tos 0x10 lookup 55
-4 rule add priority 17 iif usb0 lookup 55
-4 rule add priority 18 l3mdev unreachable
-4 rule add priority 20 fwmark 0x200/0xf00 prohibit
-4 rule add priority 30 fwmark 0x200/0xf00 lookup 55
-6 rule add priority 10 fwmark 0x1/0xff lookup 55
-6 rule add priority 11 uidrange 1000-1999 lookup 55
-6 rule add priority 12 ipproto 6 dport 443 lookup 55
-6 rule add priority 13 sport 5000-5010 lookup 55
-6 rule add priority 18 l3mdev unreachable
"""
FROM = {"8.8.8.8": "10.0.0.10", "2001:4860:4860::8888": "2001:db8::10"}


def test_rules_of_others_that_ask_for_more(box: Box) -> None:
    """All from usb0's address: packets that some rule asks for leave by usb1, as the kernel says too."""
    box.start()
    for line in RIVALS.splitlines():
        box.ip(*line.split())
    packets: list[tuple[str, bool]] = [
        ("", False),
        ("--mark 1", True),
        ("--mark 0x301", True),
        ("--mark 2", False),
        ("--uid 1500", True),
        ("--uid 999", False),
        ("--proto tcp --dport 443", True),
        ("--proto tcp --dport 80", False),
        ("--dport 443", False),
        ("--sport 5005", True),
        ("--proto tcp --sport 5005 --dport 80", True),
        ("--sport 5011", False),
    ]
    for destination, source in FROM.items():
        for words, elsewhere in packets[:: 1 if "." in destination else 3]:
            found = explain(box, destination, "--from", source, "--json", *words.split())
            assert found.returncode == 0, (words, found.stdout + found.stderr)
            (way,) = json.loads(found.stdout)["kernel"]["ways"]
            assert way["device"] == ("usb1" if elsewhere else "usb0"), words
    found = explain(box, "8.8.8.8", "--from", "10.0.0.10", "--mark", "0x200")
    assert found.returncode == 0, found.stdout
    assert "on to 30" in found.stdout
    found = explain(box, "8.8.8.8", "--from", "10.0.0.10")
    says = {
        line.split(":")[0].strip(): line.split("  ")[-1] for line in found.stdout.splitlines() if ":" in line
    }
    assert {number: says[number].strip() for number in map(str, range(10, 19))} == {
        "10": "only for packets with the mark 0x1/0xff",
        "11": "only for users 1000-1999",
        "12": "only for ports 443",
        "13": "only for source ports 5000-5010",
        "14": "only for packets with the mark 0x200/0xf00",
        "15": "not for such packets",
        "16": "only for packets with TOS 16",
        "17": "for packets that come in",
        "18": "only for what is in a VRF",
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["8.8.8.8", "--from", "192.0.2.1"], "--from 192.0.2.1 is not an address of this box"),
        (["8.8.8.8", "--dev", "usb9"], "--dev 'usb9': there is no such interface"),
        (["8.8.8.8", "--from", "2001:db8:0:1::10"], "of different families"),
        (["no such name"], "is not an address, and does not resolve"),
        (["8.8.8.8", "--mark", "red"], "--mark 'red' is not a number from 0 to 4294967295"),
        (["8.8.8.8", "--dport", "65536"], "--dport '65536' is not a number from 0 to 65535"),
        (["8.8.8.8", "--uid", "nobody at all"], "there is no such user"),
        (["8.8.8.8", "--proto", "icmp", "--dport", "1"], "--proto icmp has no ports"),
    ],
)
def test_mistakes_get_one_line(box: Box, words: list[str], says: str) -> None:
    found = explain(box, *words)
    assert found.returncode == 64
    assert says in found.stderr
    assert found.stderr.count("\n") == 1
