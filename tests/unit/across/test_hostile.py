"""What sources say goes to terminals, logs, labels and commands, and arrives there harmless."""

from __future__ import annotations

import io
import json
import logging
import urllib.request
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest
from dbus_next import Variant
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from netbond.cli.run import _Formatter
from netbond.cli.status import render
from netbond.config.pattern import from_properties
from netbond.desired import Desired
from netbond.model import Interface, Uplink, UplinkState
from netbond.status.metrics import MetricsServer
from netbond.status.schema import HardwareStatus, Sections, Snapshot, to_json
from netbond.status.snapshot import AgentInfo, build
from netbond.watchers import modemmanager, networkmanager
from netbond.watchers.bus import Mirror


def _variant(value: object) -> Variant:
    """As the library hands it over; its check of the signature is not what is tested here."""
    variant: Variant = Variant.__new__(Variant)
    variant.signature, variant.value, variant.type = "v", value, None
    return variant


ESCAPES = '\x1b[2J\x1b]0;title\x07\r\n\x9b31m\u202e{x="y"}\\ \x00' + "A" * 4096
HOSTILE = st.one_of(st.text(max_size=60), st.just(ESCAPES), st.just("\ud800"), st.just(""))
# Anything that D-Bus can carry in place of what is expected.
VALUES = st.recursive(
    st.one_of(HOSTILE, st.integers(-(2**63), 2**64), st.booleans(), st.floats(), st.binary(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(HOSTILE, inner, max_size=3), inner.map(_variant)
    ),
    max_leaves=6,
)

UPLINK = Uplink("usb0", ip_interface("10.0.0.10/24"), ip_address("10.0.0.1"), "dhclient", 100)


def harmless(text: str) -> bool:
    """Whether each line of it is plain text."""
    return all(c.isprintable() or c == "\n" for c in text)


def shown(snapshot: Snapshot) -> str:
    out = io.StringIO()
    Console(file=out, width=160, markup=False, emoji=False, highlight=False).print(
        render(snapshot, 1.8e9, everything=True)
    )
    return out.getvalue()


def scraped(snapshot: Snapshot) -> str:
    server = MetricsServer("127.0.0.1", 0, lambda: snapshot)
    server.start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())
    finally:
        server.stop()


def whole(sections: Sections, uplink: Uplink = UPLINK) -> Snapshot:
    return build(
        AgentInfo("0.1.0", 1, 0.0),
        Desired(uplinks=(uplink,)),
        [Interface(uplink.device, 2)],
        [],
        ecmp_table=222,
        now=1.0,
        sections=sections,
    )


def mirrored(service: Any, interfaces: dict[str, dict[str, object]]) -> Any:
    mirror = Mirror(service.properties)
    mirror.load({"/org/freedesktop/x/1": interfaces})
    return mirror.objects


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_whatever_modemmanager_says(data: st.DataObject) -> None:
    interfaces = {
        name: {key: data.draw(VALUES, key) for key in sorted(keys) if data.draw(st.booleans())}
        for name, keys in modemmanager.SERVICE.properties.items()
    }
    modem_interface = interfaces[modemmanager.MODEM]
    if data.draw(st.booleans()):
        modem_interface["Ports"] = [["usb0", 2]]
    modems = modemmanager.parse_modems(mirrored(modemmanager.SERVICE, interfaces))
    assert len(modems) == 1
    found = modemmanager.modem_snapshot(modems[0])
    idle = modemmanager.idle_modem(replace(modems[0], devices=()))
    snapshot = whole(Sections(modems={"usb0": found}, idle_modems=(idle,)))
    json.dumps(to_json(snapshot), allow_nan=False)
    view = shown(snapshot)
    assert harmless(view)
    assert len(view) < 20_000
    for value in vars(found).values():
        if isinstance(value, str):
            assert value.isprintable()
            assert len(value) <= 600


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_whatever_networkmanager_says(data: st.DataObject) -> None:
    interfaces = {
        name: {key: data.draw(VALUES, key) for key in sorted(keys) if data.draw(st.booleans())}
        for name, keys in networkmanager.SERVICE.properties.items()
    }
    if data.draw(st.booleans()):
        interfaces[networkmanager.DEVICE] |= {"Interface": "usb0", "Managed": True, "State": 100}
        paths = {"Ip4Config", "Ip6Config", "Dhcp4Config", "ActiveConnection"}
        interfaces[networkmanager.DEVICE] |= dict.fromkeys(paths, "/org/freedesktop/x/1")
    devices = networkmanager.parse_devices(mirrored(networkmanager.SERVICE, interfaces))
    for claim in networkmanager.claims(devices, 1.0):
        assert claim.device.isprintable()
        assert "%" not in f"{claim.address}{claim.gateway}"
    found = {device.device: networkmanager.device_snapshot(device) for device in devices}
    if found:
        found["usb0"] = next(iter(found.values()))
    snapshot = whole(Sections(networkmanager=found))
    json.dumps(to_json(snapshot), allow_nan=False)
    assert harmless(shown(snapshot))


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "ID_PATH",
                "ID_VENDOR_ID",
                "ID_MODEL_ID",
                "ID_VENDOR",
                "ID_MODEL",
                "ID_VENDOR_FROM_DATABASE",
                "ID_SERIAL_SHORT",
                "ID_NET_DRIVER",
                "ID_BUS",
            ]
        ),
        HOSTILE,
    ),
    HOSTILE,
)
@example({"ID_SERIAL_SHORT": ESCAPES, "ID_PATH": ESCAPES, "ID_VENDOR": ESCAPES}, ESCAPES)
def test_whatever_a_stick_says_of_itself(properties: dict[str, str], mac: str) -> None:
    device = from_properties("usb0", properties, mac)
    view = shown(whole(Sections(hardware={"usb0": HardwareStatus.of(device)})))
    assert harmless(view)
    assert len(view) < 12_000


NAMES = ["us\x1b[31mb0", 'a"b{c=}', "\x7f\x9b", "\\", "\u202eb0"]


@pytest.mark.parametrize("name", NAMES)
def test_an_interfaces_name(name: str) -> None:
    """The kernel allows whatever is no blank, slash or colon."""
    modem = modemmanager.Modem(
        "/", operator=ESCAPES, model=ESCAPES, port=ESCAPES, state="locked", sim="sim-pin"
    )
    idle = replace(modemmanager.idle_modem(modem), device=name, why=ESCAPES)
    snapshot = whole(
        Sections(modems={name: modemmanager.modem_snapshot(modem)}, idle_modems=(idle,)),
        replace(UPLINK, device=name, reason=ESCAPES, state=UplinkState.DEAD),
    )
    assert harmless(shown(snapshot))
    text = scraped(snapshot)
    assert harmless(text)
    assert all(len(line) < 2000 for line in text.splitlines())
    # Each line is a comment or one sample, with quotes in labels escaped.
    for line in text.splitlines():
        assert line.startswith("#") or line.rpartition(" ")[2].replace(".", "").replace("e+", "").isdigit()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("journal", [False, True])
def test_a_line_of_the_log(name: str, journal: bool) -> None:
    record = logging.LogRecord("netbond", logging.INFO, "f", 1, "%s is up\n<0>no", (name,), None)
    line = _Formatter(journal).format(record)
    assert line.isprintable()
    assert line.endswith("is up\\n<0>no")
