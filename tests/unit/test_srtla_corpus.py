"""What a fuzzer has found so far, replayed; and a short walk of the same kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz_srtla import CORPUS, one_input, seeds


@pytest.mark.parametrize("first", "0123456789abcdef")
def test_the_corpus(first: str) -> None:
    found: list[Path] = sorted(CORPUS.glob(f"{first}*"))
    assert found, "the corpus is part of the repository"
    for path in found:
        one_input(path.read_bytes())


def test_the_seeds() -> None:
    for seed in seeds():
        one_input(seed)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(seeds()),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8),
    st.integers(0, 6000),
)
def test_seeds_with_faults(seed: bytes, faults: list[tuple[int, int]], length: int) -> None:
    data = bytearray(seed)
    for position, value in faults:
        data[position % len(data)] = value
    one_input(bytes(data[:length]))
