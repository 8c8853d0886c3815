"""The compiled modules are left aside when they are not what the sources say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import netbond
from netbond import srtla

PACKAGE = Path(netbond.__file__).parent
WHERE = (
    "import netbond.srtla.wire as w, netbond.srtla.native.native as n; print(w.__file__); print(n.library)"
)


def modules_of(folder: Path, **environment: str) -> list[str]:
    """Where `wire` comes from, and the C library, for a Python that starts in `folder`."""
    run = subprocess.run(
        [sys.executable, "-c", WHERE],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.splitlines()


def test_modules_whose_source_has_changed_are_not_taken_as_compiled(tmp_path: Path) -> None:
    if not (PACKAGE / "srtla" / "_compiled").is_dir():
        pytest.skip("nothing is compiled here")
    shutil.copytree(PACKAGE, tmp_path / "netbond", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "netbond" / "srtla"
    compiled = str(folder / "_compiled")
    # Whether it was built before the last change is not the question here.
    (folder / "_compiled" / srtla.DIGEST).write_text(srtla.digest(str(folder)))
    assert modules_of(tmp_path, NETBOND_PURE="")[0].startswith(compiled)
    pure = modules_of(tmp_path, NETBOND_PURE="1")
    assert pure == [str(tmp_path / "netbond" / "srtla" / "wire.py"), "None"]
    with (tmp_path / "netbond" / "srtla" / "sender.py").open("a") as file:
        file.write("# changed\n")
    assert modules_of(tmp_path, NETBOND_PURE="")[0] == str(tmp_path / "netbond" / "srtla" / "wire.py")
