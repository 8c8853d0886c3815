"""Runs `netbond fleet sd`: tells Prometheus where the boxes of a list are, by a file or over HTTP."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from netbond import fleet
from netbond.config import load
from netbond.config.mistakes import Mistakes
from netbond.config.values import parse_host_port
from netbond.errors import EXIT_OK, ConfigError, UnavailableError, UsageError
from netbond.system import files
from netbond.system.file_change import FileChange
from netbond.system.http_server import HttpServer, send_json
from netbond.system.text import counted

HELP = "Tell Prometheus where the boxes of a fleet are (service discovery)."

PATH = "/sd"
PERIOD_S = 1.0  # between looks at the list


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    text = "make targets for Prometheus of a list of boxes: print them, write them, or serve them"
    commands = parser.add_subparsers(dest="fleet_command", metavar="WHAT", required=True)
    sd = commands.add_parser("sd", help=text, description=text)
    sd.add_argument("list", type=Path, metavar="LIST", help="a TOML file with a [[box]] for each box")
    sd.add_argument(
        "--output", type=Path, metavar="FILE", help="write them to this file, for file_sd_configs"
    )
    sd.add_argument(
        "--listen", metavar="HOST:PORT", help=f"serve them at http://HOST:PORT{PATH}, for http_sd_configs"
    )
    sd.add_argument(
        "--follow", action="store_true", help="with --output: go on, and write anew when the list changes"
    )


def run(args: argparse.Namespace) -> int:
    """Check the list, and give its targets; 0 unless the list is wrong."""
    if args.follow and not args.output:
        raise UsageError("--follow needs --output FILE", "say where the targets go")
    if args.output and args.output.suffix != ".json":
        raise UsageError(f"--output {args.output}", "name one that ends with .json, as Prometheus asks")
    change = FileChange(args.list)
    targets = Targets(args.list)
    if args.output:
        targets.write(args.output)
    if not args.output and not args.listen:
        print(targets.text, end="")
    if not args.follow and not args.listen:
        return EXIT_OK
    server = _serve(targets, args.listen) if args.listen else None
    try:
        with contextlib.suppress(KeyboardInterrupt):  # how one ends it
            _follow(targets, change, args.output)
    finally:
        if server is not None:
            server.stop()
    return EXIT_OK


class Targets:
    """The targets of the list, as it was read last."""

    def __init__(self, file: Path) -> None:
        """Read it; ConfigError."""
        self._file = file
        self.text = ""
        self.read()

    def read(self) -> None:
        """Read the list anew. All mistakes are said but the last, which is the ConfigError; then the targets
        stay as they are."""
        mistakes = Mistakes(str(self._file), all_of_them=True)
        try:
            boxes = fleet.read(load.read_text(self._file), mistakes)
        except FileNotFoundError:
            raise ConfigError(f"{self._file}: no such file", "name a file that exists") from None
        if mistakes.found:
            *others, last = mistakes.found
            for mistake in others:
                _say(str(mistake))
            raise last
        self.text = fleet.target_groups(boxes)
        self.count = len(boxes)

    def write(self, output: Path) -> None:
        """Replace the file as a whole: Prometheus reads it when it changes. UnavailableError."""
        try:
            files.replace(output, self.text.encode(), 0o644)
        except OSError as error:
            raise UnavailableError(
                f"{output}: {files.why(error)}", "name a file in a directory that this user can write"
            ) from None


def _serve(targets: Targets, listen: str) -> HttpServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] == PATH:
                send_json(self, targets.text.encode())
            else:
                self.send_error(404, explain=f"The targets are at {PATH}.")

        def log_message(self, *_: object) -> None:
            """Say nothing: Prometheus asks once a minute, and for ever."""

    try:
        at = parse_host_port(listen)
    except ValueError as error:
        raise UsageError(f"--listen {listen}", f"expected {error}") from None
    server = HttpServer(at, Handler, "targets")
    server.start("choose another address with --listen")
    _say(f"{counted(targets.count, 'target')} at http://{at}{PATH}")
    return server


def _follow(targets: Targets, change: FileChange, output: Path | None) -> None:
    """Read the list again whenever it has changed; one that is wrong changes nothing."""
    is_new = False
    while True:
        time.sleep(PERIOD_S)
        if change.look(0.0) is not None:
            # Wait until it stays as it is: half of a list that is being copied may be a valid list, and
            # Prometheus would forget the other half.
            change.read()
            is_new = True
        elif is_new:
            is_new = False
            try:
                targets.read()
                if output:
                    targets.write(output)
                _say(counted(targets.count, "target"))
            except (ConfigError, UnavailableError) as error:
                _say(f"{error}; the targets stay as they are")


def _say(text: str) -> None:
    print(f"netbond fleet: {text}", file=sys.stderr, flush=True)
