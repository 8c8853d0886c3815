"""The facts as a single command can know them: the kernel's, what is on the disk, and what an agent knows.

What takes time to find out (is a gateway silent, is a data plan spent, does a modem roam, what did
NetworkManager say) comes from the running agent; without one, it is not known.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from netbond import pins
from netbond.config.schema import Config
from netbond.dhcp.lease import Lease
from netbond.dhcp.store import MANAGED, LeaseList, LeaseStore, following
from netbond.errors import NetbondError
from netbond.kernel.client import read_facts_once
from netbond.kernel.taken_defaults import DefaultStore, still_valid
from netbond.model import Budget, Facts, Health, IPAddress
from netbond.sources.pin_names import resolve
from netbond.status.control import request
from netbond.status.snapshot import objects
from netbond.system import clock
from netbond.uplinks import learned
from netbond.watchers.networkd import Networkd
from netbond.watchers.udev import Udev

MANAGER = "NetworkManager"  # as the source of a gateway is called


def gather(config: Config) -> Facts:
    """All that can be known now. What is left out is said on standard error.

    Host names of pins are looked up now; those that do not resolve are left out.
    """
    facts = read_facts_once()
    state_dir = config.agent.state_dir
    facts = replace(
        facts, leases=Networkd().leases(facts.links, clock.now(), time.time()), devices=Udev().devices()
    )
    try:
        taken = DefaultStore(state_dir).load() if config.routing.take_over_default else ()
        facts = replace(
            facts,
            leases=(
                *following(LeaseStore(state_dir / "leases").load(), facts.links),
                *facts.leases,
                *(LeaseList(state_dir / MANAGED).load() if config.agent.networkmanager else ()),
            ),
            learned=following(LeaseStore(state_dir / "learned").load(), facts.links),
            taken=tuple(route for route in taken if still_valid(route, facts)),
        )
    except (PermissionError, ValueError) as error:
        reason = "readable by root only" if isinstance(error, PermissionError) else str(error)
        print(f"# what is in {state_dir} is left out: {reason}", file=sys.stderr)
    facts = replace(facts, learned=learned(facts, clock.now()))
    found: dict[str, tuple[IPAddress, ...]] = {}
    for name in sorted(pins.names(config)):
        try:
            found[name] = tuple(asyncio.run(resolve(name)))
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not a host name"
            print(f"# pin: {name}: {reason}", file=sys.stderr)
    facts = replace(facts, resolved=tuple(found.items()))
    try:
        answer = request(config.agent.control_socket, {"command": "status"})
    except NetbondError:
        return facts  # no agent, so nobody checks and counts
    return told(facts, answer.get("status"), clock.now())


def told(facts: Facts, status: Any, now: float) -> Facts:
    """The facts with what an agent's status says besides. `now` is seconds since boot.

    Of a status that another version made, what is not understood is left out.
    """
    uplinks = [u for u in objects(status, "uplinks") if _address(u.get("address")) is not None]
    modems = status.get("modems") if isinstance(status, dict) else None
    modems = modems if isinstance(modems, dict) else {}
    return replace(
        facts,
        leases=(*facts.leases, *_managed(uplinks, now)),
        health=tuple(
            Health(
                str(h.get("device")),
                6 if h.get("family") == 6 else 4,
                str(h.get("state")),
                str(h.get("reason")),
                address=_address(h.get("address")),
            )
            for h in objects(status, "health")
        ),
        budgets=tuple(
            Budget(str(m.get("device")), str(m.get("verdict")), "data plan is spent")
            for m in objects(status, "metered")
            if m.get("verdict") in ("backup", "off")
        ),
        alive=frozenset(
            (str(u.get("device")), address)
            for u in uplinks
            if u.get("state") in ("up", "standby") and (address := _address(u.get("address"))) is not None
        ),
        measured=tuple(
            sorted({str(u.get("device")): w for u in uplinks if type(w := u.get("weight")) is int}.items())
        ),
        # One that is excluded for it is no uplink.
        roaming=frozenset(d for d, m in modems.items() if isinstance(m, dict) and m.get("roaming") is True)
        | {str(m.get("device")) for m in objects(status, "idle_modems") if m.get("roaming") is True},
    )


def _managed(uplinks: list[dict[str, Any]], now: float) -> Iterator[Lease]:
    for uplink in uplinks:
        if uplink.get("gateway_source") != MANAGER:
            continue
        try:
            interface = ipaddress.ip_interface(f"{uplink.get('address')}/{uplink.get('prefix_length')}")
            gateway = ipaddress.ip_address(str(uplink.get("gateway")))
        except ValueError:
            continue
        yield Lease(str(uplink.get("device")), MANAGER, interface, (gateway,), now)


def _address(value: object) -> IPAddress | None:
    try:
        return ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        return None
