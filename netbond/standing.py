"""Which uplinks new traffic may use: health, spent data plans, and backups. Pure.

An uplink that has its link and leads nowhere is "dead": it leaves the ECMP default and (as configured) the
address list; its table and rules stay, so that checks go on through it. A backup is "standby" while another
uplink is up. In each family something is left while any uplink has its link: if all are excluded, those whose
data plan is spent are used again, and if there are none, checks that find everything dead are not believed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from netbond.model import Facts, Uplink

DEAD = "dead"
STANDBY = "standby"


def judged(
    uplinks: Sequence[Uplink], facts: Facts, backups: Collection[str], *, dead_leave_list: bool
) -> list[Uplink]:
    """The uplinks with their states as health, budgets and backups want them. `backups` are names."""
    found = list(uplinks)
    for family in (4, 6):
        places = [i for i, uplink in enumerate(found) if uplink.family == family and uplink.usable]
        dead = {i: _death(found[i], facts) for i in places}
        spent = {i: _spent(found[i], "off", facts) for i in places}
        excluded = {i for i in places if dead[i] is not None or spent[i] is not None}
        if len(excluded) == len(places):
            excluded = {i for i in places if dead[i] is not None}
        if len(excluded) == len(places):
            excluded = set()
        in_reserve = {
            i: "backup" if found[i].name in backups else _spent(found[i], "backup", facts) for i in places
        }
        alive = [i for i in places if i not in excluded]
        busy = any(in_reserve[i] is None for i in alive)
        for i in places:
            reason = in_reserve[i]
            if i in excluded:
                listed = None if dead_leave_list or dead[i] is None else True
                found[i] = replace(found[i], state=DEAD, reason=dead[i] or spent[i] or "dead", listed=listed)
            elif busy and reason is not None:
                found[i] = replace(found[i], state=STANDBY, reason=reason)
    return found


def _death(uplink: Uplink, facts: Facts) -> str | None:
    """Why checks say that it is down; None if they do not."""
    for health in facts.health:
        same = (health.device, health.family) == (uplink.name, uplink.family)
        if same and health.state == "down" and health.address in (None, uplink.address.ip):
            return health.reason or "checks fail"
    return None


def _spent(uplink: Uplink, action: str, facts: Facts) -> str | None:
    for budget in facts.budgets:
        if budget.device in (uplink.name, uplink.device) and budget.action == action:
            return budget.reason or "data plan is spent"
    return None
