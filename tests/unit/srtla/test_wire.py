"""SRTLA packets, byte by byte, and what readers make of junk."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla import wire
from tests.srtla_util import CONCLUSION, INDUCTION, data_packet, induction, srt_ack, srt_control, srt_nak
from tests.srtla_util import handshake as srt_handshake

TOP = wire.SEQUENCE_MASK


@pytest.mark.parametrize(
    ("start", "end", "steps"),
    [
        (0, 0, 0),
        (5, 6, 1),
        (6, 5, -1),
        (TOP, 0, 1),  # the wrap
        (0, TOP, -1),
        (TOP - 9, 10, 20),
        (0, 1 << 30, -(1 << 30)),  # half-way round counts as behind
        (0, (1 << 30) - 1, (1 << 30) - 1),
    ],
)
def test_distance(start: int, end: int, steps: int) -> None:
    assert wire.distance(start, end) == steps
    assert wire.advance(start, steps) == end


@settings(deadline=None)
@given(st.integers(0, TOP), st.integers(-(1 << 30), (1 << 30) - 1))
def test_distance_undoes_advance(start: int, steps: int) -> None:
    assert wire.distance(start, wire.advance(start, steps)) == steps


def test_data_packets() -> None:
    assert wire.data_sequence(data_packet(0x12345678)) == 0x12345678
    assert wire.data_sequence(data_packet(TOP)) == TOP
    assert wire.data_sequence(data_packet(1)[:15]) is None
    assert wire.data_sequence(srt_ack(1)) is None
    assert not wire.is_retransmission(data_packet(1))
    assert wire.is_retransmission(data_packet(1, again=True))
    assert not wire.is_retransmission(b"\x80\x02\0\0\x04" + bytes(20))


def test_handshakes() -> None:
    assert wire.is_induction(induction())
    conclusion = bytearray(induction())
    conclusion[36:40] = b"\xff\xff\xff\xff"
    assert wire.is_handshake(bytes(conclusion))
    assert not wire.is_induction(bytes(conclusion))
    assert wire.is_conclusion(bytes(conclusion))
    assert not wire.is_conclusion(induction())
    assert not wire.is_conclusion(bytes(conclusion[:39]))
    assert not wire.is_handshake(srt_control(wire.SRT_KEEPALIVE))


def test_sockets_of_a_handshake() -> None:
    packet = srt_handshake(INDUCTION, 0x12345678, to=0x0ABCDEF0)
    assert wire.handshake_socket(packet) == 0x12345678
    assert wire.destination_of(packet) == 0x0ABCDEF0
    assert (wire.handshake_socket(packet[:43]), wire.destination_of(packet[:15])) == (0, 0)


def test_srt_ack_full_and_light() -> None:
    assert wire.parse_srt_ack(srt_ack(77)) == 77
    assert wire.parse_srt_ack(srt_ack(77)[:20]) == 77
    assert wire.parse_srt_ack(srt_ack(77)[:19]) is None
    assert wire.parse_srt_ack(srt_nak((1, 1))) is None


def test_the_loss_list_starts_behind_the_srt_header() -> None:
    assert wire.parse_srt_nak(srt_nak((3, 3), (5, 9), (TOP, TOP))) == [(3, 3), (5, 9), (TOP, TOP)]
    assert wire.parse_srt_nak(srt_nak()) == []


def test_a_huge_range_is_one_range() -> None:
    forged = srt_control(wire.SRT_NAK, bytes.fromhex("80000000 ffffffff"))
    assert wire.parse_srt_nak(forged) == []  # an end with bit 31 set is no end, but another start
    assert wire.parse_srt_nak(srt_nak((0, TOP))) == [(0, TOP)]


def test_a_range_cut_off() -> None:
    assert wire.parse_srt_nak(srt_nak((1, 1), (5, 9))[:-4]) == [(1, 1)]


def test_srtla_ack() -> None:
    packet = wire.build_srtla_ack(list(range(10)))
    assert packet == bytes.fromhex("91000000") + b"".join(n.to_bytes(4, "big") for n in range(10))
    assert len(packet) == 44
    assert wire.parse_srtla_ack(packet) == tuple(range(10))
    assert wire.parse_srtla_ack(wire.build_srtla_ack([7])) == (7,)
    assert wire.parse_srtla_ack(packet[:4]) is None


def test_registration_has_exactly_258_bytes() -> None:
    group = bytes(range(256))
    packet = wire.build_registration(wire.REG1, group)
    assert packet == b"\x92\x00" + group
    assert wire.parse_registration(packet) == group
    assert wire.parse_registration(wire.build_registration(wire.REG2, group)) == group
    assert wire.parse_registration(packet + b"\0") is None
    assert wire.parse_registration(packet[:-1]) is None
    assert wire.parse_registration(b"\x92\x02" + group) is None
    with pytest.raises(ValueError, match="256 bytes"):
        wire.build_registration(wire.REG1, group[:-1])


def test_keepalive_layout() -> None:
    packet = wire.build_keepalive(wire.Keepalive(0x0102030405060708, 9, 20000, 3, 45, 2, 125000))
    assert packet == bytes.fromhex(
        "9000 0102030405060708 c01f 0001 00000009 00004e20 00000003 0000002d 00000002 0001e848"
    )
    assert len(packet) == 38


@pytest.mark.parametrize("size", [2, 10, 32, 37])
def test_short_keepalives_carry_nothing(size: int) -> None:
    packet = (wire.KEEPALIVE.to_bytes(2, "big") + bytes(40))[:size]
    assert wire.packet_type(packet) == wire.KEEPALIVE
    assert wire.parse_keepalive(packet) is None


def test_keepalive_may_come_back_padded() -> None:
    packet = wire.build_keepalive(wire.Keepalive(5, 1, 20000, 0, 0, 0, 0))
    parsed = wire.parse_keepalive(packet + bytes(10))
    assert parsed is not None
    assert wire.build_keepalive(parsed) == packet


u32 = st.integers(0, 0xFFFFFFFF)
i32 = st.integers(-0x80000000, 0x7FFFFFFF)


@settings(deadline=None)
@given(st.builds(wire.Keepalive, st.integers(0, 2**64 - 1), u32, i32, i32, u32, u32, u32))
def test_keepalive_round_trip(keepalive: wire.Keepalive) -> None:
    parsed = wire.parse_keepalive(wire.build_keepalive(keepalive))
    assert parsed is not None
    for name in ("timestamp", "link", "window", "in_flight", "rtt", "naks", "bitrate"):
        assert getattr(parsed, name) == getattr(keepalive, name)


@settings(deadline=None)
@given(st.builds(wire.Keepalive, *([st.integers()] * 7)))
def test_keepalive_of_any_numbers_has_its_size(keepalive: wire.Keepalive) -> None:
    assert len(wire.build_keepalive(keepalive)) == 38


READERS = [
    wire.packet_type,
    wire.data_sequence,
    wire.is_retransmission,
    wire.is_filter_packet,
    wire.is_handshake,
    wire.is_induction,
    wire.parse_options,
    wire.parse_stream_id,
    wire.handshake_socket,
    wire.accepting_socket,
    wire.is_conclusion,
    wire.destination_of,
    wire.parse_srt_ack,
    wire.parse_srt_nak,
    wire.parse_srtla_ack,
    wire.parse_registration,
    wire.parse_keepalive,
]
TYPES = [0x8000, 0x8002, 0x8003, 0x9000, 0x9100, 0x9200, 0x9201, 0x9202, 0x9210, 0x9211, 0x9212, 0x9300]
junk = st.one_of(
    st.binary(max_size=64),
    st.binary(min_size=256, max_size=260),
    st.builds(lambda t, rest: t.to_bytes(2, "big") + rest, st.sampled_from(TYPES), st.binary(max_size=1600)),
)


@settings(deadline=None)
@given(junk)
def test_no_reader_raises(data: bytes) -> None:
    for read in READERS:
        read(data)


@settings(deadline=None)
@given(junk)
def test_what_is_read_is_in_range(data: bytes) -> None:
    for first, last in wire.parse_srt_nak(data) or []:
        assert 0 <= first <= TOP
        assert 0 <= last <= TOP
    sequence = wire.data_sequence(data)
    assert sequence is None or 0 <= sequence <= TOP
    acked = wire.parse_srt_ack(data)
    assert acked is None or 0 <= acked <= TOP


def handshake(*extensions: bytes) -> bytes:
    return srt_control(wire.SRT_HANDSHAKE, bytes(48) + b"".join(extensions))


@pytest.mark.parametrize(
    ("extensions", "latency_s"),
    [
        ((), None),
        ((struct.pack("!HHIIHH", 1, 3, 0x10501, 0xBF, 120, 2000),), 2.0),
        ((struct.pack("!HHIIHH", 2, 3, 0x10501, 0xBF, 300, 0),), 0.3),
        ((struct.pack("!HH4s", 5, 1, b"name"), struct.pack("!HHIIHH", 1, 3, 0, 1, 80, 0)), 0.08),
        ((struct.pack("!HHIIHH", 1, 3, 0, 2, 80, 0) + bytes(3),), 0.08),
        ((struct.pack("!HHIIHH", 1, 3, 0x10501, 0xA4, 0, 0),), None),  # neither end heeds time stamps
        ((struct.pack("!HHIIHH", 1, 3, 0x10501, 0xBF, 0, 0),), 0.0),
        ((struct.pack("!HHIIHH", 1, 3, 0x10501, 0, 80, 0),), 0.08),
        ((struct.pack("!HHIIH", 1, 3, 0, 1, 80),), None),  # cut off
        ((struct.pack("!HHII", 1, 2, 0, 1),), None),  # too short to have it
        ((struct.pack("!HH", 5, 0xFFFF), struct.pack("!HHIIHH", 1, 3, 0, 1, 80, 0)), None),  # too long
        ((struct.pack("!HH", 5, 0), struct.pack("!HHIIHH", 1, 3, 0, 1, 80, 0)), 0.08),
    ],
)
def test_the_latency_of_a_handshake(extensions: tuple[bytes, ...], latency_s: float | None) -> None:
    assert wire.parse_latency(handshake(*extensions)) == latency_s


# Handshakes of libsrt 1.5.1 (srt-live-transmit), from the extensions' first byte on.
LIVE = "0002 0003 00010501 000000bf 0078 0078"
WAITS = "0002 0003 00010501 000000b7 0078 0078"  # a server with tlpktdrop=0
WISH = "0001 0003 00010501 000000b7 0078 0000"  # a caller with tlpktdrop=0
FEC = "0002 0003 00010501 000000bf 02bc 02bc 0007 0002 2c636566 3a736c6f"
FILE = "0002 0003 00010501 000000a4 0000 0000 0006 0001 656c6966"
FILE_WISH = "0001 0003 00010501 000000e4 0000 0000 0006 0001 656c6966"


@pytest.mark.parametrize(
    ("extensions", "response", "latency_s", "drops_late"),
    [
        (LIVE, True, 0.12, True),
        (WAITS, True, 0.12, False),
        (WISH, False, 0.12, False),
        (FEC, True, 0.7, True),
        (FILE, True, None, False),
        (FILE_WISH, False, None, False),
    ],
)
def test_what_a_handshake_asks_for(
    extensions: str, response: bool, latency_s: float | None, drops_late: bool
) -> None:
    options = wire.parse_options(handshake(bytes.fromhex(extensions)))
    assert options is not None
    assert (options.response, options.latency_s, options.drops_late) == (response, latency_s, drops_late)
    assert options.flags & wire.PACKET_FILTER
    assert options.flags & wire.REXMITFLG
    assert bool(options.flags & wire.STREAM) == (extensions == FILE_WISH)
    assert bool(options.flags & wire.PERIODICNAK) == (latency_s is not None)


def test_handshakes_without_options() -> None:
    assert wire.parse_options(induction()) is None
    assert wire.parse_options(handshake()) is None
    assert wire.parse_options(srt_ack(5) + bytes.fromhex(LIVE)) is None


# Conclusions of libsrt 1.5.1 (srt-live-transmit), from the HSREQ on; the second is encrypted.
FEED = "0001 0003 00010501 000000bf 00c8 00c8 0005 0005 6c627570 2f687369 6576696c 6565662f 00003164"
ENCRYPTED = (
    "0001 0003 00010501 000000bf 00c8 00c8"
    "0005 0009 21333225 3d723a3a 6576696c 6565662f 752c3164 2c6c613d 75703d6d 73696c62 00000068"
    "0003 000e 12202901 00000000 02000200 00000404 e328e67e 13613b14 e1ae3583 97ad0ae8 6e005f17 1efe15a3"
    "450544f9 e54ec1f5 c2e976eb 552025ba"
)


def conclusion(*extensions: bytes) -> bytes:
    return srt_handshake(0xFFFFFFFF, 7) + b"".join(extensions)


@pytest.mark.parametrize(
    ("extensions", "stream_id"),
    [
        (bytes.fromhex(FEED), b"publish/live/feed1"),
        (bytes.fromhex(ENCRYPTED), b"%23!::r=live/feed1,u=al,m=publish"),
        (bytes.fromhex(LIVE), None),
        (b"", None),
        (bytes.fromhex("0005 0000"), b""),
        (bytes.fromhex("0005 0001 6c627570") * 2, b"publ"),  # the first counts
        (bytes.fromhex("0005 0002 6c627570"), None),  # cut off
        (bytes.fromhex("0005 0080") + b"x" * 512, b"x" * 512),
        (bytes.fromhex("0005 0081") + b"x" * 516, None),  # more than SRT allows
        (bytes.fromhex("0001 ffff 0005 0001 6c627570"), None),
    ],
)
def test_the_stream_id_of_a_handshake(extensions: bytes, stream_id: bytes | None) -> None:
    assert wire.parse_stream_id(conclusion(extensions)) == stream_id


def test_only_a_conclusion_has_a_stream_id() -> None:
    assert wire.parse_stream_id(induction() + bytes.fromhex(FEED)) is None
    assert wire.parse_stream_id(data_packet(1) + bytes.fromhex(FEED)) is None


def test_packets_of_a_packet_filter() -> None:
    # From libsrt 1.5.1 with packetfilter=fec,cols:5,rows:1: the fifth packet of a row, and its FEC packet.
    fifth = bytes.fromhex("1fc598fd c0000005 00015d8c 293ea8b7")
    fec = bytes.fromhex("1fc598fd c0000000 00016525 293ea8b7")
    assert wire.data_sequence(fifth) == wire.data_sequence(fec)
    assert not wire.is_filter_packet(fifth)
    assert wire.is_filter_packet(fec)
    assert wire.is_filter_packet(bytes.fromhex("1fc598fd d8000000 00016525 293ea8b7")), (
        "of an encrypted stream"
    )
    for message in ("c0000100", "c0010000", "c1000000", "c3ffffff"):
        assert not wire.is_filter_packet(bytes.fromhex(f"1fc598fd {message} 00016525 293ea8b7"))
    assert not wire.is_filter_packet(fec[:15])
    assert not wire.is_filter_packet(srt_control(wire.SRT_KEEPALIVE))


def test_who_speaks_in_a_handshake() -> None:
    caller, accepted, refused = (srt_handshake(kind, 0x1234567) for kind in (1, 0xFFFFFFFF, 1002))
    assert wire.handshake_socket(caller) == 0x1234567
    assert wire.accepting_socket(accepted) == 0x1234567
    for other in (caller, refused, accepted[:43], srt_control(wire.SRT_ACK, accepted[16:]), b""):
        assert wire.accepting_socket(other) == 0
    assert wire.handshake_socket(accepted[:43]) == 0


def test_an_induction_is_what_srt_callers_begin_with() -> None:
    packet = wire.build_induction(0x1234567)
    assert packet == srt_handshake(1, 0x1234567)[:12] + bytes(4) + srt_handshake(1, 0x1234567)[16:]
    assert wire.is_induction(packet)


def test_a_shutdown_ends_the_connection_of_the_socket_that_it_is_for() -> None:
    packet = wire.build_shutdown(0x1234567)
    assert (len(packet), wire.packet_type(packet)) == (20, wire.SRT_SHUTDOWN)
    assert wire.destination_of(packet) == 0x1234567
    assert wire.destination_of(data_packet(5)) == 7


def test_only_a_handshake_has_a_latency() -> None:
    assert wire.parse_latency(srt_ack(5)) is None


def test_a_refusal_with_its_reason() -> None:
    refusal = wire.build_refusal(wire.REFUSED_KEY)
    assert len(refusal) == wire.PADDED
    assert wire.parse_refusal(refusal) == wire.REFUSED_KEY
    assert wire.parse_refusal(wire.REG_ERR_PACKET) == b""
    assert wire.parse_refusal(wire.REG3_PACKET) == b""


def test_a_keepalive_of_another_version_carries_nothing() -> None:
    packet = bytearray(wire.build_keepalive(wire.Keepalive(5, 1, 20000, 0, 0, 0, 0)))
    packet[13] ^= 1
    assert wire.parse_keepalive(bytes(packet)) is None


def test_a_handshake_says_where_the_numbers_begin() -> None:
    assert wire.handshake_sequence(bytes(24) + b"\x80\0\1\2") == 0x102
    assert wire.handshake_sequence(bytes(27)) is None


def test_a_conclusion_may_name_a_packet_filter() -> None:
    bare = srt_handshake(CONCLUSION, 5)
    sid, fec = struct.pack("!HH4s", 5, 1, b"deef"), struct.pack("!HH4s", 7, 1, b"cef\0")
    assert wire.names_packet_filter(bare + sid + fec)
    assert not wire.names_packet_filter(bare + sid)
    assert not wire.names_packet_filter((bare + sid + fec)[:-1])
    assert not wire.names_packet_filter(srt_handshake(INDUCTION, 5) + fec)


def test_handshakes_that_are_cut_off() -> None:
    """Type and socket id end 40 and 44 bytes from the start; what is cut off has none."""
    for whole, is_it in (
        (induction(9), wire.is_induction),
        (srt_handshake(CONCLUSION, 9), wire.is_conclusion),
    ):
        assert is_it(whole[:40])
        assert not is_it(whole[:39])
        assert not is_it(b"\x80\x01" + whole[2:])
    assert wire.handshake_socket(induction(9)[:44]) == 9
    assert wire.handshake_socket(induction(9)[:43]) == 0
    assert wire.destination_of(srt_handshake(CONCLUSION, 5, to=0x01020304)[:16]) == 0x01020304
    assert wire.destination_of(bytes(15)) == 0
    assert wire.accepting_socket(srt_handshake(CONCLUSION, 9)) == 9
    assert wire.accepting_socket(induction(9)) == 0


def test_a_listeners_answer_to_an_induction() -> None:
    asked = (
        b"\x80\x00\0\0" + bytes(4) + struct.pack("!II", 7, 0) + struct.pack("!IHH", 4, 0, 2) + bytes(range(8))
    )
    asked += struct.pack("!IIII", 8192, 1, 0x01020304, 0) + bytes(range(16))
    assert len(asked) == wire.HANDSHAKE_LENGTH
    answer = wire.answer_induction(asked + b"more", 0xFFFEFDFC)
    assert answer.hex(" ", 4) == (
        "80000000 00000000 00000007 01020304"  # its own time stamp, for the caller's socket
        " 00000005 00004a17 00010203 04050607"  # version 5 and SRT's magic number
        " 00002000 00000001 01020304 fffefdfc"  # type 1, and the cookie
        " 00010203 04050607 08090a0b 0c0d0e0f"
    )
    assert wire.cookie_of(answer) == 0xFFFEFDFC
    assert wire.cookie_of(answer[:48]) == 0xFFFEFDFC
    assert wire.cookie_of(answer[:47]) == 0
    assert wire.with_cookie(answer, 1) == answer[:44] + b"\0\0\0\1" + answer[48:]


def test_a_callers_induction_and_a_shutdown() -> None:
    assert wire.build_induction(0x0A0B0C0D).hex(" ", 4) == (
        "80000000 00000000 00000000 00000000 00000004 00000002 00000000 000005dc"
        " 00002000 00000001 0a0b0c0d 00000000 00000000 00000000 00000000 00000000"
    )
    assert wire.build_shutdown(0x0A0B0C0D).hex(" ", 4) == "80050000 00000000 00000000 0a0b0c0d 00000000"


@pytest.mark.parametrize("sequence", [0, 1, 0x01020304, 0x7F000000, TOP])
def test_each_byte_of_an_acknowledged_number_counts(sequence: int) -> None:
    assert wire.parse_srt_ack(srt_ack(sequence)) == sequence
    assert wire.parse_srt_ack(srt_ack(sequence)[:20]) == sequence, "a light ACK"
    assert wire.parse_srt_ack(srt_ack(sequence)[:19]) is None
    assert wire.parse_srt_ack(srt_ack(sequence | 0x80000000)) == sequence, "the highest bit is none of it"
    assert wire.parse_srt_nak(srt_nak((sequence, sequence))) == [(sequence, sequence)]


def test_a_type_needs_two_bytes() -> None:
    assert [wire.packet_type(data) for data in (b"", b"\x90", b"\x90\x01", b"\x01\x02\x03")] == [
        -1,
        -1,
        0x9001,
        0x102,
    ]
