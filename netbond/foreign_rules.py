"""Decides how netbond's rules live with other programs' rules: VPNs, VRFs, people's own. Pure.

What is bound to an uplink's address or device goes by that uplink. A rule that is added without a priority
gets the number below the second rule's, 39 beside netbond's 40, and would take that traffic. Then netbond has
copies of its rules for bound traffic further ahead, unless the rule asks for certain packets (`picks`):

    36   oif DEVICE -> its table; from ADDRESS to a network that several uplinks have -> its table
    37   from ADDRESS goto 50                    on to main's specific routes, and what follows there
    38   from ADDRESS -> its table               as long as there is no rule 50
    39   not fwmark 0xca6c -> 51820              the other program's

A copy never looks up main, if that can be avoided: to stop, wg-quick deletes each rule that does so with
suppress_prefixlength 0, whatever else the rule says.

Everything else follows other programs' rules, whoever was started first: the rule of the shared default
stands behind all of them, ahead of the one that leads everything to main (32766).

Source: fib_default_rule_pref and fib_rules_lookup in net/core/fib_rules.c of the kernel.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from netbond.config.schema import RoutingConfig
from netbond.model import LOCAL_TABLE, MAIN_TABLE, REFUSALS, IPNetwork, Route, Rule
from netbond.rules import overlap

COPIES = 3  # priorities that the copies need: the device, main's specific routes, the address
_VRF = "l3mdev 01"  # as netbond.kernel.rtnetlink writes it
_PICKS = ("uidrange ", "ipproto ", "sport ", "dport ", "tos ", "attribute ")


def foreign(rules: Iterable[Rule], protocol: int) -> list[Rule]:
    """Other programs' rules that lead somewhere; without the kernel's own for the local table."""
    return [
        rule
        for rule in rules
        if rule.protocol != protocol
        and rule.action != "nop"
        and not (rule.action == "table" and rule.table == LOCAL_TABLE)
    ]


# --- rules that got ahead ----------------------------------------------------------------------------------


def ahead(rules: Iterable[Rule], own: Iterable[Rule], protocol: int) -> list[Rule]:
    """Other programs' rules that come before one of `own` for bound traffic, and may match that traffic."""
    bound = [each for each in own if each.oif or each.source]
    last = max((each.priority for each in bound), default=-1)
    return [
        rule
        for rule in foreign((rule for rule in rules if rule.priority <= last), protocol)
        # Of two rules with one priority the older is asked first, so the same one counts, too.
        if any(
            rule.family == each.family and rule.priority <= each.priority and _may_match(rule, each)
            for each in bound
        )
    ]


def _may_match(rule: Rule, bound: Rule) -> bool:
    """Whether the rule may match a packet of this box that is bound as `bound` says."""
    if rule.other == _VRF:
        return False  # only what belongs to a VRF, which no uplink does
    if "not" in rule.other.split(", "):
        only_source = not (rule.mark or rule.iif or rule.oif or rule.destination) and rule.other == "not"
        return not (only_source and _within(bound.source, rule.source))
    if rule.iif not in ("", "lo"):
        return False  # for packets that come in
    if rule.oif and rule.oif != bound.oif:
        return False
    return rule.source is None or bound.source is None or overlap(rule.source, bound.source)


def _within(one: IPNetwork | None, other: IPNetwork | None) -> bool:
    """Whether all addresses of `one` are in `other`."""
    return one is not None and other is not None and overlap(one, other) and one.prefixlen >= other.prefixlen


def picks(rule: Rule) -> bool:
    """Whether the rule is for certain packets: those of a mark, a user, ports, a protocol or a TOS.

    Somebody wants these elsewhere, also if they are bound. A rule for all packets, for all but some, or for
    a destination means bound traffic only by accident.
    """
    other = [part for part in rule.other.split(", ") if part]
    return "not" not in other and (bool(rule.mark) or any(part.startswith(_PICKS) for part in other))


def copies(rules: Iterable[Rule], own: Sequence[Rule], protocol: int) -> list[Rule]:
    """Copies of netbond's rules for bound traffic, ahead of all rules that got ahead of these.

    None for a family without such rules. Nothing gets ahead of a rule that is at priority 0 already.
    """
    found: list[Rule] = []
    for family in (4, 6):
        theirs = [rule for rule in foreign(rules, protocol) if rule.family == family and not picks(rule)]
        devices = [rule for rule in own if rule.family == family and rule.oif]
        # Those with a destination are for networks that several uplinks have: main would take the wrong one.
        shared = [rule for rule in own if rule.family == family and rule.source and rule.destination]
        sources = [rule for rule in own if rule.family == family and rule.source and not rule.destination]
        before = [*ahead(theirs, devices, protocol), *ahead(theirs, sources, protocol)]
        first = _room(
            rules, min((rule.priority for rule in (*before, *devices)), default=0), family, protocol
        )
        if not before:
            continue
        # At priority 0 all have the same, and their order is that in which they are added.
        step = min(first, 1)
        found += [replace(rule, priority=first) for rule in (*devices, *shared)]
        if not ahead(theirs, sources, protocol):
            continue
        main = min(rule.priority for rule in own if rule.family == family and rule.table == MAIN_TABLE)
        skips_all = all(rule.priority < main for rule in before)
        specific = {_to_main(rule, first + step, main if skips_all else 0) for rule in sources}
        found += sorted(specific, key=lambda rule: str(rule.source))
        found += [replace(rule, priority=first + 2 * step) for rule in sources]
    return found


def _to_main(rule: Rule, priority: int, target: int) -> Rule:
    """The copy that leads to main's specific routes: by a jump to the rule `target`, unless that is 0."""
    if target:
        return replace(rule, priority=priority, table=0, action="goto", other=f"goto {target}")
    return replace(rule, priority=priority, table=MAIN_TABLE, suppress_prefixlength=0)


def _room(rules: Iterable[Rule], below: int, family: int, protocol: int) -> int:
    """The first of COPIES priorities below a number that no other program uses; 0: there are none.

    Not where others are, because of rules with one priority the older comes first, whatever is meant. Each
    rule that is added without a priority takes the copies further down. At the end all copies stand at 0: as
    long as they do, the kernel gives 0 to such a rule, too, and asks it after them.
    """
    taken = {rule.priority for rule in rules if rule.family == family and rule.protocol != protocol}
    rooms = (first for first in range(below - COPIES, 0, -1) if not taken & {*range(first, first + COPIES)})
    return next(rooms, 0)


# --- rules behind ours -------------------------------------------------------------------------------------


def make_way(own: Iterable[Rule], rules: Iterable[Rule], routing: RoutingConfig) -> list[Rule]:
    """netbond's rules, with that of the shared default behind other programs' rules.

    Packets of a mark that another rule leads to main's default (those of tailscale itself) take the shared
    default there: it stands for main's, and leaves out an uplink that is down.
    """
    if not routing.others_first:
        return list(own)
    found: list[Rule] = []
    rules = list(rules)
    for rule in own:
        if rule.table != routing.ecmp_table:
            found.append(rule)
            continue
        found.append(replace(rule, priority=shared_priority(rules, rule.family, routing)))
        theirs = between(rules, rule.family, routing)
        taken = {other.priority for other in theirs}
        found += [
            replace(rule, priority=other.priority - 1, mark=other.mark, mask=other.mask)
            for other in theirs
            if other.mark
            and _leads_to_main(replace(other, mark=0, mask=0))
            and other.priority - 1 > routing.ecmp_priority
            and other.priority - 1 not in taken
        ]
    return found


def between(rules: Iterable[Rule], family: int, routing: RoutingConfig) -> list[Rule]:
    """Other programs' rules from `ecmp_priority` on, ahead of the one that leads everything to main."""
    return list(
        itertools.takewhile(lambda rule: not _leads_to_main(rule), _from_shared(rules, family, routing))
    )


def _from_shared(rules: Iterable[Rule], family: int, routing: RoutingConfig) -> list[Rule]:
    theirs = foreign(rules, routing.protocol)
    found = [rule for rule in theirs if rule.family == family and rule.priority >= routing.ecmp_priority]
    return sorted(found, key=lambda rule: rule.priority)


def _leads_to_main(rule: Rule) -> bool:
    """Whether it leads everything to main, with main's default: as without any other rule."""
    return rule == Rule(rule.priority, rule.family, table=MAIN_TABLE, protocol=rule.protocol)


def shared_priority(rules: Iterable[Rule], family: int, routing: RoutingConfig) -> int:
    """The priority of the shared default's rule: `ecmp_priority`, or behind other programs' rules.

    If main's rule leaves no number free (wg-quick's have 32764 and 32765), the last of theirs: of two rules
    with one priority the kernel asks the older first.
    """
    rules = list(rules)
    theirs = between(rules, family, routing)
    if not theirs or not routing.others_first:
        return routing.ecmp_priority
    last = theirs[-1].priority
    mains = [rule.priority for rule in _from_shared(rules, family, routing) if _leads_to_main(rule)]
    return last if mains and mains[0] <= last + 1 else last + 1


def hidden(rules: Iterable[Rule], family: int, routing: RoutingConfig) -> list[Rule]:
    """Other programs' rules that unbound traffic does not come to, because the shared default is ahead."""
    rules = list(rules)
    theirs = between(rules, family, routing)
    if not routing.others_first:
        return theirs
    number = shared_priority(rules, family, routing)
    own = Rule(number, family, table=routing.ecmp_table, protocol=routing.protocol)
    later = rules[rules.index(own) :] if own in rules else []
    return [rule for rule in theirs if rule.priority == number and rule in later]


def takes_all(rule: Rule, routes: Iterable[Route]) -> bool:
    """Whether the rule leaves no unbound traffic to the shared default: a full tunnel, a kill switch.

    `routes` are the kernel's. A rule "not of mark N" counts: its program alone has that mark.
    """
    of_some = rule.source or rule.destination or rule.iif not in ("", "lo") or rule.oif or picks(rule)
    if of_some or rule.other not in ("", "not"):
        return False
    if rule.action in REFUSALS:
        return True
    longest = -1 if rule.suppress_prefixlength is None else rule.suppress_prefixlength
    return rule.action == "table" and any(
        route.table == rule.table
        and route.family == rule.family
        and longest < route.destination.prefixlen <= 1  # a default, or the halves that some VPNs set
        and route.kind != "throw"
        for route in routes
    )
