"""The compiled parts are used together, and left aside when they are not what the sources say."""

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
    "import netbond.srtla as s, netbond.srtla.wire as w, netbond.srtla.native.fastpath as f;"
    " print(w.__file__, f.available(), s.flavour()); print(s.why_pure())"
)


def found_by(folder: Path, **environment: str) -> tuple[str, str]:
    """Where `wire` comes from, whether there is a data path in C, the flavour; and why it is the pure one.

    Of a Python that starts in `folder`."""
    run = subprocess.run(
        [sys.executable, "-c", WHERE],
        cwd=folder,
        env={**os.environ, "NETBOND_PURE": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found, why = run.stdout.split("\n", 1)
    return found, why.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """netbond/srtla in a copy of the package, compiled."""
    if not (PACKAGE / "srtla" / "_compiled").is_dir():
        pytest.skip("nothing is compiled here")
    shutil.copytree(PACKAGE, tmp_path / "netbond", ignore=shutil.ignore_patterns("__pycache__"))
    made = tmp_path / "netbond" / "srtla"
    # Whether it was built before the last change is not the question here.
    (made / "_compiled" / srtla.DIGEST).write_text(srtla.digest(str(made)))
    return made


def test_all_is_compiled_or_nothing(folder: Path) -> None:
    compiled, pure = folder / "_compiled", f"{folder / 'wire.py'} False pure"
    (wire,) = compiled.glob("wire.*")
    assert found_by(folder.parent.parent) == (f"{wire} True compiled", "")
    assert found_by(folder.parent.parent, NETBOND_PURE="1") == (
        pure,
        "NETBOND_PURE is set in the environment",
    )
    for path in [*compiled.glob("native.*"), *compiled.glob("sender.*"), *compiled.glob("*mypyc*")]:
        path.rename(folder / "away")
        found, why = found_by(folder.parent.parent)
        assert (found, why.split(";")[0]) == (pure, "its compiled parts are incomplete or for another Python")
        (folder / "away").write_bytes(b"no library")
        (folder / "away").rename(path)
        if not path.name.startswith("sender"):
            found, why = found_by(folder.parent.parent)
            assert (found, why.split(" (")[0]) == (pure, "its compiled parts cannot be loaded")
        shutil.copy(PACKAGE / "srtla" / "_compiled" / path.name, path)


@pytest.mark.parametrize("changed", ["sender.py", "native/fastpath.c", "native/fastmodule.c"])
def test_what_was_made_of_other_files_is_left_aside(folder: Path, changed: str) -> None:
    with (folder / changed).open("a") as file:
        file.write("\n")
    found, why = found_by(folder.parent.parent)
    assert found == f"{folder / 'wire.py'} False pure"
    assert why == "its compiled parts were made from other files; install netbond again"


def test_what_was_never_compiled_says_what_to_install(folder: Path) -> None:
    shutil.rmtree(folder / "_compiled")
    found, why = found_by(folder.parent.parent)
    assert found == f"{folder / 'wire.py'} False pure"
    assert why.startswith("nothing was compiled when it was installed; install a C compiler")
