"""`netbond explain` beside a real kernel: the walk, the intention and the kernel's own answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box
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
        found = explain(box, *words)
        assert found.returncode == 0, found.stdout + found.stderr


def test_it_says_what_is_missing(box: Box) -> None:
    box.start()
    box.stop()
    found = explain(box, "8.8.8.8", "--from", "10.0.1.10")
    assert found.returncode == 2
    lines = found.stdout.splitlines()
    assert "so it goes via 10.0.0.1 dev usb0 (table 254)" in lines
    assert "asked itself, the kernel says: via 10.0.0.1 dev usb0 (table 254)" in lines
    assert "netbond intends otherwise:" in lines
    assert "so it would go via 10.0.1.1 dev usb1 (table 101)" in lines


def test_for_programs(box: Box) -> None:
    box.start()
    found = json.loads(explain(box, "8.8.8.8", "--from", "10.0.1.10", "--json").stdout)
    assert found["agree"] is True
    assert found["kernel"]["ways"] == [{"device": "usb1", "gateway": "10.0.1.1"}]
    assert found["kernel"]["table"] == 101


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["8.8.8.8", "--from", "192.0.2.1"], "--from 192.0.2.1 is no address of this box"),
        (["8.8.8.8", "--dev", "usb9"], "--dev 'usb9': there is no such interface"),
        (["8.8.8.8", "--from", "2001:db8:0:1::10"], "of different families"),
        (["no such name"], "is no address, and no name that resolves"),
    ],
)
def test_mistakes_get_one_line(box: Box, words: list[str], says: str) -> None:
    found = explain(box, *words)
    assert found.returncode == 64
    assert says in found.stderr
    assert found.stderr.count("\n") == 1
