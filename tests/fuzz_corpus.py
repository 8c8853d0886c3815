"""Reads and writes the fuzzers' inputs, in one archive for each part.

tests/corpus/PART.tar.xz has one file for each input that reaches code which no other input reaches. The
file's name is the SHA-1 of its content, as libFuzzer names it. An archive depends only on its inputs: names
are sorted, times and owners are 0. Files in tests/corpus/PART/ belong to the corpus, too, until `scripts/fuzz
--pack` puts them into the archive: so you can add an input by hand.

    python -m tests.fuzz_corpus pack
    python -m tests.fuzz_corpus seeds PART TARGET FOLDER   # write the initial inputs to FOLDER
    python -m tests.fuzz_corpus take PART TARGET FOLDER    # write the found inputs to FOLDER
    python -m tests.fuzz_corpus put PART TARGET FOLDER     # replace the found inputs by those in FOLDER
"""

from __future__ import annotations

import hashlib
import importlib
import io
import lzma
import shutil
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
PARTS = ("agent", "native", "srtla")


def archive(part: str) -> Path:
    """Return the archive of this part."""
    return CORPUS / f"{part}.tar.xz"


def inputs(part: str) -> list[bytes]:
    """Return the inputs of this part, in the order of their names."""
    found = set()
    with tarfile.open(archive(part)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None, f"{archive(part)}: {member.name} is no file"
            found.add(file.read())
    found |= {path.read_bytes() for path in _loose(part)}
    return sorted(found, key=name)


def name(data: bytes) -> str:
    """Return libFuzzer's name for this input."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def tar_of(found: Iterable[bytes]) -> bytes:
    """Make a tar archive that depends only on these inputs."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for data in sorted(set(found), key=name):
            member = tarfile.TarInfo(name(data))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def write(part: str, found: Iterable[bytes]) -> None:
    """Replace the inputs of this part by these, and remove the folder of loose inputs."""
    new = archive(part).with_suffix(".new")
    new.write_bytes(lzma.compress(tar_of(found), preset=9 | lzma.PRESET_EXTREME))
    new.replace(archive(part))
    if (CORPUS / part).exists():
        shutil.rmtree(CORPUS / part)


def of_target(part: str, target: str, data: bytes) -> bool:
    """Whether this target reads this input; the input's first byte chooses the target."""
    targets = [each.__name__ for each in importlib.import_module(f"tests.fuzz_{part}").TARGETS]
    return data != b"" and data[0] % len(targets) == targets.index(target)


def _loose(part: str) -> list[Path]:
    folder = CORPUS / part
    return sorted(folder.iterdir()) if folder.is_dir() else []


def main(command: str, *arguments: str) -> None:
    """Run one of the commands above, for scripts/fuzz."""
    if command == "pack":
        for part in PARTS:
            if _loose(part):
                write(part, inputs(part))
        return
    part, target, folder = arguments[0], arguments[1], Path(arguments[2])
    if command in ("seeds", "take"):
        found = importlib.import_module(f"tests.fuzz_{part}").seeds() if command == "seeds" else inputs(part)
        for data in found:
            if of_target(part, target, data):
                (folder / name(data)).write_bytes(data)
    elif command == "put":
        others = [data for data in inputs(part) if not of_target(part, target, data)]
        write(part, others + [path.read_bytes() for path in folder.iterdir()])
    else:
        raise SystemExit(f"fuzz_corpus: '{command}' is none of pack, seeds, take and put")


if __name__ == "__main__":
    main(*sys.argv[1:])
