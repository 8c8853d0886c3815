"""Becoming another program as another user."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest

from netbond.errors import UnavailableError
from netbond.programs import launch
from netbond.programs.launch import User


def test_the_user_who_called_sudo() -> None:
    nobody = pwd.getpwnam("nobody")
    found = User.behind_sudo({"SUDO_UID": str(nobody.pw_uid), "SUDO_GID": "0"})
    assert found == User.named("nobody")


@pytest.mark.parametrize("number", ["", "x", "-1", "4294967000", "99999999999999999999", "²"])
def test_nobody_called_sudo(number: str) -> None:
    assert User.behind_sudo({"SUDO_UID": number}) is None
    assert User.behind_sudo({}) is None


def test_no_such_user() -> None:
    with pytest.raises(UnavailableError, match="there is no user 'no-such-user'"):
        User.named("no-such-user")


def run(code: str) -> subprocess.CompletedProcess[str]:
    program = "import os, sys\nfrom netbond.programs.launch import *\n" + code
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_becoming_a_user_takes_its_groups_and_environment() -> None:
    said = run(
        "os.environ['HOME'] = '/root'\n"
        "User.named('nobody').become(os.environ)\n"
        "sys.exit(execute(['sh', '-c', 'id -u; id -G; echo $HOME $USER $LOGNAME']))"
    )
    entry = pwd.getpwnam("nobody")
    assert said.stdout.splitlines() == [
        str(entry.pw_uid),
        str(entry.pw_gid),
        f"{entry.pw_dir} nobody nobody",
    ]


def test_signals_that_python_ignores_are_not_inherited() -> None:
    said = run("sys.exit(execute(['sh', '-c', 'grep SigIgn /proc/self/status']))")
    assert int(said.stdout.split()[1], 16) & (1 << 12 | 1 << 24) == 0  # SIGPIPE, SIGXFSZ


@pytest.mark.parametrize(("command", "status"), [("/nonexistent/program", 127), ("/etc/passwd", 126)])
def test_a_program_that_cannot_be_run(command: str, status: int) -> None:
    said = run(f"sys.exit(execute([{command!r}]))")
    assert (said.returncode, said.stderr.count("\n")) == (status, 1)
    assert said.stderr.startswith(f"netbond: {command}: ")


def test_an_argument_that_no_program_takes() -> None:
    said = run("sys.exit(execute(['true', 'a\\0b']))")
    assert (said.returncode, said.stderr) == (126, "netbond: true: embedded null byte\n")


def test_nothing_runs_if_the_interface_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.main(["nosuch0", "4", "nobody", "192.0.2.1", "/bin/true"]) == 126
    assert capsys.readouterr().err.startswith("netbond: ")
