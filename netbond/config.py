"""The configuration file: TOML, checked key by key, into frozen dataclasses.

Every error is a ConfigError that names the file, the key, the value, and what would be right. A missing file
at the default place is an empty configuration: netbond works without one.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tomli

from netbond.errors import ConfigError

# The first and the last table of usb0-4, eth0-4 and wlan0-4 (netbond.tables).
TRADITIONAL_TABLES = (100, 124)

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
    text = _text(value)
    if not text or len(text) > 64 or any(c.isspace() or c == "/" for c in text):
        raise _Wrong("an interface name or a pattern such as 'usb*'")
    return text


def _gateway(value: object) -> str:
    text = _text(value)
    if text in ("auto", "none"):
        return text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise _Wrong("'auto', 'none' (point-to-point) or an IP address") from None


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
    if type(low) is not int or type(high) is not int or not 1 <= low <= high <= 252:
        raise expected
    return (low, high)


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
    notify_pid_file: Path | None = _key(_optional_path, None)  # SIGHUP to this process on a new list
    notify_process: str = _key(lambda v: "" if v == "" else _name(v), "")  # ... or to those of this name
    control_socket: Path = _key(_path, Path("/run/netbond/control.sock"))
    metrics: HostPort | None = _key(_optional_address_endpoint, HostPort("127.0.0.1", 10469))
    state_dir: Path = _key(_path, Path("/run/netbond"))
    user: str = _key(_name, "nobody")  # whom the engines run as
    iproute2_dir: Path | None = _key(_optional_path, Path("/etc/iproute2"))  # for rt_tables.d and rt_protos.d
    on_stop: str = _key(_one_of("remove", "keep"), "remove")  # netbond's routes and rules, when it is stopped
    networkmanager: bool = _key(_flag, default=True)  # follow it on the system bus, if it is there
    modemmanager: bool = _key(_flag, default=True)
    log_level: str = _key(_one_of("debug", "info", "warning", "error"), "info")


@dataclass(frozen=True, slots=True)
class RoutingConfig:
    """[routing]: the numbers of the rule layout (docs/routing.md draws it)."""

    oif_priority: int = _key(_whole(1, 32765), 40)
    main_priority: int = _key(_whole(1, 32765), 50)
    ecmp_priority: int = _key(_whole(1, 32765), 222)
    ecmp_table: int = _key(_whole(1, 252), 222)
    tables: tuple[int, int] = _key(_table_range, (130, 219))  # for names other than usb0-4, eth0-4, wlan0-4
    protocol: int = _key(_whole(5, 255), 78)  # marks netbond's routes and rules: `ip route show proto 78`


@dataclass(frozen=True, slots=True)
class UplinkConfig:
    """[[uplink]]: what to do with the interfaces whose name matches; the first match wins."""

    match: str = _required(_pattern)
    weight: int = _key(_whole(1, 256), 1)
    gateway: str = _key(_gateway, "auto")
    enabled: bool = _key(_flag, default=True)
    table: int = _key(_whole(1, 252), 0)  # 0: chosen by netbond.tables
    exclude_roaming: bool = _key(_flag, default=False)  # no uplink while ModemManager says that it roams


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
class Config:
    """The whole file."""

    agent: AgentConfig = field(default_factory=AgentConfig)
    routing: RoutingConfig = field(default_factory=RoutingConfig)
    uplink: tuple[UplinkConfig, ...] = ()
    sender: tuple[SenderConfig, ...] = ()
    receiver: tuple[ReceiverConfig, ...] = ()


SINGLE: Mapping[str, type[Any]] = {"agent": AgentConfig, "routing": RoutingConfig}
REPEATED: Mapping[str, type[Any]] = {
    "uplink": UplinkConfig,
    "sender": SenderConfig,
    "receiver": ReceiverConfig,
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
    if not routing.oif_priority < routing.main_priority < routing.ecmp_priority:
        raise ConfigError(
            f"{file}: routing priorities are out of order: oif_priority = {routing.oif_priority},"
            f" main_priority = {routing.main_priority}, ecmp_priority = {routing.ecmp_priority}",
            "keep oif_priority < main_priority < ecmp_priority, or bound sockets leave by the wrong uplink",
        )
    lowest, highest = routing.tables
    # Rules "from ADDRESS" stand at priority = table number: between the main rule and the ECMP rule.
    numbers = [lowest, highest, *TRADITIONAL_TABLES, *(u.table for u in config.uplink if u.table)]
    for number in numbers:
        if not routing.main_priority < number < routing.ecmp_priority:
            raise ConfigError(
                f"{file}: table {number} is not between main_priority = {routing.main_priority}"
                f" and ecmp_priority = {routing.ecmp_priority}",
                "a source rule stands at its table's number; choose tables inside or move the priorities",
            )
    fixed = [u.table for u in config.uplink if u.table]
    for number in fixed:
        if fixed.count(number) > 1 or number == routing.ecmp_table:
            raise ConfigError(
                f"{file}: table {number} is given twice", "each uplink needs a table of its own"
            )
    for uplink in config.uplink:
        if uplink.table and any(c in uplink.match for c in "*?["):
            raise ConfigError(
                f"{file}: uplink {uplink.match!r} sets table = {uplink.table} for a pattern",
                "a table belongs to one interface: match its exact name",
            )
    listens = [str(s.listen) for s in config.sender] + [str(r.listen) for r in config.receiver]
    for listen in listens:
        if listens.count(listen) > 1:
            raise ConfigError(f"{file}: two engines listen on {listen}", "give each a port of its own")


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
