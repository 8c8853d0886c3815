"""Sets the kernel settings that bonding needs, if they differ; records the old values, and puts them back.

Deciding is pure (`wanted`). `Sysctls` reads and writes below /proc/sys. A setting is named by its path there,
"net/ipv4/conf/eth0.5/rp_filter": with the usual dots, the name of a VLAN would be ambiguous. sysctl(8) takes
slashes as well.

The record, `sysctls.json` in the state directory, has for each setting the value just before netbond wrote,
and the value that netbond wrote. The record is written before the setting, so that a crash does not lose the
old value. A setting is put back only while it still has netbond's value: a later change by somebody else
stays. Neither the state directory nor the settings survive a reboot.

Sources: Documentation/networking/ip-sysctl.rst; net/ipv4/devinet.c and net/ipv6/addrconf.c for what writing
`forwarding` does besides.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import stat
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from netbond.config.schema import Config
from netbond.model import Interface, Uplink
from netbond.system import files
from netbond.system.state_file import StateFile, StateFileError, reason

STORE = "sysctls.json"  # in state_dir
LARGEST_STORE_BYTES = 1 << 20  # 64 uplinks need about 30,000

PROC = Path("/proc/sys")

HASH_POLICIES = {"addresses": "0", "flows": "1"}  # fib_multipath_hash_policy

# What a record may contain. Nothing else is ever written, whatever the file says.
_NAMES = re.compile(
    r"net/core/[rw]mem_max"
    r"|net/ipv[46]/fib_multipath_(?:hash_policy|use_neigh)"
    r"|net/ipv[46]/conf/(?!\.{1,2}/)[^/\0\s]{1,15}"
    r"/(?:rp_filter|ignore_routes_with_linkdown|forwarding|accept_ra)"
)
_VALUES = re.compile(r"-?[0-9]{1,10}")

# These directories stand for all interfaces, and for those to come. An interface with such a name has no
# directory of its own, so its settings cannot be changed.
_NO_DEVICE = ("all", "default")

Observed = Callable[[str], "str | None"]


@dataclass(frozen=True, slots=True)
class Change:
    """A setting to write: `value` in place of `old`, because `why`."""

    name: str
    value: str
    old: str
    why: str

    def command(self) -> str:
        """The same for sysctl(8)."""
        return "sysctl -w " + shlex.quote(f"{shown(self.name)}={self.value}")

    def line(self) -> str:
        """The command with the reason, as `netbond plan` prints it."""
        return f"{self.command()}  # {self.why} (now {self.old})"


@dataclass(frozen=True, slots=True)
class Recorded:
    """The value of a setting before netbond wrote, and the value that netbond wrote."""

    old: str
    ours: str


def shown(name: str) -> str:
    """A setting's name in its usual form, with dots, unless an interface's name contains one."""
    return name if "." in name else name.replace("/", ".")


# --- deciding ---------------------------------------------------------------------------------------------


def wanted(
    uplinks: Iterable[Uplink],
    config: Config,
    observed: Observed,
    *,
    lan: Collection[str] = (),
    links: Iterable[Interface] = (),
) -> list[Change]:
    """The changes to make, in this order.

    `observed` gives a setting's value, None if the kernel has no such setting. `lan` are the LAN interfaces
    of router mode, `links` all interfaces.
    """
    settings = config.sysctl
    changes: list[Change] = []

    def wish(name: str, value: str, why: str) -> None:
        old = observed(name)
        if old is not None and old != value:
            changes.append(Change(name, value, old, why))

    devices = sorted({uplink.device for uplink in uplinks} - set(_NO_DEVICE))
    for device in devices:
        if settings.rp_filter:
            changes += _loose(device, observed)
        if settings.linkdown:
            for family in ("ipv4", "ipv6"):
                wish(
                    f"net/{family}/conf/{device}/ignore_routes_with_linkdown",
                    "1",
                    "a route over a link without carrier leads nowhere",
                )
    if settings.multipath_hash != "keep":
        for family in ("ipv4", "ipv6"):
            wish(
                f"net/{family}/fib_multipath_hash_policy",
                HASH_POLICIES[settings.multipath_hash],
                f'multipath_hash = "{settings.multipath_hash}"',
            )
    if settings.use_neigh:
        wish("net/ipv4/fib_multipath_use_neigh", "1", "gateways that do not answer ARP are passed over")
    for name in ("rmem_max", "wmem_max"):
        changes += _raised(f"net/core/{name}", settings.socket_buffers, observed)
    if settings.forwarding and config.router.lan and lan:
        if config.router.ipv6 != "off":
            changes += _still_accepting(links, lan, observed)
            wish("net/ipv6/conf/all/forwarding", "1", "router mode forwards IPv6")
        for device in sorted({*devices, *lan} - set(_NO_DEVICE)):
            wish(f"net/ipv4/conf/{device}/forwarding", "1", "router mode forwards between LAN and uplinks")
    return changes


def _loose(device: str, observed: Observed) -> list[Change]:
    """rp_filter 2 where it is 1 now. The kernel uses the maximum of `all` and the interface's."""
    name = f"net/ipv4/conf/{device}/rp_filter"
    own, everywhere = observed(name), observed("net/ipv4/conf/all/rp_filter")
    if own is None or max(_number(own), _number(everywhere or "0")) != 1:
        return []
    return [Change(name, "2", own, "a strict filter drops answers to what left by another uplink")]


def _raised(name: str, least: int, observed: Observed) -> list[Change]:
    old = observed(name)
    if old is None or not _VALUES.fullmatch(old) or int(old) >= least:
        return []
    return [Change(name, str(least), old, "the SRTLA engines need room for bursts of all uplinks together")]


def _still_accepting(links: Iterable[Interface], lan: Collection[str], observed: Observed) -> list[Change]:
    """accept_ra 2 where it is 1: with 1, the kernel ignores router advertisements while it forwards.

    This comes before `forwarding`: when that is switched on, the kernel drops the routes that it has learned.
    It is for every interface that is not LAN: one that is no uplink yet needs advertisements to become one. A
    0 stays: there, a program (NetworkManager, systemd-networkd) listens instead of the kernel.
    """
    found = []
    for link in sorted(links, key=lambda link: link.name):
        if link.loopback or link.master or link.name in lan or link.name in _NO_DEVICE:
            continue
        name = f"net/ipv6/conf/{link.name}/accept_ra"
        if observed(name) == "1":
            why = "router advertisements are accepted although the box forwards"
            found.append(Change(name, "2", "1", why))
    return found


def _number(text: str) -> int:
    return int(text) if _VALUES.fullmatch(text) else 0


# --- reading and writing ----------------------------------------------------------------------------------


class Sysctls:
    """The settings below `root`, and the record in `state_dir` of what was changed."""

    def __init__(self, state_dir: Path, root: Path = PROC) -> None:
        self._root = str(root)  # not a Path: each pass reads some dozens
        self._store = StateFile(
            state_dir / STORE, "sysctls", LARGEST_STORE_BYTES, old=lambda found: {"settings": found}
        )

    def read(self, name: str) -> str | None:
        """A setting's value; None if there is none here, or it cannot be read.

        In a network namespace, settings of the initial namespace (net.core.rmem_max) are read-only, or
        absent.
        """
        if not _NAMES.fullmatch(name):
            raise ValueError(f"{name!a} is not one of netbond's settings")
        try:
            descriptor = os.open(f"{self._root}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if not os.fstat(descriptor).st_mode & stat.S_IWUSR:
                    return None
                return os.read(descriptor, 64).decode(errors="replace").strip()
            finally:
                os.close(descriptor)
        except OSError:
            return None

    def apply(self, changes: Iterable[Change]) -> list[str]:
        """Record and make the changes; return a line for each failure."""
        changes = list(changes)
        if not changes:
            return []
        record, problems = self._load()
        # Settings go with their interface. Some modems make up a new MAC address, and so a new name, at each
        # start: the record would grow for ever.
        record = {name: entry for name, entry in record.items() if os.path.lexists(f"{self._root}/{name}")}
        before = dict(record)
        for change in changes:
            known = record.get(change.name)
            # If somebody changed it since, or the interface is a new one with the old name, the present value
            # is the old value.
            old = known.old if known is not None and known.ours == change.old else change.old
            record[change.name] = Recorded(old, change.value)
        try:
            self._save(record)
        except OSError as error:
            problem = (
                f"{self._store.path}: {files.why(error)};"
                " kernel settings stay unchanged, as they could not be put back"
            )
            return [*problems, problem]
        failed: list[tuple[Change, OSError]] = []
        for change in changes:
            try:
                self._write(change.name, change.value)
            except OSError as error:
                failed.append((change, error))
                record.pop(change.name)
                if change.name in before:
                    record[change.name] = before[change.name]
        if failed:
            with contextlib.suppress(OSError):  # then it has too many entries, which restore() skips
                self._save(record)
        return problems + _failures(failed)

    def before(self, name: str) -> str | None:
        """A setting's value, without netbond's own change; for `observed` of wanted()."""
        now = self.read(name)
        entry = self._load()[0].get(name)
        return entry.old if entry is not None and entry.ours == now else now

    def restore(self, keep: Collection[str] = ()) -> list[str]:
        """Put back what still has netbond's value, except `keep`; return a line for each failure."""
        record, problems = self._load()
        left: dict[str, Recorded] = {name: entry for name, entry in record.items() if name in keep}
        failed: list[tuple[Change, OSError]] = []
        # The last first: `forwarding` before `accept_ra`, as on the way in.
        for name, entry in reversed(record.items()):
            if name in keep or self.read(name) != entry.ours:
                continue  # somebody else's value now, or the interface is gone
            try:
                self._write(name, entry.old)
            except OSError as error:
                failed.append((Change(name, entry.old, entry.ours, "its value before netbond"), error))
                left = {name: entry, **left}
        try:
            self._save(left)
        except OSError as error:
            problems.append(f"{self._store.path}: {files.why(error)}")
        return problems + _failures(failed)

    def changed(self) -> list[Change]:
        """The changes that restore() would make now."""
        return [
            Change(name, entry.old, entry.ours, "its value before netbond")
            for name, entry in reversed(self._load()[0].items())
            if self.read(name) == entry.ours
        ]

    def _write(self, name: str, value: str) -> None:
        if not _NAMES.fullmatch(name):
            raise ValueError(f"{name!a} is not one of netbond's settings")
        descriptor = os.open(f"{self._root}/{name}", os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode() + b"\n")
        finally:
            os.close(descriptor)

    def _load(self) -> tuple[dict[str, Recorded], list[str]]:
        """The record without its invalid entries, and lines that name what is wrong with it."""
        try:
            found = self._store.read().get("settings")
            if not isinstance(found, dict):
                raise StateFileError("it is no record of settings")
        except FileNotFoundError:
            return {}, []
        except (OSError, StateFileError) as error:
            return {}, [f"{self._store.path}: {reason(error)}; ignored"]
        record: dict[str, Recorded] = {}
        wrong = 0
        for name, entry in found.items():
            old, ours = (entry.get("old"), entry.get("ours")) if isinstance(entry, dict) else (None, None)
            if (
                _NAMES.fullmatch(name)
                and isinstance(old, str)
                and isinstance(ours, str)
                and _VALUES.fullmatch(old)
                and _VALUES.fullmatch(ours)
            ):
                record[name] = Recorded(old, ours)
            else:
                wrong += 1
        return record, [f"{self._store.path}: {wrong} invalid entries; ignored"] if wrong else []

    def _save(self, record: dict[str, Recorded]) -> None:
        if not record:
            self._store.remove()
            return
        settings = {name: {"old": entry.old, "ours": entry.ours} for name, entry in record.items()}
        self._store.write({"settings": settings}, indent=1)


def _failures(failed: Iterable[tuple[Change, OSError]]) -> list[str]:
    """One line for all settings that are read-only, and one for each other error."""
    shut: list[Change] = []
    lines: list[str] = []
    for change, error in failed:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            shut.append(change)
        elif error.errno not in (errno.ENOENT, errno.ENODEV):  # the interface has gone in the meantime
            lines.append(f"{change.command()}: {files.why(error)}")
    if shut:
        more = f" and {len(shut) - 1} more" if len(shut) > 1 else ""
        lines.insert(
            0,
            f"kernel settings are read-only here (a container?): {shown(shut[0].name)} stays"
            f" {shut[0].old}{more}; run on the host: {shut[0].command()}",
        )
    return lines
