"""Reads the words of all commands from their parsers, for completion and the manual page."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, cast

from netbond import __version__, errors
from netbond.cli import COMMANDS
from netbond.cli.parser import Parser
from netbond.installation import completion
from netbond.installation.manpage import manpage
from netbond.installation.words import CommandWords, Option

if TYPE_CHECKING:
    from netbond.cli import Command

STATUSES = {
    errors.EXIT_OK: "done",
    errors.EXIT_FAILURE: "not done: the message says why",
    errors.EXIT_PENDING: "plan: changes are pending; explain: a packet would not take the intended way",
    errors.EXIT_NOT_RUNNING: "status: the agent is not running",
    errors.EXIT_USAGE: "the command line is wrong",
    errors.EXIT_UNAVAILABLE: "a required resource is unavailable: a port is taken, a program is missing",
    errors.EXIT_OSERR: "the kernel lacks policy routing; exec: BPF for control groups",
    errors.EXIT_NOPERM: "not root",
    errors.EXIT_CONFIG: "the configuration is wrong",
}


@cache
def words() -> tuple[CommandWords, ...]:
    """All commands, with options and actions."""
    return tuple(_words(name, text, _parser(name)) for name, text in COMMANDS.items())


def generated() -> dict[str, str]:
    """The files that are made of the words, by their place below /usr/share or /usr/local/share."""
    return {
        "bash-completion/completions/netbond": completion.bash(words()),
        "zsh/site-functions/_netbond": completion.zsh(words()),
        "fish/vendor_completions.d/netbond.fish": completion.fish(words()),
        "man/man1/netbond.1": manpage(words(), __version__, STATUSES),
    }


def _parser(name: str) -> argparse.ArgumentParser:
    command = cast("Command", importlib.import_module(f"netbond.cli.{name}"))
    parser = Parser(prog=f"netbond {name}")
    command.configure(parser)
    return parser


def _words(name: str, text: str, parser: argparse.ArgumentParser) -> CommandWords:
    # argparse has no public way to ask a parser for what it knows.
    known = parser._actions
    inner: list[CommandWords] = []
    for action in known:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            inner += [_words(word, helps.get(word, ""), each) for word, each in action.choices.items()]
    return CommandWords(name, text, tuple(_options(known, parser)), tuple(inner))


def _options(known: list[argparse.Action], parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in known:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        metavar = action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar or ())
        value = "" if action.nargs == 0 else metavar or action.dest.upper()
        choices = tuple(map(str, action.choices or ()))
        many = action.nargs in ("*", "+", argparse.REMAINDER) or isinstance(action, argparse._AppendAction)
        text = "" if action.help is None else action.help % {"default": action.default, "prog": parser.prog}
        yield Option(tuple(action.option_strings), value, text, choices, many)
