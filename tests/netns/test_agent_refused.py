"""A gateway that the kernel does not take, as a bad DHCP server may name it, harms its own uplink only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        for number in range(3):
            box.plug(f"usb{number}", number)
        yield box


def reasons(box: Box) -> set[tuple[str, str]]:
    return {(uplink["device"], uplink["reason"]) for uplink in box.status()["uplinks"]}


@pytest.mark.parametrize("groups", [True, False])
def test_the_others_share_the_traffic_and_it_comes_back(box: Box, groups: bool) -> None:
    base = "" if groups else "[routing]\nnexthop_base = 0\n"
    # An address of this box's own: the kernel says "Nexthop has invalid gateway", and refuses what uses it.
    text = base + '[[uplink]]\nmatch = "usb1"\ngateway = "10.0.0.10"\n'
    box.configure(text)
    box.start()
    wait_for(lambda: "usb0" in box.table(222) and "usb2" in box.table(222), 5.0, "the default of the others")
    refused = "the kernel refuses its gateway"
    wait_for(lambda: ("usb1", refused) in reasons(box), 5.0, refused)
    box.unplug("usb2")
    wait_for(lambda: "usb2" not in box.table(222) and "usb0" in box.table(222), 5.0, "the last one")
    assert "usb1" not in box.table(222)
    # With usb0 its address goes, and the kernel takes the gateway.
    box.unplug("usb0")
    wait_for(lambda: "usb1" in box.table(222), 15.0, "it is back")
