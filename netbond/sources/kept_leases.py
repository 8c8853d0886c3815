"""Keeps the leases that hooks handed over, and the defaults that were seen in main. Two sources."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from netbond.config.schema import Config
from netbond.contracts import Look, Source
from netbond.dhcp.clients import LeaseError
from netbond.dhcp.lease import Lease
from netbond.dhcp.store import LeaseStore, following, renamed
from netbond.model import Facts, GatewayClaim, Interface, PathAttributes
from netbond.status.protocol import HookRequest
from netbond.system import files
from netbond.uplinks import remember

logger = logging.getLogger(__name__)

MOST_UNSTORED = 256  # leases that are kept in memory alone


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
        self._unstored: dict[str, Lease] = {}  # by device: no space left, for example
        self._writes = True

    @property
    def problems(self) -> Sequence[str]:
        """What could not be read or written in the last pass."""
        return self._problems

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Remove what hooks have left that were killed."""
        files.sweep(self._store.directory)

    async def once(self) -> None:
        """Only read the files."""
        self._writes = False

    def _load(self, links: Iterable[Interface]) -> tuple[Lease, ...]:
        """Return the leases in the store; if it cannot be read, those of the last time.

        A store that cannot be read or written must not cost an uplink. If an interface has been renamed, its
        lease is stored under the new name: another interface may get the old name.
        """
        for lease in tuple(self._unstored.values()):
            self._save(lease)
        try:
            self._loaded = self._store.load()
            for old, new in renamed(self._loaded, links) if self._writes else ():
                logger.info("%s is now called %s, and keeps its lease", old.device, new.device)
                self._store.move(old, new)
        except OSError as error:
            self._trouble(error)
        leases = {lease.device: lease for lease in self._loaded}
        for lease in self._unstored.values():
            if lease.device not in leases or leases[lease.device].received <= lease.received:
                leases[lease.device] = lease
        return following(leases.values(), links)

    def _save(self, lease: Lease) -> None:
        """Store the lease; as long as that fails, keep it here. LeaseError for a name that is not valid."""
        self._unstored.pop(lease.device, None)
        try:
            self._store.save(lease)
        except OSError as error:
            self._unstored[lease.device] = lease
            self._trouble(error)

    def _trouble(self, error: OSError) -> None:
        lost = (
            f"; a restart would lose what is known of {', '.join(self._unstored)}" if self._unstored else ""
        )
        line = f"{self._store.directory}: {files.why(error)}{lost}"
        if line not in self._problems:
            self._problems.append(line)


class HookLeases(_Kept):
    """The leases that DHCP clients handed over through `netbond hook`."""

    name = "leases of hooks"

    def __init__(self, config: Config) -> None:
        super().__init__(LeaseStore(config.agent.state_dir / "leases"))

    def hear(self, said: HookRequest) -> bool:
        """Take the lease that a hook could not store, or forget such a one; whether a lease was taken."""
        held = self._unstored.get(said.device)
        if said.lease is None:
            if held is not None and said.released is not None:
                same = said.released in ("", str(held.address.ip)) and said.source == held.source
                if same and held.received <= said.at_s:
                    del self._unstored[said.device]
            return False
        try:
            lease = self._store.from_json(said.lease)
        except LeaseError as error:
            logger.warning("a hook's lease is ignored: %s", error)
            return False
        if held is None or held.received <= lease.received:
            self._unstored[lease.device] = lease
        while len(self._unstored) > MOST_UNSTORED:
            del self._unstored[next(iter(self._unstored))]
        return True

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
                self._unstored.pop(device, None)
                self._store.forget(device)
            for device, claim in new.items():
                if device not in old or as_lease(old[device]) != as_lease(claim):
                    self._save(as_lease(claim))
        except LeaseError as error:  # an interface name that is not valid text
            self._problems.append(str(error))
        except OSError as error:
            self._trouble(error)
