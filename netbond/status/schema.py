"""The snapshot as types: what `netbond status --json` prints, what its view and the metrics read.

Types only. Keys are the names of the fields, in their order (netbond.system.typed_json), and a promise to
users' scripts: none is removed or given another meaning without a new VERSION. The tables of docs/status.md
and of the pages that it names are made from the descriptions here. Rates are bit/s, and 0 in the first second
of an interface; null means unknown or none.

A new field needs a default: a snapshot that an agent before it has made is read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from netbond.model import Device, IdleInterface
from netbond.srtla.statistics import EngineStatistics
from netbond.system import typed_json
from netbond.system.typed_json import doc

VERSION = 1


@dataclass(frozen=True, slots=True)
class ProblemStatus:
    """Something that is wrong at present."""

    code: str = field(metadata=doc("which kind of problem, for programs; [the list](#problems)"))
    subject: str = field(
        metadata=doc('what has it: the name of an uplink, a link, an engine or a stream; `""`: the box')
    )
    severity: str = field(
        metadata=doc(
            "`broken` (nothing gets through, or a stream does not), `degraded`, or `notice` (the verdict"
            " stays as it is)"
        )
    )
    since_s: float = field(metadata=doc("seconds that it has been so, as far as is known"))
    text: str = field(metadata=doc("in one line, as in `problems`"))
    hint: str = field(metadata=doc("what to do; empty where the text says it"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """All of the status in one line."""

    text: str = field(metadata=doc("`STREAMING 6.0 Mbit/s over 3 of 4 links; usb3: no answer for 20 s`"))
    code: int = field(
        metadata=doc("0: fine, 1: degraded, 2: broken, 3: not known yet; the exit status of `--check`")
    )


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """The agent itself."""

    running: bool = field(
        metadata=doc("true; false if no agent answered, and then only `error` is beside it")
    )
    version: str = field(metadata=doc("netbond's version"))
    pid: int = field(metadata=doc("process number"))
    uptime_s: float = field(metadata=doc("seconds since it started"))
    config: str | None = field(metadata=doc("the configuration file in use"))
    changes: int = field(metadata=doc("routes and rules added and removed since it started"))
    problems: tuple[str, ...] = field(metadata=doc("what is wrong at present"))
    problem_details: tuple[ProblemStatus, ...] = field(  # 0.1.0 did not have it
        default=(), metadata=doc("the same, in the same order, for programs")
    )


@dataclass(frozen=True, slots=True)
class ExcludedInterface:
    """An interface that is no uplink by its nature."""

    device: str = field(metadata=doc("interface name"))
    reason: str = field(metadata=doc("why it is no uplink"))


@dataclass(frozen=True, slots=True)
class DisputedGateway:
    """A gateway that a source names, and that is not used."""

    source: str = field(metadata=doc("who names it, as in `gateway_source`"))
    gateway: str = field(metadata=doc("its address"))


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """One of several gateways of an uplink."""

    gateway: str = field(metadata=doc("its address"))
    source: str = field(metadata=doc("who names it, as in `gateway_source`"))
    state: str = field(metadata=doc('what checks say of it: `"unknown"`, `"up"`, `"degraded"` or `"down"`'))
    reason: str = field(metadata=doc('why it is not simply up; `""`'))


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    """A way out: an interface, a family, a gateway."""

    name: str = field(
        metadata=doc(
            "the uplink's name: its label, or the interface's name; with `+10.1.0.1` for each further"
            " gateway on it"
        )
    )
    device: str = field(metadata=doc("interface name"))
    family: int = field(metadata=doc("4 or 6"))
    address: str = field(metadata=doc("the address that senders bind to"))
    prefix_length: int = field(metadata=doc("of its network"))
    gateway: str | None = field(metadata=doc("null: point-to-point, the device alone is the way"))
    gateway_source: str = field(
        metadata=doc(
            "`configuration`, a DHCP client's name such as `dhclient`, `NetworkManager`, `main"
            " default`, or `main default (gone)`"
        )
    )
    gateway_since: float | None = field(
        metadata=doc(
            "when the lease with the gateway came or was renewed (Unix time, right also if the clock"
            " has jumped since); null: from no lease, or from before the boot"
        )
    )
    disputed: tuple[DisputedGateway, ...] = field(
        metadata=doc("other gateways that sources name for it: `gateway`, and `source` as above")
    )
    table: int = field(metadata=doc("its routing table; its source rule has the same priority"))
    weight: int = field(
        metadata=doc('as a person has set it, as configured, or as measured with `weight = "auto"`')
    )
    state: str = field(
        metadata=doc(
            "`up`, `standby` (a backup that waits), `dead` (it leads nowhere), `degraded` (it loses or delays"
            " too much for `check_quality`), `spent` (its data plan is), `off` (a person has set it off),"
            " `no carrier` or `down`"
        )
    )
    reason: str = field(metadata=doc("why it is not up"))
    in_ecmp: bool = field(metadata=doc("whether unbound traffic may leave by it"))
    rx_bytes: int = field(metadata=doc("received by the interface since it exists"))
    tx_bytes: int = field(metadata=doc("sent by the interface since it exists"))
    rx_bps: int = field(metadata=doc("received over the last second, bit/s"))
    tx_bps: int = field(metadata=doc("sent over the last second, bit/s"))
    metered: bool = field(  # 0.1.0 did not have it
        default=False,
        metadata=doc(
            "whether its data costs money, as configured or as found out"
            " ([metered.md](metered.md#what-metered-means-for-streams))"
        ),
    )
    gateways: tuple[GatewayStatus, ...] = field(  # 0.1.0 did not have it
        default=(),
        metadata=doc(
            "if it has several: all of them, the best first; `gateway` is the one in use"
            " ([routing.md](routing.md#which-interfaces-are-uplinks)). `[]`: one or none"
        ),
    )
    mode: str = field(  # 0.1.0 did not have it
        default="normal",
        metadata=doc(
            "`normal`, `backup`, or `off`, as a person has set it ([overrides](#overrides)) or as configured"
        ),
    )
    priority: int = field(  # 0.1.0 did not have it
        default=0, metadata=doc("which links streams use first, as a person has set it or as configured")
    )


@dataclass(frozen=True, slots=True)
class EcmpLeg:
    """A nexthop of the default over all uplinks."""

    family: int = field(metadata=doc("4 or 6"))
    device: str = field(metadata=doc("interface name"))
    gateway: str | None = field(metadata=doc("null: point-to-point"))
    weight: int = field(metadata=doc("reduced: weights 2 and 4 are 1 and 2 here"))


@dataclass(frozen=True, slots=True)
class EcmpStatus:
    """The default over all uplinks."""

    table: int = field(metadata=doc("the table of the default over all uplinks"))
    legs: tuple[EcmpLeg, ...] = field(metadata=doc("its legs, IPv4 first"))


@dataclass(frozen=True, slots=True)
class PolicyUplink:
    """An uplink that a policy uses."""

    name: str = field(metadata=doc("the uplink's name"))
    weight: int = field(metadata=doc("its weight among those of the tier"))


@dataclass(frozen=True, slots=True)
class PolicyWayStatus:
    """What a policy does for a family."""

    family: int = field(metadata=doc("4 or 6"))
    best: int = field(metadata=doc("the first tier that works, from 1; 0: none"))
    tier: int = field(
        metadata=doc("the tier that new connections use; another than `best` while that one overflows")
    )
    uplinks: tuple[PolicyUplink, ...] = field(metadata=doc("the uplinks that new connections use"))
    reason: str = field(metadata=doc("why it is not the first tier"))


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """A policy."""

    name: str = field(metadata=doc("its name"))
    table: int = field(metadata=doc("its routing table"))
    tiers: tuple[tuple[str, ...], ...] = field(
        metadata=doc("the names of the uplinks of each tier that are there")
    )
    otherwise: str = field(metadata=doc("what happens when no tier works: `share` or `unreachable`"))
    ways: tuple[PolicyWayStatus, ...] = field(metadata=doc("what it does, for each family with such traffic"))
    problem: str = field(default="", metadata=doc("why it does nothing, although it should"))


@dataclass(frozen=True, slots=True)
class ForwardedFlows:
    """What keeps the flows that the box forwards on their uplink, of one family."""

    family: int = field(metadata=doc("4 or 6"))
    held_by: str = field(
        metadata=doc(
            "`connection marks`, `resilient nexthop group`, or `nothing`:"
            " [routing.md](routing.md#forwarded-flows)"
        )
    )


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """An SRTLA engine."""

    name: str = field(metadata=doc("as in `sender 127.0.0.1:6000`; unique"))
    role: str = field(metadata=doc("`sender` or `receiver`"))
    state: str = field(
        metadata=doc(
            "`starting`, `running`, `backing off` (it died and is started again in a moment), or"
            " `failed` (what is wrong will not go away by itself; it is tried every 10 s)"
        )
    )
    pid: int | None = field(metadata=doc("null: no process at present"))
    restarts: int = field(metadata=doc("how often it was started again"))
    reason: str = field(metadata=doc("why it is not running, or what is odd"))
    last_exit: str = field(metadata=doc("how its last process ended; empty if there was none"))
    stats: EngineStatistics | None = field(
        metadata=doc(
            "the engine's own figures, each second: [send](send.md#statistics), [recv](recv.md#statistics)"
        )
    )
    hung: int = field(  # 0.1.0 did not have it
        default=0, metadata=doc("how often it was ended because it hung: no statistics for some 3 s")
    )
    restarted_s: float | None = field(
        default=None, metadata=doc("seconds since it was last started again; null: never")
    )


@dataclass(frozen=True, slots=True)
class CheckStatus:
    """One check of an uplink."""

    name: str = field(metadata=doc("of the check"))
    state: str = field(
        metadata=doc('`"ok"`, `"failing"`, or `"waiting"`: not answered yet, or a check before it fails')
    )
    rtt_ms: float | None = field(metadata=doc("smoothed, of the fastest target; null: none yet"))
    loss: float | None = field(metadata=doc("share of the last answers missing, 0 to 1; null: too few yet"))
    detail: str = field(metadata=doc("what the last round brought"))


@dataclass(frozen=True, slots=True)
class HealthStatus:
    """What checks say of an uplink."""

    device: str = field(metadata=doc("of the uplink"))
    address: str = field(metadata=doc("of the uplink"))
    family: int = field(metadata=doc("of the uplink, 4 or 6"))
    state: str = field(
        metadata=doc(
            '`"unknown"`, `"up"`, `"degraded"`, `"suspect"` (a stream\'s link is silent) or `"down"`'
        )
    )
    reason: str = field(metadata=doc('why it is not simply up; `""`'))
    since_s: float = field(metadata=doc("seconds in this state"))
    checks: tuple[CheckStatus, ...] = field(metadata=doc("in the order of the chain"))


@dataclass(frozen=True, slots=True)
class DataPlanStatus:
    """An uplink with a budget."""

    device: str = field(metadata=doc("the interface"))
    used_bytes: int = field(metadata=doc("received and sent in the open month"))
    budget_bytes: int = field(metadata=doc("the budget"))
    since: str | None = field(
        metadata=doc("first day of the open month; `null` while no date was ever known")
    )
    resets: str | None = field(metadata=doc("the day on which counting begins anew; `null` likewise"))
    level: str = field(metadata=doc('`"ok"`, `"warning"` (80 %), `"spent"`'))
    verdict: str = field(metadata=doc('`"normal"`, `"backup"`, `"off"`: what the uplink is used for'))


@dataclass(frozen=True, slots=True)
class ManagedDevice:
    """What NetworkManager knows of an interface."""

    state: str = field(
        metadata=doc(
            "`unknown`, `unmanaged`, `unavailable`, `disconnected`, `prepare`, `config`, `need-auth`,"
            " `ip-config`, `ip-check`, `secondaries`, `activated`, `deactivating` or `failed`"
        )
    )
    managed: bool = field(metadata=doc("whether NetworkManager configures it"))
    addresses: tuple[str, ...] = field(metadata=doc('as NetworkManager set them, `"10.0.0.36/24"`'))
    gateway4: str | None = field(metadata=doc("an address, or `null`"))
    gateway6: str | None = field(metadata=doc("an address, or `null`"))
    dns: tuple[str, ...] = field(metadata=doc("name servers of this connection"))
    metered: str = field(metadata=doc("`yes`, `no`, `guess-yes`, `guess-no` or `unknown`"))
    connectivity: str = field(
        metadata=doc(
            "`full`, `limited`, `portal`, `none` or `unknown`, the better of IPv4 and IPv6. Only as"
            " good as NetworkManager's check: where that is turned off, it is a guess from the routes."
        )
    )
    connection: str = field(metadata=doc("the connection's name"))
    lease_seconds: int = field(metadata=doc("the time of the DHCP lease; 0: none, or for ever"))
    external: bool = field(
        metadata=doc("`true`: somebody else configures it, and NetworkManager shows what it finds")
    )
    current: bool = field(metadata=doc("`false`: from before NetworkManager or the bus went away"))


@dataclass(frozen=True)
class ModemStatus:
    """What ModemManager knows of a modem."""

    summary: str = field(
        metadata=doc(
            "in a few words: `T-Mobile LTE 72 %`, `Orange 5G 60 % roaming`, `searching`, `SIM waits for"
            " sim-pin`, `no SIM`"
        )
    )
    manufacturer: str = field(metadata=doc("as the modem says"))
    model: str = field(metadata=doc("as the modem says"))
    port: str = field(
        metadata=doc("where it is plugged in: a path in sysfs, the same after a re-plug and a reboot")
    )
    state: str = field(
        metadata=doc(
            "`failed`, `unknown`, `initializing`, `locked`, `disabled`, `disabling`, `enabling`,"
            " `enabled`, `searching`, `registered`, `disconnecting`, `connecting` or `connected`"
        )
    )
    failed: str = field(metadata=doc("why the state is `failed`"))
    sim: str = field(
        metadata=doc(
            "`ok`, `missing`, `unknown`, or what it waits for: `sim-pin`, `sim-puk`, `ph-net-pin`, ..."
        )
    )
    registration: str = field(
        metadata=doc(
            "`idle`, `home`, `searching`, `denied`, `unknown`, `roaming`, `home-sms-only`,"
            " `roaming-sms-only`, `emergency-only`, ..."
        )
    )
    roaming: bool | None = field(metadata=doc("`true`, `false`, or `null` while not registered"))
    operator: str = field(metadata=doc("its name"))
    operator_code: str = field(metadata=doc("MCC with MNC (`26201`)"))
    technologies: tuple[str, ...] = field(
        metadata=doc(
            "in use: `lte`, `5gnr`, `umts`, `hspa-plus`, ...; `lte` and `5gnr` together are 5G with an"
            " LTE anchor"
        )
    )
    signal_quality: int | None = field(metadata=doc("per cent; `null` while the modem is off"))
    rssi_dbm: float | None = field(
        metadata=doc("of the best radio that measures, as the next three; `null` where it does not")
    )
    rsrp_dbm: float | None = field(metadata=doc("likewise"))
    rsrq_db: float | None = field(metadata=doc("likewise"))
    snr_db: float | None = field(metadata=doc("likewise"))
    bands: tuple[str, ...] = field(
        metadata=doc(
            "that the modem may use: `eutran-20`, `ngran-78`, ...; not the one in use, which"
            " ModemManager 1.20 does not tell without a scan of the cells"
        )
    )
    current: bool = field(
        metadata=doc("`false`: from before ModemManager or the bus went away; the signal is left out then")
    )


@dataclass(frozen=True)
class NoUplink:
    """Why a modem is no uplink."""

    device: str | None = field(metadata=doc("its interface; null: it has none"))
    why: str = field(
        metadata=doc(
            "what keeps it from being an uplink; empty if it is not the modem (then `idle` or"
            " `excluded` tells)"
        )
    )


@dataclass(frozen=True)
class IdleModem(ModemStatus, NoUplink):
    """A modem that is no uplink: `device` and `why`, then the keys of a modem."""


@dataclass(frozen=True, slots=True)
class DepartedUplink:
    """An uplink that was there a while ago."""

    name: str = field(metadata=doc("the uplink's name"))
    device: str = field(metadata=doc("interface name"))
    family: int = field(metadata=doc("4 or 6"))
    address: str = field(metadata=doc("that it had"))
    gateway: str | None = field(metadata=doc("that it had"))
    gone_s: float = field(metadata=doc("seconds since then"))
    reason: str = field(
        metadata=doc("`unplugged` if the interface is not there either, else why it is no uplink")
    )


@dataclass(frozen=True, slots=True)
class HardwareStatus:
    """What an interface is, as udev and sysfs tell it."""

    path: str = field(default="", metadata=doc("the port, as udev names it (ID_PATH)", omit=True))
    vendor: str = field(default="", metadata=doc("the number on the bus, such as `12d1`", omit=True))
    model: str = field(default="", metadata=doc("the number on the bus, such as `14db`", omit=True))
    vendor_name: str = field(default="", metadata=doc("for people", omit=True))
    model_name: str = field(default="", metadata=doc("for people", omit=True))
    serial: str = field(default="", metadata=doc("serial number", omit=True))
    driver: str = field(default="", metadata=doc("of the kernel", omit=True))
    mac: str = field(default="", metadata=doc("MAC address", omit=True))
    bus: str = field(default="", metadata=doc("`usb`, `pci`, ...", omit=True))

    @classmethod
    @lru_cache(maxsize=256)  # each snapshot asks for all devices, which rarely change
    def of(cls, device: Device) -> HardwareStatus:
        """What is known of a device."""
        return cls(**{key.name: getattr(device, key.name) for key in fields(cls)})


@dataclass(frozen=True, slots=True)
class PolicyConnections:
    """How many connections a policy has on an uplink."""

    policy: str = field(metadata=doc("the policy's name"))
    uplink: str = field(metadata=doc("the uplink's name"))
    connections: int = field(metadata=doc("forwarded ones, and those of this box's own sockets"))


@dataclass(frozen=True, slots=True)
class OverrideStatus:
    """What a person has set of an uplink; it is stronger than the configuration."""

    uplink: str = field(metadata=doc("the uplink's name; it need not be there now"))
    what: str = field(metadata=doc("`mode`, `weight` or `priority`"))
    value: str | int = field(
        metadata=doc("of the mode `normal`, `backup` or `off`; of weight and priority the number")
    )
    by: str = field(metadata=doc("who has set it"))
    since_s: float = field(metadata=doc("seconds since then"))
    left_s: float | None = field(metadata=doc("seconds for which it still holds; null: until it is unset"))
    configured: str | int | None = field(
        metadata=doc("what it is without it, `auto` for a weight that is measured; null: it is not there now")
    )


@dataclass(frozen=True)
class Sections:
    """The parts of a snapshot that come from other sources than the kernel."""

    health: tuple[HealthStatus, ...] = field(
        default=(),
        metadata=doc("one for each uplink that is checked: [health.md](health.md#in-a-snapshot)"),
    )
    metered: tuple[DataPlanStatus, ...] = field(
        default=(),
        metadata=doc("one for each uplink with a budget: [metered.md](metered.md#in-netbond-status---json)"),
    )
    networkmanager: Mapping[str, ManagedDevice] = field(
        default_factory=dict,
        metadata=doc(
            "by device, what NetworkManager knows of it:"
            " [networkmanager.md](networkmanager.md#what-is-known-of-an-interface)"
        ),
    )
    modems: Mapping[str, ModemStatus] = field(
        default_factory=dict,
        metadata=doc(
            "by device, the modem that it is: [modemmanager.md](modemmanager.md#what-is-known-of-a-modem)"
        ),
    )
    idle_modems: tuple[IdleModem, ...] = field(default=(), metadata=doc("modems that are no uplinks"))
    gone: tuple[DepartedUplink, ...] = field(
        default=(), metadata=doc("uplinks of the last 10 minutes that are none any more")
    )
    hardware: Mapping[str, HardwareStatus] = field(
        default_factory=dict, metadata=doc("by device, what it is")
    )
    connections: tuple[PolicyConnections, ...] = field(
        default=(),
        metadata=doc("of each policy on each uplink, counted each 10 s: [policies.md](policies.md)"),
    )
    overrides: tuple[OverrideStatus, ...] = field(
        default=(), metadata=doc("what people have set, by uplink: stronger than the configuration")
    )


@dataclass(frozen=True)
class Core:
    """The parts of a snapshot that come from the agent itself."""

    version: int = field(metadata=doc("1"))
    agent: AgentStatus = field(metadata=doc("the agent itself"))
    excluded: tuple[ExcludedInterface, ...] = field(
        metadata=doc("interfaces that are no uplinks, by their nature or because something is missing")
    )
    idle: tuple[IdleInterface, ...] = field(
        metadata=doc(
            "interfaces that an `[[uplink]]` names, and `[[uplink]]`s, without an uplink, each `usb1: why`"
        )
    )
    uplinks: tuple[UplinkStatus, ...] = field(metadata=doc("the ways out"))
    ecmp: EcmpStatus = field(metadata=doc("the default over all uplinks"))
    engines: tuple[EngineStatus, ...] = field(metadata=doc("senders and receivers"))
    policies: tuple[PolicyStatus, ...] = field(
        default=(), metadata=doc("the policies, in the order of the file: [policies.md](policies.md)")
    )
    flows: tuple[ForwardedFlows, ...] = field(
        default=(),
        metadata=doc("families of which the box forwards flows and has several uplinks: what holds them"),
    )
    verdict: Verdict | None = field(  # 0.1.0 did not have it
        default=None, metadata=doc("all of it in one line")
    )


@dataclass(frozen=True)
class Snapshot(Sections, Core):
    """The whole, of one moment. Bases in this order: the keys of Core come first."""


@dataclass(frozen=True, slots=True)
class NoAgent:
    """In the place of the agent when none answers."""

    running: bool = field(metadata=doc("false"))
    error: str = field(metadata=doc("why there is no answer"))


@dataclass(frozen=True, slots=True)
class KernelStatus:
    """What the kernel holds of netbond's, as `ip rule add` and `ip route add` take it."""

    rules: tuple[str, ...] = field(metadata=doc("netbond's own, as `ip rule add` takes them"))
    routes: tuple[str, ...] = field(metadata=doc("netbond's own, as `ip route add` takes them"))
    error: str = field(default="", metadata=doc("why they cannot be read", omit=True))


@dataclass(frozen=True, slots=True)
class WithoutAgent:
    """What is known while no agent runs."""

    version: int = field(metadata=doc("1"))
    agent: NoAgent = field(metadata=doc("in its place: no agent answers"))
    kernel: KernelStatus = field(metadata=doc("what the kernel still holds"))
    verdict: Verdict | None = field(default=None, metadata=doc("all of it in one line"))


def to_json(snapshot: Snapshot | WithoutAgent) -> dict[str, Any]:
    """The snapshot as plain JSON values."""
    found: dict[str, Any] = typed_json.to_json(snapshot)
    return found


def from_json(value: object) -> Snapshot:
    """The snapshot that an agent, perhaps of another version, has made; ValueError if it is none.

    Unknown keys are passed over, and objects that lack a key are left out.
    """
    return typed_json.read_tolerant(Snapshot, value)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of what `netbond status --json` prints."""
    return {"title": "netbond status", **typed_json.json_schema(Snapshot, WithoutAgent)}
