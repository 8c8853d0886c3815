"""Reads and builds SRTLA and SRT packets, and does nothing else.

One UDP datagram is one packet; all fields are big-endian. docs/srtla.md draws the layouts. No function here
raises on what a peer sent: a reader returns None for bytes that are not what it reads.

Sequence numbers have 31 bits and wrap. Compare them by `distance`, never by `<`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

SRT_HEADER: Final = 16  # bytes; no SRT packet is shorter
MTU: Final = 1500  # no packet of either protocol is longer

# The first two bytes. Bit 15 set: a control packet. SRT's own (draft-sharabayko-srt, 3.2):
SRT_HANDSHAKE: Final = 0x8000
SRT_KEEPALIVE: Final = 0x8001
SRT_ACK: Final = 0x8002
SRT_NAK: Final = 0x8003
SRT_SHUTDOWN: Final = 0x8005
SRT_ACKACK: Final = 0x8006
# ... and SRTLA's:
KEEPALIVE: Final = 0x9000
SRTLA_ACK: Final = 0x9100
REG1: Final = 0x9200
REG2: Final = 0x9201
REG3: Final = 0x9202
REG_ERR: Final = 0x9210
REG_NGP: Final = 0x9211
REG_NAK: Final = 0x9212

ID_LENGTH: Final = 256  # of a group, bytes: half chosen by the sender, half by the receiver
HALF_ID: Final = ID_LENGTH // 2
REG_LENGTH: Final = 2 + ID_LENGTH  # REG1 and REG2 have exactly this length

PADDED: Final = 32  # bytes to which short control packets are padded
REFUSED_KEY = b"key"  # in a REG_ERR: the key is missing or another

ACK_EVERY: Final = 10  # data packets of a link per SRTLA ACK

SEQUENCE_BITS: Final = 31
SEQUENCE_MASK: Final = (1 << SEQUENCE_BITS) - 1
_HALF_RANGE: Final = 1 << (SEQUENCE_BITS - 1)

# Two bytes would do, and are all that some programs send; but some mobile networks lose so small datagrams.
REG3_PACKET = struct.pack("!H", REG3).ljust(PADDED, b"\0")
REG_ERR_PACKET = struct.pack("!H", REG_ERR).ljust(PADDED, b"\0")
REG_NGP_PACKET = struct.pack("!H", REG_NGP).ljust(PADDED, b"\0")

_U32: Final = struct.Struct("!I")
_TEN: Final = struct.Struct("!10I").unpack_from
_KEEPALIVE: Final = struct.Struct("!HQHHIiiIII")
_KEEPALIVE_MAGIC: Final = 0xC01F
_KEEPALIVE_VERSION: Final = 1
_RETRANSMITTED: Final = 0x04  # in byte 4: the R flag, bit 26 of the second word
_MESSAGE_HIGH: Final = 0x03  # in byte 4: the highest two of the message number's 26 bits
_INDUCTION: Final = 1  # handshake type of a caller's very first packet
_CONCLUSION: Final = 0xFFFFFFFF  # ... and of its second, and of the answer that accepts it
_HANDSHAKE: Final = struct.Struct("!HHIIIIHHIIIIII16x")  # the header and the fixed part of a handshake
HANDSHAKE_LENGTH: Final = SRT_HEADER + 48  # bytes; behind them the extensions
_COOKIE: Final = 44  # where the SYN cookie is
_MAGIC: Final = 0x4A17  # in the answer to an induction: the server speaks version 5
_HSREQ: Final = 1  # extension of the caller's handshake, ...
_HSRSP: Final = 2  # ... and of the server's
_SID: Final = 5  # extension with the stream id, ...
_SID_WORDS: Final = 128  # ... of 512 bytes at most
_FILTER: Final = 7  # extension with the packet filter
_OPTIONS: Final = struct.Struct(
    "!HHIIHH"
)  # type, length in words, SRT version, flags, delay as receiver, as sender

# Flags of a handshake's HSREQ or HSRSP (draft-sharabayko-srt, 3.2.1.1.1).
TSBPDSND: Final = 0x01  # delivers by time stamp (with the latency) what it sends, ...
TSBPDRCV: Final = 0x02  # ... and what it receives
TLPKTDROP: Final = 0x08  # skips what is too late to deliver
PERIODICNAK: Final = 0x10  # repeats its loss reports until the packets are there
REXMITFLG: Final = 0x20  # marks repeated packets (`is_retransmission`)
STREAM: Final = 0x40  # sends a stream of bytes instead of messages
PACKET_FILTER: Final = 0x80  # knows packet filters; whether one is in use tells `is_filter_packet`


# --- sequence numbers ------------------------------------------------------------------------------------


def distance(start: int, end: int) -> int:
    """How many steps lead from `start` to `end` the short way round: -2**30 .. 2**30 - 1."""
    return ((end - start + _HALF_RANGE) & SEQUENCE_MASK) - _HALF_RANGE


def advance(sequence: int, steps: int) -> int:
    """The sequence number `steps` after `sequence` (before it, if negative)."""
    return (sequence + steps) & SEQUENCE_MASK


# --- what kind of packet ---------------------------------------------------------------------------------


def packet_type(data: bytes) -> int:
    """The first two bytes as a number: 0x8000 and above are control packets. -1: fewer than two bytes."""
    return data[0] << 8 | data[1] if len(data) >= 2 else -1


def data_sequence(data: bytes) -> int | None:
    """The sequence number of an SRT data packet; None for anything else."""
    if len(data) < SRT_HEADER or data[0] & 0x80:
        return None
    return sequence_of(data)


def sequence_of(data: bytes) -> int:
    """The sequence number of what is known to be an SRT data packet."""
    return data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3]


def is_retransmission(data: bytes) -> bool:
    """Whether an SRT data packet carries the R flag: its sender has sent it before."""
    return len(data) >= SRT_HEADER and not data[0] & 0x80 and bool(data[4] & _RETRANSMITTED)


def is_filter_packet(data: bytes) -> bool:
    """Whether an SRT data packet is a packet filter's own (FEC): its message number is 0.

    It has the sequence number of a data packet before it, and is no repeat of it.
    """
    return (
        len(data) >= SRT_HEADER
        and not data[0] & 0x80
        and not (data[4] & _MESSAGE_HIGH or data[5] or data[6] or data[7])
    )


def is_handshake(data: bytes) -> bool:
    """Whether this is an SRT handshake of any phase."""
    return len(data) >= SRT_HEADER and data[0] == 0x80 and data[1] == 0x00


def is_induction(data: bytes) -> bool:
    """Whether this is the handshake with which an SRT caller begins a new connection."""
    return is_handshake(data) and len(data) >= 40 and _U32.unpack_from(data, 36)[0] == _INDUCTION


def is_conclusion(data: bytes) -> bool:
    """Whether this is the handshake that completes a connection, as request or answer; no rejection is."""
    return is_handshake(data) and len(data) >= 40 and _U32.unpack_from(data, 36)[0] == _CONCLUSION


def handshake_socket(data: bytes) -> int:
    """The socket id of the sender of an SRT handshake, which answers bear; 0: it is cut off."""
    return int(_U32.unpack_from(data, 40)[0]) if len(data) >= 44 else 0


def handshake_sequence(data: bytes) -> int | None:
    """The number of the first data packet of the sender of an SRT handshake; None: it is cut off."""
    return int(_U32.unpack_from(data, 24)[0]) & SEQUENCE_MASK if len(data) >= 28 else None


def destination_of(data: bytes) -> int:
    """The socket id to which an SRT packet goes; 0: none yet, or it is cut off."""
    return int(_U32.unpack_from(data, 12)[0]) if len(data) >= SRT_HEADER else 0


def accepting_socket(data: bytes) -> int:
    """The SRT server's socket id, if this is its answer that accepts a caller; else 0."""
    return handshake_socket(data) if is_conclusion(data) else 0


def build_induction(socket: int) -> bytes:
    """The handshake with which an SRT caller that has this socket id begins (draft-sharabayko-srt, 4.3.1)."""
    version, stream, window = 4, 2, 8192  # as the draft has them for every caller; the server looks at none
    head = (SRT_HANDSHAKE, 0, 0, 0, 0)
    return _HANDSHAKE.pack(*head, version, 0, stream, 0, MTU, window, _INDUCTION, socket, 0)


def cookie_of(data: bytes) -> int:
    """The SYN cookie of a handshake; 0: it is cut off."""
    return int(_U32.unpack_from(data, _COOKIE)[0]) if len(data) >= _COOKIE + 4 else 0


def with_cookie(data: bytes, cookie: int) -> bytes:
    """The same handshake with another SYN cookie; it is not cut off."""
    return data[:_COOKIE] + _U32.pack(cookie) + data[_COOKIE + 4 :]


def answer_induction(data: bytes, cookie: int) -> bytes:
    """An SRT listener's answer to a caller's induction, with this cookie: the same with version 5 and the
    magic number that says so, for the caller's socket (draft-sharabayko-srt, 4.3.1.1)."""
    socket = handshake_socket(data)
    answer = data[:12] + _U32.pack(socket) + struct.pack("!IHH", 5, 0, _MAGIC) + data[24:HANDSHAKE_LENGTH]
    return with_cookie(answer, cookie)


def build_shutdown(socket: int) -> bytes:
    """The packet that ends the SRT connection for the end with this socket id. Its body is padding."""
    return struct.pack("!HHIIII", SRT_SHUTDOWN, 0, 0, 0, socket, 0)


@dataclass(frozen=True, slots=True)
class HandshakeOptions:
    """What an SRT handshake says of the end that sent it (HSREQ, HSRSP: draft-sharabayko-srt, 3.2.1.1)."""

    response: bool  # HSRSP: the server's, which settles the connection; False: the caller's wish
    flags: int  # TSBPDSND and so on
    latency_s: float | None  # larger of both directions; None: packets are delivered as soon as they can be

    @property
    def drops_late(self) -> bool:
        """Whether this end, as the receiver of data, skips packets that are too late.

        False: it waits for each packet for ever, so none may be given up. So it is with `tlpktdrop=0`, and in
        file mode, which has neither TSBPD nor TLPKTDROP. (libsrt's HSRSP has no STREAM flag in file mode.)
        """
        needed = TSBPDRCV | TLPKTDROP
        return self.flags & needed == needed


def parse_options(data: bytes) -> HandshakeOptions | None:
    """What a handshake with the HSREQ or HSRSP extension says; None for any other packet.

    Only the conclusion of a handshake has one; the server's is the one that counts.
    """
    if not is_handshake(data):
        return None
    offset = HANDSHAKE_LENGTH
    while offset + _OPTIONS.size <= len(data):
        kind, words, _, flags, receive, send = _OPTIONS.unpack_from(data, offset)
        if kind in (_HSREQ, _HSRSP) and words >= 3:
            delay = max(receive, send)
            timed = delay or flags & (TSBPDSND | TSBPDRCV)
            return HandshakeOptions(kind == _HSRSP, flags, delay / 1000 if timed else None)
        offset += 4 + words * 4
    return None


def parse_latency(data: bytes) -> float | None:
    """SRT's latency in s from a handshake; None if it says none, or if there is none (file mode)."""
    options = parse_options(data)
    return options.latency_s if options is not None else None


def parse_stream_id(data: bytes) -> bytes | None:
    """The stream id in the caller's conclusion of a handshake, at most 512 bytes; None if it has none.

    It is there in clear, also with encryption. Each word of four bytes is written back to front
    (draft-sharabayko-srt, 3.2.1.3), and the last one is filled up with zero bytes.
    """
    found = _extension(data, _SID)
    if found is None or len(found) > 4 * _SID_WORDS:
        return None
    return b"".join(found[at : at + 4][::-1] for at in range(0, len(found), 4)).rstrip(b"\0")


def names_packet_filter(data: bytes) -> bool:
    """Whether a conclusion of a handshake names a packet filter (FEC), which one end wants to use."""
    return _extension(data, _FILTER) is not None


def _extension(data: bytes, wanted: int) -> bytes | None:
    """An extension of a conclusion of a handshake; None if it is not there, or cut off."""
    if not is_conclusion(data):
        return None
    offset = HANDSHAKE_LENGTH
    while offset + 4 <= len(data):
        kind, words = data[offset] << 8 | data[offset + 1], data[offset + 2] << 8 | data[offset + 3]
        offset += 4
        if kind == wanted:
            end = offset + 4 * words
            return data[offset:end] if end <= len(data) else None
        offset += 4 * words
    return None


# --- acknowledgements ------------------------------------------------------------------------------------


def parse_srt_ack(data: bytes) -> int | None:
    """The first sequence number the SRT server has not received (full and light ACK alike)."""
    if len(data) < SRT_HEADER + 4 or packet_type(data) != SRT_ACK:
        return None
    return (data[16] & 0x7F) << 24 | data[17] << 16 | data[18] << 8 | data[19]


def parse_srt_nak(data: bytes) -> list[tuple[int, int]] | None:
    """The loss list as (first, last) ranges, both inclusive. A range may be as long as its author pleased:
    bound it by what was sent before walking it. A range without its end is left out."""
    if len(data) < SRT_HEADER or packet_type(data) != SRT_NAK:
        return None
    count = (min(len(data), MTU) - SRT_HEADER) // 4
    words = struct.unpack_from(f"!{count}I", data, SRT_HEADER)
    ranges: list[tuple[int, int]] = []
    first = -1
    for word in words:
        if word & 0x80000000:
            first = word & SEQUENCE_MASK
        elif first >= 0:
            ranges.append((first, word))
            first = -1
        else:
            ranges.append((word, word))
    return ranges


def parse_srtla_ack(data: bytes) -> tuple[int, ...] | None:
    """The acknowledged sequence numbers in order of arrival; any number of them, usually ten."""
    if len(data) < 8 or packet_type(data) != SRTLA_ACK:
        return None
    if len(data) == 4 + 4 * ACK_EVERY:  # nearly always
        return _TEN(data, 4)
    count = (min(len(data), MTU) - 4) // 4
    return struct.unpack_from(f"!{count}I", data, 4)


def build_srtla_ack(sequences: list[int]) -> bytes:
    """An SRTLA ACK for these data packets."""
    return struct.pack(f"!I{len(sequences)}I", SRTLA_ACK << 16, *sequences)


# --- registration ----------------------------------------------------------------------------------------


def parse_registration(data: bytes) -> bytes | None:
    """The id in a REG1 or REG2, which have exactly 258 bytes; None for anything else."""
    if len(data) != REG_LENGTH or packet_type(data) not in (REG1, REG2):
        return None
    return data[2:]


def build_registration(kind: int, group: bytes) -> bytes:
    """A REG1 or REG2 (`kind`) with this id of 256 bytes."""
    if len(group) != ID_LENGTH:
        raise ValueError(f"a group id has {ID_LENGTH} bytes, not {len(group)}")
    return kind.to_bytes(2, "big") + group


def build_refusal(reason: bytes) -> bytes:
    """A REG_ERR that says why, to netbond."""
    return (REG_ERR_PACKET[:2] + reason).ljust(PADDED, b"\0")


def parse_refusal(data: bytes) -> bytes:
    """What a REG_ERR says of its reason, at most 30 bytes; b"": nothing."""
    return data[2:PADDED].partition(b"\0")[0] if packet_type(data) == REG_ERR else b""


# --- keepalive -------------------------------------------------------------------------------------------


class Keepalive:
    """A KEEPALIVE in its extended form of 38 bytes. The receiver echoes it byte for byte."""

    # Not a dataclass: Python would make each object, also when this module is compiled.
    __slots__ = ("bitrate", "in_flight", "link", "naks", "rtt", "timestamp", "window")

    def __init__(
        self, timestamp: int, link: int, window: int, in_flight: int, rtt: int, naks: int, bitrate: int
    ) -> None:
        self.timestamp = timestamp  # ms of the sender's own clock: only the sender can read it
        self.link = link  # the sender's number for the link
        self.window = window
        self.in_flight = in_flight  # packets
        self.rtt = rtt  # ms
        self.naks = naks  # so far on this link
        self.bitrate = bitrate  # bytes per second


def build_keepalive(keepalive: Keepalive) -> bytes:
    """The 38 bytes; numbers that do not fit their field are brought to the nearest that does."""
    return _KEEPALIVE.pack(
        KEEPALIVE,
        keepalive.timestamp & 0xFFFFFFFFFFFFFFFF,
        _KEEPALIVE_MAGIC,
        _KEEPALIVE_VERSION,
        keepalive.link & 0xFFFFFFFF,
        min(max(keepalive.window, -0x80000000), 0x7FFFFFFF),
        min(max(keepalive.in_flight, -0x80000000), 0x7FFFFFFF),
        min(max(keepalive.rtt, 0), 0xFFFFFFFF),
        min(max(keepalive.naks, 0), 0xFFFFFFFF),
        min(max(keepalive.bitrate, 0), 0xFFFFFFFF),
    )


def parse_keepalive(data: bytes) -> Keepalive | None:
    """An extended KEEPALIVE, possibly padded; None for the short forms, which carry nothing for us."""
    if len(data) < _KEEPALIVE.size or packet_type(data) != KEEPALIVE:
        return None
    _, timestamp, magic, version, link, window, in_flight, rtt, naks, bitrate = _KEEPALIVE.unpack_from(data)
    if magic != _KEEPALIVE_MAGIC or version != _KEEPALIVE_VERSION:
        return None
    return Keepalive(timestamp, link, window, in_flight, rtt, naks, bitrate)
