"""What an installation consists of."""

import shutil
import subprocess
from pathlib import Path

import pytest

from netbond.config.load import parse
from netbond.config.values import HostPort
from netbond.installation.contents import (
    BUFFER_BYTES,
    HOOKS,
    SYSCTL_FILE,
    TMPFILES_FILE,
    UNITS,
    Asked,
    Box,
    Item,
    box_config,
    contents,
    needed_templates,
    usable_program,
)
from netbond.srtla.process import linksocket

CONTRIB = Path(__file__).parents[3] / "contrib"
PROGRAM = "/srv/nb/bin/netbond"


def items(asked: Asked, box: Box) -> dict[str, Item]:
    templates = {name: (CONTRIB / name).read_text() for name in needed_templates(asked, box)}
    return {item.path: item for item in contents(asked, box, templates, {})}


def test_a_box_without_dhcp_clients() -> None:
    found = items(Asked("box"), Box(PROGRAM, {}))
    assert list(found) == [
        "/usr/local/bin/netbond",
        "/etc/default/netbond",
        "/etc/netbond/netbond.toml",
        "/etc/tmpfiles.d/netbond.conf",
        "/etc/systemd/system/netbond.service",
    ]
    assert found["/usr/local/bin/netbond"].link
    assert f"ExecStart={PROGRAM} run\n" in found["/etc/systemd/system/netbond.service"].text
    assert "/opt/netbond" not in found["/etc/systemd/system/netbond.service"].text


def test_each_client_that_is_there_gets_its_hook() -> None:
    hooks = {
        "dhclient": "/etc/dhcp/dhclient-exit-hooks.d",
        "NetworkManager": "/etc/NetworkManager/dispatcher.d",
    }
    found = items(Asked("box"), Box(PROGRAM, hooks, linked=True))
    assert found["/etc/dhcp/dhclient-exit-hooks.d/netbond"].mode == 0o644
    assert found["/etc/NetworkManager/dispatcher.d/90-netbond"].mode == 0o755  # or it passes them over
    assert not any("dhcpcd" in path for path in found)


def test_templates_of_all_hooks_are_there() -> None:
    assert all((CONTRIB / hook.template).is_file() for hook in HOOKS)
    assert all((CONTRIB / "systemd" / unit).is_file() for unit in UNITS.values())


def test_networkd_and_a_confined_dhcpcd_are_told() -> None:
    found = items(Asked("box"), Box(PROGRAM, {}, networkd=True, dhcpcd_unit=True))
    assert "ManageForeignRoutes=no" in found["/etc/systemd/networkd.conf.d/netbond.conf"].text
    assert "/run/netbond" in found["/etc/systemd/system/dhcpcd.service.d/netbond.conf"].text
    assert "/run/netbond" in found["/etc/tmpfiles.d/netbond.conf"].text


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="systemd-tmpfiles is not installed")
def test_what_senders_read_in_tmp_is_not_deleted_when_it_is_old(tmp_path: Path) -> None:
    rules, tmp = tmp_path / "etc/tmpfiles.d", tmp_path / "tmp"
    rules.mkdir(parents=True)
    tmp.mkdir()
    (rules / "tmp.conf").write_text("q /tmp 1777 - - 0\n")  # as Debian 13's, which has 10d: all is old enough
    (rules / "netbond.conf").write_text(items(Asked("box"), Box(PROGRAM, {}))[TMPFILES_FILE].text)
    for name in ("srtla_ips", "srtla-group-40001", "other"):
        (tmp / name).touch()
    names = ["tmp.conf", "netbond.conf"]
    subprocess.run(["systemd-tmpfiles", "--clean", f"--root={tmp_path}", *names], check=True)
    assert sorted(path.name for path in tmp.iterdir()) == ["srtla-group-40001", "srtla_ips"]


def test_a_receiver_has_its_options_and_no_configuration() -> None:
    asked = Asked("receiver", port=5500, srt=HostPort("::1", 4001))
    found = items(asked, Box(PROGRAM, {"dhclient": "/x"}, linked=True))
    assert list(found) == ["/etc/default/netbond-recv", "/etc/systemd/system/netbond-recv.service"]
    assert "OPTIONS=--srtla-port 5500 --srt [::1]:4001\n" in found["/etc/default/netbond-recv"].text


def test_buffers_are_raised_and_never_lowered() -> None:
    box = Box(PROGRAM, {}, sysctls={"net.core.rmem_max": 212992, "net.core.wmem_max": 99999999})
    text = items(Asked("receiver"), box)[SYSCTL_FILE].text
    assert "net.core.rmem_max = 4194304\n" in text
    assert "wmem_max" not in text


@pytest.mark.parametrize("receiver", [HostPort("bond.example.org", 5000), HostPort("2001:db8::1", 5001)])
def test_the_configuration_says_what_was_asked_for(receiver: HostPort) -> None:
    sender = parse(box_config(receiver)).sender[0]
    assert sender.receiver in (receiver, (receiver,))
    assert str(sender.listen) == "127.0.0.1:6000"


def test_a_configuration_for_nothing_says_how_to_go_on() -> None:
    text = box_config(None)
    assert parse(text).sender == ()
    example = "".join(line.removeprefix("#") for line in text.splitlines(keepends=True) if "# " not in line)
    assert parse(example).sender == parse(box_config(HostPort("bond.example.org", 5000))).sender


@pytest.mark.parametrize("path", ["/opt/my netbond", "/opt/%h/netbond", "netbond", "/a;b", "/a\n"])
def test_paths_that_a_unit_cannot_name(path: str) -> None:
    assert not usable_program(path)
    assert usable_program(PROGRAM)


def test_of_a_package_only_the_configuration_is_left_to_do() -> None:
    box = Box("/usr/lib/netbond/bin/netbond", {"dhclient": "/x"}, packaged=True)
    assert list(items(Asked("box"), box)) == ["/etc/netbond/netbond.toml"]
    assert list(items(Asked("receiver"), box)) == ["/etc/default/netbond-recv"]


def test_where_the_program_is_follows_it() -> None:
    """Hooks would call the former one, if this counted as a configuration that stays."""
    assert not items(Asked("box"), Box(PROGRAM, {}))["/etc/default/netbond"].config


def test_the_buffers_are_those_that_a_receiver_asks_for() -> None:
    assert BUFFER_BYTES == linksocket.BUFFER_BYTES
