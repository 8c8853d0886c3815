"""contrib/systemd: the unit is one that systemd takes, and agrees with the program."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from netbond import errors
from netbond.cli.run import DESCRIPTORS
from netbond.config.schema import AgentConfig
from netbond.engines.user import LARGEST_SYSTEM_UID
from netbond.pacing import RESYNC_S

UNIT = Path(__file__).parents[3] / "contrib/systemd/netbond.service"


def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False)  # two lines ExecReload
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    parser.read(UNIT)
    return parser["Service"]


def test_it_does_not_try_again_what_cannot_help() -> None:
    hopeless = {errors.EXIT_USAGE, errors.EXIT_OSERR, errors.EXIT_NOPERM, errors.EXIT_CONFIG}
    assert {int(status) for status in service()["RestartPreventExitStatus"].split()} == hopeless


def test_it_makes_the_default_folder_and_keeps_it() -> None:
    unit = service()
    assert Path("/run") / unit["RuntimeDirectory"] == AgentConfig().state_dir
    assert unit["RuntimeDirectoryPreserve"] == "yes"  # leases are handed over only once
    assert "PrivateTmp" not in unit  # senders read the address list in /tmp


def test_it_makes_the_folder_of_what_survives_a_reboot() -> None:
    assert Path("/var/lib") / service()["StateDirectory"] == AgentConfig().data_dir


def test_it_allows_the_sockets_that_are_used() -> None:
    used = {
        family
        for file in (UNIT.parents[2] / "netbond").rglob("*.py")
        for family in re.findall(r"socket\.(AF_(?!UNSPEC)[A-Z0-9]+)", file.read_text(encoding="utf-8"))
    }
    assert "AF_PACKET" in used  # ARP, by which gateways are checked
    assert used <= set(service()["RestrictAddressFamilies"].split())


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="systemd-sysusers is not installed")
def test_systemd_makes_the_user_of_the_engines(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    file = UNIT.with_name("netbond.sysusers.conf")
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", file], check=True, capture_output=True)
    name, _, uid, _, _, home, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert (name, home, shell) == (AgentConfig().user, "/nonexistent", "/usr/sbin/nologin")
    assert 0 < int(uid) <= LARGEST_SYSTEM_UID


def test_it_may_say_how_things_are() -> None:
    """Without it systemd sets no NOTIFY_SOCKET, and passes no status text on."""
    assert service()["NotifyAccess"] == "main"
    assert service()["Type"] == "notify"


def test_what_hangs_has_time_for_several_passes() -> None:
    assert float(service()["WatchdogSec"]) >= 5 * RESYNC_S


def test_it_allows_the_descriptors_that_the_agent_asks_for() -> None:
    assert int(service()["LimitNOFILE"]) == DESCRIPTORS


def test_a_reload_begins_with_a_check_by_the_same_program() -> None:
    unit = UNIT.read_text().splitlines()
    first, second = [line for line in unit if line.startswith("ExecReload=")]
    program = service()["ExecStart"].split()[0]
    assert (first, second) == (f"ExecReload={program} config check", "ExecReload=/bin/kill -HUP $MAINPID")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_its_exposure() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", UNIT], capture_output=True, text=True
    )
    found = re.search(r"Overall exposure level for netbond.service: ([0-9.]+)", done.stdout)
    if found is None:
        pytest.skip("systemd-analyze cannot judge a file")
    assert float(found[1]) <= 3.6


def test_it_may_run_ahead_of_others() -> None:
    unit = service()
    assert "RestrictRealtime" not in unit
    assert "CAP_SYS_NICE" in unit["CapabilityBoundingSet"].split()  # sched_setscheduler(2)


def test_an_engine_that_is_killed_for_lack_of_memory_takes_nothing_else_along() -> None:
    for unit in (UNIT.read_text(), receiver()):
        assert "\nOOMPolicy=continue\n" in unit


def test_engines_may_filter_their_calls() -> None:
    # Not in the set of older systemd; without it prctl(2) does it, and slows the processor down.
    assert "seccomp" in service()["SystemCallFilter"].split()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_takes_it(tmp_path: Path) -> None:
    copy = tmp_path / "netbond.service"
    copy.write_text(UNIT.read_text().replace("/opt/netbond/bin/netbond", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", copy],
        capture_output=True,
        text=True,
    )
    assert "netbond.service" not in done.stderr
    assert done.returncode == 0


def receiver() -> str:
    return (UNIT.parent / "netbond-recv.service").read_text(encoding="utf-8")


def test_a_receiver_does_not_try_again_what_cannot_help() -> None:
    assert f"RestartPreventExitStatus={errors.EXIT_USAGE} {errors.EXIT_CONFIG}\n" in receiver()


def test_a_receiver_may_give_up_what_it_has() -> None:
    """@privileged has capset, without which the engine ends with 77."""
    calls = re.findall("^SystemCallFilter=(.*)$", receiver(), re.MULTILINE)
    assert calls[-1].split() == ["capset", "seccomp"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_receivers_unit(tmp_path: Path) -> None:
    unit = tmp_path / "netbond-recv.service"
    text = re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", receiver())
    unit.write_text(text.replace("User=netbond", "User=root"))
    found = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert unit.name not in found.stderr
