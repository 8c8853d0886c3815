"""Checks by commands: what an exit status says of the uplink, and what says nothing of it."""

from __future__ import annotations

import ipaddress
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.load import parse
from netbond.config.schema import CheckConfig
from netbond.desired import desired
from netbond.health.judge import Answer, Outcome
from netbond.health.probes import ProbedUplink
from netbond.sources import command_checks
from netbond.sources.command_checks import CommandChecks, not_run
from tests.unit.boxes import box

PROBED = ProbedUplink(
    "usb0",
    ipaddress.ip_address("10.0.0.10"),
    ipaddress.ip_address("10.0.0.1"),
    (ipaddress.ip_address("192.0.2.53"), ipaddress.ip_address("2001:db8::53")),
)
SHELL = CheckConfig("x", "command", command=("/bin/sh", "-c", "exit 0"), timeout=20.0)

# In the place of the launcher: it binds nothing, and says what it was told.
STAND_IN = "import os, sys; print('netbond: started', flush=True); os.execv(sys.argv[5], sys.argv[5:])"


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> CommandChecks:
    monkeypatch.setattr(command_checks, "_launcher", lambda: [sys.executable, "-c", STAND_IN])
    found = CommandChecks()
    found.uplinks = desired(box("usb0", "usb1"), parse("")).uplinks
    return found


def shell(code: str, timeout_s: float = 20.0) -> CheckConfig:
    return replace(SHELL, command=("/bin/sh", "-c", code), timeout=timeout_s)


@pytest.mark.parametrize(
    ("code", "outcome", "detail"),
    [
        ("exit 0", Outcome.ANSWERED, ""),
        ("echo 12 ms", Outcome.ANSWERED, "12 ms"),
        ("exit 1", Outcome.FAILED, "/bin/sh: status 1"),
        ("echo no login >&2; exit 3", Outcome.FAILED, "/bin/sh: no login"),
        ("kill -9 $$", Outcome.FAILED, "/bin/sh: status -9"),
        ("echo curl: not found >&2; exit 127", Outcome.LOCAL, "/bin/sh was not run: curl: not found"),
        ("exit 126", Outcome.LOCAL, "/bin/sh was not run: ended with status 126: netbond: started"),
    ],
)
async def test_what_the_exit_status_says(
    checks: CommandChecks, code: str, outcome: Outcome, detail: str
) -> None:
    assert await checks.ask(shell(code), PROBED) == Answer("/bin/sh", outcome, None, detail)


async def test_it_takes_too_long(checks: CommandChecks) -> None:
    answer = await checks.ask(shell("sleep 100", timeout_s=1.5), PROBED)
    assert (answer.outcome, answer.detail) == (Outcome.FAILED, "/bin/sh: no answer within 1.5 s")


async def test_what_it_is_told(checks: CommandChecks, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await checks.ask(shell("env | grep -v ^_= | sort"), PROBED)
    said = [line.rpartition(": ")[2] for line in caplog.messages if line.startswith("check x of usb0")]
    assert [line for line in said if line.startswith("NETBOND_")] == [
        "NETBOND_ADDRESS=10.0.0.10",
        "NETBOND_DEVICE=usb0",
        "NETBOND_FAMILY=4",
        "NETBOND_GATEWAY=10.0.0.1",
        "NETBOND_TABLE=100",
        "NETBOND_UPLINK=usb0",
    ]


async def test_what_is_not_bound_is_not_run(
    checks: CommandChecks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The launcher fails; systemd's, too. That an uplink is not asked is no verdict on it."""
    refuses = "import sys; sys.exit('the kernel refuses')"
    monkeypatch.setattr(command_checks, "_launcher", lambda: [sys.executable, "-c", refuses])
    answer = await checks.ask(shell(f"touch {tmp_path}/run"), PROBED)
    assert answer == Answer("/bin/sh", Outcome.LOCAL, None, "/bin/sh was not run: the kernel refuses")
    assert not list(tmp_path.iterdir())


async def test_a_program_that_others_could_exchange(checks: CommandChecks, tmp_path: Path) -> None:
    program = tmp_path / "check"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o777)
    check = replace(SHELL, command=(str(program),), user="root")
    answer = await checks.ask(check, PROBED)
    assert answer.outcome is Outcome.LOCAL
    assert "writable by everybody" in answer.detail
    (problem,) = not_run(replace(parse(""), check=(check, SHELL)))
    assert problem == f"check x is not run: {answer.detail}"


def test_the_launcher_is_this_netbond() -> None:
    assert command_checks._launcher()[0] == sys.executable
    assert command_checks._launcher()[-2:] == ["-m", "netbond.programs.launch"]
    assert set(command_checks._environment()) <= {"PYTHONPATH"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_the_real_launcher_without_the_interface() -> None:
    answer = await CommandChecks().ask(SHELL, replace(PROBED, device="nosuch0"))
    assert answer.outcome is Outcome.LOCAL
    assert "there is no interface 'nosuch0'" in answer.detail
