"""Follows a packet of this box through rules and tables, step by step, as the kernel does. Pure.

The same walk over what netbond wants the kernel to hold tells what is intended. The kernel's own answer (`ip
route get`) tells whether the walk is right. Rules that cannot be decided here (for packets that come in, for
tunnels) are named and passed over.

Sources: net/core/fib_rules.c, net/ipv4/fib_trie.c, net/ipv4/route.c, net/l3mdev/l3mdev.c of the kernel;
Documentation/networking/vrf.rst.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from netbond.desired import Desired
from netbond.model import LOCAL_TABLE, REFUSALS, Facts, IPAddress, Nexthop, Route, Rule, UplinkState
from netbond.plan import hop_words, rule_words
from netbond.policies.model import PolicyInUse

UDP = 17  # IPPROTO_UDP; what the kernel assumes when it is asked without a protocol
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": UDP, "ipv6-icmp": 58}


@dataclass(frozen=True, slots=True)
class Query:
    """A packet: its destination, what its socket is bound to ("", None: nothing), what rules match on.

    If it comes in by an interface, `source` is who sent it, and there is neither a socket nor a user.
    """

    destination: IPAddress
    source: IPAddress | None = None
    device: str = ""
    mark: int = 0  # SO_MARK, or what nftables set
    uid: int = 0  # whose socket it is
    ipproto: int = UDP
    sport: int = 0
    dport: int = 0
    dscp: int = 0
    comes_in: str = ""  # the interface; "": it is of this box
    vrf: str = ""  # the VRF that its interface is, or is in (in_vrf)
    vrf_table: int = 0

    def selectors(self) -> dict[str, int]:
        """What the kernel must be told for the same packet (netbond.kernel.rtnetlink.lookup_request)."""
        given = {"mark": self.mark, "uid": self.uid, "sport": self.sport, "dport": self.dport}
        given |= {"dscp": self.dscp}
        # Only where it matters: the kernel before 4.17 does not know the attribute.
        proto = {"ipproto": self.ipproto} if self.ipproto != UDP or self.sport or self.dport else {}
        return proto | {name: value for name, value in given.items() if value or name == "uid"}


@dataclass(frozen=True, slots=True)
class Step:
    """A rule, and its effect on the packet. `decides`: the walk ends here."""

    rule: Rule
    says: str
    decides: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of the walk. `kind` is unicast, local, unreachable, prohibit, blackhole, or none (no route)."""

    kind: str
    table: int = 0
    hops: tuple[tuple[str, str], ...] = ()  # device and gateway ("": none) of each leg, sorted
    steps: tuple[Step, ...] = ()

    def same(self, other: Verdict) -> bool:
        """Whether the packet ends in the same way."""
        return (self.kind, self.hops) == (other.kind, other.hops)

    def __str__(self) -> str:
        if self.kind == "none":
            return "no route"
        if self.kind == "local":
            return "to this box itself"
        if self.kind != "unicast":
            return f"refused: {self.kind}"
        ways = [
            f"via {gateway} dev {device}" if gateway else f"dev {device}" for device, gateway in self.hops
        ]
        where = f" (table {self.table})" if self.table else ""
        return (" or ".join(ways)) + where


def not_used(goal: Desired, family: int) -> list[str]:
    """Say which uplinks of this family are not in the shared default now, and why."""
    states = (
        *(UplinkState.DEAD, UplinkState.DEGRADED, UplinkState.SPENT, UplinkState.STANDBY),
        UplinkState.OFF,
    )
    return [
        f"not in the shared default: {uplink.name} is {uplink.state}"
        + (f" ({uplink.reason})" if uplink.reason not in ("", uplink.state) else "")
        for uplink in goal.uplinks
        if uplink.family == family and (uplink.state in states or uplink.vrf)
    ]


def as_marked(query: Query, policies: Iterable[PolicyInUse]) -> Query:
    """The packet with the mark that nftables gives it for its DSCP, if it comes in."""
    for policy in policies if query.comes_in else ():
        way = policy.way(query.destination.version)
        for code, (mark, mask) in zip(way.match.dscps, way.match.dscp_marks, strict=False) if way else ():
            if code == query.dscp:
                return replace(query, mark=query.mark & ~mask | mark)
    return query


def in_vrf(query: Query, facts: Facts) -> Query:
    """The packet with the VRF that it belongs to, by the interface that it is bound to or comes in by."""
    links = {link.name: link for link in facts.interfaces}
    link = links.get(query.device or query.comes_in)
    vrf = link if link is None or link.kind == "vrf" else links.get(link.master)
    if vrf is None or vrf.kind != "vrf":
        return query
    return replace(query, vrf=vrf.name, vrf_table=vrf.vrf_table)


# --- the walk ----------------------------------------------------------------------------------------------


def _other(rule: Rule) -> dict[str, str]:
    """The parts of Rule.other: {"uidrange": "0-1000", "not": ""}."""
    words = (part.partition(" ") for part in rule.other.split(", ") if part)
    return {name: value for name, _, value in words}


def _mismatch(rule: Rule, query: Query) -> str:
    """Why the rule does not match; "" if it does."""
    other = _other(rule)
    inverted = other.pop("not", None) is not None
    other.pop("goto", None)  # not what it matches on, but what it does
    other.pop("realm", None)  # for accounting
    unknown = [f"{name} {value}" for name, value in other.items() if name not in _KNOWN]
    if unknown:
        return f"cannot be evaluated here ({', '.join(unknown)})"
    if rule.iif not in ("", "lo") and not inverted and not query.comes_in:
        return "for packets that come in"
    why_not = _first_mismatch(rule, other, query)
    if not inverted:
        return why_not
    return "" if why_not else "not for such packets"


def matches(rule: Rule, query: Query) -> bool:
    """Whether the rule is asked about the packet, as far as that can be evaluated here."""
    return rule.family == query.destination.version and not _mismatch(rule, query)


_KNOWN = frozenset({"uidrange", "sport", "dport", "ipproto", "tos", "dscp", "l3mdev"})
_RANGES = {"uidrange": ("uid", "users"), "sport": ("sport", "source ports"), "dport": ("dport", "ports")}


def _first_mismatch(rule: Rule, other: Mapping[str, str], query: Query) -> str:
    if (query.mark ^ rule.mark) & rule.mask:
        return f"only for packets with the mark {rule.mark:#x}/{rule.mask:#x}"
    # A rule that names a VRF is for all that is in it (kernel 6.15, and before 5.18).
    if rule.iif and rule.iif not in (query.comes_in or "lo", query.vrf if query.comes_in else ""):
        if not query.comes_in:
            return "for packets that come in"
        return "for packets of this box" if rule.iif == "lo" else "for what comes in elsewhere"
    if rule.oif and rule.oif not in (query.device, query.vrf if query.device else ""):
        return "another device" if query.device else "not bound to a device"
    if "l3mdev" in other and not query.vrf:
        return "only for what is in a VRF"
    for name, (attribute, what) in _RANGES.items():
        if name in other:
            low, _, high = other[name].partition("-")
            if not int(low) <= getattr(query, attribute) <= int(high or low):
                return f"only for {what} {low if low == high else other[name]}"
    if "ipproto" in other and int(other["ipproto"]) != query.ipproto:
        number = int(other["ipproto"])
        return (
            f"only for {next((name for name, n in PROTOCOLS.items() if n == number), f'protocol {number}')}"
        )
    if "tos" in other:
        return f"only for packets with TOS {other['tos']}"
    if "dscp" in other and int(other["dscp"]) != query.dscp:
        return f"only for packets with DSCP {other['dscp']}"
    if rule.source is not None and rule.source.prefixlen:
        if query.source is None:
            return "not bound to an address"
        if query.source not in rule.source:
            return "another source"
    if rule.destination is not None and query.destination not in rule.destination:
        return "another destination"
    return ""


def lookup(routes: Iterable[Route], query: Query) -> Route | None:
    """The route that one table has for the packet: longest prefix, then lowest metric."""
    fitting = [route for route in routes if query.destination in route.destination]
    for route in sorted(fitting, key=lambda route: (-route.destination.prefixlen, route.metric)):
        if route.kind in REFUSALS or route.kind == "throw":
            return route
        ways = ("", query.vrf)  # what is bound to a VRF may leave by any of its interfaces
        hops = tuple(hop for hop in route.nexthops if query.device in (*ways, hop.device) and not hop.dead)
        if hops:
            return replace(route, nexthops=hops)
    return None


def _hops(hops: Iterable[Nexthop]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((hop.device, "" if hop.gateway is None else str(hop.gateway)) for hop in hops))


def _route_says(route: Route) -> str:
    what = "default" if route.destination.prefixlen == 0 else str(route.destination)
    if route.kind != "unicast":
        return f"{route.kind} {what}"
    ways = " or ".join(" ".join(hop_words(hop, route.family)) for hop in route.nexthops)
    return f"{what} {ways}"


def walk(facts: Facts, query: Query) -> Verdict:
    """What the kernel does with the packet, by the rules and routes in `facts`."""
    family = query.destination.version
    query = in_vrf(query, facts)
    if family == 4 and any(link.name == query.device and not link.up for link in facts.interfaces):
        return Verdict("none")  # before any rule is asked
    rules = sorted((rule for rule in facts.rules if rule.family == family), key=lambda rule: rule.priority)
    tables: dict[int, list[Route]] = {}
    for route in facts.routes:
        if route.family == family:
            tables.setdefault(route.table, []).append(route)
    own = _own_addresses(facts)
    steps: list[Step] = []
    target = 0  # of a goto: rules of a lower priority number are skipped
    for rule in rules:
        if rule.priority < target:
            continue
        why_not = _mismatch(rule, query)
        if why_not:
            steps.append(Step(rule, why_not))
        elif rule.action == "goto":
            target, words = _goto(rule, rules)
            steps.append(Step(rule, words))
        elif rule.action == "nop":
            steps.append(Step(rule, "does nothing"))
        elif rule.action in REFUSALS:
            steps.append(Step(rule, rule.action, decides=True))
            return _end(Verdict(rule.action, steps=tuple(steps)), query)
        elif rule.action != "table":
            steps.append(Step(rule, f"{rule.action}: cannot be evaluated here"))
        elif query.destination in own.get(table := _table(rule, query), ()):
            steps.append(Step(rule, "an address of this box", decides=True))
            return Verdict("local", table, steps=tuple(steps))
        elif table == LOCAL_TABLE:
            steps.append(Step(rule, "not an address of this box"))
        else:
            found = lookup(tables.get(table, ()), query)
            if found is None or found.kind == "throw":
                steps.append(Step(rule, "no route there"))
            elif (
                rule.suppress_prefixlength is not None
                and found.kind not in REFUSALS  # the kernel ends there before it looks at the rule again
                and found.destination.prefixlen <= rule.suppress_prefixlength
            ):
                steps.append(Step(rule, f"{_route_says(found)}: passed over, as the rule says"))
            else:
                steps.append(Step(rule, _route_says(found), decides=True))
                hops = _hops(found.nexthops)
                return _end(Verdict(found.kind, found.table, hops, tuple(steps)), query)
    return _end(Verdict("none", steps=tuple(steps)), query)


def _table(rule: Rule, query: Query) -> int:
    """The table that the rule leads to; of a rule for VRFs that of the packet's."""
    return query.vrf_table if "l3mdev" in _other(rule) else rule.table


def _own_addresses(facts: Facts) -> dict[int, set[IPAddress]]:
    """The box's addresses by the table that has them: a VRF's own, or the local one."""
    vrfs = {link.name: link.vrf_table for link in facts.interfaces if link.kind == "vrf"}
    of = {link.name: vrfs.get(link.name) or vrfs.get(link.master) for link in facts.interfaces}
    found: dict[int, set[IPAddress]] = {}
    for address in facts.addresses:
        found.setdefault(of.get(address.device) or LOCAL_TABLE, set()).add(address.interface.ip)
    return found


def _goto(rule: Rule, rules: Iterable[Rule]) -> tuple[int, str]:
    """The priority that a goto rule jumps to, and the same in words; 0 if no rule is there."""
    target = int(_other(rule).get("goto") or 0)
    if target > rule.priority and any(other.priority == target for other in rules):
        return target, f"on to {target}"
    return 0, "leads nowhere"


def _end(verdict: Verdict, query: Query) -> Verdict:
    """For a bound IPv4 socket without a route the kernel assumes that the destination is on the link.

    Not in a VRF.
    """
    if verdict.kind == "unicast" or not query.device or query.vrf or query.destination.version == 6:
        return verdict
    return replace(verdict, kind="unicast", table=0, hops=((query.device, ""),))


def intended(facts: Facts, goal: Desired, protocol: int, query: Query) -> Verdict:
    """The same walk over the kernel as netbond wants it: its own objects from `goal`, the others as read."""
    taken = set(goal.take)
    routes = [route for route in facts.routes if route.protocol != protocol and route not in taken]
    # As read, in their order: of rules with one priority the older is asked first.
    rules = [rule for rule in facts.rules if rule.protocol != protocol or rule in goal.rules]
    rules += [rule for rule in goal.rules if rule not in facts.rules]
    # A route that is in the kernel is taken from there: the kernel says whether it can be used.
    there = {route: route for route in facts.routes}
    wanted = [there.get(route, route) for route in goal.routes]
    return walk(replace(facts, routes=(*routes, *wanted), rules=tuple(rules)), query)


def confirms(verdict: Verdict, answer: Route | None, refusal: str) -> bool:
    """Whether the kernel's own answer (a route, or None and the kind of refusal) fits the walk's end."""
    if answer is None:
        return verdict.kind == refusal
    if answer.kind != "unicast" or verdict.kind != "unicast":
        return answer.kind == verdict.kind
    return set(_hops(answer.nexthops)) <= set(verdict.hops)


# --- in words ----------------------------------------------------------------------------------------------


def describe(verdict: Verdict) -> list[str]:
    """The steps as lines, the one that decides marked."""
    width = max((len(_rule_says(step.rule)) for step in verdict.steps), default=0)
    return [
        f"{'->' if step.decides else '  '} {_rule_says(step.rule):<{width}}  {step.says}"
        for step in verdict.steps
    ]


def _rule_says(rule: Rule) -> str:
    words = rule_words(rule, selectors=False).removeprefix("priority ").rpartition(" protocol ")[0]
    priority, _, rest = words.partition(" ")
    rest = rest.replace(f"lookup {LOCAL_TABLE}", "lookup local").replace("lookup 253", "lookup default")
    more = ", ".join(part for part in rule.other.split(", ") if part and not part.startswith("goto "))
    rest += f" ({more})" if more else ""
    return f"{priority + ':':<7}{rest}"
