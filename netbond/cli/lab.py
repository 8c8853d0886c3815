"""Runs `netbond lab`: reads its options, calls netbond.lab, and prints the results."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from typing import Any

from netbond.errors import EXIT_FAILURE, EXIT_OK, UsageError
from netbond.lab import impair, payload
from netbond.lab.demo import NAME as DEMO_NAME
from netbond.lab.demo import Demo
from netbond.lab.lab import DEFAULT_NAME, Lab, names
from netbond.lab.remains import all_labs
from netbond.lab.stream import Stream

HELP = (
    "emulated modems in network namespaces: try netbond, and test against it, without hardware (needs root)"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(dest="lab_command", metavar="WHAT", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default=DEFAULT_NAME, help=f"which lab (default {DEFAULT_NAME})")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common])

    up = add("up", "build a lab: a box with modems, DHCP, NAT, radio links, an internet")
    up.add_argument("--modems", type=int, metavar="N", help="how many modems (default 4): usb0, usb1, ...")
    up.add_argument(
        "--names", metavar="A,B,...", help="the box's interfaces by name instead, like wlan0,usb0"
    )
    up.add_argument(
        "--twins",
        default="",
        metavar="A,B|N",
        help="these uplinks (or the last N) have the same subnet and address",
    )
    up.add_argument(
        "--link",
        action="append",
        default=[],
        metavar="UPLINK:WORD,...",
        help="a radio link's initial impairments, as in usb0:rate=6,delay=40 (default rate=20,delay=20)",
    )
    up.add_argument(
        "--lease", type=int, default=3600, metavar="S", help="DHCP lease time in seconds (default 3600)"
    )
    up.add_argument("--agent", action="store_true", help="start `netbond run` in the box")
    up.add_argument("--no-receiver", action="store_true", help="do not start `netbond recv` in the internet")
    up.add_argument("--no-wait", action="store_true", help="do not wait for the DHCP leases")
    up.add_argument("--foreground", action="store_true", help="keep running, and remove the lab on Ctrl-C")

    add("down", "remove a lab with all its parts, also after a crash")

    status = add("status", "show a lab's uplinks and radio links")
    status.add_argument("--json", action="store_true", help="as JSON")

    run = add("exec", "run a command in the box: netbond lab exec -- ip rule")
    run.add_argument(
        "--in",
        dest="where",
        default="box",
        metavar="WHERE",
        help="box (default), net, or an uplink for its modem",
    )
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="what to run")

    for name, text in (
        ("unplug", "unplug a modem: its interface disappears from the box"),
        ("plug", "plug a modem in again"),
    ):
        add(name, text).add_argument("uplink", help="such as usb1")

    stream = add("stream", "send a real SRT stream over the bond and count what arrives")
    stream.add_argument("--mbps", type=float, default=8.0, help="payload, Mbit/s (default 8)")
    stream.add_argument("--secs", type=float, default=30.0, help="duration, seconds (default 30)")
    stream.add_argument("--latency", type=int, default=1000, help="SRT latency, ms (default 1000)")
    stream.add_argument(
        "--sender",
        default="",
        metavar="CMD",
        help="another SRTLA sender instead of the agent's; {lport} {rhost} {rport} {ips} in CMD are replaced",
    )
    stream.add_argument(
        "--receiver",
        default="",
        metavar="CMD",
        help="another SRTLA receiver instead of `netbond recv`; {rport} {srtport} in CMD are replaced",
    )
    stream.add_argument("--json", action="store_true", help="the result as JSON")

    demo = commands.add_parser(
        "demo",
        help="send an SRT stream over four modems while one is unplugged",
        description="Send a stream over four modems, two of them with the same address. One modem is"
        " unplugged and plugged in again.",
    )
    demo.add_argument("--name", default=DEMO_NAME, help=f"the lab's name (default {DEMO_NAME})")
    demo.add_argument("--mbps", type=float, default=8.0, help="payload, Mbit/s (default 8)")
    demo.add_argument("--secs", type=float, default=30.0, help="duration of the stream, seconds (default 30)")
    demo.add_argument(
        "--pull", default="usb1", metavar="UPLINK", help="which modem is unplugged (default usb1)"
    )
    demo.add_argument("--plain", action="store_true", help="print lines instead of a live table")

    change = add("impair", "change a radio link while it runs")
    change.add_argument("uplink", help="such as usb1")
    change.add_argument("words", nargs="+", metavar="WORD", help=impair.HELP.replace("%", "%%"))


def run(args: argparse.Namespace) -> int:
    """Run one subcommand and return its exit status."""
    return {
        "up": _up,
        "down": _down,
        "status": _status,
        "exec": _exec,
        "unplug": _unplug,
        "plug": _plug,
        "impair": _impair,
        "stream": _stream,
        "demo": _demo,
    }[args.lab_command](args)


def _split(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _links(options: list[str]) -> dict[str, list[str]]:
    links = {}
    for option in options:
        device, colon, words = option.partition(":")
        if not colon:
            raise UsageError(f"--link {option}: no colon", "write --link usb0:rate=6,delay=40")
        links[device] = _split(words)
    return links


def lab_from(args: argparse.Namespace) -> Lab:
    """Make the lab that the options of `up` describe."""
    if args.names and args.modems is not None:
        raise UsageError("--names and --modems exclude each other", "give only one of them")
    devices = _split(args.names) if args.names else names(4 if args.modems is None else args.modems)
    twins = _split(args.twins)
    if len(twins) == 1 and twins[0].isdigit():
        count = int(twins[0])
        if not 2 <= count <= len(devices):
            raise UsageError(
                f"--twins {count} is not possible", f"choose from 2 to {len(devices)}, or give names"
            )
        twins = devices[-count:]
    return Lab(
        args.name,
        len(devices),
        devices=devices,
        twins=twins,
        links=_links(args.link),
        lease_seconds=args.lease,
        receiver=not args.no_receiver,
        agent=args.agent,
    )


def _up(args: argparse.Namespace) -> int:
    lab = lab_from(args)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _up_until_told(lab, args)
    except KeyboardInterrupt:
        if lab.made:
            lab.down()
        raise


def _up_until_told(lab: Lab, args: argparse.Namespace) -> int:
    lab.up(wait=not args.no_wait)
    for warning in lab.warnings:
        print(f"netbond lab: {warning}", file=sys.stderr)
    option = "" if lab.name == DEFAULT_NAME else f" --name {lab.name}"
    print(f"lab {lab.name!r} is up: {', '.join(m.device for m in lab.topology.modems)}")
    print(f"try: netbond lab exec{option} -- ip rule")
    sys.stdout.flush()
    while args.foreground and lab.state_dir.exists():  # until Ctrl-C, or `netbond lab down` elsewhere
        time.sleep(0.2)
    return EXIT_OK


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _down(args: argparse.Namespace) -> int:
    Lab(args.name).down()
    return EXIT_OK


def _exec(args: argparse.Namespace) -> int:
    lab = Lab.attach(args.name)
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not argv:
        raise UsageError("nothing to run", "netbond lab exec -- COMMAND ...")
    command = lab.exec_command(lab.namespace(args.where), argv)
    sys.stdout.flush()
    os.execvpe(command[0], command, {**os.environ, **lab.environment})  # noqa: S606 - the user's own command


def _unplug(args: argparse.Namespace) -> int:
    Lab.attach(args.name).unplug(args.uplink)
    return EXIT_OK


def _plug(args: argparse.Namespace) -> int:
    Lab.attach(args.name).plug(args.uplink)
    return EXIT_OK


def _impair(args: argparse.Namespace) -> int:
    Lab.attach(args.name).impair(args.uplink, *args.words)
    return EXIT_OK


def _stream(args: argparse.Namespace) -> int:
    stream = Stream(Lab.attach(args.name), args.mbps, args.secs, args.latency, args.sender, args.receiver)
    signal.signal(signal.SIGTERM, _interrupt)
    result = stream.run()
    print(json.dumps(asdict(result)) if args.json else payload.text(result))
    return EXIT_FAILURE if result.lost or result.trouble else EXIT_OK


def _demo(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    demo = Demo(
        args.name, mbps=args.mbps, duration_s=args.secs, pulled=args.pull, live=False if args.plain else None
    )
    return EXIT_OK if demo.run() else EXIT_FAILURE


# --- status ------------------------------------------------------------------------------------------------


def _status(args: argparse.Namespace) -> int:
    state = Lab.attach(args.name).status()
    if args.json:
        print(json.dumps(state, indent=2))
    else:
        print_status(state)
        if others := [name for name in all_labs() if name != args.name]:
            print(f"other labs: {', '.join(others)}")
    return EXIT_OK if all(process["alive"] for process in state["processes"].values()) else EXIT_FAILURE


def print_status(state: dict[str, Any]) -> None:
    """Print a lab's status for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (
        "uplink",
        "socket",
        "address",
        "modem",
        "up",
        "down",
        "sent",
        "lost",
        "dropped",
    ):
        table.add_column(heading, no_wrap=True)
    for uplink in state["uplinks"]:
        up, down = uplink["radio"]["up"], uplink["radio"]["down"]
        socket = "unplugged" if not uplink["plugged"] else "in" if uplink["carrier"] else "no carrier"
        table.add_row(
            uplink["device"],
            socket,
            ", ".join(uplink["addresses"]) or "-",
            uplink["gateway"] + (" twin" if uplink["twin"] else ""),
            " ".join(up["words"]) or "perfect",
            "same" if down["words"] == up["words"] else " ".join(down["words"]) or "perfect",
            f"{up['packets']}/{down['packets']}",
            f"{up['lost']}/{down['lost']}",
            f"{up['dropped']}/{down['dropped']}",
        )
    # Do not truncate lines in a pipe: scripts search them.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(table)
    for key, process in state["processes"].items():
        if not process["alive"]:
            console.print(f"{key} has ended; see {state['logs']}/{key}.log", style="red")
