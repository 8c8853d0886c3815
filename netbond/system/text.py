"""Text from outside, made fit for a terminal, a log and a label."""

from __future__ import annotations


def printable(text: str, limit: int = 500) -> str:
    """`text` on one line, without control characters and at most `limit` characters long.

    Reasons come from engines without root that face the internet, and are shown in root's terminal: an escape
    sequence in one must stay text.
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    # str.isprintable is false for controls, separators other than the space, surrogates, and format
    # characters such as the right-to-left override.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
