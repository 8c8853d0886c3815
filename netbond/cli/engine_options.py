"""Makes the options of `netbond send` and `netbond recv` from the keys of [[sender]] and [[receiver]].

Each key of an engine's table is an option with the same name, default and check (netbond.config.schema); only
the text for `--help` is here. An engine on the command line has some more options, and takes its addresses
also in the form of srtla_send and srtla_rec.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbond.cli import dropin
from netbond.config import targets
from netbond.config.schema import MODES, KeyConfig, ReceiverConfig, SenderConfig
from netbond.config.values import HostPort, InvalidValueError, parse_host_port
from netbond.errors import UsageError

if TYPE_CHECKING:
    from netbond.srtla.registration.keyring import Key

# For each key: the placeholder for its value, and the text for --help.
WORDS = {
    "mode": ("{" + ",".join(MODES) + "}", "how links are used (adaptive)"),
    "latency": ("MS", "SRT's latency; default: as in SRT's handshake"),
    "probe_metered": ("", "probe metered links for more capacity, too"),
    "timeout": ("S", "forget a link after this time of silence (10 s)"),
    "group_timeout": ("S", "forget a stream after this time without links (10 s)"),
    "groups": ("N", "streams at once at most (200)"),
    "groups_per_source": ("N", "streams of one IPv4 address or IPv6 /64 at most (32)"),
    "group_dir": ("DIR", "write srtla-group-PORT files to this folder (often /tmp)"),
    "workers": ("N", "number of processes, to use more than one core (1)"),
    "key_file": ("FILE", "a key that sender and receiver share; other programs ignore it"),
    "key": ("NAME=FILE", "another key, and the name of the streams that come with it; may be repeated"),
    "srtla_stats": ("", "tell the SRT server each second what each link carries, as OpenIRL's receiver does"),
    "stats_listen": ("ADDRESS:PORT", "serve a page with the streams, for NOALBS; TCP"),
    "stats_key_file": ("FILE", "the key that this page asks for"),
    "require_key": ("", "accept the other end only if it proves that it has the key"),
    "server": ("PATTERN=HOST:PORT", "another SRT server, for streams whose id fits; may be repeated"),
    "show_stream_ids": ("", "SRT stream ids are no secret: show them whole"),
    "bitrate_file": ("FILE", "write the video bitrate that the links can carry to this file, for an encoder"),
    "bitrate_min": ("RATE", "the least that is written, like 800k (0.5M)"),
    "bitrate_max": ("RATE", "the most (12M)"),
    "bitrate_overhead": ("SHARE", "of the stream, what is not video, 0 to 0.5; default: it is measured"),
    "pid_file": ("FILE", "has the process id of the encoder, which gets SIGHUP when the file changes"),
    "process": ("NAME", "the encoder's name, instead of its process id"),
}


def add_options(parser: argparse.ArgumentParser, engine: type[SenderConfig] | type[ReceiverConfig]) -> None:
    """Add an option for each key of this engine that has a default, and the options that are not keys."""
    for key in fields(engine):
        for each in fields(key.metadata["inner"]) if "inner" in key.metadata else (key,):
            if each.default is not MISSING or each is not key:
                _add_option(parser, each)
    parser.add_argument(
        "--stats-file",
        type=Path,
        metavar="FILE",
        help="write statistics to this file each second, as JSON",
    )
    dropin.add_common_options(parser)
    parser.add_argument("--control-fd", type=int, metavar="N", help="the channel with the agent")
    parser.add_argument("--user", metavar="NAME", help="become this user before any socket is opened")


def _add_option(parser: argparse.ArgumentParser, key: Field[Any]) -> None:
    metavar, words = WORDS[key.name]
    if isinstance(key.default, bool):
        parser.add_argument(option(key), dest=key.name, action="store_true", help=words)
    elif "table" in key.metadata:
        parser.add_argument(option(key), dest=key.name, action="append", metavar=metavar, help=words)
    else:
        text = Path if metavar in ("FILE", "DIR") else str
        parser.add_argument(option(key), dest=key.name, type=text, metavar=metavar, help=words)


def given(args: argparse.Namespace, engine: type[SenderConfig] | type[ReceiverConfig]) -> dict[str, Any]:
    """Return the values of the given options by key; UsageError names an invalid one."""
    values: dict[str, Any] = {}
    for key in fields(engine):
        if "inner" in key.metadata:
            inner = _given_inner(args, key.metadata["inner"])
            if inner is not None:
                values[key.name] = inner
            continue
        said = getattr(args, key.name) if key.default is not MISSING else None
        if isinstance(said, list):
            values[key.name] = tuple(_value(key, each) for each in said)
        elif said is not None:
            values[key.name] = _value(key, said)
    return values


def _given_inner(args: argparse.Namespace, table: type[Any]) -> Any:
    """Return the inner table that the options make, None if none of them is given."""
    values = {}
    for key in fields(table):
        said = getattr(args, key.name)
        if said is not None:
            values[key.name] = _value(key, said)
    for key in fields(table):
        if values and key.default is MISSING and key.name not in values:
            first = next(option(each) for each in fields(table) if each.name in values)
            raise UsageError(f"{first} needs {option(key)}", f"add {option(key)} FILE")
    return table(**values) if values else None


def _value(key: Field[Any], said: str | Path | bool) -> Any:
    if isinstance(said, bool | Path):
        return said  # on the command line, a path may be relative
    value: object = said
    if isinstance(key.default, int) and re.fullmatch("[0-9]{1,9}", said):
        value = int(said)
    elif key.default is None or isinstance(key.default, float):
        with contextlib.suppress(ValueError):
            value = float(said)
    read = key.metadata["table"].parse if "table" in key.metadata else key.metadata["kind"]
    try:
        return read(value)
    except InvalidValueError as error:
        raise UsageError(f"{option(key)} {said!r} is not valid", f"expected {error}") from None


def option(key: Field[Any]) -> str:
    """Return the option of this key: "--group-dir" for "group_dir"."""
    return f"--{key.metadata.get('option', key.name.replace('_', '-'))}"


def key_of(args: argparse.Namespace) -> bytes | None:
    """Read the key from --key-file; UsageError if it cannot be read, or --require-key has no --key-file."""
    from netbond.srtla.registration import psk

    if args.key_file is not None:
        return psk.read(args.key_file)
    if args.require_key:
        raise UsageError("--require-key needs a key", "add --key-file FILE")
    return None


def keys_of(args: argparse.Namespace, keys: Sequence[KeyConfig]) -> tuple[Key, ...]:
    """Read a receiver's keys, from --key-file and --key; UsageError as above."""
    from netbond.srtla.registration import psk
    from netbond.srtla.registration.keyring import Key

    named = [Key(psk.read(key.file, "--key"), key.name) for key in keys]
    if named and args.key_file is None:
        return tuple(named)
    unnamed = key_of(args)
    return (*named, *(() if unnamed is None else (Key(unnamed),)))


def stats_key_of(args: argparse.Namespace) -> bytes | None:
    """Read the key of the page from --stats-key-file; UsageError if page or key is missing."""
    from netbond.srtla.registration import psk

    if (args.stats_listen is None) != (args.stats_key_file is None):
        raise UsageError(
            "the page of streams needs an address and a key",
            "give --stats-listen ADDRESS:PORT and --stats-key-file FILE",
        )
    return psk.read(args.stats_key_file, "--stats-key-file") if args.stats_key_file is not None else None


def port_number(text: str, what: str) -> int:
    """Parse a UDP port from the command line; UsageError names `what`."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise UsageError(f"{what} {text!r} is not a port", "expected a number from 1 to 65535")
    return int(text)


def host_name(text: str, what: str) -> str:
    """Parse a host name or an address, without a port, from the command line; UsageError names `what`."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not targets.is_host(host):
        raise UsageError(f"{what} {text!r} is not a host", "expected a name or an address")
    return host


def host_port(text: str, what: str) -> HostPort:
    """Parse HOST:PORT from the command line; UsageError names `what`."""
    try:
        return parse_host_port(text)
    except ValueError as error:
        raise UsageError(f"{what} {text!r} is not valid", f"expected {error}") from None


def address_port(text: str, what: str) -> HostPort:
    """Parse ADDRESS:PORT of this box from the command line; UsageError names `what`."""
    where = host_port(text, what)
    try:
        ipaddress.ip_address(where.host)
    except ValueError:
        raise UsageError(
            f"{what} {text!r} has no address",
            "expected something like '127.0.0.1:6000' or '[::]:5000'",
        ) from None
    return where
