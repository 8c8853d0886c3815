"""Says whether the SRT server behind the receiver answers SRT callers' handshakes. Pure.

Links that are up show only that the receiver works. If its SRT server does not, an encoder sees nothing but a
timeout, and its user searches at the wrong end.
"""

from __future__ import annotations

import struct
from typing import Final

from netbond.srtla import wire

SILENCE_S: Final = 2.0  # without an answer; callers repeat their handshake four times a second, for 3 s
SHOWN_S: Final = 15.0  # for which it is shown after the last handshake; encoders try again in this time
_TYPE: Final = 36  # offset of the handshake's type
_REJECTED: Final = 1000  # a type from here on refuses; what it exceeds this by is the reason
_REASONS: Final = {  # libsrt's names (SRT_REJECT_REASON), and the access control codes of SRT's guidelines
    3: "it is out of resources",
    5: "it takes no more callers",
    8: "its SRT version is too old or too new",
    10: "the passphrase is wrong",
    11: "one end is encrypted, the other not",
    12: "one end is in live mode, the other not",
    14: "the packet filters do not fit together",
    1400: "it does not understand the stream id",
    1401: "the stream id lacks authorisation",
    1403: "it forbids this stream id",
    1404: "it knows no such stream id",
    1409: "the stream id is in use",
}


def refusal(data: bytes) -> int | None:
    """Return the reason's number in an SRT server's refusal of a handshake; None: it is another packet."""
    if not wire.is_handshake(data) or len(data) < _TYPE + 4:
        return None
    (kind,) = struct.unpack_from("!i", data, _TYPE)  # those of handshakes that are no refusals are below
    return int(kind) - _REJECTED if kind >= _REJECTED else None


class Answers:
    """What SRT callers asked, and whether the SRT server answered. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._asked_at = float("-inf")  # the last handshake that left
        self._silent_since: float | None = None  # the first that left since the last answer
        self._refused: tuple[int, float] | None = None  # reason and time, if the last answer was a refusal

    def asked(self, now: float) -> None:
        """A caller's handshake leaves over a link that is up."""
        self._asked_at = now
        if self._silent_since is None:
            self._silent_since = now

    def answered(self, data: bytes, now: float) -> None:
        """A packet of the SRT server came for a caller."""
        self._silent_since = None
        reason = refusal(data)
        if reason is not None:
            self._refused = (reason, now)
        elif not wire.is_induction(data):  # the first answer, which each caller gets, decides nothing
            self._refused = None

    def trouble(self, now: float) -> str:
        """What is wrong, in one line; "": nothing."""
        if now - self._asked_at >= SHOWN_S:
            self._silent_since = None
            return ""
        if self._silent_since is not None and now - self._silent_since >= SILENCE_S:
            return "the receiver answers, its SRT server does not: is it running, and set at the receiver?"
        if self._refused is not None and now - self._refused[1] < SHOWN_S:
            reason = self._refused[0]
            why = _REASONS.get(reason, f"reason {reason}")
            return f"the receiver's SRT server refuses the SRT caller: {why}"
        return ""
