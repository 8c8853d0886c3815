"""Follows one service on the system bus, and keeps what it reports for the next agent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from netbond.contracts import Look, Source, Traffic
from netbond.model import Interface
from netbond.system import files
from netbond.system.state_file import reason
from netbond.watchers import bus

logger = logging.getLogger(__name__)

SPEAK_WITHIN_S = 1.0  # how long the first pass waits for a service on the system bus

Fact = TypeVar("Fact")


class BusSource(Source, Generic[Fact]):
    """Follows one service; `path` is the file that keeps its last report for the next agent."""

    def __init__(self, watcher: bus.Watcher[Fact], path: Path, *, followed: bool) -> None:
        self._watcher = watcher
        self._path = path
        self._followed = followed
        self._keeps = followed
        self._silent = False
        self._unkept = ""  # why its report could not be written to the file

    def recall(self) -> None:
        """Use the report in the file until the service reports itself.

        OSError if the file cannot be read, ValueError if its content is invalid.
        """
        raise NotImplementedError

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Follow the service, starting with its kept report.

        A restart of the agent must not cut an uplink that only this service knows about.
        """
        if not self._followed:
            return
        self._recall()
        self._watcher.start(look)
        self._silent = not await self._watcher.reported(SPEAK_WITHIN_S)
        if self._silent:
            logger.info("%s has not answered yet", self.name)

    async def once(self) -> None:
        """Use only the report that the agent has kept."""
        self._keeps = False
        if self._followed:
            self._recall()

    async def stop(self) -> None:
        """Stop following the service."""
        await self._watcher.stop()

    @property
    def problems(self) -> Sequence[str]:
        """Whether the service hangs, and whether its report cannot be kept."""
        hangs = self._watcher.status() == bus.NOT_ANSWERING
        return (
            *((f"{self.name} does not answer: {self._watcher.reason()}",) if hangs else ()),
            *((self._unkept,) if self._unkept else ()),
        )

    def complete(self) -> bool:
        """Whether the service has reported, or is known not to run."""
        return not self._silent

    def tick(self, traffic: Traffic, now_s: float) -> None:
        """Check whether the service has answered by now."""
        if self._watcher.status() != bus.CONNECTING:
            self._silent = False

    def keep(self, save: Callable[[], None]) -> None:
        """Call `save` to write the file, unless once() was called; a failure becomes a problem."""
        if not self._keeps:
            return
        try:
            save()
        except OSError as error:
            self._unkept = f"{self._path}: {files.why(error)}"
        else:
            self._unkept = ""

    def _recall(self) -> None:
        try:
            self.recall()
        except (OSError, ValueError) as error:
            logger.warning("%s: %s; ignored", self._path, reason(error))
