"""What a sender's state machine (sender.py) tells of its links, its group and its receiver. Types only."""

from __future__ import annotations

from dataclasses import dataclass

from netbond.srtla.advice import Advice
from netbond.srtla.linkspec import LinkSpec


@dataclass(frozen=True, slots=True)
class LinkAdded:
    """The link is new in the list: open a socket, then say `link_opened` or `link_failed`."""

    number: int
    spec: LinkSpec


@dataclass(frozen=True, slots=True)
class LinkRemoved:
    """The link has left the list: close its socket."""

    number: int
    spec: LinkSpec


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The receiver has accepted the link; it carries packets from now on."""

    number: int
    spec: LinkSpec


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link carries no packets any more; `reason` in words. Registration goes on by itself."""

    number: int
    spec: LinkSpec
    reason: str


@dataclass(frozen=True, slots=True)
class LinkLimited:
    """The link swallows packets of more than `largest` bytes, and carries none of them. None: no longer."""

    number: int
    spec: LinkSpec
    largest: int | None


@dataclass(frozen=True, slots=True)
class GroupChanged:
    """The receiver made a group for us, or forgot it (None)."""

    group: bytes | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver answered REG_ERR on this link; next attempt in `wait` seconds."""

    number: int
    spec: LinkSpec
    wait_s: float
    why: str  # in words


@dataclass(frozen=True, slots=True)
class Unproven:
    """The receiver has not shown that it knows the key. `used`: the stream is sent to it nevertheless."""

    used: bool


@dataclass(frozen=True, slots=True)
class ReceiverSilent:
    """No link of this family could be used for long: resolve the receiver's name again, and try its next
    address. `answered`: there were answers, but no link came up."""

    family: int  # 4 or 6
    answered: bool


@dataclass(frozen=True, slots=True)
class Advised:
    """What the links carry, and the rate that is advised: EVERY_S apart, and at once when the advice falls by
    FALL (netbond.srtla.advice)."""

    advice: Advice


Event = (
    LinkAdded
    | LinkRemoved
    | LinkUp
    | LinkDown
    | LinkLimited
    | GroupChanged
    | Refused
    | Unproven
    | ReceiverSilent
    | Advised
)
