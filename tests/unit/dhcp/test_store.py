"""The store of leases: kept and found again, and not to be bent by strangers."""

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
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netbond.dhcp.clients import LeaseError
from netbond.dhcp.lease import Lease
from netbond.dhcp.store import LeaseList, LeaseStore, file_name, following, from_json, to_json
from netbond.model import Interface
from netbond.system import files
from netbond.system.state_file import StateFileError

NOW = 1763600000.5


def lease(
    device: str = "usb0", address: str = "10.0.0.10/24", *routers: str, source: str = "dhclient"
) -> Lease:
    return Lease(device, source, IPv4Interface(address), tuple(IPv4Address(r) for r in routers), NOW)


# --- names of files --------------------------------------------------------------------------------------


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


def test_a_client_lets_go_of_its_own_lease_only(store: LeaseStore) -> None:
    store.save(lease("usb0", "10.0.0.10/24", "10.0.0.1", source="networkmanager"))
    assert not store.forget("usb0", None, "udhcpc")
    assert not store.forget("usb0", IPv4Address("10.0.0.10"), "udhcpc")
    assert not store.forget("usb0", IPv4Address("10.0.0.11"), "networkmanager")
    assert len(store.load()) == 1
    assert store.forget("usb0", IPv4Address("10.0.0.10"), "networkmanager")
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
                writer.join(30)
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
        assert time.monotonic() - start < 10  # 0.05 s each, and whatever a busy machine takes
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
    assert following(leases, [Interface("usb0", 4), Interface("usb1", 5)]) == leases
    assert following(leases, []) == leases
    assert following(leases, [Interface("wan0", 4), Interface("usb1", 5)]) == (
        one._replace(device="wan0"),
        *leases[1:],
    )
    # Two that swap their names take their leases along.
    assert following((one, other), [Interface("usb1", 4), Interface("usb0", 5)]) == (
        one._replace(device="usb1"),
        other._replace(device="usb0"),
    )


def test_a_newer_lease_by_the_new_name_counts() -> None:
    old, new = (
        lease("usb0")._replace(ifindex=4),
        lease("wan0", "10.0.9.9/24")._replace(ifindex=4, received=NOW + 1),
    )
    links = [Interface("wan0", 4)]
    assert following((old, new), links) == (old, new)
    assert following((old, new._replace(received=NOW - 1)), links) == (old._replace(device="wan0"),)


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
@example({"received": -0.5}, "2001:db8::2", 64)
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


def test_a_file_that_cannot_be_read_just_now_still_counts(
    store: LeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(lease())
    assert store.load() == (lease(),)

    def fail(*_arguments: object) -> Lease:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(store, "_read", fail)
    assert store.load() == store.load() == (lease(),)
    monkeypatch.undo()
    store.forget("usb0")
    assert store.load() == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_other_users_are_passed_over(store: LeaseStore, caplog: pytest.LogCaptureFixture) -> None:
    store.save(lease())
    os.chown(store.directory / "usb0.json", 12345, 0)
    assert store.load() == ()
    assert "users other than root can write to it" in caplog.text


def test_what_a_killed_writer_left_is_swept(store: LeaseStore) -> None:
    store.save(lease())
    old, new = (store.directory / f"{files.TEMPORARY}usb0.json.{end * 12}" for end in "ab")
    now = time.time()
    for path, age in ((old, 100), (new, 0)):
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
