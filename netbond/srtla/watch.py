"""What those who follow a sender are told, as types: `netbond watch`, the sockets below it, and /advice.

Pure. The agent tells it of its senders, and an engine that runs alone of itself. Keys are the names of the
fields, in their order (netbond.system.typed_json), and a promise to users' scripts: none is removed or given
another meaning without a new VERSION. docs/watch.md has a table made from the descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from netbond.srtla.advice import Advice
from netbond.system.typed_json import doc

VERSION: Final = 1
HEARTBEAT_S: Final = 1.0  # a line comes at least so often: who hears nothing for longer knows that it ended
FRESH_S: Final = 2.0  # advice that is older is none: the engine gives it each 0.2 s while a stream runs


@dataclass(frozen=True, slots=True)
class WatchLine:
    """One sender at this moment."""

    version: int = field(metadata=doc("of these keys, now 1; it grows when one is removed or changes"))
    sender: str = field(metadata=doc("where its SRT caller connects, as in `127.0.0.1:6000`"))
    state: str = field(
        metadata=doc(
            "`connected`, `registering`, `resolving`, `no links`; under the agent also that of an engine"
            " that does not run: `starting`, `backing off`, `failed`"
        )
    )
    advice: Advice | None = field(
        metadata=doc("null: there is none, because no stream runs, the mode is classic, or it is 2 s old")
    )


@dataclass(frozen=True, slots=True)
class AdvicePage:
    """All senders of the agent, as http://HOST:PORT/advice shows them."""

    version: int = field(metadata=doc("of these keys, as in each line"))
    senders: Mapping[str, WatchLine] = field(metadata=doc("by `sender`, as `netbond watch --json` has them"))


def name_of(engine: str) -> str:
    """The name of a sender for those who follow it: "127.0.0.1:6000" of "sender 127.0.0.1:6000"."""
    return engine.removeprefix("sender ")
