"""The agent's bitrate file of an encoder: its limits hold, and they may change in mid-stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.schema import EncoderConfig
from netbond.engines.encoder_file import EncoderFile


@pytest.fixture
def config(tmp_path: Path) -> EncoderConfig:
    return EncoderConfig(tmp_path / "bitrate", 500_000, 12_000_000)


def test_advice_is_written_within_the_limits(config: EncoderConfig) -> None:
    file = EncoderFile(config)
    file.look(0.0)
    assert config.bitrate_file.read_text() == "500000\n500000\n"
    file.advise(10**12, 0.1)
    assert config.bitrate_file.read_text() == "12000000\n12000000\n"
    file.end(0.2)
    assert config.bitrate_file.read_text() == "500000\n12000000\n"
    assert file.problems == ()


def test_without_an_encoder_nothing_is_done() -> None:
    file = EncoderFile(None)
    file.look(0.0)
    file.advise(5_000_000, 0.1)
    file.reconfigure(None, 0.2)
    file.end(0.3)
    assert file.problems == ()


def test_other_limits_hold_at_once_for_the_advice_that_there_is(config: EncoderConfig) -> None:
    file = EncoderFile(config)
    file.advise(8_000_000, 0.0)
    file.reconfigure(replace(config, bitrate_max=6_000_000), 0.1)
    assert config.bitrate_file.read_text() == "6000000\n6000000\n"
    file.reconfigure(config, 0.2)
    assert config.bitrate_file.read_text() == "8000000\n8000000\n"
    file.reconfigure(config, 60.0)
    assert config.bitrate_file.read_text() == "8000000\n8000000\n"  # nothing has changed


def test_a_file_that_is_left_gets_the_limits(config: EncoderConfig, tmp_path: Path) -> None:
    file, other = EncoderFile(config), tmp_path / "other"
    file.advise(8_000_000, 0.0)
    file.reconfigure(replace(config, bitrate_file=other), 0.1)
    assert config.bitrate_file.read_text() == "500000\n12000000\n"
    assert other.read_text() == "8000000\n8000000\n"
    file.reconfigure(None, 0.2)
    assert other.read_text() == "500000\n12000000\n"
    file.reconfigure(config, 60.0)
    assert config.bitrate_file.read_text() == "500000\n500000\n"


def test_problems_are_those_of_the_file(config: EncoderConfig, tmp_path: Path) -> None:
    missing = tmp_path / "none" / "bitrate"
    file = EncoderFile(replace(config, bitrate_file=missing))
    file.look(0.0)
    assert file.problems == (f"cannot write the bitrate file {missing}: No such file or directory",)
