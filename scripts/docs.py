"""Writes the parts of the documentation that are made from the code; with --check, names outdated pages.

usage: .venv/bin/python scripts/docs.py [--check]

Each part is in its page between `<!-- made by scripts/docs.py: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields
from functools import partial
from pathlib import Path
from typing import Any

from netbond.cli.words import STATUSES, words
from netbond.config.schema import INNER, NESTED, REPEATED, SINGLE
from netbond.doctor.model import Finding
from netbond.events import Event
from netbond.installation.words import CommandWords, Option
from netbond.srtla.rehearsal import RehearsalResult
from netbond.srtla.statistics import ReceiverStatistics, SenderStatistics
from netbond.srtla.watch import WatchLine
from netbond.status import schema
from netbond.system.typed_json import json_schema

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "netbond"


def modules() -> str:
    """Return the table of modules: each file with the first line of its docstring."""
    rows = ["| module | what it is for |", "|---|---|"]
    files = [path for path in PACKAGE.rglob("*.py") if "_compiled" not in path.parts]
    rooms = sorted({path.parent for path in files}, key=lambda folder: (str(folder.relative_to(PACKAGE)),))
    for room in rooms:
        if room != PACKAGE:
            rows.append(f"| **{room.relative_to(PACKAGE)}/** | **{_first_line(room / '__init__.py')}** |")
        rows += [
            f"| `{path.relative_to(PACKAGE)}` | {_first_line(path)} |"
            for path in sorted(files)
            if path.parent == room and not path.stem.startswith("__")
        ]
    return "\n".join(rows)


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n", 1)[0].replace("|", "\\|")


def channel() -> str:
    """Return the table of the channel's messages: an example line, its senders, and its class's docstring."""
    from netbond.srtla.linkspec import LinkSpec
    from netbond.srtla.process import protocol

    samples: tuple[protocol.Message, ...] = (
        protocol.Resume({}),
        protocol.Links((LinkSpec("usb0", "10.0.0.10", "usb0"),)),
        protocol.EncoderThere(None),
        protocol.Ready(),
        protocol.Stats({}),
        protocol.AdviceMessage({}),
        protocol.VideoRate(4_200_000),
        protocol.Fatal("one line"),
        protocol.Hello(4711),
        protocol.Forget(["192.0.2.1", 40000]),
    )
    senders = {
        "agent": protocol.FROM_AGENT,
        "engine": protocol.FROM_ENGINE,
        "worker": set(protocol.FROM_WORKER) - set(protocol.FROM_ENGINE),
        "front": set(protocol.FROM_FRONT) - set(protocol.FROM_AGENT),
    }
    rows = ["| line | sent by | what it is |", "|---|---|---|"]
    for sample in samples:
        by = ", ".join(sender for sender, messages in senders.items() if type(sample) in messages)
        text = " ".join((type(sample).__doc__ or "").split())
        rows.append(f"| `{protocol.encode(sample).decode().strip()}` | {by} | {text} |")
    return "\n".join(rows)


def keys(table: type[Any]) -> str:
    """Return a table of the configuration: each key with its default and its meaning."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    rows += [f"| `{key.name}` | {_default(key)} | {key.metadata['doc']} |" for key in fields(table)]
    return "\n".join(rows)


def _default(key: Field[Any]) -> str:
    if "inner" in key.metadata:
        return "*none*"
    return f"`{_toml(key.metadata['default'])}`" if "default" in key.metadata else "*required*"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + "}"
    return json.dumps(value)  # TOML writes all other values as JSON does


def json_keys(shape: type[Any], *, nested: bool = True) -> str:
    """Return a table of the keys of a JSON object, and of nested ones, each with its type and its meaning."""
    definitions = json_schema(shape)["$defs"]

    def rows(name: str, prefix: str) -> Iterator[str]:
        for key, value in definitions[name]["properties"].items():
            said = value.get("description", "").replace("|", "\\|")
            yield f"| `{prefix}{key}` | {_json_type(value)} | {said} |"
            within, suffix = _object_within(value)
            if nested and within:
                yield from rows(within, f"{prefix}{key}{suffix}.")

    return "\n".join(("| key | type | meaning |", "|---|---|---|", *rows(shape.__name__, "")))


def _json_type(value: Mapping[str, Any]) -> str:
    """Return the type of a JSON Schema for people: "string or null", "list of objects"."""
    names = {"integer": "int", "number": "float", "boolean": "bool"}
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(map(_json_type, value["anyOf"])))
    if "enum" in value:
        return "string"
    kinds = value.get("type", "object")
    if kinds == "array":
        return f"list of {_json_type(value['items'])}s"
    if "additionalProperties" in value:
        return f"object of {_json_type(value['additionalProperties'])}s"
    return " or ".join(names.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _object_within(value: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of the one object in a key's value, or "", and the suffix of the key in the table."""
    if value.get("type") == "array":
        return _object_within(value["items"])[0], "[]"
    found = [each["$ref"].rpartition("/")[2] for each in (value, *value.get("anyOf", ())) if "$ref" in each]
    return (found[0] if len(found) == 1 else ""), ""


def exit_statuses() -> str:
    """Return the table of exit statuses."""
    rows = [f"| {status} | {meaning} |" for status, meaning in sorted(STATUSES.items())]
    return "\n".join(("| exit status | meaning |", "|---|---|", *rows))


def command_line() -> str:
    """Return a section for each command: what it does, how it is called, its options."""
    return "\n\n".join(part for command in words() for part in _command(command, "netbond"))


def _command(command: CommandWords, before: str) -> Iterator[str]:
    name = f"{before} {command.name}"
    arguments = [option.value + (" ..." if option.many else "") for option in command.arguments]
    usage = [
        name,
        *(["ACTION"] if command.actions else []),
        *(["[OPTION ...]"] if command.flags else []),
        *arguments,
    ]
    yield f"{'#' * len(name.split())} {name}\n{_cell(command.help)}"
    yield f"```text\n{' '.join(usage)}\n```"
    rows = [
        f"| {_option(option)} | {_cell(option.help)}{_choices(option)} |"
        for option in command.options
        if option.help and "--help" not in option.flags
    ]
    if rows:
        yield "\n".join(("| option | meaning |", "|---|---|", *rows))
    for action in command.actions:
        yield from _command(action, name)


def _option(option: Option) -> str:
    flags = ", ".join(f"`{flag}`" for flag in option.flags)
    return f"{flags} {option.value}".strip() if flags else f"`{option.value}`"


def _choices(option: Option) -> str:
    return f" ({', '.join(option.choices)})" if option.choices else ""


def _cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def files() -> str:
    """Return the table of files and folders whose place a key of the configuration says."""
    rows = ["| file or folder | key | what it is |", "|---|---|---|"]
    for table, shape in SINGLE.items():
        for key in fields(shape):
            default = key.metadata.get("default")
            if isinstance(default, str) and default.startswith("/"):
                rows.append(f"| `{default}` | `{table}.{key.name}` | {key.metadata['doc']} |")
    return "\n".join(rows)


# The parts: the page, the name of the part, and the function that makes it.
PARTS: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("docs/architecture.md", "modules", modules),
    ("docs/architecture.md", "channel", channel),
    *(("docs/config.md", f"[{name}]", partial(keys, table)) for name, table in SINGLE.items()),
    *(("docs/config.md", f"[[{name}]]", partial(keys, table)) for name, table in REPEATED.items()),
    *(("docs/config.md", f"[[{name}]]", partial(keys, table)) for name, table in NESTED.items()),
    *(("docs/config.md", f"[{name}]", partial(keys, table)) for name, table in INNER.items()),
    ("docs/status.md", "snapshot", partial(json_keys, schema.Snapshot, nested=False)),
    ("docs/status.md", "agent", partial(json_keys, schema.AgentStatus)),
    ("docs/status.md", "verdict", partial(json_keys, schema.Verdict)),
    ("docs/status.md", "uplinks", partial(json_keys, schema.UplinkStatus)),
    ("docs/status.md", "excluded", partial(json_keys, schema.ExcludedInterface)),
    ("docs/status.md", "idle_modems", partial(json_keys, schema.NoUplink)),
    ("docs/status.md", "gone", partial(json_keys, schema.DepartedUplink)),
    ("docs/status.md", "overrides", partial(json_keys, schema.OverrideStatus)),
    ("docs/status.md", "hardware", partial(json_keys, schema.HardwareStatus)),
    ("docs/status.md", "ecmp", partial(json_keys, schema.EcmpStatus)),
    ("docs/status.md", "policies", partial(json_keys, schema.PolicyStatus)),
    ("docs/status.md", "engines", partial(json_keys, schema.EngineStatus)),
    ("docs/status.md", "without agent", partial(json_keys, schema.WithoutAgent)),
    ("docs/cli.md", "commands", command_line),
    ("docs/files.md", "exit statuses", exit_statuses),
    ("docs/files.md", "files", files),
    ("docs/health.md", "health", partial(json_keys, schema.HealthStatus)),
    ("docs/metered.md", "metered", partial(json_keys, schema.DataPlanStatus)),
    ("docs/networkmanager.md", "networkmanager", partial(json_keys, schema.ManagedDevice)),
    ("docs/modemmanager.md", "modems", partial(json_keys, schema.ModemStatus)),
    ("docs/events.md", "event", partial(json_keys, Event)),
    ("docs/doctor.md", "finding", partial(json_keys, Finding)),
    ("docs/watch.md", "line", partial(json_keys, WatchLine)),
    ("docs/send.md", "statistics", partial(json_keys, SenderStatistics)),
    ("docs/recv.md", "statistics", partial(json_keys, ReceiverStatistics)),
    ("docs/rehearse.md", "rehearsal", partial(json_keys, RehearsalResult)),
)


def with_part(page: str, name: str, text: str) -> str:
    """Return the page with this part replaced; ValueError if the page does not have it exactly once."""
    pattern = re.compile(
        rf"(<!-- made by scripts/docs\.py: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL
    )
    found, count = pattern.subn(lambda match: f"{match[1]}{text}\n{match[2]}", page)
    if count != 1:
        raise ValueError(f"{count} places for the part {name!r}")
    return found


def outdated() -> dict[Path, str]:
    """Return the pages that differ from the code, each with the text that it should have."""
    pages: dict[Path, str] = {}
    for file, name, make in PARTS:
        path = ROOT / file
        pages[path] = with_part(pages.get(path, path.read_text(encoding="utf-8")), name, make())
    return {path: text for path, text in pages.items() if path.read_text(encoding="utf-8") != text}


def main(arguments: list[str]) -> int:
    """Write the outdated pages, or only name them; return the exit status."""
    found = outdated()
    for path, text in found.items():
        print(path.relative_to(ROOT))
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
    return 1 if found and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
