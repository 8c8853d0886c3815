"""Adapts argparse for netbond's commands. `netbond hook` must not import this module, to be quick."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from netbond import __version__
from netbond.errors import EXIT_USAGE
from netbond.system.text import shown


class Version(argparse.Action):
    """Prints netbond's version, and which flavour of the engines it has."""

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version, and exit", **more)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from netbond.srtla import flavour

        print(f"netbond {__version__} ({flavour()})")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """An argument parser that says in one line what is wrong, and exits with 64, where argparse uses 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(
            EXIT_USAGE, f"{self.prog}: {shown(message)}; {self._meant(message)}see '{self.prog} --help'\n"
        )

    def _meant(self, message: str) -> str:
        """Which option is meant by one that does not exist, as a part of a sentence; "" if none is near."""
        unknown = re.match(r"unrecognized arguments: (--[^ =]+)", message)
        near = difflib.get_close_matches(unknown[1], self._option_string_actions, n=1) if unknown else []
        return f"did you mean {near[0]}? or " if near else ""
