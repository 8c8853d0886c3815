"""The requests and replies of the control socket, as types: JSON, one object a line each way.

Pure; netbond.status.control has the sockets. In a request, `command` says which it is, and keys that are not
known are passed over: a client may be newer than the agent. A reply has the key `ok` before those given here,
or `{"ok": false, "error": "one line"}`. What carries data carries its version: the snapshot its own, facts
FACTS_VERSION. `netbond hook` writes its request by hand, so as to import little.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from netbond.events import Event
from netbond.model import Facts
from netbond.status.schema import OverrideStatus, Snapshot
from netbond.system.typed_json import doc, from_json, read_tolerant

MAX_REQUEST = 64 * 1024  # bytes of one line to the agent
MAX_REPLY = 4 * 1024 * 1024  # bytes of one line from it; a status of 100 uplinks takes 50 KiB

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Anybody may ask for the snapshot."""

    command: Literal["status"] = "status"


@dataclass(frozen=True, slots=True)
class StatusReply:
    """The snapshot; None: the agent has only just started."""

    status: Snapshot | None


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A DHCP hook has kept a lease for this device, or has news of it: root tells the agent to look.

    `lease` is one that it could not store (netbond.dhcp.store.to_json). `released`: the client has let this
    address go, "" is any, at the time `at_s` (seconds since boot).
    """

    source: str = ""
    device: str = ""
    lease: dict[str, Any] | None = field(default=None, metadata=doc("", omit=True))
    released: str | None = field(default=None, metadata=doc("", omit=True))
    at_s: float = field(default=0.0, metadata=doc("", omit=True))
    command: Literal["hook"] = "hook"


@dataclass(frozen=True, slots=True)
class HookReply:
    """The agent will look; `lease`: it has the lease that could not be stored."""

    lease: bool = field(default=False, metadata=doc("", omit=True))


@dataclass(frozen=True, slots=True)
class FactsRequest:
    """Root asks for what the agent decides by: `netbond plan` and `netbond explain` decide the same."""

    command: Literal["facts"] = "facts"


@dataclass(frozen=True, slots=True)
class FactsReply:
    """The facts of a new look at the kernel; `version` is FACTS_VERSION (netbond.model) of the agent."""

    version: int
    facts: Facts


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """Anybody may follow the advice of a sender, or of all senders.

    Each line of the answer is a WatchLine (netbond.srtla.watch). It goes on until the client closes the
    connection.
    """

    sender: str = ""  # as in WatchLine; "": all
    command: Literal["watch"] = "watch"


@dataclass(frozen=True, slots=True)
class EventsRequest:
    """Anybody may ask for the last events, from a Unix time on; by "follow-events" for those to come, too.

    Each line of the answer is an EventsReply. Of "follow-events" there is one each second at least, often
    without events, until the client closes the connection.
    """

    since: float = 0.0
    command: Literal["events", "follow-events"] = "events"


@dataclass(frozen=True, slots=True)
class EventsReply:
    """Events, in the order of time."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class SetRequest:
    """Root sets an uplink's mode, weight or priority, which is stronger than the configuration."""

    uplink: str  # its name, or its device's
    what: str  # "mode", "weight" or "priority"
    value: str | int  # "normal", "backup" or "off"; else a number: netbond.overrides
    for_s: float | None = None  # how long it holds; None: until it is unset
    by: str = ""  # who asks, as it is shown; "": root
    yes: bool = False  # also if no other uplink of its family is left
    command: Literal["set"] = "set"


@dataclass(frozen=True, slots=True)
class UnsetRequest:
    """Root takes back what was set of an uplink."""

    uplink: str
    what: str = ""  # "": all of it
    by: str = ""
    command: Literal["unset"] = "unset"


@dataclass(frozen=True, slots=True)
class SetReply:
    """It holds, and is on the disk; to both requests. The routes follow within milliseconds.

    To undo it, set again what is in `before`, each with its `value` and `left_s`, or unset what was not set.
    """

    text: str  # what is so now: "usb1 set off by root for 1 h"
    undo: str  # the command that takes it back
    before: tuple[OverrideStatus, ...]  # what was set of the same
    warnings: tuple[str, ...] = ()


def read_request(kind: type[T], request: Mapping[str, Any]) -> T:
    """The request as this type; ValueError names what is missing or wrong."""
    return read_tolerant(kind, dict(request))


def read_reply(kind: type[T], reply: Mapping[str, Any]) -> T:
    """The reply as this type; ValueError names what is missing, wrong or unknown."""
    return from_json(kind, {key: value for key, value in reply.items() if key != "ok"})


def encode(reply: Mapping[str, Any]) -> bytes:
    """The reply as a line. One that is longer than a client reads becomes an error that says so."""
    line = json.dumps(reply).encode() + b"\n"
    if len(line) > MAX_REPLY:
        return encode(refusal(f"the answer has {len(line)} bytes, and {MAX_REPLY} are the limit"))
    return line


def refusal(error: str) -> dict[str, Any]:
    """The reply that says in one line why there is no other."""
    return {"ok": False, "error": error}
