"""What a receiver without the agent leaves to the next one."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.schema import ReceiverConfig
from netbond.config.values import HostPort
from netbond.errors import UnavailableError
from netbond.srtla.process.resumefile import ResumeFile

CONFIG = ReceiverConfig(listen=HostPort("", 5000), srt=HostPort("127.0.0.1", 5002))
RESUME = {"groups": [{"id": "ab" * 256, "srt_port": 40000, "links": [["192.0.2.1", 4000]]}]}


def test_the_next_receiver_gets_what_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "resume.json"
    kept = ResumeFile(path, CONFIG)
    assert kept.load() == {}
    kept.save(RESUME)
    assert kept.size_bytes == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    assert ResumeFile(path, CONFIG).load() == RESUME


def test_a_receiver_with_other_options_does_not(tmp_path: Path) -> None:
    """A sender that came without the key must not stay where one is required from now on."""
    path = tmp_path / "resume.json"
    ResumeFile(path, CONFIG).save(RESUME)
    assert ResumeFile(path, replace(CONFIG, require_key=True)).load() == {}
    assert ResumeFile(path, replace(CONFIG, srt=HostPort("127.0.0.1", 5003))).load() == {}


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "resume", "version": 1}', '{"kind": "other"}'])
def test_what_makes_no_sense_is_left_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "resume.json"
    path.write_text(text)
    assert ResumeFile(path, CONFIG).load() == {}


def test_a_file_that_others_can_write_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "resume.json"
    ResumeFile(path, CONFIG).save(RESUME)
    path.chmod(0o666)
    assert ResumeFile(path, CONFIG).load() == {}
    assert "users other than root can write to it; streams do not go on" in caplog.text


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"--resume-file .*/none/resume.json: No such file"):
        ResumeFile(tmp_path / "none" / "resume.json", CONFIG)
    with pytest.raises(UnavailableError, match="--resume-file / is not a regular file"):
        ResumeFile(Path("/"), CONFIG)


def test_a_failure_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "resume.json"
    kept = ResumeFile(path, CONFIG)
    path.mkdir()
    (path / "x").touch()
    with caplog.at_level(logging.WARNING):
        kept.save(RESUME)
        kept.save(RESUME)
    assert len(caplog.records) == 1
    (path / "x").unlink()
    path.rmdir()
    kept.save(RESUME)
    assert kept.load() == RESUME
