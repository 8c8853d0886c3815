"""The address list as the goal says, in the place that the configuration names."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.schema import Config, SenderConfig
from netbond.config.values import HostPort
from netbond.desired import Desired, desired
from netbond.model import Facts
from netbond.outputs.address_list import AddressListFile
from netbond.problems import Problem
from tests import ready
from tests.unit.boxes import box
from tests.unit.places import agent_in, config_in

FACTS = box("usb0", "usb1")


async def test_it_has_the_uplinks_and_is_written_only_on_change(tmp_path: Path) -> None:
    config, output = config_in(tmp_path), AddressListFile()
    goal = desired(FACTS, config)
    assert await output.apply(FACTS, goal, config) == ()
    assert (tmp_path / "ips").read_text() == "10.0.0.10\n10.0.1.10\n"
    before = (tmp_path / "ips").stat().st_ino
    await output.apply(FACTS, goal, config)
    assert (tmp_path / "ips").stat().st_ino == before
    await output.apply(FACTS, replace(goal, uplinks=goal.uplinks[:1]), config)
    assert (tmp_path / "ips").read_text() == "10.0.0.10\n"


async def test_what_somebody_else_has_written_is_mended(tmp_path: Path) -> None:
    config, output = config_in(tmp_path), AddressListFile()
    await output.apply(FACTS, desired(FACTS, config), config)
    (tmp_path / "ips").write_text("192.0.2.1\n")
    await output.apply(FACTS, desired(FACTS, config), config)
    assert (tmp_path / "ips").read_text() == "10.0.0.10\n10.0.1.10\n"


async def test_the_last_list_stays_unless_an_empty_one_is_wanted(tmp_path: Path) -> None:
    config, output = config_in(tmp_path), AddressListFile()
    await output.apply(FACTS, desired(FACTS, config), config)
    await output.apply(Facts(), Desired(), config)
    assert (tmp_path / "ips").read_text() == "10.0.0.10\n10.0.1.10\n"
    await output.apply(Facts(), Desired(), Config(agent=agent_in(tmp_path, ip_list_empty=True)))
    assert (tmp_path / "ips").read_text() == ""
    assert await output.leave() == ()
    assert (tmp_path / "ips").exists()


async def test_a_reload_names_another_place_and_form(tmp_path: Path) -> None:
    config, output = config_in(tmp_path), AddressListFile()
    goal = desired(FACTS, config)
    await output.apply(FACTS, goal, config)
    config = Config(agent=agent_in(tmp_path, ip_list=tmp_path / "others", ip_list_devices=True))
    await output.apply(FACTS, goal, config)
    assert (tmp_path / "others").read_text() == "10.0.0.10%usb0\n10.0.1.10%usb1\n"
    nowhere = Config(agent=agent_in(tmp_path, ip_list=None))
    assert await output.apply(Facts(), Desired(), nowhere) == ()


# Takes SIGHUP as a sender does, and notes each.
READER = """
trap 'echo told >> told' HUP
echo $$ > pid.new
mv pid.new pid
while :; do sleep 0.02; done
"""


async def test_its_readers_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader = subprocess.Popen(["sh", "-c", READER], cwd=tmp_path)
    try:
        ready.file(tmp_path / "pid", reader)
        config = Config(agent=agent_in(tmp_path, notify_pid_file=tmp_path / "pid"))
        output = AddressListFile()
        with caplog.at_level("INFO"):
            for _ in range(3):
                assert await output.apply(FACTS, desired(FACTS, config), config) == ()
        ready.file(tmp_path / "told", reader)
        assert caplog.messages == [f"the address list has changed; sent SIGHUP to process {reader.pid}"]
    finally:
        reader.kill()
        reader.wait()


async def test_a_place_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    config, output = Config(agent=agent_in(tmp_path, ip_list=tmp_path / "none/ips")), AddressListFile()
    assert await output.apply(FACTS, desired(FACTS, config), config) == (
        f"cannot write the address list {tmp_path}/none/ips: No such file or directory",
    )
    (tmp_path / "none").mkdir()
    assert await output.apply(FACTS, desired(FACTS, config), config) == ()


async def test_that_nobody_could_be_told_is_shown_until_the_list_changes(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("nobody\n")
    config, output = Config(agent=agent_in(tmp_path, notify_pid_file=tmp_path / "pid")), AddressListFile()
    for _ in range(2):  # the second finds the list as it should be
        (problem,) = await output.apply(FACTS, desired(FACTS, config), config)
        assert str(problem).startswith(f"{tmp_path}/pid: ")
    (tmp_path / "pid").unlink()
    one = desired(box("usb0"), config)
    assert await output.apply(FACTS, one, config) == ()


async def test_twins_share_a_line_of_a_plain_list_and_that_is_said(tmp_path: Path) -> None:
    output = AddressListFile()
    facts = box("usb0", "usb1", "usb2")
    plain = config_in(tmp_path)
    goal = desired(facts, plain)
    first = goal.uplinks[0]
    twins = replace(goal, uplinks=tuple(replace(one, address=first.address) for one in goal.uplinks))

    async def said(config: Config) -> list[tuple[str, str, str, str]]:
        found = await output.apply(facts, twins, config)
        problems = [one for one in found if isinstance(one, Problem)]
        return [(one.code, one.subject, one.severity, one.text) for one in problems]

    line = f"{tmp_path}/ips has one line, 10.0.0.10, for 3 modems: usb0, usb1, usb2"
    assert await said(plain) == [("twins-plain-list", "10.0.0.10", "notice", line)]
    told = Config(agent=agent_in(tmp_path, notify_process="netbond-test-none"))
    assert await said(told) == [("twins-plain-list", "10.0.0.10", "degraded", line)]
    assert await said(Config(agent=agent_in(tmp_path, ip_list_devices=True))) == []
    assert await said(Config(agent=agent_in(tmp_path, ip_list=None))) == []
    sender = SenderConfig(HostPort("127.0.0.1", 6000), HostPort("bond.example.org", 5000))
    assert await said(replace(plain, sender=(sender,))) == []
    assert await output.apply(facts, goal, plain) == ()
