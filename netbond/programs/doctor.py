"""Runs `netbond doctor` for the web page, at most once a minute, and keeps its findings.

It needs root, and takes some seconds of a processor: whoever asks again too soon gets the findings of before.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from netbond.errors import UnavailableError
from netbond.programs.running import exit_of
from netbond.system import files, strict_json

EVERY_S: Final = 60.0  # between two runs
LASTS_S: Final = 60.0  # that a run may take
MAX_FINDINGS: Final = 512 * 1024  # bytes


class Doctor:
    """The last findings, and the run that brings new ones."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`command` prints the findings as JSON."""
        self._command = list(command)
        self._environment = dict(environment)
        self._clock = clock
        self._began = float("-inf")
        self._findings: dict[str, Any] = {}
        self._run: asyncio.Task[dict[str, Any]] | None = None

    async def findings(self) -> dict[str, Any]:
        """Return what doctor says, with the age of it in seconds; UnavailableError if it says nothing."""
        if self._run is None and self._clock() - self._began >= EVERY_S:
            self._began = self._clock()
            self._run = asyncio.create_task(self._examine())
        if self._run is not None:
            run = self._run
            try:
                self._findings = await asyncio.shield(run)
            finally:
                if run.done() and self._run is run:
                    self._run = None
        if not self._findings:
            raise UnavailableError("netbond doctor said nothing", "ask again in a minute")
        return {**self._findings, "age_s": round(self._clock() - self._began)}

    async def stop(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.cancel()
            await asyncio.gather(self._run, return_exceptions=True)

    async def _examine(self) -> dict[str, Any]:
        process = self._spawn()
        try:
            async with asyncio.timeout(LASTS_S):
                printed = await _read(process)
                await exit_of(process)
        except TimeoutError:
            raise UnavailableError("netbond doctor took too long", "run it in a terminal") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        try:
            found = strict_json.parse(printed)
        except ValueError as error:
            raise UnavailableError(f"the findings of netbond doctor are not understood: {error}") from None
        if not isinstance(found, dict):
            raise UnavailableError("the findings of netbond doctor are not understood")
        return found

    def _spawn(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(f"netbond doctor cannot be started: {files.why(error)}") from None


async def _read(process: subprocess.Popen[bytes]) -> bytes:
    """All that it prints; UnavailableError if that is too much."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), process.stdout
    )
    try:
        data = b""
        while more := await reader.read(65536):
            data += more
            if len(data) > MAX_FINDINGS:
                raise UnavailableError("the findings of netbond doctor are too long", "run it in a terminal")
        return data
    finally:
        transport.close()
