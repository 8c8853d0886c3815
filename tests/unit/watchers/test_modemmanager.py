"""What ModemManager's objects mean, and how a modem is put in a few words."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netbond.system.state_file import StateFileError
from netbond.system.typed_json import to_json
from netbond.watchers.modemmanager import (
    MODEM,
    MODEM_3GPP,
    SERVICE,
    SIGNAL,
    Modem,
    RoamingFile,
    excluded_by_roaming,
    modem_of,
    modem_snapshot,
    parse_modem,
    parse_modems,
    summary,
    technology,
    why_idle,
)

PATH = "/org/freedesktop/ModemManager1/Modem/3"
PORT = "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2"
UNKNOWN = -1.7976931348623157e308  # MM_SIGNAL_UNKNOWN

OBJECT: dict[str, dict[str, Any]] = {
    MODEM: {
        "Ports": [["cdc-wdm0", 6], ["ttyUSB2", 3], ["wwan0", 2]],
        "Device": PORT,
        "Manufacturer": "QUALCOMM INCORPORATED",
        "Model": "EC25-E",
        "State": 11,
        "StateFailedReason": 0,
        "UnlockRequired": 3,
        "Sim": "/org/freedesktop/ModemManager1/SIM/0",
        "AccessTechnologies": 1 << 14,
        "SignalQuality": [72, True],
        "CurrentBands": [31, 33, 37, 50, 301, 378, 5, 9999],
    },
    MODEM_3GPP: {"RegistrationState": 1, "OperatorName": "T-Mobile", "OperatorCode": "26201"},
    SIGNAL: {
        "Rate": 10,
        "Lte": {"rsrp": -95.0, "rsrq": -11.0, "rssi": -64.0, "snr": 13.4, "error-rate": UNKNOWN},
        "Umts": {},
    },
}

FOUND = Modem(
    path=PATH,
    devices=("wwan0",),
    port=PORT,
    manufacturer="QUALCOMM INCORPORATED",
    model="EC25-E",
    state="connected",
    sim="ok",
    registration="home",
    roaming=False,
    operator="T-Mobile",
    operator_code="26201",
    technologies=("lte",),
    signal_quality=72,
    rssi=-64.0,
    rsrp=-95.0,
    rsrq=-11.0,
    snr=13.4,
    bands=("eutran-1", "eutran-3", "eutran-7", "eutran-20", "ngran-1", "ngran-78", "utran-1", "band-9999"),
)


def parsed(interface: str = MODEM, **values: Any) -> Modem:
    """The modem with other values in one place."""
    found = parse_modem(PATH, {**OBJECT, interface: {**OBJECT[interface], **values}})
    assert found is not None
    return found


def test_a_modem() -> None:
    assert parse_modems({PATH: OBJECT, "/org/freedesktop/ModemManager1": {}}) == (FOUND,)


def test_what_names_a_person_is_not_even_kept() -> None:
    kept = {key for keys in SERVICE.properties.values() for key in keys}
    assert not kept & {"EquipmentIdentifier", "Imei", "OwnNumbers", "DeviceIdentifier", "Messages"}
    assert not kept & set(dir(FOUND)) & {"imei", "imsi"}


@pytest.mark.parametrize(
    ("modem", "words"),
    [
        (FOUND, "T-Mobile LTE 72 %"),
        (replace(FOUND, technologies=("lte", "5gnr")), "T-Mobile 5G 72 %"),
        (replace(FOUND, technologies=("umts", "hsdpa", "hsupa")), "T-Mobile 3G 72 %"),
        (replace(FOUND, technologies=()), "T-Mobile 72 %"),
        (replace(FOUND, roaming=True, operator="Orange"), "Orange LTE 72 % roaming"),
        (replace(FOUND, operator=""), "26201 LTE 72 %"),
        (replace(FOUND, signal_quality=None), "T-Mobile LTE"),
        (replace(FOUND, signal_quality=0), "T-Mobile LTE 0 %"),
        (replace(FOUND, roaming=None, registration="searching"), "searching"),
        (replace(FOUND, roaming=None, registration="denied"), "denied"),
        (replace(FOUND, roaming=None, registration="unknown", state="disabled"), "disabled"),
        (replace(FOUND, sim="missing", state="failed"), "no SIM"),
        (replace(FOUND, sim="sim-puk", state="locked"), "SIM waits for sim-puk"),
        (replace(FOUND, sim="unknown", state="failed", failed="SIM error"), "failed: SIM error"),
        (Modem(path=PATH), "unknown"),
        (Modem(path=PATH, roaming=False, state="registered"), "registered"),
    ],
)
def test_summary(modem: Modem, words: str) -> None:
    assert summary(modem) == words


@pytest.mark.parametrize(
    ("mask", "names", "spoken"),
    [
        (0, (), ""),
        (1 << 14, ("lte",), "LTE"),
        (1 << 14 | 1 << 15, ("lte", "5gnr"), "5G"),
        (1 << 5 | 1 << 9, ("umts", "hspa-plus"), "HSPA+"),
        (1 << 4, ("edge",), "EDGE"),
        (1 << 17, ("lte-nb-iot",), "NB-IoT"),
        (1 << 30, (), ""),  # one that is not known yet
        (0xFFFFFFFF, (), ""),
        (-1, (), ""),
        (True, (), ""),
        ("lte", (), ""),
    ],
)
def test_technologies(mask: object, names: tuple[str, ...], spoken: str) -> None:
    found = parsed(AccessTechnologies=mask)
    assert found.technologies == names
    assert technology(found) == spoken


@pytest.mark.parametrize(
    ("state", "roaming"),
    [(0, None), (1, False), (2, None), (3, None), (4, None), (5, True), (6, False), (7, True), (8, None),
     (9, False), (10, True), (11, None), (99, None), ("5", None)],
)  # fmt: skip
def test_roaming(state: object, roaming: bool | None) -> None:
    found = parsed(MODEM_3GPP, RegistrationState=state)
    assert found.roaming is roaming
    assert excluded_by_roaming([found], "wwan0") is (roaming is True)


def test_roaming_of_others_excludes_nothing() -> None:
    abroad = replace(FOUND, roaming=True)
    assert excluded_by_roaming([abroad], "wwan0")
    assert excluded_by_roaming([replace(abroad, current=False)], "wwan0")  # ModemManager restarts
    assert not excluded_by_roaming([abroad], "usb0")
    assert not excluded_by_roaming([], "wwan0")


@pytest.mark.parametrize(
    ("values", "sim"),
    [
        ({"UnlockRequired": 1}, "ok"),
        ({"UnlockRequired": 2, "State": 2}, "sim-pin"),
        ({"UnlockRequired": 4}, "sim-puk"),
        ({"UnlockRequired": 5}, "ok"),  # PUK2: no matter for data
        ({"UnlockRequired": 8}, "ph-net-pin"),
        ({"UnlockRequired": 0, "Sim": "/", "State": -1, "StateFailedReason": 2}, "missing"),
        ({"UnlockRequired": 1, "Sim": "/"}, "missing"),
        ({"UnlockRequired": 0}, "unknown"),
        ({"UnlockRequired": 77}, "unknown"),
        ({"UnlockRequired": 1, "Sim": 5}, "unknown"),
    ],
)
def test_sim(values: dict[str, object], sim: str) -> None:
    assert parsed(MODEM, **values).sim == sim


@pytest.mark.parametrize(
    ("signal", "rsrp", "snr"),
    [
        ({"Lte": {"rsrp": UNKNOWN, "snr": 7.0}}, None, 7.0),
        ({"Lte": {"rsrp": math.nan, "snr": math.inf}}, None, None),
        ({"Lte": {"rsrp": -20000.0}}, None, None),
        ({"Lte": {"rsrp": -95}}, None, None),  # an integer is not what the interface says
        ({"Lte": {"rsrp": "-95"}}, None, None),
        ({"Lte": []}, None, None),
        ({"Lte": {"rsrp": -95.0}, "Nr5g": {"rsrp": -88.04, "snr": 20.0}}, -88.0, 20.0),
        ({"Lte": {"rsrp": -95.0}, "Nr5g": {"rsrp": UNKNOWN}}, -95.0, None),
        ({"Lte": {}, "Evdo": {"sinr": 3.0, "rssi": -70.0}}, None, 3.0),
    ],
)
def test_signal(signal: dict[str, object], rsrp: float | None, snr: float | None) -> None:
    found = parse_modem(PATH, {**OBJECT, SIGNAL: signal})
    assert found is not None
    assert (found.rsrp, found.snr) == (rsrp, snr)


@pytest.mark.parametrize(
    ("value", "quality"),
    [([0, True], 0), ([100, False], 100), ([101, True], None), ([-1, True], None), ([True, True], None),
     ([], None), (72, None), ("72", None), ([72], None)],
)  # fmt: skip
def test_signal_quality(value: object, quality: int | None) -> None:
    assert parsed(SignalQuality=value).signal_quality == quality


def test_a_modem_that_is_off_has_no_signal() -> None:
    assert parsed(State=3, SignalQuality=[0, True]).signal_quality is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("T-Mobile  D\n", "T-Mobile D"),
        ("\x1b]0;owned\x07\x1b[2J", r"\x1b]0;owned\x07\x1b[2J"),
        ("Evil\u202emoc.elgoog", r"Evil\u202emoc.elgoog"),  # right-to-left override
        ("中国移动", "中国移动"),
        ("x" * 5000, "x" * 39 + "…"),
        ("\0\0", r"\x00\x00"),
        (7, ""),
        (["T-Mobile"], ""),
    ],
)
def test_what_comes_over_the_air_is_cleaned(name: object, shown: str) -> None:
    assert parsed(MODEM_3GPP, OperatorName=name).operator == shown


@pytest.mark.parametrize("code", ["2620", "2620111", "26201\n", "٢٦٢٠١", 26201, None, "../.."])
def test_operator_codes_that_are_none(code: object) -> None:
    assert parsed(MODEM_3GPP, OperatorCode=code).operator_code == ""


@pytest.mark.parametrize(
    "port", ["/dev/sda", "/sys/x\n", "sys/x", "/sys/" + "x" * 600, "/virtual/fake0", None]
)
def test_ports_that_are_none(port: object) -> None:
    assert parsed(Device=port).port == ""


@pytest.mark.parametrize(
    ("ports", "devices"),
    [
        ([["wwan0", 2], ["wwan1", 2]], ("wwan0", "wwan1")),
        ([["../x", 2], ["a b", 2], ["", 2], ["wwan0", "2"], ["wwan0"], "wwan0", 2, None], ()),
        ("wwan0", ()),
    ],
)
def test_interfaces(ports: object, devices: tuple[str, ...]) -> None:
    found = parsed(Ports=ports)
    assert found.devices == devices
    assert found.device == (devices[0] if devices else "")
    assert modem_of([found], "wwan1") == (found if "wwan1" in devices else None)


@pytest.mark.parametrize("value", [None, True, -1, 10**12, "100", [], [[]], {}, {"rsrp": None}, 1.5, b"x"])
def test_a_wrong_type_anywhere_is_as_good_as_nothing(value: object) -> None:
    for interface, properties in OBJECT.items():
        for key in properties:
            found = parsed(interface, **{key: value})
            json.dumps(to_json(modem_snapshot(found)), allow_nan=False)
            assert summary(found).isprintable()


def test_only_a_modem_is_one() -> None:
    assert parse_modem(PATH, {MODEM_3GPP: OBJECT[MODEM_3GPP]}) is None
    assert parse_modem(PATH, {MODEM: {}}) == Modem(path=PATH)


def test_snapshot() -> None:
    found = to_json(modem_snapshot(FOUND))
    assert found == {
        "summary": "T-Mobile LTE 72 %",
        "manufacturer": "QUALCOMM INCORPORATED",
        "model": "EC25-E",
        "port": PORT,
        "state": "connected",
        "failed": "",
        "sim": "ok",
        "registration": "home",
        "roaming": False,
        "operator": "T-Mobile",
        "operator_code": "26201",
        "technologies": ["lte"],
        "signal_quality": 72,
        "rssi_dbm": -64.0,
        "rsrp_dbm": -95.0,
        "rsrq_db": -11.0,
        "snr_db": 13.4,
        "bands": [
            "eutran-1",
            "eutran-3",
            "eutran-7",
            "eutran-20",
            "ngran-1",
            "ngran-78",
            "utran-1",
            "band-9999",
        ],
        "current": True,
    }


@pytest.mark.parametrize(
    ("modem", "why"),
    [
        (Modem("/", state="locked", sim="sim-pin"), "SIM waits for sim-pin"),
        (Modem("/", state="failed", sim="missing"), "no SIM"),
        (Modem("/", state="failed", failed="SIM error", sim="unknown"), "failed: SIM error"),
        (Modem("/", state="disabled", sim="ok"), "turned off (disabled)"),
        (Modem("/", state="searching", sim="ok", registration="denied"), "not registered: denied"),
        (Modem("/", state="enabled", sim="ok", registration="idle"), "not registered: enabled"),
        (
            Modem("/", state="registered", sim="ok", registration="home", roaming=False),
            "no data connection: registered",
        ),
        (
            Modem("/", state="connected", sim="ok", registration="home", roaming=False),
            "no network interface (PPP on a serial line?)",
        ),
        (Modem("/", ("wwan0",), state="connected", sim="ok", registration="home", roaming=False), ""),
    ],
)
def test_why_a_modem_is_no_uplink(modem: Modem, why: str) -> None:
    assert why_idle(modem) == why


# --- what is kept for the next agent ----------------------------------------------------------------------


def test_who_roams_is_kept_until_the_next_boot(tmp_path: Path) -> None:
    assert RoamingFile(tmp_path, "boot").load() == frozenset()
    RoamingFile(tmp_path, "boot").save({"wwan1", "wwan0"})
    assert RoamingFile(tmp_path, "boot").load() == {"wwan0", "wwan1"}
    assert RoamingFile(tmp_path, "next boot").load() == frozenset()
    RoamingFile(tmp_path, "boot").save(())
    assert RoamingFile(tmp_path, "boot").load() == frozenset()


def test_what_is_no_name_of_an_interface_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "roaming.json").write_text('["boot", 5, "../x", "a\\u001b[b", "wwan0"]')
    assert RoamingFile(tmp_path, "boot").load() == {"wwan0"}
    for strange in ('{"boot": "boot"}', '"boot"', "{}", "[]"):
        (tmp_path / "roaming.json").write_text(strange)
        with pytest.raises(StateFileError):
            RoamingFile(tmp_path, "boot").load()
