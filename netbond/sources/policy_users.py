"""Finds the numbers of the users that policies name, in /etc/passwd. Source.

Only there: a directory service that does not answer must not delay routing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from netbond.config.schema import Config
from netbond.contracts import Source
from netbond.model import Facts
from netbond.system import files

PASSWD = Path("/etc/passwd")
_LARGEST = 1 << 22  # bytes


def named(config: Config) -> dict[str, str]:
    """The users that policies name, not those given as numbers; each with one policy that does."""
    return {user: policy.name for policy in config.policy for user in policy.uid if not user[0].isdigit()}


class PolicyUsers(Source):
    """The users of policies."""

    name = "users"

    def __init__(self, config: Config, passwd: Path = PASSWD) -> None:
        self._config = config
        self._passwd = passwd
        self._read: tuple[object, dict[str, int]] = (None, {})  # as the file was, and what it said
        self._missing: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """The users that are not there."""
        return self._missing

    def configure(self, config: Config) -> None:
        """Find the users of another configuration from now on."""
        self._config = config

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the users with their numbers."""
        wanted = named(self._config)
        known = self._users() if wanted else {}
        self._missing = tuple(
            f"policy {wanted[user]}: there is no user {user!r} in {self._passwd}"
            for user in sorted(wanted.keys() - known.keys())
        )
        return replace(facts, users=tuple(sorted((user, known[user]) for user in wanted if user in known)))

    def _users(self) -> dict[str, int]:
        try:
            state = self._passwd.stat()
            key = (state.st_mtime_ns, state.st_size, state.st_ino)
            if key != self._read[0]:
                text = files.read(self._passwd, _LARGEST)[0].decode(errors="replace")
                self._read = (key, _parse(text))
        except OSError:
            return {}
        return self._read[1]


def _parse(text: str) -> dict[str, int]:
    lines = (line.split(":") for line in text.splitlines())
    return {parts[0]: int(parts[2]) for parts in lines if len(parts) > 3 and parts[2].isdecimal()}
