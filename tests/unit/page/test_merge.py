"""Patches, applied as RFC 7396 says and as page.js does."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.page.merge import patch


def applied(target: Any, changes: Any) -> Any:
    """MergePatch of RFC 7396, section 2."""
    if not isinstance(changes, dict):
        return changes
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = applied(result.get(key), value)
    return result


def test_what_changed_and_no_more() -> None:
    before = {"a": 1, "links": {"usb0": {"kbps": 5, "rtt": 40}, "usb1": {}}, "list": [1, 2]}
    after = {"a": 1, "links": {"usb0": {"kbps": 6, "rtt": 40}}, "list": [1, 3]}
    assert patch(before, after) == {"links": {"usb1": None, "usb0": {"kbps": 6}}, "list": [1, 3]}
    assert patch(after, after) == {}
    assert patch({}, after) == after


def test_a_value_of_another_type_is_another() -> None:
    assert patch({"a": 1}, {"a": True}) == {"a": True}
    assert patch({"a": {"b": 1}}, {"a": [1]}) == {"a": [1]}
    assert patch({"a": [1]}, {"a": {"b": 1}}) == {"a": {"b": 1}}


KEYS = st.sampled_from("abc")
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(0, 3) | st.text("xy", max_size=1) | st.lists(st.integers(0, 1), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
)
STATES = st.dictionaries(KEYS, VALUES, max_size=3)


@settings(max_examples=50)
@given(STATES, STATES)
def test_it_always_makes_the_one_of_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    made = applied(before, patch(before, after))
    assert made == after
    assert sorted(repr(made)) == sorted(repr(after))  # 1 and True are equal, and not the same
