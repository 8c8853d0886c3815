"""Finds the line of each table and key in a TOML text. Pure.

tomli says no lines for what it has read, and a mistake is quicker to find by its line than by its number
among thirty [[uplink]].
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import tomli

_HEADER = re.compile(r"\s*\[(\[?)([^\[\]]+)\]\]?\s*(#.*)?$")
_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_ASSIGNMENT = re.compile(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=\s*(.*)$")


def line_numbers(text: str) -> dict[str, int]:
    """The lines, from 1 on, of tables and keys of a valid TOML text: "uplink[2]", "uplink[2].match"."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    lines = enumerate(text.splitlines(), 1)
    for number, line in lines:
        if header := _HEADER.match(line):
            table = _table(_parts(header[2]), bool(header[1]), counts)
            found.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            path = ".".join((*([table] if table else []), *_parts(assignment[1])))
            found.setdefault(path, number)
            _skip(assignment[2], lines)
    return found


def line_of(where: str, lines: dict[str, int]) -> int:
    """The line of this key or, if it has none of its own, of what it is in; 0: not known."""
    while where:
        if where in lines:
            return lines[where]
        where = where.rpartition(".")[0]
    return 0


def _table(parts: list[str], repeated: bool, counts: dict[str, int]) -> str:
    path = ""
    for place, part in enumerate(parts):
        path = f"{path}.{part}" if path else part
        if repeated and place == len(parts) - 1:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = f"{path}[{counts[path]}]"
    return path


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def _skip(value: str, lines: Iterator[tuple[int, str]]) -> None:
    """Go on to the end of a value of several lines: their text may look like keys."""
    while value.lstrip().startswith(("[", "{", '"""', "'''")):
        try:
            tomli.loads(f"x = {value}\n")
        except tomli.TOMLDecodeError:
            more = next(lines, None)
            if more is None:
                return
            value = f"{value}\n{more[1]}"
        else:
            return
