"""Decides which connections to the control socket are taken, and how soon a user's request is answered. Pure.

Root is never counted with users, and never waits. A user is counted by uid; all users together are limited,
too, because one person may have many uids (subordinate uids in a user namespace).
"""

from __future__ import annotations

from collections.abc import Collection

MAX_ROOT = 32  # connections of root and the agent's own user
MAX_USERS = 48  # of all others together
MAX_PER_UID = 8  # of one of them: four who flood leave room for a fifth

# Of these, those who follow something: they stay, and must leave room for who asks once.
MAX_FOLLOWERS = 16  # root included
MAX_USERS_FOLLOWERS = 12
MAX_FOLLOWERS_PER_UID = 6

# Between two answers. A status costs the agent some milliseconds in which routing waits.
UID_SPACING_S = 0.1
USERS_SPACING_S = 0.02


def taken(uid: int, connected: Collection[int], own: Collection[int]) -> bool:
    """Whether a connection of `uid` is taken; `connected` are the uids of those that are open.

    `own` are the uids of root and of the agent.
    """
    users = [other for other in connected if other not in own]
    if uid in own:
        return len(connected) - len(users) < MAX_ROOT
    return len(users) < MAX_USERS and users.count(uid) < MAX_PER_UID


def may_follow(uid: int, following: Collection[int], own: Collection[int]) -> bool:
    """Whether `uid` may follow something, too."""
    if len(following) >= MAX_FOLLOWERS:
        return False
    users = [other for other in following if other not in own]
    return uid in own or (len(users) < MAX_USERS_FOLLOWERS and users.count(uid) < MAX_FOLLOWERS_PER_UID)


class Pace:
    """Gives each request of a user its moment."""

    def __init__(self, spacing_s: float = UID_SPACING_S) -> None:
        self._spacing_s = spacing_s
        self._free_at: dict[int, float] = {}  # by uid
        self._users_free_at = 0.0

    def of_uid_s(self, uid: int, now: float) -> float:
        """Return the seconds to wait for others of the same uid; `now` is monotonic seconds."""
        if len(self._free_at) > 2 * MAX_USERS:
            self._free_at = {other: at for other, at in self._free_at.items() if at > now}
        at = max(now, self._free_at.get(uid, 0.0))
        self._free_at[uid] = at + self._spacing_s
        return at - now

    def of_users_s(self, now: float) -> float:
        """Return the seconds that it waits after that, for those of all users."""
        at = max(now, self._users_free_at)
        self._users_free_at = at + USERS_SPACING_S
        return at - now
