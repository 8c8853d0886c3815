"""What everybody may see of an SRT stream id, and whose id counts."""

from __future__ import annotations

import pytest

from netbond.srtla import streamid
from netbond.srtla.streamid import StreamIds, display_name
from tests.srtla_util import CONCLUSION, INDUCTION, REJECTION, handshake


@pytest.mark.parametrize(
    ("stream_id", "name"),
    [
        ("publish/live/feed1", "publish/live/~580b"),
        ("publish/live/feed2", "publish/live/~8840"),
        ("feed1", "~bc5a"),
        ("/feed1", "/~6977"),
        ("publish/live/feed1/", "publish/live/~99b1"),
        ("publish/live/feed1/?key=a/b", "publish/live/~a71a"),
        ("live/feed1?srtauth=secret/1", "live/~1084"),
        ("publish:live/feed1:user:pass/word", "~ca27"),
        ("user:pass@host/live", "~0656"),
        ("live/caf\u00e9/feed1", "live/~2762"),
        ("#!::r=live/feed1,u=alice,m=publish", "live/~a3f4"),
        ("#!::u=alice,m=publish,r=live/feed1,s=tok/en", "live/~9d9b"),
        ("#!::u=alice,s=to/ken", "~4d69"),
        ("#!::r=feed1", "~8ad8"),
        ("#!{r=live/feed1}", "~35c2"),
        ("/".join(["part"] * 30), "/".join(["part"] * 12) + "/~3d73"),
        ("", ""),
    ],
)
def test_names_for_everybody(stream_id: str, name: str) -> None:
    assert display_name(stream_id) == name
    assert display_name(stream_id, public=True) == stream_id


def test_a_callers_id_counts_when_the_server_has_accepted_it() -> None:
    ids = StreamIds()
    ids.asked(handshake(INDUCTION, 1))
    assert not ids.answered(handshake(INDUCTION, 9, to=1))
    ids.asked(handshake(CONCLUSION, 1, stream_id="live/a"))
    assert not ids.answered(handshake(CONCLUSION, 9, to=2)), "to somebody else"
    assert not ids.answered(handshake(REJECTION, 9, to=1))
    assert ids.accepted == ""
    assert ids.answered(handshake(CONCLUSION, 9, to=1))
    assert ids.accepted == "live/a"


def test_a_forged_handshake_changes_no_name() -> None:
    ids = StreamIds()
    ids.asked(handshake(CONCLUSION, 1, stream_id="live/a"))
    assert ids.answered(handshake(CONCLUSION, 9, to=1))
    for number in range(100):
        ids.asked(handshake(CONCLUSION, 1000 + number, stream_id="live/forged"))
    assert len(ids._asked) == streamid.MAX_ASKED
    assert not ids.answered(handshake(CONCLUSION, 9, to=1)), "a copy of the answer"
    assert ids.accepted == "live/a"


def test_a_caller_without_an_id_takes_the_name_away() -> None:
    ids = StreamIds()
    ids.accepted = "live/a"
    ids.asked(handshake(CONCLUSION, 1))
    assert ids.answered(handshake(CONCLUSION, 9, to=1))
    assert ids.accepted == ""


def test_an_id_is_one_line_of_text_whatever_its_caller_sent() -> None:
    packet = handshake(CONCLUSION, 1, stream_id="live/\x1b[2J\n\u202efeed")
    assert streamid.stream_id_of(packet) == r"live/\x1b[2J\n\u202efeed"
    assert streamid.stream_id_of(handshake(CONCLUSION, 1, stream_id="x" * 512)) == "x" * 512
    assert streamid.stream_id_of(handshake(INDUCTION, 1)) == ""
    raw = handshake(CONCLUSION, 1) + bytes.fromhex("00050001 6161ff61")
    assert streamid.stream_id_of(raw) == "a\ufffdaa"


def test_what_the_engine_before_left_is_checked() -> None:
    assert streamid.resumed("live/a") == "live/a"
    assert streamid.resumed("a\x1b") == r"a\x1b"
    assert streamid.resumed(["live/a"]) == streamid.resumed(None) == ""
