"""Finds which hardware each interface is: from udev, and from /sys where udevd does not run.

udev's database is read for an interface when it is first seen, and again when udev reports a change. udev
learns of an interface a moment after the kernel has it, and may rename it. So the port and the numbers of
maker and model are read from /sys at once, in udev's terms. A label is right from the first moment.

From /sys comes only what the kernel gives without waiting. The names and the serial number of a stick are
behind a lock that is held while the stick is reset or hangs, and the loop must not wait for it. Those come
from udev or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pyudev

from netbond.config.pattern import from_properties
from netbond.model import Device

logger = logging.getLogger(__name__)

CONTROL = Path("/run/udev/control")  # exists while udevd runs, or while systemd would start it
RECEIVE_BUFFER_BYTES = 1 << 20  # after an overrun, everything is read again
CHECK_INTERVAL_S = 2.0  # how often to look whether udevd has started, stopped or restarted
EVENTS_AT_ONCE = 256  # read before other tasks of the loop have their turn


class Udev:
    """Call start(), then devices() whenever needed, and stop() at the end.

    `problem` is a line for people while less is known than udev could tell, "" otherwise. Nothing here raises
    for what udev does or lacks.
    """

    def __init__(self, sysfs: Path = Path("/sys"), control: Path = CONTROL) -> None:
        self.problem = ""
        self._net = sysfs / "class/net"
        self._control = control
        self._known: dict[str, tuple[int, Device]] = {}  # by name: interface index, device
        self._stale: set[str] = set()
        self._look: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: pyudev.Context | None = None
        self._monitor: pyudev.Monitor | None = None
        self._udevd: tuple[int, int] | None = None  # identifies a run of udevd: inode and time of its socket
        self._timer: asyncio.TimerHandle | None = None

    def start(self, look: Callable[[], None]) -> None:
        """Watch in the running loop. `look` is called when devices() may return something new."""
        self._look = look
        try:
            self._context = pyudev.Context()
        except ImportError as error:  # pyudev loads libudev only now
            self._say(f"{error}: hardware is known from /sys only, without serial numbers")
            return
        self._loop = asyncio.get_running_loop()
        self._check(self._loop, self._context)

    def stop(self) -> None:
        """Stop watching; devices() can still be called."""
        self._close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._look = None

    def devices(self, present: Mapping[str, int] | None = None) -> tuple[Device, ...]:
        """All interfaces of this network namespace by name, with what is known of each.

        `present` has their indexes by name, if the caller has just asked the kernel.
        """
        known: dict[str, tuple[int, Device]] = {}
        for name, index in (self._present() if present is None else present).items():
            before = self._known.get(name)
            if before is not None and before[0] == index and name not in self._stale:
                known[name] = before
            else:
                known[name] = (index, self._read(name))
        self._known = known
        self._stale.clear()
        return tuple(known[name][1] for name in sorted(known))

    # --- reading -------------------------------------------------------------------------------------------

    def _present(self) -> dict[str, int]:
        try:
            found = {entry.name: _text(entry / "ifindex") for entry in self._net.iterdir()}
        except OSError:  # no descriptor left, for example: what is known stays
            return {name: index for name, (index, _) in self._known.items()}
        known = {name: str(index) for name, (index, _) in self._known.items()}
        found = {name: index or known.get(name, "") for name, index in found.items()}
        return {name: int(index) for name, index in found.items() if index.isdigit()}

    def _read(self, name: str) -> Device:
        properties = from_sysfs(self._net / name)
        if self._context is not None:
            # An error means that it has gone in the meantime, or has a property that is not UTF-8.
            with contextlib.suppress(pyudev.DeviceNotFoundError, OSError, ValueError):
                properties |= dict(pyudev.Devices.from_name(self._context, "net", name).properties)
        return from_properties(name, properties, _text(self._net / name / "address"))

    # --- watching ------------------------------------------------------------------------------------------

    def _check(self, loop: asyncio.AbstractEventLoop, context: pyudev.Context) -> None:
        """Look whether udevd runs; open a new monitor for each new udevd."""
        self._timer = loop.call_later(CHECK_INTERVAL_S, self._check, loop, context)
        try:
            status = self._control.stat()
        except OSError:
            if self._udevd is not None or not self.problem:
                self._say("udevd does not run: hardware is known from /sys only, without serial numbers")
            self._udevd = None
            return
        udevd = (status.st_ino, status.st_ctime_ns)
        if udevd == self._udevd and self._monitor is not None:
            return
        # A monitor that was opened without udevd never gets events from libudev. What an old udevd did not
        # report any more is in the database now.
        self._close()
        if self._open(loop, context):
            self._udevd = udevd
            self._say("")
            self._read_again()

    def _open(self, loop: asyncio.AbstractEventLoop, context: pyudev.Context) -> bool:
        try:
            monitor = pyudev.Monitor.from_netlink(context, source="udev")
            monitor.filter_by("net")
            monitor.start()
            loop.add_reader(monitor.fileno(), self._events)
        except OSError as error:
            self._say(f"udev cannot be watched: {error.strerror}")
            return False
        with contextlib.suppress(OSError):  # without root the buffer is smaller, and an overrun is noticed
            monitor.set_receive_buffer_size(RECEIVE_BUFFER_BYTES)
        self._monitor = monitor
        return True

    def _close(self) -> None:
        if self._monitor is not None and self._loop is not None:
            self._loop.remove_reader(self._monitor.fileno())
            self._monitor = None  # the socket is closed with its last reference

    def _events(self) -> None:
        """Take the events that have come; their content is read from the database."""
        monitor, news = self._monitor, False
        if monitor is None:
            return
        try:
            for _ in range(EVENTS_AT_ONCE):
                device = monitor.poll(0)
                if device is None:
                    break
                self._stale.add(device.sys_name)
                news = True
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                # `_check` opens another one. A socket that only fails must not keep the loop busy.
                logger.warning("udev events: %s; opening the socket again", error.strerror)
                self._close()
            else:
                logger.info("udev events were lost; reading everything again")
            self._read_again()
            return
        if news and self._look is not None:
            self._look()

    def _read_again(self) -> None:
        self._stale.update(self._known)
        if self._look is not None:
            self._look()

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            logger.info("%s", problem)
        elif self.problem and not problem:
            logger.info("udevd runs")
        self.problem = problem


# --- /sys in udev's terms ----------------------------------------------------------------------------------


def _text(path: Path) -> str:
    """The first line of a small file, "" if there is none. Not for files whose reading asks a bus."""
    try:
        with path.open("rb") as file:
            return file.readline(256).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _target(path: Path) -> str:
    """The last part of what a symbolic link points to, "" if there is none."""
    try:
        return path.readlink().name
    except OSError:
        return ""


def from_sysfs(interface: Path) -> dict[str, str]:
    """Properties of /sys/class/net/NAME, named as udev names them: port, numbers, driver and bus.

    ID_PATH is put together as udev's path_id does (systemd, src/udev/udev-builtin-path_id.c) for what modems
    and network cards sit on: USB, PCI, platform devices. Virtual interfaces have none of this.
    """
    properties: dict[str, str] = {}
    try:
        node = (interface / "device").resolve(strict=True)
    except OSError:
        return properties
    if driver := _target(node / "driver"):
        properties["ID_NET_DRIVER"] = driver
    parts: list[str] = []
    passed = ""  # the bus of the last part: udev skips further parents on it
    while node.parent != node:
        bus = _target(node / "subsystem")
        if bus in ("usb", "pci"):
            _numbers(node, bus, properties)
        if bus and bus != passed:
            if bus == "usb" and "-" in node.name:
                parts.insert(0, f"usb-0:{node.name.split('-', 1)[1]}")
            elif bus in ("pci", "platform"):
                parts.insert(0, f"{bus}-{node.name}")
            passed = bus
        node = node.parent
    if parts:
        properties["ID_PATH"] = "-".join(parts)
    return properties


def _numbers(node: Path, bus: str, properties: dict[str, str]) -> None:
    """Maker and model of the nearest device that has them: a USB stick's own, not those of the hub's card."""
    vendor, model = ("idVendor", "idProduct") if bus == "usb" else ("vendor", "device")
    if "ID_BUS" not in properties and (number := _text(node / vendor)):
        properties |= {"ID_BUS": bus, "ID_VENDOR_ID": number, "ID_MODEL_ID": _text(node / model)}
