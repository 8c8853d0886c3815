"""What a fuzzer has found so far, replayed; and a short walk of the same kind."""

from __future__ import annotations

import functools
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import fuzz_agent, fuzz_corpus, fuzz_srtla

PARTS = (fuzz_srtla, fuzz_agent)
_SEEDS: list[tuple[Callable[[bytes], None], bytes]] = [
    (part.one_input, seed) for part in PARTS for seed in part.seeds()
]


found = functools.cache(fuzz_corpus.inputs)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__.rpartition("_")[2])
@pytest.mark.parametrize("first", "0123456789abcdef")
def test_the_corpus(part: object, first: str) -> None:
    corpus = found(part.__name__.rpartition("_")[2])  # type: ignore[attr-defined]  # a module
    assert len(corpus) > 100, "the corpus is part of the repository"
    for data in corpus:
        if fuzz_corpus.name(data).startswith(first):
            part.one_input(data)  # type: ignore[attr-defined]  # a module


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


@pytest.mark.parametrize("part", fuzz_corpus.PARTS)
def test_an_archive_depends_on_its_inputs_alone(part: str) -> None:
    """Whoever packs the same inputs changes nothing. (xz may compress another way in another version.)"""
    assert lzma.decompress(fuzz_corpus.archive(part).read_bytes()) == fuzz_corpus.tar_of(found(part))


def test_inputs_are_taken_out_and_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_corpus, "CORPUS", tmp_path)
    count = len(fuzz_agent.TARGETS)
    first, other, loose, new = b"\0one", b"\1two", bytes([count]) + b"three", b"\0four"
    fuzz_corpus.write("agent", [first, other, first])
    assert set(fuzz_corpus.inputs("agent")) == {first, other}
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "by-hand").write_bytes(loose)
    assert set(fuzz_corpus.inputs("agent")) == {first, other, loose}
    fuzz_corpus.main("pack")
    assert not (tmp_path / "agent").exists()

    folder = tmp_path / "folder"
    folder.mkdir()
    target = fuzz_agent.TARGETS[0].__name__
    fuzz_corpus.main("take", "agent", target, str(folder))
    assert {path.read_bytes() for path in folder.iterdir()} == {first, loose}
    (folder / fuzz_corpus.name(first)).write_bytes(new)
    fuzz_corpus.main("put", "agent", target, str(folder))
    assert set(fuzz_corpus.inputs("agent")) == {new, other, loose}
