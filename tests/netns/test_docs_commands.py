"""Runs commands of the documentation in a box with four modems; they print what their pages say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs_blocks import Block, Command, blocks, commands
from tests.docs_commands import RUN, entry
from tests.netns.box import Box, wait_for

pytestmark = pytest.mark.root

CONFIG = """
[[uplink]]
match = "usb0"
[[uplink]]
match = "usb*"
[[pin]]
destination = ["203.0.113.0/24"]
uplinks = ["usb0"]
[[sender]]
listen = "127.0.0.1:6000"
receiver = "192.0.2.1:5000"
"""
STATUS = {"netbond config check typo.toml": 78}
ANY = {"ps -C dhclient,NetworkManager,dhcpcd,systemd-networkd -o comm="}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Four modems; an agent that has done its work; the names of its tables where `ip` looks for them."""
    folder = tmp_path_factory.mktemp("box")
    with Box(folder) as box:
        for number in range(4):
            box.plug(f"usb{number}", number)
        box.configure(CONFIG)
        (box.etc / "iproute2").symlink_to(folder / "iproute2")
        (folder / "bin").mkdir()
        netbond = folder / "bin/netbond"
        netbond.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m netbond "$@"\n')
        netbond.chmod(0o755)
        (folder / "here").mkdir()
        (folder / "here/netbond.toml").write_text(CONFIG)
        (folder / "here/my.toml").write_text(CONFIG)
        (folder / "here/typo.toml").write_text('[agent]\nip_lst = "/tmp/ips"\n')
        boxes = next(block for block in blocks() if block.text.startswith("# boxes.toml"))
        (folder / "here/boxes.toml").write_text(boxes.text)
        box.start()
        wait_for(lambda: len(box.status()["uplinks"]) == 4, 5, "all uplinks are there")
        assert "usb3" in run(box, "netbond set usb3 weight 3 --yes").stdout
        yield box


def run(box: Box, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the documentation in the box; its own folder stands for /etc/netbond."""
    text = command.replace("sudo ", "").replace("/etc/netbond/", "./").replace("/etc/netbond", ".")
    text = text.replace("ADDRESS-OF-AN-UPLINK", "10.0.0.10")
    environment = os.environ | box.environment | {"NETBOND_CONFIG": str(box.config_file)}
    environment["PATH"] = f"{box.folder}/bin:{environment['PATH']}"
    return subprocess.run(
        ["ip", "netns", "exec", box.name, "sh", "-c", text],
        cwd=box.folder / "here",
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def shape(text: str) -> list[str]:
    """The lines without what differs each time: numbers, units of time, who did it, blanks."""
    text = re.sub(r"\bby \w+", "by somebody", text)
    text = re.sub(r"\d+ (?:s|min|h|d)\b", "0 s", text)
    return [" ".join(re.sub(r"[\d.]*\d", "0", line).split()) for line in text.splitlines()]


# A command that several pages have is run once, unless they say what it prints.
COMMANDS = {(each.text, each.printed): each for each in commands() if entry(each.text) in RUN}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=str)
def test_a_command_does_and_prints_what_its_page_says(box: Box, command: Command) -> None:
    key = command.text.removeprefix("sudo ")
    if key.startswith("ip r") and not Path("/etc/iproute2").is_dir():
        pytest.skip("without /etc/iproute2 nothing can be mounted there, and tables have no names")
    done = run(box, command.text)
    assert key in ANY or done.returncode == STATUS.get(key, 0), done
    printed = [line for line in shape(done.stdout + done.stderr) if line]
    for line in command.printed.splitlines():
        # What a page says of a line stands behind it.
        if re.search(RUN[key], line) and (wanted := shape(line)[0]):
            assert any(wanted == got or wanted.startswith(f"{got} ") for got in printed), (line, printed)


def test_nothing_is_to_be_changed_on_a_box_that_the_agent_has_set_up(box: Box) -> None:
    done = run(box, "netbond plan")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("block", [each for each in blocks() if each.language == "nft"], ids=str)
def test_tables_of_nftables_are_valid(box: Box, block: Block) -> None:
    subprocess.run(
        ["ip", "netns", "exec", box.name, "nft", "--check", "--file", "-"],
        input=block.text,
        text=True,
        check=True,
    )
