"""Keeps leases in `state_dir`: what hooks handed over, and what the agent must know when it starts.

The hook process writes the store itself, and only then tells the agent. So no lease is lost while no agent
runs. There is one JSON file per device. The newest lease of a device counts, whichever client it came from.

A file dates its lease by the boot id and seconds since boot, so that no jump of the clock makes an old lease
the newest. A lease from before the last boot is older than any other.

Quick to import (a DHCP client waits for it): only light modules of the standard library.
"""

from __future__ import annotations

import fcntl
import os
import time
from ipaddress import IPv4Address, IPv6Address, IPv6Interface

from netbond.dhcp.clients import LeaseError, check_device, check_interface, checked
from netbond.dhcp.lease import TYPE_CHECKING, Lease
from netbond.system import files
from netbond.system.clock import boot_id
from netbond.system.state_file import StateFile, StateFileError, open_folder, reason
from netbond.system.text import printable, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from netbond.model import Interface

MANAGED = "networkmanager.json"  # in state_dir: what NetworkManager said last
LARGEST_FILE_BYTES = 8192  # one lease
LARGEST_LIST_BYTES = 65536  # many leases
LOCK_TIMEOUT_S = 0.05  # one hook waits for another no longer: that one may hang
MOST_ROUTERS = 64
BEFORE_BOOT = -1.0  # `Lease.received` of a lease from before the last boot


# --- as JSON -----------------------------------------------------------------------------------------------


def to_json(lease: Lease, boot: str) -> dict[str, object]:
    """The lease as JSON values; `boot` is the boot id that `lease.received` counts from."""
    return {
        "device": lease.device,
        "source": lease.source,
        "address": str(lease.address),
        "routers": [str(router) for router in lease.routers],
        "received": lease.received,
        "ifindex": lease.ifindex,
        "boot": boot if lease.received >= 0 else "",
    }


def from_json(value: object, boot: str) -> Lease:
    """Read what `to_json` wrote; LeaseError for anything else. Keys of a later version are ignored.

    `boot` is the boot id now. In a lease of another boot, time and interface number mean nothing.
    """
    if not isinstance(value, dict):
        raise LeaseError("it is not a JSON object")
    device, source, address = value.get("device"), value.get("source"), value.get("address")
    routers, received, index = value.get("routers"), value.get("received"), value.get("ifindex", 0)
    if not isinstance(device, str) or not isinstance(source, str) or not isinstance(address, str):
        raise LeaseError("device, source or address is not a string")
    if not isinstance(routers, list) or not all(isinstance(router, str) for router in routers):
        raise LeaseError("routers is not a list of strings")
    if len(routers) > MOST_ROUTERS:
        raise LeaseError(f"it has {len(routers)} routers")
    if isinstance(received, bool) or not isinstance(received, int | float) or not -1 <= received < 1e12:
        raise LeaseError("received is not a time")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < 2**31:
        raise LeaseError("ifindex is not the number of an interface")
    if not source.isascii() or not source.isalnum() or len(source) > 32:
        raise LeaseError(f"source {quoted(source)} is not the name of a DHCP client")
    if received < 0 or value.get("boot", "") != boot:
        received, index = BEFORE_BOOT, 0
    received = float(received)
    ip, _, length = address.partition("/")
    if ":" in ip:
        return _lease6(device, source, address, routers, received, index)
    lease = checked(device, source, check_interface(ip, length, "address"), routers, received)
    return Lease(lease.device, source, lease.address, lease.routers, received, index)


def _lease6(device: str, source: str, address: str, routers: list[str], received: float, index: int) -> Lease:
    try:
        interface, gateways = IPv6Interface(address), tuple(map(IPv6Address, routers))
    except ValueError:
        raise LeaseError(f"{quoted(address)} or a router of it is not an IPv6 address") from None
    zone = any("%" in word for word in (address, *routers))  # it would get into commands
    if zone or interface.network.prefixlen == 0 or not all(map(_usable6, (interface.ip, *gateways))):
        raise LeaseError(f"{quoted(address)} or a router of it is not one that a host can have")
    return Lease(check_device(device), source, interface, gateways, received, index)


def _usable6(address: IPv6Address) -> bool:
    return not (address.is_multicast or address.is_unspecified or address.is_loopback)


def file_name(device: str) -> str:
    """The store's file for a device; bytes that are not plain in a file's name are written as %XX."""
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    raw = os.fsencode(check_device(device))
    name = "".join(chr(c) if c in plain else f"%{c:02X}" for c in raw)
    return (name.replace(".", "%2E", 1) if name.startswith(".") else name) + ".json"


# --- one file per device -----------------------------------------------------------------------------------


class LeaseStore:
    """The leases in one directory (`state_dir/leases`), a file per device.

    Any number of hook processes and an agent may use it at once. Each file is replaced or removed as a whole.
    `boot` is the boot id, None for that of the kernel.
    """

    def __init__(self, directory: Path | str, boot: str | None = None) -> None:
        self._folder = os.fspath(directory)
        self._boot = boot_id() if boot is None else boot
        self._reported: set[str] = set()
        self._kept: dict[str, Lease] = {}  # what load() read the last time, by file

    @property
    def directory(self) -> Path:
        """Where the files are."""
        from pathlib import Path  # not needed by the hook

        return Path(self._folder)

    def as_json(self, lease: Lease) -> dict[str, object]:
        """The lease as its file would have it."""
        return to_json(lease, self._boot)

    def from_json(self, value: object) -> Lease:
        """Read what as_json() wrote; LeaseError for anything else."""
        return from_json(value, self._boot)

    def save(self, lease: Lease) -> None:
        """Keep the lease, unless the device has one that came later: the next hook may have overtaken this.

        OSError if it cannot be written.
        """
        name = file_name(lease.device)
        files.make_directory(os.path.dirname(self._folder), 0o755)  # noqa: PTH120 - quick
        files.make_directory(self._folder, 0o700)
        folder = self._open(lock=True)
        try:
            if not self._later(name, folder, lease.received):
                _file(name, folder).write(self.as_json(lease))
        finally:
            os.close(folder)

    def forget(
        self,
        device: str,
        address: IPv4Address | IPv6Address | None = None,
        source: str = "",
        at: float | None = None,
    ) -> bool:
        """Remove the device's lease; return whether there was one.

        With `address` or `source`, only a lease that has these. With `at` (seconds since boot), only one that
        did not come later. The conditions matter when a client releases an old lease after another client got
        a new one. OSError if it cannot be removed.
        """

        def matches(lease: Lease) -> bool:
            same = address in (None, lease.address.ip) and source in ("", lease.source)
            return same and (at is None or lease.received <= at)

        return self._drop(device, matches if address is not None or source or at is not None else None)

    def move(self, old: Lease, new: Lease) -> None:
        """Replace `old`, as load() gave it, by `new`: its device was renamed. OSError as in save()."""
        self.save(new)
        self._drop(old.device, lambda lease: lease == old)

    def load(self) -> tuple[Lease, ...]:
        """All leases, by device name. An invalid file is ignored, and named in the log once.

        A file that cannot be read just now (no descriptor or memory left) counts as it was read before: an
        uplink must not go for that. OSError if the directory exists and cannot be read or trusted.
        """
        try:
            folder = self._open()
        except FileNotFoundError:
            self._kept = {}
            return ()
        try:
            leases: dict[str, Lease] = {}
            for name in sorted(entry.name for entry in os.scandir(folder)):
                if name.startswith(files.TEMPORARY):
                    continue
                try:
                    leases[name] = self._read(name, folder)
                except FileNotFoundError:
                    continue  # forgotten in the meantime
                except (LeaseError, StateFileError) as error:
                    self._report(name, error)
                except OSError as error:
                    self._report(name, error)
                    if name in self._kept:
                        leases[name] = self._kept[name]
        finally:
            os.close(folder)
        self._kept = leases
        return tuple(sorted(leases.values(), key=lambda lease: lease.device))

    def _drop(self, device: str, matches: Callable[[Lease], bool] | None) -> bool:
        """Remove the device's file if its lease matches (None: any); return whether there was one."""
        name = file_name(device)
        try:
            folder = self._open(lock=True)
        except FileNotFoundError:
            return False
        try:
            while True:
                before = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if matches is not None:
                    try:
                        if not matches(self._read(name, folder)):
                            return False
                    except (LeaseError, StateFileError):
                        pass  # it holds no valid lease
                # A writer that gave up waiting for the lock may have replaced the file meanwhile.
                if os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino == before.st_ino:
                    os.unlink(name, dir_fd=folder)
                    break
        except FileNotFoundError:
            return False
        finally:
            os.close(folder)
        return True

    def _later(self, name: str, folder: int, received: float) -> bool:
        """Whether the file has a lease that came later than `received`."""
        try:
            return self._read(name, folder).received > received
        except (OSError, LeaseError, StateFileError):  # none, or no valid one
            return False

    def _open(self, *, lock: bool = False) -> int:
        """A descriptor of the directory, which only root and this user can write.

        With `lock` it is locked against other writers: `forget` reads before it removes. Closing it unlocks.
        """
        folder = open_folder(self._folder)
        if lock:
            _lock(folder)
        return folder

    def _read(self, name: str, folder: int) -> Lease:
        lease = from_json(_file(name, folder).read(), self._boot)
        if file_name(lease.device) != name:
            raise LeaseError(f"it is about {quoted(lease.device)}")
        return lease

    def _report(self, name: str, error: OSError | ValueError) -> None:
        line = f"{self._folder}/{printable(name)}: {reason(error)}; ignored"
        if line not in self._reported:
            import logging  # not needed by the hook, which only writes

            self._reported.add(line)
            logging.getLogger(__name__).warning("%s", line)


def _file(name: str, folder: int) -> StateFile:
    return StateFile(name, "lease", LARGEST_FILE_BYTES, folder=folder)


def _lock(folder: int) -> None:
    """Lock the directory, or go on without the lock after LOCK_TIMEOUT_S: a process that hangs may hold it.

    Files are replaced as a whole also without the lock, so no lease is damaged.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return
            time.sleep(0.002)
        else:
            return


# --- what a manager said last ------------------------------------------------------------------------------


class LeaseList:
    """Leases of one source in one file, for an agent that starts while that source is away.

    Leases of an earlier boot are dropped: after a boot the source configures everything anew.
    """

    def __init__(self, path: Path, boot: str | None = None) -> None:
        self.path = path
        self._file = StateFile(path, "leases", LARGEST_LIST_BYTES, old=lambda found: {"leases": found})
        self._boot = boot_id() if boot is None else boot
        self._saved: tuple[Lease, ...] | None = ()  # None: the file is invalid, to be replaced

    def load(self) -> tuple[Lease, ...]:
        """What was saved. LeaseError, StateFileError or OSError if the file is invalid."""
        self._saved = None
        try:
            found = self._file.read().get("leases")
        except FileNotFoundError:
            found = []
        if not isinstance(found, list):
            raise LeaseError("it is not a list of leases")
        leases = [from_json(item, self._boot) for item in found]
        self._saved = tuple(lease for lease in leases if lease.received >= 0)
        return self._saved

    def save(self, leases: Iterable[Lease]) -> None:
        """Keep these, unless only their times differ from those kept. OSError if that fails."""
        new = tuple(leases)
        if self._saved is not None and _timeless(new) == _timeless(self._saved):
            return
        self._file.write({"leases": [to_json(lease, self._boot) for lease in new]})
        self._saved = new


def _timeless(leases: Iterable[Lease]) -> list[tuple[object, ...]]:
    return [(x.device, x.source, x.address, x.routers, x.ifindex) for x in leases]


# --- interfaces that are renamed ---------------------------------------------------------------------------


def renamed(leases: Iterable[Lease], links: Iterable[Interface]) -> Iterator[tuple[Lease, Lease]]:
    """The leases whose interface has another name now, each as it was and as it is.

    An older lease does not replace one that came for the new name.
    """
    leases = tuple(leases)
    names = {link.index: link.name for link in links if link.index > 0}
    newest: Mapping[str, float] = {lease.device: lease.received for lease in leases}
    for lease in leases:
        name = names.get(lease.ifindex, lease.device)
        if name != lease.device and lease.received >= newest.get(name, BEFORE_BOOT):
            yield (
                lease,
                Lease(name, lease.source, lease.address, lease.routers, lease.received, lease.ifindex),
            )


def following(leases: Iterable[Lease], links: Iterable[Interface]) -> tuple[Lease, ...]:
    """The leases by the names that their interfaces have now."""
    leases = tuple(leases)
    moved = dict(renamed(leases, links))
    replaced = {lease.device for lease in moved.values()}
    return tuple(moved.get(x, x) for x in leases if x in moved or x.device not in replaced)
