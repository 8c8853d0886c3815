"""A booted system in a container, in a network namespace of a lab."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_S = 60.0
# What changes by itself, and what the tests bring.
NOT_COMPARED = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/log", "/var/cache", "/var/tmp", "/root")
# useradd and userdel keep the former files; systemd and clients keep theirs.
BESIDE = (
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/var/lib/systemd",
    "/var/lib/dhcp",
    "/var/lib/dhcpcd",
    "/var/lib/NetworkManager",
)


OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/root/wheels"}


@dataclass
class Container:
    """One system; `start` boots it, `run` runs a command in it. `times` has the seconds that each took."""

    name: str
    folder: Path
    netns: str
    system: Path  # the fresh one
    upper: Path  # the layer with what differs from it
    process: subprocess.Popen[bytes] | None = None
    leader: int = 0
    times: list[tuple[str, float]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=lambda: dict(OFFLINE))

    def start(self) -> None:
        """Boot, and return when systemd has started all that it starts."""
        log = (self.folder.parent / f"{self.name}.log").open("ab")
        command = [
            *("systemd-nspawn", "--quiet", "--boot", f"--directory={self.folder}", f"--machine={self.name}"),
            *("--register=no", "--keep-unit", f"--network-namespace-path=/run/netns/{self.netns}"),
            "--capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_SYS_NICE",
        ]
        env = {**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
        with log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True
            )
        deadline = time.monotonic() + BOOT_S
        while not self._booted():
            assert self.process.poll() is None, f"{self.name} did not boot"
            assert time.monotonic() < deadline, (
                f"{self.name} does not come up: {self.run('systemctl list-jobs')}"
            )
            time.sleep(0.2)

    def _booted(self) -> bool:
        assert self.process is not None
        children = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-x", "systemd"],
            capture_output=True,
            text=True,
            check=False,
        )
        if not children.stdout.strip():
            return False
        self.leader = int(children.stdout.split()[0])
        state = self.try_run("systemctl is-system-running").stdout.strip()
        return state in ("running", "degraded")

    def stop(self) -> None:
        """Shut down as a person would: systemd stops all services."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self.leader:
                os.kill(self.leader, 37)  # SIGRTMIN+3: halt
            self.process.wait(30)
        if self.process.poll() is None:
            self.kill()
        self.process, self.leader = None, 0

    def kill(self) -> None:
        """Take its power."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader or self.process.pid, 9)
            self.process.kill()
            self.process.wait(10)
            self.process, self.leader = None, 0

    def command(self, command: str) -> list[str]:
        """What runs a line of shell in it, as root."""
        environment = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "TERM": "dumb", **self.environment}
        words = [f"{key}={value}" for key, value in environment.items()]
        enter = ["nsenter", "-t", str(self.leader), "-a", "env", "-i", *words]
        return [*enter, "sh", "-c", f"cd /root; {command}"]

    def try_run(self, command: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a line of shell, as root."""
        return subprocess.run(
            self.command(command), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def run(self, command: str, timeout_s: float = 120.0) -> str:
        """Run a line of shell that must succeed; what it prints."""
        before = time.monotonic()
        done = self.try_run(command, timeout_s)
        self.times.append((command, time.monotonic() - before))
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def until(self, command: str, expected: str, timeout_s: float = 30.0) -> str:
        """Repeat a line of shell until it prints `expected`; what it prints then."""
        deadline = time.monotonic() + timeout_s
        while expected not in (said := (done := self.try_run(command)).stdout + done.stderr):
            assert time.monotonic() < deadline, f"{command} does not say {expected!r}:\n{said}"
            time.sleep(0.2)
        return said

    def snapshot(self) -> dict[str, str]:
        """Files that differ from the fresh system; rules, routes, settings, users, units as they are."""
        found = dict(self._changed())
        for command in (
            "ip -4 rule; ip -6 rule",
            "ip -4 route show table all proto 78; ip -6 route show table all proto 78",
            "ip nexthop",
            "nft list ruleset",
            "sysctl -a --pattern '^net\\.(core|ipv4)\\.' 2>/dev/null | grep -v 'unix\\|neigh'",
            "getent passwd",
            "systemctl list-unit-files --no-pager --no-legend",
        ):
            found[command] = self.try_run(command).stdout
        return found

    def _changed(self) -> Iterator[tuple[str, str]]:
        """All that lies in the upper layer and is not in the same form in the system below it."""
        for folder, folders, names in os.walk(self.upper):
            place = folder.removeprefix(str(self.upper))
            if place.startswith((*NOT_COMPARED, *BESIDE)):
                folders.clear()
                continue
            links = [name for name in folders if Path(folder, name).is_symlink()]
            for name in (*names, *links, *folders):
                path = f"{place}/{name}"
                if path.startswith((*NOT_COMPARED, *BESIDE)):
                    continue
                now, fresh = _form(self.upper, path), _form(self.system, path)
                if now != fresh and not (now == "deleted" and fresh == "not there"):
                    yield path, now


def _form(root: Path, path: str) -> str:
    """Mode, owner and content of a file, link or folder; in a layer, a device stands for what is deleted."""
    place = root / path.lstrip("/")
    try:
        status = place.lstat()
    except OSError:
        return "not there"
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return "deleted"
    content = ""
    if stat.S_ISLNK(status.st_mode):
        content = str(place.readlink())
    elif stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(place.read_bytes()).hexdigest()
    return f"{status.st_mode:o} {status.st_uid} {content}"


@contextlib.contextmanager
def booted(system: Path, folder: Path, name: str, netns: str, setup: dict[str, str]) -> Iterator[Container]:
    """The system in the folder `system`, with these files, booted in the namespace; it stays as it is."""
    layers, tree = folder / f"{name}.layers", folder / name
    for each in (layers, tree):
        each.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", str(layers)], check=True)
    container = Container(name, tree, netns, system, layers / "upper")
    try:
        for each in (layers / "upper", layers / "work"):
            each.mkdir()
        options = f"lowerdir={system},upperdir={layers}/upper,workdir={layers}/work"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(tree)], check=True)
        for path, text in setup.items():
            file = tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        container.start()
        yield container
    finally:
        container.kill()
        for each in (tree, layers):
            subprocess.run(["umount", "-l", str(each)], check=False, stderr=subprocess.DEVNULL)
