"""Looking at a box and changing it, below a folder."""

from pathlib import Path

import pytest

from netbond.cli.install_box import RECORD, Hands, Place, templates
from netbond.cli.run_command import run_command
from netbond.errors import NetbondError, UnavailableError
from netbond.installation.contents import Item
from netbond.installation.steps import NOTHING, Entry, Installed, Step, digest


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def make(place: Place, path: str, text: str = "", mode: int = 0o644) -> Path:
    where = place.at(path)
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(text)
    where.chmod(mode)
    return where


def test_a_client_counts_if_its_program_and_its_folder_are_there(place: Place) -> None:
    make(place, "/usr/sbin/dhclient", mode=0o755)
    place.at("/etc/NetworkManager/dispatcher.d").mkdir(parents=True)  # its program is not
    assert place.look("/opt/x").hooks == {}
    place.at("/etc/dhcp/dhclient-exit-hooks.d").mkdir(parents=True)
    assert place.look("/opt/x").hooks == {"dhclient": "/etc/dhcp/dhclient-exit-hooks.d"}


def test_networkd_and_a_unit_of_dhcpcd(place: Place) -> None:
    assert not place.look("/opt/x").networkd
    assert not place.look("/opt/x").dhcpcd_unit
    make(place, "/usr/lib/systemd/system/dhcpcd.service")
    place.at("/run/systemd/netif").mkdir(parents=True)
    assert place.look("/opt/x").networkd
    assert place.look("/opt/x").dhcpcd_unit


def test_a_link_that_is_there_is_enough(place: Place) -> None:
    make(place, "/opt/x/bin/netbond", mode=0o755)
    assert not place.look("/opt/x/bin/netbond").linked
    place.at("/usr/bin").mkdir(parents=True)
    place.at("/usr/bin/netbond").symlink_to(place.at("/opt/x/bin/netbond"))
    assert place.look("/opt/x/bin/netbond").linked


def test_writing_says_which_folders_it_made(place: Place) -> None:
    place.at("/etc").mkdir()
    item = Item("/etc/a/b/file", "text", 0o640, "")
    assert place.write(item) == ("/etc/a", "/etc/a/b")
    assert place.at("/etc/a/b/file").stat().st_mode & 0o777 == 0o640
    assert place.write(item) == ()
    assert place.digests([item.path, "/etc/none"]) == {item.path: digest("text")}


def test_a_link_is_replaced_not_followed(place: Place) -> None:
    other = make(place, "/etc/passwd", "root")
    place.at("/etc/link").symlink_to(other)
    place.write(Item("/etc/link", "text", 0o644, ""))
    assert other.read_text() == "root"
    place.write(Item("/etc/link", "/opt/y", 0o777, "", link=True))
    assert place.digests(["/etc/link"]) == {"/etc/link": digest("/opt/y", link=True)}


def test_a_folder_in_a_files_place_is_said(place: Place) -> None:
    place.at("/etc/default/netbond").mkdir(parents=True)
    with pytest.raises(NetbondError, match="/etc/default/netbond: is not a regular file; move it"):
        place.digests(["/etc/default/netbond"])


def test_the_record_comes_back(place: Place) -> None:
    assert place.installed() == NOTHING
    record = Installed(
        {"/a": Entry("sha256:0", ("box",), True)}, "0.1", ("/etc/netbond",), True, {"net.x": 1}
    )
    place.keep(record)
    assert place.installed() == record
    place.keep(NOTHING)
    assert not place.at(RECORD).exists()


@pytest.mark.parametrize("text", ["{", '{"kind": "installed", "version": 1, "files": 3}', "[" * 100000])
def test_a_broken_record_is_said(place: Place, text: str) -> None:
    make(place, RECORD, text, 0o600)
    with pytest.raises(NetbondError, match=RECORD):
        place.installed()


def test_what_stops_it_leaves_what_was_done(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    make(place, "/etc/file")
    good, bad = (Step("write", path, "", Item(path, "x", 0o644, "")) for path in ("/a", "/etc/file/under"))
    done, _, trouble = Hands(place, run_command).carry_out([good, bad])
    assert done == [good]
    assert "/etc/file/under: " in str(trouble)


def test_a_command_that_fails_says_why_in_a_line(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    hands = Hands(place, run_command)
    assert not hands.command("sh", "-c", "echo; echo it is broken >&2; exit 3")
    assert hands.failed
    assert capsys.readouterr().out.endswith("exit 3: it is broken\n")


def test_dry_hands_do_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    hands = Hands(place, run_command, dry=True)
    assert hands.command("touch", str(place.at("/x")))
    hands.carry_out([Step("write", "/x", "", Item("/x", "", 0o644, ""))])
    assert not place.at("/x").exists()


def test_a_template_that_is_missing() -> None:
    with pytest.raises(UnavailableError, match=r"contrib/nothing/here is not in .* install netbond again"):
        templates(["nothing/here"])
