"""Reads from ModemManager which modem an interface is, its operator, its signal, and whether it roams.

Parsing is a pure function of the objects on the bus. `ModemManagerWatcher` keeps its result up to date. It
asks ModemManager to measure the signal every SIGNAL_INTERVAL_S, which that does not do by itself.

ModemManager runs as root, but much of what it says comes from elsewhere: the operator's name comes over the
air from the cell, the model from the modem. All of it is cut and cleaned here.

IMEI, IMSI, ICCID, telephone numbers and messages are not kept, not even in memory. They name a person, and
many people see metrics and status. An uplink's port or name serves a box better than an IMEI.

Source: the D-Bus reference and the enumerations in include/ModemManager-enums.h of ModemManager 1.20.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from netbond.status.schema import IdleModem, ModemStatus
from netbond.system.clock import boot_id
from netbond.system.state_file import StateFile, StateFileError
from netbond.watchers.bus import RUNNING, BusError, Objects, Properties, Service, Watcher, device_name, text
from netbond.watchers.bus import whole as _whole

logger = logging.getLogger(__name__)

NAME = "org.freedesktop.ModemManager1"
MODEM = f"{NAME}.Modem"
MODEM_3GPP = f"{NAME}.Modem.Modem3gpp"
SIGNAL = f"{NAME}.Modem.Signal"

SERVICE = Service(
    title="ModemManager",
    name=NAME,
    root="/org/freedesktop/ModemManager1",
    namespace="/org/freedesktop/ModemManager1",
    properties={
        MODEM: frozenset(
            {
                "Ports",
                "Device",
                "Manufacturer",
                "Model",
                "State",
                "StateFailedReason",
                "UnlockRequired",
                "Sim",
                "AccessTechnologies",
                "SignalQuality",
                "CurrentBands",
            }
        ),
        MODEM_3GPP: frozenset({"RegistrationState", "OperatorName", "OperatorCode"}),
        SIGNAL: frozenset({"Rate", "Cdma", "Evdo", "Gsm", "Umts", "Lte", "Nr5g"}),
    },
)

SIGNAL_INTERVAL_S = 10  # between measurements; each one occupies the modem's control channel for a moment
SETUP_TIMEOUT_S = 30.0  # a busy AT port is slow
ROAMING = "roaming.json"  # in state_dir
LARGEST_ROAMING_BYTES = 65536
HOLD_S = 60.0  # a restarted ModemManager must find its modems again within this time

STATES = {
    -1: "failed",
    0: "unknown",
    1: "initializing",
    2: "locked",
    3: "disabled",
    4: "disabling",
    5: "enabling",
    6: "enabled",
    7: "searching",
    8: "registered",
    9: "disconnecting",
    10: "connecting",
    11: "connected",
}
ENABLED = 6

REGISTRATIONS = {
    0: "idle",
    1: "home",
    2: "searching",
    3: "denied",
    4: "unknown",
    5: "roaming",
    6: "home-sms-only",
    7: "roaming-sms-only",
    8: "emergency-only",
    9: "home-csfb-not-preferred",
    10: "roaming-csfb-not-preferred",
    11: "attached-rlos",
}
AT_HOME = frozenset({"home", "home-sms-only", "home-csfb-not-preferred"})
TELLING_REGISTRATIONS = frozenset({"searching", "denied", "emergency-only"})  # say more than the state
ABROAD = frozenset({"roaming", "roaming-sms-only", "roaming-csfb-not-preferred"})

LOCKS = {
    0: "unknown",
    1: "none",
    2: "sim-pin",
    3: "sim-pin2",
    4: "sim-puk",
    5: "sim-puk2",
    6: "ph-sp-pin",
    7: "ph-sp-puk",
    8: "ph-net-pin",
    9: "ph-net-puk",
    10: "ph-sim-pin",
    11: "ph-corp-pin",
    12: "ph-corp-puk",
    13: "ph-fsim-pin",
    14: "ph-fsim-puk",
    15: "ph-netsub-pin",
    16: "ph-netsub-puk",
}
# The second PIN protects special functions of the SIM. Data needs no second PIN.
HARMLESS_LOCKS = frozenset({"none", "unknown", "sim-pin2", "sim-puk2"})

FAILED_REASONS = {2: "no SIM", 3: "SIM error", 4: "unknown capabilities", 5: "eSIM without profiles"}

# MMModemAccessTechnology, bits from the lowest.
TECHNOLOGIES = (
    "pots", "gsm", "gsm-compact", "gprs", "edge", "umts", "hsdpa", "hsupa", "hspa", "hspa-plus",
    "1xrtt", "evdo0", "evdoa", "evdob", "lte", "5gnr", "lte-cat-m", "lte-nb-iot",
)  # fmt: skip
# Common names of technologies, the best first.
SPOKEN = (
    ("5gnr", "5G"), ("lte", "LTE"), ("lte-cat-m", "LTE-M"), ("lte-nb-iot", "NB-IoT"), ("hspa-plus", "HSPA+"),
    ("hspa", "HSPA"), ("hsupa", "3G"), ("hsdpa", "3G"), ("umts", "3G"), ("evdob", "EVDO"), ("evdoa", "EVDO"),
    ("evdo0", "EVDO"), ("1xrtt", "1x"), ("edge", "EDGE"), ("gprs", "GPRS"), ("gsm", "GSM"),
    ("gsm-compact", "GSM"),
)  # fmt: skip

PORT_NET = 2  # MMModemPortType

# The plausible range of each measurement of Modem.Signal. ModemManager gives values far outside for
# "unknown". 3GPP TS 36.133 and 38.133 bound what is reported; the ranges leave a little room.
RANGES = {"rssi": (-140.0, 0.0), "rsrp": (-160.0, -20.0), "rsrq": (-50.0, 25.0), "snr": (-50.0, 60.0)}
# The best radio that has measurements is shown. With non-standalone 5G, both LTE and NR have.
RADIOS = ("Nr5g", "Lte", "Umts", "Evdo", "Cdma", "Gsm")

# MMModemBand: the first and last number, what to subtract for the band's own, and its name.
BAND_RANGES = ((31, 127, 30, "eutran"), (301, 620, 300, "ngran"), (128, 147, 128, "cdma-bc"))
BANDS = {
    1: "egsm", 2: "dcs", 3: "pcs", 4: "g850", 5: "utran-1", 6: "utran-3", 7: "utran-4", 8: "utran-6",
    9: "utran-5", 10: "utran-8", 11: "utran-9", 12: "utran-2", 13: "utran-7", 256: "any",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Modem:
    """A modem. Strings are printable and short, numbers within their plausible range."""

    path: str  # on the bus; changes with each plug
    devices: tuple[str, ...] = ()  # its network interfaces
    port: str = ""  # where it is plugged in: a path in sysfs, the same after a re-plug
    manufacturer: str = ""
    model: str = ""
    state: str = "unknown"  # one of STATES
    failed: str = ""  # why the state is "failed"
    sim: str = "unknown"  # "ok", "missing", "unknown", or the lock (LOCKS) that it waits for
    registration: str = "unknown"  # one of REGISTRATIONS
    roaming: bool | None = None  # None while not registered
    operator: str = ""
    operator_code: str = ""  # MCC and MNC, 5 or 6 digits
    technologies: tuple[str, ...] = ()  # in use: "lte", "5gnr", ...
    signal_quality: int | None = None  # per cent
    rssi: float | None = None  # dBm
    rsrp: float | None = None  # dBm
    rsrq: float | None = None  # dB
    snr: float | None = None  # dB
    bands: tuple[str, ...] = ()  # that the modem may use: "eutran-20", ...
    current: bool = True  # False: what was known before ModemManager or the bus went away

    @property
    def device(self) -> str:
        """The interface that its data uses, "" if it has none (a modem on a serial line)."""
        return self.devices[0] if self.devices else ""


# --- reading objects --------------------------------------------------------------------------------------


def _ports(value: object) -> Iterable[str]:
    """The network interfaces in Ports (a(su))."""
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, list) and len(entry) == 2 and entry[1] == PORT_NET:
            name = device_name(entry[0])
            if name:
                yield name


def _name(names: Mapping[int, str], value: object) -> str:
    number = _whole(value)
    return "unknown" if number is None else names.get(number, "unknown")


def _technologies(value: object) -> tuple[str, ...]:
    mask = _whole(value) or 0
    if mask < 0 or mask == 0xFFFFFFFF:  # MM_MODEM_ACCESS_TECHNOLOGY_ANY: no answer to "which"
        return ()
    return tuple(name for bit, name in enumerate(TECHNOLOGIES) if mask >> bit & 1)


def _quality(value: object, state: int) -> int | None:
    """SignalQuality (ub): per cent, and whether it was measured lately. A modem that is off says 0."""
    if state >= ENABLED and isinstance(value, list) and len(value) == 2:
        percent = _whole(value[0])
        if percent is not None and 0 <= percent <= 100:
            return percent
    return None


def _measured(signal: Properties) -> dict[str, float | None]:
    """The measurements of the best radio that has any, by the names of RANGES."""
    for radio in RADIOS:
        values = signal.get(radio)
        if isinstance(values, dict):
            found = {name: _in_range(values.get(name), *limits) for name, limits in RANGES.items()}
            if found["snr"] is None:  # EV-DO has it under this name
                found["snr"] = _in_range(values.get("sinr"), *RANGES["snr"])
            if any(value is not None for value in found.values()):
                return found
    return {}


def _in_range(value: object, low: float, high: float) -> float | None:
    if isinstance(value, float) and math.isfinite(value) and low <= value <= high:
        return round(value, 1)
    return None


def _band(number: int) -> str:
    for first, last, less, name in BAND_RANGES:
        if first <= number <= last:
            return f"{name}-{number - less}"
    return BANDS.get(number, f"band-{number}")


def _bands(value: object) -> tuple[str, ...]:
    numbers = [_whole(item) for item in value[:256]] if isinstance(value, list) else []
    return tuple(_band(number) for number in numbers if number)


def _sim(modem: Properties) -> str:
    lock = _name(LOCKS, modem.get("UnlockRequired"))
    if lock not in HARMLESS_LOCKS:
        return lock
    if modem.get("Sim") == "/" or _whole(modem.get("StateFailedReason")) == 2:
        return "missing"
    return "ok" if isinstance(modem.get("Sim"), str) and lock != "unknown" else "unknown"


def parse_modem(path: str, interfaces: Mapping[str, Properties]) -> Modem | None:
    """The modem with these interfaces and properties; None if it is no modem."""
    modem = interfaces.get(MODEM)
    if modem is None:
        return None
    network = interfaces.get(MODEM_3GPP, {})
    state = _whole(modem.get("State")) or 0
    registration = _name(REGISTRATIONS, network.get("RegistrationState"))
    code = network.get("OperatorCode")
    port = modem.get("Device")
    measured = _measured(interfaces.get(SIGNAL, {}))
    return Modem(
        path=path,
        devices=tuple(_ports(modem.get("Ports"))),
        port=port if isinstance(port, str) and re.fullmatch(r"/sys/[!-~]{1,500}", port) else "",
        manufacturer=text(modem.get("Manufacturer"), 64),
        model=text(modem.get("Model"), 64),
        state=STATES.get(state, "unknown"),
        failed=FAILED_REASONS.get(_whole(modem.get("StateFailedReason")) or 0, "") if state == -1 else "",
        sim=_sim(modem),
        registration=registration,
        roaming=True if registration in ABROAD else False if registration in AT_HOME else None,
        operator=text(network.get("OperatorName"), 40),
        operator_code=code if isinstance(code, str) and re.fullmatch(r"[0-9]{5,6}", code) else "",
        technologies=_technologies(modem.get("AccessTechnologies")),
        signal_quality=_quality(modem.get("SignalQuality"), state),
        rssi=measured.get("rssi"),
        rsrp=measured.get("rsrp"),
        rsrq=measured.get("rsrq"),
        snr=measured.get("snr"),
        bands=_bands(modem.get("CurrentBands")),
    )


def parse_modems(objects: Objects) -> tuple[Modem, ...]:
    """All modems, in the order of their interfaces."""
    found = [parse_modem(path, interfaces) for path, interfaces in objects.items()]
    return tuple(sorted((m for m in found if m is not None), key=lambda m: (m.device, m.path)))


# --- what others ask --------------------------------------------------------------------------------------


def modem_of(modems: Iterable[Modem], device: str) -> Modem | None:
    """The modem that the interface belongs to."""
    return next((modem for modem in modems if device in modem.devices), None)


def excluded_by_roaming(modems: Iterable[Modem], device: str) -> bool:
    """Whether `exclude_roaming = true` keeps the interface out: its modem is known to roam.

    What is unknown excludes nothing. A modem that is not registered moves no data that could cost money. A
    modem that ModemManager does not know (a "HiLink" stick, with a router inside) cannot be judged here.
    """
    modem = modem_of(modems, device)
    return modem is not None and modem.roaming is True


def technology(modem: Modem) -> str:
    """The common name of the best technology in use: "5G", "LTE", "3G"; "" if none."""
    return next((spoken for name, spoken in SPOKEN if name in modem.technologies), "")


def summary(modem: Modem) -> str:
    """The modem in a few words: "T-Mobile LTE 72 %", "SIM waits for sim-pin", "searching"."""
    if modem.sim == "missing":
        return "no SIM"
    if modem.sim not in ("ok", "unknown"):
        return f"SIM waits for {modem.sim}"
    if modem.state == "failed":
        return f"failed: {modem.failed}" if modem.failed else "failed"
    if modem.roaming is None:
        return modem.registration if modem.registration in TELLING_REGISTRATIONS else modem.state
    quality = "" if modem.signal_quality is None else f"{modem.signal_quality} %"
    words = [
        modem.operator or modem.operator_code,
        technology(modem),
        quality,
        "roaming" if modem.roaming else "",
    ]
    return " ".join(word for word in words if word) or modem.state


def why_idle(modem: Modem) -> str:
    """Why the modem cannot be an uplink, as far as the modem itself is the reason; "" if none is known."""
    if modem.sim not in ("ok", "unknown") or modem.state in ("failed", "unknown", "locked"):
        return summary(modem)
    if modem.state in ("disabled", "disabling"):
        return "turned off (disabled)"
    if modem.roaming is None:
        return f"not registered: {summary(modem)}"
    if modem.state != "connected":
        return f"no data connection: {modem.state}"
    return "" if modem.devices else "no network interface (PPP on a serial line?)"


def modem_snapshot(modem: Modem) -> ModemStatus:
    """The modem as `netbond status` shows it."""
    return ModemStatus(
        summary=summary(modem),
        manufacturer=modem.manufacturer,
        model=modem.model,
        port=modem.port,
        state=modem.state,
        failed=modem.failed,
        sim=modem.sim,
        registration=modem.registration,
        roaming=modem.roaming,
        operator=modem.operator,
        operator_code=modem.operator_code,
        technologies=modem.technologies,
        signal_quality=modem.signal_quality,
        rssi_dbm=modem.rssi,
        rsrp_dbm=modem.rsrp,
        rsrq_db=modem.rsrq,
        snr_db=modem.snr,
        bands=modem.bands,
        current=modem.current,
    )


def idle_modem(modem: Modem) -> IdleModem:
    """A modem that is no uplink, as `netbond status` shows it."""
    return IdleModem(device=modem.device or None, why=why_idle(modem), **vars(modem_snapshot(modem)))


# --- what is kept for the next agent ----------------------------------------------------------------------


class RoamingFile:
    """The interfaces whose modem roams, for an agent that is started while ModemManager is away.

    After a reboot nothing is known: modems register anew.
    """

    def __init__(self, state_dir: Path, boot: str | None = None) -> None:
        self.path = state_dir / ROAMING
        # netbond 0.1 wrote a list that began with the boot id.
        self._file = StateFile(
            self.path,
            "roaming",
            LARGEST_ROAMING_BYTES,
            old=lambda found: {"boot": found[0], "devices": found[1:]},
        )
        self._boot = boot_id() if boot is None else boot

    def load(self) -> frozenset[str]:
        """What was saved since the kernel started. StateFileError or OSError if it cannot be used."""
        try:
            kept = self._file.read()
        except FileNotFoundError:
            return frozenset()
        devices = kept.get("devices")
        if not isinstance(devices, list):
            raise StateFileError("it is not a list of interfaces")
        if kept.get("boot") != self._boot:
            return frozenset()
        return frozenset(name for name in map(device_name, devices) if name)

    def save(self, devices: Iterable[str]) -> None:
        """Keep these. OSError if that fails."""
        self._file.write({"boot": self._boot, "devices": sorted(devices)})


# --- watching ---------------------------------------------------------------------------------------------


def without_signal(modem: Modem) -> Modem:
    """The modem without its measurements, which are outdated while ModemManager is away."""
    return replace(modem, current=False, signal_quality=None, rssi=None, rsrp=None, rsrq=None, snr=None)


class ModemManagerWatcher(Watcher[Modem]):
    """Keeps the facts of ModemManager's modems.

    While ModemManager is away, and for HOLD_S after it is back, its modems are still given, marked
    `current=False`. So a restart does not hide that an uplink roams.
    """

    def __init__(
        self, address: str | None = None, *, signal_rate: int = SIGNAL_INTERVAL_S, hold: float = HOLD_S
    ) -> None:
        """`address`: of the bus; None for $DBUS_SYSTEM_BUS_ADDRESS or the usual place. Times in seconds."""
        super().__init__(SERVICE, address)
        self._signal_rate = signal_rate
        self._hold = hold
        self._held: tuple[Modem, ...] = ()  # from before the last restart, not found again yet
        self._release: asyncio.TimerHandle | None = None
        self._asked: dict[str, asyncio.Task[None]] = {}  # modem path -> asking for its signal, perhaps done

    def recall(self, roaming: Iterable[str]) -> None:
        """Call before start(): the modems of these interfaces roamed when the last agent ended.

        As after a restart of ModemManager, they roam until it says otherwise, or for HOLD_S after it is back.
        """
        self._facts = self._held = tuple(
            Modem("", (device,), registration="roaming", roaming=True, current=False)
            for device in sorted(set(roaming))
        )

    async def stop(self) -> None:
        """End; the facts stay as they are."""
        await super().stop()
        if self._release is not None:
            self._release.cancel()
        asking = set(self._asked.values())
        for task in asking:
            task.cancel()
        if asking:
            await asyncio.wait(asking)

    def _read(self) -> tuple[Modem, ...]:
        if self._follower.status != RUNNING:
            self._held = tuple(without_signal(modem) for modem in self._facts)
            if self._release is not None:
                self._release.cancel()
                self._release = None
            return self._held
        modems = parse_modems(self._follower.objects)
        found = {device for modem in modems for device in modem.devices}
        self._held = tuple(m for m in self._held if m.devices and found.isdisjoint(m.devices))
        if self._held and self._release is None:
            self._release = asyncio.get_running_loop().call_later(self._hold, self._forget)
        self._ask_for_signals()
        return (*modems, *self._held)

    def _forget(self) -> None:
        self._release = None
        self._held = ()
        self._changed()

    def _ask_for_signals(self) -> None:
        """Ask for the signal to be measured on each enabled modem that does not do so yet.

        A rate that another program has set stays. Each modem is asked once whenever it becomes enabled: a
        modem that cannot measure must not be asked for ever.
        """
        objects = self._follower.objects
        wanting = {
            path
            for path, interfaces in objects.items()
            if SIGNAL in interfaces and (_whole(interfaces.get(MODEM, {}).get("State")) or 0) >= ENABLED
        }
        for path in [path for path in self._asked if path not in wanting]:
            self._asked.pop(path).cancel()
        for path in wanting - self._asked.keys():
            if not _whole(objects[path][SIGNAL].get("Rate")):
                self._asked[path] = asyncio.get_running_loop().create_task(self._ask_for_signal(path))

    async def _ask_for_signal(self, path: str) -> None:
        try:
            await self._follower.call(path, SIGNAL, "Setup", "u", [self._signal_rate], SETUP_TIMEOUT_S)
        except BusError as error:
            # Normal for modems that cannot measure, and for one that is unplugged meanwhile. The rest is
            # shown.
            logger.info("ModemManager: %s gives no signal details: %s", path, error)
