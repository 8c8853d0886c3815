"""Makes prefixes of the destinations of pins and policies: prefixes, addresses and host names. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from netbond.config.schema import Config
from netbond.model import IPAddress, IPNetwork


def network(destination: str) -> IPNetwork | None:
    """The destination as a prefix; None for a host name."""
    try:
        return ipaddress.ip_network(destination)
    except ValueError:
        return None


def names(config: Config) -> dict[str, str]:
    """The host names, which need an address first, each with who asks: "pin", or "policy bank"."""
    found: dict[str, str] = {}
    owners = [("pin", pin.destination) for pin in config.pin]
    owners += [(f"policy {policy.name}", policy.destination) for policy in config.policy]
    for owner, destinations in owners:
        for destination in destinations:
            if network(destination) is None:
                found.setdefault(destination, owner)
    return found


def networks(destinations: Iterable[str], resolved: Mapping[str, Iterable[IPAddress]]) -> list[IPNetwork]:
    """The destinations as prefixes, each once, without names that have no address yet."""
    found: list[IPNetwork] = []
    for destination in destinations:
        prefix = network(destination)
        if prefix is None:
            found += [ipaddress.ip_network(address) for address in resolved.get(destination, ())]
        else:
            found.append(prefix)
    return list(dict.fromkeys(found))
