"""Which packets of a stream carry keyframes."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.srtla.keyframes import LONGEST_S, Keyframes, announced_s
from tests.srtla_util import data_packet
from tests.transport_stream import FRAME, KEYFRAME, SOUND, VIDEO, stream_packet, ts_packet


def seen(*packets: bytes) -> str:
    """K: it carries a keyframe, a dot: it does not."""
    keyframes = Keyframes()
    return "".join(".K"[keyframes.look(packet, 0.0)] for packet in packets)


def test_a_keyframe_lasts_until_the_next_frame_begins() -> None:
    assert (
        seen(
            stream_packet(FRAME),
            stream_packet(ts_packet(256), KEYFRAME),
            stream_packet(),
            stream_packet(SOUND),
            stream_packet(),
            stream_packet(ts_packet(256), FRAME),  # the last of it
            stream_packet(),
            stream_packet(KEYFRAME, SOUND, FRAME),
            stream_packet(),
        )
        == ".KKKKK.K."
    )


def test_an_audio_frame_is_no_keyframe_though_it_has_the_flag() -> None:
    assert seen(stream_packet(SOUND), stream_packet(SOUND, pid=257)) == ".."


@pytest.mark.parametrize(
    "packet",
    [
        stream_packet(KEYFRAME, encrypted=True),
        data_packet(1),
        stream_packet(KEYFRAME)[:-1],
        stream_packet(KEYFRAME).replace(b"\x47\x01\x00", b"\x46\x01\x00", 2),
        stream_packet(KEYFRAME)[:16],
        stream_packet(ts_packet(256, random_access=True)),  # nothing begins there
        stream_packet(KEYFRAME[:3] + b"\x10" + KEYFRAME[4:]),  # no adaptation field
        stream_packet(KEYFRAME[:3] + b"\x20" + KEYFRAME[4:]),  # no payload
        stream_packet(KEYFRAME[:4] + b"\xb7" + KEYFRAME[5:]),  # an adaptation field that fills it
        stream_packet(KEYFRAME[:4] + b"\x00" + KEYFRAME[5:]),  # one without flags
    ],
)
def test_other_packets_are_none(packet: bytes) -> None:
    assert seen(packet, stream_packet()) == ".."


def test_an_announcement_counts_for_its_time_also_of_an_encrypted_stream() -> None:
    keyframes = Keyframes()
    packet = stream_packet(encrypted=True)
    assert not keyframes.look(packet, 10.0)
    keyframes.announce(0.05, 10.0)
    keyframes.announce(0.01, 10.0)  # does not end the longer one
    assert keyframes.look(packet, 10.049)
    assert not keyframes.look(packet, 10.051)


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (struct.pack("!BI", 0xC1, 50), 0.05),
        (struct.pack("!BI", 0xC1, 0), 0.0),
        (struct.pack("!BI", 0xC1, 0xFFFFFFFF), LONGEST_S),
        (struct.pack("!BI", 0xC0, 50), 0.0),
        (struct.pack("!BI", 0xC1, 50) + b"\0", 0.0),
        (b"\xc1", 0.0),
        (b"", 0.0),
    ],
)
def test_what_an_encoder_announces(data: bytes, seconds: float) -> None:
    assert announced_s(data) == seconds


def test_where_every_frame_is_a_keyframe_none_matters_more() -> None:
    assert seen(*[stream_packet(KEYFRAME)] * 2000).rstrip(".").count("K") < 800


@given(st.lists(st.binary(min_size=16, max_size=1500), max_size=5))
def test_no_packet_of_a_caller_breaks_it(packets: list[bytes]) -> None:
    seen(*packets, *(packet[:16] + b"\x47\x41\x00" + packet for packet in packets))


@given(st.binary(min_size=185, max_size=185), st.integers(0, 6))
def test_no_packet_of_a_transport_stream_breaks_it(body: bytes, where: int) -> None:
    seen(stream_packet(*[ts_packet(256)] * where, b"\x47\x41\x00" + body))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_the_keyframes_of_a_real_encoder_are_found(tmp_path: Path) -> None:
    """Six seconds with a keyframe every two, with sound."""
    file = tmp_path / "stream.ts"
    video = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=15", "-f", "lavfi", "-i", "sine"]
    coding = ["-c:v", "mpeg2video", "-g", "30", "-b:v", "500k", "-c:a", "mp2", "-f", "mpegts"]
    subprocess.run(["ffmpeg", "-v", "error", *video, "-t", "6", *coding, file], check=True, timeout=60)
    stream = file.read_bytes()
    head = stream_packet()[:16]
    marks = seen(*(head + stream[at : at + 1316] for at in range(0, len(stream), 1316)))
    assert len([run for run in marks.split(".") if run]) == 3
    assert marks.count("K") < 0.4 * len(marks)


def test_a_video_of_another_pid_ends_no_keyframe() -> None:
    other = ts_packet(300, begins=VIDEO)
    assert (
        seen(stream_packet(KEYFRAME), stream_packet(other), stream_packet(FRAME), stream_packet()) == "KKK."
    )
