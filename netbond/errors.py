"""What can go wrong, as the user sees it: one line, what to do next, and an exit status by kind.

The numbers are those of sysexits.h where it has one, so that systemd units can name them
(RestartPreventExitStatus=64 77 78). 2 and 3 have a meaning of their own in `netbond plan` (changes
pending) and `netbond status` (the agent is not running).
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILURE = 1  # the command ran and could not do what it was asked
EXIT_PENDING = 2  # `netbond plan`: the kernel is not as it should be
EXIT_NOT_RUNNING = 3  # no agent answers on the control socket
EXIT_USAGE = 64  # EX_USAGE: the command line is wrong
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE: a port, program or peer that is needed is not to be had
EXIT_OSERR = 71  # EX_OSERR: the kernel lacks something netbond cannot do without
EXIT_NOPERM = 77  # EX_NOPERM: not root
EXIT_CONFIG = 78  # EX_CONFIG: the configuration file is wrong


class NetbondError(Exception):
    """A failure that the user is told in one line: what is wrong and where, then what to do about it."""

    exit_status = EXIT_FAILURE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(NetbondError):
    """The command line is wrong."""

    exit_status = EXIT_USAGE


class ConfigError(NetbondError):
    """The configuration file names something that cannot be."""

    exit_status = EXIT_CONFIG


class UnavailableError(NetbondError):
    """A port is taken, a program is not installed, or a peer does not answer."""

    exit_status = EXIT_UNAVAILABLE


class KernelLacksError(NetbondError):
    """The running kernel lacks a feature that netbond cannot do without."""

    exit_status = EXIT_OSERR


class NotPermittedError(NetbondError):
    """Root (or CAP_NET_ADMIN) is needed and not there."""

    exit_status = EXIT_NOPERM


class NotRunningError(NetbondError):
    """No agent answers on the control socket."""

    exit_status = EXIT_NOT_RUNNING
