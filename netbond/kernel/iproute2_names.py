"""Names netbond's tables and its protocol for iproute2, so that `ip route show table usb0` works.

iproute2 reads drop-in files besides its own. rt_tables.d/netbond.conf and rt_protos.d/netbond.conf are ours,
and have a header by which netbond recognises them. A file of that name without it belongs to somebody else,
and stays. The names are only for people. Nothing in netbond depends on them, so a read-only /etc causes only
a warning.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Mapping
from pathlib import Path

from netbond.errors import NetbondError
from netbond.system import files

HEADER = "# Written by netbond for `ip`; changes here are lost. `netbond run` takes it away when it ends.\n"
FILE = "netbond.conf"
KINDS = ("rt_tables", "rt_protos")
SYSTEM_DEFAULTS = (Path("/usr/share/iproute2"), Path("/usr/lib/iproute2"))  # iproute2 6.5 and later
LARGEST_BYTES = 262144

# What `ip` itself understands in a table's place (ip-route(8)), and the kernel's own tables.
RESERVED = frozenset({"default", "main", "local", "unspec", "all", "cache"})


def render_tables(tables: Mapping[str, int], ecmp_table: int, taken: Mapping[int, str]) -> str:
    """The content of rt_tables.d/netbond.conf: `100 usb0` for each device, `222 netbond` for the ECMP table.

    `taken` has the names in other files. A number that has a name there keeps it. A name that is used there,
    or that `ip` would read as something else, is not given: that table then has only its number.
    """
    lines = []
    used = set(taken.values())
    for name, number in [("netbond", ecmp_table), *sorted(tables.items())]:
        if number not in taken and name not in used and _fit(name):
            used.add(name)
            lines.append((number, name))
    return HEADER + "".join(f"{number}\t{name}\n" for number, name in sorted(lines))


def render_protocol(protocol: int, taken: Mapping[int, str]) -> str:
    """The content of rt_protos.d/netbond.conf: `78 netbond`, unless number or name is taken."""
    free = protocol not in taken and "netbond" not in taken.values()
    return HEADER + (f"{protocol}\tnetbond\n" if free else "")


def _fit(name: str) -> bool:
    """Whether `ip` reads it as a name: it is no keyword and no number (0x10 and 010 are numbers, too)."""
    return bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.@+-]{0,31}", name)) and name not in RESERVED


def parse(text: str) -> dict[int, str]:
    """The names in a file of iproute2: lines of a number (decimal or 0x...) and a name. Ignores others."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"[ \t]*(0x[0-9a-fA-F]{1,8}|[0-9]{1,10})[ \t]+([^ \t]+)", line)
        if match:
            found[int(match[1], 0 if match[1].startswith("0x") else 10)] = match[2]
    return found


def read_taken(iproute2_dir: Path, kind: str) -> dict[int, str]:
    """The names in files other than ours, for `kind` "rt_tables" or "rt_protos"."""
    found: dict[int, str] = {}
    for folder in (*reversed(SYSTEM_DEFAULTS), iproute2_dir):
        extra = folder / f"{kind}.d"
        paths = [folder / kind]
        with contextlib.suppress(OSError):
            paths += sorted(path for path in extra.iterdir() if path.name.endswith(".conf"))
        for path in paths:
            if path != iproute2_dir / f"{kind}.d" / FILE:
                with contextlib.suppress(OSError, RuntimeError):  # the latter: links in a circle
                    found |= _read(path)
    return found


def _read(path: Path) -> dict[int, str]:
    # Distributions put links here. They are followed, as `ip` does; nothing is written through them.
    return parse(files.read(path.resolve(), LARGEST_BYTES)[0].decode(errors="replace"))


class NameFiles:
    """Our two files below `iproute2_dir`. If that is None, or iproute2 is not there, no names are written.

    iproute2 6.5 and later have their own files below /usr. Where the folder is missing for this reason, it is
    made, and removed with the names.
    """

    def __init__(self, iproute2_dir: Path | None) -> None:
        self.iproute2_dir = iproute2_dir
        self._made = False  # the folder, by us
        if iproute2_dir is not None:
            for kind in KINDS:
                files.sweep(iproute2_dir / f"{kind}.d", f"{FILE}.")

    def write(self, tables: Mapping[str, int], ecmp_table: int, protocol: int) -> tuple[str, ...]:
        """Write both files, if they are not up to date; return a line for each failure."""
        if self.iproute2_dir is None:
            return ()
        if not self.iproute2_dir.is_dir():
            if not self.iproute2_dir.parent.is_dir() or not any(each.is_dir() for each in SYSTEM_DEFAULTS):
                return ()
            try:
                files.make_directory(self.iproute2_dir, 0o755)
            except OSError as error:
                return (f"{self.iproute2_dir}: {_why(error)}; `ip` shows numbers instead of netbond's names",)
            self._made = True
        texts = {
            "rt_tables": render_tables(tables, ecmp_table, read_taken(self.iproute2_dir, "rt_tables")),
            "rt_protos": render_protocol(protocol, read_taken(self.iproute2_dir, "rt_protos")),
        }
        problems = []
        for kind, text in texts.items():
            path = self.iproute2_dir / f"{kind}.d" / FILE
            try:
                if _ours(path) != text:
                    files.make_directory(path.parent, 0o755)  # whatever the umask
                    files.replace(path, text.encode(), 0o644)
            except (OSError, NetbondError) as error:
                problems.append(f"{path}: {_why(error)}; `ip` shows numbers instead of netbond's names")
        return tuple(problems)

    def remove(self) -> tuple[str, ...]:
        """Remove both files, if they are ours; return a line for each failure."""
        if self.iproute2_dir is None:
            return ()
        problems = []
        for kind in KINDS:
            path = self.iproute2_dir / f"{kind}.d" / FILE
            try:
                if _ours(path) is not None:
                    path.unlink()
            except NetbondError:
                continue  # somebody else's
            except OSError as error:
                problems.append(f"{path}: {_why(error)}; it stays")
        if self._made:
            with contextlib.suppress(OSError):  # somebody else's files are in it by now
                for kind in KINDS:
                    (self.iproute2_dir / f"{kind}.d").rmdir()
                self.iproute2_dir.rmdir()
        return tuple(problems)


def _ours(path: Path) -> str | None:
    """The text that netbond wrote there, None if there is no file; NetbondError if it is not ours."""
    try:
        text = files.read(path, LARGEST_BYTES)[0].decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            return None
        raise
    # A power cut may leave an empty file, which belongs to nobody.
    if text and not text.startswith(HEADER):
        raise NetbondError("was not written by netbond, and stays as it is")
    return text


def _why(error: OSError | NetbondError) -> str:
    return files.why(error) if isinstance(error, OSError) else str(error)
