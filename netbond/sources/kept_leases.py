"""Keeps the leases that hooks handed over, and the defaults that were seen in main. Two sources."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from netbond.config.schema import Config
from netbond.contracts import Source
from netbond.dhcp.clients import LeaseError
from netbond.dhcp.lease import Lease
from netbond.dhcp.store import LeaseStore, following, renamed
from netbond.model import Facts, GatewayClaim, Interface, PathAttributes
from netbond.uplinks import remember

logger = logging.getLogger(__name__)


def as_lease(claim: GatewayClaim) -> Lease:
    """Return the claim in the form of the lease files, which is unchanged since version 0.1."""
    routers = () if claim.gateway is None else (claim.gateway, *claim.others)
    return Lease(claim.device, claim.source, claim.address, routers, claim.said_s, claim.ifindex)


def as_claim(lease: Lease) -> GatewayClaim:
    """Return the claim that a lease file holds."""
    gateway = lease.routers[0] if lease.routers else None
    return GatewayClaim(
        lease.device,
        lease.source,
        lease.address,
        gateway,
        lease.received,
        lease.ifindex,
        others=lease.routers[1:],
    )


class _Kept(Source):
    """The leases in one folder."""

    def __init__(self, store: LeaseStore) -> None:
        self._problems: list[str] = []
        self._store = store
        self._loaded: tuple[Lease, ...] = ()
        self._writes = True

    @property
    def problems(self) -> Sequence[str]:
        """What could not be read or written in the last pass."""
        return self._problems

    async def once(self) -> None:
        """Only read the files."""
        self._writes = False

    def _load(self, links: Iterable[Interface]) -> tuple[Lease, ...]:
        """Return the leases in the store; if it cannot be read, those of the last time.

        A store that cannot be read must not cost an uplink. If an interface has been renamed, its lease is
        stored under the new name: another interface may get the old name.
        """
        try:
            self._loaded = self._store.load()
            for old, new in renamed(self._loaded, links) if self._writes else ():
                logger.info("%s is now called %s, and keeps its lease", old.device, new.device)
                self._store.move(old, new)
        except OSError as error:
            self._problems.append(f"{self._store.directory}: {error.strerror}")
        return following(self._loaded, links)


class HookLeases(_Kept):
    """The leases that DHCP clients handed over through `netbond hook`."""

    name = "leases of hooks"

    def __init__(self, config: Config) -> None:
        super().__init__(LeaseStore(config.agent.state_dir / "leases"))

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the leases of the interfaces that exist."""
        self._problems = []
        return replace(facts, leases=(*facts.leases, *self._load(facts.interfaces)))


class SeenInMain(_Kept):
    """Remembers main's defaults: the kernel removes one when its link goes down, and does not restore it."""

    name = "defaults once seen"

    def __init__(self, config: Config) -> None:
        super().__init__(LeaseStore(config.agent.state_dir / "learned"))
        # Those of the claims: the files have none, so they are known only since the agent runs.
        self._attributes: dict[GatewayClaim, PathAttributes] = {}

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the remembered defaults, updated with what main has now."""
        self._problems = []
        kept = map(as_claim, self._load(facts.interfaces))
        facts = replace(
            facts,
            remembered=tuple(replace(claim, attributes=self._attributes.get(claim, ())) for claim in kept),
        )
        found = remember(facts, now_s)
        self._attributes = {replace(claim, attributes=()): claim.attributes for claim in found}
        if self._writes:
            self._keep(facts.remembered, found)
        return replace(facts, remembered=found)

    def _keep(self, before: Iterable[GatewayClaim], after: Iterable[GatewayClaim]) -> None:
        """Store them for an agent that starts while a link is down."""
        old, new = {claim.device: claim for claim in before}, {claim.device: claim for claim in after}
        try:
            for device in old.keys() - new.keys():
                self._store.forget(device)
            for device, claim in new.items():
                if device not in old or as_lease(old[device]) != as_lease(claim):
                    self._store.save(as_lease(claim))
        except LeaseError as error:  # an interface name that is not valid text
            self._problems.append(str(error))
        except OSError as error:
            self._problems.append(f"{self._store.directory}: {error.strerror}")
