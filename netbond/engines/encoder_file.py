"""Keeps the bitrate file of a sender's encoder for the agent, by the advice that the engine sends.

The engine runs without root and faces the internet; so the agent, which may write in any folder and signal
any process, holds its advice within the limits of the configuration.
"""

from __future__ import annotations

from netbond.config.schema import EncoderConfig
from netbond.srtla.encoder import BitrateLines
from netbond.system.bitrate_file import BitrateFile


class EncoderFile:
    """The file of one sender's encoder, if the configuration has any. `now` is monotonic seconds."""

    def __init__(self, config: EncoderConfig | None) -> None:
        self._file = _file(config)
        self._config = config
        self._advice: tuple[int, float] | None = None  # the last, and when it came

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong at present, one line each."""
        return self._file.problems if self._file is not None else ()

    def reconfigure(self, config: EncoderConfig | None, now: float) -> None:
        """Keep the file of this configuration from now on."""
        if config == self._config:
            return
        before, self._config = self._file, config
        self._file = _file(config)
        if before is not None and (self._file is None or self._file.path != before.path):
            before.end(now)
        if self._file is not None and self._advice is not None:
            self._file.heard(*self._advice)
        self.look(now)

    def advise(self, bits_per_second: int, now: float) -> None:
        """The engine advises this video rate."""
        self._advice = bits_per_second, now
        if self._file is not None:
            self._file.advise(bits_per_second, now)

    def look(self, now: float) -> None:
        """Call it at first, and each second."""
        if self._file is not None:
            self._file.look(now)

    def end(self, now: float) -> None:
        """There is no sender any more: the encoder may follow its own law."""
        if self._file is not None:
            self._file.end(now)


def _file(config: EncoderConfig | None) -> BitrateFile | None:
    if config is None:
        return None
    lines = BitrateLines(config.bitrate_min, config.bitrate_max)
    return BitrateFile(config.bitrate_file, lines, pid_file=config.pid_file, process=config.process)
