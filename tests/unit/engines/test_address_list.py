"""The address list: its content, its file in a place where anybody may write, and who is told."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest

from netbond.engines import address_list
from netbond.engines.address_list import AddressList, Update, processes, read_pid_file, render, send_sighup
from netbond.model import Uplink, UplinkState


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


def test_an_error_is_named_until_it_is_mended(path: Path) -> None:
    addresses = AddressList(path)
    path.mkdir()
    told = Update(problems=(f"cannot write the address list {path}: Is a directory",))
    assert addresses.update([USB0]) == told
    assert addresses.update([USB0]) == told
    assert [entry.name for entry in path.parent.iterdir()] == ["ips"]  # no temporary files
    path.rmdir()
    assert addresses.update([USB0]) == Update(written=True)
    assert addresses.update([USB0]) == Update()
    path.unlink()
    path.mkdir()
    assert addresses.update([USB0]) == told


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

Start = Callable[..., "subprocess.Popen[str]"]
# Ready when its child, too, has its own name: until then it has the parent's, and handles SIGHUP.
HANDLES = """
trap 'echo told; kill $!; exit' HUP; trap 'kill $!; exit' TERM; sleep 60 &
until read -r -d '' name </proc/$!/cmdline && [ "$name" = sleep ]; do :; done
echo ready; wait
"""


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *, handles: bool = True, user: int | None = None) -> subprocess.Popen[str]:
        command, program = ([name, "-c", HANDLES], "/bin/bash") if handles else ([name, "60"], "/bin/sleep")
        process = subprocess.Popen(command, executable=program, stdout=subprocess.PIPE, text=True, user=user)
        started.append(process)
        assert process.stdout is not None
        if handles:
            assert process.stdout.readline() == "ready\n"
        # The kernel tells Popen that the program runs a moment before it shows the command line.
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
            time.sleep(0.001)
        return process

    yield start
    for process in started:
        process.terminate()
        process.wait(5)
        if process.stdout is not None:
            process.stdout.close()


def was_told(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.wait(5) == 0 and process.stdout.readline() == "told\n"


@pytest.fixture
def name() -> str:
    """A name that no other process of this machine has."""
    return f"nb-hup-{os.getpid()}"


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
    assert problem.startswith(says)
    assert addresses.update([USB0]) == Update(problems=(problem,))  # still true
    assert addresses.update([USB1]).problems[0].startswith(says)
    assert process.poll() is None


def test_a_process_is_told_by_its_pid_file(path: Path, name: str, start: Start, tmp_path: Path) -> None:
    process, bystander = start(name), start(name)
    pid_file = tmp_path / "pid"
    pid_file.write_text(f" {process.pid}\n")
    pid_file.chmod(0o644)
    assert AddressList(path, pid_file=pid_file, process=name).update([USB0]) == Update(True, (process.pid,))
    assert was_told(process)
    assert bystander.poll() is None


def test_a_pid_file_of_another_program_is_named(path: Path, name: str, start: Start, tmp_path: Path) -> None:
    process = start(name)
    pid_file = tmp_path / "pid"
    pid_file.write_text(str(process.pid))
    update = AddressList(path, pid_file=pid_file, process="srtla_send").update([USB0])
    assert update.notified == ()
    assert update.problems[0].startswith(f"process {process.pid} is not srtla_send but 'bash';")
    assert process.poll() is None


def test_no_pid_file_means_nobody_to_tell(path: Path, tmp_path: Path) -> None:
    assert AddressList(path, pid_file=tmp_path / "none").update([USB0]) == Update(written=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no process id"),
        ("x", "holds no process id"),
        ("-1", "holds no process id"),
        ("12 13", "holds no process id"),
        ("12345678901", "holds no process id"),
        ("7" * 65, "is larger than 64 bytes"),
    ],
)
def test_pid_files_that_are_none(tmp_path: Path, text: str, says: str) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text(text)
    with pytest.raises(OSError, match=says):
        read_pid_file(pid_file)


def test_pid_files_not_to_be_trusted(path: Path, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("5")
    link = tmp_path / "link"
    link.symlink_to("real")
    (problem,) = AddressList(path, pid_file=link).update([USB0]).problems
    assert problem == f"{link}: is a symbolic link; nobody is told of the new address list"
    (tmp_path / "real").chmod(0o666)
    with pytest.raises(OSError, match="can be written by others than its owner"):
        read_pid_file(tmp_path / "real")


@pytest.mark.parametrize(
    ("pid", "says"),
    [(0, "may be signalled"), (1, "may be signalled"), (os.getpid(), "is netbond itself"),
     (2**22 + 1, "is not running")],  # above the highest that the kernel gives
    ids=["0", "1", "own", "none"],  # xdist wants the same names in each of its processes
)  # fmt: skip
def test_processes_that_get_no_signal(pid: int, says: str) -> None:
    with pytest.raises(OSError, match=says):
        send_sighup(pid)


def test_a_process_that_has_ended_but_is_not_reaped(name: str, start: Start) -> None:
    process = start(name, handles=False)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(OSError, match="is not running"):
        send_sighup(process.pid)


def test_netbond_is_not_among_the_processes() -> None:
    own = address_list.names(os.getpid())
    assert own
    assert os.getpid() not in processes(own[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other users")
def test_a_users_pid_file_names_only_that_users_processes(name: str, start: Start, tmp_path: Path) -> None:
    roots, users = start(name), start(name, user=12345)
    pid_file = tmp_path / "pid"
    for process in (roots, users):
        pid_file.write_text(str(process.pid))
        os.chown(pid_file, 12345, -1)
        pid, owner = read_pid_file(pid_file)
        if process is roots:
            with pytest.raises(OSError, match="belongs to another user"):
                send_sighup(pid, owner=owner)
        else:
            send_sighup(pid, owner=owner)
    assert was_told(users)
    assert roots.poll() is None
