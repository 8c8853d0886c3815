"""Runs a program for the agent: with a time limit, as its user, in a unit of its own where systemd runs.

The agent's loop never waits for it. The program gets no input, and nothing of the agent's environment. At the
end all that it has started ends with it: its process group, or the whole unit.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from netbond.programs.job import STOP_S, Job, Output, transient_unit
from netbond.system.files import why

DRAIN_S = 0.5  # how long the rest of the output is waited for
MANAGER_S = 10.0  # more time than the program's, which systemd-run may take

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. `status` is negative for a signal, as in subprocess; None: it was not started."""

    status: int | None
    timed_out: bool = False
    last_line: str = ""

    def __str__(self) -> str:
        if self.status is None:
            return f"was not started: {self.last_line}"
        said = f": {self.last_line}" if self.last_line and self.status != 0 else ""
        if self.timed_out:
            return f"took too long, and was ended{said}"
        if self.status < 0:
            return f"was ended by signal {-self.status}{said}"
        return f"ended with status {self.status}{said}"


def in_unit_of_systemd(environ: Mapping[str, str] = os.environ, parent: int | None = None) -> bool:
    """Whether systemd has started this very process: only then is there a confinement to leave.

    An agent in a terminal, a container or a test's namespace has none.
    """
    return (
        (os.getppid() if parent is None else parent) == 1
        and "INVOCATION_ID" in environ
        and Path("/run/systemd/system").is_dir()
        and shutil.which("systemd-run") is not None
    )


async def run(job: Job, tell: Callable[[str], object], *, transient: bool) -> Outcome:
    """Run the job to its end; `tell` gets the lines of its output. If this is cancelled, the job is ended."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    limit_s = job.timeout_s
    try:
        if transient:
            unit = f"netbond-{os.getpid()}-{next(_numbers)}"
            process = _start(transient_unit(job, unit, os.getpid()), None, _for_manager(job))
            limit_s += STOP_S + MANAGER_S  # systemd sees to the job's own
        else:
            process = _start(list(job.command), job.user, job.environment)
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        return Outcome(None, last_line=why(error) if isinstance(error, OSError) else str(error))
    output = Output()
    pump = asyncio.create_task(_pump(process, output, tell))
    timed_out = False
    try:
        try:
            async with asyncio.timeout(limit_s):
                await exit_of(process)
        except TimeoutError:
            timed_out = True
            _signal(process, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await exit_of(process)
    finally:
        _signal(process, signal.SIGKILL)  # also what it has left behind in its group
        status = process.wait()
        try:
            await asyncio.wait({pump}, timeout=DRAIN_S)
        finally:
            pump.cancel()
            if process.stdout is not None:
                process.stdout.close()
    for line in output.end():
        tell(line)
    # systemd-run says in no other way that the time was over.
    timed_out |= transient and status != 0 and loop.time() - began >= job.timeout_s
    return Outcome(status, timed_out, output.last)


def _for_manager(job: Job) -> dict[str, str]:
    """The environment of systemd-run itself: the bus may be at another place."""
    bus = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    return {"PATH": job.environment["PATH"], **({"DBUS_SYSTEM_BUS_ADDRESS": bus} if bus else {})}


def _start(command: list[str], user: str | None, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    group: int | None = None
    groups: list[int] | None = None
    if user is not None and os.geteuid() == 0:
        group = pwd.getpwnam(user).pw_gid
        groups = os.getgrouplist(user, group)
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        cwd="/",
        umask=0o022,
        start_new_session=True,
        user=user if groups is not None else None,
        group=group,
        extra_groups=groups,
    )


async def exit_of(process: subprocess.Popen[bytes]) -> None:
    """Wait until it has ended; it is not reaped, so its number stays its own."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(process.pid)
    exited = asyncio.Event()
    try:
        loop.add_reader(descriptor, exited.set)
        await exited.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


async def _pump(process: subprocess.Popen[bytes], output: Output, tell: Callable[[str], object]) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), process.stdout
    )
    try:
        while data := await reader.read(65536):
            for line in output.feed(data):
                tell(line)
    finally:
        transport.close()
