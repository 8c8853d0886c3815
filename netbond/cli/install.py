"""Runs `netbond install`, which makes netbond a service: unit, user, DHCP hooks, configuration."""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Sequence
from dataclasses import replace

from netbond import __version__
from netbond.cli import install_box
from netbond.cli.engine_options import host_port, port_number
from netbond.cli.install_box import Hands, Place
from netbond.cli.run_command import run_command
from netbond.cli.words import generated
from netbond.errors import EXIT_FAILURE, EXIT_OK, NotPermittedError, UnavailableError, UsageError
from netbond.installation.contents import (
    BUFFER_BYTES,
    CONFIG,
    ENCODER_PORT,
    NAMES_FOLDERS,
    RECEIVER_OPTIONS,
    RECEIVER_PORT,
    RECEIVER_SRT,
    SYSCTL_FILE,
    TMPFILES_FILE,
    UNITS,
    USER,
    Asked,
    Item,
    contents,
    needed_templates,
    usable_program,
)
from netbond.installation.steps import Installed, Step, after_installing, installing
from netbond.system.text import printable

HELP = (
    "Make netbond a service of this box: unit, user, DHCP hooks, a short configuration. It can be repeated,"
    " and never changes a file that its owner has changed; `netbond uninstall` takes it all away."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--sender", metavar="HOST:PORT", help="bond the SRT stream of this box to the receiver there"
    )
    parser.add_argument(
        "--receiver", action="store_true", help="instead of the agent: a receiver, as a service without root"
    )
    parser.add_argument(
        "--port", metavar="N", help=f"with --receiver: UDP port for senders ({RECEIVER_PORT})"
    )
    parser.add_argument(
        "--srt", metavar="HOST:PORT", help=f"with --receiver: the SRT server ({RECEIVER_SRT})"
    )
    parser.add_argument(
        "--no-start", action="store_true", help="neither start the service nor let it start at boot"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def run(args: argparse.Namespace) -> int:
    """Install; return the exit status."""
    asked = _asked(args)
    if os.geteuid() != 0 and not args.dry_run:
        raise NotPermittedError("installing needs root", "sudo netbond install; --dry-run shows what it does")
    program = install_box.program()
    if not usable_program(program):
        raise UnavailableError(
            f"{printable(program)}: a unit cannot name this path",
            "install netbond below /opt: docs/install.md",
        )
    configured = any(value is not None for value in (args.sender, args.port, args.srt))
    hands = Hands(Place(), run_command, dry=args.dry_run)
    return Installer(hands, asked, program).install(configured=configured, start=not args.no_start)


def _asked(args: argparse.Namespace) -> Asked:
    if args.receiver:
        if args.sender is not None:
            raise UsageError(
                "--receiver is for the server, --sender for the box",
                "for a machine that is both, run netbond install twice",
            )
        return Asked(
            "receiver",
            port=RECEIVER_PORT if args.port is None else port_number(args.port, "--port"),
            srt=RECEIVER_SRT if args.srt is None else host_port(args.srt, "--srt"),
        )
    for option in ("port", "srt"):
        if getattr(args, option) is not None:
            raise UsageError(f"--{option} is for a receiver", "add --receiver")
    return Asked("box", None if args.sender is None else host_port(args.sender, "--sender"))


class Installer:
    """Carries out one installation, and says what it does."""

    def __init__(self, hands: Hands, asked: Asked, program: str) -> None:
        self._hands = hands
        self._place = hands.place
        self._asked = asked
        self._program = program

    def install(self, *, configured: bool, start: bool) -> int:
        """Do it; the exit status."""
        place, asked = self._place, self._asked
        box = place.look(self._program)
        before = place.installed()
        templates = install_box.templates(needed_templates(asked, box))
        items = contents(asked, box, templates, generated())
        found = place.digests(item.path for item in items)
        steps = installing(items, found, before, configure=configured)
        unmade = place.missing(NAMES_FOLDERS) if asked.role == "box" else []
        done, made, trouble = self._hands.carry_out(steps)
        self._tell(steps, configured)
        after = after_installing(done, asked.role, before, [*made, *unmade])
        written = {step.path for step in steps if step.action == "write"}
        if trouble is None:
            after = self._user(after)
            after = replace(self._buffers(after, written), release=__version__)
        if not self._hands.dry:
            place.keep(after)
        if trouble is not None:
            raise trouble
        changed = bool(written) or before.release != __version__
        self._service(written, start=start, verb="restart" if changed else "start")
        return EXIT_FAILURE if self._hands.failed else EXIT_OK

    def _tell(self, steps: Sequence[Step], configured: bool) -> None:
        """Say what the owner of a configuration that was kept has to add, or that nothing was to do."""
        for step in steps:
            if step.action == "keep" and step.item is not None and step.item.config and configured:
                self._say_what_to_add(step.item)
        if all(step.action == "same" for step in steps):
            self._hands.say("all files are as they should be")

    def _say_what_to_add(self, item: Item) -> None:
        self._hands.failed = True
        self._hands.say(f"add to {item.path} yourself:")
        for line in item.text.splitlines():
            if line and not line.startswith("#"):
                self._hands.say(f"    {line}")

    def _user(self, after: Installed) -> Installed:
        if self._place.has_user():
            return after
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        if self._hands.command(*command, "--shell", "/usr/sbin/nologin", USER):
            return replace(after, user_made=True)
        return after

    def _buffers(self, after: Installed, written: set[str]) -> Installed:
        """Set what the new file in sysctl.d will set at the next boot."""
        if SYSCTL_FILE not in written:
            return after
        changed = dict(after.sysctls or {})
        for name, value in (self._place.look(self._program).sysctls or {}).items():
            if value >= BUFFER_BYTES:
                continue
            if not self._hands.dry:
                try:
                    self._place.set_sysctl(name, BUFFER_BYTES)
                except OSError as error:
                    self._hands.say(f"{name}: {error.strerror}; it is set at the next boot")
                    continue
                changed.setdefault(name, value)
            self._hands.say_done("set", "would set", f"{name} to {BUFFER_BYTES} (it was {value})")
        return replace(after, sysctls=changed)

    def _service(self, written: set[str], *, start: bool, verb: str) -> None:
        unit = UNITS[self._asked.role]
        if not start:
            self._hands.say(f"not started: systemctl enable --now {unit}")
            return
        booted = self._place.booted_with_systemd()
        if booted:
            self._hands.command("systemctl", "daemon-reload")
        if self._asked.role == "box" and not self._hands.dry:
            wrong = self._hands.run([self._program, "config", "check", str(self._place.at(CONFIG))])
            if wrong:
                self._hands.failed = True
                self._hands.say(f"not started, because the configuration is wrong: {wrong}")
                return
        if not self._place.has_program("systemctl"):
            command = "run" if self._asked.role == "box" else "recv"
            self._hands.say(f"there is no systemd: let your system start {self._program} {command}")
            return
        if not self._hands.command("systemctl", "enable", unit):
            return
        if not booted:
            self._hands.say(f"systemd does not run here: {unit} starts at the next boot")
            return
        if any("networkd.conf.d" in path for path in written):
            self._hands.command("systemctl", "try-restart", "systemd-networkd")
        if any("dhcpcd.service.d" in path for path in written):
            self._hands.command("systemd-tmpfiles", "--create", TMPFILES_FILE)
            self._hands.say("dhcpcd's hook can keep leases after: systemctl restart dhcpcd")
        self._take_leases(written)
        if self._hands.command("systemctl", verb, unit):
            self._say_what_is_next(written)

    def _take_leases(self, written: set[str]) -> None:
        """Tell netbond of the leases that dhclient holds: its hook hears only of the next ones.

        dhclient-script sets a default route for one interface only, so the others' gateways are known to
        nobody else.
        """
        if not any("dhclient" in path or path == CONFIG for path in written):
            return
        for lease in self._place.dhclient_leases(datetime.datetime.now(datetime.UTC)):
            self._hands.say_done("took over", "would take over", f"dhclient's lease of {lease['interface']}")
            words = [f"{key}={value}" for key, value in lease.items()]
            if not self._hands.dry and (
                wrong := self._hands.run(["env", *words, self._program, "hook", "dhclient"])
            ):
                self._hands.say(f"{lease['interface']}: {wrong}; its next lease will be known")

    def _say_what_is_next(self, written: set[str]) -> None:
        if self._asked.role == "receiver":
            if RECEIVER_OPTIONS in written:
                self._hands.say(f"open UDP port {self._asked.port} in the firewall, for senders")
                self._hands.say(f"streams go to the SRT server at {self._asked.srt}, which must listen there")
            else:
                self._hands.say("its ports are in /etc/default/netbond-recv")
            self._hands.say("see: systemctl status netbond-recv; journalctl -u netbond-recv")
            return
        if self._asked.receiver is not None and CONFIG in written:
            self._hands.say(f"point the SRT encoder (caller) at srt://127.0.0.1:{ENCODER_PORT}")
        self._hands.say("see: netbond status; netbond doctor")
