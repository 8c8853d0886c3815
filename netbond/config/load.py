"""Reads the configuration file: TOML, checked key by key, into the dataclasses of netbond.config.schema.

Every error is a ConfigError that names the file, the line, the key, the value and what is expected. A missing
file at the default place is an empty configuration: netbond works without one.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tomli

from netbond.config import crosscheck, paths
from netbond.config.lines import line_numbers
from netbond.config.mistakes import Mistakes
from netbond.config.schema import BUILT_IN_CHECKS, MAX_NESTED, REPEATED, SINGLE, Config
from netbond.config.values import InvalidValueError
from netbond.errors import ConfigError
from netbond.system import files
from netbond.system.strict_modes import open_to_all
from netbond.system.text import printable

if TYPE_CHECKING:
    import argparse


DEFAULT_PATH = Path(paths.CONFIG)
LONGEST = 120  # characters of a value in an error
LARGEST = 1 << 20  # bytes; a larger file is not a configuration

T = TypeVar("T")


def fill(cls: type[T], data: object, where: str, mistakes: Mistakes) -> T | None:
    """Make the dataclass `cls` of a table of TOML; its fields have the metadata of netbond.config.schema.

    `where` is the table's name. None if there is too little for one; mistakes has why.
    """
    if not isinstance(data, dict):
        table = re.sub(r"\[[0-9]+\]", "", where)
        mistakes.add(where, f"{where} is {short(data)}", f"write it as a table, [{table}]")
        return None
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # T is one of the dataclasses above
    values: dict[str, Any] = {}
    wrong = set()
    for key, value in data.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "the keys there are " + ", ".join(known)
            mistakes.add(f"{where}.{key}", f"{where} has an unknown key {short(key)}", hint)
            wrong |= set(near)
            continue
        if "table" in known[key].metadata:
            values[key] = _nested(known[key].metadata["table"], value, f"{where}.{key}", mistakes)
            continue
        if "inner" in known[key].metadata:
            values[key] = fill(known[key].metadata["inner"], value, f"{where}.{key}", mistakes)
            continue
        try:
            values[key] = known[key].metadata["kind"](value)
        except InvalidValueError as invalid:
            wrong.add(key)
            what = f"{where}.{key} = {short(value)} is not valid"
            mistakes.add(f"{where}.{key}", what, f"expected {invalid}")
    for key, spec in known.items():
        if key not in values and spec.default is spec.default_factory:  # both MISSING: the key is required
            if key not in wrong:
                mistakes.add(where, f"{where} lacks the key {key!r}", f"add {key} = ...")
            wrong.add(key)
            values[key] = None
    return None if any(value is None and key in wrong for key, value in values.items()) else cls(**values)


def short(value: object) -> str:
    """A value as an error names it, and only its beginning if it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _nested(cls: type[T], value: object, where: str, mistakes: Mistakes) -> tuple[T, ...]:
    """The tables of an [[outer.inner]]."""
    plain = re.sub(r"\[[0-9]+\]", "", where)
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        mistakes.add(where, f"{where} is {short(value)}", f"write each as a table, [[{plain}]]")
        return ()
    if len(value) > MAX_NESTED:
        mistakes.add(where, f"{where} has {len(value)} tables", f"{MAX_NESTED} are the limit")
        return ()
    return fill_all(cls, value, where, mistakes)


def fill_all(cls: type[T], rows: Sequence[object], where: str, mistakes: Mistakes) -> tuple[T, ...]:
    """The tables of a [[where]], those that can be made."""
    found = (fill(cls, row, f"{where}[{number}]", mistakes) for number, row in enumerate(rows, 1))
    return tuple(each for each in found if each is not None)


def toml(text: str, tables: Sequence[str], mistakes: Mistakes) -> dict[str, Any]:
    """Read TOML with these tables. ConfigError if it is none: nothing can be read of it then."""
    if text.startswith("\ufeff"):
        what = f"{mistakes.file}: it begins with a byte order mark"
        raise ConfigError(what, "save it as UTF-8 without BOM")
    try:
        data = tomli.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; numbers too long, brackets too deep
        raise not_toml(text, mistakes.file, error) from None
    mistakes.lines = line_numbers(text)
    for key in list(data):
        if key not in tables:
            near = difflib.get_close_matches(key, tables, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "known are " + ", ".join(tables)
            kind = "table" if isinstance(data[key], dict | list) else "key"
            mistakes.lines.setdefault(key, mistakes.lines.get(f"{key}[1]", 0))
            mistakes.add(key, f"unknown {kind} {short(key)}", hint)
            del data[key]
    return data


def not_toml(text: str, file: str, error: Exception) -> ConfigError:
    """What to say of a text that is not TOML: what people write who know other formats is named as such."""
    place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
    if place is None:
        what = f"{file}: not valid TOML: {printable(str(error), LONGEST)}"
        open_end = "at end of document" in str(error)
        return ConfigError(what, "close the quote or bracket that is open" if open_end else "correct it")
    line = text.splitlines()[int(place[1]) - 1] if int(place[1]) <= len(text.splitlines()) else ""
    what = printable(str(error).replace(place[0], "").strip(), LONGEST)
    hint = next((hint for pattern, hint in SLIPS if re.search(pattern, line)), "correct that line")
    return ConfigError(f"{file}:{place[1]}: not valid TOML: {what}", hint)


# Lines that TOML refuses, and what is meant by them.
SLIPS = (
    ("[\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb]", 'write straight quotes: "usb0"'),
    (r"=\s*\[?\s*True\b", "write true, in small letters"),
    (r"=\s*\[?\s*False\b", "write false, in small letters"),
    (r"=\s*(?i:yes|on)\s*(#.*)?$", "write true"),
    (r"=\s*(?i:no|off)\s*(#.*)?$", "write false"),
    (r"=\s*(?i:none|null|nil)\b", "leave the key out"),
    (r"^\s*\[[^\]]*$|^\s*\[\[[^\]]*\](\s*#.*)?$", "close the brackets: [table] or [[table]]"),
    (r"^\s*[\w-]+\s*:", "write key = value"),
    (r"^\s*//|^\s*;", "a comment begins with #"),
    (r"=\s*[A-Za-z_./][^\"']*$", 'write text in quotes: "usb0"'),
    (r"=\s*[0-9]+(\.[0-9]+){2,}", 'write an address in quotes: "192.168.8.1"'),
    (r"=\s*[0-9.]+\s*[A-Za-z%/]+", 'write a number with a unit in quotes: "50GB"'),
    (r"=\s*(#.*)?$", "write a value after the ="),
)


def parse(text: str, file: str = "configuration") -> Config:
    """Read a configuration from TOML text; ConfigError names the first mistake. `file` is its name there."""
    return read(text, Mistakes(file))


def read(text: str, mistakes: Mistakes) -> Config:
    """Read a configuration from TOML text, without what is wrong in it, if mistakes are collected."""
    values: dict[str, Any] = {}
    data = toml(text, [*SINGLE, *REPEATED], mistakes)
    for key, value in data.items():
        if key in SINGLE:
            values[key] = fill(SINGLE[key], value, key, mistakes)
        elif isinstance(value, list):
            values[key] = fill_all(REPEATED[key], value, key, mistakes)
        else:
            mistakes.add(key, f"[{key}] is a single table", f"write it as [[{key}]]")
    config = Config(**{key: value for key, value in values.items() if value is not None})
    # Tables that could not be made are not there, and the others would be called by wrong numbers.
    if all(len(values.get(key, ())) == len(data.get(key, ())) for key in REPEATED):
        crosscheck.check(config, mistakes, [check.name for check in BUILT_IN_CHECKS])
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
    """Read the file at `path`; if it is None, that at the default place, where it may be missing.

    Root reads none that everybody can write: it names commands that root runs.
    """
    file = path or DEFAULT_PATH
    refuse_open_to_all(file)
    try:
        text = read_text(file)
    except FileNotFoundError:
        if path is None:
            return Config()
        raise ConfigError(f"{file}: no such file", "name a file that exists, or leave --config out") from None
    return parse(text, str(file))


def refuse_open_to_all(file: Path) -> None:
    """ConfigError if this is root, and everybody could write the file: it names commands that root runs."""
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError, RuntimeError):  # read_text() says what is wrong
        wrong, todo = open_to_all(file)
        if wrong:
            raise ConfigError(f"{file} is not read: {wrong}", todo)


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
