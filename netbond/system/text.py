"""Makes text from outside fit for a terminal, a log and a label.

Quick to import: a DHCP client waits for `netbond hook`.
"""

from __future__ import annotations

LONGEST_WORD = 300  # characters; a path of a box has fewer
LONGEST_SHOWN = 2000  # of a line
MOST_SHOWN = 1 << 20  # of all


def printable(text: str, limit: int = 500) -> str:
    """`text` on one line of at most `limit` characters, with escapes such as \\x1b for what does not print.

    Reasons come from engines without root that face the internet, and are shown in root's terminal: an escape
    sequence in one must stay text.
    """
    if len(text) <= limit and text.isprintable():  # nearly all text is
        return text
    # str.isprintable is false for controls, separators other than the space, surrogates, and format
    # characters such as the right-to-left override.
    escaped = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: limit + 1])
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def shown(text: str) -> str:
    """An error's text as people see it: printable lines, none of them long.

    What it repeats of an input may be of any length. Long words lose their ends, so that the hint stays,
    which comes last.
    """
    lines = text[:MOST_SHOWN].split("\n")
    return "\n".join(printable(" ".join(map(_cut, line.split(" "))), LONGEST_SHOWN) for line in lines)


def _cut(word: str) -> str:
    return word if len(word) <= LONGEST_WORD else word[:LONGEST_WORD] + "…"


def counted(number: int, word: str) -> str:
    """Return the number with its noun: `1 link`, `2 links`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def duration(seconds: float) -> str:
    """Seconds as people say them: "45 s", "3 min", "2 h 5 min", "4 d 1 h"."""
    whole = int(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes == 0:
        return f"{whole} s"
    if hours == 0:
        return f"{minutes} min"
    if days == 0:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


def quoted(value: object, limit: int = 40) -> str:
    """A value as an error names it: in quotes, in ASCII, and only its beginning if it is longer than `limit`.

    In ASCII because what looks like a digit or a letter may be another character.
    """
    text = str(value)
    return ascii(text if len(text) <= limit else text[:limit] + "...")


def data_amount(number: int) -> str:
    """Bytes in the units of data plans: "49.5 GB"."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1000:.1f} kB"
