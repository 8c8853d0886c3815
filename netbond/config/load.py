"""Reads the configuration file: TOML, checked key by key, into the dataclasses of netbond.config.schema.

Every error is a ConfigError that names the file, the key, the value and what is expected. A missing file at
the default place is an empty configuration: netbond works without one.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tomli

from netbond.config import crosscheck, paths
from netbond.config.schema import BUILT_IN_CHECKS, MAX_NESTED, REPEATED, SINGLE, Config
from netbond.config.values import InvalidValueError
from netbond.errors import ConfigError
from netbond.system import files

if TYPE_CHECKING:
    import argparse


DEFAULT_PATH = Path(paths.CONFIG)
LARGEST = 1 << 20  # bytes; a larger file is not a configuration

T = TypeVar("T")


def fill(cls: type[T], data: object, where: str, file: str) -> T:
    """Make the dataclass `cls` of a table of TOML; its fields have the metadata of netbond.config.schema.

    ConfigError names the first mistake. `where` is the table's name, `file` that of the file.
    """
    if not isinstance(data, dict):
        table = re.sub(r"\[[0-9]+\]", "", where)
        raise ConfigError(f"{file}: {where} is {data!r}", f"write it as a table, [{table}]")
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # T is one of the dataclasses above
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"{file}: {where} has an unknown key {key!r}",
                f"did you mean {near[0]!r}?" if near else "the keys there are " + ", ".join(known),
            )
        if "table" in known[key].metadata:
            values[key] = _nested(known[key].metadata["table"], value, f"{where}.{key}", file)
            continue
        if "inner" in known[key].metadata:
            values[key] = fill(known[key].metadata["inner"], value, f"{where}.{key}", file)
            continue
        try:
            values[key] = known[key].metadata["kind"](value)
        except InvalidValueError as invalid:
            raise ConfigError(
                f"{file}: {where}.{key} = {value!r} is not valid", f"expected {invalid}"
            ) from None
    for key, spec in known.items():
        if key not in values and spec.default is spec.default_factory:  # both MISSING: the key is required
            raise ConfigError(f"{file}: {where} lacks the key {key!r}", f"add {key} = ...")
    return cls(**values)


def _nested(cls: type[T], value: object, where: str, file: str) -> tuple[T, ...]:
    """The tables of an [[outer.inner]]."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        plain = re.sub(r"\[[0-9]+\]", "", where)
        raise ConfigError(f"{file}: {where} is {value!r}", f"write each as a table, [[{plain}]]")
    if len(value) > MAX_NESTED:
        raise ConfigError(f"{file}: {where} has {len(value)} tables", f"{MAX_NESTED} are the limit")
    return tuple(fill(cls, each, f"{where}[{number}]", file) for number, each in enumerate(value, 1))


def toml(text: str, file: str, tables: Sequence[str]) -> dict[str, Any]:
    """Read TOML with these tables; ConfigError names `file`, and the line or a table that is not known."""
    try:
        data = tomli.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; numbers too long, brackets too deep
        raise ConfigError(f"{file}: not valid TOML: {error}", "correct that line") from None
    for key in data:
        if key not in tables:
            near = difflib.get_close_matches(key, tables, n=1)
            raise ConfigError(
                f"{file}: unknown table {key!r}",
                f"did you mean {near[0]!r}?" if near else "known are " + ", ".join(tables),
            )
    return data


def parse(text: str, file: str = "configuration") -> Config:
    """Read a configuration from TOML text; ConfigError names the first mistake. `file` is its name there."""
    values: dict[str, Any] = {}
    for key, value in toml(text, file, [*SINGLE, *REPEATED]).items():
        if key in SINGLE:
            values[key] = fill(SINGLE[key], value, key, file)
        else:
            if not isinstance(value, list):
                raise ConfigError(f"{file}: [{key}] is a single table", f"write it as [[{key}]]")
            values[key] = tuple(
                fill(REPEATED[key], item, f"{key}[{number}]", file) for number, item in enumerate(value, 1)
            )
    config = Config(**values)
    crosscheck.check(config, file, [check.name for check in BUILT_IN_CHECKS])
    return config


def default_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file that $NETBOND_CONFIG names, which must exist; None for the default place."""
    name = paths.config_file(environ)
    return Path(name) if name else None


def config_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option --config to a command that reads the configuration; `args.config` is for `load`."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=default_path(),
        help=f"the configuration file (default: $NETBOND_CONFIG, or {DEFAULT_PATH} if it is there)",
    )


def load(path: Path | None) -> Config:
    """Read the file at `path`; if it is None, that at the default place, where it may be missing."""
    file = path or DEFAULT_PATH
    try:
        text = read_text(file)
    except FileNotFoundError:
        if path is None:
            return Config()
        raise ConfigError(f"{file}: no such file", "name a file that exists, or leave --config out") from None
    return parse(text, str(file))


def read_text(file: Path) -> str:
    """The text of a file of at most LARGEST bytes; ConfigError, or FileNotFoundError if there is none."""
    try:
        return files.read(file.resolve(), LARGEST)[0].decode()
    except FileNotFoundError:
        raise
    except files.UnfitFileError as error:
        raise ConfigError(f"{file} {error.strerror}", "name a text file") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        why = error.strerror if isinstance(error, OSError) else "symbolic links lead in a circle"
        raise ConfigError(f"{file}: {why}", "make the file readable") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}", "save it as UTF-8") from None
