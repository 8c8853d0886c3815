"""Collects what is wrong with a file that people write, each with its line. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from netbond.config.lines import line_of
from netbond.errors import ConfigError


@dataclass(slots=True)
class Mistakes:
    """The mistakes in one file. `lines` has the lines of its keys; with `all_of_them` none is raised.

    Warnings are about what is allowed, and most likely not what was meant.
    """

    file: str
    lines: dict[str, int] = field(default_factory=dict)
    all_of_them: bool = False
    found: list[ConfigError] = field(default_factory=list)
    warnings: list[ConfigError] = field(default_factory=list)

    def add(self, where: str, what: str, hint: str) -> None:
        """Note a mistake at the key `where` ("uplink[2].match"); ConfigError, unless all are wanted."""
        error = self._error(where, what, hint)
        if not self.all_of_them:
            raise error
        self.found.append(error)

    def first(self, table: str, keys: Sequence[str]) -> str:
        """The first of these keys of a table that the file has, else the first of all."""
        given = [f"{table}.{key}" for key in keys if f"{table}.{key}" in self.lines]
        return min(given, key=lambda key: self.lines[key]) if given else f"{table}.{keys[0]}"

    def warn(self, where: str, what: str, hint: str) -> None:
        """Note what is allowed, and most likely not meant."""
        self.warnings.append(self._error(where, what, hint))

    def _error(self, where: str, what: str, hint: str) -> ConfigError:
        line = line_of(where, self.lines)
        return ConfigError(f"{self.file}:{line}: {what}" if line else f"{self.file}: {what}", hint)
