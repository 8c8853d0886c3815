"""Kernel settings: what is wanted of which box, and the record that puts them back."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.kernel.sysctls import STORE, Change, Sysctls, shown, wanted
from netbond.model import Address, Interface, Uplink

NOTHING = parse("[sysctl]\nrp_filter = false\nlinkdown = false\nsocket_buffers = 0")
V4, V6 = "net/ipv4", "net/ipv6"


def uplink(device: str) -> Uplink:
    """An uplink, as far as settings go."""
    address = Address(device, ipaddress.ip_interface("10.0.0.10/24"))
    return Uplink(device, address.interface, None, "test", table=100, addresses=(address,))


def changes(config: Config, observed: Mapping[str, str], **more: object) -> list[tuple[str, str, str]]:
    """(name, old value, new value) of what is wanted of a box with the uplink usb0."""
    found = wanted([uplink("usb0")], config, observed.get, **more)  # type: ignore[arg-type]  # lan=, links=
    assert all(change.why for change in found)
    return [(change.name, change.old, change.value) for change in found]


# --- what is wanted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("everywhere", "own", "loosened"),
    [
        ("0", "0", False),
        ("0", "1", True),
        ("1", "0", True),  # the greater one counts
        ("1", "1", True),
        ("2", "1", False),  # loose already
        ("1", "2", False),
        ("2", "0", False),
        (None, "1", True),
        ("1", None, False),  # no such interface any more
        ("junk", "1", True),
    ],
)
def test_a_strict_filter_is_made_loose_by_its_effective_value(
    everywhere: str | None, own: str | None, loosened: bool
) -> None:
    config = parse("[sysctl]\nlinkdown = false\nsocket_buffers = 0")
    values = {f"{V4}/conf/all/rp_filter": everywhere, f"{V4}/conf/usb0/rp_filter": own}
    observed = {name: value for name, value in values.items() if value is not None}
    assert changes(config, observed) == ([(f"{V4}/conf/usb0/rp_filter", str(own), "2")] if loosened else [])
    assert changes(NOTHING, observed) == []


def test_linkdown_of_both_families_and_only_where_the_kernel_has_it() -> None:
    name = "conf/usb0/ignore_routes_with_linkdown"
    assert changes(Config(), {f"{V4}/{name}": "0", f"{V6}/{name}": "0"}) == [
        (f"{V4}/{name}", "0", "1"),
        (f"{V6}/{name}", "0", "1"),
    ]
    assert changes(Config(), {f"{V4}/{name}": "1"}) == []


@pytest.mark.parametrize(
    ("setting", "now", "then"),
    [
        ("keep", "0", None),
        ("keep", "1", None),
        ("flows", "0", "1"),
        ("flows", "1", None),
        ("addresses", "1", "0"),
    ],
)
def test_hash_policy(setting: str, now: str, then: str | None) -> None:
    config = parse(f'[sysctl]\nmultipath_hash = "{setting}"')
    observed = {f"{V4}/fib_multipath_hash_policy": now, f"{V6}/fib_multipath_hash_policy": now}
    assert changes(config, observed) == ([] if then is None else [(name, now, then) for name in observed])


def test_neighbours_count_only_on_request() -> None:
    observed = {f"{V4}/fib_multipath_use_neigh": "0"}
    assert changes(Config(), observed) == []
    assert changes(parse("[sysctl]\nuse_neigh = true"), observed) == [(*observed.popitem(), "1")]


@pytest.mark.parametrize(
    ("now", "raised"),
    [("212992", True), ("67108864", False), ("134217728", False), (None, False), ("junk", False)],
)
def test_socket_buffers_are_raised_and_never_lowered(now: str | None, raised: bool) -> None:
    observed = {} if now is None else {"net/core/rmem_max": now, "net/core/wmem_max": now}
    assert changes(Config(), observed) == [
        (name, now, "67108864") for name in observed if raised and now is not None
    ]


def test_router_mode_forwards_on_the_interfaces_that_need_it() -> None:
    observed = {f"{V4}/conf/{device}/forwarding": "0" for device in ("all", "eth1", "usb0", "wlan0")}
    observed |= {f"{V6}/conf/all/forwarding": "0", f"{V6}/conf/usb0/accept_ra": "1"}
    config = parse('[router]\nlan = ["eth1"]')
    assert changes(config, observed, lan=["eth1"], links=[Interface("usb0", 2)]) == [
        (f"{V4}/conf/eth1/forwarding", "0", "1"),
        (f"{V4}/conf/usb0/forwarding", "0", "1"),
    ]
    assert changes(config, observed) == []  # no LAN interface is there
    assert changes(Config(), observed, lan=["eth1"]) == []
    off = parse('[router]\nlan = ["eth1"]\nipv6 = "forward"\n[sysctl]\nforwarding = false')
    assert changes(off, observed, lan=["eth1"], links=[Interface("usb0", 2)]) == []


def test_router_advertisements_are_accepted_before_forwarding_is_switched_on() -> None:
    """The other way round the kernel would drop its default routes."""
    config = parse('[router]\nlan = ["eth1", "br0"]\nipv6 = "masquerade"')
    links = [
        Interface("lo", 1, loopback=True),
        Interface("usb0", 2),
        Interface("wwan0", 3),  # no uplink yet: it needs an advertisement to become one
        Interface("eth0", 4),  # accept_ra 0: a program listens instead of the kernel
        Interface("eth1", 5),
        Interface("eth2", 6, master="br0"),
    ]
    observed = {f"{V6}/conf/{link.name}/accept_ra": "1" for link in links}
    observed |= {f"{V6}/conf/eth0/accept_ra": "0", f"{V6}/conf/all/forwarding": "0"}
    assert changes(config, observed, lan=["eth1", "br0"], links=links) == [
        (f"{V6}/conf/usb0/accept_ra", "1", "2"),
        (f"{V6}/conf/wwan0/accept_ra", "1", "2"),
        (f"{V6}/conf/all/forwarding", "0", "1"),
    ]


@pytest.mark.parametrize("device", ["all", "default"])
def test_an_interface_named_like_a_group_is_no_reason_to_change_the_group(device: str) -> None:
    observed = {f"{V4}/conf/{device}/rp_filter": "1", f"{V4}/conf/{device}/forwarding": "0"}
    config = parse('[router]\nlan = ["eth1"]')
    assert wanted([uplink(device)], config, observed.get, lan=[device]) == []


def test_as_commands() -> None:
    assert Change(f"{V4}/conf/usb0/rp_filter", "2", "1", "answers").line() == (
        "sysctl -w net.ipv4.conf.usb0.rp_filter=2  # answers (now 1)"
    )
    assert shown(f"{V4}/conf/eth0.5/rp_filter") == f"{V4}/conf/eth0.5/rp_filter"


# --- setting and putting back -----------------------------------------------------------------------------

NAME = f"{V4}/conf/eth0.5/rp_filter"
OTHER = "net/core/rmem_max"


class Proc:
    """A /proc/sys of plain files, and a state directory."""

    def __init__(self, folder: Path) -> None:
        self.root, self.state = folder / "sys", folder / "state"
        self.put(NAME, "1")
        self.put(OTHER, "212992")

    def put(self, name: str, value: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(f"{value}\n")

    def get(self, name: str) -> str:
        return (self.root / name).read_text().strip()

    def sysctls(self) -> Sysctls:
        """As a new process has it."""
        return Sysctls(self.state, self.root)

    def set(self, name: str, value: str) -> None:
        """What the agent does, given that the value is wanted."""
        change = Change(name, value, self.get(name), "why")
        assert self.sysctls().apply([change]) == []


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def test_set_and_put_back(proc: Proc) -> None:
    proc.set(NAME, "2")
    proc.set(OTHER, "67108864")
    assert (proc.get(NAME), proc.get(OTHER)) == ("2", "67108864")
    store = proc.state / STORE
    assert store.stat().st_mode & 0o777 == 0o600
    assert json.loads(store.read_text())["settings"] == {
        NAME: {"old": "1", "ours": "2"},
        OTHER: {"old": "212992", "ours": "67108864"},
    }
    assert [change.command() for change in proc.sysctls().changed()] == [
        "sysctl -w net.core.rmem_max=212992",
        f"sysctl -w {NAME}=1",
    ]
    assert proc.sysctls().restore() == []
    assert (proc.get(NAME), proc.get(OTHER)) == ("1", "212992")
    assert not store.exists()
    assert proc.sysctls().restore() == []


def test_what_somebody_else_changed_since_is_theirs(proc: Proc) -> None:
    proc.set(NAME, "2")
    proc.put(NAME, "0")
    assert proc.sysctls().restore() == []
    assert proc.get(NAME) == "0"


def test_a_second_wish_keeps_the_first_old_value(proc: Proc) -> None:
    proc.set(OTHER, "1000000")
    proc.set(OTHER, "67108864")
    proc.sysctls().restore()
    assert proc.get(OTHER) == "212992"


def test_what_somebody_else_set_in_between_is_the_old_value_then(proc: Proc) -> None:
    proc.set(OTHER, "1000000")
    proc.put(OTHER, "500000")
    proc.set(OTHER, "67108864")
    proc.sysctls().restore()
    assert proc.get(OTHER) == "500000"


def test_an_interface_that_was_unplugged_and_one_that_came_back(proc: Proc) -> None:
    proc.set(NAME, "2")
    (proc.root / NAME).unlink()
    assert proc.sysctls().read(NAME) is None
    assert proc.sysctls().apply([Change(NAME, "2", "1", "why")]) == []  # went while it was decided
    assert proc.sysctls().restore() == []

    proc.put(NAME, "1")
    proc.set(NAME, "2")
    (proc.root / NAME).unlink()
    proc.put(NAME, "0")  # a new interface, with a default of its own
    proc.sysctls().restore()
    assert proc.get(NAME) == "0"


def test_the_record_forgets_interfaces_that_are_gone(proc: Proc) -> None:
    """Some modems make up a MAC address, and with it a name, each time they start."""
    proc.set(OTHER, "67108864")
    for number in range(20):
        name = f"{V4}/conf/enx02000000{number:04x}/rp_filter"
        proc.put(name, "1")
        proc.set(name, "2")
        assert set(json.loads((proc.state / STORE).read_text())["settings"]) == {OTHER, name}
        (proc.root / name).unlink()


def test_a_crash_between_the_record_and_the_write(proc: Proc) -> None:
    proc.set(NAME, "2")
    proc.put(NAME, "1")  # as if the write had never come
    proc.sysctls().restore()
    assert proc.get(NAME) == "1"


def test_no_record_no_change(proc: Proc) -> None:
    """What could not be put back is not set."""
    proc.state.write_text("in the way")
    found = proc.sysctls().apply([Change(NAME, "2", "1", "why")])
    assert found[-1].endswith("kernel settings stay unchanged, as they could not be put back")
    assert proc.get(NAME) == "1"


def test_read_only_is_one_line(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: str, flags: int, *rest: int, **more: int | None) -> int:
        if flags & os.O_WRONLY and str(path).startswith(str(proc.root)):
            raise OSError(30, "Read-only file system")
        return real(path, flags, *rest, **more)  # type: ignore[arg-type]  # dir_fd=

    monkeypatch.setattr(os, "open", refuse)
    wishes = [Change(NAME, "2", "1", "why"), Change(OTHER, "67108864", "212992", "why")]
    assert proc.sysctls().apply(wishes) == [
        "kernel settings are read-only here (a container?):"
        " net/ipv4/conf/eth0.5/rp_filter stays 1 and 1 more;"
        " run on the host: sysctl -w net/ipv4/conf/eth0.5/rp_filter=2"
    ]
    assert not (proc.state / STORE).exists()


def test_what_is_shown_for_reading_only_belongs_to_somebody_else(proc: Proc) -> None:
    (proc.root / OTHER).chmod(0o444)
    assert proc.sysctls().read(OTHER) is None
    assert proc.sysctls().read(NAME) == "1"


def test_no_proc_at_all(tmp_path: Path) -> None:
    assert wanted([uplink("usb0")], Config(), Sysctls(tmp_path, tmp_path / "nothing").read) == []


@pytest.mark.parametrize(
    "name",
    [
        "kernel/core_pattern",
        "net/ipv4/conf/../rp_filter",
        "net/ipv4/conf/./rp_filter",
        "net/ipv4/conf/a/b/rp_filter",
        "/etc/passwd",
        "net/ipv4/conf/usb0/rp_filter/../../../../../kernel/sysrq",
        "net/ipv4/conf//rp_filter",
    ],
)
def test_nothing_else_is_written_whatever_the_record_says(proc: Proc, name: str) -> None:
    proc.state.mkdir()
    (proc.state / STORE).write_text(json.dumps({name: {"old": "1", "ours": "2"}}))
    assert proc.sysctls().restore() == [f"{proc.state / STORE}: 1 invalid entries; ignored"]
    with pytest.raises(ValueError, match="is not one of netbond's settings"):
        proc.sysctls().read(name)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '"x"', json.dumps({NAME: 1}), json.dumps({NAME: {"old": "1; reboot", "ours": "2"}})],
)
def test_a_record_that_is_not_right(proc: Proc, content: str) -> None:
    proc.set(NAME, "2")
    (proc.state / STORE).write_text(content)
    found = proc.sysctls().restore()
    assert len(found) == 1
    assert found[0].endswith("; ignored")
    assert proc.get(NAME) == "2"


def test_a_record_that_others_can_write_is_not_believed(proc: Proc) -> None:
    proc.set(NAME, "2")
    (proc.state / STORE).chmod(0o666)
    assert proc.sysctls().restore()[0].endswith("users other than root can write to it; ignored")
    assert proc.get(NAME) == "2"


def test_what_is_still_wanted_stays_when_the_rest_goes_back(tmp_path: Path) -> None:
    root = tmp_path / "proc"
    a, b = "net/core/rmem_max", "net/core/wmem_max"
    for name in (a, b):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("0\n")
    ours = Sysctls(tmp_path, root)
    assert ours.apply([Change(a, "1", "0", "why"), Change(b, "1", "0", "why")]) == []
    assert (ours.before(a), ours.read(a)) == ("0", "1")
    assert ours.restore(keep={a}) == []
    assert (ours.read(a), ours.read(b)) == ("1", "0")
    assert ours.restore() == []
    assert ours.read(a) == "0"
