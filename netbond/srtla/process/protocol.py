"""The messages between the agent and an engine, and how they are written: JSON, one object a line.

Pure: engines/supervisor.py and channel.py have the sockets. A receiver with several processes speaks the same
between its front and its workers. An engine faces the internet and runs without root, so its messages are
checked like anything from outside (strict_json.py bounds the depth): whatever it sends can be written again
as JSON.

The docstring of a message's class is its documentation: docs/architecture.md has a table made from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from netbond.srtla.linkspec import MAX_LINKS, MAX_PRIORITY, LinkSpec, make_link
from netbond.system import strict_json
from netbond.system.text import printable

# Bytes of one line, either way. Ample: a receiver that serves 200 senders, or is made to by an attacker, has
# 140 KiB to resume, and must not be ended for that.
MAX_LINE_BYTES = 1024 * 1024

# Bytes of a line with advice: it is passed on to all who follow, many times a second. 64 links with labels of
# 64 characters have 70 KiB at most.
MAX_ADVICE_BYTES = 128 * 1024

# Of resumes, on average: the agent keeps each in a file. The larger one is, the more seldom it comes.
RESUME_BYTES_PER_S = 128 * 1024

MAX_PID = 1 << 22  # PID_MAX_LIMIT in include/linux/threads.h

MAX_RATE = 10**12  # bit/s

ResumeData = dict[str, Any]

_T = TypeVar("_T")


class ChannelError(Exception):
    """The peer broke the rules of the channel; the text says how, to follow the peer's name."""


# --- messages ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Resume:
    """What the next engine needs so that the SRT connection survives `kill -9`.

    From the agent always the first line: what the engine of the same name last gave, or `{}`. From the engine
    each time it changes. Sender: group id, local port of each link, SRT caller, its latency and stream id.
    Receiver: groups with id, port towards the SRT server, known peers, which of them registered, and stream
    id. The agent keeps it in `state_dir`, readable by root only, as a group id is a bearer token.
    """

    key: ClassVar[str] = "resume"
    data: ResumeData


@dataclass(frozen=True, slots=True)
class Links:
    """Senders: the whole list of links, each time it changes.

    A link is bound to its address and device. `priority` (0 to 100, default 0), `enabled` (default true) and
    `metered` (default false) may be left out. Entries that are not valid are left out.
    """

    key: ClassVar[str] = "links"
    links: tuple[LinkSpec, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine's port is open."""

    key: ClassVar[str] = "ready"


@dataclass(frozen=True, slots=True)
class Resumed:
    """The engine has taken its resume and goes on from there. If one dies before, the resume is no cause."""

    key: ClassVar[str] = "resumed"


@dataclass(frozen=True, slots=True)
class Stats:
    """The statistics, each second, as in docs/send.md and docs/recv.md."""

    key: ClassVar[str] = "stats"
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AdviceMessage:
    """Senders: what the links carry and the rate that is advised (`Advice` in netbond/srtla/advice.py).

    Five times a second while a stream runs, and at once when the advice falls by 10 %.
    """

    key: ClassVar[str] = "advice"
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EncoderThere:
    """Senders: there is an encoder with a bitrate file, so send `video` from now on.

    The value is the share of the stream that is not video (0 to 0.5); null: measure it.
    """

    key: ClassVar[str] = "encoder"
    overhead: float | None


@dataclass(frozen=True, slots=True)
class VideoRate:
    """Senders with an encoder: the video rate in bit/s that is advised now.

    Five times a second while a stream runs, and at once when it falls by 10 %. The agent keeps it within the
    limits of `[sender.encoder]`, writes it to the encoder's file, and signals the encoder.
    """

    key: ClassVar[str] = "video"
    bits_per_second: int


@dataclass(frozen=True, slots=True)
class Fatal:
    """One line of text before the engine exits for a reason that a restart will not mend; shown in status."""

    key: ClassVar[str] = "fatal"
    reason: str


@dataclass(frozen=True, slots=True)
class Hello:
    """Worker to front: it has started, as the process with this id, and waits for its Resume."""

    key: ClassVar[str] = "hello"
    pid: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Front to worker: this peer (host, port, ...) is a link of another worker from now on."""

    key: ClassVar[str] = "forget"
    peer: list[Any]


Message = (
    Resume
    | Resumed
    | Links
    | EncoderThere
    | Ready
    | Stats
    | AdviceMessage
    | VideoRate
    | Fatal
    | Hello
    | Forget
)

# Which messages each end expects.
FROM_AGENT: tuple[type[Message], ...] = (Resume, Links, EncoderThere)
FROM_ENGINE: tuple[type[Message], ...] = (Resumed, Ready, Resume, Stats, AdviceMessage, VideoRate, Fatal)
FROM_WORKER: tuple[type[Message], ...] = (Hello, *FROM_ENGINE)
FROM_FRONT: tuple[type[Message], ...] = (Resume, Forget)


# --- writing -----------------------------------------------------------------------------------------------


def encode(message: Message) -> bytes:
    """The message as a line; ChannelError if it would be longer than the other end takes."""
    line = json.dumps({message.key: _value(message)}, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ChannelError(f"has {len(line)} bytes to send in one line; {MAX_LINE_BYTES} are the limit")
    return line


def _value(message: Message) -> object:
    if isinstance(message, Resume | Stats | AdviceMessage):
        return message.data
    if isinstance(message, Links):
        return [
            {
                "label": link.label,
                "address": link.address,
                "device": link.device,
                "priority": link.priority,
                "enabled": link.enabled,
                "metered": link.metered,
            }
            for link in message.links
        ]
    if isinstance(message, EncoderThere):
        return message.overhead
    if isinstance(message, VideoRate):
        return message.bits_per_second
    if isinstance(message, Fatal):
        return message.reason
    if isinstance(message, Hello):
        return message.pid
    if isinstance(message, Forget):
        return message.peer
    return True


# --- reading -----------------------------------------------------------------------------------------------


def parse(line: bytes, expected: Collection[type[Message]]) -> list[Message]:
    """The messages in a line, in the order of `expected`: nearly always one. Keys that are not expected are
    passed over, as a later version may have more. ChannelError names what is wrong."""
    try:
        value = strict_json.parse(line)
    except ValueError:
        raise ChannelError(f"sent what is not JSON: {printable(ascii(line[:40]))}") from None
    if not isinstance(value, dict):
        raise ChannelError(f"sent what is not a JSON object: {printable(ascii(line[:40]))}")
    messages = []
    for kind in expected:
        if kind.key in value:
            if kind is AdviceMessage and len(line) > MAX_ADVICE_BYTES:
                raise ChannelError(f"sent {len(line)} bytes of advice; {MAX_ADVICE_BYTES} are the limit")
            try:
                message = _READERS[kind.key](value[kind.key])
            except TypeError:
                raise ChannelError(f"sent {kind.key!r} with a value of the wrong kind") from None
            if message is not None:
                messages.append(message)
    return messages


def _checked(value: object, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise TypeError
    return value


def _links(value: object) -> Links:
    links = []
    for entry in _checked(value, list):
        if isinstance(entry, dict):
            address = entry.get("address")
            spec = make_link(entry.get("label", address), address, entry.get("device", ""))
            if spec is not None:
                priority, enabled = entry.get("priority", 0), entry.get("enabled", True)
                if type(priority) is int and 0 <= priority <= MAX_PRIORITY:
                    spec = replace(spec, priority=priority)
                metered = entry.get("metered", False) is True
                links.append(replace(spec, enabled=enabled is not False, metered=metered))
    return Links(tuple(links[:MAX_LINKS]))


def _overhead(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 0.5:
        raise TypeError
    return float(value)


def _rate(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_RATE:
        raise TypeError
    return value


def _pid(value: object) -> int:
    if type(value) is not int or not 1 < value <= MAX_PID:
        raise TypeError
    return value


_READERS: dict[str, Callable[[object], Message | None]] = {  # TypeError: the value is of the wrong kind
    Resume.key: lambda value: Resume(_checked(value, dict)),
    Links.key: _links,
    Ready.key: lambda value: Ready() if _checked(value, bool) else None,
    Resumed.key: lambda value: Resumed() if _checked(value, bool) else None,
    Stats.key: lambda value: Stats(_checked(value, dict)),
    AdviceMessage.key: lambda value: AdviceMessage(_checked(value, dict)),
    EncoderThere.key: lambda value: EncoderThere(_overhead(value)),
    VideoRate.key: lambda value: VideoRate(_rate(value)),
    Fatal.key: lambda value: Fatal(_checked(value, str)),
    Hello.key: lambda value: Hello(_pid(value)),
    Forget.key: lambda value: Forget(_checked(value, list)),
}
