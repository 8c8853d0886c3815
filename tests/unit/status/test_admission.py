"""Who is let in to the control socket, and when users are answered."""

from __future__ import annotations

from netbond.status.admission import (
    MAX_FOLLOWERS,
    MAX_FOLLOWERS_PER_UID,
    MAX_PER_UID,
    MAX_ROOT,
    MAX_USERS,
    MAX_USERS_FOLLOWERS,
    UID_SPACING_S,
    USERS_SPACING_S,
    Pace,
    may_follow,
    taken,
)

OWN = (0, 500)


def test_four_who_take_all_they_can_leave_room_for_a_fifth_and_for_root() -> None:
    connected: list[int] = []
    for uid in (1, 2, 3, 4):
        while taken(uid, connected, OWN):
            connected.append(uid)
    assert [connected.count(uid) for uid in (1, 2, 3, 4)] == [MAX_PER_UID] * 4
    assert taken(5, connected, OWN)
    assert taken(0, connected, OWN)


def test_one_person_with_many_uids_does_not_keep_root_out() -> None:
    connected = [uid for uid in range(1000, 2000) if taken(uid, range(1000, uid), OWN)]
    assert len(connected) == MAX_USERS
    assert taken(0, connected, OWN)


def test_root_and_the_agents_own_user_have_their_places_together() -> None:
    connected = [0] * (MAX_ROOT - 1)
    assert taken(500, connected, OWN)
    assert not taken(0, [*connected, 500], OWN)
    assert taken(1000, [*connected, 500], OWN), "users have others"


def test_followers() -> None:
    following: list[int] = []
    for uid in (1, 2, 3):
        while may_follow(uid, following, OWN):
            following.append(uid)
    assert following.count(1) == MAX_FOLLOWERS_PER_UID
    assert len(following) == MAX_USERS_FOLLOWERS
    while may_follow(0, following, OWN):
        following.append(0)
    assert len(following) == MAX_FOLLOWERS


def test_a_user_waits_for_itself_and_not_for_another() -> None:
    pace = Pace()
    assert [round(pace.of_uid_s(1, 100.0), 3) for _ in range(3)] == [0, UID_SPACING_S, 2 * UID_SPACING_S]
    assert pace.of_uid_s(2, 100.0) == 0
    assert pace.of_uid_s(1, 101.0) == 0


def test_all_users_together_have_a_pace_too() -> None:
    pace = Pace()
    assert [round(pace.of_users_s(100.0), 3) for _ in range(3)] == [0, USERS_SPACING_S, 2 * USERS_SPACING_S]


def test_uids_of_before_are_forgotten() -> None:
    pace = Pace()
    for uid in range(10_000):
        pace.of_uid_s(uid, 100.0 + uid)
    assert len(pace._free_at) <= 2 * MAX_USERS + 1
