"""SIGHUP: the difference of a new configuration is applied, and nothing else is disturbed."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        box.ip("addr", "add", "127.0.0.1/8", "dev", "lo", check=False)
        for number in range(2):
            box.plug(f"usb{number}", number)
        yield box


def hang_up(box: Box) -> None:
    assert box.agent is not None
    box.agent.send_signal(signal.SIGHUP)


def test_routing_changes_in_place(box: Box) -> None:
    box.start()
    box.configure('[[uplink]]\nmatch = "usb0"\nweight = 3\n[[uplink]]\nmatch = "usb1"\ntable = 150')
    hang_up(box)
    wait_for(lambda: "dev usb0 weight 3" in box.table(222), 2.0, "the weight")
    wait_for(lambda: "lookup 101" not in box.rules(), 2.0, "the old table is gone")
    wait_for(lambda: "150:	from 10.0.1.10 lookup 150" in box.rules(), 2.0, "the new one's rule")
    wait_for(lambda: box.table(101) == "", 2.0, "the old one is empty")
    wait_for(lambda: box.status()["agent"]["problems"] == [], 2.0, "nothing to say")


def test_an_invalid_file_leaves_the_old_one_in_force_and_says_so(box: Box) -> None:
    box.start()
    before = box.state()
    text = box.config_file.read_text()
    box.config_file.write_text('[[uplink]]\nmtch = "usb*"')
    hang_up(box)
    wait_for(lambda: box.status()["agent"]["problems"] != [], 2.0, "it is said")
    (problem,) = box.status()["agent"]["problems"]
    assert problem.startswith("not reloaded, what was read before stays in force: ")
    assert "did you mean 'match'?" in problem
    assert box.state() == before
    box.config_file.write_text(text)
    hang_up(box)
    wait_for(lambda: box.status()["agent"]["problems"] == [], 2.0, "all is well again")


def test_what_needs_a_restart_is_named(box: Box) -> None:
    box.start()
    box.configure("[routing]\nprotocol = 79", agent='user = "daemon"')
    hang_up(box)
    wait_for(lambda: len(box.status()["agent"]["problems"]) == 2, 2.0, "both are named")
    assert box.status()["agent"]["problems"] == [
        "agent.user has changed: restart netbond to apply it",
        "routing.protocol has changed: restart netbond to apply it",
    ]
    assert "proto 79" not in box.rules()


def test_keys_that_only_a_source_of_facts_reads_are_named_too(box: Box) -> None:
    """The agent holds the file of data plans and the connections to the bus: they stay as they were."""
    box.start()
    before = box.config_file.read_text()
    box.configure(agent="networkmanager = false\nmodemmanager = false")
    box.config_file.write_text(box.config_file.read_text().replace("/data", "/elsewhere"))
    hang_up(box)
    wait_for(lambda: len(box.status()["agent"]["problems"]) == 3, 2.0, "all are named")
    assert box.status()["agent"]["problems"] == [
        "agent.data_dir has changed: restart netbond to apply it",
        "agent.networkmanager has changed: restart netbond to apply it",
        "agent.modemmanager has changed: restart netbond to apply it",
    ]
    # What is in force counts, not what was read last: as long as the file differs, it is said.
    reloads = box.log.read_text().count("the configuration is reloaded")
    hang_up(box)
    wait_for(
        lambda: box.log.read_text().count("the configuration is reloaded") > reloads, 2.0, "it is read again"
    )
    assert len(box.status()["agent"]["problems"]) == 3
    box.config_file.write_text(before)
    hang_up(box)
    wait_for(lambda: box.status()["agent"]["problems"] == [], 2.0, "the file says again what is in force")
    box.stop()
    assert not (box.folder / "elsewhere").exists()


def test_the_address_list_moves(box: Box) -> None:
    box.start()
    box.configure(agent="ip_list_devices = true")
    hang_up(box)
    ips = box.folder / "ips"
    wait_for(lambda: ips.read_text() == "10.0.0.10%usb0\n10.0.1.10%usb1\n", 2.0, "the list in its new form")


def engine_pids(box: Box) -> dict[str, int]:
    return {e["name"]: e["pid"] for e in box.status()["engines"] if e["state"] == "running"}


def receiver(port: int) -> str:
    return f'[[receiver]]\nlisten = "127.0.0.1:{port}"\nsrt = "127.0.0.1:1"\n'


def test_engines_come_and_go_and_the_others_run_on(box: Box) -> None:
    box.configure(receiver(5000) + receiver(5001))
    box.start()
    first, second, third = (f"receiver 127.0.0.1:{port}" for port in (5000, 5001, 5002))
    wait_for(lambda: set(engine_pids(box)) == {first, second}, 10.0, "both run")
    before = engine_pids(box)
    # The second has other work on the same port, the first goes on, the third is new.
    box.configure(receiver(5000) + receiver(5001).replace(':1"\n', ':2"\n') + receiver(5002))
    hang_up(box)
    wait_for(lambda: set(engine_pids(box)) == {first, second, third}, 10.0, "all run")
    wait_for(
        lambda: engine_pids(box).get(second, before[second]) != before[second], 10.0, "the second is another"
    )
    assert engine_pids(box)[first] == before[first]
    box.configure(receiver(5002))
    hang_up(box)
    wait_for(lambda: set(engine_pids(box)) == {third}, 10.0, "one is left")
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before.values()), 5.0, "they ended")


def test_a_storm_of_signals(box: Box) -> None:
    box.start()
    before = box.state()
    for _ in range(50):
        hang_up(box)
    wait_for(lambda: box.state() == before and box.status()["agent"]["running"], 2.0, "as before")


def test_names_of_pins_are_looked_up(box: Box) -> None:
    """localhost is in every /etc/hosts; a name that is nowhere is named."""
    assert socket.getaddrinfo("localhost", None)
    box.configure('[[pin]]\ndestination = ["localhost", "nowhere.invalid"]\nuplinks = ["usb1"]')
    box.start()
    wait_for(lambda: "127.0.0.1 via 10.0.1.1 dev usb1" in box.table(221), 5.0, "the address of localhost")
    wait_for(lambda: len(box.status()["agent"]["problems"]) == 1, 10.0, "the other one is named")
    assert box.status()["agent"]["problems"][0].startswith("pin: nowhere.invalid: ")
    box.configure()
    hang_up(box)
    wait_for(lambda: box.table(221) == "", 2.0, "no pins any more")
    wait_for(lambda: box.status()["agent"]["problems"] == [], 2.0, "nor problems with them")


def test_checks_that_are_renamed_with_those_who_use_them(box: Box) -> None:
    """What is named in one part of the file is gone from the other in the same moment."""
    check = '[[check]]\nname = "{0}"\nkind = "icmp"\ntargets = ["192.0.2.1"]\n'
    uplink = '[[uplink]]\nmatch = "usb0"\nchecks = ["{0}"]\n'
    box.configure(check.format("early") + uplink.format("early"))
    box.start()
    box.configure(check.format("late") + uplink.format("late"))
    hang_up(box)
    wait_for(lambda: "late" in str(box.status()["health"]), 5, "the new check")
    wait_for(lambda: "early" not in str(box.status()["health"]), 5, "not the old one")
    wait_for(lambda: box.status()["agent"]["problems"] == [], 5, "nothing to say")
