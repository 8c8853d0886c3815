"""Runs `netbond uninstall`, which takes away what `netbond install` has put on this box."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from netbond.cli import install_box
from netbond.cli.install_box import Hands, Place
from netbond.cli.run_command import run_command
from netbond.errors import EXIT_FAILURE, EXIT_OK, NetbondError, NotPermittedError
from netbond.installation.contents import BUFFER_BYTES, UNITS, USER
from netbond.installation.steps import NOTHING, Installed, Step, after_removing, removing

HELP = (
    "Take away what `netbond install` has put on this box: services, hooks, kernel settings."
    " The configuration, files that were changed and the counts of data plans stay, unless --purge."
)
KEPT_FOLDERS = ("/run/netbond", "/var/lib/netbond")  # the agent's


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--purge", action="store_true", help="also the configuration, what was counted, and the user"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def run(args: argparse.Namespace) -> int:
    """Uninstall; return the exit status."""
    if os.geteuid() != 0 and not args.dry_run:
        raise NotPermittedError(
            "uninstalling needs root", "sudo netbond uninstall; --dry-run shows what it does"
        )
    hands = Hands(Place(), run_command, dry=args.dry_run)
    return Uninstaller(hands).uninstall(purge=args.purge)


class Uninstaller:
    """Takes one installation away, and says what it does."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._place = hands.place

    def uninstall(self, *, purge: bool) -> int:
        """Do it; the exit status."""
        place = self._place
        before = place.installed()
        if before == NOTHING:
            raise NetbondError("nothing is installed here", "what was installed by hand: docs/install.md")
        roles = sorted({role for entry in before.files.values() for role in entry.roles})
        steps = removing(before, place.digests(before.files), roles, purge=purge)
        self._stop([UNITS[role] for role in roles])
        done, _, trouble = self._hands.carry_out(steps)
        after = after_removing(done, roles, before)
        if trouble is None:
            after = self._settings(after)
        if not self._hands.dry:
            after = self._folders(after)
            place.keep(after)
        if trouble is not None:
            raise trouble
        self._afterwards(steps, before, after, purge=purge)
        return EXIT_FAILURE if self._hands.failed else EXIT_OK

    def _stop(self, units: Sequence[str]) -> None:
        folders = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
        there = [unit for unit in units if any(self._place.at(f"{lib}/{unit}").exists() for lib in folders)]
        if there:
            self._hands.command("systemctl", "disable", "--now", *there)
        if UNITS["box"] in units:
            # What an agent leaves that was killed, or has on_stop = "keep".
            self._hands.command(sys.executable, "-m", "netbond", "run", "--restore")

    def _settings(self, after: Installed) -> Installed:
        """Give kernel settings their former values back, unless somebody has changed them since."""
        for name, value in sorted((after.sysctls or {}).items()):
            if self._place.sysctl(name) == BUFFER_BYTES:
                self._hands.say_done("set", "would set", f"{name} back to {value}")
                if not self._hands.dry:
                    self._place.set_sysctl(name, value)
        return replace(after, sysctls=None)

    def _folders(self, after: Installed) -> Installed:
        """Remove the folders that were made and are empty, the deepest first."""
        left = [
            folder
            for folder in sorted(after.folders, key=len, reverse=True)
            if not self._place.remove_folder(folder)
        ]
        return replace(after, folders=tuple(sorted(left)))

    def _afterwards(self, steps: Sequence[Step], before: Installed, after: Installed, *, purge: bool) -> None:
        if self._place.booted_with_systemd():
            self._hands.command("systemctl", "daemon-reload")
            if any("networkd.conf.d" in step.path for step in steps if step.action == "remove"):
                self._hands.command("systemctl", "try-restart", "systemd-networkd")
        if purge:
            if before.user_made:
                self._hands.command("userdel", USER)
            for folder in KEPT_FOLDERS:
                self._hands.say_done("removed", "would remove", folder)
                if not self._hands.dry:
                    self._place.remove_tree(folder)
        if not self._hands.dry:
            command = f"rm -r {sys.prefix}"
            if sys.prefix == install_box.PACKAGED:
                command = f"apt {'purge' if purge else 'remove'} netbond"
            elif sys.prefix == sys.base_prefix:
                command = "remove it as it was installed"
            self._hands.say(f"the program itself is still there: {command}")
