"""What the box of a lab sees instead of the host's files."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from netbond.config.load import parse
from netbond.lab import boxfiles, netns, topology

LAB = topology.plan("lab", ["usb0"], [], {})


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of /etc/netns."""
    monkeypatch.setattr(netns, "PRIVATE_DIR", tmp_path / "netns")
    return tmp_path / "netns" / LAB.box


def test_the_configuration_is_one_and_keeps_to_the_labs_folder(private: Path) -> None:
    config = parse(boxfiles.config_text(LAB, Path("/run/lab"), sender=True))
    assert config.agent.state_dir == Path("/run/lab/box")
    assert config.agent.control_socket == Path("/run/lab/box/control.sock")
    (sender,) = config.sender
    assert sender.receivers[0].host == topology.RECEIVER_NAME
    assert parse(boxfiles.config_text(LAB, Path("/run/lab"), sender=False)).sender == ()


def test_all_files_are_there_and_readable_without_root(private: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    boxfiles.write(LAB, state, sender=True)
    assert f"{topology.RECEIVER} {topology.RECEIVER_NAME}\n" in (private / "hosts").read_text()
    assert (private / "resolv.conf").read_text().startswith("nameserver 127.0.0.1\n")
    assert (private / "dhcp/dhclient.conf").exists()
    files = [path for path in private.rglob("*") if not path.is_symlink()]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o755", "0o644"}
    assert (state / "bin/netbond").stat().st_mode & 0o111
    done = subprocess.run([state / "bin/netbond", "--version"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout.split()[0]) == (0, "netbond")


def test_the_hook_of_the_checkout_is_run_with_the_labs_netbond(private: Path, tmp_path: Path) -> None:
    state = tmp_path / "a b"  # a path that a shell would split
    state.mkdir()
    boxfiles.write(LAB, state, sender=False)
    script = private / "dhcp/dhclient-exit-hooks.d/netbond"
    assert f"NETBOND='{state}/bin/netbond'\n" in script.read_text()
    assert str(boxfiles.find_hook()) in script.read_text()
    assert subprocess.run(["sh", "-n", script]).returncode == 0


def test_without_a_hook_there_is_none(private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxfiles, "HOOK_PLACES", (tmp_path / "none",))
    boxfiles.write(LAB, tmp_path, sender=False)
    assert list((private / "dhcp/dhclient-exit-hooks.d").iterdir()) == []
    assert "contrib" not in boxfiles.udhcpc_script(tmp_path).read_text()


def test_busyboxs_client_tells_the_labs_netbond(private: Path, tmp_path: Path) -> None:
    boxfiles.write(LAB, tmp_path, sender=False)
    text = boxfiles.udhcpc_script(tmp_path).read_text()
    assert f"NETBOND={tmp_path}/bin/netbond\n" in text
    assert "contrib/udhcpc/netbond\n" in text
    assert subprocess.run(["sh", "-n", boxfiles.udhcpc_script(tmp_path)]).returncode == 0


@pytest.mark.parametrize("there", [False, True])
def test_where_the_names_of_tables_go(private: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda _: there)
    found = boxfiles.iproute2_dir(LAB, Path("/run/lab"))
    assert found == (private / "iproute2" if there else Path("/run/lab/box/iproute2"))


def test_a_host_without_iproute2s_folder(
    private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxfiles, "iproute2_dir", lambda _lab, state: state / "box" / "iproute2")
    boxfiles.write(LAB, tmp_path, sender=False)
    assert (tmp_path / "box/iproute2").is_dir()
    shutil.rmtree(private)


def test_what_a_host_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxfiles, "IPROUTE2", tmp_path)
    assert boxfiles.warnings() == []
    monkeypatch.setattr(boxfiles, "IPROUTE2", tmp_path / "none")
    monkeypatch.setattr(boxfiles, "HOOK_PLACES", (tmp_path / "none",))
    hook, names = boxfiles.warnings()
    assert "DHCP hook is not found" in hook
    assert names.startswith(f"there is no {tmp_path}/none: `ip` in the box shows tables by number")
    assert names.endswith(f"mkdir {tmp_path}/none")


def test_the_box_keeps_nothing_in_the_machines_own_folders() -> None:
    """A lab on a real box must not add what its usb0 carried to the data plan of the real one."""
    text = boxfiles.config_text(LAB, Path("/run/netbond-lab/lab"), sender=True)
    agent = parse(text).agent
    places = {
        field.name: value for field in fields(agent) if isinstance(value := getattr(agent, field.name), Path)
    }
    assert places.pop("iproute2_dir").is_relative_to("/etc/netns/lab-box")
    assert {"control_socket", "state_dir", "data_dir", "ip_list"} <= places.keys()
    assert all(place.is_relative_to("/run/netbond-lab/lab") for place in places.values())
