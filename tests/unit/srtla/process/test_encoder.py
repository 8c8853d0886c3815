"""What a sending engine does with advice: to the encoder's file, or to the agent."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

import pytest

from netbond.config.schema import EncoderConfig
from netbond.errors import UnavailableError
from netbond.srtla import wire
from netbond.srtla.process.channel import Channel
from netbond.srtla.process.encoder import MIN_SAMPLES, EncoderAdvice, open_bitrate_file
from netbond.srtla.process.protocol import VideoRate
from netbond.srtla.sender import Sender
from netbond.srtla.tsshare import SHARE
from tests.unit.srtla.test_tsshare import SOUND, VIDEO, packet, srt


class Agent:
    """The other end of a channel."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def show(self, message: object) -> None:
        self.heard.append(message)


class Caller:
    """What EncoderAdvice looks at of a sender: what has come from its SRT caller."""

    def __init__(self) -> None:
        self.samples: list[bytes] = []
        self.packets = self.bytes = 0

    def sends(self, data: bytes, count: int) -> None:
        self.packets += count
        self.bytes += count * len(data)
        self.samples += [data] * count


def second(advice: EncoderAdvice, caller: Caller, now: float) -> None:
    advice.second(cast("Sender", caller), now)


def test_alone_it_writes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bitrate"
    advice = EncoderAdvice(None, open_bitrate_file(EncoderConfig(path)), 0.25)
    assert not path.exists()
    advice.open()
    assert path.read_text() == "500000\n500000\n"
    advice.advised(4_000_000, 1e9)
    assert path.read_text() == "3000000\n3000000\n"
    second(advice, Caller(), 1e9 + 5)
    assert path.read_text() == "500000\n500000\n"
    advice.close()
    assert path.read_text() == "500000\n12000000\n"


def test_under_the_agent_it_tells_the_agent_if_that_asks() -> None:
    agent = Agent()
    advice = EncoderAdvice(cast("Channel", agent), None, None)
    advice.open()
    advice.advised(4_000_000, 0.0)
    assert agent.heard == []
    advice.ask(0.25)
    advice.advised(4_000_000, 0.2)
    advice.ask(None)
    advice.advised(4_000_000, 0.4)
    assert agent.heard == [VideoRate(3_000_000), VideoRate(int(4_000_000 * (1 - SHARE)))]
    advice.close()


def test_what_is_not_video_is_measured_from_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    agent, caller = Agent(), Caller()
    advice = EncoderAdvice(cast("Channel", agent), None, None)
    advice.ask(None)
    data = srt(packet(VIDEO), packet(VIDEO), packet(VIDEO), packet(SOUND))
    caller.sends(data, MIN_SAMPLES - 1)
    second(advice, caller, 1.0)  # too few yet: they count with the next
    caller.sends(data, MIN_SAMPLES + 1)
    second(advice, caller, 2.0)
    assert caller.samples == []
    sound = MIN_SAMPLES * (len(data) - wire.SRT_HEADER) * 8 / 4
    advice.advised(4_000_000, 2.0)
    (message,) = agent.heard
    assert isinstance(message, VideoRate)
    assert message.bits_per_second == pytest.approx((4_000_000 - sound) * 184 / 188, abs=1)


def test_few_samples_of_a_stream_that_has_ended_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    agent, caller = Agent(), Caller()
    advice = EncoderAdvice(cast("Channel", agent), None, None)
    advice.ask(None)
    caller.sends(srt(packet(SOUND), packet(SOUND)), MIN_SAMPLES - 1)
    second(advice, caller, 6.0)
    caller.sends(srt(packet(VIDEO)), MIN_SAMPLES)
    second(advice, caller, 7.0)
    advice.advised(4_000_000, 7.0)
    assert agent.heard == [VideoRate(4_000_000 * 184 // 188)]


def test_what_is_wrong_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    pid_file = tmp_path / "pid"
    config = EncoderConfig(tmp_path / "bitrate", pid_file=pid_file)
    advice = EncoderAdvice(None, open_bitrate_file(config), 0.0)
    advice.open()
    for now, rate in ((1e9, 1_000_000), (1e9 + 1, 2_000_000), (1e9 + 2, 3_000_000)):
        advice.advised(rate, now)
    assert [record.message for record in caplog.records] == [
        f"{pid_file} is not there; no encoder is told of the new bitrate"
    ]
    advice.close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"--bitrate-file .*/none/bitrate: No such file or directory"):
        open_bitrate_file(EncoderConfig(tmp_path / "none" / "bitrate"))


def test_a_link_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "bitrate"
    path.symlink_to("elsewhere")
    advice = EncoderAdvice(None, open_bitrate_file(EncoderConfig(path)), None)
    with pytest.raises(UnavailableError, match=r"--bitrate-file .*/bitrate: is a symbolic link; name"):
        advice.open()
