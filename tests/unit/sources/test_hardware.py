"""The hardware of the interfaces that the kernel has named, from a /sys of the test's own."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from netbond.model import Facts, Interface
from netbond.sources import hardware
from netbond.sources.hardware import Hardware
from netbond.status.schema import HardwareStatus, Sections
from netbond.watchers.udev import Udev


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hardware:
    """Beside two network cards, and no udevd."""
    monkeypatch.setattr(hardware, "Udev", functools.partial(Udev, tmp_path, tmp_path / "no-udevd"))
    for index, (name, mac) in enumerate((("eth0", "02:00:00:00:00:01"), ("eth1", "02:00:00:00:00:02")), 2):
        card = tmp_path / "class/net" / name
        card.mkdir(parents=True)
        (card / "ifindex").write_text(f"{index}\n")
        (card / "address").write_text(f"{mac}\n")
    return Hardware()


def test_what_the_kernel_has_named(source: Hardware) -> None:
    facts = source.contribute(Facts(interfaces=(Interface("eth1", 3), Interface("ppp0", 9))), 0.0)
    assert [(device.name, device.mac) for device in facts.devices] == [
        ("eth1", "02:00:00:00:00:02"),
        ("ppp0", ""),
    ]
    assert source.complete()
    assert source.problems == ()


def test_another_interface_of_an_old_name(source: Hardware, tmp_path: Path) -> None:
    source.contribute(Facts(interfaces=(Interface("eth0", 2),)), 0.0)
    (tmp_path / "class/net/eth0/address").write_text("02:00:00:00:00:77\n")
    (known,) = source.contribute(Facts(interfaces=(Interface("eth0", 2),)), 0.0).devices
    assert known.mac == "02:00:00:00:00:01"  # nobody said that it has changed
    (new,) = source.contribute(Facts(interfaces=(Interface("eth0", 4),)), 0.0).devices
    assert new.mac == "02:00:00:00:00:77"


async def test_it_can_be_stopped_and_still_tells(source: Hardware) -> None:
    await source.start(lambda: None, ())
    await source.stop()
    assert [x.name for x in source.contribute(Facts(interfaces=(Interface("eth0", 2),)), 0.0).devices] == [
        "eth0"
    ]


def test_status_has_the_hardware_of_uplinks_as_of_the_last_pass(
    source: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.contribute(Facts(interfaces=(Interface("eth0", 2), Interface("eth1", 3))), 0.0)
    monkeypatch.setattr(source._udev, "devices", lambda: pytest.fail("each second"))
    before = Sections(modems={"wwan0": None})  # type: ignore[dict-item]  # of another source, whatever it is
    found = source.status(before, {"eth0", "ppp0"}, 0.0)
    assert found.hardware == {"eth0": HardwareStatus(mac="02:00:00:00:00:01")}
    assert found.modems is before.modems
