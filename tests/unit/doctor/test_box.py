"""Checks of the box around the routes, each on a box that is well and on one that is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from netbond.doctor import box
from netbond.doctor.model import Clock, DhcpClient, ListFile
from netbond.status.schema import OverrideStatus
from tests.unit.doctor.boxes import agent, codes, healthy

UNIT = {
    "LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no",
    "Result": "success", "Restart": "always", "NRestarts": "0", "RuntimeWatchdogUSec": "0",
}  # fmt: skip


def test_the_configuration() -> None:
    assert codes(box.configuration(healthy())) == [("config", "ok", "")]
    broken = replace(healthy(), config_error="netbond.toml: routing.layout = 'x' is not valid", root=False)
    found = [*box.configuration(broken)]
    assert codes(found) == [("config", "error", ""), ("root", "unknown", "")]
    assert "routing.layout" in found[0].evidence


def test_the_agent() -> None:
    assert codes(box.agent(healthy())) == [("agent", "ok", "")]
    (found,) = box.agent(replace(healthy(), snapshot=None, no_agent="nobody answers"))
    assert (found.severity, found.evidence) == ("error", "nobody answers")
    assert found.mend.startswith("systemctl start netbond")


def test_what_a_person_has_set_is_said_with_the_command_that_takes_it_back() -> None:
    assert codes(box.set_by_hand(healthy())) == []
    assert codes(box.set_by_hand(replace(healthy(), snapshot=None))) == []
    off = OverrideStatus("roof", "mode", "off", "root", 7500.0, None, "normal")
    backup = OverrideStatus("my usb", "mode", "backup", "the web page", 60.0, 1800.0, None)
    normal = OverrideStatus("usb2", "mode", "normal", "root", 5.0, None, "backup")
    weight = OverrideStatus("usb3", "weight", 3, "root", 5.0, None, 1)
    found = [
        *box.set_by_hand(
            replace(healthy(), snapshot=replace(agent(), overrides=(off, backup, normal, weight)))
        )
    ]
    assert [(each.code, each.severity, each.verdict, each.evidence, each.mend) for each in found] == [
        (
            "set",
            "warning",
            "roof is set off by root, until it is unset",
            "set 2 h 5 min ago; without it: mode normal",
            "netbond unset roof mode",
        ),
        (
            "set",
            "warning",
            "my usb is set backup by the web page, for 30 min more",
            "set 1 min ago; the uplink is not there now",
            "netbond unset 'my usb' mode",
        ),
        (
            "set",
            "ok",
            "usb2 is set normal by root, until it is unset",
            "set 5 s ago; without it: mode backup",
            "netbond unset usb2 mode",
        ),
        (
            "set",
            "ok",
            "usb3 is set weight 3 by root, until it is unset",
            "set 5 s ago; without it: weight 1",
            "netbond unset usb3 weight",
        ),
    ]
    assert {each.fix for each in found} == {()}, "a person has set it, and a person takes it back"


@pytest.mark.parametrize(
    ("changed", "severities", "mend"),
    [
        ({}, ["ok"], ""),
        ({"LoadState": "not-found"}, ["warning"], "netbond install"),
        ({"UnitFileState": "disabled"}, ["warning", "ok"], "systemctl enable netbond"),
        ({"NeedDaemonReload": "yes"}, ["warning", "ok"], "systemctl daemon-reload"),
        ({"ActiveState": "failed", "Result": "exit-code"}, ["error"], "journalctl -u netbond"),
        ({"Restart": "no"}, ["warning"], "write Restart=always"),
    ],
)
def test_the_unit(changed: dict[str, str], severities: list[str], mend: str) -> None:
    found = [*box.unit(replace(healthy(), unit=UNIT | changed))]
    assert [each.severity for each in found] == severities
    assert found[0].mend.startswith(mend)


def test_without_systemd() -> None:
    assert codes(box.unit(healthy())) == [("unit", "unknown", "")]
    assert codes(box.watchdog(healthy())) == []


def test_a_watchdog_is_told() -> None:
    (found,) = box.watchdog(replace(healthy(), unit=UNIT))
    assert (found.severity, found.verdict) == ("ok", "no hardware watchdog is in use")
    (found,) = box.watchdog(replace(healthy(), unit=UNIT | {"RuntimeWatchdogUSec": "15s"}))
    assert (found.severity, found.evidence) == ("ok", "RuntimeWatchdogUSec=15s")


def test_the_flavour() -> None:
    assert codes(box.flavour(healthy())) == [("flavour", "ok", "")]
    (found,) = box.flavour(replace(healthy(), pure_because="NETBOND_PURE=1"))
    assert (found.severity, found.evidence) == ("warning", "NETBOND_PURE=1")


def test_the_clock() -> None:
    assert codes(box.clock(healthy())) == [("clock", "ok", "")]
    assert codes(box.clock(replace(healthy(), clock=None))) == []
    late = replace(healthy(), clock=Clock(1_800_000_000.0, synchronised=False))
    assert codes(box.clock(late)) == [("clock", "warning", "")]
    (found,) = box.clock(replace(healthy(), clock=Clock(86_400.0, synchronised=False)))
    assert (found.severity, found.mend) == ("error", "timedatectl set-ntp true")


PLACE = "/etc/dhcp/dhclient-exit-hooks.d/netbond"


def test_hooks_of_dhcp_clients() -> None:
    there = DhcpClient("dhclient", PLACE, PLACE, installable=True)
    well = replace(healthy(), dhcp_clients=(there,))
    assert codes(box.dhcp_hooks(well)) == [("dhcp-hook", "ok", "dhclient")]
    (found,) = box.dhcp_hooks(replace(well, dhcp_clients=(replace(there, hook=""),)))
    assert (found.severity, found.mend) == ("warning", "netbond install")
    other = replace(there, hook="", installable=False)
    (found,) = box.dhcp_hooks(replace(well, dhcp_clients=(other,)))
    assert found.mend == "install it: docs/sources.md"
    unfit = replace(there, trouble=f"{PLACE} is not executable")
    (found,) = box.dhcp_hooks(replace(well, dhcp_clients=(unfit,)))
    assert (found.severity, found.evidence) == ("warning", f"{PLACE} is not executable")
    silent = replace(there, name="dhcpcd")  # no lease is from it
    (found,) = box.dhcp_hooks(replace(well, dhcp_clients=(silent,)))
    assert (found.severity, found.subject) == ("unknown", "dhcpcd")


def test_own_hooks() -> None:
    hooks = {"tell-me": "", "log-it": "/opt/log is not executable"}
    found = [*box.hooks(replace(healthy(), unfit_hooks=hooks))]
    assert codes(found) == [("hook", "ok", "tell-me"), ("hook", "warning", "log-it")]
    assert found[1].evidence == "/opt/log is not executable"


LIST = ListFile("/tmp/srtla_ips", "10.0.0.10\n", "10.0.0.10\n", readers=(7,))


@pytest.mark.parametrize(
    ("changed", "severity", "evidence"),
    [
        ({}, "ok", "10.0.0.10"),
        ({"text": None, "trouble": "no such file"}, "warning", "no such file"),
        ({"text": "10.0.9.9\n"}, "error", "it has 10.0.9.9, not 10.0.0.10"),
        ({"wanted": ""}, "ok", "10.0.0.10"),  # an empty one is not written
    ],
)
def test_the_address_list(changed: dict[str, Any], severity: str, evidence: str) -> None:
    (found,) = box.address_list(replace(healthy(), address_list=replace(LIST, **changed)))
    assert (found.severity, found.evidence) == (severity, evidence)


def test_who_reads_the_address_list() -> None:
    assert codes(box.address_list(healthy())) == []
    told = replace(healthy('[agent]\nnotify_process = "srtla_send"'), address_list=LIST)
    assert codes(box.address_list(told))[1] == ("ip-list-reader", "ok", "srtla_send")
    nobody = replace(told, address_list=replace(LIST, readers=()))
    assert codes(box.address_list(nobody))[1] == ("ip-list-reader", "warning", "srtla_send")
