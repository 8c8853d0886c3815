"""What a receiver's state machine (receiver.py) tells of groups, links and strangers. Types only."""

from __future__ import annotations

from dataclasses import dataclass

from netbond.srtla.receiver.peeraddress import PeerAddress


@dataclass(frozen=True, slots=True)
class GroupCreated:
    """A sender registered and joined its first link."""

    group: int
    id: bytes
    stream: str
    address: PeerAddress


@dataclass(frozen=True, slots=True)
class GroupRemoved:
    """The group is gone: close its socket towards the SRT server."""

    group: int
    id: bytes
    stream: str
    reason: str


@dataclass(frozen=True, slots=True)
class CallerReplaced:
    """Another SRT caller has begun: send `shutdown` from the group's socket towards the SRT server and close
    that. What follows has another number: the SRT server must see it come from another port."""

    group: int
    id: bytes
    stream: str
    shutdown: bytes


@dataclass(frozen=True, slots=True)
class Routed:
    """What follows of this group goes to the SRT server with this number, as `route` said."""

    group: int
    server: int


@dataclass(frozen=True, slots=True)
class StreamAccepted:
    """The SRT server has accepted an SRT caller of the group."""

    group: int
    id: bytes
    stream: str


@dataclass(frozen=True, slots=True)
class LinkJoined:
    """A link joined a group."""

    group: int
    id: bytes
    stream: str
    address: PeerAddress


@dataclass(frozen=True, slots=True)
class LinkLeft:
    """A link of a group fell silent, or moved to another group."""

    group: int
    id: bytes
    stream: str
    address: PeerAddress
    reason: str


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """A sender was refused: it has another key, or none (`claimed` is False). At most one in 10 s."""

    address: PeerAddress
    claimed: bool


@dataclass(frozen=True, slots=True)
class PlainCaller:
    """An SRT caller called us in the place of an SRTLA sender or the SRT server. At most one in 10 s."""

    address: PeerAddress


Event = (
    GroupCreated
    | GroupRemoved
    | CallerReplaced
    | Routed
    | StreamAccepted
    | LinkJoined
    | LinkLeft
    | KeyRefused
    | PlainCaller
)
