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

What comes first without netbond comes before its rules, too: what belongs to a VRF, whose addresses may be
an uplink's, and whose destinations main may know as well; and the box's own addresses, where their rule was
moved from 0 to behind those of VRFs.

    37     l3mdev -> the VRF's table
    38     l3mdev unreachable                what the VRF has no route for
    39     -> local
    1000   l3mdev -> the VRF's table         the kernel's
    2000   l3mdev unreachable                somebody's, as VyOS has it
    32765  -> local                          somebody's, as VyOS has it

Everything else follows other programs' rules, whoever was started first: the rules of policies and of the
shared default stand behind all of them, ahead of the one that leads everything to main (32766).

Sources: fib_default_rule_pref and fib_rules_lookup in net/core/fib_rules.c of the kernel; its selftests
(tools/testing/selftests/net/forwarding/lib.sh) and VyOS move the rule for the local table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from netbond.config.schema import RoutingConfig
from netbond.model import DEFAULT_TABLE, LOCAL_TABLE, MAIN_TABLE, REFUSALS, IPNetwork, Route, Rule
from netbond.rules import overlap

COPIES = 3  # priorities that the copies need: the device, main's specific routes, the address
_VRF = "l3mdev 1"  # as netbond.kernel.rtnetlink writes it
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
        return False  # only what belongs to a VRF, and there its table comes first
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


def _room(rules: Iterable[Rule], below: int, family: int, protocol: int, count: int = COPIES) -> int:
    """The first of `count` priorities below a number that no other program uses; 0: there are none.

    Not where others are, because of rules with one priority the older comes first, whatever is meant. Each
    rule that is added without a priority takes the copies further down. At the end all copies stand at 0: as
    long as they do, the kernel gives 0 to such a rule, too, and asks it after them.
    """
    taken = {rule.priority for rule in rules if rule.family == family and rule.protocol != protocol}
    rooms = (first for first in range(below - count, 0, -1) if not taken & {*range(first, first + count)})
    return next(rooms, 0)


# --- what comes before everything ---------------------------------------------------------------------------


def comes_first(rule: Rule) -> bool:
    """Whether the rule is about VRFs or the box's own addresses."""
    return "l3mdev" in rule.other or (rule.action == "table" and rule.table == LOCAL_TABLE)


def first_of_all(rules: Iterable[Rule], own: Iterable[Rule], protocol: int) -> list[Rule]:
    """Copies of the rules for VRFs and for the box's own addresses, ahead of all rules of `own`.

    None of a rule that is ahead already. With nothing for a packet in its VRF's table the lookup goes on,
    unless a rule refuses it.
    """
    found: list[Rule] = []
    for family in (4, 6):
        first = min((rule.priority for rule in own if rule.family == family), default=0)
        theirs = [rule for rule in rules if rule.family == family and rule.protocol != protocol]
        wanted: dict[Rule, int] = {}  # with the lowest priority of such a rule
        for rule in theirs:
            if comes_first(rule):
                copy = Rule(
                    0, family, table=rule.table, protocol=protocol, action=rule.action, other=rule.other
                )
                if replace(rule, priority=0, protocol=protocol) == copy and rule.other in ("", _VRF):
                    wanted[copy] = min(rule.priority, wanted.get(copy, rule.priority))
        late = sorted((rule for rule in wanted if wanted[rule] >= first), key=lambda rule: wanted[rule])
        if not first or not late:
            continue
        start = _room(rules, first, family, protocol, len(late))
        found += [replace(rule, priority=start + number if start else 0) for number, rule in enumerate(late)]
    return found


# --- rules behind ours -------------------------------------------------------------------------------------


JUMP = 33_000  # where the rules of policies and the shared default stand, if there is no room before main's


def make_way(unbound: Sequence[Rule], rules: Iterable[Rule], routing: RoutingConfig) -> list[Rule]:
    """netbond's rules for unbound traffic, behind other programs' rules.

    They are those of the policies and that of the shared default, from `ecmp_priority` on. Packets of a mark
    that another rule leads to main's default (those of tailscale itself) come to them there, too: they stand
    for main's default, and leave out an uplink that is down.
    """
    if not routing.others_first:
        return list(unbound)
    rules = list(rules)
    found: list[Rule] = []
    for family in (4, 6):
        ours = [rule for rule in unbound if rule.family == family]
        if not ours:
            continue
        count = max(rule.priority for rule in ours) - routing.ecmp_priority + 1  # priorities that they need
        theirs = between(rules, family, routing)
        first = first_priority(rules, family, routing)
        last = theirs[-1].priority if theirs else 0
        if count > 1 and theirs and first + count > _main_priority(rules, family, routing):
            found += _by_a_jump(ours, last, JUMP + count, routing)
        else:
            found += [_moved(rule, first, routing) for rule in ours]
        taken = {other.priority for other in theirs}
        for other in theirs:
            if not other.mark or not _leads_to_main(replace(other, mark=0, mask=0)):
                continue
            start = other.priority - count
            if start > routing.ecmp_priority and not taken & {*range(start, other.priority)}:
                found += [
                    replace(_moved(rule, start, routing), mark=other.mark, mask=other.mask)
                    for rule in ours
                    if rule.mark == 0 or (rule.mark, rule.mask) == (other.mark, other.mask)
                ]
    return found


def _moved(rule: Rule, first: int, routing: RoutingConfig) -> Rule:
    """The rule with its priority counted from `first` instead of `ecmp_priority`."""
    return replace(rule, priority=first + rule.priority - routing.ecmp_priority)


def _by_a_jump(ours: Sequence[Rule], last: int, end: int, routing: RoutingConfig) -> list[Rule]:
    """The rules behind main's, with a jump to them at `last`, and what the jump passes over behind them.

    Of rules with one priority the kernel asks the older first, so several cannot stand there in an order.
    """
    family, protocol = ours[0].family, routing.protocol
    return [
        *(_moved(rule, JUMP, routing) for rule in ours),
        Rule(end, family, table=MAIN_TABLE, protocol=protocol),
        Rule(end + 1, family, table=DEFAULT_TABLE, protocol=protocol),
        Rule(last, family, action="goto", protocol=protocol, other=f"goto {JUMP}"),
    ]


def _main_priority(rules: Iterable[Rule], family: int, routing: RoutingConfig) -> int:
    """The priority of the rule that leads everything to main; a very high one if none does."""
    found = [rule.priority for rule in _from_shared(rules, family, routing) if _leads_to_main(rule)]
    return found[0] if found else 2**31


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


def first_priority(rules: Iterable[Rule], family: int, routing: RoutingConfig) -> int:
    """Where netbond's rules for unbound traffic begin: `ecmp_priority`, or behind other programs' rules.

    If main's rule leaves no number free (wg-quick's have 32764 and 32765), the last of theirs: of two rules
    with one priority the kernel asks the older first.
    """
    rules = list(rules)
    theirs = between(rules, family, routing)
    if not theirs or not routing.others_first:
        return routing.ecmp_priority
    last = theirs[-1].priority
    return last if _main_priority(rules, family, routing) <= last + 1 else last + 1


def hidden(rules: Iterable[Rule], own: Iterable[Rule], family: int, routing: RoutingConfig) -> list[Rule]:
    """Other programs' rules that unbound traffic does not come to, because the shared default is ahead.

    `own` are netbond's rules as they should be.
    """
    rules = list(rules)
    theirs = between(rules, family, routing)
    if not routing.others_first:
        return theirs
    number = first_priority(rules, family, routing)
    there = [rule for rule in own if (rule.family, rule.priority) == (family, number) and rule in rules]
    later = rules[rules.index(there[0]) :] if there else []
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
