"""Whether root may run a program for somebody."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from netbond.programs.vetting import unfit

ME = pwd.getpwuid(os.geteuid()).pw_name
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir(mode=0o755)
    found = folder / "tell"
    found.write_text("#!/bin/sh\n")
    found.chmod(0o755)
    return found


def test_a_program_that_is_fit(program: Path) -> None:
    assert unfit(str(program), ME) == ""


def test_it_is_missing(program: Path) -> None:
    assert unfit(f"{program}x", ME) == f"{program}x: No such file or directory"
    assert unfit(str(program), "no-such-user") == "there is no user 'no-such-user'"


def test_it_is_not_a_program(program: Path) -> None:
    assert unfit(str(program.parent), ME) == f"{program.parent} is not a file"
    program.chmod(0o644)
    assert unfit(str(program), ME) == f"{program} is not executable"


def test_everybody_could_exchange_it(program: Path) -> None:
    program.chmod(0o757)
    assert unfit(str(program), ME) == f"{program} is writable by everybody"
    program.chmod(0o755)
    program.parent.chmod(0o1777)  # sticky does not help: it is the folder itself
    assert unfit(str(program), ME) == f"{program.parent} is writable by everybody"


def test_everybody_could_exchange_a_folder_above(program: Path) -> None:
    program.parent.parent.chmod(0o777)
    assert unfit(str(program), ME) == f"{program.parent.parent} is writable by everybody"
    program.parent.parent.chmod(0o1777)
    assert unfit(str(program), ME) == ""


def test_a_link_leads_to_it_from_a_folder_of_everybody(program: Path, tmp_path: Path) -> None:
    open_to_all = tmp_path / "all"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    (open_to_all / "tell").symlink_to(program)
    assert unfit(str(open_to_all / "tell"), ME) == f"{open_to_all} is writable by everybody"
    open_to_all.chmod(0o755)
    assert unfit(str(open_to_all / "tell"), ME) == ""
    (open_to_all / "circle").symlink_to("circle")
    assert "circle" in unfit(str(open_to_all / "circle"), ME)


@needs_root
def test_it_belongs_to_somebody_else(program: Path) -> None:
    os.chown(program, 12345, 0)
    assert unfit(str(program), "root") == f"{program} belongs to another user"
    nobody = pwd.getpwnam("nobody")
    os.chown(program, nobody.pw_uid, 0)
    assert unfit(str(program), "nobody") == ""
    assert unfit(str(program), "root") == f"{program} belongs to another user"


@needs_root
def test_a_group_could_exchange_what_root_runs(program: Path) -> None:
    os.chown(program, 0, 12345)
    program.chmod(0o775)
    assert unfit(str(program), "root") == f"{program} is writable by a group"
    assert unfit(str(program), "nobody") == ""
