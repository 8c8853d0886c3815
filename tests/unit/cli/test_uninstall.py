"""`netbond uninstall`, from a folder."""

from pathlib import Path

import pytest

from netbond.cli.install_box import Hands
from netbond.cli.uninstall import Uninstaller
from netbond.errors import EXIT_FAILURE, EXIT_OK, NetbondError
from netbond.installation.contents import CONFIG, Asked
from tests.unit.cli.test_install import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def uninstall(box: Box, *, purge: bool = False, dry: bool = False) -> int:
    return Uninstaller(Hands(box.place, box.run, dry=dry)).uninstall(purge=purge)


def folders(box: Box) -> set[Path]:
    return {path for path in box.place.root.rglob("*") if path.is_dir()}


@pytest.mark.parametrize("roles", [["box"], ["receiver"], ["box", "receiver"]])
def test_a_purge_leaves_the_box_as_it_was(box: Box, roles: list[str]) -> None:
    for folder in ("usr/local/bin", "etc/systemd/system", "etc/default", "etc/sysctl.d", "var/lib"):
        (box.place.root / folder).mkdir(parents=True)
    before, folders_before = box.files(), folders(box)
    for role in roles:
        box.install(Asked("box") if role == "box" else Asked("receiver"))
    assert box.files() != before
    if "box" in roles:
        (box.place.root / "etc/iproute2/rt_tables.d").mkdir(parents=True)  # by the agent
    assert uninstall(box, purge=True) == EXIT_OK
    assert box.files() == before
    assert folders(box) == folders_before
    assert "userdel netbond" in box.ran


def test_without_purge_the_configuration_stays(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.install()
    box.place.at("/etc/default/netbond").write_text("NETBOND=/mine\n")
    box.ran.clear()
    assert uninstall(box) == EXIT_OK
    assert set(box.files()) >= {CONFIG, "/etc/default/netbond"}
    assert "/etc/systemd/system/netbond.service" not in box.files()
    assert "userdel netbond" not in box.ran
    assert box.ran[0] == "systemctl disable --now netbond.service"
    assert box.ran[1].endswith("netbond run --restore")
    assert "kept /etc/default/netbond: it was changed by its owner\n" in capsys.readouterr().out
    assert uninstall(box, purge=True) == EXIT_OK
    assert CONFIG not in box.files()


def test_a_setting_that_somebody_has_changed_since_stays(box: Box) -> None:
    box.install(Asked("receiver"))
    box.place.set_sysctl("net.core.rmem_max", 8_000_000)
    uninstall(box)
    assert box.place.sysctl("net.core.rmem_max") == 8_000_000
    assert box.place.sysctl("net.core.wmem_max") == 212992


def test_a_dry_run_changes_nothing(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.install()
    before = box.files()
    box.ran.clear()
    assert uninstall(box, purge=True, dry=True) == EXIT_OK
    assert (box.files(), box.ran) == (before, [])
    assert "would remove /etc/systemd/system/netbond.service\n" in capsys.readouterr().out


def test_what_fails_is_said_and_the_rest_is_done(box: Box) -> None:
    box.install()
    box.broken["--restore"] = "netbond run: another agent runs"
    assert uninstall(box) == EXIT_FAILURE
    assert "/etc/systemd/system/netbond.service" not in box.files()


def test_nothing_is_installed(box: Box) -> None:
    with pytest.raises(NetbondError, match="nothing is installed here"):
        uninstall(box)
