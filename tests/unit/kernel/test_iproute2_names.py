"""Names for `ip`: what goes into the drop-in files, and that nobody else's file is touched."""

import errno
import os
from pathlib import Path

import pytest

from netbond.kernel import iproute2_names
from netbond.kernel.iproute2_names import HEADER, NameFiles, parse, read_taken, render_protocol, render_tables
from netbond.system import files

STOCK = {0: "unspec", 253: "default", 254: "main", 255: "local"}


@pytest.mark.parametrize(
    ("tables", "taken", "lines"),
    [
        ({}, STOCK, ["222\tnetbond"]),
        ({"usb1": 101, "usb0": 100}, STOCK, ["100\tusb0", "101\tusb1", "222\tnetbond"]),
        ({"usb0": 100}, {100: "isp"}, ["222\tnetbond"]),  # the number has a name already
        ({"usb0": 100, "usb1": 101}, {5: "usb0"}, ["101\tusb1", "222\tnetbond"]),  # another table has it
        ({"main": 130, "all": 131, "cache": 132, "local": 133, "default": 134}, {}, ["222\tnetbond"]),
        ({"7": 130, "0x10": 131, "1x": 132}, {}, ["222\tnetbond"]),  # `ip` reads numbers
        ({"a#b": 130, "é": 131, "-": 132, "\x1bb": 133, "wlan.5": 134}, {}, ["134\twlan.5", "222\tnetbond"]),
        ({"netbond": 130}, {}, ["222\tnetbond"]),
        ({"usb0": 100}, {222: "x"}, ["100\tusb0"]),
        ({"usb0": 100}, {7: "netbond"}, ["100\tusb0"]),
    ],
)  # fmt: skip
def test_tables(tables: dict[str, int], taken: dict[int, str], lines: list[str]) -> None:
    text = render_tables(tables, 222, taken)
    assert text == HEADER + "".join(f"{line}\n" for line in lines)
    assert HEADER.startswith("#")
    assert HEADER.count("\n") == 1


def test_protocol() -> None:
    assert render_protocol(78, {2: "kernel"}) == HEADER + "78\tnetbond\n"
    assert render_protocol(78, {78: "mine"}) == HEADER
    assert render_protocol(78, {79: "netbond"}) == HEADER


def test_parse_as_ip_does() -> None:
    text = "#\n# reserved\n255\tlocal\n  0x64 isp  # the first\n\nfoo 7\n7\n#1 inr\n12 a#b\n"
    assert parse(text) == {255: "local", 100: "isp", 12: "a#b"}
    assert parse(render_tables({"usb0": 100}, 222, {})) == {100: "usb0", 222: "netbond"}


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(iproute2_names, "SYSTEM_DEFAULTS", (tmp_path / "usr",))
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/rt_tables").write_text("254 main\n200 vendor\n")
    etc = tmp_path / "iproute2"
    (etc / "rt_tables.d").mkdir(parents=True)
    (etc / "rt_tables.d/README").write_text("1 readme\n")
    (etc / "rt_tables.d/isp.conf").write_text("101 isp\n")
    (etc / "rt_tables").write_text("200 own\n")
    return etc


def test_taken(etc: Path) -> None:
    (etc / "rt_tables.d/netbond.conf").write_text("100 usb0\n")
    (etc / "rt_tables.d/link.conf").symlink_to("../elsewhere")
    (etc / "elsewhere").write_text("102 linked\n")
    os.mkfifo(etc / "rt_tables.d/fifo.conf")
    assert read_taken(etc, "rt_tables") == {254: "main", 200: "own", 101: "isp", 102: "linked"}
    assert read_taken(etc, "rt_protos") == {}


def test_write_on_change_and_remove(etc: Path) -> None:
    ours = NameFiles(etc)
    assert ours.write({"usb0": 100, "usb1": 101}, 222, 78) == ()
    tables, protocols = etc / "rt_tables.d/netbond.conf", etc / "rt_protos.d/netbond.conf"
    assert parse(tables.read_text()) == {100: "usb0", 222: "netbond"}
    assert parse(protocols.read_text()) == {78: "netbond"}
    assert tables.stat().st_mode & 0o777 == 0o644
    first = tables.stat().st_ino
    NameFiles(etc).write({"usb0": 100, "usb1": 101}, 222, 78)
    assert tables.stat().st_ino == first
    ours.write({}, 222, 78)
    assert parse(tables.read_text()) == {222: "netbond"}
    assert ours.remove() == ()
    assert not tables.exists()
    assert not protocols.exists()
    assert ours.remove() == ()
    assert (etc / "rt_tables.d/isp.conf").exists()


def test_a_file_of_somebody_else_stays(etc: Path) -> None:
    path = etc / "rt_tables.d/netbond.conf"
    path.write_text("100 mine\n")
    ours = NameFiles(etc)
    (problem,) = ours.write({"usb0": 100}, 222, 78)
    assert problem == (
        f"{path}: was not written by netbond, and stays as it is;"
        " `ip` shows numbers instead of netbond's names"
    )
    assert ours.write({"usb0": 100}, 222, 78) == (problem,)
    assert ours.remove() == ()
    assert path.read_text() == "100 mine\n"


def test_a_link_is_not_followed(etc: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text(HEADER)
    path = etc / "rt_tables.d/netbond.conf"
    path.symlink_to(victim)
    ours = NameFiles(etc)
    (problem,) = ours.write({}, 222, 78)
    assert "is a symbolic link" in problem
    ours.remove()
    assert path.is_symlink()
    assert victim.read_text() == HEADER


def test_an_empty_file_is_filled_and_removed(etc: Path) -> None:
    path = etc / "rt_tables.d/netbond.conf"
    path.touch()
    NameFiles(etc).write({}, 222, 78)
    assert parse(path.read_text()) == {222: "netbond"}
    path.write_text("")
    NameFiles(etc).remove()
    assert not path.exists()


@pytest.mark.parametrize("folder", [None, Path("/nonexistent/iproute2")])
def test_no_iproute2_no_names(folder: Path | None) -> None:
    assert NameFiles(folder).write({"usb0": 100}, 222, 78) == ()
    assert NameFiles(folder).remove() == ()


def test_a_folder_that_a_later_iproute2_does_not_bring_is_made_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian 13: iproute2's own files are below /usr, and /etc/iproute2 does not exist."""
    folder = tmp_path / "iproute2"
    monkeypatch.setattr(iproute2_names, "SYSTEM_DEFAULTS", (tmp_path / "usr",))
    assert NameFiles(folder).write({"usb0": 100}, 222, 78) == ()
    assert not folder.exists(), "without iproute2"
    (tmp_path / "usr").mkdir()
    ours = NameFiles(folder)
    assert ours.write({"usb0": 100}, 222, 78) == ()
    assert folder.stat().st_mode & 0o777 == 0o755
    assert parse((folder / "rt_tables.d/netbond.conf").read_text())[100] == "usb0"
    ours.remove()
    assert not folder.exists()
    ours.write({"usb0": 100}, 222, 78)
    (folder / "rt_tables").write_text("7 theirs\n")
    ours.remove()
    assert [path.name for path in folder.iterdir()] == ["rt_tables"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(iproute2_names, "SYSTEM_DEFAULTS", (tmp_path,))
    monkeypatch.setattr(files, "make_directory", refuse)
    (problem,) = NameFiles(tmp_path / "iproute2").write({"usb0": 100}, 222, 78)
    assert problem.startswith(f"{tmp_path}/iproute2: ")
    assert problem.endswith("; `ip` shows numbers instead of netbond's names")


def test_what_cannot_be_written_is_named(etc: Path) -> None:
    (etc / "rt_protos.d").write_text("a file in the way")
    ours = NameFiles(etc)
    (problem,) = ours.write({}, 222, 78)
    assert problem.startswith(f"{etc}/rt_protos.d/netbond.conf: ")
    assert ours.write({}, 222, 78) == (problem,)
    assert ours.remove() == ()


def test_links_in_a_circle_among_the_names_of_others(tmp_path: Path) -> None:
    """Path.resolve() raises RuntimeError for them."""
    (tmp_path / "rt_tables.d").mkdir()
    (tmp_path / "rt_tables.d/a.conf").symlink_to("b.conf")
    (tmp_path / "rt_tables.d/b.conf").symlink_to("a.conf")
    (tmp_path / "rt_tables.d/c.conf").write_text("7 seven\n")
    assert read_taken(tmp_path, "rt_tables")[7] == "seven"
