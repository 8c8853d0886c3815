"""Defines the tables of the configuration file, and each key with its default and meaning. Pure.

The metadata of a field say all that there is to know of a key:
- `kind`: how its value is read (netbond.config.values.Kind),
- `default`: its default as it is written in the file; missing if the key is required,
- `doc`: what it means, in Markdown; docs/config.md and the JSON Schema for editors are made from it,
- `restart`: whether a change needs a restart of the agent (netbond.config.reload),
- `inner`: instead of `kind`, for one table within a table: its dataclass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from netbond.config import paths, targets
from netbond.config import policy_values as pv
from netbond.config import values as v
from netbond.config.values import DEFAULT_EXPECT, DEFAULT_QUERY, HIGHEST_TABLE, HostPort


def _key(kind: v.Kind, default: object, doc: str, *, restart: bool = False, option: str = "") -> Any:
    """A key that may be left out. `default` is written as in the file."""
    metadata = {"kind": kind, "default": default, "doc": doc, "restart": restart}
    if option:
        metadata["option"] = option
    return field(default=kind(default), metadata=metadata)


def _required(kind: v.Kind, doc: str) -> Any:
    return field(metadata={"kind": kind, "doc": doc, "restart": False})


def _tables(table: type[Any], doc: str, *, option: str) -> Any:
    """Tables within a table, any number of them up to MAX_NESTED: [[receiver.server]]. On the command line
    `option` is repeated, with what `str` makes of each and `table.parse` reads."""
    metadata = {"table": table, "default": [], "doc": doc, "restart": False, "option": option}
    return field(default=(), metadata=metadata)


MAX_NESTED = 64


def _table(table: type[Any], doc: str) -> Any:
    """One table within a table; None if it is left out."""
    return field(default=None, metadata={"inner": table, "doc": doc, "restart": False})


PRIORITY = v.whole(1, 32765)  # of policy rules: between the kernel's for the tables local and main
TABLE = v.whole(1, HIGHEST_TABLE)


# --- the tables of the file --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """[agent]: where the agent keeps and shows things."""

    ip_list: Path | None = _key(
        v.optional_path,
        "/tmp/srtla_ips",  # noqa: S108 - where senders look for it
        "The file with the address of each usable uplink, one per line, for SRTLA senders. It is"
        " replaced as a whole, and only when it changes. It keeps its last content when no uplink is"
        ' left (but see `ip_list_empty`). `""`: no list.',
    )
    ip_list_devices: bool = _key(
        v.flag,
        default=False,
        doc="Write `10.0.0.10%usb0` instead of `10.0.0.10`, so that two modems with the same address both"
        " count. Only `netbond send` reads such lines.",
    )
    ip_list_ipv6: bool = _key(
        v.flag,
        default=False,
        doc="List IPv6 addresses as well, after the others. Only `netbond send` reads such lines.",
    )
    ip_list_empty: bool = _key(
        v.flag,
        default=False,
        doc="Write an empty file when no uplink is left. It is for readers that must know that there is no"
        " way out; srtla_send ends or stalls on an empty list.",
    )
    notify_pid_file: Path | None = _key(
        v.optional_path,
        "",
        "When the list changes, send SIGHUP to the process whose id is in this file. It must be a"
        ' regular file that only its owner can write, owned by root or by the process\'s user. `""`: no'
        " file.",
    )
    notify_process: str = _key(
        v.or_empty(v.word, ""),
        "",
        'When the list changes, send SIGHUP to all processes of this name (`"srtla_send"`). With'
        " `notify_pid_file` too, only the process of that file gets it, and only if it has this name. A"
        ' process that does not handle SIGHUP gets none, as it would end. `""`: none.',
    )
    control_socket: Path = _key(
        v.absolute_path,
        paths.CONTROL_SOCKET,
        "The socket on which `netbond status` and the DHCP hooks reach the agent. Root's own is beside it,"
        " with `.root` at the end.",
        restart=True,
    )
    metrics: HostPort | None = _key(
        v.optional_address_endpoint,
        "127.0.0.1:10469",
        'Address and port for Prometheus. `""`: no metrics.',
        restart=True,
    )
    state_dir: Path = _key(
        v.absolute_path,
        paths.STATE_DIR,
        "The directory for leases, and for what engines need to go on after a crash.",
        restart=True,
    )
    data_dir: Path = _key(
        v.absolute_path,
        "/var/lib/netbond",
        "The directory for what must survive a reboot: the data that metered uplinks have used"
        " ([metered.md](metered.md)).",
        restart=True,
    )
    user: str = _key(
        v.word,
        "netbond",
        "The user that the SRTLA engines run as. If there is no system user `netbond`, it is `nobody`, and"
        " status says so.",
        restart=True,
    )
    iproute2_dir: Path | None = _key(
        v.optional_path,
        "/etc/iproute2",
        "netbond writes `rt_tables.d/netbond.conf` and `rt_protos.d/netbond.conf` there, so that `ip"
        ' route show table usb0` works. `""`: no names.',
    )
    on_stop: str = _key(
        v.one_of("remove", "keep"),
        "remove",
        'What happens to netbond\'s routes and rules when the agent is stopped: `"remove"` leaves the'
        ' box as its DHCP clients made it, `"keep"` leaves them in place. After a crash they always'
        " stay.",
    )
    networkmanager: bool = _key(
        v.flag,
        default=True,
        doc="Follow [NetworkManager](networkmanager.md) on the system bus, where it runs.",
        restart=True,
    )
    modemmanager: bool = _key(
        v.flag,
        default=True,
        doc="Follow [ModemManager](modemmanager.md), and have it measure the signal of its modems.",
        restart=True,
    )
    realtime: bool = _key(
        v.flag,
        default=True,
        doc="Let the agent itself (not the engines) run ahead of programs that keep the processors busy,"
        " such as a video encoder, where the system permits it. The agent does without it while one of"
        " its passes takes longer than 50 ms.",
    )
    log_level: str = _key(
        v.one_of("debug", "info", "warning", "error"),
        "info",
        'How much the agent logs: `"debug"`, `"info"`, `"warning"` or `"error"`.',
    )


@dataclass(frozen=True, slots=True)
class RoutingConfig:
    """[routing]: the layout and the numbers of routes and rules (docs/routing.md draws both layouts)."""

    layout: str = _key(
        v.one_of("default", "classic"),
        "default",
        '`"classic"`: the rules of the split-access howtos; [routing.md](routing.md#the-classic-layout)'
        " says what it costs.",
    )
    ipv6: bool = _key(v.flag, default=True, doc="`false`: IPv6 is left alone.")
    oif_priority: int = _key(
        PRIORITY, 40, "The priority of the rules for sockets that are bound to an interface."
    )
    main_priority: int = _key(
        PRIORITY,
        50,
        "The priority of the rule that uses main's connected and specific routes, but not its defaults.",
    )
    classic_priority: int = _key(
        PRIORITY,
        201,
        "Classic layout: the priority of the first `from NETWORK` rule; the others follow in the order"
        " of tables.",
    )
    pin_priority: int = _key(PRIORITY, 220, "The priority of the rule for destinations of `[[pin]]`.")
    pin_table: int = _key(TABLE, 221, "The table of that rule.")
    ecmp_priority: int = _key(
        PRIORITY, 222, "The priority of the rule for everything else, which is spread over all uplinks."
    )
    ecmp_table: int = _key(TABLE, 222, "The table of that rule.")
    policy_table: int = _key(
        v.whole(256, 2**30),
        7800,
        "The first `[[policy]]` has the table after this number, 7801; the others follow, in the order of the"
        " file.",
    )
    others_first: bool = _key(
        v.flag,
        default=True,
        doc="That rule makes way for other programs' rules (VPNs, VRFs, your own): it stands behind them, at"
        " the next free number. `false`: it stays at `ecmp_priority`, and what is not bound to an uplink"
        " never comes to their rules behind it.",
    )
    tables: tuple[int, int] = _key(
        v.table_range,
        [130, 219],
        "Lowest and highest table number for interfaces that `table_bases` does not have.",
    )
    table_bases: tuple[tuple[str, int], ...] = _key(
        v.table_bases,
        {"usb": 100, "eth": 110, "wlan": 120},
        "The first table of the numbered names: usb0 to usb4 have the tables 100 to 104, and so on,"
        " five tables for each name.",
    )
    take_over_default: bool = _key(
        v.flag,
        default=False,
        doc="Classic layout: take defaults of other programs out of main, where they hide the ECMP table;"
        " they come back when the agent stops.",
    )
    nexthop_base: int = _key(
        v.whole(0, 2**31 - 1),
        7_800_000,
        "netbond's nexthop objects (`ip nexthop`) have this number and the 1999 that follow. `0`: use"
        " none; see [routing.md](routing.md#when-a-leg-goes).",
    )
    protocol: int = _key(
        v.whole(5, 255),
        78,
        "The protocol number that marks netbond's routes and rules in the kernel: `ip route show table"
        " all proto 78`.",
        restart=True,
    )


# The keys of [health] that an [[uplink]] may have, too.
QUALITY_KEYS = ("check_quality", "degraded_loss", "degraded_rtt", "recovery_loss", "recovery_rtt")
_OWN_QUALITY = 'As in `[health]`, for these uplinks. `""`: that of `[health]`.'


@dataclass(frozen=True, slots=True)
class UplinkConfig:
    """[[uplink]]: settings for interfaces; the first entry that matches one counts (netbond.match)."""

    # The text of a netbond.config.pattern.Match: "usb*", "path=*usb-0:1.2:*".
    match: str = _required(
        v.match_pattern,
        'An interface name (`"usb0"`), a pattern (`"usb*"`, `"eth[12]"`), or [patterns for the'
        ' hardware](#match-by-hardware) (`{path = "*usb-0:1.2:*"}`).',
    )
    weight: v.Weight = _key(
        v.weight,
        1,
        'The share of the traffic that is spread over all uplinks, 1 to 256. `"auto"`: it follows'
        " slowly what the uplink has been seen to carry, from 1 to 10.",
    )
    gateway: tuple[str, ...] = _key(
        v.gateways,
        "auto",
        '`"auto"`: from DHCP, from a router\'s advertisement, or from a default route in main. An'
        " address: that one (the other family stays automatic). A list of addresses: an uplink for each,"
        ' if the interface is in several networks. `"none"`: the link is point-to-point and needs none.',
    )
    enabled: bool = _key(
        v.flag, default=True, doc="`false`: the interface is not an uplink, whatever it has."
    )
    backup: bool = _key(v.flag, default=False, doc="`true`: used only while no other uplink is up.")
    table: int = _key(
        v.zero_or(TABLE, f"a whole number from 1 to {HIGHEST_TABLE}"),
        0,
        "The number of its routing table, 1 to 252. `0`: netbond chooses. Only where `match` is for one"
        " interface.",
    )
    label: str = _key(
        v.label_text,
        "",
        "What the interface is called in status, metrics and engines, whatever name the kernel gives"
        ' it. Only where `match` is for one interface. `""`: its name.',
    )
    budget: int = _key(
        v.byte_count,
        0,
        'How much may be used a month, received and sent: `"50GB"` (MB, GB, TB, or MiB, GiB, TiB). Each'
        " interface that matches has a budget of its own. See [metered.md](metered.md). `0`: no limit.",
    )
    budget_day: int = _key(
        v.whole(1, 31),
        1,
        "The day of the month on which counting begins again; in a month without that day, on its last day.",
    )
    budget_action: str = _key(
        v.one_of("warn", "backup", "off"),
        "warn",
        'What happens when the budget is spent: `"warn"` only, use the uplink as a `"backup"` when all'
        ' others are down, or `"off"`.',
    )
    metered: v.FlagOrAuto = _key(
        v.flag_or_auto,
        "auto",
        "Whether its data costs money. SRTLA senders do not probe for more capacity on a metered uplink."
        ' `"auto"`: it is metered with a budget, if NetworkManager says so, and while its modem roams'
        " ([metered.md](metered.md#what-metered-means-for-streams)).",
    )
    checks: tuple[str, ...] | None = _key(
        v.or_empty(v.list_of(v.word, "names of checks", 8)),
        "",
        'The chain of checks for these uplinks, instead of that of `[health]`. `[]`: none. `""`: that'
        " of `[health]`.",
    )
    check_quality: bool | None = _key(v.or_empty(v.flag), "", _OWN_QUALITY)
    degraded_loss: float | None = _key(v.or_empty(v.number(0, 100)), "", _OWN_QUALITY)
    degraded_rtt: float | None = _key(v.or_empty(v.number(0, 60)), "", _OWN_QUALITY)
    recovery_loss: float | None = _key(v.or_empty(v.number(0, 100)), "", _OWN_QUALITY)
    recovery_rtt: float | None = _key(v.or_empty(v.number(0, 60)), "", _OWN_QUALITY)
    exclude_roaming: bool = _key(
        v.flag,
        default=False,
        doc="`true`: not an uplink while [ModemManager](modemmanager.md#roaming) says that its modem roams.",
    )
    priority: int = _key(
        v.whole(0, 100),
        0,
        "Which links SRTLA streams use first, 0 to 100: links of a lower priority carry only what the"
        " others have no room for. Routing does not use it.",
    )
    streams: bool = _key(
        v.flag,
        default=True,
        doc="`false`: SRTLA streams do not use it. Senders keep a link over it, registered and measured, so"
        " that it is ready when this is changed.",
    )


@dataclass(frozen=True, slots=True)
class PinConfig:
    """[[pin]]: destinations that leave by an uplink of choice."""

    destination: tuple[str, ...] = _required(
        v.destinations,
        'Prefixes, addresses and host names: `["203.0.113.0/24", "bank.example.org"]`. Names are looked'
        " up every 5 minutes; the last good answer holds.",
    )
    uplinks: tuple[str, ...] = _required(
        v.names,
        'Interface names or patterns in order of preference: `["usb0", "usb*"]`. The first that works'
        " carries the traffic, also if it is a backup.",
    )
    otherwise: str = _key(
        v.one_of("share", "unreachable"),
        "share",
        'When none of them works: `"share"` treats the traffic like any other, `"unreachable"` refuses it.',
    )


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """[[policy]]: traffic that leaves by uplinks of choice, in tiers (docs/policies.md)."""

    name: str = _required(v.word, "What status, `explain`, metrics and the log call it.")
    uplinks: tuple[pv.Tier, ...] = _required(
        pv.tiers,
        'The tiers, in order of preference: `["dsl", "lte*"]`. A tier is a name or pattern of uplinks, a list'
        ' of them that share (`["dsl1", "dsl2"]`), or a table of weights (`{dsl1 = 2, dsl2 = 1}`). The first'
        " tier with an uplink that works carries the traffic.",
    )
    destination: tuple[str, ...] = _key(
        pv.destinations,
        [],
        'Prefixes, addresses and host names, as in `[[pin]]`: `["bank.example", "203.0.113.0/24"]`.',
    )
    source: tuple[str, ...] = _key(
        pv.sources, [], 'LAN clients, by address or prefix: `["192.168.1.20", "192.168.2.0/24"]`.'
    )
    interface: tuple[str, ...] = _key(
        pv.interfaces,
        [],
        'Where the traffic comes in, by name or pattern: `["br-guest"]`. `"lo"` is the box itself.',
    )
    protocol: tuple[str, ...] = _key(
        pv.protocols, [], '`"tcp"`, `"udp"`, `"icmp"`, ..., or a number: `["udp", 50]`.'
    )
    port: tuple[tuple[int, int], ...] = _key(
        pv.ports,
        [],
        'Destination ports and ranges: `[443, "5000-5010"]`; of TCP and UDP, if there is no `protocol`.',
    )
    dscp: tuple[int, ...] = _key(
        pv.dscps, [], 'Code points: `["ef", "af41", 10]`. Before kernel 6.13 for forwarded traffic only.'
    )
    mark: tuple[tuple[int, int], ...] = _key(
        pv.marks, [], 'Firewall marks, with or without a mask: `["0x10/0xff"]`.'
    )
    uid: tuple[str, ...] = _key(
        pv.users,
        [],
        'Users whose programs on this box are meant: `["backup", 1000, "2000-2999"]`. A user that is not in'
        " /etc/passwd has no traffic.",
    )
    sticky: int = _key(
        pv.duration,
        "",
        'For how long a client stays on its uplink after its last connection: `"10min"`. `""`: each'
        " connection is routed anew.",
    )
    overflow: int = _key(
        pv.line_rate,
        "",
        "New connections go to the next tier while the first one that works carries more than this:"
        ' `"8Mbit/s"`, of the larger direction, summed over the tier, as the mean of 10 s. `""`: never.',
    )
    failback: str = _key(
        v.one_of("keep", "drain", "cut"),
        "drain",
        'What happens on the uplinks of a worse tier when a better one works again: `"keep"`: sticky clients'
        ' stay, with new connections, too; `"drain"`: connections that exist stay, new ones go to the better'
        ' tier; `"cut"`: connections that exist are reset.',
    )
    otherwise: str = _key(
        v.one_of("share", "unreachable"),
        "share",
        'When no tier works: `"share"` treats the traffic as if there were no such policy, `"unreachable"`'
        " refuses it.",
    )


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """[router]: clients behind LAN interfaces share the uplinks (docs/router.md)."""

    lan: tuple[str, ...] = _key(
        v.lan_patterns,
        [],
        'The LAN interfaces: names or patterns, `["eth1", "br0"]`. `[]`: router mode is off.',
    )
    masquerade: bool = _key(
        v.flag,
        default=True,
        doc="IPv4 clients appear with the address of the uplink that they use. `false`: with their own.",
    )
    ipv6: str = _key(
        v.one_of("off", "masquerade", "forward"),
        "off",
        'IPv6 of the clients: `"off"` leaves it alone, `"masquerade"` translates it like IPv4,'
        ' `"forward"` forwards it as it is.',
    )
    protect_lan: bool = _key(
        v.flag,
        default=True,
        doc="New connections from an uplink reach the LAN, or another uplink, only by a port forward"
        " (destination NAT).",
    )
    clamp_mss: bool = _key(v.flag, default=True, doc="Make TCP segments fit the MTU of the path.")
    mark_mask: int = _key(
        v.mark_mask,
        0xFF000000,
        "The bits of packet and connection marks that netbond uses, 8 or more in a row: `0xff000000`.",
    )
    mark_priority: int = _key(
        PRIORITY,
        60,
        "The priority of the rules for marks, between `routing.main_priority` and the lowest table.",
    )


@dataclass(frozen=True, slots=True)
class SysctlConfig:
    """[sysctl]: which kernel settings netbond changes, and puts back (docs/sysctls.md)."""

    rp_filter: bool = _key(v.flag, default=True, doc="Make strict reverse-path filters of uplinks loose.")
    linkdown: bool = _key(v.flag, default=True, doc="Do not use routes over an uplink without carrier.")
    multipath_hash: str = _key(
        v.one_of("keep", "addresses", "flows"),
        "keep",
        'How traffic is spread: `"addresses"` keeps two hosts on one uplink, `"flows"` spreads by ports'
        ' too, `"keep"` leaves the kernel\'s setting.',
    )
    use_neigh: bool = _key(
        v.flag,
        default=False,
        doc="Pass over gateways that do not answer ARP or neighbour discovery when traffic is spread.",
    )
    socket_buffers: int = _key(
        v.whole(0, 2**31 - 1),
        67_108_864,
        "Raise `net.core.rmem_max` and `wmem_max` to this many bytes; they are never lowered. `0`:"
        " leave them.",
    )
    forwarding: bool = _key(
        v.flag, default=True, doc="In router mode, forward packets on LAN interfaces and uplinks."
    )


MODES = ("adaptive", "classic")  # of a sender
ENCODER_RATES = v.bit_rate(300_000, 30_000_000)  # what belacoder takes


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """[sender.encoder]: the bitrate file of the sender's encoder, and who is signalled (docs/encoder.md)."""

    bitrate_file: Path = _required(
        v.absolute_path, "The file for an encoder that reads its video bitrate from one, like belacoder."
    )
    bitrate_min: int = _key(
        ENCODER_RATES,
        "0.5M",
        "The least video bitrate, 300k to 30M (`k` and `M` are thousands and millions).",
    )
    bitrate_max: int = _key(ENCODER_RATES, "12M", "The most, 300k to 30M.")
    bitrate_overhead: float | None = _key(
        v.or_empty(v.number(0, 0.5)),
        "",
        "The share of the stream that is not video: sound, and the headers of the container. 0 to 0.5."
        ' `""`: it is measured.',
    )
    pid_file: Path | None = _key(
        v.optional_path,
        "",
        "When the file changes, send SIGHUP to the process whose id is in this file. The rules of"
        ' `agent.notify_pid_file` apply. `""`: no file.',
        option="encoder-pid-file",
    )
    process: str = _key(
        v.or_empty(v.word, ""),
        "",
        'When the file changes, send SIGHUP to all processes of this name (`"belacoder"`), by the rules of'
        ' `agent.notify_process`. `""`: none.',
        option="encoder-process",
    )


@dataclass(frozen=True, slots=True)
class SenderConfig:
    """[[sender]]: an SRTLA sender that the agent keeps running, or one that stands alone."""

    listen: HostPort = _required(
        v.address_endpoint, 'Address and port where the SRT caller connects (`"127.0.0.1:6000"`).'
    )
    receiver: HostPort | tuple[HostPort, ...] = _required(
        v.host_ports,
        'Host and port of the SRTLA receiver (`"bond.example.org:5000"`), or a list of up to 8 in the order'
        " of preference: the next is used when one does not answer ([send.md](send.md#several-receivers)).",
    )
    mode: str = _key(
        v.one_of(*MODES),
        MODES[0],
        'How links are used: `"adaptive"` ([bonding.md](bonding.md)), or `"classic"` as in other senders.',
    )
    latency: int = _key(
        v.milliseconds(20, 8000),
        0,
        "SRT's latency in milliseconds, 20 to 8000. `0`: learnt from SRT's handshake.",
    )
    key_file: Path | None = _key(
        v.optional_path,
        "",
        "A file with a key that this sender shares with its receiver ([srtla.md](srtla.md#key)); it"
        ' must be owned by root, and readable by nobody else. `""`: none.',
    )
    require_key: bool = _key(
        v.flag,
        default=False,
        doc="`true`: no stream goes to a receiver that has not shown that it knows the key.",
    )
    probe_metered: bool = _key(
        v.flag,
        default=False,
        doc="`true`: links that are [metered](metered.md#what-metered-means-for-streams) are probed for more"
        " capacity like the others.",
    )
    show_stream_ids: bool = _key(
        v.flag,
        default=False,
        doc="`true`: SRT stream ids are no secret, and everybody sees them whole ([streams.md](streams.md)).",
    )
    encoder: EncoderConfig | None = _table(
        EncoderConfig, "The table [`[sender.encoder]`](#senderencoder): the encoder that gets the advice."
    )

    @property
    def receivers(self) -> tuple[HostPort, ...]:
        """All receivers, in the order of preference."""
        return self.receiver if isinstance(self.receiver, tuple) else (self.receiver,)

    @property
    def name(self) -> str:
        """What logs and status call it; listening addresses are unique."""
        return f"sender {self.listen}"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """[[receiver.server]]: an SRT server for some of a receiver's streams, by their stream id."""

    pattern: str = _required(
        v.stream_pattern,
        'Which SRT stream ids, as a shell pattern for the whole id: `"live/*"`, `"#!::r=studio/*"`. The first'
        " `[[receiver.server]]` that fits counts.",
    )
    srt: HostPort = _required(v.host_port, "Host and port of the SRT server that gets these streams.")

    def __str__(self) -> str:
        return f"{self.pattern}={self.srt}"

    @classmethod
    def parse(cls, text: str) -> ServerConfig:
        """Read what `str` wrote; InvalidValueError says what is expected."""
        pattern, equals, srt = text.rpartition("=")
        if not equals:
            raise v.InvalidValueError("PATTERN=HOST:PORT")
        return cls(v.stream_pattern(pattern), v.host_port(srt))


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """[[receiver.key]]: a key that a receiver shares with some senders, and the name of their streams."""

    name: str = _required(v.word, "What status, logs and metrics call the streams of senders with this key.")
    file: Path = _required(
        v.absolute_path, "A file with the key, as for `key_file` of the receiver; each sender names its own."
    )

    def __str__(self) -> str:
        return f"{self.name}={self.file}"

    @classmethod
    def parse(cls, text: str) -> KeyConfig:
        """Read what `str` wrote, or a relative path; InvalidValueError says what is expected."""
        name, _, file = text.partition("=")
        if not file:
            raise v.InvalidValueError("NAME=FILE")
        return cls(v.word(name), Path(file))


@dataclass(frozen=True, slots=True)
class ReceiverConfig:
    """[[receiver]]: an SRTLA receiver that the agent keeps running, or one that stands alone."""

    listen: HostPort = _required(
        v.address_endpoint, 'Address and port where SRTLA senders connect (`"0.0.0.0:5000"`).'
    )
    srt: HostPort = _required(
        v.host_port, 'Host and port of the SRT server that gets the stream (`"127.0.0.1:5002"`).'
    )
    server: tuple[ServerConfig, ...] = _tables(
        ServerConfig,
        "More SRT servers, for streams with certain ids ([streams.md](streams.md#several-srt-servers));"
        " `srt` gets all others.",
        option="srt-server",
    )
    timeout: float = _key(
        v.number(1, 3600), 10.0, "Seconds of silence after which a link is forgotten, 1 to 3600."
    )
    group_timeout: float = _key(
        v.number(1, 3600), 10.0, "Seconds without links after which a stream is forgotten, 1 to 3600."
    )
    groups: int = _key(
        v.whole(1, 1000), 200, "Streams at once at most, 1 to 1000; with several workers for each of them."
    )
    groups_per_source: int = _key(
        v.whole(1, 1000),
        32,
        "Of these, streams of one IPv4 address or IPv6 /64 at most, 1 to 1000 ([srtla.md]"
        "(srtla.md#limits-of-the-receiver)).",
    )
    group_dir: Path | None = _key(
        v.optional_path,
        "",
        "A directory, writable by `agent.user`, for the files `srtla-group-PORT` ([recv.md](recv.md))."
        ' `""`: none are written.',
    )
    workers: int = _key(
        v.whole(1, 64),
        1,
        "Processes, 1 to 64, for more than one core ([recv.md](recv.md#more-than-one-core)).",
    )
    key_file: Path | None = _key(
        v.optional_path,
        "",
        "A file with a key shared with senders ([srtla.md](srtla.md#key)); it must be owned by root,"
        ' and readable by nobody else. Senders with another key are refused. `""`: none.',
    )
    key: tuple[KeyConfig, ...] = _tables(
        KeyConfig,
        "More keys, each with the [name](streams.md#names-by-key) of the streams that come with it.",
        option="key",
    )
    require_key: bool = _key(v.flag, default=False, doc="`true`: senders without a key are refused, too.")
    srtla_stats: bool = _key(
        v.flag,
        default=False,
        doc="`true`: the SRT server is told each second what each link carries, as OpenIRL's receiver does"
        " ([recv.md](recv.md#what-the-srt-server-is-told)).",
    )
    stats_listen: HostPort | None = _key(
        v.optional_address_endpoint,
        "",
        'Address and TCP port of a page with the streams, for NOALBS ([noalbs.md](noalbs.md)). `""`: none.',
    )
    stats_key_file: Path | None = _key(
        v.optional_path,
        "",
        "A file with the key that the page asks for, of 16 bytes or more; it must be owned by root, and"
        " readable by nobody else.",
    )

    show_stream_ids: bool = _key(
        v.flag,
        default=False,
        doc="`true`: SRT stream ids are no secret, and everybody sees them whole ([streams.md](streams.md)).",
    )

    @property
    def servers(self) -> tuple[HostPort, ...]:
        """All SRT servers, each once; `srt` is the first."""
        return tuple(dict.fromkeys((self.srt, *(server.srt for server in self.server))))

    @property
    def name(self) -> str:
        """What logs and status call it; listening addresses are unique."""
        return f"receiver {self.listen}"


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """[health]: which checks tell whether an uplink works, and how they are judged (docs/health.md)."""

    checks: tuple[str, ...] = _key(
        v.list_of(v.word, "names of checks", 8),
        ["gateway"],
        'The chain of checks, in this order: `"gateway"`, `"icmp"`, `"tcp"`, `"dns"`, `"http"`, or the'
        " name of a `[[check]]`. `[]`: nothing is asked, and no uplink is ever down for that reason.",
    )
    interval: float = _key(
        v.number(0.2, 3600),
        5.0,
        "Seconds from one round of a check to the next, 0.2 to 3600. Rounds come four times as often"
        " while it is not decided whether the uplink goes down or comes up.",
    )
    jitter: float = _key(
        v.number(0, 0.5), 0.1, "The share of the interval by which it varies, either way, 0 to 0.5."
    )
    timeout: float = _key(
        v.number(0.1, 30), 2.0, "Seconds until a target that has not answered counts as silent, 0.1 to 30."
    )
    down_after: int = _key(
        v.whole(1, 100), 3, "Failed rounds of a check in a row until the uplink is down, 1 to 100."
    )
    up_after: int = _key(
        v.whole(1, 100), 2, "Good rounds in a row, of every check, until it is up again, 1 to 100."
    )
    degraded_loss: float = _key(
        v.number(0, 100),
        20.0,
        "An uplink is degraded if more than this percentage of the last 20 answers is missing. `100`: never.",
    )
    degraded_rtt: float = _key(
        v.number(0, 60),
        1.0,
        "An uplink is degraded if its answers take longer than this many seconds (smoothed). `0`: never.",
    )
    recovery_loss: float | None = _key(
        v.or_empty(v.number(0, 100)),
        "",
        'It is no longer degraded at this percentage or less. `""`: half of `degraded_loss`.',
    )
    recovery_rtt: float | None = _key(
        v.or_empty(v.number(0, 60)),
        "",
        'It is no longer degraded at this many seconds or less. `""`: half of `degraded_rtt`.',
    )
    check_quality: bool = _key(
        v.flag,
        default=False,
        doc="`true`: an uplink that is degraded by loss or delay leaves the shared default while another is"
        " not ([health.md](health.md#quality)). It stays a link of streams.",
    )
    hold_down: float = _key(
        v.number(0, 3600),
        10.0,
        "Seconds for which an uplink is kept down after it answers again, at its second outage within"
        " `flap_memory`; twice as long at each further one.",
    )
    hold_down_max: float = _key(v.number(0, 86400), 300.0, "The longest hold-down, in seconds.")
    flap_memory: float = _key(
        v.number(1, 86400), 600.0, "Seconds for which an outage is remembered, 1 to 86400."
    )
    down_from_list: bool = _key(
        v.flag, default=True, doc="An uplink that is down leaves the address list, too."
    )
    evidence: bool = _key(
        v.flag,
        default=True,
        doc="What the SRTLA links hear counts as well. If one is silent while others hear the receiver, the"
        " agent asks the receiver through that uplink ([health.md](health.md#a-link-that-is-silent)).",
    )
    resolvers: tuple[str, ...] = _key(
        v.list_of(v.resolver_address, "addresses of DNS servers", 8),
        ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2001:4860:4860::8888"],
        "DNS servers, asked through the uplink when the target of a check is a name.",
    )

    @property
    def leave_loss(self) -> float:
        """The percentage of loss at which an uplink is no longer degraded."""
        return self.degraded_loss / 2 if self.recovery_loss is None else self.recovery_loss

    @property
    def leave_rtt(self) -> float:
        """The seconds at which an uplink is no longer degraded."""
        return self.degraded_rtt / 2 if self.recovery_rtt is None else self.recovery_rtt

    def of(self, uplink: UplinkConfig) -> HealthConfig:
        """These settings, with those that an [[uplink]] has of its own."""
        own = {key: value for key in QUALITY_KEYS if (value := getattr(uplink, key)) is not None}
        return replace(self, **own) if own else self


@dataclass(frozen=True, slots=True)
class CheckConfig:
    """[[check]]: a check that [health] or an [[uplink]] names in `checks`."""

    name: str = _required(v.word, "What `checks` and the reasons call it.")
    kind: str = _required(
        v.one_of(*targets.KINDS), '`"gateway"`, `"icmp"`, `"tcp"`, `"dns"`, `"http"` or `"command"`.'
    )
    targets: tuple[str, ...] = _key(
        v.list_of(v.string, "targets", 8),
        [],
        "What is asked, at most 8 targets; one answer is enough. icmp: addresses or names. tcp:"
        ' `"host:port"`. dns: addresses of servers. http: `"http://host/path"`. gateway: none. The host'
        ' `"gateway"` stands for the uplink\'s own gateway. Each uplink asks the targets of its family.',
    )
    interval: float = _key(
        v.number(0, 86400), 0.0, "Seconds between rounds. `0`: that of `[health]`; command: 30."
    )
    timeout: float = _key(
        v.number(0, 30), 0.0, "Seconds until a target counts as silent. `0`: that of `[health]`; command: 10."
    )
    query: str = _key(v.query_name, DEFAULT_QUERY, "dns: the name that is asked for.")
    expect: int = _key(
        v.whole(200, 599),
        DEFAULT_EXPECT,
        "http: the status that says that the way is open; any other means a captive portal.",
    )
    command: tuple[str, ...] = _key(
        v.optional_command,
        [],
        "command: the program and its arguments, an absolute path, and no shell; exit status 0 is an answer"
        " ([commands.md](commands.md#checks)).",
    )
    user: str = _key(v.word, "nobody", "command: whom it runs as; not root.")


HOOK_EVENTS = ("up", "down", "degraded", "failover", "failback", "spent")


@dataclass(frozen=True, slots=True)
class HookConfig:
    """[[hook]]: a command that is run when uplinks change (docs/commands.md)."""

    name: str = _required(v.word, "What status and the log call it.")
    command: tuple[str, ...] = _required(
        v.command,
        'The program and its arguments: `["/usr/local/bin/tell-me", "--short"]`. An absolute path, and no'
        " shell. Neither the file nor its folder may be writable by everybody.",
    )
    events: tuple[str, ...] = _key(
        v.list_of(v.one_of(*HOOK_EVENTS), "events", len(HOOK_EVENTS)),
        list(HOOK_EVENTS),
        "When it is run: an uplink is `up`, `down`, `degraded` or `spent`; traffic goes over to backups"
        " (`failover`), or back (`failback`).",
    )
    user: str = _key(v.word, "nobody", "Whom it runs as.")
    timeout: float = _key(
        v.number(1, 3600), 30.0, "Seconds after which it is ended, with all that it has started, 1 to 3600."
    )


@dataclass(frozen=True, slots=True)
class PageConfig:
    """[page]: the web page (docs/page.md)."""

    enabled: bool = _key(v.flag, default=False, doc="`true`: the agent runs the page.")
    listen: HostPort = _key(
        v.address_endpoint,
        "127.0.0.1:10470",
        "Address and TCP port of the page. Any address but this box's own 127.0.0.0/8 and `[::1]` needs"
        " `token_file` and `certificate`.",
    )
    hosts: tuple[str, ...] = _key(
        v.list_of(v.query_name, "host names", 16),
        [],
        'Names by which browsers reach the page, such as `["box.lan"]`. Addresses and `localhost` need not be'
        " named.",
    )
    token_file: Path | None = _key(
        v.optional_path,
        "",
        "A file with the token that the page asks for, of 16 bytes or more; it must be owned by root, and"
        ' readable by nobody else. `""`: the page asks for none.',
    )
    certificate: Path | None = _key(
        v.optional_path,
        "",
        'The certificate for TLS, with those between it and its root (PEM). `""`: no TLS.',
    )
    certificate_key: Path | None = _key(
        v.optional_path, "", 'Its private key (PEM). `""`: it is in the file of the certificate.'
    )
    user: str = _key(v.word, "nobody", "The user that the page runs as; better not that of the engines.")
    control: bool = _key(
        v.flag,
        default=False,
        doc="`true`: who has the token may set mode, weight and priority of uplinks, as `netbond set` does"
        " ([page.md](page.md#changing-something)).",
    )


# The checks that exist without a [[check]]. Their targets belong to several operators and to both families:
# an uplink asks those of its own family. Checks that cost more than an echo are less frequent, because most
# uplinks are metered.
BUILT_IN_CHECKS = (
    CheckConfig("gateway", "gateway"),
    CheckConfig("icmp", "icmp", ("1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2001:4860:4860::8888")),
    CheckConfig(
        "tcp",
        "tcp",
        ("1.1.1.1:443", "8.8.8.8:443", "[2606:4700:4700::1111]:443", "[2001:4860:4860::8888]:443"),
        interval=15.0,
    ),
    CheckConfig(
        "dns", "dns", ("1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2001:4860:4860::8888"), interval=15.0
    ),
    CheckConfig(
        "http",
        "http",
        ("http://connectivitycheck.gstatic.com/generate_204", "http://cp.cloudflare.com/generate_204"),
        interval=60.0,
        timeout=5.0,  # it looks up a name first
    ),
)


COMMAND_INTERVAL_S, COMMAND_TIMEOUT_S = 30.0, 10.0  # a program costs more than a packet, and takes longer


def _default(check: CheckConfig, of_commands: float, of_others: float) -> float:
    return of_commands if check.kind == "command" else of_others


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    agent: AgentConfig = field(default_factory=AgentConfig)
    routing: RoutingConfig = field(default_factory=RoutingConfig)
    router: RouterConfig = field(default_factory=RouterConfig)
    sysctl: SysctlConfig = field(default_factory=SysctlConfig)
    uplink: tuple[UplinkConfig, ...] = ()
    sender: tuple[SenderConfig, ...] = ()
    receiver: tuple[ReceiverConfig, ...] = ()
    pin: tuple[PinConfig, ...] = ()
    policy: tuple[PolicyConfig, ...] = ()
    health: HealthConfig = field(default_factory=HealthConfig)
    check: tuple[CheckConfig, ...] = ()
    hook: tuple[HookConfig, ...] = ()
    page: PageConfig = field(default_factory=PageConfig)

    def chain(self, names: Iterable[str] | None) -> tuple[CheckConfig, ...]:
        """The checks of these names in their order; for None those of `health.checks`.

        A check without interval or timeout gets that of [health]; a command has defaults of its own. KeyError
        if there is no such check.
        """
        known = {check.name: check for check in (*BUILT_IN_CHECKS, *self.check)}
        return tuple(
            replace(
                known[name],
                interval=known[name].interval
                or _default(known[name], COMMAND_INTERVAL_S, self.health.interval),
                timeout=known[name].timeout or _default(known[name], COMMAND_TIMEOUT_S, self.health.timeout),
            )
            for name in (self.health.checks if names is None else names)
        )


SINGLE: Mapping[str, type[Any]] = {
    "agent": AgentConfig,
    "routing": RoutingConfig,
    "router": RouterConfig,
    "sysctl": SysctlConfig,
    "health": HealthConfig,
    "page": PageConfig,
}
INNER: Mapping[str, type[Any]] = {"sender.encoder": EncoderConfig}
REPEATED: Mapping[str, type[Any]] = {
    "uplink": UplinkConfig,
    "sender": SenderConfig,
    "receiver": ReceiverConfig,
    "pin": PinConfig,
    "policy": PolicyConfig,
    "check": CheckConfig,
    "hook": HookConfig,
}
# Tables within those.
NESTED: Mapping[str, type[Any]] = {"receiver.server": ServerConfig, "receiver.key": KeyConfig}
