"""Makes the options of `netbond send` and `netbond recv` from the keys of [[sender]] and [[receiver]].

A key of the configuration that an engine has is an option here: same name, default and check
(netbond.config.schema). Only its words for `--help` are here. What stands alone has more options, and the
places to listen and to send to may be given as srtla_send and srtla_rec have them.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from netbond.config import targets
from netbond.config.schema import MODES, ReceiverConfig, SenderConfig
from netbond.config.values import HostPort, InvalidValueError, parse_host_port
from netbond.errors import UsageError

# Key: the placeholder for its value, and what --help says.
WORDS = {
    "mode": ("{" + ",".join(MODES) + "}", "how links are used (adaptive)"),
    "latency": ("MS", "SRT's latency, where it is not to be learnt from the handshake"),
    "timeout": ("S", "forget a link silent for so long (10 s)"),
    "group_timeout": ("S", "forget a stream without links after so long (10 s)"),
    "group_dir": ("DIR", "write srtla-group-PORT files there (often /tmp)"),
    "workers": ("N", "processes, for more than one core (1)"),
    "key_file": ("FILE", "a key that senders and receivers share; other programs ignore it"),
    "require_key": ("", "deal only with the other end if it has shown that key"),
}


def add_options(parser: argparse.ArgumentParser, engine: type[SenderConfig] | type[ReceiverConfig]) -> None:
    """Add an option for each key of this engine that has a default, and those that are no keys."""
    for key in fields(engine):
        if key.default is MISSING:
            continue
        metavar, words = WORDS[key.name]
        if isinstance(key.default, bool):
            parser.add_argument(option(key.name), action="store_true", help=words)
        else:
            text = Path if metavar in ("FILE", "DIR") else str
            parser.add_argument(option(key.name), type=text, metavar=metavar, help=words)
    parser.add_argument(
        "--stats-file",
        type=Path,
        metavar="FILE",
        help="keep the statistics of the last second there, as JSON",
    )
    parser.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], default="info", help="default: info"
    )
    parser.add_argument("--verbose", action="store_true", help="the same as --log-level debug")
    parser.add_argument("--control-fd", type=int, metavar="N", help="the channel with the agent")
    parser.add_argument("--user", metavar="NAME", help="become this user before any socket is opened")


def given(args: argparse.Namespace, engine: type[SenderConfig] | type[ReceiverConfig]) -> dict[str, Any]:
    """The values of the options that were given, by key; UsageError names one that is not valid."""
    values = {}
    for key in fields(engine):
        said = getattr(args, key.name) if key.default is not MISSING else None
        if said is not None:
            values[key.name] = _value(key, said)
    return values


def _value(key: Field[Any], said: str | Path | bool) -> Any:
    if isinstance(said, bool | Path):
        return said  # a path may be relative here
    value: object = said
    if isinstance(key.default, int) and re.fullmatch("[0-9]{1,9}", said):
        value = int(said)
    elif isinstance(key.default, float):
        with contextlib.suppress(ValueError):
            value = float(said)
    try:
        return key.metadata["kind"](value)
    except InvalidValueError as error:
        raise UsageError(f"{option(key.name)} {said!r} is not valid", f"expected {error}") from None


def option(key: str) -> str:
    """The option of this key."""
    return "--" + key.replace("_", "-")


def key_of(args: argparse.Namespace) -> bytes | None:
    """The key that --key-file names; UsageError if it cannot be read, or --require-key is without one."""
    from netbond.srtla.registration import psk

    if args.key_file is not None:
        return psk.read(args.key_file)
    if args.require_key:
        raise UsageError("--require-key needs a key", "add --key-file FILE")
    return None


def port_number(text: str, what: str) -> int:
    """A UDP port from the command line; UsageError names `what`."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise UsageError(f"{what} {text!r} is not a port", "expected a number from 1 to 65535")
    return int(text)


def host_name(text: str, what: str) -> str:
    """A name or an address from the command line, without a port; UsageError names `what`."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not targets.is_host(host):
        raise UsageError(f"{what} {text!r} is not a host", "expected a name or an address")
    return host


def host_port(text: str, what: str) -> HostPort:
    """HOST:PORT from the command line; UsageError names `what`."""
    try:
        return parse_host_port(text)
    except ValueError as error:
        raise UsageError(f"{what} {text!r} is not valid", f"expected {error}") from None


def address_port(text: str, what: str) -> HostPort:
    """ADDRESS:PORT of this box from the command line; UsageError names `what`."""
    where = host_port(text, what)
    try:
        ipaddress.ip_address(where.host)
    except ValueError:
        raise UsageError(
            f"{what} {text!r} names no address",
            "expected something like '127.0.0.1:6000' or '[::]:5000'",
        ) from None
    return where
