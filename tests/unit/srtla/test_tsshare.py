"""What of a stream is not video: measured in a transport stream, taken where there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.srtla.tsshare import NULL_PID, PACKET, SHARE, TsShare

VIDEO, SOUND, PMT = 0x100, 0x101, 0x1000
RATE = 4_000_000.0


def pes(stream_id: int, header: int = 10) -> bytes:
    """The start of a PES packet with `header` bytes of optional header."""
    return b"\0\0\1" + bytes([stream_id, 0, 0, 0x80, 0xC0, header]) + bytes(header)


def packet(pid: int, start: bytes = b"", *, stuffing: int = 0) -> bytes:
    """A transport packet that begins with `start`, after an adaptation field of so many bytes."""
    control = 0x30 if stuffing else 0x10
    field = bytes([stuffing - 1]) + bytes(stuffing - 1) if stuffing else b""
    head = bytes([0x47, (0x40 if start else 0) | pid >> 8, pid & 0xFF, control]) + field + start
    return head.ljust(PACKET, b"\x55")


def srt(*packets: bytes, flags: int = 0xC0) -> bytes:
    return b"\0\0\0\1" + bytes([flags, 0, 0, 1]) + bytes(8) + b"".join(packets)


def share_of(*packets: bytes) -> TsShare:
    share = TsShare()
    share.second([srt(*packets)], RATE)
    return share


def test_sound_and_tables_count_as_a_rate() -> None:
    """Of ten packets two are not video: 0.8 of 4 Mbit/s. At 1 Mbit/s they are as many bits as before."""
    share = share_of(*[packet(VIDEO)] * 8, packet(SOUND, pes(0xC0)), packet(PMT))
    assert share.video(4_000_000) == pytest.approx(3_200_000 * 184 / PACKET)
    assert share.video(1_000_000) == pytest.approx(200_000 * 184 / PACKET)
    assert share.video(500_000) == 0


def test_so_do_the_headers_and_the_stuffing_of_frames() -> None:
    share = share_of(packet(VIDEO, pes(0xE0)), packet(VIDEO), packet(VIDEO, stuffing=100))
    content = 3 * 184 - 19 - 100
    assert share.video(RATE) == pytest.approx(RATE * content / (3 * PACKET))
    other = RATE * (19 + 100) / (3 * 184)
    assert share.video(RATE / 2) == pytest.approx((RATE / 2 - other) * 184 / PACKET)


def test_a_packet_without_payload() -> None:
    clock = bytearray(packet(VIDEO, stuffing=184))
    clock[3] = 0x20
    assert share_of(bytes(clock), packet(VIDEO)).video(RATE) == pytest.approx(RATE * 184 / PACKET / 2)


def test_the_pid_of_video_is_that_where_its_frames_begin_even_if_sound_has_more_bytes() -> None:
    share = share_of(packet(VIDEO, pes(0xE3)), *[packet(SOUND)] * 3)
    assert share.video(RATE) == pytest.approx(RATE / 4 * (184 - 19) / PACKET)


def test_until_a_frame_begins_it_is_that_with_the_most_bytes() -> None:
    share = share_of(packet(SOUND), packet(VIDEO), packet(VIDEO), *[packet(NULL_PID)] * 3)
    assert share.video(RATE) == pytest.approx(RATE / 3 * 184 / PACKET)


def test_an_encoder_that_is_started_anew_may_have_other_pids() -> None:
    share = share_of(packet(VIDEO, pes(0xE0)))
    for _ in range(40):
        share.second([srt(packet(0x200), packet(0x200), packet(SOUND))], RATE)
    share.second([srt(packet(0x200), packet(0x200), packet(SOUND))], RATE)
    expected = RATE * 2 / 3 * 184 / PACKET
    assert share.video(RATE) == pytest.approx(expected, rel=0.01)


def test_seconds_are_averaged() -> None:
    share = share_of(packet(VIDEO))
    share.second([srt(packet(VIDEO), packet(VIDEO), packet(VIDEO), packet(SOUND))], RATE)
    assert share.video(RATE) == pytest.approx((RATE - RATE / 16) * 184 / PACKET)


@pytest.mark.parametrize(
    "sample",
    [
        srt(packet(VIDEO), flags=0xD0),  # encrypted
        srt(b"NETBOND1".ljust(7 * PACKET)),  # no transport stream
        srt(packet(VIDEO), b"rest"),
        srt(),
    ],
)
def test_where_nothing_can_be_measured_a_share_is_taken(sample: bytes) -> None:
    share = TsShare()
    assert share.video(RATE) == RATE * (1 - SHARE)
    share.second([sample], RATE)
    assert share.video(RATE) == RATE * (1 - SHARE)
    share = share_of(packet(VIDEO))
    share.second([sample], RATE)
    assert share.video(RATE) == RATE * (1 - SHARE)


def test_no_samples_change_nothing() -> None:
    share = share_of(packet(VIDEO))
    share.second([], 0.0)
    assert share.video(RATE) == pytest.approx(RATE * 184 / PACKET)


PACKETS = st.binary(max_size=PACKET - 1).map(lambda body: (b"\x47" + body).ljust(PACKET, b"\0"))


@given(st.lists(PACKETS, min_size=1, max_size=7), st.floats(0, 1e9))
def test_whatever_is_in_it_the_video_is_a_part_of_the_payload(packets: list[bytes], rate: float) -> None:
    share = TsShare()
    share.second([srt(*packets)], rate)
    assert 0 <= share.video(rate) <= rate * 1.000001
