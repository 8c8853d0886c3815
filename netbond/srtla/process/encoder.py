"""Passes a sending engine's advice on: to the bitrate file of its encoder, or to the agent that keeps one.

An engine without the agent writes the file itself. Its folder is opened before root is given up, and the
encoder must be a process that it may signal: one of the same user.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from netbond.config.schema import EncoderConfig
from netbond.errors import UnavailableError
from netbond.srtla import wire
from netbond.srtla.encoder import BitrateLines
from netbond.srtla.process.protocol import VideoRate
from netbond.srtla.tsshare import TsShare
from netbond.system import files
from netbond.system.bitrate_file import BitrateFile

if TYPE_CHECKING:
    from netbond.srtla.process.channel import Channel
    from netbond.srtla.sender import Sender

MIN_SAMPLES = 16  # packets, for a measurement of what is not video

log = logging.getLogger(__name__)


def open_bitrate_file(config: EncoderConfig) -> BitrateFile:
    """The file of an engine without the agent, not written yet; UnavailableError: there is no such folder."""
    path = config.bitrate_file
    folder = files.open_directory(path.parent, "--bitrate-file", path)
    lines = BitrateLines(config.bitrate_min, config.bitrate_max)
    return BitrateFile(path, lines, pid_file=config.pid_file, process=config.process, folder=folder)


class EncoderAdvice:
    """What becomes of a sender's advice."""

    def __init__(self, channel: Channel | None, file: BitrateFile | None, overhead: float | None) -> None:
        """`overhead`: the share of the payload that is not video; None: it is measured."""
        self._channel = channel
        self._file = file
        self._overhead = overhead
        self._wanted = file is not None
        self._share = TsShare()
        self._samples: list[bytes] = []
        self._since = time.monotonic()
        self._counted = 0
        self._said: tuple[str, ...] = ()

    def open(self) -> None:
        """Write the file for the first time; UnavailableError if that fails."""
        if self._file is None:
            return
        try:
            self._file.begin(time.monotonic())
        except OSError as error:
            raise UnavailableError(
                f"--bitrate-file {self._file.path}: {files.why(error)}",
                "name a plain file, in a directory that the engine's user can write",
            ) from None
        self._report()

    def ask(self, overhead: float | None) -> None:
        """The agent wants advice from now on."""
        self._wanted, self._overhead = True, overhead

    def advised(self, bits_per_second: int, now: float) -> None:
        """The sender advises this rate of payload."""
        if not self._wanted:
            return
        if self._overhead is not None:
            video = bits_per_second * (1 - self._overhead)
        else:
            video = self._share.video(bits_per_second)
        if self._file is not None:
            self._file.advise(int(video), now)
            self._report()
        elif self._channel is not None:
            self._channel.show(VideoRate(int(video)))

    def second(self, sender: Sender, now: float) -> None:
        """A second has passed."""
        if self._wanted and self._overhead is None:
            self._measure(sender, now)
        if self._file is not None:
            self._file.look(now)
            self._report()

    def close(self) -> None:
        """Leave the limits in the file."""
        if self._file is not None:
            self._file.end(time.monotonic())
            self._report()

    def _measure(self, sender: Sender, now: float) -> None:
        self._samples += sender.samples
        sender.samples.clear()
        payload = sender.bytes - wire.SRT_HEADER * sender.packets
        if len(self._samples) >= MIN_SAMPLES:
            rate = (payload - self._counted) * 8 / max(now - self._since, 0.001)
            self._share.second(self._samples, rate)
        elif now - self._since < 5:
            return
        self._samples.clear()
        self._since, self._counted = now, payload

    def _report(self) -> None:
        """Log the problems that are new."""
        if self._file is None:
            return
        for problem in self._file.problems:
            if problem not in self._said:
                log.warning("%s", problem)
        self._said = self._file.problems
