"""Checks rules, routes and kernel settings: what the kernel answers against what netbond intends. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from netbond.conflicts import conflicts
from netbond.doctor.model import ERROR, OK, UNKNOWN, WARNING, Finding, Lookup, Seen
from netbond.explain import Query, Verdict, confirms, intended, walk
from netbond.model import IPAddress, Route, Rule, Uplink, UplinkState
from netbond.plan import Operation, plan

# An address that is reached by a default route. Asking the kernel for the route sends nothing.
ANYWHERE: dict[int, IPAddress] = {
    4: ipaddress.ip_address("1.1.1.1"),
    6: ipaddress.ip_address("2606:4700:4700::1111"),
}
MOST_COMMANDS = 3  # that stand in one line; `netbond plan` has them all
_WITHOUT_LINK = (UplinkState.NO_CARRIER, UplinkState.DOWN)


def questions(uplinks: Iterable[Uplink], uid: int) -> list[Query]:
    """What to ask the kernel: for each uplink by its address and by its device, and unbound per family.

    `uid` is whose sockets they are.
    """
    working = [uplink for uplink in uplinks if uplink.state not in _WITHOUT_LINK]
    found = []
    for uplink in working:
        there = ANYWHERE[uplink.family]
        if not uplink.vrf:  # nobody can bind to its address alone
            found.append(Query(there, uplink.address.ip, "", uid=uid))
        found.append(Query(there, None, uplink.device, uid=uid))
    found += [Query(ANYWHERE[family], uid=uid) for family in sorted({each.family for each in working})]
    return list(dict.fromkeys(found))


def kernel(seen: Seen) -> Iterator[Finding]:
    """Whether the kernel has what netbond needs."""
    if seen.no_policy_routing:
        mend = "boot a kernel with CONFIG_IP_MULTIPLE_TABLES=y"
        yield Finding("kernel", ERROR, "", "the kernel has no policy routing", seen.no_policy_routing, mend)
        return
    lacks = []
    if seen.facts.nexthops is None:
        lacks.append("nexthop objects (5.3 and later)")
    if not seen.facts.resilient_groups:
        lacks.append("resilient groups (5.13 and later)")
    evidence = f"Linux {seen.release}"
    if lacks:
        evidence += f"; it works without {' and '.join(lacks)}"
    yield Finding("kernel", OK, "", "the kernel has policy routing", evidence)


def uplinks(seen: Seen) -> Iterator[Finding]:
    """Whether there are uplinks, and whether each has a gateway."""
    for idle in seen.goal.idle:
        if not idle.reason.startswith("enabled = false"):
            text = f"{idle.name or 'an [[uplink]]'} is no uplink"
            mend = "plug it in, wait for its lease, or correct its [[uplink]]"
            yield Finding("uplinks", WARNING, idle.name, text, idle.reason, mend)
    names = list(dict.fromkeys(uplink.name for uplink in seen.goal.uplinks))
    if names:
        yield Finding("uplinks", OK, "", f"uplinks: {', '.join(names)}")
        return
    mend = "plug in a modem, or ask for a lease: `netbond status --all` says why an interface is not used"
    why = "; ".join(f"{device}: {reason}" for device, reason in seen.goal.excluded)
    yield Finding("uplinks", ERROR, "", "no interface has an address and a known gateway", why, mend)


def bound_traffic(seen: Seen) -> Iterator[Finding]:
    """Whether traffic that is bound to an uplink's address, or to its device, leaves by it."""
    operations = plan(seen.facts, seen.goal, seen.config.routing.protocol)
    for lookup in seen.lookups:
        query = lookup.query
        if query.source is None and not query.device:
            continue
        uplink = _uplink_of(query, seen.goal.uplinks)
        if uplink is None:
            continue
        what = f"from {query.source}" if query.source else f"bound to {query.device}"
        code = "source-route" if query.source else "device-route"
        goal, said, agree = _compare(lookup, seen)
        if agree:
            yield Finding(code, OK, uplink.name, f"traffic {what} leaves {goal}", f"route get: {said}")
            continue
        command = f"--from {query.source}" if query.source else f"--dev {query.device}"
        mend = _commands(operations, {uplink.table, goal.table})
        mend = mend or f"netbond explain {query.destination} {command}"
        text = f"traffic {what} should leave {goal}"
        yield Finding(code, ERROR, uplink.name, text, f"route get: {said}", mend)


def shared_default(seen: Seen) -> Iterator[Finding]:
    """Whether unbound traffic leaves by the default over all uplinks."""
    operations = plan(seen.facts, seen.goal, seen.config.routing.protocol)
    for lookup in seen.lookups:
        query = lookup.query
        if query.source is not None or query.device:
            continue
        goal, said, agree = _compare(lookup, seen)
        family = f"IPv{query.destination.version}"
        if not agree:
            mend = _commands(operations, {seen.config.routing.ecmp_table, goal.table})
            mend = mend or f"netbond explain {query.destination}"
            text = f"unbound traffic should leave {goal}"
            yield Finding("shared-default", ERROR, family, text, f"route get: {said}", mend)
        elif goal.kind == "unicast":
            yield Finding(
                "shared-default", OK, family, f"unbound traffic leaves {goal}", f"route get: {said}"
            )
        else:
            text = "unbound traffic has no way out"
            mend = "`netbond status` says why no uplink is usable"
            yield Finding("shared-default", ERROR, family, text, f"route get: {said}", mend)


def _uplink_of(query: Query, found: Iterable[Uplink]) -> Uplink | None:
    for uplink in found:
        if uplink.family == query.destination.version and (
            query.device == uplink.device or query.source == uplink.address.ip
        ):
            return uplink
    return None


def _compare(lookup: Lookup, seen: Seen) -> tuple[Verdict, str, bool]:
    """What netbond intends, what the kernel answers, and whether that is the same."""
    now = walk(seen.facts, lookup.query)
    goal = intended(seen.facts, seen.goal, seen.config.routing.protocol, lookup.query)
    return goal, _said(lookup), now.same(goal) and confirms(now, lookup.answer, lookup.refusal)


def _said(lookup: Lookup) -> str:
    answer = lookup.answer
    if answer is None:
        return "no route" if lookup.refusal == "none" else f"refused: {lookup.refusal}"
    hops = tuple((hop.device, "" if hop.gateway is None else str(hop.gateway)) for hop in answer.nexthops)
    return str(Verdict(answer.kind, answer.table, hops))


def _commands(operations: Iterable[Operation], tables: set[int]) -> str:
    """The commands that give these tables their rules and routes; "" if the kernel has all of them."""
    found = [
        operation.command()
        for operation in operations
        if isinstance(operation.what, Route | Rule) and operation.what.table in tables
    ]
    if len(found) > MOST_COMMANDS:
        return "systemctl restart netbond, or by hand: netbond plan | sh"
    return " && ".join(found)


def pending(seen: Seen) -> Iterator[Finding]:
    """Whether the kernel holds all that netbond wants."""
    operations = plan(seen.facts, seen.goal, seen.config.routing.protocol)
    if not operations:
        yield Finding("plan", OK, "", "rules and routes are as netbond wants them")
        return
    first = operations[0]
    more = f", and {len(operations) - 1} more" if len(operations) > 1 else ""
    text = f"{len(operations)} rules and routes are not as netbond wants them"
    mend = "systemctl restart netbond; if it stays so, `netbond plan` and the journal say what is refused"
    yield Finding("plan", WARNING, "", text, f"missing: {first.command()}{more}", mend)


def foreign(seen: Seen) -> Iterator[Finding]:
    """Whether other programs' rules and routes are in the way of netbond's."""
    lines = conflicts(seen.facts, seen.goal, seen.config)
    for line in lines:
        text, _, hint = line.rpartition("; ") if "; " in line else (line, "", "")
        mend = hint or "find the program that adds it: ip monitor rule route"
        yield Finding("foreign", WARNING, "", text, "ip rule; ip route show table all", mend)
    if not lines:
        yield Finding("foreign", OK, "", "no other program's rule or default is in the way")


def managers(seen: Seen) -> Iterator[Finding]:
    """Whether two programs configure one interface."""
    held = {(address.device, address.interface) for address in seen.facts.addresses}
    by_device: dict[str, set[str]] = {}
    for lease in seen.facts.leases:
        if (lease.device, lease.address) in held:
            by_device.setdefault(lease.device, set()).add(lease.source)
    for claim in seen.facts.claims:
        if claim.standing and claim.source != "main" and (claim.device, claim.address) in held:
            by_device.setdefault(claim.device, set()).add(claim.source)
    several = {device: sorted(names) for device, names in by_device.items() if len(names) > 1}
    for device, names in sorted(several.items()):
        yield Finding(
            "managers",
            WARNING,
            device,
            f"{' and '.join(names)} configure {device}",
            "each has a lease, or a connection, with an address of the interface",
            f"leave {device} to one of them: nmcli device set {device} managed no, or stop the other client",
        )
    if not several:
        yield Finding("managers", OK, "", "no interface has two managers")


def settings(seen: Seen) -> Iterator[Finding]:
    """Whether rp_filter, socket buffers and the other kernel settings are as bonding needs them."""
    agent = seen.snapshot is not None
    kinds = {"rp_filter": "rp_filter", "rmem_max": "buffers", "wmem_max": "buffers"}
    wrong: dict[str, int] = dict.fromkeys(("rp_filter", "buffers", "sysctl"), 0)
    for setting in seen.settings:
        code = kinds.get(setting.name.rpartition("/")[2], "sysctl")
        wrong[code] += 1
        if code == "sysctl" and not agent:
            continue
        device = setting.name.split("/")[3] if "/conf/" in setting.name else ""
        text = f"{setting.name.rpartition('/')[2]} is {setting.old}: {setting.why}"
        severity = ERROR if code == "rp_filter" else WARNING
        evidence = f"/proc/sys/{setting.name} is {setting.old}"
        # Where the file leaves rp_filter to others, that was somebody's decision.
        safe = code != "rp_filter" or seen.config.sysctl.rp_filter
        fix = (setting.command,) if safe else ()
        yield Finding(code, severity, device, text, evidence, setting.command, fix)
    good = {
        "rp_filter": "no uplink has a strict reverse-path filter",
        "buffers": "socket buffers may be as large as bursts need them",
        "sysctl": "the other kernel settings are right",
    }
    for code, count in wrong.items():
        if not count:
            yield Finding(code, OK, "", good[code])
    if wrong["sysctl"] and not agent:
        text = "the agent sets the other kernel settings, and does not run"
        yield Finding("sysctl", UNKNOWN, "", text, mend="netbond plan")


def table_names(seen: Seen) -> Iterator[Finding]:
    """Whether `ip` knows the tables by their names."""
    if seen.table_names is None:
        return
    tables = {uplink.table: uplink.name for uplink in seen.goal.uplinks}
    nameless = [
        f"{table} ({name})" for table, name in sorted(tables.items()) if table not in seen.table_names
    ]
    if not nameless:
        yield Finding("table-names", OK, "", "`ip` knows all tables by names")
    elif seen.snapshot is None:
        yield Finding("table-names", UNKNOWN, "", "the agent names the tables, and does not run")
    else:
        text = f"`ip` knows no name of table {', '.join(nameless)}"
        mend = "ls -ld /etc/iproute2/rt_tables.d: the agent writes netbond.conf there"
        yield Finding("table-names", WARNING, "", text, "no line in rt_tables.d", mend)
