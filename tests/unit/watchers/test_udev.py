"""The udev watcher without udevd: /sys in udev's terms, and what happens when its socket fails."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pyudev

from netbond.config.pattern import from_properties
from netbond.model import Device
from netbond.watchers import udev
from netbond.watchers.udev import Udev, from_sysfs
from tests.unit.shortage import no_descriptors


class Sysfs:
    """A /sys with interfaces in it, as the kernel lays it out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.net = root / "class/net"
        self.net.mkdir(parents=True)

    def node(self, path: str, bus: str = "", driver: str = "", **attributes: str) -> Path:
        """A device below /sys/devices."""
        node = self.root / "devices" / path
        node.mkdir(parents=True, exist_ok=True)
        if bus:
            (self.root / "bus" / bus).mkdir(parents=True, exist_ok=True)
            (node / "subsystem").symlink_to(self.root / "bus" / bus)
        if driver:
            (self.root / "drivers" / driver).mkdir(parents=True, exist_ok=True)
            (node / "driver").symlink_to(self.root / "drivers" / driver)
        for name, value in attributes.items():
            (node / name).write_text(value + "\n")
        return node

    def interface(self, name: str, index: int, device: Path | None, mac: str = "0c:5b:8f:27:9a:64") -> Path:
        folder = (device or self.root / "devices/virtual") / "net" / name
        folder.mkdir(parents=True)
        (folder / "ifindex").write_text(f"{index}\n")
        (folder / "address").write_text(f"{mac}\n")
        if device is not None:
            (folder / "device").symlink_to(device)
        (self.net / name).symlink_to(folder)
        return self.net / name

    def remove(self, name: str) -> None:
        (self.net / name).unlink()


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path / "sys")


def stick(sysfs: Sysfs, port: str = "1.2") -> Path:
    """A HiLink stick behind a hub, as on a PC; `manufacturer` is a FIFO: reading it would hang."""
    sysfs.node("pci0000:00")
    sysfs.node("pci0000:00/0000:00:14.0", "pci", "xhci_hcd", vendor="0x8086", device="0xa36d")
    sysfs.node("pci0000:00/0000:00:14.0/usb1", "usb", "usb", idVendor="1d6b", idProduct="0002")
    sysfs.node("pci0000:00/0000:00:14.0/usb1/1-1", "usb", "usb", idVendor="05e3", idProduct="0608")
    path = f"pci0000:00/0000:00:14.0/usb1/1-1/1-{port}"
    device = sysfs.node(path, "usb", "usb", idVendor="12d1", idProduct="14db")
    for name in ("manufacturer", "product", "serial"):
        os.mkfifo(device / name)
    return sysfs.node(f"{path}/1-{port}:1.0", "usb", "cdc_ether")


def test_a_usb_stick(sysfs: Sysfs) -> None:
    interface = sysfs.interface("usb0", 7, stick(sysfs))
    assert from_sysfs(interface) == {
        "ID_PATH": "pci-0000:00:14.0-usb-0:1.2:1.0",  # what udev 252 says of it
        "ID_VENDOR_ID": "12d1",
        "ID_MODEL_ID": "14db",
        "ID_BUS": "usb",
        "ID_NET_DRIVER": "cdc_ether",
    }


def test_a_card_behind_a_bridge(sysfs: Sysfs) -> None:
    sysfs.node("pci0000:00/0000:00:1c.0", "pci", "pcieport", vendor="0x8086", device="0xa338")
    card = sysfs.node("pci0000:00/0000:00:1c.0/0000:03:00.0", "pci", "igb", vendor="0x8086", device="0x1533")
    found = from_properties("enp3s0", from_sysfs(sysfs.interface("enp3s0", 2, card)))
    assert (found.path, found.vendor, found.model, found.driver, found.bus) == (
        "pci-0000:03:00.0", "8086", "1533", "igb", "pci",
    )  # fmt: skip


def test_a_stick_on_a_raspberry(sysfs: Sysfs) -> None:
    base = "platform/scb/fd500000.pcie"
    sysfs.node("platform/scb", "platform")
    sysfs.node(base, "platform", "brcm-pcie")
    sysfs.node(f"{base}/pci0000:00/0000:00:00.0", "pci", "pcieport", vendor="0x14e4", device="0x2711")
    sysfs.node(
        f"{base}/pci0000:00/0000:00:00.0/0000:01:00.0", "pci", "xhci_hcd", vendor="0x1106", device="0x3483"
    )
    usb = f"{base}/pci0000:00/0000:00:00.0/0000:01:00.0/usb1"
    sysfs.node(usb, "usb", "usb")
    sysfs.node(f"{usb}/1-1", "usb", "usb", idVendor="2109", idProduct="3431")
    sysfs.node(f"{usb}/1-1/1-1.3", "usb", "usb", idVendor="19d2", idProduct="1405")
    interface = sysfs.node(f"{usb}/1-1/1-1.3/1-1.3:1.0", "usb", "rndis_host")
    found = from_sysfs(sysfs.interface("usb0", 4, interface))
    assert found["ID_PATH"] == "platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1.3:1.0"
    assert (found["ID_VENDOR_ID"], found["ID_MODEL_ID"]) == ("19d2", "1405")


def test_what_has_no_hardware(sysfs: Sysfs) -> None:
    assert from_sysfs(sysfs.interface("veth0", 3, None)) == {}
    assert from_sysfs(sysfs.net / "none") == {}


# --- the watcher -------------------------------------------------------------------------------------------


@pytest.fixture
def watcher(sysfs: Sysfs, tmp_path: Path) -> Udev:
    """A watcher of this /sys, with udevd's database out of its reach."""
    return Udev(sysfs.root, tmp_path / "control")


def test_devices_come_and_go(sysfs: Sysfs, watcher: Udev) -> None:
    port = stick(sysfs)
    assert watcher.devices() == ()
    sysfs.interface("usb0", 7, port)
    sysfs.interface("veth0", 8, None, mac="02:00:00:00:00:01")
    usb0, veth0 = watcher.devices()
    assert (usb0.name, usb0.path, usb0.mac) == ("usb0", "pci-0000:00:14.0-usb-0:1.2:1.0", "0c:5b:8f:27:9a:64")
    assert veth0 == Device("veth0", mac="02:00:00:00:00:01")
    assert watcher.devices() == (usb0, veth0)
    sysfs.remove("usb0")
    assert watcher.devices() == (veth0,)


def test_another_device_under_an_old_name(sysfs: Sysfs, watcher: Udev) -> None:
    sysfs.interface("usb0", 7, None)
    assert watcher.devices()[0].path == ""
    sysfs.remove("usb0")
    sysfs.interface("usb0x", 9, stick(sysfs))
    (sysfs.net / "usb0x").rename(sysfs.net / "usb0")  # same name, another index
    assert watcher.devices()[0].path == "pci-0000:00:14.0-usb-0:1.2:1.0"


def test_a_sysfs_that_is_not_there(tmp_path: Path) -> None:
    assert Udev(tmp_path / "none").devices() == ()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 5 s")


async def test_without_udevd_it_is_said_once_and_looked_for(
    watcher: Udev, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(udev, "CHECK_INTERVAL_S", 0.01)
    looks: list[str] = []

    watcher.start(lambda: looks.append("look"))
    await asyncio.sleep(0.1)
    assert len(caplog.messages) == 1
    assert "udevd does not run" in watcher.problem
    assert looks == []
    (tmp_path / "control").touch()  # udevd has come
    await until(lambda: bool(looks))
    assert watcher.problem == ""
    (tmp_path / "control").unlink()  # and gone
    await until(lambda: bool(watcher.problem))
    watcher.stop()
    assert [message.split(":")[0] for message in caplog.messages] == [
        "udevd does not run", "udevd runs", "udevd does not run",
    ]  # fmt: skip


async def test_without_libudev(watcher: Udev, sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("No library named udev")

    monkeypatch.setattr(pyudev, "Context", missing)
    sysfs.interface("usb0", 7, stick(sysfs))

    watcher.start(lambda: None)
    assert watcher.problem.startswith("No library named udev: ")
    assert watcher.devices()[0].vendor == "12d1"
    watcher.stop()


class FailingMonitor:
    """In the place of a pyudev.Monitor: there is something to read, and reading fails."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ours, self.theirs = socket.socketpair()
        self.theirs.send(b"x")

    def fileno(self) -> int:
        return self.ours.fileno()

    def filter_by(self, subsystem: str) -> None:
        assert subsystem == "net"

    def start(self) -> None:
        pass

    def set_receive_buffer_size(self, size: int) -> None:
        raise PermissionError(errno.EPERM, "not root")

    def poll(self, timeout: float) -> None:
        if self.ours.recv(1):
            self.theirs.close()
        raise OSError(self.number, os.strerror(self.number))

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.mark.parametrize(("number", "opened"), [(errno.ENOBUFS, 1), (errno.EBADF, 2)])
async def test_lost_events_and_a_broken_socket(
    number: int, opened: int, watcher: Udev, sysfs: Sysfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an overrun all is read again from the same socket; a broken one is opened again, in its time."""
    monkeypatch.setattr(udev, "CHECK_INTERVAL_S", 0.05)
    (tmp_path / "control").touch()
    monitors: list[FailingMonitor] = []

    def from_netlink(context: Any, source: str) -> FailingMonitor:
        monitors.append(FailingMonitor(number if len(monitors) == 0 else errno.ENOBUFS))
        return monitors[-1]

    monkeypatch.setattr(pyudev.Monitor, "from_netlink", from_netlink)
    sysfs.interface("usb0", 7, None)
    read: list[str] = []
    real = from_sysfs

    def counted(path: Path) -> dict[str, str]:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(udev, "from_sysfs", counted)

    looks = asyncio.Queue[None]()
    watcher.start(lambda: looks.put_nowait(None))
    async with asyncio.timeout(5):
        await looks.get()  # it has been opened
        watcher.devices()
        watcher.devices()
        assert read == ["usb0"]  # what is known is not read twice
        await looks.get()  # something was lost
        watcher.devices()
        assert read == ["usb0", "usb0"]
        await until(lambda: len(monitors) >= opened)
        await asyncio.sleep(0.12)
        watcher.stop()
    assert len(monitors) == opened
    for monitor in monitors:
        monitor.close()


def test_without_descriptors_what_was_known_stays_known(sysfs: Sysfs, tmp_path: Path) -> None:
    sysfs.interface("usb0", 2, None)
    watcher = Udev(sysfs.root, tmp_path / "no-udevd")
    found = watcher.devices()
    assert [device.name for device in found] == ["usb0"]
    with no_descriptors():
        assert watcher.devices() == found
