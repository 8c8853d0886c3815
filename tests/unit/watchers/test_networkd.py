"""A folder of systemd-networkd's lease files, which comes and goes."""

import asyncio
import os
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from netbond.dhcp.lease import Lease
from netbond.model import Interface
from netbond.watchers import networkd
from netbond.watchers.networkd import Networkd
from tests.unit.shortage import no_descriptors

NOW = 1763600000.5

# systemd 252 has more lines; tests/unit/dhcp/test_clients_networkd.py has them all.
FILE = """\
# This is private data. Do not parse.
ADDRESS=192.168.8.100
NETMASK=255.255.255.0
ROUTER=192.168.8.1
"""
LINKS = [Interface("lo", 1, loopback=True), Interface("usb0", 2), Interface("usb1", 3)]
LEASE = Lease("usb0", "networkd", IPv4Interface("192.168.8.100/24"), (IPv4Address("192.168.8.1"),), NOW, 2)


def test_files_by_index(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = Networkd(tmp_path)
    assert source.leases(LINKS, NOW, NOW) == ()
    (tmp_path / "2").write_text(FILE)
    (tmp_path / "7").write_text(FILE)  # an interface that is gone
    (tmp_path / ".#2abc").write_text("half a file")
    (found,) = source.leases(LINKS, NOW, NOW)
    assert found == LEASE
    (tmp_path / "3").symlink_to(tmp_path / "2")
    (tmp_path / "2").chmod(0o666)
    for _ in range(3):
        assert source.leases(LINKS, NOW, NOW) == ()
    assert caplog.messages == [
        f"{tmp_path}/2: users other than networkd can write to it; ignored",
        f"{tmp_path}/3: is a symbolic link; ignored",
    ]


def test_files_are_dated_by_the_time_since_boot(tmp_path: Path) -> None:
    """The clock that dates them may jump by decades; a file that is the same is as old as it was."""
    source = Networkd(tmp_path)

    def received(now: float, clock: float) -> float:
        (found,) = source.leases(LINKS, now, clock)
        return found.received

    (tmp_path / "2").write_text(FILE)
    os.utime(tmp_path / "2", (60.0, 60.0))  # in 1970, 60 s after the clock began
    assert received(100.0, 70.0) == 90.0
    assert received(200.0, NOW) == 90.0  # a time server answered
    assert Networkd(tmp_path).leases(LINKS, 200.0, NOW)[0].received == 0.0  # it can be no older than the boot
    (tmp_path / "new").write_text(FILE)
    os.utime(tmp_path / "new", (NOW, NOW))
    (tmp_path / "new").rename(tmp_path / "2")
    assert received(300.0, NOW + 10) == 290.0
    assert Networkd(tmp_path).leases(LINKS, 300.0, 50.0)[0].received == 300.0  # nor newer than now


def test_no_networkd(tmp_path: Path) -> None:
    assert Networkd(tmp_path / "none").leases(LINKS, NOW, NOW) == ()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 5 s")


async def test_news_come_at_once_and_a_new_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networkd, "CHECK_INTERVAL_S", 0.02)
    folder = tmp_path / "leases"
    source = Networkd(folder)
    looks: list[None] = []

    def write() -> None:  # as networkd does
        (folder / ".#2").write_text(FILE)
        (folder / ".#2").rename(folder / "2")

    source.start(lambda: looks.append(None))
    await asyncio.sleep(0.1)
    assert looks == []  # no networkd, no news
    for _ in range(2):
        looks.clear()
        folder.mkdir()
        await until(lambda: len(looks) == 1)  # it is watched now
        await asyncio.sleep(0.05)
        looks.clear()
        write()
        await until(lambda: len(looks) >= 1)
        assert len(source.leases(LINKS, NOW, NOW)) == 1
        await asyncio.sleep(0.05)
        looks.clear()
        (folder / "2").unlink()
        await until(lambda: len(looks) == 1)
        assert source.leases(LINKS, NOW, NOW) == ()
        await asyncio.sleep(0.05)
        looks.clear()
        folder.rmdir()
        await until(lambda: len(looks) >= 1)
        await asyncio.sleep(0.05)
    source.stop()
    looks.clear()
    folder.mkdir()
    write()
    await asyncio.sleep(0.1)
    assert looks == []


async def test_out_of_inotify_instances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Libc:
        def __init__(self, name: None, use_errno: bool) -> None:
            pass

        def inotify_init1(self, flags: int) -> int:
            return -1

    monkeypatch.setattr("ctypes.CDLL", Libc)
    monkeypatch.setattr(networkd, "CHECK_INTERVAL_S", 0.01)
    (tmp_path / "2").write_text(FILE)
    source = Networkd(tmp_path)

    source.start(lambda: None)
    await asyncio.sleep(0.1)
    source.stop()
    assert len(source.leases(LINKS, NOW, NOW)) == 1
    assert len(caplog.messages) == 1
    assert "cannot be watched" in caplog.messages[0]


def test_without_descriptors_what_was_known_stays_known(tmp_path: Path) -> None:
    (tmp_path / "2").write_text(FILE)
    source = Networkd(tmp_path)
    found = source.leases(LINKS, NOW, NOW)
    assert [lease.device for lease in found] == ["usb0"]
    with no_descriptors():
        assert source.leases(LINKS, NOW, NOW) == source.leases(LINKS, NOW, NOW) == found
    (tmp_path / "2").unlink()
    assert source.leases(LINKS, NOW, NOW) == ()
