"""Becomes another program, as another user: the last step of `netbond exec`, and of a command check.

`python -m netbond.programs.launch DEVICE FAMILY USER RESOLVERS COMMAND...` binds a command to an uplink and
runs it: FAMILY is 4, 6 or 0 for both, RESOLVERS are addresses with commas. The agent starts a check so. A
line says that only the command is left to start.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import signal
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from netbond.errors import NetbondError, UnavailableError
from netbond.programs import binding
from netbond.programs.job import STARTED
from netbond.system.files import why

# As a shell has them: the program was found but cannot be run, and there is no such program.
EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 126, 127


@dataclass(frozen=True, slots=True)
class User:
    """Who a command runs as."""

    uid: int
    gid: int
    name: str
    home: str
    shell: str

    @classmethod
    def named(cls, name: str) -> User:
        """The user of this name; UnavailableError if there is none."""
        try:
            return cls._of(pwd.getpwnam(name))
        except KeyError:
            raise UnavailableError(f"there is no user {name!r}", "`getent passwd` shows them") from None

    @classmethod
    def _of(cls, entry: pwd.struct_passwd) -> User:
        return cls(entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir, entry.pw_shell)

    @classmethod
    def behind_sudo(cls, environ: Mapping[str, str]) -> User | None:
        """The user who called sudo; None if nobody did."""
        number = environ.get("SUDO_UID", "")
        if not (number.isascii() and number.isdigit()):
            return None
        try:
            return cls._of(pwd.getpwuid(int(number)))
        except (KeyError, OverflowError):
            return None

    def become(self, environ: MutableMapping[str, str]) -> None:
        """Become this user for good, with all its groups; the environment says so, too."""
        os.initgroups(self.name, self.gid)
        os.setgid(self.gid)
        os.setuid(self.uid)
        environ.update(USER=self.name, LOGNAME=self.name, HOME=self.home, SHELL=self.shell or "/bin/sh")


def execute(command: Sequence[str]) -> int:
    """Become this program; returns only if that fails: the exit status, after a line on standard error."""
    # Python ignores these, and a program would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    sys.stdout.flush()
    try:
        os.execvp(command[0], list(command))  # noqa: S606 - what the user asks for
    except (OSError, ValueError) as error:
        reason = why(error) if isinstance(error, OSError) else str(error)
        print(f"netbond: {command[0]}: {reason}", file=sys.stderr)
        return EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_EXECUTABLE


def main(arguments: Sequence[str]) -> int:
    """Run a command bound to an uplink."""
    device, family, user, resolvers, *command = arguments
    os.environ.pop("PYTHONPATH", None)  # it was for us
    try:
        binding.bind(device, int(family))
        problem = binding.look_up_names_at(
            [ipaddress.ip_address(text) for text in resolvers.split(",") if text], device
        )
        if problem:
            print(f"names are looked up by the box's own resolver: {problem}", file=sys.stderr)
        User.named(user).become(os.environ)
    except (NetbondError, OSError) as error:
        print(f"netbond: {error}", file=sys.stderr)
        return EXIT_NOT_EXECUTABLE
    print(STARTED, flush=True)
    return execute(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
