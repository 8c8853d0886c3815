"""The address list: its content, its file in a place where anybody may write, and who is told."""

import os
import threading
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest

from netbond.engines.address_list import AddressList, Update, render, twins
from netbond.model import Uplink, UplinkState
from netbond.problems import Problem
from tests.hangup import Start, name, start, was_told

__all__ = ["name", "start"]  # fixtures


def uplink(device: str, address: str, table: int, state: str = "up") -> Uplink:
    return Uplink(device, ip_interface(address), None, "", table, state=UplinkState(state))


USB0 = uplink("usb0", "10.0.0.10/24", 100)
USB1 = uplink("usb1", "10.0.1.10/24", 101)
TWIN = uplink("usb2", "10.0.1.10/24", 102)
DOWN = uplink("usb3", "10.0.3.10/24", 103, "no carrier")
V6 = uplink("wlan0", "2001:db8::5/64", 120)


@pytest.mark.parametrize(
    ("uplinks", "devices", "text"),
    [
        ([], False, ""),
        ([DOWN], True, ""),
        ([USB1, USB0], False, "10.0.0.10\n10.0.1.10\n"),  # by table, not by arrival
        ([USB1, USB0], True, "10.0.0.10%usb0\n10.0.1.10%usb1\n"),
        ([TWIN, USB1, DOWN, USB0], False, "10.0.0.10\n10.0.1.10\n"),
        ([TWIN, USB1, DOWN, USB0], True, "10.0.0.10%usb0\n10.0.1.10%usb1\n10.0.1.10%usb2\n"),
        ([V6, USB0], False, "10.0.0.10\n"),
        ([V6, USB0], True, "10.0.0.10%usb0\n"),
    ],
)
def test_render(uplinks: list[Uplink], devices: bool, text: str) -> None:
    assert render(uplinks, devices=devices) == text
    assert render(reversed(uplinks), devices=devices) == text


def test_ipv6_is_listed_only_if_asked_for() -> None:
    assert render([V6, USB0], ipv6=True) == "10.0.0.10\n2001:db8::5\n"
    assert render([V6, USB0], ipv6=True, devices=True) == "10.0.0.10%usb0\n2001:db8::5%wlan0\n"


def test_a_dead_uplink_is_listed_if_the_configuration_wants_it() -> None:
    dead = replace(USB1, state=UplinkState.DEAD)
    assert render([USB0, dead]) == "10.0.0.10\n"
    assert render([USB0, replace(dead, listed=True)]) == "10.0.0.10\n10.0.1.10\n"


# --- the file ----------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ips"


def test_written_once_and_only_on_change(path: Path) -> None:
    addresses = AddressList(path)
    assert addresses.update([USB0]) == Update(written=True)
    assert path.read_text() == "10.0.0.10\n"
    assert path.stat().st_mode & 0o7777 == 0o644
    first = path.stat().st_ino
    assert addresses.update([USB0]) == Update()
    assert AddressList(path).update([USB0]) == Update()  # an agent started anew
    assert path.stat().st_ino == first
    assert addresses.update([USB0, USB1]).written
    assert path.stat().st_ino != first
    assert [entry.name for entry in path.parent.iterdir()] == ["ips"]  # no temporary files


def test_what_others_write_is_put_right(path: Path) -> None:
    addresses = AddressList(path)
    addresses.update([USB0])
    path.write_text("192.0.2.66\n")
    assert addresses.update([USB0]).written
    assert path.read_text() == "10.0.0.10\n"
    path.unlink()
    assert addresses.update([USB0]).written
    path.chmod(0o666)  # the same content, but not for long
    assert addresses.update([USB0]).written
    assert path.stat().st_mode & 0o7777 == 0o644


def test_an_empty_list_keeps_the_last_one(path: Path) -> None:
    addresses = AddressList(path)
    assert addresses.update([DOWN]) == Update()
    assert not path.exists()
    addresses.update([USB0])
    assert addresses.update([]) == Update()
    assert path.read_text() == "10.0.0.10\n"


def test_an_empty_list_is_written_if_the_configuration_wants_it(path: Path) -> None:
    addresses = AddressList(path, empty=True)
    assert addresses.update([DOWN]).written
    assert path.read_text() == ""
    assert addresses.update([DOWN]) == Update()
    addresses.update([USB0])
    assert addresses.update([]).written
    assert path.read_text() == ""


def test_no_file_wanted() -> None:
    assert AddressList(None, process="x").update([USB0]) == Update()


def test_a_link_is_replaced_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("10.0.0.10\n")  # even if it reads as the list should
    victim.chmod(0o600)
    path.symlink_to(victim)
    assert AddressList(path).update([USB0]).written
    assert not path.is_symlink()
    assert (victim.read_text(), victim.stat().st_mode & 0o777) == ("10.0.0.10\n", 0o600)


def test_a_hard_link_to_another_file_is_not_written_through(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("10.0.0.10\n")
    victim.chmod(0o644)
    path.hardlink_to(victim)
    assert AddressList(path).update([USB0]).written
    assert path.stat().st_ino != victim.stat().st_ino


def test_a_fifo_does_not_hold_up_the_agent(path: Path) -> None:
    os.mkfifo(path)
    assert AddressList(path).update([USB0]).written
    assert path.read_text() == "10.0.0.10\n"


def test_a_directory_in_its_place_is_named_until_it_is_mended(path: Path) -> None:
    addresses = AddressList(path)
    (path / "x").mkdir(parents=True)
    told = addresses.update([USB0])
    (problem,) = told.problems
    assert isinstance(problem, Problem)
    assert (problem.code, problem.text) == (
        "address-list",
        f"cannot write the address list {path}: a directory is in its place",
    )
    assert f"ls -ld {path}" in problem.hint
    assert addresses.update([USB0]) == told
    assert [entry.name for entry in path.parent.iterdir()] == ["ips"]  # no temporary files
    (path / "x").rmdir()
    path.rmdir()
    assert addresses.update([USB0]) == Update(written=True)
    assert addresses.update([USB0]) == Update()


def test_an_empty_directory_in_its_place_goes_as_a_file_does(path: Path) -> None:
    """In /tmp any user may make one before the agent starts."""
    path.mkdir()
    assert AddressList(path).update([USB0]) == Update(written=True)
    assert path.read_text() == "10.0.0.10\n"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none" / "ips"
    (problem,) = AddressList(path).update([USB0]).problems
    assert problem == f"cannot write the address list {path}: No such file or directory"


def test_readers_never_see_a_part(path: Path) -> None:
    addresses = AddressList(path)
    many = [uplink(f"usb{n}", f"10.0.{n}.10/24", 100 + n) for n in range(100)]
    addresses.update(many)
    whole = {render(many), render([USB0])}
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        addresses.update([USB0])
        addresses.update(many)
    done.set()
    reader.join()
    assert seen <= whole


# --- telling others ----------------------------------------------------------------------------------------


def test_processes_are_told_by_name_on_change_only(path: Path, name: str, start: Start) -> None:
    first, second = start(name), start(f"/opt/x/{name}")
    other = start(f"{name}x")
    addresses = AddressList(path, process=name)
    update = addresses.update([USB0])
    assert update == Update(True, tuple(sorted((first.pid, second.pid))))
    assert was_told(first)
    assert was_told(second)
    assert addresses.update([USB0]) == Update()
    assert addresses.update([USB1]) == Update(written=True)  # both have ended: nobody to tell, no complaint
    assert other.poll() is None


def test_a_process_that_would_be_ended_by_it_is_spared(path: Path, name: str, start: Start) -> None:
    process = start(name, handles=False)
    addresses = AddressList(path, process=name)
    says = f"process {process.pid} does not handle SIGHUP, which would end it;"
    (problem,) = addresses.update([USB0]).problems
    assert str(problem).startswith(says)
    assert addresses.update([USB0]) == Update(problems=(problem,))  # still true
    assert str(addresses.update([USB1]).problems[0]).startswith(says)
    assert process.poll() is None


def test_twins_are_those_of_the_list_that_share_an_address() -> None:
    shared = [uplink(f"usb{n}", "192.168.8.100/24", 100 + n) for n in range(3)]
    dead = uplink("usb3", "192.168.8.100/24", 103, "dead")
    assert twins([*shared, dead, uplink("usb4", "10.0.0.10/24", 104)]) == {
        "192.168.8.100": ["usb0", "usb1", "usb2"]
    }
    assert twins([shared[0], dead]) == {}
