"""A data packet on one link, from its sending until the link is done with it.

Times are s, `now` monotonic s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from netbond.srtla.adaptive.linkmodel import LinkModel

# PASSED: the link is done with it, arrived or lost
FLYING: Final = 0
ARRIVED: Final = 1
PASSED: Final = 2
LOST: Final = 3
SEEN: Final = 4  # SRT has it, said a quicker link; its own could not have said so yet


class Transmission:
    """A data packet on a link. A packet sent again has several; `before` is the one before."""

    __slots__ = (
        "before",
        "began_at",
        "delivered",
        "delivered_at",
        "done_at",
        "doubtful",
        "expected",
        "first_sent_at",
        "flight",
        "index",
        "link",
        "mark",
        "packet",
        "sent_at",
        "size",
        "state",
    )

    def __init__(self, link: LinkModel, packet: Any, size: int, index: int, now: float) -> None:
        self.link = link
        self.packet = packet
        self.size = size
        self.index = index
        self.sent_at = now
        self.flight = link.in_flight  # bytes before it
        # What its rate is measured from (`LinkModel.base`, and so on), as it was when it left:
        self.delivered, self.doubtful, self.delivered_at = link.base
        self.first_sent_at = link.first_sent_at
        self.began_at = link.began_at
        self.expected = 0.0  # s until proof that it passed
        self.mark = 0.0  # of the link's queue, see there
        self.state = FLYING
        self.done_at = 0.0
        self.before: Transmission | None = None
