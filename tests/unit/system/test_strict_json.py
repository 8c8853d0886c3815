"""JSON of files and other processes: what can be written again, and no more than a stack holds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.system.strict_json import DEEPEST, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_written_is_what_is_read(value: object) -> None:
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=50))
def test_any_bytes_are_json_or_one_line(data: bytes) -> None:
    said = ""
    try:
        json.dumps(parse(data), allow_nan=False)
    except ValueError as error:
        said = str(error)
    assert said.isprintable()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        (b"\xff", "it is not JSON"),
        ("9" * 5000, "it is not JSON"),
        ("NaN", "it contains NaN, which is not JSON"),
        ("[-Infinity]", "it contains -Infinity, which is not JSON"),
        ("1e999", "it contains a number that is too large"),
        ("-1e999", "it contains a number that is too large"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "it is nested too deeply"),
        ('{"a":' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1), "it is nested too deeply"),
    ],
)
def test_what_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared as a whole
        parse(text)
    assert str(caught.value) == says


def test_the_deepest_that_is_read() -> None:
    parse("[" * DEEPEST + "]" * DEEPEST)
