"""Commands and configurations in the documentation: the parsers take them, and a test runs each command."""

from __future__ import annotations

import argparse
import ast
import configparser
import functools
import importlib
import json
import re
from collections.abc import Iterator

import pytest

from netbond import fleet
from netbond.cli import COMMANDS
from netbond.cli.parser import Parser
from netbond.config.load import read
from netbond.config.mistakes import Mistakes
from tests.docs_blocks import LANGUAGES, PAGES, ROOT, Block, blocks, commands, netbond_words
from tests.docs_commands import NOT_RUN, RUN, RUN_BY, entry

BLOCKS = tuple(blocks())


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_the_language_of_a_block_is_known(block: Block) -> None:
    """Without one it has commands for a shell."""
    assert block.language in LANGUAGES


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_configurations_are_valid(block: Block) -> None:
    """And nothing in them is what is hardly meant."""
    mistakes = Mistakes(str(block))
    if "[[box]]" in block.text:
        assert fleet.read(block.text, mistakes)
    else:
        read(block.text, mistakes)
    assert not mistakes.warnings


@pytest.mark.parametrize("block", of("ini", "json", "python"), ids=str)
def test_other_blocks_are_of_their_language(block: Block) -> None:
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "python":
        ast.parse(block.text)
    else:
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(block.text)
        assert unit.sections()


@functools.cache
def parser(name: str) -> argparse.ArgumentParser:
    module = importlib.import_module(f"netbond.cli.{name}")
    made = Parser(prog=f"netbond {name}", description=module.HELP)
    module.configure(made)
    return made


def options(of_parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in of_parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from options(inner)


def check_names(words: list[str], where: str) -> None:
    """Fail if a usage names a command or an option that there is not."""
    name = words[0].strip("[]") if words else ""
    if name in ("", "--version", "--help", "version", "help", "COMMAND"):
        return
    assert name in COMMANDS, f"{where}: there is no command {name!r}"
    named = set(re.findall(r"(?<![\w-])--\w[\w-]*", " ".join(words[1:]).partition(" -- ")[0]))
    assert named <= set(options(parser(name))), f"{where}: netbond {name} has no {named}"


def check_call(words: list[str], where: str) -> None:
    """Fail if netbond would not take these words as its arguments."""
    check_names(words, where)
    name = words[0]
    if name in COMMANDS and not any("[" in word for word in words):
        made = parser(name)
        parse_args = made.parse_intermixed_args if name in ("send", "recv") else made.parse_args
        try:
            parse_args(words[1:])
        except SystemExit as end:
            if end.code:
                pytest.fail(f"{where}: netbond does not take {words}")


@pytest.mark.parametrize(
    "command",
    [
        "netbond stats",
        "sudo netbond status --alll",
        "netbond explain",
        "netbond config chek",
        "true | /opt/netbond/bin/netbond status --rainbow",
        "netbond lab exec -- netbond status --rainbow",
        "srtla_send --lsten 1",
    ],
)
def test_a_stale_command_is_found(command: str) -> None:
    *_, words = netbond_words(command)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_call(words, "here")


def test_commands_are_what_netbond_takes() -> None:
    for command in commands():
        for words in netbond_words(command.text):
            check_call(words, str(command))


def test_units_call_netbond_as_it_takes_it() -> None:
    for block in of("ini"):
        for call in re.findall(r"^Exec\w+=(.*)$", block.text, re.MULTILINE):
            for words in netbond_words(call):
                check_call(words, str(block))


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_in_the_text_exist(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    for call in re.findall(r"`(?:sudo )?netbond ([^`]*)`", text):
        check_names(call.split(), page)
    assert not re.findall(r"^ {4}(?:sudo |[$] )?netbond .*$", text, re.MULTILINE), "use ```"


def test_usages_name_what_exists() -> None:
    for block in of("text"):
        for call in re.findall(r"^(?:sudo )?netbond (.*(?:\n {8}.*)*)$", block.text, re.MULTILINE):
            check_names(call.split(), str(block))


@pytest.mark.parametrize("block", of("sh", "toml", "ini"), ids=str)
def test_files_and_modules_of_the_checkout_that_a_block_names_are_there(block: Block) -> None:
    folders = "bench|contrib|docs|netbond|scripts|tests"
    paths = re.findall(rf"(?<![\w/.:-])(?:{folders})/[\w./-]*\w", block.text)
    paths += [module.replace(".", "/") + ".py" for module in re.findall(r"-m (bench\.\w+)", block.text)]
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_each_command_is_run_by_a_test_or_it_says_why_not() -> None:
    """tests/docs_commands.py says which; add a line there for a new command."""
    missing = [str(command) for command in commands() if not entry(command.text)]
    assert not missing, "\n".join(missing)


def test_what_is_said_of_commands_is_in_use() -> None:
    used = {entry(command.text) for command in commands()}
    assert {*RUN, *RUN_BY, *NOT_RUN} <= used
    assert len(RUN) + len(RUN_BY) + len(NOT_RUN) == len({*RUN, *RUN_BY, *NOT_RUN})


@pytest.mark.parametrize("test", sorted(set(RUN_BY.values())))
def test_what_runs_commands_is_there(test: str) -> None:
    assert (ROOT / test).is_file()
