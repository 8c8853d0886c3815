"""Writes the files that the box sees instead of the host's: its part of /etc, and netbond's configuration.

They are in /etc/netns/NAME-box. `ip netns exec` mounts each entry of that folder over the one of the same
name in /etc.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import netbond
from netbond.lab import netns, topology

HOOK = Path("contrib", "dhclient-hooks", "netbond")
UDHCPC_HOOK = Path("contrib", "udhcpc", "netbond")
IPROUTE2 = Path("/etc/iproute2")

DHCLIENT_CONF = """\
# Ask a modem that was just plugged in at once and often: nothing else shares its cable.
request subnet-mask, broadcast-address, routers, domain-name-servers;
timeout 10;
retry 1;
initial-interval 1;
backoff-cutoff 2;
reboot 1;
"""

# dhclient-script would set the host's resolver and hostname from the leases; /run is shared with the host,
# too.
ENTER_HOOK = """\
make_resolv_conf() { :; }
set_hostname() { :; }
"""


# What busybox's DHCP client runs. The distribution's own script would set the host's resolver.
UDHCPC_SCRIPT = """\
#!/bin/sh
case $1 in
    deconfig)
        ip -4 address flush dev "$interface"
        ;;
    bound | renew)
        ip -4 address replace "$ip/$mask" broadcast "${{broadcast:-+}}" dev "$interface"
        # As dhclient-script: the first interface has the default route.
        [ -z "$router" ] || ip -4 route add default via "${{router%% *}}" dev "$interface" 2>/dev/null
        ;;
esac
{hook}
[ "$1" != bound ] || printf '\\nbound to %s\\n' "$ip"
"""

# Where netbond's hooks may be: in the checkout that this package runs from, or in an installation.
HOOK_PLACES = (Path(netbond.__file__).resolve().parent.parent, Path(sys.prefix, "share", "netbond"))


def find_hook(hook: Path = HOOK) -> Path | None:
    """Return the path of netbond's hook for dhclient, or for another client; None if it is not installed."""
    return next((place / hook for place in HOOK_PLACES if (place / hook).is_file()), None)


def udhcpc_script(state_dir: Path) -> Path:
    """Return the path of the script that busybox's DHCP client runs."""
    return state_dir / "bin" / "udhcpc.script"


def config_text(lab: topology.Topology, state_dir: Path, sender: bool) -> str:
    """Return the text of the box's netbond configuration; with `sender`, it has an SRTLA sender."""
    text = f"""\
# Configuration of the box of lab {lab.name!r}, written by `netbond lab up`.
[agent]
state_dir = "{state_dir}/box"
data_dir = "{state_dir}/box/data"
control_socket = "{state_dir}/box/control.sock"
ip_list = "{state_dir}/box/srtla_ips"
iproute2_dir = "{iproute2_dir(lab, state_dir)}"
metrics = "127.0.0.1:10469"
"""
    if sender:
        text += f"""
[[sender]]
listen = "127.0.0.1:{topology.SENDER_PORT}"
receiver = "{topology.RECEIVER_NAME}:{topology.RECEIVER_PORT}"
"""
    return text


def warnings() -> list[str]:
    """Return what this host lacks, and what the box lacks therefore; the lab can do without it."""
    found = []
    if find_hook() is None:
        found.append(
            "netbond's DHCP hook is not found (searched: "
            + ", ".join(map(str, HOOK_PLACES))
            + "): leases will not reach netbond; run from a checkout that has contrib/"
        )
    if not IPROUTE2.is_dir():
        found.append(
            f"there is no {IPROUTE2}: `ip` in the box shows tables by number; to mend: mkdir {IPROUTE2}"
        )
    return found


def iproute2_dir(lab: topology.Topology, state_dir: Path) -> Path:
    """Return the folder of the box's table names; it is mounted over /etc/iproute2 if the host has that."""
    if IPROUTE2.is_dir():
        return netns.PRIVATE_DIR / lab.box / "iproute2"
    return state_dir / "box" / "iproute2"


def write(lab: topology.Topology, state_dir: Path, sender: bool) -> None:
    """Write all files of the box: its configuration, its /etc, and the command `netbond` for its hooks."""
    box = state_dir / "box"
    box.mkdir(mode=0o700)
    (state_dir / "leases").mkdir(mode=0o700)
    config = state_dir / "netbond.toml"
    config.write_text(config_text(lab, state_dir, sender))

    commands = state_dir / "bin"
    commands.mkdir()
    command = commands / "netbond"
    # -P: do not import modules from the current folder, to which anybody may have written
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m netbond "$@"\n')
    command.chmod(0o755)

    private = netns.PRIVATE_DIR / lab.box
    private.mkdir(parents=True)
    (private / "hosts").write_text(
        f"127.0.0.1 localhost\n::1 localhost\n{topology.RECEIVER} {topology.RECEIVER_NAME}\n"
    )
    # Nothing listens there, so the kernel refuses at once: an unknown name fails without delay.
    (private / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    names = iproute2_dir(lab, state_dir)
    if names.is_relative_to(private):
        shutil.copytree(IPROUTE2, names, symlinks=True)
    else:
        names.mkdir()

    dhcp = private / "dhcp"
    for folder in ("dhclient-enter-hooks.d", "dhclient-exit-hooks.d"):
        (dhcp / folder).mkdir(parents=True)
    (dhcp / "dhclient.conf").write_text(DHCLIENT_CONF)
    (dhcp / "dhclient-enter-hooks.d" / "lab").write_text(ENTER_HOOK)
    settings = (
        f"NETBOND={shlex.quote(str(command))}\n"
        f"NETBOND_CONFIG={shlex.quote(str(config))}\n"
        "export NETBOND NETBOND_CONFIG\n"
    )
    if hook := find_hook():
        (dhcp / "dhclient-exit-hooks.d" / "netbond").write_text(settings + f". {shlex.quote(str(hook))}\n")
    udhcpc = udhcpc_script(state_dir)
    other = find_hook(UDHCPC_HOOK)
    udhcpc.write_text(
        UDHCPC_SCRIPT.format(hook=settings + f". {shlex.quote(str(other))}" if other else settings)
    )
    udhcpc.chmod(0o755)
    # The hook reads /etc/default/netbond; the host's file would name the host's own agent.
    if Path("/etc/default").is_dir():
        (private / "default").mkdir()
        (private / "default" / "netbond").write_text(settings)
    for path in (private, *private.rglob("*")):  # engines read these without root, so do not depend on umask
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
