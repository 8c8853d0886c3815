"""The command `netbond` and scripts/lib.sh in an environment that was made by another Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NOW = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment without packages, as one of before is after an upgrade of the system's Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    return tmp_path / "venv"


def test_the_command_says_that_its_environment_is_for_another_python(environment: Path) -> None:
    (environment / "lib/python3.9/site-packages/netbond").mkdir(parents=True)
    done = subprocess.run(
        [environment / "bin/python", ROOT / "scripts/netbond", "status"], capture_output=True, text=True
    )
    assert done.returncode == 69
    assert done.stdout == ""
    assert done.stderr == (
        f"netbond: {environment} was made for Python 3.9, and Python is {NOW} now; install netbond again"
        " (sudo scripts/install in the checkout; docs/install.md)\n"
    )


def test_another_module_that_is_missing_is_not_taken_for_that(environment: Path) -> None:
    package = environment / f"lib/python{NOW}/site-packages/netbond"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli.py").write_text("import nonsuch\n")
    done = subprocess.run(
        [environment / "bin/python", ROOT / "scripts/netbond"], capture_output=True, text=True
    )
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'nonsuch'\n")


def make_venv(folder: Path, tmp_path: Path) -> str:
    """What make_venv of scripts/lib.sh says and starts; the Python that it starts does nothing."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.99 || echo "$@"\n')
    python.chmod(0o755)
    code = f'. scripts/lib.sh; python={python}; make_venv "$1"'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code, "bash", folder],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout.replace("\033[1m", "").replace("\033[0m", "")


def test_an_environment_of_another_python_is_made_anew(environment: Path, tmp_path: Path) -> None:
    assert make_venv(environment, tmp_path) == (
        f"==> {environment} is not for Python 3.99, the Python of this machine: making it anew\n"
        f"-m venv --clear {environment}\n"
    )


def test_one_that_is_not_there_is_made_and_one_that_works_is_left(environment: Path, tmp_path: Path) -> None:
    assert make_venv(tmp_path / "new", tmp_path) == f"-m venv --clear {tmp_path}/new\n"
    pip = environment / f"lib/python{NOW}/site-packages/pip"
    pip.mkdir(parents=True)
    (pip / "__init__.py").touch()
    assert make_venv(environment, tmp_path) == ""
