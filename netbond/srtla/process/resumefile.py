"""Keeps what the next receiver needs to go on with the streams, for one that runs without the agent.

An agent keeps this for its engines. Without one, a receiver that was restarted would forget its streams: the
SRT connections of all of them would break. What was kept counts only for a receiver with the same options.
"""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path

from netbond.config.schema import ReceiverConfig
from netbond.errors import UnavailableError
from netbond.srtla.process.protocol import MAX_LINE_BYTES, ResumeData
from netbond.system import files
from netbond.system.state_file import StateFile, StateFileError, reason

log = logging.getLogger(__name__)


class ResumeFile:
    """The file of one receiver; only its user can read it: it has the secrets of streams."""

    def __init__(self, path: Path, config: ReceiverConfig) -> None:
        """UnavailableError if no file can be made there."""
        if not path.name:
            raise UnavailableError(f"--resume-file {path} is not a regular file", "name another")
        self._path = path
        self._file = StateFile(
            path.name,
            "resume",
            2 * MAX_LINE_BYTES,
            folder=files.open_directory(path.parent, "--resume-file", path),
        )
        self._options = {
            key.name: str(value)
            for key in fields(config)
            if (value := getattr(config, key.name)) != key.default
        }
        self._failing = False
        self.size_bytes = 0  # of what was written last

    def load(self) -> ResumeData:
        """What the receiver before has left; {} if there is nothing, or it had other options."""
        try:
            kept = self._file.read()
        except FileNotFoundError:
            return {}
        except (OSError, StateFileError) as error:
            log.warning("%s: %s; streams do not go on", self._path, reason(error))
            return {}
        resume = kept.get("resume")
        return resume if kept.get("options") == self._options and isinstance(resume, dict) else {}

    def save(self, resume: ResumeData) -> None:
        """Keep it. A failure is logged once, and the next is tried again."""
        try:
            self.size_bytes = self._file.write({"options": self._options, "resume": resume})
        except OSError as error:
            if not self._failing:
                log.warning("%s: %s; a restart would interrupt streams", self._path, files.why(error))
            self._failing = True
        else:
            self._failing = False
