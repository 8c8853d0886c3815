"""Files that everybody could exchange: which they are, and what mends it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netbond.system.strict_modes import open_to_all


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "etc" / "netbond" / "netbond.toml"
    found.parent.mkdir(parents=True)
    found.touch()
    return found


@pytest.mark.parametrize(
    ("changed", "mode", "wrong"),
    [
        ("netbond.toml", 0o600, False),
        ("netbond.toml", 0o664, False),
        ("netbond.toml", 0o646, True),
        ("netbond.toml", 0o1646, True),  # a sticky file means nothing
        ("netbond", 0o775, False),
        ("netbond", 0o757, True),
        ("netbond", 0o1777, False),  # as /tmp: nobody else can rename what is ours
        ("etc", 0o777, True),
        ("etc", 0o1777, False),
    ],
)
def test_modes(file: Path, changed: str, mode: int, *, wrong: bool) -> None:
    (path,) = (each for each in (file, *file.parents) if each.name == changed)
    path.chmod(mode)
    assert open_to_all(file) == (
        (f"{path} is writable by everybody", f"chmod o-w {path}") if wrong else ("", "")
    )


@pytest.mark.root
@pytest.mark.parametrize("others", ["netbond.toml", "netbond"])
def test_what_belongs_to_others_where_everybody_may_make_files(file: Path, others: str) -> None:
    (path,) = (each for each in (file, *file.parents) if each.name == others)
    os.chown(path, 12345, 12345)
    assert open_to_all(file) == ("", ""), "an administrator may give it to a user"
    path.parent.chmod(0o1777)
    text = f"{path} belongs to another user, where everybody may make files"
    assert open_to_all(file) == (text, f"chown root {path}")


@pytest.mark.root
def test_links(file: Path, tmp_path: Path) -> None:
    """The folder of a link counts, and what it points to; a link's own mode means nothing."""
    public = tmp_path / "public"
    public.mkdir()
    link = public / "link"
    link.symlink_to(file)
    assert open_to_all(link) == ("", "")
    public.chmod(0o777)
    assert open_to_all(link)[0] == f"{public} is writable by everybody"
    public.chmod(0o1777)
    assert open_to_all(link) == ("", "")
    os.chown(link, 12345, 12345, follow_symlinks=False)
    assert open_to_all(link)[0].startswith(f"{link} belongs to another user")
    public.chmod(0o755)
    file.chmod(0o666)
    assert open_to_all(link)[0] == f"{file} is writable by everybody"


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_to_all(tmp_path / "none")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(RuntimeError):
        open_to_all(tmp_path / "loop")
