"""Reads the list of links of a sender that runs without the agent, as srtla_send has it.

A line of the file is `ADDRESS` or `ADDRESS%DEVICE`; empty lines and `#` comments are fine. Words may follow:
`priority=N`, `idle`, `metered` (srtla_send reads an address and ignores what is behind it). A wrong line is
named and left out, and the rest is used. A byte order mark, as some editors write it, is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from netbond.srtla.linkspec import MAX_LINKS, MAX_PRIORITY, LinkSpec, make_link

MAX_FILE_BYTES = 64 * 1024
BYTE_ORDER_MARK = "\ufeff"

_PRIORITY = re.compile(r"priority=([0-9]{1,3})")


def parse(text: str, name: str) -> tuple[list[LinkSpec], list[str]]:
    """The links in `text`, and a complaint per line that is not one; `name` is the file's."""
    links: list[LinkSpec] = []
    complaints: list[str] = []
    for number, raw in enumerate(text.replace(BYTE_ORDER_MARK, "").splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        place, *words = line.split()
        address, _, device = place.partition("%")
        spec = make_link(place, address, device) if device or "%" not in place else None
        if spec is not None:
            spec = _with_words(spec, words)
        if spec is None:
            complaints.append(
                f"{name}:{number}: {line[:60]!r} is not ADDRESS or ADDRESS%DEVICE"
                " (priority=N, idle, metered); skipped"
            )
        elif len(links) >= MAX_LINKS:
            complaints.append(f"{name}:{number}: more than {MAX_LINKS} links; the rest is skipped")
            break
        else:
            links.append(spec)
    return links, complaints


def read(path: Path) -> tuple[list[LinkSpec] | None, list[str]]:
    """The links in the file; None, with the reason as complaint, if it cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError as error:
        return None, [f"{path}: {error.strerror}"]
    return parse(text, str(path))


class Watch:
    """Tells when a list file has changed, from a look at it each second: a stat(2) costs some microseconds.

    A program that writes the file in place, and not by a rename, takes a moment for it. So a change counts
    when the next look finds it unchanged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._read = self._look()

    def read(self) -> None:
        """The file is about to be read: what it is now is no change."""
        self._seen = self._read = self._look()

    def changed(self) -> bool:
        """Whether to read the file; call it each second. A file that is absent is no change."""
        before, self._seen = self._seen, self._look()
        return self._seen is not None and self._seen == before and self._seen != self._read

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _with_words(spec: LinkSpec, words: Sequence[str]) -> LinkSpec | None:
    """The link with what the words behind it say; None if one is unknown."""
    for word in words:
        number = _PRIORITY.fullmatch(word)
        if number is not None and int(number[1]) <= MAX_PRIORITY:
            spec = replace(spec, priority=int(number[1]))
        elif word == "idle":
            spec = replace(spec, enabled=False)
        elif word == "metered":
            spec = replace(spec, metered=True)
        else:
            return None
    return spec
