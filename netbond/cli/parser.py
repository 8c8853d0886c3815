"""argparse as netbond's commands use it; apart, as `netbond hook` does without."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from netbond.errors import EXIT_USAGE


class Parser(argparse.ArgumentParser):
    """argparse, with netbond's exit status for a wrong command line (64; argparse says 2)."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; see '{self.prog} --help'\n")
