"""The leases of systemd-networkd as facts, from a folder of the test's own."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

import pytest

from netbond.model import Facts, Interface
from netbond.sources import networkd
from netbond.sources.networkd import NetworkdLeases
from netbond.watchers.networkd import Networkd
from tests.unit.boxes import lease

LEASE = "ADDRESS=10.0.0.10\nNETMASK=255.255.255.0\nROUTER=10.0.0.1\n"
READ = Facts(
    interfaces=(Interface("usb0", 2), Interface("usb1", 3)),
    leases=(lease("usb1", "10.0.1.10/24", "10.0.1.1"),),
)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NetworkdLeases:
    monkeypatch.setattr(networkd, "Networkd", functools.partial(Networkd, tmp_path / "leases"))
    return NetworkdLeases()


def test_its_leases_come_on_top(source: NetworkdLeases, tmp_path: Path) -> None:
    assert source.contribute(READ, 100.0) == READ
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases/2").write_text(LEASE)
    (tmp_path / "leases/7").write_text(LEASE)  # of an interface that is not there
    found = source.contribute(READ, 100.0).leases
    assert [(x.device, x.source, str(x.routers[0])) for x in found] == [
        ("usb1", "dhclient", "10.0.1.1"),
        ("usb0", "networkd", "10.0.0.1"),
    ]
    assert 90.0 < found[1].received <= 100.0  # seconds since boot, though the file has a date


async def test_news_is_a_reason_to_look_until_it_is_stopped(source: NetworkdLeases, tmp_path: Path) -> None:
    (tmp_path / "leases").mkdir()
    news = asyncio.Event()
    await source.start(news.set, ())
    try:
        news.clear()
        (tmp_path / "leases/2").write_text(LEASE)
        await asyncio.wait_for(news.wait(), 10)
    finally:
        await source.stop()
    news.clear()
    (tmp_path / "leases/3").write_text(LEASE)
    await asyncio.sleep(0.05)
    assert not news.is_set()
    assert len(source.contribute(READ, 100.0).leases) == 3
