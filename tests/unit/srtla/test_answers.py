"""Whether the SRT server behind the receiver answers."""

from __future__ import annotations

import pytest

from netbond.srtla.answers import SHOWN_S, SILENCE_S, Answers, refusal
from tests.srtla_util import CONCLUSION, INDUCTION, data_packet, handshake, srt_ack

SILENT = "the receiver answers, its SRT server does not: is it running, and set at the receiver?"


def asked(answers: Answers, since: float, until: float) -> None:
    """A caller repeats its handshake."""
    while since < until:
        answers.asked(since)
        since += 0.25


def test_a_server_that_is_silent() -> None:
    answers = Answers()
    assert answers.trouble(0.0) == ""
    asked(answers, 10.0, 13.0)
    assert answers.trouble(10.0 + SILENCE_S - 0.1) == ""
    assert answers.trouble(10.0 + SILENCE_S) == SILENT
    asked(answers, 20.0, 21.0)  # the encoder tries again
    assert answers.trouble(20.1) == SILENT
    answers.answered(handshake(INDUCTION, 9), 20.2)
    assert answers.trouble(20.2) == ""


def test_an_encoder_that_has_given_up_is_not_waited_for() -> None:
    answers = Answers()
    asked(answers, 10.0, 13.0)
    assert answers.trouble(12.75 + SHOWN_S) == ""
    answers.asked(60.0)
    assert answers.trouble(60.1) == "", "it may answer this time"


@pytest.mark.parametrize(
    ("reason", "why"),
    [(10, "the passphrase is wrong"), (1404, "it knows no such stream id"), (4, "reason 4")],
)
def test_a_server_that_refuses(reason: int, why: str) -> None:
    answers = Answers()
    answers.asked(10.0)
    answers.answered(handshake(INDUCTION, 9), 10.1)
    answers.asked(10.2)
    answers.answered(handshake(1000 + reason, 9), 10.3)
    words = f"the receiver's SRT server refuses the SRT caller: {why}"
    assert answers.trouble(10.4) == words
    answers.asked(12.0)
    answers.answered(handshake(INDUCTION, 9), 12.1)
    assert answers.trouble(12.2) == words
    answers.answered(handshake(CONCLUSION, 9), 12.3)
    assert answers.trouble(12.4) == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (handshake(1010, 1), 10),
        (handshake(INDUCTION, 1), None),
        (handshake(CONCLUSION, 1), None),
        (handshake(1010, 1)[:39], None),
        (data_packet(1), None),
        (srt_ack(1), None),
    ],
)
def test_what_a_refusal_is(data: bytes, reason: int | None) -> None:
    assert refusal(data) == reason
