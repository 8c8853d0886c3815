"""Kernel settings as the goal says, in a /proc/sys of the test's own."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.schema import RouterConfig, SysctlConfig
from netbond.desired import Desired, desired
from netbond.kernel import sysctls
from netbond.model import Facts, Interface
from netbond.outputs.kernel_settings import KernelSettings
from tests.unit.boxes import box
from tests.unit.places import config_in

FACTS = replace(box("usb0"), interfaces=(*box("usb0").interfaces, Interface("eth1", 9)))
SYSCTL = SysctlConfig(linkdown=False, socket_buffers=0, multipath_hash="flows")


class Proc:
    """Settings that are files: a name and its value."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __setitem__(self, name: str, value: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")

    def __getitem__(self, name: str) -> str:
        return (self.root / name).read_text().strip()


HASH = "net/ipv4/fib_multipath_hash_policy"
FILTER = "net/ipv4/conf/usb0/rp_filter"
FORWARDING = "net/ipv4/conf/eth1/forwarding"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    monkeypatch.setattr(sysctls, "Sysctls", functools.partial(sysctls.Sysctls, root=tmp_path / "proc"))
    found = Proc(tmp_path / "proc")
    found[HASH], found["net/ipv4/conf/all/rp_filter"], found[FILTER] = "0", "0", "1"
    for name in ("usb0", "eth1"):
        found[f"net/ipv4/conf/{name}/forwarding"] = "0"
    return found


async def test_they_are_set_and_put_back(
    proc: Proc, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_in(tmp_path, sysctl=SYSCTL)
    output, goal = KernelSettings(config), desired(FACTS, config)
    with caplog.at_level("DEBUG"):
        assert await output.apply(FACTS, goal, config) == []
    assert (proc[HASH], proc[FILTER]) == ("1", "2")
    assert [line.partition("  # ")[0] for line in caplog.messages] == [
        "sysctl -w net.ipv4.conf.usb0.rp_filter=2",
        "sysctl -w net.ipv4.fib_multipath_hash_policy=1",
    ]
    caplog.clear()
    with caplog.at_level("INFO"):
        await output.apply(FACTS, goal, config)
    assert caplog.messages == []  # nothing to do
    assert await output.leave() == []
    assert (proc[HASH], proc[FILTER]) == ("0", "1")


async def test_what_somebody_changes_is_set_again(proc: Proc, tmp_path: Path) -> None:
    config = config_in(tmp_path, sysctl=SYSCTL)
    output, goal = KernelSettings(config), desired(FACTS, config)
    await output.apply(FACTS, goal, config)
    proc[FILTER] = "1"
    await output.apply(FACTS, goal, config)
    assert proc[FILTER] == "2"


async def test_a_reload_puts_back_what_is_not_wanted_any_more(proc: Proc, tmp_path: Path) -> None:
    config = config_in(tmp_path, sysctl=SYSCTL, router=RouterConfig(lan=("eth1",)))
    output = KernelSettings(config)
    await output.apply(FACTS, desired(FACTS, config), config)
    assert (proc[HASH], proc[FILTER], proc[FORWARDING]) == ("1", "2", "1")
    config = config_in(tmp_path, sysctl=replace(SYSCTL, multipath_hash="keep"))
    await output.apply(FACTS, desired(FACTS, config), config)
    assert (proc[HASH], proc[FILTER], proc[FORWARDING]) == ("0", "2", "0")


async def test_an_uplink_that_has_gone_does_not_change_the_others(proc: Proc, tmp_path: Path) -> None:
    """Only a reload puts back: a modem that comes and goes has its settings already when it is back."""
    config = config_in(tmp_path, sysctl=SYSCTL)
    output = KernelSettings(config)
    await output.apply(FACTS, desired(FACTS, config), config)
    await output.apply(Facts(), Desired(), config)
    assert proc[FILTER] == "2"


async def test_what_cannot_be_recorded_stays_as_it_is(proc: Proc, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way\n")
    config = config_in(tmp_path, sysctl=SYSCTL)
    (*_, problem) = await KernelSettings(config).apply(FACTS, desired(FACTS, config), config)
    assert problem.endswith("kernel settings stay unchanged, as they could not be put back")
    assert (proc[HASH], proc[FILTER]) == ("0", "1")
