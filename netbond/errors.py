"""Defines the errors that users see: one line with what to do next, and an exit status for each kind.

Exit statuses are those of sysexits.h where it has a fitting one, so that systemd units can name them
(RestartPreventExitStatus=64 77 78). 2 and 3 have special meanings: `netbond plan` exits with 2 if changes are
pending, and `netbond status` exits with 3 if the agent is not running.
"""

from __future__ import annotations

from netbond.system.text import shown

EXIT_OK = 0
EXIT_FAILURE = 1  # the command ran, but failed
EXIT_PENDING = 2  # `netbond plan`: the kernel differs from the desired state
EXIT_NOT_RUNNING = 3  # no agent answers on the control socket
EXIT_USAGE = 64  # EX_USAGE: the command line is wrong
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE: a required port, program or peer is unavailable
EXIT_OSERR = 71  # EX_OSERR: the kernel lacks a required feature
EXIT_NOPERM = 77  # EX_NOPERM: not root
EXIT_CONFIG = 78  # EX_CONFIG: the configuration file is wrong


class NetbondError(Exception):
    """A failure that the user sees as one line: `message` says what is wrong, `hint` what to do about it."""

    exit_status = EXIT_FAILURE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return shown(self.message) + (f"; {shown(self.hint)}" if self.hint else "")


class UsageError(NetbondError):
    """The command line is wrong."""

    exit_status = EXIT_USAGE


class ConfigError(NetbondError):
    """The configuration file has an invalid value."""

    exit_status = EXIT_CONFIG


class UnavailableError(NetbondError):
    """A port is taken, a program is not installed, or a peer does not answer."""

    exit_status = EXIT_UNAVAILABLE


class KernelLacksError(NetbondError):
    """The running kernel lacks a feature that netbond requires."""

    exit_status = EXIT_OSERR


class NotPermittedError(NetbondError):
    """The command needs root (or CAP_NET_ADMIN)."""

    exit_status = EXIT_NOPERM


class NotRunningError(NetbondError):
    """No agent answers on the control socket."""

    exit_status = EXIT_NOT_RUNNING
