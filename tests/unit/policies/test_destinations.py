"""Destinations of pins and policies: prefixes, addresses, names."""

from __future__ import annotations

import ipaddress

from netbond.config.load import parse
from netbond.policies import destinations


def test_names_and_who_asks() -> None:
    config = parse(
        '[[pin]]\ndestination = ["a.example", "192.0.2.0/24"]\nuplinks = ["usb0"]\n'
        '[[policy]]\nname = "chat"\ndestination = ["b.example", "a.example"]\nuplinks = ["usb0"]'
    )
    assert destinations.names(config) == {"a.example": "pin", "b.example": "policy chat"}


def test_networks() -> None:
    resolved = {"a.example": [ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")]}
    found = destinations.networks(["a.example", "b.example", "192.0.2.1/32", "10.0.0.0/8"], resolved)
    assert list(map(str, found)) == ["192.0.2.1/32", "2001:db8::1/128", "10.0.0.0/8"]
