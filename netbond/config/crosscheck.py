"""Checks keys of the configuration against each other: what must differ, be in order, or exist. Pure."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbond.config import policy_checks, targets
from netbond.config.pattern import Match, looks_like_regex
from netbond.config.values import DEFAULT_EXPECT, DEFAULT_QUERY, TABLES_PER_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from netbond.config.mistakes import Mistakes
    from netbond.config.schema import Config, HealthConfig, PageConfig, ReceiverConfig, SenderConfig
    from netbond.config.values import HostPort
    from netbond.model import IPAddress


def check(config: Config, mistakes: Mistakes, built_in: Sequence[str]) -> None:
    """Note what is wrong; `built_in` are the names of the built-in checks."""
    _check_numbers(config, mistakes)
    _check_uplinks(config, mistakes)
    _check_engines(config, mistakes)
    _check_router(config, mistakes)
    _check_checks(config, mistakes)
    _check_health(config, mistakes, built_in)
    policy_checks.check(config, mistakes)
    if config.page.enabled and (mistake := page_mistake(config.page)):
        mistakes.add("page", f"page: {mistake[0]}", mistake[1])


def _check_numbers(config: Config, mistakes: Mistakes) -> None:
    """Rules stand in their order, and each purpose has a table of its own."""
    routing = config.routing
    order = ["oif_priority", "main_priority", "pin_priority", "ecmp_priority"]
    if routing.layout == "classic":
        order.insert(2, "classic_priority")
    values = [getattr(routing, key) for key in order]
    if values != sorted(set(values)):
        mistakes.add(
            mistakes.first("routing", order),
            "routing priorities are out of order: "
            + ", ".join(f"{key} = {value}" for key, value in zip(order, values, strict=True)),
            f"keep {' < '.join(order)}, or bound sockets leave by the wrong uplink",
        )
    if routing.pin_table == routing.ecmp_table:
        mistakes.add(
            mistakes.first("routing", ["pin_table", "ecmp_table"]),
            f"routing.pin_table and routing.ecmp_table are both {routing.ecmp_table}",
            "give each a table of its own",
        )
    if routing.take_over_default and routing.layout != "classic":
        mistakes.add(
            "routing.take_over_default",
            f"routing.take_over_default = true with layout = {routing.layout!r}",
            "leave it out: only the classic layout is disturbed by defaults in main",
        )
    if routing.layout != "default":
        return
    # The priority of a rule "from ADDRESS" is its table's number: between the main rule and the pins.
    numbers = [("routing.tables", number) for number in routing.tables]
    for _, base in routing.table_bases:
        numbers += [("routing.table_bases", base + offset) for offset in (0, TABLES_PER_NAME - 1)]
    numbers += [(f"uplink[{n}].table", u.table) for n, u in enumerate(config.uplink, 1) if u.table]
    for where, number in numbers:
        if not routing.main_priority < number < routing.pin_priority:
            mistakes.add(
                where,
                f"table {number} is not between main_priority = {routing.main_priority}"
                f" and pin_priority = {routing.pin_priority}",
                "a source rule stands at its table's number; choose tables inside or move the priorities",
            )


def _check_uplinks(config: Config, mistakes: Mistakes) -> None:
    """Tables and labels belong to one interface each, and each pattern can apply."""
    tables = {config.routing.ecmp_table, config.routing.pin_table}
    labels: set[str] = set()
    before: list[tuple[str, Match]] = []
    for number, uplink in enumerate(config.uplink, 1):
        match = Match.parse(uplink.match)
        if uplink.table and uplink.table in tables:
            what = f"table {uplink.table} is given twice"
            mistakes.add(f"uplink[{number}].table", what, "each uplink needs a table of its own")
        if uplink.label and uplink.label in labels:
            what = f"label {uplink.label!r} is given twice"
            mistakes.add(f"uplink[{number}].label", what, "each interface needs a label of its own")
        tables |= {uplink.table} if uplink.table else set()
        labels.add(uplink.label)
        key = "table" if uplink.table else "label"
        if (uplink.table or uplink.label) and not match.single:
            what = f"table = {uplink.table}" if uplink.table else f"label = {uplink.label!r}"
            mistakes.add(
                f"uplink[{number}].{key}",
                f"uplink {uplink.match!r} sets {what} for a pattern",
                "a table and a label belong to one interface: match path, serial, mac or exact name",
            )
        _check_pattern(f"uplink[{number}].match", match, before, mistakes)
        before.append((f"uplink[{number}]", match))


def _check_pattern(where: str, match: Match, before: list[tuple[str, Match]], mistakes: Mistakes) -> None:
    """Warn of a pattern that can never apply, or that is written in another language than fnmatch's."""
    if looks_like_regex(match.name):
        mistakes.warn(
            where,
            f"{match.name!r} looks like a regular expression, and is none: it matches no interface",
            "write a pattern as shells have it: usb*, eth[0-3], wwan?",
        )
    for other, earlier in before:
        if earlier.covers(match):
            mistakes.warn(
                where,
                f"it never applies: {other}, which stands before it, takes the same interfaces",
                f"move it before {other}: the first match wins",
            )
            return


def _check_engines(config: Config, mistakes: Mistakes) -> None:
    """No two engines have the same port, none sends to itself, and none requires a key that it lacks."""
    listens = [(f"sender[{n}].listen", each.listen) for n, each in enumerate(config.sender, 1)]
    listens += [(f"receiver[{n}].listen", each.listen) for n, each in enumerate(config.receiver, 1)]
    for number, (where, listen) in enumerate(listens):
        for _, other in listens[:number]:
            if _same_port(listen, other):
                what = f"{listen}" if listen == other else f"{other} and {listen}, which is the same port"
                mistakes.add(where, f"two engines listen on {what}", "give each a port of its own")
    engines = [
        (f"sender[{n}].receiver", "sender", s.listen, "receiver", each)
        for n, s in enumerate(config.sender, 1)
        for each in s.receivers
    ]
    engines += [
        (f"receiver[{n}].srt", "receiver", r.listen, "srt", each)
        for n, r in enumerate(config.receiver, 1)
        for each in r.servers
    ]
    for where, kind, listen, key, target in engines:
        here = _host(target)
        if here is not None and (here.is_loopback or target == listen) and _same_port(listen, target):
            mistakes.add(
                where,
                f"the {kind} on {listen} has {key} = {str(target)!r}, which is itself",
                "name the port of the SRT server" if key == "srt" else "name the server's receiver",
            )
    keyless: list[tuple[str, SenderConfig | ReceiverConfig]] = [
        (f"sender[{n}]", s) for n, s in enumerate(config.sender, 1) if s.key_file is None
    ]
    keyless += [
        (f"receiver[{n}]", r) for n, r in enumerate(config.receiver, 1) if r.key_file is None and not r.key
    ]
    for where, engine in keyless:
        if engine.require_key:
            what = f"{engine.name} has require_key and no key_file"
            mistakes.add(f"{where}.require_key", what, "add key_file = ...")
    for number, receiver in enumerate(config.receiver, 1):
        names = [key.name for key in receiver.key]
        if twice := [name for name in names if names.count(name) > 1]:
            what = f"{receiver.name} has two keys named {twice[0]!r}"
            mistakes.add(f"receiver[{number}].key[1].name", what, "give each a name of its own")
        if (receiver.stats_listen is None) != (receiver.stats_key_file is None):
            mistakes.add(
                mistakes.first(f"receiver[{number}]", ["stats_listen", "stats_key_file"]),
                f"{receiver.name} has one of stats_listen and stats_key_file",
                "the page tells stream ids, which are secrets: give it an address and a key",
            )
    _check_pages(config, mistakes)
    _check_encoders(config, mistakes)


def _check_pages(config: Config, mistakes: Mistakes) -> None:
    pages = [
        (f"receiver[{n}].stats_listen", receiver.stats_listen)
        for n, receiver in enumerate(config.receiver, 1)
        if receiver.stats_listen is not None
    ]
    pages += [("agent.metrics", config.agent.metrics)] if config.agent.metrics is not None else []
    pages += [("page.listen", config.page.listen)] if config.page.enabled else []
    for number, (where, page) in enumerate(pages):
        if any(_same_port(page, other) for _, other in pages[:number]):
            mistakes.add(where, f"two pages have the address {page}", "give each a port of its own")


def _check_encoders(config: Config, mistakes: Mistakes) -> None:
    written: set[Path] = set()
    for number, sender in enumerate(config.sender, 1):
        if sender.encoder is None:
            continue
        where = f"sender[{number}].encoder"
        if wrong := encoder_mistake(sender):
            mistakes.add(where, f"{sender.name}: {wrong[0]}", wrong[1])
        if sender.encoder.bitrate_file in written:
            mistakes.add(
                f"{where}.bitrate_file",
                f"two senders have bitrate_file = '{sender.encoder.bitrate_file}'",
                "give each encoder a file of its own",
            )
        written.add(sender.encoder.bitrate_file)


def encoder_mistake(sender: SenderConfig) -> tuple[str, str] | None:
    """What is wrong with a sender's encoder, and what to do; None: nothing."""
    encoder = sender.encoder
    if encoder is None:
        return None
    if sender.mode != "adaptive":
        return f"mode {sender.mode!r} has no advice for an encoder", "use mode 'adaptive', or no bitrate file"
    if encoder.bitrate_min > encoder.bitrate_max:
        return (
            f"the least bitrate, {encoder.bitrate_min} bit/s, is more than the most, {encoder.bitrate_max}",
            "make bitrate_max the larger one",
        )
    return None


def page_mistake(page: PageConfig) -> tuple[str, str] | None:
    """What is wrong with the web page, and what to do; None: nothing."""
    host = _host(page.listen)
    if (host is None or not host.is_loopback) and (page.token_file is None or page.certificate is None):
        return (
            f"listen = {str(page.listen)!r} is open to others, without token_file and certificate",
            "add both, or listen on 127.0.0.1 and reach it by ssh -L",
        )
    if page.control and page.token_file is None:
        return (
            "control = true without token_file: every user of the box could set uplinks",
            "add token_file, or leave control out",
        )
    if page.certificate_key is not None and page.certificate is None:
        return "certificate_key is given, and no certificate", "add certificate = ..."
    return None


def _same_port(one: HostPort, other: HostPort) -> bool:
    """Whether both can mean one socket: the same address, or one of them all addresses of its family."""
    if one.port != other.port:
        return False
    a, b = _host(one), _host(other)
    if a is None or b is None:
        return one.host == other.host
    return a == b or (a.version == b.version and (a.is_unspecified or b.is_unspecified))


def _host(endpoint: HostPort) -> IPAddress | None:
    """The host as an address; None for a name other than localhost, which may have any address."""
    try:
        return ipaddress.ip_address("127.0.0.1" if endpoint.host == "localhost" else endpoint.host)
    except ValueError:
        return None


def _check_router(config: Config, mistakes: Mistakes) -> None:
    router, routing = config.router, config.routing
    for number, uplink in enumerate(config.uplink, 1):
        if uplink.enabled and uplink.match in router.lan:
            mistakes.add(
                f"uplink[{number}].match",
                f"{uplink.match!r} is both an uplink and in router.lan",
                "an interface leads out or to the LAN: take it out of one of them",
            )
    first_source_rule = min(
        [
            routing.tables[0],
            *(base for _, base in routing.table_bases),
            *(u.table for u in config.uplink if u.table),
        ]
        if routing.layout == "default"
        else [routing.classic_priority]
    )
    if router.lan and not routing.main_priority < router.mark_priority < first_source_rule:
        mistakes.add(
            "router.mark_priority",
            f"router.mark_priority = {router.mark_priority} is not between"
            f" main_priority = {routing.main_priority} and the first table, {first_source_rule}",
            "marked packets need main's specific routes first, and their mark before anything else",
        )


def _check_checks(config: Config, mistakes: Mistakes) -> None:
    """Each [[check]] has what its kind needs, and nothing else."""
    names: set[str] = set()
    for number, check in enumerate(config.check, 1):
        where = f"check[{number}]"
        if check.name in names:
            what = f"two checks are named {check.name!r}"
            mistakes.add(f"{where}.name", what, "give each a name of its own")
        names.add(check.name)
        for text in check.targets:
            try:
                targets.parse(check.kind, text)
            except ValueError as error:
                what = f"{where}.targets: {text!r} is not valid for kind = {check.kind!r}"
                mistakes.add(f"{where}.targets", what, f"expected {error}")
        if check.kind == "command" and not check.command:
            mistakes.add(where, f"{where} has no command", "add command = ['/path/of/a/program', ...]")
        if check.kind == "command" and check.user == "root":
            what = f"{where}.user is 'root'"
            mistakes.add(f"{where}.user", what, "name another user: a check needs no rights")
        if check.kind != "command" and (check.command or check.user != "nobody"):
            what = f"{where}: command and user are for kind = 'command' only"
            mistakes.add(mistakes.first(where, ["command", "user"]), what, "leave them out")
        if not check.targets and check.kind not in ("gateway", "command"):
            hint = f"add targets = [...], {targets.EXPECTED[check.kind]}"
            mistakes.add(where, f"{where} has no targets", hint)
        if 0 < check.interval < 0.2 or 0 < check.timeout < 0.1:
            mistakes.add(
                mistakes.first(where, ["interval", "timeout"]),
                f"{where}: interval = {check.interval:g}, timeout = {check.timeout:g} is too short",
                "an interval is at least 0.2 s, a timeout at least 0.1 s; 0 takes that of [health]",
            )
        if check.kind != "dns" and check.query != DEFAULT_QUERY:
            mistakes.add(f"{where}.query", f"{where}.query is for kind = 'dns' only", "leave it out")
        if check.kind != "http" and check.expect != DEFAULT_EXPECT:
            mistakes.add(f"{where}.expect", f"{where}.expect is for kind = 'http' only", "leave it out")


def _check_health(config: Config, mistakes: Mistakes, built_in: Sequence[str]) -> None:
    """The rules for [health], hooks and the chains of checks of [[uplink]]."""
    known = list(dict.fromkeys([*built_in, *(check.name for check in config.check)]))
    chains = [("health", config.health.checks)]
    chains += [(f"uplink[{number}]", u.checks or ()) for number, u in enumerate(config.uplink, 1)]
    for of, chain in chains:
        for name in chain:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                mistakes.add(
                    f"{of}.checks",
                    f"{of}.checks names {name!r}, which is no check",
                    f"did you mean {near[0]!r}?"
                    if near
                    else f"add a [[check]] of that name, or choose from {', '.join(known)}",
                )
    _check_quality(config.health, "health", mistakes)
    for number, uplink in enumerate(config.uplink, 1):
        policy = config.health.of(uplink)
        if policy != config.health:
            _check_quality(policy, f"uplink[{number}]", mistakes)
    hooks: set[str] = set()
    for number, hook in enumerate(config.hook, 1):
        if hook.name in hooks:
            what = f"two hooks are named {hook.name!r}"
            mistakes.add(f"hook[{number}].name", what, "give each a name of its own")
        hooks.add(hook.name)
    if config.health.hold_down > config.health.hold_down_max:
        mistakes.add(
            mistakes.first("health", ["hold_down", "hold_down_max"]),
            f"health.hold_down = {config.health.hold_down:g} is more than"
            f" hold_down_max = {config.health.hold_down_max:g}",
            "make hold_down_max the larger one",
        )


def _check_quality(policy: HealthConfig, where: str, mistakes: Mistakes) -> None:
    """An uplink must not be degraded for a reason that has ceased to be one."""
    for key in ("loss", "rtt"):
        enter, leave = getattr(policy, f"degraded_{key}"), getattr(policy, f"leave_{key}")
        if leave > enter and not (key == "rtt" and enter == 0):
            mistakes.add(
                mistakes.first(where, [f"recovery_{key}", f"degraded_{key}"]),
                f"{where}.recovery_{key} = {leave:g} is more than degraded_{key} = {enter:g}",
                "an uplink recovers at a lower value than that at which it becomes degraded",
            )
