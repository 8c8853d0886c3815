"""Where leases are kept, in `state_dir`: what hooks handed over, and what the agent must know when it starts.

The hook process writes the store itself and only then tells the agent: a lease is never lost, whether or not
an agent runs. One JSON file per device; the newest word on a device counts, whichever client it came from.

A file says by the boot id and seconds since boot when its lease came, so that no jump of the clock makes an
old one the newest. A lease from before the last boot is older than any other.

Quick to import (a DHCP client waits for it): nothing but the standard library's light modules.
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

    from netbond.model import Link

MANAGED = "networkmanager.json"  # in state_dir: what NetworkManager said last
LARGEST_FILE = 8192  # bytes of one lease
LARGEST_LIST = 65536  # bytes of many
LOCK_WAIT = 0.05  # seconds that one hook waits for another: that one may hang
MOST_ROUTERS = 64
BEFORE = -1.0  # `Lease.received` of one from before the last boot


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
    """Read what `to_json` wrote; LeaseError for anything else. Keys of a later version are passed over.

    `boot` is the boot id now: in a lease with another one, neither time nor interface number mean anything.
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
    if value.get("boot", "") != boot:
        received, index = BEFORE, 0
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
    zone = any("%" in word for word in (address, *routers))  # it would go on into commands
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

    Any number of hook processes and an agent may use it at once: each file is replaced or removed as a whole.
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

    def save(self, lease: Lease) -> None:
        """Keep the lease in place of what is known of its device, unless that came later: a hook may have
        been overtaken by the next. OSError if it cannot be written."""
        name = file_name(lease.device)
        files.make_directory(os.path.dirname(self._folder), 0o755)  # noqa: PTH120 - quick
        files.make_directory(self._folder, 0o700)
        folder = self._open(lock=True)
        try:
            if not self._later(name, folder, lease.received):
                _file(name, folder).write(to_json(lease, self._boot))
        finally:
            os.close(folder)

    def forget(
        self,
        device: str,
        address: IPv4Address | IPv6Address | None = None,
        source: str = "",
        at: float | None = None,
    ) -> bool:
        """Drop the device's lease; with `address` or `source`, only if it is that one; with `at` (seconds
        since boot), only if it did not come later. Whether there was one.

        The conditions matter when a client lets go of an old lease after another one has got a new lease.
        OSError if it cannot be removed.
        """

        def meant(lease: Lease) -> bool:
            that = address in (None, lease.address.ip) and source in ("", lease.source)
            return that and (at is None or lease.received <= at)

        return self._drop(device, meant if address is not None or source or at is not None else None)

    def move(self, old: Lease, new: Lease) -> None:
        """`old`, as load() gave it, is `new` from now on: its device was renamed. OSError as in save()."""
        self.save(new)
        self._drop(old.device, lambda lease: lease == old)

    def load(self) -> tuple[Lease, ...]:
        """All leases, by device name. A file that is not right is passed over, and named in the log once.

        One that cannot be read just now (no descriptor or memory left) counts as it was read before: an
        uplink must not go for that. OSError if the directory is there and cannot be read or trusted.
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

    def _drop(self, device: str, meant: Callable[[Lease], bool] | None) -> bool:
        """Remove the device's file, if it holds what is `meant` (None: anything). Whether there was one."""
        name = file_name(device)
        try:
            folder = self._open(lock=True)
        except FileNotFoundError:
            return False
        try:
            while True:
                before = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if meant is not None:
                    try:
                        if not meant(self._read(name, folder)):
                            return False
                    except (LeaseError, StateFileError):
                        pass  # it holds no lease worth keeping
                # A writer that could not wait for the lock may have been here meanwhile.
                if os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino == before.st_ino:
                    os.unlink(name, dir_fd=folder)
                    break
        except FileNotFoundError:
            return False
        finally:
            os.close(folder)
        return True

    def _later(self, name: str, folder: int, received: float) -> bool:
        """Whether the file has a lease that came later than this."""
        try:
            return self._read(name, folder).received > received
        except (OSError, LeaseError, StateFileError):  # none, or nothing worth keeping
            return False

    def _open(self, *, lock: bool = False) -> int:
        """The directory, as a descriptor; nothing that others could have put in its place.

        Locked against other writers on request: `forget` reads before it removes. Closing it unlocks.
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
        line = f"{self._folder}/{printable(name)}: {reason(error)}; passed over"
        if line not in self._reported:
            import logging  # not needed by the hook, which only writes

            self._reported.add(line)
            logging.getLogger(__name__).warning("%s", line)


def _file(name: str, folder: int) -> StateFile:
    return StateFile(name, "lease", LARGEST_FILE, folder=folder)


def _lock(folder: int) -> None:
    """Lock the directory; without the lock after LOCK_WAIT, as a process that hangs may hold it.

    What is at stake is less than a lease: a file is replaced as a whole, with the lock and without it.
    """
    deadline = time.monotonic() + LOCK_WAIT
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
    """Leases of one source in one file, for an agent that is started while that source is away.

    Of an earlier boot none is given: the source configures everything anew then, perhaps in another way.
    """

    def __init__(self, path: Path, boot: str | None = None) -> None:
        self.path = path
        self._file = StateFile(path, "leases", LARGEST_LIST, old=lambda found: {"leases": found})
        self._boot = boot_id() if boot is None else boot
        self._saved: tuple[Lease, ...] | None = ()  # None: something else is there, to be replaced

    def load(self) -> tuple[Lease, ...]:
        """What was saved. LeaseError, StateFileError or OSError if there is something else."""
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
        """Keep these, unless they are those kept already but for their time. OSError if that fails."""
        new = tuple(leases)
        if self._saved is not None and _timeless(new) == _timeless(self._saved):
            return
        self._file.write({"leases": [to_json(lease, self._boot) for lease in new]})
        self._saved = new


def _timeless(leases: Iterable[Lease]) -> list[tuple[object, ...]]:
    return [(x.device, x.source, x.address, x.routers, x.ifindex) for x in leases]


# --- interfaces that are renamed ---------------------------------------------------------------------------


def renamed(leases: Iterable[Lease], links: Iterable[Link]) -> Iterator[tuple[Lease, Lease]]:
    """The leases whose interface has another name now, each as it was and as it is.

    A lease that came for the new name is not replaced by an older one.
    """
    leases = tuple(leases)
    names = {link.index: link.name for link in links if link.index > 0}
    newest: Mapping[str, float] = {lease.device: lease.received for lease in leases}
    for lease in leases:
        name = names.get(lease.ifindex, lease.device)
        if name != lease.device and lease.received >= newest.get(name, BEFORE):
            yield (
                lease,
                Lease(name, lease.source, lease.address, lease.routers, lease.received, lease.ifindex),
            )


def following(leases: Iterable[Lease], links: Iterable[Link]) -> tuple[Lease, ...]:
    """The leases by the names that their interfaces have now."""
    leases = tuple(leases)
    moved = dict(renamed(leases, links))
    replaced = {lease.device for lease in moved.values()}
    return tuple(moved.get(x, x) for x in leases if x in moved or x.device not in replaced)
