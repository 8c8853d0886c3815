"""Adapts argparse for netbond's commands. `netbond hook` must not import this module, to be quick."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from netbond.errors import EXIT_USAGE


class Parser(argparse.ArgumentParser):
    """An argument parser with netbond's exit status for a wrong command line: 64, where argparse uses 2."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; see '{self.prog} --help'\n")
