"""A box that is out of descriptors: what was known stays known, or uplinks would go for it."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from netbond.config.schema import AgentConfig, Config
from netbond.dhcp.lease import Lease
from netbond.dhcp.store import LeaseStore
from netbond.model import Facts, Link
from netbond.sources.kept_leases import HookLeases
from netbond.watchers.networkd import Networkd
from netbond.watchers.udev import Udev

LEASE = Lease("usb0", "dhclient", IPv4Interface("10.0.0.10/24"), (IPv4Address("10.0.0.1"),), 1763600000.5)
LINKS = (Link("usb0", 2),)


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Nothing more can be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_shortage_is_real(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        (tmp_path / "file").read_bytes()


def test_leases_of_hooks(tmp_path: Path) -> None:
    config = Config(agent=AgentConfig(state_dir=tmp_path, data_dir=tmp_path))
    source = HookLeases(config)
    LeaseStore(tmp_path / "leases").save(LEASE)
    read = Facts(links=LINKS)
    assert source.contribute(read, 0.0).leases == (LEASE,)
    with no_descriptors():
        assert source.contribute(read, 0.0).leases == (LEASE,)
    assert source.problems == [f"{tmp_path}/leases: Too many open files"]
    LeaseStore(tmp_path / "leases").forget("usb0")
    assert source.contribute(read, 0.0).leases == ()
    assert source.problems == []


def test_a_folder_that_is_not_trusted_any_more_says_nothing_new(tmp_path: Path) -> None:
    source = HookLeases(Config(agent=AgentConfig(state_dir=tmp_path, data_dir=tmp_path)))
    LeaseStore(tmp_path / "leases").save(LEASE)
    assert source.contribute(Facts(links=LINKS), 0.0).leases == (LEASE,)
    (tmp_path / "leases").chmod(0o777)
    (tmp_path / "leases/usb0.json").unlink()
    assert source.contribute(Facts(links=LINKS), 0.0).leases == (LEASE,)


def test_one_file_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LeaseStore(tmp_path)
    store.save(LEASE)
    assert store.load() == (LEASE,)

    def fail(*_arguments: object) -> Lease:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(store, "_read", fail)
    assert store.load() == store.load() == (LEASE,)
    monkeypatch.undo()
    store.forget("usb0")
    assert store.load() == ()


def test_leases_of_networkd(tmp_path: Path) -> None:
    (tmp_path / "2").write_text("ADDRESS=10.0.0.10\nNETMASK=255.255.255.0\nROUTER=10.0.0.1\n")
    networkd = Networkd(tmp_path)
    found = networkd.leases(LINKS, 9.0, 9.0)
    assert [str(lease.routers[0]) for lease in found] == ["10.0.0.1"]
    with no_descriptors():
        assert networkd.leases(LINKS, 9.0, 9.0) == networkd.leases(LINKS, 9.0, 9.0) == found
    (tmp_path / "2").unlink()
    assert networkd.leases(LINKS, 9.0, 9.0) == ()


def test_hardware(tmp_path: Path) -> None:
    (tmp_path / "class/net/usb0").mkdir(parents=True)
    (tmp_path / "class/net/usb0/ifindex").write_text("2\n")
    udev = Udev(tmp_path, tmp_path / "control")
    found = udev.devices()
    assert [device.name for device in found] == ["usb0"]
    with no_descriptors():
        assert udev.devices() == found
