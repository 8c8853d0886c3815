"""Checks of what the network answers, each on a box that is well and on one that is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netbond.doctor import network
from netbond.doctor.model import Asked, Finding, PathMtu
from tests.unit.doctor.boxes import codes, healthy


def dns(uplink: str, target: str, answered: bool | None, *, of_system: bool = False) -> Asked:
    detail = {True: "answers in 20 ms", False: "no answer within 3 s", None: "no file descriptor"}[answered]
    return Asked("dns", uplink, 4, target, answered, detail, of_system)


def names(*asked: Asked) -> list[Finding]:
    return list(network.name_servers(replace(healthy(), asked=asked)))


def test_name_servers_that_answer() -> None:
    (found,) = names(dns("usb0", "10.0.0.1", True, of_system=True), dns("usb0", "1.1.1.1", True))
    assert (found.severity, found.evidence) == (
        "ok", "10.0.0.1: answers in 20 ms; 1.1.1.1: answers in 20 ms",
    )  # fmt: skip
    assert names() == []


def test_a_name_server_of_another_carrier() -> None:
    found = names(
        dns("usb0", "10.0.0.1", True, of_system=True), dns("usb1", "10.0.0.1", False, of_system=True),
        dns("usb0", "1.1.1.1", True), dns("usb1", "1.1.1.1", True),
    )  # fmt: skip
    assert codes(found) == [("dns", "ok", "usb0"), ("dns", "warning", "usb1")]
    assert found[1].mend == "name one that answers everywhere: nameserver 1.1.1.1 in /etc/resolv.conf"
    # One of several that netbond knows and the box does not use is nobody's fault.
    assert codes(names(dns("usb0", "1.1.1.1", True), dns("usb0", "8.8.8.8", False))) == [
        ("dns", "ok", "usb0")
    ]


def test_no_name_server_over_one_uplink() -> None:
    found = names(dns("usb0", "1.1.1.1", True), dns("usb1", "1.1.1.1", False), dns("usb2", "1.1.1.1", None))
    assert codes(found) == [("dns", "ok", "usb0"), ("dns", "error", "usb1"), ("dns", "unknown", "usb2")]


@pytest.mark.parametrize(
    ("family", "largest", "severity"),
    [
        (4, 1360, "ok"),
        (4, 1320, "error"),
        (4, 576, "error"),
        (4, None, "unknown"),
        (6, 1380, "ok"),
        (6, 1320, "error"),
    ],
)
def test_path_mtu(family: int, largest: int | None, severity: str) -> None:
    path = PathMtu("usb0", family, "192.0.2.7", largest)
    (found,) = network.path_mtu(replace(healthy(), path_mtus=(path,)))
    assert (found.code, found.severity, found.subject) == ("path-mtu", severity, "usb0")


def test_the_packets_that_fit() -> None:
    path = PathMtu("usb0", 4, "192.0.2.7", 1280)
    (found,) = network.path_mtu(replace(healthy(), path_mtus=(path,)))
    assert found.evidence == "192.0.2.7 answers 1280 bytes, not more"
    assert found.mend.endswith("payload_size=1128 in its SRT URL")
    refused = replace(path, largest=None, trouble="Operation not permitted")
    (found,) = network.path_mtu(replace(healthy(), path_mtus=(refused,)))
    assert (found.severity, found.evidence) == ("unknown", "Operation not permitted")


def test_sizes_reach_from_what_every_path_carries_to_what_srt_needs() -> None:
    assert network.sizes(4) == (576, 1280, 1320, 1360)
    assert network.sizes(6) == (1280, 1320, 1380)


def receiver(uplink: str, answered: bool | None, family: int = 4) -> Asked:
    detail = {True: "answers in 40 ms", False: "no answer within 3 s", None: "too many files"}[answered]
    return Asked("receiver", uplink, family, "bond.example.org:5000", answered, detail)


def receivers(*asked: Asked) -> list[Finding]:
    return list(network.receivers(replace(healthy(), asked=asked)))


def test_receivers() -> None:
    assert codes(receivers(receiver("usb0", True))) == [("receiver", "ok", "usb0")]
    found = receivers(receiver("usb0", True), receiver("usb1", False), receiver("usb2", None))
    assert codes(found) == [
        ("receiver", "ok", "usb0"), ("receiver", "error", "usb1"), ("receiver", "unknown", "usb2"),
    ]  # fmt: skip
    assert "does not answer over usb1, and does over others" in found[1].verdict


def test_a_receiver_that_nobody_reaches_is_one_finding() -> None:
    (found,) = receivers(receiver("usb0", False), receiver("usb1", False, 6))
    assert (found.severity, found.subject) == ("error", "bond.example.org:5000")
    assert found.evidence == "usb0: no answer within 3 s; usb1 (IPv6): no answer within 3 s"


@pytest.mark.parametrize(("answered", "severity"), [(True, "ok"), (False, "error"), (None, "unknown")])
def test_srt_servers(answered: bool | None, severity: str) -> None:
    asked = (Asked("srt", "", 0, "127.0.0.1:5002", answered, "so"), dns("usb0", "1.1.1.1", True))
    (found,) = network.srt_servers(replace(healthy(), asked=asked))
    assert (found.severity, found.subject, found.evidence) == (severity, "127.0.0.1:5002", "so")


UFW = """\
table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy drop;
		counter packets 1 bytes 1 jump ufw-user-input
	}
	chain ufw-user-input {
		udp dport 22 counter packets 0 bytes 0 accept
		RULES
	}
}
"""
BY_A_LAST_RULE = """\
table inet filter {
	chain input {
		type filter hook input priority filter; policy accept;
		ct state { established, related } accept
		tcp dport 22 accept
		ct state invalid drop
		reject with icmpx admin-prohibited
	}
}
"""
OPEN = """\
table inet netbond {
	chain input {
		type filter hook input priority filter; policy accept;
		ct state invalid drop
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
"""


@pytest.mark.parametrize(
    ("ruleset", "shut"),
    [
        ("", []),
        (OPEN, []),
        (UFW, ["ip filter INPUT"]),
        (UFW.replace("RULES", "udp dport 5000 counter packets 0 bytes 0 accept"), []),
        (UFW.replace("RULES", "udp dport { 53, 4990-5010 } accept"), []),
        (UFW.replace("RULES", "udp dport 4990-4999 accept"), ["ip filter INPUT"]),
        (UFW.replace("RULES", "udp dport 5000 drop"), ["ip filter INPUT"]),
        (BY_A_LAST_RULE, ["inet filter input"]),
    ],
)
def test_chains_that_keep_a_port_out(ruleset: str, shut: list[str]) -> None:
    assert network.shut_chains(ruleset, 5000) == shut


def test_the_firewall() -> None:
    assert codes(network.firewall(healthy())) == []
    studio = healthy('[[receiver]]\nlisten = "0.0.0.0:5000"\nsrt = "127.0.0.1:5002"')
    assert codes(network.firewall(replace(studio, firewall=OPEN))) == [("firewall", "ok", "UDP 5000")]
    (found,) = network.firewall(replace(studio, firewall=UFW))
    assert found.severity == "warning"
    assert found.mend.startswith("nft insert rule ip filter INPUT udp dport 5000 accept")
    (found,) = network.firewall(replace(studio, no_firewall="only root may see it"))
    assert (found.severity, found.evidence) == ("unknown", "only root may see it")
