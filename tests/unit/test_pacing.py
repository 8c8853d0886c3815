"""When the agent looks again."""

from __future__ import annotations

from netbond.pacing import (
    AFTER_EXPIRY_S,
    CHEAP_READING_S,
    PRUNE_AFTER_S,
    QUIET_S,
    RESYNC_S,
    SETTLE_BUSY_S,
    SETTLE_S,
    is_sooner,
    look_at_expiry_s,
    may_prune,
    next_look_s,
    settle_s,
)


def test_the_first_news_after_quiet_is_attended_to_at_once() -> None:
    assert settle_s(QUIET_S * 2, 0.0) == SETTLE_S
    assert settle_s(0.1, 0.003) == SETTLE_S


def test_in_a_storm_news_are_collected() -> None:
    assert settle_s(QUIET_S / 2, 0.0) == SETTLE_BUSY_S
    assert settle_s(0.02, 0.003) == 0.003


def test_with_very_many_routes_half_of_the_time_is_others() -> None:
    assert settle_s(60.0, 0.4) == 0.4
    assert settle_s(60.0, CHEAP_READING_S) == CHEAP_READING_S


def test_stale_things_stay_until_all_have_spoken_or_had_their_time() -> None:
    assert may_prune(complete=True, since_start_s=0.0)
    assert not may_prune(complete=False, since_start_s=PRUNE_AFTER_S)
    assert may_prune(complete=False, since_start_s=PRUNE_AFTER_S + 0.1)


def test_the_next_look() -> None:
    assert next_look_s(None, None) == RESYNC_S
    assert next_look_s(None, 0.3) == 0.3
    assert next_look_s(None, -1.0) == 0.0
    assert next_look_s(None, RESYNC_S * 2) == RESYNC_S
    assert next_look_s(0.05, 3.0) == 0.05
    assert next_look_s(None, 3.0, 0.5) == 0.5
    assert next_look_s(600.0, None) == RESYNC_S  # the kernel does not report every change
    assert next_look_s(None, None, None) == RESYNC_S


def test_a_look_follows_the_next_expiry_of_a_route() -> None:
    assert look_at_expiry_s([], None) is None
    assert look_at_expiry_s([1800.0, 2.0], None) == 2.0 + AFTER_EXPIRY_S


def test_a_pass_at_the_very_moment_of_an_expiry_does_not_lose_it() -> None:
    assert look_at_expiry_s([], 0.02) == 0.02
    assert look_at_expiry_s([1800.0], 0.02) == 0.02
    assert look_at_expiry_s([], -0.01) is None


def test_an_advertisement_that_shortens_a_lifetime_is_a_reason_to_look() -> None:
    assert is_sooner([1800.0, 2.0], 600.0 + AFTER_EXPIRY_S)
    assert not is_sooner([600.0], 600.0 + AFTER_EXPIRY_S)  # as known
    assert not is_sooner([1800.0], 600.0 + AFTER_EXPIRY_S)  # renewed
    assert not is_sooner([], 600.0)
