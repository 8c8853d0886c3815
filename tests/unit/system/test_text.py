"""Text from outside: one line that steers no terminal, and no longer than said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.system.text import LONGEST_SHOWN, LONGEST_WORD, counted, data_amount, printable, quoted, shown


@given(st.text(st.characters(), max_size=60), st.integers(1, 50))
def test_any_text_is_one_short_line_that_prints(text: str, limit: int) -> None:
    found = printable(text, limit)
    assert found.isprintable()
    assert len(found) <= limit
    assert printable(found, limit) == found, "cleaning twice changes nothing"
    assert quoted(text, limit).isprintable()
    assert quoted(text, limit).isascii()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no route to host", "no route to host"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\u2028c", r"a\nb\u2028c"),
        ("Evil\u202emoc", r"Evil\u202emoc"),
        ("\udc80", r"\udc80"),
        ("\u4e2d\u56fd", "\u4e2d\u56fd"),
        ("x" * 20, "x" * 20),
        ("x" * 21, "x" * 19 + "\u2026"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text, 20) == shown


def test_what_an_error_quotes() -> None:
    assert quoted("10.0.0") == "'10.0.0'"
    assert quoted("\u0661") == r"'\u0661'", "a digit of another script does not pass for 1"
    assert quoted("1" * 50) == "'" + "1" * 40 + "...'"
    assert quoted(5) == "'5'"


@pytest.mark.parametrize(("number", "text"), [(0, "0 links"), (1, "1 link"), (2, "2 links")])
def test_one_link_is_no_links(number: int, text: str) -> None:
    assert counted(number, "link") == text


def test_amounts_of_data() -> None:
    assert [data_amount(n) for n in (0, 1500, 2_000_000, 49_500_000_000, 10**12)] == [
        "0.0 kB",
        "1.5 kB",
        "2.0 MB",
        "49.5 GB",
        "1.0 TB",
    ]


def test_an_error_is_shown_without_the_length_and_the_escapes_of_what_it_quotes() -> None:
    text = f"no such file: {'A' * 100_000}; name another\n\x1b[2J at line 2"
    first, second = shown(text).split("\n")
    assert first == f"no such file: {'A' * LONGEST_WORD}… name another"
    assert second == "\\x1b[2J at line 2"
    assert len(shown("a " * 100_000)) == LONGEST_SHOWN
    assert shown("/a/plain/path is \u00fc; do so") == "/a/plain/path is \u00fc; do so"
