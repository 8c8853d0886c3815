"""Decides which changes of the configuration a running agent applies, and which need a restart. Pure.

Each key says so itself, in its metadata (netbond.config.schema). A key needs a restart if the agent holds
something that goes with it for as long as it runs: a socket, a directory, a connection to the system bus.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from netbond.config.schema import SINGLE, Config


def reloaded(old: Config, new: Config) -> tuple[Config, tuple[str, ...]]:
    """The configuration to apply, and the names of the changed keys that need a restart ("agent.data_dir").

    `old` is the configuration in force, `new` what the file says now. The answer is `new`, in which the keys
    that need a restart have their old values. The names come in the order of the tables and their keys.
    """
    names: list[str] = []
    tables: dict[str, Any] = {}
    for table, cls in SINGLE.items():
        before, after = getattr(old, table), getattr(new, table)
        kept = {
            key.name: getattr(before, key.name)
            for key in fields(cls)
            if key.metadata["restart"] and getattr(before, key.name) != getattr(after, key.name)
        }
        names += [f"{table}.{name}" for name in kept]
        tables[table] = replace(after, **kept)
    return replace(new, **tables), tuple(names)
