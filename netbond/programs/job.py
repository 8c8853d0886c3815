"""Describes a program to run for the agent: environment, output, a transient unit of systemd. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from netbond.system.text import counted, printable

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STARTED = "netbond: started"  # the launcher's last line, before the program's first
STOP_S = 2.0  # between SIGTERM and SIGKILL
MOST_LINES = 20  # of its output that go into the log
LONGEST_LINE = 300  # characters
LONGEST_VALUE = 200  # characters of a variable

_HARMLESS = re.compile(r"[^A-Za-z0-9 .,:;/()_%+@=-]")


@dataclass(frozen=True, slots=True)
class Job:
    """A command to run once. `user` None: as who we are (root); `name` is for the log and the unit."""

    name: str
    command: Sequence[str]
    user: str | None
    timeout_s: float
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """All that it gets; nothing of what the agent has."""
        return {"PATH": PATH, "LANG": "C.UTF-8", **self.variables}


def variables(**values: object) -> dict[str, str]:
    """NETBOND_* variables. A value comes from modems and the network, and scripts forget quotes: what a shell
    or a program could take for anything but text becomes "?"."""
    return {
        f"NETBOND_{name.upper()}": _HARMLESS.sub("?", str(value))[:LONGEST_VALUE]
        for name, value in values.items()
    }


def transient_unit(job: Job, unit: str, agent_pid: int) -> list[str]:
    """The command line that runs the job in a unit of its own, in the agent's network namespace.

    The agent's own unit may neither write files nor gain rights, and what it starts could not either.
    """
    properties = {
        "RuntimeMaxSec": f"{job.timeout_s:g}",
        "TimeoutStopSec": f"{STOP_S:g}",
        "WorkingDirectory": "/",
        "UMask": "0022",
        "LogLevelMax": "err",  # or each start, end and failure is a line in the journal
        "NetworkNamespacePath": f"/proc/{agent_pid}/ns/net",
    }
    return [
        *("systemd-run", "--quiet", "--collect", "--wait", "--pipe", "--service-type=exec"),
        f"--unit={unit}",
        f"--description=netbond: {job.name}",
        *([f"--uid={job.user}"] if job.user is not None else ()),
        *(f"--property={key}={value}" for key, value in properties.items()),
        *(f"--setenv={key}={value}" for key, value in job.environment.items()),
        "--",
        job.command[0],
        *(word.replace("$", "$$") for word in job.command[1:]),  # systemd replaces $NAME in words
    ]


class Output:
    """The output of a program: a bounded number of lines for the log, and the last one."""

    def __init__(self) -> None:
        self._last = b""
        self._rest = b""
        self._lines = 0

    @property
    def last(self) -> str:
        """The last line that is not blank."""
        return _shown(self._last)

    def feed(self, data: bytes) -> list[str]:
        """The lines for the log that are complete after `data` came.

        What is left out costs next to nothing: a program may write as fast as it can.
        """
        found: list[str] = []
        data = self._rest + data
        at = 0
        while self._lines < MOST_LINES and (end := data.find(b"\n", at)) >= 0:
            line, at = data[at:end], end + 1
            if text := _shown(line):
                self._last = line[: LONGEST_LINE * 4]
                self._lines += 1
                found.append(text)
        complete, newline, rest = data[at:].rpartition(b"\n")
        if newline:
            lines = complete[-LONGEST_LINE * 40 :].split(b"\n")
            self._last = next((line for line in reversed(lines) if line.strip()), self._last)
            self._lines += complete.count(b"\n") + bool(complete)
        self._rest = rest[: LONGEST_LINE * 4]
        return found

    def end(self) -> list[str]:
        """The last lines for the log."""
        found = self.feed(b"\n")
        left_out = self._lines - MOST_LINES
        return [*found, f"({counted(left_out, 'more line')})"] if left_out > 0 else found


def _shown(line: bytes) -> str:
    return printable(line[: LONGEST_LINE * 4].decode(errors="replace").strip(), LONGEST_LINE)
