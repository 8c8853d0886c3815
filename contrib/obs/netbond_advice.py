"""Sets the bitrate of OBS's stream to what netbond advises: a script for OBS (Tools, Scripts; Python 3).

It polls http://127.0.0.1:10469/advice of the agent (docs/watch.md), and changes the encoder's bitrate while
OBS streams: down at once, up in steps. The encoder must take changes while it runs, as x264 and NVENC do,
and must be set to a constant bitrate. When the script is removed, the bitrate is the one before again.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable

import obspython as obs

POLL_S = 0.5
TIMEOUT_S = 2.0
OLD_S = 3.0  # advice that was fetched before is none
FALL = 0.03  # share of the bitrate by which the target must be lower ...
RISE = 0.05  # ... or higher before anything is changed
STEP = 0.2  # share of the bitrate by which it rises at most, at once
STEP_S = 1.0  # between two rises
CONTAINER = 0.05  # share of what SRT carries: MPEG-TS, and the encoder's own inaccuracy


class Law:
    """Which bitrate the video gets; kbit/s, and seconds of any clock."""

    def __init__(self, least: int, most: int, audio: int) -> None:
        self.least, self.most, self.audio = least, max(least, most), audio
        self.changed = float("-inf")  # when it was changed last

    def target(self, advised_bits_per_second: float) -> int:
        """What is left for the video, within the limits."""
        rate = int(advised_bits_per_second / 1000 * (1 - CONTAINER)) - self.audio
        return max(self.least, min(self.most, rate))

    def next(self, rate: int, advised_bits_per_second: float | None, now: float) -> int:
        """The bitrate after `rate`; the same if nothing is to be changed, as without advice."""
        if advised_bits_per_second is None:
            return rate
        target = self.target(advised_bits_per_second)
        if target < rate * (1 - FALL) or rate > self.most:
            found = target
        elif rate < self.least:
            found = self.least
        elif target > rate * (1 + RISE) and now - self.changed >= STEP_S:
            found = min(target, int(rate * (1 + STEP)) + 1)
        else:
            return rate
        self.changed = now
        return found


def advised(page: object, sender: str) -> float | None:
    """The advice for this sender ("": for the only one) in what /advice shows; None: there is none."""
    senders = page.get("senders") if isinstance(page, dict) else None
    if not isinstance(senders, dict):
        return None
    line = senders.get(sender) if sender else next(iter(senders.values())) if len(senders) == 1 else None
    advice = line.get("advice") if isinstance(line, dict) else None
    rate = advice.get("advised_bits_per_second") if isinstance(advice, dict) else None
    return rate if isinstance(rate, (int, float)) and not isinstance(rate, bool) else None


class Poller(threading.Thread):
    """Fetches the page in a thread of its own: OBS's must not wait for a network."""

    def __init__(self, url: str, sender: str) -> None:
        super().__init__(name="netbond advice", daemon=True)
        self._url, self._sender = url, sender
        self._end = threading.Event()
        self._found: tuple[float | None, float] = (None, 0.0)

    def run(self) -> None:
        """Fetch it until `end`."""
        while not self._end.wait(POLL_S):
            try:
                with urllib.request.urlopen(self._url, timeout=TIMEOUT_S) as reply:  # noqa: S310 - the user's own
                    page = json.loads(reply.read(1 << 20))
            except (OSError, ValueError):
                continue
            self._found = (advised(page, self._sender), time.monotonic())

    def advice(self) -> float | None:
        """The latest, unless it is old; bit/s."""
        found, at = self._found
        return found if time.monotonic() - at < OLD_S else None

    def end(self) -> None:
        """Let it stop, which may take as long as a fetch."""
        self._end.set()


# --- what OBS calls -----------------------------------------------------------------------------------------

_pollers: list[Poller] = []  # the last is in use, those before it are ending
_law = Law(500, 6000, 160)
_before: int | None = None  # the bitrate before the first change of this stream


def script_description() -> str:
    """For the list of scripts."""
    return "Sets the stream's bitrate to what netbond advises, while OBS streams over it (constant bitrate)."


def script_defaults(settings: object) -> None:
    """What is set when nothing is."""
    obs.obs_data_set_default_string(settings, "url", "http://127.0.0.1:10469/advice")
    obs.obs_data_set_default_int(settings, "least", 500)
    obs.obs_data_set_default_int(settings, "most", 6000)
    obs.obs_data_set_default_int(settings, "audio", 160)


def script_properties() -> object:
    """What can be set."""
    properties = obs.obs_properties_create()
    kind = obs.OBS_TEXT_DEFAULT
    obs.obs_properties_add_text(properties, "url", "The agent's /advice", kind)
    obs.obs_properties_add_text(properties, "sender", "Sender (127.0.0.1:6000), of several", kind)
    for name, words in (("least", "Least"), ("most", "Most"), ("audio", "Audio")):
        obs.obs_properties_add_int(properties, name, f"{words} (kbit/s)", 0, 100_000, 50)
    return properties


def script_update(settings: object) -> None:
    """Something was set, or the script was loaded."""
    global _law
    for poller in _pollers:
        poller.end()
    numbers = [obs.obs_data_get_int(settings, name) for name in ("least", "most", "audio")]
    _law = Law(*numbers)
    url, sender = (obs.obs_data_get_string(settings, name).strip() for name in ("url", "sender"))
    _pollers[:] = [*(poller for poller in _pollers if poller.is_alive()), Poller(url, sender)]
    _pollers[-1].start()


def script_load(settings: object) -> None:
    """Begin."""
    obs.timer_add(tick, 200)


def script_unload() -> None:
    """End, and leave the bitrate as it was found."""
    obs.timer_remove(tick)
    before = _before
    if before is not None:
        _change(lambda _: before)
    for poller in _pollers:
        poller.end()
    for poller in _pollers:
        poller.join()  # OBS must not unload Python before


def tick() -> None:
    """Five times a second, in OBS's own thread."""
    global _before
    if not obs.obs_frontend_streaming_active():
        _before = None  # OBS sets the bitrate of its settings when it starts again
        return
    advice = _pollers[-1].advice() if _pollers else None
    rate = _change(lambda rate: _law.next(rate, advice, time.monotonic()))
    if _before is None:
        _before = rate


def _change(choose: Callable[[int], int]) -> int | None:
    """Give the stream's video encoder the bitrate that `choose` makes of its present one; return that one."""
    output = obs.obs_frontend_get_streaming_output()
    if output is None:
        return None
    try:
        encoder = obs.obs_output_get_video_encoder(output)  # the output's own: not to be released
        if encoder is None:
            return None
        settings = obs.obs_encoder_get_settings(encoder)
        rate = obs.obs_data_get_int(settings, "bitrate")
        obs.obs_data_release(settings)
        wanted = choose(rate)
        if wanted != rate:
            change = obs.obs_data_create()
            obs.obs_data_set_int(change, "bitrate", wanted)
            obs.obs_encoder_update(encoder, change)
            obs.obs_data_release(change)
        return rate
    finally:
        obs.obs_output_release(output)
