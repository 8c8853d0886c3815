"""A link from unchecked values."""

from __future__ import annotations

from typing import Any

import pytest

from netbond.srtla.linkspec import LinkSpec, make_link


@pytest.mark.parametrize(
    ("label", "address", "device", "link"),
    [
        ("usb0", "10.0.0.10", "usb0", LinkSpec("usb0", "10.0.0.10", "usb0")),
        ("", "2001:DB8::5", "", LinkSpec("2001:db8::5", "2001:db8::5")),
        ("x" * 99, "10.0.0.10", "", LinkSpec("x" * 64, "10.0.0.10")),
        ("a", "fe80::1", "wlan0", LinkSpec("a", "fe80::1", "wlan0")),
    ],
)
def test_a_link(label: str, address: str, device: str, link: LinkSpec) -> None:
    assert make_link(label, address, device) == link


@pytest.mark.parametrize(
    ("label", "address", "device"),
    [
        (None, "10.0.0.10", "usb0"),
        ("a", 167772170, "usb0"),
        ("a", "10.0.0.10", None),
        ("a", "example.org", ""),
        ("a", "0.0.0.0", ""),
        ("a", "224.0.0.1", ""),
        ("a", "fe80::1%usb0", "usb0"),
        ("a", "10.0.0.10", "two words"),
        ("a", "10.0.0.10", "a/b"),
        ("a", "10.0.0.10", "longer-than-15-c"),
    ],
)
def test_no_link(label: Any, address: Any, device: Any) -> None:
    assert make_link(label, address, device) is None


def test_the_same_link_with_another_label_or_priority() -> None:
    link = LinkSpec("a", "10.0.0.10", "usb0")
    assert link.key == LinkSpec("b", "10.0.0.10", "usb0", 7, enabled=False).key
    assert link.key != LinkSpec("a", "10.0.0.10", "usb1").key
