"""`netbond install`, into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.cli import main
from netbond.cli.install import Installer
from netbond.cli.install_box import Hands, Place
from netbond.config.values import HostPort
from netbond.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from netbond.installation.contents import CONFIG, Asked

PROGRAM = "/opt/netbond/bin/netbond"
RECEIVER = HostPort("bond.example.org", 5000)


class Box:
    """A box in a folder, with systemd and dhclient; `ran` has the commands, `broken` those that fail."""

    def __init__(self, root: Path) -> None:
        self.place = Place(root)
        self.ran: list[str] = []
        self.broken: dict[str, str] = {}
        for folder in (
            "etc/dhcp/dhclient-exit-hooks.d",
            "run/systemd/system",
            "proc/sys/net/core",
            "usr/bin",
        ):
            (root / folder).mkdir(parents=True)
        for program in ("systemctl", "dhclient"):
            (root / "usr/bin" / program).touch()
        for name in ("rmem_max", "wmem_max"):
            (root / "proc/sys/net/core" / name).write_text("212992\n")
        (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")

    def run(self, command: Sequence[str]) -> str:
        self.ran.append(" ".join(command))
        return next((why for part, why in self.broken.items() if part in self.ran[-1]), "")

    def install(
        self, asked: Asked | None = None, *, dry: bool = False, configured: bool = False, start: bool = True
    ) -> int:
        hands = Hands(self.place, self.run, dry=dry)
        return Installer(hands, asked or Asked("box"), PROGRAM).install(configured=configured, start=start)

    def files(self) -> dict[str, str]:
        return {
            f"/{path.relative_to(self.place.root)}": str(path.readlink())
            if path.is_symlink()
            else path.read_text()
            for path in sorted(self.place.root.rglob("*"))
            if path.is_symlink() or path.is_file()
        }


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_a_box(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert box.install(Asked("box", RECEIVER), configured=True) == EXIT_OK
    assert {
        "/etc/default/netbond",
        CONFIG,
        "/etc/dhcp/dhclient-exit-hooks.d/netbond",
        "/etc/systemd/system/netbond.service",
        "/usr/local/bin/netbond",
    } < set(box.files())
    assert box.ran[0].startswith("useradd --system")
    assert box.ran[-2:] == ["systemctl enable netbond.service", "systemctl restart netbond.service"]
    said = capsys.readouterr().out
    assert "wrote /etc/dhcp/dhclient-exit-hooks.d/netbond: the hook of dhclient\n" in said
    assert "point the SRT encoder (caller) at srt://127.0.0.1:6000\n" in said


def test_leases_that_are_there_are_taken_over(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    """The hook would hear of the next one in half a lease's time."""
    leases = box.place.at("/var/lib/dhcp")
    leases.mkdir(parents=True)
    lease = 'lease {\n  interface "usb1";\n  fixed-address 10.0.0.2;\n  option routers 10.0.0.1;\n}\n'
    (leases / "dhclient.usb1.leases").write_text(lease)
    (leases / "dhclient6.leases").write_bytes(b"\xff\xfe")
    box.install()
    assert "took over dhclient's lease of usb1\n" in capsys.readouterr().out
    taken = "env reason=BOUND interface=usb1 new_ip_address=10.0.0.2 new_routers=10.0.0.1"
    assert f"{taken} {PROGRAM} hook dhclient" in box.ran
    assert box.ran[-1].startswith("systemctl restart")
    box.ran.clear()
    box.install()
    assert not any("hook" in command for command in box.ran), "once is enough: the hook is there now"


def test_a_second_time_changes_nothing(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.install(Asked("box", RECEIVER), configured=True)
    before = box.files()
    capsys.readouterr()
    assert box.install() == EXIT_OK
    assert box.files() == before
    assert box.ran[-1] == "systemctl start netbond.service"  # a restart would interrupt streams
    assert "all files are as they should be\n" in capsys.readouterr().out


def test_another_version_is_started_anew(box: Box) -> None:
    box.install()
    box.place.keep(replace(box.place.installed(), release="0.0.1"))
    box.install()
    assert box.ran[-1] == "systemctl restart netbond.service"


def test_a_dry_run_changes_nothing_and_says_all(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    before = box.files()
    assert box.install(dry=True) == EXIT_OK
    assert (box.files(), box.ran) == (before, [])
    said = capsys.readouterr().out
    assert "would write /etc/netbond/netbond.toml: the configuration\n" in said
    assert "would run systemctl restart netbond.service\n" in said


def test_a_file_of_the_owners_is_kept_and_he_is_told_what_to_add(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.place.at(CONFIG).parent.mkdir()
    box.place.at(CONFIG).write_text("# mine\n")
    assert box.install(Asked("box", RECEIVER), configured=True) == EXIT_FAILURE
    assert box.files()[CONFIG] == "# mine\n"
    said = capsys.readouterr().out
    assert f"kept {CONFIG}: it was there before netbond\n" in said
    assert '    receiver = "bond.example.org:5000"\n' in said


def test_a_wrong_configuration_is_not_started(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.broken["config check"] = "netbond config: line 3: so and so"
    assert box.install() == EXIT_FAILURE
    assert not any("restart" in command for command in box.ran)
    assert (
        "not started, because the configuration is wrong: netbond config: line 3" in capsys.readouterr().out
    )


def test_a_service_that_does_not_start(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.broken["restart"] = "Job for netbond.service failed"
    assert box.install() == EXIT_FAILURE
    said = capsys.readouterr().out
    assert said.endswith("systemctl restart netbond.service: Job for netbond.service failed\n")


def test_where_systemd_does_not_run(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.place.at("/run/systemd/system").rmdir()
    assert box.install() == EXIT_OK
    assert "starts at the next boot" in capsys.readouterr().out
    box.place.at("/usr/bin/systemctl").unlink()
    assert box.install() == EXIT_OK
    assert f"there is no systemd: let your system start {PROGRAM} run\n" in capsys.readouterr().out


def test_a_receiver(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert box.install(Asked("receiver"), start=False) == EXIT_OK
    assert set(box.files()) >= {"/etc/default/netbond-recv", "/etc/systemd/system/netbond-recv.service"}
    assert CONFIG not in box.files()
    assert box.files()["/proc/sys/net/core/rmem_max"] == "4194304\n"
    assert box.place.installed().sysctls == {"net.core.rmem_max": 212992, "net.core.wmem_max": 212992}
    assert "set net.core.rmem_max to 4194304 (it was 212992)\n" in capsys.readouterr().out
    assert not any("systemctl" in command for command in box.ran)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--sender bond", "--sender 'bond' is not valid; expected 'host:port'"),
        ("--receiver --sender a:1", "--receiver is for the server, --sender for the box"),
        ("--port 5000", "--port is for a receiver; add --receiver"),
        ("--receiver --port 99999", "--port '99999' is not a port"),
        ("--receiver --srt x", "--srt 'x' is not valid"),
    ],
)
def test_mistakes(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", *words.split()]) == EXIT_USAGE
    assert message in capsys.readouterr().err
