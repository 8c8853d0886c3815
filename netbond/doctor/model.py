"""What the checks of `netbond doctor` are told, and what they find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netbond.config.schema import Config
from netbond.desired import Desired
from netbond.explain import Query
from netbond.model import Facts, Route
from netbond.status.schema import Snapshot
from netbond.system.typed_json import doc

# The severities, the worst first.
ERROR = "error"
WARNING = "warning"
UNKNOWN = "unknown"  # it could not be checked
OK = "ok"
SEVERITIES = (ERROR, WARNING, UNKNOWN, OK)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says."""

    code: str = field(metadata=doc("which check it is, for programs"))
    severity: str = field(metadata=doc("`error`, `warning`, `unknown` (it could not be checked) or `ok`"))
    subject: str = field(metadata=doc('the uplink, engine, interface or file; `""`: the box'))
    verdict: str = field(metadata=doc("in one line"))
    evidence: str = field(default="", metadata=doc("what it was seen by"))
    mend: str = field(
        default="",
        metadata=doc("what mends it: commands for root, else a sentence; empty: nothing is to do"),
    )
    fix: tuple[str, ...] = field(
        default=(), metadata=doc("commands that `--fix` runs; `[]`: what to do is for a person to decide")
    )


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the kernel answers to `ip route get`: a route, or None and how it refuses."""

    query: Query
    answer: Route | None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """A kernel setting that is not as bonding needs it; `name` as below /proc/sys."""

    name: str
    old: str
    command: str
    why: str


@dataclass(frozen=True, slots=True)
class ListFile:
    """The address list as it is, and as it should be. `text` None: it cannot be read, `trouble` says why."""

    path: str
    text: str | None
    wanted: str
    trouble: str = ""
    readers: tuple[int, ...] = ()  # processes that are told of it


@dataclass(frozen=True, slots=True)
class Clock:
    """The wall clock, Unix time, and whether a time server sets it."""

    now: float
    synchronised: bool


@dataclass(frozen=True, slots=True)
class DhcpClient:
    """A DHCP client that runs, and its hook."""

    name: str  # as in Lease.source
    hook: str  # the file that calls netbond; "": none was found
    place: str  # where it belongs
    installable: bool  # by `netbond install`
    trouble: str = ""  # why the client does not run it


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question through an uplink, or from this box, has brought.

    `kind` is "dns" (a name server), "receiver" (an SRTLA receiver) or "srt" (an SRT server). `answered` None:
    it could not be asked, `detail` says why.
    """

    kind: str
    uplink: str  # name; "" for what is asked from this box
    family: int  # 4 or 6; 0: of a name that was not found
    target: str
    answered: bool | None
    detail: str = ""
    of_system: bool = False  # a name server that the box itself uses


@dataclass(frozen=True, slots=True)
class PathMtu:
    """The longest packet, in bytes, that came back from `target` through an uplink; None: none did."""

    uplink: str
    family: int
    target: str
    largest: int | None
    device: str = ""
    trouble: str = ""  # why it was not asked


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was seen of a box before the checks, and why the rest could not be."""

    config: Config
    facts: Facts
    goal: Desired
    config_error: str = ""
    snapshot: Snapshot | None = None
    no_agent: str = ""  # why there is no snapshot
    root: bool = True
    no_policy_routing: str = ""
    release: str = ""  # of the kernel
    lookups: tuple[Lookup, ...] = ()
    settings: tuple[Setting, ...] = ()  # those to change
    table_names: Mapping[int, str] | None = None  # None: nobody wants them, or they cannot be read
    address_list: ListFile | None = None  # None: there is none
    unit: Mapping[str, str] | None = None  # properties, as `systemctl show`; None: no systemd here
    pure_because: str = ""  # why the engines are pure Python; "": they are compiled
    clock: Clock | None = None
    dhcp_clients: tuple[DhcpClient, ...] = ()
    unfit_hooks: Mapping[str, str] = field(default_factory=dict)  # [[hook]] by name: why it is not run; ""
    asked: tuple[Asked, ...] = ()
    path_mtus: tuple[PathMtu, ...] = ()
    firewall: str | None = None  # `nft list ruleset`; None: it cannot be read
    no_firewall: str = ""  # why
