"""Runs `netbond explain`, which shows a packet's route, the route that netbond intends, and if they agree."""

from __future__ import annotations

import argparse
import asyncio
import errno
import ipaddress
import json
import os
import pwd
import socket

from netbond.config.load import config_argument, load
from netbond.desired import Desired, desired
from netbond.errors import EXIT_OK, EXIT_PENDING, UsageError
from netbond.explain import (
    PROTOCOLS,
    Query,
    Verdict,
    as_marked,
    confirms,
    describe,
    in_vrf,
    intended,
    matches,
    not_used,
    walk,
)
from netbond.model import Facts, IPAddress, Route
from netbond.policies.words import policy_words
from netbond.sources.once import gather
from netbond.system.text import printable

HELP = (
    "Show step by step which route a packet takes, and which route netbond intends."
    " Exit status: 0 they agree, 2 they differ, or another program's rule is in the way."
)

_REFUSALS = {
    errno.EHOSTUNREACH: "unreachable",
    errno.EACCES: "prohibit",
    errno.EINVAL: "blackhole",
    errno.ENETUNREACH: "none",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument("destination", metavar="DEST", help="an address, or a host name")
    parser.add_argument(
        "--from", dest="source", metavar="ADDR", help="the address that the socket is bound to"
    )
    parser.add_argument("--dev", default="", metavar="IF", help="the interface that the socket is bound to")
    parser.add_argument(
        "--in",
        dest="comes_in",
        default="",
        metavar="IF",
        help="the interface where it comes in from a client, whose address is --from",
    )
    parser.add_argument("--mark", metavar="N", help="its firewall mark (fwmark), as 100 or 0x64")
    parser.add_argument("--proto", choices=sorted(PROTOCOLS), help="the protocol (udp)")
    parser.add_argument("--sport", metavar="PORT", help="the source port")
    parser.add_argument("--dport", metavar="PORT", help="the destination port")
    parser.add_argument("--uid", metavar="USER", help="the socket's owner: a number or a name (yours)")
    parser.add_argument("--dscp", metavar="N", help="its code point, 0 to 63")
    parser.add_argument("--json", action="store_true", help="for programs")


def _address(text: str, family: int) -> IPAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(text, None, socket.AddressFamily(family), socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        raise UsageError(f"{text!r} is not an address, and does not resolve", "give an address") from None
    return ipaddress.ip_address(str(found[0][4][0]).partition("%")[0])


def _query(args: argparse.Namespace, facts: Facts) -> Query:
    source = None
    if args.source is not None:
        try:
            source = ipaddress.ip_address(args.source)
        except ValueError:
            raise UsageError(f"--from {args.source!r} is not an address") from None
        mine = any(address.interface.ip == source for address in facts.addresses)
        if not mine and not args.comes_in:
            raise UsageError(f"--from {source} is not an address of this box", "`ip address` shows them")
    if args.comes_in and (source is None or args.dev or args.uid):
        raise UsageError("--in is for a client's packet", "add its address, --from; omit --dev and --uid")
    if args.comes_in and not any(link.name == args.comes_in for link in facts.interfaces):
        raise UsageError(f"--in {args.comes_in!r}: there is no such interface", "`ip link` shows them")
    if args.dev and not any(link.name == args.dev for link in facts.interfaces):
        raise UsageError(f"--dev {args.dev!r}: there is no such interface", "`ip link` shows them")
    families = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
    family = families[None if source is None else source.version]
    destination = _address(args.destination, family)
    if source is not None and source.version != destination.version:
        raise UsageError(f"{destination} and --from {source} are of different families")
    if (args.sport or args.dport) and args.proto in ("icmp", "ipv6-icmp"):
        raise UsageError(f"--proto {args.proto} has no ports", "omit --sport and --dport")
    return Query(
        destination,
        source,
        args.dev,
        mark=_number("--mark", args.mark, 2**32 - 1),
        uid=0 if args.comes_in else os.geteuid() if args.uid is None else _user(args.uid),
        ipproto=PROTOCOLS[args.proto or "udp"],
        sport=_number("--sport", args.sport, 65535),
        dport=_number("--dport", args.dport, 65535),
        dscp=_number("--dscp", args.dscp, 63),
        comes_in=args.comes_in,
    )


def _number(option: str, text: str | None, highest: int) -> int:
    """Parse an integer, decimal or 0x...; 0 if it is not given."""
    if text is None:
        return 0
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number <= highest:
        raise UsageError(f"{option} {text!r} is not a number from 0 to {highest}")
    return number


def _user(text: str) -> int:
    if text.isascii() and text.isdigit():
        return _number("--uid", text, 2**32 - 2)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise UsageError(f"--uid {text!r}: there is no such user") from None


def ask(query: Query) -> tuple[Route | None, str]:
    """Ask the kernel for the route; return it, or None and how the kernel refuses."""
    from netbond.kernel.client import Kernel

    async def looked_up() -> Route:
        async with Kernel() as kernel:
            return await kernel.lookup(
                query.destination,
                query.source,
                query.device,
                query.selectors(),
                comes_in=query.comes_in,
            )

    try:
        return asyncio.run(looked_up()), ""
    except OSError as error:
        return None, _REFUSALS.get(error.errno or 0, error.strerror or str(error))


def run(args: argparse.Namespace) -> int:
    """Print the kernel's route and the intended one; 0 if they agree and nothing is in the way, else 2."""
    from netbond.conflicts import unmet

    config = load(args.config)
    facts = gather(config)
    query = _query(args, facts)
    wanted = desired(facts, config)
    query = in_vrf(as_marked(query, wanted.policies), facts)
    now = walk(facts, query)
    goal = intended(facts, wanted, config.routing.protocol, query)
    bound = bool(query.source or query.device) and not query.comes_in
    in_the_way = [
        line
        for rule, line in unmet(facts, wanted, config)
        # A rule ahead is in the way of bound packets only, one behind of the others.
        if matches(rule, query) and bound is (rule.priority < config.routing.ecmp_priority)
    ]
    left_out = [] if bound else not_used(wanted, query.destination.version)
    answer, refusal = ask(query)
    said = _answer(answer, refusal)
    agree = now.same(goal) and confirms(now, answer, refusal)
    if args.json:
        print(
            json.dumps(
                {
                    "kernel": _plain(now),
                    "intended": _plain(goal),
                    "answer": said,
                    "agree": agree,
                    "in_the_way": in_the_way,
                    "policy": _policy(goal, wanted, query),
                    "not_used": left_out,
                },
                indent=2,
            )
        )
    else:
        _tell(now, goal, said, confirmed=confirms(now, answer, refusal))
        if policy := _policy(goal, wanted, query):
            print(_line(policy))
        for line in left_out:
            print(_line(line))
        for line in in_the_way:
            print(_line(f"in the way: {line}"))
    return EXIT_OK if agree and not in_the_way else EXIT_PENDING


def _answer(answer: Route | None, refusal: str) -> str:
    if answer is None:
        return "no route" if refusal == "none" else f"refused: {refusal}"
    hops = tuple((hop.device, "" if hop.gateway is None else str(hop.gateway)) for hop in answer.nexthops)
    return str(Verdict(answer.kind, answer.table, hops))


def _tell(now: Verdict, goal: Verdict, said: str, *, confirmed: bool) -> None:
    print("the kernel's rules:")
    print("\n".join(map(_line, describe(now))))
    print(_line(f"result: {now}"))
    print(_line(f"the kernel's own answer: {said}{'' if confirmed else ' (this differs)'}"))
    if now.same(goal):
        print("netbond intends the same.")
    else:
        print("netbond intends:")
        print("\n".join(map(_line, describe(goal))))
        print(_line(f"result: {goal}"))
        print("`netbond plan` shows what is missing.")


def _policy(goal: Verdict, wanted: Desired, query: Query) -> str:
    """What the policy that netbond intends for the packet does: "policy bank: dsl (tier 1 of 2)"; or ""."""
    policy = next((policy for policy in wanted.policies if policy.table == goal.table), None)
    return "" if policy is None else policy_words(policy, query.destination.version)


def _plain(verdict: Verdict) -> dict[str, object]:
    return {
        "kind": verdict.kind,
        "table": verdict.table or None,
        "ways": [{"device": device, "gateway": gateway or None} for device, gateway in verdict.hops],
        "steps": [line.strip() for line in describe(verdict)],
    }


def _line(text: str) -> str:
    """Return the line without control characters: an interface's name may have any of them."""
    return printable(text, 4000)
