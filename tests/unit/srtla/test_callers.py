"""Who is the SRT caller, who would like to be, and who gets which answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla import wire
from netbond.srtla.callers import CANDIDATE_S, MAX_CANDIDATES, REFUSAL_S, SILENCE_S, STREAM_SILENCE_S, Callers
from tests.srtla_util import CONCLUSION, INDUCTION, REJECTION, data_packet, handshake, srt_ack, srt_control

ONE, TWO, THREE = ("10.0.0.1", 4001), ("10.0.0.2", 4002), ("10.0.0.3", 4003)
SERVER = 900  # its socket id


def connected(callers: Callers, address: tuple[str, int], socket_id: int, *, heard: float = 0.0) -> None:
    """Let a caller complete its handshake; it was silent until now."""
    for kind in (INDUCTION, CONCLUSION):
        assert callers.admits(address, handshake(kind, socket_id), heard, 1000.0)
        assert callers.answered(handshake(kind, SERVER, to=socket_id)) == address
    assert callers.address == address


def test_a_caller_has_the_place_when_its_handshake_is_complete() -> None:
    callers = Callers()
    places = []
    for kind in (INDUCTION, CONCLUSION):
        assert callers.admits(ONE, handshake(kind, 1), 0.0, 10.0)
        places.append((callers.address, callers.unsettled))
        assert callers.answered(handshake(kind, SERVER, to=1)) == ONE
        places.append((callers.address, callers.unsettled))
    assert places == [(None, True)] * 3 + [(ONE, False)]


def test_a_rejected_caller_gets_the_answer_and_not_the_place() -> None:
    callers = Callers()
    callers.admits(ONE, handshake(CONCLUSION, 1), 0.0, 10.0)
    assert callers.answered(handshake(REJECTION, SERVER, to=1)) == ONE
    assert callers.address is None


def test_an_induction_takes_nothing_from_a_caller_that_was_silent_for_a_moment() -> None:
    callers = Callers(ONE)
    assert callers.admits(TWO, handshake(INDUCTION, 2), 10.0, 10.0 + SILENCE_S)
    assert callers.address == ONE
    assert callers.answered(srt_ack(7)) == ONE, "the present caller's answers are its own"
    assert callers.answered(handshake(INDUCTION, SERVER, to=2)) == TWO
    assert callers.address == ONE
    assert not callers.admits(TWO, data_packet(1), 10.0, 12.0), "a candidate has handshakes to send only"
    callers.admits(TWO, handshake(CONCLUSION, 2), 10.0, 12.0)
    assert callers.answered(handshake(CONCLUSION, SERVER, to=2)) == TWO
    assert callers.address == TWO
    assert callers.answered(srt_ack(7)) == TWO


def test_of_two_candidates_the_first_to_complete_wins() -> None:
    callers = Callers()
    for address, socket_id in ((ONE, 1), (TWO, 2)):
        assert callers.admits(address, handshake(INDUCTION, socket_id), 0.0, 10.0)
    assert callers.answered(handshake(INDUCTION, SERVER, to=1)) == ONE
    assert callers.answered(handshake(INDUCTION, SERVER, to=2)) == TWO
    assert callers.admits(TWO, handshake(CONCLUSION, 2), 0.0, 10.1)
    assert callers.admits(ONE, handshake(CONCLUSION, 1), 0.0, 10.1)
    assert callers.answered(handshake(CONCLUSION, SERVER, to=2)) == TWO
    assert callers.address == TWO
    assert callers.answered(handshake(CONCLUSION, SERVER, to=1)) == TWO, "ONE is no candidate any more"


def test_a_stream_that_stopped_is_replaced_sooner_than_a_still_one() -> None:
    callers = Callers(ONE)
    callers.second(3, 1.0)  # keepalives and the like
    assert not callers.admits(TWO, handshake(INDUCTION, 2), 10.0, 10.0 + SILENCE_S - 0.01)
    callers.second(500, 2.0)
    assert not callers.admits(TWO, handshake(INDUCTION, 2), 10.0, 10.0 + STREAM_SILENCE_S - 0.01)
    assert callers.admits(TWO, handshake(INDUCTION, 2), 10.0, 10.0 + STREAM_SILENCE_S)
    callers.second(500, 3.0)  # it stopped at the end of a second: the one before counts, too
    assert callers.admits(THREE, handshake(INDUCTION, 3), 10.0, 10.0 + STREAM_SILENCE_S)
    callers.second(500, 4.0)
    assert not callers.admits(THREE, handshake(INDUCTION, 3), 10.0, 10.0 + STREAM_SILENCE_S)


def test_a_caller_that_has_closed_its_connection_is_not_waited_for() -> None:
    callers = Callers(ONE)
    assert not callers.admits(TWO, handshake(INDUCTION, 2), 10.0, 10.01)
    assert callers.admits(TWO, handshake(INDUCTION, 2), 10.0, 10.01, closed=True)


def test_refusals_are_counted_shown_for_a_while_and_logged_once_in_it() -> None:
    callers = Callers(ONE)
    assert callers.refusal(10.0) is None
    logged = []
    for step in range(48):  # four handshakes a second, for 12 s
        now = 10.0 + step / 4
        assert not callers.admits(TWO, handshake(INDUCTION, 2), now, now)
        logged.append(callers.refusal_to_log(now))
    assert callers.refused == 48
    assert [address for address in logged if address] == [TWO, TWO]
    assert callers.refusal(now + REFUSAL_S - 0.1) == TWO
    assert callers.refusal(now + REFUSAL_S) is None
    assert callers.refusal_to_log(now + 60) is None, "that was said"


def test_a_stream_whose_caller_is_not_known_goes_on_until_somebody_has_a_handshake() -> None:
    """netbond was started anew without what it knew."""
    callers = Callers()
    assert callers.admits(ONE, data_packet(1), 0.0, 10.0)
    assert callers.address == ONE
    assert not callers.admits(TWO, data_packet(1), 10.0, 10.0)
    assert callers.admits(TWO, handshake(INDUCTION, 2), 10.0, 10.0), "ONE may be anybody"
    assert callers.answered(srt_control(wire.SRT_KEEPALIVE)) == ONE
    assert not callers.admits(THREE, handshake(INDUCTION, 3), 10.0, 10.1), "the server knows ONE"


def test_who_sends_a_stream_beside_a_handshake_is_carried_until_another_completes_one() -> None:
    """A server whose answer is not understood must not keep a stream from going through."""
    callers = Callers()
    assert callers.admits(ONE, handshake(INDUCTION, 1), 0.0, 10.0)
    assert callers.admits(ONE, data_packet(1), 0.0, 10.0)
    assert callers.address == ONE
    connected(callers, TWO, 2, heard=1000.0)


def test_nothing_that_is_too_short_for_srt_is_a_caller() -> None:
    callers = Callers()
    assert not callers.admits(ONE, b"short", 0.0, 10.0)
    assert callers.address is None


def test_answers_without_a_socket_go_to_the_newest_candidate() -> None:
    callers = Callers()
    assert callers.answered(srt_ack(1)) is None
    callers.admits(ONE, handshake(INDUCTION, 1), 0.0, 10.0)
    callers.admits(TWO, handshake(INDUCTION, 2), 0.0, 10.0)
    assert callers.answered(handshake(INDUCTION, SERVER, to=0)) == TWO
    assert callers.answered(srt_ack(1)) is None


def test_candidates_are_few_and_do_not_stay() -> None:
    callers = Callers(ONE)
    for socket_id in range(2, 200):
        assert callers.admits(TWO, handshake(INDUCTION, socket_id), 0.0, 10.0)
    assert len(callers._candidates) == MAX_CANDIDATES
    callers.second(0, 10.0 + CANDIDATE_S - 0.1)
    assert callers.unsettled
    callers.second(0, 10.0 + CANDIDATE_S)
    assert not callers.unsettled


def test_a_new_caller_is_protected_at_once() -> None:
    callers = Callers()
    connected(callers, ONE, 1)
    assert not callers.admits(TWO, handshake(INDUCTION, 2), 1000.0, 1000.1)


packets = st.one_of(
    st.binary(max_size=70),
    st.builds(
        lambda kind, source, to: handshake(kind, source, to=to)[:64],
        st.sampled_from([INDUCTION, CONCLUSION, REJECTION, 0]),
        st.integers(0, 5),
        st.integers(0, 5),
    ),
    st.builds(data_packet, st.integers(0, 5), size=st.just(4)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([None, ONE, TWO, THREE]), packets, st.floats(0, 2)), max_size=40))
def test_nobody_has_the_place_who_sent_nothing(
    steps: list[tuple[tuple[str, int] | None, bytes, float]],
) -> None:
    callers, now, seen = Callers(), 10.0, set()
    for address, data, wait in steps:
        now += wait
        if address is None:
            before = callers.address
            to = callers.answered(data)
            assert to is None or to in seen
            if callers.address != before:
                assert wire.is_conclusion(data)
        else:
            seen.add(address)
            callers.admits(address, data, now - 0.5, now)
        assert callers.address is None or callers.address in seen
        assert len(callers._candidates) <= MAX_CANDIDATES


@pytest.mark.parametrize("closed", [False, True])
def test_the_first_caller_of_all_waits_for_nobody(closed: bool) -> None:
    assert Callers().admits(ONE, handshake(INDUCTION, 1), 0.0, 0.0, closed=closed)
