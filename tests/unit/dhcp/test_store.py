"""Leases: what DHCP clients say, however strange, and a store that strangers cannot bend."""

import fcntl
import json
import logging
import os
import stat
import threading
import time
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.config.schema import AgentConfig, Config
from netbond.dhcp.clients import LeaseError, check_device, parse_dhclient, parse_networkmanager
from netbond.dhcp.lease import Changed, Lease, Released
from netbond.dhcp.store import LeaseList, LeaseStore, file_name, following, from_json, to_json
from netbond.model import Facts, Link
from netbond.sources.kept_leases import HookLeases
from netbond.system import files
from netbond.system.state_file import StateFileError

NOW = 1763600000.5
RFC3442 = "new_rfc3442_classless_static_routes"

BOUND = {
    "reason": "BOUND",
    "interface": "usb0",
    "new_ip_address": "10.0.0.10",
    "new_subnet_mask": "255.255.255.0",
    "new_routers": "10.0.0.1",
}


def lease(
    device: str = "usb0", address: str = "10.0.0.10/24", *routers: str, source: str = "dhclient"
) -> Lease:
    return Lease(device, source, IPv4Interface(address), tuple(IPv4Address(r) for r in routers), NOW)


# --- dhclient ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["BOUND", "RENEW", "REBIND", "REBOOT", "TIMEOUT"])
def test_a_lease(reason: str) -> None:
    assert parse_dhclient(BOUND | {"reason": reason}, NOW) == lease("usb0", "10.0.0.10/24", "10.0.0.1")


@pytest.mark.parametrize("reason", ["EXPIRE", "FAIL", "RELEASE", "STOP", "V6ONLY"])
def test_a_lease_is_gone(reason: str) -> None:
    environ = {"reason": reason, "interface": "usb0", "old_ip_address": "10.0.0.10"}
    assert parse_dhclient(environ, NOW) == Released("usb0", "dhclient", IPv4Address("10.0.0.10"))
    del environ["old_ip_address"]  # FAIL after a start without a lease
    assert parse_dhclient(environ, NOW) == Released("usb0", "dhclient", None)


@pytest.mark.parametrize(
    "reason",
    ["PREINIT", "PREINIT6", "NBI", "MEDIUM", "ARPCHECK", "ARPSEND", "", "bound", "$(id)"],
)  # fmt: skip
def test_no_news_of_a_lease(reason: str) -> None:
    assert parse_dhclient(BOUND | {"reason": reason}, NOW) is None
    assert parse_dhclient({}, NOW) is None


@pytest.mark.parametrize(
    ("change", "address", "routers"),
    [
        ({"new_routers": "10.0.0.2 10.0.0.1"}, "10.0.0.10/24", ["10.0.0.2", "10.0.0.1"]),  # order is kept
        ({"new_routers": "10.0.0.1 10.0.0.1"}, "10.0.0.10/24", ["10.0.0.1"]),
        ({"new_routers": ""}, "10.0.0.10/24", []),
        ({"new_routers": "10.9.9.9"}, "10.0.0.10/24", ["10.9.9.9"]),  # outside: reached on-link
        ({"new_routers": "0.0.0.0 10.0.0.10 10.0.0.255 224.1.1.1 10.9.1.3"}, "10.0.0.10/24", ["10.9.1.3"]),
        ({"new_subnet_mask": "255.255.255.255"}, "10.0.0.10/32", ["10.0.0.1"]),
        ({"new_subnet_mask": "255.255.255.254", "new_routers": "10.0.0.11"}, "10.0.0.10/31", ["10.0.0.11"]),
        ({"new_subnet_mask": ""}, "10.0.0.10/32", ["10.0.0.1"]),  # as dhclient-script sets it
        ({"new_subnet_mask": "255.0.0.0"}, "10.0.0.10/8", ["10.0.0.1"]),
        # RFC 3442 over routers, even without a default in it
        ({RFC3442: "24 192 168 9 10 0 0 7 0 10 0 0 9"}, "10.0.0.10/24", ["10.0.0.9"]),
        ({RFC3442: "24 192 168 9 10 0 0 7"}, "10.0.0.10/24", []),
        ({RFC3442: "0 0 0 0 0"}, "10.0.0.10/24", []),  # on-link default
        ({RFC3442: "32 1 2 3 4 10 0 0 7 0 10 0 0 8"}, "10.0.0.10/24", ["10.0.0.8"]),
        ({"new_host_name": "x" * 4096, "new_domain_name": "a\nb; reboot"}, "10.0.0.10/24", ["10.0.0.1"]),
    ],
)  # fmt: skip
def test_leases_of_all_shapes(change: dict[str, str], address: str, routers: list[str]) -> None:
    assert parse_dhclient(BOUND | change, NOW) == lease("usb0", address, *routers)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"interface": "../x"}, "interface '../x' is not a name that an interface can have"),
        ({"interface": ""}, "interface '' is not a name"),
        ({"interface": "."}, "interface '.' is not a name"),
        ({"interface": ".."}, "interface '..' is not a name"),
        ({"interface": "usb0\n"}, "interface 'usb0\\n' is not a name"),
        ({"interface": "usb 0"}, "interface 'usb 0' is not a name"),
        ({"interface": "usb0:1"}, "interface 'usb0:1' is not a name"),
        ({"interface": "a123456789012345"}, "interface 'a123456789012345' is not a name"),
        ({"interface": "ééééééé\xe9"}, "interface '\\xe9"),  # 16 bytes
        ({"new_ip_address": ""}, "new_ip_address '' is not an IPv4 address"),
        ({"new_ip_address": "10.0.0.10; reboot"}, "new_ip_address '10.0.0.10; reboot' is not an IPv4"),
        ({"new_ip_address": "10.0.0.10\n"}, "new_ip_address '10.0.0.10\\n' is not an IPv4 address"),
        ({"new_ip_address": "fe80::1"}, "new_ip_address 'fe80::1' is not an IPv4 address"),
        ({"new_ip_address": "\u06610.0.0.1"}, "new_ip_address '\\u06610.0.0.1' is not an IPv4 address"),
        ({"new_ip_address": "0.0.0.0"}, "new_ip_address 0.0.0.0/24 is not an address that a host can have"),
        ({"new_ip_address": "127.0.0.1"}, "new_ip_address 127.0.0.1/24 is not an address that a host"),
        ({"new_ip_address": "224.0.0.1"}, "new_ip_address 224.0.0.1/24 is not an address that a host"),
        ({"new_ip_address": "255.255.255.255"}, "new_ip_address 255.255.255.255/24 is not an address that"),
        ({"new_ip_address": "10.0.0.255"}, "new_ip_address 10.0.0.255/24 is not an address that a host"),
        ({"new_ip_address": "10.0.0.0"}, "new_ip_address 10.0.0.0/24 is not an address that a host can"),
        ({"new_ip_address": "1" * 5000}, "new_ip_address '" + "1" * 40 + "...' has 5000 characters"),
        ({"new_subnet_mask": "255.0.255.0"}, "new_ip_address 10.0.0.10 has the subnet mask '255.0.255.0', w"),
        ({"new_subnet_mask": "0.0.0.255"}, "new_ip_address 10.0.0.10 has the subnet mask '0.0.0.255', whi"),
        ({"new_subnet_mask": "0.0.0.0"}, "new_ip_address 10.0.0.10 has the subnet mask '0.0.0.0', which"),
        ({"new_subnet_mask": "33"}, "new_ip_address 10.0.0.10 has the subnet mask '33', which is none"),
        ({"new_subnet_mask": "::"}, "new_ip_address 10.0.0.10 has the subnet mask '::', which is none"),
        ({"new_routers": "10.0.0.1 $(reboot)"}, "router '$(reboot)' is not an IPv4 address"),
        ({"new_routers": "10.0.0.1 " * 400}, "new_routers '10.0.0.1 10.0.0.1 10.0.0.1 10.0.0.1 10.0...' has"),
        ({RFC3442: "33 1 2 3 4 5 6 7 8 9"}, "new_rfc3442_classless_static_routes '33"),
        ({RFC3442: "0 10 0 0"}, "new_rfc3442_classless_static_routes '0 10 0 0' is not"),
        ({RFC3442: "0 10 0 0 256"}, "new_rfc3442_classless_static_routes '0 10 0 0 256'"),
        ({RFC3442: "0 10 0 0 x"}, "new_rfc3442_classless_static_routes '0 10 0 0 x' is"),
        ({"reason": "RELEASE", "old_ip_address": "10.0.0"}, "old_ip_address '10.0.0' is not an IPv4 address"),
        ({"reason": "FAIL", "interface": "../../etc/x"}, "interface '../../etc/x' is not a name"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(change: dict[str, str], says: str) -> None:
    with pytest.raises(LeaseError) as caught:
        parse_dhclient(BOUND | change, NOW)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.text("0123456789. /$;`\n-", max_size=40),
    st.sampled_from(["", *BOUND.values(), "0", "10.0.0.256", "../x", "a\0b", "\udcff", "10.0.0.1 10.0.0.2"]),
)  # fmt: skip
NAMES = st.sampled_from(
    ["interface", "new_ip_address", "new_subnet_mask", "new_routers", "old_ip_address",
     "new_rfc3442_classless_static_routes", "new_host_name"]
)  # fmt: skip
REASONS = st.sampled_from(["BOUND", "RENEW", "TIMEOUT", "EXPIRE", "RELEASE", "PREINIT"])


@settings(deadline=None)  # a busy machine is no fault of the parser
@given(REASONS, st.dictionaries(NAMES, HOSTILE))
def test_any_environment_gives_a_usable_lease_or_one_line(reason: str, hostile: dict[str, str]) -> None:
    said = ""
    news: Lease | Released | Changed | None = None
    try:
        news = parse_dhclient(BOUND | hostile | {"reason": reason}, NOW)
    except LeaseError as error:
        said = str(error)
    assert said.isprintable()  # one line, and nothing that steers a terminal
    if said:
        return
    assert (news is None) == (reason == "PREINIT")
    if isinstance(news, Lease):
        assert from_json(to_json(news, ""), "") == news
        assert news.address.ip not in news.routers
        assert news.address.network.prefixlen > 0


# --- NetworkManager ----------------------------------------------------------------------------------------

NM = {
    "CONNECTION_ID": "modem 1",
    "DEVICE_IFACE": "usb0",
    "DEVICE_IP_IFACE": "usb0",
    "DHCP4_IP_ADDRESS": "10.0.0.10",
    "DHCP4_SUBNET_MASK": "255.255.255.0",
    "DHCP4_ROUTERS": "10.0.0.1",
    "IP4_ADDRESS_0": "10.0.0.10/24 10.0.0.1",
    "IP4_GATEWAY": "10.0.0.1",
}
NM_LEASE = lease("usb0", "10.0.0.10/24", "10.0.0.1", source="networkmanager")


@pytest.mark.parametrize("action", ["up", "dhcp4-change", "reapply"])
def test_networkmanager_lease(action: str) -> None:
    assert parse_networkmanager(["usb0", action], NM, NOW) == NM_LEASE


def test_networkmanager_other_gateways() -> None:
    own = parse_networkmanager(["usb0", "up"], NM | {"IP4_GATEWAY": "10.0.0.2"}, NOW)
    assert own == lease("usb0", "10.0.0.10/24", "10.0.0.2", "10.0.0.1", source="networkmanager")
    never_default = {name: value for name, value in NM.items() if name != "IP4_GATEWAY"}
    assert parse_networkmanager(["usb0", "up"], never_default, NOW) == NM_LEASE


def test_networkmanager_modem_without_dhcp() -> None:
    environ = {
        "DEVICE_IFACE": "cdc-wdm0",
        "DEVICE_IP_IFACE": "wwan0",
        "IP4_ADDRESS_0": "100.64.7.9/30 100.64.7.10",
        "IP4_GATEWAY": "100.64.7.10",
    }
    expected = lease("wwan0", "100.64.7.9/30", "100.64.7.10", source="networkmanager")
    assert parse_networkmanager(["cdc-wdm0", "up"], environ, NOW) == expected


def test_networkmanager_down_and_other_actions() -> None:
    assert parse_networkmanager(["usb0", "down"], {}, NOW) == Released("usb0", "networkmanager")
    for action in ["pre-up", "vpn-up", "dhcp6-change", "connectivity-change", "hostname"]:
        assert parse_networkmanager(["none", action], NM, NOW) is None
    assert parse_networkmanager(["usb0", "up"], {"DEVICE_IP_IFACE": "usb0"}, NOW) is None  # IPv6 only


@pytest.mark.parametrize("action", ["up", "down"])
def test_networkmanager_looking_on_does_not_speak_for_the_client_at_work(action: str) -> None:
    assert parse_networkmanager(["usb0", action], NM | {"CONNECTION_EXTERNAL": "1"}, NOW) is None


@pytest.mark.parametrize(
    ("argv", "change"),
    [
        (["usb0"], {}),
        (["usb0", "up", "x"], {}),
        (["../x", "down"], {"DEVICE_IP_IFACE": ""}),
        (["usb0", "up"], {"DEVICE_IP_IFACE": "a/b"}),
        (["usb0", "up"], {"DHCP4_IP_ADDRESS": "x"}),
        (["usb0", "up"], {"DHCP4_IP_ADDRESS": "", "IP4_ADDRESS_0": "10.0.0.1/99 10.0.0.2"}),
        (["usb0", "up"], {"IP4_GATEWAY": "10.0.0.1\n10.0.0"}),
    ],
)
def test_networkmanager_errors(argv: list[str], change: dict[str, str]) -> None:
    with pytest.raises(LeaseError) as caught:
        parse_networkmanager(argv, NM | change, NOW)
    assert "\n" not in str(caught.value)


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["usb0", "a23456789012345", "enx001122334455", "wlan0.5", "tun-x_y", "-", "é"]
)
def test_names_of_interfaces(name: str) -> None:
    assert check_device(name) == name


@pytest.mark.parametrize(
    ("device", "name"),
    [("usb0", "usb0.json"), ("wlan0.5", "wlan0.5.json"), (".x.y", "%2Ex.y.json"), ("a%b", "a%25b.json"),
     ("a\x1bb", "a%1Bb.json"), ("é", "%C3%A9.json")],
)  # fmt: skip
def test_files_are_named_after_devices(device: str, name: str) -> None:
    assert file_name(device) == name


@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_no_two_devices_share_a_file(one: str, other: str) -> None:
    try:
        names = {file_name(one), file_name(other)}
    except LeaseError:
        return
    assert len(names) == len({one, other})
    assert all("/" not in name and not name.startswith(".") for name in names)


# --- the store ---------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> LeaseStore:
    return LeaseStore(tmp_path / "state" / "leases")


def test_save_load_forget(store: LeaseStore) -> None:
    assert store.load() == ()
    assert not store.forget("usb0")
    first, second = lease("usb1", "10.0.1.10/24", "10.0.1.1"), lease("usb0", "10.0.0.10/24")
    store.save(first)
    store.save(second)
    assert store.load() == (second, first)  # by device
    renewed = lease("usb1", "10.0.1.11/24", "10.0.1.1", "10.0.1.2")
    store.save(renewed)
    assert store.load() == (second, renewed)
    assert store.forget("usb0")
    assert not store.forget("usb0")
    assert store.load() == (renewed,)


def test_an_old_address_let_go_does_not_take_the_new_lease_along(store: LeaseStore) -> None:
    store.save(lease("usb0", "10.0.0.11/24"))
    assert not store.forget("usb0", IPv4Address("10.0.0.10"))
    assert store.load() == (lease("usb0", "10.0.0.11/24"),)
    assert store.forget("usb0", IPv4Address("10.0.0.11"))
    assert store.load() == ()


def test_a_word_that_was_overtaken_changes_nothing(store: LeaseStore) -> None:
    new = lease("usb0", "10.0.0.10/24", "10.0.0.2")._replace(received=20.0)
    store.save(new)
    store.save(lease("usb0", "10.0.0.10/24", "10.0.0.1")._replace(received=10.0))
    assert store.load() == (new,)
    assert not store.forget("usb0", IPv4Address("10.0.0.10"), at=15.0)
    assert store.load() == (new,)
    assert store.forget("usb0", IPv4Address("10.0.0.10"), at=20.0)


def test_forgetting_the_old_lease_never_takes_one_that_comes_at_that_moment(store: LeaseStore) -> None:
    store.save(lease("usb0", "10.0.0.10/24"))
    new = lease("usb0", "10.0.0.11/24")
    writer = threading.Thread(target=store.save, args=(new,))

    class Interrupted(LeaseStore):
        """Hangs with the lock for so long that the writer goes on without it."""

        def _read(self, name: str, folder: int) -> Lease:
            found = super()._read(name, folder)
            if not writer.ident:
                writer.start()
                writer.join(5)
            return found

    assert not Interrupted(store.directory).forget("usb0", IPv4Address("10.0.0.10"))
    assert store.load() == (new,)


def test_a_writer_that_hangs_holds_up_nobody(store: LeaseStore) -> None:
    store.save(lease("usb0"))
    folder = os.open(store.directory, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        start = time.monotonic()
        store.save(lease("usb1"))
        assert store.forget("usb0")
        assert time.monotonic() - start < 2  # 0.05 s each, and whatever a busy machine takes
    finally:
        os.close(folder)
    assert store.load() == (lease("usb1"),)


# --- time ------------------------------------------------------------------------------------------------


def test_a_lease_from_before_the_last_boot_is_older_than_any_other(tmp_path: Path) -> None:
    """state_dir may outlive a reboot, and the wall clock may have been anywhere."""
    LeaseStore(tmp_path, "aaaa").save(lease("usb0")._replace(ifindex=7))
    assert LeaseStore(tmp_path, "aaaa").load() == (lease("usb0")._replace(ifindex=7),)
    assert LeaseStore(tmp_path, "bbbb").load() == (lease("usb0")._replace(received=-1.0),)
    (old,) = LeaseStore(tmp_path, "bbbb").load()
    LeaseStore(tmp_path, "bbbb").save(old)  # kept again as what it is
    assert LeaseStore(tmp_path, "bbbb").load() == (old,)
    assert LeaseStore(tmp_path, "aaaa").load() == (old,)


def test_a_file_of_an_earlier_version_has_no_time(tmp_path: Path) -> None:
    """It was dated by the wall clock."""
    data = {
        "device": "usb0",
        "source": "dhclient",
        "address": "10.0.0.10/24",
        "routers": [],
        "received": 1.7e9,
    }
    assert from_json(data, "aaaa") == Lease("usb0", "dhclient", IPv4Interface("10.0.0.10/24"), (), -1)


# --- interfaces that are renamed ---------------------------------------------------------------------------


def test_a_lease_goes_by_the_number_of_its_interface() -> None:
    one = lease("usb0")._replace(ifindex=4)
    other = lease("usb1", "10.0.1.10/24")._replace(ifindex=5)
    unknown = lease("usb2", "10.0.2.10/24")
    leases = (one, other, unknown)
    assert following(leases, [Link("usb0", 4), Link("usb1", 5)]) == leases
    assert following(leases, []) == leases
    assert following(leases, [Link("wan0", 4), Link("usb1", 5)]) == (one._replace(device="wan0"), *leases[1:])
    # Two that swap their names take their leases along.
    assert following((one, other), [Link("usb1", 4), Link("usb0", 5)]) == (
        one._replace(device="usb1"),
        other._replace(device="usb0"),
    )


def test_a_newer_lease_by_the_new_name_counts() -> None:
    old, new = (
        lease("usb0")._replace(ifindex=4),
        lease("wan0", "10.0.9.9/24")._replace(ifindex=4, received=NOW + 1),
    )
    links = [Link("wan0", 4)]
    assert following((old, new), links) == (old, new)
    assert following((old, new._replace(received=NOW - 1)), links) == (old._replace(device="wan0"),)


def test_the_agent_keeps_it_under_the_new_name(tmp_path: Path) -> None:
    """The old name may be another interface's soon, whose hook would put its lease in the same place."""
    store = LeaseStore(tmp_path / "leases")
    store.save(lease("usb0", "10.0.0.10/24", "10.0.0.1")._replace(ifindex=4))
    source = HookLeases(Config(agent=AgentConfig(state_dir=tmp_path, data_dir=tmp_path)))
    found = source.contribute(Facts(links=(Link("wan0", 4),)), 1.0).leases
    store.save(lease("usb0", "10.0.0.10/24", "10.0.0.7")._replace(ifindex=9))
    assert found == (lease("wan0", "10.0.0.10/24", "10.0.0.1")._replace(ifindex=4),)
    both = source.contribute(Facts(links=(Link("usb0", 9), Link("wan0", 4))), 2.0).leases
    assert [(x.device, str(x.routers[0])) for x in both] == [("usb0", "10.0.0.7"), ("wan0", "10.0.0.1")]


# --- what a manager said last ------------------------------------------------------------------------------


def test_what_a_manager_said_is_kept_for_this_boot_only(tmp_path: Path) -> None:
    said = (
        lease("usb0", "10.0.0.10/24", "10.0.0.1", source="NetworkManager"),
        Lease("usb0", "NetworkManager", IPv6Interface("2001:db8::2/64"), (IPv6Address("fe80::1"),), NOW),
    )
    path = tmp_path / "run/managed.json"
    kept = LeaseList(path, "aaaa")
    assert kept.load() == ()
    kept.save(())
    assert not path.exists()  # nothing to be kept
    kept.save(said)
    assert LeaseList(path, "aaaa").load() == said
    assert LeaseList(path, "bbbb").load() == ()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.stat().st_ino
    kept.save(each._replace(received=NOW + 9) for each in said)  # the same words again
    assert path.stat().st_ino == before
    kept.save(())
    assert LeaseList(path, "aaaa").load() == ()


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"address": "fe80::1%eth0/64"}, "not one that a host can have"),
        ({"address": "ff02::1/64"}, "not one that a host can have"),
        ({"address": "2001:db8::2/129"}, "not an IPv6 address"),
        ({"routers": ["10.0.0.1"], "address": "2001:db8::2/64"}, "not an IPv6 address"),
        ({"routers": ["fe80::1\n"], "address": "2001:db8::2/64"}, "not an IPv6 address"),
        ({"routers": ["::"], "address": "2001:db8::2/64"}, "not one that a host can have"),
        ({"routers": ["10.0.0.1"] * 65}, "it has 65 routers"),
        ({"ifindex": -1}, "ifindex is not the number of an interface"),
        ({"device": "a\x1b[31mb c"}, "is not a name that an interface can have"),
    ],
)
def test_what_cannot_be_in_it(tmp_path: Path, item: dict[str, object], says: str) -> None:
    good = to_json(lease("usb0"), "aaaa")
    (tmp_path / "m").write_text(json.dumps([good | item]))
    (tmp_path / "m").chmod(0o600)
    with pytest.raises(LeaseError, match=says) as caught:
        LeaseList(tmp_path / "m", "aaaa").load()
    assert str(caught.value).isprintable()


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = ("device", "source", "address", "routers", "received", "ifindex", "boot")


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=3), st.ip_addresses(), st.integers(-1, 130))
def test_any_json_is_a_lease_or_one_line(changed: dict[str, object], address: object, length: int) -> None:
    good = {"device": "usb0", "source": "dhclient", "address": f"{address}/{length}", "routers": []}
    said, found = "", None
    try:
        found = from_json(good | {"received": 5.0, "boot": "aaaa"} | changed, "aaaa")
    except LeaseError as error:
        said = str(error)
    assert said.isprintable()
    assert (found is None) == bool(said)
    assert found is None or from_json(to_json(found, "aaaa"), "aaaa") == found


def test_a_list_that_others_can_write_to_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("[]")
    (tmp_path / "m").chmod(0o666)
    with pytest.raises(StateFileError, match="users other than root"):
        LeaseList(tmp_path / "m").load()
    (tmp_path / "m").chmod(0o600)
    (tmp_path / "m").write_text("{}")
    with pytest.raises(LeaseError, match="not a list of leases"):
        LeaseList(tmp_path / "m").load()


def test_only_root_reads_it(store: LeaseStore) -> None:
    previous = os.umask(0)
    try:
        store.save(lease())
    finally:
        os.umask(previous)
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(store.directory.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE((store.directory / "usb0.json").stat().st_mode) == 0o600


def test_a_link_in_the_store_is_replaced_not_followed(store: LeaseStore, tmp_path: Path) -> None:
    store.save(lease())
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (store.directory / "usb0.json").unlink()
    (store.directory / "usb0.json").symlink_to(victim)
    store.save(lease())
    assert victim.read_text() == "untouched"
    assert store.load() == (lease(),)


def test_a_link_is_forgotten_not_followed(store: LeaseStore, tmp_path: Path) -> None:
    store.save(lease())
    elsewhere = tmp_path / "elsewhere.json"
    (store.directory / "usb0.json").rename(elsewhere)
    (store.directory / "usb0.json").symlink_to(elsewhere)
    assert store.forget("usb0", IPv4Address("10.0.0.99"))
    assert elsewhere.exists()


def test_the_store_itself_may_not_be_a_link(store: LeaseStore, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    store.directory.parent.mkdir()
    store.directory.symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="leases"):
        store.save(lease())
    assert list((tmp_path / "other").iterdir()) == []


def test_a_store_that_others_can_write_to_is_not_trusted(store: LeaseStore) -> None:
    store.save(lease())
    store.directory.chmod(0o777)
    with pytest.raises(PermissionError, match="users other than root can write there"):
        store.load()


def _bad_files(folder: Path) -> dict[str, str]:
    """Files that are no leases, and what is said of each."""
    good = to_json(lease(), "")
    contents = {
        "a": ("", "it is not JSON"),
        "b": ("[" * 5000, "it is nested too deeply"),
        "c": ("[]", "it is not a JSON object"),
        "d": (json.dumps(good | {"routers": "10.0.0.1"}), "routers is not a list of strings"),
        "e": (json.dumps(good | {"received": 10**400}), "received is not a time"),
        "f": (json.dumps(good).replace("1763600000.5", "NaN"), "it contains NaN, which is not JSON"),
        "g": (json.dumps(good | {"address": "10.0.0.10/33"}), "has the subnet mask '33', which is none"),
        "h": (json.dumps(good | {"device": "../h"}), "interface '../h' is not a name"),
        "i": (json.dumps(good | {"device": "\ud800"}), "interface '\\ud800' is not a name"),
        "j": (json.dumps(good), "it is about 'usb0'"),
        "k": (json.dumps(good | {"device": "k", "source": "a b"}), "source 'a b' is not the name"),
        "l": (json.dumps(good | {"device": "l", "x": "y" * 9000}), "is larger than 8192 bytes"),
        "m": (json.dumps(good | {"device": 5}), "device, source or address is not a string"),
    }
    for name, (text, _) in contents.items():
        (folder / f"{name}.json").write_text(text)
        (folder / f"{name}.json").chmod(0o600)
    (folder / "n.json").write_text(json.dumps(to_json(lease("n"), "")))
    (folder / "n.json").chmod(0o620)
    (folder / "target").write_text(json.dumps(to_json(lease("o"), "")))
    (folder / "o.json").symlink_to("target")
    os.mkfifo(folder / "p.json")
    (folder / "q.json").mkdir()
    return {name: says for name, (_, says) in contents.items()} | {
        "n": "users other than root can write to it",
        "o": "is a symbolic link",
        "p": "is not a regular file",
        "q": "is not a regular file",
    }


def test_bad_files_are_passed_over_and_named_once(
    store: LeaseStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.save(lease())
    says = _bad_files(store.directory)
    with caplog.at_level(logging.WARNING):
        assert store.load() == (lease(),)
        named = len(caplog.messages)
        assert store.load() == (lease(),)
    assert len(caplog.messages) == named == len(says) + 1  # and "target"
    for name, text in says.items():
        (line,) = [m for m in caplog.messages if m.startswith(f"{store.directory}/{name}.json: ")]
        assert text in line
        assert line.endswith("; ignored")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_other_users_are_passed_over(store: LeaseStore, caplog: pytest.LogCaptureFixture) -> None:
    store.save(lease())
    os.chown(store.directory / "usb0.json", 12345, 0)
    assert store.load() == ()
    assert "users other than root can write to it" in caplog.text


def test_what_a_killed_writer_left_is_swept(store: LeaseStore) -> None:
    store.save(lease())
    old, new = (store.directory / f"{files.TEMPORARY}usb0.json.{age}" for age in ("old", "new"))
    now = time.time()
    for path, age in ((old, 100), (new, 1)):
        path.touch()
        os.utime(path, (now - age, now - age))
    assert store.load() == (lease(),)
    store.save(lease())
    assert not old.exists()
    assert new.exists()  # somebody may be writing it


def test_what_a_hook_makes_is_open_to_those_who_may_ask(tmp_path: Path) -> None:
    """/run/netbond is where the control socket lies, and a DHCP client may run with umask 077."""
    before = os.umask(0o077)
    try:
        LeaseStore(tmp_path / "run/netbond/leases").save(
            Lease("usb0", "dhclient", IPv4Interface("10.0.0.10/24"), (IPv4Address("10.0.0.1"),), 1.0)
        )
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "run", tmp_path / "run/netbond")]
    assert modes == [0o755, 0o755]
    assert (tmp_path / "run/netbond/leases").stat().st_mode & 0o777 == 0o700
