"""The state files of netbond 0.1 are read by what keeps them today: an upgrade loses nothing."""

from __future__ import annotations

import asyncio
import shutil
from datetime import date
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

import pytest

from netbond.config.schema import SenderConfig
from netbond.config.values import HostPort
from netbond.dhcp.lease import Lease
from netbond.dhcp.store import MANAGED, LeaseList, LeaseStore
from netbond.engines.supervisor import ResumeStore
from netbond.kernel.sysctls import Change, Sysctls
from netbond.kernel.taken_defaults import DefaultStore
from netbond.model import MAIN_TABLE, Nexthop, Route
from netbond.router import nft
from netbond.sources.data_plans import Meter, Usage
from netbond.watchers.modemmanager import RoamingFile

BOOT = "9d2f4c1e-6a7b-4c8d-9e0f-112233445566"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A state directory as netbond 0.1 (commit 7364346) left it."""
    shutil.copytree(Path(__file__).parent / "state_0_1", tmp_path / "state")
    for path in (tmp_path / "state", *(tmp_path / "state").rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return tmp_path / "state"


def test_an_upgrade_keeps_leases(earlier: Path) -> None:
    kept = Lease("usb0", "dhclient", IPv4Interface("10.0.0.10/24"), (IPv4Address("10.0.0.1"),), 1234.5, 7)
    seen = Lease("wwan0", "main", IPv4Interface("10.1.0.10/30"), (IPv4Address("10.1.0.9"),), 99.0, 9)
    store = LeaseStore(earlier / "leases", BOOT)
    assert store.load() == (kept,)
    assert LeaseStore(earlier / "learned", BOOT).load() == (seen,)
    managed = LeaseList(earlier / MANAGED, BOOT)
    said = Lease(
        "eth1", "NetworkManager", IPv6Interface("2001:db8::2/64"), (IPv6Address("fe80::1"),), 55.0, 3
    )
    assert managed.load() == (said,)
    store.save(kept._replace(received=1300.0))
    assert store.load() == (kept._replace(received=1300.0),)
    managed.save([said, kept])
    assert LeaseList(earlier / MANAGED, BOOT).load() == (said, kept)


def test_an_upgrade_puts_sysctls_back(earlier: Path, tmp_path: Path) -> None:
    values = {"net/core/rmem_max": "67108864", "net/ipv4/conf/usb0/rp_filter": "2"}
    for name, value in values.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    settings = Sysctls(earlier, tmp_path)
    assert settings.apply([Change("net/ipv4/conf/usb0/rp_filter", "0", "2", "for a test")]) == []
    assert Sysctls(earlier, tmp_path).restore() == []
    assert {name: (tmp_path / name).read_text().strip() for name in values} == {
        "net/core/rmem_max": "212992",
        "net/ipv4/conf/usb0/rp_filter": "1",
    }


def test_an_upgrade_puts_defaults_back(earlier: Path) -> None:
    hop = Nexthop("usb0", IPv4Address("10.0.0.1"), 1)
    found = DefaultStore(earlier).load()
    assert [(r.table, r.nexthops, r.metric, str(r.source), r.protocol) for r in found] == [
        (MAIN_TABLE, (hop,), 5, "10.0.0.10", 16)
    ]
    more: tuple[Route, ...] = (*found, Route(MAIN_TABLE, found[0].destination, nexthops=(hop,), metric=9))
    DefaultStore(earlier).save(more)
    assert DefaultStore(earlier).load() == more


def test_an_upgrade_knows_who_roamed(earlier: Path) -> None:
    kept = RoamingFile(earlier, BOOT)
    assert kept.load() == {"wwan0", "wwan1"}
    assert RoamingFile(earlier, "another").load() == frozenset()
    kept.save({"wwan1"})
    assert RoamingFile(earlier, BOOT).load() == {"wwan1"}


def test_an_upgrade_knows_the_table_of_router_mode(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def listing() -> str:
        return "table inet netbond {\n}\n"

    monkeypatch.setattr(nft, "generation", lambda: 1)
    monkeypatch.setattr(nft, "listing", listing)
    assert asyncio.run(nft.Table(earlier).applied()) == "table inet netbond {}\n"


def test_an_upgrade_goes_on_counting(earlier: Path) -> None:
    meter = Meter(earlier, earlier / "run")
    meter.load()
    assert meter.problems == ()
    usage = Usage(date(2026, 11, 3), 3, 123456789, 11, 7, 1000, 2000, BOOT, date(2026, 10, 3), 50_000_000_000)
    assert meter._ledger == {"usb0": usage}


def test_an_upgrade_resumes_engines(earlier: Path) -> None:
    engine = SenderConfig(listen=HostPort("127.0.0.1", 6000), receiver=HostPort("srtla.example.net", 5000))
    assert ResumeStore(earlier / "engines").load(engine) == {"group": "ab" * 128, "links": [{"id": 1}]}
