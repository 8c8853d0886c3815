"""Describes the configuration file as a JSON Schema, for editors that check and complete it. Pure.

Everything comes from the fields of netbond.config.schema and from the kinds of their values. What involves
several keys (netbond.config.crosscheck) a schema cannot say; `netbond config check` says it.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, fields
from typing import Any

from netbond.config.schema import MAX_NESTED, REPEATED, SINGLE

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of the whole file, as plain JSON values."""
    tables = {name: _table(cls, f"[{name}]") for name, cls in SINGLE.items()}
    repeated = {
        name: {"type": "array", "items": _table(cls, f"[[{name}]]")} for name, cls in REPEATED.items()
    }
    return {
        "$schema": DIALECT,
        "title": "netbond.toml",
        "description": "The configuration of netbond; docs/config.md explains it. Everything is optional.",
        "type": "object",
        "properties": {**tables, **repeated},
        "additionalProperties": False,
    }


def _table(cls: type[Any], title: str) -> dict[str, Any]:
    keys = {key.name: key for key in fields(cls)}
    about = (cls.__doc__ or "").removeprefix(f"{title}: ").partition("\n")[0]
    schema: dict[str, Any] = {
        "title": title,
        "description": about[:1].upper() + about[1:],
        "type": "object",
        "properties": {name: _property(key, title) for name, key in keys.items()},
        "additionalProperties": False,
    }
    if required := [name for name, key in keys.items() if key.default is MISSING]:
        schema["required"] = required
    return schema


def _property(key: Field[Any], table: str) -> dict[str, Any]:
    metadata = key.metadata
    if "table" in metadata:
        items = _table(metadata["table"], f"[[{table.strip('[]')}.{key.name}]]")
        return {
            "description": plain(metadata["doc"]),
            "type": "array",
            "items": items,
            "maxItems": MAX_NESTED,
            "default": [],
        }
    if "inner" in metadata:
        return _table(metadata["inner"], f"[{table.strip('[]')}.{key.name}]")
    restart = " A change needs a restart of the agent." if metadata["restart"] else ""
    schema = {"description": plain(metadata["doc"]) + restart, **metadata["kind"].schema}
    if "default" in metadata:
        schema["default"] = metadata["default"]
    return schema


def plain(markdown: str) -> str:
    """The text without links: an editor has no page to follow them from."""
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", markdown)
