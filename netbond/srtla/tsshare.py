"""Measures how much of a stream is not video: sound, tables, and the headers of the transport stream. Pure.

It looks at some packets' payload: MPEG transport stream (ISO/IEC 13818-1) in packets of 188 bytes, in clear.
What is not video counts as bit/s: sound, tables, and what each frame needs for its header and stuffing keep
their rate when the video's is another. The header of each transport packet is a share of its content. Where
nothing can be measured, SHARE is taken.
"""

from __future__ import annotations

from typing import Final

PACKET: Final = 188
SYNC: Final = 0x47
HEADER: Final = 4
CONTENT: Final = PACKET - HEADER
NULL_PID: Final = 0x1FFF
SHARE: Final = 0.08  # of the payload: sound of 128 kbit/s and headers beside video of 3 Mbit/s
WEIGHT: Final = 0.25  # of the last second in the average

_SRT_HEADER: Final = 16
_ENCRYPTED: Final = 0x18  # in byte 4 of an SRT data packet: the KK flags (draft-sharabayko-srt, 3.1)


class TsShare:
    """The share of one stream, from samples of its SRT data packets."""

    def __init__(self) -> None:
        self._video: set[int] = set()  # PIDs on which PES packets of video have begun
        self._other_rate: float | None = None  # bit/s; None: not measured

    def video(self, bits_per_second: float) -> float:
        """The video in a payload of this rate, bit/s."""
        if self._other_rate is None:
            return bits_per_second * (1 - SHARE)
        return max(bits_per_second - self._other_rate, 0.0) * CONTENT / PACKET

    def second(self, samples: list[bytes], bits_per_second: float) -> None:
        """About a second has passed, in which the payload had this rate; some of its SRT data packets."""
        if not samples:
            return
        sizes: dict[int, int] = {}  # bytes by PID
        content: dict[int, int] = {}  # of these, what the encoders have made
        unread = 0
        for sample in samples:
            if sample[4] & _ENCRYPTED or not self._read(sample, sizes, content):
                unread += 1
        if unread * 2 > len(samples):
            self._other_rate = None
            self._video.clear()
            return
        self._video &= sizes.keys()  # the encoder may have been started anew, with other PIDs
        video = self._video or {max(sizes, key=lambda pid: sizes[pid] * (pid != NULL_PID))}
        carried = sum(content[pid] for pid in video) * PACKET / CONTENT
        other_rate = bits_per_second * (1 - carried / sum(sizes.values()))
        if self._other_rate is None:
            self._other_rate = other_rate
        else:
            self._other_rate += WEIGHT * (other_rate - self._other_rate)

    def _read(self, sample: bytes, sizes: dict[int, int], content: dict[int, int]) -> bool:
        """Count the transport packets of an SRT data packet. False: there are none in it."""
        length = len(sample) - _SRT_HEADER
        if length < PACKET or length % PACKET:
            return False
        starts = range(_SRT_HEADER, len(sample), PACKET)
        if any(sample[start] != SYNC for start in starts):
            return False
        for start in starts:
            pid = (sample[start + 1] & 0x1F) << 8 | sample[start + 2]
            at, end = start + HEADER, start + PACKET
            if sample[start + 3] & 0x20:  # an adaptation field, with its length in front
                at += 1 + sample[at]
            if not sample[start + 3] & 0x10:  # no payload
                at = end
            if sample[start + 1] & 0x40 and at + 9 <= end and sample[at : at + 3] == b"\0\0\1":
                if 0xE0 <= sample[at + 3] <= 0xEF:  # a PES packet of video begins
                    self._video.add(pid)
                at += 9 + sample[at + 8]
            sizes[pid] = sizes.get(pid, 0) + PACKET
            content[pid] = content.get(pid, 0) + max(end - at, 0)
        return True
