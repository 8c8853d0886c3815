"""What a configuration holds: its tables as frozen dataclasses, each key with its check. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from netbond.config import paths, targets
from netbond.config import values as v
from netbond.config.values import DEFAULT_EXPECT, DEFAULT_QUERY, HIGHEST_TABLE, HostPort


def _key(parse: v.Parse, default: Any, *, restart: bool = False) -> Any:
    """A key with its check. `restart`: a running agent cannot apply a change (netbond.config.reload)."""
    return field(default=default, metadata={"parse": parse, "restart": restart})


def _required(parse: v.Parse) -> Any:
    return field(metadata={"parse": parse, "restart": False})


# --- the tables of the file --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """[agent]: where the agent keeps and shows things."""

    ip_list: Path | None = _key(v.optional_path, Path("/tmp/srtla_ips"))  # noqa: S108 - where senders look
    ip_list_devices: bool = _key(v.flag, default=False)  # 10.0.0.10%usb0, understood by `netbond send` only
    ip_list_ipv6: bool = _key(v.flag, default=False)  # senders other than `netbond send` read IPv4 only
    ip_list_empty: bool = _key(v.flag, default=False)  # written also when no address is left
    notify_pid_file: Path | None = _key(v.optional_path, None)  # SIGHUP to this process on a new list
    notify_process: str = _key(
        lambda text: "" if text == "" else v.word(text), ""
    )  # ... or to those of this name
    control_socket: Path = _key(v.absolute_path, Path(paths.CONTROL_SOCKET), restart=True)
    metrics: HostPort | None = _key(v.optional_address_endpoint, HostPort("127.0.0.1", 10469), restart=True)
    state_dir: Path = _key(v.absolute_path, Path(paths.STATE_DIR), restart=True)
    data_dir: Path = _key(
        v.absolute_path, Path("/var/lib/netbond"), restart=True
    )  # what must survive a reboot: usage.json
    user: str = _key(v.word, "nobody", restart=True)  # whom the engines run as
    iproute2_dir: Path | None = _key(
        v.optional_path, Path("/etc/iproute2")
    )  # for rt_tables.d and rt_protos.d
    on_stop: str = _key(
        v.one_of("remove", "keep"), "remove"
    )  # netbond's routes and rules, when it is stopped
    networkmanager: bool = _key(
        v.flag, default=True, restart=True
    )  # follow it on the system bus, if it is there
    modemmanager: bool = _key(v.flag, default=True, restart=True)
    realtime: bool = _key(v.flag, default=True)  # priority for the agent itself, not for its engines
    log_level: str = _key(v.one_of("debug", "info", "warning", "error"), "info")


@dataclass(frozen=True, slots=True)
class RoutingConfig:
    """[routing]: what is written where (docs/routing.md draws both layouts)."""

    layout: str = _key(v.one_of("default", "classic"), "default")
    ipv6: bool = _key(v.flag, default=True)
    oif_priority: int = _key(v.whole(1, 32765), 40)
    main_priority: int = _key(v.whole(1, 32765), 50)
    classic_priority: int = _key(
        v.whole(1, 32765), 201
    )  # the first `from NETWORK` rule of the classic layout
    pin_priority: int = _key(v.whole(1, 32765), 220)
    pin_table: int = _key(v.whole(1, HIGHEST_TABLE), 221)  # the destinations of [[pin]]
    ecmp_priority: int = _key(v.whole(1, 32765), 222)
    ecmp_table: int = _key(v.whole(1, HIGHEST_TABLE), 222)
    tables: tuple[int, int] = _key(v.table_range, (130, 219))  # for names that table_bases does not have
    table_bases: tuple[tuple[str, int], ...] = _key(
        v.table_bases, (("usb", 100), ("eth", 110), ("wlan", 120))
    )
    take_over_default: bool = _key(v.flag, default=False)  # classic: others' defaults in main are taken out
    nexthop_base: int = _key(v.whole(0, 2**31 - 1), 7_800_000)  # ids of nexthop objects; 0: use none
    protocol: int = _key(
        v.whole(5, 255), 78, restart=True
    )  # marks netbond's routes and rules: `ip route show proto 78`


@dataclass(frozen=True, slots=True)
class UplinkConfig:
    """[[uplink]]: what to do with the interfaces that match; the first match wins (netbond.match)."""

    match: str = _required(
        v.match_pattern
    )  # the text of a netbond.config.pattern.Match: "usb*", "path=*usb-0:1.2:*"
    weight: v.Weight = _key(v.weight, 1)
    gateway: tuple[str, ...] = _key(v.gateways, ("auto",))
    enabled: bool = _key(v.flag, default=True)
    backup: bool = _key(v.flag, default=False)  # used while no other uplink is
    table: int = _key(v.whole(1, HIGHEST_TABLE), 0)  # 0: chosen by netbond.tables
    label: str = _key(v.label_text, "")  # what the interface is called, wherever the kernel's names go
    budget: int = _key(v.byte_count, 0)  # bytes a month, both directions; 0: not metered
    budget_day: int = _key(v.whole(1, 31), 1)  # of the month, on which counting begins anew
    budget_action: str = _key(v.one_of("warn", "backup", "off"), "warn")  # when it is spent (docs/metered.md)
    checks: tuple[str, ...] | None = _key(v.optional_checks, None)  # None: those of [health]
    exclude_roaming: bool = _key(v.flag, default=False)  # no uplink while ModemManager says that it roams
    priority: int = _key(v.whole(0, 100), 0)  # SRTLA streams use links of a higher one first
    streams: bool = _key(v.flag, default=True)  # False: SRTLA streams do not use it, but keep it ready


@dataclass(frozen=True, slots=True)
class PinConfig:
    """[[pin]]: destinations that leave by an uplink of choice."""

    destination: tuple[str, ...] = _required(v.destinations)
    uplinks: tuple[str, ...] = _required(v.names)  # patterns; the first that is usable carries them
    otherwise: str = _key(v.one_of("share", "unreachable"), "share")  # when none of them is usable


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """[router]: clients behind LAN interfaces share the uplinks (docs/router.md)."""

    lan: tuple[str, ...] = _key(v.lan_patterns, ())  # empty: router mode is off
    masquerade: bool = _key(v.flag, default=True)  # IPv4
    ipv6: str = _key(v.one_of("off", "masquerade", "forward"), "off")
    protect_lan: bool = _key(v.flag, default=True)  # new connections from outside need a port forward
    clamp_mss: bool = _key(v.flag, default=True)
    mark_mask: int = _key(v.mark_mask, 0xFF000000)
    mark_priority: int = _key(v.whole(1, 32765), 60)


@dataclass(frozen=True, slots=True)
class SysctlConfig:
    """[sysctl]: which kernel settings netbond makes fit (docs/sysctls.md)."""

    rp_filter: bool = _key(v.flag, default=True)  # loose instead of strict on uplinks
    linkdown: bool = _key(v.flag, default=True)  # ignore_routes_with_linkdown on uplinks
    multipath_hash: str = _key(v.one_of("keep", "addresses", "flows"), "keep")
    use_neigh: bool = _key(v.flag, default=False)  # fib_multipath_use_neigh
    socket_buffers: int = _key(v.whole(0, 2**31 - 1), 67_108_864)  # bytes; 0: leave them
    forwarding: bool = _key(v.flag, default=True)  # in router mode


@dataclass(frozen=True, slots=True)
class SenderConfig:
    """[[sender]]: an SRTLA sender that the agent keeps running."""

    listen: HostPort = _required(v.address_endpoint)
    receiver: HostPort = _required(v.host_port)
    mode: str = _key(v.one_of("adaptive", "classic"), "adaptive")  # docs/bonding.md
    latency: int = _key(v.milliseconds(20, 8000), 0)  # ms, SRT's; 0: learnt from its handshake
    key_file: Path | None = _key(v.optional_path, None)
    require_key: bool = _key(v.flag, default=False)

    @property
    def name(self) -> str:
        """What logs and status call it; listening addresses are unique."""
        return f"sender {self.listen}"


@dataclass(frozen=True, slots=True)
class ReceiverConfig:
    """[[receiver]]: an SRTLA receiver that the agent keeps running."""

    listen: HostPort = _required(v.address_endpoint)
    srt: HostPort = _required(v.host_port)
    timeout: float = _key(v.number(1, 3600), 10.0)  # seconds of silence, then a link is forgotten
    group_timeout: float = _key(v.number(1, 3600), 10.0)  # seconds without links, then a stream is
    group_dir: Path | None = _key(v.optional_path, None)  # where srtla-group-PORT files go
    key_file: Path | None = _key(v.optional_path, None)
    require_key: bool = _key(v.flag, default=False)
    workers: int = _key(v.whole(1, 64), 1)  # processes

    @property
    def name(self) -> str:
        """What logs and status call it; listening addresses are unique."""
        return f"receiver {self.listen}"


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """[health]: which checks tell whether an uplink leads anywhere, and how they are judged."""

    checks: tuple[str, ...] = _key(
        v.list_of(v.word, "names of checks", 8), ("gateway",)
    )  # in this order; []: none
    interval: float = _key(v.number(0.2, 3600), 5.0)  # seconds from one round of a check to the next
    jitter: float = _key(v.number(0, 0.5), 0.1)  # as a share of the interval, either way
    timeout: float = _key(v.number(0.1, 30), 2.0)  # seconds until a target counts as silent
    down_after: int = _key(v.whole(1, 100), 3)  # failed rounds in a row
    up_after: int = _key(v.whole(1, 100), 2)  # good rounds in a row, of every check
    degraded_loss: float = _key(v.number(0, 100), 20.0)  # percent of the last answers missing; 100: never
    degraded_rtt: float = _key(v.number(0, 60), 1.0)  # seconds, smoothed; 0: never
    hold_down: float = _key(v.number(0, 3600), 10.0)  # seconds, at the second outage; doubled at each further
    hold_down_max: float = _key(v.number(0, 86400), 300.0)  # seconds
    flap_memory: float = _key(v.number(1, 86400), 600.0)  # seconds for which an outage is remembered
    down_from_list: bool = _key(v.flag, default=True)  # a dead uplink leaves the address list, too
    evidence: bool = _key(v.flag, default=True)  # what SRTLA links hear counts
    resolvers: tuple[str, ...] = _key(  # asked through the uplink, when a target is a name
        v.list_of(v.resolver_address, "addresses of DNS servers", 8),
        ("1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2001:4860:4860::8888"),
    )


@dataclass(frozen=True, slots=True)
class CheckConfig:
    """[[check]]: a check that [health] or an [[uplink]] names in `checks`."""

    name: str = _required(v.word)
    kind: str = _required(v.one_of(*targets.KINDS))
    targets: tuple[str, ...] = _key(v.list_of(v.string, "targets", 8), ())
    interval: float = _key(v.number(0, 86400), 0.0)  # seconds; 0: that of [health]
    timeout: float = _key(v.number(0, 30), 0.0)  # seconds; 0: that of [health]
    query: str = _key(v.query_name, DEFAULT_QUERY)  # dns: the name that is asked for
    expect: int = _key(v.whole(200, 599), DEFAULT_EXPECT)  # http: the status of an open way


# What a name means that no [[check]] has. Addresses of several operators, of both families: an uplink asks
# those of its own family. What costs more than an echo comes less often: most uplinks are metered.
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
    health: HealthConfig = field(default_factory=HealthConfig)
    check: tuple[CheckConfig, ...] = ()

    def chain(self, names: Iterable[str] | None) -> tuple[CheckConfig, ...]:
        """The checks of these names, in their order; of [health] checks for None. KeyError: no such check.

        Intervals and timeouts that a check leaves open are filled in.
        """
        known = {check.name: check for check in (*BUILT_IN_CHECKS, *self.check)}
        return tuple(
            replace(
                known[name],
                interval=known[name].interval or self.health.interval,
                timeout=known[name].timeout or self.health.timeout,
            )
            for name in (self.health.checks if names is None else names)
        )


SINGLE: Mapping[str, type[Any]] = {
    "agent": AgentConfig,
    "routing": RoutingConfig,
    "router": RouterConfig,
    "sysctl": SysctlConfig,
    "health": HealthConfig,
}
REPEATED: Mapping[str, type[Any]] = {
    "uplink": UplinkConfig,
    "sender": SenderConfig,
    "receiver": ReceiverConfig,
    "pin": PinConfig,
    "check": CheckConfig,
}
