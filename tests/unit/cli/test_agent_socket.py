"""Where the agent answers, whatever has become of the configuration file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netbond.cli.agent_socket import find, say_trouble
from netbond.config.schema import Config

DEFAULT = Config().agent.control_socket


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[agent]\ncontrol_socket = "/run/x.sock"', "/run/x.sock"),
        ("", str(DEFAULT)),
    ],
)
def test_a_good_file_says_it(tmp_path: Path, text: str, path: str) -> None:
    file = tmp_path / "netbond.toml"
    file.write_text(text)
    found = find(file, None)
    assert (found.path, found.error) == (Path(path), None)
    assert find(file, Path("/run/y.sock")).path == Path("/run/y.sock")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[agent]\ncontrol_socket = "/run/x.sock"\n[agnet]', "/run/x.sock"),
        ("[agent\n  control_socket='/run/x.sock' # mine\n", "/run/x.sock"),
        ('control_socket = "x.sock"', str(DEFAULT)),
        ("\x00\xff", str(DEFAULT)),
        ("[agnet]", str(DEFAULT)),
    ],
)
def test_a_broken_one_is_asked_nevertheless(tmp_path: Path, text: str, path: str) -> None:
    file = tmp_path / "netbond.toml"
    file.write_text(text)
    found = find(file, None)
    assert found.path == Path(path)
    assert found.state_dir == Config().agent.state_dir
    assert found.error is not None
    assert found.broken
    assert find(file, Path("/run/y.sock")).path == Path("/run/y.sock")


def test_the_directory_of_its_events_is_found_as_well(tmp_path: Path) -> None:
    file = tmp_path / "netbond.toml"
    for text in ("", "[agnet]\n"):
        file.write_text(f'[agent]\nstate_dir = "{tmp_path}"\n{text}')
        assert find(file, None).state_dir == tmp_path


def test_it_is_said_unless_the_file_is_not_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "netbond.toml"
    file.write_text("[agnet]")
    say_trouble("watch", find(file, None), None)
    said = capsys.readouterr().err
    assert said.startswith(f"netbond watch: {file}:1: unknown table 'agnet'")
    assert said.endswith("; asking the running agent, which goes on with what it read before\n")
    say_trouble("watch", find(file, tmp_path / "s"), tmp_path / "s")
    file.write_text("")
    say_trouble("watch", find(file, None), None)
    assert capsys.readouterr().err == ""


def test_one_that_is_gone(tmp_path: Path) -> None:
    found = find(tmp_path / "gone.toml", None)
    assert found.path == DEFAULT
    assert found.broken


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_one_that_this_user_may_not_read_is_not_broken(tmp_path: Path) -> None:
    file = tmp_path / "netbond.toml"
    file.write_text("")
    file.chmod(0)
    found = find(file, None)
    assert found.error is not None
    assert not found.broken
