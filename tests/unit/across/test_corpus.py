"""What a fuzzer has found so far, replayed; and a short walk of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import fuzz_agent, fuzz_srtla

PARTS = (fuzz_srtla, fuzz_agent)
_SEEDS: list[tuple[Callable[[bytes], None], bytes]] = [
    (part.one_input, seed) for part in PARTS for seed in part.seeds()
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__.rpartition("_")[2])
@pytest.mark.parametrize("first", "0123456789abcdef")
def test_the_corpus(part: object, first: str) -> None:
    corpus: Path = part.CORPUS  # type: ignore[attr-defined]  # a module
    assert len(list(corpus.iterdir())) > 100, "the corpus is part of the repository"
    for path in sorted(corpus.glob(f"{first}*")):
        part.one_input(path.read_bytes())  # type: ignore[attr-defined]  # a module


def test_the_seeds() -> None:
    for one_input, seed in _SEEDS:
        one_input(seed)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__.rpartition("_")[2])
def test_every_target_has_a_seed(part: object) -> None:
    targets = part.TARGETS  # type: ignore[attr-defined]  # a module
    chosen = {seed[0] % len(targets) for seed in part.seeds()}  # type: ignore[attr-defined]
    assert chosen == set(range(len(targets)))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(_SEEDS),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8),
    st.integers(0, 6000),
)
def test_seeds_with_faults(
    chosen: tuple[Callable[[bytes], None], bytes], faults: list[tuple[int, int]], length: int
) -> None:
    one_input, seed = chosen
    data = bytearray(seed)
    for position, value in faults:
        data[position % len(data)] = value
    one_input(bytes(data[:length]))
