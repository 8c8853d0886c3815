"""`netbond hook`: the lease is kept whatever the agent does, and no DHCP client is failed or held up."""

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netbond.cli import hook, main
from netbond.config.load import config_argument, default_path, load
from netbond.config.schema import Config
from netbond.dhcp.store import LeaseStore
from tests.unit.shortage import no_space

BOUND = {
    "reason": "BOUND",
    "interface": "usb0",
    "new_ip_address": "10.0.0.10",
    "new_subnet_mask": "255.255.255.0",
    "new_routers": "10.0.0.1",
}
RELEASE = {"reason": "RELEASE", "interface": "usb0", "old_ip_address": "10.0.0.10"}
TOLD = {"command": "hook", "source": "dhclient", "device": "usb0"}


class StandIn:
    """Takes the agent's place on the control socket: accepts one connection, notes what comes, may answer."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self.lines: list[bytes] = []
        self.answer = answer
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.bind(str(path))
        self.server.listen(1)
        self.server.settimeout(30)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        connection, _ = self.server.accept()
        with connection, connection.makefile("rb") as reader:
            self.lines.append(reader.readline())
            connection.sendall(self.answer)
            reader.read()  # until the hook has had enough

    def end(self) -> None:
        self.thread.join(30)
        self.server.close()


@pytest.fixture
def short_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path leaves room for a socket's name (108 bytes)."""
    return tmp_path_factory.mktemp("h")


@pytest.fixture
def config(short_tmp: Path) -> Path:
    file = short_tmp / "netbond.toml"
    file.write_text(f'[agent]\nstate_dir = "{short_tmp}/state"\ncontrol_socket = "{short_tmp}/c.sock"\n')
    return file


def kept(config: Path) -> list[tuple[str, str, list[str]]]:
    leases = LeaseStore(config.parent / "state" / "leases").load()
    return [(lease.device, str(lease.address), [str(r) for r in lease.routers]) for lease in leases]


def test_without_an_agent_the_lease_is_kept(config: Path) -> None:
    hook.take("dhclient", [], BOUND, str(config), now_s=5.0)
    assert kept(config) == [("usb0", "10.0.0.10/24", ["10.0.0.1"])]
    hook.take("dhclient", [], RELEASE, str(config), now_s=6.0)
    assert kept(config) == []


def test_each_client_keeps_and_forgets_its_own(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(hook, "tell", lambda path, message, wait_s: told.append(message))
    dhcpcd = BOUND | {"protocol": "dhcp"}
    udhcpc = {"interface": "usb0", "ip": "10.0.0.12", "mask": "24", "subnet": "255.255.255.0"}

    hook.take("dhcpcd", [], dhcpcd, str(config), now_s=5.0)
    assert kept(config) == [("usb0", "10.0.0.10/24", ["10.0.0.1"])]
    hook.take("dhcpcd", [], {"reason": "ROUTERADVERT", "interface": "usb0"}, str(config), now_s=6.0)
    assert len(kept(config)) == 1
    hook.take("udhcpc", ["deconfig"], {"interface": "usb0"}, str(config), now_s=7.0)  # not its lease
    assert len(kept(config)) == 1
    hook.take("dhcpcd", [], dhcpcd | RELEASE, str(config), now_s=8.0)
    assert kept(config) == []
    hook.take("udhcpc", ["bound"], udhcpc, str(config), now_s=9.0)
    assert kept(config) == [("usb0", "10.0.0.12/24", [])]
    hook.take("udhcpc", ["leasefail"], {"interface": "usb0"}, str(config), now_s=10.0)
    assert kept(config) == []
    assert told == [
        {"command": "hook", "source": source, "device": "usb0", **let_go}
        for source, let_go in (
            ("dhcpcd", {}),
            ("dhcpcd", {}),
            ("udhcpc", {"released": "", "at_s": 7.0}),
            ("dhcpcd", {"released": "10.0.0.10", "at_s": 8.0}),
            ("udhcpc", {}),
            ("udhcpc", {"released": "", "at_s": 10.0}),
        )
    ]


@pytest.mark.parametrize("late", [True, False])
def test_of_two_calls_the_later_counts_whichever_comes_first(config: Path, late: bool) -> None:
    """A lease renewed by way of another router, and one let go and got again, by calls that ran at once."""
    renewed = BOUND | {"reason": "RENEW", "new_routers": "10.0.0.2"}
    hook.take("dhclient", [], renewed, str(config), now_s=7.0)
    hook.take("dhclient", [], BOUND, str(config), now_s=6.0 if late else 8.0)
    assert kept(config) == [("usb0", "10.0.0.10/24", ["10.0.0.2" if late else "10.0.0.1"])]
    hook.take("dhclient", [], RELEASE, str(config), now_s=6.5 if late else 9.0)
    assert len(kept(config)) == (1 if late else 0)


@pytest.mark.parametrize(
    ("said", "at"),
    [("995.25", 995.25), ("1000", 1000.0), ("699.99", 1000.0), ("1000.01", 1000.0), ("", 1000.0)]
    + [(text, 1000.0) for text in ("nan", "-1", "9e2", "1.2.3", "9" * 21, "\u0669", ".", "995.25\n")],
)
def test_when_the_client_called(said: str, at: float) -> None:
    assert hook.called({"NETBOND_AT": said}, 1000.0) == at
    assert hook.called({}, 1000.0) == 1000.0


def test_networkmanager(config: Path) -> None:
    environ = {"DEVICE_IP_IFACE": "wwan0", "IP4_ADDRESS_0": "10.0.0.10/24 10.0.0.1"}
    hook.take("networkmanager", ["cdc-wdm0", "up"], environ, str(config), now_s=5.0)
    assert kept(config) == [("wwan0", "10.0.0.10/24", [])]
    hook.take("networkmanager", ["wwan0", "down"], {}, str(config), now_s=6.0)
    assert kept(config) == []


@pytest.mark.parametrize("answer", [b'{"ok": true}\n', b""])
def test_the_agent_is_told_after_the_lease_is_kept(config: Path, answer: bytes) -> None:
    agent = StandIn(config.parent / "c.sock", answer)
    started = time.monotonic()
    hook.take("dhclient", [], BOUND, str(config), now_s=5.0)
    took = time.monotonic() - started
    agent.end()
    assert [json.loads(line) for line in agent.lines] == [TOLD]
    assert agent.lines[0].endswith(b"\n")
    assert kept(config) == [("usb0", "10.0.0.10/24", ["10.0.0.1"])]
    # With an answer at once; without one after 0.05 s, plus what a busy machine needs.
    assert took < 5.0
    assert answer or took >= 0.04


def test_an_agent_that_never_accepts_holds_up_nobody(config: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(config.parent / "c.sock"))
        server.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
            first.connect(str(config.parent / "c.sock"))  # fills the backlog
            started = time.monotonic()
            hook.take("dhclient", [], BOUND, str(config), now_s=5.0)
            assert time.monotonic() - started < 5.0
    assert len(kept(config)) == 1


def test_roots_own_socket_is_asked_first(config: Path) -> None:
    """Users can fill the other's queue."""
    path = str(config.parent / "c.sock")
    with socket.socket(socket.AF_UNIX) as own, socket.socket(socket.AF_UNIX) as open_to_all:
        for server, place in ((own, path + ".root"), (open_to_all, path)):
            server.bind(place)
            server.listen(1)
            server.setblocking(False)
        hook.tell(path, {"command": "hook"})
        own.accept()[0].close()
        with pytest.raises(BlockingIOError):
            open_to_all.accept()


def test_an_agent_that_sends_a_drop_at_a_time_does_not_win_time(config: Path) -> None:
    path = config.parent / "c.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(1)

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    for _ in range(1000):
                        connection.sendall(b"x")
                        time.sleep(0.02)
                except BrokenPipeError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        hook.take("dhclient", [], BOUND, str(config), now_s=5.0)
        took = time.monotonic() - started
        thread.join(30)
    assert 0.04 <= took < 5.0


def test_bad_news_is_logged_and_changes_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hook.take("dhclient", [], BOUND, str(config), now_s=5.0)
    hook.take("dhclient", [], BOUND | {"new_routers": "10.0.0.1;id"}, str(config), now_s=6.0)
    assert kept(config) == [("usb0", "10.0.0.10/24", ["10.0.0.1"])]
    said = capsys.readouterr().err
    assert said == (
        "netbond hook: dhclient: router '10.0.0.1;id' is not an IPv4 address; this lease is ignored\n"
    )


def test_a_store_that_cannot_be_written_is_logged(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "state").write_text("in the way")
    hook.take("dhclient", [], BOUND, str(config), now_s=5.0)
    assert "state/leases: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "then"),
    [
        (b'{"ok": true, "lease": true}', "the agent has it, and stores it as soon as it can"),
        (b'{"ok": true}', "mend that, and renew the lease"),  # an agent of the version before
    ],
)
def test_a_lease_that_cannot_be_stored_goes_to_the_agent(
    config: Path, capsys: pytest.CaptureFixture[str], answer: bytes, then: str
) -> None:
    agent = StandIn(config.parent / "c.sock", answer + b"\n")
    with no_space():
        hook.take("dhclient", [], BOUND, str(config), now_s=5.0)
    agent.end()
    said = capsys.readouterr().err
    assert said.endswith(f"File too large; the lease of usb0 is not stored; {then}\n")
    (message,) = map(json.loads, agent.lines)
    lease = LeaseStore(config.parent / "state" / "leases").from_json(message.pop("lease"))
    assert (lease.device, str(lease.address), lease.received) == ("usb0", "10.0.0.10/24", 5.0)
    assert message == TOLD
    assert kept(config) == []


def test_a_lease_tried_in_vain(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "has_address", lambda device, address: True)
    hook.take("dhclient", [], BOUND | {"reason": "TIMEOUT"}, str(config), now_s=5.0)
    assert len(kept(config)) == 1
    monkeypatch.setattr(hook, "has_address", lambda device, address: False)
    hook.take("dhclient", [], BOUND | {"reason": "TIMEOUT"}, str(config), now_s=6.0)
    assert kept(config) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[agent]\nstate_dir = "STATE"\ncontrol_socket = "x"\n',
            "agent.control_socket is not an absolute path",
        ),
        (
            '[agent]\nstate_dir = "STATE"\ncontrol_socket = 5\n',
            "agent.control_socket is not an absolute path",
        ),
    ],
)
def test_a_wrong_configuration_loses_no_lease(
    config: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(text.replace("STATE", f"{config.parent}/state"))
    hook.take("dhclient", [], BOUND, str(config), now_s=5.0)
    assert len(kept(config)) == 1
    said = capsys.readouterr().err
    assert says in said
    assert f"using state_dir {config.parent}/state, control_socket " in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "[agent",
        "",
        "agent = 5 # state_dir",
        "[agent]\nstate_dir = 5",
        '[agent]\nstate_dir = "x"',
        "[[agent]]\nstate_dir = '/x'",
        "state_dir = '/x'\nagent = {",
        "\xff state_dir",
    ],
)
def test_an_unreadable_configuration_means_the_default_places(config: Path, text: str) -> None:
    config.write_text(text)
    default = (str(Config().agent.state_dir), str(Config().agent.control_socket))
    assert hook.settings(str(config)) == default
    config.unlink()
    assert hook.settings(str(config)) == default


def test_a_configuration_that_everybody_can_write_is_not_used(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.chmod(0o646)
    default = (str(Config().agent.state_dir), str(Config().agent.control_socket))
    assert hook.settings(str(config)) == default
    assert f"{config}: writable by everybody; using state_dir {default[0]}" in capsys.readouterr().err


def test_a_fifo_in_the_configurations_place_holds_up_nobody(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.unlink()
    os.mkfifo(config)
    default = (str(Config().agent.state_dir), str(Config().agent.control_socket))
    assert hook.settings(str(config)) == default
    assert f"{config}: not a regular file" in capsys.readouterr().err


def test_what_is_wrong_elsewhere_in_the_configuration_is_the_agents_business(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(f'[agent]\nlog_level = "loud"\nstate_dir = "{config.parent}/state"\n[uplink]\n')
    hook.take("dhclient", [], BOUND, str(config), now_s=5.0)
    assert len(kept(config)) == 1
    assert capsys.readouterr().err == ""


def test_the_address_of_a_device() -> None:
    assert hook.has_address("lo", IPv4Address("127.0.0.1"))
    assert not hook.has_address("lo", IPv4Address("192.0.2.1"))
    assert not hook.has_address("none", IPv4Address("127.0.0.1"))


# --- the command line --------------------------------------------------------------------------------------


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hook", "networkmanager", "usb0"]) == 64
    assert "networkmanager takes 2 words, not 1" in capsys.readouterr().err
    assert main(["hook", "dhclient", "usb0"]) == 64
    with pytest.raises(SystemExit) as caught:
        main(["hook", "pump"])
    assert caught.value.code == 64


def test_not_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["hook", "dhclient"]) == 77
    assert capsys.readouterr().err == (
        "netbond hook: only root may hand over leases, because they change routes;"
        " DHCP clients run their hooks as root; by hand, use sudo\n"
    )


def test_config_comes_from_the_command_line_or_the_environment(tmp_path: Path) -> None:
    assert default_path({}) is None
    assert default_path({"NETBOND_CONFIG": ""}) is None
    assert default_path({"NETBOND_CONFIG": "/x.toml"}) == Path("/x.toml")
    parser = argparse.ArgumentParser()
    config_argument(parser)
    assert parser.parse_args(["--config", "/y.toml"]).config == Path("/y.toml")
    parser.format_help()  # a stray % in it would raise


def test_no_configuration_file_is_no_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("netbond.config.load.DEFAULT_PATH", tmp_path / "none.toml")
    assert load(None) == Config()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may hand over leases")
def test_what_takes_long_is_not_imported(config: Path) -> None:
    """A DHCP client waits for this: dataclasses alone take as long as all that is needed."""
    script = "import sys; from netbond.cli import main; main(['hook', 'dhclient']); print(*sys.modules)"
    environ = os.environ | BOUND | {"NETBOND_CONFIG": str(config)}
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environ
    )
    loaded = set(done.stdout.split())
    assert len(kept(config)) == 1
    assert "netbond.dhcp.clients" in loaded
    heavy = {"argparse", "asyncio", "dataclasses", "dbus_next", "inspect", "logging", "pyroute2", "pyudev"}
    heavy |= {"importlib.metadata", "netbond.config.load", "netbond.model", "rich", "subprocess"}
    assert not loaded & heavy
