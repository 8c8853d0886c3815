"""Runs `netbond rehearse`, which measures before a stream goes live what each uplink carries."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from netbond.cli.engine_options import host_port
from netbond.config import values
from netbond.config.load import config_argument, load
from netbond.config.schema import Config, SenderConfig
from netbond.config.values import HostPort
from netbond.engines.user import engine_user
from netbond.errors import (
    EXIT_OK,
    NetbondError,
    NotRunningError,
    UnavailableError,
    UsageError,
)
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.process import linklist, privileges, rehearsing
from netbond.srtla.registration import psk
from netbond.srtla.rehearsal import NOT_ACKNOWLEDGED, LinkResult, Rehearsal, RehearsalResult, not_measured
from netbond.srtla.sender import NO_ANSWER
from netbond.srtla.statistics import SenderStatistics
from netbond.status.schema import Snapshot
from netbond.system.text import printable
from netbond.system.typed_json import to_json

HELP = (
    "Measure what each uplink, and all of them together, carry to an SRTLA receiver now, before a stream goes"
    " live."
)

MOST = "20MB"
LEAST_BYTES = 1_000_000  # less shows nothing
HINTS = {
    NO_ANSWER: "check that an SRTLA receiver listens there, and that UDP passes",
    "nothing listens at the receiver's port": "start the receiver, or name its port",
    NOT_ACKNOWLEDGED: "is its SRT server running? docs/rehearse.md has the receivers that cannot be asked",
}
STREAMING_BPS = 100_000  # of a sender's links together; keepalives are far below


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument(
        "receiver",
        nargs="?",
        metavar="RECEIVER",
        help="HOST:PORT of the SRTLA receiver (default: that of the first [[sender]])",
    )
    parser.add_argument(
        "--max-data",
        default=MOST,
        metavar="AMOUNT",
        help=f"how much may be sent and received, over all links, 1MB or more ({MOST})",
    )
    parser.add_argument(
        "--links", type=Path, metavar="FILE", help="a list of links as for 'netbond send' (default: uplinks)"
    )
    parser.add_argument("--metered", action="store_true", help="measure metered links, too")
    parser.add_argument(
        "--force", action="store_true", help="also while a sender of the agent carries a stream"
    )
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="the key that the receiver wants (default: that of the [[sender]] with this receiver)",
    )
    parser.add_argument("--json", action="store_true", help="for programs; docs/rehearse.md has the keys")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0 if a link was measured. NetbondError says why none was."""
    most = _amount(args.max_data)
    config = load(args.config)
    receiver, sender = _receiver(args.receiver, config)
    key, require_key = _key(args.key_file, sender)
    specs = _links(args.links, config)
    left_out = [not_measured(spec, why) for spec in specs if (why := why_not(spec, metered=args.metered))]
    chosen = [spec for spec in specs if not why_not(spec, metered=args.metered)]
    if not chosen:
        raise UnavailableError(
            "; ".join(f"{each.label}: {each.reason}" for each in left_out) or "there are no uplinks",
            "--metered measures these, too" if left_out else "`netbond status --all` says why",
        )
    if not args.force:
        _refuse_beside_a_stream(config)
    endpoints = rehearsing.resolve(receiver)
    width = max(len(printable(spec.label)) for spec in specs)

    def tell(result: LinkResult) -> None:
        if not args.json:
            print(line(result, width), flush=True)

    for each in left_out:
        tell(each)
    now = time.monotonic()
    rehearsal = Rehearsal(os.urandom, chosen, most, now, key=key, require_key=require_key)
    rehearsing.run(rehearsal, endpoints, lambda: _confine(engine_user(config.agent.user)[0]), tell)
    result = rehearsal.result(str(receiver))
    if args.json:
        print(json.dumps(to_json(_in_order(result, specs, left_out)), indent=2))
    else:
        for each in result.links:
            if each.capacity_bits_per_second is None:
                tell(each)
        for text in summary(result, width):
            print(text)
    if result.capacity_bits_per_second is None:
        raise failure(result, rehearsal.trouble)
    return EXIT_OK


def _amount(text: str) -> int:
    try:
        amount: int = values.byte_count(text)
    except values.InvalidValueError as error:
        raise UsageError(f"--max-data {text!r} is not valid", f"expected {error}") from None
    if amount < LEAST_BYTES:
        raise UsageError(f"--max-data {text!r} is too little", "1MB is the least that shows anything")
    return amount


def _receiver(text: str | None, config: Config) -> tuple[HostPort, SenderConfig | None]:
    """The receiver, and the [[sender]] that leads to it, if there is one."""
    if text is not None:
        receiver = host_port(text, "RECEIVER")
        return receiver, next((each for each in config.sender if receiver in each.receivers), None)
    if not config.sender:
        raise UsageError("there is no [[sender]] with a receiver", "name one: netbond rehearse HOST:PORT")
    return config.sender[0].receivers[0], config.sender[0]


def _key(file: Path | None, sender: SenderConfig | None) -> tuple[bytes | None, bool]:
    if file is not None:
        return psk.read(file), False
    if sender is None or sender.key_file is None:
        return None, False
    return psk.read(sender.key_file), sender.require_key


def _links(file: Path | None, config: Config) -> Sequence[LinkSpec]:
    """The links: those in the file, or those that a sender of the agent has, or would have."""
    if file is not None:
        specs, complaints = linklist.read(file)
        if not specs:
            raise UnavailableError("; ".join(complaints) or f"{file} has no links", "see docs/send.md")
        for complaint in complaints:
            print(printable(complaint, 4000), file=sys.stderr)
        found: dict[tuple[str, str], LinkSpec] = {}
        for spec in specs:
            found.setdefault(spec.key, spec)
        return tuple(found.values())
    from netbond.desired import desired
    from netbond.outputs.engines import link_specs
    from netbond.sources.once import gather

    return link_specs(desired(gather(config), config).uplinks)


def why_not(spec: LinkSpec, *, metered: bool) -> str:
    """Why this link is not measured; "" if it is. `metered`: such links are measured, too."""
    if not spec.enabled:
        return "idle: carries no stream"
    return "metered" if spec.metered and not metered else ""


def _refuse_beside_a_stream(config: Config) -> None:
    """NetbondError if a sender of the agent carries a stream, which the measurement would disturb."""
    from netbond.cli.status import ask, understood

    try:
        snapshot = understood(ask(config.agent.control_socket))
    except (NotRunningError, UnavailableError):
        return
    name = streaming(snapshot)
    if name is not None:
        raise NetbondError(
            f"{name} carries a stream, which would be disturbed", "--force does it all the same"
        )


def streaming(snapshot: Snapshot) -> str | None:
    """The name of a sender that carries a stream now; None: there is none."""
    for engine in snapshot.engines:
        stats = engine.stats
        links = stats.links if isinstance(stats, SenderStatistics) else ()
        if sum(link.bitrate_bps for link in links) >= STREAMING_BPS:
            return engine.name
    return None


def _confine(user: str) -> None:
    """Give up root, as an engine of the agent does."""
    if os.geteuid() == 0:
        privileges.drop(user)
    else:
        privileges.shed()


# --- what is printed --------------------------------------------------------------------------------------


def line(result: LinkResult, width: int) -> str:
    """One link's result; `width`: of the column with the names."""
    name = f"{printable(result.label):<{width}}"
    if result.capacity_bits_per_second is None:
        return f"{name}  not measured: {printable(result.reason)}"
    amount = rate(result.capacity_bits_per_second, at_least=result.at_least)
    full = "" if result.full_rtt_ms is None else f", {result.full_rtt_ms} ms when full"
    return f"{name}  {amount:>18}  round trip {result.rtt_ms} ms{full}, {result.loss_pct} % lost"


def summary(result: RehearsalResult, width: int) -> Iterable[str]:
    """The lines that follow the links'."""
    if result.capacity_bits_per_second is not None and result.suggested_bits_per_second is not None:
        amount = rate(result.capacity_bits_per_second, at_least=result.at_least)
        most = rate(result.suggested_bits_per_second)
        yield f"{'all':<{width}}  {amount:>18}  send at most {most} at a latency of 1 s"
    yield f"{result.used_bytes / 1e6:.1f} MB used of {result.max_bytes / 1e6:.1f} MB"


def rate(bits_per_second: int, *, at_least: bool = False) -> str:
    """A rate for people: "5.81 Mbit/s"."""
    mbps = bits_per_second / 1e6
    return f"{'at least ' if at_least else ''}{mbps:.{2 if mbps < 10 else 1}f} Mbit/s"


def _in_order(
    result: RehearsalResult, specs: Sequence[LinkSpec], left_out: Sequence[LinkResult]
) -> RehearsalResult:
    """The result with the links that were left out, in the order of the list."""
    found = {(each.address, each.device): each for each in (*result.links, *left_out)}
    return replace(result, links=tuple(found[spec.key] for spec in specs))


def failure(result: RehearsalResult, trouble: str) -> NetbondError:
    """Why no link was measured. `trouble`: what the receiver said."""
    reasons = list(dict.fromkeys(each.reason for each in result.links))
    if trouble:
        hint = "name it: --key-file" if "key" in trouble else "it may be full; try again later"
        return NetbondError(f"{result.receiver}: {trouble}", hint)
    what = (
        reasons[0]
        if len(reasons) == 1
        else "; ".join(f"{each.label}: {each.reason}" for each in result.links)
    )
    return UnavailableError(f"{result.receiver}: {what}", HINTS.get(reasons[0], ""))
