"""Finds the packets of a stream that carry keyframes. Pure.

A lost packet of a keyframe spoils the picture until the next keyframe, any other only until then. Two signs
tell which packets these are:

- MPEG-TS (ISO/IEC 13818-1, 2.4.3.5): an encoder sets `random_access_indicator` where a keyframe begins. The
  keyframe lasts until the next PES packet begins on the same PID. An audio frame has this flag, too, so only
  PES packets of video count (`stream_id` 0xE0 to 0xEF, 2.4.3.7).
- A datagram of the encoder's: 0xC1 and milliseconds as 32 bits, "a keyframe follows: what comes in that time
  matters more". Others' senders know it, too, and it serves encrypted streams, which cannot be read.
"""

from __future__ import annotations

from typing import Final

from netbond.srtla import wire

ANNOUNCEMENT_LENGTH: Final = 5  # bytes
_ANNOUNCED: Final = 0xC1
LONGEST_S: Final = 2.0  # for which one announcement counts
MOST: Final = 0.5  # of the packets: where more are said to be keyframes, none matters more than others
_SPAN: Final = 1024  # packets over which that share is taken: some seconds

_ENCRYPTED: Final = 0x18  # in byte 4 of an SRT data packet: the KK bits (draft-sharabayko-srt, 3.1)
_TS: Final = 188  # bytes of a packet of the transport stream
_SYNC: Final = 0x47  # its first byte
_START: Final = 0x40  # in byte 1: a PES packet begins (payload_unit_start_indicator)
_PAYLOAD: Final = 0x10  # in byte 3: it has payload; ...
_ADAPTATION: Final = 0x20  # ... an adaptation field before that
_RANDOM_ACCESS: Final = 0x40  # in the flags of the adaptation field


def announced_s(data: bytes) -> float:
    """For how many s an encoder says that packets matter more; 0.0: it is not such a datagram."""
    if len(data) != ANNOUNCEMENT_LENGTH or data[0] != _ANNOUNCED:
        return 0.0
    return min(int.from_bytes(data[1:], "big") / 1000, LONGEST_S)


class Keyframes:
    """Looks at the packets of one stream, in their order. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._pid = -1  # on which a keyframe has begun; -1: none
        self._until = 0.0  # until when an encoder says so
        self._share = 0.0  # of the packets that carry keyframes

    def announce(self, seconds: float, now: float) -> None:
        """Packets matter more from now on, for so long. A shorter announcement does not end a longer one."""
        self._until = max(self._until, now + seconds)

    def look(self, data: bytes, now: float) -> bool:
        """Whether this SRT data packet carries some of a keyframe. It is new, and no packet of SRT's FEC."""
        found = self._found(data) or now < self._until
        self._share += ((1.0 if found else 0.0) - self._share) / _SPAN
        return found and self._share < MOST

    def _found(self, data: bytes) -> bool:
        if data[4] & _ENCRYPTED:
            return False
        size = len(data)
        if size == wire.SRT_HEADER or size % _TS != wire.SRT_HEADER:
            return False  # no transport stream
        begins = False
        for at in range(wire.SRT_HEADER, size, _TS):  # compiled, cheaper than to slice
            if data[at] != _SYNC:
                return False
            if data[at + 1] & _START:
                begins = True
        found = self._pid >= 0
        if not begins:  # nearly always
            return found
        for at in range(wire.SRT_HEADER, len(data), _TS):
            if not data[at + 1] & _START:
                continue
            pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
            if pid == self._pid:
                self._pid = -1
            if _is_keyframe(data, at):
                self._pid = pid
                found = True
        return found


def _is_keyframe(data: bytes, at: int) -> bool:
    """Whether a keyframe begins in the packet of the transport stream at this offset."""
    if data[at + 3] & (_ADAPTATION | _PAYLOAD) != _ADAPTATION | _PAYLOAD:
        return False
    length = data[at + 4]
    begin = at + 5 + length
    if not length or begin + 4 > at + _TS or not data[at + 5] & _RANDOM_ACCESS:
        return False
    return data[begin : begin + 3] == b"\0\0\1" and 0xE0 <= data[begin + 3] <= 0xEF
