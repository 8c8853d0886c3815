"""systemd-networkd's lease files, as recorded from it, and a folder that comes and goes."""

import asyncio
import os
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.dhcp.clients import LeaseError, parse_networkd
from netbond.dhcp.lease import Lease
from netbond.dhcp.store import from_json, to_json
from netbond.model import Link
from netbond.watchers import networkd
from netbond.watchers.networkd import Networkd

NOW = 1763600000.5

# systemd 252 with dnsmasq: two routers, option 121.
FILE = """\
# This is private data. Do not parse.
ADDRESS=192.168.8.100
NETMASK=255.255.255.0
ROUTER=192.168.8.1 192.168.8.9
SERVER_ADDRESS=192.168.8.1
NEXT_SERVER=192.168.8.1
BROADCAST=192.168.8.255
T1=60
T2=105
LIFETIME=120
HOSTNAME=vm
CLASSLESS_ROUTES=10.0.0.0/8,192.168.8.7 0.0.0.0/0,192.168.8.1
CLIENTID=ff8556be2700020000ab110033bdebf95e192c
"""
ROUTES = "CLASSLESS_ROUTES=10.0.0.0/8,192.168.8.7 0.0.0.0/0,192.168.8.1\n"


def lease(address: str, *routers: str, received: float = NOW) -> Lease:
    return Lease("usb0", "networkd", IPv4Interface(address), tuple(map(IPv4Address, routers)), received)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", lease("192.168.8.100/24", "192.168.8.1")),
        (ROUTES, "", lease("192.168.8.100/24", "192.168.8.1", "192.168.8.9")),
        ("0.0.0.0/0,192.168.8.1", "", lease("192.168.8.100/24")),  # RFC 3442: no default, no router
        ("CLASSLESS_ROUTES", "ROUTES", lease("192.168.8.100/24", "192.168.8.1")),  # before 252
        (ROUTES + "ROUTER=192.168.8.1 192.168.8.9\n", "", lease("192.168.8.100/24", "192.168.8.1")),
        ("ROUTER=192.168.8.1 192.168.8.9\n", "", lease("192.168.8.100/24", "192.168.8.1")),
        ("255.255.255.0", "255.255.255.255", lease("192.168.8.100/32", "192.168.8.1")),
        (
            "HOSTNAME=vm",
            "HOSTNAME=$(reboot)\nno equals sign\n=\nMTU=x",
            lease("192.168.8.100/24", "192.168.8.1"),
        ),
    ],
)
def test_a_lease(old: str, new: str, expected: Lease) -> None:
    assert parse_networkd(FILE.replace(old, new) if old else FILE, "usb0", NOW) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ADDRESS '' is not an IPv4 address"),
        (FILE.replace("ADDRESS=192", "ADDRESS=1920"), "ADDRESS '1920.168.8.100' is not an IPv4 address"),
        (
            FILE.replace("255.255.255.0", "255.0.255.0"),
            "ADDRESS 192.168.8.100 has the subnet mask '255.0.255.0'",
        ),
        (
            FILE.replace("0.0.0.0/0,", "0.0.0.0/0;"),
            "CLASSLESS_ROUTES '10.0.0.0/8 192.168.8.7 0.0.0.0/0;192.168",
        ),
        (FILE.replace(ROUTES, "").replace("8.9", "8.x"), "router '192.168.8.x' is not an IPv4 address"),
    ],
)
def test_what_cannot_be_is_named(text: str, says: str) -> None:
    with pytest.raises(LeaseError) as caught:
        parse_networkd(text, "usb0", NOW)
    assert str(caught.value).startswith(says)


@settings(deadline=None)
@given(st.text(max_size=200), st.integers(0, len(FILE)))
def test_any_text_gives_a_usable_lease_or_one_line(text: str, position: int) -> None:
    said, found = "", None
    try:
        found = parse_networkd(FILE[:position] + text + FILE[position:], "usb0", NOW)
    except LeaseError as error:
        said = str(error)
    assert said.isprintable()
    assert (found is None) == bool(said)
    assert found is None or from_json(to_json(found, ""), "") == found


# --- the folder --------------------------------------------------------------------------------------------

LINKS = [Link("lo", 1, loopback=True), Link("usb0", 2), Link("usb1", 3)]


def test_files_by_index(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = Networkd(tmp_path)
    assert source.leases(LINKS, NOW, NOW) == ()
    (tmp_path / "2").write_text(FILE)
    (tmp_path / "7").write_text(FILE)  # an interface that is gone
    (tmp_path / ".#2abc").write_text("half a file")
    (found,) = source.leases(LINKS, NOW, NOW)
    assert found == lease("192.168.8.100/24", "192.168.8.1", received=NOW)._replace(ifindex=2)
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
