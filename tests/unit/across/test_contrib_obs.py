"""The script for OBS, with a stand-in for OBS: which bitrate the encoder gets, and what is left behind."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from netbond.srtla.advice import Advice
from netbond.srtla.watch import VERSION, WatchLine
from netbond.status.metrics import MetricsServer

SCRIPT = Path(__file__).parents[3] / "contrib" / "obs" / "netbond_advice.py"


class Obs(ModuleType):
    """As much of obspython as the script uses; counts what must be released."""

    OBS_TEXT_DEFAULT = 0

    def __init__(self) -> None:
        super().__init__("obspython")
        self.settings: dict[str, Any] = {}
        self.encoder: dict[str, Any] | None = {"bitrate": 2500, "rate_control": "CBR"}
        self.streaming = True
        self.taken = 0  # references that are not released yet
        self.timers: list[Callable[[], None]] = []

    def obs_data_set_default_string(self, data: dict[str, Any], name: str, value: str) -> None:
        data.setdefault(name, value)

    obs_data_set_default_int = obs_data_set_default_string

    def obs_data_get_int(self, data: dict[str, Any], name: str) -> int:
        return int(data.get(name, 0))

    def obs_data_get_string(self, data: dict[str, Any], name: str) -> str:
        return str(data.get(name, ""))

    def obs_data_set_int(self, data: dict[str, Any], name: str, value: int) -> None:
        data[name] = value

    def obs_data_create(self) -> dict[str, Any]:
        self.taken += 1
        return {}

    def obs_data_release(self, _data: dict[str, Any]) -> None:
        self.taken -= 1

    obs_output_release = obs_data_release

    def obs_properties_create(self) -> list[str]:
        return []

    def obs_properties_add_text(self, properties: list[str], name: str, *_: object) -> None:
        properties.append(name)

    obs_properties_add_int = obs_properties_add_text

    def timer_add(self, callback: Callable[[], None], _ms: int) -> None:
        self.timers.append(callback)

    def timer_remove(self, callback: Callable[[], None]) -> None:
        self.timers.remove(callback)

    def obs_frontend_streaming_active(self) -> bool:
        return self.streaming

    def obs_frontend_get_streaming_output(self) -> dict[str, Any]:
        self.taken += 1
        return {"encoder": self.encoder}

    def obs_output_get_video_encoder(self, output: dict[str, Any]) -> Any:
        return output["encoder"]

    def obs_encoder_get_settings(self, encoder: dict[str, Any]) -> dict[str, Any]:
        self.taken += 1
        return encoder

    def obs_encoder_update(self, encoder: dict[str, Any], change: dict[str, Any]) -> None:
        encoder.update(change)


@pytest.fixture
def obs(monkeypatch: pytest.MonkeyPatch) -> Obs:
    found = Obs()
    monkeypatch.setitem(sys.modules, "obspython", found)
    return found


@pytest.fixture
def script(obs: Obs) -> Any:
    spec = importlib.util.spec_from_file_location("netbond_advice", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_video_gets_what_audio_and_container_leave_within_the_limits(script: Any) -> None:
    law = script.Law(500, 6000, 160)
    assert law.target(4_000_000) == 3800 - 160
    assert law.target(100_000) == 500
    assert law.target(90_000_000) == 6000
    assert script.Law(800, 300, 0).target(1) == 800, "limits the wrong way round"


def test_it_falls_at_once_and_rises_in_steps(script: Any) -> None:
    law = script.Law(500, 6000, 0)
    assert law.next(4000, 2_000_000, 10.0) == 1900
    assert law.next(1900, 4_000_000, 10.2) == 1900, "not so soon after a change"
    assert law.next(1900, 4_000_000, 11.1) == 2281
    assert law.next(2281, 1_000_000, 11.2) == 950
    rate, now = 950, 12.3
    while rate < law.target(4_000_000) * 0.95:
        rate, now = law.next(rate, 4_000_000, now), now + 1.0
    assert now < 22
    assert rate <= 3800


def test_small_changes_and_silence_change_nothing(script: Any) -> None:
    law = script.Law(500, 6000, 0)
    for advised in (4_000_000, 4_150_000, 3_900_000, None):
        assert law.next(3800, advised, 10.0) == 3800
    assert law.next(9000, 9_000_000, 10.0) == 6000, "more than the user allows"
    assert law.next(100, 100_000, 10.0) == 500, "less than the user wants"


@pytest.mark.parametrize(
    ("page", "sender", "rate"),
    [
        ({"senders": {"a": {"advice": {"advised_bits_per_second": 5}}}}, "", 5),
        ({"senders": {"a": {"advice": {"advised_bits_per_second": 5}}, "b": {}}}, "a", 5),
        ({"senders": {"a": {"advice": {"advised_bits_per_second": 5}}, "b": {}}}, "", None),
        ({"senders": {"a": {"advice": None}}}, "a", None),
        ({"senders": {"a": {"advice": {"advised_bits_per_second": "5"}}}}, "a", None),
        ({"senders": {}}, "", None),
        ({"senders": []}, "a", None),
        ([], "", None),
        (None, "", None),
    ],
)
def test_what_the_page_says(script: Any, page: object, sender: str, rate: float | None) -> None:
    assert script.advised(page, sender) == rate


@pytest.fixture
def served() -> Iterator[tuple[str, dict[str, WatchLine]]]:
    lines: dict[str, WatchLine] = {}
    server = MetricsServer("127.0.0.1", 0, lambda: None, lambda: dict(lines))
    server.start()
    yield f"http://127.0.0.1:{server.port}/advice", lines
    server.stop()


def test_in_obs_the_encoder_follows_the_agent_while_it_streams(
    script: Any, obs: Obs, served: tuple[str, dict[str, WatchLine]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "POLL_S", 0.01)
    monkeypatch.setattr(script, "STEP_S", 0.0)
    url, lines = served
    settings: dict[str, Any] = {"url": url}
    script.script_defaults(settings)
    assert set(script.script_properties()) == {*settings, "sender"}
    script.script_update({**settings, "url": "http://127.0.0.1:1/advice"})  # as one types it
    script.script_update(settings)
    script.script_load(settings)
    (tick,) = obs.timers

    def until(least: int, most: int) -> None:
        deadline = time.monotonic() + 40
        while obs.encoder is None or not least <= obs.encoder["bitrate"] <= most:
            assert time.monotonic() < deadline, obs.encoder
            tick()
            time.sleep(0.01)

    def advise(rate: int) -> None:
        line = WatchLine(VERSION, "127.0.0.1:6000", "connected", Advice(rate, rate, 0, 1000, 0.0, 40))
        lines[line.sender] = line

    tick()
    assert obs.encoder == {"bitrate": 2500, "rate_control": "CBR"}, "nothing is known yet"
    advise(1_000_000)
    until(790, 790)
    advise(9_000_000)
    until(5700, 6000)
    assert obs.encoder["rate_control"] == "CBR"
    obs.encoder = None  # between two streams
    tick()
    obs.encoder = {"bitrate": 2500}
    obs.streaming = False
    tick()
    assert obs.encoder["bitrate"] == 2500, "it does not stream"
    obs.streaming = True
    until(5700, 6000)
    script.script_unload()
    assert obs.encoder["bitrate"] == 2500, "as it was found"
    assert obs.timers == []
    assert obs.taken == 0
    assert not any(poller.is_alive() for poller in script._pollers)
