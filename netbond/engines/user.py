"""Finds the user that engines run as: one of their own, or `nobody` where there is none."""

from __future__ import annotations

import pwd

from netbond.problems import NOTICE, Problem

OWN = "netbond"  # made by `netbond install`, or by contrib/systemd/netbond.sysusers.conf
SHARED = "nobody"
LARGEST_SYSTEM_UID = 999  # larger ones are people's


def engine_user(configured: str) -> tuple[str, Problem | None]:
    """The user for `agent.user = configured`, and what is wrong with it.

    Other services may run as `nobody`, too, and then reach an engine's memory and files, as it does theirs.
    Any other name is taken as it is: an engine says itself that there is no such user.
    """
    if configured != OWN:
        return configured, None
    try:
        uid = pwd.getpwnam(OWN).pw_uid
    except KeyError:
        why = f"there is no user {OWN}"
    else:
        if 0 < uid <= LARGEST_SYSTEM_UID:
            return OWN, None
        why = f"the user {OWN} is no system user (its number is {uid})"
    text = f"engines run as {SHARED}, as other services may: {why}"
    hint = "make it (netbond install, or useradd --system netbond), then systemctl restart netbond"
    return SHARED, Problem("engine-user", text, OWN, hint, NOTICE, logged=False)
