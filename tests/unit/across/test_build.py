"""scripts/build: what packages bring, and what their own scripts do."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from netbond.installation.contents import HOOKS, UNITS

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import build  # noqa: E402
import container_image  # noqa: E402

PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==([0-9][0-9a-z.]*)$", re.MULTILINE)


def pinned(name: str) -> dict[str, str]:
    text = (ROOT / "scripts" / name).read_text(encoding="utf-8")
    found = {_normal(part): version for part, version in PINNED.findall(text)}
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(found) == len(lines), "each line fixes a version: other versions make other bytes"
    return found


def _normal(name: str) -> str:
    """A project's name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(project: str) -> set[str]:
    """What a project needs to run, and what that needs."""
    found: set[str] = set()
    for line in importlib.metadata.requires(project) or ():
        if ";" not in line:
            name = _normal(re.match(r"[A-Za-z0-9_.-]+", line)[0])  # type: ignore[index]
            found |= {name} | needed(name)
    return found


def test_a_package_brings_all_that_netbond_needs_and_no_more() -> None:
    assert set(pinned("package-requirements.txt")) == needed("netbond")


def test_tools_have_fixed_versions() -> None:
    assert {"hatchling", "mypy", "setuptools", "ziglang"} <= set(pinned("build-requirements.txt"))


def test_a_package_has_all_units_and_hooks() -> None:
    text = (ROOT / "scripts/build.py").read_text(encoding="utf-8")
    assert all(f'"{unit}"' in text for unit in UNITS.values())
    assert all(f'"{hook.template}"' in text for hook in HOOKS)


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm"])
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_scripts_of_a_package(name: str) -> None:
    script = ROOT / "contrib/debian" / name
    assert script.stat().st_mode & 0o111
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_each_package_installs_and_removes_what_it_makes_itself() -> None:
    """Python's cache is no file of the package; dpkg would leave its folders behind."""
    made = (ROOT / "contrib/debian/postinst").read_text(encoding="utf-8")
    assert "compileall" in made
    assert "__pycache__" in (ROOT / "contrib/debian/prerm").read_text(encoding="utf-8")


def _packages(path: Path) -> Path:
    """An archive as mmdebstrap makes it: a program, a hard link to it, and what an image leaves out."""
    with tarfile.open(path, "w") as archive:
        for name, data in (
            ("./usr/bin/dpkg", b"no"),
            ("./usr/bin/python3.13", b"program"),
            ("./usr/share/doc/libc6/copyright", b"licence"),
            ("./usr/share/man/man1/x.1", b"no"),
        ):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid, info.mtime = len(data), 0o4755, 7, 5
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("./usr/bin/python3")
        link.type, link.linkname = tarfile.LNKTYPE, "./usr/bin/python3.13"
        archive.addfile(link)
    return path


def test_an_image_has_what_runs_and_no_more(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "usr/bin").mkdir(parents=True)
    (own / "usr/bin/netbond").symlink_to("../lib/netbond/bin/netbond")
    files = container_image.layer(_packages(tmp_path / "debian.tar"), own, 99)
    assert container_image.layer(tmp_path / "debian.tar", own, 99) == files, "the same bytes each time"
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        found = {member.name: member for member in archive}
        assert archive.extractfile("usr/bin/python3").read() == b"program"  # type: ignore[union-attr]
    assert sorted(name for name in found if name.startswith("usr/")) == [
        "usr/bin",
        "usr/bin/netbond",
        "usr/bin/python3",
        "usr/bin/python3.13",
        "usr/sbin",
        "usr/share",
        "usr/share/doc",
        "usr/share/doc/libc6",
        "usr/share/doc/libc6/copyright",
    ]
    assert {member.mtime for member in found.values()} == {99}
    assert {name for name, member in found.items() if member.uid} == {"var/lib/netbond"}
    assert found["usr/bin/python3.13"].mode == 0o755, "nothing is set-uid"


def test_an_image_runs_without_root_and_has_a_health_check() -> None:
    image = container_image.receiver("1.2", "arm64")
    with tarfile.open(fileobj=io.BytesIO(container_image.archive(image, b"files", 0))) as archive:
        (said,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        config = json.load(archive.extractfile(said["Config"]))  # type: ignore[arg-type]
    assert said["RepoTags"] == ["netbond-recv:1.2"]
    assert config["architecture"] == "arm64"
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["Healthcheck"]["Test"] == ["CMD", "/usr/bin/netbond-healthy"]


def test_a_receiver_is_healthy_while_its_statistics_are_new(tmp_path: Path) -> None:
    def ask() -> tuple[int, str]:
        command = [
            sys.executable,
            str(ROOT / "contrib/container/netbond-healthy"),
            str(tmp_path / "stats.json"),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, (done.stdout + done.stderr).replace(str(tmp_path), "")

    assert ask() == (1, "unhealthy: /stats.json: No such file or directory\n")
    (tmp_path / "stats.json").touch()
    assert ask() == (0, "healthy\n")
    old = time.time() - 3600
    os.utime(tmp_path / "stats.json", (old, old))
    assert ask() == (1, "unhealthy: /stats.json is 3600 s old\n")


def test_a_package_names_what_it_runs_on(tmp_path: Path) -> None:
    build._control(tmp_path, ROOT, "1.2-1~deb13", "3.13", build.MACHINES[1])
    control = (tmp_path / "DEBIAN/control").read_text(encoding="utf-8")
    assert "Architecture: arm64\n" in control
    depends = "python3 (>= 3.13), python3 (<< 3.14), iproute2, libc6 (>= 2.28), systemd"
    assert f"\nDepends: {depends}\n" in control
