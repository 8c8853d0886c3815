"""Lists the files that an installation consists of, for a box and for a receiver. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from netbond.config.values import HostPort

Role = Literal["box", "receiver"]
PROGRAM = "/opt/netbond/bin/netbond"  # where the files in contrib/ say that the program is
USER = "netbond"  # whom engines and receivers run as
UNITS: Mapping[Role, str] = {"box": "netbond.service", "receiver": "netbond-recv.service"}
RECEIVER_PORT = 5000
RECEIVER_SRT = HostPort("127.0.0.1", 4001)
ENCODER_PORT = 6000
BUFFER_BYTES = 4 * 1024 * 1024  # a receiver's socket asks for this (docs/recv.md)
CONFIG = "/etc/netbond/netbond.toml"
RECEIVER_OPTIONS = "/etc/default/netbond-recv"
SYSCTL_FILE = "/etc/sysctl.d/60-netbond-recv.conf"
TMPFILES_FILE = "/etc/tmpfiles.d/netbond.conf"
# The agent makes these where they are missing (Debian 13), and files with the names of tables in them.
NAMES_FOLDERS = ("/etc/iproute2", "/etc/iproute2/rt_protos.d", "/etc/iproute2/rt_tables.d")
SYSCTLS = ("net.core.rmem_max", "net.core.wmem_max")


@dataclass(frozen=True, slots=True)
class DhcpHook:
    """How a DHCP client tells netbond of its leases."""

    client: str  # its program, and its name in Lease.source
    folders: tuple[str, ...]  # where its hooks may lie; ours goes to the first that is there
    name: str  # of the file
    template: str  # its place in contrib/
    mode: int


HOOKS = (
    DhcpHook("dhclient", ("/etc/dhcp/dhclient-exit-hooks.d",), "netbond", "dhclient-hooks/netbond", 0o644),
    DhcpHook(
        "NetworkManager",
        ("/etc/NetworkManager/dispatcher.d", "/usr/lib/NetworkManager/dispatcher.d"),
        "90-netbond",
        "nm-dispatcher/netbond",
        0o755,
    ),
    DhcpHook(
        "dhcpcd",
        ("/usr/lib/dhcpcd/dhcpcd-hooks", "/lib/dhcpcd/dhcpcd-hooks", "/usr/libexec/dhcpcd-hooks"),
        "90-netbond",
        "dhcpcd-hooks/90-netbond",
        0o644,
    ),
)
NETWORKD = """\
# netbond: systemd-networkd deletes rules and routes that it does not know, unless it is told not to.
[Network]
ManageForeignRoutingPolicyRules=no
ManageForeignRoutes=no
"""
DHCPCD = """\
# netbond: Debian's unit lets dhcpcd and its hooks write to few places. Leases are kept in /run/netbond.
[Service]
ReadWritePaths=-/run/netbond
"""
TMPFILES = """\
# netbond: dhcpcd may write leases into this folder, if it is there before dhcpcd starts.
d /run/netbond 0755 root root
# What is old in /tmp is deleted (Debian 13: after 10 days); senders and scripts read these at any age.
x /tmp/srtla_ips
x /tmp/srtla-group-*
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants to have."""

    role: Role
    receiver: HostPort | None = None  # box: the server that streams are sent to
    port: int = RECEIVER_PORT  # receiver: the UDP port for senders
    srt: HostPort = RECEIVER_SRT  # receiver: the SRT server


@dataclass(frozen=True, slots=True)
class Box:
    """What is there already: `hooks` has the folder of hooks by DHCP client."""

    program: str
    hooks: Mapping[str, str]
    networkd: bool = False  # systemd-networkd manages interfaces here
    dhcpcd_unit: bool = False  # dhcpcd is a service, which Debian confines
    linked: bool = False  # a shell finds the program by its name without a link of ours
    packaged: bool = False  # the system's package manager has put units, hooks and the command there
    sysctls: Mapping[str, int] | None = None  # values now, of SYSCTLS


@dataclass(frozen=True, slots=True)
class Item:
    """A file, or a link to `text`, of the installation. `config`: its owner is expected to edit it."""

    path: str
    text: str
    mode: int
    about: str
    config: bool = False
    link: bool = False


def contents(
    asked: Asked, box: Box, templates: Mapping[str, str], shared: Mapping[str, str]
) -> tuple[Item, ...]:
    """All items of this role.

    `templates` has the files of contrib/ by their names there, `shared` the contents of files by their places
    below /usr/local/share: completion and the manual page.
    """
    if box.packaged:
        return tuple(_of_packaged(asked, box))
    items = (_of_box if asked.role == "box" else _of_receiver)(asked, box, templates)
    return (*_common(box), *(_shared(*each) for each in shared.items()), *items)


def _of_packaged(asked: Asked, box: Box) -> Iterator[Item]:
    """What a package leaves to its user: configuration."""
    if asked.role == "box":
        yield _box_config(asked)
    else:
        yield from _receiver_settings(asked, box)


def _box_config(asked: Asked) -> Item:
    return Item(CONFIG, box_config(asked.receiver), 0o644, "the configuration", config=True)


def _shared(place: str, text: str) -> Item:
    about = (
        "the manual page" if "/man" in place else f"completion for {place.partition('/')[0].split('-')[0]}"
    )
    return Item(f"/usr/local/share/{place}", text, 0o644, about)


def needed_templates(asked: Asked, box: Box) -> tuple[str, ...]:
    """The files of contrib/ that contents() reads."""
    if box.packaged:
        return ()
    unit = f"systemd/{UNITS[asked.role]}"
    hooks = (hook.template for hook in HOOKS if hook.client in box.hooks)
    return (unit, *hooks) if asked.role == "box" else (unit,)


def _of_box(asked: Asked, box: Box, templates: Mapping[str, str]) -> Iterator[Item]:
    defaults = f"# Read by netbond.service and by the DHCP hooks.\nNETBOND={box.program}\n"
    yield Item("/etc/default/netbond", defaults, 0o644, "where hooks find the program")
    yield _box_config(asked)
    for hook in HOOKS:
        if hook.client in box.hooks:
            path = f"{box.hooks[hook.client]}/{hook.name}"
            yield Item(path, templates[hook.template], hook.mode, f"the hook of {hook.client}")
    if box.dhcpcd_unit:
        path = "/etc/systemd/system/dhcpcd.service.d/netbond.conf"
        yield Item(path, DHCPCD, 0o644, "dhcpcd's hook may keep its leases")
    yield Item(TMPFILES_FILE, TMPFILES, 0o644, "the address list in /tmp is not deleted when it is old")
    if box.networkd:
        path = "/etc/systemd/networkd.conf.d/netbond.conf"
        yield Item(path, NETWORKD, 0o644, "systemd-networkd leaves netbond's routes alone")
    yield _unit("box", box, templates)


def _of_receiver(asked: Asked, box: Box, templates: Mapping[str, str]) -> Iterator[Item]:
    yield from _receiver_settings(asked, box)
    yield _unit("receiver", box, templates)


def _receiver_settings(asked: Asked, box: Box) -> Iterator[Item]:
    options = f"--srtla-port {asked.port} --srt {asked.srt}"
    text = f"# Options of `netbond recv`, for netbond-recv.service (docs/recv.md).\nOPTIONS={options}\n"
    yield Item(RECEIVER_OPTIONS, text, 0o644, f"the receiver's options, {options}", config=True)
    low = [name for name, value in sorted((box.sysctls or {}).items()) if value < BUFFER_BYTES]
    if low:
        lines = "".join(f"{name} = {BUFFER_BYTES}\n" for name in low)
        text = f"# netbond: room for the bursts of many links (docs/recv.md).\n{lines}"
        yield Item(SYSCTL_FILE, text, 0o644, "larger socket buffers")


def _common(box: Box) -> Iterator[Item]:
    if not box.linked:
        yield Item("/usr/local/bin/netbond", box.program, 0o777, "the command", link=True)


def _unit(role: Role, box: Box, templates: Mapping[str, str]) -> Item:
    text = templates[f"systemd/{UNITS[role]}"].replace(PROGRAM, box.program)
    return Item(f"/etc/systemd/system/{UNITS[role]}", text, 0o644, "the service")


def box_config(receiver: HostPort | None) -> str:
    """The configuration of a new box: what was asked for, and no more."""
    comment = "" if receiver else "#"
    return (
        "# netbond works without a line in this file: each interface with an address and a gateway is an\n"
        "# uplink. `netbond config example` prints every key with its default. After a change:\n"
        "# netbond config check; systemctl reload netbond\n\n"
        "# One SRT stream over all uplinks: the encoder (SRT caller) sends to `listen` on this box.\n"
        f"{comment}[[sender]]\n"
        f'{comment}listen = "127.0.0.1:{ENCODER_PORT}"\n'
        f'{comment}receiver = "{receiver or "bond.example.org:5000"}"\n'
    )


def usable_program(program: str) -> bool:
    """Whether this path can stand in a unit and in a shell's file without being quoted."""
    return re.fullmatch(r"/[A-Za-z0-9_./+-]+", program) is not None
