"""Chooses which address of a receiver is used, one for each family. Pure.

A link reaches addresses of its own family only, so a receiver whose name has IPv4 and IPv6 addresses is used
at one of each. When no link of a family comes up, the next address of that family is tried.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence

from netbond.srtla.process.linksocket import Endpoint

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Addresses:
    """The addresses of one receiver."""

    def __init__(self, preferred: Collection[str] = ()) -> None:
        """`preferred`: those that the engine before used."""
        self._preferred = preferred
        self._used: dict[int, Endpoint] = {}
        self._failed: set[int] = set()  # families whose address is to be replaced

    def __bool__(self) -> bool:
        return bool(self._used)

    def of(self, family: int) -> Endpoint | None:
        """The address in use for links of this family, 4 or 6; None: there is none."""
        return self._used.get(family)

    def hosts(self) -> list[str]:
        """The addresses in use, as text."""
        return [host for _, host, _ in self._used.values()]

    def failed(self, family: int) -> None:
        """No link of this family comes up: take the next address when the name has been looked up again."""
        self._failed.add(family)

    def found(self, endpoints: Sequence[Endpoint]) -> list[int]:
        """What the name has now, in the resolver's order; the families whose address is another one now.

        An address that works is used for as long as it does, though the name may have lost it."""
        changed = []
        for family, number in FAMILIES.items():
            own = [each for each in endpoints if each[0] == number]
            used = self._used.get(family)
            if not own or (used is not None and family not in self._failed):
                continue
            if used is None:
                chosen = next((each for each in own if each[1] in self._preferred), own[0])
            else:
                chosen = own[(own.index(used) + 1) % len(own)] if used in own else own[0]
            self._failed.discard(family)
            if chosen != used:
                self._used[family] = chosen
                changed.append(family)
        return changed
