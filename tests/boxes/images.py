"""Makes the systems and the wheels: fresh Debian 12 and 13, and netbond with all that it needs from PyPI.

usage: python -m tests.boxes.images FOLDER [fresh]      (scripts/boxes calls it)

fresh: only the systems for test_newcomer.py, which get netbond from the checkout, and all else from mirrors.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
MIRROR = os.environ.get("NETBOND_BOXES_MIRROR", "http://deb.debian.org/debian")
# What Debian's installer gives, as far as a container can have it.
COMMON = ("systemd-sysv", "dbus", "udev", "iproute2", "procps", "ifupdown", "ca-certificates", "nftables")
SYSTEMS = {
    "bookworm": (*COMMON, "isc-dhcp-client"),
    "bookworm-nm": (*COMMON, "network-manager"),
    "trixie": (*COMMON, "dhcpcd-base"),
    "trixie-dhcpcd": (*COMMON, "dhcpcd"),
}
# docs/install.md asks for it; here it comes with the system, because the boxes reach no mirror.
PYTHON = "python3-venv"
# What a person has who has just installed Debian, and Python.
FRESH = {
    "bookworm-fresh": (*COMMON, "isc-dhcp-client", "python3", "sudo"),
    "trixie-fresh": (*COMMON, "dhcpcd-base", "python3", "sudo"),
}


def make(folder: Path, systems: Mapping[str, Iterable[str]]) -> None:
    """Make those of the systems that are missing in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, packages in systems.items():
        target = folder / name
        if target.exists():
            continue
        print(f"\033[1m==> {name}\033[0m", file=sys.stderr, flush=True)
        half = folder / f"{name}.half"
        subprocess.run(["rm", "-rf", "--one-file-system", str(half)], check=True)
        suite = name.partition("-")[0]
        include = f"--include={','.join(packages)}"
        words = ["--quiet", "--mode=root", "--variant=minbase", include, suite, str(half), MIRROR]
        subprocess.run(["mmdebstrap", *words], check=True)
        half.rename(target)


def wheels(folder: Path) -> None:
    """netbond of this checkout, compiled for this Python and pure for all others, with its dependencies."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("netbond-*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "-w", str(folder), str(ROOT)], check=True)
    pure = {**os.environ, "NETBOND_PURE": "1"}
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(ROOT)], check=True, env=pure)
    # The only one that is compiled, for the other systems' Python.
    for version in ("3.11", "3.13"):
        which = ["--only-binary=:all:", "--no-deps", f"--python-version={version}"]
        subprocess.run([*pip, "download", "-d", str(folder), *which, "tomli"], check=True)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if sys.argv[2:] == ["fresh"]:
        make(place, FRESH)
    else:
        make(place, {name: (*packages, PYTHON) for name, packages in SYSTEMS.items()})
        wheels(place / "wheels")
