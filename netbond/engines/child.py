"""What the supervisor decides about a child: command line, pauses between starts, what it accepts from it.

Pure: netbond.engines.supervisor has the processes and sockets, netbond.srtla.process.protocol the messages.
"""

from __future__ import annotations

import os
import signal
import site
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from netbond.config.schema import ReceiverConfig, SenderConfig
from netbond.errors import EXIT_CONFIG, EXIT_USAGE
from netbond.srtla.advice import Advice
from netbond.srtla.statistics import EngineStatistics, ReceiverStatistics, SenderStatistics
from netbond.system.text import counted, printable
from netbond.system.typed_json import read_tolerant

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

EngineConfig = SenderConfig | ReceiverConfig

# Of an engine's statistics; engines have at most 64 links, and 200 groups.
MOST_LINKS = 64
MOST_GROUPS = 256
MOST_WORKERS = 256
MOST_PROBLEMS = 64


# --- how it is started -------------------------------------------------------------------------------------


def engine_arguments(engine: EngineConfig) -> list[str]:
    """What the engine is told to do, as arguments of `netbond`: each key that is not at its default.

    Not the encoder: its file is the agent's, and the engine hears of it on its channel.
    """
    arguments = ["send" if isinstance(engine, SenderConfig) else "recv"]
    for key in fields(engine):
        if "inner" in key.metadata:
            continue
        value = getattr(engine, key.name)
        if value == key.default:
            continue
        for each in value if isinstance(value, tuple) else (value,):
            arguments.append("--" + key.metadata.get("option", key.name.replace("_", "-")))
            if each is not True:
                arguments.append(f"{each:g}" if isinstance(each, float) else str(each))
    return arguments


def interpreter(
    package: Path, path: Sequence[str], environ: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """How to start a Python that imports the netbond in `package` (its parent is on `path`), and with which
    environment.

    A child of root gets nothing from whoever started the agent: isolated mode (-I) ignores PYTHON* variables,
    the working directory and the user's own site-packages. Only when netbond is not installed, and was found
    through one of these, is its place handed on.
    """
    parent = str(package.parent)
    implicit = {"", site.getusersitepackages(), *environ.get("PYTHONPATH", "").split(os.pathsep)}
    # path[0] is the script's or the working directory, unless safe_path leaves it out.
    installed = path if sys.flags.safe_path else path[1:]
    command = [sys.executable, "-I", "-m", "netbond"]
    if parent in installed and parent not in implicit:
        return command, dict(ENVIRONMENT)
    command[1] = "-Ps"
    return command, {**ENVIRONMENT, "PYTHONPATH": parent}


# --- when to start again -----------------------------------------------------------------------------


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next start.

    Twice as long after each death, from `first_s` to `longest_s`. After an engine that was ready and lived
    for `healthy_s` it begins with `first_s` again. An engine that says itself that a restart will not help is
    tried at the longest pause: the port may become free, the name may resolve.
    """

    first_s: float = 0.1
    longest_s: float = 10.0
    healthy_s: float = 30.0
    _next_s: float = field(default=0.0, init=False)

    def died(self, lived_s: float, *, ready: bool, restart_helps: bool) -> float:
        """The pause in seconds after a child that has died."""
        if not restart_helps:
            return self.longest_s
        if self._next_s == 0.0 or (ready and lived_s >= self.healthy_s):
            self._next_s = self.first_s
        pause, self._next_s = self._next_s, min(self._next_s * 2, self.longest_s)
        return pause


def describe_exit(status: int, last_line: str = "", *, out_of_memory: bool = False) -> str:
    """How a process ended, in words; `status` as subprocess gives it: negative for a signal.

    `out_of_memory`: the kernel has killed some process for that meanwhile.
    """
    if status < 0:
        if out_of_memory and status == -signal.SIGKILL:
            return "killed by SIGKILL, as the kernel ran out of memory"
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"ended with status {status}" + (f": {last_line}" if last_line else "")


def restart_helps(status: int) -> bool:
    """Whether a restart may help after an engine that ended with this exit status."""
    return status not in (EXIT_USAGE, EXIT_CONFIG)


# --- what it says of itself --------------------------------------------------------------------------------


def read_statistics(role: str, value: object) -> EngineStatistics | None:
    """The statistics that a "sender" or "receiver" has sent; None if they make no sense.

    What is unknown or of the wrong type is left out, with all that cannot be without it: a link, a group. So
    is what is more than an engine has: each becomes a line in status and series of metrics.
    """
    try:
        if role == "sender":
            sender = read_tolerant(SenderStatistics, value)
            return replace(sender, links=sender.links[:MOST_LINKS], problems=sender.problems[:MOST_PROBLEMS])
        receiver = read_tolerant(ReceiverStatistics, value)
    except ValueError:
        return None
    return replace(
        receiver,
        groups=tuple(replace(each, links=each.links[:MOST_LINKS]) for each in receiver.groups[:MOST_GROUPS]),
        problems=receiver.problems[:MOST_PROBLEMS],
        workers=receiver.workers[:MOST_WORKERS],
    )


def read_advice(value: object) -> Advice | None:
    """The advice that a sender has sent, without links that make no sense; None if the rest makes none."""
    try:
        return read_tolerant(Advice, value)
    except ValueError:
        return None


# --- how much a child may say ------------------------------------------------------------------------------


@dataclass(slots=True)
class RateLimit:
    """How many lines and bytes may come within `window_s` seconds."""

    lines: int
    octets: int = 32 * 1024 * 1024
    window_s: float = 1.0
    _since: float = field(default=float("-inf"), init=False)
    _lines: int = field(default=0, init=False)
    _octets: int = field(default=0, init=False)

    def take(self, octets: int, now: float) -> bool:
        """Whether one more line of this many bytes is still within bounds."""
        if now - self._since >= self.window_s:
            self._since, self._lines, self._octets = now, 0, 0
        self._lines += 1
        self._octets += octets
        return self._lines <= self.lines and self._octets <= self.octets


def of_channel() -> RateLimit:
    """What an engine may send to the agent: statistics of up to 1 MiB a second, and a handful of lines.

    In ten seconds, because an agent that was stopped for a while then gets much at once.
    """
    return RateLimit(lines=1000, octets=16 * 1024 * 1024, window_s=10.0)


@dataclass(slots=True)
class LogLines:
    """Splits what a child writes to stderr into lines for the log.

    Lines are cut off at `width` characters, and only so many pass as `limit` says: a traceback at once, and
    216 MB a day at most. Of the others only the number is told.
    """

    width: int = 500
    limit: RateLimit = field(default_factory=lambda: RateLimit(lines=300, window_s=60.0))
    _rest: bytes = b""
    _dropped: int = 0

    def feed(self, data: bytes, now: float) -> list[str]:
        """The complete lines after `data` came; empty `data` is the end of file and completes the last."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        # What cannot be shown need not be kept; 4 bytes are the most that a character takes.
        self._rest = self._rest[: self.width * 4 + 1]
        if not data and self._rest:
            lines.append(self._rest)
            self._rest = b""
        found: list[str] = []
        for line in lines:
            if not line.strip():
                continue
            if not self.limit.take(len(line), now):
                self._dropped += 1
                continue
            if self._dropped:
                found.append(f"({counted(self._dropped, 'line')} left out)")
                self._dropped = 0
            found.append(printable(line.decode(errors="replace").strip(), self.width))
        return found
