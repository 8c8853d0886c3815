"""Fuzzes all code of the agent that reads data from outside: `one_input`.

The data comes from clients of the control socket, DHCP servers (through their clients' environment), engines
(which face the internet), services on the system bus, the targets of health checks, and the kernel.

scripts/fuzz runs it under atheris; the inputs that it finds are kept (tests/fuzz_corpus.py) and replayed by
tests/unit/across/test_corpus.py. An input: one byte that chooses the target, then what the target reads.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from netbond.config import load
from netbond.dhcp import clients, store
from netbond.dhcp.clients import LeaseError
from netbond.dhcp.lease import Changed, Lease, Released
from netbond.engines.child import LogLines, read_advice, read_statistics
from netbond.errors import ConfigError, NetbondError
from netbond.health import packets, stream_evidence
from netbond.kernel import rtnetlink
from netbond.srtla.process.protocol import FROM_ENGINE, AdviceMessage, ChannelError, Stats, parse
from netbond.status import metrics
from netbond.status.control import Command, ControlServer, Peer
from netbond.status.protocol import refusal
from netbond.status.schema import EngineStatus
from netbond.system import strict_json
from netbond.system.typed_json import to_json
from netbond.watchers import bus, modemmanager, networkmanager


def control_request(data: bytes) -> None:
    """Read a line on the control socket, from a user who is not root."""
    server = ControlServer(
        Path("unused"),
        {"status": Command(lambda request, peer: {}, anybody=True), "reload": Command(_never)},
    )
    who = Peer(65533, 1)
    try:
        request, command = server._look_up(data, who, server._commands)
        assert isinstance(command, Command)
        reply = asyncio.run(server._answer(command, request, who))
    except NetbondError as error:
        reply = refusal(str(error))
    line = json.dumps(reply)
    assert "\n" not in line
    assert type(reply["ok"]) is bool


def _never(request: dict[str, Any], peer: Peer) -> dict[str, Any]:
    raise AssertionError("that command is for root")


def _kept_lease(data: bytes) -> Lease:
    try:
        value = strict_json.parse(data)
    except ValueError as error:
        raise LeaseError(str(error)) from None
    return store.from_json(value, "")


def dhcp(data: bytes) -> None:
    """Read a DHCP client's environment (NAME=VALUE separated by NUL), a lease file, a file of networkd."""
    text = data.decode("utf-8", "surrogateescape")
    words = text.split("\0")
    environ = dict(word.partition("=")[::2] for word in words)
    found: list[Lease | Released | Changed | None] = []
    complaints: list[str] = []
    readers: tuple[Callable[[], Lease | Released | Changed | None], ...] = (
        lambda: clients.parse_dhclient(environ, 5.0),
        lambda: clients.parse_dhcpcd(environ, 5.0),
        lambda: clients.parse_udhcpc(environ.get("reason", ""), environ, 5.0),
        lambda: clients.parse_networkmanager([words[0], environ.get("reason", "")], environ, 5.0),
        lambda: clients.parse_networkd(data.decode("utf-8", "replace"), "usb0", 5.0),
        lambda: _kept_lease(data),
    )
    for read in readers:
        try:
            found.append(read())
        except LeaseError as error:
            complaints.append(str(error))
    assert not any("\n" in each for each in complaints), "an error is one line"
    for news in found:
        if news is not None:
            assert "/" not in store.file_name(news.device)
        if isinstance(news, Lease):
            assert store.from_json(store.to_json(news, ""), "") == news


def engine_says(data: bytes) -> None:
    """Read what an engine writes to its channel and to its log, as the agent does."""
    log = LogLines()
    for shown in (*log.feed(data, 0.0), *log.feed(b"", 0.0)):
        assert shown.isprintable()
    for line in data.split(b"\n"):
        try:
            messages = parse(line, FROM_ENGINE)
        except ChannelError:
            continue
        advised = next((each.data for each in messages if isinstance(each, AdviceMessage)), None)
        json.dumps(to_json(read_advice(advised)), allow_nan=False)
        said = next((each.data for each in messages if isinstance(each, Stats)), None)
        for role in ("sender", "receiver"):
            stats = read_statistics(role, said)
            for word in stream_evidence.evidence(stats):
                assert word.device
            json.dumps(to_json(stats), allow_nan=False)
            engine = EngineStatus("e", role, "running", None, 0, "", "", stats)
            for metric in metrics._engines([engine]):
                for sample in metric.samples:
                    float(sample.value)


def netlink(data: bytes) -> None:
    """Read the kernel's messages. They are never malformed; a malformed one raises one of these errors."""
    names = {1: "lo", 2: "usb0", 3: "usb1"}
    taken = 0
    for kind, _, _, payload in rtnetlink.messages(data):
        taken += len(payload) + rtnetlink.HEADER.size
        parse = _NETLINK.get(kind, rtnetlink.answer)
        try:
            parse(payload, names)
        except (struct.error, ValueError, KeyError, IndexError):
            continue
    assert taken <= len(data)


_NETLINK: dict[int, Any] = {
    rtnetlink.NEWLINK: rtnetlink.link,
    rtnetlink.NEWADDR: rtnetlink.address,
    rtnetlink.NEWROUTE: rtnetlink.route,
    rtnetlink.NEWRULE: rtnetlink.rule,
    rtnetlink.NEWNEXTHOP: rtnetlink.nexthop,
    rtnetlink.NEWNEIGH: lambda payload, _names: rtnetlink.neighbour(payload),
}


def system_bus(data: bytes) -> None:
    """Read the objects of NetworkManager and ModemManager, as GetManagedObjects returns them."""
    try:
        managed = json.loads(data)
    except (ValueError, RecursionError):
        return
    wanted = {name: frozenset(names) for name, names in _WANTED.items()}
    mirror = bus.Mirror(wanted)
    mirror.load(managed)
    for device in networkmanager.parse_devices(mirror.objects):
        json.dumps(to_json(networkmanager.device_snapshot(device)))
        networkmanager.claims([device], 5.0)
    for modem in modemmanager.parse_modems(mirror.objects):
        assert modemmanager.summary(modem).isprintable()
        json.dumps(to_json(modemmanager.modem_snapshot(modem)))


_WANTED: dict[str, tuple[str, ...]] = {
    networkmanager.DEVICE: (
        *("IpInterface", "Interface", "State", "Managed", "Metered", "Ip4Connectivity", "Ip6Connectivity"),
        *("Ip4Config", "Ip6Config", "Dhcp4Config", "ActiveConnection"),
    ),
    networkmanager.IP4: ("AddressData", "Gateway", "NameserverData", "Nameservers"),
    networkmanager.IP6: ("AddressData", "Gateway", "NameserverData", "Nameservers"),
    networkmanager.DHCP4: ("Options",),
    networkmanager.ACTIVE: ("Id", "StateFlags"),
    modemmanager.MODEM: (
        *("Ports", "Device", "Manufacturer", "Model", "State", "StateFailedReason", "Sim", "UnlockRequired"),
        *("AccessTechnologies", "SignalQuality", "CurrentBands"),
    ),
    modemmanager.MODEM_3GPP: ("RegistrationState", "OperatorCode", "OperatorName"),
    modemmanager.SIGNAL: ("Lte", "Umts", "Gsm", "Nr5g"),
}


def probe_answers(data: bytes) -> None:
    """Read the answers to health checks."""
    query = packets.dns_query(7, "example.com", packets.A)
    for packet in (data, query[:2] + b"\x81\x80" + query[4:] + data):
        answer = packets.dns_answer(packet, query)
        assert answer is None or len(answer.addresses) <= packets._MAX_RECORDS
    four, six = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
    packets.is_arp_reply(data, bytes(6), four, four)
    packets.is_neighbour_advertisement(data, 255, six)
    for family in (4, 6):
        packets.is_echo_reply(family, data, 1, 1, b"token")
    try:
        head = packets.http_head(data)
    except ValueError:
        return
    assert head is None or str(head).isprintable()


def configuration(data: bytes) -> None:
    """Read the configuration file; it is refused with one line, or accepted."""
    try:
        load.parse(data.decode("utf-8", "replace"))
    except ConfigError:
        return


TARGETS = (control_request, dhcp, engine_says, netlink, system_bus, probe_answers, configuration)


def one_input(data: bytes) -> None:
    """Run one input; any exception is a defect."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def _environ(**values: str) -> bytes:
    return b"\0".join(f"{name}={value}".encode() for name, value in values.items())


def _message(kind: int, payload: bytes) -> bytes:
    return rtnetlink.message(kind, 0, 1, payload)


def _attr(kind: int, value: bytes) -> bytes:
    return rtnetlink._attribute(kind, value)


def seeds() -> list[bytes]:
    """Return well-formed inputs for each target."""
    four = IPv4Address("10.0.0.1").packed
    lease = {"interface": "usb0", "new_ip_address": "10.0.0.10", "new_subnet_mask": "255.255.255.0"}
    stats: dict[str, Any] = {
        "role": "sender",
        "state": "connected",
        "packets": 1,
        "links": [
            {
                "label": "a",
                "device": "usb0",
                "address": "10.0.0.1",
                "state": "up",
                "silent_ms": 5,
                "rtt_ms": 9,
            },
            {"label": "b", "device": "usb1", "address": "10.0.1.1", "state": "down", "window": 1.5},
        ],
        "groups": [{"id": "ab", "links": [{"peer": "192.0.2.1:5", "packets": 1, "idle_s": 0.1}]}],
        "refused": {"quota": 1},
    }
    managed = {
        "/d": {
            networkmanager.DEVICE: {
                "Interface": "usb0",
                "State": 100,
                "Managed": True,
                "Metered": 1,
                "Ip4Config": "/4",
                "Dhcp4Config": "/h",
                "ActiveConnection": "/a",
            }
        },
        "/4": {
            networkmanager.IP4: {
                "AddressData": [{"address": "10.0.0.10", "prefix": 24}],
                "Gateway": "10.0.0.1",
                "NameserverData": [{"address": "10.0.0.1"}],
            }
        },
        "/h": {networkmanager.DHCP4: {"Options": {"routers": "10.0.0.1", "dhcp_lease_time": "3600"}}},
        "/a": {networkmanager.ACTIVE: {"Id": "home", "StateFlags": 1}},
        "/m": {
            modemmanager.MODEM: {
                "Ports": [["wwan0", 2], ["cdc-wdm0", 6]],
                "Device": "/sys/devices/x",
                "Model": "M",
                "State": 11,
                "SignalQuality": [70, True],
                "AccessTechnologies": 16384,
                "CurrentBands": [33],
                "Sim": "/s",
            },
            modemmanager.MODEM_3GPP: {"RegistrationState": 5, "OperatorCode": "26201", "OperatorName": "T"},
            modemmanager.SIGNAL: {"Lte": {"rssi": -70.0, "rsrp": -100.0}},
        },
    }
    link, address = struct.pack("=BxHiII", 0, 1, 2, 0x10001, 0), struct.pack("=BBBBI", 2, 24, 0, 0, 2)
    route = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 3, 0, 1, 0)
    leg = struct.pack("=HBBi", 16, 0, 0, 2) + _attr(5, four)
    hops = _attr(1, four) + _attr(9, leg) + _attr(15, struct.pack("=I", 222)) + _attr(7, four)
    rule = struct.pack("=BBBBBBBBI", 2, 0, 32, 0, 100, 0, 0, 1, 0)
    return [
        b"\0" + b'{"command": "status"}\n',
        b"\0" + b'{"command": "reload"}\n',
        b"\0" + b'{"command": 5, "x": [[[{}]]]}\n',
        b"\1" + _environ(reason="BOUND", new_routers="10.0.0.1", **lease),
        b"\1"
        + _environ(reason="BOUND", new_rfc3442_classless_static_routes="8 10 10 0 0 1 0 10 0 0 1", **lease),
        b"\1" + _environ(reason="RENEW", new_classless_static_routes="0.0.0.0/0 10.0.0.1", **lease),
        b"\1" + _environ(reason="EXPIRE", interface="usb0", old_ip_address="10.0.0.10"),
        b"\1" + _environ(reason="bound", interface="usb0", ip="10.0.0.10", mask="24", router="10.0.0.1"),
        b"\1usb0\0" + _environ(reason="up", IP4_ADDRESS_0="10.0.0.10/24 10.0.0.1", IP4_GATEWAY="10.0.0.1"),
        b"\1ADDRESS=10.0.0.10\nNETMASK=255.255.255.0\nROUTER=10.0.0.1\nROUTES=0.0.0.0/0,10.0.0.1\n",
        b'\1{"device":"usb0","source":"dhclient","address":"10.0.0.10/24","routers":[],"received":5}',
        b"\2" + json.dumps({"ready": True, "resume": {"group": "00"}}).encode() + b"\n",
        b"\2" + json.dumps({"stats": stats}).encode() + b"\n",
        b"\2" + json.dumps({"fatal": "no port"}).encode() + b"\n\x1b[2J\xff\n",
        b"\3" + _message(16, link + _attr(3, b"usb0\0") + _attr(23, bytes(64))),
        b"\3" + _message(20, address + _attr(1, four) + _attr(2, four) + _attr(8, bytes(4))),
        b"\3" + _message(24, route + hops),
        b"\3" + _message(24, route + _attr(4, struct.pack("=I", 2)) + _attr(18, b"\x0a\0" + bytes(16))),
        b"\3" + _message(32, rule + _attr(2, four) + _attr(6, struct.pack("=I", 40)) + _attr(17, b"usb0\0")),
        b"\3" + _message(104, struct.pack("=BBBxI", 2, 0, 78, 0) + _attr(1, bytes(4)) + _attr(2, bytes(16))),
        b"\3" + _message(28, struct.pack("=BxxxiHBB", 2, 2, 32, 0, 1) + _attr(1, four)),
        b"\3" + _message(104, struct.pack("=BBBxI", 2, 0, 78, 0) + _attr(5, b"\2\0\0\0") + _attr(6, four)),
        b"\4" + json.dumps(managed).encode(),
        b"\5" + b"\xc0\x0c\0\1\0\1\0\0\0\x05\0\x04" + four,
        b"\5" + packets.dns_query(7, "example.com", packets.A),
        b"\5HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n",
        b"\5\x45" + bytes(19) + b"\0\0\0\0\0\1\0\1token",
        b'\6[agent]\nlog_level = "debug"\n[[uplink]]\nmatch = "usb*"\nweight = 2\n',
        b'\6[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = "a.example:5000"\n[health]\nchecks = ["dns"]\n',
    ]


def main() -> None:
    """Run under atheris, with libFuzzer's arguments."""
    from tests.fuzz_srtla import fuzz

    fuzz(one_input, [target.__name__ for target in TARGETS])


if __name__ == "__main__":
    main()
