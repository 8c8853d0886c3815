"""What a fuzzer has found so far about the data path in C, replayed; a short walk of the same kind; and
whether it would see a defect."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests import fuzz_corpus
from tests.fuzz_native import FASTPATH, SANITIZERS, fastpath, seeds

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
RUNS = 3


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the sanitizers, where the compiler has them."""
    folder = tmp_path_factory.mktemp("program")
    built = fastpath(folder, "-O1", *SANITIZERS) or fastpath(folder, "-O1")
    assert built is not None, "cc cannot build tests/fuzz_fastpath.c"
    return built


def written(folder: Path, inputs: Iterable[bytes]) -> list[Path]:
    paths = []
    for number, data in enumerate(inputs):
        paths.append(folder / str(number))
        paths[-1].write_bytes(data)
    return paths


def replay(program: Path, paths: list[Path], runs: int = RUNS) -> str:
    """What it complains about."""
    environment = os.environ | {
        "ASAN_OPTIONS": "detect_leaks=0"
    }  # it leaves no leaks, and looks under a debugger
    for _ in range(runs):
        # Where a kernel scatters addresses widely, older sanitizers may fail to start. A defect fails always.
        done = subprocess.run([program, *paths], capture_output=True, text=True, env=environment, timeout=100)
        if done.returncode == 0:
            assert done.stdout == f"{len(paths)} inputs\n"
            return ""
    return done.stderr or f"it ended with {done.returncode}"


def test_the_corpus(program: Path, tmp_path: Path) -> None:
    found = fuzz_corpus.inputs("native")
    assert len(found) > 100, "the corpus is part of the repository"
    assert replay(program, written(tmp_path, found)) == ""


def test_seeds_with_faults(program: Path, tmp_path: Path) -> None:
    chance = random.Random(1)
    inputs = seeds()
    for _ in range(300):
        data = bytearray(chance.choice(seeds()) + chance.choice(seeds()))
        for _ in range(chance.randrange(8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        inputs.append(bytes(data[: chance.randrange(1, 1000)]))
    assert replay(program, written(tmp_path, inputs)) == ""


# Defects of the data path: what is there, and what is there instead where `defect` is the number in the list.
# All of them are built into one program.
DEFECTS = [
    ("need = size + OVERHEAD", "need = size + (defect == 1 ? 0 : OVERHEAD)"),
    ("EARNED * (length", "(defect == 2 ? 3 : EARNED) * (length"),
    ("size >= SRT_HEADER && !(", "size >= SRT_HEADER - (defect == 3) && !("),
    ("link->waiting == ACK_EVERY)", "link->waiting == ACK_EVERY - (defect == 4))"),
    ("p->drop_copies && is_copy", "(defect == 5 || p->drop_copies) && is_copy"),
    ("if (segment > MTU) continue;", "if (defect != 6 && segment > MTU) continue;"),
    (" || data.iov_len > room", " || (defect != 7 && data.iov_len > room)"),
    ("done += sent > 0 ? sent : 1", "done += sent > 0 ? sent : 1 + (defect == 8)"),
    ("? 3600000 : (int)(wait * 1000) + 1", "? 3600000 : defect == 9 ? 0 : (int)(wait * 1000) + 1"),
    # Both were so when this was first run: a message that the kernel had cut was read beyond its end, and
    # a link that had carried nothing was told of if one before it under its number had.
    (
        "if (c->cmsg_len >= CMSG_LEN(sizeof segment)) ",
        "if (defect == 10 || c->cmsg_len >= CMSG_LEN(sizeof segment)) ",
    ),
    ("if (!link->used || !link->packets)", "if (!link->used || (defect != 11 && !link->packets))"),
    ("data[0] == 0x80 && data[1] == 0)", "data[0] == 0x80 && data[1] == (defect == 12 ? 9 : 0))"),
    ("group->offered += count", "group->offered += defect == 13 ? 0 : count"),
    ("length == p->caller_length && ", "(defect == 14 || length == p->caller_length) && "),
    ("caller && p->stream_count < FORWARDS", "caller && p->stream_count < FORWARDS - (defect == 15)"),
]
CHOOSE = """
#include <stdlib.h>
static int defect;
__attribute__((constructor)) static void choose(void) { defect = atoi(getenv("DEFECT")); }
"""


@pytest.fixture(scope="module")
def defective(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with the defect that the environment variable DEFECT chooses; 0: with none."""
    folder = tmp_path_factory.mktemp("defective")
    text = FASTPATH.read_text()
    for what, instead in DEFECTS:
        assert text.count(what) == 1
        text = text.replace(what, instead)
    source = folder / "bad.c"
    source.write_text(CHOOSE + text)
    program = fastpath(folder, source=source)
    assert program is not None
    return program


def test_without_a_defect_there_is_none(
    defective: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEFECT", "0")
    assert replay(defective, written(tmp_path, seeds())) == ""


@pytest.mark.parametrize("number", range(1, len(DEFECTS) + 1))
def test_a_defect_is_seen(
    defective: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setenv("DEFECT", str(number))
    assert "not so" in replay(defective, written(tmp_path, seeds()), runs=1)
