"""Decides which uplinks new traffic may use, by health checks, data plans and backup settings. Pure.

An uplink whose link is up but whose checks fail is "dead": it leaves the ECMP default and (as configured) the
address list. Its table and rules stay, so that checks go on through it. An uplink whose data plan is used
up, with `budget_action = "off"`, is "spent" and not used either. A backup is "standby" while another uplink
is up. An uplink that loses or delays too much is "degraded" where `check_quality` says that this counts: it
leaves the ECMP default and stays a link of streams, as long as another one is good. A backup may be that one,
but not one that is a backup because its data plan is spent.

The mode that a person has set (netbond.overrides) is stronger than the configuration and the data plan. An
uplink that is set "off" is not used, whatever happens to the others; its table and rules stay, too.

Of the others at least one of each family is used while any has its link. If all are excluded, those with a
spent data plan are used again. If all are dead, the checks may be wrong: those used last stay in use, or all
if none of them is left. An uplink in a VRF, which unbound traffic cannot use, is judged by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from netbond.model import Facts, IPAddress, Uplink, UplinkState


def apply_policy(
    uplinks: Sequence[Uplink],
    facts: Facts,
    *,
    dead_leave_list: bool,
    check_quality: Collection[str] = (),
) -> list[Uplink]:
    """Set each uplink's state and reason from its mode, health checks and data plans.

    `check_quality` are the names of the uplinks whose quality counts. `dead_leave_list`: whether dead uplinks
    leave the address list.
    """
    found = [
        replace(uplink, state=UplinkState.OFF, reason=_set(uplink))
        if uplink.state == UplinkState.UP and uplink.mode == "off"
        else uplink
        for uplink in uplinks
    ]
    for family in (4, 6):
        places = [
            i for i, uplink in enumerate(found) if uplink.family == family and uplink.state == UplinkState.UP
        ]
        shared = [i for i in places if not found[i].vrf]
        dead = {i: _why_dead(found[i], facts) for i in places}
        spent = {i: _why_spent(found[i], "off", facts) for i in places}
        excluded = {i for i in shared if dead[i] is not None or spent[i] is not None}
        if len(excluded) == len(shared):
            excluded = {i for i in shared if dead[i] is not None}
        if len(excluded) == len(shared):
            excluded = {i for i in shared if _key(found[i]) not in facts.alive}
        if len(excluded) == len(shared):
            excluded = set()
        excluded |= {i for i in set(places) - set(shared) if dead[i] is not None or spent[i] is not None}
        backups = {i for i in places if found[i].mode == "backup"}
        in_reserve = {
            i: _set(found[i]) if i in backups else _why_spent(found[i], "backup", facts) for i in places
        }
        alive = [i for i in shared if i not in excluded]
        poor = {i: _why_poor(found[i], facts) for i in alive if found[i].name in check_quality}
        good = [i for i in alive if poor.get(i) is None and (in_reserve[i] is None or i in backups)]
        if not good:
            poor, good = {}, alive
        busy = any(in_reserve[i] is None for i in good)
        for i in places:
            reason = in_reserve[i]
            if i in excluded:
                why, listed = dead[i], None
                if why is not None and not dead_leave_list:
                    listed = True
                state = UplinkState.SPENT if why is None else UplinkState.DEAD
                found[i] = replace(found[i], state=state, reason=why or spent[i] or "", listed=listed)
            elif reason is not None and (busy or (i not in backups and any(poor.values()))):
                found[i] = replace(found[i], state=UplinkState.STANDBY, reason=reason)
            elif (why_poor := poor.get(i)) is not None:
                found[i] = replace(found[i], state=UplinkState.DEGRADED, reason=why_poor)
            elif dead[i] is not None:
                found[i] = replace(found[i], reason=f"used because all are dead: {dead[i]}")
    return found


def _set(uplink: Uplink) -> str:
    """Its mode as a reason: "backup", or who has set it."""
    return f"set {uplink.mode} by {uplink.set_by}" if uplink.set_by else uplink.mode


def spent_devices(uplinks: Iterable[Uplink], facts: Facts) -> frozenset[str]:
    """The devices whose data plan is spent, without those that a person has set to be used nevertheless."""
    return frozenset(plan.device for plan in facts.spent_plans) - {u.device for u in uplinks if u.set_by}


def _key(uplink: Uplink) -> tuple[str, IPAddress]:
    return (uplink.device, uplink.address.ip)


def stream_links(uplinks: Iterable[Uplink]) -> list[Uplink]:
    """The uplinks over which senders keep a link.

    A dead uplink stays a link: the engine judges links itself, and is the first to hear of life.
    """
    return [uplink for uplink in uplinks if uplink.in_list or uplink.state == UplinkState.DEAD]


def alive(uplinks: Iterable[Uplink]) -> frozenset[tuple[str, IPAddress]]:
    """Device and address of each uplink that works: `Facts.alive` of the next pass."""
    return frozenset(_key(uplink) for uplink in uplinks if uplink.works)


def _why_dead(uplink: Uplink, facts: Facts) -> str | None:
    """Why its checks say that it is down; None if they do not say so."""
    for health in facts.health:
        if (
            health.state == "down"
            and (health.device, health.family) == (uplink.device, uplink.family)
            and health.address in (None, uplink.address.ip)
            and health.gateway in (None, uplink.gateway)
        ):
            return health.reason or "checks fail"
    return None


def _why_poor(uplink: Uplink, facts: Facts) -> str | None:
    """Which of its figures is too bad; None if none is."""
    for health in facts.health:
        same = (health.device, health.family) == (uplink.device, uplink.family)
        same = same and health.gateway in (None, uplink.gateway)
        if same and health.poor and health.address in (None, uplink.address.ip):
            return health.reason or "degraded"
    return None


def _why_spent(uplink: Uplink, action: str, facts: Facts) -> str | None:
    """Why its data plan asks for this action; None if it does not."""
    for budget in () if uplink.set_by else facts.spent_plans:
        if budget.device == uplink.device and budget.action == action:
            return budget.reason or "data plan is spent"
    return None
