"""scripts/build: what packages bring, and what their own scripts do."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from netbond.installation.contents import HOOKS, UNITS

ROOT = Path(__file__).parents[3]
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
