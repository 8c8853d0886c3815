"""Names for netbond's tables and its protocol, so that `ip route show table usb0` works.

iproute2 reads drop-in files besides its own: rt_tables.d/netbond.conf and rt_protos.d/netbond.conf are ours,
and carry a header by which we know them again. A file of that name without it is somebody else's and stays.
Names are a comfort to people: nothing in netbond depends on them, and an /etc that cannot be written is only
worth a warning.
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
LARGEST = 262144  # bytes

# What `ip` itself understands in a table's place (ip-route(8)), and the kernel's own tables.
RESERVED = frozenset({"default", "main", "local", "unspec", "all", "cache"})


def render_tables(tables: Mapping[str, int], ecmp_table: int, taken: Mapping[int, str]) -> str:
    """The content of rt_tables.d/netbond.conf: `100 usb0` for each device, `222 netbond` for the ECMP table.

    `taken` is what other files say. A number that has a name there keeps it, and a name that stands there, or
    that `ip` would take for something else, is not given a second time: the table then goes by its number.
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
    """Whether `ip` reads it back as a name: no word of its own, no number (it reads 0x10 and 010 too)."""
    return bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.@+-]{0,31}", name)) and name not in RESERVED


def parse(text: str) -> dict[int, str]:
    """The names in a file of iproute2's: lines of a number (decimal or 0x...) and a name; no others count."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"[ \t]*(0x[0-9a-fA-F]{1,8}|[0-9]{1,10})[ \t]+([^ \t]+)", line)
        if match:
            found[int(match[1], 0 if match[1].startswith("0x") else 10)] = match[2]
    return found


def read_taken(iproute2_dir: Path, kind: str) -> dict[int, str]:
    """The names that other files than ours give, for `kind` "rt_tables" or "rt_protos"."""
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
    # Distributions put links here: they are followed, as `ip` follows them; nothing is written through them.
    return parse(files.read(path.resolve(), LARGEST)[0].decode(errors="replace"))


class NameFiles:
    """Our two files below `iproute2_dir` (None, or a folder that is not there: no names are wanted)."""

    def __init__(self, iproute2_dir: Path | None) -> None:
        self.iproute2_dir = iproute2_dir

    def write(self, tables: Mapping[str, int], ecmp_table: int, protocol: int) -> tuple[str, ...]:
        """Bring both files up to date, if they are not; what is wrong, in one line each."""
        if self.iproute2_dir is None or not self.iproute2_dir.is_dir():
            return ()
        texts = {
            "rt_tables": render_tables(tables, ecmp_table, read_taken(self.iproute2_dir, "rt_tables")),
            "rt_protos": render_protocol(protocol, read_taken(self.iproute2_dir, "rt_protos")),
        }
        problems = []
        for kind, text in texts.items():
            path = self.iproute2_dir / f"{kind}.d" / FILE
            try:
                if _ours(path) != text:
                    path.parent.mkdir(mode=0o755, exist_ok=True)
                    files.replace(path, text.encode(), 0o644)
            except (OSError, NetbondError) as error:
                problems.append(f"{path}: {_why(error)}; `ip` shows numbers instead of netbond's names")
        return tuple(problems)

    def remove(self) -> tuple[str, ...]:
        """Take both files away, if they are ours; what is wrong, in one line each."""
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
        return tuple(problems)


def _ours(path: Path) -> str | None:
    """What we wrote there, or None if there is nothing; NetbondError if it is not ours."""
    try:
        text = files.read(path, LARGEST)[0].decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            return None
        raise
    # A machine that lost power may leave an empty file: nothing in it is anybody's.
    if text and not text.startswith(HEADER):
        raise NetbondError("was not written by netbond, and stays as it is")
    return text


def _why(error: OSError | NetbondError) -> str:
    return files.why(error) if isinstance(error, OSError) else str(error)
