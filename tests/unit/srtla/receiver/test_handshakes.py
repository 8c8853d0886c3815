"""The handshakes of callers whose SRT server depends on the stream id."""

from __future__ import annotations

import struct

from netbond.srtla import wire
from netbond.srtla.receiver.handshakes import Handshakes, completed
from tests.srtla_util import CONCLUSION, INDUCTION, handshake

GROUP = bytes(256)
ANSWER = bytes.fromhex(  # of srt-live-transmit 1.5.1 to the induction that socket 0x230a7085 sent
    "80000000000000000001a2b3230a7085"
    "0000000500004a17661b7730000005dc0000200000000001230a70858d6cb1c70100007f000000000000000000000000"
)


def cookie(data: bytes) -> int:
    (found,) = struct.unpack_from("!I", data, 44)
    assert isinstance(found, int)
    return found


def test_an_induction_is_answered_as_libsrt_does() -> None:
    induction = bytearray(ANSWER)
    induction[12:16] = bytes(4)
    induction[16:24] = bytes.fromhex("0000000400000002")
    induction[44:48] = bytes(4)
    answer = Handshakes(bytes(32)).begin(GROUP, bytes(induction))
    ours = bytearray(ANSWER)
    ours[44:48] = answer[44:48]
    ours[8:12] = induction[8:12]
    assert answer == bytes(ours)
    assert cookie(answer)


def test_only_who_has_read_the_answer_gets_on() -> None:
    handshakes, others = Handshakes(bytes(32)), Handshakes(bytes(31) + b"1")
    answer = handshakes.begin(GROUP, handshake(INDUCTION, 501))
    asks = wire.with_cookie(handshake(CONCLUSION, 501, stream_id="live/a"), cookie(answer))
    assert handshakes.conclude(GROUP, asks) == wire.build_induction(501)
    assert handshakes.conclude(GROUP, asks) == wire.build_induction(501), "again, as it is repeated"
    assert handshakes.conclude(bytes(255) + b"1", asks) is None, "of another group"
    assert handshakes.conclude(GROUP, wire.with_cookie(asks, cookie(answer) ^ 1)) is None
    assert handshakes.conclude(GROUP, wire.with_cookie(handshake(CONCLUSION, 502), cookie(answer))) is None
    assert others.conclude(GROUP, asks) is None
    assert handshakes.conclude(GROUP, asks[:44]) is None


def test_the_conclusion_gets_the_cookie_of_the_server() -> None:
    asks = handshake(CONCLUSION, 0x230A7085, stream_id="live/a")
    done = completed(asks, ANSWER)
    assert done is not None
    assert cookie(done) == 0x8D6CB1C7
    assert done == asks[:44] + ANSWER[44:48] + asks[48:]
    assert completed(handshake(CONCLUSION, 1), ANSWER) is None
    assert completed(b"", ANSWER) is None
