"""The command lines of what runs in a lab."""

from __future__ import annotations

import sys
from pathlib import Path

from netbond.lab import programs
from netbond.lab.topology import plan

MODEM = plan("lab", ["usb0"], [], {}).modems[0]


def test_a_modems_dhcp_server_knows_one_customer_and_nothing_of_the_host() -> None:
    words = programs.dnsmasq(MODEM, 600)
    assert f"--dhcp-range={MODEM.lease},{MODEM.lease},255.255.255.0,600s" in words
    assert f"--dhcp-host={MODEM.mac},{MODEM.lease}" in words
    assert {"--conf-file=/dev/null", "--pid-file=", "--leasefile-ro", "--port=0"} <= set(words)


def test_dhclient_keeps_its_files_in_the_lab() -> None:
    assert programs.dhclient("usb0", Path("/run/lab/leases")) == [
        "dhclient", "-4", "-d", "-pf", "/run/lab/leases/usb0.pid", "-lf", "/run/lab/leases/usb0.leases",
        "usb0",
    ]  # fmt: skip


def test_busyboxs_client_runs_the_labs_script_and_asks_each_second() -> None:
    assert programs.udhcpc("usb0", Path("/run/lab/script")) == [
        "busybox", "udhcpc", "-f", "-i", "usb0", "-s", "/run/lab/script", "-T", "1", "-A", "1",
    ]  # fmt: skip


def test_netbonds_own() -> None:
    netbond = Path("/run/lab/bin/netbond")
    assert programs.agent(netbond, Path("/c.toml")) == [str(netbond), "run", "--config", "/c.toml"]
    assert programs.receiver(netbond) == [
        str(netbond), "recv", "--srtla-port=5000", "--srt-hostname=127.0.0.1", "--srt-port=5002",
    ]  # fmt: skip


def test_the_cable_imports_nothing_from_the_folder_it_is_started_in() -> None:
    assert programs.cable(Path("/s"), Path("/w")) == [
        sys.executable, "-P", "-m", "netbond.lab.cable", "/s", "/w",
    ]  # fmt: skip
