"""Writes the address list for SRTLA senders, one line per usable uplink, and signals them when it changes.

srtla_send and `netbond send` read the file when they start and again on SIGHUP. It lies where any user may
write (/tmp/srtla_ips) and the writer is root, so a link put in its place is replaced, never followed; and
SIGHUP goes only to processes that were meant and that handle it: others would be ended by it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from netbond.model import Uplink
from netbond.problems import Problem
from netbond.system import files
from netbond.system.sighup import Readers

MAX_LIST_BYTES = 65536  # a larger file is not netbond's


def render(uplinks: Iterable[Uplink], *, devices: bool = False, ipv6: bool = False) -> str:
    """The list as text: `10.0.0.10` lines, or `10.0.0.10%usb0` with `devices`; "" if there is none.

    Usable uplinks only, IPv4 first and by table, so that the order does not depend on which modem came first.
    IPv6 only if asked for (srtla_send knows IPv4 only). What is in a VRF only with `devices`: nobody can bind
    to its address alone. Twins that share an address give one plain line: such
    a reader cannot tell them apart.
    """
    usable = sorted(
        (u for u in uplinks if u.in_list and (ipv6 or u.family == 4) and (devices or not u.vrf)),
        key=lambda u: (u.family, u.table, u.device, int(u.address.ip)),
    )
    lines = [f"{u.address.ip}%{u.device}" if devices else str(u.address.ip) for u in usable]
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


def twins(uplinks: Iterable[Uplink]) -> dict[str, list[str]]:
    """The addresses that several uplinks of a list share, each with their names: one line of a plain list."""
    found: dict[str, list[str]] = {}
    for uplink in uplinks:
        if uplink.in_list and uplink.family == 4 and not uplink.vrf:
            found.setdefault(str(uplink.address.ip), []).append(uplink.name)
    return {address: names for address, names in found.items() if len(names) > 1}


@dataclass(frozen=True, slots=True)
class Update:
    """What an update did, and what is wrong at present, in one line each."""

    written: bool = False
    notified: tuple[int, ...] = ()  # process ids that got SIGHUP
    problems: tuple[str | Problem, ...] = ()


class AddressList:
    """The file at `path` (None: there is none), and those who are told when it changes.

    `pid_file` and `process` say who that is (netbond.system.sighup.Readers).
    """

    def __init__(
        self,
        path: Path | None,
        *,
        devices: bool = False,
        ipv6: bool = False,
        empty: bool = False,
        pid_file: Path | None = None,
        process: str = "",
    ) -> None:
        self.path = path
        self.devices = devices
        self.ipv6 = ipv6
        self.empty = empty
        self.readers = Readers(pid_file, process, "the new address list")
        self._not_notified: tuple[str | Problem, ...] = ()  # problems of the last notification
        if path is not None:
            files.sweep(path.parent, f"{path.name}.")

    def update(self, uplinks: Iterable[Uplink]) -> Update:
        """Write the file if it is out of date, and then signal its readers. No OSError: problems are named.

        Without `empty`, a list that would become empty is not written: senders stop on an empty list, and
        with the old one they carry on as soon as a modem is back.
        """
        text = render(uplinks, devices=self.devices, ipv6=self.ipv6)
        if self.path is None or not (text or self.empty):
            return Update()
        data = text.encode()
        try:
            if self._is_current(self.path, data):
                return Update(problems=self._not_notified)
            self._replace(self.path, data)
        except IsADirectoryError:
            return Update(problems=(_in_the_way(self.path),))
        except OSError as error:
            return Update(problems=(f"cannot write the address list {self.path}: {files.why(error)}",))
        notified, self._not_notified = self.readers.tell(time.monotonic())
        return Update(True, notified, self._not_notified)

    def _replace(self, path: Path, data: bytes) -> None:
        """Write the file. What is in its place goes, even an empty directory: in /tmp anybody makes one."""
        try:
            files.replace(path, data, 0o644)
        except IsADirectoryError:
            with contextlib.suppress(OSError):
                path.rmdir()
            files.replace(path, data, 0o644)

    def _is_current(self, path: Path, data: bytes) -> bool:
        """Whether the file is as it would be written; one that others may change is not."""
        try:
            content, status = files.read(path, MAX_LIST_BYTES)
        except FileNotFoundError:
            return False
        except files.UnfitFileError:
            return False  # a link, a FIFO: replaced. A directory: replacing it fails, and says so.
        ours = status.st_uid == os.geteuid() and status.st_nlink == 1
        return content == data and ours and stat.S_IMODE(status.st_mode) == 0o644


def _in_the_way(path: Path) -> Problem:
    return Problem(
        "address-list",
        f"cannot write the address list {path}: a directory is in its place",
        str(path),
        f"see whose it is (ls -ld {path}), and move it away; or name another place with agent.ip_list",
    )
