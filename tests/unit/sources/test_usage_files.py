"""What was used of data plans: for good, and since then."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from netbond.sources.usage_files import UsageFiles
from netbond.system.state_file import StateFileError
from tests.unit.shortage import no_descriptors, no_space


def files(folder: Path, boot: str = "b1") -> UsageFiles:
    return UsageFiles(folder / "lib", folder / "run", boot)


def used(found: UsageFiles) -> object:
    content = found.read()
    return None if content is None else content["devices"]


def test_the_newer_of_the_two_counts(tmp_path: Path) -> None:
    kept = files(tmp_path)
    assert used(kept) is None
    kept.keep({"devices": 1})
    assert used(files(tmp_path)) == 1  # before the first is saved for good
    kept.save({"devices": 2})
    assert used(files(tmp_path)) == 2
    kept.keep({"devices": 3})
    assert used(files(tmp_path)) == 3
    assert used(files(tmp_path, "b2")) == 2, "another boot: what the kernel counts has begun anew"
    kept.save({"devices": 4})
    assert used(files(tmp_path)) == 4


def test_a_person_who_corrects_the_count_is_right(tmp_path: Path) -> None:
    kept = files(tmp_path)
    kept.save({"devices": 2})
    kept.keep({"devices": 3})
    kept.path.write_text(kept.path.read_text().replace("2", "0"))
    os.utime(kept.path, ns=(1, 1))
    assert used(files(tmp_path)) == 0


@pytest.mark.parametrize("harm", ["[" * 5000, "", '{"kind": "usage"}', "directory", "foreign"])
def test_what_is_kept_since_is_not_needed(tmp_path: Path, harm: str) -> None:
    kept = files(tmp_path)
    kept.save({"devices": 2})
    kept.keep({"devices": 3})
    path = tmp_path / "run/usage.json"
    if harm == "foreign":
        path.chmod(0o666)
    elif harm == "directory":
        path.unlink()
        path.mkdir()
    else:
        path.write_text(harm)
    assert used(files(tmp_path)) == 2


def test_errors(tmp_path: Path) -> None:
    kept = files(tmp_path)
    kept.save({"devices": 2})
    with no_descriptors(), pytest.raises(OSError, match="Too many open files") as caught:
        kept.read()
    assert caught.value.errno == errno.EMFILE
    with no_space(), pytest.raises(OSError, match="File too large"):
        kept.save({"devices": 3})
    assert used(kept) == 2
    kept.path.write_text("[" * 5000)
    with pytest.raises(StateFileError, match="nested too deeply"):
        kept.read()
    assert kept.put_aside() == tmp_path / "lib/usage.json.bad"
    assert used(kept) is None
