"""A lab as it is described, recorded and found again; what it makes is tested in tests/netns/test_lab.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbond.errors import NetbondError, NotRunningError, UnavailableError, UsageError
from netbond.lab import lab as module
from netbond.lab import remains
from netbond.lab.lab import Lab, names
from netbond.lab.netns import Process


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "STATE_ROOT", tmp_path)
    monkeypatch.setattr(remains, "STATE_ROOT", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return tmp_path


def made(root: Path, **more: object) -> Lab:
    """A lab that is on record, without anything of it in the kernel."""
    lab = Lab("a", 2, **more)  # type: ignore[arg-type]  # options of Lab's
    lab.logs.mkdir(parents=True)
    lab._save(ready=True)
    return lab


def test_names() -> None:
    assert names(2) == ["usb0", "usb1"]


def test_as_it_is_described(root: Path) -> None:
    lab = Lab("a", 3, twins=[1, "usb2"], links={"usb0": ["rate=6"]})
    assert [modem.device for modem in lab.topology.modems] == ["usb0", "usb1", "usb2"]
    assert [modem.twin for modem in lab.topology.modems] == [False, True, True]
    assert lab.modem("usb0").words == ("rate=6",)
    assert lab.is_plugged("usb0")
    assert (lab.name, lab.config) == ("a", root / "a/netbond.toml")
    assert lab.namespace("box") == "a-box"
    assert lab.namespace("net") == "a-net"
    assert lab.namespace("usb1") == lab.modem("usb1").netns
    assert lab.exec_command("a-box", ["id"]) == ["ip", "netns", "exec", "a-box", "id"]
    assert lab.environment["PATH"].startswith(f"{root}/a/bin:")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"twins": [5]}, "there is no modem number 5; there are 2, counted from 0"),
        ({"links": {"usb0": ["carrier=off"]}}, "usb0: the initial carrier cannot be set"),
        ({"lease_seconds": 5}, "a lease of 5 s is not possible; choose from 120"),
        ({"devices": ["a b"]}, "a b"),
    ],
)
def test_mistakes(more: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Lab("a", 2, **more)  # type: ignore[arg-type]  # options of Lab's


def test_it_is_found_again_as_it_was(root: Path) -> None:
    lab = made(root, twins=["usb0", "usb1"], agent=True)
    lab._processes["cable"] = Process(2**22 + 1, 7)
    lab._unplugged.add("usb1")
    lab._save(ready=True)
    found = Lab.attach("a")
    assert found.topology == lab.topology
    assert found.process("cable") == Process(2**22 + 1, 7)
    assert not found.is_plugged("usb1")
    assert found.made


def test_a_lab_that_is_not_up(root: Path) -> None:
    with pytest.raises(NotRunningError, match="lab 'a' is not up; start it: netbond lab up --name a"):
        Lab.attach("a")
    with pytest.raises(NotRunningError, match=r"start it: netbond lab up$"):
        Lab.attach("nblab")
    made(root)._save(ready=False)
    with pytest.raises(NotRunningError, match="did not come up; clean up: netbond lab down --name a"):
        Lab.attach("a")
    (root / "a/state.json").write_text("{}")
    with pytest.raises(NetbondError, match="made by another version"):
        Lab.attach("a")


def test_a_command_reads_what_another_has_changed(root: Path) -> None:
    lab = made(root)
    other = Lab.attach("a")
    other._unplugged.add("usb1")
    other._save(ready=True)
    with pytest.raises(NetbondError, match="usb1 is already unplugged; netbond lab plug usb1"):
        lab.unplug("usb1")
    with pytest.raises(NetbondError, match="usb0 is already plugged in"):
        lab.plug("usb0")
    with pytest.raises(NetbondError, match="usb1 is unplugged and has no carrier"):
        lab.impair("usb1", "carrier=off")
    (root / "a/state.json").unlink()
    with pytest.raises(NotRunningError):
        lab.stop("agent")


def test_who_works_in_a_lab_is_on_record_meanwhile(root: Path) -> None:
    lab = made(root)
    with lab.owned("stream"):
        owner = Lab.attach("a").process("stream")
        assert owner is not None
        assert owner.alive
    assert Lab.attach("a").process("stream") is None


def test_a_lease_is_there_when_dhclient_says_so(root: Path) -> None:
    lab = made(root)
    log = lab.logs / "dhcp-usb0.log"
    with pytest.raises(UnavailableError, match="no DHCP lease on usb0 after 0 s; DHCP client: its log is"):
        lab.wait_for_leases(["usb0"], timeout_s=0)
    log.write_text("DHCPREQUEST\nbound to 10.0.0.2 -- renewal in 5 seconds.\n")
    lab.wait_for_leases(["usb0"], timeout_s=0)
    assert lab.last_words("dhcp-usb0") == "bound to 10.0.0.2 -- renewal in 5 seconds."


def test_a_program_that_ends_before_it_is_ready(root: Path) -> None:
    lab = made(root)
    lab._processes["agent"] = Process(2**22 + 1, 7)
    (lab.logs / "agent.log").write_text("first\nno such option\n")
    with pytest.raises(UnavailableError, match="the lab's agent did not start: no such option"):
        lab._wait_for(lambda: False, "agent")
    lab._wait_for(lambda: True, "agent")
