"""SRT's own figures of one stream, from packets that pass the receiver: round trip time, losses. Pure.

The SRT server tells in its ACKs what it measures (draft-sharabayko-srt, 3.2.4). What it gave up it does not
tell: its ACK number then passes packets that never arrived. So it is noted here which packets have arrived,
and each ACK counts those that it passes and that have not. With a packet filter (FEC) the server makes up for
many of them: then only those count that it has asked for.

The notes lie in one block of memory, the `tally`, so that the compiled data path, which passes most packets
on, can keep it as well (struct Tally in native/fastpath.c, which does the same as `arrived` and
`acknowledged`). It has a byte for each of the last WINDOW sequence numbers: which lap of the window brought
it last, 1 to 64, or ASKED and the lap. A number of another lap has not arrived. So nothing has to be cleared.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final

from netbond.srtla import wire

WINDOW: Final = 1 << 15  # packets, a power of two: more than SRT's flow window has (25600)
SETTLE_S: Final = 5.0  # of a stream that began before we did: what arrived before is not known
LIVE_S: Final = 2.0  # without a packet, then a stream has stopped: SRT has a keepalive each second
# What is behind the laps: payload packets and bytes, dropped, when the last ACK came and from when on drops
# count (monotonic s), the number that the next ACK counts from, whether it is known, the most packets that
# the server had room for, whether there is a packet filter, and of its last ACK: RTT (us), its variance (us),
# room (packets), received (packets/s), capacity (packets/s), received (bytes/s).
HEAD: Final = struct.Struct("@QQQddIIII6I")
TALLY_BYTES: Final = WINDOW + (HEAD.size + 7) // 8 * 8
ASKED: Final = 0x80  # with the lap: it has not arrived, and the server has asked for it
_LAP: Final = 0x3F
_BITS: Final = 15  # of a sequence number below its lap
_FULL: Final = struct.Struct("!6I")
_SOME: Final = struct.Struct("!3I")


class Figures:
    """The figures of the SRT connection that a group carries at present."""

    def __init__(self) -> None:
        self.tally = bytearray(TALLY_BYTES)
        self.lost = 0  # packets that the server asked for again, each counted once
        self._first: int | None = None  # the sequence number with which the SRT caller begins
        self._wants_filter = False  # it names a packet filter
        self._named: int | None = None  # the newest sequence number that was reported lost
        self._since: float | None = None  # when the server accepted the caller; None: it is not connected
        self._joined_late = True  # no handshake was seen: an ACK shows that there is a connection
        self._counted = (0, 0)  # payload bytes, next sequence number: at the last look
        self._payload_at = float("-inf")  # when a look last found new payload

    # --- packets ------------------------------------------------------------------------------------------

    def asked(self, data: bytes) -> None:
        """A handshake of the SRT caller that completes a connection: it says where its numbers begin."""
        self._first = wire.handshake_sequence(data)
        self._wants_filter = wire.names_packet_filter(data)

    def begin(self, data: bytes, now: float) -> None:
        """The SRT server has accepted the caller by this handshake: a new connection."""
        self.tally[:] = bytes(TALLY_BYTES)
        filtered = self._wants_filter or wire.names_packet_filter(data)
        first, known = (0, 0) if self._first is None else (self._first, 1)
        HEAD.pack_into(self.tally, WINDOW, 0, 0, 0, now, now, first, known, 0, filtered, *[0] * 6)
        self.lost = 0
        self._named = None if self._first is None else wire.advance(self._first, -1)
        self._since = now
        self._joined_late = False
        self._counted = (0, self._first or 0)
        self._payload_at = float("-inf")

    def end(self) -> None:
        """The connection has been closed."""
        self._since = None
        self._joined_late = False

    def arrived(self, packets: Iterable[bytes]) -> list[int]:
        """Note SRT packets; the sequence numbers of the data packets among them."""
        tally = self.tally
        sequences = []
        fresh = size = 0
        for data in packets:
            if data[0] & 0x80:
                continue
            sequence = int.from_bytes(data[:4], "big")
            sequences.append(sequence)
            place, lap = sequence & WINDOW - 1, (sequence >> _BITS & _LAP) + 1
            if tally[place] != lap:
                tally[place] = lap
                fresh += 1
                size += len(data)
        if fresh:
            count, payload, *rest = HEAD.unpack_from(tally, WINDOW)
            payload += size - fresh * wire.SRT_HEADER
            HEAD.pack_into(tally, WINDOW, count + fresh, payload, *rest)
        return sequences

    def acknowledged(self, data: bytes, now: float) -> None:
        """Note an ACK of the SRT server."""
        end = wire.parse_srt_ack(data)
        if end is None:
            return
        packets, payload, dropped, _, counts_from, start, known, most, filtered, *told = HEAD.unpack_from(
            self.tally, WINDOW
        )
        if not known:
            start, known, counts_from = end, 1, now + SETTLE_S
        ahead = wire.distance(start, end)
        if 0 < ahead <= WINDOW and now >= counts_from:
            dropped += self._missing(start, ahead, filtered)
        if ahead > 0 or ahead < -WINDOW:
            start = end
        if len(data) >= wire.SRT_HEADER + 4 + _FULL.size:
            told = list(_FULL.unpack_from(data, wire.SRT_HEADER + 4))
        elif len(data) >= wire.SRT_HEADER + 4 + _SOME.size:
            told[:3] = _SOME.unpack_from(data, wire.SRT_HEADER + 4)
        if told[2] > most:
            most = told[2]
        HEAD.pack_into(
            self.tally,
            WINDOW,
            packets,
            payload,
            dropped,
            now,
            counts_from,
            start,
            known,
            most,
            filtered,
            *told,
        )

    def _missing(self, start: int, count: int, filtered: int) -> int:
        """How many of so many sequence numbers have not arrived; `filtered`: and were asked for."""
        missing = 0
        while count:
            place = start & WINDOW - 1
            some = min(count, WINDOW - place)
            lap = (start >> _BITS & _LAP) + 1
            if filtered:
                missing += self.tally.count(lap | ASKED, place, place + some)
            else:
                missing += some - self.tally.count(lap, place, place + some)
            start = wire.advance(start, some)
            count -= some
        return missing

    def missed(self, data: bytes) -> None:
        """Note a NAK of the SRT server, which names a packet again until it is there."""
        start, known, _, filtered = HEAD.unpack_from(self.tally, WINDOW)[5:9]
        room = WINDOW  # for all ranges, which are as long as their author pleased
        for first, last in wire.parse_srt_nak(data) or ():
            if filtered and known:
                behind = max(wire.distance(first, start), 0)
                count = wire.distance(first, last) + 1 - behind
                if 0 < count <= room and wire.distance(start, last) < WINDOW:
                    room -= count
                    self._ask(wire.advance(first, behind), count)
            if self._named is not None and wire.distance(self._named, first) <= 0:
                first = wire.advance(self._named, 1)  # noqa: PLW2901 - the rest of the range
            count = wire.distance(first, last) + 1
            if 0 < count <= WINDOW:
                self.lost += count
                self._named = last

    def _ask(self, start: int, count: int) -> None:
        """The server has asked for so many sequence numbers."""
        tally = self.tally
        for sequence in range(start, start + count):
            place, lap = sequence & WINDOW - 1, (sequence >> _BITS & _LAP) + 1
            if tally[place] != lap:
                tally[place] = lap | ASKED

    # --- figures ------------------------------------------------------------------------------------------

    def tell(self, flowed: float, elapsed: float, now: float) -> dict[str, Any]:
        """As in statistics.GroupStatistics. `flowed`: when a packet came last; `elapsed`: s since the last
        call."""
        packets, payload, dropped, acked_at, _, start, known, most, _, *told = HEAD.unpack_from(
            self.tally, WINDOW
        )
        rtt, _, room, _, capacity, _ = told
        before, was = self._counted
        self._counted = payload, start
        if payload != before:
            self._payload_at = now
        heard = known and now - acked_at <= LIVE_S  # else these are old
        if self._since is None and self._joined_late and heard:
            self._since = acked_at
        flows = now - flowed <= LIVE_S and self._since is not None
        accepted = max(wire.distance(was, start), 0) / elapsed  # packets/s
        return {
            "live": flows and (bool(heard) or now - self._payload_at > LIVE_S),
            "uptime_s": int(now - self._since) if self._since is not None else None,
            "payload_packets": packets,
            "payload_bytes": payload,
            "payload_bps": int((payload - before) * 8 / elapsed),
            "rtt_ms": round(rtt / 1000, 1) if heard and rtt else None,
            "lost_packets": self.lost,
            "dropped_packets": dropped,
            "receive_buffer_ms": int((most - room) * 1000 / accepted) if heard and accepted else None,
            "srt_capacity_bps": capacity * wire.MTU * 8 if heard and capacity else None,
        }
