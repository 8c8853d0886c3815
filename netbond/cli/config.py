"""Runs `netbond config`, which checks a configuration file, or prints an example or a JSON Schema."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from netbond.config.load import DEFAULT_PATH, default_path, load, read, read_text, refuse_open_to_all
from netbond.config.mistakes import Mistakes
from netbond.config.schema import Config
from netbond.errors import EXIT_CONFIG, EXIT_OK, UsageError
from netbond.programs.vetting import unfit
from netbond.srtla.registration import psk

HELP = "Check a configuration file, print a commented example of one, or a JSON Schema for editors."

# Live lines hold the defaults; a line that starts with "#" and no blank after it is an example to uncomment.
EXAMPLE = """\
# netbond's configuration. Every key is optional, and so is the file: without it, each interface that has an
# address and a gateway is an uplink. What stands here are the defaults; docs/config.md explains each key.
# Check a change with: netbond config check FILE

[agent]
# One address per usable uplink and line, for SRTLA senders; "" writes no list.
ip_list = "/tmp/srtla_ips"
# Lines like 10.0.0.10%usb0, so that modems with the same address both count; for `netbond send` only.
ip_list_devices = false
# List IPv6 addresses as well; for `netbond send` only.
ip_list_ipv6 = false
# Empty the list when no uplink is left, instead of keeping the last one, with which senders carry on.
ip_list_empty = false
# Who gets SIGHUP when the list changes: the process whose id is in this file ("": none), ...
notify_pid_file = ""
# ... or all processes of this name, like "srtla_send" ("": none). With both: the file's, if it has the name.
notify_process = ""
# Where `netbond status` and the DHCP hooks reach the agent.
control_socket = "/run/netbond/control.sock"
# Prometheus metrics; "" turns them off.
metrics = "127.0.0.1:10469"
# Leases and other things that must outlive the agent.
state_dir = "/run/netbond"
# What must survive a reboot: how much of their budgets metered uplinks have used.
data_dir = "/var/lib/netbond"
# Whom the SRTLA engines run as; nobody where there is no such user.
user = "netbond"
# Where `ip` looks for the names of tables; "" names none.
iproute2_dir = "/etc/iproute2"
# netbond's routes and rules when the agent is stopped: remove or keep
on_stop = "remove"
# Learn from NetworkManager (gateways) and ModemManager (operator, signal, roaming) where they run.
networkmanager = true
modemmanager = true
# Real-time priority for the agent (not for engines): routing is right at once on a busy box, too.
realtime = true
# debug, info, warning or error
log_level = "info"

[routing]
# "default", or "classic" for the rules of the split-access howtos (docs/routing.md draws both).
layout = "default"
ipv6 = true
# Priorities of the rules, in this order: by interface, main, the uplinks' tables, pinned destinations, ECMP
# (everything else). The classic layout's rules for the uplinks begin at classic_priority.
oif_priority = 40
main_priority = 50
classic_priority = 201
pin_priority = 220
ecmp_priority = 222
# The rule for everything else moves behind other programs' rules (VPNs). false: it stays at ecmp_priority.
others_first = true
# The tables of pinned destinations, and of what is spread over all uplinks.
pin_table = 221
# The tables of policies follow this number: 7801, 7802, ...
policy_table = 7800
ecmp_table = 222
# usb0-4 have the tables 100-104, and so on; all other names get one from the range `tables`.
table_bases = {usb = 100, eth = 110, wlan = 120}
tables = [130, 219]
# Classic layout: take defaults that others put into main away until the agent stops.
take_over_default = false
# Numbers of netbond's nexthop objects (`ip nexthop`); 0: use none.
nexthop_base = 7800000
# Marks netbond's routes and rules in the kernel: `ip route show table all proto 78`.
protocol = 78

[router]
# Interfaces or patterns, like ["eth1", "br0"], whose clients share the uplinks; none: router mode is off.
lan = []
# IPv4 clients appear with the uplink's address.
masquerade = true
# IPv6 of the clients: off (left alone), masquerade, or forward (as it is).
ipv6 = "off"
# What comes from outside and answers nothing does not reach the LAN, unless a port forward leads there.
protect_lan = true
# TCP segments are made to fit the uplink's MTU.
clamp_mss = true
# The bits of packet and connection marks that netbond may use, and the priority of the rules for them.
mark_mask = 0xff000000
mark_priority = 60

[sysctl]
# On uplinks: strict reverse-path filters are made loose, ...
rp_filter = true
# ... and routes over a link without carrier are not used.
linkdown = true
# What goes by one uplink: addresses (all between two hosts), flows (ports count too), keep (as it is set).
multipath_hash = "keep"
# Pass over gateways that do not answer ARP when traffic is spread.
use_neigh = false
# The largest socket buffers that the engines may ask for, in bytes; 0 leaves them.
socket_buffers = 67108864
# Router mode switches forwarding on, on the interfaces that need it.
forwarding = true
[health]
# The checks that an uplink must pass, in order: gateway, icmp, tcp, dns, http, or a [[check]]; []: none.
checks = ["gateway"]
# Seconds between rounds of a check, give or take this share of it, and seconds that an answer may take.
interval = 5.0
jitter = 0.1
timeout = 2.0
# Failed rounds in a row until an uplink is down, and good ones in a row until it is up again.
down_after = 3
up_after = 2
# An uplink is degraded above this percentage of loss (100: never) or with answers this many seconds late
# (0: never), until it is at a recovery value or below ("": half of the other). That only shows, unless
# check_quality is true: then it leaves the shared default while another uplink is better.
degraded_loss = 20.0
degraded_rtt = 1.0
recovery_loss = ""
recovery_rtt = ""
check_quality = false
# One that goes down again within flap_memory seconds stays down this long, twice that at each further time.
hold_down = 10.0
hold_down_max = 300.0
flap_memory = 600.0
# Take uplinks that are down out of the address list, too.
down_from_list = true
# Let the SRTLA links' own traffic count.
evidence = true
# DNS servers for targets that are names; they are asked through the uplink.
resolvers = ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2001:4860:4860::8888"]

# --- uplinks: the first match wins; interfaces that nothing matches get the defaults -----------------------

# A cable that carries twice as much as the others.
#[[uplink]]
#match = "eth0"
#weight = 2

# A modem in a port, however the kernel names it. It keeps label and table.
#[[uplink]]
#match = {path = "*usb-0:1.2:*"}
#label = "left modem"

# A modem. gateway is "auto", an address or a list of them, or "none" for a point-to-point link; a table is
# for one interface; checks replace those of [health].
#[[uplink]]
#match = "usb0"
#gateway = "192.168.8.1"
#table = 100
#checks = ["gateway", "portal", "names"]

# A modem with 50 GB a month from the 15th on, then kept as a backup (or "warn" only, or "off").
#[[uplink]]
#match = "wwan*"
#budget = "50GB"
#budget_day = 15
#budget_action = "backup"

# Its data costs money: senders do not probe for more capacity on it. "auto": with a budget, if NetworkManager
# says so, and while its modem roams.
#[[uplink]]
#match = "wwan2"
#metered = true

# Used only while no other uplink is up.
#[[uplink]]
#match = "wlan0"
#backup = true

# A satellite: its quality has thresholds of its own.
#[[uplink]]
#match = "eth2"
#check_quality = true
#degraded_loss = 10.0
#recovery_loss = 2.0
#degraded_rtt = 1.5
#recovery_rtt = 0.9

# For SRTLA streams: links of a higher priority (0 to 100) carry first, others what these have no room for.
# With streams = false a link is kept registered and measured, but carries nothing until that is changed.
#[[uplink]]
#match = "wwan1"
#priority = 10
#streams = true

# A modem whose contract is dear abroad: not used while it roams.
#[[uplink]]
#match = "wwan0"
#exclude_roaming = true

# An interface that is not to be used, whatever it has.
#[[uplink]]
#match = "docker*"
#enabled = false

# --- destinations that leave by an uplink of choice --------------------------------------------------------

# The first of `uplinks` that works carries them; otherwise: "share" (as all other traffic) or "unreachable".
#[[pin]]
#destination = ["203.0.113.0/24", "bank.example.org"]
#uplinks = ["eth0", "usb*"]
#otherwise = "share"

# --- policies: traffic that leaves by uplinks of choice, in tiers -------------------------------------------

# The first policy that fits counts. The traffic (docs/policies.md): by destination, LAN client, where it
# comes in, protocol, port, DSCP, mark, and user of this box; what is left out fits everything.
#[[policy]]
#name = "bank"
#destination = ["bank.example.org", "203.0.113.0/24"]
#source = ["192.168.1.0/24"]
#interface = ["br0"]
#protocol = ["tcp"]
#port = [443, "8000-8010"]
#dscp = ["ef", "af41"]
#mark = ["0x10/0xff"]
#uid = []
# Tiers: an uplink or pattern, several that share, or with weights. The first tier that works is used.
#uplinks = ["dsl", ["usb0", "usb1"], {wwan0 = 2, wwan1 = 1}]
# A client stays on its uplink; new connections go to the next tier while the first carries more than this.
#sticky = "10min"
#overflow = "8Mbit/s"
# When a better tier is back: "keep" sticky clients, "drain" what is connected, or "cut" it.
#failback = "drain"
#otherwise = "share"

# --- checks of one's own, to be named in `checks` -----------------------------------------------------------

# One good answer is enough. kind is gateway, icmp, tcp, dns, http or command; interval and timeout 0: as in
# [health].
#[[check]]
#name = "portal"
#kind = "http"
#targets = ["http://connectivitycheck.gstatic.com/generate_204"]
#expect = 204
#interval = 60
#timeout = 5

#[[check]]
#name = "names"
#kind = "dns"
#targets = ["gateway", "9.9.9.9"]
#query = "example.com"

# A program of one's own: exit status 0 is an answer. It can use the uplink alone (docs/commands.md).
#[[check]]
#name = "login"
#kind = "command"
#command = ["/usr/local/bin/portal-login", "--quiet"]
#user = "nobody"

# --- commands that are run when uplinks change (docs/commands.md) -------------------------------------------

# events are up, down, degraded, failover, failback, spent; without the key it is run at all of them.
#[[hook]]
#name = "tell-me"
#command = ["/usr/local/bin/tell-me", "--short"]
#events = ["down", "up"]
#user = "nobody"
#timeout = 30

# --- the web page (docs/page.md) ---------------------------------------------------------------------------

[page]
enabled = false
# Where browsers connect. Elsewhere than on 127.0.0.1 it needs a token and TLS.
listen = "127.0.0.1:10470"
# Names by which browsers reach it: ["box.lan"].
hosts = []
# What it asks for, such as "/etc/netbond/page-token" (openssl rand -hex 16 makes one).
token_file = ""
# For TLS, such as "/etc/netbond/page.pem"; the private key may be in the same file.
certificate = ""
certificate_key = ""
user = "nobody"
# true: who has the token may set uplinks off, and their weights.
control = false

# --- SRTLA engines that the agent keeps running ------------------------------------------------------------

# On the box: the SRT encoder sends to `listen`; the bond leads to `receiver`.
#[[sender]]
#listen = "127.0.0.1:6000"
#receiver = "bond.example.org:5000"
# adaptive or classic; SRT's latency in ms (20 to 8000), where it is not to be learnt from SRT's handshake.
#mode = "adaptive"
#latency = 1000
# A secret shared with the receiver, which other programs ignore; with require_key nobody else is dealt with.
#key_file = "/etc/netbond/key"
#require_key = false
# true: links whose data costs money are probed for more capacity, too.
#probe_metered = false
# true: stream ids are no secret. Otherwise only root sees them whole.
#show_stream_ids = false
# Its encoder reads its bitrate from a file (docs/encoder.md): between these limits, with this share of sound
# and headers in the stream ("": it is measured). SIGHUP goes to the process of this file, or of this name.
#[sender.encoder]
#bitrate_file = "/run/belacoder/bitrate"
#bitrate_min = "0.5M"
#bitrate_max = "12M"
#bitrate_overhead = ""
#pid_file = "/run/belacoder/pid"
#process = "belacoder"

# On the server: senders connect to `listen`; `srt` is the SRT server that gets the stream.
#[[receiver]]
#listen = "0.0.0.0:5000"
#srt = "127.0.0.1:5002"
# Seconds of silence until a link, and without links until a stream, is forgotten.
#timeout = 10.0
#group_timeout = 10.0
# Streams at once at most, in all and of one address (IPv6: /64).
#groups = 200
#groups_per_source = 32
# Where srtla-group-PORT files go, with the addresses of a stream's links.
#group_dir = "/run/srtla"
#key_file = "/etc/netbond/key"
#require_key = false
#show_stream_ids = false
# Processes, for more than one core.
#workers = 1
# Whether an SRT server of OpenIRL's is told what each link carries.
#srtla_stats = false
# A page with the streams for NOALBS, http://ADDRESS:PORT/stats?key=KEY (openssl rand -hex 32 makes a key).
#stats_listen = "127.0.0.1:8181"
#stats_key_file = "/etc/netbond/stats-key"
# A key of some senders, and the name of their streams.
#[[receiver.key]]
#name = "alice"
#file = "/etc/netbond/alice.key"
# Another SRT server, for the streams whose SRT stream id fits this pattern.
#[[receiver.server]]
#pattern = "studio/*"
#srt = "127.0.0.1:5003"
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="read a file, and say all that is wrong with it; exit status 78")
    check.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=Path,
        help=f"the file (default: $NETBOND_CONFIG, or {DEFAULT_PATH})",
    )
    check.add_argument("--config", metavar="FILE", type=Path, help="the same, as other commands have it")
    actions.add_parser("example", help="print a commented file with all keys")
    actions.add_parser("schema", help="print a JSON Schema; editors use it to check and complete the file")


def run(args: argparse.Namespace) -> int:
    """Check or print; the exit status."""
    if args.action == "example":
        print(EXAMPLE, end="")
        return EXIT_OK
    if args.action == "schema":
        from netbond.config.json_schema import json_schema

        print(json.dumps(json_schema(), indent=2))
        return EXIT_OK
    return check(args.file or args.config or default_path())


def check(path: Path | None) -> int:
    """Print all mistakes of a file, or what it says if there is none; the exit status."""
    file = path or DEFAULT_PATH
    refuse_open_to_all(file)
    mistakes = Mistakes(str(file), all_of_them=True)
    try:
        config = read(read_text(file), mistakes)
    except FileNotFoundError:
        config = load(path)  # says so, unless it is the default place
        print(f"{file}: ok: there is no such file, so the defaults are used")
        return EXIT_OK
    _look_around(config, mistakes)
    for warning in mistakes.warnings:
        print(f"netbond config: warning: {warning}", file=sys.stderr)
    for mistake in mistakes.found:
        print(f"netbond config: {mistake}", file=sys.stderr)
    if mistakes.found:
        return EXIT_CONFIG
    print(f"{file}: ok: {summary(config)}")
    return EXIT_OK


def _look_around(config: Config, mistakes: Mistakes) -> None:
    """Note programs that cannot be run, and keys that cannot be read."""
    programs = [(f"hook[{n}]", f"hook {hook.name}", hook) for n, hook in enumerate(config.hook, 1)]
    for where, name, hook in programs:
        if reason := unfit(hook.command[0], hook.user):
            mistakes.add(f"{where}.command", f"{name}: {reason}", "correct it there")
    for number, each in enumerate(config.check, 1):
        if each.command and (reason := unfit(each.command[0], each.user)):
            mistakes.add(f"check[{number}].command", f"check {each.name}: {reason}", "correct it there")
    if os.geteuid() != 0:
        return  # only root can read keys
    for where, key in _keys(config):
        try:
            psk.read(key, where.rpartition(".")[2])
        except UsageError as error:
            mistakes.add(where, error.message, error.hint)


def _keys(config: Config) -> Iterator[tuple[str, Path]]:
    """All files with keys, and where they are named."""
    for number, sender in enumerate(config.sender, 1):
        if sender.key_file is not None:
            yield f"sender[{number}].key_file", sender.key_file
    for number, receiver in enumerate(config.receiver, 1):
        for name in ("key_file", "stats_key_file"):
            if getattr(receiver, name) is not None:
                yield f"receiver[{number}].{name}", getattr(receiver, name)
        for place, key in enumerate(receiver.key, 1):
            yield f"receiver[{number}].key[{place}].file", key.file


def summary(config: Config) -> str:
    """Summarise the file: "2 uplink rules, 1 sender, no receivers"."""

    def count(number: int, what: str) -> str:
        return f"{number or 'no'} {what}{'' if number == 1 else 's'}"

    return ", ".join(
        (
            count(len(config.uplink), "uplink rule"),
            count(len(config.sender), "sender"),
            count(len(config.receiver), "receiver"),
        )
    )
