"""A whole lab: real DHCP servers and clients, NAT, radio links; and that nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbond.errors import NetbondError, NotRunningError, UnavailableError
from netbond.lab import netns, topology
from netbond.lab.lab import Lab
from netbond.lab.needs import PROGRAMS, need_programs
from netbond.lab.netns import PRIVATE_DIR, processes_in
from netbond.lab.remains import STATE_ROOT, is_running
from tests.netns.box import wait_for

pytestmark = pytest.mark.root

SO_TIMESTAMPNS = 35  # include/uapi/asm-generic/socket.h
NETBOND = [sys.executable, "-P", "-m", "netbond"]


def name(suffix: str) -> str:
    return f"nbt{os.getpid()}{suffix}"


def remains(lab: str) -> list[str]:
    """Everything on this machine that carries the lab's name: files, namespaces, processes."""
    found = [
        str(path)
        for folder in (STATE_ROOT, PRIVATE_DIR, netns.NETNS_DIR)
        if folder.is_dir()
        for path in folder.iterdir()
        if path.name == lab or topology.is_namespace_of(lab, path.name)
    ]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"{STATE_ROOT}/{lab}/".encode() in command or f"{lab}-".encode() in command:
                found.append(f"{entry.name}: {command!r}")
    return found


def route_by_device(lab: Lab) -> None:
    """What the agent does, by hand: each interface's own default, found by a socket bound to it."""
    lines = []
    for number, modem in enumerate(lab.topology.modems, 100):
        lines += [
            f"route replace default via {modem.address} dev {modem.device} table {number}",
            f"rule add oif {modem.device} table {number} priority 40",
        ]
    netns.ip_batch(lines, lab.topology.box)


WAITS_S = 20.0  # for what must come


def box_socket(lab: Lab, device: str) -> socket.socket:
    """A UDP socket in the box, bound to an interface."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        made.settimeout(WAITS_S)
        return made

    return netns.call_in(lab.topology.box, make)


def net_socket(lab: Lab, port: int) -> socket.socket:
    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        made.bind(("", port))  # as servers do: the answer must come from the address that was asked
        made.settimeout(WAITS_S)
        return made

    return netns.call_in(lab.topology.net, make)


def round_trip(lab: Lab, device: str) -> tuple[float, str]:
    """Seconds there and back through one modem, and the address that the internet saw."""
    with net_socket(lab, 7) as server, box_socket(lab, device) as client:
        start = time.monotonic()
        client.sendto(b"x", (topology.RECEIVER, 7))
        _, seen = server.recvfrom(100)
        server.sendto(b"y", seen)
        client.recv(100)
        return time.monotonic() - start, seen[0]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(name("a"), 4, twins=(1, 2), links={"usb0": ["delay=30"]}) as lab:
        route_by_device(lab)
        yield lab


@pytest.mark.xdist_group("lab-shared")
class TestRunning:
    """Things to see in a lab that is up; each leaves it as it found it."""

    def test_every_uplink_has_a_lease_from_its_own_modem(self, lab: Lab) -> None:
        assert lab.addresses() == {
            "usb0": ["192.168.10.100/24"],
            "usb1": ["192.168.8.100/24"],
            "usb2": ["192.168.8.100/24"],
            "usb3": ["192.168.13.100/24"],
        }
        for device in ("usb0", "usb1", "usb2", "usb3"):
            leases = (lab.state_dir / "leases" / f"{device}.leases").read_text()
            assert f'interface "{device}"' in leases
            assert f"option routers {lab.modem(device).address};" in leases

    def test_each_modem_reaches_the_internet_as_itself(self, lab: Lab) -> None:
        seen = {
            device: [round_trip(lab, device) for _ in range(5)] for device in ("usb0", "usb1", "usb2", "usb3")
        }
        assert {device: {address for _, address in found} for device, found in seen.items()} == {
            "usb0": {"100.64.0.2"},
            "usb1": {"100.64.1.2"},
            "usb2": {"100.64.2.2"},
            "usb3": {"100.64.3.2"},
        }
        # The best counts, and the upper limits leave room for a busy machine.
        best = {device: min(seconds for seconds, _ in found) for device, found in seen.items()}
        assert 0.060 <= best["usb0"] < 0.160
        assert 0.040 <= best["usb1"] < 0.140

    def test_the_box_has_files_of_its_own(self, lab: Lab) -> None:
        before = [Path(path).read_bytes() for path in ("/etc/resolv.conf", "/etc/hosts")]
        assert socket.gethostname() not in lab.box_exec(["cat", "/etc/hosts"], capture_output=True).stdout
        found = lab.box_exec(["getent", "ahostsv4", "bond.lab"], capture_output=True).stdout
        assert found.startswith("203.0.113.10 ")
        assert [Path(path).read_bytes() for path in ("/etc/resolv.conf", "/etc/hosts")] == before

    def test_leases_reach_netbond_through_its_dhclient_hook(self, lab: Lab) -> None:
        settings = lab.box_exec(["cat", "/etc/default/netbond"], capture_output=True).stdout
        assert f"NETBOND_CONFIG={lab.config}" in settings
        kept = lab.state_dir / "box" / "leases"
        assert {path.name.split(".")[0] for path in kept.iterdir()} == {"usb0", "usb1", "usb2", "usb3"}

    def test_pulling_a_modem_and_putting_it_back(self, lab: Lab) -> None:
        def link() -> dict[str, object]:
            shown = lab.box_exec(["ip", "-j", "link", "show", "usb3"], capture_output=True)
            return dict(json.loads(shown.stdout)[0]) if shown.returncode == 0 else {}

        before, client = link(), lab.process("dhcp-usb3")
        lab.unplug("usb3")
        assert link() == {}
        assert client is not None
        assert not client.alive
        assert not lab.is_plugged("usb3")
        with pytest.raises(NetbondError, match="usb3 is already unplugged"):
            lab.unplug("usb3")
        lab.plug("usb3")
        lab.wait_for_leases(["usb3"], timeout_s=30)
        after = link()
        assert after["address"] == before["address"]
        assert after["ifindex"] != before["ifindex"]  # as with real USB: nobody may rely on the number
        with pytest.raises(NetbondError, match="usb3 is already plugged in"):
            lab.plug("usb3")
        netns.ip_batch(["route replace default via 192.168.13.1 dev usb3 table 103"], lab.topology.box)
        assert round_trip(lab, "usb3")[1] == "100.64.3.2"

    def test_carrier(self, lab: Lab) -> None:
        def carrier() -> str:
            return lab.box_exec(["cat", "/sys/class/net/usb0/carrier"], capture_output=True).stdout.strip()

        assert carrier() == "1"
        lab.impair("usb0", "carrier=off")
        assert carrier() == "0"
        assert [u["carrier"] for u in lab.status()["uplinks"]] == [False, True, True, True]
        lab.impair("usb0", "carrier=on")
        assert carrier() == "1"

    def test_rate_changes_while_it_runs(self, lab: Lab) -> None:
        def measured(waits_s: float = WAITS_S) -> float:
            """Mbit/s of IP packets at which a burst of 100 comes out of usb1, by the kernel's stamps."""
            with net_socket(lab, 9) as server, box_socket(lab, "usb1") as client:
                server.settimeout(waits_s)
                server.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                for _ in range(100):
                    client.sendto(bytes(1472), (topology.RECEIVER, 9))
                stamps: list[float] = []
                for _ in range(100):
                    _, ancillary, _, _ = server.recvmsg(2000, 100)
                    seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                    stamps.append(seconds + nanoseconds / 1e9)
                # The later half: by then all have been sent, however busy the machine is.
                return 50 * 1500 * 8 / 1e6 / (stamps[99] - stamps[49])

        def comes_to(mbps: float) -> None:
            """On a busy machine, the cable may be late for some of the packets."""
            wait_for(
                lambda: bool(statistics.median(measured() for _ in range(3)) == pytest.approx(mbps, rel=0.1)),
                3,
                f"{mbps} Mbit/s",
            )

        lab.impair("usb1", "rate=4", "queue=200")
        comes_to(4)
        lab.impair("usb1", "rate=8")
        comes_to(8)
        assert lab.radio()["usb1"]["up"]["dropped"] == 0
        lab.impair("usb1", "queue=30")
        with pytest.raises(TimeoutError):
            measured(2)
        assert lab.radio()["usb1"]["up"]["dropped"] > 50
        lab.impair("usb1", "clear", *topology.DEFAULT_WORDS)

    def test_an_outage_and_its_end(self, lab: Lab) -> None:
        lab.impair("usb2", "up.off")
        with net_socket(lab, 7) as server, box_socket(lab, "usb2") as client:
            server.settimeout(0.3)
            client.sendto(b"x", (topology.RECEIVER, 7))
            with pytest.raises(TimeoutError):
                server.recv(100)
        lab.impair("usb2", "on")
        assert round_trip(lab, "usb2")[1] == "100.64.2.2"

    def test_another_process_finds_it_and_changes_it(self, lab: Lab) -> None:
        def cli(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*NETBOND, "lab", words[0], "--name", lab.name, *words[1:]], capture_output=True, text=True
            )

        ran = cli("exec", "--", "sh", "-c", "ip -br -4 a show usb0; echo $NETBOND_CONFIG; exit 7")
        assert ran.returncode == 7
        assert "192.168.10.100/24" in ran.stdout
        assert str(lab.config) in ran.stdout
        ran = cli("exec", "--in", "usb2", "ip", "-br", "-4", "a", "show", "lan0")
        assert "192.168.8.1/24" in ran.stdout
        assert cli("unplug", "usb9").stderr == (
            f"netbond lab: lab '{lab.name}' has no uplink 'usb9'; it has usb0, usb1, usb2, usb3\n"
        )
        assert cli("impair", "usb3", "rate=3", "down.loss=2").returncode == 0
        shown = cli("status")
        assert shown.returncode == 0
        assert "rate=3 delay=20" in shown.stdout
        assert "rate=3 delay=20 loss=2" in shown.stdout
        state = json.loads(cli("status", "--json").stdout)
        assert state["uplinks"][3]["radio"]["down"]["impairment"]["loss"] == 2
        assert cli("impair", "usb3", "clear", *topology.DEFAULT_WORDS).returncode == 0
        assert cli("up").stderr.startswith(f"netbond lab: lab '{lab.name}' is already up; remove it")

    def test_a_lab_object_sees_what_another_process_did(self, lab: Lab) -> None:
        Lab.attach(lab.name).unplug("usb3")
        with pytest.raises(NetbondError, match="already unplugged"):
            lab.unplug("usb3")
        lab.plug("usb3")
        lab.wait_for_leases(["usb3"])


def test_nothing_stays_behind() -> None:
    lab = Lab(name("b"), 2)
    assert remains(lab.name) == []
    lab.up()
    assert len(remains(lab.name)) > 8  # or this test sees nothing
    lab.down()
    assert remains(lab.name) == []
    lab.down()  # again: no error
    with pytest.raises(NotRunningError, match="is not up; start it: netbond lab up --name"):
        Lab.attach(lab.name)


def test_two_labs_do_not_meet() -> None:
    with Lab(name("c"), 1) as one:
        with Lab(name("c-2"), 1) as two:
            assert one.addresses() == two.addresses()
        assert remains(two.name) == []
        assert one.addresses()
        assert one.radio()


def test_after_a_crash_of_the_cable_and_a_server(capfd: pytest.CaptureFixture[str]) -> None:
    lab = Lab(name("d"), 2)
    lab.up()
    for key in ("cable", "dnsmasq-usb0"):
        process = lab.process(key)
        assert process is not None
        process.signal(signal.SIGKILL)
        os.waitpid(process.pid, 0)
    with pytest.raises(UnavailableError, match="radio links do not answer"):
        lab.radio()
    Lab(name("d"), 2).down()
    assert remains(lab.name) == []


def foreground(lab: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*NETBOND, "lab", "up", "--name", lab, "--modems", "3", "--no-receiver", "--foreground"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_takes_it_down(number: int) -> None:
    process = foreground(name("e"))
    assert process.stdout is not None
    assert "is up" in process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert remains(name("e")) == []


def test_in_the_foreground_it_ends_when_the_lab_is_taken_down() -> None:
    process = foreground(name("j"))
    assert process.stdout is not None
    assert "is up" in process.stdout.readline()
    Lab(name("j")).down()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert remains(name("j")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("after", [0.0, 0.03, 0.06, 0.09, 0.12])
def test_stopped_while_it_comes_up(number: int, after: float) -> None:
    """At any moment: Ctrl-C cleans up by itself; after kill -9, `down` or the next `up` does."""
    process = foreground(name("f"))
    while not (STATE_ROOT / name("f")).exists():
        time.sleep(0.001)
    time.sleep(after)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        lab = Lab(name("f"), 1)
        if not is_running(lab.name):  # else it was killed too late to leave anything half done
            lab.up()
            assert list(lab.addresses()) == ["usb0"]
        lab.down()
    else:
        assert "Traceback" not in errors
    assert remains(name("f")) == []


def test_a_stranger_with_a_recorded_number_is_left_alone() -> None:
    """A lab that died with the machine's power leaves numbers that belong to others now."""
    with subprocess.Popen(["sleep", "60"]) as stranger:
        lab = Lab(name("g"), 1)
        lab.state_dir.mkdir(parents=True)
        started = netns.identify(stranger.pid).started
        (lab.state_dir / "state.json").write_text(
            json.dumps({"ready": True, "processes": {"cable": [stranger.pid, started - 500]}})
        )
        lab.down()
        assert stranger.poll() is None
        stranger.kill()
    assert remains(lab.name) == []


def test_when_a_lease_does_not_come_it_says_so_and_nothing_stays() -> None:
    lab = Lab(name("h"), 1)
    lab.up()
    try:
        server = lab.process("dnsmasq-usb0")
        assert server is not None
        server.signal(signal.SIGKILL)
        lab.unplug("usb0")
        lab.plug("usb0")
        wait_for(lambda: lab.last_words("dhcp-usb0").startswith("DHCP"), 5, "the client asks")
        with pytest.raises(UnavailableError, match=r"no DHCP lease on usb0 after 0.5 s; DHCP client: DHCP"):
            lab.wait_for_leases(timeout_s=0.5)
    finally:
        lab.down()
    assert remains(lab.name) == []


def test_without_dhclient_busybox_gets_the_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo installs no dhclient: on Debian 13 the machine's own interfaces would use it."""
    monkeypatch.setattr("netbond.lab.lab.has_program", lambda program: program != "dhclient")
    with Lab(name("j"), 2) as lab:
        lab.unplug("usb1")
        lab.plug("usb1")
        lab.wait_for_leases(["usb1"])
        assert lab.addresses() == {each.device: [f"{each.lease}/24"] for each in lab.topology.modems}

        def kept() -> list[tuple[str, list[str], str]]:
            leases = [json.loads(path.read_text()) for path in (lab.state_dir / "box/leases").glob("*.json")]
            return sorted((lease["device"], lease["routers"], lease["source"]) for lease in leases)

        # The client's script sets the address first.
        expected = [(each.device, [each.address], "udhcpc") for each in lab.topology.modems]
        wait_for(lambda: kept() == expected, 5, f"{expected}, not {kept()}")

        def main() -> str:
            return str(lab.box_exec(["ip", "route", "show", "default"], capture_output=True).stdout)

        # The first lease sets it, as with dhclient.
        wait_for(lambda: main().startswith("default via 192.168.1"), 5, "a default")


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert PROGRAMS["dnsmasq"] == "dnsmasq-base"
    with pytest.raises(
        UnavailableError, match="needs the program no-such-program; install it: apt install p"
    ):
        need_programs({"no-such-program": "p"})


def test_processes_are_found_by_namespace() -> None:
    with Lab(name("i"), 1, dhcp=False) as lab:
        sleeper = lab.start("sleeper", lab.topology.box, ["sleep", "60"])
        wait_for(lambda: processes_in([lab.topology.box]) == [sleeper], 2, "it is found, and nobody else")
    assert not sleeper.alive
