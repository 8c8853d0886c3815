"""Finds the blocks of code in the documentation, and the commands in them.

A block without a language, or with `sh`, has commands. If lines begin with `$ ` or `# netbond`, only these
are commands, and the others are what they print. Blocks of other languages have no commands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# A decision's record is not rewritten, and a changelog tells of what was.
PAGES = tuple(
    sorted(
        str(path.relative_to(ROOT))
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
        if path.name != "CHANGELOG.md"
    )
)
LANGUAGES = {"sh", "text", "toml", "ini", "json", "yaml", "python", "nft"}
_PROMPT = re.compile(r"\$ |# (?=netbond )")


@dataclass(frozen=True)
class Block:
    """A block of code: its page, the number of its first line, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a block, on one line, and what the page says that it prints; "": the page does not say."""

    block: Block
    text: str
    printed: str = ""

    def __str__(self) -> str:
        return f"{self.block}: {self.text}"


def blocks() -> Iterator[Block]:
    """The blocks of all pages, between lines of ```."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for found in re.finditer(r"^(```+)([^\n]*)\n(.*?)^\1\s*$", text, re.MULTILINE | re.DOTALL):
            yield Block(page, text.count("\n", 0, found.start()) + 1, found[2] or "sh", found[3])


def commands() -> Iterator[Command]:
    """The commands of all pages, each on one line and without its comment."""
    for block in blocks():
        if block.language == "sh" and not block.text.startswith("#!"):
            yield from _commands(block)


def _commands(block: Block) -> Iterator[Command]:
    text = re.sub(r"[ \t]*\\\n[ \t]*", " ", block.text)
    if not re.search(rf"^(?:{_PROMPT.pattern})", text, re.MULTILINE):
        for line in text.splitlines():
            if command := re.sub(r"(^|\s+)#( .*|$)", "", line):
                yield Command(block, command)
        return
    for part in re.split(rf"^(?=(?:{_PROMPT.pattern}))", text, flags=re.MULTILINE):
        line, _, printed = part.partition("\n")
        if prompt := _PROMPT.match(line):
            yield Command(block, re.sub(r"\s+# .*", "", line[prompt.end() :]), printed)


def netbond_words(command: str) -> Iterator[list[str]]:
    """The words after `netbond` of each call of netbond in a shell's command line."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not re.fullmatch(r"[();<>|&]+", word):
            words.append(word)
            continue
        yield from _calls(words)
        words = []


def _calls(words: list[str]) -> Iterator[list[str]]:
    """The calls in one simple command: behind sudo or a variable, and behind `--` of another netbond."""
    for number, word in enumerate(words):
        program = word.rpartition("/")[2]
        if number and words[number - 1] not in ("sudo", "--", "exec") and "=" not in words[number - 1]:
            continue
        called = {"netbond": [], "srtla_send": ["send"], "srtla_rec": ["recv"]}.get(program)
        if called is not None:
            rest = words[number + 1 :]
            yield [*called, *rest]
