"""`netbond exec`: which uplink it takes, and what it says when it cannot."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.cli import exec as exec_command
from netbond.cli import main
from netbond.cli.exec import choose, doubts, resolvers_for
from netbond.errors import UnavailableError
from netbond.status.schema import UplinkStatus


def uplink(name: str, device: str = "", family: int = 4, table: int = 100, state: str = "up") -> UplinkStatus:
    return UplinkStatus(
        name=name,
        device=device or name.partition("+")[0],
        family=family,
        address="10.0.0.10" if family == 4 else "2001:db8::10",
        prefix_length=24,
        gateway=None,
        gateway_source="dhclient",
        gateway_since=None,
        disputed=(),
        table=table,
        weight=1,
        state=state,
        reason="" if state == "up" else "no answer",
        in_ecmp=True,
        rx_bytes=0,
        tx_bytes=0,
        rx_bps=0,
        tx_bps=0,
    )


BOX = (
    uplink("usb0"),
    uplink("usb0", family=6),
    uplink("roof", "usb1", table=101),
    uplink("eth0", table=110),
    uplink("eth0+10.1.0.1", "eth0", table=130),
)


def test_an_uplink_by_its_name() -> None:
    assert choose(BOX, "usb0") == [BOX[0], BOX[1]]
    assert choose(BOX, "roof") == [BOX[2]]
    assert choose(BOX, "eth0") == [BOX[3]]


def test_an_uplink_by_its_interface() -> None:
    assert choose(BOX, "usb1") == [BOX[2]]


def test_an_unknown_uplink() -> None:
    with pytest.raises(UnavailableError) as found:
        choose(BOX, "usb7")
    assert str(found.value) == "there is no uplink 'usb7'; there are eth0, eth0+10.1.0.1, roof, usb0"
    with pytest.raises(UnavailableError, match="there is none at all"):
        choose((), "usb7")


def test_a_further_gateway_cannot_be_chosen_by_the_interface() -> None:
    with pytest.raises(UnavailableError, match=r"bind the program itself to 10\.0\.0\.10"):
        choose(BOX, "eth0+10.1.0.1")


def test_an_uplink_without_link() -> None:
    with pytest.raises(UnavailableError, match="usb0 has no link now \\(no carrier\\)"):
        choose([replace(BOX[0], state="no carrier")], "usb0")
    # One family will do.
    assert choose([replace(BOX[0], state="down"), BOX[1]], "usb0") == [BOX[1]]


def test_what_is_said_of_an_uplink_that_leads_nowhere() -> None:
    assert doubts([replace(BOX[0], state="dead", reason="10.0.0.1 does not answer ARP"), BOX[1]]) == [
        "usb0 (IPv4) is dead: 10.0.0.1 does not answer ARP"
    ]
    assert doubts([replace(BOX[0], state="standby", reason="backup")]) == []


def test_name_servers_of_the_uplinks_families() -> None:
    texts = ["192.0.2.53", "2001:db8::53", "192.0.2.54"]
    assert list(map(str, resolvers_for(texts, {4}))) == ["192.0.2.53", "192.0.2.54"]
    assert list(map(str, resolvers_for(texts, {6}))) == ["2001:db8::53"]
    assert list(map(str, resolvers_for(texts, {4, 6}))) == texts


def say(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    return main(["exec", *words]), capsys.readouterr().err


def test_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "netbond.toml"
    config.write_text(f'[agent]\ncontrol_socket = "{tmp_path}/none"\n')
    assert say(capsys, "usb0") == (
        64,
        "netbond exec: it needs a command to run; as in `netbond exec usb0 -- ping 192.0.2.1`\n",
    )
    assert say(capsys, "usb0", "--user", "nobody", "--", "true") == (
        64,
        "netbond exec: --user stands behind the uplink; options stand before it\n",
    )
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert say(capsys, "usb0", "--", "true") == (
        77,
        "netbond exec: only root can bind a program to an uplink; use sudo\n",
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert say(capsys, "--user", "no-such-user", "usb0", "--", "true")[0] == 69
    status, said = say(capsys, "--config", str(config), "usb0", "--", "true")
    assert (status, said.count("\n")) == (3, 1)


def test_the_command_gets_its_own_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from netbond.programs import binding, launch

    calls: list[object] = []
    config = tmp_path / "netbond.toml"
    config.write_text('[health]\nresolvers = ["192.0.2.53", "2001:db8::53"]\n')
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.setattr(exec_command, "_uplinks", lambda path: BOX)
    monkeypatch.setattr(binding, "bind", calls.append)

    def look_up_names_at(resolvers: list[object], device: str) -> str:
        calls.append([*map(str, resolvers), device])
        return ""

    def execute(command: list[str]) -> int:
        calls.append(command)
        return 7

    monkeypatch.setattr(binding, "look_up_names_at", look_up_names_at)
    monkeypatch.setattr(launch, "execute", execute)
    assert main(["exec", "--config", str(config), "roof", "--", "ping", "-c", "1", "--", "x"]) == 7
    assert calls == ["usb1", ["192.0.2.53", "usb1"], ["ping", "-c", "1", "--", "x"]]
