"""Checks keys of the configuration against each other: what must differ, be in order, or exist. Pure."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbond.config import policy_checks, targets
from netbond.config.pattern import Match
from netbond.config.values import DEFAULT_EXPECT, DEFAULT_QUERY, TABLES_PER_NAME
from netbond.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from netbond.config.schema import Config, HealthConfig, PageConfig, ReceiverConfig, SenderConfig
    from netbond.config.values import HostPort
    from netbond.model import IPAddress


def check(config: Config, file: str, built_in: Sequence[str]) -> None:
    """ConfigError for the first mistake; `built_in` are the names of the built-in checks."""
    routing = config.routing
    order = ["oif_priority", "main_priority", "pin_priority", "ecmp_priority"]
    if routing.layout == "classic":
        order.insert(2, "classic_priority")
    values = [getattr(routing, key) for key in order]
    if values != sorted(set(values)):
        raise ConfigError(
            f"{file}: routing priorities are out of order: "
            + ", ".join(f"{key} = {value}" for key, value in zip(order, values, strict=True)),
            f"keep {' < '.join(order)}, or bound sockets leave by the wrong uplink",
        )
    if routing.pin_table == routing.ecmp_table:
        raise ConfigError(
            f"{file}: routing.pin_table and routing.ecmp_table are both {routing.ecmp_table}",
            "give each a table of its own",
        )
    if routing.take_over_default and routing.layout != "classic":
        raise ConfigError(
            f"{file}: routing.take_over_default = true with layout = {routing.layout!r}",
            "leave it out: only the classic layout is disturbed by defaults in main",
        )
    lowest, highest = routing.tables
    bases = [base + offset for _, base in routing.table_bases for offset in (0, TABLES_PER_NAME - 1)]
    if routing.layout == "default":
        # The priority of a rule "from ADDRESS" is its table's number: between the main rule and the pins.
        for number in [lowest, highest, *bases, *(u.table for u in config.uplink if u.table)]:
            if not routing.main_priority < number < routing.pin_priority:
                raise ConfigError(
                    f"{file}: table {number} is not between main_priority = {routing.main_priority}"
                    f" and pin_priority = {routing.pin_priority}",
                    "a source rule stands at its table's number; choose tables inside or move the priorities",
                )
    fixed = [u.table for u in config.uplink if u.table]
    for number in fixed:
        if fixed.count(number) > 1 or number in (routing.ecmp_table, routing.pin_table):
            raise ConfigError(
                f"{file}: table {number} is given twice", "each uplink needs a table of its own"
            )
    labels = [u.label for u in config.uplink if u.label]
    for uplink in config.uplink:
        what = f"table = {uplink.table}" if uplink.table else f"label = {uplink.label!r}"
        if (uplink.table or uplink.label) and not Match.parse(uplink.match).single:
            raise ConfigError(
                f"{file}: uplink {uplink.match!r} sets {what} for a pattern",
                "a table and a label belong to one interface: match path, serial, mac or exact name",
            )
        if labels.count(uplink.label) > 1:
            raise ConfigError(
                f"{file}: label {uplink.label!r} is given twice", "each interface needs a label of its own"
            )
    _check_engines(config, file)
    _check_router(config, file)
    _check_health(config, file, built_in)
    policy_checks.check(config, file)
    if config.page.enabled and (mistake := page_mistake(config.page)):
        raise ConfigError(f"{file}: page: {mistake[0]}", mistake[1])


def _check_engines(config: Config, file: str) -> None:
    """No two engines have the same port, none sends to itself, and none requires a key that it lacks."""
    listens = [*(each.listen for each in config.sender), *(each.listen for each in config.receiver)]
    for number, listen in enumerate(listens):
        for other in listens[:number]:
            if _same_port(listen, other):
                where = f"{listen}" if listen == other else f"{other} and {listen}, which is the same port"
                raise ConfigError(f"{file}: two engines listen on {where}", "give each a port of its own")
    engines = [("sender", s.listen, "receiver", each) for s in config.sender for each in s.receivers]
    engines += [("receiver", r.listen, "srt", each) for r in config.receiver for each in r.servers]
    for kind, listen, key, target in engines:
        here = _host(target)
        if here is not None and (here.is_loopback or target == listen) and _same_port(listen, target):
            raise ConfigError(
                f"{file}: the {kind} on {listen} has {key} = {str(target)!r}, which is itself",
                "name the port of the SRT server" if key == "srt" else "name the server's receiver",
            )
    keyless: list[SenderConfig | ReceiverConfig] = [s for s in config.sender if s.key_file is None]
    keyless += [r for r in config.receiver if r.key_file is None and not r.key]
    for engine in keyless:
        if engine.require_key:
            raise ConfigError(f"{file}: {engine.name} has require_key and no key_file", "add key_file = ...")
    for receiver in config.receiver:
        names = [key.name for key in receiver.key]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(
                f"{file}: {receiver.name} has two keys named {twice[0]!r}", "give each a name of its own"
            )
        if (receiver.stats_listen is None) != (receiver.stats_key_file is None):
            raise ConfigError(
                f"{file}: {receiver.name} has one of stats_listen and stats_key_file",
                "the page tells stream ids, which are secrets: give it an address and a key",
            )
    pages = [receiver.stats_listen for receiver in config.receiver if receiver.stats_listen is not None]
    pages += [config.agent.metrics] if config.agent.metrics is not None else []
    pages += [config.page.listen] if config.page.enabled else []
    for number, page in enumerate(pages):
        if any(_same_port(page, other) for other in pages[:number]):
            raise ConfigError(f"{file}: two pages have the address {page}", "give each a port of its own")
    written: set[Path] = set()
    for sender in config.sender:
        if sender.encoder is None:
            continue
        wrong = encoder_mistake(sender)
        if wrong:
            raise ConfigError(f"{file}: {sender.name}: {wrong[0]}", wrong[1])
        if sender.encoder.bitrate_file in written:
            raise ConfigError(
                f"{file}: two senders have bitrate_file = '{sender.encoder.bitrate_file}'",
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


def _check_router(config: Config, file: str) -> None:
    router, routing = config.router, config.routing
    for uplink in config.uplink:
        if uplink.enabled and uplink.match in router.lan:
            raise ConfigError(
                f"{file}: {uplink.match!r} is both an uplink and in router.lan",
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
        raise ConfigError(
            f"{file}: router.mark_priority = {router.mark_priority} is not between"
            f" main_priority = {routing.main_priority} and the first table, {first_source_rule}",
            "marked packets need main's specific routes first, and their mark before anything else",
        )


def _check_health(config: Config, file: str, built_in: Sequence[str]) -> None:
    """The rules for [health], [[check]] and the chains of checks of [[uplink]]."""
    names = [check.name for check in config.check]
    for number, check in enumerate(config.check, 1):
        where = f"{file}: check[{number}]"
        if names.count(check.name) > 1:
            raise ConfigError(f"{file}: two checks are named {check.name!r}", "give each a name of its own")
        for text in check.targets:
            try:
                targets.parse(check.kind, text)
            except ValueError as error:
                raise ConfigError(
                    f"{where}.targets: {text!r} is not valid for kind = {check.kind!r}", f"expected {error}"
                ) from None
        if check.kind == "command" and not check.command:
            raise ConfigError(f"{where} has no command", "add command = ['/path/of/a/program', ...]")
        if check.kind == "command" and check.user == "root":
            raise ConfigError(f"{where}.user is 'root'", "name another user: a check needs no rights")
        if check.kind != "command" and (check.command or check.user != "nobody"):
            raise ConfigError(f"{where}: command and user are for kind = 'command' only", "leave them out")
        if not check.targets and check.kind not in ("gateway", "command"):
            raise ConfigError(
                f"{where} has no targets",
                f"add targets = [...], {targets.EXPECTED[check.kind]}",
            )
        if 0 < check.interval < 0.2 or 0 < check.timeout < 0.1:
            raise ConfigError(
                f"{where}: interval = {check.interval:g}, timeout = {check.timeout:g} is too short",
                "an interval is at least 0.2 s, a timeout at least 0.1 s; 0 takes that of [health]",
            )
        if check.kind != "dns" and check.query != DEFAULT_QUERY:
            raise ConfigError(f"{where}.query is for kind = 'dns' only", "leave it out")
        if check.kind != "http" and check.expect != DEFAULT_EXPECT:
            raise ConfigError(f"{where}.expect is for kind = 'http' only", "leave it out")
    known = list(dict.fromkeys([*built_in, *names]))
    chains = [("health", config.health.checks)]
    chains += [(f"uplink[{number}]", u.checks or ()) for number, u in enumerate(config.uplink, 1)]
    for of, chain in chains:
        for name in chain:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise ConfigError(
                    f"{file}: {of}.checks names {name!r}, which is no check",
                    f"did you mean {near[0]!r}?"
                    if near
                    else f"add a [[check]] of that name, or choose from {', '.join(known)}",
                )
    _check_quality(config.health, f"{file}: health.")
    for number, uplink in enumerate(config.uplink, 1):
        policy = config.health.of(uplink)
        if policy != config.health:
            _check_quality(policy, f"{file}: uplink[{number}].")
    hooks = [hook.name for hook in config.hook]
    for name in hooks:
        if hooks.count(name) > 1:
            raise ConfigError(f"{file}: two hooks are named {name!r}", "give each a name of its own")
    if config.health.hold_down > config.health.hold_down_max:
        raise ConfigError(
            f"{file}: health.hold_down = {config.health.hold_down:g} is more than"
            f" hold_down_max = {config.health.hold_down_max:g}",
            "make hold_down_max the larger one",
        )


def _check_quality(policy: HealthConfig, where: str) -> None:
    """ConfigError if an uplink could be degraded for a reason that has ceased to be one."""
    for key in ("loss", "rtt"):
        enter, leave = getattr(policy, f"degraded_{key}"), getattr(policy, f"leave_{key}")
        if leave > enter and not (key == "rtt" and enter == 0):
            raise ConfigError(
                f"{where}recovery_{key} = {leave:g} is more than degraded_{key} = {enter:g}",
                "an uplink recovers at a lower value than that at which it becomes degraded",
            )
