"""Writes the archive of `netbond doctor --bundle`: what a bug report needs, masked."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli

from netbond import __version__
from netbond.config.load import DEFAULT_PATH, LARGEST
from netbond.config.schema import Config
from netbond.config.targets import as_address
from netbond.doctor.masking import Masker
from netbond.doctor.model import Seen
from netbond.errors import UsageError
from netbond.plan import plan
from netbond.srtla.statistics import ReceiverStatistics, SenderStatistics
from netbond.status import event_log
from netbond.status.schema import Snapshot
from netbond.status.schema import to_json as snapshot_json
from netbond.status.snapshot import for_everybody
from netbond.system import files
from netbond.system.typed_json import to_json

README = """\
netbond {version}: what `netbond doctor --bundle` has found on a box.

Masked: addresses, MAC addresses, host names, URLs, the numbers of SIMs and modems, ids of streams, keys, the
arguments of commands, and whatever looks like a secret. The same value has the same mask in all files. Look
through it before you send it: what you call your uplinks is in it.
"""

# What else is asked, by the name of its file.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "rules.txt": ("ip", "rule"),
    "rules6.txt": ("ip", "-6", "rule"),
    "routes.txt": ("ip", "-4", "route", "show", "table", "all"),
    "routes6.txt": ("ip", "-6", "route", "show", "table", "all"),
    "nexthops.txt": ("ip", "nexthop"),
    "links.txt": ("ip", "-s", "-d", "link"),
    "addresses.txt": ("ip", "address"),
    "neighbours.txt": ("ip", "neighbour"),
    "nftables.txt": ("nft", "list", "ruleset"),
    "sockets.txt": ("ss", "-anu"),
    "unit.txt": ("systemctl", "cat", "netbond.service"),
    "journal.txt": ("journalctl", "--no-pager", "-o", "short-iso", "-n", "3000", "-u", "netbond"),
    "hooks.txt": ("journalctl", "--no-pager", "-o", "short-iso", "-n", "300", "-t", "netbond-hook"),
    "kernel.txt": ("uname", "-srvm"),
}
_COMMAND_S = 10.0
_MOST_BYTES = 4 << 20  # of a command's output
_LARGEST_KEY_BYTES = 4096


def write(path: Path, seen: Seen, report: Mapping[str, Any], config_file: Path | None) -> None:
    """Write the archive, readable by its owner only. UsageError if there is a file already; OSError."""
    if os.path.lexists(path):
        raise UsageError(f"{path} exists", "choose another name")
    texts = dict(contents(seen, report, config_file))
    files.replace(path, archive(texts), 0o600)


def contents(seen: Seen, report: Mapping[str, Any], config_file: Path | None) -> Iterator[tuple[str, str]]:
    """The files' names, and their masked texts."""
    data = _config(config_file or DEFAULT_PATH)
    masker = Masker(
        secrets=[*_keys(seen.config), *_stream_ids(seen.snapshot)],
        hosts=[*_hosts(seen.config), *_this_host()],
    )
    yield "README.txt", README.format(version=__version__)
    yield "doctor.json", masker.json_text(dict(report))
    yield "config.json", masker.json_text(without_arguments(data))
    if seen.snapshot is not None:
        yield "status.json", masker.json_text(snapshot_json(for_everybody(seen.snapshot)))
    operations = plan(seen.facts, seen.goal, seen.config.routing.protocol)
    yield "plan.txt", masker.mask("".join(f"{each.command()}  # {each.why}\n" for each in operations))
    yield "events.txt", masker.mask(_events(seen.config.agent.state_dir))
    for name, command in COMMANDS.items():
        yield name, masker.mask(_output(command))


def archive(texts: Mapping[str, str]) -> bytes:
    """A .tar.gz with these files in one folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in texts.items():
            data = text.encode(errors="backslashreplace")
            about = tarfile.TarInfo(f"netbond-doctor/{name}")
            about.size, about.mode, about.mtime = len(data), 0o600, int(time.time())
            tar.addfile(about, io.BytesIO(data))
    return buffer.getvalue()


def without_arguments(value: object) -> object:
    """The configuration without the arguments of its commands: tokens of chats and the like."""
    if isinstance(value, dict):
        return {
            key: [*inner[:1], *("<argument>" for _ in inner[1:])]
            if key == "command" and isinstance(inner, list)
            else without_arguments(inner)
            for key, inner in value.items()
        }
    return [without_arguments(inner) for inner in value] if isinstance(value, list) else value


def _config(path: Path) -> object:
    """The file as data, without its comments. Of one that is broken only that: its text may hold anything."""
    try:
        return tomli.loads(files.read(path.resolve(), LARGEST)[0].decode())
    except (OSError, RuntimeError) as error:
        return {"error": str(error)}
    except (tomli.TOMLDecodeError, UnicodeDecodeError):
        return {"error": "it is no TOML"}


def _keys(config: Config) -> Iterator[str]:
    """What is in the files with keys."""
    paths = [sender.key_file for sender in config.sender]
    for receiver in config.receiver:
        paths += [receiver.key_file, receiver.stats_key_file, *(key.file for key in receiver.key)]
    for path in paths:
        if path is not None:
            try:
                text = files.read(path.resolve(), _LARGEST_KEY_BYTES)[0].decode(errors="replace")
            except (OSError, RuntimeError):
                continue
            yield from text.split()


def _stream_ids(snapshot: Snapshot | None) -> Iterator[str]:
    for engine in snapshot.engines if snapshot is not None else ():
        if isinstance(engine.stats, SenderStatistics):
            yield engine.stats.stream_id
        elif isinstance(engine.stats, ReceiverStatistics):
            yield from (group.stream_id for group in engine.stats.groups)


def _hosts(config: Config) -> Iterable[str]:
    ends = [end for sender in config.sender for end in sender.receivers]
    for receiver in config.receiver:
        ends += [receiver.srt, *(server.srt for server in receiver.server)]
    return [end.host for end in ends if as_address(end.host) is None and end.host != "localhost"]


def _this_host() -> list[str]:
    name = socket.gethostname()
    return [] if name in ("localhost", "netbond") else [name]


def _events(state_dir: Path) -> str:
    try:
        found = event_log.read(state_dir)
    except OSError as error:
        return f"{files.why(error)}\n"
    return "".join(f"{json.dumps(to_json(event))}\n" for event in found)


def _output(command: tuple[str, ...]) -> str:
    """What a command prints, or why it does not."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{error}\n"
    return (done.stdout[-_MOST_BYTES:] + done.stderr[-_MOST_BYTES:]).decode(errors="replace")
