"""Looks at a box and changes it, for `netbond install` and `netbond uninstall`.

All paths are below `root`, so that tests can install into a folder.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import pwd
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import netbond
from netbond.cli.run_command import SYSTEM_PATH
from netbond.errors import NetbondError, UnavailableError
from netbond.installation.contents import HOOKS, SYSCTLS, USER, Box, Item
from netbond.installation.leases import held
from netbond.installation.steps import NOTHING, Installed, Step, digest
from netbond.system import files
from netbond.system.state_file import StateFile, reason
from netbond.system.text import printable
from netbond.system.typed_json import from_json, to_json

PACKAGED = "/usr/lib/netbond"  # where a Debian package has its virtual environment
RECORD = "/var/lib/netbond/installed.json"
LARGEST_BYTES = 1024 * 1024  # of a file that is compared
LONGEST_LINE = 1000
Run = Callable[[Sequence[str]], str]  # runs a command; why it failed in a line, or ""


class Place:
    """The file system below `root`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self._record = StateFile(self.at(RECORD), "installed", LARGEST_BYTES)

    def at(self, path: str) -> Path:
        """Where this absolute path lies."""
        return self.root / path.lstrip("/")

    def look(self, program: str) -> Box:
        """What is there already."""
        return Box(
            program,
            {
                hook.client: folder
                for hook in HOOKS
                if self.has_program(hook.client)
                and (folder := next((each for each in hook.folders if self.at(each).is_dir()), None))
            },
            networkd=self.at("/run/systemd/netif").is_dir()
            or self.at("/etc/systemd/system/multi-user.target.wants/systemd-networkd.service").is_symlink(),
            dhcpcd_unit=any(self.at(f"{lib}/systemd/system/dhcpcd.service").exists() for lib in _LIBS),
            linked=self._leads_to(program),
            packaged=program.startswith(f"{PACKAGED}/"),
            sysctls={name: value for name in SYSCTLS if (value := self.sysctl(name)) is not None},
        )

    def has_program(self, name: str) -> bool:
        """Whether a program of this name is installed."""
        return any(self.at(f"{folder}/{name}").exists() for folder in SYSTEM_PATH.split(":"))

    def _leads_to(self, program: str) -> bool:
        path = os.pathsep.join(str(self.at(folder)) for folder in SYSTEM_PATH.split(":"))
        found = shutil.which("netbond", path=path)
        return found is not None and os.path.realpath(found) == os.path.realpath(self.at(program))

    def missing(self, folders: Iterable[str]) -> list[str]:
        """Those that are not there."""
        return [folder for folder in folders if not self.at(folder).exists()]

    def dhclient_leases(self, now: datetime.datetime) -> list[dict[str, str]]:
        """The leases that dhclient holds, as its hooks would hear of them."""
        found = []
        for path in sorted(self.at("/var/lib/dhcp").glob("dhclient*.leases")):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                found += list(held(files.read(path, LARGEST_BYTES)[0].decode(), now))
        return found

    def digests(self, paths: Iterable[str]) -> dict[str, str]:
        """The digest of each of these that is there. NetbondError for what is neither file nor link."""
        found = {}
        for path in paths:
            place = self.at(path)
            try:
                if place.is_symlink():
                    found[path] = digest(str(place.readlink()), link=True)
                else:
                    found[path] = digest(files.read(place, LARGEST_BYTES)[0])
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise NetbondError(f"{path}: {files.why(error)}", "move it out of the way") from None
        return found

    def installed(self) -> Installed:
        """What netbond has put here. NetbondError if the record cannot be read."""
        try:
            content = self._record.read()
            return from_json(
                Installed, {key: content[key] for key in content if key not in ("kind", "version")}
            )
        except FileNotFoundError:
            return NOTHING
        except (OSError, ValueError) as error:
            raise NetbondError(
                f"{RECORD}: {reason(error)}", "move it away; files that differ are kept"
            ) from None

    def keep(self, installed: Installed) -> None:
        """Write the record; remove it when nothing is left."""
        if installed == NOTHING:
            self._record.remove()
        else:
            self._record.write(to_json(installed), durable=True, indent=1)

    def write(self, item: Item) -> tuple[str, ...]:
        """Put the item there; return the folders that were made for it."""
        place = self.at(item.path)
        made = []
        for parent in reversed(place.parents):
            if not parent.exists():
                files.make_directory(parent, 0o755)
                made.append(f"/{parent.relative_to(self.root)}")
        if item.link:
            with contextlib.suppress(FileNotFoundError):
                place.unlink()
            place.symlink_to(item.text)
        else:
            files.replace(place, item.text.encode(), item.mode, durable=True)
        return tuple(made)

    def remove(self, path: str) -> None:
        """Remove this file or link, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.at(path).unlink()

    def remove_folder(self, path: str) -> bool:
        """Remove this folder if it is empty or gone; whether it is no longer there."""
        with contextlib.suppress(FileNotFoundError):
            try:
                self.at(path).rmdir()
            except OSError:
                return False
        return True

    def remove_tree(self, path: str) -> None:
        """Remove this folder with all that is in it."""
        if self.at(path).is_dir() and not self.at(path).is_symlink():
            shutil.rmtree(self.at(path))

    def sysctl(self, name: str) -> int | None:
        """The value of a setting that is one number."""
        try:
            return int(self._setting(name).read_text("ascii"))
        except (OSError, ValueError):
            return None

    def set_sysctl(self, name: str, value: int) -> None:
        """Change a setting; OSError."""
        self._setting(name).write_text(f"{value}\n", "ascii")

    def _setting(self, name: str) -> Path:
        return self.at("/proc/sys") / name.replace(".", "/")

    def has_user(self) -> bool:
        """Whether the engines' user exists."""
        if self.root == Path("/"):
            with contextlib.suppress(KeyError):
                pwd.getpwnam(USER)
                return True
            return False
        with contextlib.suppress(FileNotFoundError):
            users = self.at("/etc/passwd").read_text("utf-8", "replace")
            return any(line.startswith(f"{USER}:") for line in users.splitlines())
        return False

    def booted_with_systemd(self) -> bool:
        """Whether systemd runs here, as sd_booted(3) finds out."""
        return self.at("/run/systemd/system").is_dir()


_LIBS = ("/usr/lib", "/lib", "/etc")


class Hands:
    """Says in a line what it does, and does it; with `dry`, only says it. `run` runs a command."""

    def __init__(self, place: Place, run: Run, *, dry: bool = False) -> None:
        self.place = place
        self.run = run
        self.dry = dry
        self.failed = False

    def say(self, line: str) -> None:
        """Print a line."""
        print(printable(line, LONGEST_LINE), flush=True)

    def say_done(self, done: str, would: str, what: str) -> None:
        """Print what is done, or would be."""
        self.say(f"{would if self.dry else done} {what}")

    def command(self, *command: str) -> bool:
        """Run a command; whether it has succeeded."""
        said = " ".join(command)
        if self.dry:
            self.say(f"would run {said}")
            return True
        wrong = self.run(command)
        self.failed |= bool(wrong)
        self.say(f"{said}: {wrong or 'done'}")
        return not wrong

    def carry_out(self, steps: Iterable[Step]) -> tuple[list[Step], list[str], NetbondError | None]:
        """Write and remove, and say so; return what was done, the folders made, and what stopped it."""
        done: list[Step] = []
        made: list[str] = []
        for step in steps:
            try:
                if step.action == "write" and step.item is not None:
                    made += () if self.dry else self.place.write(step.item)
                    self.say_done("wrote", "would write", f"{step.path}: {step.why}")
                elif step.action == "remove":
                    if not self.dry:
                        self.place.remove(step.path)
                    self.say_done("removed", "would remove", step.path)
                elif step.action == "keep":
                    self.say(f"kept {step.path}: {step.why}")
            except OSError as error:
                hint = "mend it, and say the same again"
                return done, made, NetbondError(f"{step.path}: {files.why(error)}", hint)
            done.append(step)
        return done, made, None


def program() -> str:
    """The path of this netbond's command.

    UnavailableError if it is not installed, or lies where the engines' user cannot read it.
    """
    path = Path(sys.prefix, "bin", "netbond")
    if not path.exists():
        found = shutil.which("netbond", path=SYSTEM_PATH)
        if found is None:
            raise UnavailableError(
                f"there is no command {path}", "install netbond in a virtual environment: docs/install.md"
            )
        path = Path(found)
    for part in (Path(netbond.__file__).resolve(), *Path(netbond.__file__).resolve().parents, *path.parents):
        if not part.stat().st_mode & (0o004 if part.is_file() else 0o001):
            raise UnavailableError(
                f"{path}: other users than root cannot look into {part}, and engines run as one of them",
                "install netbond below /opt: docs/install.md",
            )
    return str(path)


def templates(names: Iterable[str]) -> Mapping[str, str]:
    """These files of contrib/. UnavailableError if one is missing."""
    folders = (
        Path(netbond.__file__).resolve().parents[1] / "contrib",  # a checkout
        Path(sys.prefix, "share", "netbond", "contrib"),
    )
    found = {}
    for name in names:
        try:
            found[name] = next(folder / name for folder in folders if (folder / name).is_file()).read_text(
                "utf-8"
            )
        except StopIteration:
            raise UnavailableError(
                f"contrib/{name} is not in {' or '.join(map(str, folders))}", "install netbond again"
            ) from None
    return found
