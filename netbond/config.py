"""The configuration file: TOML, checked key by key, into frozen dataclasses.

Every error is a ConfigError that names the file, the key, the value, and what would be right. A missing file
at the default place is an empty configuration: netbond works without one.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tomli

from netbond.devices import KEYS, Match
from netbond.errors import ConfigError
from netbond.health import targets

PER_FAMILY = 5  # tables of each of `table_bases`: usb0-4 have 100-104 (netbond.tables)
HIGHEST_TABLE = 252  # 253-255 are the kernel's

if TYPE_CHECKING:
    import argparse

DEFAULT_PATH = Path("/etc/netbond/netbond.toml")

T = TypeVar("T")
Parse = Callable[[object], Any]


class _Wrong(Exception):  # noqa: N818 - never leaves this module
    """What would be right, for a value that is not."""


# --- values ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostPort:
    """A UDP or TCP endpoint as the user wrote it; `host` is a name or an address, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_host_port(text: str) -> HostPort:
    """Read 'host:port' or '[v6]:port'; ValueError says what would be right."""
    expected = "'host:port' with a port from 1 to 65535 (IPv6 in brackets: '[::1]:5000')"
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(expected)
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(expected)
    if not re.fullmatch(r"[A-Za-z0-9._:%-]{1,253}", host):
        raise ValueError(expected)
    return HostPort(host, int(port))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Wrong("a string")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("true or false")
    return value


def _whole(low: int, high: int) -> Parse:
    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _Wrong(f"a whole number from {low} to {high}")
        return value

    return parse


def _one_of(*choices: str) -> Parse:
    def parse(value: object) -> str:
        if value not in choices:
            raise _Wrong("one of " + ", ".join(repr(choice) for choice in choices))
        return str(value)

    return parse


def _path(value: object) -> Path:
    path = Path(_text(value))
    if not path.is_absolute() or "\0" in str(path):
        raise _Wrong("an absolute path")
    return path


def _optional_path(value: object) -> Path | None:
    return None if value == "" else _path(value)


def _endpoint(value: object) -> HostPort:
    try:
        return parse_host_port(_text(value))
    except ValueError as error:
        raise _Wrong(str(error)) from None


def _address_endpoint(value: object) -> HostPort:
    endpoint = _endpoint(value)
    try:
        ipaddress.ip_address(endpoint.host)
    except ValueError:
        raise _Wrong("an address of this box and a port, like '127.0.0.1:6000' or '[::]:5000'") from None
    return endpoint


def _optional_address_endpoint(value: object) -> HostPort | None:
    return None if value == "" else _address_endpoint(value)


def _pattern(value: object) -> str:
    """A pattern for the interface's name, or a table of patterns for its hardware: as the text of a Match."""
    if isinstance(value, dict):
        given = {key: _hardware_pattern(key, pattern) for key, pattern in value.items()}
        if not given:
            raise _Wrong("a pattern for at least one of " + ", ".join(KEYS))
        return str(Match(**given))
    text = _text(value)
    if not text or len(text) > 64 or any(c.isspace() or c == "/" for c in text):
        raise _Wrong("an interface name or a pattern such as 'usb*'")
    return str(Match(name=text))


def _hardware_pattern(key: str, value: object) -> str:
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, n=1)
        raise _Wrong(f"{near[0]!r} instead of {key!r}" if near else "only " + ", ".join(KEYS))
    if not isinstance(value, str) or not value or len(value) > 128 or not value.isprintable():
        raise _Wrong(f"a pattern for {key}, like the values that `udevadm info /sys/class/net/usb0` shows")
    return "?".join(value.split(" "))  # a blank fits `?`; the text of a Match separates its keys by blanks


def _label(value: object) -> str:
    text = _text(value)
    if text and not re.fullmatch(r"[A-Za-z0-9._-]([A-Za-z0-9 ._-]{0,30}[A-Za-z0-9._-])?", text):
        raise _Wrong("at most 32 letters, digits, blanks, '.', '_' and '-'")
    return text


def _gateways(value: object) -> tuple[str, ...]:
    if value in ("auto", "none"):
        return (str(value),)
    addresses = value if isinstance(value, list) else [value]
    try:
        found = tuple(str(ipaddress.ip_address(_text(item))) for item in addresses)
    except ValueError:
        found = ()
    if not found or len(set(found)) != len(found):
        raise _Wrong("'auto', 'none' (point-to-point), an IP address, or a list of different addresses")
    return found


AUTO = 0  # UplinkConfig.weight: follows what is measured


def _weight(value: object) -> int:
    if value == "auto":
        return AUTO
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 256:
        raise _Wrong("a whole number from 1 to 256, or 'auto'")
    return value


def _destinations(value: object) -> tuple[str, ...]:
    """Prefixes in canonical form, host names in small letters."""
    if not isinstance(value, list) or not value:
        raise _Wrong("a list of prefixes, addresses and host names, like ['203.0.113.0/24', 'bank.example']")
    return tuple(_destination(_text(item)) for item in value)


def _destination(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        label = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
        name = text.lower().removesuffix(".")
        if len(name) > 253 or not re.fullmatch(rf"({label}\.)*[a-z_][a-z0-9_-]*", name):
            raise _Wrong(
                f"prefixes without host bits, addresses and host names; {text!r} is none of them"
            ) from None
        return name
    if network.prefixlen == 0:
        raise _Wrong("prefixes that are not everything; weights and `backup` say where everything goes")
    return str(network)


def _names(value: object) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else []
    if not texts or not all(isinstance(t, str) and t.isprintable() and 0 < len(t) <= 64 for t in texts):
        raise _Wrong("a list of names or patterns of uplinks, like ['usb0', 'usb*']")
    return tuple(texts)


def _table_bases(value: object) -> tuple[tuple[str, int], ...]:
    expected = _Wrong(
        f"a table such as {{usb = 100, eth = 110}}: each takes {PER_FAMILY} tables from 1 to {HIGHEST_TABLE}"
    )
    if not isinstance(value, dict):
        raise expected
    taken: set[int] = set()
    for name, base in value.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z_-]{0,11}", name) or type(base) is not int:
            raise expected
        numbers = set(range(base, base + PER_FAMILY))
        if base < 1 or base + PER_FAMILY - 1 > HIGHEST_TABLE or taken & numbers:
            raise expected
        taken |= numbers
    return tuple(value.items())


def _name(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", text):
        raise _Wrong("a name of letters, digits, '.', '_' and '-'")
    return text


def _table_range(value: object) -> tuple[int, int]:
    expected = _Wrong("two table numbers, lowest and highest, like [130, 219], between 1 and 252")
    if not isinstance(value, list) or len(value) != 2:
        raise expected
    low, high = value
    if type(low) is not int or type(high) is not int or not 1 <= low <= high <= HIGHEST_TABLE:
        raise expected
    return (low, high)


def _lan(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _Wrong("a list of interface names or patterns, like ['eth1', 'br0']")
    return tuple(_pattern(item) for item in value)


def _mark_mask(value: object) -> int:
    mask: int = _whole(0xFF, 0xFFFFFFFF)(value)
    lowest = mask & -mask
    if mask & (mask + lowest) or mask // lowest < 0xFF:
        raise _Wrong("a mask of 8 or more bits in a row, like 0xff000000")
    return mask


_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def _bytes(value: object) -> int:
    if value == "" or (type(value) is int and value == 0):
        return 0
    text = value if isinstance(value, str) else ""
    match = re.fullmatch(r"([0-9]{1,9})(?:\.([0-9]{1,6}))? ?([MGT]i?B)", text)
    if match is None:
        raise _Wrong("a number and one of " + ", ".join(_UNITS) + ", like '50GB'; 0 for none")
    fraction = match[2] or ""
    factor: int = 10 ** len(fraction)
    return int(match[1] + fraction) * _UNITS[match[3]] // factor


def _number(low: float, high: float) -> Parse:
    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise _Wrong(f"a number from {low:g} to {high:g}")
        return float(value)

    return parse


def _list(of: Parse, what: str, longest: int) -> Parse:
    def parse(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > longest:
            raise _Wrong(f"a list of at most {longest} {what}")
        found = tuple(of(item) for item in value)
        if len(set(found)) != len(found):
            raise _Wrong(f"a list of {what} without repetition")
        return found

    return parse


def _optional_checks(value: object) -> tuple[str, ...] | None:
    checks: tuple[str, ...] = _list(_name, "names of checks", 8)(value) if value != "" else ()
    return None if value == "" else checks


def _resolver(value: object) -> str:
    try:
        return str(ipaddress.ip_address(_text(value)))
    except ValueError:
        raise _Wrong("a list of addresses of DNS servers, like ['1.1.1.1', '2606:4700:4700::1111']") from None


def _query(value: object) -> str:
    try:
        target = targets.parse("icmp", _text(value))
    except ValueError:
        target = None
    if target is None or target.address is not None:
        raise _Wrong("a host name, like 'example.com'")
    return target.host


def _key(parse: Parse, default: Any) -> Any:
    return field(default=default, metadata={"parse": parse})


def _required(parse: Parse) -> Any:
    return field(metadata={"parse": parse})


# --- the tables of the file --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """[agent]: where the agent keeps and shows things."""

    ip_list: Path | None = _key(_optional_path, Path("/tmp/srtla_ips"))  # noqa: S108 - where senders look
    ip_list_devices: bool = _key(_flag, default=False)  # 10.0.0.10%usb0, understood by `netbond send` only
    ip_list_ipv6: bool = _key(_flag, default=False)  # senders other than `netbond send` read IPv4 only
    notify_pid_file: Path | None = _key(_optional_path, None)  # SIGHUP to this process on a new list
    notify_process: str = _key(lambda v: "" if v == "" else _name(v), "")  # ... or to those of this name
    control_socket: Path = _key(_path, Path("/run/netbond/control.sock"))
    metrics: HostPort | None = _key(_optional_address_endpoint, HostPort("127.0.0.1", 10469))
    state_dir: Path = _key(_path, Path("/run/netbond"))
    data_dir: Path = _key(_path, Path("/var/lib/netbond"))  # what must survive a reboot: usage.json
    user: str = _key(_name, "nobody")  # whom the engines run as
    iproute2_dir: Path | None = _key(_optional_path, Path("/etc/iproute2"))  # for rt_tables.d and rt_protos.d
    on_stop: str = _key(_one_of("remove", "keep"), "remove")  # netbond's routes and rules, when it is stopped
    networkmanager: bool = _key(_flag, default=True)  # follow it on the system bus, if it is there
    modemmanager: bool = _key(_flag, default=True)
    log_level: str = _key(_one_of("debug", "info", "warning", "error"), "info")


@dataclass(frozen=True, slots=True)
class RoutingConfig:
    """[routing]: what is written where (docs/routing.md draws both layouts)."""

    layout: str = _key(_one_of("default", "classic"), "default")
    ipv6: bool = _key(_flag, default=True)
    oif_priority: int = _key(_whole(1, 32765), 40)
    main_priority: int = _key(_whole(1, 32765), 50)
    classic_priority: int = _key(_whole(1, 32765), 201)  # the first `from NETWORK` rule of the classic layout
    pin_priority: int = _key(_whole(1, 32765), 220)
    pin_table: int = _key(_whole(1, HIGHEST_TABLE), 221)  # the destinations of [[pin]]
    ecmp_priority: int = _key(_whole(1, 32765), 222)
    ecmp_table: int = _key(_whole(1, HIGHEST_TABLE), 222)
    tables: tuple[int, int] = _key(_table_range, (130, 219))  # for names that table_bases does not have
    table_bases: tuple[tuple[str, int], ...] = _key(_table_bases, (("usb", 100), ("eth", 110), ("wlan", 120)))
    take_over_default: bool = _key(_flag, default=False)  # classic: others' defaults in main are taken out
    nexthop_base: int = _key(_whole(0, 2**31 - 1), 7_800_000)  # ids of nexthop objects; 0: use none
    protocol: int = _key(_whole(5, 255), 78)  # marks netbond's routes and rules: `ip route show proto 78`


@dataclass(frozen=True, slots=True)
class UplinkConfig:
    """[[uplink]]: what to do with the interfaces that match; the first match wins (netbond.match)."""

    match: str = _required(_pattern)  # the text of a netbond.devices.Match: "usb*", "path=*usb-0:1.2:*"
    weight: int = _key(_weight, 1)  # AUTO: follows what is measured
    gateway: tuple[str, ...] = _key(_gateways, ("auto",))
    enabled: bool = _key(_flag, default=True)
    backup: bool = _key(_flag, default=False)  # used while no other uplink is
    table: int = _key(_whole(1, HIGHEST_TABLE), 0)  # 0: chosen by netbond.tables
    label: str = _key(_label, "")  # what the interface is called, wherever the kernel's names go
    budget: int = _key(_bytes, 0)  # bytes a month, both directions; 0: not metered
    budget_day: int = _key(_whole(1, 31), 1)  # of the month, on which counting begins anew
    budget_action: str = _key(_one_of("warn", "backup", "off"), "warn")  # when it is spent (docs/metered.md)
    checks: tuple[str, ...] | None = _key(_optional_checks, None)  # None: those of [health]
    exclude_roaming: bool = _key(_flag, default=False)  # no uplink while ModemManager says that it roams


@dataclass(frozen=True, slots=True)
class PinConfig:
    """[[pin]]: destinations that leave by an uplink of choice."""

    destination: tuple[str, ...] = _required(_destinations)
    uplinks: tuple[str, ...] = _required(_names)  # patterns; the first that is usable carries them
    otherwise: str = _key(_one_of("share", "unreachable"), "share")  # when none of them is usable


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """[router]: clients behind LAN interfaces share the uplinks (docs/router.md)."""

    lan: tuple[str, ...] = _key(_lan, ())  # empty: router mode is off
    masquerade: bool = _key(_flag, default=True)  # IPv4
    ipv6: str = _key(_one_of("off", "masquerade", "forward"), "off")
    protect_lan: bool = _key(_flag, default=True)  # new connections from outside need a port forward
    clamp_mss: bool = _key(_flag, default=True)
    mark_mask: int = _key(_mark_mask, 0xFF000000)
    mark_priority: int = _key(_whole(1, 32765), 60)


@dataclass(frozen=True, slots=True)
class SysctlConfig:
    """[sysctl]: which kernel settings netbond makes fit (docs/sysctls.md)."""

    rp_filter: bool = _key(_flag, default=True)  # loose instead of strict on uplinks
    linkdown: bool = _key(_flag, default=True)  # ignore_routes_with_linkdown on uplinks
    multipath_hash: str = _key(_one_of("keep", "addresses", "flows"), "keep")
    use_neigh: bool = _key(_flag, default=False)  # fib_multipath_use_neigh
    socket_buffers: int = _key(_whole(0, 2**31 - 1), 67_108_864)  # bytes; 0: leave them
    forwarding: bool = _key(_flag, default=True)  # in router mode


@dataclass(frozen=True, slots=True)
class SenderConfig:
    """[[sender]]: an SRTLA sender that the agent keeps running."""

    listen: HostPort = _required(_address_endpoint)
    receiver: HostPort = _required(_endpoint)

    @property
    def name(self) -> str:
        """What logs and status call it; listening addresses are unique."""
        return f"sender {self.listen}"


@dataclass(frozen=True, slots=True)
class ReceiverConfig:
    """[[receiver]]: an SRTLA receiver that the agent keeps running."""

    listen: HostPort = _required(_address_endpoint)
    srt: HostPort = _required(_endpoint)

    @property
    def name(self) -> str:
        """What logs and status call it; listening addresses are unique."""
        return f"receiver {self.listen}"


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """[health]: which checks tell whether an uplink leads anywhere, and how they are judged."""

    checks: tuple[str, ...] = _key(
        _list(_name, "names of checks", 8), ("gateway",)
    )  # in this order; []: none
    interval: float = _key(_number(0.2, 3600), 5.0)  # seconds from one round of a check to the next
    jitter: float = _key(_number(0, 0.5), 0.1)  # as a share of the interval, either way
    timeout: float = _key(_number(0.1, 30), 2.0)  # seconds until a target counts as silent
    down_after: int = _key(_whole(1, 100), 3)  # failed rounds in a row
    up_after: int = _key(_whole(1, 100), 2)  # good rounds in a row, of every check
    degraded_loss: float = _key(_number(0, 100), 20.0)  # percent of the last answers missing; 100: never
    degraded_rtt: float = _key(_number(0, 60), 1.0)  # seconds, smoothed; 0: never
    hold_down: float = _key(_number(0, 3600), 10.0)  # seconds, at the second outage; doubled at each further
    hold_down_max: float = _key(_number(0, 86400), 300.0)  # seconds
    flap_memory: float = _key(_number(1, 86400), 600.0)  # seconds for which an outage is remembered
    down_from_list: bool = _key(_flag, default=True)  # a dead uplink leaves the address list, too
    evidence: bool = _key(_flag, default=True)  # what SRTLA links hear counts
    resolvers: tuple[str, ...] = _key(  # asked through the uplink, when a target is a name
        _list(_resolver, "addresses of DNS servers", 8),
        ("1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2001:4860:4860::8888"),
    )


DEFAULT_QUERY = "example.com"
DEFAULT_EXPECT = 204


@dataclass(frozen=True, slots=True)
class CheckConfig:
    """[[check]]: a check that [health] or an [[uplink]] names in `checks`."""

    name: str = _required(_name)
    kind: str = _required(_one_of(*targets.KINDS))
    targets: tuple[str, ...] = _key(_list(_text, "targets", 8), ())
    interval: float = _key(_number(0, 86400), 0.0)  # seconds; 0: that of [health]
    timeout: float = _key(_number(0, 30), 0.0)  # seconds; 0: that of [health]
    query: str = _key(_query, DEFAULT_QUERY)  # dns: the name that is asked for
    expect: int = _key(_whole(200, 599), DEFAULT_EXPECT)  # http: the status of an open way


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


# --- reading -----------------------------------------------------------------------------------------------


def _fill(cls: type[T], data: object, where: str, file: str) -> T:
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: {where} is {data!r}", f"write it as a table, [{where}]")
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # T is one of the dataclasses above
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"{file}: {where} has an unknown key {key!r}",
                f"did you mean {near[0]!r}?" if near else "the keys there are " + ", ".join(known),
            )
        try:
            values[key] = known[key].metadata["parse"](value)
        except _Wrong as wrong:
            raise ConfigError(
                f"{file}: {where}.{key} = {value!r} is not valid", f"expected {wrong}"
            ) from None
    for key, spec in known.items():
        if key not in values and spec.default is spec.default_factory:  # both MISSING: the key is required
            raise ConfigError(f"{file}: {where} lacks the key {key!r}", f"add {key} = ...")
    return cls(**values)


def parse(text: str, file: str = "configuration") -> Config:
    """Read a configuration from TOML text; ConfigError names what is wrong in it."""
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}", "mend that line") from None
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key in SINGLE:
            values[key] = _fill(SINGLE[key], value, key, file)
        elif key in REPEATED:
            if not isinstance(value, list):
                raise ConfigError(f"{file}: [{key}] is a single table", f"write it as [[{key}]]")
            values[key] = tuple(
                _fill(REPEATED[key], item, f"{key}[{number}]", file) for number, item in enumerate(value, 1)
            )
        else:
            near = difflib.get_close_matches(key, [*SINGLE, *REPEATED], n=1)
            raise ConfigError(
                f"{file}: unknown table {key!r}",
                f"did you mean {near[0]!r}?" if near else "known are " + ", ".join([*SINGLE, *REPEATED]),
            )
    config = Config(**values)
    _check_whole(config, file)
    return config


def _check_whole(config: Config, file: str) -> None:
    """What no single key can tell: things that must differ, and an order that must hold."""
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
    bases = [base + offset for _, base in routing.table_bases for offset in (0, PER_FAMILY - 1)]
    if routing.layout == "default":
        # Rules "from ADDRESS" stand at priority = table number: between the main rule and the pins.
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
    listens = [str(s.listen) for s in config.sender] + [str(r.listen) for r in config.receiver]
    for listen in listens:
        if listens.count(listen) > 1:
            raise ConfigError(f"{file}: two engines listen on {listen}", "give each a port of its own")
    _check_router(config, file)
    _check_health(config, file)


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


def _check_health(config: Config, file: str) -> None:
    """What [health], [[check]] and the chains of [[uplink]] must be together."""
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
        if not check.targets and check.kind != "gateway":
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
    known = list(dict.fromkeys([*(check.name for check in BUILT_IN_CHECKS), *names]))
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
    if config.health.hold_down > config.health.hold_down_max:
        raise ConfigError(
            f"{file}: health.hold_down = {config.health.hold_down:g} is more than"
            f" hold_down_max = {config.health.hold_down_max:g}",
            "make hold_down_max the larger one",
        )


def default_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file that $NETBOND_CONFIG names, which must then exist; None for the default place."""
    name = environ.get("NETBOND_CONFIG", "")
    return Path(name) if name else None


def config_argument(parser: argparse.ArgumentParser) -> None:
    """Add --config, as every command that reads the configuration has it; `args.config` is for `load`."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=default_path(),
        help=f"the configuration file (default: $NETBOND_CONFIG, or {DEFAULT_PATH} if it is there)",
    )


def load(path: Path | None) -> Config:
    """Read the file at `path`, or at the default place if it is None (where it may be missing)."""
    file = path or DEFAULT_PATH
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError:
        if path is None:
            return Config()
        raise ConfigError(f"{file}: no such file", "name a file that exists, or leave --config out") from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}", "make the file readable") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}", "save it as UTF-8") from None
    return parse(text, str(file))
