"""What `netbond doctor` looks at, on this machine and in folders made for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netbond.cli import agent_socket, doctor_look
from netbond.config.load import parse
from netbond.desired import Desired, desired
from netbond.kernel.sysctls import Sysctls
from netbond.model import Facts
from tests.unit.boxes import box


def test_this_machine_without_an_agent(tmp_path: Path) -> None:
    config = parse(f'[agent]\nstate_dir = "{tmp_path}"\ncontrol_socket = "{tmp_path}/control.sock"')
    agent = agent_socket.AgentSocket(tmp_path / "control.sock", 78, tmp_path)
    seen = doctor_look.look(agent, config, network=False)
    assert seen.snapshot is None
    assert "not running" in seen.no_agent
    assert seen.release == os.uname().release
    assert seen.clock is not None
    assert seen.root is (os.geteuid() == 0)


def test_the_address_list(tmp_path: Path) -> None:
    path = tmp_path / "ips"
    config = parse(f'[agent]\nip_list = "{path}"\nnotify_pid_file = "{tmp_path}/pid"')
    goal = desired(box("usb0"), config)
    found = doctor_look._address_list(goal, config)
    assert found is not None
    assert (found.text, found.wanted, found.trouble) == (None, "10.0.0.10\n", "No such file or directory")
    path.write_text("10.0.0.10\n")
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    found = doctor_look._address_list(goal, config)
    assert found is not None
    assert (found.text, found.readers) == (found.wanted, (os.getpid(),))
    assert doctor_look._address_list(Desired(), parse('[agent]\nip_list = ""')) is None


def test_names_of_tables(tmp_path: Path) -> None:
    config = parse(f'[agent]\niproute2_dir = "{tmp_path}"')
    (tmp_path / "rt_tables.d").mkdir()
    (tmp_path / "rt_tables.d" / "netbond.conf").write_text("100\tusb0\n")
    found = doctor_look._table_names(config)
    assert found is not None
    assert found[100] == "usb0"
    assert doctor_look._table_names(parse('[agent]\niproute2_dir = ""')) is None


def test_rp_filter_is_looked_at_also_where_it_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sysctls, "read", lambda _self, _name: "1")
    config = parse("[sysctl]\nrp_filter = false")
    found = doctor_look._settings(Facts(), desired(box("usb0"), config), config)
    assert "net/ipv4/conf/usb0/rp_filter" in [setting.name for setting in found]


def test_the_hook_of_a_client(tmp_path: Path) -> None:
    (tmp_path / "10-other").write_text("echo netbond\n")
    assert doctor_look._hook_of([str(tmp_path), "/nowhere"]) == ""
    hook = tmp_path / "90-netbond"
    hook.write_text('"$NETBOND" hook networkmanager "$1" "$2"\n')
    assert doctor_look._hook_of([str(tmp_path)]) == str(hook)
    assert doctor_look._not_run(hook, "dhclient") == ""
    assert "not executable" in doctor_look._not_run(hook, "NetworkManager")
    hook.write_text("NETBOND=/opt/netbond\n. /usr/share/netbond/contrib/dhclient-hooks/netbond\n")
    assert doctor_look._hook_of([str(tmp_path)]) == str(hook), "it reads the hook in contrib"
    hook.write_text(". /usr/share/netbond/contrib/dhclient-hooks/netbond-enter\n")
    assert doctor_look._hook_of([str(tmp_path)]) == ""


def test_the_hooks_in_contrib_are_recognised() -> None:
    contrib = Path(__file__).parents[3] / "contrib"
    for folder in ("dhclient-hooks", "nm-dispatcher", "dhcpcd-hooks", "udhcpc"):
        assert doctor_look._hook_of([str(contrib / folder)]), folder


def test_clients_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_look, "processes", lambda name: [os.getpid()] if name == "dhclient" else [])
    monkeypatch.setattr(doctor_look, "_hook_of", lambda _folders: "")
    (client,) = doctor_look._dhcp_clients()
    assert (client.name, client.hook, client.place) == (
        "dhclient", "", "/etc/dhcp/dhclient-exit-hooks.d/netbond",
    )  # fmt: skip


def test_a_client_of_a_container_is_none_of_this_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a network namespace of its own; without root that cannot be seen."""
    assert doctor_look._is_here(os.getpid())
    spaces = {"/proc/self/ns/net": "net:[1]", "/proc/7/ns/net": "net:[1]", "/proc/8/ns/net": "net:[2]"}

    def readlink(path: Path) -> Path:
        if str(path) == "/proc/9/ns/net":
            raise PermissionError
        if str(path) not in spaces:
            raise FileNotFoundError
        return Path(spaces[str(path)])

    monkeypatch.setattr(Path, "readlink", readlink)
    assert [pid for pid in (7, 8, 9, 10) if doctor_look._is_here(pid)] == [7, 9]
